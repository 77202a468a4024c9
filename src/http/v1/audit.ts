// Routes of the audit log, for the log of a tenant and for the log of the installation.
import { toTimestamp } from '../../base/clock.ts';
import type { AuditedCell, AuditedJob, ReadableEvent } from '../../vault/read-audit.ts';
import { exportAudit, followAudit, readCheckpoint, searchAudit } from '../../vault/read-audit.ts';
import type { ActorNames, HomeContext, TenantContext } from '../context.ts';
import { prepend } from '../response.ts';
import { type Answer, type PathField, type Route, route } from '../route.ts';
import * as wire from './wire.ts';

const tag = 'audit';

const NAMED: ReadonlySet<string> = new Set(['user', 'workload']);

interface AuditedPlace<C> {
  readonly base: string;
  readonly fields: Record<string, PathField>;
  readonly operations: AuditedJob['auditOperations'];
  cellOf(context: C): AuditedCell;
  /** Ids of current and former principals with this name. */
  idsNamed(context: C, name: string): Promise<readonly string[]>;
  /** Present names of users and workloads by id, also of former ones. */
  namesOf(context: C, ids: readonly string[]): Promise<ActorNames>;
}

function auditRoutes<C>(place: AuditedPlace<C>): readonly Route<C>[] {
  return [searchRoute(place), checkpointRoute(place), exportRoute(place)];
}

/**
 * SECURITY: called after the search was allowed, with the actors of its events only. The name is not part of the event: no signature covers
 * it, and it can change.
 */
async function withNames<C>({ namesOf }: AuditedPlace<C>, context: C, events: readonly ReadableEvent[]) {
  const ids = new Set(events.map(({ actor }) => actor).flatMap(({ type, id }) => (NAMED.has(type) ? [id] : [])));
  if (ids.size === 0) return events;
  const names = new Map(await namesOf(context, [...ids]));
  return events.map((event) => {
    const name = names.get(event.actor.id);
    return name === undefined ? event : { ...event, actor_name: name };
  });
}

function searchRoute<C>(place: AuditedPlace<C>) {
  const { base, fields, operations, cellOf, idsNamed } = place;
  return route({
    method: 'GET',
    path: `${base}/audit/events`,
    summary:
      'Search the log, newest first; with `from`, follow it, oldest first. Continue at next_before or next_from, also after a short page',
    tag,
    operation: operations.read,
    fields,
    query: wire.auditQuery,
    success: { status: 200, description: 'Events', schema: wire.events },
    async handle(context: C, request): Promise<Answer> {
      const cell = cellOf(context);
      const { since, until, before, from, limit, ...given } = request.query;
      const filter = {
        ...given,
        actorIds: given.actor === undefined ? undefined : await idsNamed(context, given.actor),
        sinceAt: since === undefined ? undefined : toTimestamp(Date.parse(since)),
        untilAt: until === undefined ? undefined : toTimestamp(Date.parse(until)),
      };
      if (from !== undefined) {
        const { events, nextFrom, damaged } = await followAudit(cell, request.caller, filter, from, limit);
        return {
          status: 200,
          body: { items: await withNames(place, context, events), next_before: null, next_from: nextFrom, damaged },
        };
      }
      const { events, nextBefore, damaged } = await searchAudit(cell, request.caller, filter, before, limit);
      return {
        status: 200,
        body: { items: await withNames(place, context, events), next_before: nextBefore ?? null, next_from: null, damaged },
      };
    },
  });
}

function checkpointRoute<C>({ base, fields, operations, cellOf }: AuditedPlace<C>) {
  return route({
    method: 'GET',
    path: `${base}/audit/checkpoint`,
    summary: 'The newest signed head of the log (C2SP tlog-checkpoint) and its verifier key',
    tag,
    operation: operations.read,
    fields,
    success: { status: 200, description: 'The newest signed head', schema: wire.checkpoint },
    async handle(context: C, request): Promise<Answer> {
      const head = await readCheckpoint(cellOf(context), request.caller);
      return {
        status: 200,
        body: { size: head.size, at: toTimestamp(head.at), note: head.note, verifier_key: head.verifierKey },
      };
    },
  });
}

function exportRoute<C>({ base, fields, operations, cellOf }: AuditedPlace<C>) {
  return route({
    method: 'GET',
    path: `${base}/audit/export`,
    summary:
      'Export the log with its signed heads for offline verification; with from and to, the events of the range and hashes of the others',
    tag,
    operation: operations.export,
    fields,
    query: wire.exportQuery,
    success: { status: 200, description: 'One JSON value a line', mediaTypes: ['application/jsonl'] },
    async handle(context: C, request): Promise<Answer> {
      const { from, to } = request.query;
      const range = from === undefined || to === undefined ? undefined : { from, to };
      const source = exportAudit(cellOf(context), request.caller, range);
      const first = await source.next();
      return {
        status: 200,
        stream: prepend(first.value ?? new Uint8Array(), source),
        headers: { 'content-type': 'application/jsonl' },
      };
    },
  });
}

export const tenantAuditRoutes: readonly Route<TenantContext>[] = auditRoutes<TenantContext>({
  base: '/v1/tenants/{tenant}',
  fields: { tenant: 'tenant' },
  operations: { read: 'audit.read', export: 'audit.export' },
  cellOf: ({ vault }) => vault,
  idsNamed: async ({ vault, userIdsNamed }, name) => [
    ...vault.lookup('audit', (lookup, view) => view.workloads.idsNamed(lookup, name)),
    ...(await userIdsNamed(name)),
  ],
  namesOf: async ({ vault, userNames }, ids) => [
    ...vault.lookup('audit', (lookup, view) => view.workloads.names(lookup, ids)),
    ...(await userNames(ids)),
  ],
});

export const homeAuditRoutes: readonly Route<HomeContext>[] = auditRoutes<HomeContext>({
  base: '/v1',
  fields: {},
  operations: { read: 'installation.audit.read', export: 'installation.audit.read' },
  cellOf: ({ home }) => home,
  idsNamed: async ({ home }, name) => home.userIdsNamed(name),
  namesOf: async ({ home }, ids) => home.userNames(ids),
});
