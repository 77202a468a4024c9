// Classifies an answer without tokens: by the provider's rows, then the general table, then its form.
// A cause is a word from here or from a connector. It must never contain a byte of a provider's answer.
import type { ErrorRow, FailureKind } from '../connector.ts';

/**
 * `oddly`: a complete answer that is not a token endpoint's, such as a page, an empty body or a redirect; it is not about the grant
 * or the client. `recognised`: false if the refusal has words that are in no table.
 */
export type Refusal =
  | { readonly kind: FailureKind; readonly cause: string; readonly recognised: boolean }
  | { readonly kind: 'oddly'; readonly cause: string };

const row = (means: FailureKind, code: string): ErrorRow => ({ code, means, cause: code });

/** Codes of RFC 6749 section 5.2, RFC 8707 section 2, RFC 9449 section 5 and OpenID Connect Core section 3.1.2.6. */
const GENERAL_TABLE: readonly ErrorRow[] = [
  // The status has priority: a failing gateway with `invalid_grant` in its body must not end a grant.
  { status: 408, means: 'transient', cause: 'http_408' },
  { status: 425, means: 'transient', cause: 'http_425' },
  { status: 429, means: 'transient', cause: 'http_429' },
  { status: [500, 599], means: 'transient', cause: 'http_5xx' },
  row('transient', 'temporarily_unavailable'),
  row('transient', 'server_error'),
  row('transient', 'slow_down'),
  row('dead', 'invalid_grant'),
  row('dead', 'interaction_required'),
  row('dead', 'consent_required'),
  row('dead', 'login_required'),
  row('configuration', 'invalid_client'),
  row('configuration', 'unauthorized_client'),
  row('configuration', 'invalid_request'),
  row('configuration', 'unsupported_grant_type'),
  row('configuration', 'invalid_scope'),
  row('configuration', 'invalid_target'),
  row('configuration', 'use_dpop_nonce'),
  row('configuration', 'invalid_dpop_proof'),
];

/** The parsed answer: its members if it is an object, and the start of its text. */
export interface ReadBody {
  readonly members: Readonly<Record<string, unknown>> | undefined;
  readonly text: string;
}

const UNRECOGNISED = 'unrecognised_error';
const TEXT_SEARCHED_CHARS = 8_192;
/** Statuses of a token endpoint's refusal (RFC 6749 section 5.2 and providers' deviations), whatever the body contains. */
const REFUSING_STATUSES: readonly number[] = [400, 401];
/** Statuses that are a refusal only with an error code in the body, because gateways and firewalls use them, too. */
const MAYBE_REFUSING_STATUSES: readonly number[] = [402, 403, 409, 412, 422, 423, 424, 451];

/** An unknown refusal is `configuration`: it alerts the operator and does not end the grant. */
export function readRefusal(status: number, body: ReadBody, providerTable: readonly ErrorRow[] = []): Refusal {
  const codes = errorCodes(body.members);
  const text = body.text.slice(0, TEXT_SEARCHED_CHARS).toLowerCase();
  for (const entry of [...providerTable, ...GENERAL_TABLE]) {
    if (matches(entry, status, codes, text)) return { kind: entry.means, cause: entry.cause, recognised: !isVague(entry, text) };
  }
  if (status >= 300 && status < 400) return { kind: 'oddly', cause: 'redirect_refused' };
  const says = body.members !== undefined && saysRefusal(body.members);
  const refuses = status < 300 || MAYBE_REFUSING_STATUSES.includes(status) ? says : REFUSING_STATUSES.includes(status);
  if (!refuses) return { kind: 'oddly', cause: status < 300 ? 'no_token_answer' : `http_${status}` };
  return { kind: 'configuration', cause: codes.size > 0 || status < 300 ? UNRECOGNISED : `http_${status}`, recognised: false };
}

/** Codes of the general table about the request or client; if the text mentions the refresh token, the grant is meant. */
const SAID_OF_ANYTHING: ReadonlySet<string | undefined> = new Set(['invalid_request', 'unauthorized_client']);

function isVague(entry: ErrorRow, text: string): boolean {
  return GENERAL_TABLE.includes(entry) && SAID_OF_ANYTHING.has(entry.code) && /refresh[ _-]?token/.test(text);
}

/** The answer's error codes, verbatim; for the operator, after scrubbing. */
export function errorWords(members: ReadBody['members']): readonly string[] {
  return collectCodes(members);
}

/** True if the body is an error, whatever the status (some providers refuse with 200). */
export function saysRefusal(members: Readonly<Record<string, unknown>>): boolean {
  return members['ok'] === false || members['success'] === false || isPresent(members['error']) || isPresent(members['errors']);
}

function isPresent(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== null && value !== '' && value !== false;
}

function matches(entry: ErrorRow, status: number, codes: ReadonlySet<string>, text: string): boolean {
  if (entry.status !== undefined) {
    const [first, last] = typeof entry.status === 'number' ? [entry.status, entry.status] : entry.status;
    if (status < first || status > last) return false;
  }
  if (entry.code !== undefined && !codes.has(entry.code.toLowerCase())) return false;
  return entry.text === undefined || text.includes(entry.text.toLowerCase());
}

const CODE_FIELDS = [
  'error',
  'errors',
  'error_code',
  'errorCode',
  'error_type',
  'code',
  'status',
  'type',
  'category',
  'suberror',
  'error_codes',
];
const CODES_MAX = 32;

/** Every possible error code of the answer, in lower case; used for comparison only. */
function errorCodes(members: ReadBody['members']): ReadonlySet<string> {
  return new Set(collectCodes(members).map((code) => code.toLowerCase()));
}

function collectCodes(members: ReadBody['members']): string[] {
  const codes: string[] = [];
  const collect = (source: object, depth: number): void => {
    for (const field of CODE_FIELDS) {
      const value = (source as Record<string, unknown>)[field];
      const candidates: readonly unknown[] = Array.isArray(value) ? value.slice(0, CODES_MAX) : [value];
      for (const candidate of candidates) {
        if (typeof candidate === 'string' || typeof candidate === 'number') codes.push(String(candidate));
        else if (typeof candidate === 'object' && candidate !== null && depth === 0) collect(candidate, 1);
      }
    }
  };
  if (members !== undefined) collect(members, 0);
  return codes;
}
