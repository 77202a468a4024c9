// Which stored blocks are what was logged: their events give their leaf hashes, and those give the root of the authentic head or of a
// signed one. It must never hand out an event of another block, nor trust a stored hash, count or frontier: only the roots of heads decide.
import type { Lookup } from '../cell/access.ts';
import type { KeptHead, LogBlock } from '../cell/log-rows.ts';
import type { CellRows } from '../cell/rows.ts';
import { signerFrom, verifyCheckpoint } from '../crypto/checkpoint.ts';
import { Frontier, leafHash } from '../crypto/merkle.ts';
import { equalBytes, HASH_BYTES } from '../crypto/primitives.ts';

const ROWS_AT_ONCE = 200;

/** A block that passed its check. */
export interface ProvenBlock {
  readonly first: number;
  /** The index after its last event. */
  readonly end: number;
  readonly bytes: Buffer;
}

/** A head whose root is authentic. */
interface TreeHead {
  readonly size: number;
  readonly root: Uint8Array;
}

/** Leaf hashes of blocks that lead to an authentic root, by the first index of the block. */
type ProvenLeaves = Map<number, Uint8Array>;

export class ProvenBlocks {
  readonly #rows: CellRows;
  #verifierKey: string | undefined;

  constructor(rows: CellRows) {
    this.#rows = rows;
  }

  /** Events in the log, as the authentic head has it. */
  get size(): number {
    return this.#rows.anchor.log.size;
  }

  /** Says that stored events are not what was logged, or that logged ones are not stored. */
  tell(): void {
    this.#rows.onDamage('audit_block', undefined, 'changed');
  }

  /** The blocks that begin from `firstIndex` to `throughIndex` and pass, by their first index. The others are told. */
  read(access: Lookup, firstIndex: number, throughIndex: number): Map<number, ProvenBlock> {
    return this.of(this.#rows.log.wholeBlocks(access, firstIndex, throughIndex));
  }

  /** Those of `blocks`, oldest first, that pass, by their first index. The others are told. */
  of(blocks: readonly LogBlock[]): Map<number, ProvenBlock> {
    const passed = new Map<number, ProvenBlock>();
    const [oldest, newest] = [blocks[0], blocks.at(-1)];
    if (oldest === undefined || newest === undefined) return passed;
    const leaves = this.#provenLeaves(oldest.first_index, newest.first_index + leafCount(newest.leaves));
    for (const { first_index: first, bytes } of blocks) {
      const own = leaves.get(first);
      if (own !== undefined && isTextOf(bytes, own))
        passed.set(first, {
          first,
          end: first + leafCount(own),
          bytes: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength),
        });
      else this.tell();
    }
    return passed;
  }

  /** Of the blocks from the event `from` to the one before `to`, at least. */
  #provenLeaves(from: number, to: number): ProvenLeaves {
    // A root proves all that led to it, so the frontier that the way begins with needs no check of its own.
    const start = frontierOf(this.#rows.log.headUpTo(from)) ?? new Frontier();
    return this.#leavesBetween(start, this.#headFrom(to)) ?? this.#leavesByHeads(from, to);
  }

  /** Between each two signed heads by themselves: what is damaged takes away no more than the events between two heads. */
  #leavesByHeads(from: number, to: number): ProvenLeaves {
    const all: ProvenLeaves = new Map();
    let at = this.#authenticUpTo(from);
    while (at.size < to && at.size < this.size) {
      const next = this.#authenticFrom(at.size + 1);
      const head = { size: next.size, root: next.root() };
      for (const [first, leaves] of this.#leavesBetween(at, head) ?? []) all.set(first, leaves);
      at = next;
    }
    return all;
  }

  /** Undefined when the stored leaf hashes after `start` do not give the root of `head`. */
  #leavesBetween(start: Frontier, { size, root }: TreeHead): ProvenLeaves | undefined {
    const tree = Frontier.fromBytes(start.toBytes());
    const walked: ProvenLeaves = new Map();
    while (tree.size < size) {
      const reached = tree.size;
      for (const { first_index, leaves } of this.#rows.log.leavesFrom(reached, size, ROWS_AT_ONCE)) {
        if (first_index !== tree.size) continue;
        for (let at = 0; at + HASH_BYTES <= leaves.byteLength; at += HASH_BYTES)
          tree.append(leaves.subarray(at, at + HASH_BYTES));
        walked.set(first_index, leaves);
      }
      if (tree.size === reached) return undefined;
    }
    return tree.size === size && equalBytes(tree.root(), root) ? walked : undefined;
  }

  /** The smallest authentic head of `size` or more events. */
  #headFrom(size: number): TreeHead {
    for (const head of this.#headsFrom(size)) {
      const root = this.#signedRoot(head);
      if (root !== undefined) return { size: head.size, root };
    }
    return { size: this.size, root: this.#end().root() };
  }

  /** The frontier of the smallest authentic head of `size` or more events. */
  #authenticFrom(size: number): Frontier {
    for (const head of this.#headsFrom(size)) {
      const frontier = this.#authenticFrontier(head);
      if (frontier !== undefined) return frontier;
    }
    return this.#end();
  }

  /** The frontier of the largest authentic head of up to `size` events. */
  #authenticUpTo(size: number): Frontier {
    for (let head = this.#rows.log.headUpTo(size); head !== undefined; head = this.#rows.log.headUpTo(head.size - 1)) {
      const frontier = this.#authenticFrontier(head);
      if (frontier !== undefined) return frontier;
    }
    return new Frontier();
  }

  *#headsFrom(size: number): Generator<KeptHead> {
    for (let from = size; from < this.size; ) {
      const heads = this.#rows.log.headsFrom(from, ROWS_AT_ONCE);
      for (const head of heads) if (head.size < this.size) yield head;
      if (heads.length < ROWS_AT_ONCE) return;
      from = (heads.at(-1)?.size ?? from) + 1;
    }
  }

  #end(): Frontier {
    return Frontier.fromBytes(this.#rows.anchor.log.frontier);
  }

  #authenticFrontier(head: KeptHead): Frontier | undefined {
    const frontier = frontierOf(head);
    const root = frontier === undefined ? undefined : this.#signedRoot(head);
    return frontier !== undefined && root !== undefined && equalBytes(frontier.root(), root) ? frontier : undefined;
  }

  #signedRoot({ size, note }: KeptHead): Uint8Array | undefined {
    const { keyring } = this.#rows;
    const { installationId, cellId } = keyring.identity;
    this.#verifierKey ??= signerFrom(keyring.current('audit_sign').key.export(), `keyturn/${installationId}/${cellId}`).vkey;
    try {
      const checkpoint = verifyCheckpoint(this.#verifierKey, note);
      return checkpoint.size === size ? checkpoint.root : undefined;
    } catch {
      return undefined;
    }
  }
}

/** As it is stored; undefined when it is not one of a tree of that size. */
function frontierOf(head: KeptHead | undefined): Frontier | undefined {
  if (head === undefined || head.frontier === null) return undefined;
  try {
    const frontier = Frontier.fromBytes(head.frontier);
    return frontier.size === head.size ? frontier : undefined;
  } catch {
    return undefined;
  }
}

/** Each event with its newline. */
function isTextOf(bytes: Uint8Array, leaves: Uint8Array): boolean {
  let start = 0;
  for (let at = 0; at < leaves.byteLength; at += HASH_BYTES) {
    const end = bytes.indexOf(0x0a, start);
    if (end < 0 || !equalBytes(leafHash(bytes.subarray(start, end)), leaves.subarray(at, at + HASH_BYTES))) return false;
    start = end + 1;
  }
  return start === bytes.byteLength;
}

function leafCount(leaves: Uint8Array): number {
  return Math.floor(leaves.byteLength / HASH_BYTES);
}
