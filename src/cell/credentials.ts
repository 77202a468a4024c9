// Credentials and their immutable versions: all SQL about them. Rows come out checked and only for an access.
// It must never return a row whose MAC does not fit, nor change a version after it was written.
import { fail, notFound } from '../base/errors.ts';
import type { Bookkeeping, Lookup, ReadAccess, WriteAccess } from './access.ts';
import {
  CREDENTIAL_COLUMNS,
  type CredentialFacts,
  type CredentialFilter,
  type CredentialRow,
  type EnvironmentRow,
  LATER_COLUMNS,
  type VersionFacts,
  type VersionRow,
} from './credential-rows.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, eachIntact, type Sealed, sealRow } from './row-integrity.ts';
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

  /** Also finds a deleted one in its recovery window; never a destroyed one. @throws integrity */
  find(access: Lookup, environmentId: string, name: string): CredentialRow | undefined {
    access.check();
    return this.#checked(
      this.#sql.get<CredentialRow>(
        "SELECT * FROM credential WHERE environment_id = ? AND name = ? AND state <> 'destroyed'",
        environmentId,
        name,
      ),
    );
  }

  /** @throws not_found | integrity */
  byId(access: Lookup, id: string): CredentialRow {
    access.check();
    return this.#checked(this.#sql.get<CredentialRow>('SELECT * FROM credential WHERE id = ?', id)) ?? notFound('credential');
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

  /** By name from `afterName` on (exclusive). */
  list(access: Lookup, filter: CredentialFilter, afterName: string, maxRows: number): CredentialRow[] {
    access.check();
    const where = ['environment_id = ?', 'name > ?', filter.deleted ? "state = 'deleted'" : "state = 'active'"];
    const values: SqlValue[] = [filter.environmentId, afterName];
    if (filter.kind !== undefined) {
      where.push('kind = ?');
      values.push(filter.kind);
    }
    if (filter.health !== undefined) {
      const ended = "kind <> 'oauth2' AND value_expires_at IS NOT NULL AND value_expires_at <= ?";
      where.push(filter.health === 'expired' ? ended : `health = ? AND NOT (${ended})`);
      values.push(...(filter.health === 'expired' ? [] : [filter.health]), filter.nowMs);
    }
    if (filter.label !== undefined) {
      where.push('EXISTS (SELECT 1 FROM json_each(labels) WHERE key = ? AND value = ?)');
      values.push(filter.label.name, filter.label.value);
    }
    if (filter.text !== undefined) {
      where.push('(instr(lower(name), ?) > 0 OR instr(lower(description), ?) > 0)');
      values.push(filter.text, filter.text);
    }
    const rows = this.#sql.all<CredentialRow>(
      `SELECT * FROM credential WHERE ${where.join(' AND ')} ORDER BY name LIMIT ?`,
      ...values,
      maxRows,
    );
    for (const row of rows) this.#checked(row);
    return rows;
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
    return this.#sql.all<CredentialRow>(
      "SELECT * FROM credential WHERE destroy_after_at IS NOT NULL AND destroy_after_at <= ? AND state = 'deleted' LIMIT ?",
      nowMs,
      maxRows,
    );
  }

  /** Re-seals up to `maxRows` rows that carry another MAC key than the active one. */
  resealBatch(access: WriteAccess, maxRows: number): number {
    access.check();
    const { keyId } = this.#keyring.macKey();
    const rows = this.#sql.all<CredentialRow>('SELECT * FROM credential WHERE mac_key_id <> ? LIMIT ?', keyId, maxRows);
    const done = eachIntact(rows, (row) => {
      this.#checked(row);
      const { mac, mac_key_id } = sealRow(this.#keyring, 'credential', row.id, decisive(row));
      this.#sql.run('UPDATE credential SET mac = ?, mac_key_id = ? WHERE id = ?', mac, mac_key_id, row.id);
    });
    return done + this.#resealEnvironments(keyId);
  }

  /** Few by nature, so all at once. */
  #resealEnvironments(keyId: string): number {
    const rows = this.#sql.all<EnvironmentRow & Sealed>('SELECT * FROM environment WHERE mac_key_id <> ?', keyId);
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

  #checked(row: CredentialRow | undefined): CredentialRow | undefined {
    if (row !== undefined) checkRow(this.#keyring, 'credential', row.id, decisive(row), row);
    return row;
  }
}
