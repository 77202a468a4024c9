// Credentials and their immutable versions: all SQL about them. Rows come out checked and only for an access.
// It must never return a row whose MAC does not fit, nor change a version after it was written.
import { fail, notFound } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Bookkeeping, Lookup, ReadAccess, WriteAccess } from './access.ts';
import {
  CREDENTIAL_COLUMNS,
  type CredentialFacts,
  type CredentialFilter,
  type CredentialRow,
  type EnvironmentRow,
  LATER_COLUMNS,
  type StoredCredential,
  type VersionFacts,
  type VersionRow,
} from './credential-rows.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, eachIntact, type Sealed, sealRow, UNDER_OTHER_KEY } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

export type { CredentialFacts, CredentialFilter, CredentialRow, EnvironmentRow, VersionFacts, VersionRow };

const WRITTEN = [...CREDENTIAL_COLUMNS, ...LATER_COLUMNS.map(([column]) => column)];
const INSERT = `INSERT INTO credential (id, ${WRITTEN.join(', ')}, mac, mac_key_id) VALUES (?, ${WRITTEN.map(() => '?').join(', ')}, ?, ?)`;
const UPDATE = `UPDATE credential SET ${WRITTEN.map((column) => `${column} = ?`).join(', ')}, mac = ?, mac_key_id = ? WHERE id = ?`;

function written(row: CredentialFacts): SqlValue[] {
  return WRITTEN.map((column) => row[column] ?? null);
}

/** What the MAC covers. Columns of later steps count once one of them says anything, so that rows of an older build still pass. */
function decisive(row: CredentialFacts): SqlValue[] {
  const first = CREDENTIAL_COLUMNS.map((column) => row[column] ?? null);
  const untouched = LATER_COLUMNS.every(([column, initial]) => (row[column] ?? null) === initial);
  return untouched ? first : [...first, ...LATER_COLUMNS.map(([column]) => row[column] ?? null)];
}

export interface CredentialList {
  readonly rows: CredentialRow[];
  /** The last name that was looked at, where there may be more. */
  readonly scannedTo: string | undefined;
}

/** The index in which the rows that fit lie closest together, in the order of their names. */
/** What ends by a date of its own, and not as an OAuth grant does. */
const DATED = "kind <> 'oauth2' AND value_expires_at IS NOT NULL";

function walkOf({ deleted, health, kind, nowMs }: CredentialFilter): { index: string; where: string; values: SqlValue[] } {
  if (deleted) return { index: 'credential_deleted', where: "state = 'deleted'", values: [] };
  if (health === 'expired')
    return { index: 'credential_dated', where: `state = 'active' AND ${DATED} AND value_expires_at <= ?`, values: [nowMs] };
  if (health !== undefined && health !== 'ready')
    return { index: 'credential_not_ready', where: "state = 'active' AND health <> 'ready' AND health = ?", values: [health] };
  if (kind !== undefined) return { index: 'credential_of_kind', where: "state = 'active' AND kind = ?", values: [kind] };
  return { index: 'credential_by_name', where: "state <> 'destroyed'", values: [] };
}

function restOf(filter: CredentialFilter, bound: string | undefined): { where: string[]; values: SqlValue[] } {
  const where = [filter.deleted ? "state = 'deleted'" : "state = 'active'"];
  const values: SqlValue[] = [];
  const add = (condition: string, ...given: SqlValue[]) => {
    where.push(condition);
    values.push(...given);
  };
  if (bound !== undefined) add('name <= ?', bound);
  if (filter.kind !== undefined) add('kind = ?', filter.kind);
  if (filter.health === 'expired') add(`${DATED} AND value_expires_at <= ?`, filter.nowMs);
  else if (filter.health !== undefined)
    add(`health = ? AND NOT (${DATED} AND value_expires_at <= ?)`, filter.health, filter.nowMs);
  if (filter.label !== undefined)
    add('EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)', filter.label.name, filter.label.value);
  if (filter.text !== undefined) add('(instr(lower(name), ?) > 0 OR instr(lower(description), ?) > 0)', filter.text, filter.text);
  return { where, values };
}

export class CredentialStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  insertEnvironment(access: WriteAccess, row: EnvironmentRow): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'environment', row.id, [row.name, row.created_at]);
    this.#sql.run(
      'INSERT INTO environment (id, name, created_at, mac, mac_key_id) VALUES (?, ?, ?, ?, ?)',
      row.id,
      row.name,
      row.created_at,
      mac,
      mac_key_id,
    );
  }

  environments(access: Lookup): EnvironmentRow[] {
    access.check();
    return this.#sql
      .all<EnvironmentRow & Sealed>('SELECT * FROM environment ORDER BY name')
      .map((row) => this.#checkedEnvironment(row));
  }

  findEnvironment(access: Lookup, name: string): EnvironmentRow | undefined {
    access.check();
    const row = this.#sql.get<EnvironmentRow & Sealed>('SELECT * FROM environment WHERE name = ?', name);
    return row === undefined ? undefined : this.#checkedEnvironment(row);
  }

  environmentById(access: Lookup, id: string): EnvironmentRow {
    access.check();
    const row = this.#sql.get<EnvironmentRow & Sealed>('SELECT * FROM environment WHERE id = ?', id);
    return row === undefined ? notFound('environment') : this.#checkedEnvironment(row);
  }

  /** Grants that are dead at their provider; the index holds no others. */
  countNeedingConsent(access: Lookup): number {
    access.check();
    const row = this.#sql.get(
      "SELECT count(*) AS n FROM credential WHERE health = 'needs_consent' AND kind = 'oauth2' AND state = 'active' " +
        "AND health_cause IS NOT 'not_connected_yet' AND health_since >= 0",
    );
    return Number(row?.['n'] ?? 0);
  }

  /** Also finds a deleted one in its recovery window; never a destroyed one. @throws integrity */
  find(access: Lookup, environmentId: string, name: string): CredentialRow | undefined {
    access.check();
    return this.#checked(
      this.#sql.get<StoredCredential>(
        "SELECT * FROM credential WHERE environment_id = ? AND name = ? AND state <> 'destroyed'",
        environmentId,
        name,
      ),
    );
  }

  /** @throws not_found | integrity */
  byId(access: Lookup, id: string): CredentialRow {
    access.check();
    return this.#checked(this.#sql.get<StoredCredential>('SELECT * FROM credential WHERE id = ?', id)) ?? notFound('credential');
  }

  /** @throws conflict when the environment has a name that differs in upper and lower case alone: one of the two would be mistaken for the other */
  insert(access: WriteAccess, row: CredentialFacts): void {
    access.check();
    this.#refuseTwin(row);
    const { mac, mac_key_id } = sealRow(this.#keyring, 'credential', row.id, decisive(row));
    this.#sql.run(INSERT, row.id, ...written(row), mac, mac_key_id);
  }

  #refuseTwin({ environment_id, name }: CredentialFacts): void {
    const twin = this.#sql.get(
      "SELECT 1 AS present FROM credential WHERE environment_id = ? AND lower(name) = ? AND name <> ? AND state <> 'destroyed'",
      environment_id,
      name.toLowerCase(),
      name,
    );
    if (twin !== undefined)
      fail('conflict', 'a credential of this environment has the same name with other upper and lower case letters', {
        pointer: ':credential',
      });
  }

  save(access: WriteAccess | Bookkeeping<'review'>, row: CredentialFacts): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'credential', row.id, decisive(row));
    this.#sql.run(UPDATE, ...written(row), mac, mac_key_id, row.id);
  }

  /** By name from `afterName` on (exclusive). Looks at so many rows and no more, whatever the filter. @throws integrity */
  list(access: Lookup, filter: CredentialFilter, afterName: string, maxRows: number): CredentialList {
    access.check();
    const walk = walkOf(filter);
    const from = `FROM credential INDEXED BY ${walk.index} WHERE environment_id = ? AND ${walk.where} AND name > ?`;
    const start = [filter.environmentId, ...walk.values, afterName];
    const bound = this.#sql.get<{ name: string }>(
      `SELECT name ${from} ORDER BY name LIMIT 1 OFFSET ?`,
      ...start,
      LIMITS.listScanMaxRows - 1,
    )?.name;
    const { where, values } = restOf(filter, bound);
    const rows = this.#sql.all<StoredCredential>(
      `SELECT * ${from}${where.map((one) => ` AND ${one}`).join('')} ORDER BY name LIMIT ?`,
      ...start,
      ...values,
      maxRows,
    );
    for (const row of rows) this.#checked(row);
    return { rows, scannedTo: bound };
  }

  insertVersion(access: WriteAccess, row: VersionRow): void {
    access.check();
    this.#sql.run(
      'INSERT INTO credential_version (credential_id, version, key_id, wrapped_key, value, retained, value_expires_at, created_at, ' +
        'created_by, origin, run_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
      row.credential_id,
      row.version,
      row.key_id,
      row.wrapped_key,
      row.value,
      row.retained,
      row.value_expires_at,
      row.created_at,
      row.created_by,
      row.origin,
      row.run_id,
    );
  }

  findVersion(access: ReadAccess, credentialId: string, version: number): VersionRow | undefined {
    access.check();
    return this.#sql.get<VersionRow>(
      'SELECT * FROM credential_version WHERE credential_id = ? AND version = ?',
      credentialId,
      version,
    );
  }

  /** What is known of a version, without its sealed bytes. */
  findVersionFacts(access: Lookup, credentialId: string, version: number): VersionFacts | undefined {
    access.check();
    return this.#sql.get<VersionRow>(
      'SELECT credential_id, version, key_id, value_expires_at, created_at, created_by, origin, run_id FROM credential_version ' +
        'WHERE credential_id = ? AND version = ?',
      credentialId,
      version,
    ) as VersionFacts | undefined;
  }

  versions(access: Lookup, credentialId: string, beforeVersion: number, maxRows: number): VersionFacts[] {
    access.check();
    return this.#sql.all<VersionRow>(
      'SELECT credential_id, version, key_id, value_expires_at, created_at, created_by, origin, run_id FROM credential_version ' +
        'WHERE credential_id = ? AND version < ? ORDER BY version DESC LIMIT ?',
      credentialId,
      beforeVersion,
      maxRows,
    ) as VersionFacts[];
  }

  /** Drops versions older than the newest `keep`, never one that carries a label or is still to be revoked at its provider. */
  pruneVersions(access: WriteAccess, row: CredentialFacts, keep: number): void {
    access.check();
    const { revocation } = JSON.parse(row.grant_facts) as { revocation?: { state: string; version?: number } };
    this.#sql.run(
      'DELETE FROM credential_version WHERE credential_id = ? AND version <= ? AND version NOT IN (?, ?, ?, ?)',
      row.id,
      row.latest_version - keep,
      row.current_version,
      row.previous_version ?? -1,
      row.pending_version ?? -1,
      revocation?.state === 'waiting' ? (revocation.version ?? -1) : -1,
    );
  }

  /** Removes every sealed byte of a credential; its row stays as a tombstone. */
  dropVersions(access: WriteAccess, credentialId: string): number {
    access.check();
    return this.#sql.all('DELETE FROM credential_version WHERE credential_id = ? RETURNING version', credentialId).length;
  }

  dueForDestruction(access: Lookup, nowMs: number, maxRows: number): CredentialRow[] {
    access.check();
    return this.#sql.all<StoredCredential>(
      "SELECT * FROM credential WHERE destroy_after_at IS NOT NULL AND destroy_after_at <= ? AND state = 'deleted' LIMIT ?",
      nowMs,
      maxRows,
    );
  }

  /** Re-seals up to `maxRows` rows that carry another MAC key than the active one. */
  resealBatch(access: WriteAccess, maxRows: number): number {
    access.check();
    const { keyId } = this.#keyring.macKey();
    const rows = this.#sql.all<StoredCredential>(
      `SELECT * FROM credential WHERE ${UNDER_OTHER_KEY} LIMIT ?`,
      keyId,
      keyId,
      maxRows,
    );
    const done = eachIntact(rows, (row) => {
      this.#checked(row);
      const { mac, mac_key_id } = sealRow(this.#keyring, 'credential', row.id, decisive(row));
      this.#sql.run('UPDATE credential SET mac = ?, mac_key_id = ? WHERE id = ?', mac, mac_key_id, row.id);
    });
    return done + this.#resealEnvironments(keyId);
  }

  /** Few by nature, so all at once. */
  #resealEnvironments(keyId: string): number {
    const rows = this.#sql.all<EnvironmentRow & Sealed>(`SELECT * FROM environment WHERE ${UNDER_OTHER_KEY}`, keyId, keyId);
    return eachIntact(rows, (row) => {
      this.#checkedEnvironment(row);
      const { mac, mac_key_id } = sealRow(this.#keyring, 'environment', row.id, [row.name, row.created_at]);
      this.#sql.run('UPDATE environment SET mac = ?, mac_key_id = ? WHERE id = ?', mac, mac_key_id, row.id);
    });
  }

  /** SECURITY: two names exchanged would hand production's values to a workload of staging (CR-01). */
  #checkedEnvironment(row: EnvironmentRow & Sealed): EnvironmentRow {
    checkRow(this.#keyring, 'environment', row.id, [row.name, row.created_at], row);
    return row;
  }

  #checked(row: StoredCredential | undefined): CredentialRow | undefined {
    if (row !== undefined) checkRow(this.#keyring, 'credential', row.id, decisive(row), row);
    return row;
  }
}
