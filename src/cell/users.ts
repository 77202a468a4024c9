// The team: users and what they were granted where (home cell only).
import { notFound } from '../base/errors.ts';
import type { Lookup, WriteAccess } from './access.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, eachIntact, sealRow, UNDER_OTHER_KEY } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

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

export type UserFacts = Omit<UserRow, 'mac' | 'mac_key_id'>;

/** A user's MAC covers their grants, so a role cannot be slipped in beside it. */
function decisive(row: UserFacts, grants: readonly GrantRow[]): SqlValue[] {
  const granted = grants.map((grant) => `${grant.role}@${grant.tenant_id}`).sort();
  return [row.name, row.revision, row.bootstrap, row.offboarded_at, ...granted];
}

export class UserStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  #whenChanged: () => void = () => {};

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  /** SECURITY: whoever remembers people forgets them when one changes, whichever use case does it. One listener. */
  whenChanged(listener: () => void): void {
    this.#whenChanged = listener;
  }

  insert(access: WriteAccess, row: UserFacts, grants: readonly GrantRow[]): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'user', row.id, decisive(row, grants));
    this.#sql.run(
      'INSERT INTO user (id, name, revision, bootstrap, created_at, created_by, offboarded_at, mac, mac_key_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      row.id,
      row.name,
      row.revision,
      row.bootstrap,
      row.created_at,
      row.created_by,
      row.offboarded_at,
      mac,
      mac_key_id,
    );
    this.#insertGrants(row.id, grants);
  }

  /** Overwrites a user's facts and grants. */
  save(access: WriteAccess, row: UserFacts, grants: readonly GrantRow[]): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'user', row.id, decisive(row, grants));
    this.#sql.run(
      'UPDATE user SET name = ?, revision = ?, bootstrap = ?, offboarded_at = ?, mac = ?, mac_key_id = ? WHERE id = ?',
      row.name,
      row.revision,
      row.bootstrap,
      row.offboarded_at,
      mac,
      mac_key_id,
      row.id,
    );
    this.#sql.run('DELETE FROM user_grant WHERE user_id = ?', row.id);
    this.#insertGrants(row.id, grants);
    this.#whenChanged();
  }

  /** Nobody was ever here; looks at no row, so that a damaged one does not keep everybody out. */
  isEmpty(access: Lookup): boolean {
    access.check();
    return this.#sql.get('SELECT 1 AS present FROM user LIMIT 1') === undefined;
  }

  /** @throws integrity */
  find(access: Lookup, idOrName: string): { row: UserRow; grants: GrantRow[] } | undefined {
    access.check();
    const row =
      this.#sql.get<UserRow>('SELECT * FROM user WHERE id = ?', idOrName) ??
      this.#sql.get<UserRow>('SELECT * FROM user WHERE name = ? AND offboarded_at IS NULL', idOrName);
    return row === undefined ? undefined : { row, grants: this.#checkedGrants(row) };
  }

  get(access: Lookup, idOrName: string): { row: UserRow; grants: GrantRow[] } {
    return this.find(access, idOrName) ?? notFound('user');
  }

  /** Of those who left, too; unchecked, for names in a log. */
  idsNamed(access: Lookup, name: string): string[] {
    access.check();
    return this.#sql.all<{ id: string }>('SELECT id FROM user WHERE name = ?', name).map(({ id }) => id);
  }

  list(access: Lookup, afterId: string, maxRows: number): { row: UserRow; grants: GrantRow[] }[] {
    access.check();
    return this.#sql
      .all<UserRow>('SELECT * FROM user WHERE id > ? ORDER BY id LIMIT ?', afterId, maxRows)
      .map((row) => ({ row, grants: this.#checkedGrants(row) }));
  }

  resealBatch(access: WriteAccess, maxRows: number): number {
    access.check();
    const { keyId } = this.#keyring.macKey();
    const rows = this.#sql.all<UserRow>(`SELECT * FROM user WHERE ${UNDER_OTHER_KEY} LIMIT ?`, keyId, keyId, maxRows);
    return eachIntact(rows, (row) => this.save(access, row, this.#checkedGrants(row)));
  }

  #checkedGrants(row: UserRow): GrantRow[] {
    const grants = this.#sql.all<GrantRow>(
      'SELECT role, tenant_id FROM user_grant WHERE user_id = ? ORDER BY role, tenant_id',
      row.id,
    );
    checkRow(this.#keyring, 'user', row.id, decisive(row, grants), row);
    return grants;
  }

  #insertGrants(userId: string, grants: readonly GrantRow[]): void {
    for (const grant of grants) {
      this.#sql.run('INSERT INTO user_grant (user_id, role, tenant_id) VALUES (?, ?, ?)', userId, grant.role, grant.tenant_id);
    }
  }
}
