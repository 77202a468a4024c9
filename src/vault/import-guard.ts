// Notices that another system still refreshes a grant that was brought here: two refreshers of one grant kill it sooner or later.
// It only tells and explains; it must never stop a refresh, change a token or call a provider.

import { raiseAlert } from '../alerts/raise-alert.ts';
import type { EventDetails } from '../audit/event.ts';
import { toTimestamp } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { changeGrantFacts, type GrantFacts, type GuardSign, grantFacts } from './grant-facts.ts';
import type { TenantJob } from './tenant-job.ts';

/** Whether an imported grant is watched still: a week, or for as long as the other system is said to use it. */
export function isWatched(facts: GrantFacts, nowMs: number): boolean {
  if (facts.importedAt === undefined) return false;
  return facts.stillUsedThere === true || nowMs < facts.importedAt + LIMITS.importWatchMs;
}

/**
 * What it says when the provider calls a refresh token dead. A person who withdrew consent looks the same, so only imports are suspected:
 * within the watch, or when the refresh before this one worked within the last day, which no provider's limit explains.
 */
export function signOnRefused(facts: GrantFacts, nowMs: number): GuardSign | undefined {
  if (isWatched(facts, nowMs)) return 'refused_early';
  const recent = facts.refreshedAt !== undefined && nowMs - facts.refreshedAt < LIMITS.importRecentMs;
  return facts.importedAt !== undefined && recent ? 'refused_early' : undefined;
}

/** What it says when a refresh brought another refresh token, from a provider that never turns them. */
export function signOnReplaced(
  spec: { readonly refreshTokenRotates: 'always' | 'sometimes' | 'never' },
  facts: GrantFacts,
  replaced: boolean,
): GuardSign | undefined {
  return replaced && spec.refreshTokenRotates === 'never' && facts.importedAt !== undefined ? 'replaced_unexpectedly' : undefined;
}

/** What it says when the provider refuses an access token before its end. Sixty seconds before it, clocks may differ. */
export function signOnTokenDead(facts: GrantFacts, valueExpiresAtMs: number | null, nowMs: number): GuardSign | undefined {
  const early = valueExpiresAtMs === null || valueExpiresAtMs - nowMs > LIMITS.clockSkewMs;
  return early && isWatched(facts, nowMs) ? 'token_dead_early' : undefined;
}

/** What it says when somebody puts another refresh token over a grant that was refreshed here minutes ago and works. */
export function signOnPut(before: CredentialRow, sameGrant: boolean, nowMs: number): GuardSign | undefined {
  const { refreshedAt } = grantFacts(before);
  const alive = before.health === 'ready' && refreshedAt !== undefined && nowMs - refreshedAt < LIMITS.importPutMs;
  return alive && !sameGrant ? 'put_while_alive' : undefined;
}

/**
 * Keeps the sign in `facts` (the caller saves the row) and raises one alert for the grant's first sign; later ones change nothing until a
 * consent clears it. True when it was the first.
 */
export function noteSign(
  job: TenantJob,
  access: WriteAccess,
  facts: CredentialRow,
  environment: string,
  sign: GuardSign,
  details: EventDetails,
): boolean {
  if (grantFacts(facts).guard !== undefined) return false;
  const at = job.platform.clock.now();
  changeGrantFacts(facts, { guard: { sign, at } });
  details.sign = sign;
  raiseAlert(job, access, facts, environment, 'credential.used_elsewhere', { sign, since: toTimestamp(at) });
  return true;
}

const WHAT_HAPPENED: Readonly<Record<GuardSign, string>> = {
  refused_early: 'The provider called the refresh token dead although no limit of its own had been reached',
  replaced_unexpectedly: 'The provider handed out another refresh token although it never replaces them by itself',
  token_dead_early: 'The provider refused an access token before its end',
  put_while_alive: 'Another refresh token was put here minutes after Keyturn had refreshed the one before',
};

/** For people: what the sign means and how to hand the grant over. */
export function explainSign(facts: GrantFacts): string {
  const sign = facts.guard?.sign;
  if (sign === undefined) return '';
  const there = facts.importedFrom === undefined ? 'the other system' : facts.importedFrom;
  return (
    `${WHAT_HAPPENED[sign]}. Another system seems to refresh this grant, too; each of the two can end it for the other. ` +
    `Stop the refresh in ${there}, or take the client secret from it, then connect again.`
  );
}
