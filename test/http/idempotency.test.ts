// Idempotency-Key: the same request again gets the same answer and does nothing; everything else under that key is refused.
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { IdempotencyRow } from '../../src/cell/idempotency.ts';
import { rewrapBatch } from '../../src/vault/rotate-keys.ts';
import { changeRows } from '../kit/anchored.ts';
import { type TestAnswer, type TestApp, testApp } from '../kit/app.ts';
import { eventsOf, inside } from '../kit/vaults.ts';

const WORKLOADS = '/v1/tenants/acme/workloads';
const sync = { name: 'sync', environment: 'staging', patterns: ['*'] };

let app: TestApp;

beforeEach(async () => {
  app = await testApp();
  await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
});

function post(
  key: string,
  body: unknown = sync,
  more: { path?: string; token?: string; raw?: string } = {},
): Promise<TestAnswer> {
  return app.call({ method: 'POST', path: WORKLOADS, body, headers: { 'idempotency-key': key }, ...more });
}

function tenant() {
  const [first] = [...app.team.tenants.values()];
  if (first === undefined) throw new Error('no tenant');
  return first;
}

const count = (table: string) => Number(tenant().sql.get(`SELECT count(*) AS n FROM ${table}`)?.['n']);

describe('a repeated request', () => {
  it('gets the first answer again, secret and all, and nothing is made twice', async () => {
    const first = await post('k1');
    const again = await post('k1');
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.json).toEqual(first.json);
    expect(again.json.client_secret).toMatch(/^kt_cs_/);
    expect(again.headers.get('idempotent-replay')).toBe('true');
    expect(first.headers.get('idempotent-replay')).toBeNull();
    expect(count('workload')).toBe(1);
    expect(eventsOf(tenant().sql).at(-1)).toMatchObject({ action: 'workload.create', reason: 'idempotent replay' });
  });

  it('is answered once when fifty of it come at the same moment', async () => {
    const answers = await Promise.all(Array.from({ length: 50 }, () => post('k1')));
    expect(new Set(answers.map((answer) => answer.text)).size).toBe(1);
    expect(answers.filter((answer) => answer.headers.get('idempotent-replay') === null)).toHaveLength(1);
    expect(count('workload')).toBe(1);
  });

  it('without a key is another request', async () => {
    const answers = [1, 2].map(() => app.call({ method: 'POST', path: WORKLOADS, body: sync }));
    expect((await Promise.all(answers)).map((answer) => answer.status)).toEqual([201, 409]);
  });

  it('that failed the first time is tried again: a refusal is not kept', async () => {
    const bad = { ...sync, environment: 'later' };
    expect((await post('k1', bad)).status).toBe(404);
    await app.call({ method: 'POST', path: '/v1/tenants/acme/environments', body: { name: 'later' } });
    expect((await post('k1', bad)).status).toBe(201);
  });

  it('is kept sealed, for a day, and then is a new request', async () => {
    const first = await post('k1', { name: 'qa' }, { path: '/v1/tenants/acme/environments' });
    const secret = (await post('k2')).json.client_secret as string;
    for (const row of tenant().sql.all<{ value: Uint8Array }>('SELECT value FROM idempotency')) {
      expect(Buffer.from(row.value).includes(secret)).toBe(false);
    }
    app.team.clock.pass(LIMITS.idempotencyKeepMs - 1);
    expect((await post('k1', { name: 'qa' }, { path: '/v1/tenants/acme/environments' })).text).toBe(first.text);
    app.team.clock.pass(1);
    expect((await post('k1', { name: 'qb' }, { path: '/v1/tenants/acme/environments' })).status).toBe(201);
  });

  it('that is due to be forgotten, but is not yet, does not stand in the way of a new one', async () => {
    await post('k1', { name: 'qa' }, { path: '/v1/tenants/acme/environments' });
    // More expired answers than one purge takes.
    await tenant().vault.submit((job) => {
      const rows = job.core.rows.of<IdempotencyRow>('idempotency');
      const [kept] = job.core.rows.sql.all<IdempotencyRow>(rows.select);
      for (let i = 0; i < 150; i++) rows.insert({ ...kept, principal_id: 'usr_x', idempotency_key: `old-${i}`, expires_at: 0 });
    });
    app.team.clock.pass(LIMITS.idempotencyKeepMs);
    const answer = await post('k1', { name: 'qb' }, { path: '/v1/tenants/acme/environments' });
    expect([answer.status, answer.json.name]).toEqual([201, 'qb']);
    expect((await post('k1', { name: 'qb' }, { path: '/v1/tenants/acme/environments' })).json.name).toBe('qb');
  });

  it('is answered from its sealed answer also after the keys were rotated and the old ones destroyed', async () => {
    const first = await post('k1');
    await app.call({ method: 'POST', path: '/v1/tenants/acme/keys/rotations', body: {} });
    const { vault } = tenant();
    for (let i = 0; i < 20; i++) await vault.submit((job) => rewrapBatch(job, 50));
    await vault.submit((job) =>
      changeRows(job.core.rows, 'tenant_key', "state = 'decrypt_only'", () => ({ state: 'destroyed', wrapped: null })),
    );
    inside(vault).core.keyring.reload();
    expect((await post('k1')).json).toEqual(first.json);
  });
});

describe('a key that was used', () => {
  it('for another body, path or method is refused and nothing happens', async () => {
    await post('k1');
    const others = [
      await post('k1', { ...sync, name: 'other' }),
      await post('k1', undefined, { raw: `${JSON.stringify(sync)} ` }),
      await post('k1', { name: 'qa' }, { path: '/v1/tenants/acme/environments' }),
    ];
    expect(others.map((answer) => [answer.status, answer.json.code])).toEqual(Array(3).fill([422, 'idempotency_mismatch']));
    expect(count('workload')).toBe(1);
  });

  it('by one caller says nothing to another: each has keys of their own', async () => {
    const first = await post('k1');
    // Two of the same revision, so that nothing but who they are tells them apart.
    const join = async (name: string) => {
      const made = await app.call({ method: 'POST', path: '/v1/users', body: { name, grants: [{ role: 'admin' }] } });
      const enrolment = made.json.enrolment.token as string;
      const enrolled = await app.call({ method: 'POST', path: '/v1/enrolments', body: {}, token: enrolment });
      return enrolled.json.token.token as string;
    };
    const [ann, eve] = [await join('ann'), await join('eve')];
    const hers = await post('k1', { ...sync, name: 'hers' }, { token: eve });
    expect(hers.status).toBe(201);
    expect(hers.json.workload.name).toBe('hers');
    // The very same request by another: it is made for her, and her answer is her own.
    const same = await post('k1', { ...sync, name: 'hers' });
    expect([same.status, same.json.code]).toEqual([422, 'idempotency_mismatch']);
    const again = await post('k2', { ...sync, name: 'twice' }, { token: ann });
    const hersAgain = await post('k2', { ...sync, name: 'twice' }, { token: eve });
    expect([again.status, hersAgain.status, hersAgain.json.code]).toEqual([201, 409, 'conflict']);
    expect(hersAgain.headers.get('idempotent-replay')).toBeNull();
    expect(hersAgain.text).not.toContain(again.json.client_secret);
    expect((await post('k1')).json).toEqual(first.json);
    expect((await post('k1', sync, { token: 'kt_usr_bad' })).status).toBe(401);
  });

  it.each([
    ['too long', 'k'.repeat(129)],
    ['with a space inside', 'a b'],
    ['not ASCII', 'k\u00e4'],
  ])('and is %s is refused before anything is done', async (_what, key) => {
    expect((await post(key)).status).toBe(400);
    expect(count('workload')).toBe(0);
  });
});
