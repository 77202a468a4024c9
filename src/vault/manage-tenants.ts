// Tenants: created in two journalled steps (home row, then the tenant's own cell); a list contains what the caller may see.
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { TenantRow } from '../cell/tenants.ts';
import type { Page } from './describe-credential.ts';
import { type HomeJob, installationTarget } from './home-job.ts';
import type { HomeVault } from './home-vault.ts';

export interface CreateTenantInput {
  readonly name: string;
  readonly environments: readonly string[];
  readonly demo: boolean;
}

/** Creates the tenant's own cell; idempotent, so that it can be repeated after a crash between the steps. */
export type Provision = (tenant: TenantRow, environments: readonly string[]) => Promise<void>;

/** The first step: inserts the row, which reserves the name. @throws conflict when the name is taken */
export function claimTenant(job: HomeJob, caller: Caller, input: CreateTenantInput): TenantRow {
  return job.door.enter(caller, 'tenant.create', installationTarget('tenant', input.name), (access, _subject, details) => {
    if (job.tenants.find(access, input.name) !== undefined)
      fail('conflict', 'a tenant with this name exists already', { pointer: '/name' });
    const tenant = {
      id: newId('tenant', job.platform.entropy),
      name: input.name,
      state: 'creating',
      demo: input.demo ? 1 : 0,
      environments: JSON.stringify(input.environments),
      created_at: job.platform.clock.now(),
      created_by: access.principalId,
    };
    job.tenants.insert(access, tenant);
    details.tenant = tenant.id;
    return { ...tenant, witnessed: null, anchored: 0 };
  });
}

/** @throws conflict when the name is taken */
export async function createTenant(
  home: HomeVault,
  caller: Caller,
  input: CreateTenantInput,
  provision: Provision,
): Promise<TenantRow> {
  const row = await home.submit((job) => claimTenant(job, caller, input));
  home.platform.faults.at('tenant.after-row');
  await finishTenant(home, row, provision);
  return { ...row, state: 'active' };
}

/** The tenant with this name, if its second step failed or is still running. */
export function halfMadeTenant(home: HomeVault, name: string): TenantRow | undefined {
  const row = home.lookup('provision', (lookup, view) => view.tenants.find(lookup, name));
  return row?.state === 'creating' ? row : undefined;
}

/** The second step; also run at start for tenants whose creation a crash interrupted. */
export async function finishTenant(home: HomeVault, row: TenantRow, provision: Provision): Promise<void> {
  await provision(row, JSON.parse(row.environments) as string[]);
  home.platform.faults.at('tenant.after-cell');
  await home.submit((job) => job.door.keepBooks('provision', (access) => job.tenants.setState(access, row.id, 'active')));
}

function visibleTo(caller: Caller): (row: TenantRow) => boolean {
  const grants = caller.user?.grants ?? [];
  return (row) => grants.some((grant) => grant.tenantId === '*' || grant.tenantId === row.id);
}

/** Only tenants at which the caller has a role (X4). */
export function listTenants(job: HomeJob, caller: Caller, afterName: string, maxRows: number): Page<TenantRow> {
  return job.door.enter(caller, 'tenant.list', installationTarget('tenants'), (access, _subject, details) => {
    const visible = visibleTo(caller);
    // As in describe-credential.ts: a small page must not need many queries because of tenants that the caller may not see.
    const seesAll = caller.user?.grants.some((grant) => grant.tenantId === '*') === true;
    const batchRows = (seesAll ? maxRows : LIMITS.pageMaxRows) + 1;
    const rows: TenantRow[] = [];
    let after = afterName;
    for (;;) {
      const batch = job.tenants.list(access, after, batchRows);
      for (const row of batch) {
        if (visible(row)) rows.push(row);
        after = row.name;
      }
      if (rows.length > maxRows || batch.length < batchRows) break;
    }
    const page = rows.slice(0, maxRows);
    details.count = page.length;
    return { rows: page, next: rows.length > maxRows ? page.at(-1)?.name : undefined };
  });
}

/** For the composition root: the tenant of a path. Undefined for unknown, unfinished and erased tenants. */
export function resolveTenant(home: HomeVault, idOrName: string): TenantRow | undefined {
  const known = home.routes.get(idOrName);
  if (known !== undefined) return known;
  const row = home.lookup('routing', (lookup, view) => view.tenants.find(lookup, idOrName));
  if (row?.state !== 'active') return undefined;
  home.routes.set(idOrName, row);
  return row;
}
