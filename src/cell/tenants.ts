// The list of tenants (home cell only): names, states, and the last checkpoint each tenant's log was seen at.
import type { Access } from './access.ts';
import type { Sql } from './sql.ts';

export interface TenantRow {
  id: string;
  name: string;
  state: string;
  demo: number;
  created_at: number;
  created_by: string;
  witnessed: string | null;
}

export class TenantStore {
  readonly #sql: Sql;

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  insert(access: Access, row: Omit<TenantRow, 'witnessed'>): void {
    access.check();
    this.#sql.run(
      'INSERT INTO tenant (id, name, state, demo, created_at, created_by) VALUES (?, ?, ?, ?, ?, ?)',
      row.id,
      row.name,
      row.state,
      row.demo,
      row.created_at,
      row.created_by,
    );
  }

  /** By id or by the name of a tenant that is not erased. */
  find(access: Access, idOrName: string): TenantRow | undefined {
    access.check();
    return (
      this.#sql.get<TenantRow>("SELECT * FROM tenant WHERE name = ? AND state <> 'erased'", idOrName) ??
      this.#sql.get<TenantRow>('SELECT * FROM tenant WHERE id = ?', idOrName)
    );
  }

  setState(access: Access, id: string, state: string): void {
    access.check();
    this.#sql.run('UPDATE tenant SET state = ? WHERE id = ?', state, id);
  }

  list(access: Access, afterName: string, maxRows: number): TenantRow[] {
    access.check();
    return this.#sql.all<TenantRow>(
      "SELECT * FROM tenant WHERE name > ? AND state <> 'erased' ORDER BY name LIMIT ?",
      afterName,
      maxRows,
    );
  }

  inState(access: Access, state: string): TenantRow[] {
    access.check();
    return this.#sql.all<TenantRow>('SELECT * FROM tenant WHERE state = ? ORDER BY created_at', state);
  }

  /** The last checkpoint note of a tenant's log that the home cell was shown. */
  setWitnessed(access: Access, id: string, note: string): void {
    access.check();
    this.#sql.run('UPDATE tenant SET witnessed = ? WHERE id = ?', note, id);
  }
}
