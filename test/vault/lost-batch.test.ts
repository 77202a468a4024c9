// A batch that could not be committed: none of its answers is released, and no in-memory state of it remains.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { deleteCredential, rollBack } from '../../src/vault/change-credential.ts';
import { describeCredential } from '../../src/vault/describe-credential.ts';
import { createUser, offboardUser } from '../../src/vault/manage-users.ts';
import { createDirectToken, createWorkload, revokeWorkload } from '../../src/vault/manage-workloads.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { rotateKeys } from '../../src/vault/rotate-keys.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { testTeam, textOf } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { eventsOf, inside, putKey, testTenant, workloadToken } from '../kit/vaults.ts';

const SECRET = 'not-a-real-secret';
const stripe = { environment: 'staging', name: 'stripe', precondition: {} };

async function opened() {
  const sql = new SqlSpy(openNodeSql(':memory:'));
  const tenant = await testTenant({ sql });
  await putKey(tenant, 'stripe', `${SECRET}-1`);
  await putKey(tenant, 'stripe', `${SECRET}-2`);
  const { text, id } = await workloadToken(tenant);
  const { vault } = tenant;
  const admin = () => tenant.user(['admin'], 'everywhere');
  const read = (token = text) =>
    vault.submit((job) => {
      const { body } = readCredential(job, tenant.token(token), { ...stripe, version: undefined, stage: undefined });
      return new TextDecoder().decode(body).match(/-(\d+|lost)"/)?.[1] ?? '';
    });
  const put = (key: string, caller = admin()) =>
    vault.submit((job) =>
      putCredential(job, caller, {
        ...stripe,
        kind: 'api_key',
        value: { key },
        connector: undefined,
        config: undefined,
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
      }),
    );
  return { sql, tenant, vault, admin, text, id, read, put };
}

/** The in-memory state, and the state of a newly opened cell over the same database. */
function beliefs(job: TenantJob) {
  const { audit, keyring } = job.core;
  return {
    size: audit.size,
    sequence: audit.stateSequence,
    root: Buffer.from(audit.root()).toString('hex'),
    keys: keyring.rows().filter((row) => row.state === 'active').map((row) => keyring.current(row.purpose as 'api_key').id), // biome-ignore format: one line
    lowest: keyring.lowestVersion(),
  };
}

describe('after a rolled-back batch', () => {
  it('a value that was put and read in it is not served and was not returned', async () => {
    const { sql, read, put } = await opened();
    expect(await read()).toBe('2');
    sql.failCommits();
    const ends = await Promise.all([put(`${SECRET}-lost`), read(), read()].map(outcomeOf));
    expect(ends).toEqual(['storage_full', 'storage_full', 'storage_full']);
    expect([await read(), await read()]).toEqual(['2', '2']);
  });

  it('a roll-back and a deletion of a credential have no effect, also in the cache', async () => {
    const { sql, vault, admin, read } = await opened();
    await read();
    sql.failCommits();
    await outcomeOf(vault.submit((job) => rollBack(job, admin(), { ...stripe, toVersion: undefined })));
    expect(await read()).toBe('2');
    sql.failCommits();
    await outcomeOf(vault.submit((job) => deleteCredential(job, admin(), { ...stripe, recoveryWindowMs: undefined })));
    expect(await read()).toBe('2');
  });

  it('a token that was created and used in it is refused', async () => {
    const { sql, vault, tenant, admin, id, read } = await opened();
    let lost = '';
    sql.failCommits();
    const made = vault.submit((job) => {
      const issued = createDirectToken(job, admin(), { workload: id, permissions: undefined, ttlMs: 60_000 });
      lost = textOf(issued.token);
    });
    const used = vault.submit((job) => {
      readCredential(job, tenant.token(lost), { ...stripe, version: undefined, stage: undefined });
    });
    expect([await outcomeOf(made), await outcomeOf(used)]).toEqual(['storage_full', 'storage_full']);
    expect(lost).toMatch(/^kt_wlk_/);
    expect(await outcomeOf(read(lost))).toBe('unauthenticated');
  });

  it('a workload that was revoked in it still works, and one whose revocation was committed does not', async () => {
    const { sql, vault, admin, id, read } = await opened();
    const revoke = () => outcomeOf(vault.submit((job) => revokeWorkload(job, admin(), id)));
    sql.failCommits();
    expect(await revoke()).toBe('storage_full');
    expect(await read()).toBe('2');
    expect(await revoke()).toBe('ok');
    expect(await outcomeOf(read())).toBe('unauthenticated');
  });

  it('log, keys and sequence in memory equal the database', async () => {
    const { sql, tenant, vault, admin, read, put } = await opened();
    tenant.clock.pass(LIMITS.checkpointIntervalMs);
    const notes = [...tenant.notes];
    const before = beliefs(inside(vault));
    const events = eventsOf(sql).length;
    sql.failCommits();
    const work = [
      put(`${SECRET}-lost`),
      vault.submit((job) => rotateKeys(job, admin(), undefined)),
      put(`${SECRET}-lost`, { ...admin(), source: { address: '192.0.2.9', userAgent: 'new' } }),
      read(),
    ];
    expect(new Set(await Promise.all(work.map(outcomeOf)))).toEqual(new Set(['storage_full']));
    expect(beliefs(inside(vault))).toEqual(before);
    expect(beliefs(inside(tenant.reopen()))).toEqual(before);
    expect(eventsOf(sql).length).toBe(events);
    expect(tenant.notes).toEqual(notes);
    await put(`${SECRET}-3`, { ...admin(), source: { address: '192.0.2.9', userAgent: 'new' } });
    expect(await read()).toBe('3');
    const sources = new Set(sql.all('SELECT source_id FROM audit_source').map((row) => row['source_id']));
    for (const event of eventsOf(sql)) if (event['source'] !== undefined) expect(sources).toContain(event['source']);
    const { text } = await workloadToken({ ...tenant, vault: tenant.reopen() });
    expect(text).toMatch(/^kt_acc_/);
  });

  it('the scheduler was not notified of its due work', async () => {
    const { sql, tenant, vault, admin } = await opened();
    const due = vault.nextDueAt();
    sql.failCommits();
    await outcomeOf(vault.submit((job) => deleteCredential(job, admin(), { ...stripe, recoveryWindowMs: 60_000 })));
    expect(vault.nextDueAt()).toBe(due);
    expect(tenant.reopen().nextDueAt()).toBe(due);
  });
});

describe('an event that cannot be recorded', () => {
  it('undoes its change: no effect without an event', async () => {
    const { sql, vault, admin, put, read } = await opened();
    const pii = inside(vault).core.keyring.current('audit_pii').id;
    sql.run('UPDATE tenant_key SET wraps = ? WHERE key_id = ?', LIMITS.wrapsPerKeyMax, pii);
    inside(vault).core.keyring.reload();
    const stranger = { ...admin(), source: { address: '192.0.2.200', userAgent: 'unseen' } };
    expect(await outcomeOf(put(`${SECRET}-lost`, stranger))).toBe('unavailable');
    expect(await read()).toBe('2');
    expect(sql.get('SELECT max(version) AS n FROM credential_version')?.['n']).toBe(2);
    expect(await outcomeOf(put(`${SECRET}-3`))).toBe('ok');
  });
});

describe('a failed job in a good batch', () => {
  it('leaves no in-memory state, and the other jobs of the batch take effect', async () => {
    const { vault, admin, read, put } = await opened();
    const fails = vault.submit((job) =>
      job.door.enter(
        admin(),
        'credential.put',
        () => ({ resource: { type: 'Credential', tenant: job.tenant.id, environment: 'staging' }, target: { type: 'credential' }, subject: true as const }), // biome-ignore format: one line
        (access) => {
          job.credentials.dropVersions(access, job.credentials.find(access, job.credentials.findEnvironment(access, 'staging')?.id ?? '', 'stripe')?.id ?? ''); // biome-ignore format: one line
          throw new Error('in the middle');
        },
      ),
    );
    const [failed, good] = await Promise.allSettled([fails, put(`${SECRET}-3`)]);
    expect([failed.status, good.status]).toEqual(['rejected', 'fulfilled']);
    expect(await read()).toBe('3');
    const located = await vault.submit((job) => describeCredential(job, admin(), 'staging', 'stripe'));
    expect(located.row.latest_version).toBe(3);
  });

  it('that creates a workload with a taken name changes nothing', async () => {
    const { vault, admin, sql } = await opened();
    const input = { name: 'twice', environment: 'staging', patterns: ['*'], permissions: ['read'] as const, networks: [], jwks: undefined, ttlMs: 60_000 }; // biome-ignore format: one line
    const ends = [1, 2].map(() => outcomeOf(vault.submit((job) => createWorkload(job, admin(), input))));
    expect(await Promise.all(ends)).toEqual(['ok', 'conflict']);
    expect(sql.get("SELECT count(*) AS n FROM workload WHERE name = 'twice'")?.['n']).toBe(1);
  });
});

describe('in the home cell, a rolled-back batch', () => {
  it('does not offboard a user and does not create one, including their tokens', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const team = await testTeam(sql);
    const eve = { name: 'eve', grants: [{ role: 'auditor' as const, tenant: undefined }], enrolmentTtlMs: 3_600_000 };
    const made = await team.home.submit((job) => createUser(job, team.caller(team.owner), eve));
    const token = textOf(made.enrolment.token);
    expect(team.home.identify(token)?.name).toBe('eve');
    sql.failCommits();
    expect(await outcomeOf(team.home.submit((job) => offboardUser(job, team.caller(team.owner), 'eve')))).toBe('storage_full');
    expect(team.home.identify(token)?.name).toBe('eve');
    let lost = '';
    sql.failCommits();
    await outcomeOf(
      team.home.submit((job) => {
        lost = textOf(createUser(job, team.caller(team.owner), { ...eve, name: 'mallory' }).enrolment.token);
        expect(team.home.identify(lost)?.name).toBe('mallory');
      }),
    );
    expect(lost).toMatch(/^kt_enr_/);
    expect(team.home.identify(lost)).toBeUndefined();
  });
});
