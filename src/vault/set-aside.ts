// Renames a deleted credential in its recovery window, so that its name can be used for a new one.
// It must never lose a sealed byte: the deleted credential can be restored under its new name until the window ends.
import type { Principal } from '../access/principals.ts';
import type { EventDetails } from '../audit/event.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import { changeCredential } from './credential.ts';
import type { TenantJob } from './tenant-job.ts';

/** For example `team/stripe.deleted-0123456789abcdefghjkmnpq`: the id makes the name unique. */
function nameAside({ id, name }: Pick<CredentialRow, 'id' | 'name'>): string {
  const end = `.deleted-${id.slice(id.indexOf('_') + 1)}`;
  return name.slice(0, LIMITS.credentialNameMaxChars - end.length).replace(/\/$/, '') + end;
}

/**
 * Frees the name of a deleted credential; returns its new name, or undefined if the name is free. For users only: deleting a credential is a
 * user's decision, which a program must not work around. @throws forbidden for workloads
 */
export function setAside(
  job: TenantJob,
  access: WriteAccess,
  { environment, row }: { readonly environment: EnvironmentRow; readonly row: CredentialRow | undefined },
  asked: Principal['type'],
  details: EventDetails,
): string | undefined {
  if (row === undefined || row.state !== 'deleted') return undefined;
  if (asked === 'Workload')
    fail('forbidden', 'only a user may replace a deleted credential: a workload must not set replace_deleted', {
      pointer: '/replace_deleted',
    });
  const name = nameAside(row);
  changeCredential(job, access, { environment, row }, (draft) => {
    draft.name = name;
  });
  details.cause = 'deleted_set_aside';
  return name;
}
