// The progress of rotating a cell's own keys, and the rows still sealed under an old key: all their SQL.
// It must never let a key be destroyed while a row refers to it.
import type { Purpose } from '../crypto/envelope.ts';
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import { countStale, resealRows, rewrapRows, usesOf } from './rewrap.ts';
import type { CellRows, TableRows } from './rows.ts';

export interface KeyProgress {
  readonly purpose: string;
  readonly toVersion: number;
  readonly total: number;
  readonly done: number;
  readonly startedAtMs: number;
  readonly finishedAtMs: number | null;
}

interface ProgressRow {
  purpose: string;
  to_version: number;
  total: number;
  done: number;
  started_at: number;
  finished_at: number | null;
}

const DONE = ['done'] as const;
const FINISHED = ['done', 'finished_at'] as const;

export class KeyRotationStore {
  readonly #cell: CellRows;
  readonly #rows: TableRows<ProgressRow>;

  constructor(rows: CellRows) {
    this.#cell = rows;
    this.#rows = rows.of('key_rotation');
  }

  /** A damaged row is left out. */
  progress(access: Lookup): KeyProgress[] {
    access.check();
    return this.#intact().map((row) => ({
      purpose: row.purpose,
      toVersion: row.to_version,
      total: row.total,
      done: row.done,
      startedAtMs: row.started_at,
      finishedAtMs: row.finished_at,
    }));
  }

  /** Whether a rotation is not finished, also one with a damaged row. */
  hasUnfinished(access: Lookup): boolean {
    access.check();
    const query = 'SELECT 1 AS present FROM key_rotation WHERE finished_at IS NULL ORDER BY started_at LIMIT 1';
    return this.#cell.sql.get(query) !== undefined;
  }

  #intact(): ProgressRow[] {
    return this.#rows.intact(this.#cell.sql.all<ProgressRow>('SELECT * FROM key_rotation ORDER BY started_at, purpose'));
  }

  begin(access: WriteAccess, purpose: Purpose, toVersion: number, nowMs: number): void {
    access.check();
    const total = countStale(this.#cell, purpose);
    this.#rows.insert({ purpose, to_version: toVersion, total, done: 0, started_at: nowMs, finished_at: null });
  }

  advance(access: WriteAccess, progress: KeyProgress, rows: number): void {
    access.check();
    const row = this.#intact().find((one) => one.purpose === progress.purpose && one.to_version === progress.toVersion);
    if (row !== undefined) this.#rows.update({ ...row, done: Math.min(row.done + rows, row.total) }, DONE);
  }

  /** No row of the purpose is under an old key any more; the old keys may be destroyed from `destroyAfterMs` on. */
  finish(access: WriteAccess, purpose: string, nowMs: number, destroyAfterMs: number): void {
    access.check();
    for (const row of this.#intact().filter((one) => one.purpose === purpose && one.finished_at === null))
      this.#rows.update({ ...row, done: row.total, finished_at: nowMs }, FINISHED);
    this.#cell.keyring.planDestruction(purpose, destroyAfterMs);
  }

  /** Number of rows under keys of the purpose other than the active one, or under `keyId` only. */
  countStale(access: Lookup, purpose: Purpose, keyId?: string): number {
    access.check();
    return countStale(this.#cell, purpose, keyId);
  }

  /** Reads every row that may be under the key, in slices, and yields for each whether it has a row under the key (rewrap.ts). */
  usesOf(keyId: string): Generator<boolean, void> {
    return usesOf(this.#cell, keyId);
  }

  postpone(access: WriteAccess | Bookkeeping<'key-destruction'>, keyId: string, destroyAfterMs: number): void {
    access.check();
    this.#cell.keyring.postponeDestruction(keyId, destroyAfterMs);
  }

  /** Moves up to `maxRows` sealed rows of the purpose to its active key; returns how many. */
  rewrap(access: WriteAccess, purpose: Purpose, maxRows: number): number {
    access.check();
    return purpose === 'metadata_mac' ? resealRows(this.#cell, maxRows) : rewrapRows(this.#cell, purpose, maxRows);
  }
}
