// The map of all valid rows of a cell: it detects rows that were restored, removed or duplicated (decision 0009). The map is in memory; every
// batch appends its changes to a hash chain and writes one head row with a MAC; chunks of the map are written in turn.
// While the cell is open, it must never trust head, journal or chunks in the database again, nor change in-memory state before the commit.
import { LIMITS } from '../base/limits.ts';
import { FrameWriter } from '../crypto/framing.ts';
import { equalBytes, randomBytes, sha256, sha256Words } from '../crypto/primitives.ts';
import type { MacKeys } from '../crypto/row-mac.ts';
import { type AnchorOp, ENTRY_BYTES, type Fingerprint, nextChain, TAG_BYTES, writeOps } from './anchor-chunk.ts';
import { AnchorChunks, type Chunk } from './anchor-chunks.ts';
import { AnchorHead, type AnchorPosition, type HeadFacts, type LogHead, refuse } from './anchor-head.ts';
import { type ChunkMemory, chunkMemory } from './anchor-memory.ts';
import { readMap } from './anchor-open.ts';
import type { Sql, SqlValue } from './sql.ts';

export type { AnchorPosition, LogHead };

interface Pending extends AnchorOp {
  readonly table: string;
}

interface Undo {
  readonly key: string;
  readonly before: Pending | undefined;
  readonly table: string;
  readonly delta: number;
}

/** The state after the running commit. */
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
  readonly #head: AnchorHead;
  readonly #chunks: AnchorChunks;
  /** Set while rows of an older build are adopted: the map changes at once and is written whole at the end. */
  #adopting = false;
  #salt: Uint8Array = EMPTY;
  #incarnationId = '';
  #position: AnchorPosition = { epoch: 0, chain: EMPTY };
  #start: AnchorPosition = { epoch: 0, chain: EMPTY };
  /** The position that the witness has; the journal reaches back to it. Epoch 0: none. */
  #published: AnchorPosition = { epoch: 0, chain: EMPTY };
  #debt = 0;
  #journalBytes = 0;
  readonly #pending = new Map<string, Pending>();
  readonly #undo: Undo[] = [];
  #counts = new Map<string, number>();
  /** The counts of the head, as text. */
  #entries = '{}';
  #log: LogHead = { size: 0, stateSequence: 0, frontier: EMPTY };
  #timeAt = 0;
  #headChanged = false;
  #staged: Staged | undefined;
  #nextLog: LogHead | undefined;

  /** @param memory the budget that loaded chunks share with other cells */
  constructor(sql: Sql, keyring: MacKeys, memory: ChunkMemory = chunkMemory) {
    this.#sql = sql;
    this.#keyring = keyring;
    this.#head = new AnchorHead(sql, keyring);
    this.#chunks = new AnchorChunks(sql, keyring, memory);
  }

  get position(): AnchorPosition {
    return this.#position;
  }

  /** The position after the running batch, or the committed one. */
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

  /** Epoch of the last position that the witness is known to have; 0 if none. */
  get publishedEpoch(): number {
    return this.#published.epoch;
  }

  /** The number of rows of each table, from the head. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** The highest committed time, in milliseconds since 1970. */
  get timeAt(): number {
    return this.#timeAt;
  }

  /** Raises the highest time; a lower one changes nothing. Written with the next batch that changes anything. */
  raiseTime(atMs: number): void {
    if (atMs > this.#timeAt) this.#timeAt = atMs;
  }

  /** Replaces the highest time, because the operator declared it wrong. */
  resetTime(atMs: number): void {
    this.#timeAt = atMs;
  }

  /** Frees the memory of loaded chunks; they are loaded and verified again on use. */
  release(): void {
    this.#chunks.release();
  }

  // ---- opening

  /** Whether the database has a head. */
  static exists(sql: Sql): boolean {
    return AnchorHead.exists(sql);
  }

  /**
   * Reads head, directory and journal and checks them against each other.
   * @returns the chain at epoch `wanted`, or undefined when the journal does not reach back to it
   * @throws integrity
   */
  open(wanted = 0): Uint8Array | undefined {
    const stored = readMap(this.#sql, this.#head, wanted);
    this.#takeHead(stored.head);
    this.#chunks.take(stored.chunks);
    for (const row of stored.journal) this.#chunks.takeLater(row);
    this.#journalBytes = stored.journalBytes;
    this.#published = stored.published;
    return stored.wanted;
  }

  /** Begins an empty map; the next `flush` writes it as a whole, without a journal. */
  begin(incarnationId: string, log: LogHead): void {
    this.#salt = randomBytes(SALT_BYTES);
    this.#incarnationId = incarnationId;
    const first = { epoch: 0, chain: this.#genesis() };
    this.#position = first;
    this.#start = first;
    this.#published = { epoch: 0, chain: EMPTY };
    this.#chunks.begin(first);
    this.#counts = new Map();
    this.#pending.clear();
    this.#undo.length = 0;
    this.#log = log;
    this.#adopting = true;
  }

  /**
   * Keeps the map and begins a new incarnation with it: later states of other copies of this database are then refused. The next `flush`
   * writes the map as a whole. @throws integrity when a chunk is damaged
   */
  restart(incarnationId: string): void {
    const { epoch, chain } = this.#position;
    const next = frames.clear().text('keyturn-anchor-restore-v1').blob(chain).text(incarnationId);
    const position = { epoch: epoch + 1, chain: sha256(next.peek()) };
    this.#chunks.restart(position);
    this.#incarnationId = incarnationId;
    this.#position = position;
    this.#start = position;
    this.#published = { epoch: 0, chain: EMPTY };
    this.#adopting = true;
  }

  #genesis(): Uint8Array {
    return sha256(frames.clear().text('keyturn-anchor-genesis-v1').blob(this.#salt).text(this.#incarnationId).peek());
  }

  #takeHead(head: HeadFacts): void {
    this.#salt = head.salt.slice();
    this.#incarnationId = head.incarnation_id;
    this.#position = { epoch: head.epoch, chain: head.chain };
    this.#start = { epoch: head.start, chain: head.start_chain };
    this.#takeLog(head);
  }

  #takeLog(head: HeadFacts): void {
    this.#log = { size: head.size, stateSequence: head.state_sequence, frontier: head.frontier };
    this.#timeAt = head.time_at;
    this.#entries = head.entries;
    this.#counts = new Map(Object.entries(JSON.parse(head.entries) as Record<string, number>));
  }

  // ---- rows

  /** The position of a row in this map. */
  fingerprint(table: string, id: readonly SqlValue[]): Fingerprint {
    frames.clear().raw(this.#salt).text(table).u8(0);
    for (const value of id) {
      if (typeof value === 'string') frames.u8(1).text(value);
      else if (typeof value === 'number') frames.u8(2).f64(value);
      else frames.u8(3).blob(value ?? EMPTY);
    }
    return sha256Words(frames.peek());
  }

  /** Adds or replaces a row. `tag`: at least 16 bytes, of which the first 16 are used. Call inside a batch. */
  set(table: string, fingerprint: Fingerprint, tag: Uint8Array): void {
    const present = this.#tagAt(fingerprint);
    if (present !== undefined && isSameTag(present, tag)) return;
    this.#change({ ...fingerprint, tag: tag.slice(0, TAG_BYTES), table }, present === undefined ? 1 : 0);
  }

  /** Removes a row. Idempotent. Call inside a batch. */
  remove(table: string, fingerprint: Fingerprint): void {
    if (this.#tagAt(fingerprint) !== undefined) this.#change({ ...fingerprint, tag: undefined, table }, -1);
  }

  /** Whether the map has the row with this tag. @throws integrity when its chunk is damaged */
  isValid(fingerprint: Fingerprint, tag: Uint8Array): boolean {
    const present = this.#tagAt(fingerprint);
    return present !== undefined && isSameTag(present, tag);
  }

  /** Whether the map has the row. @throws integrity when its chunk is damaged */
  has(fingerprint: Fingerprint): boolean {
    return this.#tagAt(fingerprint) !== undefined;
  }

  #tagAt(fingerprint: Fingerprint): Uint8Array | undefined {
    if (this.#pending.size > 0) {
      const pending = this.#pending.get(keyOf(fingerprint));
      if (pending !== undefined) return pending.tag;
    }
    return this.#chunks.find(fingerprint);
  }

  #change(op: Pending, delta: number): void {
    this.#counts.set(op.table, (this.#counts.get(op.table) ?? 0) + delta);
    if (this.#adopting) {
      this.#chunks.adopt(op);
      return;
    }
    const key = keyOf(op);
    this.#undo.push({ key, before: this.#pending.get(key), table: op.table, delta });
    this.#pending.set(key, op);
  }

  /** A mark of the pending changes; `undoTo` undoes later ones. */
  mark(): number {
    return this.#undo.length;
  }

  /** INVARIANT: undoing a savepoint also undoes its changes of the map (test/cell/anchor-cases.ts). */
  undoTo(mark: number): void {
    while (this.#undo.length > mark) {
      const { key, before, table, delta } = this.#undo.pop() as Undo;
      this.#counts.set(table, (this.#counts.get(table) ?? 0) - delta);
      if (before === undefined) this.#pending.delete(key);
      else this.#pending.set(key, before);
    }
  }

  // ---- committing

  /** Writes the changes of the batch; after it, the transaction writes only the signed checkpoint. */
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
    const opsByChunk = this.#chunks.byChunk(ops);
    const due = Math.floor((this.#debt + ops.length) / CHANGES_PER_CHUNK);
    const rewritten = this.#chunks.rewrite(position, opsByChunk, due);
    const start = this.#nextStart(position, rewritten);
    let journalBytes = this.#journalBytes + ops.length * ENTRY_BYTES;
    if (start.epoch > this.#start.epoch) {
      const cut = 'DELETE FROM anchor_journal WHERE epoch <= ? RETURNING length(ops) AS bytes';
      for (const { bytes } of this.#sql.all<{ bytes: number }>(cut, start.epoch)) journalBytes -= bytes;
    }
    // With fewer chunks than are due, all were written now, so nothing is left for the next batch.
    const debt = rewritten.size < due ? 0 : this.#debt + ops.length - due * CHANGES_PER_CHUNK;
    const entries = ops.length === 0 ? this.#entries : this.#countsAsText();
    this.#staged = { position, start, opsByChunk, rewritten, journalBytes, debt, entries };
    this.#writeHead(log, this.#staged);
  }

  #append(ops: readonly AnchorOp[]): AnchorPosition {
    const epoch = this.#position.epoch + 1;
    writeOps(frames.clear(), ops);
    const bytes = frames.bytes();
    this.#sql.run('INSERT INTO anchor_journal (epoch, ops) VALUES (?, ?)', epoch, bytes);
    return { epoch, chain: nextChain(this.#position.chain, epoch, bytes) };
  }

  /** The new start of the journal: the oldest chunk or, while the journal is within its limit, the earlier position that the witness has. */
  #nextStart(position: AnchorPosition, rewritten: ReadonlyMap<Chunk, Chunk[]>): AnchorPosition {
    const oldest = this.#chunks.oldest(rewritten) ?? position;
    const isKept = this.#published.epoch > 0 && this.#journalBytes < LIMITS.anchorJournalMaxBytes;
    const next = isKept && this.#published.epoch < oldest.epoch ? this.#published : oldest;
    return next.epoch > this.#start.epoch ? { epoch: next.epoch, chain: next.chain } : this.#start;
  }

  #writeAll(log: LogHead): void {
    this.#sql.run('DELETE FROM anchor_journal');
    this.#chunks.writeAll();
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
    // JSON without JSON.stringify, for speed: it runs in every batch that changes a row. Names from tables.ts need no escaping.
    let text = '';
    for (const [table, count] of this.#counts) text += `${text === '' ? '{' : ','}"${table}":${count}`;
    return text === '' ? '{}' : `${text}}`;
  }

  #writeHead(log: LogHead, { position, start, entries }: Staged): void {
    const facts: HeadFacts = {
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
    };
    // A batch of reads changes only the log.
    const isMoved = position !== this.#position || start !== this.#start || this.#adopting;
    this.#head.write(facts, this.#adopting ? 'all' : isMoved ? 'map' : 'log');
    this.#nextLog = log;
  }

  /** Runs when the batch is durable: applies it to the in-memory state. */
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
    this.#chunks.commit(staged.opsByChunk, staged.rewritten);
    this.#pending.clear();
    this.#undo.length = 0;
  }

  /**
   * The batch was rolled back, or its outcome is unknown: the stored head decides which.
   * @throws integrity when the head is neither the one before nor the one after the batch
   */
  afterRollback(): void {
    const staged = this.#staged;
    const head = this.#head.read();
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

  /** Records that the witness has a checkpoint with this position. */
  notePublished(position: AnchorPosition): void {
    if (position.epoch <= this.#published.epoch) return;
    this.#published = position;
    this.#headChanged = true;
  }

  // ---- keys, restore, scrub

  /** Number of chunks and heads under MAC keys other than the active one, or under `keyId` only. */
  countUnder(keyId?: string): number {
    const active = this.#keyring.macKey().keyId;
    const [where, ids] =
      keyId === undefined ? ['mac_key_id < ? OR mac_key_id > ?', [active, active]] : ['mac_key_id = ?', [keyId]];
    const count = (table: string) => Number(this.#sql.get(`SELECT count(*) AS n FROM ${table} WHERE ${where}`, ...ids)?.['n']);
    return count('anchor_chunk') + count('anchor_head');
  }

  /** Computes the MACs of up to `maxRows` chunks under the active key, and of the head with this batch; returns how many. */
  reseal(maxRows: number): number {
    const done = this.#chunks.reseal(maxRows);
    if (this.#head.macKeyId === this.#keyring.macKey().keyId || this.#headChanged) return done;
    this.#headChanged = true;
    return done + 1;
  }

  /** Checks every stored chunk; returns the number of chunks and of failures. */
  checkChunks(): { readonly chunks: number; readonly failed: number } {
    return this.#chunks.check();
  }
}

/** Not constant-time: tags are stored in the database in clear, so timing reveals nothing. */
function isSameTag(present: Uint8Array, tag: Uint8Array): boolean {
  for (let i = 0; i < TAG_BYTES; i++) if (present[i] !== tag[i]) return false;
  return true;
}

function keyOf({ high, low }: Fingerprint): string {
  return `${high}.${low}`;
}
