// The audit log on the wire, the same for a tenant's log and the installation's.
import type { Caller } from '../../access/principals.ts';
import { toTimestamp } from '../../base/clock.ts';
import type { AuditedCell } from '../../vault/read-audit.ts';
import { exportAudit, followAudit, readCheckpoint, searchAudit } from '../../vault/read-audit.ts';
import type { HomeContext, TenantContext } from '../context.ts';
import { type Answer, type PathField, type Route, route } from '../route.ts';
import * as wire from './wire.ts';

const tag = 'audit';

function auditRoutes<C>(
  base: string,
  fields: Record<string, PathField>,
  cellOf: (context: C) => AuditedCell,
  operations: AuditedCell['auditOperations'],
) {
  return [
    route({
      method: 'GET',
      path: `${base}/audit/events`,
      summary: 'Search the log, newest first; with `from`, follow it oldest first',
      tag,
      operation: operations.read,
      fields,
      query: wire.auditQuery,
      success: { status: 200, description: 'Events', schema: wire.events },
      async handle(context: C, request): Promise<Answer> {
        const cell = cellOf(context);
        const { query } = request;
        if (query.from !== undefined) return follow(cell, request.caller, query.from, query.limit);
        const { since, until, before, limit, from: _from, ...filter } = query;
        const bounds = {
          sinceAt: since === undefined ? undefined : toTimestamp(Date.parse(since)),
          untilAt: until === undefined ? undefined : toTimestamp(Date.parse(until)),
        };
        const page = await cell.core.cell.submit(() =>
          searchAudit(cell, request.caller, { ...filter, ...bounds }, before, limit),
        );
        return { status: 200, body: { items: page.events, next_before: page.nextBefore ?? null } };
      },
    }),
    route({
      method: 'GET',
      path: `${base}/audit/checkpoint`,
      summary: 'The signed head of the log (C2SP tlog-checkpoint) and the key to verify it with',
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
    }),
    route({
      method: 'GET',
      path: `${base}/audit/export`,
      summary: 'The whole log with its signed heads, for verification offline',
      tag,
      operation: operations.export,
      fields,
      success: { status: 200, description: 'One JSON value a line', mediaType: 'application/jsonl' },
      async handle(context: C, request): Promise<Answer> {
        const source = exportAudit(cellOf(context), request.caller);
        const first = await source.next();
        return {
          status: 200,
          stream: prepend(first.value ?? new Uint8Array(), source),
          headers: { 'content-type': 'application/jsonl' },
        };
      },
    }),
  ];
}

async function follow(cell: AuditedCell, caller: Caller, from: number, limit: number): Promise<Answer> {
  const events = await cell.core.cell.submit(() => followAudit(cell, caller, from, limit));
  return { status: 200, body: { items: events, next_before: null } };
}

// The first slice is produced before the answer starts, so that a refusal is still a problem with its status.
async function* prepend(first: Uint8Array, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  yield* rest;
}

export const tenantAuditRoutes: readonly Route<TenantContext>[] = auditRoutes(
  '/v1/tenants/{tenant}',
  { tenant: 'tenant' },
  (context: TenantContext) => context.vault,
  { read: 'audit.read', export: 'audit.export' },
);

export const homeAuditRoutes: readonly Route<HomeContext>[] = auditRoutes('/v1', {}, (context: HomeContext) => context.home, {
  read: 'installation.audit.read',
  export: 'installation.audit.read',
});
