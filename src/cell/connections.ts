// Connections: each requests one consent from a person (decision 0007). Link, state and browser are stored as hashes, so no row is secret.
// It must never return a row that fails its check: its state decides whether an account may be connected.
import type { Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

/**
 * `open`: no callback yet. `exchanging`: the code is being exchanged at the provider. `choosing`: the grant is stored, and the person
 * chooses the account it is for. `declined` and `failed`: the outcome of the last attempt; the link is still usable. The others are final.
 */
export type ConnectionState = 'open' | 'exchanging' | 'choosing' | 'connected' | 'declined' | 'failed' | 'cancelled' | 'expired';

export interface ConnectionRow {
  id: string;
  credential_id: string;
  state: ConnectionState;
  /** SHA-256 of the link's token. */
  link_hash: Uint8Array;
  /** SHA-256 of the only `state` that a callback may carry; null while no callback is expected. */
  state_hash: Uint8Array | null;
  /** SHA-256 of the cookie of the browser that began the attempt. */
  browser_hash: Uint8Array | null;
  /** Number of attempts; the PKCE verifier is derived from it. */
  attempt: number;
  /** JSON: the requested consent, and the facts from the person or the provider; never secret. */
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

/** The last row of a page. */
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

  /** The connections of a credential with a usable link. A damaged row is left out: its link is not usable. */
  usable(access: Lookup, credentialId: string, nowMs: number): ConnectionRow[] {
    return this.unfinished(access, credentialId, nowMs).filter(({ state }) => state !== 'choosing');
  }

  /** As `usable`, and those whose grant is stored while its account is still to be chosen. */
  unfinished(access: Lookup, credentialId: string, nowMs: number): ConnectionRow[] {
    access.check();
    const rows = this.#sql.all<ConnectionRow>(
      "SELECT * FROM connection WHERE credential_id = ? AND expires_at > ? AND state IN ('open', 'exchanging', 'declined', 'failed', 'choosing')",
      credentialId,
      nowMs,
    );
    return this.#rows.intact(rows);
  }

  /** Ids only, unchecked: the caller must read the checked row of each. */
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
