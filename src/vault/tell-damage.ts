// Reports a damaged object of a tenant: an event and an alert. They must never contain the content of the object.
import { raiseDamageAlert } from '../alerts/raise-alert.ts';
import type { FoundDamage } from './damage-book.ts';
import type { TenantJob } from './tenant-job.ts';

export function tellDamage(job: TenantJob, { table, id, damage }: FoundDamage): void {
  job.door.record(
    {
      action: 'state.damaged',
      actor: { type: 'system', id: 'integrity' },
      reason: damage,
      request: `integrity:${job.core.audit.size}`,
      target: { type: table, ...(id === undefined ? {} : { id }) },
    },
    (access) => raiseDamageAlert(job, access, { table, object: id ?? null, damage }),
  );
}
