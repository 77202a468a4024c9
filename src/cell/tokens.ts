// Tokens and client secrets, stored as hashes (D9). It must never receive the text of a token.
import { notFound } from '../base/errors.ts';
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface TokenRow {
  public_id: string;
  /** One of crypto/token.ts TOKEN_TYPES. */
  type: string;
  hash: Uint8Array;
  /** The user or workload that it authenticates. */
  subject_id: string;
  /** JSON array of workload permissions; null: all permissions of its subject. */
  permissions: string | null;
  created_at: number;
  created_by: string;
  expires_at: number;
  revoked_at: number | null;
  last_used_at: number | null;
  /** Of an access token: the public id of the client secret, or `jwk_` and the thumbprint of the key, that it was exchanged for; else null. */
  origin: string | null;
  mac: Uint8Array;
  mac_key_id: string;
}

export type NewToken = Pick<
  TokenRow,
  'public_id' | 'type' | 'hash' | 'subject_id' | 'permissions' | 'created_at' | 'expires_at'
> & {
  readonly origin?: string | null;
};

const REVOKED = ['revoked_at'] as const;

/**
 * Corrects tokens that were created while the clock was ahead, once the operator has declared that clock wrong: each keeps its lifetime,
 * starting now. Returns their number. Call inside a job of a cell that is being opened.
 */
export function redateTokens(cell: CellRows, nowMs: number): number {
  const rows = cell.of<TokenRow>('token');
  const ahead = rows.intact(cell.sql.all<TokenRow>(`${rows.select} WHERE expires_at > ? AND created_at > ?`, nowMs, nowMs));
  for (const row of ahead) rows.update({ ...row, created_at: nowMs, expires_at: row.expires_at - row.created_at + nowMs });
  return ahead.length;
}

export class TokenStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<TokenRow>;

  #whenRevoked: () => void = () => {};

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('token');
  }

  /** SECURITY: `listener` must empty caches of tokens; it is called when a token is revoked by any use case. One listener. */
  whenRevoked(listener: () => void): void {
    this.#whenRevoked = listener;
  }

  insert(access: WriteAccess, token: NewToken): void {
    access.check();
    this.#rows.insert({ ...token, created_by: access.principalId });
  }

  /** @throws integrity */
  find(access: Lookup, publicId: string): TokenRow | undefined {
    access.check();
    const row = this.#sql.get<TokenRow>(`${this.#rows.select} WHERE public_id = ?`, publicId);
    return this.#rows.checked(row) ?? this.#rows.absentById(publicId);
  }

  /** A damaged row is left out. A deleted row is not detected here: a revoked subject is recorded in its own row. */
  listBySubject(access: Lookup, subjectId: string): TokenRow[] {
    access.check();
    return this.#rows.intact(
      this.#sql.all<TokenRow>(`${this.#rows.select} WHERE subject_id = ? ORDER BY created_at, public_id`, subjectId),
    );
  }

  countLive(access: Lookup, type: string, nowMs: number): number {
    access.check();
    const query = 'SELECT count(*) AS n FROM token WHERE type = ? AND revoked_at IS NULL AND expires_at > ?';
    return Number(this.#sql.get(query, type, nowMs)?.['n']);
  }

  /** Idempotent. @throws not_found */
  revoke(access: WriteAccess, publicId: string, nowMs: number): TokenRow {
    const row = this.find(access, publicId) ?? notFound('token');
    if (row.revoked_at !== null) return row;
    const revoked = { ...row, revoked_at: nowMs };
    this.#rows.update(revoked, REVOKED);
    this.#whenRevoked();
    return revoked;
  }

  /** Revokes all tokens of a subject, or those that were exchanged for `origin`. Returns how many were live. */
  revokeAllOf(access: WriteAccess, subjectId: string, nowMs: number, origin?: string): number {
    const live = this.listBySubject(access, subjectId).filter(
      (row) => row.revoked_at === null && (origin === undefined || row.origin === origin),
    );
    for (const row of live) this.revoke(access, row.public_id, nowMs);
    return live.length;
  }

  /** `last_used_at` decides nothing, so it is outside the MAC. */
  markUsed(access: Bookkeeping<'authentication'>, publicId: string, nowMs: number): void {
    access.check();
    this.#sql.run('UPDATE token SET last_used_at = ? WHERE public_id = ?', nowMs, publicId);
  }

  purgeExpired(access: Bookkeeping<'purge'>, beforeMs: number, maxRows: number): number {
    access.check();
    const gone = this.#sql.all<TokenRow>(`${this.#rows.select} WHERE expires_at < ? LIMIT ?`, beforeMs, maxRows);
    this.#rows.remove(gone);
    return gone.length;
  }
}
