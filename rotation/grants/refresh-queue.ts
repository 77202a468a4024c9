// Takes due refreshes in turns: each provider has its own queue, so that a slow, throttling or crowded one holds up nobody else.
// It must never refresh by itself; what it is given to run does that.
import { LIMITS } from '../../src/base/limits.ts';
import type { DueForRefresh } from '../../src/cell/runs.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { inPool, sumOf } from '../engine/pool.ts';

/** Held: the provider is to be left alone for so long, by the rest of its queue too. */
export type Turn = 'done' | { readonly heldForMs: number };

/** Looked through in one pass; ids only. */
const DUE_MAX_ROWS = 20 * LIMITS.dueWorkBatchRows;
const PASSES_MAX = 4;

/** The due refreshes of one tenant. */
export class DueRefreshes {
  readonly #vault: TenantVault;
  #latestMs = Number.POSITIVE_INFINITY;
  /** Some versions were stored by a clock that was ahead of this one. */
  #putBack = false;

  constructor(vault: TenantVault) {
    this.#vault = vault;
  }

  /** Bounded; answers how many there were. Rejects with the first failure when all had their turn. */
  async run(refresh: (id: string) => Promise<Turn>): Promise<number> {
    const vault = this.#vault;
    let refreshed = await this.#storedAhead(refresh);
    // Each pass looks anew, so that what became due at another provider meanwhile has its turn; the next tick is a second away.
    for (let passes = 0; passes < PASSES_MAX; passes++) {
      const now = vault.platform.clock.now();
      const due = vault.lookup('scheduler', (lookup, { runs }) => runs.dueForRefresh(lookup, now, DUE_MAX_ROWS));
      const done = await inTurns(due, refresh, LIMITS.dueWorkBatchRows);
      refreshed += done;
      if (done < LIMITS.dueWorkBatchRows) break;
    }
    return refreshed;
  }

  /** What the clock was before the first pass nobody knows; afterwards only one that was put back makes every grant worth a look. */
  #storedAhead(refresh: (id: string) => Promise<Turn>): Promise<number> {
    const vault = this.#vault;
    const now = vault.platform.clock.now();
    if (now < this.#latestMs - LIMITS.clockSkewMs) this.#putBack = true;
    this.#latestMs = now;
    if (!this.#putBack) return Promise.resolve(0);
    const until = now + LIMITS.clockSkewMs;
    const ahead = vault.lookup('scheduler', (lookup, { runs }) => runs.storedAfter(lookup, until, DUE_MAX_ROWS));
    this.#putBack = ahead.length > 0;
    return inTurns(ahead, refresh, DUE_MAX_ROWS);
  }
}

/** Resolves with how many were done, at most `maxRows` a provider; rejects with the first failure when all had their turn. */
export async function inTurns(
  due: readonly DueForRefresh[],
  run: (id: string) => Promise<Turn>,
  maxRows: number,
): Promise<number> {
  const queues = [...Map.groupBy(due, ({ provider }) => provider).values()];
  const ends = await Promise.allSettled(
    queues.map((queue) =>
      inPool(queue.slice(0, maxRows), LIMITS.dueWorkConcurrency, async ({ id }) =>
        (await run(id)) === 'done' ? 'done' : 'stop',
      ),
    ),
  );
  return sumOf(ends);
}
