// Proof that the door was passed. Stores hand out rows only for an Access, and only src/access/guard.ts can make one.
// It must never outlive the work it was made for: the guard ends it when the use case returns.
import { fail } from '../base/errors.ts';

export interface AccessGrant {
  readonly cellId: string;
  readonly principalId: string;
  readonly operation: string;
}

let mint: AccessMint | undefined;

/** Nominal by its private field: no object literal and no other class can stand in for it. */
export class Access {
  readonly #grant: AccessGrant;
  #ended = false;

  private constructor(grant: AccessGrant) {
    this.#grant = grant;
  }

  get principalId(): string {
    return this.#grant.principalId;
  }

  get operation(): string {
    return this.#grant.operation;
  }

  /** @throws internal when the use case it was made for has returned. */
  check(): void {
    if (this.#ended) fail('internal', 'this access has ended');
  }

  static {
    mint = {
      make: (grant) => new Access(grant),
      end: (access) => {
        access.#ended = true;
      },
    };
  }
}

export interface AccessMint {
  make(grant: AccessGrant): Access;
  end(access: Access): void;
}

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
