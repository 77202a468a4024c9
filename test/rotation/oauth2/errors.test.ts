// The general table of refusals, row by row and bound by bound: what an answer without tokens means where no provider row says otherwise.
import { describe, expect, it } from 'vitest';
import type { ErrorRow } from '../../../rotation/connector.ts';
import { errorWords, readRefusal, saysRefusal } from '../../../rotation/oauth2/errors.ts';

const read = (
  status: number,
  members: Record<string, unknown> | undefined,
  table?: readonly ErrorRow[],
  text = JSON.stringify(members ?? ''),
) => readRefusal(status, { members, text }, table);

describe('a status', () => {
  it.each<[number, string, string]>([
    [408, 'transient', 'http_408'],
    [425, 'transient', 'http_425'],
    [429, 'transient', 'http_429'],
    [500, 'transient', 'http_5xx'],
    [599, 'transient', 'http_5xx'],
  ])('of %i says it, whatever the body does', (status, kind, cause) => {
    expect(read(status, { error: 'invalid_grant' })).toEqual({ kind, cause, recognised: true });
  });

  it.each([300, 301, 399])('of %i is a redirect', (status) => {
    expect(read(status, {})).toEqual({ kind: 'oddly', cause: 'redirect_refused' });
  });

  it.each([400, 401])('of %i refuses, whatever the body says', (status) => {
    expect(read(status, undefined)).toEqual({ kind: 'configuration', cause: `http_${status}`, recognised: false });
  });

  it.each([402, 403, 409, 412, 422, 423, 424, 451])('of %i refuses where the body says so', (status) => {
    expect(read(status, { error: 'made_up' })).toEqual({ kind: 'configuration', cause: 'unrecognised_error', recognised: false });
    expect(read(status, { errors: [{}] })).toEqual({ kind: 'configuration', cause: `http_${status}`, recognised: false });
    expect(read(status, { message: 'made up' })).toEqual({ kind: 'oddly', cause: `http_${status}` });
    expect(read(status, undefined)).toEqual({ kind: 'oddly', cause: `http_${status}` });
  });

  it.each([404, 405, 410, 413, 426, 600])('of %i is no answer of a token endpoint', (status) => {
    expect(read(status, { error: 'made_up' })).toEqual({ kind: 'oddly', cause: `http_${status}` });
  });

  it.each([200, 299])('of %i refuses where the body says so, and is odd where it does not', (status) => {
    expect(read(status, { ok: false })).toEqual({ kind: 'configuration', cause: 'unrecognised_error', recognised: false });
    expect(read(status, {})).toEqual({ kind: 'oddly', cause: 'no_token_answer' });
  });
});

describe('a code', () => {
  it.each([
    ['transient', ['temporarily_unavailable', 'server_error', 'slow_down']],
    ['dead', ['invalid_grant', 'interaction_required', 'consent_required', 'login_required']],
    [
      'configuration',
      [
        'invalid_client',
        'unauthorized_client',
        'invalid_request',
        'unsupported_grant_type',
        'invalid_scope',
        'invalid_target',
        'use_dpop_nonce',
        'invalid_dpop_proof',
      ],
    ],
  ] as const)('is %s', (kind, codes) => {
    for (const code of codes) {
      expect(read(400, { error: code })).toEqual({ kind, cause: code, recognised: true });
      expect(read(200, { error: code.toUpperCase() })).toEqual({ kind, cause: code, recognised: true });
    }
  });

  it.each([
    'error',
    'errors',
    'error_code',
    'errorCode',
    'error_type',
    'code',
    'status',
    'type',
    'category',
    'suberror',
    'error_codes',
  ])('is found under %s, in a list and one object deep', (field) => {
    const dead = { kind: 'dead', cause: 'invalid_grant', recognised: true };
    expect(read(400, { [field]: 'invalid_grant' })).toEqual(dead);
    expect(read(400, { [field]: ['x', 'invalid_grant'] })).toEqual(dead);
    expect(read(400, { error: { [field]: 'invalid_grant' } })).toEqual(dead);
    expect(read(400, { error: { error: { [field]: 'invalid_grant' } } })).toMatchObject({ cause: 'http_400' });
  });

  it('is a number as well as a word, and nothing else', () => {
    const table: ErrorRow[] = [{ code: '70000', means: 'dead', cause: 'made_up' }];
    expect(read(400, { error_codes: [70000] }, table)).toMatchObject({ cause: 'made_up' });
    expect(errorWords({ error: true, code: null, status: 7, errors: ['a', { code: 'b' }] })).toEqual(['a', 'b', '7']);
    expect(errorWords(undefined)).toEqual([]);
  });

  it('is looked for among the first 32 of a list', () => {
    const at = (index: number) => ({ errors: Array.from({ length: 40 }, (_, i) => (i === index ? 'invalid_grant' : 'x')) });
    expect(read(400, at(31))).toMatchObject({ kind: 'dead' });
    expect(read(400, at(32))).toMatchObject({ cause: 'unrecognised_error' });
  });

  it.each(['invalid_request', 'unauthorized_client'])(
    '%s may mean the grant where the text speaks of the refresh token',
    (code) => {
      for (const text of ['the refresh token is gone', 'refresh_token', 'refresh-token', 'RefreshToken'])
        expect(read(400, { error: code }, [], `${code} ${text}`)).toEqual({
          kind: 'configuration',
          cause: code,
          recognised: false,
        });
      expect(read(400, { error: 'invalid_scope' }, [], 'refresh token')).toMatchObject({ recognised: true });
      const own: ErrorRow[] = [{ code, means: 'configuration', cause: 'own' }];
      expect(read(400, { error: code }, own, 'refresh token')).toMatchObject({ cause: 'own', recognised: true });
    },
  );
});

describe('a row of a provider', () => {
  const row = (given: Partial<ErrorRow>): ErrorRow[] => [{ means: 'dead', cause: 'made_up', ...given }];

  it('counts by its range of statuses, the ends included', () => {
    const cause = (status: number) => read(status, { error: 'x' }, row({ status: [402, 403] })).cause;
    expect([401, 402, 403, 404].map(cause)).toEqual(['unrecognised_error', 'made_up', 'made_up', 'http_404']);
    expect([402, 403].map((status) => read(status, { error: 'x' }, row({ status: 402 })).cause)).toEqual([
      'made_up',
      'unrecognised_error',
    ]);
  });

  it('counts only where each of its conditions holds', () => {
    const all = row({ status: 400, code: 'Invalid_Grant', text: 'EXPIRED' });
    expect(read(400, { error: 'invalid_grant' }, all, 'has expired')).toMatchObject({ cause: 'made_up' });
    expect(read(400, { error: 'invalid_grant' }, all, 'is gone')).toMatchObject({ cause: 'invalid_grant' });
    expect(read(400, { error: 'x' }, all, 'has expired')).toMatchObject({ cause: 'unrecognised_error' });
    expect(read(401, { error: 'invalid_grant' }, all, 'has expired')).toMatchObject({ cause: 'invalid_grant' });
  });

  it('is looked for in the first 8192 characters of the text', () => {
    const said = (before: number) => read(400, { error: 'x' }, row({ text: 'expired' }), `${' '.repeat(before)}expired`).cause;
    expect([8_192 - 7, 8_192 - 6].map(said)).toEqual(['made_up', 'unrecognised_error']);
  });
});

describe('an answer says that it refuses', () => {
  it.each([
    { ok: false },
    { success: false },
    { error: 'x' },
    { error: {} },
    { error: 0 },
    { error: true },
    { errors: ['x'] },
    { errors: 'x' },
  ])('with %j', (members) => expect(saysRefusal(members)).toBe(true));
  it.each([{}, { ok: true }, { ok: 0 }, { success: true }, { error: '' }, { error: null }, { error: false }, { errors: [] }])(
    'but not with %j',
    (members) => expect(saysRefusal(members)).toBe(false),
  );
});
