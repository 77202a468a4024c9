// The first contents of a new tenant's cell. Idempotent: a crash halfway is repaired by running it again.
import { newId } from '../base/ids.ts';
import type { TenantVault } from './tenant-vault.ts';

export async function provisionTenant(vault: TenantVault, environments: readonly string[]): Promise<void> {
  await vault.submit(() => {
    for (const name of environments) addEnvironment(vault, name);
  });
}

function addEnvironment(vault: TenantVault, name: string): void {
  if (vault.door.lookup('provision', (lookup) => vault.credentials.findEnvironment(lookup, name)) !== undefined) return;
  const row = { id: newId('environment', vault.around.entropy), name, created_at: vault.around.clock.now() };
  const event = {
    action: 'environment.create',
    actor: { type: 'system', id: 'provision' },
    reason: 'tenant created',
    request: 'provision',
    target: { type: 'environment', id: row.id, environment: name, name },
  } as const;
  vault.door.record(event, (access) => vault.credentials.insertEnvironment(access, row));
}
