// Of what is not theirs a caller learns nothing: the same answer as for what is not there, on every route there is.
import { beforeAll, describe, expect, it } from 'vitest';
import { apiKey, at, type Call, comparable, type Json, must, type Reply, type World } from './world.ts';

interface Fields {
  readonly tenant: string;
  readonly environment: string;
  readonly credential: string;
  readonly workload: string;
  readonly token: string;
  readonly run: string;
  readonly connection: string;
  readonly user: string;
  readonly webhook: string;
  readonly schedule: string;
  readonly feed: string;
}

const ABSENT: Fields = {
  tenant: 'ten_000000000000000000000000',
  environment: 'nowhere',
  credential: 'nothing-here',
  workload: 'wkl_000000000000000000000000',
  token: '000000000000',
  run: 'run_000000000000000000000000',
  connection: 'con_000000000000000000000000',
  user: 'usr_000000000000000000000000',
  webhook: 'whk_000000000000000000000000',
  schedule: 'no-such-rule',
  feed: 'cal_000000000000000000000000',
};

const WEEKLY = { schedule: { every_seconds: 604_800 } };
/** A body that each route takes, by the last word of its path. */
const BODIES: Readonly<Record<string, unknown>> = {
  'PATCH {credential}': { description: 'intruded' },
  '{credential}': apiKey(),
  environments: { name: 'intruded' },
  workloads: { name: 'intruder', environment: 'staging', patterns: ['*'] },
  webhooks: { url: 'https://intruder.example/' },
  token: { grant_type: 'client_credentials', client_secret: 'not-a-real-secret' },
  tenants: { name: 'intruded' },
  users: { name: 'intruder', grants: [{ role: 'auditor' }] },
  setup: { name: 'intruder' },
  '{schedule}': WEEKLY,
  schedule: WEEKLY,
  previews: WEEKLY,
  pause: { reason: 'intruded' },
};
/** A query that a route needs, by the last word of its path. */
const QUERIES: Readonly<Record<string, (fields: Fields) => string>> = {
  'due.ics': ({ feed }) => `?feed=${feed}&key=${'A'.repeat(43)}`,
};

export function foreignCases(world: () => World): void {
  let routes: { readonly method: string; readonly path: string }[] = [];
  let foreign: Fields;

  beforeAll(async () => {
    const { call, owner, globex } = world();
    const { body: document } = await must(call('GET', '/openapi.json'), 200);
    routes = Object.entries<object>(document.paths).flatMap(([path, item]) =>
      Object.keys(item).map((method) => ({ method: method.toUpperCase(), path })),
    );
    await must(call('PUT', at('globex', 'foreign'), { token: owner, body: apiKey() }), 201);
    const hook = { url: 'https://hooks.example/foreign' };
    const webhook = await must(call('POST', '/v1/tenants/globex/webhooks', { token: owner, body: hook }), 201);
    await must(call('PUT', '/v1/tenants/globex/schedules/foreign-rule', { token: owner, body: WEEKLY }), 201);
    const feed = await must(call('POST', '/v1/tenants/globex/feeds', { token: owner, body: {} }), 201);
    const users = await must(call('GET', '/v1/users', { token: owner }), 200);
    foreign = {
      tenant: globex.id,
      environment: 'staging',
      credential: 'foreign',
      workload: globex.workload,
      token: globex.tokenId,
      run: ABSENT.run,
      connection: ABSENT.connection,
      user: users.body.items.find((user: Json) => user.name === 'audrey').id,
      webhook: webhook.body.id,
      schedule: 'foreign-rule',
      feed: feed.body.id,
    };
  });

  /** So many refusals use up what one source may fail: then the same question again, a little later. */
  const patient = async (ask: () => Promise<Reply>): Promise<Reply> => {
    let reply = await ask();
    for (let tries = 0; reply.status === 429 && tries < 5; tries++) {
      await new Promise((resume) => setTimeout(resume, 1_200));
      reply = await ask();
    }
    return reply;
  };

  const send = async (call: Call, token: string | undefined, method: string, path: string, fields: Fields) => {
    const last = path.split('/').at(-1) ?? '';
    const filled =
      path.replace(/\{(\w+)\}/g, (_, field: keyof Fields) => fields[field] ?? expect.fail(`no value for {${field}}`)) +
      (QUERIES[last]?.(fields) ?? '');
    const body = BODIES[`${method} ${last}`] ?? BODIES[last] ?? {};
    const ask = { token, ...(method === 'GET' || method === 'DELETE' ? {} : { body }) };
    return patient(() => call(method, filled, ask));
  };

  it('knows the routes to try', () => {
    expect(routes.filter(({ path }) => path.includes('{tenant}')).length).toBeGreaterThan(20);
    expect(routes.filter(({ path }) => path.includes('{credential}')).length).toBeGreaterThan(8);
  });

  describe.each(['engineer', 'workload', 'nobody'] as const)('%s of another tenant', (who) => {
    const tokenOf = () => ({ engineer: world().engineer, workload: world().acme.token, nobody: undefined })[who];

    it('cannot tell a foreign tenant from none, on any route', async () => {
      for (const { method, path } of routes.filter((route) => route.path.includes('{tenant}'))) {
        const none = comparable(await send(world().call, tokenOf(), method, path, ABSENT));
        expect(none.status, `${method} ${path}`).toBeGreaterThanOrEqual(400);
        for (const tenant of [foreign.tenant, 'globex']) {
          const theirs = comparable(await send(world().call, tokenOf(), method, path, { ...foreign, tenant }));
          expect(theirs, `${method} ${path}`).toEqual(none);
        }
        const unknownName = comparable(await send(world().call, tokenOf(), method, path, { ...ABSENT, tenant: 'nowhere' }));
        expect(unknownName, `${method} ${path}`).toEqual(none);
      }
    });

    it('learns no more by malformed cursors and conditions', async () => {
      const tries = [
        ['GET', '/v1/tenants/{tenant}/workloads?cursor=x'],
        ['GET', '/v1/tenants/{tenant}/alerts?cursor=x'],
        ['GET', '/v1/tenants/{tenant}/forecast?cursor=x'],
        ['GET', '/v1/tenants/{tenant}/webhooks/{webhook}/deliveries?cursor=x'],
        ['GET', '/v1/tenants/{tenant}/environments/{environment}/credentials?cursor=x'],
        ['GET', '/v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/versions?cursor=x'],
        ['GET', '/v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs?cursor=x'],
      ] as const;
      for (const [method, path] of tries) {
        const none = comparable(await send(world().call, tokenOf(), method, path, ABSENT));
        expect(comparable(await send(world().call, tokenOf(), method, path, foreign)), path).toEqual(none);
      }
      const write = (fields: Fields, headers: Record<string, string>) =>
        patient(() => world().call('PUT', at(fields.tenant, fields.credential), { token: tokenOf(), body: apiKey(), headers }));
      for (const headers of [{ 'if-match': 'nonsense' }, { 'if-none-match': 'nonsense' }, { 'if-match': '"r1"' }] as const)
        expect(comparable(await write(foreign, headers as Record<string, string>))).toEqual(
          comparable(await write(ABSENT, headers as Record<string, string>)),
        );
    });

    it('cannot tell foreign things from none inside their own tenant, on any route', async () => {
      const nested = routes.filter(({ path }) => /\{tenant\}.*\{/.test(path) && !path.endsWith('{credential}'));
      for (const { method, path } of nested) {
        const mine = { tenant: 'acme', environment: 'staging' };
        const theirs = comparable(await send(world().call, tokenOf(), method, path, { ...foreign, ...mine }));
        const none = comparable(await send(world().call, tokenOf(), method, path, { ...ABSENT, ...mine }));
        expect(theirs, `${method} ${path}`).toEqual(none);
      }
    });

    it('cannot tell a colleague from nobody, on any route', async () => {
      for (const { method, path } of routes.filter((route) => route.path.includes('{user}'))) {
        const theirs = comparable(await send(world().call, tokenOf(), method, path, foreign));
        expect(theirs, `${method} ${path}`).toEqual(comparable(await send(world().call, tokenOf(), method, path, ABSENT)));
      }
    });
  });

  it('every route but the public ones wants a token', async () => {
    const open = ['/health', '/openapi.json'];
    for (const { method, path } of routes.filter((route) => !open.includes(route.path))) {
      const reply = await send(world().call, undefined, method, path, { ...foreign, tenant: 'acme' });
      expect(reply.status, `${method} ${path}`).toBe(401);
      expect(reply.headers.get('www-authenticate'), `${method} ${path}`).toMatch(/^Bearer/);
    }
  });

  it('left no trace in the foreign tenant', async () => {
    const { call, owner } = world();
    const credentials = await must(call('GET', `${at('globex')}?search=foreign`, { token: owner }), 200);
    expect(credentials.body.items.map((item: Json) => [item.name, item.version, item.state])).toEqual([['foreign', 1, 'active']]);
    const environments = await must(call('GET', '/v1/tenants/globex/environments', { token: owner }), 200);
    expect(environments.body.items.map((item: Json) => item.name).sort()).toEqual(['production', 'staging']);
    const webhooks = await must(call('GET', '/v1/tenants/globex/webhooks', { token: owner }), 200);
    expect(webhooks.body.items.map((item: Json) => item.url)).toEqual(['https://hooks.example/foreign']);
    const rules = await must(call('GET', '/v1/tenants/globex/schedules', { token: owner }), 200);
    expect(rules.body.items.map((item: Json) => [item.name, item.pause])).toEqual([['foreign-rule', null]]);
    const feeds = await must(call('GET', '/v1/tenants/globex/feeds', { token: owner }), 200);
    expect(feeds.body.items.map((item: Json) => item.id)).toEqual([foreign.feed]);
    await must(call('GET', at('globex'), { token: world().globex.token }), 200);
  });
}
