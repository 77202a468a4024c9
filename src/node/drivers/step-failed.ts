// How a step of a driver fails, as an exception inside the driver and as an outcome outside.
// It must never carry text of a server or of a library: both may repeat a statement or a password.
import type { Said, StepFailure, StepOutcome } from '../../../rotation/connector.ts';

export class StepFailed extends Error {
  readonly failure: StepFailure;

  constructor(failure: StepFailure) {
    super(failure.cause);
    this.name = 'StepFailed';
    this.failure = failure;
  }

  /** The target answered with a refusal, or the driver refused by itself: nothing was changed. */
  static refused(means: 'transient' | 'configuration', cause: string, said?: Said): StepFailed {
    return new StepFailed({ kind: 'refused', means, cause, ...(said === undefined ? {} : { said }) });
  }

  /** No statement was sent. */
  static notSent(cause: string): StepFailed {
    return new StepFailed({ kind: 'not_sent', cause });
  }

  /** The target may have acted. */
  static lost(cause: string): StepFailed {
    return new StepFailed({ kind: 'lost', cause });
  }

  static odd(cause: string): StepFailed {
    return new StepFailed({ kind: 'odd', cause });
  }

  /** No connection: another address of the same host may be tried. */
  get isUnreached(): boolean {
    return this.failure.kind === 'not_sent';
  }
}

/** The outcome of `work`; an error of any other class is `lost`, because it is not known what was sent before. */
export async function outcomeOf<T extends object>(work: () => Promise<T>): Promise<StepOutcome<T>> {
  try {
    return { kind: 'done', ...(await work()) };
  } catch (error) {
    if (error instanceof StepFailed) return error.failure;
    return { kind: 'lost', cause: 'driver_failed' };
  }
}
