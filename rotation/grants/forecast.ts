// When a grant ends if nothing happens, why, and what to do about it. Pure: no clock, no store, no provider.
// It must never guess: an end whose figure or starting instant nobody knows is left out.
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

/** What is known of one live grant. All instants in milliseconds. */
export interface ForecastSubject {
  readonly lifetimes: LifetimeSpec;
  readonly refreshTokenRotates: OAuth2Spec['refreshTokenRotates'];
  /** How fresh access tokens are got: only what spends a refresh token can lose it. */
  readonly renews: 'refresh_token' | 'key' | 'never';
  /** The shortest idle limit that is known. */
  readonly idleMs: number | undefined;
  readonly consentedAt: number | undefined;
  readonly refreshedAt: number | undefined;
  readonly refreshTokenExpiresAt: number | undefined;
  /** As the credential says it, over the connector's own figure. */
  readonly absoluteLimitDays: number | undefined;
  /** RFC 3339. */
  readonly clientSecretExpiresAt: string | undefined;
  readonly valueExpiresAt: number | null;
  /** Another access token is going to be asked for by itself. */
  readonly isRenewed: boolean;
  /** Live grants of the same account and client at this tenant, this one included; undefined where the account is unknown. */
  readonly grantsOfAccount: number | undefined;
}

export interface End {
  readonly endsAt: number;
  readonly cause: EndCause;
  /** False: it may come later, or not at all. */
  readonly certain: boolean;
  /** What a person does, in one sentence. */
  readonly remedy: string;
  /** The next refresh that works puts it off, so it threatens only while none does. */
  readonly isMovedByRefresh: boolean;
}

export interface Forecast extends End {
  /** Every end that is known, the soonest first; this one is the first of them. */
  readonly all: readonly End[];
}

/** Of a key, password or document that was put with an end date. */
export function endDateForecast(endsAt: number): Forecast {
  const remedy = `Put a new value with a later end date before ${day(endsAt)}; past it the value is still served, and the provider may refuse it.`;
  const end: End = { endsAt, cause: 'end_date', certain: true, remedy, isMovedByRefresh: false };
  return { ...end, all: [end] };
}

export type Ended = Pick<End, 'endsAt' | 'certain' | 'remedy'> & { readonly cause: 'ended' };

const DAY_MS = 24 * 60 * 60 * 1_000;

/** Undefined where no end is known. */
export function forecastOf(subject: ForecastSubject, nowMs: number): Forecast | undefined {
  const { refreshedAt } = subject;
  const all = [
    idleLimit(subject),
    absoluteLimit(subject),
    refreshTokenExpiry(subject),
    accessTokenExpiry(subject),
    clientSecretExpiry(subject),
    ...providerChanges(subject),
    tokenCap(subject, nowMs),
  ]
    .filter((end) => end !== undefined)
    // A refresh that worked after the day shows that the day was wrong.
    .filter((end) => end.cause === 'token_cap' || refreshedAt === undefined || end.endsAt > refreshedAt)
    .sort((a, b) => a.endsAt - b.endsAt);
  const [first] = all;
  return first === undefined ? undefined : { ...first, all };
}

/** A grant that ended already: only a person brings it back. @param isAnswerLost its tokens are kept, and may be tried once more (decision 0003) */
export function endedGrant(endedAtMs: number, isAnswerLost: boolean): Ended {
  const remedy = isAnswerLost
    ? 'Connect the account again, or ask for a rotation, which tries the kept tokens once more.'
    : 'Connect the account again: make a link and send it to its owner.';
  return { endsAt: endedAtMs, cause: 'ended', certain: true, remedy };
}

/** Whole days left, never below zero. */
export function daysLeft(endsAtMs: number, nowMs: number): number {
  return Math.max(0, Math.floor((endsAtMs - nowMs) / DAY_MS));
}

/** When the provider last saw the refresh token, or gave it out. */
function lastUsedAt({ refreshedAt, consentedAt }: ForecastSubject): number | undefined {
  return refreshedAt === undefined ? consentedAt : Math.max(refreshedAt, consentedAt ?? 0);
}

function idleLimit(subject: ForecastSubject): End | undefined {
  const from = lastUsedAt(subject);
  if (subject.renews !== 'refresh_token' || subject.idleMs === undefined || from === undefined) return undefined;
  const endsAt = from + subject.idleMs;
  return {
    endsAt,
    cause: 'idle_limit',
    certain: true,
    remedy: `Let it be refreshed before ${day(endsAt)}; a grant that lies unused until then must be connected again.`,
    isMovedByRefresh: true,
  };
}

function absoluteLimit({ absoluteLimitDays, lifetimes, consentedAt }: ForecastSubject): End | undefined {
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
    remedy: `Connect the account again before ${day(endsAt)}; the provider ends a grant of this age however much it is used.`,
    isMovedByRefresh: false,
  };
}

function refreshTokenExpiry(subject: ForecastSubject): End | undefined {
  if (subject.renews !== 'refresh_token') return undefined;
  const { refreshTokenExpiresAt, refreshTokenRotates, lifetimes, consentedAt } = subject;
  // One that is replaced now and then was given out with the consent at the earliest.
  const issuedAt = refreshTokenRotates === 'always' ? lastUsedAt(subject) : consentedAt;
  const declared =
    lifetimes.refreshTokenSeconds === undefined || issuedAt === undefined
      ? undefined
      : issuedAt + lifetimes.refreshTokenSeconds * 1_000;
  const endsAt = refreshTokenExpiresAt ?? declared;
  if (endsAt === undefined) return undefined;
  const isMovedByRefresh = refreshTokenRotates !== 'never';
  const before = `before ${day(endsAt)}`;
  return {
    endsAt,
    cause: 'refresh_token_expiry',
    certain: refreshTokenExpiresAt !== undefined || refreshTokenRotates !== 'sometimes',
    remedy: isMovedByRefresh
      ? `Let it be refreshed ${before}; once its refresh token has expired it must be connected again.`
      : `Connect the account again ${before}; its refresh token expires then and no refresh replaces it.`,
    isMovedByRefresh,
  };
}

function accessTokenExpiry({ isRenewed, valueExpiresAt }: ForecastSubject): End | undefined {
  if (isRenewed || valueExpiresAt === null) return undefined;
  return {
    endsAt: valueExpiresAt,
    cause: 'access_token_expiry',
    certain: true,
    remedy: `Connect the account again or put a new token before ${day(valueExpiresAt)}; nothing here can renew this one.`,
    isMovedByRefresh: false,
  };
}

function clientSecretExpiry({ clientSecretExpiresAt, isRenewed }: ForecastSubject): End | undefined {
  const endsAt = Date.parse(clientSecretExpiresAt ?? '');
  if (!isRenewed || Number.isNaN(endsAt)) return undefined;
  return {
    endsAt,
    cause: 'client_secret_expiry',
    certain: true,
    remedy: `Rotate the client secret at the provider and put the new one here before ${day(endsAt)}.`,
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
    remedy: `Disconnect grants of this account that nobody needs: there are ${grantsOfAccount} and the provider keeps ${cap.count}; ${cap.note}`,
    isMovedByRefresh: false,
  };
}

function day(atMs: number): string {
  return toTimestamp(atMs).slice(0, 10);
}
