// The delay before the next attempt, the same for every kind of outside call. Pure functions.

export interface BackOff {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** Doubles with each failed attempt up to the bound, minus random jitter of up to half. @param tries failed attempts so far, at least 1 */
export function backOffMs({ baseMs, maxMs }: BackOff, tries: number, fraction: number): number {
  const doubled = baseMs * 2 ** (Math.max(tries, 1) - 1);
  return Math.min(doubled, maxMs) * (0.5 + fraction / 2);
}

/** The next attempt of work that is given up at a deadline: the last attempt is made at the deadline; a passed deadline is ignored. */
export function retryAt(nowMs: number, waitMs: number, giveUpAtMs: number): number {
  return giveUpAtMs > nowMs ? Math.min(nowMs + waitMs, giveUpAtMs) : nowMs + waitMs;
}
