// SQL about revoking grants: which are due, and which live ones belong to the same client. Ids only: whoever works on a credential reads
// its checked row first.
import type { Lookup } from './access.ts';
import { CLIENT, LIVE_GRANT } from './forecasts.ts';
import type { CellRows } from './rows.ts';
import type { Sql } from './sql.ts';

export class RevocationStore {
  readonly #sql: Sql;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
  }

  /** Longest due first, whatever became of the credential since. */
  dueForRevocation(access: Lookup, nowMs: number, maxRows: number): string[] {
    access.check();
    const query =
      'SELECT id FROM credential WHERE revoke_due_at IS NOT NULL AND revoke_due_at <= ? ORDER BY revoke_due_at LIMIT ?';
    return this.#sql.all<{ id: string }>(query, nowMs, maxRows).map(({ id }) => id);
  }

  /** Grants that someone may read today, by their client. */
  liveGrantsOfClient(access: Lookup, clientId: string): string[] {
    access.check();
    return this.#sql
      .all<{ id: string }>(`SELECT id FROM credential WHERE ${LIVE_GRANT} AND ${CLIENT} = ?`, clientId)
      .map(({ id }) => id);
  }
}
