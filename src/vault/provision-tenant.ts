// Creates the initial rows of a new tenant's cell. Idempotent: it is repeated after a crash.
import { newId } from '../base/ids.ts';
import type { TenantJob } from './tenant-job.ts';
import type { TenantVault } from './tenant-vault.ts';

export async function provisionTenant(vault: TenantVault, environments: readonly string[]): Promise<void> {
  await vault.submit((job) => {
    for (const name of environments) addEnvironment(job, name);
  });
}

function addEnvironment(job: TenantJob, name: string): void {
  if (job.door.lookup('provision', (lookup) => job.credentials.findEnvironment(lookup, name)) !== undefined) return;
  const row = { id: newId('environment', job.platform.entropy), name, created_at: job.platform.clock.now(), production: null };
  const event = {
    action: 'environment.create',
    actor: { type: 'system', id: 'provision' },
    reason: 'tenant created',
    request: 'provision',
    target: { type: 'environment', id: row.id, environment: name, name },
  } as const;
  job.door.record(event, (access) => job.credentials.insertEnvironment(access, row));
}
