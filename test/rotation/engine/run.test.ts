import { describe, expect, it } from 'vitest';
import {
  finishRun,
  freeLeasesOfDead,
  heartbeat,
  heldRun,
  isOwn,
  leaseRun,
  openRun,
  waitRun,
} from '../../../rotation/engine/run.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { WriteAccess } from '../../../src/cell/access.ts';
import type { RunRow } from '../../../src/cell/runs.ts';
import { foundCredential } from '../../../src/vault/targets.ts';
import type { TenantJob } from '../../../src/vault/tenant-job.ts';
import { putKey, START_MS, testTenant } from '../../kit/vaults.ts';

async function scene() {
  const tenant = await testTenant();
  const { vault, sql, clock } = tenant;
  await putKey(tenant, 'key', 'not-a-real-secret');
  let toldDue = 0;
  const inJob = <T>(use: (job: TenantJob, access: WriteAccess) => T): Promise<T> =>
    vault.submit((job) => {
      const environment = job.door.lookup('test', (lookup) => job.credentials.findEnvironment(lookup, 'staging'));
      const row = job.door.lookup('test', (lookup) => job.credentials.find(lookup, environment?.id ?? '', 'key'));
      if (environment === undefined || row === undefined) throw new Error('not there');
      const telling: TenantJob = Object.create(job, { dueChanged: { value: () => void toldDue++ } });
      const find = () => foundCredential(job, environment, row);
      return job.door.enterAsSystem('review', 'credential.review', find, (access) => use(telling, access));
    });
  const credentialId = String(sql.get('SELECT id FROM credential')?.['id']);
  const opened = await inJob((job, access) =>
    openRun(job, access, { credentialId, kind: 'refresh', trigger: 'read', generation: 1 }),
  );
  const steps = () => sql.all('SELECT sequence, step, status, at, evidence FROM run_step ORDER BY sequence');
  const stored = () => sql.get<RunRow>('SELECT * FROM run') as RunRow;
  const lease = (run = opened, owner = 'first') => inJob((job, access) => leaseRun(job, access, run, owner, 'first'));
  return { vault, clock, inJob, opened, steps, stored, lease, toldDue: () => toldDue };
}

describe('a run', () => {
  it('begins open, due at once, held by nobody and never tried', async () => {
    const { opened, stored, steps, toldDue } = await scene();
    expect(stored()).toMatchObject({
      ...opened,
      state: 'open',
      step: 'queued',
      attempts: 0,
      lost_answers: 0,
      fence: 0,
      lease_until: 0,
      lease_owner: '',
      next_attempt_at: START_MS,
      started_at: START_MS,
      finished_at: null,
    });
    expect(steps()).toEqual([{ sequence: 1, step: 'queued', status: 'read', at: START_MS, evidence: null }]);
    expect(toldDue()).toBe(1);
  });

  it('is leased under the next fence, and the intent of the attempt is journalled', async () => {
    const { lease, stored, steps, toldDue } = await scene();
    const leased = await lease();
    expect(stored()).toMatchObject({
      step: 'intent',
      attempts: 1,
      fence: 1,
      lease_owner: 'first',
      lease_until: START_MS + LIMITS.leaseMs,
      next_attempt_at: START_MS + LIMITS.leaseMs,
    });
    expect(steps().at(-1)).toMatchObject({ sequence: 2, step: 'intent', status: 'first' });
    expect(toldDue()).toBe(2);
    expect(await lease(leased, 'second')).toMatchObject({ attempts: 2, fence: 2, lease_owner: 'second' });
  });

  it('waits without a lease until its next attempt, with what the provider said', async () => {
    const { lease, inJob, stored, steps, toldDue, clock } = await scene();
    const leased = await lease();
    clock.pass(1_000);
    const waiting = { step: 'waiting', status: 'http_5xx', nextAttemptAt: START_MS + 9_000.4, evidence: '{"status":500}' };
    await inJob((job, access) => waitRun(job, access, leased, waiting));
    const now = START_MS + 1_000;
    expect(stored()).toMatchObject({ lease_owner: '', lease_until: now, next_attempt_at: START_MS + 9_000, fence: 1 });
    expect(steps().at(-1)).toMatchObject({ step: 'waiting', status: 'http_5xx', at: now, evidence: '{"status":500}' });
    expect(toldDue()).toBe(3);
  });

  it('ends with its lease, and nothing of it is due any more', async () => {
    const { lease, inJob, stored, steps, toldDue, clock } = await scene();
    const leased = await lease();
    clock.pass(1_000);
    const end = { state: 'succeeded', step: 'stored', outcome: 'refreshed', cause: null, new_version: 2 } as const;
    await inJob((job, access) => finishRun(job, access, leased, end));
    expect(stored()).toMatchObject({ ...end, lease_until: 0, lease_owner: '', next_attempt_at: null });
    expect(stored().finished_at).toBe(START_MS + 1_000);
    expect(steps().at(-1)).toMatchObject({ step: 'stored', status: 'refreshed', evidence: null });
    expect(toldDue()).toBe(3);
  });
});

describe('the lease of a run', () => {
  it('is an attempt’s own while the run is open and its fence has not moved on', async () => {
    const { lease } = await scene();
    const leased = await lease();
    expect(isOwn(leased, leased)).toBe(true);
    expect(
      [undefined, { ...leased, fence: 2 }, { ...leased, state: 'failed' as const }].map((run) => isOwn(run, leased)),
    ).toEqual([false, false, false]);
  });

  it('holds for as long as is asked where more than that is left of it', async () => {
    const { lease, inJob } = await scene();
    const leased = await lease();
    const holds = (forMs: number) => inJob((job, access) => heldRun(job, access, leased, forMs) !== undefined);
    expect([await holds(0), await holds(LIMITS.leaseMs - 1), await holds(LIMITS.leaseMs)]).toEqual([true, true, false]);
  });

  it('is prolonged by its own attempt only, and not once the run waits', async () => {
    const { lease, vault, inJob, stored, clock } = await scene();
    const leased = await lease();
    clock.pass(LIMITS.leaseHeartbeatMs);
    const until = clock.now() + LIMITS.leaseMs;
    expect(await vault.submit((job) => heartbeat(job, leased))).toBe(true);
    expect(stored()).toMatchObject({ lease_until: until, next_attempt_at: until });
    expect(await vault.submit((job) => heartbeat(job, { ...leased, fence: 0 }))).toBe(false);
    await inJob((job, access) => waitRun(job, access, leased, { step: 'waiting', status: 'x', nextAttemptAt: 5 }));
    expect(await vault.submit((job) => heartbeat(job, leased))).toBe(false);
    expect(stored().next_attempt_at).toBe(5);
  });

  it('is freed where its owner is dead, and the run keeps its intent', async () => {
    const { lease, vault, stored, clock } = await scene();
    await lease();
    clock.pass(1_000);
    await vault.submit((job) => freeLeasesOfDead(job, (owner) => owner === 'other'));
    expect(stored().lease_owner).toBe('first');
    await vault.submit((job) => freeLeasesOfDead(job, (owner) => owner === 'first'));
    const now = START_MS + 1_000;
    expect(stored()).toMatchObject({ step: 'intent', lease_owner: '', lease_until: now, next_attempt_at: now });
  });
});
