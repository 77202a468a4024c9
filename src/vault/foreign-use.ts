// Notices that another system still refreshes a grant that was brought here: two refreshers of one grant kill it sooner or later.
// It only tells and explains; it must never stop a refresh, change a token or call a provider.

import { raiseAlert } from '../alerts/raise-alert.ts';
import { toTimestamp } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { CredentialChange } from './credential.ts';
import { changeGrant, type ForeignUse, type GrantLife, type GrantOrigin, grantOf } from './grant.ts';

/** Whether an imported grant is watched still: a week, or for as long as the other system is said to use it. */
export function isWatched(grant: GrantOrigin, nowMs: number): boolean {
  if (grant.importedAt === undefined) return false;
  return grant.stillUsedThere === true || nowMs < grant.importedAt + LIMITS.importWatchMs;
}

/**
 * What it says when the provider calls a refresh token dead. A person who withdrew consent looks the same, so only imports are suspected:
 * within the watch, or when the refresh before this one worked within the last day, which no provider's limit explains.
 */
export function foreignUseOnRefusal(grant: GrantOrigin & GrantLife, nowMs: number): ForeignUse | undefined {
  if (isWatched(grant, nowMs)) return 'refused_early';
  const recent = grant.refreshedAt !== undefined && nowMs - grant.refreshedAt < LIMITS.importRecentMs;
  return grant.importedAt !== undefined && recent ? 'refused_early' : undefined;
}

/** What it says when a refresh brought another refresh token, from a provider that never turns them. */
export function foreignUseOnReplacement(
  spec: { readonly refreshTokenRotates: 'always' | 'sometimes' | 'never' },
  grant: GrantOrigin,
  replaced: boolean,
): ForeignUse | undefined {
  return replaced && spec.refreshTokenRotates === 'never' && grant.importedAt !== undefined ? 'replaced_unexpectedly' : undefined;
}

/** What it says when the provider refuses an access token before its end. Sixty seconds before it, clocks may differ. */
export function foreignUseOnDeadToken(
  grant: GrantOrigin,
  valueExpiresAtMs: number | null,
  nowMs: number,
): ForeignUse | undefined {
  const early = valueExpiresAtMs === null || valueExpiresAtMs - nowMs > LIMITS.clockSkewMs;
  return early && isWatched(grant, nowMs) ? 'token_dead_early' : undefined;
}

/** What it says when somebody puts another refresh token over a grant that was refreshed here minutes ago and works. */
export function foreignUseOnPut(before: CredentialRow, sameGrant: boolean, nowMs: number): ForeignUse | undefined {
  const { refreshedAt } = grantOf(before);
  const alive = before.health === 'ready' && refreshedAt !== undefined && nowMs - refreshedAt < LIMITS.importPutMs;
  return alive && !sameGrant ? 'put_while_alive' : undefined;
}

/** Keeps the evidence and raises one alert for the grant's first; what comes later changes nothing until a consent clears it. The caller saves the draft. */
export function noteForeignUse({ job, access, draft, environment, details }: CredentialChange, sign: ForeignUse): void {
  if (grantOf(draft).guard !== undefined) return;
  const at = job.platform.clock.now();
  changeGrant(draft, { guard: { sign, at } });
  details.sign = sign;
  const told = { sign, since: toTimestamp(at) };
  raiseAlert(job, access, { credential: draft, environment, kind: 'credential.used_elsewhere', details: told });
}

const WHAT_HAPPENED: Readonly<Record<ForeignUse, string>> = {
  refused_early: 'The provider called the refresh token dead although no limit of its own had been reached',
  replaced_unexpectedly: 'The provider handed out another refresh token although it never replaces them by itself',
  token_dead_early: 'The provider refused an access token before its end',
  put_while_alive: 'Another refresh token was put here minutes after Keyturn had refreshed the one before',
};

/** For people: what the sign means and how to hand the grant over. */
export function explainForeignUse(grant: GrantOrigin): string {
  const sign = grant.guard?.sign;
  if (sign === undefined) return '';
  const there = grant.importedFrom === undefined ? 'the other system' : grant.importedFrom;
  return (
    `${WHAT_HAPPENED[sign]}. Another system seems to refresh this grant, too; each of the two can end it for the other. ` +
    `Stop the refresh in ${there}, or take the client secret from it, then connect again.`
  );
}
