// A cell: one database and its single writer. Work handed in during one tick commits together, and nobody gets an
// answer before that commit is durable (D1, D4). It must never let a job await, or release an answer that was not committed.
import { fail, KeyturnError } from '../base/errors.ts';
import { type Faults, NO_FAULTS } from '../base/faults.ts';
import { LIMITS } from '../base/limits.ts';
import type { Sql } from './sql.ts';

/** Runs `task` after the current tick's incoming work was gathered (setImmediate on Node, setTimeout 0 in workerd). */
export type NextTick = (task: () => void) => void;

interface Job {
  work: (given: unknown) => unknown;
  given: unknown;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
  value?: unknown;
  error?: unknown;
  failed?: boolean;
  /** It is answered only when what it deleted is in no file any more. */
  erases?: boolean;
}

/** Called inside every batch, before it commits. */
export interface CellHooks {
  /** Inside the transaction, after the jobs: write what the batch recorded. */
  beforeCommit?(): void;
  /** The batch is durable; must not throw. */
  afterCommit?(): void;
  /** After `afterCommit`: what the answers of this batch wait for, however it ends. */
  holdAnswers?(): Promise<unknown> | undefined;
  /** A savepoint begins; what is returned takes back what memory was told since, when the savepoint is undone. */
  mark?(): () => void;
  /** The batch was undone: drop whatever memory still believes in it. Runs again before the next batch if it throws (a failing disk). */
  afterRollback?(): void;
}

const STORAGE_CODES = new Set(['storage_full', 'storage_unavailable', 'integrity']);

/** An error of the database itself, after which nothing of the batch may be believed. */
export function isStorageFailure(error: unknown): boolean {
  return error instanceof KeyturnError && (error.code === 'storage_full' || error.code === 'storage_unavailable');
}

export class Cell {
  readonly #sql: Sql;
  readonly #nextTick: NextTick;
  readonly #faults: Faults;
  readonly #whenCalm: NextTick;
  readonly #hooks: CellHooks[] = [];
  #queue: Job[] = [];
  #scheduled = false;
  #waitsForCalm = false;
  #closed = false;
  #memoryInDoubt = false;
  #running: Job | undefined;
  #inBatch = false;
  #failure: KeyturnError | undefined;

  /** @param whenCalm a few milliseconds later, for work that would rather share a commit than have one at once; default: the next tick */
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
   * An error thrown by `work` undoes only what it did in its own savepoint (guard.ts) and is delivered after the commit, too.
   * @throws storage_full | storage_unavailable when the batch could not be committed; nothing of it took effect then
   */
  submit<T>(work: () => T): Promise<T>;
  submit<T, G>(work: (given: G) => T, given: G): Promise<T>;
  submit<T, G>(work: (given?: G) => T, given?: G): Promise<T> {
    return this.#enqueue(work, given, () => this.#schedule());
  }

  /** As `submit`, for work that nobody waits for: it joins the next batch, so that it costs those who do wait no commit of its own. */
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
      if (!this.#closed) this.#commitBatch();
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
    const jobs = this.#queue.length > LIMITS.batchMaxJobs ? this.#queue.splice(0, LIMITS.batchMaxJobs) : this.#queue;
    if (jobs === this.#queue) this.#queue = [];
    else this.#schedule();
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
    const waits = this.#hooks.flatMap((hooks) => hooks.holdAnswers?.() ?? []);
    if (waits.length === 0) settle(jobs, left);
    else void Promise.allSettled(waits).then(() => settle(jobs, left));
  }

  /** INVARIANT: a batch that did not commit answers nobody with its results (test/faults/storage.test.ts). */
  #rejectBatch(jobs: readonly Job[], error: unknown): void {
    this.#memoryInDoubt = true;
    try {
      this.#dropMemory();
    } catch {
      // The disk cannot even be read: the next batch begins with another try, and with nothing else.
    }
    const cause = error instanceof KeyturnError && STORAGE_CODES.has(error.code) ? error : storageError(error);
    this.#failure = cause;
    for (const job of jobs) job.reject(cause);
  }

  /** SECURITY: what changes rows or records an event outside a batch would be neither undone with one nor in its head. @throws internal */
  requireBatch(): void {
    if (!this.#inBatch) fail('internal', 'no batch of this cell is running: submit the work to it');
  }

  /**
   * What the running job deletes is in no file when the job is answered.
   * The job fails with storage_full or storage_unavailable when the files cannot be cleaned, though what it did is committed.
   */
  eraseResidue(): void {
    this.requireBatch();
    if (this.#running !== undefined) this.#running.erases = true;
  }

  /** Why the last batch could not be stored; undefined while batches can. */
  get failure(): KeyturnError | undefined {
    return this.#failure;
  }

  /** Writes something that changes nothing, as far as the disk: whether the cell can store anything now. @throws storage_* */
  probe(): Promise<void> {
    return this.submit(() => this.#sql.run('UPDATE cell SET created_at = created_at WHERE id = 1'));
  }

  /** Deleted rows may still lie in a file. */
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

  /** INVARIANT: no batch runs on memory that a lost one left behind (test/cell/cell.test.ts). */
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

  /** What `work` changed is undone, and nothing else, when it throws. @throws internal outside a batch */
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

  /** Nothing is queued. */
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

/** @param left why what was deleted may still lie in a file */
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
