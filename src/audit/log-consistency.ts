// Whether the log in a database continues the one that a witnessed checkpoint speaks of (RFC 6962 section 2.1.2, from what is stored).
// It must never take a stored frontier or leaf on trust: the witnessed root and the head decide.
import { fail } from '../base/errors.ts';
import type { LogHead } from '../cell/anchor.ts';
import type { Sql } from '../cell/sql.ts';
import { Frontier } from '../crypto/merkle.ts';
import { equalBytes, HASH_BYTES } from '../crypto/primitives.ts';

interface LeavesRow {
  first_index: number;
  leaves: Uint8Array;
}

const BLOCKS_AT_ONCE = 500;

/**
 * From the tree of the first `size` leaves, whose root is known from outside, to the tree of the head.
 * @throws rolled_back when the head's tree does not begin with that tree
 */
export function refuseOtherLog(sql: Sql, head: LogHead, size: number, root: Uint8Array): void {
  if (head.size < size) behind(head.size, size);
  const present = Frontier.fromBytes(head.frontier);
  if (head.size === size) {
    if (!equalBytes(present.root(), root)) behind(head.size, size);
    return;
  }
  const frontier = frontierAt(sql, size, root) ?? new Frontier();
  append(sql, frontier, size, size);
  if (!equalBytes(frontier.root(), root)) behind(head.size, size);
  append(sql, frontier, head.size, head.size);
  if (frontier.size !== head.size || !equalBytes(frontier.toBytes(), head.frontier)) behind(head.size, size);
}

/** As it was kept beside the signed head of that size; undefined when it was not, or is not the one. */
function frontierAt(sql: Sql, size: number, root: Uint8Array): Frontier | undefined {
  const row = sql.get<{ frontier: Uint8Array | null }>('SELECT frontier FROM checkpoint WHERE size = ?', size);
  if (row?.frontier == null) return undefined;
  try {
    const frontier = Frontier.fromBytes(row.frontier);
    return frontier.size === size && equalBytes(frontier.root(), root) ? frontier : undefined;
  } catch {
    return undefined;
  }
}

/** Appends stored leaves up to `toSize`, or as far as they go without a gap. */
function append(sql: Sql, frontier: Frontier, toSize: number, before: number): void {
  const start = 'SELECT max(first_index) AS first_index FROM audit_block WHERE first_index <= ?';
  while (frontier.size < toSize) {
    const from = sql.get<{ first_index: number | null }>(start, frontier.size)?.first_index ?? 0;
    const rows = sql.all<LeavesRow>(
      'SELECT first_index, leaves FROM audit_block WHERE first_index >= ? AND first_index < ? ORDER BY first_index LIMIT ?',
      from,
      before,
      BLOCKS_AT_ONCE,
    );
    const reached = frontier.size;
    for (const { first_index, leaves } of rows) appendBlock(frontier, first_index, leaves, toSize);
    if (frontier.size === reached) return;
  }
}

function appendBlock(frontier: Frontier, firstIndex: number, leaves: Uint8Array, toSize: number): void {
  const end = Math.min(toSize, firstIndex + Math.floor(leaves.byteLength / HASH_BYTES));
  for (let index = frontier.size; index >= firstIndex && index < end; index++) {
    const at = (index - firstIndex) * HASH_BYTES;
    frontier.append(leaves.slice(at, at + HASH_BYTES));
  }
}

function behind(size: number, witnessedSize: number): never {
  fail('rolled_back', 'the database is older than its last witnessed checkpoint, or went another way since', {
    extra: { size, witnessed_size: witnessedSize },
  });
}
