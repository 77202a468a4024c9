// Cancels and resumes a run on request. It must never cancel a run that may have made the target refuse the current value.
import type { Caller } from '../access/principals.ts';
import { toTimestamp } from '../base/clock.ts';
import { fail, notFound } from '../base/errors.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { RunRow } from '../cell/runs.ts';
import { cancelOpenRun } from './cancel-run.ts';
import { changeCredential } from './credential.ts';
import { kindFacts } from './credential-kinds.ts';
import { planAfterCancel } from './plan-rotation.ts';
import { doubtOf } from './rotation-state.ts';
import { type RunRequest, requestOf } from './run-request.ts';
import { credentialTarget, type Located, requireActive } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

export interface NamedRun {
  readonly environment: string;
  readonly name: string;
  readonly runId: string;
}

/**
 * Ends a run that has not made its new value current; what it made at the target is ended by a revocation. @throws not_found | conflict
 * where it cannot be cancelled, with what can be done
 */
export function cancelRun(job: TenantJob, caller: Caller, named: NamedRun): RunRow {
  return enterOpenRun(job, caller, named, 'cancelled', (access, located, run) => {
    refuseCancel(located, run);
    if (job.runs.findOpen(access, located.row.id)?.id !== run.id) fail('conflict', 'the run has just ended: look at it again');
    cancelOpenRun(job, access, located.row, 'cancelled');
    changeCredential(job, access, located, (draft) => {
      draft.pending_version = null;
      // The next scheduled rotation stays; one that had begun is planned anew.
      planAfterCancel({ view: job, lookup: access, environment: located.environment }, draft);
    });
    return job.runs.get(access, run.id);
  });
}

function refuseCancel({ row }: Located, run: RunRow): void {
  if (run.kind === 'revocation')
    fail(
      'conflict',
      'a revocation cannot be cancelled: its value was replaced or given up, and must not stay valid at the target',
    );
  if (doubtOf(row) === run.id)
    fail(
      'conflict',
      'the run cannot be cancelled now: the target may refuse the current value already, so the run must find out which value works; resume it',
    );
  const isSent = run.attempts > 0;
  if (kindFacts(row.kind).isRenewed && isSent)
    fail(
      'conflict',
      'a refresh cannot be cancelled after its request was sent: the provider may have replaced the tokens; it ends by itself',
    );
}

/** Makes the next attempt of a waiting run due now. A run under way is returned as it is. @throws not_found | conflict */
export function resumeRun(job: TenantJob, caller: Caller, named: NamedRun): RunRow {
  return enterOpenRun(job, caller, named, 'resumed', (access, { row }, run) => {
    const now = job.platform.clock.now();
    if (run.kind === 'revocation' && run.step === 'grace')
      fail(
        'conflict',
        `the run waits for the end of the grace period (${toTimestamp(run.next_attempt_at ?? now)}): readers may still use the old value`,
      );
    if (run.kind === 'revocation' && kindFacts(row.kind).isRenewed)
      fail('conflict', 'the revocation of a grant is repeated by itself: wait for its next attempt');
    if (run.lease_owner !== '' && run.lease_until > now) return run;
    const due = { ...run, next_attempt_at: now };
    job.runs.save(access, due);
    job.runs.journal(access, run.id, { step: 'resumed', status: 'request', at: now });
    job.dueChanged();
    return due;
  });
}

/**
 * The open run of the credential, or the one that `open` opens.
 * @throws conflict for a retry that is not possible, and if the open run was requested with another plan
 */
export function openRequested(
  job: TenantJob,
  access: WriteAccess,
  located: Located,
  request: RunRequest,
  open: () => RunRow,
): RunRow {
  if (request.retryOf !== undefined) requireRetryable(runOfCredential(job, access, located, request.retryOf));
  const present = job.runs.findOpen(access, located.row.id);
  if (present === undefined) return open();
  if (request.retryOf !== undefined) fail('conflict', 'another run of this credential is open: resume it, or cancel it first');
  if (request.plan !== undefined && requestOf(present).plan !== request.plan)
    fail('conflict', 'a run of this credential is open already, with another plan: wait for its end, or cancel it');
  return present;
}

/** The run that a retry repeats. @throws conflict unless it failed or was cancelled */
function requireRetryable(run: RunRow): RunRow {
  if (run.state === 'open') fail('conflict', 'the run is open: resume it, or cancel it first');
  if (run.state === 'succeeded') fail('conflict', 'the run has succeeded: request a new rotation instead of a retry');
  if ((JSON.parse(run.facts) as { readonly rollBack?: unknown }).rollBack !== undefined)
    fail('conflict', 'a roll back is not retried by itself: request the roll back again');
  if (run.kind === 'revocation')
    fail(
      'conflict',
      'a revocation is not retried by itself: look at its cause, and end the value at the target if it still works',
    );
  return run;
}

/** @throws not_found also for a run of another credential */
function runOfCredential(job: TenantJob, access: WriteAccess, { row }: Located, runId: string): RunRow {
  const run = job.runs.find(access, runId);
  return run === undefined || run.credential_id !== row.id ? notFound('run') : run;
}

function enterOpenRun(
  job: TenantJob,
  caller: Caller,
  { environment, name, runId }: NamedRun,
  step: 'cancelled' | 'resumed',
  effect: (access: WriteAccess, located: Located, run: RunRow) => RunRow,
): RunRow {
  return job.door.enter(
    caller,
    'credential.rotate',
    (lookup) => credentialTarget(job, lookup, environment, name),
    (access, located, details) => {
      requireActive(located.row);
      const run = runOfCredential(job, access, located, runId);
      details.run = run.id;
      details.step = step;
      details.trigger = 'request';
      if (run.state !== 'open') fail('conflict', endedText(run));
      return effect(access, located, run);
    },
  );
}

function endedText({ state, kind, new_version: version }: RunRow): string {
  if (state === 'succeeded' && kind === 'rotation' && version !== null)
    return `the run has ended: version ${version} is current; the old value works until its grace period ends, and a rollback makes it current again until then`;
  return state === 'succeeded'
    ? 'the run has ended with success: there is nothing to change'
    : `the run has ended as ${state}: retry it, which opens a new run`;
}
