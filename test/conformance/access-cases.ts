// Roles over operations, second factors, second people, and the team itself.
import { beforeAll, describe, expect, it } from 'vitest';
import { apiKey, at, enrolled, type Json, makeUser, must, type Reply, type World } from './world.ts';

type Who = 'owner' | 'admin' | 'operator' | 'engineer' | 'stranger' | 'auditor';
const EVERYONE: readonly Who[] = ['owner', 'admin', 'operator', 'engineer', 'stranger', 'auditor'];

interface Row {
  readonly what: string;
  readonly ask: (world: World, token: string) => Promise<Reply>;
  /** The status for those who may; whoever is not in it must be refused with 403 or 404. */
  readonly may: Readonly<Partial<Record<Who, number>>>;
}

const all = (status: number, ...who: readonly Who[]) => Object.fromEntries(who.map((name) => [name, status]));
const get = (path: string) => (world: World, token: string) => world.call('GET', path, { token });
const post =
  (path: string, body: unknown = {}) =>
  (world: World, token: string) =>
    world.call('POST', path, { token, body });

const MATRIX: readonly Row[] = [
  { what: 'list credentials', ask: get(at('acme')), may: all(200, 'owner', 'admin', 'operator', 'engineer', 'auditor') },
  {
    what: 'describe a credential',
    ask: get(at('acme', 'roles')),
    may: all(200, 'owner', 'admin', 'operator', 'engineer', 'auditor'),
  },
  {
    what: 'put a credential',
    ask: (w, token) => w.call('PUT', at('acme', 'roles'), { token, body: apiKey() }),
    may: all(200, 'owner', 'admin', 'engineer'),
  },
  {
    what: 'rotate (an API key cannot be)',
    ask: post(`${at('acme', 'roles')}/runs`),
    may: all(422, 'owner', 'admin', 'operator', 'engineer'),
  },
  {
    what: 'watch rotations',
    ask: get(`${at('acme', 'roles')}/runs`),
    may: all(200, 'owner', 'admin', 'operator', 'engineer', 'auditor'),
  },
  {
    what: 'roll back (there is no such version)',
    ask: post(`${at('acme', 'roles')}/rollbacks`, { version: 999 }),
    may: all(404, 'owner', 'admin', 'engineer'),
  },
  { what: 'list workloads', ask: get('/v1/tenants/acme/workloads'), may: all(200, 'owner', 'admin', 'engineer', 'auditor') },
  {
    what: 'create a workload (of a name that is taken)',
    ask: post('/v1/tenants/acme/workloads', { name: 'sync', environment: 'staging', patterns: ['*'] }),
    may: all(409, 'owner', 'admin', 'engineer'),
  },
  {
    what: 'list environments',
    ask: get('/v1/tenants/acme/environments'),
    may: all(200, 'owner', 'admin', 'operator', 'engineer', 'auditor'),
  },
  {
    what: 'create an environment (that exists)',
    ask: post('/v1/tenants/acme/environments', { name: 'staging' }),
    may: all(409, 'owner', 'admin'),
  },
  { what: 'search the log', ask: get('/v1/tenants/acme/audit/events?limit=1'), may: all(200, 'owner', 'admin', 'auditor') },
  { what: 'export the log', ask: get('/v1/tenants/acme/audit/export'), may: all(200, 'owner', 'admin', 'auditor') },
  { what: 'see the keys', ask: get('/v1/tenants/acme/keys'), may: all(200, 'owner', 'admin', 'operator', 'auditor') },
  {
    what: 'rotate a key',
    ask: post('/v1/tenants/acme/keys/rotations', { purposes: ['backup'] }),
    may: all(202, 'owner', 'admin'),
  },
  { what: 'see the keys of the home cell', ask: get('/v1/installation/keys'), may: all(200, 'owner', 'admin', 'auditor') },
  { what: 'see the root key', ask: get('/v1/installation/root'), may: all(200, 'owner', 'admin', 'auditor') },
  {
    what: 'rotate a key of the home cell',
    ask: post('/v1/installation/keys/rotations', { purposes: ['backup'] }),
    may: all(202, 'owner'),
  },
  { what: 'list the team', ask: get('/v1/users'), may: all(200, 'owner', 'admin', 'auditor') },
  {
    what: 'add to the team (a name that is taken)',
    ask: post('/v1/users', { name: 'audrey', grants: [{ role: 'auditor' }] }),
    may: all(409, 'owner', 'admin'),
  },
  {
    what: 'create a tenant (of a name that is taken)',
    ask: post('/v1/tenants', { name: 'acme' }),
    may: all(409, 'owner', 'admin'),
  },
  { what: 'read the log of the installation', ask: get('/v1/audit/events?limit=1'), may: all(200, 'owner', 'admin', 'auditor') },
  { what: 'see the metrics', ask: get('/metrics'), may: all(200, 'owner', 'admin', 'auditor') },
];

export function accessCases(world: () => World): void {
  beforeAll(async () => {
    const { call, owner } = world();
    await must(call('PUT', at('acme', 'roles'), { token: owner, body: apiKey() }), 201);
    await must(call('PUT', at('acme', 'roles', 'production'), { token: owner, body: apiKey() }), 201);
  });

  it.each(MATRIX)('only those whose role says so may $what', async ({ ask, may }) => {
    for (const who of EVERYONE) {
      const reply = await ask(world(), world()[who]);
      const expected = may[who];
      if (expected !== undefined)
        expect({ who, status: reply.status, text: reply.text.slice(0, 200) }).toMatchObject({ who, status: expected });
      else expect([403, 404], `${who}: ${reply.status} ${reply.text}`).toContain(reply.status);
    }
  });

  it('an engineer who is not assigned sees nothing of the tenant', async () => {
    const { call, stranger } = world();
    for (const path of [at('acme'), at('acme', 'roles'), `${at('acme', 'roles')}/value`, '/v1/tenants/acme/environments'])
      expect((await call('GET', path, { token: stranger })).status).toBe(404);
    const list = await must(call('GET', '/v1/tenants', { token: stranger }), 200);
    expect(list.body.items.map((tenant: Json) => tenant.name)).toEqual(['globex']);
  });

  it.each(['staging', 'production'])(
    'nobody of the team sees a value in %s without a fresh second factor',
    async (environment) => {
      const { call } = world();
      const path = `${at('acme', 'roles', environment)}/value`;
      for (const who of ['owner', 'admin', 'engineer'] as const) {
        const reply = await call('GET', path, { token: world()[who] });
        expect({ who, status: reply.status, code: reply.body.code }).toEqual({
          who,
          status: 401,
          code: 'insufficient_user_authentication',
        });
        expect(reply.headers.get('www-authenticate')).toMatch(/^Bearer error="insufficient_user_authentication"/);
      }
      for (const who of ['operator', 'auditor'] as const)
        expect((await call('GET', path, { token: world()[who] })).status).toBe(403);
      expect((await call('GET', path, { token: world().stranger })).status).toBe(404);
    },
  );

  it('nobody destroys alone', async () => {
    const { call } = world();
    const path = `${at('acme', 'roles')}/destructions`;
    for (const who of ['owner', 'admin'] as const) {
      const reply = await call('POST', path, { token: world()[who], body: {} });
      expect({ who, status: reply.status, code: reply.body.code }).toEqual({ who, status: 403, code: 'approval_required' });
    }
    for (const who of ['operator', 'engineer', 'auditor'] as const)
      expect((await call('POST', path, { token: world()[who], body: {} })).body.code).toBe('forbidden');
    await must(call('GET', at('acme', 'roles'), { token: world().owner }), 200);
  });

  it('says who is behind a token', async () => {
    const { call, admin, acme, engineer } = world();
    expect((await must(call('GET', '/v1/whoami', { token: admin }), 200)).body).toMatchObject({
      type: 'user',
      name: 'adam',
      roles: ['admin'],
    });
    expect((await must(call('GET', '/v1/tenants/acme/whoami', { token: acme.token }), 200)).body).toMatchObject({
      type: 'workload',
      name: 'sync',
      environment: 'staging',
    });
    expect((await must(call('GET', '/v1/tenants/acme/whoami', { token: engineer }), 200)).body.roles).toEqual(['engineer']);
    expect((await call('GET', '/v1/whoami', { token: acme.token })).status).toBe(401);
  });

  describe('the team', () => teamCases(world));
}

function teamCases(world: () => World): void {
  it('offboarding ends every token of a user everywhere when it answers', async () => {
    const { call, owner } = world();
    const first = await makeUser(call, owner, 'leaver', [{ role: 'admin' }]);
    const more = await must(call('POST', '/v1/users/leaver/tokens', { token: first, body: {} }), 201);
    const tokens = [first, more.body.token];
    const seen = async () =>
      Promise.all(tokens.flatMap((token) => [call('GET', '/v1/tenants', { token }), call('GET', at('acme'), { token })]));
    expect((await seen()).map((reply) => reply.status)).toEqual([200, 200, 200, 200]);
    await must(call('DELETE', '/v1/users/leaver', { token: owner }), 200);
    expect((await seen()).map((reply) => reply.status)).toEqual([401, 401, 401, 401]);
  });

  it('nobody hands out more than they hold', async () => {
    const { call, admin, engineer } = world();
    const add = (token: string, grants: unknown) => call('POST', '/v1/users', { token, body: { name: 'climber', grants } });
    expect((await add(admin, [{ role: 'owner' }])).status).toBe(403);
    expect([403, 404]).toContain((await add(engineer, [{ role: 'engineer', tenant: 'acme' }])).status);
    expect((await add(admin, [{ role: 'workload' }])).status).toBe(400);
    expect((await add(admin, [{ role: 'engineer' }])).status).toBe(400);
    expect((await add(admin, [{ role: 'engineer', tenant: 'nowhere' }])).status).toBe(404);
    expect((await add(admin, [{ role: 'king' }])).status).toBe(400);
    const users = await must(call('GET', '/v1/users', { token: admin }), 200);
    expect(users.body.items.map((user: Json) => user.name)).not.toContain('climber');
  });

  it('the last owner cannot leave, and an admin cannot take an owner’s place', async () => {
    const { call, owner, admin } = world();
    const me = (await must(call('GET', '/v1/whoami', { token: owner }), 200)).body.id;
    expect((await call('DELETE', `/v1/users/${me}`, { token: owner })).status).toBe(409);
    expect((await call('DELETE', `/v1/users/${me}`, { token: admin })).status).toBe(403);
    expect((await call('POST', `/v1/users/${me}/tokens`, { token: admin, body: {} })).status).toBe(403);
  });

  it('nobody makes or ends a token of another person, whoever they are, and who may not see the team learns nothing', async () => {
    const { call, owner, admin, engineer, operator, auditor } = world();
    const tokens = { owner, admin, engineer, operator, auditor };
    const ids = new Map<string, string>();
    for (const [who, token] of Object.entries(tokens))
      ids.set(who, (await must(call('GET', '/v1/whoami', { token }), 200)).body.id as string);
    for (const [who, token] of Object.entries(tokens)) {
      const seesTeam = ['owner', 'admin', 'auditor'].includes(who);
      for (const [whose, id] of ids) {
        const made = await call('POST', `/v1/users/${id}/tokens`, { token, body: {} });
        expect({ who, whose, status: made.status }).toEqual({ who, whose, status: who === whose ? 201 : seesTeam ? 403 : 404 });
        if (who !== whose) continue;
        for (const [other, one] of Object.entries(tokens)) {
          if (other === who) continue;
          const ended = await call('DELETE', `/v1/users/${id}/tokens/${made.body.id}`, { token: one });
          expect([403, 404], `${other} ends a token of ${who}`).toContain(ended.status);
        }
        await must(call('GET', '/v1/whoami', { token: made.body.token }), 200);
        await must(call('DELETE', `/v1/users/${id}/tokens/${made.body.id}`, { token }), 200);
        expect((await call('GET', '/v1/whoami', { token: made.body.token })).status).toBe(401);
      }
    }
  });

  it('an enrolment token is spent once, opens nothing else, and what it was spent for is the person’s own', async () => {
    const { call, admin } = world();
    const made = await must(
      call('POST', '/v1/users', { token: admin, body: { name: 'newcomer', grants: [{ role: 'auditor' }] } }),
      201,
    );
    const { token } = made.body.enrolment;
    expect(token).toMatch(/^kt_enr_/);
    for (const [method, path] of [
      ['GET', '/v1/whoami'],
      ['GET', '/v1/users'],
      ['GET', '/v1/tenants'],
      ['GET', '/v1/tenants/acme/whoami'],
      ['GET', at('acme')],
      ['POST', '/v1/setup'],
      ['POST', `/v1/users/${made.body.user.id}/tokens`],
    ] as const)
      expect((await call(method, path, { token, ...(method === 'POST' && { body: {} }) })).status, path).not.toBe(201);
    const own = await enrolled(call, made);
    expect((await must(call('GET', '/v1/whoami', { token: own }), 200)).body.name).toBe('newcomer');
    expect((await call('POST', '/v1/enrolments', { token, body: {} })).status).toBe(401);
    expect((await call('POST', '/v1/enrolments', { token: own, body: {} })).status).toBe(409);
    const log = await must(call('GET', '/v1/audit/events?limit=20&action=user.enrol', { token: admin }), 200);
    expect(log.body.items).toContainEqual(
      expect.objectContaining({
        outcome: 'success',
        actor: { type: 'user', id: made.body.user.id, token: made.body.enrolment.id },
      }),
    );
  });
}
