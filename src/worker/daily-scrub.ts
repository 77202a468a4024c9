// The scrub of one Durable Object: once a day, by its alarm, because an object sleeps between requests. The time of the last scrub is stored
// without a MAC: a change can only cause or delay a scrub, and only the platform can make it.
import type { DurableObjectStorage } from '@cloudflare/workers-types';
import { LIMITS } from '../base/limits.ts';

const KEY = 'scrubbed_at';

export class DailyScrub {
  readonly #storage: Pick<DurableObjectStorage, 'kv'>;
  readonly #cell: { scrub(): Generator<number> };
  readonly #now: () => number;

  constructor(storage: Pick<DurableObjectStorage, 'kv'>, cell: { scrub(): Generator<number> }, now: () => number) {
    this.#storage = storage;
    this.#cell = cell;
    this.#now = now;
  }

  /** When the next scrub is due, in milliseconds; for a new object one day after the first call. */
  dueAt(): number {
    const now = this.#now();
    const scrubbedAt = this.#storage.kv.get<number>(KEY) ?? Number.POSITIVE_INFINITY;
    if (scrubbedAt > now) this.#storage.kv.put(KEY, now);
    return Math.min(scrubbedAt, now) + LIMITS.scrubEverySleepingMs;
  }

  /** Requests run between two slices. */
  async runIfDue(): Promise<void> {
    if (this.dueAt() > this.#now()) return;
    for (const _ of this.#cell.scrub()) await new Promise((resume) => setTimeout(resume, 0));
    this.#storage.kv.put(KEY, this.#now());
  }
}
