// The chunks of the map of a cell (anchor.ts): loads them, writes them in turn and splits them.
// It must never use a stored chunk that was not written at its epoch of this history, nor change in-memory state before the commit.
import { LIMITS } from '../base/limits.ts';
import { FrameWriter } from '../crypto/framing.ts';
import { equalBytes, hmacSha256 } from '../crypto/primitives.ts';
import type { MacKeys } from '../crypto/row-mac.ts';
import {
  type AnchorOp,
  ChunkEntries,
  chunkSpan,
  ENTRY_BYTES,
  type Fingerprint,
  type JournalRow,
  OpList,
  writeOps,
} from './anchor-chunk.ts';
import { type AnchorPosition, keyOf, refuse } from './anchor-head.ts';
import type { ChunkMemory, Droppable } from './anchor-memory.ts';
import type { Sql } from './sql.ts';

/** The range of a chunk and the position at which it was written. */
export interface ChunkPlace extends AnchorPosition {
  readonly start: number;
  readonly bits: number;
}

interface ChunkRow {
  readonly start: number;
  readonly bits: number;
  readonly epoch: number;
  readonly bytes: Uint8Array;
  readonly mac: Uint8Array;
  readonly mac_key_id: string;
}

/** A chunk: the database has its state at `epoch`. */
export class Chunk implements ChunkPlace, Droppable {
  readonly start: number;
  readonly bits: number;
  readonly epoch: number;
  readonly chain: Uint8Array;
  /** The present state, while the chunk is loaded. */
  entries: ChunkEntries | undefined;
  /** Changes after `epoch`: they are applied again when the chunk is loaded again. */
  readonly later = new OpList();
  held = 0;
  older: Droppable | undefined;
  newer: Droppable | undefined;

  constructor(place: Pick<ChunkPlace, 'start' | 'bits'>, written: AnchorPosition, entries?: ChunkEntries) {
    this.start = place.start;
    this.bits = place.bits;
    this.epoch = written.epoch;
    this.chain = written.chain;
    this.entries = entries;
  }

  drop(): void {
    this.entries = undefined;
  }
}

const frames = new FrameWriter();

export class AnchorChunks {
  readonly #sql: Sql;
  readonly #keyring: MacKeys;
  readonly #memory: ChunkMemory;
  /** In order of start, without gap or overlap. */
  #chunks: Chunk[] = [];
  /** In the order in which they were last written: the first is written next. */
  readonly #turn = new Set<Chunk>();
  /** False for a map that is not stored yet: then its chunks must stay in memory. */
  #isStored = true;

  constructor(sql: Sql, keyring: MacKeys, memory: ChunkMemory) {
    this.#sql = sql;
    this.#keyring = keyring;
    this.#memory = memory;
  }

  // ---- opening

  /** @throws integrity unless the chunks cover the whole space without gap or overlap */
  take(places: readonly ChunkPlace[]): void {
    let next = 0;
    this.#chunks = places.map((place) => {
      if (place.start !== next || place.bits > 32) refuse('chunks have a gap or overlap');
      next = place.start + chunkSpan(place.bits);
      return new Chunk(place, place);
    });
    if (next !== 2 ** 32) refuse('chunks have a gap or overlap');
    this.#queueAll();
  }

  /** Takes the journal's changes of an epoch, for chunks that were written earlier. */
  takeLater({ epoch, ops }: JournalRow): void {
    const view = new DataView(ops.buffer, ops.byteOffset, ops.byteLength);
    for (let at = 0; at < ops.byteLength; at += ENTRY_BYTES) {
      const chunk = this.#chunkOf({ high: view.getUint32(at) });
      if (chunk.epoch < epoch) chunk.later.push(ops.subarray(at, at + ENTRY_BYTES));
    }
  }

  /** Begins with one empty chunk, not stored yet. */
  begin(position: AnchorPosition): void {
    this.#isStored = false;
    this.#chunks = [new Chunk({ start: 0, bits: 0 }, position, new ChunkEntries())];
  }

  /** Keeps the entries and begins another history with them, not stored yet. @throws integrity when a chunk is damaged */
  restart(position: AnchorPosition): void {
    const whole = this.#chunks.map((chunk) => new Chunk(chunk, position, this.#entriesOf(chunk)));
    this.release();
    this.#isStored = false;
    this.#chunks = whole;
  }

  #queueAll(): void {
    this.#turn.clear();
    for (const chunk of [...this.#chunks].sort((a, b) => a.epoch - b.epoch)) this.#turn.add(chunk);
  }

  // ---- entries

  /** The committed tag. @throws integrity when the chunk is damaged */
  find(fingerprint: Fingerprint): Uint8Array | undefined {
    return this.#entriesOf(this.#chunkOf(fingerprint)).find(fingerprint);
  }

  /** Changes an entry at once, in a map that is not stored yet. */
  adopt(op: AnchorOp): void {
    const chunk = this.#chunkOf(op);
    const entries = this.#entriesOf(chunk);
    entries.apply(op);
    if (entries.count > LIMITS.anchorChunkMaxEntries) this.#replace(chunk, splitUp(chunk, entries, chunk));
  }

  /**
   * Applies a committed batch to the in-memory state: replaces rewritten chunks and changes the others.
   * INVARIANT: reads nothing from the database; a change of a chunk that is not loaded is kept until it is loaded
   * (test/cell/anchor.test.ts).
   */
  commit(opsByChunk: ReadonlyMap<Chunk, AnchorOp[]>, rewritten: ReadonlyMap<Chunk, Chunk[]>): void {
    for (const [chunk, ops] of opsByChunk) {
      if (rewritten.has(chunk)) continue;
      for (const op of ops) {
        writeOps(frames.clear(), [op]);
        chunk.later.push(frames.peek());
        chunk.entries?.apply(op);
      }
      this.#noteUse(chunk);
    }
    for (const [chunk, pieces] of rewritten) {
      this.#memory.release(chunk);
      this.#replace(chunk, pieces);
      for (const piece of pieces) this.#noteUse(piece);
    }
    if (this.#isStored) return;
    this.#isStored = true;
    for (const chunk of this.#chunks) this.#noteUse(chunk);
  }

  #noteUse(chunk: Chunk): void {
    if (chunk.entries !== undefined) this.#memory.use(chunk, chunk.entries.bytes);
  }

  /** Frees the memory of loaded chunks; they are loaded again on use. */
  release(): void {
    if (!this.#isStored) return;
    for (const chunk of this.#chunks) {
      this.#memory.release(chunk);
      chunk.drop();
    }
  }

  byChunk(ops: readonly AnchorOp[]): Map<Chunk, AnchorOp[]> {
    const byChunk = new Map<Chunk, AnchorOp[]>();
    for (const op of ops) {
      const chunk = this.#chunkOf(op);
      const known = byChunk.get(chunk);
      if (known === undefined) byChunk.set(chunk, [op]);
      else known.push(op);
    }
    return byChunk;
  }

  #chunkOf({ high }: Pick<Fingerprint, 'high'>): Chunk {
    return this.#chunks[this.#indexOf(high)] ?? refuse('the map is not open');
  }

  #indexOf(high: number): number {
    let from = 0;
    let to = this.#chunks.length - 1;
    while (from < to) {
      const middle = (from + to + 1) >>> 1;
      if ((this.#chunks[middle] as Chunk).start <= high) from = middle;
      else to = middle - 1;
    }
    return from;
  }

  #entriesOf(chunk: Chunk): ChunkEntries {
    const entries = chunk.entries ?? this.#load(chunk);
    if (this.#isStored) this.#memory.use(chunk, entries.bytes);
    return entries;
  }

  /** @throws integrity when the stored chunk is not the one written at its epoch */
  #load(chunk: Chunk): ChunkEntries {
    const row = this.#read(chunk);
    const entries = new ChunkEntries(row.bytes);
    chunk.later.applyTo(entries);
    chunk.entries = entries;
    return entries;
  }

  #read(chunk: Chunk): ChunkRow {
    const row = this.#sql.get<ChunkRow>('SELECT * FROM anchor_chunk WHERE start = ?', chunk.start);
    if (row === undefined || row.bits !== chunk.bits || row.epoch !== chunk.epoch)
      return refuse('a chunk differs from the directory');
    const mac = this.#mac(keyOf(this.#keyring, row.mac_key_id), chunk, row.bytes);
    return equalBytes(mac, row.mac) ? row : refuse('a chunk failed its check');
  }

  #replace(chunk: Chunk, pieces: readonly Chunk[]): void {
    this.#chunks.splice(this.#indexOf(chunk.start), 1, ...pieces);
    this.#turn.delete(chunk);
    for (const piece of pieces) this.#turn.add(piece);
  }

  // ---- writing

  /** Writes the next `count` chunks with the changes of the running batch; returns the chunks that replace them at commit. */
  rewrite(position: AnchorPosition, opsByChunk: ReadonlyMap<Chunk, AnchorOp[]>, count: number): Map<Chunk, Chunk[]> {
    const rewritten = new Map<Chunk, Chunk[]>();
    let left = count;
    for (const chunk of this.#turn) {
      if (left <= 0) break;
      const entries = this.#presentOf(chunk, opsByChunk.get(chunk));
      if (entries === undefined) continue;
      const pieces = splitUp(chunk, entries, position);
      for (const piece of pieces) this.#write(piece);
      rewritten.set(chunk, pieces);
      left -= 1;
    }
    return rewritten;
  }

  /** Replaces all stored chunks. */
  writeAll(): void {
    this.#sql.run('DELETE FROM anchor_chunk');
    for (const chunk of this.#chunks) this.#write(chunk);
    this.#queueAll();
  }

  /** The position of the oldest stored chunk that this batch does not rewrite; undefined when it rewrites all. */
  oldest(rewritten: ReadonlyMap<Chunk, Chunk[]>): AnchorPosition | undefined {
    for (const chunk of this.#turn) if (!rewritten.has(chunk)) return chunk;
    return undefined;
  }

  /** A copy with the changes of the batch; undefined for a damaged chunk, which stays and keeps the journal from its epoch on. */
  #presentOf(chunk: Chunk, ops: readonly AnchorOp[] = []): ChunkEntries | undefined {
    try {
      const entries = this.#entriesOf(chunk).copy();
      for (const op of ops) entries.apply(op);
      return entries;
    } catch (error) {
      if ((error as { code?: unknown }).code === 'integrity') return undefined;
      throw error;
    }
  }

  #write(chunk: Chunk): void {
    const { keyId, key } = this.#keyring.macKey();
    // A chunk that is about to be written has its entries in memory, counted in the budget or not.
    const bytes = (chunk.entries ?? refuse('a chunk to be written is not loaded')).peek();
    this.#sql.run(
      'INSERT INTO anchor_chunk (start, bits, epoch, bytes, mac, mac_key_id) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (start) DO UPDATE SET ' +
        'bits = excluded.bits, epoch = excluded.epoch, bytes = excluded.bytes, mac = excluded.mac, mac_key_id = excluded.mac_key_id',
      chunk.start,
      chunk.bits,
      chunk.epoch,
      bytes,
      this.#mac(key, chunk, bytes),
      keyId,
    );
  }

  #mac(key: Parameters<typeof hmacSha256>[0], chunk: ChunkPlace, bytes: Uint8Array): Uint8Array {
    const { installationId, cellId } = this.#keyring.identity;
    frames.clear().text('keyturn-anchor-chunk-v1').text(installationId).text(cellId);
    frames.u32(chunk.start).u8(chunk.bits).u64(chunk.epoch).blob(chunk.chain).blob(bytes);
    return hmacSha256(key, frames.peek());
  }

  // ---- keys, scrub

  /** Computes the MACs of up to `maxRows` chunks under the active key, except damaged ones; returns how many. */
  reseal(maxRows: number): number {
    const { keyId, key } = this.#keyring.macKey();
    const stale = this.#sql.all<{ start: number }>(
      'SELECT start FROM anchor_chunk WHERE mac_key_id < ? OR mac_key_id > ? LIMIT ?',
      keyId,
      keyId,
      maxRows,
    );
    let done = 0;
    for (const { start } of stale) {
      const chunk = this.#chunkOf({ high: start });
      if (this.#presentOf(chunk) === undefined) continue;
      const { bytes } = this.#read(chunk);
      const mac = this.#mac(key, chunk, bytes);
      this.#sql.run('UPDATE anchor_chunk SET mac = ?, mac_key_id = ? WHERE start = ?', mac, keyId, start);
      done += 1;
    }
    return done;
  }

  /** Checks every stored chunk; returns the number of chunks and of failures. */
  check(): { readonly chunks: number; readonly failed: number } {
    let failed = 0;
    for (const chunk of this.#chunks) {
      try {
        this.#read(chunk);
      } catch {
        failed += 1;
      }
    }
    return { chunks: this.#chunks.length, failed };
  }
}

/** The chunk at `position`, split into as many pieces as the limit of entries requires. */
function splitUp(place: Pick<Chunk, 'start' | 'bits'>, entries: ChunkEntries, position: AnchorPosition): Chunk[] {
  const { start, bits } = place;
  if (entries.count <= LIMITS.anchorChunkMaxEntries || bits >= 32) {
    return [new Chunk(place, position, entries)];
  }
  const middle = start + chunkSpan(bits + 1);
  const [low, high] = entries.splitAt(middle);
  return [...splitUp({ start, bits: bits + 1 }, low, position), ...splitUp({ start: middle, bits: bits + 1 }, high, position)];
}
