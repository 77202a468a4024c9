// Lets one credential manage another at its target: an operation and an event of its own on the managing credential. SECURITY: whoever
// could name any admin credential would have keys made with its rights and read them.
import type { Caller } from '../access/principals.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { keyConfigOf } from './rotation-state.ts';
import { credentialTarget, type Located, requireActive } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** Call as the last step of a put. @throws not_found | forbidden | gone */
export function appointAdmin(
  job: TenantJob,
  caller: Caller,
  { environment, row }: Located,
  before: CredentialRow | undefined,
): void {
  const { admin } = keyConfigOf(row);
  if (admin === undefined || (before !== undefined && keyConfigOf(before).admin === admin)) return;
  job.door.enter(
    caller,
    'credential.appoint',
    (lookup) => credentialTarget(job, lookup, environment.name, admin),
    (_access, appointed) => {
      requireActive(appointed.row);
    },
  );
}
