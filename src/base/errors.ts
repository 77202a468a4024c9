// The closed list of ways a request can fail. Every module throws KeyturnError and nothing else on purpose.
// It must never carry a value of a request or a secret: `detail` names fields and limits only.

/** Every error code; http/problems.ts maps each to one status, exhaustively. */
export const ERROR_CODES = [
  'invalid_request', // a field is missing, has the wrong type, is out of range or is unknown; `pointer` names it
  'malformed_json',
  'payload_too_large',
  'unsupported_media_type',
  'unauthenticated', // the token is missing, unknown, expired or revoked: one answer for all four
  'insufficient_user_authentication', // RFC 9470: a fresh second factor is needed
  'approval_required', // a second person must approve
  'forbidden', // the caller may know it exists, but may not do this
  'not_found',
  'method_not_allowed',
  'conflict', // the object exists already or its state does not allow this
  'version_conflict', // check-and-set failed (409)
  'precondition_failed', // If-Match / If-None-Match failed (412)
  'idempotency_mismatch', // the same Idempotency-Key with another body or by another caller
  'rate_limited',
  'gone', // destroyed or past its recovery window
  'sealed', // no root key yet, or the tenant is contained
  'rolled_back', // the database is older than its last witnessed checkpoint
  'needs_consent', // the grant is dead at the provider (424)
  'not_rotatable', // this credential has no connector that can do it
  'provider_unavailable', // no usable answer from the provider; try again
  'provider_misconfigured', // the provider refuses the client id, secret or URL; the grant itself is alive
  'storage_full',
  'storage_unavailable',
  'key_destroyed',
  'integrity', // stored data failed its authentication; the detail goes to the log only
  'unavailable',
  'internal',
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

export interface ErrorOptions {
  /** RFC 6901 pointer into the body, or `?name` for a query field, or `:name` for a path field. */
  readonly pointer?: string;
  /** Seconds until a retry makes sense. */
  readonly retryAfterSeconds?: number;
  /** Plain members for the caller's problem body; never a value the caller or the store supplied. */
  readonly extra?: Readonly<Record<string, string | number | boolean | null>>;
  /** For the operator's log only; never leaves the process in an answer. */
  readonly evidence?: string | undefined;
  readonly cause?: unknown;
}

/** The one error type that crosses module borders. */
export class KeyturnError extends Error {
  readonly code: ErrorCode;
  readonly pointer: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly extra: Readonly<Record<string, string | number | boolean | null>>;
  readonly evidence: string | undefined;

  constructor(code: ErrorCode, detail: string, options: ErrorOptions = {}) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'KeyturnError';
    this.code = code;
    this.pointer = options.pointer;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.extra = options.extra ?? {};
    this.evidence = options.evidence;
  }
}

/** @throws {KeyturnError} always; usable as an expression. */
export function fail(code: ErrorCode, detail: string, options?: ErrorOptions): never {
  throw new KeyturnError(code, detail, options);
}

/** The same answer for an object that does not exist and for one that the caller may not know of (DESIGN D10). @throws not_found */
export function notFound(what: string): never {
  throw new KeyturnError('not_found', `no such ${what}`);
}
