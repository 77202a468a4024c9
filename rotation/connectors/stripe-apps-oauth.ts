// Stripe Apps: a token of one hour, and a refresh token that rotates with every exchange and is valid for a year.
// The app developer's secret key is the user name of Basic, without a password and without client_id.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'stripe-apps-oauth',
  title: 'Stripe (Apps)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://api.stripe.com/v1/oauth/token',
    hosts: ['api.stripe.com'],
    clientAuthentication: 'client_secret_as_user',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    exchangeSendsRedirectUri: false,
    accountFields: { stripe_user_id: 'stripe_user_id', livemode: 'livemode' },
    accountId: 'stripe_user_id',
  },
  adjustable: ['lostAnswer'],
  consent: { authorizeEndpoint: 'https://marketplace.stripe.com/oauth/v2/authorize', pkce: 'refused', scopeParameter: 'none' },
  scopes: [{ from: 'answer' }],
  lifetimes: { refreshTokenSeconds: 365 * 86_400 },
  probe: { url: 'https://api.stripe.com/v1/account', method: 'GET' },
  persona: {
    expiresIn: 'absent',
    alsoAnswers: { stripe_user_id: 'acct_madeup', livemode: false, stripe_publishable_key: 'pk_test_not-a-real-secret' },
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant', error_description: 'Refresh token does not exist or has been used' } },
      configuration: { status: 401, body: { error: { type: 'invalid_request_error', code: 'api_key_expired' } } },
      transient: { status: 429, body: { error: { type: 'rate_limit_error' } } },
    },
  },
  manualSteps: [
    'The client secret is the secret key of the account that made the app.',
    'Connect the account again by a link; for the sandbox of an app set authorization_endpoint.',
    'To withdraw a grant, the customer uninstalls the app: no call for it is known.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'documented',
      source: 'https://docs.stripe.com/stripe-apps/api-authentication/oauth (via quotations)',
    },
    'oauth2.clientAuthentication': {
      sureness: 'seen',
      source: 'NangoHQ/nango packages/shared/lib/clients/provider.client.ts; public code',
    },
    'oauth2.exchangeSendsRedirectUri': { sureness: 'seen', source: 'the documented call sends grant_type and code only' },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'https://docs.stripe.com/stripe-apps/api-authentication/oauth (via quotations): rolled on every exchange',
    },
    'oauth2.lostAnswer': {
      sureness: 'unknown',
      source: 'rolled on every exchange, and whether there is a grace is not known: unsafe loses least',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'https://docs.stripe.com/stripe-apps/api-authentication/oauth (via quotations): one hour; no expires_in comes',
    },
    'oauth2.errorTable': { sureness: 'seen', source: 'https://nango.dev/blog/stripe-oauth-refresh-token-invalid-grant' },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml stripe-app' },
    'consent.pkce': { sureness: 'known', source: 'not used; unknown parameters are refused by Stripe’s API' },
    'consent.scopeParameter': { sureness: 'inferred', source: 'permissions stand in the manifest of the app' },
    'lifetimes.refreshTokenSeconds': {
      sureness: 'documented',
      source: 'https://docs.stripe.com/stripe-apps/api-authentication/oauth (via quotations): one year from issue',
    },
    revocation: { sureness: 'unknown', source: 'a call was seen named in one project and not verified' },
    probe: { sureness: 'seen', source: 'Infisical/infisical app-connection/stripe: 401 is dead, 403 is alive but narrow' },
  },
};
