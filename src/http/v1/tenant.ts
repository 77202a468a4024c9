// Routes of a tenant: whoami, environments, and the tenant's keys.

import { z } from 'zod';
import { createEnvironment, listEnvironments } from '../../vault/create-environment.ts';
import { listKeys, rotateKeys } from '../../vault/rotate-keys.ts';
import type { TenantContext } from '../context.ts';
import { once } from '../idempotency.ts';
import { type Route, route } from '../route.ts';
import { environmentView, keysView, progressView } from './views.ts';
import * as wire from './wire.ts';

const TENANT = '/v1/tenants/{tenant}';
const tenantField = { tenant: 'tenant' } as const;

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
        body: environmentView(createEnvironment(job, request.caller, request.body.name, request.body.production)),
      })),
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
