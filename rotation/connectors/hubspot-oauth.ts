// HubSpot, OAuth apps: the dated endpoints, which accept tokens in the body only.
// The v1 endpoints have tokens in URLs and end in 2027; a credential that uses them gets a warning.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'hubspot-oauth',
  title: 'HubSpot',
  kind: 'oauth2',
  parameters: [
    {
      name: 'region',
      title: 'How your HubSpot address begins: app-eu1 if the account is hosted in Europe, otherwise app',
      shape: 'label',
      default: 'app',
      from: 'consent',
      values: ['app', 'app-eu1'],
    },
  ],
  oauth2: {
    tokenEndpoint: 'https://api.hubapi.com/oauth/2026-03/token',
    hosts: ['api.hubapi.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 1_800,
    scopeSeparator: ' ',
    answerFields: { scope: 'scopes' },
    accountFields: { hub_id: 'hub_id', user_id: 'user_id' },
    accountId: 'hub_id',
    errorTable: [{ code: 'BAD_REFRESH_TOKEN', means: 'dead', cause: 'bad_refresh_token' }],
  },
  adjustable: ['tokenEndpoint', 'clientAuthentication'],
  consent: {
    authorizeEndpoint: 'https://{region}.hubspot.com/oauth/authorize',
    pkce: 'S256',
    alwaysScopes: ['oauth'],
    scopeTitles: {
      oauth: 'Connect this app to the account',
      'crm.objects.contacts.read': 'Read contacts',
      'crm.objects.contacts.write': 'Create and change contacts',
      'crm.objects.companies.read': 'Read companies',
      'crm.objects.companies.write': 'Create and change companies',
      'crm.objects.deals.read': 'Read deals',
      'crm.objects.deals.write': 'Create and change deals',
      'crm.objects.owners.read': 'Read who owns records',
      tickets: 'Read and change tickets',
    },
  },
  scopes: [{ from: 'answer' }, { from: 'introspection' }],
  introspection: {
    url: 'https://api.hubapi.com/oauth/2026-03/token/introspect',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    tokenParameter: 'token',
    fields: { active: 'active', scope: 'scopes', expiresIn: 'expires_in' },
  },
  revocation: {
    url: 'https://api.hubapi.com/oauth/2026-03/token/revoke',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    token: 'refresh',
    tokenParameter: 'token',
    sendsHint: true,
    ends: 'account',
  },
  lifetimes: {
    scheduled: [
      {
        at: '2027-02-16',
        ends: 'the v1 OAuth endpoints',
        remedy: 'Remove token_endpoint from the settings before 2027-02-16: the connector uses the endpoint that replaces it.',
        ofTokenEndpoint: '/oauth/v1/',
      },
    ],
  },
  probe: { url: 'https://api.hubapi.com/account-info/v3/details', method: 'GET' },
  persona: {
    expiresIn: 'number',
    scopeAs: 'list',
    alsoAnswers: { hub_id: 1_234_567, user_id: 89, token_use: 'access_token' },
    refusals: {
      dead: {
        status: 400,
        body: {
          status: 'BAD_REFRESH_TOKEN',
          message: 'missing or invalid refresh token',
          error: 'invalid_grant',
          error_description: 'missing or invalid refresh token',
        },
      },
      configuration: { status: 401, body: { error: 'invalid_client', error_description: 'client authentication failed' } },
      transient: { status: 429, body: { status: 'error', message: 'too many requests' }, headers: { 'retry-after': '10' } },
    },
  },
  manualSteps: [
    'Connect the account again by a link. For an account hosted in Europe choose app-eu1 there, or preset it: --param region=app-eu1.',
    'Tokens of private apps and service keys are not grants: rotate them in HubSpot and put them as an api_key.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'documented',
      source: 'https://developers.hubspot.com/changelog/v1-oauth-api-deprecation',
    },
    'oauth2.clientAuthentication': {
      sureness: 'documented',
      source: 'HubSpot/HubSpot-public-api-spec-collection, Auth/Oauth 279897: client_secret, or client_assertion',
    },
    'oauth2.refreshTokenRotates': { sureness: 'seen', source: 'public code: the answer brings the refresh token that was sent' },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'the same refresh token comes back, so it works again' },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'https://developers.hubspot.com/changelog/upcoming-expiration-of-oauth-access-tokens-is-changing',
    },
    'oauth2.answerFields': { sureness: 'documented', source: 'API specification: scopes is a list, beside hub_id and user_id' },
    'oauth2.errorTable': {
      sureness: 'documented',
      source: 'https://developers.hubspot.com/changelog/new-oauth-v3-api-endpoints-and-standardized-error-responses',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'public code; app-eu1.hubspot.com for accounts hosted in Europe' },
    'consent.pkce': { sureness: 'documented', source: 'API specification: code_verifier is accepted, not required' },
    'consent.alwaysScopes': {
      sureness: 'known',
      source: 'https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/scopes',
    },
    introspection: { sureness: 'documented', source: 'API specification Auth/Oauth 279897: POST token/introspect' },
    revocation: {
      sureness: 'documented',
      source: 'https://developers.hubspot.com/changelog/v1-oauth-api-deprecation; one refresh token is often shared by a portal',
    },
    'revocation.alreadyGone': { sureness: 'unknown', source: 'what a second revocation answers is not written down' },
    probe: { sureness: 'inferred', source: 'seen for tokens of private apps; for others introspection tells too' },
    'lifetimes.scheduled': {
      sureness: 'documented',
      source: 'https://developers.hubspot.com/changelog/v1-oauth-api-deprecation',
    },
    lifetimes: { sureness: 'unknown', source: 'whether and when a refresh token ends by itself is not published' },
  },
};
