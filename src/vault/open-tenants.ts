// The open tenants of this process: opened on first use, closed when idle and above the limit. Each cell has one owner at a time.
import { LIMITS } from '../base/limits.ts';

export interface OpenTenant {
  /** When its next work is due; undefined if nothing waits. */
  nextDueAt(): number | undefined;
  /** Whether it may be closed now. */
  idle(): boolean;
  close(): void;
  runDueWork(): Promise<unknown>;
}

/** Opens, closes and schedules tenants; `tick` runs due work, called by the owner of the timer. */
export class OpenTenants<T extends OpenTenant> {
  readonly #open = new Map<string, T>();
  readonly #dueAtMs = new Map<string, number>();
  /** Ids of tenants whose next due time must be read again. */
  readonly #changed = new Set<string>();
  readonly #working = new Set<string>();
  readonly #openTenant: (id: string) => T | undefined;
  #tickedAtMs = Number.NEGATIVE_INFINITY;

  constructor(openTenant: (id: string) => T | undefined) {
    this.#openTenant = openTenant;
  }

  /** The tenant, opened if it is closed; undefined if no tenant has this id. */
  get(id: string): T | undefined {
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const opened = this.#openTenant(id);
    if (opened === undefined) return undefined;
    this.#makeRoom();
    this.#open.set(id, opened);
    this.#readDue(id);
    return opened;
  }

  /** Marks that the tenant's due work changed. Called after every such commit, so the due time is read only at the next tick. */
  noteDue(id: string): void {
    this.#changed.add(id);
  }

  #readDue(id: string): void {
    const tenant = this.#open.get(id);
    if (tenant === undefined) return;
    this.#changed.delete(id);
    const due = tenant.nextDueAt();
    if (due === undefined) this.#dueAtMs.delete(id);
    else this.#dueAtMs.set(id, due);
  }

  #readChanged(nowMs: number): void {
    for (const id of this.#changed) {
      if (this.#working.has(id)) continue;
      try {
        this.#readDue(id);
      } catch {
        this.#dueAtMs.set(id, nowMs); // its due work meets and reports the same fault; other tenants are not delayed
      }
    }
  }

  /** By how many milliseconds the oldest due work is late; 0 if none is. */
  dueLagMs(nowMs: number): number {
    let oldestAtMs = nowMs;
    for (const at of this.#dueAtMs.values()) oldestAtMs = Math.min(oldestAtMs, at);
    return nowMs - oldestAtMs;
  }

  all(): T[] {
    return [...this.#open.values()];
  }

  get size(): number {
    return this.#open.size;
  }

  /** Runs the due work of every tenant, except of those still working. Settles when all are done. */
  async tick(nowMs: number): Promise<void> {
    this.#readChanged(nowMs);
    // After the clock was set back, planned times may be too late, so every tenant is checked now.
    if (nowMs < this.#tickedAtMs - LIMITS.clockSkewMs) for (const id of this.#open.keys()) this.#dueAtMs.set(id, nowMs);
    this.#tickedAtMs = nowMs;
    const due = [...this.#dueAtMs].filter(([id, at]) => at <= nowMs && !this.#working.has(id)).map(([id]) => id);
    const ends = await Promise.allSettled(due.map((id) => this.#work(id, nowMs)));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  async #work(id: string, nowMs: number): Promise<void> {
    this.#working.add(id);
    try {
      await this.get(id)?.runDueWork();
      this.#working.delete(id);
      this.#readDue(id);
    } catch (error) {
      // Failed work stays due, but only after a pause, so that a damaged row is not read and reported every second.
      this.#working.delete(id);
      this.#changed.delete(id);
      this.#dueAtMs.set(id, nowMs + LIMITS.refreshCoolDownMs);
      throw error;
    }
  }

  #makeRoom(): void {
    for (const [id, tenant] of this.#open) {
      if (this.#open.size < LIMITS.openTenantsMax) return;
      if (this.#working.has(id) || !tenant.idle()) continue;
      if (this.#changed.has(id)) this.#readDue(id);
      this.#open.delete(id);
      tenant.close();
    }
  }

  closeAll(): void {
    for (const tenant of this.#open.values()) tenant.close();
    this.#open.clear();
    this.#dueAtMs.clear();
  }
}
