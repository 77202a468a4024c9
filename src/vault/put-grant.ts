// Updates the facts of an OAuth grant from a put: whether it is the stored grant, its origin, its scopes.
// It must never keep facts of another grant.

import { fail, KeyturnError } from '../base/errors.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { CredentialChange } from './credential.ts';
import { RETAINED_PARTS, type RetainedGrant, type RetainedPart } from './credential-kinds.ts';
import { endSupersededLinks } from './end-links.ts';
import { foreignUseOnPut, noteForeignUse } from './foreign-use.ts';
import { changeGrant, replaceGrant } from './grant.ts';
import { grantFingerprint } from './grant-fingerprint.ts';
import { changeHealth } from './grant-health.ts';
import { noteGrantedScope } from './grant-scopes.ts';
import type { TenantJob } from './tenant-job.ts';
import { retainedOf } from './versions.ts';

/** The origin of an imported grant. */
export interface GrantImport {
  readonly from: string;
  /** The other system continues to refresh it for now. */
  readonly stillUsedThere: boolean;
}

interface PutGrant {
  readonly value: { readonly refresh_token?: string | undefined; readonly scope?: string | undefined };
  readonly imported: GrantImport | undefined;
  readonly alwaysScopes: readonly string[] | undefined;
}

/** The credential that a put replaces. */
interface Replaced {
  /** The row before the put; undefined for a new credential. */
  readonly before: CredentialRow | undefined;
  /** Its retained part. */
  readonly stored: RetainedGrant;
}

/** Updates the facts of the grant and raises alerts. The caller saves the draft. */
export function notePutGrant(
  change: CredentialChange,
  { before, stored }: Replaced,
  { value, imported, alwaysScopes }: PutGrant,
): void {
  const { job, draft } = change;
  const now = job.platform.clock.now();
  const old = stored.refresh_token;
  const isSame = old !== undefined && old === value.refresh_token;
  const fingerprint = value.refresh_token === undefined ? undefined : grantFingerprint(job, value.refresh_token);
  if (!isSame) replaceGrant(draft, { fingerprint });
  if (before !== undefined) {
    draft.health = before.health;
    changeHealth(change, 'ready', null);
    endSupersededLinks(change);
  }
  if (imported !== undefined) {
    changeGrant(draft, {
      importedAt: now,
      importedFrom: imported.from,
      stillUsedThere: imported.stillUsedThere ? true : undefined,
    });
  }
  const sign = before === undefined || old === undefined ? undefined : foreignUseOnPut(before, isSame, now);
  if (sign !== undefined) noteForeignUse(change, sign);
  noteGrantedScope(change, { scope: value.scope, source: 'answer', alwaysScopes });
}

/** The retained part of the current version; empty if the version is damaged, so that a put can repair the credential. */
export function replacedParts(job: TenantJob, access: WriteAccess, row: CredentialRow): RetainedGrant {
  try {
    return retainedOf(job, access, row, row.current_version);
  } catch (error) {
    if (error instanceof KeyturnError) return {};
    throw error;
  }
}

/**
 * Refuses a put that would lose a stored part, which cannot be read back.
 * @throws invalid_request naming the part and what to do
 */
export function refuseLoss(
  before: Pick<CredentialRow, 'health'>,
  stored: RetainedGrant,
  value: Pick<RetainedGrant, RetainedPart>,
  discard: readonly RetainedPart[],
): void {
  const contradicted = discard.find((part) => value[part] !== undefined);
  if (contradicted !== undefined)
    fail('invalid_request', 'discard must not list a part that the value contains', { pointer: '/discard' });
  // The refresh token of a dead or disconnected grant is unusable.
  const isDead = before.health === 'needs_consent' || before.health === 'disconnected';
  const lost = RETAINED_PARTS.find(
    (part) =>
      stored[part] !== undefined && value[part] === undefined && !discard.includes(part) && !(isDead && part === 'refresh_token'),
  );
  if (lost === undefined) return;
  fail(
    'invalid_request',
    `the stored value has a ${lost} and the new value has none: add it, or list it in discard to delete it`,
    {
      pointer: `/value/${lost}`,
    },
  );
}
