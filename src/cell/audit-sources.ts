// Rows that say where requests came from, sealed: what is in them is opened by src/audit/sources.ts alone.
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface SourceRow {
  source_id: string;
  wrapped_key: Uint8Array;
  key_id: string;
  value: Uint8Array;
}

/** Where requests came from, sealed. Written by the log for the event that names it, and read to show that event. */
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

  /** Undefined when it is gone or damaged. */
  find(sourceId: string): SourceRow | undefined {
    const [row] = this.#rows.intact(this.#sql.all<SourceRow>(`${this.#rows.select} WHERE source_id = ?`, sourceId));
    return row;
  }
}
