// The rows with the sealed sources of requests; only src/audit/sources.ts opens them.
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface SourceRow {
  source_id: string;
  wrapped_key: Uint8Array;
  key_id: string;
  value: Uint8Array;
}

/** The log inserts a row for the event that refers to it; showing that event reads it. */
export class SourceRows {
  readonly #sql: Sql;
  readonly #rows: TableRows<SourceRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('audit_source');
  }

  insert(row: SourceRow): void {
    this.#rows.insert(row);
  }

  /** Undefined when the row is missing or damaged. */
  find(sourceId: string): SourceRow | undefined {
    const [row] = this.#rows.intact(this.#sql.all<SourceRow>(`${this.#rows.select} WHERE source_id = ?`, sourceId));
    return row;
  }
}
