// Counts the time this process was running, not the time that went by: what waits for a stopped process must not be thrown away by a late timer.
import { LIMITS } from '../../src/base/limits.ts';

/** Calls `task` once after `ms`; the returned function cancels it. */
export type Timer = (ms: number, task: () => void) => () => void;

/** Calls `expire` once after `ms` of running time, unless the returned function is called before. */
export function afterRunningFor(timer: Timer, ms: number, expire: () => void): () => void {
  let leftMs = ms;
  let cancel: () => void;
  const next = () => {
    if (leftMs <= 0) {
      // Whatever lies in a socket already is read first: timers come before input in a turn of the loop.
      cancel = timer(0, expire);
      return;
    }
    const tickMs = Math.min(LIMITS.runningTickMaxMs, leftMs);
    leftMs -= tickMs;
    cancel = timer(tickMs, next);
  };
  next();
  return () => cancel();
}
