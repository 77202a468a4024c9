// Any provider that follows RFC 6749 section 6. The credential sets every field; a field that is not set has the value with the
// smallest risk of losing a grant.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'generic-oauth2',
  title: 'OAuth 2 (any provider)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: '',
    hosts: [],
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'form',
    refreshTokenRotates: 'sometimes',
    lostAnswer: { kind: 'unsafe' },
    scopeSeparator: ' ',
  },
  adjustable: [
    'tokenEndpoint',
    'clientAuthentication',
    'bodyFormat',
    'refreshTokenRotates',
    'lostAnswer',
    'accessTokenTtlSeconds',
    'extraParameters',
    'scopeSeparator',
    'assertionAudience',
  ],
  consent: { authorizeEndpoint: '', pkce: 'S256' },
  scopes: [{ from: 'answer' }, { from: 'introspection' }, { from: 'jwt', claim: 'scope' }],
  persona: {
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant' } },
      configuration: { status: 401, body: { error: 'invalid_client' } },
      transient: { status: 503, body: { error: 'temporarily_unavailable' } },
    },
  },
  manualSteps: [
    'Ask the person who connected the account to connect it again at the provider.',
    'Put the new access token and refresh token into the same credential; its id and history stay.',
  ],
  facts: {
    'oauth2.clientAuthentication': {
      sureness: 'documented',
      source: 'RFC 6749 section 2.3.1: a server must support Basic for clients with a password',
    },
    'oauth2.refreshTokenRotates': { sureness: 'unknown', source: 'differs by provider' },
    'oauth2.lostAnswer': { sureness: 'unknown', source: 'differs by provider; unsafe loses least' },
    'oauth2.errorTable': { sureness: 'documented', source: 'RFC 6749 section 5.2' },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'differs by provider' },
    'consent.pkce': { sureness: 'documented', source: 'RFC 9700 section 2.1.1; a provider that knows none ignores it' },
    introspection: { sureness: 'documented', source: 'RFC 7662, at introspection_endpoint' },
    revocation: { sureness: 'documented', source: 'RFC 7009, at revocation_endpoint' },
    lifetimes: { sureness: 'unknown', source: 'differs by provider; idle_limit_days and absolute_limit_days tell the forecast' },
    probe: { sureness: 'unknown', source: 'differs by provider; introspection is asked where there is one' },
  },
};
