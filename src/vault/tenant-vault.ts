// An open tenant, for code outside its jobs: submits work to it and closes it.

import { isBelievable, isFromTheFuture } from '../base/clock.ts';
import { CellHandle } from './cell-handle.ts';
import { closeCell, type Platform } from './open-cell.ts';
import { nextKeyTurnAt } from './rotate-keys.ts';
import { tellDamage } from './tell-damage.ts';
import {
  type KeyRotator,
  type Refresher,
  type TenantIdentity,
  TenantJob,
  type TenantVaultOptions,
  type TenantView,
} from './tenant-job.ts';

export class TenantVault extends CellHandle<TenantView, TenantJob> {
  readonly tenant: TenantIdentity;
  readonly platform: Platform;
  readonly #job: TenantJob;
  readonly #underWay = new Set<Promise<unknown>>();
  /** The newest events were written by a clock that was ahead, so planned times may be too late. */
  #isPlanInDoubt: boolean;

  constructor(options: TenantVaultOptions) {
    const job = new TenantJob(options);
    super(job);
    this.#job = job;
    this.tenant = job.tenant;
    this.platform = job.platform;
    const newestAt = job.door.lookup('scheduler', (lookup) => job.core.events.newestAt(lookup));
    this.#isPlanInDoubt = newestAt !== undefined && isFromTheFuture(newestAt, this.platform.clock.now());
    job.core.damage.tell = (found) => tellDamage(job, found);
  }

  get refresher(): Refresher | undefined {
    return this.#job.refresher;
  }

  /** Set by the composition root. */
  set refresher(refresher: Refresher) {
    this.#job.refresher = refresher;
  }

  get rotator(): KeyRotator | undefined {
    return this.#job.rotator;
  }

  /** Set by the composition root. */
  set rotator(rotator: KeyRotator) {
    this.#job.rotator = rotator;
  }

  /** Keeps the cell open during work at a provider: until it is stored, the provider's answer exists nowhere else. */
  keepOpenFor<T>(work: Promise<T>): Promise<T> {
    const settled = work.finally(() => this.#underWay.delete(settled));
    this.#underWay.add(settled);
    return settled;
  }

  /** Whether no job is queued and no work of `keepOpenFor` is running. */
  get idle(): boolean {
    return this.#underWay.size === 0 && this.#job.core.cell.idle;
  }

  /** Waits for running work of `keepOpenFor`, fulfilled or rejected. */
  async finished(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }

  /** Call when all due work was checked, so that planned times are trusted again. */
  planLookedAt(): void {
    this.#isPlanInDoubt = false;
  }

  /** The time of the earliest due work, or undefined. */
  nextDueAt(): number | undefined {
    if (this.#isPlanInDoubt) return this.platform.clock.now();
    const due = this.lookup('scheduler', (lookup, { runs, platform }) => {
      const steadyFrom = platform.clock.steadyFrom();
      return runs.nextDueAt(lookup, steadyFrom, isBelievable(platform.clock) ? 0 : steadyFrom);
    });
    const earliest = Math.min(due ?? Number.POSITIVE_INFINITY, this.#keysDueAt());
    return Number.isFinite(earliest) ? earliest : undefined;
  }

  /** Whether a key has reached its age. */
  keysAreDue(): boolean {
    return this.#keysDueAt() <= this.platform.clock.now();
  }

  #keysDueAt(): number {
    return nextKeyTurnAt(this.#job.core, this.platform);
  }

  close(): void {
    this.#job.door.close();
    closeCell(this.#job.core);
  }
}
