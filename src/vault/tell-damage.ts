// A damaged object of a tenant, told: an event in its log and one alert. It must never carry what is in the object.
import { raiseDamageAlert } from '../alerts/raise-alert.ts';
import type { FoundDamage } from './damage-book.ts';
import type { TenantVault } from './tenant-vault.ts';

/** Inside a batch. */
export function tellDamage(vault: TenantVault, { table, id, damage }: FoundDamage): void {
  vault.door.record(
    {
      action: 'state.damaged',
      actor: { type: 'system', id: 'integrity' },
      reason: damage,
      request: `integrity:${vault.core.audit.size}`,
      target: { type: table, ...(id === undefined ? {} : { id }) },
    },
    (access) => raiseDamageAlert(vault, access, { table, object: id ?? null, damage }),
  );
}
