// A roll back asks the target first: only a version that it accepts becomes current again, and what was about to end it does not.
import { describe, expect, it } from 'vitest';
import type { StoredValue } from '../../../rotation/connector.ts';
import { openScheduled } from '../../../rotation/keys/scheduled.ts';
import { rollBack } from '../../../src/vault/change-credential.ts';
import { setOwnSchedule } from '../../../src/vault/manage-schedules.ts';
import { credentialTarget } from '../../../src/vault/targets.ts';
import { outcomeOf } from '../../kit/outcome.ts';
import { type RotationBench, rotationBench, STRATEGIES } from '../../kit/rotation-bench.ts';
import { eventsOf } from '../../kit/vaults.ts';

const HOUR = 3_600_000;

function back({ tenant, vault, runs }: RotationBench, toVersion?: number, revokesReplaced = false) {
  const admin = tenant.user(['admin'], 'everywhere');
  const input = { environment: 'staging', name: 'db', precondition: {}, toVersion, revokesReplaced };
  return vault.submit((job) => rollBack(job, admin, input)).then(({ row }) => runs.advance(row.id).catch(() => {}));
}

const row = ({ vault }: RotationBench) =>
  vault.lookup('describe', (lookup, view) => {
    const located = credentialTarget(view, lookup, 'staging', 'db').subject;
    if (located === undefined) throw new Error('no credential');
    return located.row;
  });
const password = (value: StoredValue) => String(value['password']);

describe.each(['overlap', 'alternating_users'] as const)('a roll back with the strategy %s', (strategy) => {
  it('makes the previous version current while the target honours it, and cancels its end', async () => {
    const bench = await rotationBench(strategy);
    await bench.rotate();
    const replaced = password(await bench.read());
    await back(bench);
    expect(password(await bench.read())).toBe('first');
    expect(row(bench)).toMatchObject({ current_version: 1, previous_version: 2, pending_version: null });
    expect(bench.rows('rotation').at(-1)).toMatchObject({ state: 'succeeded', outcome: 'rolled_back', new_version: 1 });
    expect(bench.rows('revocation')).toMatchObject([{ generation: 1, state: 'cancelled', cause: 'rolled_back' }]);
    await bench.finish();
    bench.tenant.clock.pass(30 * 24 * HOUR);
    await bench.finish();
    expect(bench.target.works({ username: 'app', password: 'first' })).toBe(true);
    expect(
      [...bench.target.accepted.values()].some((passwords) => passwords.has(replaced)),
      'the replaced one stays',
    ).toBe(true);
    const asked = eventsOf(bench.tenant.sql).filter(({ action }) => action === 'credential.rollback');
    expect(asked).toMatchObject([{ outcome: 'success', details: { version: 1, run: bench.rows('rotation').at(-1)?.id } }]);
    const finished = eventsOf(bench.tenant.sql).filter(({ details }) => (details as { step?: string })?.step === 'finish');
    expect(finished.at(-1)).toMatchObject({ details: { from_version: 2, version: 1 } });
  });

  it('ends the replaced version when asked', async () => {
    const bench = await rotationBench(strategy);
    await bench.rotate();
    const replaced = password(await bench.read());
    await back(bench, undefined, true);
    await bench.finish();
    expect(bench.rows('revocation').at(-1)).toMatchObject({ generation: 2, outcome: 'revoked', cause: 'proved_dead' });
    expect([...bench.target.accepted.values()].some((passwords) => passwords.has(replaced))).toBe(false);
    expect(password(await bench.read())).toBe('first');
  });

  it.each(['rejected', 'unknown'] as const)('keeps the current version when the test of the old one is %s', async (verdict) => {
    const bench = await rotationBench(strategy);
    await bench.rotate();
    const current = password(await bench.read());
    bench.target.verdict = verdict;
    await back(bench);
    bench.target.verdict = undefined;
    expect(bench.rows('rotation').at(-1)).toMatchObject({
      state: 'failed',
      cause: verdict === 'rejected' ? 'refused_at_target' : 'test_unknown',
    });
    expect(password(await bench.read())).toBe(current);
    expect(row(bench)).toMatchObject({ current_version: 2, previous_version: 1 });
    await bench.finish();
    expect(bench.rows('revocation')).toMatchObject([{ generation: 1, outcome: 'revoked' }]);
  });

  it('is refused for a version that was revoked, or is being revoked', async () => {
    const bench = await rotationBench(strategy);
    await bench.rotate();
    bench.target.failures.push({ step: 'revoke', outcome: { kind: 'lost', cause: 'made_up' } });
    bench.tenant.clock.pass(HOUR + 1);
    await bench.runs.runDueWork();
    expect(bench.rows('revocation')[0]).toMatchObject({ state: 'open', attempts: 1 });
    await expect(back(bench)).rejects.toMatchObject({ code: 'conflict', pointer: '/version' });
    await bench.finish();
    await expect(back(bench)).rejects.toMatchObject({ code: 'conflict', pointer: '/version' });
    expect(row(bench)).toMatchObject({ current_version: 2 });
  });
});

it.each(['rejected', 'unknown'] as const)(
  'a scheduled rotation that was due during a roll back begins later when the test of the old version is %s',
  async (verdict) => {
    const bench = await rotationBench('overlap');
    await bench.rotate();
    const admin = bench.tenant.user(['admin'], 'everywhere');
    const spec = { every_seconds: 30 * 86_400, jitter_seconds: 0 };
    await bench.vault.submit((job) => setOwnSchedule(job, admin, { environment: 'staging', name: 'db' }, spec));
    const promised = row(bench).rotation_due_at ?? expect.fail('nothing is planned');
    bench.target.verdict = verdict;
    bench.target.during.set('test', () => {
      bench.tenant.clock.pass(promised - bench.tenant.clock.now());
      return bench.vault.submit((job) => openScheduled(job, row(bench).id, 0));
    });
    await back(bench);
    expect(bench.rows('rotation').at(-1)).toMatchObject({ state: 'failed' });
    bench.target.verdict = undefined;
    const due = row(bench).rotation_due_at ?? expect.fail('the schedule is lost');
    expect(due).toBeGreaterThanOrEqual(promised);
    expect(due).toBeLessThanOrEqual(promised + HOUR);
    expect(row(bench).rotation_promised_at).toBe(promised);
    bench.tenant.clock.pass(HOUR);
    await bench.finish();
    expect(bench.rows('rotation').at(-1)).toMatchObject({ trigger: 'schedule', state: 'succeeded' });
  },
);

describe('a roll back with the strategy single_user', () => {
  it('sets the old value again, as a new version', async () => {
    const bench = await rotationBench('single_user');
    await bench.rotate();
    await bench.finish();
    expect(bench.target.works({ username: 'app', password: 'first' })).toBe(false);
    await back(bench);
    await bench.finish();
    expect(password(await bench.read())).toBe('first');
    expect(bench.target.works({ username: 'app', password: 'first' })).toBe(true);
    expect(row(bench)).toMatchObject({ current_version: 3, previous_version: 2 });
    expect(bench.rows('revocation').at(-1)).toMatchObject({ generation: 2, cause: 'proved_dead' });
  });

  it('keeps a working value in every crash on the way', async () => {
    for (let nth = 1; ; nth++) {
      const bench = await rotationBench('single_user');
      await bench.rotate();
      bench.killAt(nth);
      await back(bench);
      const isDone = bench.passed.length < nth;
      bench.restart();
      expect(bench.target.works(await bench.read()), `after point ${nth}`).toBe(true);
      await bench.finish();
      expect(password(await bench.read())).toBe('first');
      if (isDone) return expect(nth).toBeGreaterThan(3);
    }
  });
});

it('a roll back with the strategy in_place is refused, because the provider refuses what it replaced', async () => {
  const bench = await rotationBench('in_place');
  await bench.rotate();
  await expect(back(bench)).rejects.toMatchObject({ code: 'conflict', pointer: '/version' });
});

it('a roll back by a probe survives a crash at any point', async () => {
  for (let nth = 1; ; nth++) {
    const bench = await rotationBench('overlap');
    await bench.rotate();
    bench.killAt(nth);
    await back(bench);
    const isDone = bench.passed.length < nth;
    bench.restart();
    expect(bench.target.works(await bench.read()), `after point ${nth}`).toBe(true);
    await bench.finish();
    expect(row(bench).current_version).toBe(1);
    expect(bench.target.works({ username: 'app', password: 'first' })).toBe(true);
    expect(bench.rows('revocation').filter(({ state }) => state === 'open')).toEqual([]);
    if (isDone) return expect(nth).toBeGreaterThan(3);
  }
});

it('no roll back begins while a rotation is open', async () => {
  for (const strategy of STRATEGIES) {
    const bench = await rotationBench(strategy);
    await bench.rotate();
    bench.target.failures.push({ step: 'create', outcome: { kind: 'refused', means: 'transient', cause: 'made_up' } });
    await bench.rotate();
    expect(await outcomeOf(back(bench)), strategy).toBe('conflict');
  }
});
