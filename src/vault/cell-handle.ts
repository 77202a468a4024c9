// An open cell as it is seen from outside its jobs. What needs a job is reachable only through the value that `submit` hands to its callback.

import type { Door } from '../access/guard.ts';
import type { KeyturnError } from '../base/errors.ts';
import type { Lookup } from '../cell/access.ts';
import { scrubInService } from '../cell/scrub.ts';
import type { OpenCell } from './open-cell.ts';

/** What every job has, whichever cell it belongs to. */
export interface CellJob {
  readonly core: OpenCell;
  readonly door: Door;
}

/** Where jobs of this kind can be run. */
export interface Submits<Job> {
  submit<T>(useCase: (job: Job) => T): Promise<T>;
}

/** `View`: what of a job may be looked at outside of one. */
export class CellHandle<View, Job extends CellJob & View> implements Submits<Job> {
  readonly #job: Job;

  constructor(job: Job) {
    this.#job = job;
  }

  /** Runs a use case inside the next batch; settles when it is durable. */
  submit<T>(useCase: (job: Job) => T): Promise<T> {
    return this.#job.core.cell.submit(useCase, this.#job);
  }

  /** As `submit`, for use cases that nobody waits for (Cell.submitUnhurried). */
  submitUnhurried<T>(useCase: (job: Job) => T): Promise<T> {
    return this.#job.core.cell.submitUnhurried(useCase, this.#job);
  }

  /** For finding out who and what, without a job; ends when `use` returns. `purpose` is for people. */
  lookup<T>(purpose: string, use: (lookup: Lookup, view: View) => T): T {
    return this.#job.door.lookup(purpose, (lookup) => use(lookup, this.#job));
  }

  /** Why the last batch could not be stored; undefined while batches can. */
  get failure(): KeyturnError | undefined {
    return this.#job.core.cell.failure;
  }

  /** Whether the cell can store anything now (Cell.probe). @throws storage_* */
  probe(): Promise<void> {
    return this.#job.core.cell.probe();
  }

  /**
   * Checks all rows, their counts and the log, a slice of about a millisecond at a time (cell/scrub.ts): yields how many rows or blocks
   * each checked. What fails becomes an event and an alert, as if it had been read. Ends early when the cell is closed.
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

  /** With which the signed heads of its log are verified. */
  get verifierKey(): string {
    return this.#job.core.audit.verifierKey;
  }
}
