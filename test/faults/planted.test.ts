// CR-01, CR-03: what is put into the file of a stopped cell without any key and would be taken over by the service's own work: a run under a
// dead lease, an edited expiry, a step in the place of another, code of the database itself.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { purgeExpired } from '../../rotation/engine/house-keeping.ts';
import { freeLeasesOfDead, leaseRun, openRun } from '../../rotation/engine/run.ts';
import { KeyRegister } from '../../src/cell/register.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { openForReading } from '../../src/vault/open-cell.ts';
import { caughtCode, outcomeOf } from '../kit/outcome.ts';
import { changing, inside, putKey, START_MS, type TestTenant, testTenant } from '../kit/vaults.ts';

const COLUMNS =
  'credential_id, kind, trigger, requested_by, state, step, generation, attempts, fence, lease_until, lease_owner, next_attempt_at, started_at';

async function withKey(): Promise<{ tenant: TestTenant; sql: Sql; credentialId: string }> {
  const tenant = await testTenant();
  await putKey(tenant, 'crm', 'not-a-real-secret');
  return { tenant, sql: tenant.sql, credentialId: String(tenant.sql.get('SELECT id FROM credential')?.['id']) };
}

describe('a run under the lease of a dead owner', () => {
  it('that was put in does not become one of ours', async () => {
    const { tenant, sql, credentialId } = await withKey();
    const values = [credentialId, 'revocation', 'request', 'x', 'open', 'queued', 1, 0, 0, 0, 'dead', START_MS, START_MS];
    sql.run(`INSERT INTO run (id, ${COLUMNS}) VALUES ('run_forged', ${values.map(() => '?').join(', ')})`, ...values);
    await tenant.vault.submit((job) => freeLeasesOfDead(job, () => true));
    const { runs } = inside(tenant.vault);
    expect(caughtCode(() => tenant.vault.lookup('test', (lookup) => runs.find(lookup, 'run_forged')))).toBe('integrity');
    expect(sql.get("SELECT lease_owner FROM run WHERE id = 'run_forged'")?.['lease_owner']).toBe('dead');
  });

  it('that was changed does not become true', async () => {
    const { tenant, sql, credentialId } = await withKey();
    const { vault } = tenant;
    const id = await vault.submit((job) =>
      changing(job, (access) => {
        const run = openRun(job, access, { credentialId, kind: 'refresh', trigger: 'read', generation: 1 });
        return leaseRun(job, access, run, 'dead', 'first').id;
      }),
    );
    sql.run("UPDATE run SET kind = 'revocation', generation = 0 WHERE id = ?", id);
    await vault.submit((job) => freeLeasesOfDead(job, () => true));
    expect(caughtCode(() => vault.lookup('test', (lookup) => inside(vault).runs.find(lookup, id)))).toBe('integrity');
  });
});

describe('an edited expiry', () => {
  it('does not make the service forget an assertion that was seen', async () => {
    const { tenant, sql } = await withKey();
    const { vault } = tenant;
    const jti = new Uint8Array(randomBytes(32));
    const claim = () =>
      outcomeOf(
        vault.submit((job) =>
          job.door.keepBooks('authentication', (books) => job.workloads.claimAssertion(books, jti, START_MS + 900_000)),
        ),
      );
    expect(await claim()).toBe('ok');
    sql.run('UPDATE assertion_seen SET expires_at = 1');
    await vault.submit((job) => purgeExpired(job));
    expect(sql.all('SELECT * FROM assertion_seen')).toEqual([]);
    expect(await claim()).toBe('integrity');
  });

  it('does not make the service forget a request that was answered', async () => {
    const { tenant, sql } = await withKey();
    const { vault } = tenant;
    const { idempotency } = inside(vault).core;
    const bytes = new Uint8Array(8);
    const row = { principal_id: 'usr_a', idempotency_key: 'k', request_hash: bytes, status: 201, wrapped_key: bytes, key_id: 'key_x', value: bytes, expires_at: START_MS + 900_000 }; // biome-ignore format: one line
    await vault.submit((job) => job.door.keepBooks('idempotency', (books) => idempotency.save(books, row)));
    const find = () => caughtCode(() => vault.lookup('test', (lookup) => idempotency.find(lookup, 'usr_a', 'k')));
    expect(find()).toBe('ok');
    sql.run('UPDATE idempotency SET expires_at = 1');
    await vault.submit((job) => purgeExpired(job));
    expect(find()).toBe('integrity');
  });

  it('forgets what truly expired', async () => {
    const { tenant, sql } = await withKey();
    const { vault } = tenant;
    const jti = new Uint8Array(randomBytes(32));
    const claim = (at: number) =>
      vault.submit((job) => job.door.keepBooks('authentication', (books) => job.workloads.claimAssertion(books, jti, at)));
    expect(await claim(START_MS + 1_000)).toBe(true);
    tenant.clock.pass(2_000);
    await vault.submit((job) => purgeExpired(job));
    expect(sql.all('SELECT * FROM assertion_seen')).toEqual([]);
    expect(await claim(START_MS + 9_000)).toBe(true);
  });
});

describe('the journal of a run', () => {
  async function journal() {
    const { tenant, sql, credentialId } = await withKey();
    const { vault } = tenant;
    const id = await vault.submit((job) =>
      changing(job, (access) => {
        const run = openRun(job, access, { credentialId, kind: 'refresh', trigger: 'read', generation: 1 });
        leaseRun(job, access, run, 'one', 'first');
        job.runs.journal(access, run.id, { step: 'unknown_words', status: 'x', at: START_MS });
        leaseRun(job, access, run, 'one', 'first');
        return run.id;
      }),
    );
    const { runs } = inside(vault);
    const ask = (what: 'firstIntentAt' | 'firstStepAt') =>
      caughtCode(() =>
        vault.lookup('test', (lookup) =>
          what === 'firstIntentAt' ? runs.firstIntentAt(lookup, id) : runs.firstStepAt(lookup, id, 'unknown_words'),
        ),
      );
    return { sql, id, ask, vault };
  }
  const ASKED = ['firstIntentAt', 'firstStepAt'] as const;

  it('is believed while it is whole', async () => {
    const { ask } = await journal();
    expect(ASKED.map(ask)).toEqual(['ok', 'ok']);
  });

  it.each([1, 2, 3, 4])('misses step %i that was taken away, also where another was put in', async (sequence) => {
    const { sql, id, ask } = await journal();
    sql.run('DELETE FROM run_step WHERE run_id = ? AND sequence = ?', id, sequence);
    expect(ASKED.map(ask)).toEqual(['integrity', 'integrity']);
    sql.run("INSERT INTO run_step (run_id, sequence, step, status, at) VALUES (?, 99, 'x', 'x', 1)", id);
    expect(ASKED.map(ask)).toEqual(['integrity', 'integrity']);
  });

  it('is not believed where the time of a step was changed', async () => {
    const { sql, ask } = await journal();
    sql.run("UPDATE run_step SET at = 1 WHERE step = 'unknown_words'");
    expect(ASKED.map(ask)).toEqual(['integrity', 'integrity']);
  });
});

describe('code of the database itself', () => {
  const PLANTED = {
    trigger: 'CREATE TRIGGER planted BEFORE UPDATE OF revoked_at ON token BEGIN SELECT RAISE(IGNORE); END',
    view: 'CREATE VIEW planted AS SELECT * FROM token',
  };

  it.each(Object.entries(PLANTED))(
    'a %s keeps a cell shut, and is found where a copy is only looked at',
    async (_kind, script) => {
      const { tenant, sql } = await withKey();
      sql.script(script);
      expect(caughtCode(() => tenant.reopen())).toBe('integrity');
      const opening = { ...tenant.opening, opening: { witnessed: tenant.notes.at(-1), mustExist: true } };
      expect(caughtCode(() => openForReading(opening))).toBe('integrity');
      sql.script(`DROP ${_kind} planted`);
      expect(caughtCode(() => tenant.reopen())).toBe('ok');
    },
  );

  it('keeps the key register shut', () => {
    const sql = openNodeSql(':memory:');
    const open = () => caughtCode(() => new KeyRegister(sql, RootKeys.of(RootKey.of(randomBytes(32))), 'ins_a'));
    expect(open()).toBe('ok');
    sql.script('CREATE TRIGGER planted BEFORE UPDATE ON erasure_key BEGIN SELECT RAISE(IGNORE); END');
    expect(open()).toBe('integrity');
  });
});
