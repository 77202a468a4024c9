// The health of a Node process: storage, witness, scheduler, clock, tenants.
// It must never probe the disk more than once a second, however many callers ask.
import type { Witness } from '../audit/audit-log.ts';
import type { ErrorCode } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { SteadyClock } from '../base/steady-clock.ts';
import type { HealthReport } from '../http/health.ts';
import type { HomeVault } from '../vault/home-vault.ts';

type Troubles = NonNullable<HealthReport['tenants']>;

interface Watched {
  readonly home: HomeVault;
  readonly tenants: {
    readonly size: number;
    troubles(): Troubles;
    /** Tests whether tenants that could not store data can store it now. */
    probeFailing(): Promise<void>;
  };
  readonly witness: WatchedWitness;
  readonly clock: Pick<SteadyClock, 'state'>;
  /** Some cell recorded in this run that what it keeps failed its check. */
  readonly isDamaged: () => boolean;
}

export class NodeHealth {
  readonly #watched: Watched;
  #tickedAtMs = performance.now();
  #probing: Promise<void> | undefined;
  #probedAtMs = Number.NEGATIVE_INFINITY;

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  /** Records a run of the scheduler. */
  ticked(): void {
    this.#tickedAtMs = performance.now();
  }

  get sinceTickMs(): number {
    return performance.now() - this.#tickedAtMs;
  }

  async report(): Promise<HealthReport> {
    const { home, tenants, witness, clock, isDamaged } = this.#watched;
    await this.#probe();
    const troubles = tenants.troubles();
    return {
      storage: home.failure?.code ?? storageFailure(troubles, tenants.size),
      witnessFails: witness.fails,
      schedulerStopped: this.sinceTickMs > LIMITS.schedulerStoppedMs,
      clock: clock.state(),
      isDamaged: isDamaged(),
      tenants: troubles,
    };
  }

  /** Writes to the disk, because its state may have changed since the last write. */
  #probe(): Promise<void> {
    const due = performance.now() - this.#probedAtMs > LIMITS.storageProbeEveryMs;
    if (this.#probing === undefined && due) {
      this.#probedAtMs = performance.now();
      const { home, tenants } = this.#watched;
      // A rejected probe is ignored: the cell records its failure.
      this.#probing = Promise.allSettled([home.probe(), tenants.probeFailing()]).then(() => {
        this.#probing = undefined;
      });
    }
    return this.#probing ?? Promise.resolve();
  }
}

/** Cells share a disk: if half of the open tenants cannot store data, the disk has failed, even if the home cell could still write. */
function storageFailure(troubles: Troubles, open: number): ErrorCode | undefined {
  const failing = troubles.filter(({ code }) => code === 'storage_full' || code === 'storage_unavailable');
  return failing.length > 0 && failing.length * 2 >= open ? failing[0]?.code : undefined;
}

/** A witness that records its failures. */
export interface WatchedWitness extends Witness {
  latest(cellId: string): string | undefined;
  /** True if the last head of a cell could not be written. */
  readonly fails: boolean;
  /** Milliseconds since the last head was written; undefined before the first. */
  readonly sinceWrittenMs: number | undefined;
}

/** @param make creates the witness; it calls `onFailure` for each head that it could not write */
export function watchedWitness(
  make: (onFailure: (cellId: string) => void) => Witness & { latest(cellId: string): string | undefined },
): WatchedWitness {
  const failing = new Set<string>();
  let writtenAtMs: number | undefined;
  const witness = make((cellId) => void failing.add(cellId));
  return {
    publish(cellId, note, urgent) {
      failing.delete(cellId);
      const kept = witness.publish(cellId, note, urgent);
      if (!failing.has(cellId)) writtenAtMs = performance.now();
      return kept;
    },
    latest: (cellId) => witness.latest(cellId),
    get fails() {
      return failing.size > 0;
    },
    get sinceWrittenMs() {
      return writtenAtMs === undefined ? undefined : performance.now() - writtenAtMs;
    },
  };
}
