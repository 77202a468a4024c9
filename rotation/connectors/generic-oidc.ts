// Any OpenID Connect provider: its endpoints are discovered from the issuer, and the ID token of a grant is checked.
// A field that neither discovery nor the credential sets has the value with the smallest risk of losing a grant.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'generic-oidc',
  title: 'OpenID Connect (any provider)',
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
  consent: {
    authorizeEndpoint: '',
    pkce: 'S256',
    alwaysScopes: ['openid'],
    openid: true,
    scopeTitles: {
      openid: 'Know who connected',
      profile: 'Read the profile of the person',
      email: 'Read the mail address of the person',
      offline_access: 'Stay connected while nobody is signed in',
    },
  },
  scopes: [{ from: 'answer' }, { from: 'introspection' }, { from: 'jwt', claim: 'scope' }],
  persona: {
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant' } },
      configuration: { status: 401, body: { error: 'invalid_client' } },
      transient: { status: 503, body: { error: 'temporarily_unavailable' } },
    },
  },
  manualSteps: [
    'Set issuer: the endpoints are found there. For a refresh token most providers want the scope offline_access, so let a workflow need it.',
    'Connect the account again by a link.',
  ],
  facts: {
    'oauth2.clientAuthentication': { sureness: 'documented', source: 'OpenID Connect Core section 9: Basic is the default' },
    'oauth2.refreshTokenRotates': { sureness: 'unknown', source: 'differs by provider' },
    'oauth2.lostAnswer': { sureness: 'unknown', source: 'differs by provider; unsafe loses least' },
    'oauth2.errorTable': { sureness: 'documented', source: 'RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6' },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'differs by provider' },
    'consent.pkce': { sureness: 'documented', source: 'RFC 9700 section 2.1.1; a provider that knows none ignores it' },
    'consent.alwaysScopes': { sureness: 'documented', source: 'OpenID Connect Core section 3.1.2.1' },
    introspection: { sureness: 'documented', source: 'RFC 7662, at the endpoint that discovery names' },
    revocation: { sureness: 'documented', source: 'RFC 7009, at the endpoint that discovery names' },
    lifetimes: { sureness: 'unknown', source: 'differs by provider; idle_limit_days and absolute_limit_days tell the forecast' },
    probe: { sureness: 'unknown', source: 'userinfo differs by provider; introspection is asked where there is one' },
  },
};
