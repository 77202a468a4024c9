// How long to wait before the next try. Pure arithmetic, the same for every kind of outside call.

export interface BackOff {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** Doubles with every failed try up to the bound, less up to half of it by chance. @param tries failed so far, 1 or more */
export function backOffMs({ baseMs, maxMs }: BackOff, tries: number, fraction: number): number {
  const doubled = baseMs * 2 ** (Math.max(tries, 1) - 1);
  return Math.min(doubled, maxMs) * (0.5 + fraction / 2);
}

/** When to try again what is given up some day: the last try is made on that day, not long after; where it has passed, as if there were none. */
export function retryAt(nowMs: number, waitMs: number, giveUpAtMs: number): number {
  return giveUpAtMs > nowMs ? Math.min(nowMs + waitMs, giveUpAtMs) : nowMs + waitMs;
}
