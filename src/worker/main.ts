// The composition root on Cloudflare Workers: a front Worker, one home object, one object per tenant. It must never take an identity from a
// header: identities are passed as arguments between objects, whose methods are reachable through bindings only.
import { DurableObject } from 'cloudflare:workers';
import { connectors } from '../../rotation/catalog.ts';
import { limitedSource } from '../access/networks.ts';
import type { Caller, UserIdentity } from '../access/principals.ts';
import { RateLimit } from '../access/rate-limit.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { VERSION } from '../base/version.ts';
import { connectPage } from '../console/connect-page.ts';
import { rootKeyFromText } from '../crypto/root-key.ts';
import { RootKeys } from '../crypto/root-keys.ts';
import { createApp } from '../http/app.ts';
import type { AppPorts } from '../http/app-ports.ts';
import { DOT_SEGMENT_REFUSED } from '../http/edge.ts';
import type { HealthReport } from '../http/health.ts';
import { Metrics } from '../http/metrics.ts';
import { toKeyturnError } from '../http/problems.ts';
import { parsePublicUrl } from '../http/public-url.ts';
import { problemAnswer, toResponse } from '../http/response.ts';
import { resolveTenant } from '../vault/manage-tenants.ts';
import { identifyOperator } from '../vault/operator-bootstrap.ts';
import { provisionTenant } from '../vault/provision-tenant.ts';
import { rejectionRecorder } from '../vault/record-rejection.ts';
import { type TenantOpening, WorkerHome } from './home.ts';
import {
  admission,
  type Env,
  type HomeMethods,
  homeOf,
  isCanonical,
  type Outcome,
  outcomeOf,
  platformOf,
  type RequestContext,
  type Resolved,
  received,
  report,
  requestIds,
  resolve,
  selfTestOnce,
  type TenantMethods,
  tenantOf,
} from './objects.ts';
import { workerAuthorizer } from './policies.ts';
import { WorkerTenant } from './tenant.ts';

/** The home cell with the users, and the key register. */
export class HomeCell extends DurableObject<Env> implements HomeMethods {
  readonly #metrics = new Metrics();
  readonly #nextRequestId = requestIds();
  readonly #failures = new RateLimit({
    burst: LIMITS.failedAuthBurst,
    perSecond: LIMITS.failedAuthPerSecond,
    maxKeys: 10_000,
  });
  #opened: WorkerHome | KeyturnError | undefined;
  #app: ReturnType<typeof createApp> | undefined;
  #record: ReturnType<typeof rejectionRecorder> | undefined;
  #printedAtMs = 0;

  async serve(request: Request, context: RequestContext): Promise<Response> {
    const opened = this.#open();
    if (opened instanceof WorkerHome) await opened.ready();
    this.#app ??= createApp(this.#ports());
    return this.#app.fetch(request, { ...context, nextRequestId: this.#nextRequestId });
  }

  async resolve(tenant: string, userToken: string | undefined): Promise<Resolved> {
    const opened = this.#open();
    if (opened instanceof KeyturnError) return { tenantId: undefined, user: undefined };
    await opened.ready();
    const user = userToken === undefined ? undefined : this.#identify(opened, userToken);
    return { tenantId: resolveTenant(opened.home, tenant)?.id, user };
  }

  opening(tenantId: string): Promise<Outcome<TenantOpening | undefined>> {
    return outcomeOf(() => this.#use().opening(tenantId));
  }

  reject(caller: Caller, route: string): Promise<Outcome<void>> {
    return outcomeOf(() => this.#reject(caller, route));
  }

  async witness(tenantId: string, note: string): Promise<void> {
    await this.#use().witness(tenantId, note);
  }

  async userIdsNamed(name: string): Promise<string[]> {
    return this.#use().home.userIdsNamed(name);
  }

  async userNames(ids: readonly string[]): Promise<[id: string, name: string][]> {
    return this.#use().home.userNames(ids);
  }

  /** Runs for the scrub and for the keys of the home cell. */
  override async alarm(): Promise<void> {
    try {
      const home = this.#use();
      await home.runDueWork();
      await this.ctx.storage.setAlarm(home.dueAt());
    } catch (error) {
      report(toKeyturnError(error), 'alarm', '');
      await this.ctx.storage.setAlarm(Date.now() + LIMITS.alarmRetryMs);
    }
  }

  #open(): WorkerHome | KeyturnError {
    if (this.#opened instanceof WorkerHome) return this.#opened;
    const rootKeyText = this.env.KEYTURN_ROOT_KEY ?? '';
    try {
      selfTestOnce();
      if (rootKeyText === '') fail('sealed', 'the root key is missing: set the secret KEYTURN_ROOT_KEY');
      const opened = new WorkerHome({
        storage: this.ctx.storage,
        rootKeyText,
        platform: platformOf((_cellId, note) => this.#print(note)),
        authorizer: workerAuthorizer(),
        admit: admission(),
        makeCell: async (opening, environments) =>
          received(await tenantOf(this.env, opening.tenant.id).provision(opening, environments)),
      });
      void opened.finishHalfMade().catch((error) => report(toKeyturnError(error), 'start', ''));
      this.#app = undefined;
      void this.ctx.storage.setAlarm(opened.dueAt());
      this.#opened = opened;
    } catch (thrown) {
      const error = toKeyturnError(thrown);
      report(error, 'start', '');
      this.#opened = error;
    }
    return this.#opened;
  }

  #use(): WorkerHome {
    const opened = this.#open();
    if (opened instanceof KeyturnError) throw opened;
    return opened;
  }

  #identify(opened: WorkerHome, token: string): UserIdentity | undefined {
    return opened.home.identify(token) ?? identifyOperator(opened.home, token, this.env.KEYTURN_BOOTSTRAP_SECRET);
  }

  #reject(caller: Caller, route: string): Promise<void> {
    this.#record ??= rejectionRecorder(this.#use().home, this.#failures, limitedSource);
    return this.#record(caller, route);
  }

  #ports(): AppPorts {
    const opened = this.#open();
    const isOpen = opened instanceof WorkerHome;
    const isNew = (this.env.KEYTURN_ROOT_KEY ?? '') === '';
    const metrics = this.#metrics;
    const health = (): HealthReport =>
      isOpen ? { storage: opened.home.failure?.code } : { closed: isNew ? 'not_initialised' : 'sealed' };
    return {
      identify: (token) => this.#identify(this.#use(), token),
      // The front Worker routes requests of existing tenants to their objects, so requests that arrive here name no existing tenant.
      tenant: () => {
        this.#use();
        return undefined;
      },
      home: isOpen
        ? {
            home: opened.home,
            cursorKey: opened.home.platform.root.subkey('cursor-mac'),
            provision: opened.provision,
            onSetUp: () => {},
            metrics: (format) => metrics.text(format),
            health,
            connectors,
            rootKey: opened.rootKey,
          }
        : undefined,
      rejected: (caller, route) => this.#reject(caller, route),
      health,
      report,
      metrics,
      nowMs: () => performance.now(),
      version: VERSION,
      publicUrl: statedUrl(this.env),
      connectPage,
    };
  }

  /** The home cell has no witness: its heads are printed to the operator's log, at most one a minute. */
  #print(note: string): void {
    if (Date.now() - this.#printedAtMs < LIMITS.homeCheckpointEveryMs) return;
    this.#printedAtMs = Date.now();
    console.log(JSON.stringify({ home_checkpoint: note }));
  }
}

/** One tenant: its cell, its engine and its alarm. */
export class TenantCell extends DurableObject<Env> implements TenantMethods {
  readonly #metrics = new Metrics();
  readonly #nextRequestId = requestIds();
  #tenantId = '';
  #opening: Promise<WorkerTenant | undefined> | undefined;
  #app: ReturnType<typeof createApp> | undefined;

  async serve(request: Request, tenantId: string, context: RequestContext): Promise<Response> {
    this.#tenantId = tenantId;
    this.#app ??= createApp(this.#ports(), 'tenant');
    return this.#app.fetch(request, { ...context, nextRequestId: this.#nextRequestId });
  }

  provision(opening: TenantOpening, environments: readonly string[]): Promise<Outcome<void>> {
    return outcomeOf(async () => {
      const tenant = await this.#openOnce(async () => opening, true);
      if (tenant !== undefined) await provisionTenant(tenant.vault, environments);
    });
  }

  override async alarm(): Promise<void> {
    const known = this.ctx.storage.sql.exec<{ cell_id: string }>('SELECT cell_id FROM cell WHERE id = 1').toArray()[0];
    this.#tenantId = known?.cell_id ?? '';
    const report_ = (error: unknown) => report(toKeyturnError(error), 'alarm', this.#tenantId);
    try {
      await (await this.#open())?.runDueWork(report_);
    } catch (error) {
      report_(error);
      await this.ctx.storage.setAlarm(Date.now() + LIMITS.alarmRetryMs);
    }
  }

  #open(): Promise<WorkerTenant | undefined> {
    return this.#openOnce(async () => received(await homeOf(this.env).opening(this.#tenantId)), false);
  }

  /** Concurrent requests wait for the same opening; after a failure the next request tries again. */
  #openOnce(find: () => Promise<TenantOpening | undefined>, mayCreate: boolean): Promise<WorkerTenant | undefined> {
    this.#opening ??= this.#make(find, mayCreate).catch((error) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #make(find: () => Promise<TenantOpening | undefined>, mayCreate: boolean): Promise<WorkerTenant | undefined> {
    const opening = await find();
    if (opening === undefined) {
      this.#opening = undefined;
      return undefined;
    }
    selfTestOnce();
    const root = RootKeys.of(rootKeyFromText((this.env.KEYTURN_ROOT_KEY ?? '').trim()));
    root.loadInstallationKeys(opening.installationId, opening.installationKeys);
    const home = homeOf(this.env);
    const platform = platformOf((cellId, note) => {
      const kept = home.witness(cellId, note).then(
        () => true,
        () => false,
      );
      this.ctx.waitUntil(kept);
      return kept;
    });
    return new WorkerTenant(opening, {
      storage: this.ctx.storage,
      platform: { ...platform, root, installationId: opening.installationId },
      authorizer: workerAuthorizer(),
      admit: admission(),
      connectors,
      mayCreate,
      sandboxAllowed: this.env.KEYTURN_ALLOW_LOCAL_SANDBOX === 'true',
    });
  }

  #ports(): AppPorts {
    return {
      identify: (_token, info) => info.user,
      tenant: async (idOrName, info) => {
        const tenant = await this.#open();
        if (tenant === undefined) return undefined;
        const { vault, engine } = tenant;
        // SECURITY: front Worker and router disagree about the tenant in the path: neither tenant is served.
        if (idOrName !== vault.tenant.id && idOrName !== vault.tenant.name) return undefined;
        const cursorKey = vault.platform.root.subkey('cursor-mac');
        return {
          vault,
          rotation: engine,
          cursorKey,
          userIdsNamed: (name) => homeOf(this.env).userIdsNamed(name),
          userNames: (ids) => homeOf(this.env).userNames(ids),
          publicUrl: info.origin ?? '',
        };
      },
      home: undefined,
      // SECURITY: the rejected token itself is not sent to the home object.
      rejected: async (caller, route) => received(await homeOf(this.env).reject({ ...caller, token: undefined }, route)),
      health: () => ({}),
      report,
      metrics: this.#metrics,
      nowMs: () => performance.now(),
      version: VERSION,
      connectPage,
    };
  }
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    // SECURITY: Cloudflare overwrites this header; another proxy must remove the client's value.
    const address = request.headers.get('cf-connecting-ip') ?? 'unknown';
    let context: RequestContext = { address, secure: request.url.startsWith('https:'), origin: '' };
    try {
      context = { ...context, origin: statedUrl(env) ?? new URL(request.url).origin };
      if (!isCanonical(request.url)) return refuse(new KeyturnError('invalid_request', DOT_SEGMENT_REFUSED), context);
      const { tenantId, user } = await resolve(request, env);
      return tenantId === undefined
        ? await homeOf(env).serve(request, context)
        : await tenantOf(env, tenantId).serve(request, tenantId, { ...context, user });
    } catch (thrown) {
      return unavailable(thrown, context);
    }
  },
};

function statedUrl({ KEYTURN_PUBLIC_URL: stated = '' }: Env): string | undefined {
  return stated === '' ? undefined : parsePublicUrl(stated);
}

/** The object was reset or moved during the request. The request may have taken effect: clients repeat it with its idempotency key. */
function unavailable(thrown: unknown, context: RequestContext): Response {
  console.error(`unavailable ${toKeyturnError(thrown).evidence ?? ''}`);
  return refuse(
    new KeyturnError('unavailable', 'the cell did not answer: repeat the request', { retryAfterSeconds: 1 }),
    context,
  );
}

function refuse(error: KeyturnError, context: RequestContext): Response {
  const requestId = requestIds()();
  return toResponse(problemAnswer(error, requestId), requestId, { ...context, nextRequestId: () => requestId });
}
