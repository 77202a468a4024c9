// Lets one credential manage another at its target: an operation and an event of its own on the managing credential. SECURITY: whoever
// could name any admin credential would have keys made with its rights and read them.
import type { Caller } from '../access/principals.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { isBoundAlike, type KeySettings, keySettingsOf } from './rotation-state.ts';
import { credentialTarget, type Located, requireActive } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** Call as the last step of a put. @throws not_found | forbidden | gone */
export function appointAdmin(
  job: TenantJob,
  caller: Caller,
  { environment, row }: Located,
  before: CredentialRow | undefined,
): void {
  const settings = keySettingsOf(row);
  const { admin } = settings.config;
  if (admin === undefined || (before !== undefined && isAppointed(keySettingsOf(before), settings))) return;
  job.door.enter(
    caller,
    'credential.appoint',
    (lookup) => credentialTarget(job, lookup, environment.name, admin),
    (_access, appointed) => {
      requireActive(appointed.row);
    },
  );
}

/** SECURITY: connector and calls determine what is done with the admin's secret, so a change of them needs the same right. */
function isAppointed(before: KeySettings, after: KeySettings): boolean {
  return before.config.admin === after.config.admin && isBoundAlike(before, after);
}
