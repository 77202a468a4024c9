// Reads the answer of a token endpoint, whatever its status (RFC 6749 sections 5.1 and 5.2, and what providers make of them).
// It must never throw on what a provider sends, and never let a byte of it reach a cause.
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { AnswerFields, EgressAnswer, FailureKind, OAuth2Spec } from '../connector.ts';
import { readScopes } from './answer-body.ts';
import { type ReadBody, readRefusal, saysRefusal } from './errors.ts';
import { type ExpirySource, tokenExpiry } from './token-expiry.ts';

export type RefreshOutcome = Refreshed | RefreshRefused | RefreshUnknown;

export interface Refreshed {
  readonly kind: 'refreshed';
  readonly accessToken: SecretValue;
  /** Replaces the one that was sent. Undefined: keep the one that was sent (RFC 6749 section 6). */
  readonly refreshToken: SecretValue | undefined;
  readonly tokenType: string;
  /** Undefined: the token has no end. */
  readonly expiresAtMs: number | undefined;
  readonly expirySource: ExpirySource;
  /** Separated by spaces. Undefined: as before. */
  readonly scope: string | undefined;
  /** When the refresh token ends, where the answer tells. */
  readonly refreshTokenExpiresAtMs: number | undefined;
  /** What `accountFields` names, as far as the answer has it and it can be shown: never over-long, never a control character. */
  readonly account: Readonly<Record<string, string>>;
}

export interface RefreshRefused {
  readonly kind: FailureKind;
  /** A word of our own or of the connector's table; safe to store, log and show. */
  readonly cause: string;
  /** Undefined: no answer, the request never left. */
  readonly status: number | undefined;
  readonly retryAfterSeconds: number | undefined;
  /** True: the refresh token was provably not used up. False (5xx): the provider may have turned it before it failed. */
  readonly nothingSpent: boolean;
}

/** The request left and no usable answer came back: go by the connector's `lostAnswer`. */
export interface RefreshUnknown {
  readonly kind: 'unknown';
  readonly cause: string;
}

/** RFC 6749 appendix A.12 (VSCHAR), so that a token can stand in a header. */
const TOKEN = /^[\x21-\x7e][\x20-\x7e]*$/;
const TOKEN_TYPE = /^[A-Za-z0-9._:-]{1,64}$/;
const RETRY_AFTER_MAX_SECONDS = LIMITS.refreshWaitMaxMs / 1_000;
const LIFETIME_MAX_SECONDS = 10 * 365 * 86_400;
const STANDARD_FIELDS: AnswerFields = {
  accessToken: 'access_token',
  refreshToken: 'refresh_token',
  expiresIn: 'expires_in',
  expiresAt: 'expires_at',
  tokenType: 'token_type',
  scope: 'scope',
  refreshTokenExpiresIn: 'refresh_token_expires_in',
};

/** Wipes `answer.body`. A member that occurs twice counts as its last occurrence (RFC 8259 section 4 leaves it open). */
export function readTokenAnswer(spec: OAuth2Spec, answer: EgressAnswer, nowMs: number): RefreshOutcome {
  const body = readBody(answer);
  const { members } = body;
  const ok = answer.status >= 200 && answer.status < 300;
  if (ok && members !== undefined) {
    const fields = { ...STANDARD_FIELDS, ...spec.answerFields };
    const accessToken = at(members, fields.accessToken);
    // A clock that was put back while the provider thought: lifetimes count from what it shows now, or they would be a day too long.
    if (accessToken !== undefined) return readTokens(spec, members, fields, accessToken, Math.min(answer.sentAtMs, nowMs));
    if (!saysRefusal(members)) return { kind: 'unknown', cause: 'unreadable_answer' };
  } else if (ok) {
    return { kind: 'unknown', cause: 'unreadable_answer' };
  }
  return {
    ...readRefusal(answer.status, body, spec.errorTable),
    status: answer.status,
    retryAfterSeconds: retryAfterSeconds(answer.headers['retry-after'], nowMs),
    nothingSpent: answer.status < 500 && answer.status !== 408,
  };
}

function readTokens(
  spec: OAuth2Spec,
  members: Readonly<Record<string, unknown>>,
  fields: AnswerFields,
  accessToken: unknown,
  sentAtMs: number,
): RefreshOutcome {
  const refreshToken = at(members, fields.refreshToken);
  const replaces = refreshToken !== undefined && refreshToken !== '';
  // A 2xx means the old token may be spent; without a usable pair the grant's state is in doubt, not dead.
  if (!isToken(accessToken) || (replaces && !isToken(refreshToken))) return { kind: 'unknown', cause: 'malformed_token' };
  const tokenType = at(members, fields.tokenType);
  return {
    kind: 'refreshed',
    accessToken: SecretValue.fromText(accessToken),
    refreshToken: replaces && isToken(refreshToken) ? SecretValue.fromText(refreshToken) : undefined,
    tokenType: typeof tokenType === 'string' && TOKEN_TYPE.test(tokenType) ? tokenType : 'Bearer',
    ...tokenExpiry(
      spec,
      accessToken,
      { expiresIn: at(members, fields.expiresIn), expiresAt: at(members, fields.expiresAt) },
      sentAtMs,
    ),
    scope: readScopes(at(members, fields.scope), spec.scopeSeparator),
    refreshTokenExpiresAtMs: secondsFrom(sentAtMs, at(members, fields.refreshTokenExpiresIn)),
    account: readAccount(members, spec.accountFields ?? {}),
  };
}

/** Zero means that it has no end (as Google says it) or is nonsense; either way nothing is known. */
function secondsFrom(sentAtMs: number, value: unknown): number | undefined {
  const seconds = typeof value === 'string' && /^[0-9]{1,12}$/.test(value) ? Number(value) : value;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds) || seconds <= 0) return undefined;
  return sentAtMs + Math.min(Math.floor(seconds), LIFETIME_MAX_SECONDS) * 1_000;
}

// SECURITY: account fields are served, logged as facts and put into URLs; a line break or a novel from a provider must not get there.
function readAccount(
  members: Readonly<Record<string, unknown>>,
  names: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([name, path]) => {
      const value = at(members, path);
      const text = typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value)) ? String(value) : value;
      return typeof text === 'string' && isPlain(text) ? [[name, text] as const] : [];
    }),
  );
}

function isPlain(text: string): boolean {
  return text !== '' && text.length <= LIMITS.accountValueMaxChars && !/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/u.test(text);
}

function isToken(value: unknown): value is string {
  return typeof value === 'string' && value.length <= LIMITS.valueMaxBytes && TOKEN.test(value);
}

function readBody(answer: EgressAnswer): ReadBody {
  // The decoded text stays in memory until it is collected: a JS string cannot be wiped. The bytes can.
  const text = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
  answer.body.wipe();
  if (answer.headers['content-type']?.toLowerCase().startsWith('application/x-www-form-urlencoded')) {
    return { members: Object.fromEntries(new URLSearchParams(text)), text };
  }
  try {
    const parsed: unknown = JSON.parse(text);
    const isObject = typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed);
    return { members: isObject ? (parsed as Record<string, unknown>) : undefined, text };
  } catch {
    return { members: undefined, text };
  }
}

/** The member at a dotted path; null counts as absent. */
function at(members: Readonly<Record<string, unknown>>, path: string): unknown {
  let value: unknown = members;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value ?? undefined;
}

/** RFC 9110 section 10.2.3: seconds or an HTTP date. Bounded to a day; nonsense counts as absent. */
export function retryAfterSeconds(header: string | undefined, nowMs: number): number | undefined {
  if (header === undefined) return undefined;
  const text = header.trim();
  const seconds = /^[0-9]{1,9}$/.test(text)
    ? Number(text)
    : /^[A-Za-z]{3}/.test(text)
      ? Math.ceil((Date.parse(text) - nowMs) / 1_000)
      : Number.NaN;
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), RETRY_AFTER_MAX_SECONDS) : undefined;
}
