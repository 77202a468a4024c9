// Lists and reads runs: state, steps and outcome, never a value.
import type { Caller } from '../access/principals.ts';
import { notFound } from '../base/errors.ts';
import type { RunRow, RunStepRow } from '../cell/runs.ts';
import { type Page, type PageOfCredential, pageFrom } from './describe-credential.ts';
import { credentialTarget } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** Newest first; `before` is the start time of a run. */
export function listRuns(job: TenantJob, caller: Caller, { environment, name, before, maxRows }: PageOfCredential): Page<RunRow> {
  return job.door.enter(
    caller,
    'run.read',
    (lookup) => credentialTarget(job, lookup, environment, name),
    (access, { row }) =>
      pageFrom(
        maxRows,
        (rows) => job.runs.list(access, row.id, before, rows),
        ({ started_at }) => String(started_at),
      ),
  );
}

/** @throws not_found also for a run of another credential */
export function getRun(
  job: TenantJob,
  caller: Caller,
  environment: string,
  name: string,
  runId: string,
): { row: RunRow; steps: RunStepRow[] } {
  return job.door.enter(
    caller,
    'run.read',
    (lookup) => credentialTarget(job, lookup, environment, name),
    (access, { row }, details) => {
      const run = job.runs.find(access, runId);
      if (run === undefined || run.credential_id !== row.id) notFound('run');
      details.run = run.id;
      return { row: run, steps: job.runs.steps(access, run.id) };
    },
  );
}
