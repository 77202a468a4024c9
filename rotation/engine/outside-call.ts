// One call to somebody outside, the same for refreshes, exchanges, revocations, questions and deliveries: journalled in one transaction,
// made outside any, and written down in another (D5). It knows no provider; it must never lose what arrived to a full disk.
import { KeyturnError } from '../../src/base/errors.ts';
import type { FaultPoint } from '../../src/base/faults.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';

/** Where a test build may end the process. */
export interface CallPoints {
  /** The intent is durable. */
  readonly begun?: FaultPoint;
  readonly before: FaultPoint;
  readonly after: FaultPoint;
  readonly booking?: FaultPoint;
  readonly booked?: FaultPoint;
}

/** `stop`: there is no call to make, and this is what came of it. */
export type Begun<A, T> = { readonly kind: 'go'; readonly attempt: A } | { readonly kind: 'stop'; readonly as: T };

/**
 * `A`: what an attempt works with, `O`: a closed union of the ways the call can end, `T`: what the caller learns.
 * INVARIANT: a process that dies between `begin` and `book` leaves the intent that `begin` journalled (test/faults/crash-refresh.test.ts).
 */
export interface OutsideCall<A, O, T> {
  readonly points: CallPoints;
  /** Looks once more whether it is to be made, journals that it begins, opens what it needs. */
  begin(job: TenantJob): Begun<A, T>;
  /** Resolves for everything that can happen outside; what it rejects with is a defect of our own, and leaves the intent. */
  call(attempt: A): Promise<O>;
  /** Writes down what the outcome means. */
  book(job: TenantJob, attempt: A, outcome: O): T;
  /** Whether something came that exists nowhere else: a full disk is then waited out while the process lives. Default: nothing did. */
  mustBeKept?(outcome: O): boolean;
  /** Keeps the attempt its own while the call takes its time; the returned function ends that. */
  hold?(attempt: A): () => void;
  /** Wipes what was opened, however it ended. */
  release?(attempt: A): void;
}

export interface CallPorts {
  readonly vault: TenantVault;
  readonly wait: (ms: number) => Promise<void>;
  /** The process ends: nothing is waited for any more. Default: it goes on. */
  readonly isStopping?: () => boolean;
  /** Nobody waits for it: its intent may share a commit with others (Cell.submitUnhurried). */
  readonly isUnhurried?: boolean;
}

/** Of calls that an engine does not stop for. */
export function callPorts(vault: TenantVault): CallPorts {
  return { vault, wait: (ms) => new Promise((resolve) => vault.platform.later(ms, resolve)) };
}

/** Makes the call once; a second attempt is another call. */
export async function makeCall<A, O, T>(ports: CallPorts, outside: OutsideCall<A, O, T>): Promise<T> {
  const { vault } = ports;
  const { faults } = vault.platform;
  const { points } = outside;
  const begin = (job: TenantJob) => outside.begin(job);
  const begun = await (ports.isUnhurried === true ? vault.submitUnhurried(begin) : vault.submit(begin));
  if (begun.kind === 'stop') return begun.as;
  const { attempt } = begun;
  if (points.begun !== undefined) faults.at(points.begun);
  const letGo = outside.hold?.(attempt);
  try {
    faults.at(points.before);
    const outcome = await outside.call(attempt);
    faults.at(points.after);
    const book = (job: TenantJob) => outside.book(job, attempt, outcome);
    if (points.booking !== undefined) faults.at(points.booking);
    const result = await (outside.mustBeKept?.(outcome) === true ? surely(ports, book) : vault.submit(book));
    if (points.booked !== undefined) faults.at(points.booked);
    return result;
  } finally {
    letGo?.();
    outside.release?.(attempt);
  }
}

/** What came exists nowhere else. */
async function surely<T>({ vault, wait, isStopping }: CallPorts, store: (job: TenantJob) => T): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await vault.submit(store);
    } catch (error) {
      const storage = error instanceof KeyturnError && (error.code === 'storage_full' || error.code === 'storage_unavailable');
      if (!storage || isStopping?.() === true || tries >= LIMITS.storeTriesMax) throw error;
      await wait(LIMITS.storePauseMs);
    }
  }
}
