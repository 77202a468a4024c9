// An OAuth grant: its access token is served; all other parts never leave the vault and are used only with the settings they came with.
import { fail } from '../../base/errors.ts';
import type { WriteAccess } from '../../cell/access.ts';
import type { CredentialChange, Draft } from '../credential.ts';
import { jsonBytes, oauth2Value, splitGrant } from '../credential-kinds.ts';
import { boundSettings } from '../destinations.ts';
import { applyTiming, renewalRules } from '../due.ts';
import { grantView, shownRevocation } from '../grant-view.ts';
import type { CredentialKind, PutUnderWay, SplitPut } from '../kind.ts';
import { notePutGrant, refuseLoss, replacedParts } from '../put-grant.ts';
import type { RenewalRules } from '../refresh-schedule.ts';
import { refuseUnusable } from '../stale-grant.ts';
import type { TenantJob } from '../tenant-job.ts';

export const oauthGrant: CredentialKind = {
  split,
  note,
  refuseRead: refuseUnusable,
  // Each refresh replaces the grant's tokens at the provider, so older versions are unusable.
  refuseRollBack: () =>
    fail(
      'conflict',
      'an OAuth grant cannot be rolled back: the provider replaced its older tokens; refresh it or connect it again',
    ),
  plan: (job, _access, { draft, now }, split) => applyTiming(job, draft, split, now, split.rules),
  planRestored,
  settings: boundSettings,
  describe: (view, lookup, row) => ({ grant: grantView(row, shownRevocation(view, lookup, row)) }),
};

function split(job: TenantJob, { draft, given, now }: PutUnderWay): SplitPut {
  const rules = renewalRules(job, draft);
  const settings = boundSettings(job, draft) ?? fail('internal', 'a grant must have a connector');
  return { ...splitGrant(usableGrant(oauth2Value.parse(given.value), rules), settings, now), rules };
}

/** @throws invalid_request naming the stored part that would be lost */
function note(change: CredentialChange, { before, given }: PutUnderWay, { rules }: SplitPut): void {
  const { job, access } = change;
  const { imported, discard = [] } = given;
  const value = oauth2Value.parse(given.value);
  const stored = before === undefined ? {} : replacedParts(job, access, before);
  if (before !== undefined) refuseLoss(before, stored, value, discard);
  else if (discard.length > 0)
    fail('invalid_request', 'discard must be empty for a new credential: nothing is stored yet', { pointer: '/discard' });
  notePutGrant(change, { before, stored }, { value, imported, alwaysScopes: rules?.alwaysScopes });
}

type GrantInput = ReturnType<typeof oauth2Value.parse>;

function usableGrant(grant: GrantInput, { renews }: RenewalRules): GrantInput {
  if (grant.access_token !== undefined || grant.refresh_token !== undefined) return grant;
  const key = grant.client_secret ?? grant.client_private_jwk ?? grant.client_private_key_pem;
  if (renews === 'key' && key !== undefined) return grant;
  if (renews === 'key')
    fail('invalid_request', 'the value must have a client secret or a private key: this connector needs one', {
      pointer: '/value',
    });
  return fail('invalid_request', 'the value must have an access token or a refresh token', { pointer: '/value' });
}

/** Plans as after a put of the same value. */
function planRestored(job: TenantJob, access: WriteAccess, draft: Draft): void {
  const now = job.platform.clock.now();
  const retained = jsonBytes(replacedParts(job, access, draft));
  applyTiming(job, draft, { expiresAtMs: draft.value_expires_at ?? undefined, retained }, now);
  retained.fill(0);
  const isAlive = draft.health === 'ready' || draft.health === 'degraded';
  draft.review_due_at = isAlive ? now : null;
}
