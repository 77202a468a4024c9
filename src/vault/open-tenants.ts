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
  /** What they are next due at is to be read again. */
  readonly #changed = new Set<string>();
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
    this.#readDue(id);
    return opened;
  }

  /** The tenant's due work changed: called after every commit that did, so it only makes a note for the next tick. */
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
        this.#dueAtMs.set(id, nowMs); // its due work meets the same fault, reports it, and holds up no other tenant
      }
    }
  }

  /** Milliseconds by which the oldest due work is late; 0 when none is. */
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

  /** Runs the work of every tenant that is due; a tenant still working is left alone. Settles when all are done. */
  async tick(nowMs: number): Promise<void> {
    this.#readChanged(nowMs);
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
      this.#readDue(id);
    } catch (error) {
      // What failed is still due: a while later, so that a damaged row is neither hammered nor reported every second.
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
    this.#changed.clear();
  }
}
