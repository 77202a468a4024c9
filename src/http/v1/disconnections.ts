// The route that disconnects an account.
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import type { TenantContext } from '../context.ts';
import { once } from '../idempotency.ts';
import { type Route, route } from '../route.ts';
import { preconditionOf } from './credentials.ts';
import { credentialView, revisionTag } from './views.ts';
import * as wire from './wire.ts';

export const disconnectionRoutes: readonly Route<TenantContext>[] = [
  route({
    method: 'POST',
    path: '/v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/disconnections',
    summary: 'Disconnect an account: not readable from now on, and revoked at the provider if the provider supports it',
    tag: 'connections',
    operation: 'credential.disconnect',
    fields: { tenant: 'tenant', environment: 'name', credential: 'credential' },
    body: wire.disconnect,
    etag: 'write',
    idempotent: true,
    success: {
      status: 200,
      description: 'The credential, the state of its revocation, and manual steps if the provider has no revocation call',
      schema: wire.disconnected,
    },
    handle: ({ vault, rotation }: TenantContext, request) =>
      once(vault, 'credential.disconnect', request, (job) => {
        const { located, manualSteps } = disconnectCredential({ ...rotation.ports, job }, request.caller, {
          environment: request.params['environment'] ?? '',
          name: request.params['credential'] ?? '',
          revoke: request.body.revoke,
          precondition: preconditionOf(request),
        });
        return {
          status: 200,
          body: { ...credentialView(vault, located), manual_steps: [...manualSteps] },
          headers: { etag: revisionTag(located) },
        };
      }),
  }),
];
