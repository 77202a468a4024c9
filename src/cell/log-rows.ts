// The tables of the audit log: blocks of events with their leaf hashes, and signed heads. src/audit interprets them; tables.ts explains why
// they are not in the map. It must never change a stored block.
import type { Lookup } from './access.ts';
import type { Sql } from './sql.ts';

/** The events of one batch. */
export interface LogBlock {
  first_index: number;
  events: number;
  /** One line per event. */
  bytes: Uint8Array;
  /** Their leaf hashes, concatenated. */
  leaves: Uint8Array;
}

/** A block without its events. */
export interface BlockSummary {
  first_index: number;
  events: number;
  /** The end of its batch: no event in it is later. */
  last_at: number;
  /** Bytes of its events. */
  size: number;
}

export interface CheckpointRow {
  size: number;
  at: number;
  note: string;
}

/** A signed head, and what the tree goes on from. Nothing of it is believed before its check; heads of older builds have no frontier. */
export interface KeptHead {
  size: number;
  note: string;
  frontier: Uint8Array | null;
}

const FACTS = 'SELECT first_index, events, last_at, length(bytes) AS size FROM audit_block';

/** Blocks and signed heads of one cell. */
export class LogRows {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  // ---- writing: by the log, at the end of a batch

  append({ first_index, events, bytes, leaves }: LogBlock, lastAtMs: number): void {
    this.#sql.run(
      'INSERT INTO audit_block (first_index, events, last_at, bytes, leaves) VALUES (?, ?, ?, ?, ?)',
      first_index,
      events,
      lastAtMs,
      bytes,
      leaves,
    );
  }

  /** Replaces an older head of the same size. */
  saveHead({ size, at, note }: CheckpointRow, frontier: Uint8Array): void {
    this.#sql.run(
      'INSERT INTO checkpoint (size, at, note, frontier) VALUES (?, ?, ?, ?) ' +
        'ON CONFLICT (size) DO UPDATE SET at = excluded.at, note = excluded.note, frontier = excluded.frontier',
      size,
      at,
      note,
      frontier,
    );
  }

  // ---- reading while the cell is opened, without an access

  /** The size of the newest signed head up to `size`; undefined when there is none. */
  signedSizeUpTo(size: number): number | undefined {
    const row = this.#sql.get<{ size: number | null }>('SELECT max(size) AS size FROM checkpoint WHERE size <= ?', size);
    return row?.size ?? undefined;
  }

  /** The frontier stored beside the signed head of that size. */
  frontierAt(size: number): Uint8Array | undefined {
    const row = this.#sql.get<{ frontier: Uint8Array | null }>('SELECT frontier FROM checkpoint WHERE size = ?', size);
    return row?.frontier ?? undefined;
  }

  /** Oldest first, from the block that contains the event `index` to blocks that begin before `beforeIndex`. */
  leavesFrom(index: number, beforeIndex: number, maxRows: number): Pick<LogBlock, 'first_index' | 'leaves'>[] {
    const start = 'SELECT max(first_index) AS first_index FROM audit_block WHERE first_index <= ?';
    const from = this.#sql.get<{ first_index: number | null }>(start, index)?.first_index ?? 0;
    return this.#sql.all(
      'SELECT first_index, leaves FROM audit_block WHERE first_index >= ? AND first_index < ? ORDER BY first_index LIMIT ?',
      from,
      beforeIndex,
      maxRows,
    );
  }

  /** The newest signed head up to `size` that has a frontier. */
  headUpTo(size: number): KeptHead | undefined {
    return this.#sql.get<KeptHead>(
      'SELECT size, note, frontier FROM checkpoint WHERE size <= ? AND frontier IS NOT NULL ORDER BY size DESC LIMIT 1',
      size,
    );
  }

  /** Smallest first, of `size` or more events. */
  headsFrom(size: number, maxRows: number): KeptHead[] {
    return this.#sql.all<KeptHead>(
      'SELECT size, note, frontier FROM checkpoint WHERE size >= ? ORDER BY size LIMIT ?',
      size,
      maxRows,
    );
  }

  // ---- reading

  newestBlock(access: Lookup): BlockSummary | undefined {
    access.check();
    return this.#sql.get<BlockSummary>(`${FACTS} WHERE first_index >= 0 ORDER BY first_index DESC LIMIT 1`);
  }

  /** The last block that begins at or before the event `index`. */
  blockAt(access: Lookup, index: number): BlockSummary | undefined {
    access.check();
    return this.#sql.get<BlockSummary>(`${FACTS} WHERE first_index <= ? ORDER BY first_index DESC LIMIT 1`, index);
  }

  /** Blocks that begin at `floor` or later and before `beforeIndex`, newest first. */
  blocksBefore(access: Lookup, beforeIndex: number, floor: number, maxRows: number): BlockSummary[] {
    access.check();
    return this.#sql.all<BlockSummary>(
      `${FACTS} WHERE first_index < ? AND first_index >= ? ORDER BY first_index DESC LIMIT ?`,
      beforeIndex,
      floor,
      maxRows,
    );
  }

  /** Blocks that begin at `fromIndex` or later and before `beforeIndex`, oldest first. */
  blocksFrom(access: Lookup, fromIndex: number, beforeIndex: number, maxRows: number): BlockSummary[] {
    access.check();
    return this.#sql.all<BlockSummary>(
      `${FACTS} WHERE first_index >= ? AND first_index < ? ORDER BY first_index LIMIT ?`,
      fromIndex,
      beforeIndex,
      maxRows,
    );
  }

  /** Whole blocks that begin from `fromIndex` to `throughIndex`, oldest first. */
  wholeBlocks(access: Lookup, fromIndex: number, throughIndex: number): LogBlock[] {
    access.check();
    return this.#sql.all<LogBlock>(
      'SELECT first_index, events, bytes, leaves FROM audit_block WHERE first_index >= ? AND first_index <= ? ORDER BY first_index',
      fromIndex,
      throughIndex,
    );
  }

  newestHead(access: Lookup): CheckpointRow | undefined {
    access.check();
    return this.#sql.get<CheckpointRow>('SELECT size, at, note FROM checkpoint WHERE size >= 0 ORDER BY size DESC LIMIT 1');
  }

  /** Heads above `aboveSize`, up to `throughSize`, smallest first. */
  heads(access: Lookup, aboveSize: number, throughSize: number): CheckpointRow[] {
    access.check();
    return this.#sql.all<CheckpointRow>(
      'SELECT size, at, note FROM checkpoint WHERE size > ? AND size <= ? ORDER BY size',
      aboveSize,
      throughSize,
    );
  }
}
