// ClickUp, OAuth apps: a token without expiry, no refresh token, no scopes. The token has the access of the person.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'clickup-oauth',
  title: 'ClickUp',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://api.clickup.com/api/v2/oauth/token',
    hosts: ['api.clickup.com'],
    renewal: { kind: 'none' },
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 'never',
    scopeSeparator: ' ',
  },
  adjustable: ['accessTokenTtlSeconds', 'bodyFormat'],
  consent: { authorizeEndpoint: 'https://app.clickup.com/api', pkce: 'S256', scopeParameter: 'none' },
  scopes: [],
  probe: { url: 'https://api.clickup.com/api/v2/user', method: 'GET' },
  persona: {
    expiresIn: 'absent',
    scopeAs: 'absent',
    refusals: {
      configuration: { status: 400, body: { err: 'Client not found', ECODE: 'OAUTH_010' } },
      transient: { status: 429, body: { err: 'Rate limit reached', ECODE: 'APP_002' } },
    },
  },
  manualSteps: [
    'Connect the account again by a link when a call is refused: the token does not end by itself.',
    'To withdraw a grant, the person removes the app in ClickUp: no call for it is known.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml clickup' },
    'oauth2.refreshTokenRotates': { sureness: 'seen', source: 'NangoHQ/nango: the answer is an access token and nothing else' },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'nothing is refreshed' },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'seen',
      source: 'NangoHQ/nango docs; ClickUp says that an end may come later, so it is adjustable',
    },
    'oauth2.errorTable': {
      sureness: 'unknown',
      source: 'no list of errors of the token endpoint was found; all are configuration',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml clickup' },
    'consent.pkce': {
      sureness: 'unknown',
      source: 'not documented; a challenge is sent, as RFC 6749 section 3.1 lets unknown parameters be ignored',
    },
    scopes: { sureness: 'seen', source: 'there are none; GET /api/v2/team shows the workspaces that were allowed' },
    revocation: { sureness: 'unknown', source: 'no call was found' },
    probe: { sureness: 'seen', source: 'trufflesecurity/trufflehog pkg/detectors/clickuppersonaltoken' },
  },
};
