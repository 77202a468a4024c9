// Every route asked by everybody: each event that a token made names that token, so that the log tells which of a person's or a program's
// tokens did it. Bodies come from the wire schemas; a route added tomorrow is walked, too.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseToken } from '../../src/crypto/token.ts';
import { ALL_ROUTES } from '../../src/http/app.ts';
import type { RouteShape } from '../../src/http/route.ts';
import { apiKey, at, makeWorkload, must } from '../conformance/world.ts';
import { type Attacked, attacked, eventsOf } from '../kit/attacked.ts';

let world: Attacked;
let secret: string;
let access: string;
let enrolment: string;

beforeAll(async () => {
  world = await attacked();
  const { call, owner } = world;
  await must(call('PUT', at('acme', 'a'), { token: owner, body: apiKey() }), 201);
  ({ secret } = await makeWorkload(call, owner, 'acme', { name: 'caller', permissions: ['read', 'put', 'rotate'] }));
  await makeWorkload(call, owner, 'acme', { name: 'target' });
  const form = { grant_type: 'client_credentials', client_secret: secret };
  access = (await must(call('POST', '/v1/tenants/acme/token', { body: form }), 200)).body.access_token;
  const newcomer = { name: 'newcomer', grants: [{ role: 'auditor' }] };
  enrolment = (await must(call('POST', '/v1/users', { token: owner, body: newcomer }), 201)).body.enrolment.token;
});
afterAll(() => world.stop());

type Node = { readonly [key: string]: unknown };

/** The least that a schema takes. */
function sample(schema: Node): unknown {
  if ('default' in schema) return undefined;
  if ('const' in schema) return schema['const'];
  const choice = (schema['enum'] ?? schema['oneOf'] ?? schema['anyOf']) as unknown[] | undefined;
  if (schema['enum'] !== undefined) return choice?.[0];
  if (choice !== undefined) return sample(choice[0] as Node);
  const type = schema['type'];
  if (type === 'object') {
    const properties = (schema['properties'] ?? {}) as Record<string, Node>;
    const required = (schema['required'] ?? []) as string[];
    return Object.fromEntries(required.map((name) => [name, sample(properties[name] as Node)]));
  }
  if (type === 'array') return Array.from({ length: Number(schema['minItems'] ?? 0) }, () => sample(schema['items'] as Node));
  if (type === 'integer' || type === 'number') return Math.max(1, Number(schema['minimum'] ?? 1));
  return type === 'boolean' ? true : 'staging';
}

const BODIES: Readonly<Record<string, unknown>> = {
  'credential.put': apiKey(),
  'workload.create': { name: 'made', environment: 'staging', patterns: ['*'] },
};

const FIELDS: Readonly<Record<string, string>> = {
  tenant: 'acme',
  environment: 'staging',
  credential: 'a',
  name: 'a',
  workload: 'target',
  user: 'newcomer',
  token: '0123456789ab',
  run: `run_${'0'.repeat(24)}`,
  connection: `con_${'0'.repeat(24)}`,
  webhook: `whk_${'0'.repeat(24)}`,
  feed: `cal_${'0'.repeat(24)}`,
};

function ask(route: RouteShape, token: string) {
  const path = route.path.replace(/\{([a-z]+)\}/g, (_all, field: string) => FIELDS[field] ?? 'a');
  const body = route.body === undefined ? undefined : (BODIES[route.operation] ?? sample(z.toJSONSchema(route.body, { io: 'input', unrepresentable: 'any' }) as Node)); // biome-ignore format: one line
  if (!token.startsWith('kt_cs_')) return world.call(route.method, path, { token, body });
  const basic = `Basic ${Buffer.from(`:${token}`).toString('base64')}`;
  const proof = route.operation === 'token.exchange' ? { grant_type: 'client_credentials', client_secret: token } : body;
  return world.call(route.method, path, {
    headers: route.operation === 'token.exchange' ? {} : { authorization: basic },
    body: proof,
  });
}

describe('an event', () => {
  it('that a token made names that token, on every route, for every kind of token', async () => {
    const { owner, admin, operator, auditor, engineer, stranger, acme, spent } = world;
    const tokens = { owner, admin, operator, auditor, engineer, stranger, direct: acme.token, access, secret, enrolment, spent };
    const asked = new Map<string, { who: string; token: string; route: RouteShape }>();
    // The ends of things last, and a person's own end never.
    const routes = ALL_ROUTES.filter(({ operation }) => operation !== 'user.offboard');
    for (const route of [...routes].sort((a, b) => Number(a.method === 'DELETE') - Number(b.method === 'DELETE'))) {
      for (const [who, token] of Object.entries(tokens)) {
        const reply = await ask(route, token);
        expect(reply.status, `${who} ${route.method} ${route.path}: ${reply.text}`).toBeLessThan(500);
        asked.set(reply.headers.get('x-request-id') as string, { who, token, route });
      }
    }
    const named = new Set<string>();
    const problems: string[] = [];
    for (const event of [...(await eventsOf(world.call, owner)), ...(await eventsOf(world.call, owner, 'acme'))]) {
      const by = asked.get(event.request);
      if (by === undefined) continue;
      const id = parseToken(by.token)?.publicId;
      if (event.actor.type === 'anonymous') continue;
      if (event.actor.token === id) named.add(by.route.operation).add(by.who);
      else problems.push(`${by.who} ${by.route.method} ${by.route.path}: ${JSON.stringify(event.actor)}`);
    }
    expect(problems).toEqual([]);
    const asking = new Set(routes.map(({ operation }) => operation).filter((one) => one !== 'public' && one !== 'self'));
    expect([...asking].filter((operation) => !named.has(operation))).toEqual([]);
    expect(Object.keys(tokens).filter((who) => who !== 'spent' && !named.has(who))).toEqual([]);
  }, 60_000);

  it('of the system and of a token that proved nothing names none', async () => {
    const { call, owner } = world;
    await call('GET', '/v1/users', { token: owner.replace(/.$/, (last) => (last === '0' ? '1' : '0')) });
    const events = [...(await eventsOf(call, owner)), ...(await eventsOf(call, owner, 'acme'))];
    const without = events.filter(({ actor }) => actor.type === 'anonymous' || actor.type === 'system');
    expect(without.length).toBeGreaterThan(0);
    for (const { actor } of without) expect(actor).not.toHaveProperty('token');
  });
});
