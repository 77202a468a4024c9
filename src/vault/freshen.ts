// Asks for the newest value before a read: refreshes a grant if its token is not new, and settles a rotation in doubt. Needs the right to
// rotate, because it makes a call at the provider.
import type { Caller } from '../access/principals.ts';
import { LIMITS } from '../base/limits.ts';
import { kindFacts } from './credential-kinds.ts';
import { doubtOf } from './rotation-state.ts';
import { credentialTarget, requireActive } from './targets.ts';
import type { TenantJob } from './tenant-job.ts';
import type { TenantVault } from './tenant-vault.ts';

export type Freshening = 'refresh' | 'settle' | 'nothing';

/** What would make the value newer. @throws not_found | forbidden | gone */
export function planFreshening(
  job: TenantJob,
  caller: Caller,
  environment: string,
  name: string,
): { readonly credentialId: string; readonly todo: Freshening } {
  return job.door.enter(
    caller,
    'credential.freshen',
    (lookup) => credentialTarget(job, lookup, environment, name),
    (access, located, details) => {
      const row = requireActive(located.row);
      job.cache.forget(environment, name);
      let todo: Freshening = doubtOf(row) === undefined ? 'nothing' : 'settle';
      if (kindFacts(row.kind).isRenewed && (row.health === 'ready' || row.health === 'degraded')) {
        const stored = job.credentials.findVersionMetadata(access, row.id, row.current_version);
        // The absolute difference, because the clock may have been set back since.
        const age = Math.abs(job.platform.clock.now() - (stored?.created_at ?? 0));
        if (age >= LIMITS.freshenMinAgeMs) todo = 'refresh';
      }
      details.step = todo;
      return { credentialId: row.id, todo };
    },
  );
}

/** Settles when the next read gives the newest value that can be had now; a failed refresh leaves the one that is there. */
export async function freshen(vault: TenantVault, caller: Caller, environment: string, name: string): Promise<void> {
  const { credentialId, todo } = await vault.submit((job) => planFreshening(job, caller, environment, name));
  if (todo === 'refresh') await vault.refresher?.refreshNow(credentialId, 'request', true);
  if (todo === 'settle') await vault.rotator?.settle(credentialId);
}
