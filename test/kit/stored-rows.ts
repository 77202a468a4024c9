// Rows written as a use case would leave them, and stores that are asked directly: for tests of what each query returns.
import type { Lookup, WriteAccess } from '../../src/cell/access.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { changing, type TestTenant } from './vaults.ts';

export const insertRows = (tenant: TestTenant, table: string, ...rows: readonly object[]): Promise<void> =>
  tenant.vault.submit((job) =>
    changing(job, () => {
      for (const row of rows) job.core.rows.of<object>(table).insert(row);
    }),
  );

/** Calls stores with an access for lookups. */
export const look = <T>(tenant: TestTenant, at: (lookup: Lookup, view: TenantJob) => T): T =>
  tenant.vault.lookup('test', (lookup, view) => at(lookup, view as TenantJob));

/** Calls stores with an access for changes, in a batch of its own. */
export const change = <T>(tenant: TestTenant, at: (access: WriteAccess, job: TenantJob) => T): Promise<T> =>
  tenant.vault.submit((job) => changing(job, (access) => at(access, job)));
