// What an answer without tokens means: provider rows first, then the general table, then what its form says.
// A cause is a word written here or in a connector; not one byte of a provider's answer may become part of it.
import type { ErrorRow, FailureKind } from '../connector.ts';

/**
 * `oddly`: a whole answer that is no answer of a token endpoint, such as a page, an empty body or a redirect: it says nothing of the grant
 * or the client. `recognised`: false where the provider refused in words that no table knows.
 */
export type Refusal =
  | { readonly kind: FailureKind; readonly cause: string; readonly recognised: boolean }
  | { readonly kind: 'oddly'; readonly cause: string };

const row = (means: FailureKind, code: string): ErrorRow => ({ code, means, cause: code });

/** Codes of RFC 6749 section 5.2, RFC 8707 section 2, RFC 9449 section 5 and OpenID Connect Core section 3.1.2.6. */
const GENERAL_TABLE: readonly ErrorRow[] = [
  // Status before code: a gateway that fails with `invalid_grant` in its body must not burn a grant.
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

/** What was read of an answer: its members if it was an object, and the start of its text. */
export interface ReadBody {
  readonly members: Readonly<Record<string, unknown>> | undefined;
  readonly text: string;
}

const UNRECOGNISED = 'unrecognised_error';
const TEXT_SEARCHED_CHARS = 8_192;
/** With these a token endpoint refuses (RFC 6749 section 5.2, and what providers make of it), whatever the body says. */
const REFUSING_STATUSES: readonly number[] = [400, 401];
/** With these it refuses only where the body says so: a gateway or firewall in front of it uses them, too. */
const MAYBE_REFUSING_STATUSES: readonly number[] = [402, 403, 409, 412, 422, 423, 424, 451];

/** An unknown refusal is `configuration`: it alerts the operator and leaves the grant alone. */
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

/** Of the general table these say that the request or the client is wrong; a text that speaks of the refresh token means the grant. */
const SAID_OF_ANYTHING: ReadonlySet<string | undefined> = new Set(['invalid_request', 'unauthorized_client']);

function isVague(entry: ErrorRow, text: string): boolean {
  return GENERAL_TABLE.includes(entry) && SAID_OF_ANYTHING.has(entry.code) && /refresh[ _-]?token/.test(text);
}

/** The answer's error codes as it wrote them; for the operator's eyes, after they were scrubbed. */
export function errorWords(members: ReadBody['members']): readonly string[] {
  return collectCodes(members);
}

/** True when the answer says it is a refusal, whatever its status (some providers refuse with 200). */
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

/** Every word of the answer that may be its error code, in lower case; used for comparing only. */
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
