// A database of one cell with its map, without a vault around it: for tests of what lies below.
import type { Entropy } from '../../src/base/clock.ts';
import { newId } from '../../src/base/ids.ts';
import { adoptRows } from '../../src/cell/adopt-rows.ts';
import { Anchor } from '../../src/cell/anchor.ts';
import { Keyring } from '../../src/cell/keyring.ts';
import { migrate } from '../../src/cell/migrations.ts';
import { CellRows, type Damage } from '../../src/cell/rows.ts';
import type { CellKind } from '../../src/cell/schema-step.ts';
import type { Row, Sql, SqlValue } from '../../src/cell/sql.ts';
import { Frontier } from '../../src/crypto/merkle.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { START_MS, TestClock, testEntropy } from './vaults.ts';

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

const ROOT = RootKeys.of(RootKey.of(Uint8Array.from({ length: 32 }, (_, i) => i + 1)));
const ERASURE_KEY = newErasureKey();
const IDENTITY = { installationId: newId('installation', testEntropy), cellId: newId('tenant', testEntropy) };

export interface CellBench {
  readonly sql: Sql;
  readonly keyring: Keyring;
  readonly rows: CellRows;
  /** What the rows reported. */
  readonly damages: [table: string, id: string | undefined, damage: Damage][];
  /** Changes rows in one committed batch. */
  batch<T>(work: () => T): T;
  /** Reads the database again, as after a restart. */
  reopen(): CellRows;
}

/** A new database of one cell with keys and a map. Its tables take rows without the objects that they refer to. */
export function cellBench(kind: CellKind, entropy: Entropy = testEntropy): CellBench {
  const sql = openNodeSql(':memory:');
  migrate(sql, kind, START_MS);
  sql.script('PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;');
  const keysOf = () => new Keyring(sql, ROOT, ERASURE_KEY, IDENTITY).load();
  const keyring = keysOf();
  keyring.createMissing(new TestClock(), entropy);
  const rows = anchored(kind, sql, keyring);
  const damages: CellBench['damages'] = [];
  rows.onDamage = (...damage) => damages.push(damage);
  const batch = <T>(work: () => T): T => {
    const done = sql.transaction(() => {
      const result = work();
      rows.anchor.flush(EMPTY_LOG);
      return result;
    });
    rows.anchor.afterCommit();
    return done;
  };
  const reopen = () => {
    const again = keysOf();
    const anchor = new Anchor(sql, again);
    anchor.open();
    const opened = new CellRows(kind, sql, again, anchor);
    again.bind(opened.of('tenant_key'));
    return opened;
  };
  return { sql, keyring, rows, damages, batch, reopen };
}

/** A made-up row of a table with every column, like no other row of the table with another number. */
export function madeUp(sql: Sql, table: string, n: number): Row {
  const columns = sql.all<{ name: string; type: string }>(`SELECT name, type FROM pragma_table_info('${table}')`);
  const value = (name: string, type: string, i: number): SqlValue => {
    if (type === 'INTEGER') return 100 * n + i;
    if (type === 'BLOB') return Uint8Array.from({ length: 24 }, (_, at) => (at < 4 ? n >> (8 * at) : i) & 255);
    return i === 0 ? `row_${table}${n}` : `${name}-${n}`;
  };
  return Object.fromEntries(columns.map(({ name, type }, i) => [name, value(name, type, i)]));
}
