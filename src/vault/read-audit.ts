// Search, follow and export of the log. Each of these reads is an event itself.

import type { AuthorizationResource } from '../access/authorizer.ts';
import type { Operation } from '../access/operations.ts';
import type { Caller } from '../access/principals.ts';
import type { EventFilter } from '../audit/audit-reader.ts';
import type { AuditEvent } from '../audit/event.ts';
import { ExportText, type IndexRange, lineBytes } from '../audit/export-lines.ts';
import type { RequestSource } from '../audit/sources.ts';
import { LIMITS } from '../base/limits.ts';
import type { Lookup } from '../cell/access.ts';
import type { CheckpointRow } from '../cell/log-rows.ts';
import type { CellHandle, CellJob } from './cell-handle.ts';

/** A job of a cell whose log can be read: a tenant's or the home cell's. */
export interface AuditedJob extends CellJob {
  readonly auditResource: AuthorizationResource;
  readonly auditOperations: { readonly read: Operation; readonly export: Operation };
}

export interface ReadableEvent extends AuditEvent {
  /** Address and user agent of `source`, unless they are erased. */
  readonly origin?: RequestSource;
}

export interface EventsPage {
  readonly events: ReadableEvent[];
  readonly nextBefore: number | undefined;
  /** Events of the part looked at that are not stored as they were logged, or not at all: they are not in `events`. Newest first. */
  readonly damaged: readonly IndexRange[];
}

export type AuditedCell = CellHandle<unknown, AuditedJob>;

function auditTarget(job: AuditedJob) {
  return () => ({ resource: job.auditResource, target: { type: 'audit log' }, subject: true as const });
}

/**
 * Newest first. Reads in turns, so that other requests run in between, and reads a bounded number of events: a page may be short or empty
 * with `nextBefore` set. The search is recorded in its first turn; the event has the count only if one turn was enough.
 */
export async function searchAudit(
  cell: AuditedCell,
  caller: Caller,
  filter: EventFilter,
  before: number | undefined,
  maxRows: number,
): Promise<EventsPage> {
  const opened = await cell.submit((job) =>
    job.door.enter(caller, job.auditOperations.read, auditTarget(job), (access, _subject, details) => {
      const { floor, ceiling } = job.core.events.bounds(access, filter);
      const at = { before: Math.min(before ?? Number.MAX_SAFE_INTEGER, ceiling), floor };
      const slice = job.core.events.search(access, filter, at, maxRows);
      if (slice.nextBefore === undefined || slice.events.length === maxRows) details.count = slice.events.length;
      return { slice, floor, events: withOrigins(job, slice.events) };
    }),
  );
  const events = [...opened.events];
  const damaged = [...opened.slice.damaged];
  let { nextBefore, looked } = opened.slice;
  while (nextBefore !== undefined && events.length < maxRows && looked < LIMITS.auditScanMaxEvents) {
    const at = { before: nextBefore, floor: opened.floor };
    const rows = maxRows - events.length;
    const turn = await cell.submit((job) =>
      job.door.lookup('audit', (lookup) => {
        const slice = job.core.events.search(lookup, filter, at, rows);
        return { ...slice, events: withOrigins(job, slice.events) };
      }),
    );
    events.push(...turn.events);
    damaged.push(...turn.damaged);
    nextBefore = turn.nextBefore;
    looked += turn.looked;
  }
  return { events, nextBefore, damaged };
}

export interface FollowedEvents {
  readonly events: readonly ReadableEvent[];
  /** The index from which to continue, even if no event has it yet. */
  readonly nextFrom: number;
  /** As in `EventsPage`, oldest first. */
  readonly damaged: readonly IndexRange[];
}

/** Oldest first from an index, for following the log; bounded as a search. */
export async function followAudit(
  cell: AuditedCell,
  caller: Caller,
  filter: EventFilter,
  fromIndex: number,
  maxRows: number,
): Promise<FollowedEvents> {
  const events: ReadableEvent[] = [];
  const damaged: IndexRange[] = [];
  const take = (job: AuditedJob, access: Lookup, from: number) => {
    const slice = job.core.events.follow(access, filter, from, maxRows - events.length);
    events.push(...withOrigins(job, slice.events));
    damaged.push(...slice.damaged);
    return slice;
  };
  let turn = await cell.submit((job) =>
    job.door.enter(caller, job.auditOperations.read, auditTarget(job), (access, _subject, details) => {
      const slice = take(job, access, fromIndex);
      if (slice.atEnd || slice.events.length === maxRows) details.count = slice.events.length;
      return slice;
    }),
  );
  let { looked } = turn;
  while (!turn.atEnd && events.length < maxRows && looked < LIMITS.auditScanMaxEvents) {
    const from = turn.nextFrom;
    turn = await cell.submit((job) => job.door.lookup('audit', (lookup) => take(job, lookup, from)));
    looked += turn.looked;
  }
  return { events, nextFrom: turn.nextFrom, damaged };
}

export interface SignedHead extends CheckpointRow {
  readonly verifierKey: string;
}

/** Signs the present head if it is newer than the last signed one, and returns the newest. Two jobs: the signature must be durable first. */
export async function readCheckpoint(cell: AuditedCell, caller: Caller): Promise<SignedHead> {
  await cell.submit((job) => {
    job.door.enter(caller, job.auditOperations.read, auditTarget(job), () => job.core.audit.signNow());
  });
  const row = await cell.submit((job) => job.door.lookup('audit', (lookup) => job.core.events.latestCheckpoint(lookup)));
  return { ...row, verifierKey: cell.verifierKey };
}

/**
 * An export up to a head signed now, in slices; a slow reader keeps no transaction open. With `wanted`, it contains the events of that range
 * and only the hashes of the others. The last line is a signature over all lines before it.
 */
export async function* exportAudit(cell: AuditedCell, caller: Caller, wanted?: IndexRange): AsyncGenerator<Uint8Array> {
  await cell.submit((job) => {
    job.door.enter(caller, job.auditOperations.export, auditTarget(job), () => job.core.audit.signNow());
  });
  const { head, origin } = await cell.submit((job) => ({
    head: job.door.lookup('audit', (lookup) => job.core.events.latestCheckpoint(lookup)),
    origin: job.core.audit.origin,
  }));
  const { verifierKey } = cell;
  const written = new ExportText();
  yield written.take([lineBytes({ kind: 'header', origin, size: head.size, verifierKey, range: wanted })]);
  let from = 0;
  while (from < head.size) {
    // One job per slice, so that other requests run in between.
    const at = from;
    const slice = await cell.submit((job) =>
      job.door.lookup('audit', (lookup) => job.core.events.exportSlice(lookup, at, head.size, wanted)),
    );
    yield written.take(slice.lines, slice.events);
    from = slice.nextIndex;
  }
  yield await cell.submit((job) => written.close((statement) => job.core.audit.closingNote(statement)));
}

/** Opens each sealed origin once: many events share few origins. */
function withOrigins(job: AuditedJob, events: readonly AuditEvent[]): ReadableEvent[] {
  const known = new Map<string, RequestSource | undefined>();
  return events.map((event) => {
    const { source } = event;
    if (source === undefined) return event;
    if (!known.has(source)) known.set(source, job.core.audit.sources.find(source));
    const origin = known.get(source);
    return origin === undefined ? event : { ...event, origin };
  });
}
