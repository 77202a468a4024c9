// What a cell's due work does beside grants: rows move to the newest keys, what expired goes away. Bounded, each batch its own job.
import { LIMITS } from '../../src/base/limits.ts';
import { rewrapBatch } from '../../src/vault/rotate-keys.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';

/** Moves all rows to the current keys; answers how many moved. */
export async function rewrapAll(vault: TenantVault): Promise<number> {
  let moved = 0;
  for (;;) {
    const rows = await vault.submit((job) => rewrapBatch(job));
    if (rows === 0) return moved;
    moved += rows;
  }
}

/** Removes expired tokens, remembered answers and assertion ids, once the clock is steady (D17). */
export function purgeExpired(job: TenantJob): void {
  if (!job.around.clock.isSteady()) return;
  const now = job.around.clock.now();
  job.door.keepBooks('purge', (books) => {
    job.core.tokens.purgeExpired(books, now - LIMITS.idempotencyKeepMs, LIMITS.dueWorkBatchRows);
    job.core.idempotency.purgeExpired(books, now, LIMITS.dueWorkBatchRows);
    job.workloads.purgeAssertions(books, now);
  });
}
