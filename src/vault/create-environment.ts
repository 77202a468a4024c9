// Environments of a tenant: `staging`, `production` and others (R6).
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { EnvironmentRow } from '../cell/credentials.ts';
import { tenantTarget } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';

/** @param production whether rotations must be tried elsewhere first; default: by the name. @throws conflict when the name is taken */
export function createEnvironment(job: TenantJob, caller: Caller, name: string, production?: boolean): EnvironmentRow {
  return job.door.enter(
    caller,
    'environment.create',
    () => ({ ...tenantTarget(job), target: { type: 'environment', environment: name, name } }),
    (access) => {
      if (job.credentials.findEnvironment(access, name) !== undefined)
        fail('conflict', 'an environment with this name exists already', { pointer: '/name' });
      const row: EnvironmentRow = {
        id: newId('environment', job.platform.entropy),
        name,
        created_at: job.platform.clock.now(),
        production: production === undefined ? null : Number(production),
      };
      job.credentials.insertEnvironment(access, row);
      return row;
    },
  );
}

export function listEnvironments(job: TenantJob, caller: Caller): EnvironmentRow[] {
  return job.door.enter(
    caller,
    'environment.list',
    () => tenantTarget(job),
    (access) => job.credentials.environments(access),
  );
}
