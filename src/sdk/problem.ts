// An error answer of the vault (RFC 9457) or a failure to reach it. It must never contain a token, a body or a value.
export interface ProblemDetails {
  readonly status: number;
  /** A code of src/base/errors.ts, or `unreachable`, `refused_address`, `unexpected_answer`. */
  readonly code: string;
  readonly detail: string;
  readonly pointer?: string | undefined;
  readonly requestId?: string | undefined;
  readonly retryAfterSeconds?: number | undefined;
  /** Additional members of the problem, e.g. `health` of a dead grant. */
  readonly extra?: Readonly<Record<string, unknown>> | undefined;
}

export class KeyturnProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly pointer: string | undefined;
  readonly requestId: string | undefined;
  readonly retryAfterSeconds: number | undefined;
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(facts: ProblemDetails) {
    super(facts.detail);
    this.name = 'KeyturnProblem';
    this.status = facts.status;
    this.code = facts.code;
    this.pointer = facts.pointer;
    this.requestId = facts.requestId;
    this.retryAfterSeconds = facts.retryAfterSeconds;
    this.extra = facts.extra ?? {};
  }
}

const KNOWN = new Set(['type', 'title', 'status', 'code', 'detail', 'pointer', 'request_id', 'errors']);

export function problemFrom(status: number, headers: Headers, text: string): KeyturnProblem {
  let body: Record<string, unknown> = {};
  try {
    body = JSON.parse(text) as Record<string, unknown>;
  } catch {
    // The page of a proxy: its text is not used.
  }
  const asText = (value: unknown) => (typeof value === 'string' ? value : undefined);
  const after = Number(headers.get('retry-after') ?? Number.NaN);
  return new KeyturnProblem({
    status,
    code: asText(body['code']) ?? 'unexpected_answer',
    detail: asText(body['detail']) ?? `the server answered ${status}`,
    pointer: asText(body['pointer']),
    requestId: asText(body['request_id']) ?? headers.get('x-request-id') ?? undefined,
    retryAfterSeconds: Number.isFinite(after) ? after : undefined,
    extra: Object.fromEntries(Object.entries(body).filter(([name]) => !KNOWN.has(name))),
  });
}
