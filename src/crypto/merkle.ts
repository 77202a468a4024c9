// The RFC 6962 Merkle tree over an append-only log: hashing, the running head, proofs and their checks.
// It must never need the leaves to append, or take a leaf for a node (the prefixes 0x00 and 0x01 keep them apart).
import { fail } from '../base/errors.ts';
import { FrameWriter } from './framing.ts';
import { equalBytes, HASH_BYTES, sha256, sha256OfText } from './primitives.ts';

const LEAF_PREFIX = 0x00;
const NODE_PREFIX = 0x01;
const LEAF_SCRATCH_BYTES = 8 * 1024;
const leafScratch = new Uint8Array(LEAF_SCRATCH_BYTES);
const nodeScratch = new Uint8Array(1 + 2 * HASH_BYTES);
nodeScratch[0] = NODE_PREFIX;

/** SHA-256(0x00 | bytes) (RFC 6962 section 2.1). */
export function leafHash(bytes: Uint8Array): Uint8Array {
  const length = bytes.byteLength + 1;
  const buffer = length <= LEAF_SCRATCH_BYTES ? leafScratch.subarray(0, length) : new Uint8Array(length);
  buffer[0] = LEAF_PREFIX;
  buffer.set(bytes, 1);
  return sha256(buffer);
}

/** The leaf hash of a text's UTF-8 bytes, computed without a copy of them. */
export function leafHashOfText(text: string): Uint8Array {
  return sha256OfText(`\u0000${text}`);
}

/** SHA-256(0x01 | left | right); both are 32 bytes. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  if (left.byteLength !== HASH_BYTES || right.byteLength !== HASH_BYTES) fail('internal', 'a node has two hashes of 32 bytes');
  nodeScratch.set(left, 1);
  nodeScratch.set(right, 1 + HASH_BYTES);
  return sha256(nodeScratch);
}

/** The state needed to append and to compute the head: one hash for each set bit of the size, largest subtree first. */
export class Frontier {
  #size = 0;
  #peaks: Uint8Array[] = [];

  /** Leaves so far. */
  get size(): number {
    return this.#size;
  }

  /** Appends one leaf hash; two hashes of work on average. Keeps `leaf`. */
  append(leaf: Uint8Array): void {
    if (leaf.byteLength !== HASH_BYTES) fail('internal', 'a leaf hash has 32 bytes');
    let peak = leaf;
    for (let rest = this.#size; rest % 2 === 1; rest = (rest - 1) / 2) peak = nodeHash(this.#peaks.pop() as Uint8Array, peak);
    this.#peaks.push(peak);
    this.#size += 1;
  }

  appendAll(leaves: readonly Uint8Array[]): void {
    for (const leaf of leaves) this.append(leaf);
  }

  /** The whole subtrees of the tree, largest first: their first leaf, their number of leaves and their hash. */
  subtrees(): { readonly first: number; readonly size: number; readonly hash: Uint8Array }[] {
    let [first, rest] = [0, this.#size];
    return this.#peaks.map((hash) => {
      const size = 2 ** Math.floor(Math.log2(rest));
      const subtree = { first, size, hash };
      first += size;
      rest -= size;
      return subtree;
    });
  }

  /** The Merkle tree hash; SHA-256 of nothing for the empty tree. */
  root(): Uint8Array {
    let root = this.#peaks.at(-1);
    if (root === undefined) return sha256(new Uint8Array(0));
    for (let i = this.#peaks.length - 2; i >= 0; i--) root = nodeHash(this.#peaks[i] as Uint8Array, root);
    return root;
  }

  /** Size in 8 bytes big-endian, then the hashes. */
  toBytes(): Uint8Array {
    const writer = new FrameWriter().u64(this.#size);
    for (const peak of this.#peaks) writer.raw(peak);
    return writer.bytes();
  }

  /** @throws integrity when it was not made by `toBytes` */
  static fromBytes(bytes: Uint8Array): Frontier {
    const frontier = new Frontier();
    if (bytes.byteLength < 8) malformed();
    const view = new DataView(bytes.buffer, bytes.byteOffset, 8);
    frontier.#size = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
    if (!Number.isSafeInteger(frontier.#size) || bytes.byteLength !== 8 + HASH_BYTES * setBits(frontier.#size)) malformed();
    for (let at = 8; at < bytes.byteLength; at += HASH_BYTES) frontier.#peaks.push(bytes.slice(at, at + HASH_BYTES));
    return frontier;
  }
}

/** The root of a tree of these leaf hashes. */
export function rootOf(leafHashes: readonly Uint8Array[]): Uint8Array {
  const frontier = new Frontier();
  frontier.appendAll(leafHashes);
  return frontier.root();
}

/** The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962 section 2.1.1). @throws internal out of range */
export function inclusionProof(leafHashes: readonly Uint8Array[], index: number, size: number): Uint8Array[] {
  if (!isCount(index) || index >= size || size > leafHashes.length)
    fail('internal', 'the index and the size of an inclusion proof must lie within the tree');
  return pathOf(leafHashes.slice(0, size), index);
}

function pathOf(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  if (leaves.length === 1) return [];
  const split = largestPowerBelow(leaves.length);
  const left = leaves.slice(0, split);
  const right = leaves.slice(split);
  return index < split ? [...pathOf(left, index), rootOf(right)] : [...pathOf(right, index - split), rootOf(left)];
}

/**
 * As `inclusionProof`, without the leaves of `before`, the tree up to some leaf at or before `index`. `later`: the leaf hashes after it.
 * @throws internal out of range
 */
export function inclusionProofAfter(before: Frontier, later: readonly Uint8Array[], index: number): Uint8Array[] {
  const start = before.size;
  const size = start + later.length;
  if (!isCount(index) || index < start || index >= size)
    fail('internal', 'the index of an inclusion proof must lie among the later leaves');
  const whole = new Map(before.subtrees().map((subtree) => [`${subtree.first} ${subtree.size}`, subtree.hash]));
  const hashOf = (from: number, count: number): Uint8Array => {
    const known = whole.get(`${from} ${count}`) ?? (count === 1 ? later[from - start] : undefined);
    if (known !== undefined) return known;
    const split = largestPowerBelow(count);
    return nodeHash(hashOf(from, split), hashOf(from + split, count - split));
  };
  const path = (from: number, count: number): Uint8Array[] => {
    if (count === 1) return [];
    const split = largestPowerBelow(count);
    return index < from + split
      ? [...path(from, split), hashOf(from + split, count - split)]
      : [...path(from + split, count - split), hashOf(from, split)];
  };
  return path(0, size);
}

/** From the tree of the first `oldSize` leaves to that of `newSize` (RFC 6962 section 2.1.2). @throws internal out of range */
export function consistencyProof(leafHashes: readonly Uint8Array[], oldSize: number, newSize: number): Uint8Array[] {
  if (!isCount(oldSize) || oldSize < 1 || oldSize > newSize || newSize > leafHashes.length)
    fail('internal', 'the two sizes of a consistency proof must lie within the tree, the old one first');
  return subproof(leafHashes.slice(0, newSize), oldSize, true);
}

function subproof(leaves: readonly Uint8Array[], oldSize: number, known: boolean): Uint8Array[] {
  if (oldSize === leaves.length) return known ? [] : [rootOf(leaves)];
  const split = largestPowerBelow(leaves.length);
  const left = leaves.slice(0, split);
  const right = leaves.slice(split);
  if (oldSize <= split) return [...subproof(left, oldSize, known), rootOf(right)];
  return [...subproof(right, oldSize - split, false), rootOf(left)];
}

/** Whether `proof` shows the leaf at `index` of the tree with this root (RFC 9162 section 2.1.3.2). Never throws. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  proof: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size || !areHashes([leaf, root, ...proof])) return false;
  const climbed = climb(index, size - 1, leaf, proof);
  return climbed !== undefined && equalBytes(climbed.all, root);
}

/**
 * Computes the root from a node and its siblings (RFC 9162 sections 2.1.3.2 and 2.1.4.2). `left`: with the left siblings only, which gives
 * the root of the tree that ends with this node. Undefined if there are too few or too many `siblings`.
 */
function climb(
  from: number,
  lastNode: number,
  hash: Uint8Array,
  siblings: readonly Uint8Array[],
): { readonly left: Uint8Array; readonly all: Uint8Array } | undefined {
  let [node, last, left, all] = [from, lastNode, hash, hash];
  for (const sibling of siblings) {
    if (last === 0) return undefined;
    if (node % 2 === 1 || node === last) {
      left = nodeHash(sibling, left);
      all = nodeHash(sibling, all);
      while (node % 2 === 0) {
        node = node / 2;
        last = Math.floor(last / 2);
      }
    } else all = nodeHash(all, sibling);
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 ? { left, all } : undefined;
}

/**
 * Whether `proof` shows that the tree with `newRoot` begins with the one with `oldRoot` (RFC 9162 section 2.1.4.2).
 * False for an empty old tree: it proves nothing. Never throws.
 */
export function verifyConsistency(
  oldSize: number,
  newSize: number,
  proof: readonly Uint8Array[],
  oldRoot: Uint8Array,
  newRoot: Uint8Array,
): boolean {
  if (![oldSize, newSize].every(isCount) || oldSize < 1 || oldSize > newSize) return false;
  if (oldSize === newSize) return proof.length === 0 && equalBytes(oldRoot, newRoot);
  if (proof.length === 0 || !areHashes([oldRoot, newRoot, ...proof])) return false;
  const isPower = setBits(oldSize) === 1;
  const [first, ...rest] = (isPower ? [oldRoot, ...proof] : proof) as [Uint8Array, ...Uint8Array[]];
  let node = oldSize - 1;
  let last = newSize - 1;
  for (; node % 2 === 1; last = Math.floor(last / 2)) node = (node - 1) / 2;
  const climbed = climb(node, last, first, rest);
  return climbed !== undefined && equalBytes(climbed.left, oldRoot) && equalBytes(climbed.all, newRoot);
}

function areHashes(hashes: readonly Uint8Array[]): boolean {
  return hashes.every((hash) => hash.byteLength === HASH_BYTES);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function setBits(value: number): number {
  let count = 0;
  for (let rest = value; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}

function largestPowerBelow(count: number): number {
  let power = 1;
  while (power * 2 < count) power *= 2;
  return power;
}

function malformed(): never {
  fail('integrity', 'stored data failed its check', { evidence: 'malformed' });
}
