// Adds the rows of a cell from an older build to the map, once; each old MAC is checked first. From then on the map decides.
// It must never run for a cell that was anchored before: an attacker who deletes the map could otherwise have tampered rows accepted.
import { fail } from '../base/errors.ts';
import { Frontier } from '../crypto/merkle.ts';
import { checkRowMac } from '../crypto/row-mac.ts';
import type { LogHead } from './anchor.ts';
import type { Keyring } from './keyring.ts';
import type { CellRows, Sealed, TableRows } from './rows.ts';
import type { Sql, SqlValue } from './sql.ts';
import { anchoredTablesOf, type PreparedTable } from './tables.ts';

type AnyRow = Record<string, SqlValue>;

/** How many rows were added to the map, and how many failed their old MAC: those stay outside, so reading them fails. */
export interface AdoptedRows {
  readonly adopted: number;
  readonly refused: number;
}

const columnsOf = (row: AnyRow, names: readonly string[]): SqlValue[] => names.map((name) => row[name] ?? null);

/** The columns that version 1 of the row MAC covered, in order. Frozen. */
const V1: Readonly<Record<string, (row: AnyRow) => SqlValue[]>> = {
  token: (row) => {
    const columns = ['type', 'hash', 'subject_id', 'permissions', 'created_at', 'expires_at', 'revoked_at'];
    return columnsOf(row, row['origin'] === null ? columns : [...columns, 'origin']);
  },
  environment: (row) => columnsOf(row, ['name', 'created_at']),
  credential: (row) => {
    const later = columnsOf(row, ['grant_facts', 'grant_ends_at', 'review_due_at', 'revoke_due_at']);
    const untouched = later[0] === '{}' && later.slice(1).every((value) => value === null);
    return [...columnsOf(row, V1_CREDENTIAL), ...(untouched ? [] : later)];
  },
  workload: (row) =>
    columnsOf(row, [
      'name',
      'environment',
      'patterns',
      'permissions',
      'networks',
      'jwks',
      'revision',
      'expires_at',
      'revoked_at',
    ]),
  connection: (row) => columnsOf(row, V1_CONNECTION),
  webhook: (row) => columnsOf(row, ['url', 'kinds', 'created_at', 'created_by', 'deleted_at']),
  tenant: (row) => columnsOf(row, ['name', 'state', 'demo', 'environments', 'created_at', 'created_by']),
  user: (row) => {
    const grants = JSON.parse(String(row['grants'])) as [string, string][];
    const granted = grants.map(([role, tenant]) => `${role}@${tenant}`).sort();
    return [...columnsOf(row, ['name', 'revision', 'bootstrap', 'offboarded_at']), ...granted];
  },
};

const V1_CREDENTIAL = [
  'environment_id',
  'name',
  'kind',
  'connector',
  'state',
  'health',
  'health_since',
  'health_cause',
  'current_version',
  'previous_version',
  'pending_version',
  'latest_version',
  'revision',
  'description',
  'labels',
  'config',
  'value_expires_at',
  'refresh_due_at',
  'created_at',
  'created_by',
  'updated_at',
  'deleted_at',
  'destroy_after_at',
];

const V1_CONNECTION = [
  'credential_id',
  'state',
  'link_hash',
  'state_hash',
  'browser_hash',
  'attempt',
  'request',
  'cause',
  'created_at',
  'created_by',
  'expires_at',
  'attempt_expires_at',
  'finished_at',
];

const PAGE_ROWS = 1_000;

/** Whether the cell has neither head nor journal nor chunks of a map. */
export function isUnanchored(sql: Sql): boolean {
  return ['anchor_head', 'anchor_journal', 'anchor_chunk'].every(
    (table) => sql.get(`SELECT 1 AS present FROM ${table} LIMIT 1`) === undefined,
  );
}

/** The head of the log as an older build stored it; the head of an empty log if there is none. */
export function formerHead(sql: Sql): LogHead {
  const known = sql.get("SELECT 1 AS present FROM sqlite_master WHERE type = 'table' AND name = 'audit_head'");
  // SECURITY: anchoring a cell drops this table, so a cell without it and without a map had a map, which was deleted.
  if (known === undefined) fail('integrity', 'stored data failed its check', { evidence: 'anchor: the head is missing' });
  const head = sql.get<{ size: number; state_sequence: number; frontier: Uint8Array }>('SELECT * FROM audit_head WHERE id = 1');
  if (head === undefined) return { size: 0, stateSequence: 0, frontier: new Frontier().toBytes() };
  return { size: head.size, stateSequence: head.state_sequence, frontier: head.frontier };
}

/**
 * Adds every row to the map that `anchor.begin` has just begun; inside one transaction with its `flush`.
 * @throws integrity when a row was sealed by a build with a map: the map was deleted
 */
export function adoptRows(rows: CellRows): AdoptedRows {
  let adopted = 0;
  let refused = 0;
  for (const table of anchoredTablesOf(rows.kind)) {
    for (const page of pagesOf(rows.sql, table)) {
      for (const row of page) {
        if (adoptRow(rows, table, row)) adopted += 1;
        else refused += 1;
      }
    }
  }
  rows.sql.run('DROP TABLE audit_head');
  return { adopted, refused };
}

/** Whole rows of a table, `pageRows` at a time, in order of rowid. */
export function* pagesOf(sql: Sql, { table, select }: PreparedTable, pageRows = PAGE_ROWS): Generator<AnyRow[]> {
  const query = `${select.replace('SELECT ', `SELECT ${table}.rowid AS "rowid ", `)} NOT INDEXED WHERE ${table}.rowid > ? ORDER BY ${table}.rowid LIMIT ${pageRows}`;
  let after: SqlValue = Number.MIN_SAFE_INTEGER;
  for (;;) {
    const page: AnyRow[] = sql.all<AnyRow>(query, after);
    if (page.length === 0) return;
    after = page.at(-1)?.['rowid '] ?? null;
    for (const row of page) delete row['rowid '];
    yield page;
  }
}

function adoptRow(rows: CellRows, table: PreparedTable, row: AnyRow): boolean {
  const own = rows.of<AnyRow>(table.table);
  if (table.mac === 'row' && !hasFormerMac(rows.keyring, table, row)) {
    if (isSealedNow(own, row)) fail('integrity', 'stored data failed its check', { evidence: 'anchor: the map was deleted' });
    return false;
  }
  own.adopt(row);
  return true;
}

/** A row that names no key of this cell was sealed by no build. */
function isSealedNow(own: TableRows<AnyRow>, row: AnyRow): boolean {
  try {
    return own.isSealed(row);
  } catch {
    return false;
  }
}

function hasFormerMac(keyring: Keyring, { table, id }: PreparedTable, row: AnyRow): boolean {
  const { mac, mac_key_id } = row as unknown as Sealed;
  try {
    checkRowMac(keyring.macKey(mac_key_id).key, table, String(row[id[0] as string]), V1[table]?.(row) ?? [], mac);
    return true;
  } catch {
    return false;
  }
}
