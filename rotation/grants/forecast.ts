// When a grant ends, the cause and the remedy. Pure functions, without clock, store or provider.
// It must never guess: an end with an unknown limit or start is omitted.
import { toTimestamp } from '../../src/base/clock.ts';
import type { LifetimeSpec, OAuth2Spec } from '../connector.ts';

export type EndCause =
  | 'idle_limit'
  | 'absolute_limit'
  | 'refresh_token_expiry'
  | 'access_token_expiry'
  | 'client_secret_expiry'
  | 'token_cap'
  | 'provider_change'
  | 'end_date';

/** The known facts about a valid grant. All instants in milliseconds. */
export interface ForecastSubject {
  readonly lifetimes: LifetimeSpec;
  readonly refreshTokenRotates: OAuth2Spec['refreshTokenRotates'];
  /** How access tokens are renewed: only a renewal by refresh token can lose one. */
  readonly renews: 'refresh_token' | 'key' | 'never';
  /** The shortest known idle limit. */
  readonly idleMs: number | undefined;
  readonly consentedAt: number | undefined;
  readonly refreshedAt: number | undefined;
  readonly refreshTokenExpiresAt: number | undefined;
  /** The credential's setting, which overrides the connector's. */
  readonly absoluteLimitDays: number | undefined;
  /** RFC 3339. */
  readonly clientSecretExpiresAt: string | undefined;
  readonly valueExpiresAt: number | null;
  /** Whether the access token will be renewed automatically. */
  readonly isRenewed: boolean;
  /** Number of valid grants of the same account and client in this tenant, including this one; undefined if the account is unknown. */
  readonly grantsOfAccount: number | undefined;
}

export interface End {
  readonly endsAt: number;
  readonly cause: EndCause;
  /** False: the end may come later or not at all. */
  readonly certain: boolean;
  /** The remedy, in one sentence. */
  readonly remedy: string;
  /** The next successful refresh postpones this end. */
  readonly isMovedByRefresh: boolean;
}

export interface Forecast extends End {
  /** All known ends, the soonest first; the first one is this forecast. */
  readonly all: readonly End[];
}

/** The forecast of a key, password or document with an end date. */
export function endDateForecast(endsAt: number, nowMs: number): Forecast {
  const remedy = `Put a new value with a later end date ${until(endsAt, nowMs)}; after it the value is still served, but the provider may reject it.`;
  const end: End = { endsAt, cause: 'end_date', certain: true, remedy, isMovedByRefresh: false };
  return { ...end, all: [end] };
}

export type Ended = Pick<End, 'endsAt' | 'certain' | 'remedy'> & { readonly cause: 'ended' };

const DAY_MS = 24 * 60 * 60 * 1_000;

/** Undefined where no end is known. */
export function forecastOf(subject: ForecastSubject, nowMs: number): Forecast | undefined {
  const { refreshedAt } = subject;
  const all = [
    idleLimit(subject, nowMs),
    absoluteLimit(subject, nowMs),
    refreshTokenExpiry(subject, nowMs),
    accessTokenExpiry(subject, nowMs),
    clientSecretExpiry(subject, nowMs),
    ...providerChanges(subject),
    tokenCap(subject, nowMs),
  ]
    .filter((end) => end !== undefined)
    // A successful refresh after the date shows that the date was wrong.
    .filter((end) => end.cause === 'token_cap' || refreshedAt === undefined || end.endsAt > refreshedAt)
    .sort((a, b) => a.endsAt - b.endsAt);
  const [first] = all;
  return first === undefined ? undefined : { ...first, all };
}

/** The forecast of an ended grant. @param isAnswerLost its tokens are kept and may be tried once more (decision 0003) */
export function endedGrant(endedAtMs: number, isAnswerLost: boolean): Ended {
  const remedy = isAnswerLost
    ? 'Connect the account again, or request a rotation, which tries the stored tokens once more.'
    : 'Connect the account again: create a link and send it to its owner.';
  return { endsAt: endedAtMs, cause: 'ended', certain: true, remedy };
}

/** Whole days left, at least zero. */
export function daysLeft(endsAtMs: number, nowMs: number): number {
  return Math.max(0, Math.floor((endsAtMs - nowMs) / DAY_MS));
}

/** When the provider last received or issued the refresh token. */
function lastUsedAt({ refreshedAt, consentedAt }: ForecastSubject): number | undefined {
  return refreshedAt === undefined ? consentedAt : Math.max(refreshedAt, consentedAt ?? 0);
}

function idleLimit(subject: ForecastSubject, nowMs: number): End | undefined {
  const from = lastUsedAt(subject);
  if (subject.renews !== 'refresh_token' || subject.idleMs === undefined || from === undefined) return undefined;
  const endsAt = from + subject.idleMs;
  return {
    endsAt,
    cause: 'idle_limit',
    certain: true,
    remedy: `Refresh it ${until(endsAt, nowMs)}; a grant that is not used until then must be connected again.`,
    isMovedByRefresh: true,
  };
}

function absoluteLimit({ absoluteLimitDays, lifetimes, consentedAt }: ForecastSubject, nowMs: number): End | undefined {
  const limitMs =
    absoluteLimitDays !== undefined
      ? absoluteLimitDays * DAY_MS
      : lifetimes.absoluteSeconds === undefined
        ? undefined
        : lifetimes.absoluteSeconds * 1_000;
  if (limitMs === undefined || consentedAt === undefined) return undefined;
  const endsAt = consentedAt + limitMs;
  return {
    endsAt,
    cause: 'absolute_limit',
    certain: true,
    remedy: `Connect the account again ${until(endsAt, nowMs)}; the provider ends a grant at this age even if it is used.`,
    isMovedByRefresh: false,
  };
}

function refreshTokenExpiry(subject: ForecastSubject, nowMs: number): End | undefined {
  if (subject.renews !== 'refresh_token') return undefined;
  const { refreshTokenExpiresAt, refreshTokenRotates, lifetimes, consentedAt } = subject;
  // A refresh token that is sometimes replaced was issued at the consent at the earliest.
  const issuedAt = refreshTokenRotates === 'always' ? lastUsedAt(subject) : consentedAt;
  const declared =
    lifetimes.refreshTokenSeconds === undefined || issuedAt === undefined
      ? undefined
      : issuedAt + lifetimes.refreshTokenSeconds * 1_000;
  const endsAt = refreshTokenExpiresAt ?? declared;
  if (endsAt === undefined) return undefined;
  const isMovedByRefresh = refreshTokenRotates !== 'never';
  const before = until(endsAt, nowMs);
  return {
    endsAt,
    cause: 'refresh_token_expiry',
    certain: refreshTokenExpiresAt !== undefined || refreshTokenRotates !== 'sometimes',
    remedy: isMovedByRefresh
      ? `Refresh it ${before}; after its refresh token has expired it must be connected again.`
      : `Connect the account again ${before}; its refresh token expires then, and a refresh does not replace it.`,
    isMovedByRefresh,
  };
}

function accessTokenExpiry({ isRenewed, valueExpiresAt }: ForecastSubject, nowMs: number): End | undefined {
  if (isRenewed || valueExpiresAt === null) return undefined;
  return {
    endsAt: valueExpiresAt,
    cause: 'access_token_expiry',
    certain: true,
    remedy: `Connect the account again or put a new token ${until(valueExpiresAt, nowMs)}; this one cannot be renewed.`,
    isMovedByRefresh: false,
  };
}

function clientSecretExpiry({ clientSecretExpiresAt, isRenewed }: ForecastSubject, nowMs: number): End | undefined {
  const endsAt = Date.parse(clientSecretExpiresAt ?? '');
  if (!isRenewed || Number.isNaN(endsAt)) return undefined;
  return {
    endsAt,
    cause: 'client_secret_expiry',
    certain: true,
    remedy: `Rotate the client secret at the provider and put the new one ${until(endsAt, nowMs)}.`,
    isMovedByRefresh: false,
  };
}

function providerChanges({ lifetimes }: ForecastSubject): End[] {
  return (lifetimes.scheduled ?? []).flatMap(({ at, remedy }) => {
    const endsAt = Date.parse(at);
    if (Number.isNaN(endsAt)) return [];
    return [{ endsAt, cause: 'provider_change' as const, certain: true, remedy, isMovedByRefresh: false }];
  });
}

function tokenCap({ lifetimes, grantsOfAccount }: ForecastSubject, nowMs: number): End | undefined {
  const { cap } = lifetimes;
  if (cap === undefined || grantsOfAccount === undefined || grantsOfAccount < cap.count) return undefined;
  return {
    endsAt: nowMs,
    cause: 'token_cap',
    certain: false,
    remedy: `Disconnect unused grants of this account: there are ${grantsOfAccount}, and the provider keeps ${cap.count}; ${cap.note}`,
    isMovedByRefresh: false,
  };
}

/** When a remedy is due: never before a day that has passed. */
function until(endsAtMs: number, nowMs: number): string {
  const day = toTimestamp(endsAtMs).slice(0, 10);
  return endsAtMs > nowMs ? `before ${day}` : `at once (the end was ${day})`;
}
