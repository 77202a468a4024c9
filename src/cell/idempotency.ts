// Answers kept for a repeated Idempotency-Key, sealed, for a day. It must never give one caller's answer to another.
import type { Bookkeeping, Lookup } from './access.ts';
import type { Sql } from './sql.ts';

export interface IdempotencyRow {
  principal_id: string;
  idempotency_key: string;
  request_hash: Uint8Array;
  status: number;
  wrapped_key: Uint8Array;
  key_id: string;
  value: Uint8Array;
  expires_at: number;
}

export class IdempotencyStore {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  find(access: Lookup, principalId: string, key: string): IdempotencyRow | undefined {
    access.check();
    return this.#sql.get<IdempotencyRow>(
      'SELECT * FROM idempotency WHERE principal_id = ? AND idempotency_key = ?',
      principalId,
      key,
    );
  }

  /** Takes the place of an expired answer under the same key. */
  save(access: Bookkeeping<'idempotency'>, row: IdempotencyRow): void {
    access.check();
    this.#sql.run(
      'INSERT OR REPLACE INTO idempotency (principal_id, idempotency_key, request_hash, status, wrapped_key, key_id, value, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      row.principal_id,
      row.idempotency_key,
      row.request_hash,
      row.status,
      row.wrapped_key,
      row.key_id,
      row.value,
      row.expires_at,
    );
  }

  purgeExpired(access: Bookkeeping<'purge' | 'idempotency'>, beforeMs: number, maxRows: number): void {
    access.check();
    this.#sql.run(
      'DELETE FROM idempotency WHERE rowid IN (SELECT rowid FROM idempotency WHERE expires_at < ? LIMIT ?)',
      beforeMs,
      maxRows,
    );
  }
}
