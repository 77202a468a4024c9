// The composition root on Node: creates the running service from its options. Clock, randomness, disk and timers come only from here and
// from the drivers.
import { randomBytes, randomInt } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import { Cron } from 'croner';
import { connectors } from '../../rotation/catalog.ts';
import { Authorizer } from '../access/authorizer.ts';
import { limitedSource } from '../access/networks.ts';
import type { Caller } from '../access/principals.ts';
import { RateLimit } from '../access/rate-limit.ts';
import type { Entropy, MachineClock } from '../base/clock.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { SteadyClock } from '../base/steady-clock.ts';
import { VERSION } from '../base/version.ts';
import { KeyRegister } from '../cell/register.ts';
import type { Sql } from '../cell/sql.ts';
import { connectPage } from '../console/connect-page.ts';
import { selfTest } from '../crypto/self-test.ts';
import { createApp } from '../http/app.ts';
import type { AppPorts } from '../http/app-ports.ts';
import type { TenantContext } from '../http/context.ts';
import { Metrics } from '../http/metrics.ts';
import { operatorLine } from '../http/problems.ts';
import { parsePublicUrl } from '../http/public-url.ts';
import { HomeVault } from '../vault/home-vault.ts';
import { createTenant, resolveTenant } from '../vault/manage-tenants.ts';
import { createUserToken } from '../vault/manage-users.ts';
import type { Platform } from '../vault/open-cell.ts';
import { rejectionRecorder } from '../vault/record-rejection.ts';
import { bootstrapPending, createBootstrapSecret } from '../vault/set-up.ts';
import { noteClock, tellClock } from '../vault/tell-clock.ts';
import {
  type DataPaths,
  dataPaths,
  fileWitness,
  markShown,
  type OpenInstallation,
  openInstallation,
  refuseUnknownCells,
  removeBootstrapSecret,
  type Showing,
  shownAt,
  writeBootstrapSecret,
} from './data-directory.ts';
import { createDrivers } from './drivers/drivers.ts';
import { faultsFromEnvironment } from './faults-from-environment.ts';
import { NodeHealth, type WatchedWitness, watchedWitness } from './health.ts';
import { HomeKeys } from './home-keys.ts';
import { type FetchHandler, type Listening, listen, refusal, type TlsOptions } from './listener.ts';
import { eventCounter, measure } from './metrics.ts';
import { readPolicies } from './policies.ts';
import { type RootOptions, type RootSources, rootSources } from './root-providers.ts';
import { RootRotation } from './root-rotation.ts';
import { RotationPrograms } from './rotation-programs.ts';
import { ScrubRounds } from './scrub-rounds.ts';
import { openNodeSql } from './sqlite.ts';
import { NodeTenants } from './tenants.ts';

export interface ServeOptions extends RootOptions {
  readonly dataDirectory: string;
  readonly host: string;
  readonly port: number;
  readonly tls?: TlsOptions | undefined;
  readonly behindProxy?: boolean | undefined;
  readonly trustedProxies?: readonly string[] | undefined;
  /** Base URL of this service for clients; default: the listener's own address. */
  readonly publicUrl?: string | undefined;
  readonly witnessDirectory?: string | undefined;
  /** Ids of cells (of a tenant, or of the installation for the home cell) that are opened although their witness is missing. */
  readonly acceptMissingWitness?: readonly string[] | undefined;
  /** Accept the machine's clock although a cell has committed a later time. Default: the committed time counts. */
  readonly acceptClock?: boolean | undefined;
  /** How old a key of a cell gets before it is rotated. Default: LIMITS.keyPeriodMs. */
  readonly keyPeriodMs?: number | undefined;
  /** The source of time, and how long it must be steady before anything is destroyed. Default: this machine, one hour. */
  readonly machine?: MachineClock | undefined;
  readonly clockSteadyMs?: number | undefined;
  /** Allows sandbox providers on loopback addresses. Default: only without TLS and without a proxy. */
  readonly allowLocalSandbox?: boolean | undefined;
  /** The only networks, in CIDR form, in which drivers of databases connect. Default: all but loopback, link-local and metadata addresses. */
  readonly databaseNetworks?: readonly string[] | undefined;
  /** The file that lists the programs of the connector generic-program. Default: none is allowed. */
  readonly rotationPrograms?: string | undefined;
  /** Writes a line to the operator's log; a line never contains a secret. */
  readonly log: (line: string) => void;
}

export interface RunningKeyturn {
  readonly url: string;
  readonly dataDirectory: string;
  /** Notices for the operator, returned by every start until `markShown('root_key_note')`. */
  readonly notes: readonly string[];
  /** Path of the bootstrap secret until it is used. */
  readonly bootstrapSecretFile: string | undefined;
  /** True if the installation is not set up, has no tenant except the tour's, and no tour was completed (`markShown('tour')`). */
  readonly tourIsDue: boolean;
  /** Records in the data directory that the notice was shown. Idempotent. @throws storage_full | storage_unavailable */
  markShown(what: Showing): void;
  /**
   * Creates a demo tenant, in which the bootstrap owner needs no second factor, and returns a token of that owner, valid for two minutes, for
   * the tour. Uses the demo tenant of an interrupted tour again. Undefined if another tenant has the name.
   */
  createDemoTenant(name: string): Promise<SecretValue | undefined>;
  /** Stops accepting, finishes requests and provider calls in progress, commits and closes. Idempotent. */
  close(): Promise<void>;
}

const TOUR_TOKEN_TTL_MS = 120_000;

const machine: MachineClock = { now: () => Date.now(), ran: () => performance.now() };
const entropy: Entropy = { bytes: (count) => new Uint8Array(randomBytes(count)), fraction: () => randomInt(2 ** 47) / 2 ** 47 };

/** @throws sealed | conflict | storage_* | invalid_request, each with a message for the operator */
export async function startKeyturn(options: ServeOptions): Promise<RunningKeyturn> {
  selfTest();
  const paths = dataPaths(resolve(options.dataDirectory), options.rootKeyFile, options.witnessDirectory);
  const publicUrl = options.publicUrl === undefined ? undefined : parsePublicUrl(options.publicUrl);
  refuseUnknownCells(paths, options.acceptMissingWitness ?? []);
  const drivers = createDrivers(options.databaseNetworks);
  const programs = options.rotationPrograms === undefined ? undefined : RotationPrograms.read(options.rotationPrograms);
  const sources = rootSources(options, paths.keyfile);
  // Before anything is made: a start whose port is taken, or that may not listen there, leaves no key and no installation behind.
  const front = await listenEarly(options);
  try {
    const installation = await openInstallation(paths, entropy, sources);
    const cells = await openCells({ ...options, drivers, programs, sources }, paths, installation);
    try {
      installation.provider.settle();
      await cells.tenants.finishHalfMade();
      const secret = await createBootstrapSecret(cells.home, (made) => writeBootstrapSecret(paths, made));
      if (secret === undefined && !bootstrapPending(cells.home)) removeBootstrapSecret(paths);
      return serve({ ...options, publicUrl }, paths, installation, cells, front);
    } catch (error) {
      cells.close();
      throw error;
    }
  } catch (error) {
    await front.listening.close();
    throw error;
  }
}

/** A listener that has its port already; what comes before the service is open is asked to come again. */
interface Front {
  readonly listening: Listening;
  open(handler: FetchHandler): void;
}

async function listenEarly({ host, port, tls, behindProxy, trustedProxies }: ServeOptions): Promise<Front> {
  let opened: FetchHandler | undefined;
  const handler: FetchHandler = (request, env) =>
    opened?.(request, env) ??
    refusal(new KeyturnError('unavailable', 'the service is starting', { retryAfterSeconds: 1 }), env.secure);
  const listening = await listen(handler, { host, port, tls, behindProxy, trustedProxies });
  return {
    listening,
    open: (given) => {
      opened = given;
    },
  };
}

interface OpenCells {
  readonly home: HomeVault;
  readonly tenants: NodeTenants;
  readonly authorizer: Authorizer;
  readonly platform: Platform & { readonly clock: SteadyClock };
  readonly witness: WatchedWitness;
  readonly health: NodeHealth;
  readonly scrubs: ScrubRounds;
  readonly homeKeys: HomeKeys;
  readonly rootKey: RootRotation;
  readonly metrics: Metrics;
  close(): void;
}

type OpenOptions = ServeOptions & {
  readonly drivers: ReturnType<typeof createDrivers>;
  readonly programs: RotationPrograms | undefined;
  readonly sources: RootSources;
};

function witnessOf(options: ServeOptions, paths: DataPaths): WatchedWitness {
  return watchedWitness((failed) =>
    fileWitness(paths, (cellId) => {
      failed(cellId);
      options.log(`witness: the checkpoint of ${cellId} could not be written`);
    }),
  );
}

function platformOf(
  options: ServeOptions,
  witness: WatchedWitness,
  { root, installationId }: Pick<OpenInstallation, 'root' | 'installationId'>,
  told: NonNullable<Platform['told']>,
): Platform & { readonly clock: SteadyClock } {
  return {
    clock: new SteadyClock(options.machine ?? machine, options.clockSteadyMs),
    acceptsClock: options.acceptClock === true,
    keyPeriodMs: options.keyPeriodMs,
    entropy,
    faults: faultsFromEnvironment(process.env),
    nextTick: (task) => void setImmediate(task),
    whenCalm: (task) => void setTimeout(task, 4),
    later: (delayMs, task) => void setTimeout(task, delayMs).unref(),
    witness,
    told,
    root,
    installationId,
  };
}

/** The rate limit per principal. */
function admission(): (principalId: string) => void {
  const perSecond = LIMITS.requestsPerSecondPerPrincipal;
  const limit = new RateLimit({ burst: perSecond, perSecond, maxKeys: 10_000 });
  return (principalId) => {
    const answer = limit.take(principalId, machine.now());
    if (!answer.ok) fail('rate_limited', 'too many requests', { retryAfterSeconds: answer.retryAfterSeconds });
  };
}

async function openCells(options: OpenOptions, paths: DataPaths, installation: OpenInstallation): Promise<OpenCells> {
  const { installationId } = installation;
  const witness = witnessOf(options, paths);
  const metrics = new Metrics();
  const damage = damageWatch(eventCounter(metrics));
  const platform = platformOf(options, witness, installation, damage.told);
  const authorizer = new Authorizer(cedar, readPolicies());
  const admit = admission();
  const homeKeys = new HomeKeys();
  const accepts = (cellId: string): boolean => options.acceptMissingWitness?.includes(cellId) ?? false;
  // The home cell is opened first: its exclusive lock protects the whole directory from a second process.
  const homeSql = openNodeSql(paths.home);
  const registerSql = openNodeSql(paths.register);
  try {
    const { register, erasureKey } = registerOf(registerSql, installation);
    const home = new HomeVault({
      sql: homeSql,
      erasureKey,
      platform,
      authorizer,
      admit,
      witnessed: witness.latest(installationId),
      opening: { mustExist: holdsTenants(paths), hasWitness: holdsTenants(paths), acceptMissingWitness: accepts(installationId) },
      onKeysChanged: () => homeKeys.noteDue(),
    });
    const tenants = new NodeTenants({
      ...{ home, register, platform, authorizer, connectors, admit },
      pathOf: paths.tenant,
      witnessedAt: witness.latest,
      acceptsMissingWitness: accepts,
      ...reachOf(options),
    });
    watchClock(platform.clock, { home, tenants, log: options.log });
    const health = new NodeHealth({ home, tenants, witness, clock: platform.clock, isDamaged: damage.isFound });
    const rootKey = new RootRotation({ home, tenants, register, platform, paths, installation, options });
    const close = closing(tenants, home, registerSql);
    const scrubs = scrubRounds(options, home, tenants);
    return { home, tenants, authorizer, platform, witness, health, scrubs, homeKeys, rootKey, metrics, close };
  } catch (error) {
    for (const sql of [homeSql, registerSql]) sql.close();
    throw error;
  }
}

function reachOf({ allowLocalSandbox, tls, behindProxy, drivers, programs, log }: OpenOptions) {
  return { sandboxAllowed: allowLocalSandbox ?? (tls === undefined && behindProxy !== true), drivers, programs, log };
}

/** Notices when an event reports damaged state. */
function damageWatch(counted: NonNullable<Platform['told']>): { told: NonNullable<Platform['told']>; isFound: () => boolean } {
  let isDamaged = false;
  return {
    told: (action, outcome) => {
      isDamaged ||= action === 'state.damaged';
      counted(action, outcome);
    },
    isFound: () => isDamaged,
  };
}

function closing(tenants: NodeTenants, home: HomeVault, registerSql: Sql): () => void {
  return () => {
    tenants.closeAll();
    home.close();
    registerSql.close();
  };
}

/** Records a jump of the clock as an event of the home cell and as an event and alert of each tenant; at a start, when all are open. */
function watchClock(
  clock: SteadyClock,
  { home, tenants, log }: { readonly home: HomeVault; readonly tenants: NodeTenants; readonly log: (line: string) => void },
): void {
  clock.onAnomaly((anomaly) => {
    log(`clock: ${anomaly.kind} by ${Math.round(anomaly.byMs / 1_000)} s; nothing is destroyed until the clock is steady`);
    void home.submit((job) => noteClock(job, anomaly)).catch(() => {});
    void tenants.allOpen.then(() => {
      for (const vault of tenants.open()) void vault.submit((job) => tellClock(job, anomaly)).catch(() => {});
    });
  });
}

function registerOf(sql: Sql, { root, installationId }: Pick<OpenInstallation, 'root' | 'installationId'>) {
  const register = new KeyRegister(sql, root, installationId);
  register.ensure(installationId, machine.now());
  register.ensureInstallationKeys(machine.now());
  return { register, erasureKey: register.open(installationId) };
}

/** SECURITY: existing tenants prove that a home cell existed: an empty one in its place must not count as a first start (CR-03). */
function holdsTenants(paths: DataPaths): boolean {
  const directory = dirname(paths.tenant(''));
  return existsSync(directory) && readdirSync(directory).some((name) => name.endsWith('.db'));
}

function serve(
  options: ServeOptions,
  paths: DataPaths,
  installation: OpenInstallation,
  cells: OpenCells,
  { listening, open }: Front,
): RunningKeyturn {
  const { home, tenants, scrubs } = cells;
  const nextRequestId = requestIds();
  const app = createApp(portsOf(options, paths, cells, listening));
  open((request, env) =>
    app.fetch(request, { address: env.callerAddress, secure: env.secure, nextRequestId, headers: env.incoming.headers }),
  );
  const scheduler = new Cron(
    '* * * * * *',
    { protect: true, catch: (error) => options.log(`scheduler: ${nameOf(error)}`) },
    async () => {
      cells.health.ticked();
      const now = cells.platform.clock.now();
      await Promise.all([tenants.tick(now), cells.homeKeys.tick(home, now)]);
    },
  );
  const watch = overdueWatch(options, tenants);
  void tenants.openAll();
  void tenants.allOpen.then(() => cells.rootKey.continue());
  void tenants.allOpen.then(() => scrubs.run());
  let closed: Promise<void> | undefined;
  const close = async () => {
    scheduler.stop();
    watch.stop();
    scrubs.stop();
    await listening.close();
    await cells.rootKey.stop();
    await tenants.stop();
    cells.close();
  };
  return {
    url: listening.url,
    dataDirectory: paths.directory,
    notes: installation.notes,
    bootstrapSecretFile: existsSync(paths.bootstrapSecret) ? paths.bootstrapSecret : undefined,
    tourIsDue: shownAt(paths).tour === undefined && isFresh(home),
    markShown: (what) => markShown(paths, what, new Date(machine.now()).toISOString()),
    createDemoTenant: (name) => createDemoTenant(home, tenants, name, nextRequestId()),
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}

/** A timer of its own: a rotation that hangs holds up the scheduler, and must not hide that others are overdue. */
function overdueWatch({ log }: ServeOptions, tenants: NodeTenants): Cron {
  const settings = { protect: true, catch: (error: unknown) => log(`overdue watch: ${nameOf(error)}`) };
  return new Cron('30 * * * * *', settings, () => tenants.watch());
}

function scrubRounds({ log }: ServeOptions, home: HomeVault, tenants: NodeTenants): ScrubRounds {
  return new ScrubRounds({
    cells: () => [home, ...tenants.open()],
    ranMs: () => performance.now(),
    rest: (ms) => new Promise((resume) => void setTimeout(resume, ms).unref()),
    onFailure: (error) => log(`scrub: ${nameOf(error)}`),
  });
}

function portsOf(options: ServeOptions, paths: DataPaths, cells: OpenCells, listening: Listening): AppPorts {
  const { home, tenants, platform } = cells;
  const { metrics } = cells;
  const publicUrl = options.publicUrl ?? listening.url;
  measure(metrics, { ...cells, clock: cells.platform.clock, connections: () => listening.connections() });
  const failures = new RateLimit({ burst: LIMITS.failedAuthBurst, perSecond: LIMITS.failedAuthPerSecond, maxKeys: 10_000 });
  const cursorKey = platform.root.subkey('cursor-mac');
  return {
    identify: (token) => home.identify(token),
    tenant: tenantContexts(cells, publicUrl, cursorKey),
    home: {
      home,
      cursorKey,
      provision: tenants.provision,
      onSetUp: () => removeBootstrapSecret(paths),
      metrics: (format) => metrics.text(format),
      health: () => cells.health.report(),
      connectors: tenants.connectors,
      rootKey: cells.rootKey,
    },
    rejected: rejectionRecorder(home, failures, limitedSource),
    health: () => cells.health.report(),
    report: (error, requestId, route) => {
      const line = operatorLine(error, requestId, route);
      if (line !== undefined) options.log(line);
    },
    metrics,
    nowMs: () => performance.now(),
    version: VERSION,
    publicUrl: options.publicUrl,
    connectPage,
  };
}

function tenantContexts(
  { home, tenants }: OpenCells,
  publicUrl: string,
  cursorKey: TenantContext['cursorKey'],
): AppPorts['tenant'] {
  const contexts = new WeakMap<object, TenantContext>();
  return (idOrName) => {
    const tenant = tenants.find(idOrName);
    if (tenant === undefined) return undefined;
    const known = contexts.get(tenant);
    if (known !== undefined) return known;
    const context: TenantContext = {
      vault: tenant.vault,
      rotation: tenant.engine,
      cursorKey,
      userIdsNamed: (name) => home.userIdsNamed(name),
      userNames: (ids) => home.userNames(ids),
      publicUrl,
    };
    contexts.set(tenant, context);
    return context;
  };
}

function isFresh(home: HomeVault): boolean {
  return (
    bootstrapPending(home) &&
    home.lookup('status', (lookup, view) => view.tenants.list(lookup, '', 2).every(({ demo }) => demo === 1))
  );
}

/** Unique request ids without randomness for each: a random prefix per process, then a counter. */
function requestIds(): () => string {
  const boot = randomBytes(9).toString('hex');
  let count = 0;
  return () => `req_${boot}${(count++).toString(36).padStart(6, '0')}`;
}

async function createDemoTenant(
  home: HomeVault,
  tenants: NodeTenants,
  name: string,
  request: string,
): Promise<SecretValue | undefined> {
  const owner = home.lookup('start', (lookup, view) => view.users.list(lookup, '', 1)[0]?.row);
  const existing = resolveTenant(home, name);
  if (owner === undefined || (existing !== undefined && existing.demo !== 1)) return undefined;
  const grants = [{ role: 'owner' as const, tenantId: '*' }];
  const user = { id: owner.id, name: owner.name, revision: owner.revision, bootstrap: true, grants, tokenId: '' };
  const caller: Caller = { token: undefined, source: { address: '127.0.0.1', userAgent: 'first start' }, request, user };
  if (existing === undefined)
    await createTenant(home, caller, { name, environments: ['staging', 'production'], demo: true }, tenants.provision);
  const issued = await home.submit((job) => createUserToken(job, caller, owner.id, TOUR_TOKEN_TTL_MS));
  return issued.token;
}

function nameOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : 'unknown';
}
