// What a refusal means: dead, configuration or transient. Provider rows first, then the general table.
// A cause is a word written here or in a connector; not one byte of a provider's answer may become part of it.
import type { ErrorRow, FailureKind } from '../connector.ts';

export interface Refusal {
  readonly kind: FailureKind;
  readonly cause: string;
}

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

/** An unknown refusal is `configuration`: it alerts the operator and leaves the grant alone. */
export function readRefusal(status: number, body: ReadBody, providerTable: readonly ErrorRow[] = []): Refusal {
  const codes = errorCodes(body.members);
  const text = body.text.slice(0, TEXT_SEARCHED_CHARS).toLowerCase();
  for (const entry of [...providerTable, ...GENERAL_TABLE]) {
    if (matches(entry, status, codes, text)) return { kind: entry.means, cause: entry.cause };
  }
  if (status >= 300 && status < 400) return { kind: 'configuration', cause: 'redirect_refused' };
  // A challenge page of a firewall in front of the provider says nothing about the grant or the client.
  if (status === 403 && body.members === undefined) return { kind: 'transient', cause: 'http_403' };
  if (status >= 400) return { kind: 'configuration', cause: codes.size > 0 ? UNRECOGNISED : `http_${status}` };
  return { kind: 'configuration', cause: UNRECOGNISED };
}

/** Whether a refusal of kind `configuration` was in no words that any table knows. */
export function isUnrecognised(cause: string): boolean {
  return cause === UNRECOGNISED || cause.startsWith('http_');
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
function errorCodes(members: Readonly<Record<string, unknown>> | undefined): ReadonlySet<string> {
  const codes = new Set<string>();
  const collect = (source: object, depth: number): void => {
    for (const field of CODE_FIELDS) {
      const value: unknown = Object.hasOwn(source, field) ? (source as Record<string, unknown>)[field] : undefined;
      const candidates: readonly unknown[] = Array.isArray(value) ? value.slice(0, CODES_MAX) : [value];
      for (const candidate of candidates) {
        if (typeof candidate === 'string' || typeof candidate === 'number') codes.add(String(candidate).toLowerCase());
        else if (typeof candidate === 'object' && candidate !== null && depth === 0) collect(candidate, 1);
      }
    }
  };
  if (members !== undefined) collect(members, 0);
  return codes;
}
