// Detects that another system still refreshes an imported grant: two systems that refresh one grant end it sooner or later.
// It only reports; it must never stop a refresh, change a token or call a provider.

import { raiseAlert } from '../alerts/raise-alert.ts';
import { toTimestamp } from '../base/clock.ts';
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { CredentialChange } from './credential.ts';
import { changeGrant, type ForeignUse, type GrantLife, type GrantOrigin, grantOf } from './grant.ts';

/** Whether an imported grant is still watched: for a week, or while it is marked as used by the other system. */
export function isWatched(grant: GrantOrigin, nowMs: number): boolean {
  if (grant.importedAt === undefined) return false;
  return grant.stillUsedThere === true || nowMs < grant.importedAt + LIMITS.importWatchMs;
}

/**
 * The sign when the provider rejects a refresh token as dead. A withdrawn consent looks the same, so only imported grants count: while
 * watched, or when the previous refresh succeeded within the last day, which no provider's limit explains.
 */
export function foreignUseOnRefusal(grant: GrantOrigin & GrantLife, nowMs: number): ForeignUse | undefined {
  if (isWatched(grant, nowMs)) return 'refused_early';
  const recent = grant.refreshedAt !== undefined && nowMs - grant.refreshedAt < LIMITS.importRecentMs;
  return grant.importedAt !== undefined && recent ? 'refused_early' : undefined;
}

/** The sign when a refresh returns another refresh token, from a provider that never rotates them. */
export function foreignUseOnReplacement(
  spec: { readonly refreshTokenRotates: 'always' | 'sometimes' | 'never' },
  grant: GrantOrigin,
  replaced: boolean,
): ForeignUse | undefined {
  return replaced && spec.refreshTokenRotates === 'never' && grant.importedAt !== undefined ? 'replaced_unexpectedly' : undefined;
}

/** The sign when the provider rejects an access token before its expiry, except in the last minute, because clocks differ. */
export function foreignUseOnDeadToken(
  grant: GrantOrigin,
  valueExpiresAtMs: number | null,
  nowMs: number,
): ForeignUse | undefined {
  const early = valueExpiresAtMs === null || valueExpiresAtMs - nowMs > LIMITS.clockSkewMs;
  return early && isWatched(grant, nowMs) ? 'token_dead_early' : undefined;
}

/** The sign when another refresh token is put over a working grant that was refreshed here minutes ago. */
export function foreignUseOnPut(before: CredentialRow, sameGrant: boolean, nowMs: number): ForeignUse | undefined {
  const { refreshedAt } = grantOf(before);
  const alive = before.health === 'ready' && refreshedAt !== undefined && nowMs - refreshedAt < LIMITS.importPutMs;
  return alive && !sameGrant ? 'put_while_alive' : undefined;
}

/** Stores the first sign and raises one alert; later signs change nothing until a consent clears it. The caller saves the draft. */
export function noteForeignUse({ job, access, draft, environment, details }: CredentialChange, sign: ForeignUse): void {
  if (grantOf(draft).guard !== undefined) return;
  const at = job.platform.clock.now();
  changeGrant(draft, { guard: { sign, at } });
  details.sign = sign;
  const told = { sign, since: toTimestamp(at) };
  raiseAlert(job, access, { credential: draft, environment, kind: 'credential.used_elsewhere', details: told });
}

const WHAT_HAPPENED: Readonly<Record<ForeignUse, string>> = {
  refused_early: 'The provider rejected the refresh token before any known limit was reached',
  replaced_unexpectedly: 'The provider issued another refresh token, which it never does by itself',
  token_dead_early: 'The provider rejected an access token before its expiry',
  put_while_alive: 'Another refresh token was put here minutes after Keyturn had refreshed the previous one',
};

/** An explanation for people: what the sign means and what to do. */
export function explainForeignUse(grant: GrantOrigin): string {
  const sign = grant.guard?.sign;
  if (sign === undefined) return '';
  const there = grant.importedFrom === undefined ? 'the other system' : grant.importedFrom;
  return (
    `${WHAT_HAPPENED[sign]}. Another system probably refreshes this grant, too; each refresh can end the grant for the other system. ` +
    `Stop the refresh in ${there}, or remove the client secret there, then connect again.`
  );
}
