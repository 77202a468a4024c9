// Alerts, webhooks and deliveries: all their SQL. A webhook's row decides where a tenant's alerts are sent, so it has a MAC.
// It must never return a webhook whose row was tampered with.
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { CellRows, Sealed, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface AlertRow {
  id: string;
  kind: string;
  /** Null for an alert without a credential. */
  credential_id: string | null;
  /** JSON object of texts, numbers and instants. */
  facts: string;
  at: number;
}

export interface Webhook {
  id: string;
  url: string;
  /** JSON array of alert kinds; empty means all kinds, including later ones. */
  kinds: string;
  created_at: number;
  created_by: string;
  deleted_at: number | null;
  /** Whether the secret also depends on the URL. 0: a webhook of an older build, whose receiver has the old secret. */
  url_bound: 0 | 1;
}
export type WebhookRow = Webhook & Sealed;

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

/** The columns of a due delivery, unchecked. */
export type DueDelivery = Pick<DeliveryRow, 'id' | 'webhook_id' | 'attempts' | 'created_at'> & {
  readonly next_attempt_at: number;
};

/** Where a page ends: rows are ordered by instant and id, newest first. */
export interface Before {
  readonly at: number;
  readonly id: string;
}

function inOrder(a: DueDelivery, b: DueDelivery): number {
  return a.next_attempt_at - b.next_attempt_at || a.created_at - b.created_at;
}

const DELIVERY = ['state', 'attempts', 'next_attempt_at', 'cause', 'finished_at'] as const;
const DELETED = ['deleted_at'] as const;
/** Deliveries of one webhook that one call postpones; the others stay due, and a later call postpones them. */
const POSTPONE_ROWS = 500;

export class AlertStore {
  readonly #sql: Sql;
  readonly #alerts: TableRows<AlertRow>;
  readonly #webhooks: TableRows<WebhookRow>;
  readonly #deliveries: TableRows<DeliveryRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#alerts = rows.of('alert');
    this.#webhooks = rows.of('webhook');
    this.#deliveries = rows.of('delivery');
  }

  // ---- alerts

  insert(access: WriteAccess, row: AlertRow): void {
    access.check();
    this.#alerts.insert(row);
  }

  /** @throws integrity */
  find(access: Lookup, id: string): AlertRow | undefined {
    access.check();
    const row = this.#sql.get<AlertRow>('SELECT * FROM alert WHERE id = ?', id);
    return this.#alerts.checked(row) ?? this.#alerts.absentById(id);
  }

  /** Newest first. A damaged row is left out. */
  list(access: Lookup, credentialId: string | undefined, before: Before, maxRows: number): AlertRow[] {
    access.check();
    const [where, values] = credentialId === undefined ? ['', []] : ['credential_id = ? AND', [credentialId]];
    const query = `SELECT * FROM alert WHERE ${where} (at, id) < (?, ?) ORDER BY at DESC, id DESC LIMIT ?`;
    return this.#alerts.page(maxRows, (last, rows) =>
      this.#sql.all<AlertRow>(query, ...values, last?.at ?? before.at, last?.id ?? before.id, rows),
    );
  }

  /** Whether an alert with this id exists, damaged or not. */
  has(access: Lookup, id: string): boolean {
    access.check();
    return this.#sql.get('SELECT 1 AS present FROM alert WHERE id = ?', id) !== undefined;
  }

  hasAlertBefore(access: Lookup, atMs: number): boolean {
    access.check();
    return this.#sql.get('SELECT 1 AS present FROM alert WHERE at < ? LIMIT 1', atMs) !== undefined;
  }

  /** Deletes alerts from before `atMs` and their deliveries, oldest first; returns the number of alerts. */
  purge(access: Bookkeeping<'purge'>, atMs: number, maxRows: number): number {
    access.check();
    const old = this.#sql.all<AlertRow>('SELECT * FROM alert WHERE at < ? ORDER BY at, id LIMIT ?', atMs, maxRows);
    for (const { id } of old)
      this.#deliveries.remove(this.#sql.all<DeliveryRow>('SELECT * FROM delivery WHERE alert_id = ?', id));
    this.#alerts.remove(old);
    return old.length;
  }

  // ---- webhooks

  insertWebhook(access: WriteAccess, row: Webhook): void {
    access.check();
    this.#webhooks.insert(row);
  }

  /** Without deleted ones, oldest first. A damaged row is left out. */
  webhooks(access: Lookup): WebhookRow[] {
    return this.#webhooks.intact(this.#live(access));
  }

  /**
   * Ids of the webhooks that subscribe to this kind. A damaged row counts as subscribed: its delivery then fails visibly, whereas an error
   * here would undo the change of state that the alert reports.
   */
  webhooksFor(access: Lookup, kind: string): string[] {
    const subscribed = this.#live(access).filter((row) => {
      const isIntact = this.#webhooks.intact([row]).length === 1;
      const kinds = isIntact ? (JSON.parse(row.kinds) as string[]) : [];
      return kinds.length === 0 || kinds.includes(kind);
    });
    return subscribed.map(({ id }) => id);
  }

  /** Undefined for a deleted one. @throws integrity */
  findWebhook(access: Lookup, id: string): WebhookRow | undefined {
    access.check();
    const row = this.#sql.get<WebhookRow>('SELECT * FROM webhook WHERE id = ?', id);
    const known = this.#webhooks.checked(row) ?? this.#webhooks.absentById(id);
    return known?.deleted_at === null ? known : undefined;
  }

  deleteWebhook(access: WriteAccess, row: WebhookRow, nowMs: number): void {
    access.check();
    this.#webhooks.update({ ...row, deleted_at: nowMs }, DELETED);
  }

  // ---- deliveries

  insertDelivery(access: WriteAccess, row: DeliveryRow): void {
    access.check();
    this.#deliveries.insert(row);
  }

  /** @throws integrity */
  findDelivery(access: Lookup, id: string): DeliveryRow | undefined {
    access.check();
    const row = this.#sql.get<DeliveryRow>('SELECT * FROM delivery WHERE id = ?', id);
    return this.#deliveries.checked(row) ?? this.#deliveries.absentById(id);
  }

  saveDelivery(access: WriteAccess | Bookkeeping<'delivery'>, row: DeliveryRow): void {
    access.check();
    this.#deliveries.update(row, DELIVERY);
  }

  /** Longest due first, one per webhook in turn, so that a long queue of one webhook does not delay the others. */
  dueDeliveries(access: Lookup, nowMs: number, maxRows: number): DueDelivery[] {
    access.check();
    // One indexed query per webhook: a window function over all waiting deliveries would read all of them.
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

  /** Postpones the due deliveries of one webhook to `untilMs` without an attempt. */
  postpone(access: Bookkeeping<'delivery'>, webhookId: string, nowMs: number, untilMs: number): void {
    access.check();
    const query = "SELECT * FROM delivery WHERE webhook_id = ? AND state = 'waiting' AND next_attempt_at <= ? LIMIT ?";
    for (const row of this.#deliveries.intact(this.#sql.all<DeliveryRow>(query, webhookId, nowMs, POSTPONE_ROWS)))
      this.#deliveries.update({ ...row, next_attempt_at: untilMs }, DELIVERY);
  }

  /** Makes deliveries that wait for an instant beyond `afterMs` due at `nowMs`; returns their number. */
  bringForward(access: Bookkeeping<'delivery'>, afterMs: number, nowMs: number, maxRows: number): number {
    access.check();
    const query = "SELECT * FROM delivery WHERE state = 'waiting' AND next_attempt_at > ? LIMIT ?";
    const rows = this.#deliveries.intact(this.#sql.all<DeliveryRow>(query, afterMs, maxRows));
    for (const row of rows) this.#deliveries.update({ ...row, next_attempt_at: nowMs }, DELIVERY);
    return rows.length;
  }

  /** Whether a delivery waits for an instant beyond `afterMs`. */
  hasDeliveryAfter(access: Lookup, afterMs: number): boolean {
    access.check();
    const query = "SELECT 1 AS present FROM delivery WHERE state = 'waiting' AND next_attempt_at > ? LIMIT 1";
    return this.#sql.get(query, afterMs) !== undefined;
  }

  /** Gives up the waiting deliveries of one webhook that were created before `createdBeforeMs`; returns their number. */
  giveUp(
    access: WriteAccess,
    webhookId: string,
    cause: string,
    nowMs: number,
    createdBeforeMs = Number.MAX_SAFE_INTEGER,
  ): number {
    access.check();
    const query = "SELECT * FROM delivery WHERE webhook_id = ? AND state = 'waiting' AND created_at < ?";
    const waiting = this.#deliveries.intact(this.#sql.all<DeliveryRow>(query, webhookId, createdBeforeMs));
    for (const row of waiting)
      this.#deliveries.update({ ...row, state: 'given_up', cause, next_attempt_at: null, finished_at: nowMs }, DELIVERY);
    return waiting.length;
  }

  /** Deliveries without a final outcome. */
  countWaiting(access: Lookup): number {
    access.check();
    const counted = "SELECT count(*) AS n FROM delivery WHERE state = 'waiting' AND next_attempt_at >= 0";
    return Number(this.#sql.get(counted)?.['n']);
  }

  /** Newest first. A damaged row is left out. */
  deliveries(access: Lookup, webhookId: string, before: Before, maxRows: number): DeliveryRow[] {
    access.check();
    const query =
      'SELECT * FROM delivery WHERE webhook_id = ? AND (created_at, id) < (?, ?) ORDER BY created_at DESC, id DESC LIMIT ?';
    return this.#deliveries.page(maxRows, (last, rows) =>
      this.#sql.all<DeliveryRow>(query, webhookId, last?.created_at ?? before.at, last?.id ?? before.id, rows),
    );
  }

  /** Ids of the webhooks with waiting deliveries; one index lookup each. */
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

  /** Known hole: write access to the database is enough to hide a webhook from this list; the scrub reports it. */
  #live(access: Lookup): WebhookRow[] {
    access.check();
    return this.#sql.all<WebhookRow>('SELECT * FROM webhook WHERE deleted_at IS NULL ORDER BY created_at, id');
  }
}
