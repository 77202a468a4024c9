// Limits how many denials become single events: further ones are counted, and the count becomes one event a minute (DS-13).
// It must never lose a denial: the count is in the log at the latest when the cell closes.
import type { Clock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import { RateLimit } from './rate-limit.ts';

export interface DenialsOptions {
  readonly clock: Clock;
  readonly later: (delayMs: number, task: () => void) => void;
  /** Writes one event for `count` denials; settles when the event is durable. */
  readonly write: (count: number) => Promise<unknown>;
}

const ALL_SOURCES = '*';

/** INVARIANT: every denial is an event or in the count of one (test/access/denials.test.ts, test/http/hostile-load.test.ts). */
export class Denials {
  readonly #o: DenialsOptions;
  readonly #bySource = new RateLimit({
    burst: LIMITS.denialEventsBurst,
    perSecond: LIMITS.denialEventsPerSecond,
    maxKeys: LIMITS.denialSourcesMaxCount,
  });
  readonly #inAll = new RateLimit({
    burst: LIMITS.denialEventsBurstInAll,
    perSecond: LIMITS.denialEventsPerSecondInAll,
    maxKeys: 1,
  });
  #count = 0;
  #waiting = false;

  constructor(options: DenialsOptions) {
    this.#o = options;
  }

  /** True: write this denial as a single event. False: it was counted. `source` is a principal, or an address where none is authenticated. */
  take(source: string): boolean {
    const now = this.#o.clock.now();
    if (this.#bySource.take(source, now).ok && this.#inAll.take(ALL_SOURCES, now).ok) return true;
    this.count();
    return false;
  }

  /** Counts a denial that is not written as a single event. */
  count(): void {
    this.#count += 1;
    if (this.#waiting) return;
    this.#waiting = true;
    this.#o.later(LIMITS.denialSummaryEveryMs, () => {
      this.#waiting = false;
      this.flush();
    });
  }

  /** Writes the count: every minute, and when the cell closes. */
  flush(): void {
    const count = this.#count;
    if (count === 0) return;
    this.#count = 0;
    this.#o.write(count).catch(() => {
      this.#count += count;
    });
  }
}
