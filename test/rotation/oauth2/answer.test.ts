import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OAuth2Spec } from '../../../rotation/connector.ts';
import { readTokenAnswer, retryAfterSeconds } from '../../../rotation/oauth2/answer.ts';
import { answerOf, GENERIC, textOf } from '../kit.ts';

const NOW = 1_500_000;
const DEAD = { kind: 'refused', means: 'dead' };

function read(status: number, body: unknown, headers: Record<string, string> = {}, spec: Partial<OAuth2Spec> = {}) {
  return readTokenAnswer({ ...GENERIC, ...spec }, answerOf(status, body, headers), NOW);
}

function tokens(body: unknown, spec: Partial<OAuth2Spec> = {}, headers: Record<string, string> = {}) {
  const outcome = read(200, body, headers, spec);
  if (outcome.kind !== 'refreshed') throw new Error(`expected refreshed, got ${outcome.kind} ${outcome.cause}`);
  return { ...outcome, accessToken: textOf(outcome.accessToken), refreshToken: textOf(outcome.refreshToken) };
}

describe('an answer with tokens', () => {
  it.each([
    ['absent', {}, undefined],
    ['null', { refresh_token: null }, undefined],
    ['empty', { refresh_token: '' }, undefined],
    ['new', { refresh_token: 'rt2' }, 'rt2'],
  ])('keeps or replaces the refresh token: %s', (_, more, expected) => {
    expect(tokens({ access_token: 'at', ...more }).refreshToken).toBe(expected);
  });

  it('that came after the clock was put back lives from then on, not from a send that lies ahead', () => {
    const sent = {
      ...answerOf(200, { access_token: 'at', expires_in: 60, refresh_token_expires_in: 90 }),
      sentAtMs: NOW + 86_400_000,
    };
    const outcome = readTokenAnswer(GENERIC, sent, NOW);
    expect(outcome).toMatchObject({ expiresAtMs: NOW + 60_000, refreshTokenExpiresAtMs: NOW + 90_000 });
  });

  it('is read from 201 and beside fields nobody asked for', () => {
    expect(read(201, { access_token: 'at', hub_id: 7, nested: { deep: [] } }).kind).toBe('refreshed');
  });

  it('takes the last of two members of the same name', () => {
    expect(tokens('{"access_token":"first","access_token":"second"}').accessToken).toBe('second');
  });

  it('is read as a form where the provider sends one', () => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' };
    expect(tokens('access_token=at&refresh_token=rt2&expires_in=60', {}, headers)).toMatchObject({
      accessToken: 'at',
      refreshToken: 'rt2',
      expiresAtMs: 1_060_000,
    });
  });

  it('is read from where the connector says', () => {
    const answerFields = {
      accessToken: 'authed_user.access_token',
      refreshToken: 'authed_user.refresh_token',
      expiresAt: 'authed_user.ends',
    };
    const body = { ok: true, authed_user: { access_token: 'at', refresh_token: 'rt2', ends: '2030-01-01T00:00:00Z' } };
    expect(tokens(body, { answerFields })).toMatchObject({ accessToken: 'at', refreshToken: 'rt2', expirySource: 'expires_at' });
  });

  it.each([
    ['text', 'a b', ' ', 'a b'],
    ['commas', 'a,b', ',', 'a b'],
    ['a list', ['a', 'b', 3], ' ', 'a b'],
    ['empty', '', ' ', undefined],
    ['a number', 7, ' ', undefined],
    ['too long', 'x'.repeat(5_000), ' ', undefined],
    ['control characters', 'a\u0000b', ' ', undefined],
  ] as const)('brings its scope in one form: %s', (_, scope, scopeSeparator, expected) => {
    expect(tokens({ access_token: 'at', scope }, { scopeSeparator }).scope).toBe(expected);
  });

  it.each([
    [undefined, 'Bearer'],
    ['bearer', 'bearer'],
    ['x\r\ny: z', 'Bearer'],
    [7, 'Bearer'],
  ])('brings a token type that can stand in a header: %j', (tokenType, expected) => {
    expect(tokens({ access_token: 'at', token_type: tokenType }).tokenType).toBe(expected);
  });

  it('counts as a success when an error stands beside it, because the old token is spent', () => {
    expect(read(200, { access_token: 'at', error: 'invalid_grant' }).kind).toBe('refreshed');
  });

  it('leaves no bytes of the body behind', () => {
    const answer = answerOf(200, { access_token: 'at' });
    readTokenAnswer(GENERIC, answer, NOW);
    expect(answer.body.reveal((bytes) => bytes.every((byte) => byte === 0))).toBe(true);
  });
});

describe('what an answer tells beside the tokens', () => {
  it('is when the refresh token ends, counted from the moment the request left', () => {
    expect(tokens({ access_token: 'at', refresh_token_expires_in: 3_600 }).refreshTokenExpiresAtMs).toBe(4_600_000);
    expect(tokens({ access_token: 'at', refresh_token_expires_in: '60' }).refreshTokenExpiresAtMs).toBe(1_060_000);
    for (const nonsense of [0, -1, 'soon', null, {}])
      expect(tokens({ access_token: 'at', refresh_token_expires_in: nonsense }).refreshTokenExpiresAtMs).toBeUndefined();
  });

  it('is the account, as short plain text, and nothing that cannot be shown', () => {
    const accountFields = { team: 'team.id', hub: 'hub_id', live: 'livemode', novel: 'novel', lines: 'lines', deep: 'team' };
    const body = {
      access_token: 'at',
      team: { id: 'T1' },
      hub_id: 7,
      livemode: false,
      novel: 'x'.repeat(5_000),
      lines: 'a\r\nset-cookie: b',
    };
    expect(tokens(body, { accountFields }).account).toEqual({ team: 'T1', hub: '7', live: 'false' });
  });
});

describe('an answer that says 2xx and brings nothing usable', () => {
  it.each([
    ['a page', '<!doctype html><h1>ok</h1>', 'no_token_answer'],
    ['nothing', '', 'empty_answer'],
    ['blanks', ' \r\n', 'empty_answer'],
    ['a list', '[{"access_token":"at"}]', 'no_token_answer'],
    ['text', '"at"', 'no_token_answer'],
    ['null', 'null', 'no_token_answer'],
    ['no token', '{"token_type":"Bearer"}', 'no_token_answer'],
    ['an empty object', '{"data":{}}', 'no_token_answer'],
    ['an inherited token', '{"__proto__":{"access_token":"at"}}', 'no_token_answer'],
    ['very deep', '['.repeat(100_000), 'no_token_answer'],
  ])('is an odd one, neither lost nor the end of the grant: %s', (_, body, cause) => {
    expect(read(200, body)).toMatchObject({
      kind: 'answered_oddly',
      cause,
      status: 200,
      mayBeSpent: true,
      refreshToken: undefined,
    });
  });

  it('is a lost one where the object that began does not end', () => {
    expect(read(200, '{"access_token":"at","refr')).toMatchObject({
      kind: 'sent_and_lost',
      cause: 'unreadable_answer',
      certain: true,
    });
  });

  it.each([
    ['number', { access_token: 7 }, 'malformed_token'],
    ['empty', { access_token: '' }, 'malformed_token'],
    ['control characters', { access_token: 'a\nb' }, 'malformed_token'],
    ['not ASCII', { access_token: 'ä' }, 'malformed_token'],
    ['too long', { access_token: 'x'.repeat(70_000) }, 'access_token_too_large'],
  ])('is an odd one when the access token cannot be used, and loses no refresh token: %s', (_, body, cause) => {
    expect(read(200, body)).toMatchObject({ kind: 'answered_oddly', cause, refreshToken: undefined });
    const with2 = read(200, { ...body, refresh_token: 'rt2' });
    if (with2.kind !== 'answered_oddly') throw new Error(with2.kind);
    expect(textOf(with2.refreshToken)).toBe('rt2');
  });

  it('keeps a refresh token that comes alone', () => {
    const outcome = read(200, { refresh_token: 'rt2' });
    expect(outcome.kind === 'answered_oddly' && textOf(outcome.refreshToken)).toBe('rt2');
  });

  it.each([
    ['is an object', {}],
    ['has a line break', 'a\r\nb'],
    ['is a number', 5],
  ])('serves a good access token whose refresh token %s, and says so', (_, refresh_token) => {
    expect(read(200, { access_token: 'at', refresh_token })).toMatchObject({
      kind: 'refreshed',
      refreshToken: undefined,
      oddity: 'refresh_token_unusable',
    });
  });

  it('keeps a refresh token of any length that an answer can hold', () => {
    expect(tokens({ access_token: 'at', refresh_token: 'r'.repeat(200_000) }).refreshToken).toHaveLength(200_000);
  });
});

describe('a refusal', () => {
  it.each([
    [400, { error: 'invalid_grant' }, 'invalid_grant'],
    [401, { error: 'invalid_grant' }, 'invalid_grant'],
    [403, { error: 'INVALID_GRANT' }, 'invalid_grant'],
    [200, { error: 'invalid_grant' }, 'invalid_grant'],
    [400, { error: { code: 'invalid_grant' } }, 'invalid_grant'],
    [400, { errors: [{ code: 'invalid_grant' }] }, 'invalid_grant'],
    [400, { errors: ['invalid_grant'] }, 'invalid_grant'],
    [400, { error: 'interaction_required' }, 'interaction_required'],
  ])('%i %j ends the grant: %s', (status, body, cause) => {
    expect(read(status, body)).toMatchObject({ kind: 'refused', means: 'dead', recognised: true, cause, status });
  });

  it.each([
    [401, { error: 'invalid_client' }, 'invalid_client', true],
    [400, { error: 'unauthorized_client' }, 'unauthorized_client', true],
    [400, { error: 'invalid_scope' }, 'invalid_scope', true],
    [400, { error: 'invalid_request', error_description: 'a field is missing' }, 'invalid_request', true],
    // In words of the client or the request, and yet about the grant: nobody can tell what is wrong.
    [400, { error: 'invalid_request', error_description: 'The refresh token is invalid or expired.' }, 'invalid_request', false],
    [403, { error: 'unauthorized_client', error_description: 'refresh_token is invalid' }, 'unauthorized_client', false],
    [400, { error: 'somebody_invented_this' }, 'unrecognised_error', false],
    [403, { error: 'somebody_invented_this' }, 'unrecognised_error', false],
    [400, '', 'http_400', false],
    [401, '<html>', 'http_401', false],
    [200, { ok: false, error: 'unheard_of' }, 'unrecognised_error', false],
    [200, { ok: false }, 'unrecognised_error', false],
  ])('%i %j is a matter for the operator: %s', (status, body, cause, recognised) => {
    expect(read(status, body)).toMatchObject({ kind: 'refused', means: 'configuration', recognised, cause, status });
  });

  it.each([
    [404, 'no such page: invalid_grant', 'http_404'],
    [404, { message: 'no Route matched' }, 'http_404'],
    [404, { status: 404, error: 'Not Found', path: '/token' }, 'http_404'],
    [405, '', 'http_405'],
    [302, '', 'redirect_refused'],
    [403, '<html>Checking your browser</html>', 'http_403'],
    [403, { message: 'Forbidden' }, 'http_403'],
  ])('%i %j is none of a token endpoint, and nothing was spent: %s', (status, body, cause) => {
    expect(read(status, body)).toMatchObject({
      kind: 'answered_oddly',
      cause,
      status,
      mayBeSpent: false,
      refreshToken: undefined,
    });
  });

  it.each([
    [408, '', 'http_408', true],
    [500, { error: 'invalid_grant' }, 'http_5xx', true],
    [502, '<html>Bad gateway</html>', 'http_5xx', true],
    [521, 'error code: 521', 'http_5xx', false],
    [530, 'error code: 1016', 'http_5xx', false],
    [599, '', 'http_5xx', true],
    [400, { error: 'temporarily_unavailable' }, 'temporarily_unavailable', false],
    [400, { error: 'slow_down' }, 'slow_down', false],
  ])('%i %j passes by itself: %s', (status, body, cause, mayBeSpent) => {
    expect(read(status, body)).toMatchObject({ kind: 'transient', cause, status, mayBeSpent });
  });

  it('for too many requests is told apart, whatever the body says', () => {
    expect(read(429, { error: 'invalid_grant' }, { 'retry-after': '9' })).toMatchObject({
      kind: 'throttled',
      retryAfterSeconds: 9,
    });
  });

  it('is read by the provider’s rows first: a passing condition under invalid_grant, a dead token under another code', () => {
    const errorTable = [
      { code: 'invalid_grant', text: 'already being processed', means: 'transient', cause: 'concurrent_refresh' },
      {
        status: 403,
        code: 'unauthorized_client',
        text: 'refresh_token is invalid',
        means: 'dead',
        cause: 'refresh_token_invalid',
      },
      { code: 'bad_refresh_token', means: 'dead', cause: 'bad_refresh_token' },
      { status: [400, 499], code: 'incorrect_client_credentials', means: 'configuration', cause: 'incorrect_client_credentials' },
    ] as const;
    const say = (status: number, body: unknown) => read(status, body, {}, { errorTable });
    expect(say(400, { error: 'invalid_grant', error_description: 'Token request is ALREADY being processed' }).kind).toBe(
      'transient',
    );
    expect(say(400, { error: 'invalid_grant', error_description: 'expired' })).toMatchObject({
      means: 'dead',
      cause: 'invalid_grant',
    });
    expect(say(403, { error: 'unauthorized_client', error_description: 'refresh_token is invalid' })).toMatchObject(DEAD);
    expect(say(400, { error: 'unauthorized_client', error_description: 'refresh_token is invalid' })).toMatchObject({
      means: 'configuration',
    });
    expect(say(200, { error: 'bad_refresh_token' })).toMatchObject(DEAD);
    expect(say(200, { error: 'incorrect_client_credentials' })).toMatchObject({
      means: 'configuration',
      cause: 'unrecognised_error',
    });
  });

  it('never throws, and its cause is never taken from the answer', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 200, max: 599 }),
        fc.oneof(
          fc.json(),
          fc.string(),
          fc.json().map((json) => `{"error":${json}}`),
        ),
        (status, body) => {
          const outcome = read(status, body);
          if (outcome.kind !== 'refreshed') expect(outcome.cause).toMatch(/^[a-z0-9_]{1,64}$/);
          if (outcome.kind === 'refused' && outcome.means === 'dead')
            expect(body.toLowerCase()).toMatch(/invalid_grant|_required/);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('error codes in a list', () => {
  const errorTable = [{ code: '700082', means: 'dead' as const, cause: 'idle_too_long' }];

  it('are compared one by one (Entra puts numbers into error_codes)', () => {
    const body = { error: 'invalid_request', error_codes: [50_000, 700_082] };
    expect(read(400, body, {}, { errorTable })).toMatchObject({ means: 'dead', cause: 'idle_too_long' });
    expect(read(400, { error_codes: { 0: 700_082 } }, {}, { errorTable })).toMatchObject({ means: 'configuration' });
  });

  it('are read in a list of objects, as JSON:API has them', () => {
    expect(read(400, { error: [{ code: '700082' }, null, [[]]] }, {}, { errorTable })).toMatchObject(DEAD);
  });
});

describe('Retry-After', () => {
  it.each([
    [undefined, undefined],
    ['30', 30],
    [' 0 ', 0],
    ['999999999', 86_400],
    [new Date(NOW + 12_000).toUTCString(), 12],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['-5', undefined],
    ['1.5', undefined],
    ['soon', undefined],
    ['', undefined],
    ['1e9', undefined],
  ])('%j means %s seconds', (header, expected) => {
    expect(retryAfterSeconds(header, NOW)).toBe(expected);
  });
});
