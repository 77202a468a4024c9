// GitHub Apps on behalf of a person. Refusals have status 200, and a refresh also ends the old access token.
// Without expiring tokens (an option of the app) there is no refresh token and no expiry.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'github-app-user',
  title: 'GitHub (App, as a person)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://github.com/login/oauth/access_token',
    hosts: ['github.com', 'api.github.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    accessTokenTtlSeconds: 'never',
    scopeSeparator: ',',
    errorTable: [
      { code: 'bad_refresh_token', means: 'dead', cause: 'bad_refresh_token' },
      { code: 'unverified_user_email', means: 'dead', cause: 'unverified_user_email' },
      { code: 'incorrect_client_credentials', means: 'configuration', cause: 'incorrect_client_credentials' },
      { code: 'redirect_uri_mismatch', means: 'configuration', cause: 'redirect_uri_mismatch' },
      { status: 403, text: 'rate limit', means: 'transient', cause: 'rate_limited' },
    ],
  },
  consent: { authorizeEndpoint: 'https://github.com/login/oauth/authorize', pkce: 'S256', scopeParameter: 'none' },
  scopes: [],
  revocation: {
    url: 'https://api.github.com/applications/{client_id}/grant',
    method: 'DELETE',
    authentication: 'client_secret_basic',
    bodyFormat: 'json',
    token: 'access',
    tokenParameter: 'access_token',
    ends: 'account',
    alreadyGone: [{ status: 404 }],
  },
  lifetimes: {
    cap: { count: 10, note: 'documented for OAuth apps (ten tokens per person, app and scope), and assumed for Apps' },
  },
  probe: { url: 'https://api.github.com/user', method: 'GET' },
  persona: {
    expiresIn: 'number',
    accessTokenSeconds: 28_800,
    scopeAs: 'absent',
    refreshTokenSeconds: 15_897_600,
    alsoAnswers: { token_type: 'bearer', scope: '' },
    refusals: {
      dead: {
        status: 200,
        body: { error: 'bad_refresh_token', error_description: 'The refresh token passed is incorrect or expired.' },
      },
      configuration: {
        status: 200,
        body: {
          error: 'incorrect_client_credentials',
          error_description: 'The client_id and/or client_secret passed are incorrect.',
        },
      },
      transient: {
        status: 403,
        body: { message: 'You have exceeded a secondary rate limit.' },
        headers: { 'retry-after': '60' },
      },
    },
  },
  manualSteps: [
    'Connect the account again by a link. What the app may do is set with the app, not asked for in the link.',
    'GitHub Enterprise Server: set base_urls, github.com to https://{host} and api.github.com to https://{host}/api/v3.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'documented', source: 'github/docs refreshing-user-access-tokens.md' },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'github/docs refreshing-user-access-tokens.md: with expiring tokens, the default',
    },
    'oauth2.lostAnswer': {
      sureness: 'documented',
      source: 'github/docs refreshing-user-access-tokens.md: the old refresh token and the old access token stop working',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'github/docs refreshing-user-access-tokens.md: eight hours, told in expires_in; without expiring tokens no end',
    },
    'oauth2.errorTable': {
      sureness: 'documented',
      source: 'github/docs troubleshooting-oauth-app-access-token-request-errors.md; bad_refresh_token is seen in public code',
    },
    'oauth2.rateBudget': {
      sureness: 'documented',
      source:
        'github/docs data/reusables/apps/oauth-token-limit.md: ten new tokens an hour for one person, app and scope; no figure for a client',
    },
    'oauth2.replicaLag': {
      sureness: 'seen',
      source: 'coder/coder externalauth: a fresh token may be refused for some milliseconds',
    },
    'consent.authorizeEndpoint': {
      sureness: 'documented',
      source: 'github/docs generating-a-user-access-token-for-a-github-app.md',
    },
    'consent.pkce': { sureness: 'known', source: 'S256 is accepted; from memory' },
    scopes: { sureness: 'documented', source: 'Apps have permissions in place of scopes; scope in the answer is empty' },
    'lifetimes.refreshTokenSeconds': {
      sureness: 'documented',
      source: 'six months, told in refresh_token_expires_in of every answer',
    },
    'lifetimes.cap': {
      sureness: 'inferred',
      source: 'github/docs data/reusables/apps/oauth-token-limit.md speaks of OAuth apps',
    },
    revocation: {
      sureness: 'known',
      source:
        'https://docs.github.com/en/rest/apps/oauth-applications: the whole grant, since one token would leave the refresh token',
    },
    probe: {
      sureness: 'known',
      source: 'https://docs.github.com/en/rest/users/users: 403 and 429 do not mean that the token is dead',
    },
  },
};
