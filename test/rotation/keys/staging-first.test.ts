// R6: an environment marked production runs only rotations whose configuration has completed one elsewhere, unless an owner says why not.
import { describe, expect, it } from 'vitest';
import { rollBack } from '../../../src/vault/change-credential.ts';
import { createEnvironment } from '../../../src/vault/create-environment.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { KeyConfig } from '../../../src/vault/rotation-state.ts';
import { credentialTarget } from '../../../src/vault/targets.ts';
import { outcomeOf } from '../../kit/outcome.ts';
import { type RotationBench, rotationBench, type STRATEGIES } from '../../kit/rotation-bench.ts';
import { eventsOf } from '../../kit/vaults.ts';

/** `db` in staging, and `live` with the same connector in an environment that is production by its mark. */
async function opened(
  production: boolean | undefined = true,
  name = 'live',
  config: KeyConfig = {},
  strategy: (typeof STRATEGIES)[number] = 'overlap',
) {
  const bench = await rotationBench(strategy);
  const { tenant, vault } = bench;
  const admin = () => tenant.user(['admin'], 'everywhere');
  const owner = () => tenant.user(['owner'], 'everywhere');
  if (name !== 'production') await vault.submit((job) => createEnvironment(job, admin(), name, production));
  bench.target.accepted.set('live', new Set(['live-first']));
  const value = { engine: 'postgresql', host: 'db.example', username: 'live', password: 'live-first' };
  const facts = { environment: name, name: 'live', kind: 'database', connector: 'made-up-target', config } as const;
  const rest = { labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} };
  const put = (password: string) =>
    vault.submit((job) => putCredential(job, admin(), { ...facts, ...rest, value: { ...value, password } }));
  await put(value.password);
  const rotate = (by = admin(), request: { reason?: string; skipsStaging?: boolean } = {}) =>
    vault.submit((job) => bench.runs.open(job, by, name, 'live', request)).then((run) => bench.runs.advance(run.credential_id));
  const row = () =>
    vault.lookup('describe', (lookup, view) => {
      const located = credentialTarget(view, lookup, name, 'live').subject;
      if (located === undefined) throw new Error('no credential');
      return located.row;
    });
  return { bench, tenant, rotate, row, owner, admin, put };
}

const alerts = ({ tenant }: RotationBench) =>
  tenant.sql
    .all<{ facts: string }>("SELECT facts FROM alert WHERE kind = 'credential.rotation_failed'")
    .map(({ facts }) => (JSON.parse(facts) as { cause: string }).cause);

describe('a rotation in production', () => {
  it.each([
    ['by its mark', true, 'live'],
    ['by its name', undefined, 'production'],
  ])('is refused until one with its configuration has completed in staging: production %s', async (_how, mark, name) => {
    const { bench, rotate, row } = await opened(mark, name);
    await expect(rotate()).rejects.toMatchObject({ code: 'not_rotatable', extra: { check: 'staging' } });
    expect(bench.rows('rotation')).toEqual([]);
    await bench.rotate();
    await rotate();
    expect(row()).toMatchObject({ current_version: 2 });
  });

  it('is not rehearsed by one that failed', async () => {
    const { bench, rotate } = await opened();
    bench.target.verdict = 'rejected';
    await bench.rotate();
    await bench.finish();
    bench.target.verdict = undefined;
    expect(await outcomeOf(rotate())).toBe('not_rotatable');
  });

  it('is not rehearsed by a roll back in production', async () => {
    const { bench, rotate, row, admin, put } = await opened(true, 'live', {}, 'single_user');
    await put('live-second');
    const back = { environment: 'live', name: 'live', precondition: {}, toVersion: 1, revokesReplaced: false };
    await bench.vault.submit((job) => rollBack(job, admin(), back));
    await bench.runs.advance(row().id);
    expect(row()).toMatchObject({ current_version: 3, previous_version: 2 });
    expect(await outcomeOf(rotate())).toBe('not_rotatable');
  });

  it('is not refused in an environment without the mark', async () => {
    const { rotate, row } = await opened(false);
    await rotate();
    expect(row()).toMatchObject({ current_version: 2 });
  });

  it('runs when an owner overrides that with a reason, with an event; then the configuration counts as tried', async () => {
    const { tenant, rotate, row, owner, admin } = await opened();
    expect(await outcomeOf(rotate(admin(), { skipsStaging: true, reason: 'made up' }))).toBe('forbidden');
    expect(await outcomeOf(rotate(owner(), { skipsStaging: true }))).toBe('invalid_request');
    await rotate(owner(), { skipsStaging: true, reason: 'the key leaked' });
    expect(row()).toMatchObject({ current_version: 2 });
    const told = eventsOf(tenant.sql).filter(({ action }) => action === 'staging.skip');
    expect(told.map(({ outcome }) => outcome)).toEqual(['denied', 'failure', 'success']);
    expect(JSON.stringify(told)).not.toContain('leaked');
    await rotate();
    expect(row()).toMatchObject({ current_version: 3 });
  });

  it('by schedule waits for a person with one alert, and goes on by itself after a rehearsal', async () => {
    const { bench, tenant, row } = await opened(true, 'live', { rotate_every_seconds: 86_400 });
    for (let hour = 0; hour < 60 && bench.rows('rotation').length === 0; hour++) {
      tenant.clock.pass(3_600_001);
      await bench.runs.runDueWork();
    }
    expect(bench.rows('rotation')).toMatchObject([{ state: 'open', step: 'needs_manual', cause: 'not_tried_in_staging' }]);
    tenant.clock.pass(3_600_001);
    await bench.runs.runDueWork();
    expect(alerts(bench)).toEqual(['not_tried_in_staging']);
    expect(row()).toMatchObject({ current_version: 1, pending_version: null });
    await bench.rotate();
    tenant.clock.pass(3_600_001);
    await bench.runs.runDueWork();
    expect(row()).toMatchObject({ current_version: 2 });
  });
});
