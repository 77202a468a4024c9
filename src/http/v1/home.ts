// Routes of the installation: first set-up, users, tenants, whoami, health, metrics.
import type { UserIdentity } from '../../access/principals.ts';
import { toTimestamp } from '../../base/clock.ts';
import { fail } from '../../base/errors.ts';
import type { ClockState } from '../../base/steady-clock.ts';
import type { TenantRow } from '../../cell/tenants.ts';
import { installationTarget } from '../../vault/home-job.ts';
import { claimTenant, finishTenant, halfMadeTenant, listTenants } from '../../vault/manage-tenants.ts';
import { createUser, createUserToken, listUsers, offboardUser, revokeUserToken } from '../../vault/manage-users.ts';
import { enrol, type IssuedUserToken, setUp } from '../../vault/set-up.ts';
import type { HomeContext } from '../context.ts';
import { openCursor, pageAnswer } from '../cursor.ts';
import { healthOf } from '../health.ts';
import { once } from '../idempotency.ts';
import { formatFor, METRICS_TYPES } from '../metrics.ts';
import { type Route, route } from '../route.ts';
import { tenantView, tokenView, userView } from './views.ts';
import type { WireHealthDetail } from './wire.ts';
import * as wire from './wire.ts';
import { shown } from './workloads.ts';

function issuedView(issued: IssuedUserToken) {
  return { id: issued.publicId, token: shown(issued.token), expires_at: toTimestamp(issued.expiresAtMs) };
}

function clockView({ state, aheadMs, steadyInMs }: ClockState): WireHealthDetail['clock'] {
  return {
    state,
    ahead_seconds: Math.round(aheadMs / 1_000),
    steady_in_seconds: steadyInMs === undefined ? null : Math.ceil(steadyInMs / 1_000),
  };
}

export const homeRoutes: readonly Route<HomeContext>[] = [
  route({
    method: 'POST',
    path: '/v1/setup',
    summary: 'Set the installation up with the bootstrap secret: names the owner and issues a first token. Works once',
    tag: 'installation',
    operation: 'installation.setup',
    fields: {},
    body: wire.setUp,
    secret: true,
    success: { status: 201, description: 'The owner and a token, shown once', schema: wire.enrolledUser },
    async handle({ home, onSetUp }: HomeContext, request) {
      const { user, issued } = await home.submit((job) => setUp(job, request.caller, request.body.name));
      onSetUp();
      return {
        status: 201,
        body: { user: userView({ row: user, grants: [{ role: 'owner', tenant_id: '*' }] }), token: issuedView(issued) },
      };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/whoami',
    summary: 'The user behind the token',
    tag: 'installation',
    operation: 'self',
    fields: {},
    success: { status: 200, description: 'Identity and roles', schema: wire.whoAmI },
    handle(_context: HomeContext, request) {
      const user = request.caller.user ?? fail('unauthenticated', 'the token is missing, unknown, expired or revoked');
      const tenants = [...new Set(user.grants.map((grant) => grant.tenantId))];
      return { status: 200, body: { type: 'user', id: user.id, name: user.name, roles: [...userRoles(user)], tenants } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/tenants',
    summary: 'List the tenants in which the caller has a role',
    tag: 'tenants',
    operation: 'tenant.list',
    fields: {},
    query: wire.page,
    success: { status: 200, description: 'A page of tenants', schema: wire.listOf(wire.tenant) },
    async handle({ home, cursorKey }: HomeContext, request) {
      const after = request.query.cursor === undefined ? '' : openCursor(cursorKey, 'tenants', request.query.cursor);
      const page = await home.submit((job) => listTenants(job, request.caller, after, request.query.limit));
      return pageAnswer(cursorKey, 'tenants', page, tenantView);
    },
  }),
  route({
    method: 'POST',
    path: '/v1/tenants',
    summary: 'Create a tenant with its own database and keys',
    tag: 'tenants',
    operation: 'tenant.create',
    fields: {},
    body: wire.createTenant,
    examples: { acme: { name: 'acme', environments: ['staging', 'production'] } },
    idempotent: true,
    success: { status: 201, description: 'The tenant', schema: wire.tenant },
    async handle({ home, provision }: HomeContext, request) {
      let claimed: TenantRow | undefined;
      const answer = await once(home, 'tenant.create', request, (job) => {
        claimed = claimTenant(job, request.caller, { ...request.body, demo: false });
        return { status: 201, body: tenantView({ ...claimed, state: 'active' }) };
      });
      // A repeated request also completes a tenant that an interrupted first request left unfinished.
      const unfinished = claimed ?? halfMadeTenant(home, request.body.name);
      if (unfinished !== undefined) {
        home.platform.faults.at('tenant.after-row');
        await finishTenant(home, unfinished, provision);
      }
      return answer;
    },
  }),
  route({
    method: 'GET',
    path: '/v1/users',
    summary: 'List users',
    tag: 'users',
    operation: 'user.list',
    fields: {},
    query: wire.page,
    success: { status: 200, description: 'A page of users', schema: wire.listOf(wire.user) },
    async handle({ home, cursorKey }: HomeContext, request) {
      const after = request.query.cursor === undefined ? '' : openCursor(cursorKey, 'users', request.query.cursor);
      const page = await home.submit((job) => listUsers(job, request.caller, after, request.query.limit));
      return pageAnswer(cursorKey, 'users', page, userView);
    },
  }),
  route({
    method: 'POST',
    path: '/v1/users',
    summary: 'Create a user with roles; shows once an enrolment token, which the person exchanges for a personal token',
    tag: 'users',
    operation: 'user.create',
    fields: {},
    body: wire.createUser,
    examples: { engineer: { name: 'erin', grants: [{ role: 'engineer', tenant: 'acme' }], expires_in: 43_200 } },
    secret: true,
    idempotent: true,
    success: { status: 201, description: 'The user and an enrolment token', schema: wire.createdUser },
    handle: ({ home }: HomeContext, request) =>
      once(home, 'user.create', request, (job) => {
        const { body } = request;
        const created = createUser(job, request.caller, {
          name: body.name,
          grants: body.grants.map((grant) => ({ role: grant.role, tenant: grant.tenant })),
          enrolmentTtlMs: body.expires_in * 1_000,
        });
        return { status: 201, body: { user: userView(created), enrolment: issuedView(created.enrolment) } };
      }),
  }),
  route({
    method: 'DELETE',
    path: '/v1/users/{user}',
    summary: 'Offboard a user: every token of the user is revoked before the answer',
    tag: 'users',
    operation: 'user.offboard',
    fields: { user: 'user' },
    success: { status: 200, description: 'The offboarded user', schema: wire.user },
    async handle({ home }: HomeContext, request) {
      return {
        status: 200,
        body: userView(await home.submit((job) => offboardUser(job, request.caller, request.params['user'] ?? ''))),
      };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/users/{user}/tokens',
    summary: 'Create a further token for yourself; a token for another user is refused',
    tag: 'users',
    operation: 'user.token.create',
    fields: { user: 'user' },
    body: wire.createUserToken,
    secret: true,
    idempotent: true,
    success: { status: 201, description: 'The token, shown once', schema: wire.issuedToken },
    handle: ({ home }: HomeContext, request) =>
      once(home, 'user.token.create', request, (job) => ({
        status: 201,
        body: issuedView(createUserToken(job, request.caller, request.params['user'] ?? '', request.body.expires_in * 1_000)),
      })),
  }),
  route({
    method: 'DELETE',
    path: '/v1/users/{user}/tokens/{token}',
    summary: 'Revoke one of your own tokens',
    tag: 'users',
    operation: 'user.token.revoke',
    fields: { user: 'user', token: 'token' },
    success: { status: 200, description: 'The revoked token', schema: wire.token },
    async handle({ home }: HomeContext, request) {
      const { user = '', token = '' } = request.params;
      return { status: 200, body: tokenView(await home.submit((job) => revokeUserToken(job, request.caller, user, token))) };
    },
  }),
  route({
    method: 'POST',
    path: '/v1/enrolments',
    summary: 'Exchange an enrolment token, once, for a personal token',
    tag: 'users',
    operation: 'user.enrol',
    fields: {},
    body: wire.enrol,
    secret: true,
    success: { status: 201, description: 'The user and a token, shown once', schema: wire.enrolledUser },
    async handle({ home }: HomeContext, request) {
      const { user, grants, issued } = await home.submit((job) => enrol(job, request.caller, request.body.expires_in * 1_000));
      return { status: 201, body: { user: userView({ row: user, grants }), token: issuedView(issued) } };
    },
  }),
  route({
    method: 'GET',
    path: '/v1/health/parts',
    summary: 'Health in detail: each part, the clock, and the tenants that cannot be served',
    tag: 'installation',
    operation: 'installation.metrics',
    fields: {},
    success: { status: 200, description: 'Health in detail', schema: wire.healthDetail },
    async handle({ home, health }: HomeContext, request) {
      await home.submit((job) =>
        job.door.enter(request.caller, 'installation.metrics', installationTarget('health'), () => undefined),
      );
      const facts = await health();
      const { status, parts } = healthOf(facts);
      const tenants = home.lookup('health', (lookup, view) =>
        (facts.tenants ?? []).map(({ id, code }) => ({ id, name: view.tenants.find(lookup, id)?.name ?? null, code })),
      );
      const clock = facts.clock === undefined ? null : clockView(facts.clock);
      const body: WireHealthDetail = { status, parts, storage: facts.storage ?? null, clock, tenants };
      return { status: 200, body };
    },
  }),
  route({
    method: 'GET',
    path: '/metrics',
    summary: 'Metrics of this process in the Prometheus text format, or in OpenMetrics if Accept names it',
    tag: 'installation',
    operation: 'installation.metrics',
    fields: {},
    success: { status: 200, description: 'Metrics', mediaTypes: ['text/plain', 'application/openmetrics-text'] },
    async handle({ home, metrics }: HomeContext, request) {
      await home.submit((job) =>
        job.door.enter(request.caller, 'installation.metrics', installationTarget('metrics'), () => undefined),
      );
      const format = formatFor(request.accept);
      return { status: 200, body: metrics(format), headers: { 'content-type': METRICS_TYPES[format] } };
    },
  }),
];

function userRoles(user: UserIdentity): readonly string[] {
  return [...new Set(user.grants.map((grant) => grant.role))];
}
