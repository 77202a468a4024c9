// From an error to the answer a caller sees (RFC 9457). One exhaustive table; nothing of the request or the store is echoed.
import { type ErrorCode, KeyturnError } from '../base/errors.ts';

export const STATUS_OF: Readonly<Record<ErrorCode, number>> = {
  invalid_request: 400,
  malformed_json: 400,
  payload_too_large: 413,
  unsupported_media_type: 415,
  unauthenticated: 401,
  insufficient_user_authentication: 401,
  approval_required: 403,
  forbidden: 403,
  not_found: 404,
  method_not_allowed: 405,
  conflict: 409,
  version_conflict: 409,
  precondition_failed: 412,
  idempotency_mismatch: 422,
  rate_limited: 429,
  gone: 410,
  sealed: 423,
  rolled_back: 423,
  needs_consent: 424,
  not_rotatable: 422,
  provider_unavailable: 503,
  provider_misconfigured: 502,
  storage_full: 507,
  storage_unavailable: 503,
  key_destroyed: 410,
  integrity: 500,
  unavailable: 503,
  internal: 500,
};

const TITLE_OF: Readonly<Record<ErrorCode, string>> = {
  invalid_request: 'The request is not valid',
  malformed_json: 'The body is not valid JSON',
  payload_too_large: 'The request is too large',
  unsupported_media_type: 'The body has another type than this route takes',
  unauthenticated: 'A valid token is needed',
  insufficient_user_authentication: 'A fresh second factor is needed',
  approval_required: 'A second person must approve',
  forbidden: 'Not allowed',
  not_found: 'Not found',
  method_not_allowed: 'Method not allowed',
  conflict: 'The state refuses this',
  version_conflict: 'The version is another one',
  precondition_failed: 'The precondition does not hold',
  idempotency_mismatch: 'The idempotency key was used for another request',
  rate_limited: 'Too many requests',
  gone: 'Gone',
  sealed: 'Sealed',
  rolled_back: 'The database is older than it should be',
  needs_consent: 'The grant must be connected again',
  not_rotatable: 'This credential cannot be rotated by Keyturn',
  provider_unavailable: 'The provider did not answer usefully',
  provider_misconfigured: 'The provider refuses the client configuration',
  storage_full: 'The storage is full',
  storage_unavailable: 'The storage is not writable',
  key_destroyed: 'The key was destroyed',
  integrity: 'Stored data failed its check',
  unavailable: 'Not available now',
  internal: 'Internal error',
};

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly request_id: string;
  /** RFC 6901 into the body, `?name` for a query field, `:name` for a path field. */
  readonly pointer?: string;
  /** For clients used to a list (Vault). */
  readonly errors: readonly string[];
  readonly [extra: string]: unknown;
}

/** Whatever was thrown, as the one error type. Anything unexpected becomes `internal` and says nothing about itself. */
export function toKeyturnError(thrown: unknown): KeyturnError {
  if (thrown instanceof KeyturnError) return thrown;
  // SECURITY: name and frames only: the message of a parser or of a library may quote what it was given (LK-01).
  const frames = thrown instanceof Error ? (thrown.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line)) : [];
  const evidence =
    thrown instanceof Error ? [thrown.name, ...frames.slice(0, 12).map((line) => line.trim())].join(' | ') : 'not an error';
  return new KeyturnError('internal', 'something went wrong; the request id names the log entry', { evidence, cause: thrown });
}

export function problemOf(error: KeyturnError, requestId: string): Problem {
  // SECURITY: integrity and internal tell nothing apart to the outside; the evidence is in the operator's log.
  const silent = error.code === 'internal' || error.code === 'integrity';
  const detail = silent ? 'something went wrong; the request id names the log entry' : error.message;
  return {
    ...(silent ? {} : error.extra),
    type: `urn:keyturn:problem:${error.code}`,
    title: TITLE_OF[error.code],
    status: STATUS_OF[error.code],
    code: error.code,
    detail,
    request_id: requestId,
    ...(error.pointer === undefined ? {} : { pointer: error.pointer }),
    errors: [detail],
  };
}

export function problemHeaders(error: KeyturnError): Record<string, string> {
  const headers: Record<string, string> = {};
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer error="invalid_token"';
  if (error.code === 'insufficient_user_authentication') {
    // RFC 9470 section 3
    headers['www-authenticate'] = 'Bearer error="insufficient_user_authentication", acr_values="mfa", max_age="300"';
  }
  if (error.retryAfterSeconds !== undefined) headers['retry-after'] = String(Math.max(1, Math.ceil(error.retryAfterSeconds)));
  return headers;
}

/** What an operator must look into, in one line of their log; undefined for a refusal, which is in the audit log. */
export function operatorLine(error: KeyturnError, requestId: string, route: string): string | undefined {
  const isSerious = SERIOUS.has(error.code) || error.code.startsWith('storage_');
  return isSerious ? `${error.code} ${requestId} ${route} ${error.evidence ?? ''}` : undefined;
}

const SERIOUS: ReadonlySet<ErrorCode> = new Set(['internal', 'integrity', 'rolled_back', 'key_destroyed']);
