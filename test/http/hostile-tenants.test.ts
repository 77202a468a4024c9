// What belongs to another: ids, cursors, tags and keys of one tenant, user or program in the hands of another.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { apiKey, at, type Call, comparable, type Json, makeUser, makeWorkload, must, type Reply } from '../conformance/world.ts';
import { type Attacked, attacked, eventsOf } from '../kit/attacked.ts';

let world: Attacked;

beforeAll(async () => {
  world = await attacked();
});
afterAll(() => world.stop());

async function patient(ask: () => Promise<Reply>): Promise<Reply> {
  let reply = await ask();
  for (let tries = 0; reply.status === 429 && tries < 6; tries++) {
    await new Promise((resume) => setTimeout(resume, 1_100));
    reply = await ask();
  }
  return reply;
}

interface Things {
  readonly tenant: string;
  readonly environment: string;
  readonly credential: string;
  readonly workload: string;
  readonly token: string;
  readonly run: string;
  readonly user: string;
  readonly webhook: string;
  readonly cursor: string;
  readonly etag: string;
  readonly key: string;
}

const MADE_UP: Omit<Things, 'cursor' | 'etag' | 'key'> = {
  tenant: 'ten_000000000000000000000000',
  environment: 'nowhere',
  credential: 'nothing-here',
  workload: 'wkl_000000000000000000000000',
  token: '000000000000',
  run: 'run_000000000000000000000000',
  user: 'usr_000000000000000000000000',
  webhook: 'whk_000000000000000000000000',
};

const BODIES: Readonly<Record<string, unknown>> = {
  'PATCH {credential}': { description: 'intruded' },
  '{credential}': apiKey(),
  environments: { name: 'intruded' },
  workloads: { name: 'intruder', environment: 'staging', patterns: ['*'] },
  webhooks: { url: 'https://intruder.example/' },
  token: { grant_type: 'client_credentials', client_secret: 'not-a-real-secret' },
};

describe('every route, with the real ids of another tenant', () => {
  let theirs: Things;

  beforeAll(async () => {
    const { call, owner, globex } = world;
    const grant = {
      kind: 'oauth2',
      value: { access_token: 'a-not-a-real-secret', refresh_token: 'r-not-a-real-secret', expires_in: 3_600 },
      config: { token_endpoint: 'https://login.example/token', client_id: 'client' },
    };
    await must(call('PUT', at('globex', 'theirs'), { token: owner, body: grant }), 201);
    for (const name of ['a', 'b', 'c']) await must(call('PUT', at('globex', name), { token: owner, body: apiKey() }), 201);
    const key = 'their-key';
    const run = await must(
      call('POST', `${at('globex', 'theirs')}/runs`, { token: globex.token, body: {}, headers: { 'idempotency-key': key } }),
      202,
    );
    const hook = { url: 'https://hooks.example/theirs' };
    const webhook = await must(call('POST', '/v1/tenants/globex/webhooks', { token: owner, body: hook }), 201);
    const page = await must(call('GET', `${at('globex')}?limit=1`, { token: owner }), 200);
    const described = await must(call('GET', at('globex', 'theirs'), { token: owner }), 200);
    const users = await must(call('GET', '/v1/users', { token: owner }), 200);
    theirs = {
      tenant: globex.id,
      environment: 'staging',
      credential: 'theirs',
      workload: globex.workload,
      token: globex.tokenId,
      run: run.body.id,
      user: users.body.items.find((user: Json) => user.name === 'audrey').id,
      webhook: webhook.body.id,
      cursor: page.body.next_cursor,
      etag: described.headers.get('etag') as string,
      key,
    };
  });

  const send = (token: string | undefined, method: string, path: string, things: Things) => {
    const filled = path.replace(/\{(\w+)\}/g, (_, field: keyof Things) => things[field]);
    const last = path.split('/').at(-1) ?? '';
    const body = BODIES[`${method} ${last}`] ?? BODIES[last] ?? {};
    const query =
      method === 'GET' && /(credentials|versions|rotations|workloads|alerts|forecast|deliveries)$/.test(path)
        ? `?cursor=${things.cursor}`
        : '';
    const conditional = method === 'GET' ? { 'if-none-match': things.etag } : { 'if-match': things.etag };
    const headers = { ...conditional, 'idempotency-key': things.key };
    return patient(() =>
      world.call(method, filled + query, { token, headers, ...(method === 'GET' || method === 'DELETE' ? {} : { body }) }),
    );
  };

  it.each(['engineer', 'workload', 'nobody'] as const)('answers %s of one tenant as if they were made up', async (who) => {
    const token = { engineer: world.engineer, workload: world.acme.token, nobody: undefined }[who];
    const before = (await eventsOf(world.call, world.owner, 'globex')).length;
    let compared = 0;
    for (const { method, path } of ALL_ROUTES.filter((route) => route.path.includes('{tenant}'))) {
      const handles = { cursor: theirs.cursor, etag: theirs.etag, key: theirs.key };
      const none = comparable(await send(token, method, path, { ...MADE_UP, ...handles }));
      expect(none.status, `${method} ${path}`).toBeGreaterThanOrEqual(400);
      expect(comparable(await send(token, method, path, theirs)), `${method} ${path}`).toEqual(none);
      expect(comparable(await send(token, method, path, { ...theirs, tenant: 'globex' })), `${method} ${path}`).toEqual(none);
      if (!/\{tenant\}.*\{/.test(path)) continue;
      // Their things, asked for inside one's own tenant.
      const mine = { tenant: 'acme', environment: 'staging' };
      const inside = comparable(await send(token, method, path, { ...theirs, ...mine, key: `k1-${compared}-${who}` }));
      const absent = comparable(
        await send(token, method, path, { ...MADE_UP, ...mine, ...handles, key: `k2-${compared}-${who}` }),
      );
      expect(inside, `inside: ${method} ${path}`).toEqual(absent);
      compared++;
    }
    expect(compared).toBeGreaterThan(15);
    const traces = (await eventsOf(world.call, world.owner, 'globex', before)).filter((event) => event.action !== 'audit.read');
    // A user of the team who tries a client that is not theirs is worth a line there; a stranger's token is not.
    for (const event of traces)
      expect(event).toMatchObject({ outcome: 'denied', reason: 'no role at this tenant', actor: { type: 'user' } });
    if (who !== 'engineer') expect(traces).toEqual([]);
  });

  it('the token endpoint of no tenant answers like that of any, also when a user asks', async () => {
    const body = BODIES['token'];
    for (const token of [undefined, world.engineer, world.owner, world.acme.token]) {
      const [none, some] = await Promise.all(
        ['nowhere', 'globex'].map((tenant) => patient(() => world.call('POST', `/v1/tenants/${tenant}/token`, { token, body }))),
      );
      expect(comparable(none as Reply)).toEqual(comparable(some as Reply));
    }
  });

  it('changed nothing there', async () => {
    const { call, owner } = world;
    const list = await must(call('GET', at('globex'), { token: owner }), 200);
    expect(list.body.items.map((item: Json) => [item.name, item.version])).toEqual([
      ['a', 1],
      ['b', 1],
      ['c', 1],
      ['theirs', 1],
    ]);
    expect((await must(call('GET', '/v1/tenants/globex/workloads', { token: owner }), 200)).body.items).toHaveLength(1);
    expect((await must(call('GET', '/v1/tenants/globex/webhooks', { token: owner }), 200)).body.items).toHaveLength(1);
    await must(call('GET', at('globex'), { token: world.globex.token }), 200);
  });

  it('a user’s attempt at a tenant that is not there is an event, as is one at a tenant that is not theirs', async () => {
    const before = (await eventsOf(world.call, world.owner)).length;
    const reply = await world.call('GET', at(MADE_UP.tenant), { token: world.engineer });
    const events = await eventsOf(world.call, world.owner, undefined, before);
    expect(events.filter((event) => event.request === reply.body.request_id)).toMatchObject([
      { action: 'credential.list', outcome: 'denied', actor: { type: 'user' } },
    ]);
  });
});

describe('the same names in two tenants', () => {
  it('never mix: values, cursors, tags and idempotent answers stay in their tenant, cold and cached', async () => {
    const { call, owner } = world;
    for (const tenant of ['acme', 'globex'] as const)
      await must(call('PUT', at(tenant, 'twin'), { token: owner, body: apiKey(`${tenant}-not-a-real-secret`) }), 201);
    const read = async (tenant: 'acme' | 'globex') =>
      (await must(call('GET', `${at(tenant, 'twin')}/value`, { token: world[tenant].token }), 200)).body.value.key;
    for (let round = 0; round < 3; round++) {
      const keys = await Promise.all((['acme', 'globex', 'acme', 'globex'] as const).map(read));
      expect(keys).toEqual(['acme', 'globex', 'acme', 'globex'].map((tenant) => `${tenant}-not-a-real-secret`));
    }
    const headers = { 'idempotency-key': 'the-same' };
    const made = await Promise.all(
      ['acme', 'globex'].map((tenant) =>
        call('POST', `/v1/tenants/${tenant}/environments`, { token: owner, body: { name: 'qa' }, headers }),
      ),
    );
    expect(made.map((reply) => reply.status)).toEqual([201, 201]);
    expect(made[0]?.body.id).not.toBe(made[1]?.body.id);
    const tag = (await call('GET', `${at('acme', 'twin')}/value`, { token: world.acme.token })).headers.get('etag') as string;
    const other = await call('GET', `${at('globex', 'twin')}/value`, {
      token: world.globex.token,
      headers: { 'if-none-match': tag },
    });
    expect(other.status).toBe(200);
  });

  it('nor do two workloads or users of one name, nor a tenant named like the id of another', async () => {
    const { call, owner, globex } = world;
    expect((await call('POST', '/v1/tenants', { token: owner, body: { name: globex.id } })).status).toBe(409);
    const users = await must(call('GET', '/v1/users', { token: owner }), 200);
    const named = users.body.items[0].id as string;
    const grants = [{ role: 'auditor' }];
    expect((await call('POST', '/v1/users', { token: owner, body: { name: named, grants } })).status).toBe(409);
    const workload = { name: world.acme.workload, environment: 'staging', patterns: ['*'] };
    expect((await call('POST', '/v1/tenants/acme/workloads', { token: owner, body: workload })).status).toBe(409);
    const theirs = { ...workload, name: globex.workload };
    const made = await must(call('POST', '/v1/tenants/acme/workloads', { token: owner, body: theirs }), 201);
    expect(made.body.client_id).not.toBe(globex.workload);
  });
});

describe('tokens of one kind', () => {
  const kinds = (): [string, string][] => [
    ['a user token', world.owner],
    ['a direct token', world.acme.token],
    ['the spent bootstrap secret', world.spent],
  ];

  it('do not pass for another kind', async () => {
    for (const [what, token] of kinds()) {
      const types = ['boot', 'usr', 'wlk', 'acc', 'cs'].filter((type) => !token.startsWith(`kt_${type}_`));
      for (const type of types) {
        const disguised = token.replace(/^kt_[a-z]+_/, `kt_${type}_`);
        for (const path of ['/v1/users', '/v1/whoami', '/v1/tenants/acme/whoami', at('acme')])
          expect((await patient(() => world.call('GET', path, { token: disguised }))).status, `${what} as ${type}`).toBe(401);
      }
    }
    for (const path of ['/v1/users', '/v1/whoami', '/v1/tenants', '/v1/audit/events', '/metrics'])
      expect((await patient(() => world.call('GET', path, { token: world.acme.token }))).status).toBe(401);
    const spent = { token: world.spent, body: { name: 'again' } };
    expect((await patient(() => world.call('GET', '/v1/tenants/acme/whoami', { token: world.spent }))).status).toBe(401);
    expect((await patient(() => world.call('POST', '/v1/setup', spent))).status).toBe(401);
    for (const token of [world.owner, world.admin])
      expect((await world.call('POST', '/v1/setup', { token, body: { name: 'again' } })).status).toBeGreaterThanOrEqual(403);
  });

  it('count only in their own spelling', async () => {
    const token = world.acme.token;
    const flipped = `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`;
    const headers = [
      token,
      `Token ${token}`,
      `Bearer${token}`,
      `Bearer  ${token}`,
      `Bearer "${token}"`,
      `Bearer ${token},x`,
      `Bearer ${token}=`,
      `Bearer ${flipped}`,
      `Bearer ${token.toLowerCase()}`,
      `Basic ${Buffer.from(`:${token}`).toString('base64')}`,
    ];
    for (const authorization of headers)
      expect(
        (await patient(() => world.call('GET', at('acme'), { headers: { authorization } }))).status,
        authorization.slice(0, 9),
      ).toBe(401);
    expect((await world.call('GET', at('acme'), { headers: { authorization: `bearer ${token}` } })).status).toBe(200);
  });
});

describe('idempotency keys and conditions', () => {
  const post = (call: Call, token: string, key: string, body: unknown, path = '/v1/tenants/acme/environments') =>
    call('POST', path, { token, body, headers: { 'idempotency-key': key } });

  it('of another user bring neither their answer nor a refusal that tells of it', async () => {
    const { call, owner, admin } = world;
    const first = await must(post(call, owner, 'k-users', { name: 'idem-a' }), 201);
    const second = await post(call, admin, 'k-users', { name: 'idem-b' });
    expect(second.status).toBe(201);
    expect(second.body.id).not.toBe(first.body.id);
    expect((await post(call, admin, 'k-users', { name: 'idem-a' })).status).toBe(422);
  });

  it('with another body, path or method are refused, and the refusal is an event', async () => {
    const { call, owner } = world;
    await must(post(call, owner, 'k-body', { name: 'idem-c' }), 201);
    const other = await post(call, owner, 'k-body', { name: 'idem-d' });
    expect([other.status, other.body.code]).toEqual([422, 'idempotency_mismatch']);
    const workload = { name: 'idem', environment: 'staging', patterns: ['*'] };
    expect((await post(call, owner, 'k-body', workload, '/v1/tenants/acme/workloads')).status).toBe(422);
    const events = (await eventsOf(call, owner, 'acme')).filter((event) => event.request === other.body.request_id);
    expect(events).toMatchObject([{ action: 'environment.create', outcome: 'failure', reason: 'idempotency_mismatch' }]);
  });

  it('used twenty times at once do the thing once', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, () =>
        post(
          world.call,
          world.owner,
          'k-race',
          { name: 'racer', environment: 'staging', patterns: ['*'] },
          '/v1/tenants/acme/workloads',
        ),
      ),
    );
    expect(new Set(replies.map((reply) => reply.status))).toEqual(new Set([201]));
    expect(new Set(replies.map((reply) => reply.body.client_secret)).size).toBe(1);
  });

  it('bring no answer to a token that may not ask, though it is of the same workload', async () => {
    const { call, owner } = world;
    const grant = {
      kind: 'oauth2',
      value: { access_token: 'a-not-a-real-secret', refresh_token: 'r-not-a-real-secret', expires_in: 3_600 },
      config: { token_endpoint: 'https://login.example/token', client_id: 'client' },
    };
    await must(call('PUT', at('acme', 'spun'), { token: owner, body: grant }), 201);
    const made = await makeWorkload(call, owner, 'acme', { name: 'spinner', permissions: ['read', 'rotate'] });
    const narrow = await must(
      call('POST', '/v1/tenants/acme/workloads/spinner/tokens', { token: owner, body: { permissions: ['read'] } }),
      201,
    );
    const path = `${at('acme', 'spun')}/runs`;
    await must(post(call, made.token, 'k-narrow', {}, path), 202);
    const refused = await post(call, narrow.body.token, 'k-never-used', {}, path);
    expect(refused.status).toBe(403);
    expect(comparable(await post(call, narrow.body.token, 'k-narrow', {}, path))).toEqual(comparable(refused));
    expect((await post(call, made.token, 'k-narrow', {}, path)).headers.get('idempotent-replay')).toBe('true');
  });

  it('of someone who left are worth nothing', async () => {
    const { call, owner } = world;
    const token = await makeUser(call, owner, 'leaver', [{ role: 'admin' }]);
    await must(post(call, token, 'k-leaver', { name: 'left', grants: [{ role: 'auditor' }] }, '/v1/users'), 201);
    await must(call('DELETE', '/v1/users/leaver', { token: owner }), 200);
    expect((await post(call, token, 'k-leaver', { name: 'left', grants: [{ role: 'auditor' }] }, '/v1/users')).status).toBe(401);
  });

  it('malformed or contradictory are refused before anything is looked at', async () => {
    const { call, acme } = world;
    const put = (headers: Record<string, string>) =>
      call('PUT', at('acme', 'conditions'), { token: acme.token, body: apiKey(), headers });
    for (const headers of [
      { 'if-match': 'r1' },
      { 'if-match': '*' },
      { 'if-match': 'W/"r1"' },
      { 'if-match': '"r1", "r2"' },
      { 'if-none-match': '"r1"' },
      { 'idempotency-key': 'a b' },
      { 'idempotency-key': 'x'.repeat(129) },
    ])
      expect((await put(headers as unknown as Record<string, string>)).status, JSON.stringify(headers)).toBe(400);
    expect((await put({ 'if-match': '"r1"', 'if-none-match': '*' })).status).toBeGreaterThanOrEqual(400);
    expect((await put({ 'if-match': '"r999999999999999"' })).status).toBe(412);
    expect((await call('GET', at('acme', 'conditions'), { token: acme.token })).status).toBe(404);
  });
});
