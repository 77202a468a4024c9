// Closes a credential's open run because the credential changed. A run under way stops by itself (compare-and-set); closing its record at
// once makes sure that its waiting times do not apply to the new value.
import type { WriteAccess } from '../cell/access.ts';
import type { TenantJob } from './tenant-job.ts';

export function cancelOpenRun(
  job: TenantJob,
  access: WriteAccess,
  credentialId: string,
  why: 'credential_removed' | 'superseded' | 'disconnected',
): void {
  const run = job.runs.findOpen(access, credentialId);
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
