// monday.com, OAuth 2.1 (an app version opts in): refresh tokens rotate with every use, and the grant ends half a year after consent.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'monday-oauth',
  title: 'monday.com',
  kind: 'oauth2',
  parameters: [{ name: 'slug', title: 'Your monday.com address: the part before .monday.com', shape: 'label', from: 'consent' }],
  oauth2: {
    tokenEndpoint: 'https://auth.monday.com/oauth_ms/oauth/token',
    hosts: ['auth.monday.com', 'api.monday.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    accessTokenTtlSeconds: 1_800,
    scopeSeparator: ' ',
    errorTable: [{ text: 'code_challenge is required', means: 'configuration', cause: 'pkce_required' }],
  },
  adjustable: ['bodyFormat', 'lostAnswer', 'accessTokenTtlSeconds'],
  consent: {
    authorizeEndpoint: 'https://auth.monday.com/oauth2/authorize?subdomain={slug}',
    pkce: 'S256',
    extraParameters: { force_install_if_needed: 'true' },
    scopeTitles: {
      'me:read': 'Know who connected',
      'account:read': 'Read the account',
      'boards:read': 'Read boards',
      'boards:write': 'Create and change boards and items',
      'users:read': 'Read who works here',
      'workspaces:read': 'Read workspaces',
      'updates:read': 'Read updates',
      'updates:write': 'Post updates',
      'webhooks:write': 'Be told of changes',
    },
  },
  scopes: [{ from: 'answer' }],
  revocation: {
    url: 'https://auth.monday.com/oauth_ms/oauth/revoke',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    token: 'refresh',
    tokenParameter: 'token',
    sendsHint: true,
    ends: 'grant',
  },
  lifetimes: { absoluteSeconds: 180 * 86_400 },
  // A busy API also answers 200 with errors, so errors are not a rejection: only the status is.
  probe: {
    url: 'https://api.monday.com/v2',
    method: 'POST',
    body: { query: '{ me { id account { slug } } }' },
  },
  persona: {
    expiresIn: 'absent',
    accessTokenIs: 'jwt',
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant', error_description: 'refresh token is invalid' } },
      configuration: { status: 400, body: { error: 'invalid_request', error_description: 'code_challenge is required' } },
      transient: { status: 502, body: '<html>bad gateway</html>' },
    },
  },
  manualSteps: [
    'An account admin installs the app first; a member cannot consent before that.',
    'Connect the account again by a link before month six: the grant ends then, whatever is done.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'seen',
      source: 'a migration guide and ten public projects agree on auth.monday.com/oauth_ms',
    },
    'oauth2.bodyFormat': { sureness: 'seen', source: 'form and JSON both seen to work' },
    'oauth2.refreshTokenRotates': {
      sureness: 'seen',
      source: 'https://developer.monday.com/apps/docs/migrating-to-the-new-oauth-flow (read in part); migration guide',
    },
    'oauth2.lostAnswer': {
      sureness: 'unknown',
      source: 'single use, and whether there is a grace is not known: unsafe loses least',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'inferred',
      source: 'no expires_in comes; exp of the JWT tells, and without one half an hour is assumed',
    },
    'oauth2.errorTable': { sureness: 'seen', source: 'migration guide; a bare 400 or 401 is not taken for the end of a grant' },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': {
      sureness: 'known',
      source:
        'subdomain: https://developer.monday.com/apps/docs/oauth (not read again); the address: NangoHQ/nango providers.yaml; migration guide',
    },
    'consent.pkce': { sureness: 'seen', source: 'some app versions refuse without it' },
    'lifetimes.absoluteSeconds': {
      sureness: 'seen',
      source: 'six months after the first consent, counted as 180 days; a single source',
    },
    'lifetimes.idleSeconds': { sureness: 'unknown', source: 'no idle limit was found' },
    revocation: { sureness: 'seen', source: 'migration guide: answers {"success": true}' },
    probe: {
      sureness: 'seen',
      source: 'trufflesecurity/trufflehog pkg/detectors/monday; the Bearer prefix is inferred from token_type',
    },
  },
};
