// Alerts, webhooks and deliveries: all SQL about them. A webhook's row decides where a tenant's news goes, so it carries a MAC.
// It must never hand out a webhook whose row was changed behind our back.
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { Keyring } from './keyring.ts';
import { checkRow, eachIntact, type Sealed, sealRow, UNDER_OTHER_KEY } from './row-integrity.ts';
import type { Sql, SqlValue } from './sql.ts';

export interface AlertRow {
  id: string;
  kind: string;
  credential_id: string;
  /** JSON object of words, numbers and instants. */
  facts: string;
  at: number;
}

export interface WebhookFacts {
  id: string;
  url: string;
  /** JSON array of alert kinds; empty means all there are and all there will be. */
  kinds: string;
  created_at: number;
  created_by: string;
  deleted_at: number | null;
}
export type WebhookRow = WebhookFacts & Sealed;

export interface DeliveryRow {
  id: string;
  webhook_id: string;
  alert_id: string;
  state: 'waiting' | 'delivered' | 'given_up';
  attempts: number;
  next_attempt_at: number | null;
  cause: string | null;
  created_at: number;
  finished_at: number | null;
}

/** A delivery as it is looked up for work. */
export type DueDelivery = Pick<DeliveryRow, 'id' | 'webhook_id' | 'attempts' | 'next_attempt_at' | 'created_at'>;

/** Where a page ends: rows are ordered by instant and id, newest first. */
export interface Before {
  readonly at: number;
  readonly id: string;
}

function inOrder(a: DueDelivery, b: DueDelivery): number {
  const byTime = (a.next_attempt_at ?? 0) - (b.next_attempt_at ?? 0) || a.created_at - b.created_at;
  return byTime || (a.id < b.id ? -1 : 1);
}

function decisive(row: WebhookFacts): SqlValue[] {
  const { url, kinds, created_at, created_by, deleted_at } = row;
  return [url, kinds, created_at, created_by, deleted_at];
}

export class AlertStore {
  readonly #sql: Sql;
  readonly #keyring: Keyring;

  constructor(sql: Sql, keyring: Keyring) {
    this.#sql = sql;
    this.#keyring = keyring;
  }

  // ---- alerts

  insert(access: WriteAccess, row: AlertRow): void {
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

  find(access: Lookup, id: string): AlertRow | undefined {
    access.check();
    return this.#sql.get<AlertRow>('SELECT * FROM alert WHERE id = ?', id);
  }

  /** Newest first. */
  list(access: Lookup, credentialId: string | undefined, before: Before, maxRows: number): AlertRow[] {
    access.check();
    const [where, values] = credentialId === undefined ? ['', []] : ['credential_id = ? AND', [credentialId]];
    return this.#sql.all<AlertRow>(
      `SELECT * FROM alert WHERE ${where} (at, id) < (?, ?) ORDER BY at DESC, id DESC LIMIT ?`,
      ...values,
      before.at,
      before.id,
      maxRows,
    );
  }

  hasAlertBefore(access: Lookup, atMs: number): boolean {
    access.check();
    return this.#sql.get('SELECT 1 AS present FROM alert WHERE at < ? LIMIT 1', atMs) !== undefined;
  }

  /** Forgets alerts of before `atMs` and their deliveries, oldest first; returns how many alerts. */
  purge(access: Bookkeeping<'purge'>, atMs: number, maxRows: number): number {
    access.check();
    const old = 'SELECT id FROM alert WHERE at < ? ORDER BY at, id LIMIT ?';
    this.#sql.run(`DELETE FROM delivery WHERE alert_id IN (${old})`, atMs, maxRows);
    return this.#sql.all(`DELETE FROM alert WHERE id IN (${old}) RETURNING id`, atMs, maxRows).length;
  }

  // ---- webhooks

  insertWebhook(access: WriteAccess, row: WebhookFacts): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'webhook', row.id, decisive(row));
    this.#sql.run(
      'INSERT INTO webhook (id, url, kinds, created_at, created_by, deleted_at, mac, mac_key_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      row.id,
      row.url,
      row.kinds,
      row.created_at,
      row.created_by,
      row.deleted_at,
      mac,
      mac_key_id,
    );
  }

  /** Not the deleted ones, oldest first. @throws integrity */
  webhooks(access: Lookup): WebhookRow[] {
    return this.#live(access).map((row) => this.#checked(row));
  }

  /**
   * Ids of those that want this kind. A damaged row counts as wanting it: its delivery then fails for all to see, where an error
   * here would undo the change of state that the alert tells.
   */
  webhooksFor(access: Lookup, kind: string): string[] {
    const wanting = this.#live(access).filter((row) => {
      const isIntact = eachIntact([row], (one) => this.#checked(one)) === 1;
      const kinds = isIntact ? (JSON.parse(row.kinds) as string[]) : [];
      return kinds.length === 0 || kinds.includes(kind);
    });
    return wanting.map(({ id }) => id);
  }

  /** Not a deleted one. @throws integrity */
  findWebhook(access: Lookup, id: string): WebhookRow | undefined {
    access.check();
    const row = this.#sql.get<WebhookRow>('SELECT * FROM webhook WHERE id = ?', id);
    return row === undefined || this.#checked(row).deleted_at !== null ? undefined : row;
  }

  deleteWebhook(access: WriteAccess, row: WebhookRow, nowMs: number): void {
    access.check();
    const { mac, mac_key_id } = sealRow(this.#keyring, 'webhook', row.id, decisive({ ...row, deleted_at: nowMs }));
    this.#sql.run('UPDATE webhook SET deleted_at = ?, mac = ?, mac_key_id = ? WHERE id = ?', nowMs, mac, mac_key_id, row.id);
  }

  /** Re-seals rows whose MAC carries an old key; returns how many. */
  resealBatch(access: WriteAccess, maxRows: number): number {
    access.check();
    const { keyId } = this.#keyring.macKey();
    const rows = this.#sql.all<WebhookRow>(`SELECT * FROM webhook WHERE ${UNDER_OTHER_KEY} LIMIT ?`, keyId, keyId, maxRows);
    return eachIntact(rows, (row) => {
      this.#checked(row);
      const { mac, mac_key_id } = sealRow(this.#keyring, 'webhook', row.id, decisive(row));
      this.#sql.run('UPDATE webhook SET mac = ?, mac_key_id = ? WHERE id = ?', mac, mac_key_id, row.id);
    });
  }

  // ---- deliveries

  insertDelivery(access: WriteAccess, row: DeliveryRow): void {
    access.check();
    this.#sql.run(
      'INSERT INTO delivery (id, webhook_id, alert_id, state, attempts, next_attempt_at, cause, created_at, finished_at) ' +
        'VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
      row.id,
      row.webhook_id,
      row.alert_id,
      row.state,
      row.attempts,
      row.next_attempt_at,
      row.cause,
      row.created_at,
      row.finished_at,
    );
  }

  findDelivery(access: Lookup, id: string): DeliveryRow | undefined {
    access.check();
    return this.#sql.get<DeliveryRow>('SELECT * FROM delivery WHERE id = ?', id);
  }

  saveDelivery(access: WriteAccess | Bookkeeping<'delivery'>, row: DeliveryRow): void {
    access.check();
    this.#sql.run(
      'UPDATE delivery SET state = ?, attempts = ?, next_attempt_at = ?, cause = ?, finished_at = ? WHERE id = ?',
      row.state,
      row.attempts,
      row.next_attempt_at,
      row.cause,
      row.finished_at,
      row.id,
    );
  }

  /** Longest due first, in turns: however much waits for one webhook, each other one has its share. */
  dueDeliveries(access: Lookup, nowMs: number, maxRows: number): DueDelivery[] {
    access.check();
    // Each webhook's own queue from its index: numbering all that waits would read all of it.
    const turns = this.#waitingWebhooks().flatMap((webhookId) =>
      this.#sql
        .all<DueDelivery>(
          'SELECT id, webhook_id, attempts, next_attempt_at, created_at FROM delivery ' +
            "WHERE webhook_id = ? AND state = 'waiting' AND next_attempt_at <= ? ORDER BY next_attempt_at, created_at, id LIMIT ?",
          webhookId,
          nowMs,
          maxRows,
        )
        .map((delivery, turn) => ({ delivery, turn })),
    );
    return turns
      .sort((a, b) => a.turn - b.turn || inOrder(a.delivery, b.delivery))
      .slice(0, maxRows)
      .map(({ delivery }) => delivery);
  }

  /** What is due at one webhook waits until `untilMs` without an attempt. */
  postpone(access: Bookkeeping<'delivery'>, webhookId: string, nowMs: number, untilMs: number): void {
    access.check();
    this.#sql.run(
      "UPDATE delivery SET next_attempt_at = ? WHERE webhook_id = ? AND state = 'waiting' AND next_attempt_at <= ?",
      untilMs,
      webhookId,
      nowMs,
    );
  }

  /** Gives up what waits at one webhook, if made before `createdBeforeMs`; returns how many. */
  giveUp(
    access: WriteAccess,
    webhookId: string,
    cause: string,
    nowMs: number,
    createdBeforeMs = Number.MAX_SAFE_INTEGER,
  ): number {
    access.check();
    return this.#sql.all(
      "UPDATE delivery SET state = 'given_up', cause = ?, next_attempt_at = NULL, finished_at = ? " +
        "WHERE webhook_id = ? AND state = 'waiting' AND created_at < ? RETURNING id",
      cause,
      nowMs,
      webhookId,
      createdBeforeMs,
    ).length;
  }

  /** Newest first. */
  deliveries(access: Lookup, webhookId: string, before: Before, maxRows: number): DeliveryRow[] {
    access.check();
    return this.#sql.all<DeliveryRow>(
      'SELECT * FROM delivery WHERE webhook_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?',
      webhookId,
      before.at,
      before.id,
      maxRows,
    );
  }

  /** Those that anything waits for, one step of the index each. */
  #waitingWebhooks(): string[] {
    const ids: string[] = [];
    for (let last = ''; ; ) {
      const next = this.#sql.get<{ webhook_id: string }>(
        "SELECT webhook_id FROM delivery WHERE state = 'waiting' AND webhook_id > ? ORDER BY webhook_id LIMIT 1",
        last,
      );
      if (next === undefined) return ids;
      ids.push(next.webhook_id);
      last = next.webhook_id;
    }
  }

  /** Known hole: who can write the database can hide a webhook by its `deleted_at`, as they could by taking the row away. */
  #live(access: Lookup): WebhookRow[] {
    access.check();
    return this.#sql.all<WebhookRow>('SELECT * FROM webhook WHERE deleted_at IS NULL ORDER BY created_at, id');
  }

  #checked(row: WebhookRow): WebhookRow {
    checkRow(this.#keyring, 'webhook', row.id, decisive(row), row);
    return row;
  }
}
