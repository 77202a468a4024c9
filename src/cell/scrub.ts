// Looking at everything in a cell, whether anybody asks for it or not: every row against its MAC and the map, the map against the rows, the
// chunks, the log's tree, the pages. It must never change anything, nor stop at the first thing it finds.
import { LIMITS } from '../base/limits.ts';
import { Frontier, leafHashOfText } from '../crypto/merkle.ts';
import { equalBytes, HASH_BYTES } from '../crypto/primitives.ts';
import { pagesOf } from './adopt-rows.ts';
import type { CellRows, Damage } from './rows.ts';
import type { Sql } from './sql.ts';
import { ANCHORED_TABLES, anchoredTablesOf, OTHER_TABLES } from './tables.ts';

/** One kind of thing that was looked at. */
export interface ScrubPart {
  /** A table, or `tables`, `map`, `log`, `pages`. */
  readonly part: string;
  readonly looked: number;
  readonly failed: number;
  /** How many the map promises and the table does not have, or the other way round. */
  readonly missing: number;
  /** What failed, in words; at most ten. */
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
 * Yields a part whenever one is done, and undefined after each slice of a few milliseconds, so that others may have their turn: nothing that
 * was changed before it began stays unseen. Rows that others change meanwhile are no finding.
 */
export function* scrub(rows: CellRows): Generator<ScrubPart | undefined> {
  for (const { table } of anchoredTablesOf(rows.kind)) yield* scrubTable(rows, table);
  yield scrubNames(rows.sql);
  const { chunks, failed } = rows.anchor.checkChunks();
  yield part('map', chunks, failed, 0, failed === 0 ? [] : [`${failed} chunks failed their check`]);
  yield* scrubLog(rows);
  yield scrubPages(rows.sql);
}

function* scrubTable(rows: CellRows, table: string): Generator<ScrubPart | undefined> {
  const own = rows.of<Record<string, unknown>>(table);
  const found = new Findings();
  let looked = 0;
  const prepared = anchoredTablesOf(rows.kind).find((one) => one.table === table);
  if (prepared === undefined) return;
  for (const page of pagesOf(rows.sql, prepared)) {
    looked += page.length;
    for (const row of page) {
      const damage: Damage | 'unnamed' | undefined = own.damageOf(row) ?? (own.isNamed(row) ? undefined : 'unnamed');
      if (damage !== undefined) found.add(`${own.label(row)}: ${damage}`);
    }
    yield undefined;
  }
  // Both counts in one step, so that nothing changes between them.
  const present = Number(rows.sql.get(`SELECT count(*) AS n FROM ${table}`)?.['n'] ?? 0);
  const missing = Math.abs(own.count - present);
  if (missing > 0) found.list.push(`the map has ${own.count} rows, the table ${present}`);
  yield part(table, looked, found.failed, missing, found.list);
}

/** Tables that nobody declared: of a newer build, or put in. The runtime's own begin with `sqlite_` or `_cf_`. */
function scrubNames(sql: Sql): ScrubPart {
  const declared = new Set([...ANCHORED_TABLES, ...OTHER_TABLES].map(({ table }) => table));
  const names = sql.all<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table'").map(({ name }) => name);
  const unknown = names.filter((name) => !declared.has(name) && !/^(sqlite|_cf)_/.test(name));
  return part('tables', names.length, unknown.length, 0, unknown.slice(0, LIMITS.scrubFindingsMax));
}

interface Block {
  first_index: number;
  events: number;
  bytes: Uint8Array;
  leaves: Uint8Array;
}

/** The events as they lie there give the tree of the head, and each block says of itself what is in it. */
function* scrubLog(rows: CellRows): Generator<ScrubPart | undefined> {
  const { size, frontier: head } = rows.anchor.log;
  const tree = new Frontier();
  const found = new Findings();
  let next = 0;
  for (;;) {
    const query =
      'SELECT first_index, events, bytes, leaves FROM audit_block WHERE first_index >= ? AND first_index < ? ORDER BY first_index LIMIT ?';
    const blocks = rows.sql.all<Block>(query, next, size, BLOCKS_AT_ONCE);
    if (blocks.length === 0) break;
    for (const block of blocks) {
      if (block.first_index !== tree.size) found.add(`events ${tree.size} to ${block.first_index - 1} are missing`);
      const problem = takeBlock(tree, block);
      if (problem !== undefined) found.add(`the block of event ${block.first_index}: ${problem}`);
      next = block.first_index + 1;
    }
    yield undefined;
  }
  const isWhole = tree.size === size && equalBytes(tree.toBytes(), head);
  if (!isWhole) found.add('the events do not give the tree of the head');
  yield part('log', tree.size, found.failed, Math.abs(size - tree.size), found.list);
}

function takeBlock(tree: Frontier, { events, bytes, leaves }: Block): string | undefined {
  const lines = textOf(bytes)?.split('\n').slice(0, -1);
  if (lines === undefined) return 'not text';
  let isStated = leaves.byteLength === lines.length * HASH_BYTES;
  lines.forEach((line, i) => {
    const leaf = leafHashOfText(line);
    tree.append(leaf);
    isStated &&= equalBytes(leaf, leaves.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
  });
  if (!isStated) return 'an event is not what was logged';
  return events === lines.length ? undefined : 'its count is not that of its events';
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** SQLite's own look at its pages and at the entries of indexes. */
function scrubPages(sql: Sql): ScrubPart {
  const said = sql.all('PRAGMA quick_check(10)').map((row) => String(Object.values(row)[0]));
  const failed = said.filter((line) => line !== 'ok');
  return part('pages', 1, failed.length, 0, failed);
}

function part(name: string, looked: number, failed: number, missing: number, findings: readonly string[]): ScrubPart {
  return { part: name, looked, failed, missing, findings };
}
