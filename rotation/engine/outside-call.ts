// One outside call, the same for refreshes, exchanges, revocations, token questions and deliveries: its intent is journalled in one transaction,
// the call runs outside of transactions, and its outcome is stored in another (D5). It must never lose an answer because of a full disk.
import { KeyturnError } from '../../src/base/errors.ts';
import type { FaultPoint } from '../../src/base/faults.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';

/** Fault points of a test build. */
export interface CallPoints {
  /** The intent is durable. */
  readonly begun?: FaultPoint;
  readonly before: FaultPoint;
  readonly after: FaultPoint;
  readonly booking?: FaultPoint;
  readonly booked?: FaultPoint;
}

/** `stop`: no call is made; `as` is the result. */
export type Begun<A, T> = { readonly kind: 'go'; readonly attempt: A } | { readonly kind: 'stop'; readonly as: T };

/**
 * `A`: what an attempt works with, `O`: a closed union of the ways the call can end, `T`: what the caller learns.
 * INVARIANT: a process that dies between `begin` and `book` leaves the intent that `begin` journalled (test/faults/crash-refresh.test.ts).
 */
export interface OutsideCall<A, O, T> {
  readonly points: CallPoints;
  /** Checks again that the call is to be made, journals the intent, and opens the secrets. */
  begin(job: TenantJob): Begun<A, T>;
  /** Resolves for every outcome of the call; a rejection is a defect of Keyturn and leaves the intent. */
  call(attempt: A): Promise<O>;
  /** Stores the outcome. */
  book(job: TenantJob, attempt: A, outcome: O): T;
  /** Whether the outcome contains data that exists nowhere else; storing it is then retried while the disk is full. Default: false. */
  mustBeKept?(outcome: O): boolean;
  /** Prolongs the lease during the call; the returned function stops that. */
  hold?(attempt: A): () => void;
  /** Wipes the opened secrets, whatever the outcome. */
  release?(attempt: A): void;
}

export interface CallPorts {
  readonly vault: TenantVault;
  readonly wait: (ms: number) => Promise<void>;
  /** True if the process is stopping: nothing is retried any more. Default: false. */
  readonly isStopping?: () => boolean;
  /** True if no caller waits: the intent may share a commit with others (Cell.submitUnhurried). */
  readonly isUnhurried?: boolean;
}

/** For calls that do not depend on the engine's stop. */
export function callPorts(vault: TenantVault): CallPorts {
  return { vault, wait: (ms) => new Promise((resolve) => vault.platform.later(ms, resolve)) };
}

/** Makes the call once. */
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

/** The answer exists nowhere else. */
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
