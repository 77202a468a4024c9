// Salesforce, web server flow. Every org has its own host, which is in the answer and receives the calls.
// A concurrent second refresh is refused with the code of a dead grant: its row must stay first.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'salesforce-oauth',
  title: 'Salesforce',
  kind: 'oauth2',
  parameters: [
    {
      name: 'login_host',
      title: 'Login host: login.salesforce.com, test.salesforce.com for sandboxes, or your My Domain',
      shape: 'host',
      default: 'login.salesforce.com',
    },
  ],
  oauth2: {
    tokenEndpoint: 'https://{login_host}/services/oauth2/token',
    hosts: ['{login_host}', '*.my.salesforce.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'sometimes',
    lostAnswer: { kind: 'unsafe' },
    scopeSeparator: ' ',
    accountFields: { instance_url: 'instance_url', identity: 'id' },
    accountId: 'identity',
    errorTable: [
      { code: 'invalid_grant', text: 'already being processed', means: 'transient', cause: 'concurrent_refresh' },
      { code: 'invalid_grant', text: 'rate exceeded', means: 'transient', cause: 'login_rate_exceeded' },
      { code: 'invalid_grant', text: 'ip restricted', means: 'configuration', cause: 'ip_restricted' },
      { code: 'invalid_grant', text: 'inactive user', means: 'dead', cause: 'inactive_user' },
      { code: 'invalid_grant', text: 'expired access/refresh token', means: 'dead', cause: 'refresh_token_expired' },
      { code: 'invalid_client_id', means: 'configuration', cause: 'invalid_client_id' },
    ],
  },
  adjustable: ['clientAuthentication', 'refreshTokenRotates', 'lostAnswer', 'accessTokenTtlSeconds', 'assertionAudience'],
  consent: {
    authorizeEndpoint: 'https://{login_host}/services/oauth2/authorize',
    pkce: 'S256',
    alwaysScopes: ['refresh_token'],
    scopeTitles: {
      refresh_token: 'Stay connected while nobody is signed in',
      api: 'Read and change data the person may see',
      chatter_api: 'Use Chatter',
      id: 'Know who connected',
      openid: 'Know who connected',
      web: 'Open pages as the person',
      full: 'Everything the person may do',
    },
  },
  scopes: [{ from: 'answer' }, { from: 'introspection' }],
  introspection: {
    url: '{account.instance_url}/services/oauth2/introspect',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    tokenParameter: 'token',
    fields: { active: 'active', scope: 'scope', expiresAt: 'exp' },
  },
  revocation: {
    url: 'https://{login_host}/services/oauth2/revoke',
    method: 'POST',
    authentication: 'none',
    bodyFormat: 'form',
    token: 'refresh',
    tokenParameter: 'token',
    ends: 'grant',
  },
  lifetimes: {
    cap: { count: 5, note: 'a sixth approval of the same person and app ends the oldest one without notice' },
  },
  probe: { url: '{account.instance_url}/services/oauth2/userinfo', method: 'GET' },
  persona: {
    expiresIn: 'absent',
    alsoAnswers: {
      instance_url: 'https://made-up.my.salesforce.com',
      id: 'https://login.salesforce.com/id/00Dxx0000000000/005xx0000000000',
      issued_at: '1700000000000',
      signature: 'not-a-real-secret',
    },
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant', error_description: 'expired access/refresh token' } },
      configuration: { status: 400, body: { error: 'invalid_client_id', error_description: 'client identifier invalid' } },
      transient: { status: 400, body: { error: 'invalid_grant', error_description: 'token request is already being processed' } },
    },
  },
  manualSteps: [
    'Connect the account again by a link.',
    'If the app turns its refresh tokens (Refresh Token Rotation is on), leave lost_answer as it is; if it is off, lost_answer may be safe.',
    'Set access_token_ttl_seconds to the session timeout of the org: Salesforce does not say in its answers when a token ends.',
    'If the app ends refresh tokens by policy, set idle_limit_days or absolute_limit_days so that the forecast knows it.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml; never *.lightning.force.com' },
    'oauth2.clientAuthentication': {
      sureness: 'known',
      source: 'https://help.salesforce.com remoteaccess_oauth_refresh_token_flow',
    },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'https://help.salesforce.com/apex/HTViewHelpDoc?id=remoteaccess_oauth_refresh_token_flow.htm: an option of the app',
    },
    'oauth2.lostAnswer': {
      sureness: 'seen',
      source:
        'survey quoting Salesforce Help: with rotation on, reuse revokes the current token too; grace unknown, so unsafe unless told',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'unknown',
      source: 'the session timeout of the org (2 hours idle by default); introspection tells exp',
    },
    'oauth2.errorTable': {
      sureness: 'seen',
      source:
        'release note of sfdx-core and code of Segment and PostHog; the text of the login rate is unverified, and errs towards trying again',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'one refresh at a time for one refresh token; no figure for a client' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml salesforce' },
    'consent.pkce': {
      sureness: 'documented',
      source: 'https://developer.salesforce.com/docs/platform/isvforce/guide/secure-code-ac-eca.md',
    },
    'consent.alwaysScopes': { sureness: 'known', source: 'https://help.salesforce.com remoteaccess_oauth_tokens_scopes' },
    introspection: { sureness: 'seen', source: 'NangoHQ/nango packages/shared/lib/clients/provider.client.ts' },
    revocation: {
      sureness: 'known',
      source: 'https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_revoke_token.htm',
    },
    probe: {
      sureness: 'known',
      source: 'userinfo of the instance; the list of API versions answers without a token and proves nothing',
    },
    'lifetimes.cap': {
      sureness: 'documented',
      source:
        'https://docs.oracle.com/en/cloud/paas/integration-cloud/sforce-adapter/ (quotes Salesforce): five approvals a user and app',
    },
    'lifetimes.idleSeconds': {
      sureness: 'unknown',
      source: 'policy of the app: until revoked, a fixed time, or so many idle days',
    },
  },
};
