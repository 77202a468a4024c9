// A database of one cell with its map, without a vault around it: for tests of what lies below.
import { adoptRows } from '../../src/cell/adopt-rows.ts';
import { Anchor } from '../../src/cell/anchor.ts';
import type { Keyring } from '../../src/cell/keyring.ts';
import { CellRows } from '../../src/cell/rows.ts';
import type { CellKind } from '../../src/cell/schema-step.ts';
import type { Row, Sql } from '../../src/cell/sql.ts';
import { Frontier } from '../../src/crypto/merkle.ts';

export const EMPTY_LOG = { size: 0, stateSequence: 0, frontier: new Frontier().toBytes() };

/** Begins the map of a database that has none, and binds the keyring to it. */
export function anchored(kind: CellKind, sql: Sql, keyring: Keyring): CellRows {
  const anchor = new Anchor(sql, keyring);
  const rows = new CellRows(kind, sql, keyring, anchor);
  sql.transaction(() => {
    anchor.begin('inc_test', EMPTY_LOG);
    adoptRows(rows);
    anchor.flush(EMPTY_LOG);
  });
  anchor.afterCommit();
  keyring.bind(rows.of('tenant_key'));
  return rows;
}

/** Changes rows as the service would: sealed, and in the map. */
export function changeRows(rows: CellRows, table: string, where: string, change: (row: Row) => Row): void {
  const own = rows.of<Row>(table);
  for (const row of rows.sql.all<Row>(`${own.select} WHERE ${where}`)) own.update({ ...row, ...change(row) });
}
