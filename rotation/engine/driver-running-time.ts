// Counts the time this process was running, not the time that went by: what waits for a stopped process must not be thrown away by a late timer.

/** Bounds how much one stop of the process may count. */
const TICK_MAX_MS = 1_000;

/** Calls `expire` once after `ms` of running time, unless the returned function is called before. */
export function afterRunningFor(ms: number, expire: () => void): () => void {
  let leftMs = ms;
  let timer: ReturnType<typeof setTimeout>;
  const next = () => {
    if (leftMs <= 0) {
      // Whatever lies in a socket already is read first: timers come before input in a turn of the loop.
      timer = setTimeout(expire, 0);
      return;
    }
    const tickMs = Math.min(TICK_MAX_MS, leftMs);
    leftMs -= tickMs;
    timer = setTimeout(next, tickMs);
  };
  next();
  return () => clearTimeout(timer);
}
