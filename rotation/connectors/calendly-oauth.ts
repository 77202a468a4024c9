// Calendly, OAuth apps. A refresh token is revoked when it is used: a lost answer is a lost grant.
import type { OAuthConnector } from '../connector.ts';

export const connector: OAuthConnector = {
  id: 'calendly-oauth',
  title: 'Calendly',
  kind: 'oauth2',
  oauth2: {
    tokenEndpoint: 'https://auth.calendly.com/oauth/token',
    hosts: ['auth.calendly.com', 'api.calendly.com'],
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    refreshTokenRotates: 'always',
    lostAnswer: { kind: 'unsafe' },
    accessTokenTtlSeconds: 7_200,
    scopeSeparator: ' ',
    accountFields: { owner: 'owner', organization: 'organization' },
    accountId: 'organization',
  },
  adjustable: ['clientAuthentication'],
  consent: {
    authorizeEndpoint: 'https://auth.calendly.com/oauth/authorize',
    pkce: 'S256',
    scopeTitles: {
      'users:read': 'Read the profile of the person',
      'event_types:read': 'Read kinds of meetings',
      'scheduled_events:read': 'Read booked meetings',
      'scheduled_events:write': 'Cancel booked meetings',
      'availability:read': 'Read when the person is free',
      'webhooks:write': 'Be told of bookings',
    },
  },
  scopes: [{ from: 'introspection' }, { from: 'answer' }],
  introspection: {
    url: 'https://auth.calendly.com/oauth/introspect',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    tokenParameter: 'token',
    fields: { active: 'active', scope: 'scope', expiresAt: 'exp' },
  },
  revocation: {
    url: 'https://auth.calendly.com/oauth/revoke',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    token: 'refresh',
    tokenParameter: 'token',
    ends: 'grant',
  },
  probe: { url: 'https://api.calendly.com/users/me', method: 'GET' },
  persona: {
    expiresIn: 'number',
    alsoAnswers: {
      created_at: 1_700_000_000,
      owner: 'https://api.calendly.com/users/MADEUP',
      organization: 'https://api.calendly.com/organizations/MADEUP',
    },
    refusals: {
      dead: { status: 400, body: { error: 'invalid_grant', error_description: 'The provided authorization grant is invalid.' } },
      configuration: { status: 401, body: { error: 'invalid_client', error_description: 'Client authentication failed.' } },
      transient: { status: 429, body: { message: 'too many requests' }, headers: { 'x-ratelimit-reset': '60' } },
    },
  },
  manualSteps: [
    'Connect the account again by a link.',
    'Apps made before March 2026 have full access without scopes; newer ones have none until they ask.',
  ],
  facts: {
    'oauth2.tokenEndpoint': {
      sureness: 'documented',
      source: 'https://developer.calendly.com/how-to-access-calendly-data-on-behalf-of-authenticated-users',
    },
    'oauth2.clientAuthentication': {
      sureness: 'known',
      source: 'https://developer.calendly.com/ authentication pages: form or Basic',
    },
    'oauth2.refreshTokenRotates': {
      sureness: 'documented',
      source: 'https://developer.calendly.com/docs/authentication/refresh-token-rotation-guide',
    },
    'oauth2.lostAnswer': {
      sureness: 'documented',
      source: 'https://developer.calendly.com/docs/authentication/refresh-token-rotation-guide: revoked at once, no grace',
    },
    'oauth2.accessTokenTtlSeconds': {
      sureness: 'documented',
      source: 'https://developer.calendly.com/how-to-access-calendly-data-on-behalf-of-authenticated-users',
    },
    'oauth2.errorTable': {
      sureness: 'seen',
      source: 'https://docs.unified.to/skills/calendly-oauth-app/SKILL.md: invalid_grant',
    },
    'oauth2.rateBudget': { sureness: 'unknown', source: 'no figure of the token endpoint is published' },
    'consent.authorizeEndpoint': {
      sureness: 'documented',
      source: 'https://developer.calendly.com/how-to-access-calendly-data-on-behalf-of-authenticated-users',
    },
    'consent.pkce': {
      sureness: 'known',
      source: 'https://developer.calendly.com/ authentication pages: S256, meant for native apps',
    },
    'consent.scopeTitles': {
      sureness: 'inferred',
      source: 'scopes exist since 2026-03-03; the names follow resource:action and are not a complete list',
    },
    introspection: {
      sureness: 'documented',
      source: 'https://developer.calendly.com/api-docs/calendly-o-auth/o-auth/post-oauth-introspect.md',
    },
    revocation: {
      sureness: 'documented',
      source: 'https://developer.calendly.com/api-docs/calendly-o-auth/o-auth/post-oauth-revoke.md',
    },
    lifetimes: { sureness: 'documented', source: 'a refresh token has no end until it is used; an idle limit is unknown' },
    probe: { sureness: 'known', source: 'https://developer.calendly.com/ GET /users/me' },
  },
};
