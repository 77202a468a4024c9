// Rotates a cell's own keys: a new version of each purpose becomes active at once, then rows under old versions are rewrapped in small
// batches. It must never destroy a key that a row refers to (CR-13).

import type { AuthorizationResource } from '../access/authorizer.ts';
import type { Door } from '../access/guard.ts';
import type { Caller } from '../access/principals.ts';
import type { EventDetails } from '../audit/event.ts';
import { fail } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup, WriteAccess } from '../cell/access.ts';
import type { KeyProgress } from '../cell/key-rotations.ts';
import type { KeyRow } from '../cell/keyring.ts';
import type { Purpose } from '../crypto/envelope.ts';
import { sha256Words } from '../crypto/primitives.ts';
import type { Submits } from './cell-handle.ts';
import type { OpenCell, Platform } from './open-cell.ts';

/** The purposes that can be rotated. The audit-signing key cannot: auditors pin its verifier key, so it changes only with a hand-over. */
export const ROTATABLE: readonly Purpose[] = ['oauth_token', 'api_key', 'mfa_seed', 'backup', 'audit_pii', 'metadata_mac'];

export interface KeyOperations {
  readonly list: 'key.list' | 'installation.keys.list';
  readonly rotate: 'key.rotate' | 'installation.keys.rotate';
}

/** A job of a cell whose keys can be rotated. */
export interface KeyedJob {
  readonly core: OpenCell;
  readonly door: Door;
  readonly platform: Platform;
  readonly keyResource: AuthorizationResource;
  readonly keyOperations: KeyOperations;
  /** Drops cached derived keys and rows read under old keys. */
  forgetKeys(): void;
  dueChanged(): void;
}

function keyTarget(job: KeyedJob) {
  return () => ({ resource: job.keyResource, target: { type: 'keys' }, subject: true as const });
}

export interface ListedKeys {
  readonly keys: readonly KeyRow[];
  /** When each active key turns, by its id; without those that never do. */
  readonly turns: ReadonlyMap<string, number>;
  readonly progress: readonly KeyProgress[];
}

export function listKeys(job: KeyedJob, caller: Caller): ListedKeys {
  const { keyring, keyRotations } = job.core;
  return job.door.enter(caller, job.keyOperations.list, keyTarget(job), (access) => {
    const turns = keyring.activeKeys().map((key) => [key.id, turnsAt(job.platform, key)] as const);
    return {
      keys: keyring.rows().map((row) => ({ ...row, wraps: keyring.usedWraps(row) })),
      turns: new Map(turns.filter(([, atMs]) => Number.isFinite(atMs))),
      progress: keyRotations.progress(access),
    };
  });
}

type AgedKey = Pick<ReturnType<OpenCell['keyring']['activeKeys']>[number], 'id' | 'purpose' | 'createdAtMs' | 'wraps'>;

/**
 * When an active key is rotated by its age or use; Infinity for a purpose that is not rotated. The time is spread over the last tenth of the
 * period by the key's id, so that the keys of many cells that were created together do not turn together.
 */
function turnsAt({ keyPeriodMs = LIMITS.keyPeriodMs }: Platform, key: AgedKey): number {
  if (!ROTATABLE.includes(key.purpose)) return Number.POSITIVE_INFINITY;
  if (key.wraps >= LIMITS.wrapsPerKeyAged) return key.createdAtMs;
  const spread = sha256Words(new TextEncoder().encode(key.id)).high / 2 ** 32;
  return key.createdAtMs + Math.round(keyPeriodMs * (1 - spread / 10));
}

/** When the next key of the cell turns; not before the clock is steady (D17: a jump must not rotate the keys of every tenant). */
export function nextKeyTurnAt({ keyring }: OpenCell, platform: Platform): number {
  const times = keyring.activeKeys().map((key) => turnsAt(platform, key));
  return Math.max(Math.min(...times), platform.clock.steadyFrom());
}

/** As `nextKeyTurnAt`, with the rewraps and destructions that wait; for a cell without an engine. */
export function keyWorkDueAt({ core, platform }: KeyedJob, lookup: Lookup): number {
  if (core.keyRotations.progress(lookup).some(({ finishedAtMs }) => finishedAtMs === null)) return 0;
  const ends = core.keyring
    .intactRows()
    .filter(({ state }) => state === 'decrypt_only')
    .map((row) => row.destroy_after_at ?? Number.POSITIVE_INFINITY);
  return Math.min(nextKeyTurnAt(core, platform), Math.max(Math.min(...ends), platform.clock.steadyFrom()));
}

/** All work on keys that is due. */
export async function tendKeys(cell: Submits<KeyedJob>): Promise<void> {
  await cell.submit((job) => rotateAgedKeys(job));
  await rewrapAll(cell);
  await destroyRetiredKeys(cell);
}

/** Rotates the keys whose time has come, each once; returns how many. */
export function rotateAgedKeys(job: KeyedJob): number {
  const { clock } = job.platform;
  if (!clock.isSteady()) return 0;
  const isDue = (key: AgedKey) => turnsAt(job.platform, key) <= clock.now();
  const purposes = job.core.keyring.activeKeys().filter(isDue);
  if (purposes.length > 0)
    withNewVersions(job, () =>
      job.door.enterAsSystem('key-age', job.keyOperations.rotate, keyTarget(job), (access, _subject, details) =>
        addVersions(
          job,
          access,
          purposes.map(({ purpose }) => purpose),
          details,
        ),
      ),
    );
  return purposes.length;
}

/** Starts a rotation of the given purposes (default: all). New values use the new keys at once. */
export function rotateKeys(job: KeyedJob, caller: Caller, purposes: readonly Purpose[] | undefined): KeyProgress[] {
  return withNewVersions(job, () =>
    job.door.enter(caller, job.keyOperations.rotate, keyTarget(job), (access, _subject, details) =>
      addVersions(job, access, purposes ?? ROTATABLE, details),
    ),
  );
}

function withNewVersions<T>(job: KeyedJob, rotate: () => T): T {
  try {
    return rotate();
  } catch (error) {
    // SECURITY: the savepoint removed the new keys; values sealed under keys that are only in memory could never be opened again.
    job.core.keyring.load();
    throw error;
  }
}

function addVersions(job: KeyedJob, access: WriteAccess, wanted: readonly Purpose[], details: EventDetails): KeyProgress[] {
  const { keyring, keyRotations } = job.core;
  for (const purpose of wanted) {
    const next = keyring.addVersion(purpose, keyring.current(purpose).version + 1, job.platform.clock, job.platform.entropy);
    keyRotations.begin(access, purpose, next.version, job.platform.clock.now());
  }
  details.count = wanted.length;
  if (wanted.length === 1) details.purpose = wanted[0] as Purpose;
  job.platform.faults.at('keys.after-new-version');
  job.forgetKeys();
  job.dueChanged();
  return keyRotations.progress(access);
}

/**
 * One batch of the background rewrap; returns how many rows it moved. 0 means that no rows are left.
 * @throws integrity when only damaged rows are left: they keep their old key, which is then never destroyed. The same for a damaged row of the
 * progress: the rotation that it describes does not end
 */
export function rewrapBatch(job: KeyedJob, maxRows: number = LIMITS.rewrapBatchRows): number {
  const { open, isStuck } = job.door.lookup('rewrap', (lookup) => {
    const open = job.core.keyRotations.progress(lookup).filter((progress) => progress.finishedAtMs === null);
    return { open, isStuck: open.length === 0 && job.core.keyRotations.hasUnfinished(lookup) };
  });
  if (isStuck) fail('integrity', 'stored data failed its check', { evidence: 'key_rotation: the row of an open rotation' });
  if (open.length === 0) return 0;
  return job.door.enterAsSystem('rewrap', job.keyOperations.rotate, keyTarget(job), (access, _subject, details) => {
    let count = 0;
    let hasEnded = false;
    for (const progress of open) {
      const purpose = progress.purpose as Purpose;
      count = job.core.keyRotations.rewrap(access, purpose, maxRows);
      details.purpose = progress.purpose;
      if (bookProgress(job, access, progress, count)) hasEnded = true;
      if (count > 0) break;
    }
    details.count = count;
    if (count === 0 && !hasEnded)
      fail('integrity', 'stored data failed its check', { evidence: 'rows that cannot be rewrapped' });
    job.platform.faults.at('keys.mid-rewrap');
    if (count > 0) job.forgetKeys();
    return count;
  });
}

/** Returns true if the purpose has no row under an old key any more. */
function bookProgress(job: KeyedJob, access: WriteAccess, progress: KeyProgress, rows: number): boolean {
  const { keyRotations } = job.core;
  const purpose = progress.purpose as Purpose;
  keyRotations.advance(access, progress, rows);
  if (rows > 0 || keyRotations.countStale(access, purpose) > 0) return false;
  const now = job.platform.clock.now();
  keyRotations.finish(access, purpose, now, now + LIMITS.keyDestroyDelayMs);
  job.dueChanged();
  return true;
}

/** Rewraps all rows under the current keys, one batch a job; returns how many. */
export async function rewrapAll(vault: Submits<KeyedJob>): Promise<number> {
  let moved = 0;
  for (;;) {
    const rows = await vault.submit((job) => rewrapBatch(job));
    if (rows === 0) return moved;
    moved += rows;
  }
}

/**
 * Destroys retired keys past their delay that no row uses, once the clock is steady (D17). Returns how many were destroyed. The error of a key
 * with a damaged row is thrown after all were processed.
 * SECURITY: a destroyed key cannot be restored, so an index is not enough to find it unused: every row of its tables is read and checked, one
 * slice per batch. Nothing is sealed under a retired key any more, so the result for a slice stays true.
 */
export async function destroyRetiredKeys(vault: Submits<KeyedJob>): Promise<number> {
  let destroyed = 0;
  const due = await vault.submit((job) => ({ intact: dueKeys(job), all: dueOf(job, job.core.keyring.rows()) }));
  for (const { key_id } of due.intact) {
    const slices = await vault.submit((job) => job.core.keyRotations.usesOf(key_id));
    let slice = await vault.submit(() => slices.next());
    while (slice.done !== true && !slice.value) slice = await vault.submit(() => slices.next());
    const isUsed = slice.done !== true;
    destroyed += await vault.submit((job) => (isUsed ? postpone(job, key_id) : destroyKey(job, key_id)));
  }
  if (due.all.length > due.intact.length)
    fail('integrity', 'stored data failed its check', { evidence: 'tenant_key: a due key' });
  return destroyed;
}

/** The keys with an intact row that may be destroyed now. */
function dueKeys(job: KeyedJob): KeyRow[] {
  return dueOf(job, job.core.keyring.intactRows());
}

function dueOf(job: KeyedJob, rows: readonly KeyRow[]): KeyRow[] {
  if (!job.platform.clock.isSteady()) return [];
  const now = job.platform.clock.now();
  return rows.filter((row) => row.state === 'decrypt_only' && row.destroy_after_at !== null && row.destroy_after_at <= now);
}

/** Postpones the destruction: a row still uses the key, because it is damaged or the rewrap did not find it. */
function postpone(job: KeyedJob, keyId: string): 0 {
  job.door.keepBooks('key-destruction', (access) =>
    job.core.keyRotations.postpone(access, keyId, job.platform.clock.now() + LIMITS.keyDestroyAgainMs),
  );
  job.dueChanged();
  return 0;
}

function destroyKey(job: KeyedJob, keyId: string): number {
  const row = dueKeys(job).find((one) => one.key_id === keyId);
  if (row === undefined) return 0;
  // INVARIANT: a key is destroyed only without references (test/vault/rotate-keys.test.ts).
  const used = job.door.lookup('key-destruction', (lookup) =>
    job.core.keyRotations.countStale(lookup, row.purpose as Purpose, keyId),
  );
  if (used > 0) return postpone(job, keyId);
  job.door.enterAsSystem('key-destruction', job.keyOperations.rotate, keyTarget(job), (_access, _subject, details) => {
    job.platform.faults.at('keys.before-destroy');
    job.core.keyring.destroy(keyId, job.platform.clock.now());
    job.core.cell.eraseResidue();
    job.core.audit.publishNow();
    details.purpose = row.purpose;
    details.key_version = row.version;
  });
  return 1;
}
