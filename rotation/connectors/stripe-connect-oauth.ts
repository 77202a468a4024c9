// Stripe Connect, standard accounts: the token does not expire; disconnecting the account ends it.
// If possible, call Stripe with the platform's own key and the header Stripe-Account instead.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'stripe-connect-oauth',
  title: 'Stripe (Connect)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://connect.stripe.com/oauth/token',
    hosts: ['connect.stripe.com', 'api.stripe.com'],
    renewal: { kind: 'none' },
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 'never',
    scopeSeparator: ' ',
    exchangeSendsRedirectUri: false,
    accountFields: { stripe_user_id: 'stripe_user_id', livemode: 'livemode' },
    accountId: 'stripe_user_id',
  },
  consent: {
    authorizeEndpoint: 'https://connect.stripe.com/oauth/authorize',
    pkce: 'refused',
    scopeTitles: {
      read_only: 'Read everything in the account',
      read_write: 'Read and change everything in the account',
    },
  },
  scopes: [{ from: 'answer' }],
  revocation: {
    url: 'https://connect.stripe.com/oauth/deauthorize',
    method: 'POST',
    authentication: 'client_secret_as_user',
    bodyFormat: 'form',
    token: 'access',
    extraParameters: { client_id: '{client_id}', stripe_user_id: '{account.stripe_user_id}' },
    ends: 'account',
  },
  probe: { url: 'https://api.stripe.com/v1/account', method: 'GET' },
  persona: {
    expiresIn: 'absent',
    alsoAnswers: { stripe_user_id: 'acct_madeup', livemode: false, stripe_publishable_key: 'pk_test_not-a-real-secret' },
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant', error_description: 'Authorization code does not exist' } },
      configuration: { status: 401, body: { error: 'invalid_client', error_description: 'No such API key' } },
      transient: { status: 429, body: { error: { type: 'rate_limit_error' } } },
    },
  },
  manualSteps: [
    'The client secret is the platform’s secret key; the client id begins with ca_.',
    'Connect the account again by a link when a call is refused: the token does not end by itself.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml stripe' },
    'oauth2.clientAuthentication': {
      sureness: 'known',
      source: 'https://docs.stripe.com/connect/oauth-reference: the secret key as client_secret',
    },
    'oauth2.exchangeSendsRedirectUri': {
      sureness: 'known',
      source: 'https://docs.stripe.com/connect/oauth-reference lists grant_type and code',
    },
    'oauth2.refreshTokenRotates': { sureness: 'known', source: 'https://docs.stripe.com/connect/oauth-reference' },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'nothing is refreshed' },
    'oauth2.accessTokenTtlSeconds': { sureness: 'known', source: 'https://docs.stripe.com/connect/oauth-reference: no end' },
    'oauth2.errorTable': { sureness: 'known', source: 'RFC 6749 codes' },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml stripe' },
    'consent.pkce': { sureness: 'known', source: 'not used; unknown parameters are refused by Stripe’s API' },
    revocation: {
      sureness: 'seen',
      source:
        'public code, and https://docs.stripe.com/connect/oauth-reference: client_id and stripe_user_id, the secret key proves',
    },
    'revocation.alreadyGone': {
      sureness: 'unknown',
      source: 'what is answered for an account that is disconnected already was not read',
    },
    probe: { sureness: 'seen', source: 'Infisical/infisical app-connection/stripe: 401 is dead, 403 is alive but narrow' },
  },
};
