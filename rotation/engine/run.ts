// A run from its opening to its end (D5): each change of state is journalled, and each attempt holds a lease with an increasing fence number.
// It is independent of providers and kinds of credential. It must never let an attempt that lost its lease write to a run.
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup, WriteAccess } from '../../src/cell/access.ts';
import type { RunKind, RunOutcome, RunRow, RunState, RunTrigger } from '../../src/cell/runs.ts';
import type { TenantJob, TenantView } from '../../src/vault/tenant-job.ts';

export interface NewRun {
  readonly credentialId: string;
  readonly kind: RunKind;
  readonly trigger: RunTrigger;
  /** The version whose secret the run uses up or revokes. */
  readonly generation: number;
  /** JSON; see `RunRow.facts`. */
  readonly facts?: string;
}

/** Opens a run, due at once and without a lease. */
export function openRun(
  job: TenantJob,
  access: WriteAccess,
  { credentialId, kind, trigger, generation, facts = '{}' }: NewRun,
): RunRow {
  const now = job.platform.clock.now();
  const run: RunRow = {
    id: newId('run', job.platform.entropy),
    credential_id: credentialId,
    kind,
    trigger,
    requested_by: access.principalId,
    state: 'open',
    step: 'queued',
    generation,
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
    facts,
  };
  job.runs.insert(access, run);
  job.runs.journal(access, run.id, { step: 'queued', status: trigger, at: now });
  job.dueChanged();
  return run;
}

/** Takes the lease under the next fence and journals the intent of one attempt. @param status of the journalled intent */
export function leaseRun(job: TenantJob, access: WriteAccess, run: RunRow, owner: string, status: 'first' | 'again'): RunRow {
  const now = job.platform.clock.now();
  const leased: RunRow = {
    ...run,
    step: 'intent',
    attempts: run.attempts + 1,
    fence: run.fence + 1,
    lease_owner: owner,
    lease_until: now + LIMITS.leaseMs,
    next_attempt_at: now + LIMITS.leaseMs,
  };
  job.runs.save(access, leased);
  job.runs.journal(access, run.id, { step: 'intent', status, at: now });
  job.dueChanged();
  return leased;
}

/** Whether this attempt still holds the lease. @param leased as returned by `leaseRun` */
export function isOwn(run: RunRow | undefined, leased: RunRow): run is RunRow {
  return run !== undefined && run.state === 'open' && run.fence === leased.fence;
}

/** The current run, if this attempt's lease is valid for at least `forMs` more. */
export function heldRun(view: TenantView, lookup: Lookup, leased: RunRow, forMs: number): RunRow | undefined {
  const run = view.runs.find(lookup, leased.id);
  return isOwn(run, leased) && run.lease_until > view.platform.clock.now() + forMs ? run : undefined;
}

/** How a run continues after its lease is released. */
export interface Waiting {
  readonly step: string;
  /** Of the journalled step. */
  readonly status: string;
  readonly nextAttemptAt: number;
  /** The provider's answer as JSON evidence. */
  readonly evidence?: string | null;
}

/** Releases the lease; the next attempt is due at `nextAttemptAt`. @param run with its other changes */
export function waitRun(job: TenantJob, access: WriteAccess, run: RunRow, waiting: Waiting): void {
  const { step, status, nextAttemptAt, evidence = null } = waiting;
  job.runs.journal(access, run.id, { step, status, at: job.platform.clock.now(), evidence });
  postponeRun(job, access, run, nextAttemptAt);
}

/** As `waitRun`, for a wait that is in the journal already. */
export function postponeRun(job: TenantJob, access: WriteAccess, run: RunRow, nextAttemptAt: number): void {
  const released = { lease_until: job.platform.clock.now(), lease_owner: '' };
  job.runs.save(access, { ...run, ...released, next_attempt_at: Math.round(nextAttemptAt) });
  job.dueChanged();
}

export interface RunEnd {
  readonly state: Exclude<RunState, 'open'>;
  readonly step: string;
  readonly outcome: RunOutcome;
  readonly cause: string | null;
  readonly new_version?: number;
}

/** Ends a run and its lease. @param evidence the provider's answer as JSON */
export function finishRun(job: TenantJob, access: WriteAccess, run: RunRow, end: RunEnd, evidence: string | null = null): void {
  const now = job.platform.clock.now();
  job.runs.save(access, { ...run, ...end, lease_until: 0, lease_owner: '', next_attempt_at: null, finished_at: now });
  job.runs.journal(access, run.id, { step: end.step, status: end.outcome, at: now, evidence });
  job.dueChanged();
}

/**
 * Ends the leases of owners that are proven dead, so that their runs continue at once. The runs keep the intent, because the request may
 * have been sent. Records no event, because nothing was done yet.
 */
export function freeLeasesOfDead(job: TenantJob, isDead: (owner: string) => boolean): void {
  job.door.keepBooks('lease', (access) => {
    const now = job.platform.clock.now();
    for (const run of job.runs.leased(access, now)) {
      if (isDead(run.lease_owner)) job.runs.save(access, { ...run, lease_owner: '', lease_until: now, next_attempt_at: now });
    }
    job.dueChanged();
  });
}

/** Prolongs the lease during the call. False if it was lost. Records no event, because only the time changed. */
export function heartbeat(job: TenantJob, leased: RunRow): boolean {
  return job.door.keepBooks('lease', (access) => {
    const run = job.runs.find(access, leased.id);
    // After a recorded failure the run keeps its delay.
    if (!isOwn(run, leased) || run.lease_owner === '') return false;
    const until = job.platform.clock.now() + LIMITS.leaseMs;
    job.runs.save(access, { ...run, lease_until: until, next_attempt_at: until });
    return true;
  });
}
