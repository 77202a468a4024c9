// The cells' part in a rotation of the root key: every key of a cell is wrapped under the present root key, in batches.
// It must never end while a key is under the previous one; where the root key comes from is the platform's business.
import { recordFailure } from '../access/guard.ts';
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Submits } from './cell-handle.ts';
import { type HomeJob, installationTarget } from './home-job.ts';
import type { KeyedJob } from './rotate-keys.ts';

const rootTarget = installationTarget('root_key');

/**
 * Records that the caller starts a rotation of the root key.
 * @param refuse throws where the platform cannot start one now
 * @throws forbidden, or as `refuse`
 */
export function requestRootRotation(job: HomeJob, caller: Caller, refuse: () => void = () => {}): void {
  job.door.enter(caller, 'root.rotate', rootTarget, (_access, _subject, details) => {
    details.stage = 'requested';
    refuse();
  });
}

/** Records a stage of the rotation. */
export function noteRootRotation(job: HomeJob, stage: 'begun' | 'failed' | 'finished', count?: number): void {
  job.door.enterAsSystem('root-rotation', 'root.rotate', rootTarget, (_access, _subject, details) => {
    details.stage = stage;
    if (count !== undefined) details.count = count;
    if (stage === 'failed') recordFailure(details, 'unavailable');
    else job.core.audit.publishNow();
  });
}

/**
 * Wraps all keys of the cell under the present root key, one batch a job.
 * @throws integrity when only damaged rows are left: their keys need the previous root key, so the rotation does not end
 */
export async function rewrapCellUnderRoot(cell: Submits<KeyedJob>): Promise<void> {
  let rows: number;
  do rows = await cell.submit((job) => rewrapRootBatch(job, LIMITS.rootRewrapBatchKeys));
  while (rows > 0);
}

function rewrapRootBatch(job: KeyedJob, maxRows: number): number {
  const { keyring } = job.core;
  if (keyring.countUnderOldRoot() === 0) return 0;
  return job.door.enterAsSystem(
    'root-rotation',
    job.keyOperations.rotate,
    () => ({ resource: job.keyResource, target: { type: 'keys' }, subject: true as const }),
    (_access, _subject, details) => {
      const moved = keyring.rewrapUnderRoot(maxRows);
      details.purpose = 'root';
      details.count = moved;
      if (moved === 0)
        fail('integrity', 'stored data failed its check', {
          evidence: 'tenant_key: a damaged row is under the previous root key',
        });
      job.platform.faults.at('root.mid-cell');
      return moved;
    },
  );
}
