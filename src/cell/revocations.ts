// SQL about revoking grants: which are due, and which live ones belong to the same client. Ids only: whoever works on a credential reads
// its checked row first.
import type { Access } from './access.ts';
import type { Sql } from './sql.ts';

/** Longest due first, whatever became of the credential since. */
export function dueForRevocation(sql: Sql, access: Access, nowMs: number, maxRows: number): string[] {
  access.check();
  const query = 'SELECT id FROM credential WHERE revoke_due_at IS NOT NULL AND revoke_due_at <= ? ORDER BY revoke_due_at LIMIT ?';
  return sql.all<{ id: string }>(query, nowMs, maxRows).map(({ id }) => id);
}

/** Grants that someone may read today, by their client. */
export function liveGrantsOfClient(sql: Sql, access: Access, clientId: string): string[] {
  access.check();
  return sql
    .all<{ id: string }>(
      "SELECT id FROM credential WHERE kind = 'oauth2' AND state = 'active' AND health IN ('ready', 'degraded') " +
        "AND json_extract(config, '$.client_id') = ?",
      clientId,
    )
    .map(({ id }) => id);
}
