// The map of all rows of a cell that are valid now, kept so that nothing can be put back, removed or doubled unnoticed (decision 0009).
// Memory holds the map; every batch appends its changes to a hash chain and seals one head row; the map is written in turn, chunk by chunk.
// It must never believe head, journal or chunks again while the cell is open, nor change what memory holds before the commit.
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { FrameWriter } from '../crypto/framing.ts';
import { equalBytes, hmacSha256, randomBytes, sha256, sha256Words } from '../crypto/primitives.ts';
import type { MacKeys } from '../crypto/row-mac.ts';
import {
  type AnchorOp,
  ChunkEntries,
  chunkSpan,
  ENTRY_BYTES,
  type Fingerprint,
  readOps,
  TAG_BYTES,
  writeOps,
} from './anchor-chunk.ts';
import type { Sql, SqlValue } from './sql.ts';

/** A point of the history of the map: the chain over all changes up to this epoch. */
export interface AnchorPosition {
  readonly epoch: number;
  readonly chain: Uint8Array;
}

/** What the audit log keeps in the head. */
export interface LogHead {
  readonly size: number;
  readonly stateSequence: number;
  readonly frontier: Uint8Array;
}

interface HeadRow {
  size: number;
  state_sequence: number;
  frontier: Uint8Array;
  epoch: number;
  start: number;
  start_chain: Uint8Array;
  chain: Uint8Array;
  entries: string;
  salt: Uint8Array;
  incarnation_id: string;
  published: number;
  time_at: number;
  mac: Uint8Array;
  mac_key_id: string;
}

interface ChunkRow {
  start: number;
  bits: number;
  epoch: number;
  bytes: Uint8Array;
  mac: Uint8Array;
  mac_key_id: string;
}

/** A chunk: the state at `epoch` lies in the database, the state now in `entries` once it was touched. */
interface Chunk {
  readonly start: number;
  readonly bits: number;
  readonly epoch: number;
  readonly chain: Uint8Array;
  entries: ChunkEntries | undefined;
  /** Until it is touched: what came after `epoch`, found in the journal at open. */
  later: AnchorOp[];
}

interface Pending extends AnchorOp {
  readonly table: string;
}

interface Undo {
  readonly key: string;
  readonly before: Pending | undefined;
  readonly table: string;
  readonly delta: number;
}

/** What the commit that is under way will make true. */
interface Staged {
  readonly position: AnchorPosition;
  readonly start: AnchorPosition;
  readonly opsByChunk: ReadonlyMap<Chunk, AnchorOp[]>;
  readonly rewritten: ReadonlyMap<Chunk, Chunk[]>;
  readonly journalBytes: number;
  readonly debt: number;
  readonly entries: string;
}

const SALT_BYTES = 16;
const CHANGES_PER_CHUNK = 16;
const frames = new FrameWriter();
const EMPTY = new Uint8Array(0);

export class Anchor {
  readonly #sql: Sql;
  readonly #keyring: MacKeys;
  #isOpen = false;
  /** While the rows of an older build are taken over, the map changes at once and is written whole at the end. */
  #adopting = false;
  #salt: Uint8Array = EMPTY;
  #incarnationId = '';
  #position: AnchorPosition = { epoch: 0, chain: EMPTY };
  #start: AnchorPosition = { epoch: 0, chain: EMPTY };
  /** What the witness keeps; the journal reaches back to it. Epoch 0: there is none. */
  #published: AnchorPosition = { epoch: 0, chain: EMPTY };
  /** By start, without gap or overlap. */
  #chunks: Chunk[] = [];
  /** In the order in which they were written: the first is next. */
  readonly #turn = new Set<Chunk>();
  #debt = 0;
  #journalBytes = 0;
  readonly #pending = new Map<string, Pending>();
  readonly #undo: Undo[] = [];
  #counts = new Map<string, number>();
  /** The counts as the head has them. */
  #entries = '{}';
  #log: LogHead = { size: 0, stateSequence: 0, frontier: EMPTY };
  #timeAt = 0;
  #headChanged = false;
  #staged: Staged | undefined;
  #nextLog: LogHead | undefined;

  constructor(sql: Sql, keyring: MacKeys) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get position(): AnchorPosition {
    return this.#position;
  }

  /** As the head has it, or as the running batch will have it. */
  get staged(): AnchorPosition {
    return this.#staged?.position ?? this.#position;
  }

  get incarnationId(): string {
    return this.#incarnationId;
  }

  /** The audit log's part of the head, as committed. */
  get log(): LogHead {
    return this.#log;
  }

  /** Epoch of the last position that the witness was known to keep; 0 when it never kept one. */
  get publishedEpoch(): number {
    return this.#published.epoch;
  }

  /** How many rows of each table there are, as the head says. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** The highest time that was committed, milliseconds since 1970. */
  get timeAt(): number {
    return this.#timeAt;
  }

  /** Raises the highest time; a lower one changes nothing. Written with the next batch that changes anything. */
  raiseTime(atMs: number): void {
    if (atMs > this.#timeAt) this.#timeAt = atMs;
  }

  /** The operator said that the highest time was wrong. */
  resetTime(atMs: number): void {
    this.#timeAt = atMs;
  }

  // ---- opening

  /** Whether the database has a head at all. */
  static exists(sql: Sql): boolean {
    return sql.get('SELECT 1 AS present FROM anchor_head WHERE id = 1') !== undefined;
  }

  /**
   * Reads head, directory and journal and checks them against each other.
   * @returns the chain at `wanted`, or undefined when the journal does not reach back so far
   * @throws integrity
   */
  open(wanted = 0): Uint8Array | undefined {
    const head = this.#readHead() ?? refuse('the head is missing');
    this.#takeHead(head);
    const chunks = this.#sql.all<Omit<ChunkRow, 'bytes' | 'mac' | 'mac_key_id'>>(
      'SELECT start, bits, epoch FROM anchor_chunk ORDER BY start',
    );
    const needed = new Set([...chunks.map(({ epoch }) => epoch), head.published, wanted]);
    const journal = this.#sql.all<{ epoch: number; ops: Uint8Array }>(
      'SELECT epoch, ops FROM anchor_journal WHERE epoch > ? ORDER BY epoch',
      head.start,
    );
    const chains = chainsOf(head, journal, needed);
    this.#takeChunks(chunks, chains);
    this.#journalBytes = 0;
    for (const { epoch, ops } of journal) this.#placeOps(epoch, ops);
    const published = chains.get(head.published);
    this.#published = published === undefined ? { epoch: 0, chain: EMPTY } : { epoch: head.published, chain: published };
    // A journal that was cut before what the witness keeps, for its size: what is left of it counts from there.
    if (head.published > 0 && published === undefined) this.#published = this.#start;
    this.#isOpen = true;
    return chains.get(wanted);
  }

  /** Begins an empty map; what is set until the next `flush` is written as a whole, without a journal. */
  begin(incarnationId: string, log: LogHead): void {
    this.#salt = randomBytes(SALT_BYTES);
    this.#incarnationId = incarnationId;
    const first = { epoch: 0, chain: this.#genesis() };
    this.#position = first;
    this.#start = first;
    this.#published = { epoch: 0, chain: EMPTY };
    this.#chunks = [{ start: 0, bits: 0, ...first, entries: new ChunkEntries(), later: [] }];
    this.#counts = new Map();
    this.#pending.clear();
    this.#undo.length = 0;
    this.#log = log;
    this.#debt = 0;
    this.#journalBytes = 0;
    this.#isOpen = true;
    this.#adopting = true;
  }

  /**
   * The same map, as the beginning of a new incarnation: what another copy of this database wrote since no longer fits. Written whole by the
   * next `flush`. @throws integrity when a chunk is damaged
   */
  restart(incarnationId: string): void {
    const { epoch, chain } = this.#position;
    const next = frames.clear().text('keyturn-anchor-restore-v1').blob(chain).text(incarnationId);
    const position = { epoch: epoch + 1, chain: sha256(next.peek()) };
    this.#chunks = this.#chunks.map((chunk) => {
      const entries = this.#entriesOf(chunk);
      return { start: chunk.start, bits: chunk.bits, ...position, entries, later: [] };
    });
    this.#incarnationId = incarnationId;
    this.#position = position;
    this.#start = position;
    this.#published = { epoch: 0, chain: EMPTY };
    this.#journalBytes = 0;
    this.#debt = 0;
    this.#adopting = true;
  }

  #genesis(): Uint8Array {
    return sha256(frames.clear().text('keyturn-anchor-genesis-v1').blob(this.#salt).text(this.#incarnationId).peek());
  }

  #takeHead(head: HeadRow): void {
    this.#salt = head.salt.slice();
    this.#incarnationId = head.incarnation_id;
    this.#position = { epoch: head.epoch, chain: head.chain };
    this.#start = { epoch: head.start, chain: head.start_chain };
    this.#takeLog(head);
  }

  #takeLog(head: HeadRow): void {
    this.#log = { size: head.size, stateSequence: head.state_sequence, frontier: head.frontier };
    this.#timeAt = head.time_at;
    this.#entries = head.entries;
    this.#counts = new Map(Object.entries(JSON.parse(head.entries) as Record<string, number>));
  }

  /** @throws integrity unless they tile the whole space and belong to this history */
  #takeChunks(rows: readonly Pick<ChunkRow, 'start' | 'bits' | 'epoch'>[], chains: ReadonlyMap<number, Uint8Array>): void {
    let next = 0;
    this.#chunks = rows.map(({ start, bits, epoch }) => {
      if (start !== next || bits < 0 || bits > 32) refuse('chunks do not tile');
      next = start + chunkSpan(bits);
      return {
        start,
        bits,
        epoch,
        chain: chains.get(epoch) ?? refuse('a chunk of another history'),
        entries: undefined,
        later: [],
      };
    });
    if (next !== 2 ** 32) refuse('chunks do not tile');
    this.#turn.clear();
    for (const chunk of [...this.#chunks].sort((a, b) => a.epoch - b.epoch)) this.#turn.add(chunk);
  }

  #placeOps(epoch: number, bytes: Uint8Array): void {
    this.#journalBytes += bytes.byteLength;
    for (const op of readOps(bytes) ?? refuse('journal')) {
      const chunk = this.#chunkOf(op);
      if (chunk.epoch < epoch) chunk.later.push(op);
    }
  }

  // ---- rows

  /** Where a row stands in this map. */
  fingerprint(table: string, id: readonly SqlValue[]): Fingerprint {
    frames.clear().raw(this.#salt).text(table).u8(0);
    for (const value of id) {
      if (typeof value === 'string') frames.u8(1).text(value);
      else if (typeof value === 'number') frames.u8(2).f64(value);
      else frames.u8(3).blob(value ?? EMPTY);
    }
    return sha256Words(frames.peek());
  }

  /** The row that is valid from now on. `tag`: at least 16 bytes, of which the first 16 count. Call inside a batch. */
  set(table: string, fingerprint: Fingerprint, tag: Uint8Array): void {
    const present = this.#tagAt(fingerprint);
    if (present !== undefined && isSameTag(present, tag)) return;
    this.#change({ ...fingerprint, tag: tag.slice(0, TAG_BYTES), table }, present === undefined ? 1 : 0);
  }

  /** There is no such row from now on. Idempotent. Call inside a batch. */
  remove(table: string, fingerprint: Fingerprint): void {
    if (this.#tagAt(fingerprint) !== undefined) this.#change({ ...fingerprint, tag: undefined, table }, -1);
  }

  /** @throws integrity when the chunk that would say it is damaged */
  isValid(fingerprint: Fingerprint, tag: Uint8Array): boolean {
    const present = this.#tagAt(fingerprint);
    return present !== undefined && isSameTag(present, tag);
  }

  /** @throws integrity when the chunk that would say it is damaged */
  has(fingerprint: Fingerprint): boolean {
    return this.#tagAt(fingerprint) !== undefined;
  }

  #tagAt(fingerprint: Fingerprint): Uint8Array | undefined {
    if (this.#pending.size > 0) {
      const pending = this.#pending.get(keyOf(fingerprint));
      if (pending !== undefined) return pending.tag;
    }
    return this.#entriesOf(this.#chunkOf(fingerprint)).find(fingerprint);
  }

  #change(op: Pending, delta: number): void {
    this.#counts.set(op.table, (this.#counts.get(op.table) ?? 0) + delta);
    if (this.#adopting) {
      this.#adopt(op);
      return;
    }
    const key = keyOf(op);
    this.#undo.push({ key, before: this.#pending.get(key), table: op.table, delta });
    this.#pending.set(key, op);
  }

  #adopt(op: AnchorOp): void {
    const chunk = this.#chunkOf(op);
    this.#entriesOf(chunk).apply(op);
    if (this.#entriesOf(chunk).count > LIMITS.anchorChunkMaxEntries)
      this.#replace(chunk, splitUp(chunk, this.#entriesOf(chunk), chunk));
  }

  /** What is pending now; `undoTo` takes back what came after. */
  mark(): number {
    return this.#undo.length;
  }

  /** INVARIANT: what a savepoint undid is undone here, too (test/cell/anchor.shared.test.ts). */
  undoTo(mark: number): void {
    while (this.#undo.length > mark) {
      const { key, before, table, delta } = this.#undo.pop() as Undo;
      this.#counts.set(table, (this.#counts.get(table) ?? 0) - delta);
      if (before === undefined) this.#pending.delete(key);
      else this.#pending.set(key, before);
    }
  }

  #chunkOf({ high }: Fingerprint): Chunk {
    let from = 0;
    let to = this.#chunks.length - 1;
    while (from < to) {
      const middle = (from + to + 1) >>> 1;
      if ((this.#chunks[middle] as Chunk).start <= high) from = middle;
      else to = middle - 1;
    }
    return this.#chunks[from] ?? refuse('the map is not open');
  }

  #entriesOf(chunk: Chunk): ChunkEntries {
    return chunk.entries ?? this.#load(chunk);
  }

  /** @throws integrity when the stored chunk is not the one that was written at its epoch */
  #load(chunk: Chunk): ChunkEntries {
    const row = this.#readChunk(chunk);
    const entries = new ChunkEntries(row.bytes);
    for (const op of chunk.later) entries.apply(op);
    chunk.later = [];
    chunk.entries = entries;
    return entries;
  }

  #readChunk(chunk: Chunk): ChunkRow {
    const row = this.#sql.get<ChunkRow>('SELECT * FROM anchor_chunk WHERE start = ?', chunk.start);
    if (row === undefined || row.bits !== chunk.bits || row.epoch !== chunk.epoch)
      return refuse('a chunk is not the one of the directory');
    const mac = this.#chunkMac(this.#keyring.macKey(row.mac_key_id).key, chunk, row.bytes);
    const whole = row.bytes.byteLength % ENTRY_BYTES === 0 && new ChunkEntries(row.bytes).fits(chunk.start, chunk.bits);
    if (!equalBytes(mac, row.mac) || !whole) refuse('a chunk failed its check');
    return row;
  }

  // ---- committing

  /** Writes what the batch changed. The last thing in its transaction but for the signed checkpoint. */
  flush(log: LogHead): void {
    this.#staged = undefined;
    if (this.#adopting) {
      this.#writeAll(log);
      return;
    }
    const grown = log.size !== this.#log.size || log.stateSequence !== this.#log.stateSequence;
    if (this.#pending.size === 0 && !grown && !this.#headChanged) return;
    const ops = [...this.#pending.values()];
    const position = ops.length === 0 ? this.#position : this.#append(ops);
    const opsByChunk = this.#byChunk(ops);
    const rewritten = this.#rewrite(position, opsByChunk, ops.length);
    const start = this.#nextStart(position, rewritten);
    let journalBytes = this.#journalBytes + ops.length * ENTRY_BYTES;
    if (start.epoch > this.#start.epoch) {
      const cut = 'DELETE FROM anchor_journal WHERE epoch <= ? RETURNING length(ops) AS bytes';
      for (const { bytes } of this.#sql.all<{ bytes: number }>(cut, start.epoch)) journalBytes -= bytes;
    }
    const debt = this.#debt + ops.length - rewritten.size * CHANGES_PER_CHUNK;
    const entries = ops.length === 0 ? this.#entries : this.#countsAsText();
    this.#staged = { position, start, opsByChunk, rewritten, journalBytes, debt: Math.max(0, debt), entries };
    this.#writeHead(log, this.#staged);
  }

  #append(ops: readonly AnchorOp[]): AnchorPosition {
    const epoch = this.#position.epoch + 1;
    writeOps(frames.clear(), ops);
    const bytes = frames.bytes();
    this.#sql.run('INSERT INTO anchor_journal (epoch, ops) VALUES (?, ?)', epoch, bytes);
    return { epoch, chain: nextChain(this.#position.chain, epoch, bytes) };
  }

  #byChunk(ops: readonly AnchorOp[]): Map<Chunk, AnchorOp[]> {
    const byChunk = new Map<Chunk, AnchorOp[]>();
    for (const op of ops) {
      const chunk = this.#chunkOf(op);
      const known = byChunk.get(chunk);
      if (known === undefined) byChunk.set(chunk, [op]);
      else known.push(op);
    }
    return byChunk;
  }

  /** Writes the chunks whose turn it is, one for each 16 changes. */
  #rewrite(position: AnchorPosition, ops: ReadonlyMap<Chunk, AnchorOp[]>, changes: number): Map<Chunk, Chunk[]> {
    const rewritten = new Map<Chunk, Chunk[]>();
    let left = Math.floor((this.#debt + changes) / CHANGES_PER_CHUNK);
    for (const chunk of this.#turn) {
      if (left <= 0) break;
      const entries = this.#presentOf(chunk, ops.get(chunk));
      if (entries === undefined) continue;
      const pieces = splitUp(chunk, entries, position);
      for (const piece of pieces) this.#writeChunk(piece);
      rewritten.set(chunk, pieces);
      left -= 1;
    }
    return rewritten;
  }

  /** A copy with the changes of the batch; undefined for a damaged chunk, which keeps the journal from where it was. */
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

  /** The journal reaches back to the oldest chunk and to what the witness keeps, unless it has grown past its bound. */
  #nextStart(position: AnchorPosition, rewritten: ReadonlyMap<Chunk, Chunk[]>): AnchorPosition {
    let oldest: AnchorPosition = position;
    for (const chunk of this.#turn) {
      if (rewritten.has(chunk)) continue;
      oldest = chunk;
      break;
    }
    const isKept = this.#published.epoch > 0 && this.#journalBytes < LIMITS.anchorJournalMaxBytes;
    const next = isKept && this.#published.epoch < oldest.epoch ? this.#published : oldest;
    return next.epoch > this.#start.epoch ? { epoch: next.epoch, chain: next.chain } : this.#start;
  }

  #writeAll(log: LogHead): void {
    this.#sql.run('DELETE FROM anchor_chunk');
    this.#sql.run('DELETE FROM anchor_journal');
    for (const chunk of this.#chunks) this.#writeChunk(chunk);
    this.#turn.clear();
    for (const chunk of this.#chunks) this.#turn.add(chunk);
    this.#staged = {
      position: this.#position,
      start: this.#start,
      opsByChunk: new Map(),
      rewritten: new Map(),
      journalBytes: 0,
      debt: 0,
      entries: this.#countsAsText(),
    };
    this.#writeHead(log, this.#staged);
  }

  #countsAsText(): string {
    return JSON.stringify(Object.fromEntries(this.#counts));
  }

  #writeChunk(chunk: Chunk): void {
    const { keyId, key } = this.#keyring.macKey();
    const bytes = this.#entriesOf(chunk).peek().slice();
    this.#sql.run(
      'INSERT INTO anchor_chunk (start, bits, epoch, bytes, mac, mac_key_id) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (start) DO UPDATE SET ' +
        'bits = excluded.bits, epoch = excluded.epoch, bytes = excluded.bytes, mac = excluded.mac, mac_key_id = excluded.mac_key_id',
      chunk.start,
      chunk.bits,
      chunk.epoch,
      bytes,
      this.#chunkMac(key, chunk, bytes),
      keyId,
    );
  }

  #writeHead(log: LogHead, { position, start, entries }: Staged): void {
    const { keyId, key } = this.#keyring.macKey();
    const row: HeadRow = {
      size: log.size,
      state_sequence: log.stateSequence,
      frontier: log.frontier,
      epoch: position.epoch,
      start: start.epoch,
      start_chain: start.chain,
      chain: position.chain,
      entries,
      salt: this.#salt,
      incarnation_id: this.#incarnationId,
      published: this.#published.epoch,
      time_at: this.#timeAt,
      mac: EMPTY,
      mac_key_id: keyId,
    };
    const mac = this.#headMac(key, row);
    // A batch of reads changes the log alone.
    const isMoved = position !== this.#position || start !== this.#start || this.#adopting;
    const columns = isMoved ? HEAD_COLUMNS : LOG_COLUMNS;
    const values: SqlValue[] = columns.map((column) => row[column]);
    this.#sql.run(this.#adopting ? INSERT_HEAD : isMoved ? UPDATE_HEAD : UPDATE_LOG, ...values, mac, keyId);
    this.#nextLog = log;
  }

  /** The batch is durable: memory becomes what the database is. */
  afterCommit(): void {
    if (this.#nextLog !== undefined) this.#log = this.#nextLog;
    this.#nextLog = undefined;
    this.#adopting = false;
    const staged = this.#staged;
    if (staged === undefined) return;
    this.#staged = undefined;
    this.#headChanged = false;
    this.#position = staged.position;
    this.#start = staged.start;
    this.#journalBytes = staged.journalBytes;
    this.#debt = staged.debt;
    this.#entries = staged.entries;
    for (const [chunk, ops] of staged.opsByChunk) {
      if (staged.rewritten.has(chunk)) continue;
      for (const op of ops) this.#entriesOf(chunk).apply(op);
    }
    for (const [chunk, pieces] of staged.rewritten) this.#replace(chunk, pieces);
    this.#pending.clear();
    this.#undo.length = 0;
  }

  /**
   * The batch was undone, or nobody knows: what the head says now decides between the two, and nothing else is believed.
   * @throws integrity when the head is neither the one before the batch nor the one after it
   */
  afterRollback(): void {
    const staged = this.#staged;
    const head = this.#readHead() ?? refuse('the head is missing');
    const isAfter =
      staged !== undefined &&
      head.epoch === staged.position.epoch &&
      equalBytes(head.chain, staged.position.chain) &&
      this.#nextLog !== undefined &&
      head.size === this.#nextLog.size;
    const isBefore =
      head.epoch === this.#position.epoch && equalBytes(head.chain, this.#position.chain) && head.size === this.#log.size;
    if (!isBefore && !isAfter) refuse('the head changed while the cell was open');
    if (isAfter && !isBefore) this.afterCommit();
    this.#staged = undefined;
    this.#nextLog = undefined;
    this.#pending.clear();
    this.#undo.length = 0;
    this.#takeLog(head);
  }

  #replace(chunk: Chunk, pieces: readonly Chunk[]): void {
    const at = this.#chunks.indexOf(chunk);
    this.#chunks.splice(at, 1, ...pieces);
    this.#turn.delete(chunk);
    for (const piece of pieces) this.#turn.add(piece);
  }

  /** The witness keeps a checkpoint that names this position. */
  notePublished(position: AnchorPosition): void {
    if (position.epoch <= this.#published.epoch) return;
    this.#published = position;
    this.#headChanged = true;
  }

  // ---- keys, restore, scrub

  /** Chunks and head under another MAC key than the active one, or under exactly `keyId`. */
  countUnder(keyId?: string): number {
    const active = this.#keyring.macKey().keyId;
    const [where, ids] =
      keyId === undefined ? ['mac_key_id < ? OR mac_key_id > ?', [active, active]] : ['mac_key_id = ?', [keyId]];
    const count = (table: string) =>
      Number(this.#sql.get(`SELECT count(*) AS n FROM ${table} WHERE ${where}`, ...ids)?.['n'] ?? 0);
    return count('anchor_chunk') + count('anchor_head');
  }

  /** Seals up to `maxRows` chunks under the active MAC key, and the head with this batch; returns how many. */
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
      const chunk = this.#chunkOf({ high: start, low: 0 });
      if (this.#presentOf(chunk) === undefined) continue;
      const { bytes } = this.#readChunk(chunk);
      const mac = this.#chunkMac(key, chunk, bytes);
      this.#sql.run('UPDATE anchor_chunk SET mac = ?, mac_key_id = ? WHERE start = ?', mac, keyId, start);
      done += 1;
    }
    const head = this.#sql.get('SELECT mac_key_id FROM anchor_head WHERE id = 1');
    if (head?.['mac_key_id'] !== keyId && !this.#headChanged) {
      this.#headChanged = true;
      done += 1;
    }
    return done;
  }

  /** Checks every stored chunk; returns how many there are and the starts of those that fail. */
  checkChunks(): { readonly chunks: number; readonly failed: number } {
    let failed = 0;
    for (const chunk of this.#chunks) {
      try {
        this.#readChunk(chunk);
      } catch {
        failed += 1;
      }
    }
    return { chunks: this.#chunks.length, failed };
  }

  #readHead(): HeadRow | undefined {
    const row = this.#sql.get<HeadRow>('SELECT * FROM anchor_head WHERE id = 1');
    if (row === undefined) return undefined;
    const mac = this.#headMac(this.#keyring.macKey(row.mac_key_id).key, row);
    return equalBytes(mac, row.mac) ? row : refuse('the head failed its check');
  }

  #headMac(key: Parameters<typeof hmacSha256>[0], row: HeadRow): Uint8Array {
    const { installationId, cellId } = this.#keyring.identity;
    frames.clear().text('keyturn-anchor-head-v1').text(installationId).text(cellId);
    for (const column of HEAD_COLUMNS) {
      const value = row[column];
      if (typeof value === 'number') frames.u64(value);
      else if (typeof value === 'string') frames.text(value);
      else frames.blob(value);
    }
    return hmacSha256(key, frames.peek());
  }

  #chunkMac(key: Parameters<typeof hmacSha256>[0], chunk: Omit<Chunk, 'entries' | 'later'>, bytes: Uint8Array): Uint8Array {
    const { installationId, cellId } = this.#keyring.identity;
    frames.clear().text('keyturn-anchor-chunk-v1').text(installationId).text(cellId);
    frames.u32(chunk.start).u8(chunk.bits).u64(chunk.epoch).blob(chunk.chain).blob(bytes);
    return hmacSha256(key, frames.peek());
  }
}

const HEAD_COLUMNS = [
  'size',
  'state_sequence',
  'frontier',
  'epoch',
  'start',
  'start_chain',
  'chain',
  'entries',
  'salt',
  'incarnation_id',
  'published',
  'time_at',
] as const;
/** What changes with every batch, whatever it did. */
const LOG_COLUMNS = ['size', 'state_sequence', 'frontier', 'published', 'time_at'] as const;
const INSERT_HEAD = `INSERT OR REPLACE INTO anchor_head (id, ${HEAD_COLUMNS.join(', ')}, mac, mac_key_id) VALUES (1, ${HEAD_COLUMNS.map(() => '?').join(', ')}, ?, ?)`;
const UPDATE_HEAD = updateOf(HEAD_COLUMNS);
const UPDATE_LOG = updateOf(LOG_COLUMNS);

function updateOf(columns: readonly string[]): string {
  return `UPDATE anchor_head SET ${columns.map((column) => `${column} = ?`).join(', ')}, mac = ?, mac_key_id = ? WHERE id = 1`;
}

/** Tags lie in the file for all to see: nothing is to be hidden by the time this takes. */
function isSameTag(present: Uint8Array, tag: Uint8Array): boolean {
  for (let i = 0; i < TAG_BYTES; i++) if (present[i] !== tag[i]) return false;
  return true;
}

function keyOf({ high, low }: Fingerprint): string {
  return `${high}.${low}`;
}

function nextChain(chain: Uint8Array, epoch: number, ops: Uint8Array): Uint8Array {
  return sha256(frames.clear().text('keyturn-anchor-chain-v1').blob(chain).u64(epoch).blob(ops).peek());
}

/** The chains at the epochs that are needed, along the journal. @throws integrity unless it leads from the start to the head */
function chainsOf(
  head: HeadRow,
  journal: readonly { epoch: number; ops: Uint8Array }[],
  needed: ReadonlySet<number>,
): Map<number, Uint8Array> {
  const chains = new Map([[head.start, head.start_chain]]);
  let chain = head.start_chain;
  let epoch = head.start;
  for (const row of journal) {
    epoch += 1;
    if (row.epoch !== epoch) refuse('the journal has a gap');
    chain = nextChain(chain, epoch, row.ops);
    if (needed.has(epoch)) chains.set(epoch, chain);
  }
  if (epoch !== head.epoch || !equalBytes(chain, head.chain)) refuse('the journal does not lead to the head');
  return chains;
}

/** The chunk as it is written at `position`, in as many pieces as its entries ask for. */
function splitUp(place: Pick<Chunk, 'start' | 'bits'>, entries: ChunkEntries, position: AnchorPosition): Chunk[] {
  const { start, bits } = place;
  if (entries.count <= LIMITS.anchorChunkMaxEntries || bits >= 32) {
    return [{ start, bits, epoch: position.epoch, chain: position.chain, entries, later: [] }];
  }
  const middle = start + chunkSpan(bits + 1);
  const [low, high] = entries.splitAt(middle);
  return [...splitUp({ start, bits: bits + 1 }, low, position), ...splitUp({ start: middle, bits: bits + 1 }, high, position)];
}

function refuse(evidence: string): never {
  return fail('integrity', 'stored data failed its check', { evidence: `anchor: ${evidence}` });
}
