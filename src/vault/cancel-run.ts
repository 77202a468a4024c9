// Closes a credential's open run because the credential changed. A run under way stops by itself (compare-and-set); closing its record at
// once makes sure that its waiting times do not apply to the new value.
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { TenantJob } from './tenant-job.ts';

export function cancelOpenRun(
  job: TenantJob,
  access: WriteAccess,
  { id, pending_version: pending }: Pick<CredentialRow, 'id' | 'pending_version'>,
  why: 'credential_removed' | 'superseded' | 'disconnected',
): void {
  // A new key that waits for its test is ended at its provider, because nothing refers to it any more.
  if (pending !== null) job.rotator?.endPending(job, access, id, pending);
  const run = job.runs.findOpen(access, id);
  if (run === undefined) return;
  const now = job.platform.clock.now();
  job.runs.save(access, {
    ...run,
    state: 'cancelled',
    outcome: why,
    finished_at: now,
    next_attempt_at: null,
    lease_until: 0,
    lease_owner: '',
  });
  job.runs.journal(access, run.id, { step: 'cancelled', status: why, at: now });
}
