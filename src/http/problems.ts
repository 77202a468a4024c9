// Turns an error into the answer for the caller (RFC 9457), by one exhaustive table. It must never echo request or stored data.
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
  unsupported_media_type: 'The content type of the body is not supported',
  unauthenticated: 'A valid token is needed',
  insufficient_user_authentication: 'A fresh second factor is needed',
  approval_required: 'A second person must approve',
  forbidden: 'Not allowed',
  not_found: 'Not found',
  method_not_allowed: 'Method not allowed',
  conflict: 'The request conflicts with the current state',
  version_conflict: 'The current version differs from the given one',
  precondition_failed: 'A precondition failed',
  idempotency_mismatch: 'The idempotency key was used for another request',
  rate_limited: 'Too many requests',
  gone: 'Gone',
  sealed: 'Sealed',
  rolled_back: 'The database is older than its last witnessed checkpoint',
  needs_consent: 'The grant must be connected again',
  not_rotatable: 'This credential cannot be rotated by Keyturn',
  provider_unavailable: 'The provider gave no usable answer',
  provider_misconfigured: 'The provider rejects the OAuth client or its settings',
  storage_full: 'The storage is full',
  storage_unavailable: 'The storage is not writable',
  key_destroyed: 'The key was destroyed',
  integrity: 'Stored data failed its integrity check',
  unavailable: 'Temporarily unavailable',
  internal: 'Internal error',
};

const INTERNAL_DETAIL = 'an internal error occurred; the service log names it by the request id';

export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly request_id: string;
  /** RFC 6901 into the body, `?name` for a query field, `:name` for a path field. */
  readonly pointer?: string;
  /** For clients that expect a list, as HashiCorp Vault returns. */
  readonly errors: readonly string[];
  readonly [extra: string]: unknown;
}

/** Converts anything thrown to a KeyturnError. An unexpected error becomes `internal` without its message. */
export function toKeyturnError(thrown: unknown): KeyturnError {
  if (thrown instanceof KeyturnError) return thrown;
  // SECURITY: only the name and the stack frames: the message of a parser or library may quote its input (LK-01).
  const frames = thrown instanceof Error ? (thrown.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line)) : [];
  const evidence =
    thrown instanceof Error ? [thrown.name, ...frames.slice(0, 12).map((line) => line.trim())].join(' | ') : 'not an error';
  return new KeyturnError('internal', INTERNAL_DETAIL, { evidence, cause: thrown });
}

const SILENT: Partial<Readonly<Record<ErrorCode, string>>> = {
  internal: INTERNAL_DETAIL,
  integrity:
    'stored data failed its check and is not served: the operator stops the service and runs `keyturn doctor --deep`; the service log names the error by the request id',
};

export function problemOf(error: KeyturnError, requestId: string): Problem {
  // SECURITY: the answers to integrity and internal errors carry no detail; the evidence is in the operator's log.
  const silent = SILENT[error.code];
  const detail = silent ?? error.message;
  return {
    ...(silent === undefined ? error.extra : {}),
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

/** One line of the operator's log for an error that needs attention; undefined for others, which are in the audit log. */
export function operatorLine(error: KeyturnError, requestId: string, route: string): string | undefined {
  const isSerious = SERIOUS.has(error.code) || error.code.startsWith('storage_');
  return isSerious ? `${error.code} ${requestId} ${route} ${error.evidence ?? ''}` : undefined;
}

const SERIOUS: ReadonlySet<ErrorCode> = new Set(['internal', 'integrity', 'rolled_back', 'key_destroyed']);
