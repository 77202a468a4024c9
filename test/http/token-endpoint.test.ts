// The token endpoint: who may not know says nothing more to one wrong proof than to another, and one request names one client.
import { generateKeyPairSync } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { exchangeToken } from '../../src/vault/exchange-token.ts';
import { createWorkload } from '../../src/vault/manage-workloads.ts';
import { type TestApp, testApp } from '../kit/app.ts';
import { forgedFrom } from '../kit/forged.ts';
import { textOf } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { eventsOf, testTenant } from '../kit/vaults.ts';

const PATH = '/v1/tenants/acme/token';
const UNKNOWN = forgedFrom(`kt_cs_${'0'.repeat(61)}`);
let app: TestApp;

async function workload(name: string, networks: readonly string[] = []): Promise<{ client_id: string; client_secret: string }> {
  const body = { name, environment: 'staging', patterns: ['*'], networks };
  return (await app.call({ method: 'POST', path: '/v1/tenants/acme/workloads', body })).json;
}

beforeEach(async () => {
  app = await testApp();
  await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
});

describe('a wrong secret, a right one from a foreign network and an unknown client', () => {
  it('get the same answer, to the last header', async () => {
    const home = await workload('home');
    const away = await workload('away', ['10.0.0.0/8']);
    const ask = (client_secret: string, client_id?: string) =>
      app.call({ method: 'POST', path: PATH, token: null, body: { grant_type: 'client_credentials', client_secret, client_id } });
    const answers = [
      await ask(forgedFrom(home.client_secret)),
      await ask(away.client_secret),
      await ask(away.client_secret, away.client_id),
      await ask(UNKNOWN),
      await ask(UNKNOWN, home.client_id),
      await ask('nonsense', 'wkl_nobody'),
      await ask(home.client_secret, away.client_id),
    ];
    const shown = answers.map(({ status, headers, json }) => {
      const named = Object.fromEntries([...headers].filter(([name]) => name !== 'x-request-id'));
      return { status, headers: named, body: { ...json, request_id: undefined } };
    });
    expect(shown[0]).toMatchObject({ status: 401, body: { code: 'unauthenticated' } });
    for (const one of shown.slice(1)) expect(one).toEqual(shown[0]);
    expect((await ask(home.client_secret)).status).toBe(200);
  });

  it('cost the same work before the answer, and the foreign network is told to the tenant’s log', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const tenant = await testTenant({ sql });
    const { vault } = tenant;
    const made = await vault.submit((job) =>
      createWorkload(job, tenant.user(['admin'], 'everywhere'), {
        name: 'away',
        environment: 'staging',
        patterns: ['*'],
        permissions: ['read'],
        networks: ['10.0.0.0/8'],
        jwks: undefined,
        ttlMs: 60_000,
      }),
    );
    const secret = made.clientSecret === undefined ? '' : textOf(made.clientSecret.token);
    const workOf = async (clientSecret: string) => {
      const from = sql.log.length;
      const proof = { method: 'client_secret', clientId: undefined, clientSecret } as const;
      expect(await outcomeOf(exchangeToken(vault, tenant.token(undefined), proof, []))).toBe('unauthenticated');
      const work = sql.log.slice(from);
      await vault.submit(() => {});
      return work;
    };
    const wrong = await workOf(forgedFrom(secret));
    const foreign = await workOf(secret);
    const unknown = await workOf(UNKNOWN);
    const writes = (log: readonly string[]) => log.filter((entry) => !/^(SELECT|select|begin|commit)/.test(entry));
    expect(writes(foreign)).toEqual(writes(wrong));
    expect(writes(unknown)).toEqual(writes(wrong));
    for (const log of [foreign, unknown])
      for (const what of ['begin', 'commit'])
        expect(log.filter((entry) => entry === what)).toEqual(wrong.filter((entry) => entry === what));
    expect(
      Math.max(foreign.length, unknown.length, wrong.length) - Math.min(foreign.length, unknown.length, wrong.length),
    ).toBeLessThan(2);
    const told = eventsOf(sql).filter((event) => event['action'] === 'token.exchange');
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({ outcome: 'denied', reason: 'foreign network', actor: { type: 'workload', id: made.row.id } });
    expect(sql.get('SELECT last_used_at FROM workload')?.['last_used_at'], 'not used').toBeNull();
  });
});

describe('Basic', () => {
  const basic = (id: string, secret: string) => `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
  const ask = (authorization: string, more: object = {}) =>
    app.call({
      method: 'POST',
      path: PATH,
      token: null,
      headers: { authorization },
      body: { grant_type: 'client_credentials', ...more },
    });

  it('for one client with another client_id in the body is refused; with the same or none it is not', async () => {
    const [one, other] = [await workload('one'), await workload('other')];
    const header = basic(one.client_id, one.client_secret);
    expect((await ask(header)).status).toBe(200);
    expect((await ask(header, { client_id: one.client_id })).status).toBe(200);
    const refused = await ask(header, { client_id: other.client_id });
    expect([refused.status, refused.json.code]).toEqual([400, 'invalid_request']);
    expect(refused.text).toContain('/client_id');
    expect((await ask(header, { client_secret: one.client_secret })).status).toBe(400);
    expect((await ask(basic(other.client_id, one.client_secret))).status).toBe(401);
  });
});

describe('a key to register', () => {
  it('that is too weak, private, shared or no point of its curve is refused, naming the field and never the value', async () => {
    const weak = generateKeyPairSync('rsa', { modulusLength: 1_024 }).publicKey.export({ format: 'jwk' });
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const point = pair.publicKey.export({ format: 'jwk' });
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' });
    const register = (key: object) =>
      app.call({
        method: 'POST',
        path: '/v1/tenants/acme/workloads',
        body: { name: 'signing', environment: 'staging', patterns: ['*'], jwks: { keys: [key] } },
      });
    for (const [key, pointer] of [
      [weak, '/jwks/keys/0/n'],
      [pair.privateKey.export({ format: 'jwk' }), '/jwks/keys/0/d'],
      [{ kty: 'oct', k: 'bm90LWEtcmVhbC1zZWNyZXQ' }, '/jwks/keys/0/kty'],
      [{ ...point, y: other.y }, '/jwks/keys/0'],
    ] as const) {
      const refused = await register(key);
      expect([refused.status, refused.json.code], pointer).toEqual([400, 'invalid_request']);
      expect(refused.text, pointer).toContain(`"${pointer}"`);
    }
    expect((await register(point)).status).toBe(201);
  });
});
