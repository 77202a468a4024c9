// The end of a replaced value waits for the workloads that have it: at least the grace period, at most the deadline (decision 0015).
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../../src/base/limits.ts';
import { changeCredential } from '../../../src/vault/credential.ts';
import { createDirectToken, createWorkload, revokeWorkload } from '../../../src/vault/manage-workloads.ts';
import { readCredential } from '../../../src/vault/read-credential.ts';
import { describeReaders } from '../../../src/vault/readers.ts';
import { credentialTarget } from '../../../src/vault/targets.ts';
import { textOf } from '../../kit/homes.ts';
import { type RotationBench, rotationBench } from '../../kit/rotation-bench.ts';
import { changing, eventsOf } from '../../kit/vaults.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

async function opened(config: object = {}) {
  const bench = await rotationBench('overlap');
  const { tenant } = bench;
  await configure(bench, config);
  const tokens: Record<string, string> = {};
  const reads = async (name: string, version?: number) => {
    tokens[name] ??= await lastingToken(bench, name);
    const wanted = { environment: 'staging', name: 'db', version, stage: undefined };
    const { body } = await bench.vault.submit((job) => readCredential(job, tenant.token(tokens[name] ?? ''), wanted));
    return JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>;
  };
  const work = () => bench.runs.runDueWork();
  const pass = async (ms: number) => {
    tenant.clock.pass(ms);
    await work();
  };
  const end = () => bench.rows('revocation')[0];
  const lateAlerts = () =>
    tenant.sql
      .all<{ facts: string }>("SELECT facts FROM alert WHERE kind = 'credential.readers_late' ORDER BY rowid")
      .map(({ facts }) => JSON.parse(facts) as Record<string, unknown>);
  return { bench, tenant, reads, pass, end, lateAlerts, old: () => bench.target.accepted.get('app')?.has('first') };
}

/** Of a new workload; both live longer than any wait here. */
function lastingToken({ tenant, vault }: RotationBench, name: string): Promise<string> {
  const admin = () => tenant.user(['admin'], 'everywhere');
  const facts = { name, environment: 'staging', patterns: ['*'], permissions: ['read'] as const, networks: [] };
  return vault.submit((job) => {
    createWorkload(job, admin(), { ...facts, permissions: [...facts.permissions], jwks: undefined, ttlMs: 90 * DAY });
    return textOf(createDirectToken(job, admin(), { workload: name, permissions: undefined, ttlMs: 60 * DAY }).token);
  });
}

function configure(bench: RotationBench, config: object): Promise<unknown> {
  return bench.vault.submit((job) => {
    const located = job.door.lookup('scheduler', (lookup) => credentialTarget(job, lookup, 'staging', 'db').subject);
    if (located === undefined) throw new Error('no credential');
    changing(job, (access) =>
      changeCredential(job, access, located, (draft) => {
        draft.config = JSON.stringify({ ...JSON.parse(draft.config), ...config });
      }),
    );
  });
}

describe('the end of a replaced value', () => {
  it('waits beyond the grace period for a workload that has it, names it once, and comes within a minute after it has moved', async () => {
    const { bench, reads, pass, end, lateAlerts, old } = await opened();
    await reads('api');
    await reads('batch');
    await bench.rotate();
    expect(await reads('api')).toMatchObject({ version: 2 });
    await pass(HOUR + 1);
    expect(end()).toMatchObject({ state: 'open', step: 'grace', cause: 'readers' });
    expect(JSON.parse(end()?.facts ?? '')).toMatchObject({ late: ['batch'], lateCount: 1 });
    await pass(DAY);
    await pass(DAY);
    expect(old()).toBe(true);
    expect(lateAlerts()).toEqual([expect.objectContaining({ cause: 'waiting', readers: 'batch', version: 1 })]);
    expect(await reads('batch')).toMatchObject({ version: 2 });
    await pass(LIMITS.readersMovedEveryMs);
    expect(end()).toMatchObject({ state: 'succeeded', cause: 'proved_dead' });
    expect(old()).toBe(false);
  });

  it('is checked once a minute for a reader that goes back and forth, and its journal says once that it waits', async () => {
    const { bench, tenant, reads, pass, end } = await opened();
    await reads('api');
    await reads('batch');
    await bench.rotate();
    await pass(HOUR + 1);
    const count = () => ({
      lines: tenant.sql.get<{ n: number }>('SELECT count(*) AS n FROM run_step WHERE run_id = ?', end()?.id ?? '')?.n ?? 0,
      checks: eventsOf(tenant.sql).filter(({ action }) => action === 'credential.revoke').length,
    });
    const before = count();
    for (let n = 0; n < 20; n++) {
      await reads('api', 2);
      await reads('api', 1);
      await pass(9_000);
    }
    expect(count().lines).toBe(before.lines);
    expect(count().checks - before.checks).toBe(2);
    await reads('api');
    await reads('batch');
    await pass(LIMITS.readersMovedEveryMs);
    expect(end()).toMatchObject({ state: 'succeeded', cause: 'proved_dead' });
  });

  it('comes at the deadline whoever still has it, and says who', async () => {
    const { bench, tenant, reads, pass, end, lateAlerts, old } = await opened({ deadline_seconds: 2 * 86_400 });
    await reads('asleep');
    await bench.rotate();
    await pass(HOUR + 1);
    await pass(2 * DAY - HOUR - 3);
    expect(old()).toBe(true);
    await pass(2);
    expect(old()).toBe(false);
    expect(end()).toMatchObject({ state: 'succeeded', cause: 'proved_dead' });
    expect(JSON.parse(end()?.facts ?? '')).toMatchObject({ late: ['asleep'], readersCount: 1 });
    expect(lateAlerts().map(({ cause }) => cause)).toEqual(['waiting', 'deadline']);
    const steps = eventsOf(tenant.sql).flatMap(({ action, details }) => (action === 'credential.revoke' ? [details] : []));
    expect(steps).toContainEqual(expect.objectContaining({ step: 'grace', cause: 'readers', count: 1 }));
  });

  it('does not wait for one outside of the window, a revoked one, or a person', async () => {
    const { bench, tenant, reads, pass, end, old } = await opened({ reader_window_seconds: 3_600 });
    await reads('long-ago');
    tenant.clock.pass(2 * HOUR);
    await reads('revoked');
    await bench.read();
    await bench.rotate();
    await bench.vault.submit((job) => revokeWorkload(job, tenant.user(['admin'], 'everywhere'), 'revoked'));
    await pass(HOUR + 1);
    expect(end()).toMatchObject({ state: 'succeeded', cause: 'proved_dead' });
    expect(old()).toBe(false);
  });

  it('stops to wait when the last late reader leaves the window', async () => {
    const { bench, reads, pass, end } = await opened({ reader_window_seconds: 7_200 });
    await reads('batch');
    await bench.rotate();
    await pass(HOUR + 1);
    expect(end()?.next_attempt_at).toBe(bench.tenant.clock.now() + HOUR);
    await pass(HOUR);
    expect(end()).toMatchObject({ state: 'succeeded' });
  });

  it('lets copies end that a client may use without asking, even without a grace period', async () => {
    const { bench, reads, pass, end, old } = await opened({ grace_seconds: 0 });
    expect(await reads('api')).toMatchObject({ good_for_seconds: LIMITS.copyMaxSeconds });
    await bench.rotate();
    await reads('api');
    await pass(0);
    expect(end()).toMatchObject({ step: 'grace', cause: 'copies' });
    await pass(LIMITS.copyMaxSeconds * 1_000 - 1);
    expect(old()).toBe(true);
    await pass(1);
    expect(old()).toBe(false);
  });

  it('comes at once with a deadline of nothing', async () => {
    const { bench, reads, pass, old } = await opened({ deadline_seconds: 0 });
    await reads('api');
    await bench.rotate();
    await pass(0);
    expect(old()).toBe(false);
  });

  it('waits for a reader whose row was edited, and never refuses a read for it', async () => {
    const { bench, tenant, reads, pass, end } = await opened();
    await reads('api');
    await bench.rotate();
    tenant.sql.run('UPDATE reader SET since_at = 1');
    await pass(HOUR + 1);
    expect(JSON.parse(end()?.facts ?? '')).toMatchObject({ late: ['unknown'] });
    bench.restart();
    expect(await reads('api')).toMatchObject({ version: 2 });
    await pass(DAY);
    expect(end()).toMatchObject({ state: 'succeeded' });
    expect(eventsOf(tenant.sql).some(({ action }) => action === 'state.damaged')).toBe(true);
  });
});

describe('a read', () => {
  it('says when its version became current, and until when the one before works for certain', async () => {
    const { bench, tenant, reads, pass } = await opened();
    const putAt = new Date(tenant.clock.now()).toISOString();
    expect(await reads('api')).toMatchObject({ rotated_at: putAt, previous_valid_until: null });
    tenant.clock.pass(5_000);
    const at = tenant.clock.now();
    await bench.rotate();
    const until = { previous_valid_until: new Date(at + HOUR).toISOString() };
    expect(await reads('api')).toMatchObject({ version: 2, rotated_at: new Date(at).toISOString(), ...until });
    expect(await reads('api', 1)).toMatchObject({ version: 1, rotated_at: putAt, ...until });
    await reads('api');
    await pass(HOUR + 1);
    expect(await reads('api')).toMatchObject({ version: 2, previous_valid_until: null });
  });

  it('of the pending version is not noted: its reader still has the current one', async () => {
    const { bench, reads, pass, end, old } = await opened();
    await reads('api');
    bench.target.verdict = 'unknown';
    await bench.rotate();
    expect(await reads('api', 2)).toMatchObject({ version: 2 });
    bench.target.verdict = undefined;
    await bench.rotate();
    expect(bench.rows('rotation')).toMatchObject([{ state: 'succeeded', new_version: 2 }]);
    await pass(HOUR + 1);
    expect(end()).toMatchObject({ step: 'grace', cause: 'readers' });
    expect(old()).toBe(true);
  });

  it('writes who received which version, and nothing again for the same version within minutes', async () => {
    const { bench, tenant, reads } = await opened();
    const stored = () =>
      bench.vault.lookup('describe', (lookup, view) => {
        const located = credentialTarget(view, lookup, 'staging', 'db').subject;
        return located === undefined ? [] : describeReaders(view, lookup, located.row);
      });
    const firstAt = tenant.clock.now();
    await reads('api');
    const [first] = stored();
    expect(first).toMatchObject({ type: 'workload', name: 'api', version: 1, sinceAt: firstAt, seenAt: firstAt, isLive: true });
    tenant.clock.pass(LIMITS.readerSeenEveryMs - 1);
    const changes = () => tenant.sql.get<{ n: number }>('SELECT count(*) AS n FROM anchor_journal')?.n;
    const before = changes();
    await reads('api');
    expect(stored()).toEqual([first]);
    expect(changes()).toBe(before);
    tenant.clock.pass(1);
    await reads('api');
    expect(stored()).toEqual([{ ...first, seenAt: firstAt + LIMITS.readerSeenEveryMs }]);
    await bench.rotate();
    await reads('api');
    const movedAt = tenant.clock.now();
    expect(stored()).toEqual([{ ...first, version: 2, sinceAt: movedAt, seenAt: movedAt }]);
  });
});
