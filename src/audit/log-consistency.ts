// Checks that the log in a database continues the log of a witnessed checkpoint (RFC 6962 section 2.1.2, from stored leaves).
// It must never trust a stored frontier or leaf: the witnessed root and the authenticated head decide.
import { fail } from '../base/errors.ts';
import type { LogHead } from '../cell/anchor.ts';
import type { LogRows } from '../cell/log-rows.ts';
import { Frontier } from '../crypto/merkle.ts';
import { equalBytes, HASH_BYTES } from '../crypto/primitives.ts';

const BLOCKS_AT_ONCE = 500;

/**
 * `size` and `root` are those of a checkpoint from outside the database.
 * @throws rolled_back when the first `size` leaves of the log do not have that root, or further leaves do not lead to the head
 */
export function refuseOtherLog(rows: LogRows, head: LogHead, size: number, root: Uint8Array): void {
  const present = Frontier.fromBytes(head.frontier);
  if (head.size === size) {
    if (!equalBytes(present.root(), root)) behind(head.size, size);
    return;
  }
  const frontier = frontierAt(rows, size, root) ?? new Frontier();
  append(rows, frontier, size, size);
  if (!equalBytes(frontier.root(), root)) behind(head.size, size);
  append(rows, frontier, head.size, head.size);
  if (!equalBytes(frontier.toBytes(), head.frontier)) behind(head.size, size);
}

/** The frontier stored beside the signed head of that size; undefined when it is missing or does not have that root. */
function frontierAt(rows: LogRows, size: number, root: Uint8Array): Frontier | undefined {
  const stored = rows.frontierAt(size);
  if (stored === undefined) return undefined;
  try {
    const frontier = Frontier.fromBytes(stored);
    return equalBytes(frontier.root(), root) ? frontier : undefined;
  } catch {
    return undefined;
  }
}

/** Appends stored leaves up to `toSize` or the first gap. */
function append(rows: LogRows, frontier: Frontier, toSize: number, before: number): void {
  while (frontier.size < toSize) {
    const blocks = rows.leavesFrom(frontier.size, before, BLOCKS_AT_ONCE);
    const reached = frontier.size;
    for (const { first_index, leaves } of blocks) appendBlock(frontier, first_index, leaves, toSize);
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
  fail('rolled_back', 'the database is older than its last witnessed checkpoint, or its log differs from it', {
    extra: { size, witnessed_size: witnessedSize },
  });
}
