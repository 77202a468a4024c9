// Google, OAuth clients (Workspace, Analytics, Ads, Firebase). The refresh token never changes, and is issued only at consent.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'google-oauth',
  title: 'Google',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://oauth2.googleapis.com/token',
    hosts: ['oauth2.googleapis.com', 'www.googleapis.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'never',
    lostAnswer: { kind: 'safe' },
    accessTokenTtlSeconds: 3_600,
    scopeSeparator: ' ',
    errorTable: [
      { code: 'invalid_grant', text: 'invalid_rapt', means: 'dead', cause: 'sign_in_again_required' },
      { code: 'admin_policy_enforced', means: 'dead', cause: 'admin_policy_enforced' },
      { code: 'deleted_client', means: 'configuration', cause: 'deleted_client' },
    ],
  },
  adjustable: ['clientAuthentication'],
  consent: {
    authorizeEndpoint: 'https://accounts.google.com/o/oauth2/v2/auth',
    pkce: 'S256',
    extraParameters: { access_type: 'offline', prompt: 'consent' },
    scopeTitles: {
      openid: 'Know who connected',
      'https://www.googleapis.com/auth/gmail.readonly': 'Read mail',
      'https://www.googleapis.com/auth/gmail.send': 'Send mail as the person',
      'https://www.googleapis.com/auth/calendar.readonly': 'Read calendars',
      'https://www.googleapis.com/auth/calendar.events': 'Read and change events',
      'https://www.googleapis.com/auth/drive.readonly': 'Read all files in Drive',
      'https://www.googleapis.com/auth/drive.file': 'Files this app made or was given',
      'https://www.googleapis.com/auth/spreadsheets': 'Read and change all spreadsheets',
      'https://www.googleapis.com/auth/analytics.readonly': 'Read Analytics reports',
      'https://www.googleapis.com/auth/analytics.edit': 'Change Analytics settings',
      'https://www.googleapis.com/auth/adwords': 'Manage Ads campaigns',
    },
  },
  scopes: [{ from: 'answer' }, { from: 'introspection' }],
  introspection: {
    url: 'https://oauth2.googleapis.com/tokeninfo',
    method: 'GET',
    authentication: 'none',
    bodyFormat: 'query',
    tokenParameter: 'access_token',
    fields: { scope: 'scope', expiresAt: 'exp' },
  },
  revocation: {
    url: 'https://oauth2.googleapis.com/revoke',
    method: 'POST',
    authentication: 'none',
    bodyFormat: 'form',
    token: 'refresh',
    tokenParameter: 'token',
    ends: 'account',
    alreadyGone: [{ status: 400, code: 'invalid_token' }],
  },
  lifetimes: {
    idleSeconds: 180 * 86_400,
    cap: { count: 100, note: 'a further grant of the same account and client ends the oldest without notice' },
  },
  // Without the scope openid or profile a working token is rejected here: only a success is conclusive.
  probe: { url: 'https://www.googleapis.com/oauth2/v3/userinfo', method: 'GET', rejectedBy: [] },
  persona: {
    expiresIn: 'number',
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant', error_description: 'Token has been expired or revoked.' } },
      configuration: { status: 401, body: { error: 'deleted_client', error_description: 'The OAuth client was deleted.' } },
      transient: { status: 500, body: { error: 'internal_failure' } },
    },
  },
  manualSteps: [
    'Connect the account again by a link.',
    'While the consent screen is external and in testing, every grant ends after 7 days: set absolute_limit_days to 7 so that the forecast knows it.',
    'Do not connect the same account again and again: each consent counts towards the 100 that Google keeps.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml google' },
    'oauth2.clientAuthentication': { sureness: 'known', source: 'https://developers.google.com/identity/protocols/oauth2' },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'https://developers.google.com/identity/protocols/oauth2 (via quotations): a refresh brings no refresh token',
    },
    'oauth2.lostAnswer': { sureness: 'inferred', source: 'the refresh token is not used up' },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'known',
      source: 'https://developers.google.com/identity/protocols/oauth2; expires_in tells, often 3599',
    },
    'oauth2.errorTable': {
      sureness: 'known',
      source:
        'https://developers.google.com/identity/protocols/oauth2; invalid_rapt is the re-authentication policy of Workspace',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango docs/api-integrations/google' },
    'consent.pkce': { sureness: 'known', source: 'https://developers.google.com/identity/protocols/oauth2: S256' },
    'consent.extraParameters': {
      sureness: 'documented',
      source: 'https://developers.google.com/identity/protocols/oauth2: offline and consent bring a refresh token',
    },
    introspection: {
      sureness: 'known',
      source: 'https://developers.google.com/identity/protocols/oauth2: tokeninfo takes the token in the query',
    },
    'lifetimes.idleSeconds': {
      sureness: 'documented',
      source: 'six months without use, counted as 180 days (Google’s page, via quotations)',
    },
    'lifetimes.refreshTokenSeconds': {
      sureness: 'documented',
      source: 'none normally; 7 days in testing; time-based grants say it in refresh_token_expires_in',
    },
    'lifetimes.cap': {
      sureness: 'documented',
      source: '100 live refresh tokens an account and client (Google’s page, via quotations)',
    },
    revocation: { sureness: 'seen', source: 'https://developers.google.com/identity/protocols/oauth2: answers 200 or 400' },
    'revocation.ends': {
      sureness: 'inferred',
      source: 'what is withdrawn is the app’s access to the account; other grants of both are taken to end too',
    },
    probe: { sureness: 'known', source: 'userinfo; tokeninfo would take the token in a URL' },
  },
};
