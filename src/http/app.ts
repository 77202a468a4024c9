// The Hono app: one router over the route list and one conversion from a thrown error to a problem, on Node and in workerd.
import { type Context, Hono } from 'hono';
import type { Operation } from '../access/operations.ts';
import { type Caller, userAt } from '../access/principals.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { refusedFeed } from '../vault/calendar-feeds.ts';
import { refused as refusedClient } from '../vault/exchange-token.ts';
import type { AppPorts } from './app-ports.ts';
import { CONNECT_PAGES, serveConnectPage } from './connect-routes.ts';
import type { HomeContext, TenantContext } from './context.ts';
import { callerOf, checkPath, type EdgeInfo, type Incoming, parseRequest } from './edge.ts';
import { healthOf } from './health.ts';
import { openApiDocument } from './openapi.ts';
import { toKeyturnError } from './problems.ts';
import { problemAnswer, toResponse, withoutStream } from './response.ts';
import type { Answer, Route, RouteShape } from './route.ts';
import { alertRoutes } from './v1/alerts.ts';
import { homeAuditRoutes, tenantAuditRoutes } from './v1/audit.ts';
import { connectionRoutes } from './v1/connections.ts';
import { connectorRoutes } from './v1/connectors.ts';
import { credentialRoutes } from './v1/credentials.ts';
import { disconnectionRoutes } from './v1/disconnections.ts';
import { dueRoutes } from './v1/due.ts';
import { forecastRoutes } from './v1/forecast.ts';
import { homeRoutes } from './v1/home.ts';
import { installationKeyRoutes } from './v1/installation-keys.ts';
import { runRoutes } from './v1/runs.ts';
import { scheduleRoutes } from './v1/schedules.ts';
import { tenantRoutes } from './v1/tenant.ts';
import * as wire from './v1/wire.ts';
import { workloadRoutes } from './v1/workloads.ts';

const HOME_ROUTES: readonly Route<HomeContext>[] = [
  ...homeRoutes,
  ...installationKeyRoutes,
  ...homeAuditRoutes,
  ...connectorRoutes,
];
const TENANT_ROUTES: readonly Route<TenantContext>[] = [
  ...credentialRoutes,
  ...runRoutes,
  ...tenantRoutes,
  ...workloadRoutes,
  ...tenantAuditRoutes,
  ...alertRoutes,
  ...forecastRoutes,
  ...scheduleRoutes,
  ...dueRoutes,
  ...connectionRoutes,
  ...disconnectionRoutes,
];
const HEALTH: RouteShape = {
  method: 'GET',
  path: '/health',
  summary: 'Health: 200 ok or degraded, 503 or 507 storage failing, 503 sealed, 501 not initialised',
  tag: 'installation',
  operation: 'public',
  fields: {},
  success: {
    status: 200,
    description: 'Healthy',
    schema: wire.healthAnswer,
    also: { 501: 'Not initialised', 503: 'Sealed' },
  },
};
/** All routes, for the OpenAPI document and for tests that cover every route. */
export const ALL_ROUTES: readonly RouteShape[] = [HEALTH, ...HOME_ROUTES, ...TENANT_ROUTES];

/** Per-request facts from the listener. */
export interface AppEnv {
  Bindings: EdgeInfo;
}

type ContextOf<C> = (params: Record<string, string>, caller: Caller, info: EdgeInfo) => C | Promise<C>;

export function createApp(ports: AppPorts, served: 'all' | 'home' | 'tenant' = 'all'): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  const mounted = new Map<string, Set<string>>();
  const mount = <C>(route: Route<C>, contextOf: ContextOf<C>) => {
    const path = route.path.replace(/\{([a-z]+)\}/g, ':$1');
    mounted.set(path, (mounted.get(path) ?? new Set()).add(route.method));
    const named = { route, name: `${route.method} ${route.path}` };
    app.on(route.method, path, (c) => answer(ports, named, incoming(c), contextOf));
  };
  const pages = new Hono<AppEnv>();
  mountPages(ports, pages, mounted);
  if (served !== 'home')
    for (const route of TENANT_ROUTES) mount(route, (params, caller, info) => tenantContext(ports, route, params, caller, info));
  if (served !== 'tenant') {
    for (const route of HOME_ROUTES) mount(route, (_params, caller) => homeContext(ports, caller));
    const document = JSON.stringify(openApiDocument(ALL_ROUTES, ports.version, ports.publicUrl));
    app.get('/openapi.json', (c) => toResponse({ status: 200, body: document }, c.env.nextRequestId(), c.env));
    app.get('/health', async (c) => {
      const { status, httpStatus, parts } = healthOf(await ports.health());
      const body: wire.WireHealth = { status, version: ports.version, parts };
      return toResponse({ status: httpStatus, body }, c.env.nextRequestId(), c.env);
    });
    mounted.set('/openapi.json', new Set(['GET'])).set('/health', new Set(['GET']));
  }
  const unrouted = unroutedApp(mounted);
  pages.notFound((c) => unrouted.fetch(c.req.raw, c.env));
  app.notFound((c) => (c.req.path.startsWith(PAGES_BEGIN) ? pages : unrouted).fetch(c.req.raw, c.env));
  return app;
}

const PAGES_BEGIN = '/connect/';

/**
 * INVARIANT: the pages have their own Hono app, so that the routes keep Hono's RegExpRouter: it does not support a fixed segment
 * (`callback`) next to a parameter at the same position (test/http/router.test.ts).
 */
function mountPages(ports: AppPorts, pages: Hono<AppEnv>, mounted: Map<string, Set<string>>): void {
  const { connectPage } = ports;
  if (connectPage === undefined) return;
  for (const page of CONNECT_PAGES) {
    mounted.set(page.path, (mounted.get(page.path) ?? new Set()).add(page.method));
    pages.on(page.method, page.path, (c) => serveConnectPage({ ...ports, connectPage }, page, incoming(c)));
  }
}

/** A separate app for requests that match no route: a second handler on the routes' own paths would run for every request. */
function unroutedApp(mounted: ReadonlyMap<string, ReadonlySet<string>>): Hono<AppEnv> {
  const app = new Hono<AppEnv>();
  for (const [path, methods] of mounted) {
    app.all(path, (c) => {
      const allow = [...methods, ...(methods.has('GET') ? ['HEAD'] : [])].join(', ');
      return refuseUnrouted(
        new KeyturnError('method_not_allowed', `the method is not allowed: this path takes ${allow}`),
        c.env,
        { allow },
      );
    });
  }
  app.notFound((c) => refuseUnrouted(new KeyturnError('not_found', `no such route${hintFor(c.req.path)}`), c.env));
  return app;
}

function incoming(c: Context<AppEnv>): Incoming {
  return { request: c.req.raw, params: c.req.param() as Record<string, string>, info: c.env };
}

/** A name with slashes that are not encoded makes another path of it. */
function hintFor(path: string): string {
  return /^\/v1\/tenants\/[^/]+\/environments\/[^/]+\/credentials\/[^/]+\/./.test(path)
    ? '; a slash in the name of a credential is written %2F'
    : '';
}

function refuseUnrouted(error: KeyturnError, info: EdgeInfo, headers: Readonly<Record<string, string>> = {}): Response {
  const requestId = info.nextRequestId();
  const problem = problemAnswer(error, requestId);
  return toResponse({ ...problem, headers: { ...problem.headers, ...headers } }, requestId, info);
}

interface NamedRoute<C> {
  readonly route: Route<C>;
  readonly name: string;
}

async function answer<C>(
  ports: AppPorts,
  { route, name }: NamedRoute<C>,
  { request, params, info }: Incoming,
  contextOf: ContextOf<C>,
): Promise<Response> {
  const startedAtMs = ports.nowMs();
  let caller: Caller | undefined;
  let result: Answer;
  try {
    caller = callerOf(request, info);
    checkPath(rawPath(request.url));
    // Await only promises: under load each await puts this request behind all others.
    const parsing = parseRequest(route, request, params, caller, info);
    let parsed = parsing instanceof Promise ? await parsing : parsing;
    if (caller.token !== undefined && isUserToken(caller.token, route)) {
      const user = await ports.identify(caller.token, info);
      const { token } = caller;
      const isStillUser = async () => (await ports.identify(token, info)) !== undefined;
      if (user !== undefined) parsed = { ...parsed, caller: { ...caller, user }, isStillUser };
    }
    const context = contextOf(params, parsed.caller, info);
    result = await route.handle(context instanceof Promise ? await context : context, parsed);
    if (request.method === 'HEAD' && result.stream !== undefined) result = await withoutStream(result);
  } catch (thrown) {
    result = await refuse(ports, name, thrown, caller, info);
  }
  ports.metrics.observe(name, result.status, ports.nowMs() - startedAtMs);
  return toResponse(result, caller?.request ?? info.nextRequestId(), info);
}

async function refuse(
  ports: AppPorts,
  name: string,
  thrown: unknown,
  caller: Caller | undefined,
  info: EdgeInfo,
): Promise<Answer> {
  let error = toKeyturnError(thrown);
  if (error.code === 'unauthenticated' && caller !== undefined) {
    try {
      await ports.rejected(caller, name);
    } catch (worse) {
      error = toKeyturnError(worse);
    }
  }
  const requestId = caller?.request ?? info.nextRequestId();
  ports.metrics.failed(error.code);
  ports.report(error, requestId, name);
  return problemAnswer(error, requestId);
}

function rawPath(url: string): string {
  const start = url.indexOf('/', url.indexOf('//') + 2);
  const end = url.indexOf('?', start);
  return start < 0 ? '/' : end < 0 ? url.slice(start) : url.slice(start, end);
}

/** SECURITY: other people may have seen these tokens in transit, so each is accepted for one operation only: the exchange for a personal token (AN-31). */
const SINGLE_OPERATION: readonly (readonly [string, Operation])[] = [
  ['kt_boot_', 'installation.setup'],
  ['kt_enr_', 'user.enrol'],
];

function isUserToken(token: string, { operation }: RouteShape): boolean {
  return token.startsWith('kt_usr_') || SINGLE_OPERATION.some(([prefix, only]) => token.startsWith(prefix) && operation === only);
}

function tenantContext(
  ports: AppPorts,
  route: RouteShape,
  params: Record<string, string>,
  caller: Caller,
  info: EdgeInfo,
): TenantContext | Promise<TenantContext> {
  const found = ports.tenant(params['tenant'] ?? '', info);
  return found instanceof Promise
    ? found.then((context) => admitted(ports, route, caller, context))
    : admitted(ports, route, caller, found);
}

function admitted(
  ports: AppPorts,
  route: RouteShape,
  caller: Caller,
  context: TenantContext | undefined,
): TenantContext | Promise<TenantContext> {
  const { operation } = route;
  const requiredOperation = operation === 'self' || operation === 'public' ? 'tenant.read' : operation;
  if (context === undefined) {
    // SECURITY: a missing tenant must be indistinguishable from a tenant where the caller has no role: 401 without a valid token, 404 for
    // users, the same event, and one turn of a cell's queue, so that the response takes the same time (AZ-01, LK-10).
    const refuse = () => refuseAbsent(operation, caller);
    const home = ports.home?.home;
    if (home === undefined) return refuse();
    const isStranger = caller.user === undefined || operation === 'token.exchange';
    return home.submit((job) => (isStranger ? refuse() : job.door.turnAway(caller, requiredOperation)));
  }
  if (operation === 'token.exchange') return context;
  const { vault } = context;
  if (caller.user !== undefined && userAt(caller.user, vault.tenant.id).roles.length === 0) {
    return vault.submit((job) => job.door.turnAway(caller, requiredOperation));
  }
  return context;
}

function refuseAbsent(operation: RouteShape['operation'], caller: Caller): never {
  if (operation === 'token.exchange') throw refusedClient('no such tenant');
  // The only public route of a tenant is that of its calendar feeds, where a key in the query takes the place of a token.
  if (operation === 'public') throw refusedFeed();
  if (caller.user === undefined) fail('unauthenticated', 'the token is missing, unknown, expired or revoked');
  return fail('not_found', 'no such tenant');
}

function homeContext(ports: AppPorts, caller: Caller): HomeContext {
  if (caller.user === undefined) fail('unauthenticated', 'the token is missing, unknown, expired or revoked');
  return ports.home ?? fail('unavailable', 'the home cell is not open');
}
