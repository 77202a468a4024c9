// Reads the answer of a token endpoint, whatever its status (RFC 6749 sections 5.1 and 5.2, and providers' deviations).
// It must never throw because of a provider's answer, nor copy a byte of it into a cause.
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { AnswerFields, EgressAnswer, OAuth2Spec } from '../connector.ts';
import { memberAt, membersOf, readScopes } from './answer-body.ts';
import { errorWords, type ReadBody, readRefusal, saysRefusal } from './errors.ts';
import { type ProviderWords, providerWords, secretsReceived } from './provider-words.ts';
import { type ExpirySource, tokenExpiry } from './token-expiry.ts';

/** The possible outcomes of a call to a token endpoint. The caller decides what an outcome means for the grant. */
export type RefreshOutcome = Refreshed | RefreshFailure;
export type RefreshFailure = Refused | Transient | Throttled | AnsweredOddly | SentAndLost | NotSent;

export interface Refreshed {
  readonly kind: 'refreshed';
  readonly accessToken: SecretValue;
  /** Replaces the refresh token that was sent. Undefined: keep that one (RFC 6749 section 6). */
  readonly refreshToken: SecretValue | undefined;
  readonly tokenType: string;
  /** Undefined: the token does not expire. */
  readonly expiresAtMs: number | undefined;
  readonly expirySource: ExpirySource;
  /** Separated by spaces. Undefined: unchanged. */
  readonly scope: string | undefined;
  /** When the refresh token expires, if the answer contains it. */
  readonly refreshTokenExpiresAtMs: number | undefined;
  /** The values of `accountFields` in the answer, without overlong values and control characters. */
  readonly account: Readonly<Record<string, string>>;
  /** Set if the access token is usable but another part of the answer is not, so that the grant may not be renewable. */
  readonly oddity?: 'refresh_token_unusable';
}

interface Failed {
  /** A word from Keyturn's or the connector's table; safe to store, log and show. */
  readonly cause: string;
  /** For the operator. Absent if no readable answer arrived. */
  readonly said?: ProviderWords;
}

interface Answered extends Failed {
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
}

/** The provider refused. `dead`: a person must consent again. `configuration`: the operator must act, the grant is valid. */
export interface Refused extends Answered {
  readonly kind: 'refused';
  readonly means: 'dead' | 'configuration';
  /** False if the refusal has words that are in no table. */
  readonly recognised: boolean;
}

/** A temporary failure of the provider. */
export interface Transient extends Answered {
  readonly kind: 'transient';
  /** The provider may have rotated the token before it failed (5xx). */
  readonly mayBeSpent: boolean;
}

/** The provider throttles; no token was used up. */
export interface Throttled extends Answered {
  readonly kind: 'throttled';
}

/**
 * A complete answer that is not a token endpoint's: a page, an empty body, other JSON, a redirect, an unusable token.
 * It is neither a lost answer nor the end of a grant.
 */
export interface AnsweredOddly extends Answered {
  readonly kind: 'answered_oddly';
  readonly mayBeSpent: boolean;
  /** A refresh token in the answer; it must be stored in place of the one that was sent. */
  readonly refreshToken: SecretValue | undefined;
}

/** The request was sent and no complete answer arrived: `lostAnswer` of the connector applies. */
export interface SentAndLost extends Failed {
  readonly kind: 'sent_and_lost';
  /** False if the request may not have been sent, because the platform cannot tell. */
  readonly certain: boolean;
}

/** The call was not made, or provably not sent. `withdrawn`: the caller withdrew it. */
export interface NotSent extends Failed {
  readonly kind: 'not_sent';
  readonly means: 'dead' | 'configuration' | 'transient' | 'withdrawn';
}

/** RFC 6749 appendix A.12 (VSCHAR), so that a token is valid in a header. */
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

/** Facts about the call whose answer is read. */
export interface Asked {
  /** The secrets that were sent, to be removed from evidence; see `secretsSent`. */
  readonly secrets?: readonly string[];
  /** False: without a refresh token in the answer, the grant cannot be renewed. Default: true. */
  readonly renewable?: boolean;
}

interface Answer {
  readonly spec: OAuth2Spec;
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
  readonly body: ReadBody;
  /** Lifetimes count from here. */
  readonly sentAtMs: number;
  readonly asked: Asked;
  readonly said: ProviderWords;
}

/** Wipes `answer.body`. Of duplicate members the last one counts (RFC 8259 section 4 does not define it). */
export function readTokenAnswer(spec: OAuth2Spec, answer: EgressAnswer, nowMs: number, asked: Asked = {}): RefreshOutcome {
  const { status, headers } = answer;
  const body = readBody(answer);
  const contentType = headers['content-type'];
  const secrets = [...(asked.secrets ?? []), ...secretsReceived(body.members)];
  const read: Answer = {
    spec,
    status,
    retryAfterSeconds: retryAfterSeconds(headers['retry-after'], nowMs),
    body,
    // If the clock was set back during the call, lifetimes count from the present time; otherwise they would be too long.
    sentAtMs: Math.min(answer.sentAtMs, nowMs),
    asked,
    get said() {
      return providerWords({ status, contentType, text: body.text }, errorWords(body.members), secrets);
    },
  };
  return isSuccess(status) ? readSuccess(read) : readFailure(read);
}

function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}

function readSuccess(read: Answer): RefreshOutcome {
  const { members, text } = read.body;
  if (members === undefined) {
    // An incomplete JSON object: the answer was truncated or damaged in transit.
    if (/^\s*\{/.test(text)) return { kind: 'sent_and_lost', cause: 'unreadable_answer', certain: true, said: read.said };
    return oddly(read, text.trim() === '' ? 'empty_answer' : 'no_token_answer');
  }
  const fields = { ...STANDARD_FIELDS, ...read.spec.answerFields };
  const accessToken = memberAt(members, fields.accessToken);
  const refreshToken = memberAt(members, fields.refreshToken);
  const kept = isToken(refreshToken, LIMITS.providerAnswerMaxBytes) ? refreshToken : undefined;
  if (isToken(accessToken, LIMITS.valueMaxBytes)) return readTokens(read, members, fields, accessToken, kept);
  if (accessToken === undefined && saysRefusal(members)) return readFailure(read);
  const cause =
    accessToken === undefined ? 'no_token_answer' : isToken(accessToken) ? 'access_token_too_large' : 'malformed_token';
  return oddly(read, cause, kept);
}

function oddly(read: Answer, cause: string, refreshToken?: string): AnsweredOddly {
  const { status, retryAfterSeconds, said } = read;
  return {
    kind: 'answered_oddly',
    cause,
    status,
    retryAfterSeconds,
    mayBeSpent: isSuccess(status),
    refreshToken: refreshToken === undefined ? undefined : SecretValue.fromText(refreshToken),
    said,
  };
}

/**
 * Statuses of an edge network that could not reach the provider's own server, so that no token was used up (developers.cloudflare.com
 * /support/troubleshooting/cloudflare-errors, 2026-11: web server is down, unreachable, no TLS handshake, wrong certificate, no address).
 */
const NEVER_REACHED: readonly number[] = [521, 523, 525, 526, 530];

function readFailure(read: Answer): RefreshFailure {
  const { spec, status, retryAfterSeconds, body, said } = read;
  const refusal = readRefusal(status, body, spec.errorTable);
  if (refusal.kind === 'oddly') return oddly(read, refusal.cause);
  const { kind, cause, recognised } = refusal;
  if (kind !== 'transient') return { kind: 'refused', means: kind, recognised, cause, status, retryAfterSeconds, said };
  if (status === 429) return { kind: 'throttled', cause, status, retryAfterSeconds, said };
  const mayBeSpent = (status >= 500 && !NEVER_REACHED.includes(status)) || status === 408;
  return { kind: 'transient', cause, status, retryAfterSeconds, mayBeSpent, said };
}

function readTokens(
  { spec, sentAtMs, asked }: Answer,
  members: Readonly<Record<string, unknown>>,
  fields: AnswerFields,
  accessToken: string,
  refreshToken: string | undefined,
): Refreshed {
  const tokenType = memberAt(members, fields.tokenType);
  const brought = memberAt(members, fields.refreshToken);
  // The access token stays valid for its lifetime, whatever happens to the grant, so it is stored.
  const isOdd = brought !== undefined && brought !== '' && refreshToken === undefined;
  return {
    kind: 'refreshed',
    accessToken: SecretValue.fromText(accessToken),
    refreshToken: refreshToken === undefined ? undefined : SecretValue.fromText(refreshToken),
    tokenType: typeof tokenType === 'string' && TOKEN_TYPE.test(tokenType) ? tokenType : 'Bearer',
    ...tokenExpiry(
      spec,
      accessToken,
      {
        expiresIn: memberAt(members, fields.expiresIn),
        expiresAt: memberAt(members, fields.expiresAt),
        renewable: asked.renewable !== false || refreshToken !== undefined,
      },
      sentAtMs,
    ),
    scope: readScopes(memberAt(members, fields.scope), spec.scopeSeparator),
    refreshTokenExpiresAtMs: secondsFrom(sentAtMs, memberAt(members, fields.refreshTokenExpiresIn)),
    account: readAccount(members, spec.accountFields ?? {}),
    ...(isOdd ? { oddity: 'refresh_token_unusable' as const } : {}),
  };
}

/** Zero means no end (Google) or is invalid; in both cases the expiry is unknown. */
function secondsFrom(sentAtMs: number, value: unknown): number | undefined {
  const seconds = typeof value === 'string' && /^[0-9]{1,12}$/.test(value) ? Number(value) : value;
  if (typeof seconds !== 'number' || !Number.isFinite(seconds) || seconds <= 0) return undefined;
  return sentAtMs + Math.min(Math.floor(seconds), LIFETIME_MAX_SECONDS) * 1_000;
}

// SECURITY: account fields are served, logged and inserted into URLs, so a provider must not inject line breaks or long text.
function readAccount(
  members: Readonly<Record<string, unknown>>,
  names: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(names).flatMap(([name, path]) => {
      const value = memberAt(members, path);
      const text = typeof value === 'boolean' || (typeof value === 'number' && Number.isFinite(value)) ? String(value) : value;
      return typeof text === 'string' && isPlain(text) ? [[name, text] as const] : [];
    }),
  );
}

function isPlain(text: string): boolean {
  return text !== '' && text.length <= LIMITS.accountValueMaxChars && !/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\u2028\u2029]/u.test(text);
}

function isToken(value: unknown, maxChars = Number.POSITIVE_INFINITY): value is string {
  return typeof value === 'string' && value.length <= maxChars && TOKEN.test(value);
}

function readBody(answer: EgressAnswer): ReadBody {
  // The bytes are wiped; the decoded string cannot be and stays in memory until garbage collection.
  const text = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
  answer.body.wipe();
  if (answer.headers['content-type']?.toLowerCase().startsWith('application/x-www-form-urlencoded')) {
    return { members: Object.fromEntries(new URLSearchParams(text)), text };
  }
  return { members: membersOf(text), text };
}

/** RFC 9110 section 10.2.3: seconds or an HTTP date. Limited to a day; an invalid value counts as absent. */
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
