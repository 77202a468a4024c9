// One chunk of the map of a cell (anchor.ts): fingerprints of rows and the first bytes of their MACs, sorted, in one buffer.
// It must never be changed by a batch that is not committed.
import { FrameWriter } from '../crypto/framing.ts';
import { sha256 } from '../crypto/primitives.ts';

const FINGERPRINT_BYTES = 8;
export const TAG_BYTES = 16;
export const ENTRY_BYTES = FINGERPRINT_BYTES + TAG_BYTES;
const GROWTH_ENTRIES = 32;
const FIRST_OPS = 4;
const NOTHING = new Uint8Array(0);
const frames = new FrameWriter();

/** The position of a row in the map: 64 bits of a salted hash of its table and id. */
export interface Fingerprint {
  readonly high: number;
  readonly low: number;
}

/** A change of the map; without a tag it removes the entry. */
export interface AnchorOp extends Fingerprint {
  readonly tag: Uint8Array | undefined;
}

/** The changes of one epoch, in stored form. */
export interface JournalRow {
  readonly epoch: number;
  /** Each change has 8 bytes of fingerprint and 16 bytes of tag. */
  readonly ops: Uint8Array;
}

/** Entries sorted by fingerprint: 8 bytes of it, 16 bytes of tag. */
export class ChunkEntries {
  #bytes: Uint8Array;
  #view: DataView;
  #count: number;

  /** A copy of `bytes` with free space for further entries. */
  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#bytes = new Uint8Array(bytes.byteLength + GROWTH_ENTRIES * ENTRY_BYTES);
    this.#bytes.set(bytes);
    this.#view = new DataView(this.#bytes.buffer);
    this.#count = bytes.byteLength / ENTRY_BYTES;
  }

  get count(): number {
    return this.#count;
  }

  /** Size in memory. */
  get bytes(): number {
    return this.#bytes.byteLength;
  }

  /** The bytes without a copy: valid until the next change. */
  peek(): Uint8Array {
    return this.#bytes.subarray(0, this.#count * ENTRY_BYTES);
  }

  /** The tag without a copy; undefined when there is no such entry. */
  find(fingerprint: Fingerprint): Uint8Array | undefined {
    const at = this.#search(fingerprint);
    if (at < 0) return undefined;
    const offset = at * ENTRY_BYTES + FINGERPRINT_BYTES;
    return this.#bytes.subarray(offset, offset + TAG_BYTES);
  }

  apply(op: AnchorOp): void {
    const at = this.#search(op);
    if (op.tag === undefined) {
      if (at >= 0) this.#cut(at);
      return;
    }
    const place = at >= 0 ? at : this.#makeRoom(-at - 1);
    this.#view.setUint32(place * ENTRY_BYTES, op.high);
    this.#view.setUint32(place * ENTRY_BYTES + 4, op.low);
    this.#bytes.set(op.tag, place * ENTRY_BYTES + FINGERPRINT_BYTES);
  }

  /** The entries below `high`, and the entries from `high` on. */
  splitAt(high: number): [ChunkEntries, ChunkEntries] {
    let at = 0;
    while (at < this.#count && this.#view.getUint32(at * ENTRY_BYTES) < high) at += 1;
    const all = this.peek();
    return [new ChunkEntries(all.subarray(0, at * ENTRY_BYTES)), new ChunkEntries(all.subarray(at * ENTRY_BYTES))];
  }

  copy(): ChunkEntries {
    return new ChunkEntries(this.peek());
  }

  /** The index, or -(insertion index) - 1. */
  #search({ high, low }: Fingerprint): number {
    let from = 0;
    let to = this.#count - 1;
    while (from <= to) {
      const middle = (from + to) >>> 1;
      const found = this.#view.getUint32(middle * ENTRY_BYTES);
      const order = found - high || this.#view.getUint32(middle * ENTRY_BYTES + 4) - low;
      if (order === 0) return middle;
      if (order < 0) from = middle + 1;
      else to = middle - 1;
    }
    return -from - 1;
  }

  #cut(at: number): void {
    this.#bytes.copyWithin(at * ENTRY_BYTES, (at + 1) * ENTRY_BYTES, this.#count * ENTRY_BYTES);
    this.#count -= 1;
  }

  #makeRoom(at: number): number {
    const used = this.#count * ENTRY_BYTES;
    if (used + ENTRY_BYTES > this.#bytes.byteLength) {
      const larger = new Uint8Array(used + GROWTH_ENTRIES * ENTRY_BYTES);
      larger.set(this.peek());
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    this.#bytes.copyWithin((at + 1) * ENTRY_BYTES, at * ENTRY_BYTES, used);
    this.#count += 1;
    return at;
  }
}

/** Changes in order, in the form of the journal. */
export class OpList {
  #bytes = NOTHING;
  #length = 0;

  /** One change, in the form of `writeOps`. */
  push(op: Uint8Array): void {
    if (this.#length === this.#bytes.byteLength) {
      const larger = new Uint8Array(this.#length * 2 || FIRST_OPS * ENTRY_BYTES);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(op, this.#length);
    this.#length += ENTRY_BYTES;
  }

  applyTo(entries: ChunkEntries): void {
    for (const op of readOps(this.#bytes.subarray(0, this.#length)) ?? []) entries.apply(op);
  }
}

/** The number of values of the first 32 bits that a chunk covers. */
export function chunkSpan(bits: number): number {
  return 2 ** (32 - bits);
}

const NO_TAG = new Uint8Array(TAG_BYTES);

export function writeOps(writer: FrameWriter, ops: Iterable<AnchorOp>): void {
  for (const { high, low, tag } of ops)
    writer
      .u32(high)
      .u32(low)
      .raw(tag ?? NO_TAG);
}

/** Undefined when the bytes are not whole entries. */
export function readOps(bytes: Uint8Array): AnchorOp[] | undefined {
  if (bytes.byteLength === 0 || bytes.byteLength % ENTRY_BYTES !== 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ops: AnchorOp[] = [];
  for (let at = 0; at < bytes.byteLength; at += ENTRY_BYTES) {
    const tag = bytes.subarray(at + FINGERPRINT_BYTES, at + ENTRY_BYTES);
    ops.push({ high: view.getUint32(at), low: view.getUint32(at + 4), tag: tag.some((byte) => byte !== 0) ? tag : undefined });
  }
  return ops;
}

/** The chain after the changes of the next epoch. */
export function nextChain(chain: Uint8Array, epoch: number, ops: Uint8Array): Uint8Array {
  return sha256(frames.clear().text('keyturn-anchor-chain-v1').blob(chain).u64(epoch).blob(ops).peek());
}
