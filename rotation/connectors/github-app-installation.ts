// GitHub Apps as themselves, in one installation: the app's key signs, GitHub issues a token for one hour.
// There is no refresh token that could be lost, and no consent that could end.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'github-app-installation',
  title: 'GitHub (App, as itself)',
  kind: 'oauth2',
  parameters: [
    { name: 'installation', title: 'Installation id: the number at the end of the installation’s address', shape: 'label' },
  ],
  oauth2: {
    tokenEndpoint: 'https://api.github.com/app/installations/{installation}/access_tokens',
    hosts: ['api.github.com'],
    renewal: { kind: 'app_jwt', assertion: { algorithm: 'RS256', lifetimeSeconds: 300, sentAs: 'bearer', scopeIn: 'none' } },
    clientAuthentication: 'none',
    bodyFormat: 'json',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    answerFields: { accessToken: 'token', expiresAt: 'expires_at' },
    accountFields: { repository_selection: 'repository_selection' },
    errorTable: [
      { status: 403, text: 'rate limit', means: 'transient', cause: 'rate_limited' },
      { status: 403, text: 'suspended', means: 'configuration', cause: 'installation_suspended' },
      { status: 404, means: 'configuration', cause: 'installation_not_found' },
      { status: 401, means: 'configuration', cause: 'app_key_refused' },
      // There is no consent, so no error with this code can end the grant.
      { code: 'invalid_grant', means: 'configuration', cause: 'app_refused' },
    ],
  },
  scopes: [],
  revocation: {
    url: 'https://api.github.com/installation/token',
    method: 'DELETE',
    authentication: 'bearer',
    bodyFormat: 'none',
    token: 'access',
    ends: 'grant',
    alreadyGone: [{ status: 401 }],
  },
  probe: { url: 'https://api.github.com/installation/repositories?per_page=1', method: 'GET' },
  persona: {
    successStatus: 201,
    expiresIn: 'absent',
    scopeAs: 'absent',
    alsoAnswers: { permissions: { contents: 'read', metadata: 'read' }, repository_selection: 'selected' },
    refusals: {
      configuration: {
        status: 401,
        body: { message: 'A JSON web token could not be decoded', documentation_url: 'https://docs.github.com/rest' },
      },
      transient: {
        status: 403,
        body: { message: 'You have exceeded a secondary rate limit.' },
        headers: { 'retry-after': '60' },
      },
    },
  },
  manualSteps: [
    'Set client_id to the client id of the app, put its private key as client_private_key_pem, and name the installation.',
    'To withdraw access, an owner uninstalls the app, or you delete its key.',
    'GitHub Enterprise Server: set base_urls for api.github.com to https://{host}/api/v3.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'known',
      source: 'https://docs.github.com/en/rest/apps/apps: create an installation access token',
    },
    'oauth2.renewal': {
      sureness: 'known',
      source:
        'github/docs generating-a-json-web-token-jwt-for-a-github-app.md: RS256, iss is the client id, at most ten minutes; aud and jti are extra',
    },
    'oauth2.answerFields': {
      sureness: 'known',
      source: 'https://docs.github.com/en/rest/apps/apps: token, expires_at, permissions',
    },
    'oauth2.refreshTokenRotates': { sureness: 'documented', source: 'there is no refresh token: tokens are minted' },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'nothing is spent by asking' },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'github/docs: installation tokens live one hour; expires_at tells',
    },
    'oauth2.errorTable': {
      sureness: 'inferred',
      source: 'by status; a missing installation may also be a wrong app or host, so it ends nothing',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure for minting is published' },
    scopes: { sureness: 'known', source: 'permissions in the answer take the place of scopes, and are not compared' },
    revocation: {
      sureness: 'known',
      source: 'https://docs.github.com/en/rest/apps/installations: revokes the token that asks; the next mint brings another',
    },
    probe: { sureness: 'known', source: 'https://docs.github.com/en/rest/apps/installations' },
  },
};
