// Routes of connections: create, list and cancel links by which a person connects an account.
import type { z } from 'zod';
import {
  cancelConnection,
  createConnection,
  discoverEndpoints,
  listConnections,
} from '../../../rotation/grants/consent/make-link.ts';
import type { ConnectionInput } from '../../../rotation/grants/consent/wanted.ts';
import { toTimestamp } from '../../base/clock.ts';
import type { Connection } from '../../cell/connections.ts';
import type { TenantContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { once } from '../idempotency.ts';
import { type Route, type RouteRequest, route } from '../route.ts';
import { credentialView } from './views.ts';
import * as wire from './wire.ts';
import * as connections from './wire-connections.ts';

const BASE = '/v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/connections';
const fields = { tenant: 'tenant', environment: 'name', credential: 'credential' } as const;
const tag = 'connections';

/** The path of the redirect URI that is registered at providers. */
export const CALLBACK_PATH = '/connect/callback';

function names(request: RouteRequest): { environment: string; name: string } {
  return { environment: request.params['environment'] ?? '', name: request.params['credential'] ?? '' };
}

export const connectionRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'POST',
    path: BASE,
    summary: 'Create a link by which a person connects or reconnects an account; creates the credential if it does not exist',
    tag,
    operation: 'connection.create',
    fields,
    body: connections.createConnection,
    secret: true,
    idempotent: true,
    success: {
      status: 201,
      description: 'The link, shown once, and the scopes it requests',
      schema: connections.createdConnection,
    },
    async handle({ vault, rotation, publicUrl }: TenantContext, request) {
      const ports = { ...rotation.ports, vault };
      const input = inputOf(request, publicUrl);
      const discovered = await discoverEndpoints(ports, request.caller, input);
      return once(vault, 'connection.create', request, (job) => {
        const made = createConnection({ ...rotation.ports, job }, request.caller, input, discovered);
        const body: connections.WireCreatedConnection = {
          id: made.connection.id,
          state: made.connection.state,
          link: `${publicUrl}/connect/${vault.tenant.id}/${made.linkToken}`,
          expires_at: toTimestamp(made.connection.expires_at),
          redirect_uri: input.redirectUri,
          scopes: made.scopes.map(({ scope, title, workflows }) => ({
            scope,
            title,
            workflows: workflows.map((workflow) => workflow.name),
          })),
          credential: credentialView(vault, made.located),
        };
        return { status: 201, body };
      });
    },
  }),
  route({
    method: 'GET',
    path: BASE,
    summary: 'List the connections of a credential and their results, newest first, without the link itself',
    tag,
    operation: 'connection.list',
    fields,
    query: wire.page,
    success: { status: 200, description: 'A page of connections', schema: wire.listOf(connections.connection) },
    async handle({ vault, cursorKey }: TenantContext, request) {
      const place = names(request);
      const scope = `connections/${vault.tenant.id}/${place.environment}/${place.name}`;
      const { cursor, limit } = request.query;
      const page = await vault.submit((job) => {
        job.door.authenticate(request.caller);
        const mark = cursor === undefined ? undefined : openCursor(cursorKey, scope, cursor);
        return listConnections(job, request.caller, place, mark, limit);
      });
      return pageAnswer(cursorKey, scope, page, connectionView);
    },
  }),
  route({
    method: 'DELETE',
    path: `${BASE}/{connection}`,
    summary: 'Cancel a link',
    tag,
    operation: 'connection.cancel',
    fields: { ...fields, connection: 'connection' },
    success: { status: 200, description: 'The cancelled connection', schema: connections.connection },
    async handle({ vault }: TenantContext, request) {
      const id = request.params['connection'] ?? '';
      return {
        status: 200,
        body: connectionView(await vault.submit((job) => cancelConnection(job, request.caller, names(request), id))),
      };
    },
  }),
];

function inputOf(request: RouteRequest<z.infer<typeof connections.createConnection>>, publicUrl: string): ConnectionInput {
  const { body } = request;
  return {
    ...names(request),
    connector: body.connector,
    config: body.config,
    secrets: {
      client_secret: body.client_secret,
      client_private_jwk: body.client_private_jwk,
      client_private_key_pem: body.client_private_key_pem,
    },
    ttlMs: body.expires_in * 1_000,
    labels: body.labels,
    description: body.description,
    redirectUri: publicUrl + CALLBACK_PATH,
  };
}

function connectionView(row: Connection): connections.WireConnection {
  return {
    id: row.id,
    state: row.state,
    cause: row.cause,
    created_at: toTimestamp(row.created_at),
    created_by: row.created_by,
    expires_at: toTimestamp(row.expires_at),
    finished_at: row.finished_at === null ? null : toTimestamp(row.finished_at),
  };
}
