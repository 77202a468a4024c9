// Timers in running time of the process: an answer that arrived while the process was suspended must not be lost to a timeout.
import { LIMITS } from '../../src/base/limits.ts';

/** Calls `task` once after `ms`; the returned function cancels it. */
export type Timer = (ms: number, task: () => void) => () => void;

/** Calls `expire` once after `ms` of running time, unless the returned function is called before. */
export function afterRunningFor(timer: Timer, ms: number, expire: () => void): () => void {
  let leftMs = ms;
  let cancel: () => void;
  const next = () => {
    if (leftMs <= 0) {
      // Received input is handled first: in a turn of the event loop timers run before input.
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
