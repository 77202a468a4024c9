// Closes a credential's open run because the credential changed, or on request. A run under way stops by itself (compare-and-set); closing its
// record at once makes sure that its waiting times do not apply to the new value. What it made at the target is ended.
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { RunRow } from '../cell/runs.ts';
import type { TenantJob } from './tenant-job.ts';

export function cancelOpenRun(
  job: TenantJob,
  access: WriteAccess,
  row: Pick<CredentialRow, 'id' | 'pending_version'>,
  why: 'credential_removed' | 'superseded' | 'disconnected' | 'cancelled',
): void {
  const run = job.runs.findOpen(access, row.id);
  endMade(job, access, row, run);
  if (run === undefined) return;
  const now = job.platform.clock.now();
  job.runs.save(access, {
    ...run,
    state: 'cancelled',
    step: 'cancelled',
    outcome: why,
    finished_at: now,
    next_attempt_at: null,
    lease_until: 0,
    lease_owner: '',
  });
  job.runs.journal(access, run.id, { step: 'cancelled', status: why, at: now });
}

/**
 * A new key that waits for its test, and one that an interrupted call may have made, are ended at their provider, because nothing refers to
 * them any more; not before a call under way has ended, which could make the key work again.
 */
function endMade(
  job: TenantJob,
  access: WriteAccess,
  { id, pending_version: pending }: Pick<CredentialRow, 'id' | 'pending_version'>,
  run: RunRow | undefined,
): void {
  const { rotator } = job;
  if (rotator === undefined) return;
  const underWayMs = run === undefined || run.lease_owner === '' ? 0 : Math.max(0, run.lease_until - job.platform.clock.now());
  if (pending !== null) rotator.endPending(job, access, id, pending, underWayMs);
  else if (run?.kind === 'rotation') rotator.endMade(job, access, run, underWayMs);
}
