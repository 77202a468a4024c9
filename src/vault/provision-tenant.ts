// The first contents of a new tenant's cell. Idempotent: a crash halfway is repaired by running it again.
import { newId } from '../base/ids.ts';
import type { TenantVault } from './tenant-vault.ts';

export async function provisionTenant(vault: TenantVault, environments: readonly string[]): Promise<void> {
  await vault.submit(() =>
    vault.door.lookup('provision', (access) => {
      const now = vault.around.clock.now();
      for (const name of environments) {
        if (vault.credentials.findEnvironment(access, name) !== undefined) continue;
        const row = { id: newId('environment', vault.around.entropy), name, created_at: now };
        vault.credentials.insertEnvironment(access, row);
        vault.door.note({
          action: 'environment.create',
          actor: { type: 'system', id: 'provision' },
          outcome: 'success',
          reason: 'tenant created',
          request: 'provision',
          target: { type: 'environment', id: row.id, environment: name, name },
        });
      }
    }),
  );
}
