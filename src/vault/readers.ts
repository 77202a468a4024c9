// The readers of a credential: who received which version last, and which workloads still have one that is about to end (decision 0015).
// A read writes only if the version differs from the one before, or a few minutes have passed. It must never refuse a read.
import type { Caller } from '../access/principals.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { ReaderRow } from '../cell/readers.ts';
import type { WorkloadRow } from '../cell/workloads.ts';
import { keyConfigOf } from './rotation-state.ts';
import { credentialTarget } from './targets.ts';
import type { TenantJob, TenantView } from './tenant-job.ts';

/** Stores that a principal received a version, in the batch of the read. */
export function noteReader(job: TenantJob, credentialId: string, principalId: string, version: number): void {
  const now = job.platform.clock.now();
  if (job.knownReaders.has(credentialId, principalId, version, now)) return;
  job.door.keepBooks('reading', (books) => {
    const before = job.readers.find(books, credentialId, principalId);
    const isSame = before?.version === version;
    const row = { credential_id: credentialId, principal_id: principalId, version, since_at: now, seen_at: now };
    job.readers.save(books, isSame ? { ...before, seen_at: now } : row);
    if (before === undefined || isSame) return;
    const waiting = job.runs.findAwaitingReaders(books, credentialId, before.version);
    if (waiting === undefined) return;
    // Without a lease, `lease_until` is the last check. A reader may go back and forth between two versions.
    const checkAt = Math.max(now, waiting.lease_until + LIMITS.readersMovedEveryMs);
    job.runs.save(books, { ...waiting, next_attempt_at: Math.min(waiting.next_attempt_at ?? checkAt, checkAt) });
    job.dueChanged();
  });
  job.knownReaders.keep(credentialId, principalId, { version, seenAt: now });
}

/** A workload that received a version last and may still use it. */
export interface LateReader {
  readonly id: string;
  readonly name: string;
  readonly seenAt: number;
}

export interface LateReaders {
  readonly readers: readonly LateReader[];
  /** When one of them stops counting although it does not read. */
  readonly checkAt: number;
}

/**
 * The workloads that received `version` last, within the credential's window, and can still read. A reader whose row is damaged counts,
 * under the name `unknown`. People are not waited for: nothing reads again on their behalf.
 */
export function lateReaders(view: TenantView, lookup: Lookup, row: CredentialRow, version: number): LateReaders {
  const now = view.platform.clock.now();
  const windowMs = readerWindowMs(row);
  const { rows, damaged } = view.readers.holding(lookup, row.id, version, now - windowMs, LIMITS.readersMaxRows);
  const workloads = workloadsOf(view, lookup, rows);
  const late = rows.flatMap((reader) => {
    const workload = workloads.get(reader.principal_id);
    if (workload === undefined || workload.revoked_at !== null || workload.expires_at <= now) return [];
    const countsUntil = Math.min(reader.seen_at + windowMs + 1, workload.expires_at);
    return [{ id: workload.id, name: workload.name, seenAt: reader.seen_at, countsUntil }];
  });
  const unknown = Array.from({ length: damaged }, () => ({ id: 'unknown', name: 'unknown', seenAt: now }));
  const checkAt = Math.min(now + LIMITS.readersCheckEveryMs, ...late.map(({ countsUntil }) => countsUntil));
  return { readers: [...late.map(({ id, name, seenAt }) => ({ id, name, seenAt })), ...unknown], checkAt };
}

function readerWindowMs(row: Pick<CredentialRow, 'config'>): number {
  return (keyConfigOf(row).reader_window_seconds ?? LIMITS.readerWindowDefaultSeconds) * 1_000;
}

function workloadsOf(view: TenantView, lookup: Lookup, readers: readonly ReaderRow[]): ReadonlyMap<string, WorkloadRow> {
  const ids = readers.filter(isWorkload).map((reader) => reader.principal_id);
  return new Map(view.workloads.byIds(lookup, ids).map((row) => [row.id, row]));
}

const isWorkload = ({ principal_id: id }: Pick<ReaderRow, 'principal_id'>) => id.startsWith('wkl_');

/** A reader as an admin sees it. */
export interface ReaderView {
  readonly id: string;
  readonly type: 'workload' | 'user';
  /** Null for a user, and for a workload whose row is damaged. */
  readonly name: string | null;
  readonly version: number;
  readonly sinceAt: number;
  readonly seenAt: number;
  /** Whether the end of the version that it has would wait for it. */
  readonly isLive: boolean;
}

/** The readers of a credential, most recently seen first, at most `LIMITS.readersMaxRows`. */
export function listReaders(job: TenantJob, caller: Caller, environment: string, name: string): readonly ReaderView[] {
  return job.door.enter(
    caller,
    'reader.list',
    (lookup) => credentialTarget(job, lookup, environment, name),
    (access, { row }, details) => {
      const readers = describeReaders(job, access, row);
      details.count = readers.length;
      return readers;
    },
  );
}

/** The readers in a plan. SECURITY: a workload may not list the readers (`reader.list`), so its plan has none. */
export function readersInPlan(view: TenantView, access: Lookup, row: CredentialRow): readonly ReaderView[] {
  return isWorkload({ principal_id: access.principalId }) ? [] : describeReaders(view, access, row);
}

export function describeReaders(view: TenantView, lookup: Lookup, row: CredentialRow): readonly ReaderView[] {
  const now = view.platform.clock.now();
  const from = now - readerWindowMs(row);
  const { rows } = view.readers.list(lookup, row.id, LIMITS.readersMaxRows);
  const workloads = workloadsOf(view, lookup, rows);
  return rows.map((reader) => {
    const workload = workloads.get(reader.principal_id);
    return {
      id: reader.principal_id,
      type: isWorkload(reader) ? 'workload' : 'user',
      name: workload?.name ?? null,
      version: reader.version,
      sinceAt: reader.since_at,
      seenAt: reader.seen_at,
      isLive: workload !== undefined && workload.revoked_at === null && workload.expires_at > now && reader.seen_at >= from,
    };
  });
}
