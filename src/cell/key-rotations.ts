// How far the rotation of a cell's own keys is, and the rows that still lie under an old one: all SQL about it.
// It must never let a key be destroyed while a row refers to it.
import type { Purpose } from '../crypto/envelope.ts';
import type { Lookup, WriteAccess } from './access.ts';
import type { Keyring } from './keyring.ts';
import { countStale, REWRAP_TABLES, rewrapRows } from './rewrap.ts';
import type { Sql } from './sql.ts';

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

export class KeyRotationStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  progress(access: Lookup): KeyProgress[] {
    access.check();
    return this.#sql.all<ProgressRow>('SELECT * FROM key_rotation ORDER BY started_at, purpose').map((row) => ({
      purpose: row.purpose,
      toVersion: row.to_version,
      total: row.total,
      done: row.done,
      startedAtMs: row.started_at,
      finishedAtMs: row.finished_at,
    }));
  }

  begin(access: WriteAccess, purpose: Purpose, toVersion: number, nowMs: number): void {
    access.check();
    this.#sql.run(
      'INSERT INTO key_rotation (purpose, to_version, total, done, started_at) VALUES (?, ?, ?, 0, ?)',
      purpose,
      toVersion,
      countStale(this.#sql, purpose, this.#keyring),
      nowMs,
    );
  }

  advance(access: WriteAccess, progress: KeyProgress, rows: number): void {
    access.check();
    this.#sql.run(
      'UPDATE key_rotation SET done = min(done + ?, total) WHERE purpose = ? AND to_version = ?',
      rows,
      progress.purpose,
      progress.toVersion,
    );
  }

  /** The purpose has nothing left under an old key; those keys may be destroyed from `destroyAfterMs` on. */
  finish(access: WriteAccess, purpose: string, nowMs: number, destroyAfterMs: number): void {
    access.check();
    this.#sql.run(
      'UPDATE key_rotation SET done = total, finished_at = ? WHERE purpose = ? AND finished_at IS NULL',
      nowMs,
      purpose,
    );
    this.#sql.run(
      "UPDATE tenant_key SET destroy_after_at = ? WHERE purpose = ? AND state = 'decrypt_only' AND destroy_after_at IS NULL",
      destroyAfterMs,
      purpose,
    );
  }

  /** Rows under any key of the purpose but the active one, or under exactly `keyId`. */
  countStale(access: Lookup, purpose: Purpose, keyId?: string): number {
    access.check();
    return countStale(this.#sql, purpose, this.#keyring, keyId);
  }

  /** Moves up to `maxRows` sealed rows of the purpose to its active key. Inside a job. */
  rewrap(access: WriteAccess, purpose: Purpose, maxRows: number): number {
    access.check();
    let moved = 0;
    for (const table of REWRAP_TABLES) {
      if (moved < maxRows) moved += rewrapRows(this.#sql, table, purpose, this.#keyring, maxRows - moved);
    }
    return moved;
  }
}
