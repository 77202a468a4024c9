// Google, service accounts: a signed assertion is exchanged for a token of one hour. No person, no refresh token, nothing to lose.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'google-service-account',
  title: 'Google (service account)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://oauth2.googleapis.com/token',
    // Its token is also the admin credential of google-service-account-key.
    hosts: ['oauth2.googleapis.com', 'iam.googleapis.com'],
    renewal: {
      kind: 'jwt_bearer',
      assertion: {
        algorithm: 'RS256',
        audience: 'https://oauth2.googleapis.com/token',
        lifetimeSeconds: 300,
        sentAs: 'parameter',
        scopeIn: 'claim',
      },
    },
    clientAuthentication: 'none',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    // There is no consent: a refused assertion has its cause in the key, the account or the clock.
    errorTable: [
      { code: 'invalid_grant', text: 'account not found', means: 'configuration', cause: 'account_not_found' },
      { code: 'invalid_grant', means: 'configuration', cause: 'assertion_refused' },
    ],
  },
  scopes: [{ from: 'introspection' }],
  introspection: {
    url: 'https://oauth2.googleapis.com/tokeninfo',
    method: 'GET',
    authentication: 'none',
    bodyFormat: 'query',
    tokenParameter: 'access_token',
    fields: { scope: 'scope', expiresAt: 'exp' },
  },
  persona: {
    expiresIn: 'number',
    scopeAs: 'absent',
    refusals: {
      configuration: { status: 400, body: { error: 'invalid_grant', error_description: 'Invalid JWT Signature.' } },
      transient: { status: 503, body: { error: 'internal_failure' } },
    },
  },
  manualSteps: [
    'Set client_id to client_email of the key file, put private_key as client_private_key_pem, and set scope to what is needed.',
    'A new key may take a minute until Google knows it; until then it is refused as assertion_refused.',
    'To withdraw access, disable the key in Google Cloud, and delete it once nothing misses it.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'seen',
      source: 'Infisical/infisical secret-rotation-v2/gcp-service-account-key; RFC 7523 section 2.1',
    },
    'oauth2.renewal': {
      sureness: 'known',
      source: 'https://developers.google.com/identity/protocols/oauth2/service-account: RS256, scope as a claim, at most an hour',
    },
    'oauth2.renewal.subject': {
      sureness: 'known',
      source: 'acting for a person of the domain (sub) is not offered: no parameter takes a mail address',
    },
    'oauth2.refreshTokenRotates': { sureness: 'documented', source: 'RFC 7523: no refresh token comes' },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'nothing is spent by asking' },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'known',
      source: 'https://developers.google.com/identity/protocols/oauth2/service-account; expires_in tells',
    },
    'oauth2.errorTable': {
      sureness: 'known',
      source: 'https://developers.google.com/identity/protocols/oauth2/service-account: error codes',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    introspection: { sureness: 'known', source: 'https://developers.google.com/identity/protocols/oauth2: tokeninfo' },
    revocation: { sureness: 'unknown', source: 'tokens live an hour; whether they can be revoked one by one is not known' },
    probe: { sureness: 'unknown', source: 'depends on the scopes; introspection tells whether a token works' },
  },
};
