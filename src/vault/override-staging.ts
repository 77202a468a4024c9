// An owner lets a rotation run in production although its configuration was not tried in staging (R6). The event says who; the run says why.
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { foundCredential, type Located } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** @throws forbidden | invalid_request without a reason */
export function overrideStaging(job: TenantJob, caller: Caller, { environment, row }: Located, reason: string | undefined): void {
  job.door.enter(
    caller,
    'staging.skip',
    () => foundCredential(job, environment, row),
    () => {
      if (reason === undefined)
        fail('invalid_request', 'a rotation that was not tried in staging needs a reason', { pointer: '/reason' });
    },
  );
}
