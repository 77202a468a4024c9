// Routes of runs: request a rotation or refresh, list, look, cancel, resume, retry.

import type { z } from 'zod';
import { fail } from '../../base/errors.ts';
import { cancelRun, type NamedRun, resumeRun } from '../../vault/change-run.ts';
import { getRun, listRuns } from '../../vault/read-runs.ts';
import { readReceipt } from '../../vault/receipts.ts';
import type { RunRequest } from '../../vault/run-request.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { once } from '../idempotency.ts';
import { prepend } from '../response.ts';
import { type Answer, type Route, type RouteRequest, route } from '../route.ts';
import { runEvents } from '../run-events.ts';
import { planView, runView } from './views.ts';
import * as wire from './wire.ts';

const RUNS = '/v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs';
const ONE = `${RUNS}/{run}`;
const PLAN = RUNS.replace(/runs$/, 'plan');
const fields = { tenant: 'tenant', environment: 'name', credential: 'credential' } as const;
const runFields = { ...fields, run: 'run' } as const;

function namedRun({ params }: RouteRequest): NamedRun {
  const { environment = '', credential = '', run = '' } = params;
  return { environment, name: credential, runId: run };
}

/** Opens a run and starts it; a replay of the request starts nothing. */
async function openAndStart({ vault, rotation }: TenantContext, request: RouteRequest, asked: RunRequest): Promise<Answer> {
  const { environment = '', credential = '' } = request.params;
  let opened: string | undefined;
  const answer = await once(vault, 'credential.rotate', request, (job) => {
    const run = rotation.open(job, request.caller, environment, credential, asked);
    opened = run.credential_id;
    return { status: 202, body: runView(run) };
  });
  if (opened !== undefined) rotation.start(opened);
  return answer;
}

function requested({ reason, plan, skip_staging: skipsStaging }: z.output<typeof wire.requestRun>): RunRequest {
  return { reason, plan, skipsStaging };
}

export const runRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: PLAN,
    summary: 'What a run requested now would do: every call, and every local check; nothing outside is called',
    tag: 'rotation',
    operation: 'run.read',
    fields,
    success: { status: 200, description: 'The plan; its hash can be given to the run', schema: wire.rotationPlan },
    async handle({ vault, rotation }: TenantContext, request) {
      const { environment = '', credential = '' } = request.params;
      const plan = await vault.submit((job) => rotation.plan(job, request.caller, environment, credential));
      return { status: 200, body: planView(plan) };
    },
  }),
  route({
    method: 'POST',
    path: RUNS,
    summary: 'Rotate or refresh now: opens a run, or returns the open one, and starts it',
    tag: 'rotation',
    operation: 'credential.rotate',
    fields,
    body: wire.requestRun,
    idempotent: true,
    success: {
      status: 202,
      description: 'The run; poll it, or follow its events, until its state is not open',
      schema: wire.run,
    },
    handle: (context: TenantContext, request) => openAndStart(context, request, requested(request.body)),
  }),
  route({
    method: 'GET',
    path: RUNS,
    summary: 'List the runs of a credential, newest first',
    tag: 'rotation',
    operation: 'run.read',
    fields: fields,
    query: wire.page,
    success: { status: 200, description: 'A page of runs', schema: wire.listOf(wire.run) },
    async handle({ vault, cursorKey }: TenantContext, request) {
      const { environment = '', credential = '' } = request.params;
      const scope = `runs/${vault.tenant.id}/${environment}/${credential}`;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const { cursor, limit } = request.query;
        const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : Number(openCursor(cursorKey, scope, cursor));
        return listRuns(job, request.caller, { environment, name: credential, before, maxRows: limit });
      });
      return pageAnswer(cursorKey, scope, page, (row) => runView(row));
    },
  }),
  route({
    method: 'GET',
    path: ONE,
    summary: 'One run with its journal',
    tag: 'rotation',
    operation: 'run.read',
    fields: runFields,
    success: { status: 200, description: 'The run', schema: wire.run },
    async handle({ vault }: TenantContext, request) {
      const { environment = '', credential = '', run = '' } = request.params;
      const { row, steps } = await vault.submit((job) => getRun(job, request.caller, environment, credential, run));
      return { status: 200, body: runView(row, steps) };
    },
  }),
  route({
    method: 'GET',
    path: `${ONE}/events`,
    summary: 'Follow the steps of a run as server-sent events; resumes after the header Last-Event-ID',
    tag: 'rotation',
    operation: 'run.read',
    fields: runFields,
    success: {
      status: 200,
      description:
        'An event `step` for each step of the journal, then one event `end` with the run; `reconnect` after five minutes',
      mediaTypes: ['text/event-stream'],
    },
    async handle({ vault }: TenantContext, request) {
      const { caller, lastEventId = '0', isStillUser = () => true } = request;
      if (!/^[0-9]{1,9}$/.test(lastEventId))
        fail('invalid_request', 'the header Last-Event-ID must be the id of an event of this stream');
      const source = runEvents(vault, { ...namedRun(request), caller, after: Number(lastEventId), isStillUser });
      const first = await source.next();
      return {
        status: 200,
        stream: prepend(first.value ?? new Uint8Array(), source),
        // Proxies that collect answers before they pass them on would delay every step.
        headers: { 'content-type': 'text/event-stream', 'x-accel-buffering': 'no' },
      };
    },
  }),
  route({
    method: 'POST',
    path: `${ONE}/cancel`,
    summary: 'Cancel a run whose new value is not current yet; what it made at the target is ended',
    tag: 'rotation',
    operation: 'credential.rotate',
    fields: runFields,
    body: wire.empty,
    idempotent: true,
    success: { status: 200, description: 'The cancelled run', schema: wire.run },
    handle: ({ vault }: TenantContext, request) =>
      once(vault, 'credential.rotate', request, (job) => ({
        status: 200,
        body: runView(cancelRun(job, request.caller, namedRun(request))),
      })),
  }),
  route({
    method: 'POST',
    path: `${ONE}/resume`,
    summary: 'Continue a waiting run now, for example after the cause of `needs_manual` was removed',
    tag: 'rotation',
    operation: 'credential.rotate',
    fields: runFields,
    body: wire.empty,
    idempotent: true,
    success: { status: 202, description: 'The run', schema: wire.run },
    async handle({ vault, rotation }: TenantContext, request) {
      let resumed: string | undefined;
      const answer = await once(vault, 'credential.rotate', request, (job) => {
        const run = resumeRun(job, request.caller, namedRun(request));
        resumed = run.credential_id;
        return { status: 202, body: runView(run) };
      });
      if (resumed !== undefined) rotation.start(resumed);
      return answer;
    },
  }),
  route({
    method: 'POST',
    path: `${ONE}/retry`,
    summary: 'Open a new run after one that failed or was cancelled',
    tag: 'rotation',
    operation: 'credential.rotate',
    fields: runFields,
    body: wire.empty,
    idempotent: true,
    success: { status: 202, description: 'The new run; retry_of names the old one', schema: wire.run },
    handle: (context: TenantContext, request) => openAndStart(context, request, { retryOf: request.params['run'] }),
  }),
  route({
    method: 'GET',
    path: `${ONE}/receipt`,
    summary: 'The signed receipt of a rotation whose old value has ended (docs/receipts.md)',
    tag: 'rotation',
    operation: 'run.read',
    fields: runFields,
    success: { status: 200, description: 'The receipt; keep its bytes as they are', schema: wire.receipt },
    async handle({ vault }: TenantContext, request) {
      const text = await readReceipt(vault, request.caller, namedRun(request));
      return { status: 200, body: text, headers: { 'content-type': 'application/json' } };
    },
  }),
];
