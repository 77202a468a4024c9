// Due work of a cell other than grants: rewraps rows under the newest keys and deletes expired rows. Bounded; each batch is its own job.
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup } from '../../src/cell/access.ts';
import { eachIntact } from '../../src/cell/rows.ts';
import { saveUnseen } from '../../src/vault/credential.ts';
import type { TenantJob, TenantView } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';

/**
 * Makes work due that a clock ahead of this one has planned beyond the longest delay. Refreshes detect it themselves
 * (cell/runs.ts). Returns how many there were.
 */
export async function bringForward(vault: TenantVault): Promise<number> {
  const now = vault.platform.clock.now();
  const late = {
    review: now + LIMITS.reviewEveryMs,
    delivery: now + LIMITS.webhookBackoffMaxMs,
    revocation: now + LIMITS.refreshWaitMaxMs,
  };
  const maxRows = LIMITS.dueWorkBatchRows;
  const find = (lookup: Lookup, { forecasts, alerts, runs }: TenantView) => ({
    ids: forecasts.plannedAfter(lookup, late.review, maxRows),
    hasDelivery: alerts.hasDeliveryAfter(lookup, late.delivery),
    runs: runs.revocationsAfter(lookup, late.revocation, maxRows),
  });
  const { ids, hasDelivery, runs } = vault.lookup('scheduler', find);
  if (ids.length === 0 && !hasDelivery && runs.length === 0) return 0;
  return vault.submit((job) => {
    const reviews = eachIntact(ids, (id) =>
      job.door.keepBooks('review', (access) => {
        const row = job.credentials.byId(access, id);
        const environment = job.credentials.environmentById(access, row.environment_id);
        saveUnseen(job, access, environment, { ...row, review_due_at: now });
      }),
    );
    job.door.keepBooks('lease', (access) => {
      for (const run of find(access, job).runs)
        job.runs.save(access, { ...run, lease_owner: '', lease_until: now, next_attempt_at: now });
    });
    const deliveries = job.door.keepBooks('delivery', (access) => job.alerts.bringForward(access, late.delivery, now, maxRows));
    job.dueChanged();
    return reviews + deliveries + runs.length;
  });
}

/** Deletes expired tokens, stored answers and assertion ids, once the clock is steady (D17). */
export function purgeExpired(job: TenantJob): void {
  if (!job.platform.clock.isSteady()) return;
  const now = job.platform.clock.now();
  job.door.keepBooks('purge', (books) => {
    job.core.tokens.purgeExpired(books, now - LIMITS.idempotencyKeepMs, LIMITS.dueWorkBatchRows);
    job.core.idempotency.purgeExpired(books, now, LIMITS.dueWorkBatchRows);
    job.workloads.purgeAssertions(books, now);
  });
}
