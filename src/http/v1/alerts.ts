// Routes of alerts and webhooks.
import { isReachable } from '../../../rotation/engine/egress-rules.ts';
import { createWebhook, deleteWebhook, listWebhooks } from '../../alerts/manage-webhooks.ts';
import { listAlerts, listDeliveries } from '../../alerts/read-alerts.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { once } from '../idempotency.ts';
import { type Route, route } from '../route.ts';
import { alertView, deliveryView, webhookView } from './alert-views.ts';
import * as wire from './wire.ts';
import { shown } from './workloads.ts';

const TENANT = '/v1/tenants/{tenant}';
const WEBHOOKS = `${TENANT}/webhooks`;
const tenantField = { tenant: 'tenant' } as const;
const fields = { tenant: 'tenant', webhook: 'webhook' } as const;
const tag = 'alerts';

export const alertRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: `${TENANT}/alerts`,
    summary: 'List alerts, newest first',
    tag,
    operation: 'alert.list',
    fields: tenantField,
    query: wire.listAlerts,
    success: { status: 200, description: 'A page of alerts', schema: wire.listOf(wire.alert) },
    async handle({ vault, cursorKey }: TenantContext, request) {
      const { cursor, limit, credential } = request.query;
      const scope = `alerts/${vault.tenant.id}/${credential ?? ''}`;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const after = cursor === undefined ? '' : openCursor(cursorKey, scope, cursor);
        return listAlerts(job, request.caller, { credentialId: credential, after, maxRows: limit });
      });
      return pageAnswer(cursorKey, scope, page, alertView);
    },
  }),
  route({
    method: 'GET',
    path: WEBHOOKS,
    summary: 'List webhooks, without their secrets',
    tag,
    operation: 'webhook.list',
    fields: tenantField,
    success: { status: 200, description: 'All webhooks of the tenant', schema: wire.listOf(wire.webhook) },
    async handle({ vault }: TenantContext, request) {
      const rows = await vault.submit((job) => listWebhooks(job, request.caller));
      return { status: 200, body: { items: rows.map(webhookView), next_cursor: null } };
    },
  }),
  route({
    method: 'POST',
    path: WEBHOOKS,
    summary: 'Create a webhook: alerts are sent to its URL, signed as Standard Webhooks; the secret is shown once',
    tag,
    operation: 'webhook.create',
    fields: tenantField,
    body: wire.createWebhook,
    secret: true,
    idempotent: true,
    success: { status: 201, description: 'The webhook and its secret', schema: wire.createdWebhook },
    handle: ({ vault, rotation }: TenantContext, request) =>
      once(vault, 'webhook.create', request, (job) => {
        const { url, kinds } = request.body;
        const allowLoopback = rotation.ports.sandboxAllowed;
        const { row, secret } = createWebhook(job, request.caller, { url, kinds, allowLoopback, mayReach: isReachable });
        return { status: 201, body: { ...webhookView(row), secret: shown(secret) } };
      }),
  }),
  route({
    method: 'DELETE',
    path: `${WEBHOOKS}/{webhook}`,
    summary: 'Delete a webhook and its waiting deliveries',
    tag,
    operation: 'webhook.delete',
    fields,
    success: { status: 200, description: 'The deleted webhook', schema: wire.webhook },
    async handle({ vault }: TenantContext, request) {
      const row = await vault.submit((job) => deleteWebhook(job, request.caller, request.params['webhook'] ?? ''));
      return { status: 200, body: webhookView(row) };
    },
  }),
  route({
    method: 'GET',
    path: `${WEBHOOKS}/{webhook}/deliveries`,
    summary: 'List the deliveries of a webhook and their results, newest first',
    tag,
    operation: 'webhook.list',
    fields,
    query: wire.page,
    success: { status: 200, description: 'A page of deliveries', schema: wire.listOf(wire.delivery) },
    async handle({ vault, cursorKey }: TenantContext, request) {
      const id = request.params['webhook'] ?? '';
      const { cursor, limit } = request.query;
      const scope = `deliveries/${vault.tenant.id}/${id}`;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const after = cursor === undefined ? '' : openCursor(cursorKey, scope, cursor);
        return listDeliveries(job, request.caller, id, after, limit);
      });
      return pageAnswer(cursorKey, scope, page, deliveryView);
    },
  }),
];
