// Seals and opens versions: the only module that uses a credential's data key.
// It must never return a part that its caller did not request.
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { ReadAccess, WriteAccess } from '../cell/access.ts';
import type { CredentialRow, VersionRow } from '../cell/credentials.ts';
import { prepareField, prepareFields, sealFields } from '../crypto/data-key.ts';
import type { PreparedOpen } from '../crypto/envelope.ts';
import { fromJsonBytes, kindFacts, type RetainedGrant, type SplitValue } from './credential-kinds.ts';
import type { TenantJob } from './tenant-job.ts';

/** Seals and inserts `facts.latest_version`; prunes old versions without a label. */
export function storeVersion(
  job: TenantJob,
  access: WriteAccess,
  facts: CredentialRow,
  split: SplitValue,
  how: { readonly origin: 'put' | 'import' | 'consent' | 'refresh' | 'rotation'; readonly runId: string | null },
): void {
  const { keyring } = job.core;
  const purpose = kindFacts(facts.kind).purpose;
  const tenantKey = keyring.current(purpose);
  const context = keyring.context(purpose, 'credential_version', facts.id, facts.latest_version);
  const { wrappedKey, sealed } = sealFields(tenantKey, context, {
    value: split.value,
    ...(split.retained === undefined ? {} : { retained: split.retained }),
  });
  keyring.countWrap(purpose);
  job.credentials.insertVersion(access, {
    credential_id: facts.id,
    version: facts.latest_version,
    key_id: tenantKey.id,
    wrapped_key: wrappedKey,
    value: sealed['value'] as Uint8Array,
    retained: sealed['retained'] ?? null,
    value_expires_at: split.expiresAtMs ?? null,
    created_at: job.platform.clock.now(),
    created_by: access.principalId,
    origin: how.origin,
    run_id: how.runId,
  });
  job.credentials.pruneVersions(access, facts, LIMITS.versionsKept);
}

/** Unwraps a version's data key for one of its fields. @throws integrity | key_destroyed | not_found */
export function prepareVersion(
  job: TenantJob,
  row: CredentialRow,
  stored: VersionRow,
  field: 'value' | 'retained',
): PreparedOpen {
  const sealed = stored[field] ?? fail('not_found', 'this version has no retained part');
  return prepareField(...keyAndContext(job, row, stored), field, stored.wrapped_key, sealed);
}

/** As `prepareVersion` for both of its fields. @throws integrity | key_destroyed | not_found */
export function prepareWholeVersion(
  job: TenantJob,
  row: CredentialRow,
  stored: VersionRow,
): Record<'value' | 'retained', PreparedOpen> {
  const { value, retained } = stored;
  if (value === null || retained === null) fail('not_found', 'this version has no retained part');
  return prepareFields(...keyAndContext(job, row, stored), stored.wrapped_key, { value, retained });
}

/** The retained part of a version; empty if it has none. @throws integrity | key_destroyed */
export function retainedOf(job: TenantJob, access: ReadAccess, row: CredentialRow, version: number): RetainedGrant {
  const stored = job.credentials.findVersion(access, row.id, version);
  if (stored === undefined || stored.retained === null) return {};
  return fromJsonBytes<RetainedGrant>(prepareVersion(job, row, stored, 'retained').open());
}

function keyAndContext(job: TenantJob, row: CredentialRow, stored: VersionRow) {
  const { keyring } = job.core;
  const purpose = kindFacts(row.kind).purpose;
  const context = keyring.context(purpose, 'credential_version', row.id, stored.version);
  return [keyring.byId(purpose, stored.key_id), context] as const;
}
