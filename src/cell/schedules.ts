// Rules that give schedules to credentials, and the queries over planned rotations: all their SQL. A rule decides when secrets are replaced,
// so its row has a MAC. Ids of credentials are unchecked: the caller must read the checked row before it uses it.
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

export interface ScheduleRuleRow {
  name: string;
  /** The conditions that a credential must meet; null: none. */
  environment: string | null;
  connector: string | null;
  label_name: string | null;
  label_value: string | null;
  /** Among equally specific rules the highest applies. */
  priority: number;
  /** JSON of vault/schedule.ts `ScheduleSpec`. */
  spec: string;
  /** JSON of vault/schedule.ts `Pause`. */
  pause: string | null;
  /** When the schedule was set: periods are counted from then at the earliest. */
  set_at: number;
  created_at: number;
  created_by: string;
  /** A removed rule stays until the credentials that it covered are planned again. */
  removed_at: number | null;
  /** The id of the last credential that was planned again after the rule changed; null: all were. */
  walk_after: string | null;
}

export interface PromiseKey {
  readonly promisedAt: number;
  readonly id: string;
}

export class ScheduleStore {
  readonly #sql: Sql;
  readonly #rules: TableRows<ScheduleRuleRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rules = rows.of('schedule_rule');
  }

  /** By name, without removed ones. A damaged row is left out. */
  rules(access: Lookup): ScheduleRuleRow[] {
    access.check();
    // Every put asks, and most tenants have none.
    if (this.#rules.count === 0) return [];
    const rows = this.#sql.all<ScheduleRuleRow>('SELECT * FROM schedule_rule ORDER BY name');
    return this.#rules.intact(rows).filter((row) => row.removed_at === null);
  }

  /** Also a removed one. @throws integrity */
  findRule(access: Lookup, name: string): ScheduleRuleRow | undefined {
    access.check();
    const row = this.#sql.get<ScheduleRuleRow>('SELECT * FROM schedule_rule WHERE name = ?', name);
    return this.#rules.checked(row) ?? this.#rules.absentById(name);
  }

  insertRule(access: WriteAccess, row: ScheduleRuleRow): void {
    access.check();
    this.#rules.insert(row);
  }

  saveRule(access: WriteAccess | Bookkeeping<'review'>, row: ScheduleRuleRow): void {
    access.check();
    this.#rules.update(row);
  }

  /** Deletes the row of a removed rule. */
  dropRule(access: Bookkeeping<'review'>, row: ScheduleRuleRow): void {
    access.check();
    this.#rules.destroy([row]);
  }

  /** A rule whose credentials are not all planned again; undefined if there is none. A damaged row is left out. */
  changedRule(access: Lookup): ScheduleRuleRow | undefined {
    access.check();
    const rows = this.#sql.all<ScheduleRuleRow>('SELECT * FROM schedule_rule WHERE walk_after IS NOT NULL ORDER BY name');
    return this.#rules.intact(rows)[0];
  }

  /** Credentials that a rule may cover, in order of ids. */
  rotatable(access: Lookup, afterId: string, maxRows: number): string[] {
    access.check();
    const query =
      "SELECT id FROM credential WHERE connector IS NOT NULL AND kind <> 'oauth2' AND state = 'active' AND id > ? ORDER BY id LIMIT ?";
    return this.#sql.all<{ id: string }>(query, afterId, maxRows).map(({ id }) => id);
  }

  /** Credentials that the watch over overdue rotations must look at, longest first. */
  dueForWatch(access: Lookup, nowMs: number, maxRows: number): string[] {
    access.check();
    const query =
      'SELECT id FROM credential WHERE overdue_check_at IS NOT NULL AND overdue_check_at <= ? ORDER BY overdue_check_at LIMIT ?';
    return this.#sql.all<{ id: string }>(query, nowMs, maxRows).map(({ id }) => id);
  }

  /** Planned rotations, overdue ones first; `environmentId` undefined: of all environments. */
  planned(
    access: Lookup,
    environmentId: string | undefined,
    after: PromiseKey,
    throughMs: number,
    maxRows: number,
  ): PromiseKey[] {
    access.check();
    const [where, values] = environmentId === undefined ? ['', []] : ['AND environment_id = ?', [environmentId]];
    return this.#sql.all<{ promisedAt: number; id: string }>(
      'SELECT rotation_promised_at AS promisedAt, id FROM credential WHERE rotation_promised_at IS NOT NULL ' +
        `AND (rotation_promised_at, id) > (?, ?) AND rotation_promised_at <= ? ${where} ORDER BY rotation_promised_at, id LIMIT ?`,
      after.promisedAt,
      after.id,
      throughMs,
      ...values,
      maxRows,
    );
  }
}

export interface CalendarFeedRow {
  id: string;
  created_at: number;
  created_by: string;
  revoked_at: number | null;
}

/** The calendar feeds of a tenant; the key of each is derived, never stored. */
export class CalendarFeedStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<CalendarFeedRow>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('calendar_feed');
  }

  insert(access: WriteAccess, row: CalendarFeedRow): void {
    access.check();
    this.#rows.insert(row);
  }

  /** Without revoked ones. A damaged row is left out. */
  live(access: Lookup): CalendarFeedRow[] {
    access.check();
    return this.#rows.intact(
      this.#sql.all<CalendarFeedRow>('SELECT * FROM calendar_feed WHERE revoked_at IS NULL ORDER BY created_at, id'),
    );
  }

  /** Undefined for a revoked one. @throws integrity */
  find(access: Lookup, id: string): CalendarFeedRow | undefined {
    access.check();
    const row = this.#sql.get<CalendarFeedRow>('SELECT * FROM calendar_feed WHERE id = ?', id);
    const known = this.#rows.checked(row) ?? this.#rows.absentById(id);
    return known?.revoked_at === null ? known : undefined;
  }

  revoke(access: WriteAccess, row: CalendarFeedRow, nowMs: number): void {
    access.check();
    this.#rows.update({ ...row, revoked_at: nowMs }, REVOKED);
  }
}

const REVOKED = ['revoked_at'] as const;
