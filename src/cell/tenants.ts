// The list of tenants (home cell only): names, states, and the last checkpoint each tenant's log was seen at.
// It must never return a row whose MAC does not fit: a name decides which database is meant, `demo` which proofs are asked for.
import { KeyturnError, notFound } from '../base/errors.ts';
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, type Sealed, sealRow } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

export interface TenantRow {
  id: string;
  name: string;
  state: string;
  demo: number;
  /** JSON array: the environments it was asked for with; a crash halfway must not forget them. */
  environments: string;
  created_at: number;
  created_by: string;
  witnessed: string | null;
}

export type TenantFacts = Omit<TenantRow, 'witnessed'>;

function decisive(row: TenantFacts): SqlValue[] {
  return [row.name, row.state, row.demo, row.environments, row.created_at, row.created_by];
}

export class TenantStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  insert(access: WriteAccess, row: TenantFacts): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'tenant', row.id, decisive(row));
    this.#sql.run(
      'INSERT INTO tenant (id, name, state, demo, environments, created_at, created_by, mac, mac_key_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      row.id,
      ...decisive(row),
      mac,
      mac_key_id,
    );
  }

  /** By id or by the name of a tenant that is not erased. @throws integrity */
  find(access: Lookup, idOrName: string): TenantRow | undefined {
    access.check();
    const row =
      this.#sql.get<TenantRow & Sealed>("SELECT * FROM tenant WHERE name = ? AND state <> 'erased'", idOrName) ??
      this.#sql.get<TenantRow & Sealed>('SELECT * FROM tenant WHERE id = ?', idOrName);
    return row === undefined ? undefined : this.#checked(row);
  }

  setState(access: WriteAccess | Bookkeeping<'provision'>, id: string, state: string): void {
    const row = { ...(this.find(access, id) ?? notFound('tenant')), state };
    const { mac, mac_key_id } = sealRow(this.#keyring, 'tenant', id, decisive(row));
    this.#sql.run('UPDATE tenant SET state = ?, mac = ?, mac_key_id = ? WHERE id = ?', state, mac, mac_key_id, id);
  }

  list(access: Lookup, afterName: string, maxRows: number): TenantRow[] {
    access.check();
    return this.#sql
      .all<TenantRow & Sealed>(
        "SELECT * FROM tenant WHERE name > ? AND state <> 'erased' ORDER BY name LIMIT ?",
        afterName,
        maxRows,
      )
      .map((row) => this.#checked(row));
  }

  /** For the start of a process: a damaged row is left out, so that it costs its own tenant only; `find` says what is wrong with it. */
  inState(access: Lookup, state: string): TenantRow[] {
    access.check();
    return this.#sql
      .all<TenantRow & Sealed>('SELECT * FROM tenant WHERE state = ? ORDER BY created_at', state)
      .filter((row) => this.#fits(row));
  }

  /** The last checkpoint note of a tenant's log that the home cell was shown. */
  setWitnessed(access: Bookkeeping<'witness'>, id: string, note: string): void {
    access.check();
    this.#sql.run('UPDATE tenant SET witnessed = ? WHERE id = ?', note, id);
  }

  #checked(row: TenantRow & Sealed): TenantRow {
    checkRow(this.#keyring, 'tenant', row.id, decisive(row), row);
    return row;
  }

  #fits(row: TenantRow & Sealed): boolean {
    try {
      return this.#checked(row) === row;
    } catch (error) {
      if (error instanceof KeyturnError && error.code === 'integrity') return false;
      throw error;
    }
  }
}
