// The consent pages of a link and the provider's callback: HTML for a browser, outside /v1. GET of a link changes nothing; POST does.
// They must never distinguish an unknown tenant from an unknown link, nor trust a cookie whose hash does not match.
import { z } from 'zod';
import { completeConsent, STATE } from '../../rotation/grants/consent/callback.ts';
import { chooseAccount } from '../../rotation/grants/consent/choose-account.ts';
import type { ConsentPorts, Visitor } from '../../rotation/grants/consent/request.ts';
import { beginConsent, showConnection } from '../../rotation/grants/consent/visit.ts';
import type { Caller } from '../access/principals.ts';
import { toTimestamp } from '../base/clock.ts';
import type { ErrorCode, KeyturnError } from '../base/errors.ts';
import type { AppPorts } from './app-ports.ts';
import { bindingCookie, bindingOf } from './connect-cookie.ts';
import type { TenantContext } from './context.ts';
import { callerOf, checkPath, type EdgeInfo, type Incoming, parseRequest } from './edge.ts';
import { STATUS_OF, toKeyturnError } from './problems.ts';
import { pathPrefixOf } from './public-url.ts';
import { toResponse } from './response.ts';
import type { Answer, Method, RouteRequest, RouteShape } from './route.ts';
import { CALLBACK_PATH } from './v1/connections.ts';
import type { ConnectRenderer, ConnectView } from './v1/wire-connections.ts';

const TENANT_ID = /^ten_[0-9a-z]{24}$/;
const LINK = /^[A-Za-z0-9_-]{43}$/;
/** Any fields: each page reads the fields it declares and ignores other fields that a browser or provider sends. */
const anything = z.record(z.string().max(128), z.string().max(16_384));

interface Visit {
  readonly ports: ConsentPorts;
  readonly context: TenantContext;
  readonly visitor: Visitor;
  readonly request: RouteRequest<Record<string, string> | undefined, Record<string, string> | undefined>;
  readonly cookies: string;
  /** The link token of `/connect/<tenant>/<link>`; empty for the callback. */
  readonly link: string;
}

/** `shown`: a page; `go`: a redirect; `nowhere`: nothing was found, which counts as a failed attempt of the caller's address. */
type Outcome =
  | { readonly kind: 'shown'; readonly view: ConnectView; readonly status: number }
  | { readonly kind: 'go'; readonly to: string; readonly cookie?: string }
  | { readonly kind: 'nowhere' };

export interface ConnectPage {
  readonly method: Method;
  readonly path: string;
  readonly shape: RouteShape;
  visit(visit: Visit): Promise<Outcome> | Outcome;
}

const shape = (method: Method, path: string): RouteShape => ({
  method,
  path,
  summary: '',
  tag: 'connect',
  operation: 'public',
  fields: {},
  success: { status: 200, description: '' },
  ...(method === 'POST' ? { body: anything, form: true } : {}),
  // Microsoft Entra puts line breaks into error_description.
  ...(path === CALLBACK_PATH ? { query: anything, foreignText: true } : {}),
});

const page = (method: Method, path: string, visit: ConnectPage['visit']): ConnectPage => ({
  method,
  path,
  shape: shape(method, path),
  visit,
});

export const CONNECT_PAGES: readonly ConnectPage[] = [
  page('GET', CALLBACK_PATH, comeBack),
  page('GET', '/connect/:tenant/:link', look),
  page('POST', '/connect/:tenant/:link', begin),
  page('POST', '/connect/:tenant/:link/choice', choose),
];

function look({ ports, link, cookies, context }: Visit): Outcome {
  const shown = showConnection(ports, link, (id) => bindingOf(cookies, id, context.publicUrl)?.browser);
  if (shown === undefined) return { kind: 'nowhere' };
  const action = pathOf(context, link);
  if (shown.kind === 'broken') return { kind: 'shown', status: 409, view: shown };
  if (shown.kind === 'done') return { kind: 'shown', status: 200, view: shown };
  if (shown.kind === 'choose') return { kind: 'shown', status: 200, view: { ...shown, action: `${action}/choice` } };
  return { kind: 'shown', status: 200, view: askView(shown, action, {}, {}) };
}

/** Where the browser finds the page of a link: behind a proxy with a path, with that path. */
function pathOf({ vault, publicUrl }: TenantContext, link: string): string {
  return `${pathPrefixOf(publicUrl)}/connect/${vault.tenant.id}/${link}`;
}

type Asked = Extract<ReturnType<typeof showConnection>, { kind: 'ask' }>;

function askView(
  shown: Asked,
  action: string,
  filledIn: Readonly<Record<string, string>>,
  problems: Readonly<Record<string, string>>,
): ConnectView {
  const { provider, host, tenant, description, scopes, parameters, expiresAtMs, last } = shown;
  return {
    kind: 'ask',
    provider,
    host,
    tenant,
    description,
    scopes,
    action,
    expiresAt: toTimestamp(expiresAtMs),
    notice: last?.state,
    parameters: parameters.map(({ name, title, shape: form, value, values }) => ({
      name,
      title,
      shape: form,
      values,
      value: Object.hasOwn(filledIn, name) ? (filledIn[name] ?? '') : value,
      problem: Object.hasOwn(problems, name) ? problems[name] : undefined,
    })),
  };
}

async function begin({ ports, link, context, visitor, request }: Visit): Promise<Outcome> {
  const filledIn = request.body ?? {};
  const begun = await beginConsent(ports, visitor, link, filledIn);
  if (begun.kind === 'nowhere') return begun;
  if (begun.kind === 'broken') return { kind: 'shown', status: 409, view: { kind: 'broken' } };
  if (begun.kind === 'again') {
    const shown = showConnection(ports, link, () => undefined);
    if (shown?.kind !== 'ask') return { kind: 'nowhere' };
    return { kind: 'shown', status: 400, view: askView(shown, pathOf(context, link), filledIn, begun.problems) };
  }
  const cookie = bindingCookie({ browser: begun.browser, link }, begun.connectionId, context.publicUrl);
  return { kind: 'go', to: begun.url, cookie };
}

async function choose({ ports, link, context, visitor, request, cookies }: Visit): Promise<Outcome> {
  const browserOf = (id: string) => bindingOf(cookies, id, context.publicUrl)?.browser;
  const chosen = await chooseAccount(ports, visitor, link, browserOf, request.body?.['choice']);
  return chosen.kind === 'nowhere' ? { kind: 'nowhere' } : { kind: 'go', to: pathOf(context, link) };
}

async function comeBack({ ports, visitor, request, cookies, context }: Visit): Promise<Outcome> {
  const fields = request.query ?? {};
  const connectionId = STATE.exec(fields['state'] ?? '')?.[2] ?? '';
  const binding = bindingOf(cookies, connectionId, context.publicUrl);
  const completed = await completeConsent(ports, visitor, { fields, browser: binding?.browser });
  if (completed.kind === 'unknown') return { kind: 'nowhere' };
  const back = binding === undefined ? undefined : pathOf(context, binding.link);
  if (completed.kind === 'refused' || back === undefined) {
    const reason = completed.kind === 'refused' ? completed.reason : 'state_unknown';
    return { kind: 'shown', status: 400, view: { kind: 'refused', reason, startAgain: back } };
  }
  // Redirect, so that the URL with code and state stays out of the history and a reload does not repeat it.
  return { kind: 'go', to: back };
}

/** Serves one page; a failure is also answered with a page. */
export async function serveConnectPage(
  app: AppPorts & { readonly connectPage: ConnectRenderer },
  visited: ConnectPage,
  { request, params, info }: Incoming,
): Promise<Response> {
  const startedAtMs = app.nowMs();
  const name = `${visited.method} ${visited.path}`;
  let requestId: string | undefined;
  let answer: Answer;
  try {
    const caller: Caller = { ...callerOf(request, info), token: undefined };
    requestId = caller.request;
    const visitor = countedVisitor(app, caller, name);
    const outcome = await visit(app, visited, { request, params, info }, visitor);
    if (outcome.kind === 'nowhere') await visitor.refused();
    answer = answerOf(app.connectPage, outcome, info);
  } catch (thrown) {
    const error = toKeyturnError(thrown);
    requestId ??= info.nextRequestId();
    app.report(error, requestId, name);
    answer = failed(app.connectPage, error);
  }
  app.metrics.observe(name, answer.status, app.nowMs() - startedAtMs);
  return toResponse(answer, requestId, info);
}

/** Counts a failed visit once, even if several steps reject it. */
function countedVisitor(app: AppPorts, caller: Caller, name: string): Visitor {
  let counted: Promise<void> | undefined;
  return {
    caller,
    refused: () => {
      counted ??= app.rejected(caller, name);
      return counted;
    },
  };
}

async function visit(
  app: AppPorts,
  visited: ConnectPage,
  { request, params, info }: Incoming,
  visitor: Visitor,
): Promise<Outcome> {
  checkPath(new URL(request.url).pathname);
  const parsed = (await parseRequest(visited.shape, request, { ...params }, visitor.caller, info)) as Visit['request'];
  const tenantId = visited.path === CALLBACK_PATH ? STATE.exec(parsed.query?.['state'] ?? '')?.[1] : params['tenant'];
  const link = params['link'] ?? '';
  if (tenantId === undefined || !TENANT_ID.test(tenantId)) return { kind: 'nowhere' };
  if (visited.path !== CALLBACK_PATH && !LINK.test(link)) return { kind: 'nowhere' };
  const context = await app.tenant(tenantId, info);
  if (context === undefined) return { kind: 'nowhere' };
  if (visited.method === 'POST' && !isOwnForm(request, context.publicUrl))
    return { kind: 'shown', status: 403, view: { kind: 'refused', reason: 'other_site', startAgain: undefined } };
  const ports: ConsentPorts = { ...context.rotation.ports, vault: context.vault };
  return visited.visit({ ports, context, visitor, request: parsed, link, cookies: request.headers.get('cookie') ?? '' });
}

/** SECURITY: stops cross-site form posts (CSRF). With `no-referrer`, browsers send `Origin: null`. */
function isOwnForm(request: Request, publicUrl: string): boolean {
  const site = request.headers.get('sec-fetch-site');
  if (site !== null) return site === 'same-origin';
  const origin = request.headers.get('origin');
  return origin === null || origin === 'null' || origin === new URL(publicUrl).origin;
}

function answerOf(render: ConnectRenderer, outcome: Outcome, info: EdgeInfo): Answer {
  if (outcome.kind === 'nowhere') return shown(render, { kind: 'gone' }, 410, info);
  if (outcome.kind === 'shown') return shown(render, outcome.view, outcome.status, info);
  const cookie = outcome.cookie === undefined ? {} : { 'set-cookie': outcome.cookie };
  return { status: 303, headers: { location: outcome.to, ...cookie } };
}

const UNREADABLE: ReadonlySet<ErrorCode> = new Set(['invalid_request', 'payload_too_large', 'unsupported_media_type']);

function failed(render: ConnectRenderer, error: KeyturnError): Answer {
  if (error.code === 'rate_limited') {
    const wait = String(Math.max(1, Math.ceil(error.retryAfterSeconds ?? 1)));
    const busy = shown(render, { kind: 'busy' }, 429, undefined);
    return { ...busy, headers: { ...busy.headers, 'retry-after': wait } };
  }
  // The request is malformed: for the visitor this is the same as an invalid link.
  const kind = UNREADABLE.has(error.code) ? 'gone' : 'trouble';
  return shown(render, { kind }, STATUS_OF[error.code], undefined);
}

function shown(render: ConnectRenderer, view: ConnectView, status: number, info: EdgeInfo | undefined): Answer {
  const { html, styleHash } = render(view);
  return {
    status,
    body: html,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': policy(styleHash, info?.secure === false),
      'x-robots-tag': 'noindex, nofollow',
    },
  };
}

/**
 * Browsers apply `form-action` to every redirect that follows a form post, and a provider's sign-in may redirect over any hosts. So every
 * https host is allowed, and loopback over plain http for the sandbox. The forms themselves post to this origin only.
 */
function policy(styleHash: string, isPlain: boolean): string {
  const loopback = isPlain ? ' http://127.0.0.1:* http://localhost:*' : '';
  return [
    "default-src 'none'",
    `style-src 'sha256-${styleHash}'`,
    `form-action 'self' https:${loopback}`,
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}
