// Rotating a cell's keys: every value stays readable at every step, the progress is correct, and no key with references is destroyed.
import { describe, expect, it, vi } from 'vitest';
import type { Faults } from '../../src/base/faults.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Sql } from '../../src/cell/sql.ts';
import type { Purpose } from '../../src/crypto/envelope.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { searchAudit } from '../../src/vault/read-audit.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { destroyRetiredKeys, listKeys, ROTATABLE, rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { leftBy } from '../kit/told.ts';
import { inside, putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const SECRET = 'not-a-real-secret';
const KEYS = 13;
const GRANTS = 8;

async function filled(options: Parameters<typeof testTenant>[0] = {}) {
  const tenant = await testTenant(options);
  for (let i = 0; i < KEYS; i++) await putKey(tenant, `key-${i}`, `${SECRET}-key-${i}`);
  for (let i = 0; i < GRANTS; i++) await putGrant(tenant, `grant-${i}`);
  const { text } = await workloadToken(tenant);
  await workloadToken(tenant);
  return { tenant, text };
}

function putGrant(tenant: TestTenant, name: string) {
  return tenant.vault.submit((job) =>
    putCredential(job, tenant.user(['admin'], 'everywhere'), {
      environment: 'staging',
      name,
      kind: 'oauth2',
      value: { access_token: `${SECRET}-${name}`, refresh_token: `r-${SECRET}` },
      connector: undefined,
      config: { token_endpoint: 'https://login.example/token', client_id: 'c' },
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
}

const NAMES = [...Array.from({ length: KEYS }, (_, i) => `key-${i}`)];

/** Reads every credential, except grants, which a read would refresh: they are described. */
async function allReadable(tenant: TestTenant, text: string, vault = tenant.vault): Promise<void> {
  const input = (name: string) => ({ environment: 'staging', name, version: undefined, stage: undefined });
  const bodies = await Promise.all(
    NAMES.map((name) => vault.submit((job) => readCredential(job, tenant.token(text), input(name)).body)),
  );
  for (const [i, body] of bodies.entries()) expect(new TextDecoder().decode(body)).toContain(`"${SECRET}-key-${i}"`);
  const grant = await vault.submit((job) => readCredential(job, tenant.token(text), { ...input('grant-0'), version: 1 })).catch((error) => error as { code: string }); // biome-ignore format: one line
  expect('code' in grant ? grant.code : 'ok').toMatch(/^(ok|provider_unavailable)$/);
}

const rotate = (tenant: TestTenant, purposes?: readonly Purpose[]) =>
  tenant.vault.submit((job) => rotateKeys(job, tenant.user(['admin'], 'everywhere'), purposes));
const rewrap = (tenant: TestTenant, rows: number, vault = tenant.vault) => vault.submit((job) => rewrapBatch(job, rows));
const keysOf = (tenant: TestTenant) => tenant.vault.submit((job) => listKeys(job, tenant.user(['admin'], 'everywhere')));
const finished = (progress: readonly { finishedAtMs: number | null }[]) => progress.every((one) => one.finishedAtMs !== null);

/** The id of every key that a row refers to. */
function referredKeys(sql: Sql): Set<unknown> {
  const of = (table: string, column: string) => sql.all(`SELECT DISTINCT ${column} AS id FROM ${table}`).map((row) => row['id']);
  return new Set([
    ...of('credential_version', 'key_id'),
    ...of('audit_source', 'key_id'),
    ...of('idempotency', 'key_id'),
    ...['credential', 'environment', 'workload', 'token'].flatMap((table) => of(table, 'mac_key_id')),
  ]);
}

describe('a key rotation', () => {
  it('tells the owner of the timer when it begins, ends and postpones a destruction, and at no batch between', async () => {
    const tenant = await testTenant();
    for (const name of ['a', 'b', 'c']) await putKey(tenant, name, SECRET);
    let told = tenant.dueChanges();
    const changes = async (work: () => Promise<unknown>) => {
      await work();
      const before = told;
      told = tenant.dueChanges();
      return told - before;
    };
    expect(await changes(() => rotate(tenant, ['api_key']))).toBe(1);
    expect(await changes(() => rewrap(tenant, 2))).toBe(0);
    expect(await changes(() => rewrap(tenant, 2))).toBe(0);
    expect(tenant.vault.nextDueAt()).toBe(tenant.clock.now());
    expect(await changes(() => rewrap(tenant, 2))).toBe(1);
    expect(tenant.vault.nextDueAt()).toBe(tenant.clock.now() + LIMITS.keyDestroyDelayMs);
    const retired = tenant.sql.get("SELECT key_id FROM tenant_key WHERE purpose = 'api_key' AND version = 1")?.['key_id'] ?? null;
    tenant.sql.run('UPDATE credential_version SET key_id = ?', retired);
    tenant.clock.pass(LIMITS.keyDestroyDelayMs);
    expect(await changes(() => destroyRetiredKeys(tenant.vault))).toBe(1);
    expect(tenant.vault.nextDueAt()).toBe(tenant.clock.now() + LIMITS.keyDestroyAgainMs);
  });

  it('of all purposes moves everything to new keys, readable at every step, with correct progress', async () => {
    const { tenant, text } = await filled();
    await allReadable(tenant, text);
    const old = new Set(
      inside(tenant.vault)
        .core.keyring.rows()
        .map((row) => row.key_id),
    );
    const started = await rotate(tenant);
    expect(started.map((one) => one.purpose).sort()).toEqual([...ROTATABLE].sort());
    const total = (purpose: string) => started.find((one) => one.purpose === purpose)?.total;
    expect([total('api_key'), total('oauth_token'), total('backup')]).toEqual([KEYS, GRANTS, 0]);
    await allReadable(tenant, text);
    let before = 0;
    for (let turn = 0; turn < 200; turn++) {
      const moved = await rewrap(tenant, 4);
      const { progress } = await keysOf(tenant);
      const done = progress.reduce((sum, one) => sum + one.done, 0);
      for (const one of progress) expect(one.done).toBeLessThanOrEqual(one.total);
      expect(done).toBeGreaterThanOrEqual(before);
      before = done;
      await allReadable(tenant, text);
      if (moved === 0 && finished(progress)) break;
    }
    const { progress, keys } = await keysOf(tenant);
    expect(finished(progress)).toBe(true);
    expect(progress.every((one) => one.done === one.total && one.toVersion === 2)).toBe(true);
    for (const id of referredKeys(tenant.sql)) expect(old.has(String(id)), `a row still names ${id}`).toBe(false);
    const active = keys.filter((key) => key.state === 'active');
    expect(active.map((key) => [key.purpose, key.version])).toEqual(
      active.map((key) => [key.purpose, key.purpose === 'audit_sign' ? 1 : 2]),
    );
    expect(keys.find((key) => key.purpose === 'api_key' && key.version === 2)?.wraps).toBe(KEYS);
    expect(keys.find((key) => key.purpose === 'oauth_token' && key.version === 2)?.wraps).toBe(GRANTS);
  });

  it('counts what it moved for the rotation of that purpose that began first, and for no other', async () => {
    const { tenant } = await filled();
    const state = async () => (await keysOf(tenant)).progress.map((one) => [one.purpose, one.toVersion, one.done, one.total]);
    await rotate(tenant, ['oauth_token', 'api_key']);
    expect(await rewrap(tenant, 3)).toBe(3);
    expect(await state()).toEqual([
      ['api_key', 2, 3, KEYS],
      ['oauth_token', 2, 0, GRANTS],
    ]);
    tenant.clock.pass(1);
    await rotate(tenant, ['api_key']);
    expect(await rewrap(tenant, 2)).toBe(2);
    expect(await state()).toEqual([
      ['api_key', 2, 5, KEYS],
      ['oauth_token', 2, 0, GRANTS],
      ['api_key', 3, 0, KEYS],
    ]);
    expect(await rewrap(tenant, 100)).toBe(KEYS - 2);
    expect(await state()).toEqual([
      ['api_key', 2, KEYS, KEYS],
      ['oauth_token', 2, 0, GRANTS],
      ['api_key', 3, 0, KEYS],
    ]);
    // No row is under an old key of the first purpose any more: both its rotations end, and the other purpose has its turn.
    expect(await rewrap(tenant, 3)).toBe(3);
    const ended = [
      ['api_key', 2, KEYS, KEYS],
      ['oauth_token', 2, 3, GRANTS],
      ['api_key', 3, KEYS, KEYS],
    ];
    expect(await state()).toEqual(ended);
    tenant.clock.pass(1);
    await rotate(tenant, ['api_key']);
    expect(await rewrap(tenant, 100)).toBe(GRANTS - 3);
    expect(await rewrap(tenant, 4)).toBe(4);
    expect((await state()).slice(1)).toEqual([
      ['oauth_token', 2, GRANTS, GRANTS],
      ['api_key', 3, KEYS, KEYS],
      ['api_key', 4, 4, KEYS],
    ]);
  });

  it('forgets what was kept under old keys at its begin and with each batch that moved anything, and with no other', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'only', 'not-a-real-secret');
    const forgotten = vi.spyOn(inside<unknown, TenantJob>(tenant.vault as never), 'forgetKeys');
    await rotate(tenant, ['api_key']);
    expect(forgotten, 'the new key').toHaveBeenCalledTimes(1);
    expect(await rewrap(tenant, 4)).toBe(1);
    expect(forgotten).toHaveBeenCalledTimes(2);
    expect(await rewrap(tenant, 4)).toBe(0);
    expect(forgotten).toHaveBeenCalledTimes(2);
  });

  it('moves rows of one purpose in a batch, also if it moves only one', async () => {
    const { tenant } = await filled();
    await rotate(tenant, ['api_key', 'oauth_token']);
    expect(await rewrap(tenant, 1)).toBe(1);
    expect((await keysOf(tenant)).progress.map((one) => [one.purpose, one.done])).toEqual([
      ['api_key', 1],
      ['oauth_token', 0],
    ]);
  });

  it('seals new values with the new key at once', async () => {
    const { tenant, text } = await filled();
    await rotate(tenant, ['api_key']);
    await putKey(tenant, 'key-0', `${SECRET}-key-0`);
    const newest = inside(tenant.vault).core.keyring.current('api_key').id;
    const row = tenant.sql.get('SELECT key_id FROM credential_version WHERE version = 2');
    expect(row?.['key_id']).toBe(newest);
    await allReadable(tenant, text);
  });

  it('continues after a restart, also for the log and for MACs', async () => {
    const { tenant, text } = await filled();
    await rotate(tenant);
    for (let i = 0; i < 3; i++) await rewrap(tenant, 3);
    const vault = tenant.reopen();
    await allReadable(tenant, text, vault);
    let turns = 0;
    while ((await rewrap(tenant, 3, vault)) > 0) turns += 1;
    for (let i = 0; i < 8; i++) await rewrap(tenant, 3, vault);
    expect(turns).toBeGreaterThan(3);
    expect(finished((await keysOf({ ...tenant, vault })).progress)).toBe(true);
    await allReadable(tenant, text, tenant.reopen());
  });

  it('started again before its end finishes both rotations', async () => {
    const { tenant, text } = await filled();
    await rotate(tenant, ['api_key']);
    await rewrap(tenant, 5);
    const second = await rotate(tenant, ['api_key']);
    expect(second.find((one) => one.toVersion === 3)?.total).toBe(KEYS);
    for (let i = 0; i < 12; i++) await rewrap(tenant, 5);
    const { progress } = await keysOf(tenant);
    expect(progress.map((one) => [one.toVersion, one.done === one.total, one.finishedAtMs !== null])).toEqual([
      [2, true, true],
      [3, true, true],
    ]);
    await allReadable(tenant, text);
  });

  it('of the keys of personal data keeps addresses readable for the reviewer', async () => {
    const { tenant } = await filled();
    await rotate(tenant, ['audit_pii']);
    for (let i = 0; i < 5; i++) await rewrap(tenant, 1);
    const auditor = tenant.user(['auditor'], 'everywhere');
    const { events } = await searchAudit(tenant.vault, auditor, { action: 'credential.put' }, undefined, 50);
    expect(events.length).toBe(KEYS + GRANTS);
    expect(events.every((event) => event.origin?.address === '127.0.0.1')).toBe(true);
  });

  it('does not rotate the signing key of the audit log', async () => {
    const { tenant } = await filled();
    const verifier = inside(tenant.vault).core.audit.verifierKey;
    await rotate(tenant);
    expect(inside(tenant.reopen()).core.audit.verifierKey).toBe(verifier);
    expect(ROTATABLE).not.toContain('audit_sign');
  });
});

describe('a retired key', () => {
  async function rotated() {
    const made = await filled();
    const before = inside(made.tenant.vault).core.keyring.current('api_key').id;
    await rotate(made.tenant, ['api_key']);
    for (let i = 0; i < 3; i++) await rewrap(made.tenant, 100);
    const sweep = () => destroyRetiredKeys(made.tenant.vault);
    const state = () => made.tenant.sql.get('SELECT state FROM tenant_key WHERE key_id = ?', before)?.['state'];
    return { ...made, before, sweep, state };
  }

  it('is destroyed after its delay, and everything is still readable', async () => {
    const { tenant, sweep, state } = await rotated();
    tenant.clock.pass(LIMITS.keyDestroyDelayMs - 1);
    await sweep();
    expect(state()).toBe('decrypt_only');
    tenant.clock.pass(1);
    await sweep();
    expect(state()).toBe('destroyed');
    const { text } = await workloadToken(tenant);
    await allReadable(tenant, text);
    await allReadable(tenant, text, tenant.reopen());
  });

  it('is not destroyed while a row refers to it, at any age', async () => {
    const { tenant, before, sweep, state } = await rotated();
    tenant.sql.run("UPDATE credential_version SET key_id = ? WHERE rowid = (SELECT max(rowid) FROM credential_version WHERE key_id IN (SELECT key_id FROM tenant_key WHERE purpose = 'api_key'))", before); // biome-ignore format: one line
    tenant.clock.pass(LIMITS.keyDestroyDelayMs * 10);
    await sweep();
    expect(state()).toBe('decrypt_only');
  });

  it('is destroyed once: by a second sweep at the same time or later it is not destroyed again', async () => {
    const { tenant, sweep, state } = await rotated();
    tenant.clock.pass(LIMITS.keyDestroyDelayMs);
    const { value, events } = await leftBy(tenant.sql, () => Promise.all([sweep(), sweep()]));
    expect(value?.toSorted()).toEqual([0, 1]);
    expect(events.map(({ actor }) => actor.id)).toEqual(['key-destruction']);
    expect(state()).toBe('destroyed');
    expect(await leftBy(tenant.sql, sweep)).toMatchObject({ value: 0, events: [] });
  });

  it('is not destroyed if a row came to refer to it after the rows were read', async () => {
    const { tenant, before, sweep, state } = await rotated();
    const { keyRotations } = inside(tenant.vault).core;
    const one =
      "SELECT rowid FROM credential_version WHERE key_id IN (SELECT key_id FROM tenant_key WHERE purpose = 'api_key') LIMIT 1";
    vi.spyOn(keyRotations, 'usesOf').mockImplementationOnce(function* () {
      yield false;
      tenant.sql.run(`UPDATE credential_version SET key_id = ? WHERE rowid = (${one})`, before);
    });
    tenant.clock.pass(LIMITS.keyDestroyDelayMs);
    expect(await leftBy(tenant.sql, sweep)).toMatchObject({ value: 0, events: [] });
    expect(state()).toBe('decrypt_only');
    const due = tenant.sql.get('SELECT destroy_after_at AS at FROM tenant_key WHERE key_id = ?', before)?.['at'];
    expect(due, 'when it is tried again').toBe(tenant.clock.now() + LIMITS.keyDestroyAgainMs);
  });

  it.each([
    ['the first', [true, false]],
    ['a later', [false, true, false]],
    ['the last', [false, false, true]],
  ])(
    'is not destroyed if %s slice of the rows has one that refers to it, which no index needs to know',
    async (_which, found) => {
      const { tenant, sweep, state } = await rotated();
      vi.spyOn(inside(tenant.vault).core.keyRotations, 'usesOf').mockImplementationOnce(function* () {
        yield* found;
      });
      tenant.clock.pass(LIMITS.keyDestroyDelayMs);
      expect(await sweep()).toBe(0);
      expect(state()).toBe('decrypt_only');
    },
  );

  it('is removed from the files before its destruction is answered, and is kept if that was interrupted', async () => {
    const faults = { next: undefined as string | undefined };
    const { tenant } = await filled({
      faults: {
        at: (point) => {
          if (point === faults.next) throw new Error(`a crash at ${point}`);
        },
      },
    });
    await rotate(tenant, ['api_key']);
    for (let i = 0; i < 3; i++) await rewrap(tenant, 100);
    tenant.clock.pass(LIMITS.keyDestroyDelayMs);
    const erased = vi.spyOn(inside(tenant.vault).core.cell, 'eraseResidue');
    faults.next = 'keys.before-destroy';
    await expect(destroyRetiredKeys(tenant.vault)).rejects.toThrow('a crash at keys.before-destroy');
    expect(tenant.sql.all("SELECT 1 FROM tenant_key WHERE state = 'destroyed'")).toEqual([]);
    expect(erased).not.toHaveBeenCalled();
    faults.next = undefined;
    expect(await destroyRetiredKeys(tenant.vault)).toBe(1);
    expect(erased).toHaveBeenCalledTimes(1);
  });

  it('is not due before the rewrap has finished', async () => {
    const { tenant } = await filled();
    await rotate(tenant, ['api_key']);
    await rewrap(tenant, 5);
    tenant.clock.pass(LIMITS.keyDestroyDelayMs * 10);
    expect(await destroyRetiredKeys(tenant.vault)).toBe(0);
  });
});

describe('an interrupted rotation', () => {
  /** Throws once at the given fault point. */
  class OneFault implements Faults {
    next: string | undefined;
    at(point: string): void {
      if (this.next !== point) return;
      this.next = undefined;
      throw new Error(`a crash at ${point}`);
    }
  }

  it('after its new keys were created leaves none of them in memory: a value put now can be read after a restart', async () => {
    const faults = new OneFault();
    const { tenant, text } = await filled({ faults });
    faults.next = 'keys.after-new-version';
    await expect(rotate(tenant)).rejects.toThrow('a crash');
    expect((await keysOf(tenant)).progress).toEqual([]);
    await putKey(tenant, 'key-0', `${SECRET}-key-0`);
    await allReadable(tenant, text, tenant.reopen());
  });

  it('in a batch undoes only that batch', async () => {
    const faults = new OneFault();
    const { tenant, text } = await filled({ faults });
    await rotate(tenant, ['api_key']);
    await rewrap(tenant, 5);
    faults.next = 'keys.mid-rewrap';
    await expect(rewrap(tenant, 5)).rejects.toThrow('a crash');
    const { progress } = await keysOf(tenant);
    expect(progress[0]?.done).toBe(5);
    const moved = tenant.sql.get('SELECT count(*) AS n FROM credential_version WHERE key_id = ?', inside(tenant.vault).core.keyring.current('api_key').id); // biome-ignore format: one line
    expect(moved?.['n']).toBe(5);
    await allReadable(tenant, text);
  });

  it('by a failing disk leaves old and new values readable', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const { tenant, text } = await filled({ sql });
    sql.failCommits();
    expect(await outcomeOf(rotate(tenant))).toBe('storage_full');
    await putKey(tenant, 'key-1', `${SECRET}-key-1`);
    await rotate(tenant);
    sql.failCommits();
    expect(await outcomeOf(rewrap(tenant, 5))).toBe('storage_full');
    await allReadable(tenant, text);
    for (let i = 0; i < 20; i++) await rewrap(tenant, 20);
    expect(finished((await keysOf(tenant)).progress)).toBe(true);
    await allReadable(tenant, text, tenant.reopen());
  });
});

describe('damaged rows', () => {
  it('keep their old key and are reported, and every other row moves to the new key', async () => {
    const { tenant, text } = await filled();
    tenant.sql.run("UPDATE credential SET description = 'edited' WHERE name = 'grant-1'");
    tenant.sql.run("UPDATE credential_version SET wrapped_key = zeroblob(length(wrapped_key)) WHERE credential_id = (SELECT id FROM credential WHERE name = 'grant-2')"); // biome-ignore format: one line
    const old = inside(tenant.vault)
      .core.keyring.rows()
      .map((row) => row.key_id);
    await rotate(tenant);
    const ends: string[] = [];
    for (let i = 0; i < 30; i++) ends.push(await outcomeOf(rewrap(tenant, 7)));
    expect(ends.at(-1), 'what is left is said, again and again').toBe('integrity');
    const left = [...referredKeys(tenant.sql)].filter((id) => old.includes(String(id)));
    const purposes = inside(tenant.vault)
      .core.keyring.rows()
      .filter((row) => left.includes(row.key_id))
      .map((row) => row.purpose);
    expect(purposes.sort()).toEqual(['metadata_mac', 'oauth_token']);
    expect(tenant.sql.get("SELECT count(*) AS n FROM credential WHERE mac_key_id IN (SELECT key_id FROM tenant_key WHERE version = 1)")?.['n']).toBe(1); // biome-ignore format: one line
    const { progress } = await keysOf(tenant);
    expect(progress.filter((one) => one.finishedAtMs === null).map((one) => one.purpose).sort()).toEqual(['metadata_mac', 'oauth_token']); // biome-ignore format: one line
    await allReadable(tenant, text);
  });
});
