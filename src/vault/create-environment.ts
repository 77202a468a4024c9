// Environments of a tenant: `staging`, `production` and whatever else it tests in (R6).
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { EnvironmentRow } from '../cell/credentials.ts';
import { type TenantVault, tenantTarget } from './tenant-vault.ts';

/** @throws conflict when the name is taken */
export function createEnvironment(vault: TenantVault, caller: Caller, name: string): EnvironmentRow {
  return vault.door.enter(
    caller,
    'environment.create',
    () => ({ ...tenantTarget(vault), target: { type: 'environment', environment: name, name } }),
    (access) => {
      if (vault.credentials.findEnvironment(access, name) !== undefined)
        fail('conflict', 'the environment exists already', { pointer: '/name' });
      const row = { id: newId('environment', vault.around.entropy), name, created_at: vault.around.clock.now() };
      vault.credentials.insertEnvironment(access, row);
      return row;
    },
  );
}

export function listEnvironments(vault: TenantVault, caller: Caller): EnvironmentRow[] {
  return vault.door.enter(
    caller,
    'environment.list',
    () => tenantTarget(vault),
    (access) => vault.credentials.environments(access),
  );
}
