// The sealed answers to requests with an Idempotency-Key, kept for a day. It must never return one caller's answer to another.
import type { Bookkeeping, Lookup } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
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
  readonly #rows: TableRows<IdempotencyRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('idempotency');
  }

  find(access: Lookup, principalId: string, key: string): IdempotencyRow | undefined {
    access.check();
    return this.#rows.checked(this.#read(principalId, key)) ?? this.#rows.absentById(principalId, key);
  }

  #read(principalId: string, key: string): IdempotencyRow | undefined {
    const query = `${this.#rows.select} WHERE principal_id = ? AND idempotency_key = ?`;
    return this.#sql.get<IdempotencyRow>(query, principalId, key);
  }

  /** Replaces an expired answer with the same key. */
  save(access: Bookkeeping<'idempotency'>, row: IdempotencyRow): void {
    access.check();
    if (this.#read(row.principal_id, row.idempotency_key) === undefined) this.#rows.insert(row);
    else this.#rows.update(row);
  }

  purgeExpired(access: Bookkeeping<'purge' | 'idempotency'>, beforeMs: number, maxRows: number): void {
    access.check();
    const query = `${this.#rows.select} WHERE expires_at < ? LIMIT ?`;
    this.#rows.remove(this.#sql.all<IdempotencyRow>(query, beforeMs, maxRows));
  }
}
