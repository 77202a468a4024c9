// Distributes due refreshes over one queue per provider, so that a slow, throttling or busy provider does not delay others.
// It must never refresh itself; the given function does.
import { LIMITS } from '../../src/base/limits.ts';
import type { DueForRefresh } from '../../src/cell/runs.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { inQueues } from '../engine/pool.ts';

/** The provider is held for this time, for the rest of its queue, too. */
export type Turn = 'done' | { readonly heldForMs: number };

/** Rows of one pass; ids only. */
const DUE_MAX_ROWS = 20 * LIMITS.dueWorkBatchRows;
const PASSES_MAX = 4;

/** The due refreshes of one tenant. */
export class DueRefreshes {
  readonly #vault: TenantVault;
  #latestMs = Number.POSITIVE_INFINITY;
  /** Whether a clock ahead of this one stored some versions. */
  #putBack = false;

  constructor(vault: TenantVault) {
    this.#vault = vault;
  }

  /** Bounded; returns how many were processed. Rejects with the first failure after all were processed. */
  async run(refresh: (id: string) => Promise<Turn>): Promise<number> {
    const vault = this.#vault;
    let refreshed = await this.#storedAhead(refresh);
    // Each pass queries again, for refreshes of other providers that became due meanwhile; the next tick is a second away.
    for (let passes = 0; passes < PASSES_MAX; passes++) {
      const now = vault.platform.clock.now();
      const due = vault.lookup('scheduler', (lookup, { runs }) => runs.dueForRefresh(lookup, now, DUE_MAX_ROWS));
      const done = await inTurns(due, refresh, LIMITS.dueWorkBatchRows);
      refreshed += done;
      if (done < LIMITS.dueWorkBatchRows) break;
    }
    return refreshed;
  }

  /** Before the first pass the earlier clock is unknown; afterwards all grants are checked only if the clock was set back. */
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

/** Resolves with how many were done, at most `maxRows` per provider; rejects with the first failure after all were processed. */
export async function inTurns(
  due: readonly DueForRefresh[],
  run: (id: string) => Promise<Turn>,
  maxRows: number,
): Promise<number> {
  const perQueue = { width: LIMITS.dueWorkConcurrency, maxItems: maxRows };
  return inQueues(due, perQueue, async ({ id }) => ((await run(id)) === 'done' ? 'done' : 'stop'));
}
