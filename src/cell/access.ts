// Accesses: the proof that a caller passed the door. Stores return and change rows only for an access, and only src/access/guard.ts can make
// one. An access must never outlive the work it was made for: the guard ends it when that work returns.
import { fail } from '../base/errors.ts';

/**
 * The kinds of work that may change rows without an event of their own. None of them changes permissions or opens a secret.
 * - `authentication`: stores when a token or a workload was last used, and that a client assertion was used;
 * - `idempotency`: stores the answer to a request, whose own event is in the batch;
 * - `purge`: deletes rows that expired long ago;
 * - `lease`: extends a lease while a provider works on a request; changes only its end;
 * - `delivery`: begins or postpones an attempt to deliver an alert; its end is an event;
 * - `review`: stores computed dates and the time of the last review of a grant; a change of its state is an event;
 * - `provision`: advances the state of a new tenant; its creation is the event;
 * - `witness`: stores the last checkpoint of another cell;
 * - `reading`: stores which version a principal received; the read itself is the event. It may make the end of an older version due;
 * - `key-destruction`: postpones the destruction of a retired key that is still in use.
 */
export type BookkeepingTask =
  | 'authentication'
  | 'idempotency'
  | 'purge'
  | 'lease'
  | 'delivery'
  | 'review'
  | 'provision'
  | 'witness'
  | 'reading'
  | 'key-destruction';

export interface Passage {
  readonly principalId: string;
  /** The operation, or the reason for the lookup. */
  readonly purpose: string;
}

/** SECURITY: never exported, so that no other module can call the constructors below. */
const MINT_KEY = Symbol('mint');
type MintKey = typeof MINT_KEY;

/** Access to rows before the decision, without sealed values. A nominal type, as all four classes here. */
export class Lookup {
  readonly #passage: Passage;
  #ended = false;

  constructor(key: MintKey, passage: Passage) {
    if (key !== MINT_KEY) fail('internal', 'only the guard may make an access');
    this.#passage = passage;
  }

  get principalId(): string {
    return this.#passage.principalId;
  }

  get purpose(): string {
    return this.#passage.purpose;
  }

  /** @throws internal when the work that it was made for has returned */
  check(): void {
    if (this.#ended) fail('internal', 'this access has ended: use it only inside the call that received it');
  }

  end(key: MintKey): void {
    if (key !== MINT_KEY) fail('internal', 'only the guard may end an access');
    this.#ended = true;
  }
}

/** Access for an allowed operation whose event is in this batch: it may open sealed values. */
export class ReadAccess extends Lookup {
  declare readonly opensValues: true;
}

/** As `ReadAccess`, for an operation that changes state: its changes and its event are in one savepoint. */
export class WriteAccess extends ReadAccess {
  declare readonly changesRows: true;
}

/** Access for one kind of change without an event of its own. */
export class Bookkeeping<T extends BookkeepingTask = BookkeepingTask> extends Lookup {
  readonly task: T;

  constructor(key: MintKey, task: T) {
    super(key, { principalId: task, purpose: task });
    this.task = task;
  }
}

export interface AccessMint {
  lookup(passage: Passage): Lookup;
  read(passage: Passage): ReadAccess;
  write(passage: Passage): WriteAccess;
  bookkeeping<T extends BookkeepingTask>(task: T): Bookkeeping<T>;
  end(access: Lookup): void;
}

let mint: AccessMint | undefined = {
  lookup: (passage) => new Lookup(MINT_KEY, passage),
  read: (passage) => new ReadAccess(MINT_KEY, passage),
  write: (passage) => new WriteAccess(MINT_KEY, passage),
  bookkeeping: (task) => new Bookkeeping(MINT_KEY, task),
  end: (access) => access.end(MINT_KEY),
};

/**
 * Returns the mint to the first caller only.
 * SECURITY: guard.ts takes it when it loads; the architecture test refuses any other importer of this function.
 * @throws internal on the second call
 */
export function takeAccessMint(): AccessMint {
  const taken = mint;
  mint = undefined;
  return taken ?? fail('internal', 'the access mint was taken already: only src/access/guard.ts may take it');
}
