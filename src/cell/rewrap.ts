// Moving sealed rows from retired key versions to the active one. Only the wrap of the data key changes; values are not opened.
import { rewrapDataKey } from '../crypto/data-key.ts';
import type { Purpose } from '../crypto/envelope.ts';
import type { Keyring } from './keyring.ts';
import { eachIntact } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

/** A table with `key_id` and `wrapped_key`, and how to name the sealed object of a row. */
export interface RewrapTable {
  readonly table: string;
  readonly purposes: readonly Purpose[];
  readonly columns: string;
  readonly field: string;
  objectId(row: Record<string, SqlValue>): string;
  version(row: Record<string, SqlValue>): number;
  /** Finds the row again. */
  readonly where: string;
  keyOf(row: Record<string, SqlValue>): SqlValue[];
}

export const REWRAP_TABLES: readonly RewrapTable[] = [
  {
    table: 'credential_version',
    purposes: ['oauth_token', 'api_key'],
    columns: 'credential_id, version',
    field: 'credential_version',
    objectId: (row) => String(row['credential_id']),
    version: (row) => Number(row['version']),
    where: 'credential_id = ? AND version = ?',
    keyOf: (row) => [row['credential_id'] ?? null, row['version'] ?? null],
  },
  {
    table: 'idempotency',
    purposes: ['api_key'],
    columns: 'principal_id, idempotency_key',
    field: 'idempotency.value',
    objectId: (row) => `${row['principal_id']}/${row['idempotency_key']}`,
    version: () => 0,
    where: 'principal_id = ? AND idempotency_key = ?',
    keyOf: (row) => [row['principal_id'] ?? null, row['idempotency_key'] ?? null],
  },
  {
    table: 'audit_source',
    purposes: ['audit_pii'],
    columns: 'source_id',
    field: 'audit_source.value',
    objectId: () => 'source',
    version: () => 0,
    where: 'source_id = ?',
    keyOf: (row) => [row['source_id'] ?? null],
  },
];

const MAC_TABLES = ['credential', 'environment', 'workload', 'token', 'connection', 'webhook', 'user', 'tenant'];

function present(sql: Sql, table: string): boolean {
  return sql.get("SELECT 1 AS present FROM sqlite_master WHERE type = 'table' AND name = ?", table) !== undefined;
}

/** Rows under any key of the purpose but the active one, or under exactly `keyId`. */
export function countStale(sql: Sql, purpose: Purpose, keyring: Keyring, keyId?: string): number {
  const active = keyring.current(purpose).id;
  const stale =
    keyId === undefined
      ? keyring
          .rows()
          .filter((row) => row.purpose === purpose && row.key_id !== active)
          .map((row) => row.key_id)
      : [keyId];
  const [tables, column] =
    purpose === 'metadata_mac'
      ? [MAC_TABLES, 'mac_key_id']
      : [REWRAP_TABLES.filter((table) => table.purposes.includes(purpose)).map((table) => table.table), 'key_id'];
  let count = 0;
  for (const table of tables) {
    if (!present(sql, table)) continue;
    for (const id of stale) count += Number(sql.get(`SELECT count(*) AS n FROM ${table} WHERE ${column} = ?`, id)?.['n'] ?? 0);
  }
  return count;
}

/** Rewraps up to `maxRows` rows of one table; a damaged one stays under its key. Call inside a transaction. */
export function rewrapRows(sql: Sql, table: RewrapTable, purpose: Purpose, keyring: Keyring, maxRows: number): number {
  if (!table.purposes.includes(purpose) || !present(sql, table.table)) return 0;
  const active = keyring.current(purpose);
  const stale = keyring.rows().filter((row) => row.purpose === purpose && row.state === 'decrypt_only');
  let moved = 0;
  for (const { key_id } of stale) {
    if (moved >= maxRows) break;
    const rows = sql.all(
      `SELECT ${table.columns}, wrapped_key FROM ${table.table} WHERE key_id = ? LIMIT ?`,
      key_id,
      maxRows - moved,
    );
    moved += eachIntact(rows, (row) => {
      const context = keyring.context(purpose, table.field, table.objectId(row), table.version(row));
      const wrapped = rewrapDataKey(keyring.byId(purpose, key_id), active, context, row['wrapped_key'] as Uint8Array);
      keyring.countWrap(purpose);
      sql.run(
        `UPDATE ${table.table} SET wrapped_key = ?, key_id = ? WHERE ${table.where}`,
        wrapped,
        active.id,
        ...table.keyOf(row),
      );
    });
  }
  return moved;
}
