// The record of a run: opened, journalled, finished. At most one run of a credential is open.
import { newId } from '../../src/base/ids.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';

export type Trigger = 'schedule' | 'request' | 'read';

/** A new run, not yet leased. */
export function openRun(
  job: TenantJob,
  access: WriteAccess,
  row: CredentialRow,
  trigger: Trigger,
  kind: 'refresh' | 'rotation',
): RunRow {
  const now = job.around.clock.now();
  const run: RunRow = {
    id: newId('run', job.around.entropy),
    credential_id: row.id,
    kind,
    trigger,
    requested_by: access.principalId,
    state: 'open',
    step: 'queued',
    generation: row.current_version,
    attempts: 0,
    lost_answers: 0,
    fence: 0,
    lease_until: 0,
    lease_owner: '',
    next_attempt_at: now,
    outcome: null,
    cause: null,
    new_version: null,
    started_at: now,
    finished_at: null,
  };
  job.runs.insert(access, run);
  job.runs.journal(access, run.id, { step: 'queued', status: trigger, at: now });
  job.dueChanged();
  return run;
}

/** Ends a run and its lease. @param evidence JSON of what the provider said */
export function finishRun(
  job: TenantJob,
  access: WriteAccess,
  run: RunRow,
  end: Partial<RunRow> & { readonly step: string; readonly outcome: string },
  evidence: string | null = null,
): void {
  const now = job.around.clock.now();
  job.runs.save(access, { ...run, ...end, lease_until: 0, lease_owner: '', next_attempt_at: null, finished_at: now });
  job.runs.journal(access, run.id, { step: end.step, status: end.outcome, at: now, evidence });
  job.dueChanged();
}
