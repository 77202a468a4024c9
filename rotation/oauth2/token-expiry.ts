// The expiry of an access token: from the credential's setting, the provider's answer, the token, or the connector, in this order.
// It counts from the time the request was sent. It must never use an implausible value.
import { decodeJwt } from 'jose';
import { LIMITS } from '../../src/base/limits.ts';
import type { OAuth2Spec } from '../connector.ts';

/** `set`: the credential's setting. `default`: neither in the answer nor in the token; from the connector or Keyturn's default. */
export type ExpirySource = 'set' | 'expires_in' | 'expires_at' | 'jwt' | 'default';

export interface TokenExpiry {
  /** Undefined: the token does not expire. */
  readonly expiresAtMs: number | undefined;
  readonly expirySource: ExpirySource;
}

const A_SECOND = 1_000;
const A_MINUTE = 60_000;
const A_DAY = 86_400;
const YEAR_IN_DAYS = 365;
/** From this value on a number of seconds is an instant (2001-09-09), and a number of milliseconds (1973-03-03). */
const SECONDS_OF_AN_INSTANT = 1e9;
const MILLISECONDS_OF_AN_INSTANT = 1e11;

export interface ToldExpiry {
  readonly expiresIn?: unknown;
  readonly expiresAt?: unknown;
  /** False: the token cannot be renewed, so a value that means "no end" is accepted. Default: true. */
  readonly renewable?: boolean;
}

/**
 * Implausible values count as missing: a lifetime below one second (0 and negative numbers mean "no end" at some providers) or above
 * 366 days. An instant is limited to ten years ahead. A lifetime in milliseconds, or an instant in place of a lifetime, is recognized.
 */
export function tokenExpiry(
  spec: Pick<OAuth2Spec, 'accessTokenTtlSeconds' | 'accessTokenTtlIsSet'>,
  accessToken: string,
  told: ToldExpiry,
  sentAtMs: number,
): TokenExpiry {
  const ttl = spec.accessTokenTtlSeconds;
  if (spec.accessTokenTtlIsSet === true && ttl !== undefined)
    return { expiresAtMs: ttl === 'never' ? undefined : sentAtMs + ttl * A_SECOND, expirySource: 'set' };
  const sources = [
    ['expires_in', () => endOfLife(told.expiresIn, sentAtMs)],
    ['expires_at', () => namedEnd(told.expiresAt, sentAtMs)],
    ['jwt', () => believedInstant(jwtExpiryMs(accessToken), sentAtMs)],
  ] as const;
  for (const [expirySource, read] of sources) {
    const expiresAtMs = read();
    if (expiresAtMs !== undefined) return { expiresAtMs, expirySource };
  }
  if (ttl === 'never' || (ttl === undefined && told.renewable === false && meansNoEnd(told.expiresIn)))
    return { expiresAtMs: undefined, expirySource: 'default' };
  return { expiresAtMs: sentAtMs + (ttl === undefined ? LIMITS.refreshDefaultTtlMs : ttl * A_SECOND), expirySource: 'default' };
}

/** The end of a given lifetime; undefined if it is implausible. */
function endOfLife(told: unknown, sentAtMs: number): number | undefined {
  const figure = toNumber(told);
  if (figure === undefined) return undefined;
  if (figure >= SECONDS_OF_AN_INSTANT) {
    const instant = believedInstant(fromEpoch(figure), sentAtMs);
    return instant !== undefined && instant <= sentAtMs + LIMITS.tokenLifeMaxSeconds * A_SECOND ? instant : undefined;
  }
  const seconds = isInMilliseconds(figure) ? figure / A_SECOND : figure;
  const isPlausible = seconds * A_SECOND >= LIMITS.usefulLifetimeMinMs && seconds <= LIMITS.tokenLifeMaxSeconds;
  return isPlausible ? Math.floor(sentAtMs + seconds * A_SECOND) : undefined;
}

function meansNoEnd(told: unknown): boolean {
  const figure = toNumber(told);
  return figure !== undefined && (figure === 0 || figure > LIMITS.tokenLifeMaxSeconds);
}

/** A number that is too small for an instant is a lifetime. */
function namedEnd(told: unknown, sentAtMs: number): number | undefined {
  const figure = toNumber(told);
  if (figure === undefined) return believedInstant(writtenOutMs(told), sentAtMs);
  const isInstant = figure >= SECONDS_OF_AN_INSTANT || figure * A_SECOND > sentAtMs;
  return isInstant ? believedInstant(fromEpoch(figure), sentAtMs) : endOfLife(figure, sentAtMs);
}

function isInMilliseconds(figure: number): boolean {
  if (figure < LIMITS.tokenLifeInMillisecondsFrom || figure % A_MINUTE !== 0) return false;
  const days = figure / A_DAY;
  return !(Number.isInteger(days) && (days <= LIMITS.tokenLifeWholeDaysMax || days % YEAR_IN_DAYS === 0));
}

/** A past instant is used, because the provider states it, but not before the time of sending. */
function believedInstant(atMs: number | undefined, sentAtMs: number): number | undefined {
  if (atMs === undefined || atMs > LIMITS.lastInstantMs) return undefined;
  return Math.min(Math.max(Math.floor(atMs), sentAtMs), sentAtMs + LIMITS.tokenEndMaxMs);
}

/** A finite number, or text that is one; providers send both. */
function toNumber(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\s*-?[0-9]+(\.[0-9]+)?\s*$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
}

function fromEpoch(figure: number): number {
  return figure >= MILLISECONDS_OF_AN_INSTANT ? figure : figure * A_SECOND;
}

/** `YYYY-MM-DD hh:mm:ss` without a zone is UTC. */
const WRITTEN_OUT =
  /^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?) ?(Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})?$/i;

function writtenOutMs(value: unknown): number | undefined {
  const [, day, time, zone = 'Z'] = typeof value === 'string' ? (WRITTEN_OUT.exec(value.trim()) ?? []) : [];
  if (day === undefined) return undefined;
  const offset = /^(UTC|GMT|Z)$/i.test(zone) ? 'Z' : zone.replace(/^([+-][0-9]{2}):?([0-9]{2})$/, '$1:$2');
  const atMs = Date.parse(`${day}T${time}${offset}`);
  return Number.isFinite(atMs) ? atMs : undefined;
}

/** The signature is not checked: the result only determines when to refresh. */
function jwtExpiryMs(accessToken: string): number | undefined {
  if (accessToken.split('.').length !== 3) return undefined;
  try {
    const exp = toNumber(decodeJwt(accessToken).exp);
    return exp === undefined ? undefined : fromEpoch(exp);
  } catch {
    return undefined;
  }
}
