// The identity of a database: written once, checked at every open. It must never let one cell's database pass for another's.
import { fail } from '../base/errors.ts';
import type { Sql } from './sql.ts';

export interface CellIdentity {
  readonly kind: 'home' | 'tenant';
  readonly installationId: string;
  readonly cellId: string;
}

interface IdentityRow {
  installation_id: string;
  cell_id: string;
  kind: string;
  incarnation_id: string;
}

/**
 * Returns the id of the incarnation; creates it in a new database. Without `newIncarnation` the database must not be new.
 * @throws rolled_back when it is; integrity when the database belongs to another installation or cell
 */
export function ensureIdentity(
  sql: Sql,
  identity: CellIdentity,
  newIncarnation: (() => string) | undefined,
  nowMs: number,
): string {
  const present = sql.get<IdentityRow>('SELECT installation_id, cell_id, kind, incarnation_id FROM cell WHERE id = 1');
  const { kind, installationId, cellId } = identity;
  if (present !== undefined) {
    if (present.installation_id !== installationId || present.cell_id !== cellId || present.kind !== kind)
      fail('integrity', 'this database belongs to another cell', { evidence: 'cell identity mismatch' });
    return present.incarnation_id;
  }
  if (newIncarnation === undefined) fail('rolled_back', 'the database of this cell is empty: restore it from a copy');
  const incarnation = newIncarnation();
  sql.run(
    'INSERT INTO cell (id, kind, installation_id, cell_id, incarnation_id, created_at) VALUES (1, ?, ?, ?, ?, ?)',
    kind,
    installationId,
    cellId,
    incarnation,
    nowMs,
  );
  return incarnation;
}

/** Gives the database another incarnation than its copies. */
export function changeIncarnation(sql: Sql, incarnationId: string): void {
  sql.run('UPDATE cell SET incarnation_id = ? WHERE id = 1', incarnationId);
}
