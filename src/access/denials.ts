// How many refusals become events of their own: beyond that they are counted, and the count becomes one event a minute (DS-13).
// It must never lose one: what was counted is in the log at the latest when the cell closes.
import type { Clock } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import { RateLimit } from './rate-limit.ts';

export interface DenialsOptions {
  readonly clock: Clock;
  readonly later: (delayMs: number, task: () => void) => void;
  /** Writes the one event of `count` refusals; settles when it is durable. */
  readonly write: (count: number) => Promise<unknown>;
}

const EVERYBODY = '*';

/** INVARIANT: every refusal is an event or in the count of one (test/access/denials.test.ts, test/http/hostile-load.test.ts). */
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

  /** True: this refusal is to be written as an event of its own. False: it was counted. `source` is a principal, or where strangers come from. */
  take(source: string): boolean {
    const now = this.#o.clock.now();
    if (this.#bySource.take(source, now).ok && this.#inAll.take(EVERYBODY, now).ok) return true;
    this.count();
    return false;
  }

  /** Counts one that shall not be written by itself. */
  count(): void {
    this.#count += 1;
    if (this.#waiting) return;
    this.#waiting = true;
    this.#o.later(LIMITS.denialSummaryEveryMs, () => {
      this.#waiting = false;
      this.flush();
    });
  }

  /** Writes what was counted so far: every minute, and when the cell closes. */
  flush(): void {
    const count = this.#count;
    if (count === 0) return;
    this.#count = 0;
    this.#o.write(count).catch(() => {
      this.#count += count;
    });
  }
}
