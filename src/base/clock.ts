// Clock and random source are passed in, so a test can run a year in a second and repeat a failure by its seed (D11).
import { LIMITS } from './limits.ts';

export interface Clock {
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  now(): number;
}

/**
 * The time of a cell, with an upper and a lower bound (decision 0012). `now()` decides what is valid and what is due; it goes back when
 * a clock that jumped ahead is corrected before its time was proven. Irreversible changes use `provenAt()`.
 */
export interface InstallationClock extends Clock {
  /** The lower bound: a committed time plus the running time since, or the time of a clock without jumps. Never goes back. */
  provenAt(): number;
  /** Reports a time that a cell committed: whatever had expired by then stays expired. */
  atLeast(committedMs: number): void;
  /** Whether irreversible work (destroying, purging) may rely on this clock now. */
  isSteady(): boolean;
  /** The expected instant from which it may; 0 when it already may. */
  steadyFrom(): number;
}

/** Whether the clock agrees with what is proven. If not, it jumped or the service was down: nothing irreversible may begin by its time yet. */
export function isBelievable(clock: InstallationClock): boolean {
  return clock.now() - clock.provenAt() <= LIMITS.clockJumpMaxMs;
}

/** Whether an instant is later than this clock can have written it: the clock was ahead then or was set back since. */
export function isFromTheFuture(atMs: number, nowMs: number): boolean {
  return atMs > nowMs + LIMITS.clockSkewMs;
}

/**
 * Whether an object with a lifetime, such as a token, is valid now.
 * SECURITY: without the check of `issuedAtMs`, a token issued by a clock that was ahead lives longer by that difference once the clock is
 * corrected (test/vault/clock.test.ts).
 */
export function isInForce(issuedAtMs: number, expiresAtMs: number, nowMs: number): boolean {
  return expiresAtMs > nowMs && !isFromTheFuture(issuedAtMs, nowMs);
}

/** The clocks of a platform. */
export interface MachineClock extends Clock {
  /** A monotonic clock: milliseconds this process has been running, from an arbitrary origin; setting the wall clock does not move it. */
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
