// Checks everything in a cell: every row against its MAC and the map, the map against the rows, the chunks, the log's tree, the pages.
// It must never change anything, nor stop at the first finding.
import { LIMITS } from '../base/limits.ts';
import { Frontier, leafHashOfText } from '../crypto/merkle.ts';
import { equalBytes, HASH_BYTES } from '../crypto/primitives.ts';
import { pagesOf } from './adopt-rows.ts';
import type { CellRows, Damage, OnDamage, TableRows } from './rows.ts';
import { isOwnSchema } from './schema-check.ts';
import type { Sql } from './sql.ts';
import { ANCHORED_TABLES, anchoredTablesOf, OTHER_TABLES, type PreparedTable } from './tables.ts';

/** The result for one part of a cell. */
export interface ScrubPart {
  /** A table, or `tables`, `map`, `log`, `pages`. */
  readonly part: string;
  readonly looked: number;
  readonly failed: number;
  /** The difference between the number of rows in the map and in the table. */
  readonly missing: number;
  /** Descriptions of failures; at most ten. */
  readonly findings: readonly string[];
}

const BLOCKS_AT_ONCE = 200;
const decoder = new TextDecoder('utf-8', { fatal: true });

class Findings {
  readonly list: string[] = [];
  failed = 0;

  add(text: string): void {
    this.failed += 1;
    if (this.list.length < LIMITS.scrubFindingsMax) this.list.push(text);
  }
}

/**
 * Yields the result of each part when it is done, and undefined after each slice of a few milliseconds, so that other requests can run.
 * Finds all damage from before its start; legitimate changes of rows meanwhile are not findings.
 */
export function* scrub(rows: CellRows): Generator<ScrubPart | undefined> {
  for (const table of anchoredTablesOf(rows.kind)) yield* scrubTable(rows, table);
  yield scrubSchema(rows);
  const { chunks, failed } = rows.anchor.checkChunks();
  yield part('map', chunks, failed, 0, failed === 0 ? [] : [`${failed} chunks failed their check`]);
  yield* scrubLog(rows, BLOCKS_AT_ONCE);
  yield scrubPages(rows.sql);
}

/**
 * Checks the rows, their counts, the schema and the log of a cell in service, in slices of about a millisecond; after each slice, yields the
 * number of rows or blocks checked. Calls `onDamage` for each finding; a different count is a `missing` row without an id.
 * Only `scrub` checks the pages and the stored chunks of the map: both take time in proportion to the size of the cell.
 */
export function* scrubInService(rows: CellRows, onDamage: OnDamage): Generator<number> {
  for (const table of anchoredTablesOf(rows.kind)) {
    const own = rows.of<Record<string, unknown>>(table.table);
    for (const page of pagesOf(rows.sql, table, LIMITS.scrubSliceRows)) {
      for (const row of page) {
        const damage = damageIn(own, row);
        if (damage !== undefined) onDamage(table.table, own.idInEvents(row), damage === 'unnamed' ? 'stale' : damage);
      }
      yield page.length;
    }
    yield* scrubIndexes(rows.sql, table.table, onDamage);
    if (own.count !== rowsIn(rows.sql, table.table)) onDamage(table.table, undefined, 'missing');
    yield 0;
  }
  if (!isOwnSchema(rows.sql, rows.kind)) onDamage('sqlite_schema', undefined, 'unknown');
  yield* scrubLogInService(rows, onDamage);
}

/**
 * Checks, in slices, that every row is in each index that covers it: a list or a query for due work does not detect a deleted index entry.
 * Further entries in an index are not a fault: the rows they point to are read and checked.
 */
function* scrubIndexes(sql: Sql, table: string, onDamage: OnDamage): Generator<number> {
  for (const query of indexQueries(sql, table)) {
    let from: number | null = Number.MIN_SAFE_INTEGER;
    while (from !== null) {
      // An aggregate has one row always.
      const slice = sql.get<IndexSlice>(query, from, LIMITS.scrubSliceRows) as IndexSlice;
      if (slice.missing > 0) return onDamage(table, undefined, 'missing');
      yield 0;
      from = slice.next === null ? null : slice.next + 1;
    }
  }
}

interface IndexSlice {
  readonly missing: number;
  /** The last rowid of the slice; null after the last row. */
  readonly next: number | null;
}

/** For each index of the schema, a query for the next rows by rowid: how many are missing in the index, and the last rowid. */
function indexQueries(sql: Sql, table: string): string[] {
  const indexes = sql.all<{ name: string; sql: string }>(
    "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
    table,
  );
  return indexes.map(({ name, sql: text }) => {
    const [, parts = '', condition = '1'] = /\bON \w+ ?\((.*?)\)(?:\s+WHERE\b(.*))?$/s.exec(text) ?? [];
    const keys = parts.split(/,(?![^(]*\))/).map((key) => key.replace(/\s+(?:ASC|DESC)\s*$/i, ''));
    const named = keys.map((key, i) => `${key} AS k${i}`).join(', ');
    const same = keys.map((key, i) => `${key} IS some.k${i}`).join(' AND ');
    const entry = `SELECT 1 FROM ${table} AS entry INDEXED BY ${name} WHERE (${condition}) AND ${same} AND entry.rowid = some.at`;
    const page = `SELECT rowid AS at, (${condition}) AS belongs, ${named} FROM ${table} NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT ?`;
    return `SELECT count(*) FILTER (WHERE belongs AND NOT EXISTS (${entry})) AS missing, max(at) AS next FROM (${page}) AS some`;
  });
}

function* scrubLogInService(rows: CellRows, onDamage: OnDamage): Generator<number> {
  for (const slice of scrubLog(rows, LIMITS.scrubSliceBlocks)) {
    if (slice === undefined) yield LIMITS.scrubSliceBlocks;
    else if (slice.failed > 0) onDamage('audit_block', undefined, 'changed');
  }
}

type AnyRow = Record<string, unknown>;

function damageIn(own: TableRows<AnyRow>, row: AnyRow): Damage | 'unnamed' | undefined {
  return own.damageOf(row) ?? (own.isNamed(row) ? undefined : 'unnamed');
}

function rowsIn(sql: Sql, table: string): number {
  return Number(sql.get(`SELECT count(*) AS n FROM ${table}`)?.['n']);
}

function* scrubTable(rows: CellRows, table: PreparedTable): Generator<ScrubPart | undefined> {
  const own = rows.of<AnyRow>(table.table);
  const found = new Findings();
  let looked = 0;
  for (const page of pagesOf(rows.sql, table)) {
    looked += page.length;
    for (const row of page) {
      const damage = damageIn(own, row);
      if (damage !== undefined) found.add(`${own.label(row)}: ${damage}`);
    }
    yield undefined;
  }
  // Both counts without a yield between them, so that no change comes between.
  const present = rowsIn(rows.sql, table.table);
  const missing = Math.abs(own.count - present);
  if (missing > 0) found.list.push(`the map has ${own.count} rows, the table ${present}`);
  yield part(table.table, looked, found.failed, missing, found.list);
}

/** Finds tables that are not declared (of a newer build, or forged), and checks everything else against the schema steps. */
function scrubSchema({ sql, kind }: CellRows): ScrubPart {
  const declared = new Set([...ANCHORED_TABLES, ...OTHER_TABLES].map(({ table }) => table));
  const names = sql.all<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table'").map(({ name }) => name);
  const unknown = names.filter((name) => !declared.has(name) && !/^(sqlite|_cf)_/.test(name));
  if (unknown.length === 0 && !isOwnSchema(sql, kind))
    unknown.push('a table, an index, a trigger or a view differs from the schema steps');
  return part('tables', names.length, unknown.length, 0, unknown.slice(0, LIMITS.scrubFindingsMax));
}

interface Block {
  first_index: number;
  events: number;
  bytes: Uint8Array;
  leaves: Uint8Array;
}

/** Checks that the stored events give the tree of the head, and that each block's count and leaf hashes match its events. */
function* scrubLog(rows: CellRows, blocksAtOnce: number): Generator<ScrubPart | undefined> {
  const { size, frontier: head } = rows.anchor.log;
  const tree = new Frontier();
  const found = new Findings();
  let next = 0;
  for (;;) {
    const query =
      'SELECT first_index, events, bytes, leaves FROM audit_block WHERE first_index >= ? AND first_index < ? ORDER BY first_index LIMIT ?';
    const blocks = rows.sql.all<Block>(query, next, size, blocksAtOnce);
    if (blocks.length === 0) break;
    for (const block of blocks) {
      if (block.first_index !== tree.size) found.add(`events ${tree.size} to ${block.first_index - 1} are missing`);
      const fault = appendBlock(tree, block);
      if (fault !== undefined) found.add(`the block of event ${block.first_index} ${fault}`);
      next = block.first_index + 1;
    }
    yield undefined;
  }
  if (!equalBytes(tree.toBytes(), head)) found.add('the stored events do not give the tree of the head');
  yield part('log', tree.size, found.failed, Math.abs(size - tree.size), found.list);
}

/** Appends the events of a block; returns its fault as the predicate of a sentence. */
function appendBlock(tree: Frontier, { events, bytes, leaves }: Block): string | undefined {
  const lines = textOf(bytes)?.split('\n').slice(0, -1);
  if (lines === undefined) return 'is not UTF-8 text';
  let isStated = leaves.byteLength === lines.length * HASH_BYTES;
  lines.forEach((line, i) => {
    const leaf = leafHashOfText(line);
    tree.append(leaf);
    isStated &&= equalBytes(leaf, leaves.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
  });
  if (!isStated) return 'has an event that differs from the logged one';
  return events === lines.length ? undefined : 'states another number of events than it has';
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** SQLite's own check: of its pages, and that each index has an entry for each row. */
function scrubPages(sql: Sql): ScrubPart {
  const said = sql.all('PRAGMA integrity_check(10)').map((row) => String(Object.values(row)[0]));
  const failed = said.filter((line) => line !== 'ok');
  return part('pages', 1, failed.length, 0, failed);
}

function part(name: string, looked: number, failed: number, missing: number, findings: readonly string[]): ScrubPart {
  return { part: name, looked, failed, missing, findings };
}
