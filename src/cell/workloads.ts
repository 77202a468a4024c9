// Workloads: programs that fetch credentials, each bound to one environment, name patterns, networks and an expiry (D9).
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface WorkloadRow {
  id: string;
  name: string;
  /** Name of the environment; a workload has exactly one (R6). */
  environment: string;
  /** JSON array of name patterns, `*` matches any run of characters. */
  patterns: string;
  /** JSON array of WORKLOAD_PERMISSIONS keys. */
  permissions: string;
  /** JSON array of CIDR blocks; empty means any. */
  networks: string;
  /** JSON Web Key Set for private_key_jwt, or null. */
  jwks: string | null;
  revision: number;
  created_at: number;
  created_by: string;
  expires_at: number;
  revoked_at: number | null;
  last_used_at: number | null;
  mac: Uint8Array;
  mac_key_id: string;
}

export type Workload = Omit<WorkloadRow, 'mac' | 'mac_key_id' | 'last_used_at'>;

interface AssertionRow {
  jti_hash: Uint8Array;
  expires_at: number;
}

const REVOKED = ['revoked_at', 'revision'] as const;
const PURGE_ROWS = 5_000;

export class WorkloadStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<WorkloadRow>;
  readonly #assertions: TableRows<AssertionRow>;

  #whenChanged: () => void = () => {};

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('workload');
    this.#assertions = rows.of('assertion_seen');
  }

  /** SECURITY: `listener` must empty caches of workloads; it is called when any use case changes a workload. One listener. */
  whenChanged(listener: () => void): void {
    this.#whenChanged = listener;
  }

  insert(access: WriteAccess, row: Workload): void {
    access.check();
    this.#rows.insert(row);
  }

  /** By id or by the name of a workload that is not revoked. @throws integrity */
  find(access: Lookup, idOrName: string): WorkloadRow | undefined {
    access.check();
    const { select } = this.#rows;
    const row =
      this.#sql.get<WorkloadRow>(`${select} WHERE id = ?`, idOrName) ??
      this.#sql.get<WorkloadRow>(`${select} WHERE name = ? AND revoked_at IS NULL`, idOrName);
    return this.#rows.checked(row) ?? this.#rows.absentById(idOrName) ?? this.#rows.absentByName(idOrName);
  }

  /** Ids of all workloads with this name, including revoked ones; unchecked, for searches in the log. */
  idsNamed(access: Lookup, name: string): string[] {
    access.check();
    return this.#sql.all<{ id: string }>('SELECT id FROM workload WHERE name = ?', name).map(({ id }) => id);
  }

  /** Names by id, including those of revoked workloads. A damaged row is left out. */
  names(access: Lookup, ids: readonly string[]): [id: string, name: string][] {
    return this.byIds(access, ids).map(({ id, name }) => [id, name]);
  }

  /** Including revoked workloads. A damaged row is left out. */
  byIds(access: Lookup, ids: readonly string[]): WorkloadRow[] {
    access.check();
    // One look-up each: SQLite would plan a list of ids as a scan.
    const query = `${this.#rows.select} WHERE id = ?`;
    const rows = ids.flatMap((id) => this.#sql.all<WorkloadRow>(query, id));
    return this.#rows.intact(rows);
  }

  /** A damaged row is left out. */
  list(access: Lookup, afterName: string, maxRows: number): WorkloadRow[] {
    access.check();
    const [name = '', id = ''] = afterName.split('\n');
    const query = `${this.#rows.select} WHERE (name, id) > (?, ?) ORDER BY name, id LIMIT ?`;
    return this.#rows.page(maxRows, (last, rows) => this.#sql.all<WorkloadRow>(query, last?.name ?? name, last?.id ?? id, rows));
  }

  revoke(access: WriteAccess, row: WorkloadRow, nowMs: number): WorkloadRow {
    access.check();
    const next = { ...row, revoked_at: nowMs, revision: row.revision + 1 };
    this.#rows.update(next, REVOKED);
    this.#whenChanged();
    return next;
  }

  markUsed(access: Bookkeeping<'authentication'>, id: string, nowMs: number): void {
    access.check();
    this.#sql.run('UPDATE workload SET last_used_at = ? WHERE id = ?', nowMs, id);
  }

  /** Marks a client assertion as used (RFC 7523 section 3, jti). False when it was used before. */
  claimAssertion(access: Bookkeeping<'authentication'>, jtiHash: Uint8Array, expiresAtMs: number): boolean {
    access.check();
    const seen = this.#sql.get('SELECT 1 AS seen FROM assertion_seen WHERE jti_hash = ?', jtiHash);
    if (seen !== undefined) return false;
    this.#assertions.absentById(jtiHash);
    this.#assertions.insert({ jti_hash: jtiHash, expires_at: expiresAtMs });
    return true;
  }

  purgeAssertions(access: Bookkeeping<'purge'>, beforeMs: number): void {
    access.check();
    const query = `${this.#assertions.select} WHERE expires_at < ? LIMIT ?`;
    this.#assertions.remove(this.#sql.all<AssertionRow>(query, beforeMs, PURGE_ROWS));
  }
}
