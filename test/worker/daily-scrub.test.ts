import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { DailyScrub } from '../../src/worker/daily-scrub.ts';

const DAY_MS = LIMITS.scrubEverySleepingMs;

function scene(start = 1_000) {
  const kept = new Map<string, unknown>();
  const kv = { get: (key: string) => kept.get(key), put: (key: string, value: unknown) => void kept.set(key, value) };
  let now = start;
  let scrubs = 0;
  const cell = {
    *scrub() {
      yield 1;
      yield 1;
      scrubs += 1;
    },
  };
  const set = (ms: number) => {
    now = ms;
  };
  const wake = () => new DailyScrub({ kv } as never, cell, () => now);
  return { wake, kept, scrubs: () => scrubs, set };
}

describe('the daily scrub of an object', () => {
  it('is due a day after the object was made, and a day after each scrub, across its sleeps', async () => {
    const { wake, scrubs, set } = scene();
    expect(wake().dueAt()).toBe(1_000 + DAY_MS);
    set(999 + DAY_MS);
    await wake().runIfDue();
    expect(scrubs()).toBe(0);
    set(1_000 + DAY_MS);
    await wake().runIfDue();
    expect([scrubs(), wake().dueAt()]).toEqual([1, 1_000 + 2 * DAY_MS]);
    await wake().runIfDue();
    expect(scrubs()).toBe(1);
  });

  it('is not put off by an instant of the future', () => {
    const { wake, kept } = scene();
    kept.set('scrubbed_at', 9e15);
    expect(wake().dueAt()).toBe(1_000 + DAY_MS);
    expect(kept.get('scrubbed_at')).toBe(1_000);
  });

  it('is due again where it failed', async () => {
    const { wake, set } = scene();
    wake().dueAt();
    set(1_000 + DAY_MS);
    const failing = new DailyScrub(
      { kv: { get: () => 1_000, put: () => expect.unreachable('it did not end') } } as never,
      {
        // biome-ignore lint/correctness/useYield: it fails before its first slice
        *scrub() {
          throw new Error('a cell that cannot be read');
        },
      },
      () => 1_000 + DAY_MS,
    );
    await expect(failing.runIfDue()).rejects.toThrow();
    expect(failing.dueAt()).toBe(1_000 + DAY_MS);
  });
});
