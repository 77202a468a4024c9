// The key register (D12): one erasure key per cell, stored outside every cell and every backup.
// It must never be copied into a backup; destroying an entry makes all copies of that tenant unreadable.
import { fail } from '../base/errors.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { newErasureKey, type RootKey } from '../crypto/root-key.ts';
import { refuseForeignCode } from './schema-check.ts';
import type { Sql } from './sql.ts';

export const REGISTER_SCRIPT = `
CREATE TABLE IF NOT EXISTS erasure_key (
  cell_id TEXT PRIMARY KEY,
  wrapped BLOB,
  created_at INTEGER NOT NULL,
  destroyed_at INTEGER
) STRICT;
`;

interface RegisterRow {
  wrapped: Uint8Array | null;
}

/** The register is a file of its own on Node and a table of the home object in workerd. */
export class KeyRegister {
  readonly #sql: Sql;
  readonly #root: RootKey;
  readonly #installationId: string;

  constructor(sql: Sql, root: RootKey, installationId: string) {
    this.#sql = sql;
    this.#root = root;
    this.#installationId = installationId;
    refuseForeignCode(sql);
    sql.script(REGISTER_SCRIPT);
  }

  /** Stores a wrapped entry; a cell that has one keeps it. */
  insert(cellId: string, wrapped: Uint8Array, nowMs: number): void {
    this.#sql.run(
      'INSERT INTO erasure_key (cell_id, wrapped, created_at) VALUES (?, ?, ?) ON CONFLICT (cell_id) DO NOTHING',
      cellId,
      wrapped,
      nowMs,
    );
  }

  /** Creates an entry unless the cell has one. */
  ensure(cellId: string, nowMs: number): void {
    if (this.#sql.get('SELECT 1 AS present FROM erasure_key WHERE cell_id = ?', cellId) !== undefined) return;
    const key = newErasureKey();
    this.insert(cellId, this.#root.wrapErasureKey({ installationId: this.#installationId, tenantId: cellId }, key), nowMs);
    key.wipe();
  }

  /** The sealed entry, for transfer between objects of one installation. @throws key_destroyed | not_found */
  wrappedEntry(cellId: string): Uint8Array {
    const row = this.#sql.get<RegisterRow>('SELECT wrapped FROM erasure_key WHERE cell_id = ?', cellId);
    if (row === undefined) fail('not_found', 'the key register has no entry for this cell');
    return row.wrapped ?? fail('key_destroyed', 'the erasure key of this tenant was destroyed');
  }

  /** @throws key_destroyed | not_found | integrity */
  open(cellId: string): SecretValue {
    return openRegisterEntry(this.#root, this.#installationId, cellId, this.wrappedEntry(cellId));
  }

  /** Irreversible; idempotent. */
  destroy(cellId: string, nowMs: number): void {
    this.#sql.run(
      'UPDATE erasure_key SET wrapped = NULL, destroyed_at = coalesce(destroyed_at, ?) WHERE cell_id = ?',
      nowMs,
      cellId,
    );
  }
}

export function openRegisterEntry(root: RootKey, installationId: string, cellId: string, wrapped: Uint8Array): SecretValue {
  return root.unwrapErasureKey({ installationId, tenantId: cellId }, wrapped);
}
