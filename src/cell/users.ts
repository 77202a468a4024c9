// The team: users and their roles per tenant (home cell only).
import { notFound } from '../base/errors.ts';
import type { Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface UserRow {
  id: string;
  name: string;
  revision: number;
  bootstrap: number;
  created_at: number;
  created_by: string;
  offboarded_at: number | null;
  mac: Uint8Array;
  mac_key_id: string;
}

export interface GrantRow {
  role: string;
  tenant_id: string;
}

export type User = Omit<UserRow, 'mac' | 'mac_key_id'>;

export interface UserWithRoles {
  readonly row: UserRow;
  readonly grants: GrantRow[];
}

/** A user's MAC covers the user's grants, which tables.ts reads with the row, so a forged role is detected. */
type JoinedRow = UserRow & { grants: string };

function grantsText(grants: readonly GrantRow[]): string {
  const pairs = grants.map(({ role, tenant_id }) => [role, tenant_id] as const);
  return JSON.stringify(pairs.sort(([a, x], [b, y]) => (a < b || (a === b && x < y) ? -1 : 1)));
}

export class UserStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<JoinedRow>;

  #whenChanged: () => void = () => {};

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('user');
  }

  /** SECURITY: `listener` must empty caches of users; it is called when any use case changes a user. One listener. */
  whenChanged(listener: () => void): void {
    this.#whenChanged = listener;
  }

  insert(access: WriteAccess, row: User, grants: readonly GrantRow[]): void {
    access.check();
    this.#rows.insert({ ...row, grants: grantsText(grants) });
    this.#insertGrants(row.id, grants);
  }

  /** Overwrites a user's facts and grants. */
  save(access: WriteAccess, row: User, grants: readonly GrantRow[]): void {
    access.check();
    const was = this.#sql.get<JoinedRow>(`${this.#rows.select} WHERE id = ?`, row.id);
    if (was !== undefined && was.name !== row.name) this.#rows.freeName(was);
    this.#rows.update({ ...row, grants: grantsText(grants) });
    this.#sql.run('DELETE FROM user_grant WHERE user_id = ?', row.id);
    this.#insertGrants(row.id, grants);
    this.#whenChanged();
  }

  /**
   * Whether the installation never had a user. Reads no row, so a damaged row does not block the first start.
   * SECURITY: the map must be empty, too: after an attacker emptied the table, the next start would create a new owner.
   */
  isEmpty(access: Lookup): boolean {
    access.check();
    return this.#rows.count === 0 && this.#sql.get('SELECT 1 AS present FROM user LIMIT 1') === undefined;
  }

  /** @throws integrity */
  find(access: Lookup, idOrName: string): UserWithRoles | undefined {
    access.check();
    const { select } = this.#rows;
    const row =
      this.#sql.get<JoinedRow>(`${select} WHERE id = ?`, idOrName) ??
      this.#sql.get<JoinedRow>(`${select} WHERE name = ? AND offboarded_at IS NULL`, idOrName);
    const checked = this.#rows.checked(row) ?? this.#rows.absentById(idOrName) ?? this.#rows.absentByName(idOrName);
    return checked === undefined ? undefined : withRoles(checked);
  }

  get(access: Lookup, idOrName: string): UserWithRoles {
    return this.find(access, idOrName) ?? notFound('user');
  }

  /** Ids of all users with this name, including offboarded ones; unchecked, for searches in the log. */
  idsNamed(access: Lookup, name: string): string[] {
    access.check();
    return this.#sql.all<{ id: string }>('SELECT id FROM user WHERE name = ?', name).map(({ id }) => id);
  }

  /** Names by id, including those of offboarded users. A damaged row is left out. */
  names(access: Lookup, ids: readonly string[]): [id: string, name: string][] {
    access.check();
    // One look-up each: SQLite would plan a list of ids as a scan.
    const query = `${this.#rows.select} WHERE id = ?`;
    const rows = ids.flatMap((id) => this.#sql.all<JoinedRow>(query, id));
    return this.#rows.intact(rows).map(({ id, name }) => [id, name]);
  }

  /** A damaged row is left out. */
  list(access: Lookup, afterId: string, maxRows: number): UserWithRoles[] {
    access.check();
    const query = `${this.#rows.select} WHERE id > ? ORDER BY id LIMIT ?`;
    return this.#rows.page(maxRows, (last, rows) => this.#sql.all<JoinedRow>(query, last?.id ?? afterId, rows)).map(withRoles);
  }

  #insertGrants(userId: string, grants: readonly GrantRow[]): void {
    for (const grant of grants) {
      this.#sql.run('INSERT INTO user_grant (user_id, role, tenant_id) VALUES (?, ?, ?)', userId, grant.role, grant.tenant_id);
    }
  }
}

function withRoles({ grants, ...row }: JoinedRow): UserWithRoles {
  const pairs = JSON.parse(grants) as [string, string][];
  return { row, grants: pairs.map(([role, tenant_id]) => ({ role, tenant_id })) };
}
