// What declared calls make of a provider's answers: which failures are refusals, which may have changed something, and what is told of them.
import { describe, expect, it, test } from 'vitest';
import type { EgressRequest, KeyConnector, KeySpec, StoredValue, Target } from '../../../rotation/connector.ts';
import { EgressFailure } from '../../../rotation/connector.ts';
import { declaredRotator } from '../../../rotation/keys/declared.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { answer, NAME, NOW } from '../key-provider.ts';
import { type Answers, connectorOf, HOST, OLD, targetOf } from './made-up-calls.ts';

const create = (answers: Answers, connector = connectorOf(), again = false, more: Partial<Target> = {}) =>
  declaredRotator(connector).create(targetOf(answers, more).target, again);

describe('a mint that failed', () => {
  test.each([
    ['a refusal', () => answer(403, '{"error":"no"}'), { kind: 'refused', means: 'configuration', cause: 'http_403' }],
    ['throttling', () => answer(429, ''), { kind: 'refused', means: 'transient', cause: 'http_429' }],
    ['an edge that could not reach it', () => answer(521, ''), { kind: 'refused', means: 'transient', cause: 'http_521' }],
    ['a server that failed', () => answer(500, ''), { kind: 'lost', cause: 'http_500' }],
    ['a gateway', () => answer(504, ''), { kind: 'lost', cause: 'http_504' }],
    ['a time-out of the server', () => answer(408, ''), { kind: 'lost', cause: 'http_408' }],
    ['a redirect', () => answer(302, ''), { kind: 'odd', cause: 'redirect_refused' }],
    ['an answer without the key', () => answer(201, '{"id":"n"}'), { kind: 'odd', cause: 'answer_lacks_key' }],
    ['a page', () => answer(200, '<html>'), { kind: 'odd', cause: 'answer_lacks_key' }],
    ['a key that is no text', () => answer(201, '{"id":"n","key":{}}'), { kind: 'odd', cause: 'answer_lacks_key' }],
    [
      'a key that is too large',
      () => answer(201, `{"id":"n","key":"${'k'.repeat(70_000)}"}`),
      { kind: 'odd', cause: 'value_too_large' },
    ],
  ])('by %s', async (_, answers, expected) => {
    expect(await create(answers)).toMatchObject(expected);
  });

  it('in transit: before it left, or perhaps after', async () => {
    const failing = (reason: 'connect_failed' | 'timeout') => () => {
      throw new EgressFailure(reason);
    };
    expect(await create(failing('connect_failed'))).toEqual({ kind: 'not_sent', cause: 'connect_failed' });
    expect(await create(failing('timeout'))).toEqual({ kind: 'lost', cause: 'timeout' });
  });

  it('says how long to wait, and what the provider said without any secret', async () => {
    const admin = { key: 'NotRealAdminKey4Gh7Jk1Lz' };
    const body = JSON.stringify({
      error: `key ${admin.key} and ${OLD.key} may not create keys`,
      secret: 'NotRealAnswer9Qw3Er6Ty',
    });
    const outcome = await create(() => answer(429, body, { 'retry-after': '17' }), connectorOf(), false, { admin });
    expect(outcome).toEqual({
      kind: 'refused',
      means: 'transient',
      cause: 'http_429',
      retryAfterSeconds: 17,
      said: { status: 429, words: expect.stringContaining('may not create keys') },
    });
    expect(JSON.stringify(outcome)).not.toMatch(/NotReal/);
  });

  it('follows the error table before the general rule', async () => {
    const connector = connectorOf({
      errorTable: [
        { status: 403, text: 'Too Many Keys', means: 'configuration', cause: 'key_cap_reached' },
        { text: 'try later', means: 'transient', cause: 'busy' },
      ],
    });
    expect(await create(() => answer(403, 'too many keys'), connector)).toMatchObject({ cause: 'key_cap_reached' });
    expect(await create(() => answer(500, 'Try later'), connector)).toMatchObject({
      kind: 'refused',
      means: 'transient',
      cause: 'busy',
    });
  });

  it('in an answer of success', async () => {
    const connector = connectorOf();
    const calls = connector.key.calls as NonNullable<KeySpec['calls']>;
    const refusing = connectorOf({}, { mint: { ...calls.mint, refusedWhen: [{ at: '/errors', is: 'present' }] } });
    expect(await create(() => answer(200, '{"errors":[{"message":"no"}]}'), refusing)).toMatchObject({
      kind: 'refused',
      means: 'configuration',
      cause: 'refused_in_answer',
    });
    expect(await create(() => answer(200, '{"errors":[],"key":"k","id":7}'), refusing)).toMatchObject({ kind: 'done' });
  });
});

describe('a new value', () => {
  it('keeps the other members of the old one, and replaces the same secret in another form', async () => {
    const old: StoredValue = { key_base64: 'AAAA', key_id: 'old-id', note: 'kept' };
    const outcome = await create(() => answer(201, '{"key":"k","id":7}'), connectorOf(), false, { old, admin: OLD });
    expect(outcome).toEqual({ kind: 'done', value: { key: 'k', key_id: '7', note: 'kept' } });
  });

  test.each([
    ['2026-12-28T12:00:00Z', Date.UTC(2026, 11, 28, 12)],
    ['2026-12-28', Date.UTC(2026, 11, 28)],
    [NOW / 1_000 + 60, NOW + 60_000],
    [NOW + 60_000, NOW + 60_000],
    ['9999-12-31T23:59:59Z', undefined],
    [null, undefined],
    ['never', undefined],
    [0, undefined],
  ])('ends at %s', async (ends, expected) => {
    const outcome = await create(() => answer(201, JSON.stringify({ key: 'k', id: 'n', ends })));
    expect(outcome).toEqual({
      kind: 'done',
      value: { key: 'k', key_id: 'n' },
      ...(expected === undefined ? {} : { endsAtMs: expected }),
    });
  });
});

describe('the key of an interrupted run', () => {
  const items = (...names: readonly string[]) => names.map((name, index) => ({ id: `id-${index}`, name }));
  const paged: Answers = ({ method, url }) => {
    if (method === 'DELETE') return answer(204, '');
    if (method === 'POST') return answer(201, '{"key":"k","id":"n"}');
    const page = Number(new URL(url).searchParams.get('page') ?? 1);
    return answer(200, JSON.stringify({ items: page === 1 ? items('a', 'b') : page === 2 ? items('c', NAME) : [] }));
  };

  it('is found on a later page and removed, and nothing else is', async () => {
    const connector = connectorOf(
      {},
      {
        list: {
          ...{ method: 'GET', url: `${HOST}/keys?x=1`, items: '/items', id: '/id', name: '/name' },
          pages: { by: 'number', parameter: 'page', first: 1, size: 2 },
        },
      },
    );
    const { target, urls } = targetOf(paged);
    expect(await declaredRotator(connector).create(target, true)).toMatchObject({ kind: 'done' });
    expect(urls).toEqual([
      `GET ${HOST}/keys?x=1&page=1`,
      `GET ${HOST}/keys?x=1&page=2`,
      `GET ${HOST}/keys?x=1&page=3`,
      `DELETE ${HOST}/keys/id-1`,
      `POST ${HOST}/keys`,
    ]);
  });

  it('is never the value in use, even if that has its name', async () => {
    const { target, urls } = targetOf(({ method }) =>
      method === 'GET'
        ? answer(200, JSON.stringify({ items: [{ id: 'old-id', name: NAME }] }))
        : answer(201, '{"key":"k","id":"n"}'),
    );
    expect(await declaredRotator(connectorOf()).create(target, true)).toMatchObject({ kind: 'done' });
    expect(urls.filter((url) => url.startsWith('DELETE'))).toEqual([]);
  });

  it('is searched until a list ends: by cursor, or by the query of a URL whose host does not count', async () => {
    const list = { method: 'GET', url: `${HOST}/keys?limit=2`, items: '/items', id: '/id', name: '/name' } as const;
    const first = { items: items('a', 'b'), last: 'c2', next: 'https://evil.example/elsewhere?limit=2&token=t%2F2' };
    const answers: Answers = ({ method, url }) => {
      if (method === 'POST') return answer(201, '{"key":"k","id":"n"}');
      return answer(200, JSON.stringify(url.includes('2&') ? { items: items('c') } : first));
    };
    for (const [pages, second] of [
      [{ by: 'cursor', parameter: 'after', at: '/last' }, `GET ${HOST}/keys?limit=2&after=c2`],
      [{ by: 'url', at: '/next' }, `GET ${HOST}/keys?limit=2&token=t%2F2`],
    ] as const) {
      const { target, urls } = targetOf(answers);
      expect(await declaredRotator(connectorOf({}, { list: { ...list, pages } })).create(target, true)).toMatchObject({
        kind: 'done',
      });
      expect(urls).toEqual([`GET ${HOST}/keys?limit=2`, second, `POST ${HOST}/keys`]);
    }
  });

  it('is not given up for a list that never ends, or that cannot be read', async () => {
    const connector = connectorOf(
      {},
      {
        list: {
          ...{ method: 'GET', url: `${HOST}/keys`, items: '/items', id: '/id', name: '/name' },
          pages: { by: 'number', parameter: 'page', first: 0, size: 1 },
        },
      },
    );
    const { target, urls } = targetOf(() => answer(200, JSON.stringify({ items: items('a') })));
    expect(await declaredRotator(connector).create(target, true)).toMatchObject({ kind: 'refused', cause: 'key_list_too_long' });
    expect(urls.some((url) => url.startsWith('POST'))).toBe(false);
    expect(await create(() => answer(200, '{"items":"none"}'), connectorOf(), true)).toMatchObject({
      kind: 'odd',
      cause: 'answer_lacks_list',
    });
    expect(await create(() => answer(500, ''), connectorOf(), true)).toMatchObject({ kind: 'refused', means: 'transient' });
  });
});

describe('a test', () => {
  const verdict = (answers: Answers, value: StoredValue = OLD) =>
    declaredRotator(connectorOf()).test(targetOf(answers).target, value);

  test.each([
    [200, '{"id":1}', 'works'],
    [200, '{}', 'unknown'],
    [200, '<html>log in to the network</html>', 'unknown'],
    [204, '', 'unknown'],
    [401, '', 'rejected'],
    [403, '{"id":1}', 'unknown'],
    [404, '', 'unknown'],
    [500, '', 'unknown'],
    [302, '', 'unknown'],
  ])('that answers %s %s', async (status, body, expected) => {
    expect(await verdict(() => answer(status, body))).toBe(expected);
  });

  it('of a value without a key sends nothing', async () => {
    const { target, urls } = targetOf(() => answer(401, ''));
    expect(await declaredRotator(connectorOf()).test(target, { key_id: 'old-id' })).toBe('unknown');
    expect(urls).toEqual([]);
  });

  it('never throws, whatever the egress does', async () => {
    const throws = () => {
      throw new Error('a defect');
    };
    expect(await verdict(throws)).toBe('unknown');
  });
});

describe('a revocation', () => {
  it('of a value that authenticates it is over when the provider rejects the value, and only then', async () => {
    const rotator = declaredRotator(connectorOf());
    // AWS refuses a key that no longer exists with 403.
    for (const status of [401, 403]) {
      const { target } = targetOf(({ method }) => answer(method === 'DELETE' ? status : 401, ''));
      expect(await rotator.revoke?.(target, OLD)).toEqual({ kind: 'done' });
    }
    const down = targetOf(({ method }) => answer(method === 'DELETE' ? 401 : 500, ''));
    expect(await rotator.revoke?.(down.target, OLD)).toMatchObject({ kind: 'refused', cause: 'http_401' });
    const byAdmin = targetOf(() => answer(401, ''), { admin: { key: 'k', key_id: 'admin-id' } });
    expect(await rotator.revoke?.(byAdmin.target, OLD)).toMatchObject({ kind: 'refused', cause: 'http_401' });
  });

  it('may be repeated after a failing server', async () => {
    const { target } = targetOf(() => answer(503, '', { 'retry-after': '5' }));
    expect(await declaredRotator(connectorOf()).revoke?.(target, OLD)).toMatchObject({
      kind: 'refused',
      means: 'transient',
      retryAfterSeconds: 5,
    });
  });
});

describe('a value that its provider replaces', () => {
  const calls = connectorOf().key.calls as NonNullable<KeySpec['calls']>;
  const { revoke: _, list: __, ...replacing } = calls;
  const connector: KeyConnector = { ...connectorOf(), key: { ...connectorOf().key, strategy: 'in_place', calls: replacing } };

  test.each([
    [200, { kind: 'done' }, ['GET', 'POST']],
    [401, { kind: 'refused', means: 'configuration', cause: 'new_value_lost' }, ['GET']],
    [500, { kind: 'refused', means: 'transient', cause: 'test_unknown' }, ['GET']],
  ])('is not used again unless it still works (%s)', async (status, expected, methods) => {
    const { target, urls } = targetOf(({ method }) => answer(method === 'GET' ? status : 201, '{"key":"k","id":"n"}'));
    expect(await declaredRotator(connector).create(target, true)).toMatchObject(expected);
    expect(urls.map((url) => url.split(' ')[0])).toEqual(methods);
  });

  it('has no revocation, and its plan says that it cannot be undone', () => {
    const rotator = declaredRotator(connector);
    expect(rotator.revoke).toBeUndefined();
    expect(rotator.plan({ parameters: {} }).filter(({ undoable }) => !undoable)).toEqual([
      { step: 'create', what: `POST ${HOST}/keys`, undoable: false },
    ]);
  });
});

it('the secrets of a request are wiped, and its headers with secrets cannot be printed', async () => {
  const kept: EgressRequest[] = [];
  const { target } = targetOf((request) => {
    expect(request.headers['authorization']).toBeInstanceOf(SecretValue);
    expect(request.body).toBeInstanceOf(SecretValue);
    kept.push(request);
    return answer(201, '{"key":"k","id":"n"}');
  });
  await declaredRotator(connectorOf()).create(target, false);
  for (const { headers, body } of kept) {
    for (const secret of [headers['authorization'], body])
      expect((secret as SecretValue).reveal((bytes) => bytes.every((byte) => byte === 0))).toBe(true);
  }
});

it('a connector without declared calls has no rotator', () => {
  const { calls: _, ...key } = connectorOf().key;
  expect(() => declaredRotator({ ...connectorOf(), key })).toThrow(/no rotator of its own/);
});
