// Rights: who was given them, who takes more than they have, and who uses them after they ended.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startKeyturn } from '../../src/node/start.ts';
import { apiKey, at, callerOf, comparable, enrolled, type Json, makeUser, makeWorkload, must } from '../conformance/world.ts';
import { type Attacked, attacked, eventsOf } from '../kit/attacked.ts';

let world: Attacked;
let names = 0;
const fresh = (stem: string) => `${stem}-${++names}`;

beforeAll(async () => {
  world = await attacked();
});
afterAll(() => world.stop());

const createUser = (token: string, name: string, grants: unknown) =>
  world.call('POST', '/v1/users', { token, body: { name, grants } });

describe('the first set-up', () => {
  it('raced by fifty makes one owner, and the secret opens nothing else before and nothing at all after', async () => {
    const dataDirectory = mkdtempSync(join(tmpdir(), 'keyturn-setup-'));
    const running = await startKeyturn({ dataDirectory, host: '127.0.0.1', port: 0, log: () => {} });
    try {
      const call = callerOf(running.url);
      const boot = readFileSync(running.bootstrapSecretFile as string, 'utf8').trim();
      for (const [method, path, body] of [
        ['GET', '/v1/whoami'],
        ['GET', '/v1/tenants'],
        ['GET', '/v1/users'],
        ['GET', '/v1/audit/export'],
        ['POST', '/v1/tenants', { name: 'early' }],
        ['POST', '/v1/users', { name: 'early', grants: [{ role: 'owner' }] }],
      ] as const)
        expect((await call(method, path, { token: boot, body })).status, path).toBe(401);
      const race = await Promise.all(
        Array.from({ length: 50 }, (_, index) => call('POST', '/v1/setup', { token: boot, body: { name: `owner-${index}` } })),
      );
      const winners = race.filter((reply) => reply.status === 201);
      expect(winners).toHaveLength(1);
      expect(race.filter(({ status }) => ![201, 401, 409].includes(status))).toEqual([]);
      const owner = winners[0]?.body.token.token as string;
      const users = await must(call('GET', '/v1/users', { token: owner }), 200);
      expect(users.body.items.map((user: Json) => user.name)).toEqual([winners[0]?.body.user.name]);
      expect(() => readFileSync(running.bootstrapSecretFile as string)).toThrow(/ENOENT/);
      expect((await call('GET', '/v1/tenants', { token: boot })).status).toBe(401);
    } finally {
      await running.close();
      rmSync(dataDirectory, { recursive: true, force: true });
    }
  });
});

describe('grants', () => {
  it('are refused in every spelling but ours', async () => {
    const odd = [
      'Owner',
      'OWNER',
      'owner ',
      ' owner',
      'owner\u0000',
      '\u043ewner',
      'owner\u200b',
      '\uff4fwner',
      'workload',
      'system',
      'System',
      'root',
      '*',
      '',
      null,
      1,
      ['owner'],
      { role: 'owner' },
    ];
    for (const role of odd)
      expect((await createUser(world.admin, fresh('odd'), [{ role }])).status, JSON.stringify(role)).toBe(400);
    for (const tenant of ['*', '', 'ACME', 'acme ', 'acme\u0000', '../acme', null, ['acme'], 1])
      expect((await createUser(world.owner, fresh('odd'), [{ role: 'engineer', tenant }])).status, JSON.stringify(tenant)).toBe(
        400,
      );
    for (const name of ['Adam', 'adam ', 'ad\u00e4m', '\u0430dam', 'a'.repeat(65), '', '-adam', 'adam\n'])
      expect((await createUser(world.owner, name, [{ role: 'auditor' }])).status, JSON.stringify(name)).toBe(400);
    expect((await createUser(world.owner, 'adam', [{ role: 'auditor' }])).status).toBe(409);
  });

  it('of owner come from owners only, by whatever way', async () => {
    const { call, admin, owner } = world;
    const away = fresh('local-owner');
    await must(createUser(owner, away, [{ role: 'owner', tenant: 'acme' }]), 201);
    const users = (await must(call('GET', '/v1/users?limit=500', { token: admin }), 200)).body.items as Json[];
    const first = users.find((user) => user.grants.some((grant: Json) => grant.role === 'owner' && grant.tenant === '*'));
    const tries = [
      createUser(admin, fresh('made'), [{ role: 'owner' }]),
      createUser(admin, fresh('made'), [{ role: 'owner', tenant: 'acme' }]),
      createUser(admin, fresh('made'), [{ role: 'engineer', tenant: 'acme' }, { role: 'owner' }]),
      call('POST', `/v1/users/${first.id}/tokens`, { token: admin, body: {} }),
      call('POST', `/v1/users/${first.name}/tokens`, { token: admin, body: {} }),
      call('POST', `/v1/users/${away}/tokens`, { token: admin, body: {} }),
      call('DELETE', `/v1/users/${first.id}`, { token: admin }),
      call('DELETE', `/v1/users/${away}`, { token: admin }),
    ];
    for (const reply of await Promise.all(tries)) expect(reply.status).toBe(403);
  });

  it('of the whole installation are never all taken away: an owner of one client does not count as the last owner', async () => {
    const { call, owner } = world;
    await must(createUser(owner, fresh('client-owner'), [{ role: 'owner', tenant: 'acme' }]), 201);
    const me = (await must(call('GET', '/v1/whoami', { token: owner }), 200)).body.id as string;
    expect((await call('DELETE', `/v1/users/${me}`, { token: owner })).status).toBe(409);
    await must(call('GET', '/v1/users', { token: owner }), 200);
  });

  it('never grow: whatever an administrator does in whatever order, nobody they made can do what they could not', async () => {
    const { call, owner } = world;
    const probes: readonly (readonly [string, string, unknown?])[] = [
      ['GET', '/v1/users'],
      ['GET', '/v1/audit/events?limit=1'],
      ['GET', '/metrics'],
      ['GET', at('acme')],
      ['GET', at('globex')],
      ['GET', '/v1/tenants/acme/keys'],
      ['GET', '/v1/tenants/globex/keys'],
      ['GET', '/v1/tenants/acme/audit/events?limit=1'],
      ['GET', '/v1/tenants/globex/audit/events?limit=1'],
      ['GET', '/v1/tenants/acme/workloads'],
      ['GET', '/v1/tenants/globex/workloads'],
      ['POST', '/v1/setup', { name: 'again' }],
      ['PATCH', at('acme', 'nothing-here'), { description: '' }],
      ['PATCH', at('globex', 'nothing-here'), { description: '' }],
      ['POST', '/v1/users', { name: 'probe', grants: [{ role: 'workload' }] }],
      ['POST', `${at('acme', 'nothing-here')}/runs`, {}],
    ];
    // Past the door: done, or refused for another reason than who asks.
    const powers = async (token: string): Promise<Set<number>> => {
      const replies = await Promise.all(probes.map(([method, path, body]) => call(method, path, { token, body })));
      return new Set(replies.flatMap(({ status }, index) => ([401, 403, 404].includes(status) ? [] : [index])));
    };
    const actors: [string, unknown[]][] = [
      ['admin', [{ role: 'admin' }]],
      ['admin of acme', [{ role: 'admin', tenant: 'acme' }]],
      ['owner of acme', [{ role: 'owner', tenant: 'acme' }]],
      ['engineer', [{ role: 'engineer', tenant: 'acme' }]],
      ['operator', [{ role: 'rotation-operator' }]],
      ['auditor', [{ role: 'auditor' }]],
    ];
    const role = fc.constantFrom('owner', 'admin', 'rotation-operator', 'engineer', 'auditor');
    const grant = fc.record({ role, tenant: fc.option(fc.constantFrom('acme', 'globex'), { nil: undefined }) });
    const step = fc.oneof(
      fc.record({ do: fc.constant('user' as const), grants: fc.array(grant, { minLength: 1, maxLength: 2 }), by: fc.nat() }),
      fc.record({ do: fc.constant('token' as const), whose: fc.nat(), by: fc.nat() }),
      fc.record({ do: fc.constant('tenant' as const), by: fc.nat() }),
      fc.record({ do: fc.constant('setup' as const), by: fc.nat() }),
    );
    let made = 0;
    for (const [what, grants] of actors) {
      const actor = await makeUser(call, owner, fresh('actor'), grants);
      const own = await powers(actor);
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), async (steps) => {
          const held = [actor];
          const everyone = ((await call('GET', '/v1/users?limit=500', { token: owner })).body.items as Json[]).map(
            (user) => user.id as string,
          );
          for (const one of steps) {
            const token = held[one.by % held.length] as string;
            let reply: Awaited<ReturnType<typeof call>>;
            if (one.do === 'user')
              reply = await call('POST', '/v1/users', { token, body: { name: fresh('held'), grants: one.grants } });
            else if (one.do === 'token')
              reply = await call('POST', `/v1/users/${everyone[one.whose % everyone.length]}/tokens`, { token, body: {} });
            else if (one.do === 'tenant') reply = await call('POST', '/v1/tenants', { token, body: { name: 'acme' } });
            else reply = await call('POST', '/v1/setup', { token, body: { name: 'again' } });
            // Whoever gets hold of an enrolment token before its person does can spend it: that must not be more than the maker had either.
            if (reply.status === 201)
              held.push(
                reply.body.enrolment !== undefined ? await enrolled(call, reply) : (reply.body.token?.token ?? reply.body.token),
              );
          }
          made += held.length - 1;
          for (const token of held.slice(1))
            for (const power of await powers(token)) expect(own.has(power), `${what}: ${probes[power]?.join(' ')}`).toBe(true);
        }),
        { numRuns: 12, endOnFailure: true },
      );
    }
    expect(made).toBeGreaterThan(3);
  }, 60_000);
});

describe('rights that ended', () => {
  it('of a user who left: every route they had just used refuses at once', async () => {
    const { call, owner } = world;
    const paths = [
      '/v1/whoami',
      '/v1/tenants',
      '/v1/users',
      '/v1/audit/events',
      '/metrics',
      '/v1/tenants/acme/whoami',
      at('acme'),
      '/v1/tenants/acme/workloads',
      '/v1/tenants/acme/keys',
      '/v1/tenants/acme/audit/events',
    ];
    for (let round = 0; round < 5; round++) {
      const name = fresh('leaver');
      const tokens = [await makeUser(call, owner, name, [{ role: 'admin' }])];
      tokens.push((await must(call('POST', `/v1/users/${name}/tokens`, { token: tokens[0], body: {} }), 201)).body.token);
      for (const token of tokens) for (const path of paths) await must(call('GET', path, { token }), 200);
      const inFlight = paths.map((path) => call('GET', path, { token: tokens[0] }));
      await must(call('DELETE', `/v1/users/${name}`, { token: round % 2 === 0 ? owner : tokens[1] }), 200);
      const after = await Promise.all(tokens.flatMap((token) => paths.map((path) => call('GET', path, { token }))));
      expect(after.map((reply) => reply.status)).toEqual(after.map(() => 401));
      await Promise.all(inFlight);
    }
  });

  it('of a revoked workload or token end at once: direct, exchanged, secret, cached', async () => {
    const { call, owner } = world;
    await must(call('PUT', at('acme', 'ended'), { token: owner, body: apiKey() }), 201);
    const path = `${at('acme', 'ended')}/value`;
    const exchange = (secret: string) =>
      call('POST', '/v1/tenants/acme/token', { body: { grant_type: 'client_credentials', client_secret: secret } });
    for (const how of ['workload', 'tokens'] as const) {
      const name = fresh('ending');
      const made = await makeWorkload(call, owner, 'acme', { name });
      const access = (await must(exchange(made.secret), 200)).body.access_token as string;
      for (const token of [made.token, access, made.token, access]) await must(call('GET', path, { token }), 200);
      const base = `/v1/tenants/acme/workloads/${name}`;
      if (how === 'workload') await must(call('DELETE', base, { token: owner }), 200);
      else
        for (const { id } of (await must(call('GET', base, { token: owner }), 200)).body.tokens)
          await must(call('DELETE', `${base}/tokens/${id}`, { token: owner }), 200);
      for (const token of [made.token, access]) expect((await call('GET', path, { token })).status).toBe(401);
      expect((await exchange(made.secret)).status).toBe(401);
      if (how === 'workload') {
        await makeWorkload(call, owner, 'acme', { name });
        expect((await call('GET', path, { token: made.token })).status, 'a new workload of the same name').toBe(401);
      }
    }
  });

  it('to a value that was deleted, replaced or rolled back: no reader sees the one that was cached', async () => {
    const { call, owner, acme } = world;
    const read = () => call('GET', `${at('acme', 'moving')}/value`, { token: acme.token });
    const keyOf = async () => (await must(read(), 200)).body.value.key;
    const put = (key: string) => call('PUT', at('acme', 'moving'), { token: owner, body: apiKey(key) });
    await must(put('one-not-a-real-secret'), 201);
    for (let round = 0; round < 3; round++) expect(await keyOf()).toBe('one-not-a-real-secret');
    await must(put('two-not-a-real-secret'), 200);
    expect(await keyOf()).toBe('two-not-a-real-secret');
    await must(call('POST', `${at('acme', 'moving')}/rollbacks`, { token: owner, body: {} }), 200);
    expect(await keyOf()).toBe('one-not-a-real-secret');
    const refused = await call('PUT', at('acme', 'moving'), {
      token: owner,
      body: { ...apiKey('three-not-a-real-secret'), cas: 99 },
    });
    expect(refused.status).toBe(409);
    expect(await keyOf()).toBe('one-not-a-real-secret');
    await must(call('DELETE', at('acme', 'moving'), { token: owner }), 200);
    for (const query of ['', '?version=1', '?version=2', '?stage=previous'])
      expect((await call('GET', `${at('acme', 'moving')}/value${query}`, { token: acme.token })).status).toBe(410);
    await must(call('POST', `${at('acme', 'moving')}/restorations`, { token: owner, body: {} }), 200);
    expect(await keyOf()).toBe('one-not-a-real-secret');
    await must(call('POST', '/v1/tenants/acme/keys/rotations', { token: owner, body: {} }), 202);
    expect(await keyOf()).toBe('one-not-a-real-secret');
  });
});

describe('what a scoped workload may see', () => {
  it('is all that lists, searches, pages and cursors tell it of', async () => {
    const { call, owner } = world;
    const hidden = ['hub', 'hubs-secret', 'zzz-last', 'aaa-first', 'hub-x-hidden'];
    const shown = ['hub-a', 'hub-b', 'hub-c'];
    for (const name of [...hidden, ...shown]) {
      const body = {
        ...apiKey(),
        labels: { team: 'red', hidden: String(hidden.includes(name)) },
        description: `about ${name} hubspot`,
      };
      await must(call('PUT', at('globex', name, 'production'), { token: owner, body }), 201);
    }
    const { token } = await makeWorkload(call, owner, 'globex', {
      name: fresh('scoped'),
      environment: 'production',
      patterns: ['hub-a', 'hub-b', 'hub-c'],
      permissions: ['read', 'put', 'rotate'],
    });
    const list = at('globex', '', 'production');
    for (const query of [
      '',
      'search=hub',
      'search=hidden',
      'search=zzz',
      'label=team%3Dred',
      'label=hidden%3Dtrue',
      'kind=api_key',
      'health=ready',
      'deleted=true',
      'kind=oauth2',
    ]) {
      for (const limit of [1, 2, 3, 500]) {
        const seen: string[] = [];
        let cursor: string | null = null;
        do {
          const paged = `${list}?limit=${limit}${query === '' ? '' : `&${query}`}${cursor === null ? '' : `&cursor=${cursor}`}`;
          const { body, text } = await must(call('GET', paged, { token }), 200);
          for (const name of hidden) expect(text.includes(`"${name}"`), `${query} ${name}`).toBe(false);
          seen.push(...body.items.map((item: Json) => item.name));
          cursor = body.next_cursor;
          if (cursor !== null) {
            const said = Buffer.from(cursor, 'base64url').subarray(12).toString();
            expect(shown).toContain(said);
          }
          expect(body.items.length === 0 && cursor !== null, 'an empty page says that something follows').toBe(false);
        } while (cursor !== null);
        const expected = /hidden|zzz|deleted|oauth2/.test(query) ? [] : shown;
        expect(seen, `${query} limit ${limit}`).toEqual(expected);
      }
    }
    for (const name of hidden)
      for (const [method, tail, body] of [
        ['GET', ''],
        ['GET', '/value'],
        ['GET', '/versions'],
        ['GET', '/runs'],
        ['POST', '/runs', {}],
        ['PUT', '', apiKey()],
      ] as const) {
        const theirs = comparable(await call(method, `${at('globex', name, 'production')}${tail}`, { token, body }));
        const absent = comparable(await call(method, `${at('globex', 'not-there', 'production')}${tail}`, { token, body }));
        expect(theirs, `${method} ${name}${tail}`).toEqual(absent);
      }
    for (const path of [
      'workloads',
      'keys',
      'audit/events',
      'audit/export',
      'audit/checkpoint',
      'environments',
      'environments/staging/credentials',
    ])
      expect([403, 404], path).toContain((await call('GET', `/v1/tenants/globex/${path}`, { token })).status);
    for (const path of ['/metrics', '/v1/tenants', '/v1/users', '/v1/audit/events'])
      expect((await call('GET', path, { token })).status).toBe(401);
  });
});

describe('two hundred writers at once', () => {
  it('with check-and-set: one winner a version, and no update is lost', async () => {
    const { call, owner, acme } = world;
    const path = at('acme', 'contested');
    await must(call('PUT', path, { token: owner, body: apiKey('0') }), 201);
    let version = 1;
    for (let round = 0; round < 3; round++) {
      const replies = await Promise.all(
        Array.from({ length: 200 }, (_, index) =>
          call('PUT', path, {
            token: index % 2 ? acme.token : owner,
            body: { ...apiKey(`${round}-${index}-not-a-real-secret`), cas: version },
          }),
        ),
      );
      const winners = replies.flatMap(({ status }, index) => (status === 200 ? [index] : []));
      expect(winners).toHaveLength(1);
      expect(replies.filter(({ status }) => status !== 200 && status !== 409)).toEqual([]);
      version += 1;
      const value = await must(call('GET', `${path}/value`, { token: acme.token }), 200);
      expect([value.body.version, value.body.value.key]).toEqual([version, `${round}-${winners[0]}-not-a-real-secret`]);
    }
    const free = await Promise.all(Array.from({ length: 100 }, () => call('PUT', path, { token: owner, body: apiKey() })));
    expect(new Set(free.map((reply) => reply.body.version)).size).toBe(100);
    const one = await Promise.all(
      Array.from({ length: 50 }, () =>
        call('PUT', at('acme', 'born-once'), { token: owner, body: apiKey(), headers: { 'if-none-match': '*' } }),
      ),
    );
    expect(one.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(one.filter(({ status }) => status !== 201 && status !== 412)).toEqual([]);
    const events = (await eventsOf(call, owner, 'acme')).filter(
      (event) => event.target.name === 'contested' && event.action === 'credential.put',
    );
    expect(events.filter((event) => event.outcome === 'success')).toHaveLength(104);
    expect(events.filter((event) => event.outcome === 'failure')).toHaveLength(597);
  });
});
