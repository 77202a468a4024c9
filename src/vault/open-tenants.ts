// Which tenants are open in this process: opened when asked for, closed when idle and too many. One owner of each cell at a time.
import { LIMITS } from '../base/limits.ts';

export interface OpenTenant {
  /** Milliseconds when it next has something to do; undefined: nothing waits. */
  nextDueAt(): number | undefined;
  /** Whether it may be closed now. */
  idle(): boolean;
  close(): void;
  runDueWork(): Promise<unknown>;
}

/** The registry and clockwork behind it: `tick` runs what is due, whoever keeps the time. */
export class OpenTenants<T extends OpenTenant> {
  readonly #open = new Map<string, T>();
  readonly #dueAtMs = new Map<string, number>();
  readonly #working = new Set<string>();
  readonly #openTenant: (id: string) => T | undefined;
  #tickedAtMs = 0;

  constructor(openTenant: (id: string) => T | undefined) {
    this.#openTenant = openTenant;
  }

  /** The open tenant, opened if need be; undefined when there is none of this id. */
  get(id: string): T | undefined {
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    const opened = this.#openTenant(id);
    if (opened === undefined) return undefined;
    this.#makeRoom();
    this.#open.set(id, opened);
    this.noteDue(id);
    return opened;
  }

  /** Reads when the tenant is next due; called after every commit that changed it. */
  noteDue(id: string): void {
    const due = this.#open.get(id)?.nextDueAt();
    if (due === undefined) this.#dueAtMs.delete(id);
    else this.#dueAtMs.set(id, due);
  }

  all(): T[] {
    return [...this.#open.values()];
  }

  get size(): number {
    return this.#open.size;
  }

  /** Runs the work of every tenant that is due; a tenant still working is left alone. Settles when all are done. */
  async tick(nowMs: number): Promise<void> {
    // A clock that was put back: what the old one planned may be due now, or a day away for nobody's good.
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
      this.noteDue(id);
    } catch (error) {
      // What failed is still due: a while later, so that a damaged row is neither hammered nor reported every second.
      this.#working.delete(id);
      this.#dueAtMs.set(id, nowMs + LIMITS.refreshCoolDownMs);
      throw error;
    }
  }

  #makeRoom(): void {
    for (const [id, tenant] of this.#open) {
      if (this.#open.size < LIMITS.openTenantsMax) return;
      if (this.#working.has(id) || !tenant.idle()) continue;
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
