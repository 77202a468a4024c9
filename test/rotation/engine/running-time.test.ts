import { describe, expect, it } from 'vitest';
import { afterRunningFor } from '../../../rotation/engine/running-time.ts';
import { LIMITS } from '../../../src/base/limits.ts';

const TICK_MS = LIMITS.runningTickMaxMs;

/** Timers that fire when the test says so. */
function scene(ms: number) {
  const asked: number[] = [];
  let pending: (() => void) | undefined;
  let expired = 0;
  const timer = (afterMs: number, task: () => void) => {
    asked.push(afterMs);
    pending = task;
    return () => {
      pending = undefined;
    };
  };
  const cancel = afterRunningFor(timer, ms, () => {
    expired += 1;
  });
  const fire = () => {
    const task = pending;
    pending = undefined;
    task?.();
  };
  return { asked, fire, cancel, expired: () => expired, isPending: () => pending !== undefined };
}

describe('a bound on running time', () => {
  it('is counted in short timers, so that a stopped process loses one of them and not the whole', () => {
    const { asked, fire, expired, isPending } = scene(2 * TICK_MS + 500);
    for (let turn = 0; turn < 3; turn++) {
      expect(expired()).toBe(0);
      fire();
    }
    // What lies in a socket is read first: a last timer of no length at all.
    expect(asked).toEqual([TICK_MS, TICK_MS, 500, 0]);
    expect(expired()).toBe(0);
    fire();
    expect([expired(), isPending()]).toEqual([1, false]);
  });

  it('of exactly one short timer needs no second one', () => {
    const { asked, fire, expired } = scene(TICK_MS);
    fire();
    fire();
    expect([asked, expired()]).toEqual([[TICK_MS, 0], 1]);
  });

  it('counts the last millisecond, too', () => {
    const { asked, fire } = scene(TICK_MS + 1);
    for (let turn = 0; turn < 3; turn++) fire();
    expect(asked).toEqual([TICK_MS, 1, 0]);
  });

  it('can be called off at any moment', () => {
    for (const fired of [0, 1, 2]) {
      const { fire, cancel, expired, isPending } = scene(1.5 * TICK_MS);
      for (let turn = 0; turn < fired; turn++) fire();
      cancel();
      expect([isPending(), expired()]).toEqual([false, 0]);
    }
  });
});
