// Connections: one consent asked of a person each (decision 0007). Link, state and browser are kept as hashes; nothing here is a secret.
// It must never hand out a row whose MAC does not fit: its state decides whether a stranger's account may come in.
import type { Lookup, WriteAccess } from './access.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, eachIntact, sealRow, UNDER_OTHER_KEY } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

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

export type ConnectionFacts = Omit<ConnectionRow, 'mac' | 'mac_key_id'>;

const COLUMNS = [
  'credential_id',
  'state',
  'link_hash',
  'state_hash',
  'browser_hash',
  'attempt',
  'request',
  'cause',
  'created_at',
  'created_by',
  'expires_at',
  'attempt_expires_at',
  'finished_at',
] as const;
const INSERT = `INSERT INTO connection (id, ${COLUMNS.join(', ')}, mac, mac_key_id) VALUES (?, ${COLUMNS.map(() => '?').join(', ')}, ?, ?)`;
const UPDATE = `UPDATE connection SET ${COLUMNS.map((column) => `${column} = ?`).join(', ')}, mac = ?, mac_key_id = ? WHERE id = ?`;

function decisive(row: ConnectionFacts): SqlValue[] {
  return COLUMNS.map((column) => row[column]);
}

/** Where a page of a list ended. */
export interface ConnectionMark {
  readonly createdAt: number;
  readonly id: string;
}

export class ConnectionStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  insert(access: WriteAccess, row: ConnectionFacts): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'connection', row.id, decisive(row));
    this.#sql.run(INSERT, row.id, ...decisive(row), mac, mac_key_id);
  }

  save(access: WriteAccess, row: ConnectionFacts): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'connection', row.id, decisive(row));
    this.#sql.run(UPDATE, ...decisive(row), mac, mac_key_id, row.id);
  }

  /** @throws integrity */
  find(access: Lookup, id: string): ConnectionRow | undefined {
    access.check();
    return this.#checked(this.#sql.get<ConnectionRow>('SELECT * FROM connection WHERE id = ?', id));
  }

  /** @throws integrity */
  findByLink(access: Lookup, linkHash: Uint8Array): ConnectionRow | undefined {
    access.check();
    return this.#checked(this.#sql.get<ConnectionRow>('SELECT * FROM connection WHERE link_hash = ?', linkHash));
  }

  /** Newest first, after `mark` (exclusive). */
  list(access: Lookup, credentialId: string, mark: ConnectionMark, maxRows: number): ConnectionRow[] {
    access.check();
    return this.#sql.all<ConnectionRow>(
      'SELECT * FROM connection WHERE credential_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?',
      credentialId,
      mark.createdAt,
      mark.id,
      maxRows,
    );
  }

  /** Those of a credential whose link still leads somewhere. @throws integrity */
  usable(access: Lookup, credentialId: string, nowMs: number): ConnectionRow[] {
    access.check();
    const rows = this.#sql.all<ConnectionRow>(
      "SELECT * FROM connection WHERE credential_id = ? AND expires_at > ? AND state IN ('open', 'exchanging', 'declined', 'failed')",
      credentialId,
      nowMs,
    );
    for (const row of rows) this.#checked(row);
    return rows;
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

  resealBatch(access: WriteAccess, maxRows: number): number {
    access.check();
    const { keyId } = this.#keyring.macKey();
    const rows = this.#sql.all<ConnectionRow>(`SELECT * FROM connection WHERE ${UNDER_OTHER_KEY} LIMIT ?`, keyId, keyId, maxRows);
    return eachIntact(rows, (row) => {
      this.#checked(row);
      const { mac, mac_key_id } = sealRow(this.#keyring, 'connection', row.id, decisive(row));
      this.#sql.run('UPDATE connection SET mac = ?, mac_key_id = ? WHERE id = ?', mac, mac_key_id, row.id);
    });
  }

  #checked(row: ConnectionRow | undefined): ConnectionRow | undefined {
    if (row !== undefined) checkRow(this.#keyring, 'connection', row.id, decisive(row), row);
    return row;
  }
}
