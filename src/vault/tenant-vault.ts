// One tenant, open, as whoever is outside its jobs has it: work is submitted to it, and it is closed.

import { isFromTheFuture } from '../base/clock.ts';
import { CellHandle } from './cell-handle.ts';
import { closeCell, type Platform } from './open-cell.ts';
import { tellDamage } from './tell-damage.ts';
import { type Refresher, type TenantIdentity, TenantJob, type TenantVaultOptions, type TenantView } from './tenant-job.ts';

export class TenantVault extends CellHandle<TenantView, TenantJob> {
  readonly tenant: TenantIdentity;
  readonly platform: Platform;
  readonly #job: TenantJob;
  readonly #underWay = new Set<Promise<unknown>>();
  /** The newest events are of a clock that was ahead: what it planned may be due now. */
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

  /** Plugged in by the composition root. */
  set refresher(refresher: Refresher) {
    this.#job.refresher = refresher;
  }

  /** Work at a provider whose answer exists nowhere else until it is stored: while it lasts, the cell stays open. */
  keepOpenFor<T>(work: Promise<T>): Promise<T> {
    const settled = work.finally(() => this.#underWay.delete(settled));
    this.#underWay.add(settled);
    return settled;
  }

  /** Nothing is queued, and nothing that `keepOpenFor` was told of is under way. */
  get idle(): boolean {
    return this.#underWay.size === 0 && this.#job.core.cell.idle;
  }

  /** Waits for what is under way, however it ends. */
  async finished(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }

  /** Due work is looked through now, whatever the plan says. */
  planLookedAt(): void {
    this.#isPlanInDoubt = false;
  }

  /** Milliseconds of the earliest due work, or undefined. */
  nextDueAt(): number | undefined {
    if (this.#isPlanInDoubt) return this.platform.clock.now();
    return this.lookup('scheduler', (lookup, { runs, platform }) => runs.nextDueAt(lookup, platform.clock.steadyFrom()));
  }

  close(): void {
    this.#job.door.close();
    closeCell(this.#job.core);
  }
}
