// Rotations at a target that the test controls: what readers get at every moment, and what is left at the end.
import { afterEach, describe, expect, it } from 'vitest';
import type { StoredValue } from '../../../rotation/connector.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { type RotationBench, rotationBench, STRATEGIES } from '../../kit/rotation-bench.ts';

let bench: RotationBench | undefined;
afterEach(() => bench?.close());

async function begin(strategy: (typeof STRATEGIES)[number]): Promise<RotationBench> {
  bench = await rotationBench(strategy);
  return bench;
}

const steps = (b: RotationBench, run: string) =>
  b.tenant.sql
    .all('SELECT step, status FROM run_step WHERE run_id = ? ORDER BY sequence', run)
    .map(({ step, status }) => `${step}:${status}`);

describe.each(STRATEGIES)('a rotation with the strategy %s', (strategy) => {
  it('replaces the value, proves that the old one is dead, and can be repeated', async () => {
    const b = await begin(strategy);
    for (const round of [1, 2, 3]) {
      const old = await b.read();
      await b.rotate();
      const fresh = await b.read();
      expect(fresh).not.toEqual(old);
      expect(b.target.works(fresh)).toBe(true);
      const overlaps = strategy === 'overlap' || strategy === 'alternating_users';
      expect(b.target.works(old)).toBe(overlaps);
      await b.finish();
      expect(b.target.works(old)).toBe(false);
      expect(b.target.works(await b.read())).toBe(true);
      expect(b.rows('rotation').map(({ state, outcome }) => [state, outcome])).toEqual(
        Array(round).fill(['succeeded', 'rotated']),
      );
      expect(b.rows('revocation').map(({ outcome, cause }) => [outcome, cause])).toEqual(
        Array(round).fill(['revoked', 'proved_dead']),
      );
    }
  });

  it('gives readers a working value after a crash at any point, and ends well', async () => {
    const b = await begin(strategy);
    await b.rotate();
    await b.finish();
    b.killAt(undefined);
    await b.rotate();
    await b.finish();
    const points = b.passed.length;
    expect(points).toBeGreaterThan(5);
    b.close();
    for (let nth = 1; nth <= points; nth++) {
      const one = await begin(strategy);
      one.killAt(nth);
      const before = await one.read();
      await one.rotate();
      await one.finish(2);
      one.restart();
      const during = await one.read();
      expect(one.target.works(during), `killed at point ${nth}`).toBe(true);
      await one.finish();
      expect(one.target.works(await one.read())).toBe(true);
      const accepted = [...one.target.accepted.values()].reduce((sum, passwords) => sum + passwords.size, 0);
      expect(accepted, `values that work after the crash at point ${nth}`).toBe(1);
      expect(one.target.works(before)).toBe(false);
      one.close();
    }
    bench = undefined;
  });

  it('never promotes a value that the target refuses or cannot judge', async () => {
    const b = await begin(strategy);
    b.target.verdict = 'unknown';
    await b.rotate();
    expect(b.rows('rotation')[0]?.state).toBe('open');
    expect(b.tenant.sql.get("SELECT current_version AS v FROM credential WHERE name = 'db'")).toEqual({ v: 1 });
    b.target.verdict = undefined;
    await b.finish();
    expect(b.target.works(await b.read())).toBe(true);
  });

  it('keeps the lost answer of a call apart from a refusal', async () => {
    const b = await begin(strategy);
    const step = strategy === 'overlap' || strategy === 'in_place' ? 'create' : 'set';
    b.target.failures.push({ step, outcome: { kind: 'lost', cause: 'timeout' }, applied: true });
    await b.rotate();
    await b.finish();
    expect(b.target.works(await b.read())).toBe(true);
    expect([...b.target.accepted.values()].reduce((sum, passwords) => sum + passwords.size, 0)).toBe(1);
  });

  it('waits for a person after a refusal that only a person can remove, with one alert, and the current value is served', async () => {
    const b = await begin(strategy);
    const step = strategy === 'overlap' || strategy === 'in_place' ? 'create' : 'set';
    const refused = { kind: 'refused', means: 'configuration', cause: 'no_permission' } as const;
    for (let times = 0; times < 3; times++) b.target.failures.push({ step, outcome: refused });
    await b.rotate();
    expect(await b.read()).toMatchObject({ password: 'first' });
    const run = b.rows('rotation')[0];
    expect(run).toMatchObject({ state: 'open', step: 'needs_manual', cause: 'no_permission', outcome: 'configuration' });
    await b.rotate();
    await b.rotate();
    const alerts = b.tenant.sql.all('SELECT kind, facts FROM alert').filter(({ kind }) => kind === 'credential.rotation_failed');
    expect(alerts.length).toBe(1);
    expect(JSON.parse(String(alerts[0]?.['facts']))).toMatchObject({ cause: 'no_permission', run: run?.id, name: 'db' });
    await b.rotate();
    expect(b.rows('rotation')[0]).toMatchObject({ state: 'succeeded', outcome: 'rotated' });
    expect(steps(b, run?.id ?? '').filter((one) => one === 'needs_manual:no_permission').length).toBe(3);
  });
});

it('a key that was being made when somebody put another value is ended with the settings it was made with (D14)', async () => {
  const b = await begin('overlap');
  b.target.meanwhile = async () => {
    b.target.meanwhile = undefined;
    b.target.accepted.get('app')?.add('put meanwhile');
    await b.vault.submit((job) =>
      putCredential(job, b.tenant.user(['admin'], 'everywhere'), {
        environment: 'staging',
        name: 'db',
        kind: 'database',
        value: { engine: 'postgresql', host: 'db.example', username: 'app', password: 'put meanwhile' },
        connector: 'made-up-target',
        config: { sandbox: 'http://127.0.0.1:9' },
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
  };
  await b.rotate();
  await b.finish();
  expect(await b.read()).toMatchObject({ password: 'put meanwhile' });
  expect([...(b.target.accepted.get('app') ?? [])].toSorted()).toEqual(['first', 'put meanwhile']);
  expect([...b.target.endedInSandbox]).toEqual([['made-up-1', false]]);
});

describe('a replaced value that somebody puts again', () => {
  const put = (b: RotationBench, value: StoredValue) =>
    b.vault.submit((job) =>
      putCredential(job, b.tenant.user(['admin'], 'everywhere'), {
        environment: 'staging',
        name: 'db',
        kind: 'database',
        value: { engine: 'postgresql', host: 'db.example', ...value } as never,
        connector: 'made-up-target',
        config: {},
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
  const ends = (b: RotationBench) => b.rows('revocation').map(({ generation, outcome, cause }) => [generation, outcome, cause]);

  it.each(['overlap', 'alternating_users'] as const)('is not ended with the strategy %s', async (strategy) => {
    const b = await begin(strategy);
    await b.rotate();
    await put(b, { password: 'first', username: 'app' });
    await b.finish();
    expect(b.target.works(await b.read())).toBe(true);
    expect(ends(b)).toEqual([[1, 'superseded', 'in_use']]);
  });

  it('is not ended when it was pending', async () => {
    const b = await begin('overlap');
    b.target.verdict = 'unknown';
    await b.rotate();
    b.target.verdict = undefined;
    await put(b, { username: 'app', password: 'made-up-1' });
    await b.finish();
    expect(await b.read()).toMatchObject({ password: 'made-up-1' });
    expect(b.target.works(await b.read())).toBe(true);
    expect(ends(b)).toEqual([[2, 'superseded', 'in_use']]);
  });
});
