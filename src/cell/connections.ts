// Connections: one consent asked of a person each (decision 0007). Link, state and browser are kept as hashes; nothing here is a secret.
// It must never hand out a row whose MAC does not fit: its state decides whether a stranger's account may come in.
import type { Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

/**
 * `open`: nobody came back yet. `exchanging`: the code is on its way to the provider. `choosing`: the grant is stored, the person picks
 * what it is for. `declined` and `failed` say how the last attempt ended; the link goes on. The others are final.
 */
export type ConnectionState = 'open' | 'exchanging' | 'choosing' | 'connected' | 'declined' | 'failed' | 'cancelled' | 'expired';

export interface ConnectionRow {
  id: string;
  credential_id: string;
  state: ConnectionState;
  /** SHA-256 of the link's token. */
  link_hash: Uint8Array;
  /** SHA-256 of the one state that may come back; null while none may. */
  state_hash: Uint8Array | null;
  /** SHA-256 of the cookie of the browser that began the attempt. */
  browser_hash: Uint8Array | null;
  /** Counts beginnings; the PKCE verifier is derived from it. */
  attempt: number;
  /** JSON: what is asked for, and what the person or the provider filled in; never secret. */
  request: string;
  cause: string | null;
  created_at: number;
  created_by: string;
  expires_at: number;
  attempt_expires_at: number | null;
  finished_at: number | null;
  mac: Uint8Array;
  mac_key_id: string;
}

export type Connection = Omit<ConnectionRow, 'mac' | 'mac_key_id'>;

/** Where a page of a list ended. */
export interface ConnectionMark {
  readonly createdAt: number;
  readonly id: string;
}

export class ConnectionStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<ConnectionRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('connection');
  }

  insert(access: WriteAccess, row: Connection): void {
    access.check();
    this.#rows.insert(row);
  }

  save(access: WriteAccess, row: Connection): void {
    access.check();
    this.#rows.update(row);
  }

  /** @throws integrity */
  find(access: Lookup, id: string): ConnectionRow | undefined {
    access.check();
    const row = this.#sql.get<ConnectionRow>('SELECT * FROM connection WHERE id = ?', id);
    return this.#rows.checked(row) ?? this.#rows.absentById(id);
  }

  /** @throws integrity */
  findByLink(access: Lookup, linkHash: Uint8Array): ConnectionRow | undefined {
    access.check();
    const row = this.#sql.get<ConnectionRow>('SELECT * FROM connection WHERE link_hash = ?', linkHash);
    return this.#rows.checked(row) ?? this.#rows.absentByName(linkHash);
  }

  /** Newest first, after `mark` (exclusive). A damaged row is left out. */
  list(access: Lookup, credentialId: string, mark: ConnectionMark, maxRows: number): ConnectionRow[] {
    access.check();
    const query =
      'SELECT * FROM connection WHERE credential_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?';
    return this.#rows.page(maxRows, (last, rows) =>
      this.#sql.all<ConnectionRow>(query, credentialId, last?.created_at ?? mark.createdAt, last?.id ?? mark.id, rows),
    );
  }

  /** Those of a credential whose link still leads somewhere. A damaged one leads nowhere and is left out. */
  usable(access: Lookup, credentialId: string, nowMs: number): ConnectionRow[] {
    access.check();
    const rows = this.#sql.all<ConnectionRow>(
      "SELECT * FROM connection WHERE credential_id = ? AND expires_at > ? AND state IN ('open', 'exchanging', 'declined', 'failed')",
      credentialId,
      nowMs,
    );
    return this.#rows.intact(rows);
  }

  /** Ids only, unchecked: whoever works on one reads its checked row first. */
  dueForExpiry(access: Lookup, nowMs: number, maxRows: number): string[] {
    access.check();
    return this.#sql
      .all<{ id: string }>(
        "SELECT id FROM connection WHERE state IN ('open', 'exchanging', 'choosing') AND expires_at <= ? ORDER BY expires_at LIMIT ?",
        nowMs,
        maxRows,
      )
      .map(({ id }) => id);
  }
}
