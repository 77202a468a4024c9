// Routes of a tenant: whoami, environments, runs of credentials, and the tenant's keys.

import { z } from 'zod';
import { createEnvironment, listEnvironments } from '../../vault/create-environment.ts';
import { getRun, listRuns } from '../../vault/read-runs.ts';
import { listKeys, rotateKeys } from '../../vault/rotate-keys.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { once } from '../idempotency.ts';
import { type Route, route } from '../route.ts';
import { environmentView, keysView, progressView, runView } from './views.ts';
import * as wire from './wire.ts';

const TENANT = '/v1/tenants/{tenant}';
const ROTATIONS = `${TENANT}/environments/{environment}/credentials/{credential}/rotations`;
const tenantField = { tenant: 'tenant' } as const;
const credentialFields = { tenant: 'tenant', environment: 'name', credential: 'credential' } as const;

export const tenantRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: `${TENANT}/whoami`,
    summary: 'The workload or user of the token, with its roles in this tenant',
    tag: 'environments',
    operation: 'self',
    fields: tenantField,
    success: { status: 200, description: 'Identity and roles', schema: wire.whoAmI },
    async handle({ vault }: TenantContext, request) {
      const principal = await vault.submit((job) => job.door.authenticate(request.caller));
      const roles = [...principal.roles];
      if (principal.type === 'Workload') {
        const { id, name, environment } = principal;
        return { status: 200, body: { type: 'workload', id, name, roles, environment } };
      }
      const name = principal.type === 'User' ? principal.identity.name : principal.id;
      return { status: 200, body: { type: 'user', id: principal.id, name, roles } };
    },
  }),
  route({
    method: 'GET',
    path: `${TENANT}/environments`,
    summary: 'List environments',
    tag: 'environments',
    operation: 'environment.list',
    fields: tenantField,
    success: { status: 200, description: 'All environments of the tenant', schema: wire.listOf(wire.environment) },
    async handle({ vault }: TenantContext, request) {
      const rows = await vault.submit((job) => listEnvironments(job, request.caller));
      return { status: 200, body: { items: rows.map(environmentView), next_cursor: null } };
    },
  }),
  route({
    method: 'POST',
    path: `${TENANT}/environments`,
    summary: 'Create an environment',
    tag: 'environments',
    operation: 'environment.create',
    fields: tenantField,
    body: wire.createEnvironment,
    idempotent: true,
    success: { status: 201, description: 'The environment', schema: wire.environment },
    handle: ({ vault }: TenantContext, request) =>
      once(vault, 'environment.create', request, (job) => ({
        status: 201,
        body: environmentView(createEnvironment(job, request.caller, request.body.name)),
      })),
  }),
  route({
    method: 'POST',
    path: ROTATIONS,
    summary: 'Rotate now: opens a run, or returns the open one, and starts it',
    tag: 'rotation',
    operation: 'credential.rotate',
    fields: credentialFields,
    body: wire.empty,
    idempotent: true,
    success: { status: 202, description: 'The run; poll it until its state is not open', schema: wire.run },
    async handle({ vault, rotation }: TenantContext, request) {
      const { environment = '', credential = '' } = request.params;
      let opened: string | undefined;
      const answer = await once(vault, 'credential.rotate', request, (job) => {
        const run = rotation.open(job, request.caller, environment, credential);
        opened = run.credential_id;
        return { status: 202, body: runView(run) };
      });
      if (opened !== undefined) rotation.start(opened);
      return answer;
    },
  }),
  route({
    method: 'GET',
    path: ROTATIONS,
    summary: 'List the runs of a credential, newest first',
    tag: 'rotation',
    operation: 'run.read',
    fields: credentialFields,
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
    path: `${ROTATIONS}/{run}`,
    summary: 'One run with its journal',
    tag: 'rotation',
    operation: 'run.read',
    fields: { ...credentialFields, run: 'run' },
    success: { status: 200, description: 'The run', schema: wire.run },
    async handle({ vault }: TenantContext, request) {
      const { environment = '', credential = '', run = '' } = request.params;
      const { row, steps } = await vault.submit((job) => getRun(job, request.caller, environment, credential, run));
      return { status: 200, body: runView(row, steps) };
    },
  }),
  route({
    method: 'GET',
    path: `${TENANT}/keys`,
    summary: "List the tenant's keys, their states and the progress of their rotation, without key bytes",
    tag: 'keys',
    operation: 'key.list',
    fields: tenantField,
    success: { status: 200, description: 'Keys and rotations', schema: wire.keys },
    async handle({ vault }: TenantContext, request) {
      return { status: 200, body: keysView(await vault.submit((job) => listKeys(job, request.caller))) };
    },
  }),
  route({
    method: 'POST',
    path: `${TENANT}/keys/rotations`,
    summary: "Rotate the tenant's keys: new values use the new keys at once, stored values are rewrapped in the background",
    tag: 'keys',
    operation: 'key.rotate',
    fields: tenantField,
    body: wire.rotateKeys,
    idempotent: true,
    success: { status: 202, description: 'Progress by purpose', schema: z.object({ rotations: z.array(wire.keyProgress) }) },
    handle: ({ vault }: TenantContext, request) =>
      once(vault, 'key.rotate', request, (job) => {
        const { purposes } = request.body;
        return { status: 202, body: { rotations: rotateKeys(job, request.caller, purposes).map(progressView) } };
      }),
  }),
];
