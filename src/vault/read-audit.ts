// The security reviewer's use cases: search, follow and export the log. Reading the log is itself logged.

import type { AuthorizationResource } from '../access/authorizer.ts';
import type { Door } from '../access/guard.ts';
import type { Operation } from '../access/operations.ts';
import type { Caller } from '../access/principals.ts';
import { type CheckpointRow, type EventFilter, line } from '../audit/audit-reader.ts';
import type { AuditEvent } from '../audit/event.ts';
import type { RequestSource } from '../audit/sources.ts';
import type { OpenCell } from './open-cell.ts';

/** A cell whose log can be read: a tenant's or the home cell's. */
export interface AuditedCell {
  readonly core: OpenCell;
  readonly door: Door;
  readonly auditResource: AuthorizationResource;
  readonly auditOperations: { readonly read: Operation; readonly export: Operation };
}

export interface ReadableEvent extends AuditEvent {
  /** The address and user agent behind `source`, when the caller may see them and they are not erased. */
  readonly origin?: RequestSource;
}

export interface EventsPage {
  readonly events: ReadableEvent[];
  readonly nextBefore: number | undefined;
}

function auditTarget(cell: AuditedCell) {
  return () => ({ resource: cell.auditResource, target: { type: 'audit log' }, subject: true as const });
}

/** Newest first. */
export function searchAudit(
  cell: AuditedCell,
  caller: Caller,
  filter: EventFilter,
  before: number | undefined,
  maxRows: number,
): EventsPage {
  return cell.door.enter(caller, cell.auditOperations.read, auditTarget(cell), (access, _subject, details) => {
    const page = cell.core.events.search(access, filter, before ?? Number.MAX_SAFE_INTEGER, maxRows);
    details.count = page.events.length;
    return { events: page.events.map((event) => withOrigin(cell, event)), nextBefore: page.nextBefore };
  });
}

/** Oldest first from an index, for following the log. */
export function followAudit(cell: AuditedCell, caller: Caller, fromIndex: number, maxRows: number): ReadableEvent[] {
  return cell.door.enter(caller, cell.auditOperations.read, auditTarget(cell), (access, _subject, details) => {
    const events = cell.core.events.from(access, fromIndex, maxRows);
    details.count = events.length;
    return events.map((event) => withOrigin(cell, event));
  });
}

export interface SignedHead extends CheckpointRow {
  readonly verifierKey: string;
}

/** Signs the present head if it is newer than the last signed one, and returns the newest. Two steps: the signature must be durable first. */
export async function readCheckpoint(cell: AuditedCell, caller: Caller): Promise<SignedHead> {
  await cell.core.cell.submit(() => {
    cell.door.enter(caller, cell.auditOperations.read, auditTarget(cell), () => cell.core.audit.signNow());
  });
  const row = await cell.core.cell.submit(() => cell.door.lookup('audit', (lookup) => cell.core.events.latestCheckpoint(lookup)));
  return { ...row, verifierKey: cell.core.audit.verifierKey };
}

/** An export up to a head signed now, slice by slice; a slow reader holds nothing open. */
export async function* exportAudit(cell: AuditedCell, caller: Caller): AsyncGenerator<Uint8Array> {
  await cell.core.cell.submit(() => {
    cell.door.enter(caller, cell.auditOperations.export, auditTarget(cell), () => cell.core.audit.signNow());
  });
  const head = await cell.core.cell.submit(() =>
    cell.door.lookup('audit', (lookup) => cell.core.events.latestCheckpoint(lookup)),
  );
  const { audit } = cell.core;
  yield line({ export: 'keyturn-audit-v1', origin: audit.origin, size: head.size, verifier_key: audit.verifierKey });
  let from = 0;
  while (from < head.size) {
    const slice = cell.door.lookup('audit', (lookup) => cell.core.events.exportSlice(lookup, from, head.size));
    yield slice.text;
    from = slice.nextIndex;
  }
}

function withOrigin(cell: AuditedCell, event: AuditEvent): ReadableEvent {
  const origin = event.source === undefined ? undefined : cell.core.audit.sources.find(event.source);
  return origin === undefined ? event : { ...event, origin };
}
