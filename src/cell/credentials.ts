// Credentials and their immutable versions: all their SQL. Rows are returned checked, and only for an access.
// It must never return a row that fails its check, nor change a stored version.
import { fail, notFound } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Bookkeeping, Lookup, ReadAccess, WriteAccess } from './access.ts';
import type { CredentialFilter, CredentialRow, EnvironmentRow, VersionMetadata, VersionRow } from './credential-rows.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql, SqlValue } from './sql.ts';

export type { CredentialFilter, CredentialRow, EnvironmentRow, VersionMetadata, VersionRow };

export interface CredentialList {
  readonly rows: CredentialRow[];
  /** The last name that was read; undefined when there are no further rows. */
  readonly scannedTo: string | undefined;
}

/** Credentials with an end date of their own, unlike OAuth grants. */
const DATED = "kind <> 'oauth2' AND value_expires_at IS NOT NULL";

/** The most selective index for a filter; each is in order of names. */
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
  readonly #environments: TableRows<EnvironmentRow>;
  /** By name: almost every request reads one, and none changes. */
  readonly #known = new Map<string, EnvironmentRow>();
  readonly #rows: TableRows<CredentialRow>;
  readonly #versions: TableRows<VersionRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#environments = rows.of('environment');
    this.#rows = rows.of('credential');
    this.#versions = rows.of('credential_version');
  }

  insertEnvironment(access: WriteAccess, row: EnvironmentRow): void {
    access.check();
    this.#environments.insert(row);
  }

  /** A damaged row is left out. */
  environments(access: Lookup): EnvironmentRow[] {
    access.check();
    return this.#environments.intact(this.#sql.all<EnvironmentRow>('SELECT * FROM environment ORDER BY name'));
  }

  /** SECURITY: with two names swapped, a workload of staging would read production's values (CR-01). @throws integrity */
  findEnvironment(access: Lookup, name: string): EnvironmentRow | undefined {
    access.check();
    const known = this.#known.get(name);
    const row = this.#sql.get<EnvironmentRow>('SELECT * FROM environment WHERE name = ?', name);
    const found = this.#environments.checkedAgainst(known, row) ?? this.#environments.absentByName(name);
    if (found !== undefined && found !== known) this.#known.set(name, found);
    return found;
  }

  /** @throws not_found | integrity */
  environmentById(access: Lookup, id: string): EnvironmentRow {
    access.check();
    const row = this.#sql.get<EnvironmentRow>('SELECT * FROM environment WHERE id = ?', id);
    return this.#environments.checked(row) ?? this.#environments.absentById(id) ?? notFound('environment');
  }

  /** Grants that need a new consent; the index contains only those. */
  countNeedingConsent(access: Lookup): number {
    access.check();
    return Number(
      this.#sql.get(
        "SELECT count(*) AS n FROM credential WHERE health = 'needs_consent' AND kind = 'oauth2' AND state = 'active' " +
          "AND health_cause IS NOT 'not_connected_yet' AND health_since >= 0",
      )?.['n'],
    );
  }

  /** Includes a deleted one in its recovery window, never a destroyed one. @throws integrity */
  find(access: Lookup, environmentId: string, name: string): CredentialRow | undefined {
    access.check();
    const query = "SELECT * FROM credential WHERE environment_id = ? AND name = ? AND state <> 'destroyed'";
    const row = this.#sql.get<CredentialRow>(query, environmentId, name);
    return this.#rows.checked(row) ?? this.#rows.absentByName(environmentId, name);
  }

  /** @throws not_found | integrity */
  byId(access: Lookup, id: string): CredentialRow {
    access.check();
    const row = this.#sql.get<CredentialRow>('SELECT * FROM credential WHERE id = ?', id);
    return this.#rows.checked(row) ?? this.#rows.absentById(id) ?? notFound('credential');
  }

  /** @throws conflict when the environment has a name that differs in case alone: people would confuse the two */
  insert(access: WriteAccess, row: CredentialRow): void {
    access.check();
    this.#refuseTwin(row);
    this.#rows.insert(row);
  }

  #refuseTwin({ environment_id, name }: CredentialRow): void {
    const twin = this.#sql.get(
      "SELECT 1 AS present FROM credential WHERE environment_id = ? AND lower(name) = ? AND name <> ? AND state <> 'destroyed'",
      environment_id,
      name.toLowerCase(),
      name,
    );
    if (twin !== undefined)
      fail('conflict', 'this environment has a credential whose name differs in upper and lower case only: choose another name', {
        pointer: ':credential',
      });
  }

  save(access: WriteAccess | Bookkeeping<'review'>, row: CredentialRow): void {
    access.check();
    this.#rows.update(row);
  }

  /** In order of names, after `afterName`. Reads a bounded number of rows for every filter. A damaged row is left out. */
  list(access: Lookup, filter: CredentialFilter, afterName: string, maxRows: number): CredentialList {
    access.check();
    const walk = walkOf(filter);
    const from = `FROM credential INDEXED BY ${walk.index} WHERE environment_id = ? AND ${walk.where} AND name > ?`;
    const start = (after: string) => [filter.environmentId, ...walk.values, after];
    const bound = this.#sql.get<{ name: string }>(
      `SELECT name ${from} ORDER BY name LIMIT 1 OFFSET ?`,
      ...start(afterName),
      LIMITS.listScanMaxRows - 1,
    )?.name;
    const { where, values } = restOf(filter, bound);
    const query = `SELECT * ${from}${where.map((one) => ` AND ${one}`).join('')} ORDER BY name LIMIT ?`;
    const rows = this.#rows.page(maxRows, (last, count) =>
      this.#sql.all<CredentialRow>(query, ...start(last?.name ?? afterName), ...values, count),
    );
    return { rows, scannedTo: bound };
  }

  insertVersion(access: WriteAccess, row: VersionRow): void {
    access.check();
    this.#versions.insert(row);
  }

  /** @throws integrity */
  findVersion(access: ReadAccess, credentialId: string, version: number): VersionRow | undefined {
    access.check();
    return this.#checkedVersion(credentialId, version);
  }

  /** A version without its sealed bytes. @throws integrity */
  findVersionMetadata(access: Lookup, credentialId: string, version: number): VersionMetadata | undefined {
    access.check();
    const row = this.#checkedVersion(credentialId, version);
    return row === undefined ? undefined : factsOf(row);
  }

  #checkedVersion(credentialId: string, version: number): VersionRow | undefined {
    const query = 'SELECT * FROM credential_version WHERE credential_id = ? AND version = ?';
    const row = this.#sql.get<VersionRow>(query, credentialId, version);
    return this.#versions.checked(row) ?? this.#versions.absentById(credentialId, version);
  }

  /** Newest first. A damaged row is left out. */
  versions(access: Lookup, credentialId: string, beforeVersion: number, maxRows: number): VersionMetadata[] {
    access.check();
    const query = 'SELECT * FROM credential_version WHERE credential_id = ? AND version < ? ORDER BY version DESC LIMIT ?';
    const read = (last: VersionRow | undefined, rows: number) =>
      this.#sql.all<VersionRow>(query, credentialId, last?.version ?? beforeVersion, rows);
    return this.#versions.page(maxRows, read).map(factsOf);
  }

  /** Destroys versions older than the newest `keep`, except those with a label or with an open revocation. */
  pruneVersions(access: WriteAccess, row: CredentialRow, keep: number): void {
    access.check();
    const old = this.#sql.all<VersionRow>(
      'SELECT credential_id, version FROM credential_version AS stored WHERE credential_id = ? AND version <= ? AND version NOT IN (?, ?, ?) ' +
        "AND NOT EXISTS (SELECT 1 FROM run WHERE run.credential_id = stored.credential_id AND run.generation = stored.version AND run.state = 'open' AND run.kind = 'revocation')",
      row.id,
      row.latest_version - keep,
      row.current_version,
      row.previous_version ?? -1,
      row.pending_version ?? -1,
    );
    this.#versions.destroy(old);
  }

  /** Destroys every version of a credential; the row of the credential stays as a tombstone. */
  dropVersions(access: WriteAccess, credentialId: string): number {
    access.check();
    const query = 'SELECT credential_id, version FROM credential_version WHERE credential_id = ?';
    const all = this.#sql.all<VersionRow>(query, credentialId);
    this.#versions.destroy(all);
    return all.length;
  }

  /** Unchecked: the caller must read the checked row before it destroys one. */
  dueForDestruction(access: Lookup, nowMs: number, maxRows: number): CredentialRow[] {
    access.check();
    const query =
      "SELECT * FROM credential WHERE destroy_after_at IS NOT NULL AND destroy_after_at <= ? AND state = 'deleted' LIMIT ?";
    return this.#sql.all<CredentialRow>(query, nowMs, maxRows);
  }
}

function factsOf({ wrapped_key: _wrapped, value: _value, retained: _retained, ...facts }: VersionRow): VersionMetadata {
  return facts;
}
