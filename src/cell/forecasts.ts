// Queries over credentials for forecasts and revocations: due reviews, ended grants, end dates, and the grants of one client or account.
// They return unchecked ids and counts only: the caller must read the checked row of a credential before it uses it.
import type { Lookup } from './access.ts';
import type { CellRows } from './rows.ts';
import type { Sql } from './sql.ts';

/** The last row of a page: rows are ordered by end and id. */
export interface EndKey {
  readonly endsAt: number;
  readonly id: string;
}

export interface AccountCount {
  readonly client_id: string;
  /** JSON, as stored in the facts. */
  readonly account: string;
  readonly count: number;
  /** Id of the credential that was created first. */
  readonly oldest: string;
}

/** As in the index credential_of_client: a damaged row must not make the query fail. */
const CLIENT = "CASE WHEN json_valid(config) THEN json_extract(config, '$.client_id') END";
const ACCOUNT = "CASE WHEN json_valid(grant_facts) THEN json_extract(grant_facts, '$.account') END";
const LIVE_GRANT = "kind = 'oauth2' AND state = 'active' AND health IN ('ready', 'degraded')";

export class ForecastStore {
  readonly #sql: Sql;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
  }

  /** Longest due first, including credentials that were deleted since. */
  dueForReview(access: Lookup, nowMs: number, maxRows: number): string[] {
    access.check();
    const query =
      'SELECT id FROM credential WHERE review_due_at IS NOT NULL AND review_due_at <= ? ORDER BY review_due_at LIMIT ?';
    // End dates stored by an older build, without a planned review; the index is empty once each was reviewed.
    const unplanned =
      'SELECT id FROM credential WHERE review_due_at IS NULL AND value_expires_at IS NOT NULL ' +
      "AND kind <> 'oauth2' AND state = 'active' LIMIT ?";
    const due = this.#sql.all<{ id: string }>(query, nowMs, maxRows);
    return [...due, ...this.#sql.all<{ id: string }>(unplanned, maxRows - due.length)].map(({ id }) => id);
  }

  /** Credentials whose review is planned after this instant. */
  plannedAfter(access: Lookup, afterMs: number, maxRows: number): string[] {
    access.check();
    const query = 'SELECT id FROM credential WHERE review_due_at > ? LIMIT ?';
    return this.#sql.all<{ id: string }>(query, afterMs, maxRows).map(({ id }) => id);
  }

  /** Soonest end first, as of the last review; `environmentId` undefined: of all environments. */
  endingSoonest(access: Lookup, environmentId: string | undefined, after: EndKey, throughMs: number, maxRows: number): EndKey[] {
    access.check();
    const [where, values] = environmentId === undefined ? ['', []] : ['AND environment_id = ?', [environmentId]];
    return this.#sql.all<{ endsAt: number; id: string }>(
      'SELECT grant_ends_at AS endsAt, id FROM credential WHERE grant_ends_at IS NOT NULL AND (grant_ends_at, id) > (?, ?) ' +
        `AND grant_ends_at <= ? AND state = 'active' ${where} ORDER BY grant_ends_at, id LIMIT ?`,
      after.endsAt,
      after.id,
      throughMs,
      ...values,
      maxRows,
    );
  }

  /** Grants that need a new consent, longest ended first, without grants that were never connected. `environmentId` undefined: of all. */
  endedAlready(access: Lookup, environmentId: string | undefined, after: EndKey, maxRows: number): EndKey[] {
    access.check();
    const [where, values] = environmentId === undefined ? ['', []] : ['AND environment_id = ?', [environmentId]];
    return this.#sql.all<{ endsAt: number; id: string }>(
      "SELECT health_since AS endsAt, id FROM credential WHERE health = 'needs_consent' AND (health_since, id) > (?, ?) " +
        `AND kind = 'oauth2' AND state = 'active' AND health_cause IS NOT 'not_connected_yet' ${where} ` +
        'ORDER BY health_since, id LIMIT ?',
      after.endsAt,
      after.id,
      ...values,
      maxRows,
    );
  }

  /** Counts of live grants of one connector per client and account, where there are at least `atLeast`. */
  grantsByAccount(access: Lookup, connector: string, atLeast: number): AccountCount[] {
    access.check();
    return this.#sql.all<AccountCount & { first: number }>(
      `SELECT ${CLIENT} AS client_id, ${ACCOUNT} AS account, count(*) AS count, ` +
        'id AS oldest, min(created_at) AS first FROM credential ' +
        `WHERE ${LIVE_GRANT} AND connector = ? AND ${ACCOUNT} IS NOT NULL ` +
        `GROUP BY ${CLIENT}, ${ACCOUNT} HAVING count(*) >= ?`,
      connector,
      atLeast,
    );
  }

  /** Live grants of one OAuth client. */
  liveGrantsOfClient(access: Lookup, clientId: string): string[] {
    access.check();
    return this.#sql
      .all<{ id: string }>(`SELECT id FROM credential WHERE ${LIVE_GRANT} AND ${CLIENT} = ?`, clientId)
      .map(({ id }) => id);
  }
}
