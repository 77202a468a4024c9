// Runs: each is one refresh, rotation or revocation, with a journal and a lease (D5, D6). Per credential, at most one run that moves
// `current` is open, and at most one revocation of each version.
import { notFound } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Bookkeeping, Lookup, WriteAccess } from './access.ts';
import type { CellRows, TableRows } from './rows.ts';
import type { Sql } from './sql.ts';

/** `refresh` and `rotation` move `current`; `revocation` ends the tokens of one version at the provider. */
export type RunKind = 'refresh' | 'rotation' | 'revocation';
export type RunTrigger = 'schedule' | 'request' | 'read';
export type RunState = 'open' | 'succeeded' | 'failed' | 'cancelled';
/** How a run ended. */
export type RunOutcome =
  // of a run that moves `current`
  | 'refreshed'
  | 'dead'
  | 'credential_removed'
  | 'rotated'
  | 'rolled_back'
  | 'test_failed'
  | 'abandoned'
  | 'disconnected'
  | 'cancelled'
  // of a revocation
  | 'revoked'
  | 'given_up'
  | 'not_asked'
  | 'not_possible'
  | 'shared'
  | 'removed'
  // of both: a newer run or version replaced it
  | 'superseded';

export interface RunRow {
  id: string;
  credential_id: string;
  kind: RunKind;
  trigger: RunTrigger;
  requested_by: string;
  state: RunState;
  /** The last journalled step: queued | leased | intent | answered | stored ... */
  step: string;
  /** The version of the credential whose secret this run uses or revokes. */
  generation: number;
  attempts: number;
  /** Sends of this generation without an answer; a crash between intent and outcome counts as one. */
  lost_answers: number;
  /** Fencing number: grows with every lease; a writer with an older one is refused. */
  fence: number;
  lease_until: number;
  lease_owner: string;
  next_attempt_at: number | null;
  /** The outcome (`RunOutcome`); of a waiting run, the class of its last failure. */
  outcome: string | null;
  cause: string | null;
  new_version: number | null;
  started_at: number;
  finished_at: number | null;
  /** JSON of what the run was asked and what it found, depending on its kind; never secret. */
  facts: string;
}

export interface DueForRefresh {
  readonly id: string;
  /** The same text for all credentials of one provider; used only to alternate between providers. */
  readonly provider: string;
}

export interface DueForRotation {
  readonly id: string;
  /** As in `DueForRefresh`. */
  readonly provider: string;
  readonly isScheduled: boolean;
}

/** The settings that determine the provider; a damaged row counts as a provider of its own. */
const PROVIDER =
  "coalesce(connector, '') || CASE WHEN json_valid(config) THEN coalesce(json_extract(config, '$.token_endpoint'), '') || " +
  "coalesce(json_extract(config, '$.parameters'), '') ELSE credential.id END";

export interface RunStepRow {
  sequence: number;
  step: string;
  status: string;
  at: number;
  /** JSON of the provider's error, without secrets; null without an answer or after a success. */
  evidence: string | null;
}

/** One line of a run's journal. */
export interface JournalLine {
  readonly step: string;
  readonly status: string;
  readonly at: number;
  /** As `RunStepRow.evidence`. */
  readonly evidence?: string | null;
}

interface StoredStep extends RunStepRow {
  run_id: string;
}

const withoutRun = ({ sequence, step, status, at, evidence }: StoredStep): RunStepRow => ({
  sequence,
  step,
  status,
  at,
  evidence,
});

/** The kinds of run that move `current`. */
const MOVES = "kind <> 'revocation'";

/** The columns that a run changes; its credential and kind never change. */
const PROGRESS = [
  'state',
  'step',
  'generation',
  'attempts',
  'lost_answers',
  'fence',
  'lease_until',
  'lease_owner',
  'next_attempt_at',
  'outcome',
  'cause',
  'new_version',
  'finished_at',
  'facts',
] as const;

export class RunStore {
  readonly #sql: Sql;
  readonly #rows: TableRows<RunRow>;
  readonly #steps: TableRows<StoredStep>;

  constructor(rows: CellRows) {
    this.#sql = rows.sql;
    this.#rows = rows.of('run');
    this.#steps = rows.of('run_step');
  }

  insert(access: WriteAccess, row: RunRow): void {
    access.check();
    this.#rows.insert(row);
  }

  /** Overwrites the progress of a run (`PROGRESS`). */
  save(access: WriteAccess | Bookkeeping<'lease' | 'reading'>, row: RunRow): void {
    access.check();
    this.#rows.update(row, PROGRESS);
  }

  /** @throws integrity */
  find(access: Lookup, id: string): RunRow | undefined {
    access.check();
    const row = this.#sql.get<RunRow>('SELECT * FROM run WHERE id = ?', id);
    return this.#rows.checked(row) ?? this.#rows.absentById(id);
  }

  get(access: Lookup, id: string): RunRow {
    return this.find(access, id) ?? notFound('run');
  }

  /**
   * The open run that moves `current`. SECURITY: without the check, deleting or closing its row in the database would cause its refresh
   * token to be used twice. @throws integrity
   */
  findOpen(access: Lookup, credentialId: string): RunRow | undefined {
    access.check();
    const row = this.#sql.get<RunRow>(`SELECT * FROM run WHERE credential_id = ? AND state = 'open' AND ${MOVES}`, credentialId);
    return this.#rows.checked(row) ?? this.#rows.absentByName(credentialId);
  }

  /** Newest first; `beforeStartedAt` is exclusive. A damaged row is left out. */
  list(access: Lookup, credentialId: string, beforeStartedAt: number, maxRows: number): RunRow[] {
    access.check();
    const query = 'SELECT * FROM run WHERE credential_id = ? AND started_at < ? ORDER BY started_at DESC, rowid DESC LIMIT ?';
    return this.#rows.page(maxRows, (last, rows) =>
      this.#sql.all<RunRow>(query, credentialId, last?.started_at ?? beforeStartedAt, rows),
    );
  }

  /**
   * Credentials whose refresh is due, and open runs without a valid lease whose next attempt is due, most urgent first. Instants further
   * ahead than any that is ever set count as due: the clock was set back since. Ids only, unchecked.
   */
  dueForRefresh(access: Lookup, nowMs: number, maxRows: number): DueForRefresh[] {
    access.check();
    const { leaseMs, refreshWaitMaxMs } = LIMITS;
    const resumedIf = (when: string, atMs: number) =>
      this.#sql.all<DueForRefresh>(
        `SELECT credential_id AS id, ${PROVIDER} AS provider FROM run JOIN credential ON credential.id = credential_id
          WHERE run.state = 'open' AND run.${MOVES} AND credential.kind = 'oauth2' AND next_attempt_at ${when} ? AND (lease_until <= ? OR lease_until > ?)
          ORDER BY next_attempt_at LIMIT ?`,
        atMs,
        nowMs,
        nowMs + leaseMs,
        maxRows,
      );
    const resumed = [...resumedIf('<=', nowMs), ...resumedIf('>', nowMs + refreshWaitMaxMs)].slice(0, maxRows);
    const fresh = this.#sql.all<DueForRefresh>(
      `SELECT id, ${PROVIDER} AS provider FROM credential WHERE refresh_due_at IS NOT NULL AND refresh_due_at <= ? AND state = 'active'
        AND NOT EXISTS (SELECT 1 FROM run WHERE run.credential_id = credential.id AND run.state = 'open' AND run.${MOVES})
        ORDER BY refresh_due_at LIMIT ?`,
      nowMs,
      maxRows,
    );
    return [...resumed, ...fresh];
  }

  /** Revocations whose next attempt is due, longest due first. Ids only, unchecked. */
  dueForRevocation(access: Lookup, nowMs: number, maxRows: number): string[] {
    access.check();
    return this.#dueRevocations("= 'oauth2'", nowMs, maxRows).map(({ id }) => id);
  }

  /** As `dueForRevocation`, for replaced keys and passwords. */
  dueForRetirement(access: Lookup, nowMs: number, maxRows: number): { readonly id: string; readonly provider: string }[] {
    access.check();
    return this.#dueRevocations("<> 'oauth2'", nowMs, maxRows);
  }

  #dueRevocations(kind: string, nowMs: number, maxRows: number): { id: string; provider: string }[] {
    const query =
      "SELECT run.id AS id, coalesce(connector, '') AS provider FROM run JOIN credential ON credential.id = credential_id WHERE run.state = 'open' AND run.kind = 'revocation' " +
      `AND next_attempt_at <= ? AND credential.kind ${kind} ORDER BY next_attempt_at LIMIT ?`;
    return this.#sql.all<{ id: string; provider: string }>(query, nowMs, maxRows);
  }

  /** Keys and passwords with an open rotation whose next attempt is due, or whose schedule is due, most urgent first. Ids only, unchecked. */
  dueForRotation(access: Lookup, nowMs: number, withScheduled: boolean, maxRows: number): DueForRotation[] {
    access.check();
    const resumed = this.#sql.all<Omit<DueForRotation, 'isScheduled'>>(
      "SELECT credential_id AS id, coalesce(connector, '') AS provider FROM run JOIN credential ON credential.id = credential_id WHERE run.state = 'open' AND run.kind = 'rotation' " +
        "AND credential.kind <> 'oauth2' AND next_attempt_at <= ? ORDER BY next_attempt_at LIMIT ?",
      nowMs,
      maxRows,
    );
    if (!withScheduled) return resumed.map((one) => ({ ...one, isScheduled: false }));
    const scheduled = this.#sql.all<Omit<DueForRotation, 'isScheduled'>>(
      "SELECT id, coalesce(connector, '') AS provider FROM credential WHERE rotation_due_at IS NOT NULL AND rotation_due_at <= ? ORDER BY rotation_due_at LIMIT ?",
      nowMs,
      maxRows,
    );
    return [
      ...resumed.map((row) => ({ ...row, isScheduled: false })),
      ...scheduled.map((row) => ({ ...row, isScheduled: true })),
    ];
  }

  /** Open revocations of grants that wait for an instant beyond `afterMs`; a grace period of a key may be longer than any of their delays. */
  revocationsAfter(access: Lookup, afterMs: number, maxRows: number): RunRow[] {
    access.check();
    const query =
      "SELECT run.* FROM run JOIN credential ON credential.id = credential_id WHERE run.state = 'open' AND run.kind = 'revocation' " +
      "AND next_attempt_at > ? AND credential.kind = 'oauth2' LIMIT ?";
    return this.#rows.intact(this.#sql.all<RunRow>(query, afterMs, maxRows));
  }

  /** The latest revocation of the credential, or of one of its versions, in any state. @throws integrity */
  lastRevocation(access: Lookup, credentialId: string, version?: number): RunRow | undefined {
    access.check();
    const [where, values] = version === undefined ? ['', []] : ['AND generation = ? ', [version]];
    const row = this.#sql.get<RunRow>(
      `SELECT * FROM run WHERE credential_id = ? AND kind = 'revocation' ${where}ORDER BY started_at DESC, rowid DESC LIMIT 1`,
      credentialId,
      ...values,
    );
    return this.#rows.checked(row);
  }

  /** The open revocation of this version, if it waits for readers; undefined also for a damaged row, which its next attempt reports. */
  findAwaitingReaders(access: Lookup, credentialId: string, version: number): RunRow | undefined {
    access.check();
    const rows = this.#sql.all<RunRow>(
      "SELECT * FROM run WHERE credential_id = ? AND state = 'open' AND kind = 'revocation' AND generation = ? " +
        "AND step = 'grace' AND cause = 'readers' LIMIT 1",
      credentialId,
      version,
    );
    return this.#rows.intact(rows)[0];
  }

  /** Credentials whose current version was stored after `atMs`: the clock was set back since. Reads every grant; for use after a jump only. */
  storedAfter(access: Lookup, atMs: number, maxRows: number): DueForRefresh[] {
    access.check();
    return this.#sql.all<DueForRefresh>(
      `SELECT credential.id AS id, ${PROVIDER} AS provider FROM credential JOIN credential_version AS stored
        ON stored.credential_id = credential.id AND stored.version = credential.current_version
        WHERE refresh_due_at IS NOT NULL AND state = 'active' AND stored.created_at > ? LIMIT ?`,
      atMs,
      maxRows,
    );
  }

  journal(access: WriteAccess, runId: string, line: JournalLine): void {
    access.check();
    // Steps are never deleted, so their count gives the next number; with max() SQLite would plan the statement again for each run.
    const { step, status, at, evidence = null } = line;
    this.#steps.insert({ run_id: runId, sequence: this.#countSteps(runId) + 1, step, status, at, evidence });
  }

  #countSteps(runId: string): number {
    return Number(this.#sql.get('SELECT count(*) AS n FROM run_step WHERE run_id = ?', runId)?.['n']);
  }

  /** A damaged row is left out. */
  steps(access: Lookup, runId: string): RunStepRow[] {
    access.check();
    const rows = this.#sql.all<StoredStep>('SELECT * FROM run_step WHERE run_id = ? ORDER BY sequence', runId);
    return this.#steps.intact(rows).map(withoutRun);
  }

  /** When the run first reached this step. @throws integrity */
  firstStepAt(access: Lookup, runId: string, step: string): number | undefined {
    return this.wholeJournal(access, runId).find((line) => line.step === step)?.at;
  }

  /**
   * Every step of the run. SECURITY: sequence numbers have no gaps, so a deleted step is detected at its number or after the last one; a
   * count would not detect a deleted row beside an inserted one. @throws integrity
   */
  wholeJournal(access: Lookup, runId: string): RunStepRow[] {
    access.check();
    const query = 'SELECT * FROM run_step WHERE run_id = ? ORDER BY sequence';
    const steps = this.#steps.intact(this.#sql.all<StoredStep>(query, runId));
    let next = 1;
    for (const { sequence } of steps) {
      for (; next < sequence; next += 1) this.#steps.absentById(runId, next);
      next = sequence + 1;
    }
    this.#steps.absentById(runId, next);
    return steps.map(withoutRun);
  }

  /**
   * Open runs under a lease of any owner; during a lease, the next attempt is at its end. A damaged row is left out.
   * SECURITY: freeing a lease computes a new MAC, so a forged row that was not left out would become a genuine run.
   */
  leased(access: Lookup, nowMs: number): RunRow[] {
    access.check();
    return this.#rows.intact(
      this.#sql.all<RunRow>(
        "SELECT * FROM run WHERE state = 'open' AND next_attempt_at <= ? AND lease_owner <> ''",
        nowMs + LIMITS.leaseMs,
      ),
    );
  }

  /** When the current generation was first sent: the last intent that was not a repetition. @throws integrity */
  firstIntentAt(access: Lookup, runId: string): number | undefined {
    return this.wholeJournal(access, runId).findLast(({ step, status }) => step === 'intent' && status === 'first')?.at;
  }

  /** The end of the credential's last finished run that moves `current`, if a request had started it. */
  requestEndedAt(access: Lookup, credentialId: string): number | undefined {
    access.check();
    const last = this.#sql.get<RunRow>(
      `SELECT * FROM run WHERE credential_id = ? AND state <> 'open' AND ${MOVES} ORDER BY started_at DESC, rowid DESC LIMIT 1`,
      credentialId,
    );
    return this.#rows.checked(last)?.trigger === 'request' ? (last?.finished_at ?? undefined) : undefined;
  }

  /**
   * The earliest due time of any work of this cell; irreversible work is due at `steadyFromMs` at the earliest, scheduled rotations at
   * `believedFromMs`. Undefined when nothing waits. Each query uses an index.
   */
  nextDueAt(access: Lookup, steadyFromMs: number, believedFromMs: number): number | undefined {
    access.check();
    const dueAt = (query: string) => this.#sql.get<{ at: number | null }>(query)?.at ?? undefined;
    const due = DUE_QUERIES.map(dueAt).filter((at) => at !== undefined);
    for (const at of IRREVERSIBLE_QUERIES.map(dueAt)) if (at !== undefined) due.push(Math.max(at, steadyFromMs));
    for (const at of SCHEDULE_QUERIES.map(dueAt)) if (at !== undefined) due.push(Math.max(at, believedFromMs));
    return due.length === 0 ? undefined : Math.min(...due);
  }
}

/** The due times of work that depends on time only. */
const DUE_QUERIES: readonly string[] = [
  "SELECT next_attempt_at AS at FROM run WHERE state = 'open' AND next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT 1",
  // Without credentials that have an open run: the first query covers those. ORDER BY walks the partial index; min() would read all of it.
  'SELECT refresh_due_at AS at FROM credential WHERE refresh_due_at IS NOT NULL AND NOT EXISTS ' +
    `(SELECT 1 FROM run WHERE run.credential_id = credential.id AND run.state = 'open' AND run.${MOVES}) ORDER BY refresh_due_at LIMIT 1`,
  'SELECT review_due_at AS at FROM credential WHERE review_due_at IS NOT NULL ORDER BY review_due_at LIMIT 1',
  // End dates stored by an older build, without a planned review (cell/forecasts.ts), are due now.
  'SELECT 0 AS at FROM credential WHERE review_due_at IS NULL AND value_expires_at IS NOT NULL ' +
    "AND kind <> 'oauth2' AND state = 'active' LIMIT 1",
  "SELECT next_attempt_at AS at FROM delivery WHERE state = 'waiting' AND next_attempt_at IS NOT NULL ORDER BY next_attempt_at LIMIT 1",
  'SELECT started_at AS at FROM key_rotation WHERE finished_at IS NULL ORDER BY started_at LIMIT 1',
  // Credentials to plan again after a rule changed.
  'SELECT 0 AS at FROM schedule_rule WHERE walk_after IS NOT NULL LIMIT 1',
  "SELECT expires_at AS at FROM connection WHERE state IN ('open', 'exchanging', 'choosing') AND expires_at > 0 ORDER BY expires_at LIMIT 1",
];

/** The due times of scheduled rotations and of the watch over them. */
const SCHEDULE_QUERIES: readonly string[] = [
  'SELECT rotation_due_at AS at FROM credential WHERE rotation_due_at IS NOT NULL ORDER BY rotation_due_at LIMIT 1',
  'SELECT overdue_check_at AS at FROM credential WHERE overdue_check_at IS NOT NULL ORDER BY overdue_check_at LIMIT 1',
];

/** The due times of irreversible work, which also needs a steady clock. */
const IRREVERSIBLE_QUERIES: readonly string[] = [
  'SELECT destroy_after_at AS at FROM credential WHERE destroy_after_at IS NOT NULL ORDER BY destroy_after_at LIMIT 1',
  "SELECT destroy_after_at AS at FROM tenant_key WHERE destroy_after_at IS NOT NULL AND state = 'decrypt_only' ORDER BY destroy_after_at LIMIT 1",
  // Expired tokens are kept for a day, so that a reviewer can see them, and then purged.
  'SELECT expires_at + 86400000 AS at FROM token WHERE expires_at > 0 ORDER BY expires_at LIMIT 1',
];
