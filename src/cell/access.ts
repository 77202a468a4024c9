// Proof that the door was passed. Stores hand out rows and take changes only for one of these, and only src/access/guard.ts can make one.
// It must never outlive the work it was made for: the guard ends it when that returns.
import { fail } from '../base/errors.ts';

/**
 * What may change rows without an event of its own, each with what it does. Nothing here decides who may do what, nor opens a secret.
 * - `authentication`: when a token or a workload was last used, and that a client assertion was spent;
 * - `idempotency`: the answer kept for a repeated request, whose own event is in the batch;
 * - `purge`: what expired long ago goes;
 * - `lease`: a lease is prolonged while a provider thinks; nothing but its end moves;
 * - `delivery`: an attempt to deliver an alert begins, or waits for its next time; its end is an event;
 * - `review`: days that were worked out anew, and when a grant was last looked at; what changed for anyone is an event;
 * - `provision`: a new tenant's state moves on; its creation is the event;
 * - `witness`: the last checkpoint another cell showed;
 * - `key-destruction`: a retired key that is still needed is looked at again later.
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
  | 'key-destruction';

export interface Passage {
  readonly principalId: string;
  /** The operation, or what the lookup is for. */
  readonly purpose: string;
}

/** SECURITY: never exported, so that nobody else can call a constructor below. */
const MINT_KEY = Symbol('mint');
type MintKey = typeof MINT_KEY;

/** To find out who and what, before anything is decided: rows that decide, never a sealed value. Nominal, as all four here. */
export class Lookup {
  readonly #passage: Passage;
  #ended = false;

  constructor(key: MintKey, passage: Passage) {
    if (key !== MINT_KEY) fail('internal', 'an access is made by the guard');
    this.#passage = passage;
  }

  get principalId(): string {
    return this.#passage.principalId;
  }

  get purpose(): string {
    return this.#passage.purpose;
  }

  /** @throws internal when the work it was made for has returned. */
  check(): void {
    if (this.#ended) fail('internal', 'this access has ended');
  }

  end(key: MintKey): void {
    if (key !== MINT_KEY) fail('internal', 'an access is ended by the guard');
    this.#ended = true;
  }
}

/** The operation was allowed and its event is in this batch: sealed values may be opened. */
export class ReadAccess extends Lookup {
  declare readonly opensValues: true;
}

/** As `ReadAccess`, for an operation that changes state: what it changes is in one savepoint with its event. */
export class WriteAccess extends ReadAccess {
  declare readonly changesRows: true;
}

/** Changes of one named kind, without an event of their own. */
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
 * Hands the mint to the first caller and to nobody after it.
 * SECURITY: guard.ts takes it when it loads; the architecture test refuses any other importer of this function.
 * @throws internal on the second call
 */
export function takeAccessMint(): AccessMint {
  const taken = mint;
  mint = undefined;
  return taken ?? fail('internal', 'the access mint is taken');
}
