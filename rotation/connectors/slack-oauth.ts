// Slack, bot tokens: at the top level of every answer. Refusals have status 200 and ok: false.
// With token rotation a refresh uses up the refresh token; without it the token does not expire.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'slack-oauth',
  title: 'Slack (bot)',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://slack.com/api/oauth.v2.access',
    hosts: ['slack.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    accessTokenTtlSeconds: 'never',
    scopeSeparator: ',',
    accountFields: {
      team_id: 'team.id',
      team_name: 'team.name',
      bot_user_id: 'bot_user_id',
      app_id: 'app_id',
      enterprise_id: 'enterprise.id',
    },
    accountId: 'team_id',
    errorTable: [
      { code: 'internal_error', means: 'transient', cause: 'internal_error' },
      { code: 'fatal_error', means: 'transient', cause: 'fatal_error' },
      { code: 'ratelimited', means: 'transient', cause: 'ratelimited' },
      { code: 'invalid_refresh_token', means: 'dead', cause: 'invalid_refresh_token' },
      { code: 'token_revoked', means: 'dead', cause: 'token_revoked' },
      { code: 'account_inactive', means: 'dead', cause: 'account_inactive' },
      { code: 'invalid_auth', means: 'dead', cause: 'invalid_auth' },
      { code: 'bad_client_secret', means: 'configuration', cause: 'wrong_client_secret' },
      { code: 'invalid_client_id', means: 'configuration', cause: 'invalid_client_id' },
    ],
  },
  adjustable: ['lostAnswer', 'clientAuthentication'],
  consent: {
    authorizeEndpoint: 'https://slack.com/oauth/v2/authorize',
    pkce: 'S256',
    scopeTitles: {
      'chat:write': 'Post messages as the app',
      'channels:read': 'See public channels',
      'channels:history': 'Read messages of public channels the app is in',
      'groups:read': 'See private channels the app is in',
      'im:write': 'Write to people directly',
      'users:read': 'See who works here',
      'users:read.email': 'See mail addresses',
      'files:write': 'Upload files',
      'reactions:write': 'React to messages',
      commands: 'Offer slash commands',
    },
  },
  scopes: [{ from: 'answer' }, { from: 'probe_header', header: 'x-oauth-scopes', separator: ',' }],
  revocation: {
    url: 'https://slack.com/api/auth.revoke',
    method: 'POST',
    authentication: 'bearer',
    bodyFormat: 'form',
    token: 'access',
    ends: 'grant',
    alreadyGone: [{ code: 'token_revoked' }, { code: 'account_inactive' }],
  },
  // Slack rejects a token with status 200.
  probe: { url: 'https://slack.com/api/auth.test', method: 'POST', refusedWhen: { member: 'ok', is: 'false' } },
  persona: {
    expiresIn: 'number',
    accessTokenSeconds: 43_200,
    alsoAnswers: {
      ok: true,
      token_type: 'bot',
      app_id: 'A0MADEUP',
      bot_user_id: 'U0MADEUP',
      team: { id: 'T0MADEUP', name: 'Made Up' },
      enterprise: null,
      authed_user: { id: 'U0MADEUP2' },
    },
    refusals: {
      dead: { status: 200, body: { ok: false, error: 'invalid_refresh_token' } },
      configuration: { status: 200, body: { ok: false, error: 'bad_client_secret' } },
      transient: { status: 200, body: { ok: false, error: 'internal_error' } },
    },
  },
  manualSteps: [
    'Connect the workspace again by a link.',
    'Token rotation is switched on in the settings of the app and cannot be switched off again; without it the token has no end.',
  ],
  facts: {
    'oauth2.tokenEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml slack' },
    'oauth2.clientAuthentication': { sureness: 'seen', source: 'slackapi/python-slack-sdk: form; Basic is taken too' },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'https://docs.slack.dev/authentication/using-token-rotation: single use, where rotation is on',
    },
    'oauth2.lostAnswer': {
      sureness: 'unknown',
      source: 'the exchange revokes the old refresh token; whether there is a grace is not known: unsafe loses least',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'https://docs.slack.dev/authentication/using-token-rotation: 12 hours, told in expires_in; without rotation no end',
    },
    'oauth2.errorTable': {
      sureness: 'documented',
      source: 'https://api.slack.com/methods/oauth.v2.exchange; trufflesecurity/trufflehog pkg/detectors/slack',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'the tier of oauth.v2.access was not read' },
    'consent.authorizeEndpoint': { sureness: 'seen', source: 'NangoHQ/nango providers.yaml slack' },
    'consent.pkce': {
      sureness: 'unknown',
      source: 'not read; a challenge is sent, as RFC 6749 section 3.1 lets unknown parameters be ignored',
    },
    'scopes.probe_header': { sureness: 'known', source: 'https://docs.slack.dev/reference/methods/auth.test: x-oauth-scopes' },
    lifetimes: { sureness: 'unknown', source: 'how long a refresh token lives is not published' },
    revocation: { sureness: 'known', source: 'https://docs.slack.dev/reference/methods/auth.revoke' },
    probe: { sureness: 'known', source: 'https://docs.slack.dev/reference/methods/auth.test' },
  },
};
