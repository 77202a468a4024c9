// The keys of one cell, unwrapped in memory and chosen by id. It must never return a key's bytes, try several keys,
// or open a value while the cell is sealed.

import type { Clock, Entropy } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { PURPOSES, type Purpose, type SealContext, type SealingKey } from '../crypto/envelope.ts';
import type { KeyObject } from '../crypto/primitives.ts';
import { newTenantKey } from '../crypto/root-key.ts';
import type { RootKeys } from '../crypto/root-keys.ts';
import type { Sql } from './sql.ts';

/** The purposes of a cell's keys; a new purpose gets its key at the next open. */
export const CELL_PURPOSES: readonly Purpose[] = PURPOSES;

export type KeyState = 'active' | 'decrypt_only' | 'destroyed';

export interface KeyRow {
  key_id: string;
  purpose: string;
  version: number;
  state: string;
  wrapped: Uint8Array | null;
  wraps: number;
  created_at: number;
  retired_at: number | null;
  destroy_after_at: number | null;
  destroyed_at: number | null;
}

export interface KeyringIdentity {
  readonly installationId: string;
  /** The tenant's id, or the installation's for the home cell. */
  readonly cellId: string;
}

interface HeldKey extends SealingKey {
  readonly purpose: Purpose;
  readonly state: KeyState;
  readonly createdAtMs: number;
}

/** Checks and writes the rows of keys once the cell has a map (rows.ts). */
export interface KeyRows {
  /** The number of rows in the map. */
  readonly count: number;
  intact(rows: readonly KeyRow[]): KeyRow[];
  /** @throws integrity when the map has a row with this id */
  absentById(keyId: string): undefined;
  /** Reports that rows are missing, without their ids. */
  tellMissing(): void;
  insert(row: KeyRow): void;
  update(row: KeyRow, changed: readonly string[]): void;
}

export class Keyring {
  readonly identity: KeyringIdentity;
  readonly #sql: Sql;
  readonly #root: RootKeys;
  readonly #erasureKey: SecretValue;
  readonly #byId = new Map<string, HeldKey>();
  readonly #active = new Map<Purpose, HeldKey>();
  /** Number of wraps by key id as stored, which includes the reserved ones. */
  readonly #wraps = new Map<string, number>();
  /** Wraps that are reserved by a committed batch and not used yet, by key id. */
  readonly #reserved = new Map<string, number>();
  /** Wraps of the running batch beyond the reserved ones. */
  #pendingWraps = new Map<string, number>();
  /** The rows as checked by the map; before they are bound, the keys may be used to check the map only. */
  #rows: KeyRows | undefined;
  /** Ids of keys whose rows failed their check. */
  readonly #damaged = new Set<string>();
  readonly #destroyed = new Set<string>();
  /** Rows were deleted before this cell was opened, so it is unknown which keys existed. */
  #hasLostRows = false;

  constructor(sql: Sql, root: RootKeys, erasureKey: SecretValue, identity: KeyringIdentity) {
    this.#sql = sql;
    this.#root = root;
    this.#erasureKey = erasureKey;
    this.identity = identity;
  }

  /** Unwraps every key that is not destroyed. @throws integrity | sealed when root key or erasure key is wrong */
  load(): this {
    const rows = this.rows();
    // Before the keys are cleared: checking the rows reads the map, whose chunks have MACs under these keys.
    const intact = new Set(this.#rows?.intact(rows) ?? rows);
    this.#byId.clear();
    this.#active.clear();
    this.#wraps.clear();
    this.#reserved.clear();
    this.#damaged.clear();
    this.#destroyed.clear();
    for (const row of rows) {
      if (intact.has(row)) this.#hold(row);
      else this.#damaged.add(row.key_id);
    }
    return this;
  }

  /**
   * From now on rows of keys are checked against the map, and every change of a key goes into the map.
   * SECURITY: a retired key that was made active again would seal new values; a restored destroyed key would open old values (D12).
   */
  bind(rows: KeyRows): this {
    this.#rows = rows;
    this.#hasLostRows = rows.count > this.rows().length;
    if (this.#hasLostRows) rows.tellMissing();
    return this.load();
  }

  /** The key for the tags of rows without a MAC column; the same for the life of the installation. */
  tagKey(): KeyObject {
    return this.#root.rowTagKey();
  }

  /** Creates version 1 for every purpose without a key, all or none; none if rows were deleted, because those may have had that purpose. */
  createMissing(clock: Clock, entropy: Entropy): void {
    if (this.#hasLostRows) return;
    this.#sql.transaction(() => {
      const known = new Set(this.rows().map(({ purpose }) => purpose));
      for (const purpose of CELL_PURPOSES) if (!known.has(purpose)) this.addVersion(purpose, 1, clock, entropy);
    });
  }

  rows(): KeyRow[] {
    return this.#sql.all<KeyRow>('SELECT * FROM tenant_key ORDER BY purpose, version');
  }

  /** Inserts a new key as the active one of its purpose; the previous one becomes decrypt_only. Call inside a transaction. */
  addVersion(purpose: Purpose, version: number, clock: Clock, entropy: Entropy): SealingKey {
    const keyId = newId('key', entropy);
    const bytes = newTenantKey();
    const wrapped = this.#root.sealTenantKey(this.#erasureKey, this.#context(purpose, keyId, version), bytes);
    bytes.fill(0);
    const now = clock.now();
    for (const row of this.intactRows().filter((one) => one.purpose === purpose && one.state === 'active'))
      this.#save({ ...row, state: 'decrypt_only', retired_at: now }, ['state', 'retired_at']);
    this.#insert({
      key_id: keyId,
      purpose,
      version,
      state: 'active',
      wrapped,
      wraps: 0,
      created_at: now,
      retired_at: null,
      destroy_after_at: null,
      destroyed_at: null,
    });
    this.load();
    return this.current(purpose);
  }

  /** The rows that pass their check. */
  intactRows(): KeyRow[] {
    const rows = this.rows();
    return this.#rows?.intact(rows) ?? rows;
  }

  #insert(row: KeyRow): void {
    if (this.#rows !== undefined) this.#rows.insert(row);
    else
      this.#sql.run(
        'INSERT INTO tenant_key (key_id, purpose, version, state, wrapped, created_at) VALUES (?, ?, ?, ?, ?, ?)',
        row.key_id,
        row.purpose,
        row.version,
        row.state,
        row.wrapped,
        row.created_at,
      );
  }

  #save(row: KeyRow, changed: readonly string[]): void {
    this.#bound().update(row, changed);
  }

  #bound(): KeyRows {
    return this.#rows ?? fail('internal', 'the keyring is not bound to its rows yet');
  }

  /** The one key of this purpose that may seal. */
  current(purpose: Purpose): SealingKey {
    return this.#active.get(purpose) ?? this.#noneActive(purpose);
  }

  #noneActive(purpose: Purpose): never {
    const isDamaged = this.rows().some((row) => row.purpose === purpose && this.#damaged.has(row.key_id));
    return isDamaged || this.#hasLostRows
      ? fail('integrity', 'stored data failed its check', { evidence: `tenant_key: no intact active key for ${purpose}` })
      : fail('sealed', 'the keys of this cell are not loaded');
  }

  /** @throws key_destroyed when the key was destroyed | integrity when its row is damaged or it has another purpose */
  byId(purpose: Purpose, keyId: string): SealingKey {
    const key = this.#byId.get(keyId);
    if (this.#damaged.has(keyId))
      fail('integrity', 'stored data failed its check', { evidence: 'tenant_key: the row of this key' });
    if (key === undefined) {
      if (!this.#destroyed.has(keyId)) this.#rows?.absentById(keyId);
      fail('key_destroyed', 'the key of this value was destroyed');
    }
    if (key.purpose !== purpose) fail('integrity', 'stored data failed its check', { evidence: 'key of another purpose' });
    return key;
  }

  /** The active keys, without a read of their rows. */
  activeKeys(): { readonly id: string; readonly purpose: Purpose; readonly createdAtMs: number; readonly wraps: number }[] {
    return [...this.#active.values()].map(({ id, purpose, createdAtMs }) => ({
      id,
      purpose,
      createdAtMs,
      wraps: this.#wraps.get(id) ?? 0,
    }));
  }

  /** The key with this id for the MACs of rows; without an id the active one. */
  macKey(keyId?: string): { keyId: string; key: KeyObject } {
    const held = keyId === undefined ? this.current('metadata_mac') : this.byId('metadata_mac', keyId);
    return { keyId: held.id, key: held.key };
  }

  /**
   * Counts a wrap under the active key: a reserved one, or one that `flushWraps` writes with the batch. @throws unavailable past the bound
   * SECURITY: the stored count is never below the number of wraps. Wraps are used only after their reservation has committed, and a crash, a
   * rollback or a reload drops what is left of it, so the count may be too high by LIMITS.wrapsReserved each time.
   */
  countWrap(purpose: Purpose): void {
    const { id } = this.current(purpose);
    const reserved = this.#reserved.get(id) ?? 0;
    if (reserved > 0) {
      this.#reserved.set(id, reserved - 1);
      return;
    }
    const count = (this.#pendingWraps.get(id) ?? 0) + 1;
    if ((this.#wraps.get(id) ?? 0) + count > LIMITS.wrapsPerKeyMax)
      fail('unavailable', 'the active key has reached its maximum number of wraps: rotate the keys of this tenant');
    this.#pendingWraps.set(id, count);
  }

  /** Number of wraps without those that are still reserved. */
  usedWraps({ key_id, wraps }: Pick<KeyRow, 'key_id' | 'wraps'>): number {
    return wraps - (this.#reserved.get(key_id) ?? 0);
  }

  /** Writes the counts of the batch and reserves further wraps, so that the next batches have nothing to write. */
  flushWraps(): void {
    if (this.#pendingWraps.size === 0) return;
    for (const [keyId, count] of this.#pendingWraps) {
      const known = (this.#wraps.get(keyId) ?? 0) + count;
      const reserved = Math.min(LIMITS.wrapsReserved, LIMITS.wrapsPerKeyMax - known);
      const row = this.#sql.get<{ wraps: number }>(
        'UPDATE tenant_key SET wraps = wraps + ? WHERE key_id = ? RETURNING wraps',
        count + reserved,
        keyId,
      );
      if (row === undefined) continue;
      this.#wraps.set(keyId, row.wraps);
      this.#reserved.set(keyId, reserved);
    }
    this.#pendingWraps.clear();
  }

  /** After a rollback: drops the counts of that batch and reloads the keys. */
  reload(): void {
    this.#pendingWraps = new Map();
    this.load();
  }

  /** The lowest version of a key that can still open values (D13). The signing key of the log never rotates, so it does not count. */
  lowestVersion(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const key of this.#byId.values()) if (key.purpose !== 'audit_sign') lowest = Math.min(lowest, key.version);
    return Number.isFinite(lowest) ? lowest : 0;
  }

  /** Destroys a key that is decrypt_only by removing its wrapped bytes. Call inside a transaction, when no row refers to it. */
  destroy(keyId: string, nowMs: number): void {
    const row = this.intactRows().find((one) => one.key_id === keyId);
    if (row?.state !== 'decrypt_only') return;
    this.#save({ ...row, state: 'destroyed', wrapped: null, destroyed_at: nowMs }, ['state', 'wrapped', 'destroyed_at']);
    this.#byId.delete(keyId);
    this.#destroyed.add(keyId);
  }

  /** The number of keys that are not wrapped under the current root key, with damaged rows. */
  countUnderOldRoot(): number {
    return this.rows().filter((row) => this.#isUnderOldRoot(row)).length;
  }

  /** Wraps up to `maxRows` keys under the current root key, except damaged rows; returns how many. Call inside a transaction. */
  rewrapUnderRoot(maxRows: number): number {
    const stale = this.intactRows()
      .filter((row) => this.#isUnderOldRoot(row))
      .slice(0, maxRows);
    for (const row of stale) {
      const context = this.#context(row.purpose as Purpose, row.key_id, row.version);
      const wrapped = this.#root.rewrapTenantKey(this.#erasureKey, context, row.wrapped as Uint8Array);
      this.#save({ ...row, wrapped }, ['wrapped']);
    }
    return stale.length;
  }

  #isUnderOldRoot({ wrapped }: KeyRow): boolean {
    return wrapped !== null && !this.#root.isCurrent(wrapped);
  }

  /** Allows destruction of the retired keys of the purpose from this time on. Call inside a transaction. */
  planDestruction(purpose: string, destroyAfterMs: number): void {
    const retired = this.intactRows().filter(
      (row) => row.purpose === purpose && row.state === 'decrypt_only' && row.destroy_after_at === null,
    );
    for (const row of retired) this.#save({ ...row, destroy_after_at: destroyAfterMs }, ['destroy_after_at']);
  }

  /** Postpones the destruction of a retired key to this time. Call inside a transaction. */
  postponeDestruction(keyId: string, destroyAfterMs: number): void {
    const row = this.intactRows().find((one) => one.key_id === keyId);
    if (row?.state === 'decrypt_only') this.#save({ ...row, destroy_after_at: destroyAfterMs }, ['destroy_after_at']);
  }

  context(purpose: Purpose, field: string, objectId: string, version: number): SealContext {
    return {
      installationId: this.identity.installationId,
      tenantId: this.identity.cellId,
      purpose,
      field,
      objectId,
      version,
    };
  }

  #hold(row: KeyRow): void {
    if (row.wrapped === null || row.state === 'destroyed') {
      this.#destroyed.add(row.key_id);
      return;
    }
    const purpose = row.purpose as Purpose;
    const key = this.#root.openTenantKey(this.#erasureKey, this.#context(purpose, row.key_id, row.version), row.wrapped);
    const held: HeldKey = {
      id: row.key_id,
      version: row.version,
      key,
      purpose,
      state: row.state as KeyState,
      createdAtMs: row.created_at,
    };
    this.#byId.set(held.id, held);
    this.#wraps.set(held.id, row.wraps);
    if (held.state === 'active') this.#active.set(purpose, held);
  }

  #context(purpose: Purpose, keyId: string, version: number) {
    return { installationId: this.identity.installationId, tenantId: this.identity.cellId, purpose, keyId, version };
  }
}
