// Sentry, public integrations: one token endpoint per installation, answers with other member names, status 201.
// The only provider with an official recovery after a lost answer: an assertion signed with the client secret.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'sentry-oauth',
  title: 'Sentry',
  kind: 'oauth2',
  parameters: [
    { name: 'slug', title: 'Slug of the integration', shape: 'label' },
    { name: 'installation', title: 'Installation id', shape: 'label', from: 'callback' },
  ],
  oauth2: {
    tokenEndpoint: 'https://sentry.io/api/0/sentry-app-installations/{installation}/authorizations/',
    hosts: ['sentry.io'],
    renewal: {
      kind: 'refresh_token',
      recovery: {
        algorithm: 'HS256',
        subject: '{client_id}',
        lifetimeSeconds: 60,
        grantType: 'urn:sentry:params:oauth:grant-type:jwt-bearer',
        sentAs: 'bearer',
        scopeIn: 'none',
      },
    },
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'json',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    accessTokenTtlSeconds: 28_800,
    scopeSeparator: ' ',
    answerFields: { accessToken: 'token', refreshToken: 'refreshToken', expiresAt: 'expiresAt', scope: 'scopes' },
    errorTable: [
      { status: 404, text: 'could not find given sentry app installation', means: 'dead', cause: 'uninstalled' },
      { status: 404, text: 'the requested resource does not exist', means: 'dead', cause: 'uninstalled' },
    ],
  },
  consent: {
    authorizeEndpoint: 'https://sentry.io/sentry-apps/{slug}/external-install/',
    pkce: 'refused',
    scopeParameter: 'none',
    callbackParameters: { installationId: 'installation' },
  },
  scopes: [{ from: 'probe_body', path: 'auth.scopes' }],
  probe: { url: 'https://sentry.io/api/0/', method: 'GET' },
  persona: {
    successStatus: 201,
    expiresIn: 'absent',
    scopeAs: 'absent',
    alsoAnswers: { id: '38', dateCreated: '2030-01-01T00:00:00.000Z', state: null, application: null },
    refusals: {
      dead: { status: 404, body: { detail: 'Could not find given sentry app installation' } },
      configuration: { status: 403, body: { error: 'Unauthorized' } },
      transient: { status: 503, body: 'service unavailable' },
    },
  },
  manualSteps: [
    'Connect the organization again by a link. What the integration may do is set with it in Sentry, not asked for in the link.',
    'If Verify Install is on, mark the installation as installed after it is connected.',
    'To withdraw a grant, the customer uninstalls the integration.',
    'Other regions and self-hosted: set base_urls for sentry.io.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'documented',
      source: 'getsentry/sentry-docs integration-platform/public-integration.mdx',
    },
    'oauth2.renewal.recovery': {
      sureness: 'documented',
      source: 'getsentry/sentry-docs public-integration.mdx, Refreshing Tokens Manually',
    },
    'oauth2.answerFields': {
      sureness: 'documented',
      source: 'getsentry/sentry-docs public-integration.mdx: token, refreshToken, expiresAt',
    },
    'oauth2.refreshTokenRotates': { sureness: 'documented', source: 'getsentry/sentry-docs public-integration.mdx' },
    'oauth2.lostAnswer': {
      sureness: 'documented',
      source: 'getsentry/sentry-docs public-integration.mdx: a lost answer is a lost token, and the assertion brings a new pair',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'getsentry/sentry-docs public-integration.mdx: eight hours; expiresAt tells',
    },
    'oauth2.errorTable': {
      sureness: 'seen',
      source:
        'getsentry/sentry src/sentry/sentry_apps/api/bases: an installation that is gone; 403 also means a wrong secret, so it ends nothing',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': {
      sureness: 'documented',
      source: 'getsentry/sentry-docs public-integration.mdx: the fixed external URL',
    },
    'consent.pkce': { sureness: 'documented', source: 'getsentry/sentry-docs public-integration.mdx: none' },
    'consent.state': {
      sureness: 'seen',
      source:
        'one public project receives state again; if Sentry does not send it back, the callback is refused and the grant is put by hand',
    },
    lifetimes: { sureness: 'unknown', source: 'whether and when a refresh token ends by itself is not published' },
    revocation: {
      sureness: 'documented',
      source: 'no call: the customer uninstalls (getsentry/sentry-docs public-integration.mdx)',
    },
    probe: { sureness: 'documented', source: 'getsentry/sentry src/sentry/api/endpoints/index.py: auth.scopes of the token' },
  },
};
