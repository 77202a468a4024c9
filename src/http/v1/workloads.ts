// Routes of workloads, their secrets and tokens, and the token endpoint.
import type { z } from 'zod';
import { toTimestamp } from '../../base/clock.ts';
import { fail } from '../../base/errors.ts';
import type { SecretValue } from '../../base/secret-value.ts';
import { type ClientProof, exchangeToken, refused } from '../../vault/exchange-token.ts';
import {
  createClientSecret,
  createDirectToken,
  createWorkload,
  getWorkload,
  listWorkloads,
  revokeToken,
  revokeWorkload,
  tryKeys,
} from '../../vault/manage-workloads.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { once } from '../idempotency.ts';
import { type Route, type RouteRequest, route } from '../route.ts';
import { tokenView, workloadView } from './views.ts';
import * as wire from './wire.ts';

const BASE = '/v1/tenants/{tenant}/workloads';
const ONE = `${BASE}/{workload}`;
const fields = { tenant: 'tenant', workload: 'workload' } as const;
const tag = 'workloads';

/** The only place that turns a token into text, for the answer that shows it once. */
export function shown(token: SecretValue): string {
  return token.reveal((bytes) => new TextDecoder().decode(bytes));
}

export const workloadRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'GET',
    path: BASE,
    summary: 'List workloads',
    tag,
    operation: 'workload.list',
    fields: { tenant: 'tenant' },
    query: wire.page,
    success: { status: 200, description: 'A page of workloads', schema: wire.listOf(wire.workload) },
    async handle({ vault, cursorKey }: TenantContext, request) {
      const scope = `workloads/${vault.tenant.id}`;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const after = request.query.cursor === undefined ? '' : openCursor(cursorKey, scope, request.query.cursor);
        return listWorkloads(job, request.caller, after, request.query.limit);
      });
      return pageAnswer(cursorKey, scope, page, workloadView);
    },
  }),
  route({
    method: 'POST',
    path: BASE,
    summary: 'Create a workload; its client secret is shown once',
    tag,
    operation: 'workload.create',
    fields: { tenant: 'tenant' },
    body: wire.createWorkload,
    examples: {
      reader: { name: 'nightly-sync', environment: 'staging', patterns: ['stripe', 'team/*'] },
      narrow: {
        name: 'rotator',
        environment: 'production',
        patterns: ['*'],
        permissions: ['rotate'],
        networks: ['10.0.0.0/8'],
        expires_in: 86_400,
      },
    },
    secret: true,
    idempotent: true,
    success: { status: 201, description: 'The workload and its client credentials', schema: wire.createdWorkload },
    async handle({ vault }: TenantContext, request) {
      const { body } = request;
      if (body.jwks !== undefined) await tryKeys(body.jwks.keys);
      return once(vault, 'workload.create', request, (job) => {
        const { row, clientSecret } = createWorkload(job, request.caller, {
          name: body.name,
          environment: body.environment,
          patterns: body.patterns,
          permissions: body.permissions,
          networks: body.networks,
          jwks: body.jwks === undefined ? undefined : JSON.stringify(body.jwks),
          ttlMs: body.expires_in * 1_000,
        });
        const secret = clientSecret === undefined ? null : shown(clientSecret.token);
        return { status: 201, body: { workload: workloadView(row), client_id: row.id, client_secret: secret } };
      });
    },
  }),
  route({
    method: 'GET',
    path: ONE,
    summary: 'Describe a workload and its tokens, without the token texts',
    tag,
    operation: 'workload.list',
    fields,
    success: { status: 200, description: 'The workload', schema: wire.workloadWithTokens },
    async handle({ vault }: TenantContext, request) {
      const { row, tokens } = await vault.submit((job) => getWorkload(job, request.caller, request.params['workload'] ?? ''));
      return { status: 200, body: { ...workloadView(row), tokens: tokens.map(tokenView) } };
    },
  }),
  route({
    method: 'DELETE',
    path: ONE,
    summary: 'Revoke a workload and all its tokens',
    tag,
    operation: 'workload.revoke',
    fields,
    success: { status: 200, description: 'The revoked workload', schema: wire.workload },
    async handle({ vault }: TenantContext, request) {
      const row = await vault.submit((job) => revokeWorkload(job, request.caller, request.params['workload'] ?? ''));
      return { status: 200, body: workloadView(row) };
    },
  }),
  route({
    method: 'POST',
    path: `${ONE}/secrets`,
    summary: 'Create a further client secret, so that the old one can be replaced without downtime',
    tag,
    operation: 'workload.secret.create',
    fields,
    body: wire.empty,
    secret: true,
    idempotent: true,
    success: { status: 201, description: 'The secret, shown once', schema: wire.issuedToken },
    handle: ({ vault }: TenantContext, request) =>
      once(vault, 'workload.secret.create', request, (job) => {
        const { secret } = createClientSecret(job, request.caller, request.params['workload'] ?? '');
        return {
          status: 201,
          body: { id: secret.publicId, token: shown(secret.token), expires_at: toTimestamp(secret.expiresAtMs) },
        };
      }),
  }),
  route({
    method: 'POST',
    path: `${ONE}/tokens`,
    summary: 'Create a direct token, for a program that cannot use the token endpoint',
    tag,
    operation: 'token.create',
    fields,
    body: wire.createToken,
    secret: true,
    idempotent: true,
    success: { status: 201, description: 'The token, shown once', schema: wire.issuedToken },
    handle: ({ vault }: TenantContext, request) =>
      once(vault, 'token.create', request, (job) => {
        const issued = createDirectToken(job, request.caller, {
          workload: request.params['workload'] ?? '',
          permissions: request.body.permissions,
          ttlMs: request.body.expires_in * 1_000,
        });
        return {
          status: 201,
          body: { id: issued.publicId, token: shown(issued.token), expires_at: toTimestamp(issued.expiresAtMs) },
        };
      }),
  }),
  route({
    method: 'DELETE',
    path: `${ONE}/tokens/{token}`,
    summary: 'Revoke a token or a client secret',
    tag,
    operation: 'token.revoke',
    fields: { ...fields, token: 'token' },
    success: { status: 200, description: 'The revoked token', schema: wire.token },
    async handle({ vault }: TenantContext, request) {
      const { workload = '', token = '' } = request.params;
      return { status: 200, body: tokenView(await vault.submit((job) => revokeToken(job, request.caller, workload, token))) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/tenants/{tenant}/token',
    summary: 'Exchange client credentials for a short-lived access token (RFC 6749 section 4.4, RFC 7523)',
    tag,
    operation: 'token.exchange',
    fields: { tenant: 'tenant' },
    body: wire.tokenRequest,
    examples: {
      client_credentials: { grant_type: 'client_credentials', client_id: 'wkl_example', client_secret: 'example-secret' },
    },
    form: true,
    secret: true,
    success: { status: 200, description: 'The access token', schema: wire.tokenResponse },
    async handle({ vault, publicUrl }: TenantContext, request) {
      const audiences = [vault.tenant.name, vault.tenant.id].map((tenant) => `${publicUrl}/v1/tenants/${tenant}/token`);
      const issued = await exchangeToken(vault, request.caller, proofOf(request), audiences);
      const seconds = Math.floor((issued.expiresAtMs - vault.platform.clock.now()) / 1_000);
      return { status: 200, body: { access_token: shown(issued.token), token_type: 'Bearer', expires_in: seconds } };
    },
  }),
];

function proofOf(request: RouteRequest<z.infer<typeof wire.tokenRequest>>): ClientProof {
  const { body } = request;
  const basic = basicOf(request.authorization);
  // RFC 6749 section 2.3: one authentication method for each request.
  if ([body.client_assertion, body.client_secret, basic].filter((proof) => proof !== undefined).length > 1)
    fail('invalid_request', 'give only one of client_assertion, client_secret and the header Authorization');
  if (body.client_assertion !== undefined) {
    return { method: 'private_key_jwt', clientId: body.client_id, assertion: body.client_assertion };
  }
  if (basic !== undefined) {
    if (body.client_id !== undefined && body.client_id !== basic.clientId)
      fail('invalid_request', 'the field client_id must equal the client of the header Authorization, or be omitted', {
        pointer: '/client_id',
      });
    return { method: 'client_secret', ...basic };
  }
  if (body.client_secret === undefined) {
    throw refused('no proof');
  }
  return { method: 'client_secret', clientId: body.client_id, clientSecret: body.client_secret };
}

/** RFC 6749 section 2.3.1. */
function basicOf(header: string | undefined): { clientId: string; clientSecret: string } | undefined {
  if (header === undefined || !/^basic /i.test(header)) return undefined;
  const text = Buffer.from(header.slice(6), 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (colon < 0) return undefined;
  try {
    return { clientId: decodeURIComponent(text.slice(0, colon)), clientSecret: decodeURIComponent(text.slice(colon + 1)) };
  } catch {
    return undefined;
  }
}
