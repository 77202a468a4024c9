// Rotating a cell's own keys: a new version of each purpose becomes active at once, then everything under the old ones is rewrapped in
// small batches. It must never destroy a key that anything still refers to (CR-13).

import type { AuthorizationResource } from '../access/authorizer.ts';
import type { Door } from '../access/guard.ts';
import type { Caller } from '../access/principals.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { KeyProgress } from '../cell/key-rotations.ts';
import type { KeyRow } from '../cell/keyring.ts';
import type { Purpose } from '../crypto/envelope.ts';
import type { OpenCell, Surroundings } from './open-cell.ts';

/** What can be rotated. The audit-signing key is not among them: its verifier is pinned outside and changes only with a hand-over. */
export const ROTATABLE: readonly Purpose[] = ['oauth_token', 'api_key', 'mfa_seed', 'backup', 'audit_pii', 'metadata_mac'];

/** A cell whose keys can be rotated. */
export interface KeyedCell {
  readonly core: OpenCell;
  readonly door: Door;
  readonly around: Surroundings;
  readonly keyResource: AuthorizationResource;
  /** Forget derived keys and rows read under old ones. */
  forgetKeys(): void;
  dueChanged(): void;
}

function keyTarget(cell: KeyedCell) {
  return () => ({ resource: cell.keyResource, target: { type: 'keys' }, subject: true as const });
}

export function listKeys(cell: KeyedCell, caller: Caller): { keys: KeyRow[]; progress: KeyProgress[] } {
  return cell.door.enter(caller, 'key.list', keyTarget(cell), (access) => ({
    keys: cell.core.keyring.rows(),
    progress: cell.core.keyRotations.progress(access),
  }));
}

/** Starts a rotation of the given purposes (default: all that may). New values use the new keys from this moment on. */
export function rotateKeys(cell: KeyedCell, caller: Caller, purposes: readonly Purpose[] | undefined): KeyProgress[] {
  try {
    return addVersions(cell, caller, purposes);
  } catch (error) {
    // SECURITY: the savepoint took the new keys back; what memory would still seal under them nobody could ever open again.
    cell.core.keyring.load();
    throw error;
  }
}

function addVersions(cell: KeyedCell, caller: Caller, purposes: readonly Purpose[] | undefined): KeyProgress[] {
  return cell.door.enter(caller, 'key.rotate', keyTarget(cell), (access, _subject, details) => {
    const wanted = purposes ?? ROTATABLE;
    const { keyring, keyRotations } = cell.core;
    for (const purpose of wanted) {
      const next = keyring.addVersion(purpose, keyring.current(purpose).version + 1, cell.around.clock, cell.around.entropy);
      keyRotations.begin(access, purpose, next.version, cell.around.clock.now());
    }
    details.count = wanted.length;
    if (wanted.length === 1 && wanted[0] !== undefined) details.purpose = wanted[0];
    cell.around.faults.at('keys.after-new-version');
    cell.forgetKeys();
    cell.dueChanged();
    return keyRotations.progress(access);
  });
}

/**
 * One batch of the background rewrap; returns how many rows it moved. 0 means nothing is left. Call inside a job.
 * @throws integrity when only damaged rows are left: they keep their old key, which then never dies
 */
export function rewrapBatch(cell: KeyedCell, maxRows: number = LIMITS.rewrapBatchRows): number {
  const open = cell.door
    .lookup('rewrap', (lookup) => cell.core.keyRotations.progress(lookup))
    .filter((progress) => progress.finishedAtMs === null);
  if (open.length === 0) return 0;
  return cell.door.enterAsSystem('rewrap', 'key.rotate', keyTarget(cell), (access, _subject, details) => {
    let moved = 0;
    let ended = 0;
    for (const progress of open) {
      const purpose = progress.purpose as Purpose;
      moved = cell.core.keyRotations.rewrap(access, purpose, maxRows);
      details.purpose = progress.purpose;
      ended += bookProgress(cell, access, progress, moved) ? 1 : 0;
      if (moved > 0) break;
    }
    details.count = moved;
    if (moved === 0 && ended === 0)
      fail('integrity', 'stored data failed its check', { evidence: 'rows that cannot be rewrapped' });
    cell.around.faults.at('keys.mid-rewrap');
    if (moved > 0) cell.forgetKeys();
    return moved;
  });
}

/** True when the purpose has nothing left under an old key. */
function bookProgress(cell: KeyedCell, access: WriteAccess, progress: KeyProgress, rows: number): boolean {
  const { keyRotations } = cell.core;
  const purpose = progress.purpose as Purpose;
  if (rows > 0) keyRotations.advance(access, progress, rows);
  if (rows > 0 || keyRotations.countStale(access, purpose) > 0) return false;
  const now = cell.around.clock.now();
  keyRotations.finish(access, purpose, now, now + LIMITS.keyDestroyDelayMs);
  cell.dueChanged();
  return true;
}

/** Destroys retired keys past their delay to which nothing refers, once the clock is steady (D17). Returns how many. Call inside a job. */
export function destroyRetiredKeys(cell: KeyedCell): number {
  if (!cell.around.clock.isSteady()) return 0;
  const now = cell.around.clock.now();
  const due = cell.core.keyring
    .rows()
    .filter((row) => row.state === 'decrypt_only' && row.destroy_after_at !== null && row.destroy_after_at <= now);
  for (const row of due) {
    // INVARIANT: a key dies only at zero references (test/vault/rotate-keys.test.ts).
    const used = cell.door.lookup('key-destruction', (lookup) =>
      cell.core.keyRotations.countStale(lookup, row.purpose as Purpose, row.key_id),
    );
    if (used > 0) continue;
    cell.door.enterAsSystem('key-destruction', 'key.rotate', keyTarget(cell), (_access, _subject, details) => {
      cell.around.faults.at('keys.before-destroy');
      cell.core.keyring.destroy(row.key_id, now);
      cell.core.cell.eraseResidue();
      cell.core.audit.publishNow();
      details.purpose = row.purpose;
      details.key_version = row.version;
    });
  }
  return due.length;
}
