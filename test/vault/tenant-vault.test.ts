// A tenant's vault as its owner holds it: told of what is due after the commit that changed it, busy while anything is under way.
import { describe, expect, it } from 'vitest';
import { purgeExpired } from '../../rotation/engine/house-keeping.ts';
import { openRun } from '../../rotation/engine/run.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { deleteCredential, destroyExpired } from '../../src/vault/change-credential.ts';
import { createEnvironment } from '../../src/vault/create-environment.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { authorizer, changing, inside, putKey, START_MS, testTenant, workloadToken } from '../kit/vaults.ts';

async function held() {
  const sql = new SqlSpy(openNodeSql(':memory:'));
  const tenant = await testTenant({ sql });
  const { erasureKey, platform } = tenant.opening;
  const told: string[] = [];
  const vault = new TenantVault({
    tenant: tenant.vault.tenant,
    sql,
    erasureKey,
    platform,
    authorizer,
    admit: () => {},
    witnessed: tenant.notes.at(-1),
    onDueChanged: (id) => void told.push(id),
  });
  const admin = () => tenant.user(['admin'], 'everywhere');
  return { tenant, sql, vault, told, admin, id: vault.tenant.id, clock: tenant.clock };
}

describe('what is due', () => {
  it('is told once a commit that changed it, after it, and not otherwise', async () => {
    const { tenant, vault, told, admin, id } = await held();
    await vault.submit((job) => createEnvironment(job, admin(), 'later'));
    expect(told).toEqual([]);
    const both = [putKey({ ...tenant, vault }, 'a', 'not-a-real-secret'), putKey({ ...tenant, vault }, 'b', 'not-a-real-secret')];
    expect(told).toEqual([]);
    await Promise.all(both);
    expect(told).toEqual([id]);
    await vault.submit(() => {});
    expect(told).toEqual([id]);
  });

  it('is not told of a batch that was undone, nor with the next one', async () => {
    const { tenant, sql, vault, told, admin } = await held();
    sql.failCommits();
    await expect(putKey({ ...tenant, vault }, 'a', 'not-a-real-secret')).rejects.toMatchObject({ code: 'storage_full' });
    await vault.submit((job) => createEnvironment(job, admin(), 'later'));
    expect(told).toEqual([]);
  });

  it('is nothing at first, then the earliest of all', async () => {
    const { tenant, vault, admin } = await held();
    expect(vault.nextDueAt()).toBeUndefined();
    await putKey({ ...tenant, vault }, 'a', 'not-a-real-secret');
    await vault.submit((job) =>
      deleteCredential(job, admin(), { environment: 'staging', name: 'a', precondition: {}, recoveryWindowMs: 700 }),
    );
    expect(vault.nextDueAt()).toBe(START_MS + 700);
  });

  it('is looked through now where the newest event is from a time to come, until that was done', async () => {
    const { tenant, clock } = await held();
    const past = {
      ...tenant.opening.platform,
      clock: Object.assign(Object.create(Object.getPrototypeOf(clock)), clock, { atMs: clock.now() - 86_400_000 }),
    };
    const vault = tenant.reopenWith(past);
    expect(vault.nextDueAt()).toBe(START_MS - 86_400_000);
    vault.planLookedAt();
    expect(vault.nextDueAt()).toBeUndefined();
    expect(tenant.reopen().nextDueAt()).toBeUndefined();
  });
});

describe('a vault that works', () => {
  it('is not idle while a job waits, nor while somebody keeps it open, however that ends', async () => {
    const { vault } = await held();
    expect(vault.idle).toBe(true);
    const job = vault.submit(() => {});
    expect(vault.idle).toBe(false);
    await job;
    expect(vault.idle).toBe(true);
    for (const isGood of [true, false]) {
      let end = (_error?: Error) => {};
      const work = vault.keepOpenFor(
        new Promise<string>((resolve, reject) => {
          end = (error) => (error === undefined ? resolve('done') : reject(error));
        }),
      );
      expect(vault.idle).toBe(false);
      let isFinished = false;
      const finished = vault.finished().then(() => {
        isFinished = true;
      });
      await new Promise((resolve) => setImmediate(resolve));
      expect(isFinished).toBe(false);
      end(isGood ? undefined : new Error('made up'));
      if (isGood) expect(await work).toBe('done');
      else await expect(work).rejects.toThrow('made up');
      await finished;
      expect([isFinished, vault.idle]).toEqual([true, true]);
    }
  });

  it('forgets what it kept of a batch that was undone', async () => {
    const { tenant, sql, vault } = await held();
    await putKey({ ...tenant, vault }, 'a', 'not-a-real-secret');
    const job = inside<unknown, TenantJob>(vault as never);
    const found = await vault.submit((inJob) =>
      inJob.door.lookup('test', (lookup) =>
        inJob.credentials.find(lookup, inJob.credentials.findEnvironment(lookup, 'staging')?.id ?? '', 'a'),
      ),
    );
    expect(found).toBeDefined();
    let cleared = 0;
    let forgotten = 0;
    job.cache.clear = () => void cleared++;
    job.authenticator.forget = () => void forgotten++;
    await vault.submit(() => {});
    expect([cleared, forgotten]).toEqual([0, 0]);
    sql.failCommits();
    await expect(putKey({ ...tenant, vault }, 'a', 'not-a-real-secret')).rejects.toMatchObject({ code: 'storage_full' });
    expect([cleared, forgotten]).toEqual([1, 1]);
  });
});

describe('what outlived its window', () => {
  it('is destroyed once the clock is steady, at most so many at a time', async () => {
    const { tenant, vault, admin, clock } = await held();
    for (const name of ['a', 'b', 'c']) {
      await putKey({ ...tenant, vault }, name, 'not-a-real-secret');
      await vault.submit((job) =>
        deleteCredential(job, admin(), { environment: 'staging', name, precondition: {}, recoveryWindowMs: 5 }),
      );
    }
    const destroy = () => vault.submit((job) => destroyExpired(job, 2));
    expect(await destroy()).toBe(0);
    clock.pass(5);
    clock.steadyAtMs = clock.now() + 1;
    expect(await destroy()).toBe(0);
    clock.pass(1);
    expect([await destroy(), await destroy(), await destroy()]).toEqual([2, 1, 0]);
  });

  it('waits for a run that is open, as any change of what is due', async () => {
    const { tenant, vault, told, id } = await held();
    await putKey({ ...tenant, vault }, 'a', 'not-a-real-secret');
    const before = told.length;
    await vault.submit((job) =>
      changing(job, (access) => {
        const environment = job.credentials.findEnvironment(access, 'staging');
        const row = job.credentials.find(access, environment?.id ?? '', 'a');
        openRun(job, access, { credentialId: row?.id ?? '', kind: 'refresh', trigger: 'request', generation: 1 });
      }),
    );
    expect(told.slice(before)).toEqual([id]);
    expect(vault.nextDueAt()).toBe(START_MS);
  });
});

describe('what was deleted without anybody waiting for it', () => {
  it('is erased a minute later, planned once however often more is deleted, and again the next time', async () => {
    const { tenant } = await held();
    const tasks: (() => void)[] = [];
    const later = (delayMs: number, task: () => void) => {
      if (delayMs === LIMITS.residueMaxMs) tasks.push(task);
    };
    const vault = tenant.reopenWith({ later });
    const { core } = inside<unknown, TenantJob>(vault as never);
    const purge = async () => {
      await workloadToken({ ...tenant, vault });
      tenant.clock.pass(LIMITS.accessTokenTtlDefaultMs + LIMITS.idempotencyKeepMs);
      await vault.submit((job) => purgeExpired(job));
    };
    await vault.submit(() => {});
    expect([tasks.length, core.cell.hasResidue]).toEqual([0, false]);
    await purge();
    await purge();
    expect([tasks.length, core.cell.hasResidue]).toEqual([1, true]);
    tasks.shift()?.();
    await vault.submit(() => {});
    expect([tasks.length, core.cell.hasResidue]).toEqual([0, false]);
    await purge();
    expect(tasks).toHaveLength(1);
  });
});
