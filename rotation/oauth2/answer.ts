// Reads the answer of a token endpoint, whatever its status (RFC 6749 sections 5.1 and 5.2, and what providers make of them).
// It must never throw on what a provider sends, and never let a byte of it reach a cause.
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { AnswerFields, EgressAnswer, OAuth2Spec } from '../connector.ts';
import { memberAt, membersOf, readScopes } from './answer-body.ts';
import { errorWords, type ReadBody, readRefusal, saysRefusal } from './errors.ts';
import { type ProviderWords, providerWords, secretsReceived } from './provider-words.ts';
import { type ExpirySource, tokenExpiry } from './token-expiry.ts';

/** Every way a call to a token endpoint can end. What it means for the grant is for whoever asked to decide. */
export type RefreshOutcome = Refreshed | RefreshFailure;
export type RefreshFailure = Refused | Transient | Throttled | AnsweredOddly | SentAndLost | NotSent;

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
  /** Set where the access token is good and something else of the answer is not: the grant may not renew any more. */
  readonly oddity?: 'refresh_token_unusable';
}

interface Failed {
  /** A word of our own or of the connector's table; safe to store, log and show. */
  readonly cause: string;
  /** For the operator. Absent: nothing came that could be read. */
  readonly said?: ProviderWords;
}

interface Answered extends Failed {
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
}

/** The provider's word. `dead`: the person must consent again. `configuration`: the operator must act, the grant lives. */
export interface Refused extends Answered {
  readonly kind: 'refused';
  readonly means: 'dead' | 'configuration';
  /** False: in words that no table knows, so that nobody can say what is wrong. */
  readonly recognised: boolean;
}

/** The provider says that it cannot now. */
export interface Transient extends Answered {
  readonly kind: 'transient';
  /** It may have turned the token before it failed (5xx). */
  readonly mayBeSpent: boolean;
}

/** The provider says that there were too many requests; nothing was spent. */
export interface Throttled extends Answered {
  readonly kind: 'throttled';
}

/**
 * A whole answer that is none of a token endpoint: a page, an empty body, somebody else's JSON, a redirect, a token that cannot be used.
 * It is neither a lost answer nor the end of a grant.
 */
export interface AnsweredOddly extends Answered {
  readonly kind: 'answered_oddly';
  readonly mayBeSpent: boolean;
  /** Came with it and must be kept: it takes the place of the one that was sent. */
  readonly refreshToken: SecretValue | undefined;
}

/** The request left and no whole answer came back: go by the connector's `lostAnswer`. */
export interface SentAndLost extends Failed {
  readonly kind: 'sent_and_lost';
  /** False: it may as well never have left, and this platform cannot tell. */
  readonly certain: boolean;
}

/** The call was not made, or provably never left. `withdrawn`: its caller took it back. */
export interface NotSent extends Failed {
  readonly kind: 'not_sent';
  readonly means: 'dead' | 'configuration' | 'transient' | 'withdrawn';
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

/** What is known of the call whose answer is read. */
export interface Asked {
  /** What was sent and must not be kept; see `secretsSent`. */
  readonly secrets?: readonly string[];
  /** False: an answer without a refresh token is a grant that nothing renews. Default: true. */
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

/** Wipes `answer.body`. A member that occurs twice counts as its last occurrence (RFC 8259 section 4 leaves it open). */
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
    // A clock that was put back while the provider thought: lifetimes count from what it shows now, or they would be a day too long.
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
    // The beginning of an object that does not end: the provider answered, and the answer was cut or damaged on its way.
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
 * What an edge network answers when it could not reach the provider's own server, so that nothing was spent (developers.cloudflare.com
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
  // The access token is good for its life, whatever becomes of the grant: it is kept.
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
  // The decoded text stays in memory until it is collected: a JS string cannot be wiped. The bytes can.
  const text = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
  answer.body.wipe();
  if (answer.headers['content-type']?.toLowerCase().startsWith('application/x-www-form-urlencoded')) {
    return { members: Object.fromEntries(new URLSearchParams(text)), text };
  }
  return { members: membersOf(text), text };
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
