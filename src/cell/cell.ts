// A cell: one database and its single writer. Jobs submitted in one tick commit together, and no job is answered before that commit is
// durable (D1, D4). It must never let a job await, nor release an answer that was not committed.
import { fail, KeyturnError } from '../base/errors.ts';
import { type Faults, NO_FAULTS } from '../base/faults.ts';
import { LIMITS } from '../base/limits.ts';
import type { Sql } from './sql.ts';

/** Runs `task` once the current tick's requests have submitted their jobs (setImmediate on Node, setTimeout 0 in workerd). */
export type NextTick = (task: () => void) => void;

interface Job {
  work: (given: unknown) => unknown;
  given: unknown;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  value?: unknown;
  error?: unknown;
  failed?: boolean;
  /** It is answered only after the data it deleted was removed from every file. */
  erases?: boolean;
}

/** Called inside every batch, before it commits. */
export interface CellHooks {
  /** Runs inside the transaction, after the jobs: writes what the batch recorded. */
  beforeCommit?(): void;
  /** Runs when the batch is durable; must not throw. */
  afterCommit?(): void;
  /** Runs after `afterCommit`: the answers of this batch wait until the promise settles, fulfilled or rejected. */
  holdAnswers?(): Promise<unknown> | undefined;
  /** A savepoint begins; the returned function restores in-memory state to this point when the savepoint is undone. */
  mark?(): () => void;
  /** The batch was rolled back: drop in-memory state that depends on it. Repeated before the next batch if it throws (a failing disk). */
  afterRollback?(): void;
}

const STORAGE_CODES = new Set(['storage_full', 'storage_unavailable', 'integrity']);

/** Whether an error is of the database itself, after which the whole batch must be rolled back. */
export function isStorageFailure(error: unknown): boolean {
  return error instanceof KeyturnError && (error.code === 'storage_full' || error.code === 'storage_unavailable');
}

export class Cell {
  readonly #sql: Sql;
  readonly #nextTick: NextTick;
  readonly #faults: Faults;
  readonly #whenCalm: NextTick;
  readonly #hooks: CellHooks[] = [];
  readonly #queue: Job[] = [];
  #scheduled = false;
  #waitsForCalm = false;
  #closed = false;
  #memoryInDoubt = false;
  #running: Job | undefined;
  #inBatch = false;
  #failure: KeyturnError | undefined;

  /** @param whenCalm schedules jobs that can wait a few milliseconds to share a commit; default: the next tick */
  constructor(sql: Sql, nextTick: NextTick, faults: Faults = NO_FAULTS, whenCalm: NextTick = nextTick) {
    this.#sql = sql;
    this.#nextTick = nextTick;
    this.#faults = faults;
    this.#whenCalm = whenCalm;
  }

  use(hooks: CellHooks): void {
    this.#hooks.push(hooks);
  }

  /**
   * Runs `work` synchronously inside the next batch and settles when that batch is durable.
   * An error thrown by `work` undoes only changes in its own savepoint (guard.ts) and is delivered after the commit, too.
   * @throws storage_full | storage_unavailable when the batch could not be committed; then none of it took effect
   */
  submit<T>(work: () => T): Promise<T>;
  submit<T, G>(work: (given: G) => T, given: G): Promise<T>;
  submit<T, G>(work: (given?: G) => T, given?: G): Promise<T> {
    return this.#enqueue(work, given, () => this.#schedule());
  }

  /** As `submit`, for jobs without a waiting caller: they join the next batch, so they cause no extra commit. */
  submitUnhurried<T>(work: () => T): Promise<T>;
  submitUnhurried<T, G>(work: (given: G) => T, given: G): Promise<T>;
  submitUnhurried<T, G>(work: (given?: G) => T, given?: G): Promise<T> {
    return this.#enqueue(work, given, () => this.#scheduleUnhurried());
  }

  #enqueue<T, G>(work: (given: G) => T, given: G, schedule: () => void): Promise<T> {
    if (this.#closed) return Promise.reject(new KeyturnError('unavailable', 'this cell is closed'));
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({ work: work as Job['work'], given, resolve: resolve as (value: unknown) => void, reject });
      schedule();
    });
  }

  #scheduleUnhurried(): void {
    if (this.#scheduled || this.#waitsForCalm) return;
    this.#waitsForCalm = true;
    this.#whenCalm(() => {
      this.#waitsForCalm = false;
      this.#commitBatch();
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#nextTick(() => {
      this.#scheduled = false;
      this.#commitBatch();
    });
  }

  #commitBatch(): void {
    const jobs = this.#queue.splice(0, LIMITS.batchMaxJobs);
    if (this.#queue.length > 0) this.#schedule();
    if (jobs.length === 0) return;
    try {
      if (this.#memoryInDoubt) this.#dropMemory();
      this.#sql.transaction(() => this.#runJobs(jobs));
    } catch (error) {
      this.#rejectBatch(jobs, error);
      return;
    }
    this.#failure = undefined;
    this.#faults.at('cell.after-commit');
    for (const hooks of this.#hooks) hooks.afterCommit?.();
    const left = jobs.some((job) => job.erases === true) ? this.#eraseNow() : undefined;
    const waits = this.#hooks.map((hooks) => hooks.holdAnswers?.());
    void Promise.allSettled(waits).then(() => settle(jobs, left));
  }

  /** INVARIANT: a batch that did not commit never answers with its results (test/faults/storage.test.ts). */
  #rejectBatch(jobs: readonly Job[], error: unknown): void {
    this.#memoryInDoubt = true;
    try {
      this.#dropMemory();
    } catch {
      // The disk cannot be read either: the next batch repeats this before its jobs.
    }
    const cause = error instanceof KeyturnError && STORAGE_CODES.has(error.code) ? error : storageError(error);
    this.#failure = cause;
    for (const job of jobs) job.reject(cause);
  }

  /** SECURITY: a change or an event outside a batch would not be rolled back with it and not be covered by its head. @throws internal */
  requireBatch(): void {
    if (!this.#inBatch) fail('internal', 'no batch of this cell is running: submit the work to it');
  }

  /**
   * Data that the running job deletes is removed from every file before the job is answered.
   * The job fails with storage_full or storage_unavailable when the files cannot be cleaned, although its changes are committed.
   * @throws internal outside a job
   */
  eraseResidue(): void {
    const job = this.#running ?? fail('internal', 'no batch of this cell is running: submit the work to it');
    job.erases = true;
  }

  /** The error of the last batch if it could not be stored. */
  get failure(): KeyturnError | undefined {
    return this.#failure;
  }

  /** Tests whether the cell can store changes: commits a write that changes nothing. @throws storage_* */
  probe(): Promise<void> {
    return this.submit(() => this.#sql.run('UPDATE cell SET created_at = created_at WHERE id = 1'));
  }

  /** Whether deleted data may remain in a file. */
  get hasResidue(): boolean {
    return this.#sql.hasResidue;
  }

  #eraseNow(): unknown {
    try {
      this.#sql.eraseResidue();
      return undefined;
    } catch (error) {
      return error instanceof KeyturnError ? error : storageError(error);
    }
  }

  /** INVARIANT: no batch runs on in-memory state of a batch that was rolled back (test/cell/cell.test.ts). */
  #dropMemory(): void {
    for (const hooks of this.#hooks) hooks.afterRollback?.();
    this.#memoryInDoubt = false;
  }

  #runJobs(jobs: Job[]): void {
    this.#inBatch = true;
    try {
      for (const job of jobs) this.#runJob(job);
      for (const hooks of this.#hooks) hooks.beforeCommit?.();
      this.#faults.at('cell.before-commit');
    } finally {
      this.#inBatch = false;
    }
  }

  #runJob(job: Job): void {
    this.#running = job;
    try {
      job.value = job.work(job.given);
    } catch (error) {
      if (isStorageFailure(error)) throw error;
      job.failed = true;
      job.error = error;
    } finally {
      this.#running = undefined;
    }
  }

  /** Undoes the changes of `work`, and only those, when it throws. @throws internal outside a batch */
  savepoint<T>(work: () => T): T {
    this.requireBatch();
    const undo = this.#hooks.flatMap((hooks) => hooks.mark?.() ?? []);
    try {
      return this.#sql.transaction(work);
    } catch (error) {
      for (const takeBack of undo.reverse()) takeBack();
      throw error;
    }
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Whether no job is queued. */
  get idle(): boolean {
    return this.#queue.length === 0;
  }

  /** Refuses new work, commits what is queued, then closes the database. Idempotent. */
  close(): void {
    if (this.#closed) return;
    while (this.#queue.length > 0) this.#commitBatch();
    this.#closed = true;
    this.#sql.close();
  }
}

/** @param left the error when deleted data may remain in a file */
function settle(jobs: readonly Job[], left: unknown): void {
  for (const job of jobs) {
    if (job.failed) job.reject(job.error);
    else if (job.erases === true && left !== undefined) job.reject(left);
    else job.resolve(job.value);
  }
}

function storageError(error: unknown): KeyturnError {
  const evidence = error instanceof Error ? error.message : 'unknown';
  return new KeyturnError('storage_unavailable', 'the change could not be stored', { evidence, cause: error });
}
