// Time and chance are passed in, so a test can run a year in a second and repeat a failure by its seed (D11).
import { LIMITS } from './limits.ts';

export interface Clock {
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  now(): number;
}

/**
 * The time that a cell goes by, at its latest and at its earliest (decision 0012). `now()` decides what is valid and what is due; it goes
 * back when a clock that jumped ahead is put right before it was proven. What ends for good goes by `provenAt()`.
 */
export interface InstallationClock extends Clock {
  /** The earliest that it can be: a committed time and what the process ran since, or a clock that went steadily. Never goes back. */
  provenAt(): number;
  /** A cell committed this time: nothing that expired by then lives again. */
  atLeast(committedMs: number): void;
  /** Whether what cannot be undone (destroying, purging) may be done on the word of this clock now. */
  isSteady(): boolean;
  /** From when on it may, as it looks now; 0 when it may. */
  steadyFrom(): number;
}

/** An instant that this clock cannot have written: it was ahead, or it has been put back since. */
export function isFromTheFuture(atMs: number, nowMs: number): boolean {
  return atMs > nowMs + LIMITS.clockSkewMs;
}

/**
 * Whether what was issued for a time is valid now.
 * SECURITY: what a clock issued that was ahead would else live longer by as much, once it is put right (test/vault/clock.test.ts).
 */
export function isInForce(issuedAtMs: number, expiresAtMs: number, nowMs: number): boolean {
  return expiresAtMs > nowMs && !isFromTheFuture(issuedAtMs, nowMs);
}

/** What a platform knows of time. */
export interface MachineClock extends Clock {
  /** Milliseconds this process has been running, from any beginning; not moved when somebody sets the clock. */
  ran(): number;
}

export interface Entropy {
  /** Cryptographically random bytes. */
  bytes(count: number): Uint8Array;
  /** A number in [0, 1) for jitter; never for secrets. */
  fraction(): number;
}

/** RFC 3339 in UTC with milliseconds, e.g. `2026-01-02T03:04:05.678Z`. */
export function toTimestamp(atMs: number): string {
  return new Date(atMs).toISOString();
}
