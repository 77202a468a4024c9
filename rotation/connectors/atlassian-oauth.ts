// Atlassian (Jira, Confluence) Cloud, OAuth 2.0 (3LO). One grant may cover several sites: the person chooses one after consent.
// Refusals have status 403, and access_denied has two meanings: neither alone may end a grant.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'atlassian-oauth',
  title: 'Atlassian (Jira, Confluence)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://auth.atlassian.com/oauth/token',
    hosts: ['auth.atlassian.com', 'api.atlassian.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'json',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'window', seconds: 600 },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    errorTable: [
      // A wrong client secret, or a person who declined: the grant is valid.
      { code: 'access_denied', means: 'configuration', cause: 'access_denied' },
      // Seen for a stale token and for a client without rights; the text does not distinguish them reliably.
      { code: 'unauthorized_client', means: 'configuration', cause: 'unauthorized_client' },
      { code: 'invalid_grant', means: 'dead', cause: 'invalid_grant' },
    ],
  },
  adjustable: ['lostAnswer', 'bodyFormat'],
  consent: {
    authorizeEndpoint: 'https://auth.atlassian.com/authorize',
    pkce: 'S256',
    extraParameters: { audience: 'api.atlassian.com', prompt: 'consent' },
    alwaysScopes: ['offline_access'],
    scopeTitles: {
      offline_access: 'Stay connected while nobody is signed in',
      'read:jira-work': 'Read issues and projects',
      'write:jira-work': 'Create and change issues',
      'read:jira-user': 'Read who works in Jira',
      'manage:jira-project': 'Change project settings',
      'manage:jira-configuration': 'Change Jira settings',
      'read:confluence-content.all': 'Read pages',
      'write:confluence-content': 'Create and change pages',
      'read:me': 'Read the profile of the person',
    },
    choice: {
      url: 'https://api.atlassian.com/oauth/token/accessible-resources',
      title: 'Which site?',
      items: '',
      idField: 'id',
      labelField: 'name',
      accountField: 'cloud_id',
    },
  },
  scopes: [{ from: 'answer' }, { from: 'probe_body', path: '0.scopes' }],
  lifetimes: { idleSeconds: 90 * 86_400, absoluteSeconds: 365 * 86_400 },
  probe: { url: 'https://api.atlassian.com/oauth/token/accessible-resources', method: 'GET' },
  persona: {
    expiresIn: 'number',
    accessTokenIs: 'jwt',
    graceSeconds: 600,
    refusals: {
      dead: { status: 403, body: { error: 'invalid_grant', error_description: 'Unknown or invalid refresh token.' } },
      configuration: { status: 401, body: { error: 'access_denied', error_description: 'Unauthorized' } },
      transient: { status: 503, body: 'upstream connect error' },
    },
  },
  manualSteps: [
    'Connect the account again by a link, and choose the same site.',
    'To withdraw a grant, the person removes the app at id.atlassian.com under connected apps: no call for it is documented.',
    'Calls go to https://api.atlassian.com/ex/jira/{cloud_id}/...: the site’s own address does not take these tokens.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'seen', source: 'MrRefactoring/jira.js src/core/oauth; NangoHQ/nango providers.yaml' },
    'oauth2.bodyFormat': { sureness: 'seen', source: 'MrRefactoring/jira.js: JSON; a form is seen to work too' },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'https://developer.atlassian.com/cloud/oauth/getting-started/refresh-tokens',
    },
    'oauth2.lostAnswer': {
      sureness: 'known',
      source:
        'https://workos.com/blog/refresh-token-behavior-across-fourteen-providers: a reuse window; its ten minutes are from the announcement, not re-read',
    },
    'oauth2.accessTokenTtlSeconds': { sureness: 'seen', source: 'MrRefactoring/jira.js src/core/oauth; expires_in tells' },
    'oauth2.errorTable': {
      sureness: 'seen',
      source:
        'https://nango.dev/blog/jira-oauth-refresh-token-invalid-grant; MrRefactoring/jira.js src/core/errors/predicates.ts',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango docs/api-integrations/jira' },
    'consent.pkce': {
      sureness: 'unknown',
      source: 'not documented for 3LO; a challenge is sent, as RFC 6749 section 3.1 lets unknown parameters be ignored',
    },
    'consent.choice': {
      sureness: 'seen',
      source: 'MrRefactoring/jira.js: id is the cloud id, an empty list means that the person has no site',
    },
    'scopes.probe_body': {
      sureness: 'seen',
      source: 'accessible-resources: every entry lists its scopes; of several sites the first is read',
    },
    'lifetimes.idleSeconds': { sureness: 'seen', source: 'MrRefactoring/jira.js; NangoHQ/nango docs: 90 days' },
    'lifetimes.absoluteSeconds': {
      sureness: 'seen',
      source: 'NangoHQ/nango docs/api-integrations/jira: 365 days; a single third-party source',
    },
    revocation: { sureness: 'unknown', source: 'no revocation endpoint of 3LO was found' },
    probe: { sureness: 'seen', source: 'MrRefactoring/jira.js; also lists the sites of the grant' },
  },
};
