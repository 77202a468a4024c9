// monday.com, the old flow: a token without expiry, no refresh token, no challenge.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'monday-legacy-oauth',
  title: 'monday.com (old flow)',
  kind: 'oauth2',
  parameters: [{ name: 'slug', title: 'Your monday.com address: the part before .monday.com', shape: 'label', from: 'consent' }],
  oauth2: {
    tokenEndpoint: 'https://auth.monday.com/oauth2/token',
    hosts: ['auth.monday.com', 'api.monday.com'],
    renewal: { kind: 'none' },
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 'never',
    scopeSeparator: ' ',
    errorTable: [{ text: 'code_challenge is required', means: 'configuration', cause: 'pkce_required' }],
  },
  consent: {
    authorizeEndpoint: 'https://auth.monday.com/oauth2/authorize?subdomain={slug}',
    pkce: 'refused',
    sendsResponseType: false,
    extraParameters: { force_install_if_needed: 'true' },
    scopeTitles: {
      'me:read': 'Know who connected',
      'boards:read': 'Read boards',
      'boards:write': 'Create and change boards and items',
      'users:read': 'Read who works here',
      'workspaces:read': 'Read workspaces',
    },
  },
  scopes: [{ from: 'answer' }],
  probe: { url: 'https://api.monday.com/v2', method: 'POST', body: { query: '{ me { id account { slug } } }' } },
  persona: {
    expiresIn: 'absent',
    refusals: {
      configuration: { status: 400, body: { error: 'invalid_request', error_description: 'code_challenge is required' } },
      transient: { status: 502, body: '<html>bad gateway</html>' },
    },
  },
  manualSteps: [
    'Connect the account again by a link when a call is refused: the token does not end by itself.',
    'To withdraw a grant, an admin uninstalls the app.',
    'If a link fails with pkce_required, the app version moved on: use the connector monday-oauth.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml monday' },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'https://developer.monday.com/apps/docs/migrating-to-the-new-oauth-flow: no refresh token',
    },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'nothing is refreshed' },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'https://developer.monday.com/apps/docs/migrating-to-the-new-oauth-flow: the old token has no end',
    },
    'oauth2.errorTable': { sureness: 'seen', source: 'the answer of an app version that enforces OAuth 2.1' },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': {
      sureness: 'known',
      source:
        'subdomain: https://developer.monday.com/apps/docs/oauth (not read again); the address: NangoHQ/nango providers.yaml',
    },
    'consent.pkce': { sureness: 'seen', source: 'the old flow has none; response_type is left out too' },
    'lifetimes.scheduled': { sureness: 'unknown', source: 'no date for the end of the old flow was found' },
    revocation: { sureness: 'seen', source: 'no call; the token dies with the app’s uninstallation' },
    probe: { sureness: 'seen', source: 'trufflesecurity/trufflehog pkg/detectors/monday; the Bearer prefix is inferred' },
  },
};
