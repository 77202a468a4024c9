// An open cell for code outside its jobs. Everything that needs a job is available only from the argument of a `submit` callback.

import type { Door } from '../access/guard.ts';
import type { KeyturnError } from '../base/errors.ts';
import type { Lookup } from '../cell/access.ts';
import { scrubInService } from '../cell/scrub.ts';
import type { OpenCell } from './open-cell.ts';

/** The members of every job, in both kinds of cell. */
export interface CellJob {
  readonly core: OpenCell;
  readonly door: Door;
}

/** Runs jobs of one kind. */
export interface Submits<Job> {
  submit<T>(useCase: (job: Job) => T): Promise<T>;
}

/** `View`: the parts of a job that may be read outside it. */
export class CellHandle<View, Job extends CellJob & View> implements Submits<Job> {
  readonly #job: Job;

  constructor(job: Job) {
    this.#job = job;
  }

  /** Runs a use case inside the next batch; settles when it is durable. */
  submit<T>(useCase: (job: Job) => T): Promise<T> {
    return this.#job.core.cell.submit(useCase, this.#job);
  }

  /** As `submit`, for use cases without a waiting caller (Cell.submitUnhurried). */
  submitUnhurried<T>(useCase: (job: Job) => T): Promise<T> {
    return this.#job.core.cell.submitUnhurried(useCase, this.#job);
  }

  /** Access for lookups without a job; ends when `use` returns. `purpose` is a text for readers only. */
  lookup<T>(purpose: string, use: (lookup: Lookup, view: View) => T): T {
    return this.#job.door.lookup(purpose, (lookup) => use(lookup, this.#job));
  }

  /** The error of the last batch if it could not be stored. */
  get failure(): KeyturnError | undefined {
    return this.#job.core.cell.failure;
  }

  /** Whether the cell can store anything now (Cell.probe). @throws storage_* */
  probe(): Promise<void> {
    return this.#job.core.cell.probe();
  }

  /**
   * Checks all rows, their counts and the log in slices of about a millisecond (cell/scrub.ts), and yields the number of rows or blocks of
   * each slice. A failure becomes an event and an alert, as a failed read does. Ends early when the cell is closed.
   */
  *scrub(): Generator<number> {
    const { rows, cell } = this.#job.core;
    const slices = scrubInService(rows, (table, id, damage) => rows.onDamage(table, id, damage));
    while (!cell.isClosed) {
      const slice = slices.next();
      if (slice.done === true) return;
      yield slice.value;
    }
  }

  /** The key that verifies the signed heads of its log. */
  get verifierKey(): string {
    return this.#job.core.audit.verifierKey;
  }
}
