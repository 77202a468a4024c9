// Intercom, OAuth apps: a token without expiry, permissions configured in the app, one host per region.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'intercom-oauth',
  title: 'Intercom',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://api.intercom.io/auth/eagle/token',
    hosts: ['api.intercom.io'],
    renewal: { kind: 'none' },
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 'never',
    scopeSeparator: ' ',
  },
  adjustable: ['bodyFormat'],
  consent: { authorizeEndpoint: 'https://app.intercom.com/oauth', pkce: 'S256', scopeParameter: 'none' },
  scopes: [],
  revocation: {
    url: 'https://api.intercom.io/auth/uninstall',
    method: 'POST',
    authentication: 'bearer',
    bodyFormat: 'json',
    token: 'access',
    ends: 'account',
  },
  probe: { url: 'https://api.intercom.io/me', method: 'GET', headers: { 'intercom-version': '2.11' } },
  persona: {
    expiresIn: 'absent',
    scopeAs: 'absent',
    alsoAnswers: { token: 'not-a-real-secret' },
    refusals: {
      configuration: {
        status: 401,
        body: { type: 'error.list', errors: [{ code: 'unauthorized', message: 'Access Token Invalid' }] },
      },
      transient: {
        status: 429,
        body: { type: 'error.list', errors: [{ code: 'rate_limit_exceeded' }] },
        headers: { 'x-ratelimit-reset': '60' },
      },
    },
  },
  manualSteps: [
    'Europe: set base_urls for api.intercom.io to https://api.eu.intercom.io and authorization_endpoint to https://app.eu.intercom.com/oauth; Australia: api.au and app.au.',
    'Connect the account again by a link when a call is refused: the token does not end by itself.',
    'What the token may do is set in the Developer Hub under the app’s permissions.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'seen',
      source: 'NangoHQ/nango providers.yaml intercom; a wrong region is refused as unauthorized',
    },
    'oauth2.refreshTokenRotates': { sureness: 'seen', source: 'NangoHQ/nango: no refresh token comes' },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'nothing is refreshed' },
    'oauth2.accessTokenTtlSeconds': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml intercom: no end' },
    'oauth2.errorTable': {
      sureness: 'unknown',
      source: 'no list of errors of the token endpoint was found; all are configuration',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml intercom' },
    'consent.pkce': {
      sureness: 'unknown',
      source: 'not documented; a challenge is sent, as RFC 6749 section 3.1 lets unknown parameters be ignored',
    },
    scopes: { sureness: 'unknown', source: 'no call that reads the permissions of a token is known' },
    revocation: {
      sureness: 'seen',
      source: 'NangoHQ/nango providers/intercom/pre-connection-deletion.ts: uninstalls the app from the workspace',
    },
    probe: { sureness: 'documented', source: 'intercom/Intercom-OpenAPI descriptions/2.11/api.intercom.io.yaml: GET /me' },
  },
};
