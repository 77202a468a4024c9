// The scrub in service of one object: once a day, by its alarm, since an object sleeps between requests. When it was last done is kept
// beside the cell, unsealed: who can change that can only cause or delay a scrub, and the platform alone can.
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

  /** Milliseconds; a new object is due a day after it was first asked. */
  dueAt(): number {
    const now = this.#now();
    const scrubbedAt = this.#storage.kv.get<number>(KEY) ?? Number.POSITIVE_INFINITY;
    if (scrubbedAt > now) this.#storage.kv.put(KEY, now);
    return Math.min(scrubbedAt, now) + LIMITS.scrubEverySleepingMs;
  }

  /** Others run between two slices. */
  async runIfDue(): Promise<void> {
    if (this.dueAt() > this.#now()) return;
    for (const _ of this.#cell.scrub()) await new Promise((resume) => setTimeout(resume, 0));
    this.#storage.kv.put(KEY, this.#now());
  }
}
