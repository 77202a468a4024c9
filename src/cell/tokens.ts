// Tokens and client secrets, hashed (D9). It must never see a token's text after minting.
import { notFound } from '../base/errors.ts';
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, eachIntact, sealRow, UNDER_OTHER_KEY } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

export interface TokenRow {
  public_id: string;
  /** One of crypto/token.ts TOKEN_TYPES. */
  type: string;
  hash: Uint8Array;
  /** The user or workload it stands for. */
  subject_id: string;
  /** JSON array of workload permissions; null: all its subject has. */
  permissions: string | null;
  created_at: number;
  created_by: string;
  expires_at: number;
  revoked_at: number | null;
  last_used_at: number | null;
  /** What an access token was exchanged for: public id of a client secret, or `jwk_` and a key's thumbprint; null for all others. */
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

function decisive(row: NewToken & Pick<TokenRow, 'revoked_at'>): SqlValue[] {
  const columns = [row.type, row.hash, row.subject_id, row.permissions, row.created_at, row.expires_at, row.revoked_at];
  // A later column: rows from before it, and rows without it, are sealed without it.
  return row.origin == null ? columns : [...columns, row.origin];
}

export class TokenStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  #whenRevoked: () => void = () => {};

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  /** SECURITY: whoever remembers tokens forgets them when one is revoked, whichever use case does it. One listener. */
  whenRevoked(listener: () => void): void {
    this.#whenRevoked = listener;
  }

  insert(access: WriteAccess, token: NewToken): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'token', token.public_id, decisive({ ...token, revoked_at: null }));
    this.#sql.run(
      'INSERT INTO token (public_id, type, hash, subject_id, permissions, created_at, created_by, expires_at, origin, mac, mac_key_id) ' +
        'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      token.public_id,
      token.type,
      token.hash,
      token.subject_id,
      token.permissions,
      token.created_at,
      access.principalId,
      token.expires_at,
      token.origin ?? null,
      mac,
      mac_key_id,
    );
  }

  /** @throws integrity */
  find(access: Lookup, publicId: string): TokenRow | undefined {
    access.check();
    const row = this.#sql.get<TokenRow>('SELECT * FROM token WHERE public_id = ?', publicId);
    if (row !== undefined) checkRow(this.#keyring, 'token', row.public_id, decisive(row), row);
    return row;
  }

  listBySubject(access: Lookup, subjectId: string): TokenRow[] {
    access.check();
    return this.#sql.all<TokenRow>('SELECT * FROM token WHERE subject_id = ? ORDER BY created_at, public_id', subjectId);
  }

  countLive(access: Lookup, type: string, nowMs: number): number {
    access.check();
    const row = this.#sql.get(
      'SELECT count(*) AS n FROM token WHERE type = ? AND revoked_at IS NULL AND expires_at > ?',
      type,
      nowMs,
    );
    return Number(row?.['n'] ?? 0);
  }

  /** Idempotent. @throws not_found */
  revoke(access: WriteAccess, publicId: string, nowMs: number): TokenRow {
    const row = this.find(access, publicId) ?? notFound('token');
    if (row.revoked_at !== null) return row;
    const { mac, mac_key_id } = sealRow(this.#keyring, 'token', publicId, decisive({ ...row, revoked_at: nowMs }));
    this.#sql.run(
      'UPDATE token SET revoked_at = ?, mac = ?, mac_key_id = ? WHERE public_id = ?',
      nowMs,
      mac,
      mac_key_id,
      publicId,
    );
    this.#whenRevoked();
    return { ...row, revoked_at: nowMs };
  }

  /** Of a subject all, or those that were exchanged for `origin`. Returns how many were alive. */
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
    const gone = this.#sql.all(
      'DELETE FROM token WHERE public_id IN (SELECT public_id FROM token WHERE expires_at < ? LIMIT ?) RETURNING public_id',
      beforeMs,
      maxRows,
    );
    return gone.length;
  }

  /** Re-seals up to `maxRows` rows that carry another MAC key than the active one. */
  resealBatch(access: WriteAccess, maxRows: number): number {
    access.check();
    const { keyId } = this.#keyring.macKey();
    const rows = this.#sql.all<TokenRow>(`SELECT * FROM token WHERE ${UNDER_OTHER_KEY} LIMIT ?`, keyId, keyId, maxRows);
    return eachIntact(rows, (row) => {
      checkRow(this.#keyring, 'token', row.public_id, decisive(row), row);
      const { mac, mac_key_id } = sealRow(this.#keyring, 'token', row.public_id, decisive(row));
      this.#sql.run('UPDATE token SET mac = ?, mac_key_id = ? WHERE public_id = ?', mac, mac_key_id, row.public_id);
    });
  }
}
