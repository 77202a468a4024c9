import { describe, expect, it } from 'vitest';
import { DueRefreshes, inTurns, type Turn } from '../../../rotation/grants/refresh-queue.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { DueForRefresh } from '../../../src/cell/runs.ts';
import type { TenantVault } from '../../../src/vault/tenant-vault.ts';
import { START_MS, TestClock } from '../../kit/vaults.ts';

const BATCH = LIMITS.dueWorkBatchRows;
const grants = (provider: string, count: number): DueForRefresh[] =>
  Array.from({ length: count }, (_, i) => ({ id: `${provider}-${i}`, provider }));

describe('a turn through what is due', () => {
  it('takes so many of each provider and leaves the rest', async () => {
    const seen: string[] = [];
    const run = async (id: string): Promise<Turn> => {
      seen.push(id);
      return 'done';
    };
    expect(await inTurns([...grants('a', 4), ...grants('b', 2)], run, 3)).toBe(5);
    expect(seen.sort()).toEqual(['a-0', 'a-1', 'a-2', 'b-0', 'b-1']);
  });

  it('leaves a provider alone that holds one back, and no other', async () => {
    const due = [...grants('a', 3 * LIMITS.dueWorkConcurrency), ...grants('b', 2 * LIMITS.dueWorkConcurrency)];
    const seen: string[] = [];
    const run = async (id: string): Promise<Turn> => {
      seen.push(id);
      await new Promise((resume) => setImmediate(resume));
      return id.startsWith('a') ? { heldForMs: 1_000 } : 'done';
    };
    expect(await inTurns(due, run, BATCH)).toBe(2 * LIMITS.dueWorkConcurrency);
    expect(seen.filter((id) => id.startsWith('a'))).toHaveLength(LIMITS.dueWorkConcurrency);
  });

  it('gives all their turn before it tells of one that failed', async () => {
    const seen: string[] = [];
    const run = async (id: string): Promise<Turn> => {
      seen.push(id);
      if (id === 'a-0') throw new Error('damaged');
      return 'done';
    };
    await expect(inTurns([...grants('a', 2), ...grants('b', 2)], run, BATCH)).rejects.toThrow('damaged');
    expect(seen).toHaveLength(4);
  });
});

/** A tenant with so many due in each pass, and with grants that a clock ahead of this one stored. */
function scene(passes: number[], ahead: readonly DueForRefresh[][] = []) {
  const clock = new TestClock();
  const asked: { readonly pass: string; readonly atMs: number }[] = [];
  const leftAhead = [...ahead];
  const runs = {
    dueForRefresh: (_: unknown, atMs: number) => {
      asked.push({ pass: 'due', atMs });
      return grants('a', passes.shift() ?? 0);
    },
    storedAfter: (_: unknown, atMs: number) => {
      asked.push({ pass: 'ahead', atMs });
      return leftAhead.shift() ?? [];
    },
  };
  const lookup = (_: string, use: (lookup: unknown, view: unknown) => unknown) => use({}, { runs });
  const due = new DueRefreshes({ lookup, platform: { clock } } as unknown as TenantVault);
  const run = async () => {
    asked.length = 0;
    return due.run(async () => 'done');
  };
  return { clock, asked, run, looks: () => asked.filter(({ pass }) => pass === 'ahead').length };
}

describe('the due refreshes of a tenant', () => {
  it.each([
    ['one pass where it did not fill a batch', [BATCH - 1], BATCH - 1, 1],
    ['one pass more where it did, for what came due meanwhile', [BATCH, 1], BATCH + 1, 2],
    ['four passes at most', [BATCH, BATCH, BATCH, BATCH, BATCH], 4 * BATCH, 4],
    ['one pass where nothing is due', [], 0, 1],
  ])('take %s', async (_, passes, refreshed, times) => {
    const { run, asked } = scene([...passes]);
    expect(await run()).toBe(refreshed);
    expect(asked.filter(({ pass }) => pass === 'due')).toHaveLength(times);
  });

  it('look at the first pass for what a clock ahead of this one stored, and again until none is left', async () => {
    const { run, asked, looks } = scene([], [grants('a', 2), grants('a', 1), []]);
    expect(await run()).toBe(2);
    expect(asked[0]).toEqual({ pass: 'ahead', atMs: START_MS + LIMITS.clockSkewMs });
    expect([await run(), looks()]).toEqual([1, 1]);
    expect([await run(), looks()]).toEqual([0, 1]);
    expect([await run(), looks()]).toEqual([0, 0]);
  });

  it('look again when the clock was put back by more than clocks differ', async () => {
    const { run, clock, looks } = scene([]);
    await run();
    clock.pass(1_000);
    expect([await run(), looks()]).toEqual([0, 0]);
    clock.pass(-LIMITS.clockSkewMs);
    expect([await run(), looks()]).toEqual([0, 0]);
    clock.pass(-LIMITS.clockSkewMs - 1);
    expect([await run(), looks()]).toEqual([0, 1]);
    expect([await run(), looks()]).toEqual([0, 0]);
  });
});
