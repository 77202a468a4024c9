// Credentials from the first put to the last: versions, conditions, pages, deletion, replays.
import { describe, expect, it } from 'vitest';
import { apiKey, at, CANARY, type Json, must, type World } from './world.ts';

const KINDS: readonly (readonly [string, Record<string, unknown>])[] = [
  ['api_key', { key: 'not-a-real-secret', key_id: 'id-1' }],
  ['basic', { username: 'u', password: 'not-a-real-secret ключ 🔑' }],
  [
    'database',
    { engine: 'postgresql', host: 'db.example', port: 5432, username: 'u', password: 'not-a-real-secret', database: 'd' },
  ],
  ['json', { nested: { list: [1, 'two', null, true], 'odd key': 'not-a-real-secret' } }],
  [
    'oauth2',
    { access_token: 'at-not-a-real-secret', refresh_token: `rt-${CANARY}`, client_secret: `cs-${CANARY}`, expires_in: 3600 },
  ],
];
const OAUTH_CONFIG = { token_endpoint: 'https://provider.example/token', client_id: 'c' };

export function credentialCases(world: () => World): void {
  const call = (...args: Parameters<World['call']>) => {
    const [method, path, ask = {}] = args;
    return world().call(method, path, { token: world().acme.token, ...ask });
  };

  it.each(KINDS)('keeps %s and gives back what was put, and never a refresh token or client secret', async (kind, value) => {
    const path = at('acme', `kind-${kind.replace('_', '-')}`);
    const put = await must(call('PUT', path, { body: { kind, value, ...(kind === 'oauth2' && { config: OAUTH_CONFIG }) } }), 201);
    expect(put.body).toMatchObject({ kind, version: 1, revision: 1, state: 'active', environment: 'staging' });
    const read = await must(call('GET', `${path}/value`), 200);
    const served = kind === 'oauth2' ? { access_token: 'at-not-a-real-secret', token_type: 'Bearer' } : value;
    expect(read.body).toMatchObject({ id: put.body.id, kind, version: 1, value: served });
    expect(read.headers.get('cache-control')).toBe('no-store');
    for (const reply of [put, await call('GET', path), await call('GET', at('acme')), await call('GET', `${path}/versions`)])
      expect(reply.text).not.toContain('not-a-real-secret');
    expect(read.text).not.toContain(CANARY);
  });

  it('takes a value of exactly 64 KiB and refuses one byte more', async () => {
    const bare = JSON.stringify({ key: '' }).length;
    const fits = 'x'.repeat(64 * 1024 - bare);
    await must(call('PUT', at('acme', 'big'), { body: apiKey(fits) }), 201);
    expect((await must(call('GET', `${at('acme', 'big')}/value`), 200)).body.value.key).toBe(fits);
    const over = await call('PUT', at('acme', 'too-big'), { body: apiKey(`${fits}x`) });
    expect({ status: over.status, code: over.body.code }).toEqual({ status: 413, code: 'payload_too_large' });
    expect((await call('GET', at('acme', 'too-big'))).status).toBe(404);
  });

  it('refuses another kind under a name that is taken', async () => {
    await must(call('PUT', at('acme', 'kinds'), { body: apiKey() }), 201);
    const reply = await call('PUT', at('acme', 'kinds'), { body: { kind: 'basic', value: { username: 'u', password: CANARY } } });
    expect({ status: reply.status, pointer: reply.body.pointer }).toEqual({ status: 409, pointer: '/kind' });
    expect(reply.text).not.toContain(CANARY);
  });

  it('gives every put a new version, keeps the old ones readable and rolls back', async () => {
    const path = at('acme', 'history');
    for (const key of ['one', 'two', 'three']) await call('PUT', path, { body: apiKey(key) });
    const history = await must(call('GET', `${path}/versions`), 200);
    expect(history.body.items.map((v: Json) => [v.version, v.stages])).toEqual([
      [3, ['current']],
      [2, ['previous']],
      [1, []],
    ]);
    const value = async (query = '') => (await must(call('GET', `${path}/value${query}`), 200)).body.value.key;
    expect([await value(), await value('?stage=previous'), await value('?version=1')]).toEqual(['three', 'two', 'one']);
    expect((await call('GET', `${path}/value?version=9`)).status).toBe(404);
    const owner = world().owner;
    await must(call('POST', `${path}/rollbacks`, { token: owner, body: {} }), 200);
    expect(await value()).toBe('two');
    await must(call('POST', `${path}/rollbacks`, { token: owner, body: { version: 1 } }), 200);
    expect([await value(), await value('?stage=previous')]).toEqual(['one', 'two']);
    expect((await call('POST', `${path}/rollbacks`, { token: owner, body: { version: 1 } })).status).toBe(409);
    await must(call('PUT', path, { body: apiKey('four') }), 200);
    expect((await must(call('GET', path), 200)).body.version).toBe(4);
  });

  describe('conditions', () => {
    it('cas lets one of many writers win', async () => {
      const path = at('acme', 'cas');
      await must(call('PUT', path, { body: { ...apiKey(), cas: 0 } }), 201);
      const again = await call('PUT', path, { body: { ...apiKey(), cas: 0 } });
      expect({ status: again.status, code: again.body.code, at: again.body.current_version }).toEqual({
        status: 409,
        code: 'version_conflict',
        at: 1,
      });
      const race = await Promise.all(
        Array.from({ length: 12 }, (_, index) => call('PUT', path, { body: { ...apiKey(`racer-${index}`), cas: 1 } })),
      );
      expect(race.map((reply) => reply.status).sort()).toEqual([200, ...Array(11).fill(409)]);
      const winner = race.findIndex((reply) => reply.status === 200);
      expect((await must(call('GET', `${path}/value`), 200)).body.value.key).toBe(`racer-${winner}`);
    });

    it('If-Match and If-None-Match hold writes to what the writer saw', async () => {
      const path = at('acme', 'etags');
      const first = await must(call('PUT', path, { body: apiKey(), headers: { 'if-none-match': '*' } }), 201);
      const etag = first.headers.get('etag') as string;
      expect((await call('PUT', path, { body: apiKey(), headers: { 'if-none-match': '*' } })).status).toBe(412);
      await must(call('PUT', path, { body: apiKey('b'), headers: { 'if-match': etag } }), 200);
      expect((await call('PUT', path, { body: apiKey('c'), headers: { 'if-match': etag } })).status).toBe(412);
      expect((await call('DELETE', path, { token: world().owner, headers: { 'if-match': etag } })).status).toBe(412);
      expect((await call('PUT', path, { body: apiKey(), headers: { 'if-match': 'r1' } })).status).toBe(400);
      expect((await call('PUT', at('acme', 'nobody'), { body: apiKey(), headers: { 'if-match': '"r1"' } })).status).toBe(412);
    });

    it('If-None-Match on a read answers 304 until something changes', async () => {
      const path = at('acme', 'cached');
      await must(call('PUT', path, { body: apiKey() }), 201);
      for (const what of [path, `${path}/value`]) {
        const etag = (await must(call('GET', what), 200)).headers.get('etag') as string;
        const same = await call('GET', what, { headers: { 'if-none-match': etag } });
        expect({ status: same.status, text: same.text }).toEqual({ status: 304, text: '' });
        await must(call('PUT', path, { body: apiKey(`${CANARY}-2`) }), 200);
        expect((await call('GET', what, { headers: { 'if-none-match': etag } })).status).toBe(200);
      }
    });
  });

  it('lists, filters, searches and pages without gaps or repeats while names are added', async () => {
    const { owner } = world();
    const base = '/v1/tenants/globex/environments/staging/credentials';
    const mine = { token: owner };
    for (let i = 0; i < 12; i++) {
      const body = { ...apiKey(), labels: { team: i % 2 === 0 ? 'even' : 'odd' }, description: `number ${i}` };
      await must(call('PUT', `${base}/page-${String(i).padStart(2, '0')}`, { ...mine, body }), 201);
    }
    const names: string[] = [];
    let cursor: string | null = '';
    for (let pages = 0; cursor !== null; pages++) {
      const query: string = cursor === '' ? '' : `&cursor=${cursor}`;
      const page: Json = (await must(call('GET', `${base}?limit=5${query}`, mine), 200)).body;
      names.push(...page.items.map((item: Json) => item.name));
      cursor = page.next_cursor;
      if (pages === 0) await must(call('PUT', `${base}/page-00a`, { ...mine, body: apiKey() }), 201);
      expect(pages).toBeLessThan(10);
    }
    const expected = Array.from({ length: 12 }, (_, i) => `page-${String(i).padStart(2, '0')}`);
    expect(names.filter((name) => expected.includes(name))).toEqual(expected);
    expect(new Set(names).size).toBe(names.length);
    const found = async (query: string) =>
      (await must(call('GET', `${base}?${query}`, mine), 200)).body.items.map((i: Json) => i.name);
    expect(await found('label=team=odd')).toHaveLength(6);
    expect(await found('search=page-03')).toEqual(['page-03']);
    expect(await found('search=number%207')).toEqual(['page-07']);
    expect(await found('kind=basic')).toEqual([]);
    expect(await found(`search=${encodeURIComponent("' OR 1=1 --")}`)).toEqual([]);
    expect(await found('search=%25')).toEqual([]);
  });

  it.each([
    ['forged', () => 'AAAAAAAAAAAAAAAAAAAAAAAA'],
    ['cut', (good: string) => good.slice(0, -2)],
    ['padded', (good: string) => `${good}=`],
    ['empty-handed', () => 'x'],
  ])('refuses a %s cursor', async (_what, spoil) => {
    const { owner } = world();
    const base = '/v1/tenants/globex/environments/staging/credentials';
    const good = (await must(call('GET', `${base}?limit=1`, { token: owner }), 200)).body.next_cursor as string;
    const reply = await call('GET', `${base}?cursor=${encodeURIComponent(spoil(good))}`, { token: owner });
    expect({ status: reply.status, pointer: reply.body.pointer }).toEqual({ status: 400, pointer: '?cursor' });
  });

  it('refuses the cursor of another list and of another tenant', async () => {
    const { owner } = world();
    const good = (await must(call('GET', `${at('globex')}?limit=1`, { token: owner }), 200)).body.next_cursor as string;
    for (const list of [at('acme'), at('globex', '', 'production'), '/v1/tenants', '/v1/users', '/v1/tenants/globex/workloads']) {
      const reply = await call('GET', `${list}?cursor=${good}`, { token: owner });
      expect({ list, status: reply.status }).toEqual({ list, status: 400 });
    }
  });

  it('deletes with a window, refuses to read or to put meanwhile, and restores', async () => {
    const { owner } = world();
    const path = at('acme', 'deleted');
    await must(call('PUT', path, { body: apiKey('kept-not-a-real-secret') }), 201);
    expect((await call('DELETE', `${path}?recovery_window_days=1`, { token: owner })).status).toBe(400);
    const gone = await must(call('DELETE', `${path}?recovery_window_days=7`, { token: owner }), 200);
    expect(gone.body.state).toBe('deleted');
    expect(Date.parse(gone.body.destroy_after_at) - Date.parse(gone.body.deleted_at)).toBe(7 * 86_400_000);
    expect((await call('GET', `${path}/value`)).status).toBe(410);
    expect((await call('PUT', path, { body: apiKey() })).status).toBe(409);
    const names = async (query: string) =>
      (await must(call('GET', `${at('acme')}?search=deleted${query}`), 200)).body.items.map((item: Json) => item.name);
    expect([await names(''), await names('&deleted=true')]).toEqual([[], ['deleted']]);
    await must(call('POST', `${path}/restorations`, { token: owner, body: {} }), 200);
    expect((await must(call('GET', `${path}/value`), 200)).body.value.key).toBe('kept-not-a-real-secret');
    expect((await call('POST', `${path}/restorations`, { token: owner, body: {} })).status).toBe(409);
  });

  it('makes a credential again after a deletion, also of another kind, and keeps the deleted one restorable beside it', async () => {
    const { owner } = world();
    const path = at('acme', 'made-again');
    const first = await must(call('PUT', path, { body: { kind: 'json', value: { key: 'old-not-a-real-secret' } } }), 201);
    const again = { ...apiKey('new-not-a-real-secret'), replace_deleted: true };
    expect((await call('PUT', path, { token: owner, body: again })).status, 'it stands').toBe(409);
    await must(call('DELETE', path, { token: owner }), 200);
    const refused = await call('PUT', path, { token: owner, body: apiKey() });
    expect(refused.status).toBe(409);
    expect(refused.body.detail).toContain('replace_deleted');
    expect((await call('PUT', path, { body: again })).status, 'a program').toBe(403);
    const made = await must(call('PUT', path, { token: owner, body: { ...again, cas: 0 } }), 201);
    expect(made.body).toMatchObject({
      name: 'made-again',
      kind: 'api_key',
      version: 1,
      set_aside: `made-again.deleted-${first.body.id.slice(4)}`,
    });
    expect(made.body.id).not.toBe(first.body.id);
    expect((await must(call('GET', `${path}/value`), 200)).body.value.key).toBe('new-not-a-real-secret');
    const aside = at('acme', made.body.set_aside);
    expect((await must(call('GET', aside, { token: owner }), 200)).body).toMatchObject({ id: first.body.id, state: 'deleted' });
    await must(call('POST', `${aside}/restorations`, { token: owner, body: {} }), 200);
    expect((await must(call('GET', `${aside}/value`), 200)).body.value).toEqual({ key: 'old-not-a-real-secret' });
  });

  it('replaces labels and description without a new version', async () => {
    const { owner } = world();
    const path = at('acme', 'labelled');
    await must(call('PUT', path, { body: { ...apiKey(), labels: { a: '1' } } }), 201);
    const patched = await must(call('PATCH', path, { token: owner, body: { labels: { b: '2' }, description: 'd' } }), 200);
    expect(patched.body).toMatchObject({ version: 1, revision: 2, labels: { b: '2' }, description: 'd' });
    const refused = await call('PATCH', path, { token: owner, body: { labels: { ['__proto__']: 'x', ' ': CANARY } } });
    expect(refused.status).toBe(400);
    expect(refused.text).not.toContain(CANARY);
  });

  describe('idempotency', () => {
    it('answers a repeated request with the first answer, its secret included, and does it once', async () => {
      const { owner } = world();
      const body = { name: 'twice', environment: 'staging', patterns: ['*'] };
      const ask = { token: owner, body, headers: { 'idempotency-key': 'conformance-1' } };
      const replies = await Promise.all(Array.from({ length: 5 }, () => call('POST', '/v1/tenants/acme/workloads', ask)));
      expect(new Set(replies.map((reply) => `${reply.status} ${reply.text}`)).size).toBe(1);
      expect(replies[0]?.status).toBe(201);
      expect(replies.filter((reply) => reply.headers.get('idempotent-replay') === 'true')).toHaveLength(4);
      const list = await must(call('GET', '/v1/tenants/acme/workloads', { token: owner }), 200);
      expect(list.body.items.filter((item: Json) => item.name === 'twice')).toHaveLength(1);
    });

    it('refuses the key for another body, and lets another caller have it for themselves', async () => {
      const { owner, admin } = world();
      const headers = { 'idempotency-key': 'conformance-2' };
      const post = (token: string, name: string) =>
        call('POST', '/v1/tenants/acme/environments', { token, body: { name }, headers });
      await must(post(owner, 'qa'), 201);
      const other = await post(owner, 'qa2');
      expect({ status: other.status, code: other.body.code }).toEqual({ status: 422, code: 'idempotency_mismatch' });
      const elsewhere = await call('POST', `${at('acme', 'labelled')}/rollbacks`, {
        token: owner,
        body: { version: 1 },
        headers,
      });
      expect(elsewhere.status).toBe(422);
      expect((await post(admin, 'qa')).status).toBe(409);
      expect(
        (
          await call('POST', '/v1/tenants/acme/environments', {
            token: owner,
            body: { name: 'q' },
            headers: { 'idempotency-key': 'a b' },
          })
        ).status,
      ).toBe(400);
    });

    it('makes one tenant of a creation that is sent many times', async () => {
      const { owner } = world();
      const ask = { token: owner, body: { name: 'initech' }, headers: { 'idempotency-key': 'conformance-3' } };
      const replies = await Promise.all(Array.from({ length: 4 }, () => call('POST', '/v1/tenants', ask)));
      expect(new Set(replies.map((reply) => reply.body.id)).size).toBe(1);
      await must(call('GET', '/v1/tenants/initech/environments', { token: owner }), 200);
      expect((await call('POST', '/v1/tenants', { token: owner, body: { name: 'initech' } })).status).toBe(409);
    });
  });
}
