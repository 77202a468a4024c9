// Making a credential again while a deleted one of its name is in its recovery window: the deleted one is set aside under another name.
// It must never lose a sealed byte: what was deleted stays restorable, under that name, until its window ends.
import type { Principal } from '../access/principals.ts';
import type { EventDetails } from '../audit/event.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import { changeCredential } from './credential.ts';
import type { TenantJob } from './tenant-job.ts';

/** e.g. `team/stripe.deleted-0123456789abcdefghjkmnpq`: the id makes it one of its own. */
function nameAside({ id, name }: Pick<CredentialRow, 'id' | 'name'>): string {
  const end = `.deleted-${id.slice(id.indexOf('_') + 1)}`;
  return name.slice(0, LIMITS.credentialNameMaxChars - end.length).replace(/\/$/, '') + end;
}

/**
 * Frees the name of a deleted credential; answers its new one, or undefined where none stands in the way. A person's decision: who deletes
 * wants it gone. @throws forbidden for programs
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
    fail('forbidden', 'a deleted credential is set aside by a person, never by a program', { pointer: '/replace_deleted' });
  const name = nameAside(row);
  changeCredential(job, access, { environment, row }, (draft) => {
    draft.name = name;
  });
  details.cause = 'deleted_set_aside';
  return name;
}
