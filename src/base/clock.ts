// Time and chance are passed in, so a test can run a year in a second and repeat a failure by its seed (D11).

export interface Clock {
  /** Milliseconds since 1970-01-01T00:00:00Z. */
  now(): number;
}

/** The time that a cell goes by. */
export interface InstallationClock extends Clock {
  /** A cell committed this time: nothing that expired by then lives again. */
  atLeast(committedMs: number): void;
  /** Whether what cannot be undone (destroying, purging) may be done on the word of this clock now. */
  isSteady(): boolean;
  /** From when on it may, as it looks now. */
  steadyFrom(): number;
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
