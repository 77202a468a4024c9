// What a cell's due work does beside grants: rows move to the newest keys, what expired goes away. Bounded, each batch its own job.
import { LIMITS } from '../../src/base/limits.ts';
import { rewrapBatch } from '../../src/vault/rotate-keys.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';

/** Moves all rows to the current keys; answers how many moved. */
export async function rewrapAll(vault: TenantVault): Promise<number> {
  let moved = 0;
  for (;;) {
    const rows = await vault.submit(() => rewrapBatch(vault));
    if (rows === 0) return moved;
    moved += rows;
  }
}

/** Removes expired tokens, remembered answers and assertion ids, once the clock is steady (D17). Inside a job. */
export function purgeExpired(vault: TenantVault): void {
  if (!vault.around.clock.isSteady()) return;
  const now = vault.around.clock.now();
  vault.door.keepBooks('purge', (books) => {
    vault.core.tokens.purgeExpired(books, now - LIMITS.idempotencyKeepMs, LIMITS.dueWorkBatchRows);
    vault.core.idempotency.purgeExpired(books, now, LIMITS.dueWorkBatchRows);
    vault.workloads.purgeAssertions(books, now);
  });
}
