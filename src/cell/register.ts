// The key register (D12): one erasure key per cell, stored outside every cell and every backup, and the keys of the installation, which
// outlive a root key (decision 0013). It must never be copied into a backup; destroying an entry makes all copies of that tenant unreadable.
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { INSTALLATION_KEYS, newErasureKey } from '../crypto/root-key.ts';
import type { RootKeys, WrappedInstallationKey } from '../crypto/root-keys.ts';
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

const INSTALLATION_KEY_SCRIPT = `
CREATE TABLE IF NOT EXISTS installation_key (
  label TEXT NOT NULL,
  version INTEGER NOT NULL,
  wrapped BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (label, version)
) STRICT;
`;

interface RegisterRow {
  wrapped: Uint8Array | null;
}

/** Not destroyed. */
interface Entry {
  readonly cell_id: string;
  readonly wrapped: Uint8Array;
}

/** The register is a file of its own on Node and a table of the home object in workerd. */
export class KeyRegister {
  readonly #sql: Sql;
  readonly #root: RootKeys;
  readonly #installationId: string;

  constructor(sql: Sql, root: RootKeys, installationId: string) {
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

  /**
   * Loads the keys of the installation into the root keys; creates all of them if there is none, as in a new installation or one of an
   * older build. @throws integrity
   */
  ensureInstallationKeys(nowMs: number): void {
    this.#sql.script(INSTALLATION_KEY_SCRIPT);
    if (this.installationKeys().length === 0) {
      this.#sql.transaction(() => {
        for (const label of INSTALLATION_KEYS) {
          const place = { label, version: 1 };
          const wrapped = this.#root.current.wrapInstallationKey(this.#installationId, place, this.#root.subkey(label));
          this.#sql.run('INSERT INTO installation_key VALUES (?, ?, ?, ?)', label, 1, wrapped, nowMs);
        }
      });
    }
    this.loadInstallationKeys();
  }

  /** Loads the stored keys without a change; a register of an older build has none. @throws integrity */
  loadInstallationKeys(): void {
    const table = "SELECT 1 AS present FROM sqlite_master WHERE type = 'table' AND name = 'installation_key'";
    if (this.#sql.get(table) !== undefined) this.#root.loadInstallationKeys(this.#installationId, this.installationKeys());
  }

  installationKeys(): WrappedInstallationKey[] {
    return this.#sql.all<WrappedInstallationKey>('SELECT label, version, wrapped FROM installation_key ORDER BY label, version');
  }

  /** The cells with an entry that is not destroyed. */
  cellIds(): string[] {
    return [...this.#entries()].map((row) => row.cell_id);
  }

  /** Entries and keys of the installation that are not under the current root key yet. */
  countStale(): number {
    return this.#staleEntries().length + this.#staleKeys().length;
  }

  /** Wraps up to `maxRows` of them under the current root key, durably; returns how many. @throws integrity */
  rewrap(maxRows: number): number {
    const entries = this.#staleEntries().slice(0, maxRows);
    const keys = this.#staleKeys().slice(0, maxRows - entries.length);
    this.#sql.transaction(() => {
      for (const { cell_id, wrapped } of entries) {
        const renewed = this.#root.rewrapErasureKey({ installationId: this.#installationId, tenantId: cell_id }, wrapped);
        this.#sql.run('UPDATE erasure_key SET wrapped = ? WHERE cell_id = ?', renewed, cell_id);
      }
      for (const key of keys) {
        const renewed = this.#root.rewrapInstallationKey(this.#installationId, key);
        const change = 'UPDATE installation_key SET wrapped = ? WHERE label = ? AND version = ?';
        this.#sql.run(change, renewed, key.label, key.version);
      }
    });
    return entries.length + keys.length;
  }

  /** Removes what was under the previous root key from the file. */
  eraseResidue(): void {
    this.#sql.eraseResidue();
  }

  #staleEntries(): Entry[] {
    return [...this.#entries()].filter(({ wrapped }) => !this.#root.isCurrent(wrapped));
  }

  *#entries(): Generator<Entry> {
    const query = 'SELECT cell_id, wrapped FROM erasure_key WHERE cell_id > ? ORDER BY cell_id LIMIT ?';
    let page: (RegisterRow & { cell_id: string })[] = [];
    do {
      page = this.#sql.all(query, page.at(-1)?.cell_id ?? '', LIMITS.rewrapBatchRows);
      for (const { cell_id, wrapped } of page) if (wrapped !== null) yield { cell_id, wrapped };
    } while (page.length === LIMITS.rewrapBatchRows);
  }

  #staleKeys(): WrappedInstallationKey[] {
    return this.installationKeys().filter(({ wrapped }) => !this.#root.isCurrent(wrapped));
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

export function openRegisterEntry(root: RootKeys, installationId: string, cellId: string, wrapped: Uint8Array): SecretValue {
  return root.unwrapErasureKey({ installationId, tenantId: cellId }, wrapped);
}
