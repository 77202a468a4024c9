// What the Worker and its objects share: bindings, calls between objects, and the platform functions for a cell.
// It must never pass a user's token or identity in a header.
import { randomBytes, randomInt } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Caller, UserIdentity } from '../access/principals.ts';
import { RateLimit } from '../access/rate-limit.ts';
import type { Witness } from '../audit/audit-log.ts';
import { type ErrorCode, fail, type KeyturnError } from '../base/errors.ts';
import { NO_FAULTS } from '../base/faults.ts';
import { LIMITS } from '../base/limits.ts';
import { SteadyClock } from '../base/steady-clock.ts';
import { ChunkMemory } from '../cell/anchor-memory.ts';
import { selfTest } from '../crypto/self-test.ts';
import { operatorLine, toKeyturnError } from '../http/problems.ts';
import type { Platform } from '../vault/open-cell.ts';
import type { TenantOpening } from './home.ts';

/** Bindings and settings of wrangler.toml. */
export interface Env {
  readonly HOME: Namespace<HomeMethods>;
  readonly TENANT: Namespace<TenantMethods>;
  readonly KEYTURN_ROOT_KEY?: string;
  readonly KEYTURN_BOOTSTRAP_SECRET?: string;
  readonly KEYTURN_PUBLIC_URL?: string;
  readonly KEYTURN_ALLOW_LOCAL_SANDBOX?: string;
}

export interface Namespace<S> {
  idFromName(name: string): unknown;
  get(id: unknown): S;
}

/** Facts about a request from the front Worker, for the object that answers it. */
export interface RequestContext {
  readonly address: string;
  readonly secure: boolean;
  readonly origin: string;
  readonly user?: UserIdentity | undefined;
}

/** The result of a call between objects: a thrown KeyturnError would lose its code. */
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly code: ErrorCode; readonly detail: string; readonly retryAfterSeconds: number | undefined };

export interface Resolved {
  readonly tenantId: string | undefined;
  readonly user: UserIdentity | undefined;
}

export interface HomeMethods {
  serve(request: Request, context: RequestContext): Promise<Response>;
  resolve(tenant: string, userToken: string | undefined): Promise<Resolved>;
  opening(tenantId: string): Promise<Outcome<TenantOpening | undefined>>;
  reject(caller: Caller, route: string): Promise<Outcome<void>>;
  witness(tenantId: string, note: string): Promise<void>;
  userIdsNamed(name: string): Promise<string[]>;
  userNames(ids: readonly string[]): Promise<[id: string, name: string][]>;
}

export interface TenantMethods {
  serve(request: Request, tenantId: string, context: RequestContext): Promise<Response>;
  provision(opening: TenantOpening, environments: readonly string[]): Promise<Outcome<void>>;
}

export async function outcomeOf<T>(action: () => T | Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await action() };
  } catch (thrown) {
    const error = toKeyturnError(thrown);
    report(error, 'rpc', '');
    return { ok: false, code: error.code, detail: error.message, retryAfterSeconds: error.retryAfterSeconds };
  }
}

export function received<T>(outcome: Outcome<T>): T {
  if (outcome.ok) return outcome.value;
  const { retryAfterSeconds } = outcome;
  return fail(outcome.code, outcome.detail, retryAfterSeconds === undefined ? {} : { retryAfterSeconds });
}

export function report(error: KeyturnError, requestId: string, route: string): void {
  const line = operatorLine(error, requestId, route);
  if (line !== undefined) console.error(line);
}

let isTested = false;

/** Tests the cryptographic primitives before an isolate opens its first cell. @throws internal with the name of the failed one */
export function selfTestOnce(): void {
  if (isTested) return;
  selfTest();
  isTested = true;
}

/** Of all objects of this isolate. */
const CHUNK_MEMORY = new ChunkMemory(LIMITS.anchorMemoryIsolateMaxBytes);

type BarePlatform = Omit<Platform, 'root' | 'installationId'>;

export function platformOf(publish: Witness['publish']): BarePlatform {
  return {
    // The platform guarantees the clock, and an object may sleep for any time, so a gap is not a jump.
    clock: new SteadyClock({ now: () => Date.now(), ran: () => Date.now() }, 0),
    entropy: { bytes: (count) => new Uint8Array(randomBytes(count)), fraction: () => randomInt(2 ** 47) / 2 ** 47 },
    faults: NO_FAULTS,
    // The output gate delays every answer until the batch is durable; the timer only collects the batch.
    chunkMemory: CHUNK_MEMORY,
    nextTick: (task) => void setTimeout(task, 0),
    later: (delayMs, task) => void setTimeout(task, delayMs),
    witness: { publish },
  };
}

export function admission(): (principalId: string) => void {
  const perSecond = LIMITS.requestsPerSecondPerPrincipal;
  const limit = new RateLimit({ burst: perSecond, perSecond, maxKeys: 10_000 });
  return (principalId) => {
    const answer = limit.take(principalId, Date.now());
    if (!answer.ok) fail('rate_limited', 'too many requests', { retryAfterSeconds: answer.retryAfterSeconds });
  };
}

/** Unique request ids without randomness for each: a random prefix per object instance, then a counter. */
export function requestIds(): () => string {
  const life = randomBytes(9).toString('hex');
  let count = 0;
  return () => `req_${life}${(count++).toString(36).padStart(6, '0')}`;
}

export const homeOf = (env: Env): HomeMethods => env.HOME.get(env.HOME.idFromName('home'));
export const tenantOf = (env: Env, tenantId: string): TenantMethods => env.TENANT.get(env.TENANT.idFromName(tenantId));

/** SECURITY: the runtime resolves dot segments between the front Worker and an object; both must use the same path (AZ-06). */
export function isCanonical(url: string): boolean {
  const end = url.search(/[?#]/);
  const { origin, pathname } = new URL(url);
  return (end < 0 ? url : url.slice(0, end)).replace(/^https?:\/\/[^/]*/, '') === pathname || url === origin;
}

const TENANT_PATHS = [
  /^\/v1\/tenants\/([a-z0-9][a-z0-9._-]{0,63})\/./,
  // The consent pages, and the provider's callback, whose `state` begins with the tenant id.
  /^\/connect\/(ten_[0-9a-z]{24})\//,
];
const USER_TOKEN = /^bearer (kt_(?:usr|boot)_\S{1,500})$/i;
const ROUTE_KEEP_MS = 5_000;
const routes = new LRUCache<string, { readonly tenantId: string; readonly expiresAtMs: number }>({ max: 4_096 });

function tenantNamedIn(requestUrl: string): string | undefined {
  const { pathname, searchParams } = new URL(requestUrl);
  if (pathname === '/connect/callback') return /^(ten_[0-9a-z]{24})\./.exec(searchParams.get('state') ?? '')?.[1];
  return TENANT_PATHS.map((path) => path.exec(pathname)?.[1]).find((name) => name !== undefined);
}

/** The user and tenant of a request. A user's token is looked up each time (X6: offboarding takes effect at once); a tenant's object is cached briefly. */
export async function resolve(request: Request, env: Env): Promise<Resolved> {
  const name = tenantNamedIn(request.url);
  if (name === undefined) return { tenantId: undefined, user: undefined };
  const token = USER_TOKEN.exec(request.headers.get('authorization') ?? '')?.[1];
  const known = token === undefined ? routes.get(name) : undefined;
  if (known !== undefined && known.expiresAtMs > Date.now()) return { tenantId: known.tenantId, user: undefined };
  const resolved = await homeOf(env).resolve(name, token);
  const { tenantId } = resolved;
  if (tenantId !== undefined) routes.set(name, { tenantId, expiresAtMs: Date.now() + ROUTE_KEEP_MS });
  return resolved;
}
