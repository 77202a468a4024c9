// Moves rows from retired key versions to the active one: the wraps of data keys, and the MACs of rows and of the map. It must never open a
// value.
import { rewrapDataKey } from '../crypto/data-key.ts';
import type { Purpose } from '../crypto/envelope.ts';
import { pagesOf } from './adopt-rows.ts';
import { type CellRows, eachIntact } from './rows.ts';
import type { SqlValue } from './sql.ts';
import { anchoredTablesOf, tableOf } from './tables.ts';

type AnyRow = Record<string, SqlValue>;

/** A table with `key_id` and `wrapped_key`, and the context in which its rows are sealed. */
interface RewrapTable {
  readonly table: string;
  readonly purposes: readonly Purpose[];
  readonly field: string;
  objectId(row: AnyRow): string;
  version(row: AnyRow): number;
}

const REWRAP_TABLES: readonly RewrapTable[] = [
  {
    table: 'credential_version',
    purposes: ['oauth_token', 'api_key'],
    field: 'credential_version',
    objectId: (row) => String(row['credential_id']),
    version: (row) => Number(row['version']),
  },
  {
    table: 'idempotency',
    purposes: ['api_key'],
    field: 'idempotency.value',
    objectId: (row) => `${row['principal_id']}/${row['idempotency_key']}`,
    version: () => 0,
  },
  {
    table: 'audit_source',
    purposes: ['audit_pii'],
    field: 'audit_source.value',
    objectId: () => 'source',
    version: () => 0,
  },
];

const REWRAPPED = ['wrapped_key', 'key_id'] as const;

/** The tables of this cell whose rows are sealed under keys of this purpose. */
function rewrapTablesOf({ kind }: CellRows, purpose: Purpose): RewrapTable[] {
  return REWRAP_TABLES.filter((one) => one.purposes.includes(purpose) && tableOf(one.table).cells.includes(kind));
}

/** Number of rows under keys of the purpose other than the active one, or under `keyId` only. */
export function countStale(rows: CellRows, purpose: Purpose, keyId?: string): number {
  const { sql, keyring } = rows;
  const active = keyring.current(purpose).id;
  const others = keyring.rows().filter((row) => row.purpose === purpose && row.key_id !== active);
  const stale = keyId === undefined ? others.map((row) => row.key_id) : [keyId];
  const { tables, column } = keyedTables(rows, purpose);
  let count = purpose === 'metadata_mac' ? rows.anchor.countUnder(keyId) : 0;
  for (const { table } of tables) {
    for (const id of stale) count += Number(sql.get(`SELECT count(*) AS n FROM ${table} WHERE ${column} = ?`, id)?.['n']);
  }
  return count;
}

/**
 * Reads all rows of the tables whose rows may be under the key, without indexes, a thousand per step, and yields for each step whether a row
 * is under the key. A damaged row counts, because its key is unknown.
 */
export function* usesOf(rows: CellRows, keyId: string): Generator<boolean, void> {
  const purpose = rows.keyring.rows().find((row) => row.key_id === keyId)?.purpose as Purpose | undefined;
  if (purpose === undefined) return;
  const { tables, column } = keyedTables(rows, purpose);
  for (const { table } of tables) {
    const own = rows.of<AnyRow>(table);
    for (const page of pagesOf(rows.sql, tableOf(table)))
      yield page.some((row) => row[column] === keyId || own.damageOf(row) !== undefined);
  }
}

/** The tables whose rows are under keys of this purpose, and the column with the key's id. */
function keyedTables(rows: CellRows, purpose: Purpose): { tables: readonly { table: string }[]; column: string } {
  if (purpose !== 'metadata_mac') return { tables: rewrapTablesOf(rows, purpose), column: 'key_id' };
  return { tables: anchoredTablesOf(rows.kind).filter(({ mac }) => mac === 'row'), column: 'mac_key_id' };
}

/** Rewraps up to `maxRows` rows, except damaged ones; returns how many. Call inside a transaction. */
export function rewrapRows(rows: CellRows, purpose: Purpose, maxRows: number): number {
  let moved = 0;
  for (const table of rewrapTablesOf(rows, purpose)) moved += rewrapTable(rows, table, purpose, maxRows - moved);
  return moved;
}

function rewrapTable(rows: CellRows, table: RewrapTable, purpose: Purpose, maxRows: number): number {
  const { sql, keyring } = rows;
  const own = rows.of<AnyRow>(table.table);
  const active = keyring.current(purpose);
  const stale = keyring.rows().filter((row) => row.purpose === purpose && row.state === 'decrypt_only');
  let moved = 0;
  for (const { key_id } of stale) {
    const batch = sql.all<AnyRow>(`${own.select} WHERE key_id = ? LIMIT ?`, key_id, maxRows - moved);
    moved += eachIntact(own.intact(batch), (row) => {
      const context = keyring.context(purpose, table.field, table.objectId(row), table.version(row));
      const wrapped = rewrapDataKey(keyring.byId(purpose, key_id), active, context, row['wrapped_key'] as Uint8Array);
      keyring.countWrap(purpose);
      own.update({ ...row, wrapped_key: wrapped, key_id: active.id }, REWRAPPED);
    });
  }
  return moved;
}

/** Computes the MACs of up to `maxRows` rows and chunks under the active key, except damaged ones. Call inside a transaction. */
export function resealRows(rows: CellRows, maxRows: number): number {
  let moved = 0;
  for (const { table } of anchoredTablesOf(rows.kind)) moved += rows.of(table).reseal(maxRows - moved);
  if (moved < maxRows) moved += rows.anchor.reseal(maxRows - moved);
  return moved;
}
