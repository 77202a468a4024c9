// The list of tenants (home cell only): names, states, and the last witnessed checkpoint of each tenant's log.
// It must never return a row that fails its check: the name selects the database, and `demo` decides which proofs a user needs.
import { notFound } from '../base/errors.ts';
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface TenantRow {
  id: string;
  name: string;
  state: string;
  demo: number;
  /** JSON array: the requested environments, kept so that a crash during creation does not lose them. */
  environments: string;
  created_at: number;
  created_by: string;
  /** The last checkpoint note of its log that the home cell received; null where a witness file stores it. */
  witnessed: string | null;
  /** 1: its cell is anchored, so it is never opened without its head and never created again. */
  anchored: number;
}

export type Tenant = Omit<TenantRow, 'witnessed' | 'anchored'>;

const STATE = ['state'] as const;
const WITNESSED = ['witnessed'] as const;
const ANCHORED = ['anchored'] as const;

export class TenantStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<TenantRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('tenant');
  }

  insert(access: WriteAccess, row: Tenant): void {
    access.check();
    this.#rows.insert(row);
  }

  /** By id or by the name of a tenant that is not erased. @throws integrity */
  find(access: Lookup, idOrName: string): TenantRow | undefined {
    access.check();
    const { select } = this.#rows;
    const row =
      this.#sql.get<TenantRow>(`${select} WHERE name = ? AND state <> 'erased'`, idOrName) ??
      this.#sql.get<TenantRow>(`${select} WHERE id = ?`, idOrName);
    return this.#rows.checked(row) ?? this.#rows.absentById(idOrName) ?? this.#rows.absentByName(idOrName);
  }

  setState(access: WriteAccess | Bookkeeping<'provision'>, id: string, state: string): void {
    this.#rows.update({ ...(this.find(access, id) ?? notFound('tenant')), state }, STATE);
  }

  /** A damaged row is left out. */
  list(access: Lookup, afterName: string, maxRows: number): TenantRow[] {
    access.check();
    const query = `${this.#rows.select} WHERE name > ? AND state <> 'erased' ORDER BY name LIMIT ?`;
    return this.#rows.page(maxRows, (last, rows) => this.#sql.all<TenantRow>(query, last?.name ?? afterName, rows));
  }

  /** For the start of a process. A damaged row is left out, so that other tenants still open; `find` then throws for it. */
  inState(access: Lookup, state: string): TenantRow[] {
    access.check();
    return this.#rows.intact(this.#sql.all<TenantRow>(`${this.#rows.select} WHERE state = ? ORDER BY created_at`, state));
  }

  /** Stores the last checkpoint note of a tenant's log. */
  setWitnessed(access: Bookkeeping<'witness'>, id: string, note: string): void {
    this.#rows.update({ ...(this.find(access, id) ?? notFound('tenant')), witnessed: note }, WITNESSED);
  }

  /** Records that the tenant's cell has a head. Idempotent. */
  setAnchored(access: Bookkeeping<'provision' | 'witness'>, id: string): void {
    const row = this.find(access, id) ?? notFound('tenant');
    if (row.anchored === 0) this.#rows.update({ ...row, anchored: 1 }, ANCHORED);
  }
}
