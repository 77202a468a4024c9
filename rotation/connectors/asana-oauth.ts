// Asana, OAuth apps. The refresh token never changes, and only it can be revoked.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'asana-oauth',
  title: 'Asana',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://app.asana.com/-/oauth_token',
    hosts: ['app.asana.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    accountFields: { user_gid: 'data.gid', user_name: 'data.name' },
    accountId: 'user_gid',
  },
  consent: {
    authorizeEndpoint: 'https://app.asana.com/-/oauth_authorize',
    pkce: 'S256',
    scopeTitles: {
      default: 'Everything the person may do',
      'tasks:read': 'Read tasks',
      'tasks:write': 'Create and change tasks',
      'tasks:delete': 'Delete tasks',
      'projects:read': 'Read projects',
      'projects:write': 'Create and change projects',
      'users:read': 'Read who works here',
      'workspaces:read': 'Read workspaces',
      'webhooks:write': 'Be told of changes',
    },
  },
  scopes: [{ from: 'answer' }],
  revocation: {
    url: 'https://app.asana.com/-/oauth_revoke',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    token: 'refresh',
    tokenParameter: 'token',
    ends: 'grant',
  },
  probe: { url: 'https://app.asana.com/api/1.0/users/me', method: 'GET' },
  persona: {
    expiresIn: 'number',
    alsoAnswers: { data: { id: 4_673_218_951, gid: '4673218951', name: 'Made Up', email: 'made-up@example.com' } },
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant', error_description: 'The `refresh_token` provided was invalid.' } },
      configuration: { status: 401, body: { error: 'invalid_client', error_description: 'The `client_secret` was invalid.' } },
      transient: { status: 429, body: { error: 'rate_limit_enforced' }, headers: { 'retry-after': '30' } },
    },
  },
  manualSteps: [
    'Connect the account again by a link.',
    'An app with full permissions asks for the scope default alone; an app with granular ones lists what it needs.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'documented', source: 'https://developers.asana.com/docs/oauth' },
    'oauth2.clientAuthentication': { sureness: 'documented', source: 'https://developers.asana.com/docs/oauth' },
    'oauth2.refreshTokenRotates': {
      sureness: 'known',
      source: 'https://developers.asana.com/docs/oauth: a refresh brings no refresh token',
    },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'the refresh token is not used up' },
    'oauth2.accessTokenTtlSeconds': { sureness: 'known', source: 'https://developers.asana.com/docs/oauth: one hour' },
    'oauth2.errorTable': { sureness: 'known', source: 'RFC 6749 codes; no list of its own was found' },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': {
      sureness: 'documented',
      source: 'https://developers.asana.com/docs/oauth; Asana/openapi defs/asana_oas.yaml',
    },
    'consent.pkce': { sureness: 'known', source: 'https://developers.asana.com/docs/oauth: S256' },
    scopes: { sureness: 'unknown', source: 'no call that reads the scopes of a token is known; the answer is all there is' },
    lifetimes: { sureness: 'unknown', source: 'whether and when a refresh token ends by itself is not published' },
    revocation: {
      sureness: 'known',
      source: 'https://developers.asana.com/docs/oauth, and public code: token is the refresh token, access tokens are refused',
    },
    probe: { sureness: 'seen', source: 'trufflesecurity/trufflehog pkg/detectors/asanaoauth' },
  },
};
