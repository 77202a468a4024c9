// Who received which version of a credential last, and which settings of rotations were tried before production (R6): all their SQL.
// A damaged row never prevents a read: it is reported, and the next read replaces it.
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface ReaderRow {
  credential_id: string;
  principal_id: string;
  /** The version that it received last. */
  version: number;
  /** When it first received this version. */
  since_at: number;
  /** When it last received it; up to `LIMITS.readerSeenEveryMs` too early. */
  seen_at: number;
}

export interface RehearsalRow {
  /** Digest of the settings (vault/rehearsals.ts). */
  configuration: string;
  credential_id: string;
  run_id: string;
  at: number;
}

export interface ReaderList {
  readonly rows: ReaderRow[];
  /** Rows that failed their check: who they are about is not known. */
  readonly damaged: number;
}

const SEEN = ['version', 'since_at', 'seen_at'] as const;

export class ReaderStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<ReaderRow>;
  readonly #rehearsals: TableRows<RehearsalRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('reader');
    this.#rehearsals = rows.of('rehearsal');
  }

  /** Undefined also for a damaged row. */
  find(access: Lookup, credentialId: string, principalId: string): ReaderRow | undefined {
    access.check();
    const row = this.#stored(credentialId, principalId);
    return row === undefined ? undefined : this.#rows.intact([row])[0];
  }

  #stored(credentialId: string, principalId: string): ReaderRow | undefined {
    return this.#sql.get<ReaderRow>(
      'SELECT * FROM reader WHERE credential_id = ? AND principal_id = ?',
      credentialId,
      principalId,
    );
  }

  /** Inserts the row, or replaces the one of the same reader. */
  save(access: Bookkeeping<'reading'>, row: ReaderRow): void {
    access.check();
    if (this.#stored(row.credential_id, row.principal_id) === undefined) this.#rows.insert(row);
    else this.#rows.update(row, SEEN);
  }

  /** Most recently seen first. */
  list(access: Lookup, credentialId: string, maxRows: number): ReaderList {
    access.check();
    const query = 'SELECT * FROM reader WHERE credential_id = ? ORDER BY principal_id LIMIT ?';
    return this.#listed(this.#sql.all<ReaderRow>(query, credentialId, maxRows));
  }

  /** Those who received this version last and were seen since `sinceMs`, most recently seen first. */
  holding(access: Lookup, credentialId: string, version: number, sinceMs: number, maxRows: number): ReaderList {
    access.check();
    const query = 'SELECT * FROM reader WHERE credential_id = ? AND version = ? AND seen_at >= ? ORDER BY principal_id LIMIT ?';
    return this.#listed(this.#sql.all<ReaderRow>(query, credentialId, version, sinceMs, maxRows));
  }

  #listed(stored: readonly ReaderRow[]): ReaderList {
    const rows = this.#rows.intact(stored).sort((a, b) => b.seen_at - a.seen_at);
    return { rows, damaged: stored.length - rows.length };
  }

  /** Forgets the readers of a destroyed credential. */
  drop(access: WriteAccess, credentialId: string): void {
    access.check();
    this.#rows.destroy(this.#sql.all<ReaderRow>('SELECT * FROM reader WHERE credential_id = ?', credentialId));
  }

  /** @throws integrity */
  findRehearsal(access: Lookup, configuration: string): RehearsalRow | undefined {
    access.check();
    const row = this.#sql.get<RehearsalRow>('SELECT * FROM rehearsal WHERE configuration = ?', configuration);
    return this.#rehearsals.checked(row) ?? this.#rehearsals.absentById(configuration);
  }

  /** Stores the first rehearsal of these settings. */
  insertRehearsal(access: WriteAccess, row: RehearsalRow): void {
    access.check();
    if (this.findRehearsal(access, row.configuration) === undefined) this.#rehearsals.insert(row);
  }
}
