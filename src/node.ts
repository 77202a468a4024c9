// The composition root on Node: environment in, running service out. Everything the rest of the tree is lent (clock, chance, network,
// disk, timers) is made here and nowhere else.
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import { Cron } from 'croner';
import { createNodeEgress } from '../rotation/engine/driver-egress.ts';
import { RunEngine } from '../rotation/engine/engine.ts';
import type { Connector } from '../rotation/connector.ts';
import { Authorizer, type PolicySource } from './access/authorizer.ts';
import { limitedSource } from './access/networks.ts';
import type { Clock, Entropy } from './base/clock.ts';
import { fail, KeyturnError } from './base/errors.ts';
import { LIMITS } from './base/limits.ts';
import { faultsFromEnvironment } from './cell/driver-faults.ts';
import { openNodeSql } from './cell/driver-node.ts';
import { KeyRegister } from './cell/register.ts';
import type { TenantRow } from './cell/tenants.ts';
import { selfTest } from './crypto/self-test.ts';
import { createApp } from './http/app.ts';
import type { TenantContext } from './http/context.ts';
import { type FetchHandler, listen, type TlsOptions } from './http/driver-listener.ts';
import type { EdgeInfo } from './http/edge.ts';
import { Metrics } from './http/metrics.ts';
import { RateLimit } from './http/rate-limit.ts';
import {
  type DataPaths,
  dataPaths,
  fileWitness,
  openInstallation,
  readPassphrase,
  removeBootstrapSecret,
  writeBootstrapSecret,
} from './vault/driver-data-directory.ts';
import { HomeVault } from './vault/home-vault.ts';
import { createTenant, finishTenant, resolveTenant } from './vault/manage-tenants.ts';
import type { Surroundings } from './vault/open-cell.ts';
import { OpenTenants } from './vault/open-tenants.ts';
import { provisionTenant } from './vault/provision-tenant.ts';
import { rejectionRecorder } from './vault/record-rejection.ts';
import { bootstrapPending, createBootstrapSecret } from './vault/set-up.ts';
import { TenantVault } from './vault/tenant-vault.ts';

export const VERSION = '0.1.0';

export interface ServeOptions {
  readonly dataDirectory: string;
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsOptions | undefined;
  readonly behindProxy?: boolean | undefined;
  readonly trustedProxies?: readonly string[] | undefined;
  /** Where clients reach this service; default: the listener's own address. */
  readonly publicUrl?: string | undefined;
  readonly rootKeyFile?: string | undefined;
  readonly passphraseFile?: string | undefined;
  readonly witnessDirectory?: string | undefined;
  /** Lets credentials of the connector `local-sandbox` reach loopback addresses. Default: only when serving loopback without TLS. */
  readonly allowLocalSandbox?: boolean | undefined;
  /** The operator's log, one line each; never holds a secret. */
  readonly log: (line: string) => void;
}

export interface RunningKeyturn {
  readonly url: string;
  readonly dataDirectory: string;
  /** What the operator must be told aloud. */
  readonly notes: readonly string[];
  /** Where the bootstrap secret lies while it waits to be spent. */
  readonly bootstrapSecretFile: string | undefined;
  readonly firstStart: boolean;
  /** A tenant in which the bootstrap owner may do what elsewhere needs a second factor. Idempotent. */
  createDemoTenant(name: string): Promise<void>;
  /** Stops accepting, finishes what is in flight, commits and closes. Idempotent. */
  close(): Promise<void>;
}

const clock: Clock = { now: () => Date.now() };
const entropy: Entropy = { bytes: (count) => new Uint8Array(randomBytes(count)), fraction: () => randomInt(2 ** 47) / 2 ** 47 };

/** @throws sealed | conflict | storage_* | invalid_request, each with one sentence an operator can act on */
export async function startKeyturn(options: ServeOptions): Promise<RunningKeyturn> {
  selfTest();
  const paths = dataPaths(resolve(options.dataDirectory), options.rootKeyFile, options.witnessDirectory);
  const passphrase = options.passphraseFile === undefined ? undefined : readPassphrase(options.passphraseFile);
  const installation = openInstallation(paths, entropy, passphrase);
  const node = new NodeInstallation(options, paths, installation.root, installation.installationId);
  try {
    return await node.start(installation.notes, installation.created);
  } catch (error) {
    node.closeCells();
    throw error;
  }
}

interface NodeTenant {
  readonly context: TenantContext;
  readonly vault: TenantVault;
  readonly engine: RunEngine;
  nextDueAt(): number | undefined;
  idle(): boolean;
  close(): void;
  runDueWork(): Promise<unknown>;
}

class NodeInstallation {
  readonly #options: ServeOptions;
  readonly #paths: DataPaths;
  readonly #around: Surroundings;
  readonly #home: HomeVault;
  readonly #register: KeyRegister;
  readonly #registerSql: ReturnType<typeof openNodeSql>;
  readonly #tenants: OpenTenants<NodeTenant>;
  readonly #authorizer: Authorizer;
  readonly #metrics = new Metrics();
  readonly #witness: ReturnType<typeof fileWitness>;
  readonly #connectors: Promise<ReadonlyMap<string, Connector>>;
  readonly #admit: (principalId: string) => void;
  #loadedConnectors: ReadonlyMap<string, Connector> = new Map();
  #publicUrl = '';
  #sandboxAllowed = false;
  readonly #boot = randomBytes(9).toString('base64url');
  #requests = 0;

  constructor(options: ServeOptions, paths: DataPaths, root: Surroundings['root'], installationId: string) {
    this.#options = options;
    this.#paths = paths;
    this.#witness = fileWitness(paths, (cellId) => options.log(`witness: the checkpoint of ${cellId} could not be written`));
    this.#around = {
      clock,
      entropy,
      faults: faultsFromEnvironment(process.env),
      nextTick: (task) => void setImmediate(task),
      later: (delayMs, task) => void setTimeout(task, delayMs).unref(),
      witness: this.#witness,
      root,
      installationId,
    };
    this.#authorizer = new Authorizer(cedar, readPolicies());
    this.#connectors = loadConnectors();
    const limit = new RateLimit({ burst: LIMITS.requestsPerSecondPerPrincipal, perSecond: LIMITS.requestsPerSecondPerPrincipal, maxKeys: 10_000 });
    this.#admit = (principalId) => {
      const answer = limit.take(principalId, clock.now());
      if (!answer.ok) fail('rate_limited', 'too many requests', { retryAfterSeconds: answer.retryAfterSeconds });
    };
    // The home cell first: its exclusive lock is what keeps a second process out of the whole directory.
    const homeSql = openNodeSql(paths.home);
    this.#registerSql = openNodeSql(paths.register);
    this.#register = new KeyRegister(this.#registerSql, root, installationId);
    this.#register.ensure(installationId, clock.now());
    this.#home = new HomeVault({
      sql: homeSql,
      erasureKey: this.#register.open(installationId),
      around: this.#around,
      authorizer: this.#authorizer,
      admit: this.#admit,
      witnessed: this.#witness.latest(installationId),
    });
    this.#tenants = new OpenTenants((id) => this.#openTenant(id));
  }

  async start(notes: readonly string[], firstStart: boolean): Promise<RunningKeyturn> {
    this.#loadedConnectors = await this.#connectors;
    await this.#finishHalfMadeTenants();
    const secret = await createBootstrapSecret(this.#home);
    if (secret !== undefined) writeBootstrapSecret(this.#paths, secret);
    else if (!bootstrapPending(this.#home)) removeBootstrapSecret(this.#paths);
    const app = this.#app();
    const serve: FetchHandler = (request, env) => {
      const info: EdgeInfo = { address: env.callerAddress, secure: env.secure, nextRequestId: this.#nextRequestId };
      return app.fetch(request, info);
    };
    const listening = await listen(serve, {
      host: this.#options.host,
      port: this.#options.port,
      tls: this.#options.tls,
      behindProxy: this.#options.behindProxy,
      trustedProxies: this.#options.trustedProxies,
    });
    this.#publicUrl = this.#options.publicUrl ?? listening.url;
    this.#sandboxAllowed = this.#options.allowLocalSandbox ?? (this.#options.tls === undefined && this.#options.behindProxy !== true);
    this.#gauges();
    const scheduler = new Cron('* * * * * *', { protect: true, catch: (error) => this.#options.log(`scheduler: ${nameOf(error)}`) }, () =>
      this.#tenants.tick(clock.now()),
    );
    void this.#openAll();
    let closed: Promise<void> | undefined;
    const close = async () => {
      scheduler.stop();
      await listening.close();
      this.closeCells();
    };
    return {
      url: listening.url,
      dataDirectory: this.#paths.directory,
      notes,
      bootstrapSecretFile: existsSync(this.#paths.bootstrapSecret) ? this.#paths.bootstrapSecret : undefined,
      firstStart,
      createDemoTenant: (name) => this.#createDemoTenant(name),
      close: () => {
        closed ??= close();
        return closed;
      },
    };
  }

  closeCells(): void {
    this.#tenants.closeAll();
    this.#home.close();
    this.#registerSql.close();
  }

  // ---- tenants ----

  #openTenant(id: string): NodeTenant | undefined {
    const row = resolveTenant(this.#home, id);
    if (row === undefined || row.id !== id) return undefined;
    return this.#open(row);
  }

  #open(row: TenantRow): NodeTenant {
    const vault = new TenantVault({
      tenant: { id: row.id, name: row.name, demo: row.demo === 1 },
      sql: openNodeSql(this.#paths.tenant(row.id)),
      erasureKey: this.#register.open(row.id),
      around: this.#around,
      authorizer: this.#authorizer,
      admit: this.#admit,
      witnessed: this.#witness.latest(row.id),
      onDueChanged: (id) => this.#tenants.noteDue(id),
    });
    const engine = new RunEngine({
      vault,
      egress: createNodeEgress({ clock }),
      connectors: this.#loadedConnectors,
      owner: `node-${process.pid}-${this.#boot}`,
      sandboxAllowed: this.#sandboxAllowed,
      every: (everyMs, beat) => {
        const timer = setInterval(beat, everyMs);
        return () => clearInterval(timer);
      },
    });
    vault.refresher = engine;
    return {
      vault,
      engine,
      context: { vault, rotation: engine, cursorKey: this.#around.root.subkey('cursor-mac'), publicUrl: this.#publicUrl },
      nextDueAt: () => vault.nextDueAt(),
      idle: () => engine.idle && vault.core.cell.idle,
      close: () => vault.close(),
      runDueWork: () => engine.runDueWork(),
    };
  }

  #provision = async (row: TenantRow, environments: readonly string[]): Promise<void> => {
    this.#register.ensure(row.id, clock.now());
    const opened = this.#open(row);
    try {
      await provisionTenant(opened.vault, environments);
    } finally {
      opened.close();
    }
  };

  async #finishHalfMadeTenants(): Promise<void> {
    const half = this.#home.door.lookup('start', (lookup) => this.#home.tenants.inState(lookup, 'creating'));
    for (const row of half) await finishTenant(this.#home, row, ['staging', 'production'], this.#provision);
  }

  /** Every tenant is opened once so that the scheduler knows when it is due; in the background, a few at a time. */
  async #openAll(): Promise<void> {
    const rows = this.#home.door.lookup('start', (lookup) => this.#home.tenants.inState(lookup, 'active'));
    for (const row of rows) {
      await new Promise((resume) => setImmediate(resume));
      try {
        this.#tenants.get(row.id);
      } catch (error) {
        this.#options.log(`tenant ${row.id}: ${error instanceof KeyturnError ? `${error.code}: ${error.message}` : nameOf(error)}`);
      }
    }
  }

  async #createDemoTenant(name: string): Promise<void> {
    if (resolveTenant(this.#home, name) !== undefined) return;
    const owner = this.#home.door.lookup('start', (lookup) => this.#home.users.list(lookup, '', 1)[0]);
    const identity = owner === undefined ? undefined : { ...owner.row, grants: [{ role: 'owner' as const, tenantId: '*' }] };
    if (identity === undefined) return;
    const user = { id: identity.id, name: identity.name, revision: identity.revision, bootstrap: true, grants: identity.grants, tokenId: '' };
    const caller = { token: undefined, source: { address: '127.0.0.1', userAgent: 'first start' }, request: this.#nextRequestId(), user };
    await createTenant(this.#home, caller, { name, environments: ['staging', 'production'], demo: true }, this.#provision);
  }

  // ---- requests ----

  #nextRequestId = (): string => `req_${this.#boot}${(this.#requests++).toString(36).padStart(6, '0')}`;

  #app(): ReturnType<typeof createApp> {
    const failures = new RateLimit({ burst: LIMITS.failedAuthBurst, perSecond: LIMITS.failedAuthPerSecond, maxKeys: 10_000 });
    return createApp({
      identify: (token) => this.#home.identify(token),
      tenant: (idOrName) => {
        const row = resolveTenant(this.#home, idOrName);
        return row === undefined ? undefined : this.#tenants.get(row.id)?.context;
      },
      home: {
        home: this.#home,
        cursorKey: this.#around.root.subkey('cursor-mac'),
        provision: this.#provision,
        onSetUp: () => removeBootstrapSecret(this.#paths),
        metrics: () => this.#metrics.text(),
      },
      rejected: rejectionRecorder(this.#home, failures, limitedSource),
      health: () => ({ status: 'ok' }),
      report: (error, requestId, route) => this.#report(error, requestId, route),
      metrics: this.#metrics,
      nowMs: () => performance.now(),
      version: VERSION,
    });
  }

  #report(error: KeyturnError, requestId: string, route: string): void {
    if (error.code === 'internal' || error.code === 'integrity' || error.code.startsWith('storage_')) {
      this.#options.log(`${error.code} ${requestId} ${route} ${error.evidence ?? ''}`);
    }
  }

  #gauges(): void {
    this.#metrics.gauge({ name: 'keyturn_open_tenants', help: 'Tenant cells open in this process.', read: () => this.#tenants.size });
    this.#metrics.gauge({ name: 'keyturn_decision_cache_hits', help: 'Authorizer decisions served from the cache.', read: () => this.#authorizer.counters.hits });
    this.#metrics.gauge({ name: 'keyturn_decision_failures', help: 'Policy evaluations that erred; above zero is an alert.', read: () => this.#authorizer.counters.failures });
    this.#metrics.gauge({ name: 'keyturn_resident_bytes', help: 'Resident memory of this process.', read: () => process.memoryUsage.rss() });
  }
}

function nameOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : 'unknown';
}

const TREE = fileURLToPath(new URL('..', import.meta.url));

function readPolicies(): PolicySource {
  const policies: Record<string, string> = {};
  for (const folder of ['roles', 'guardrails']) {
    for (const file of readdirSync(join(TREE, 'policies', folder))) {
      if (file.endsWith('.cedar')) policies[`${folder}/${file.slice(0, -6)}`] = readFileSync(join(TREE, 'policies', folder, file), 'utf8');
    }
  }
  return { schema: readFileSync(join(TREE, 'policies', 'schema.cedarschema'), 'utf8'), policies };
}

/** Every file in rotation/connectors is one connector; nothing lists them by hand. */
async function loadConnectors(): Promise<ReadonlyMap<string, Connector>> {
  const directory = join(TREE, 'rotation', 'connectors');
  const files = readdirSync(directory).filter((file) => file.endsWith('.ts'));
  const modules = await Promise.all(files.map((file) => import(pathToFileURL(join(directory, file)).href) as Promise<{ connector: Connector }>));
  return new Map(modules.map(({ connector }) => [connector.id, connector]));
}
