// Works on tenants of a data directory that nobody serves, with the vault's own code: fills them, times reads and rewraps, and drives
// the refresh engine. What a caller of the service would wait for is waited for here, too: nothing is switched off.

import { randomBytes, randomInt } from 'node:crypto';
import * as cedar from '@cedar-policy/cedar-wasm/nodejs';
import { connectors } from '../rotation/catalog.ts';
import { RefreshEngine } from '../rotation/grants/refresh-runs.ts';
import { Authorizer } from '../src/access/authorizer.ts';
import type { Caller, UserIdentity } from '../src/access/principals.ts';
import { NO_FAULTS } from '../src/base/faults.ts';
import { newId } from '../src/base/ids.ts';
import { SteadyClock } from '../src/base/steady-clock.ts';
import type { WriteAccess } from '../src/cell/access.ts';
import type { CredentialRow } from '../src/cell/credentials.ts';
import { KeyRegister } from '../src/cell/register.ts';
import type { Sql } from '../src/cell/sql.ts';
import { dataPaths, fileWitness, openInstallation } from '../src/node/data-directory.ts';
import { createNodeEgress } from '../src/node/egress.ts';
import { readPolicies } from '../src/node/policies.ts';
import { rootSources } from '../src/node/root-providers.ts';
import { openNodeSql } from '../src/node/sqlite.ts';
import type { Platform } from '../src/vault/open-cell.ts';
import { putCredential } from '../src/vault/put-credential.ts';
import { readCredential } from '../src/vault/read-credential.ts';
import { rotateKeys } from '../src/vault/rotate-keys.ts';
import { TenantVault } from '../src/vault/tenant-vault.ts';
import { storeVersion } from '../src/vault/versions.ts';
import { inside } from '../test/kit/vaults.ts';
import { answerWith, givenInput } from './child.ts';
import { API_KEY, ENVIRONMENT, type Tenant } from './installation.ts';
import { percentile } from './statistics.ts';

const FILLING = {
  action: 'bench.fill',
  actor: { type: 'system', id: 'bench' },
  reason: 'bench',
  request: 'bench',
  target: { type: 'bench' },
} as const;
const FILL_BATCH_ROWS = 20_000;
const READ_BATCH = 64;

const { dataDirectory, tenants } = givenInput<{ dataDirectory: string; tenants: Tenant[] }>();
const clock = new SteadyClock({ now: () => Date.now(), ran: () => performance.now() }, 0);
const paths = dataPaths(dataDirectory);
const entropy = { bytes: (count: number) => new Uint8Array(randomBytes(count)), fraction: () => randomInt(2 ** 47) / 2 ** 47 };
const { root, installationId } = await openInstallation(paths, entropy, rootSources({}, paths.keyfile));
const witness = fileWitness(paths, () => {});
const platform: Platform = {
  clock,
  entropy,
  faults: NO_FAULTS,
  nextTick: (task) => void setImmediate(task),
  later: (delayMs, task) => void setTimeout(task, delayMs).unref(),
  witness,
  root,
  installationId,
};
const registerSql = openNodeSql(paths.register);
const register = new KeyRegister(registerSql, root, installationId);
register.ensureInstallationKeys(clock.now());
const authorizer = new Authorizer(cedar, readPolicies());
const databases = new WeakMap<TenantVault, Sql>();
const vaults = new Map(tenants.map((tenant) => [tenant.name, open(tenant)]));
let requests = 0;

function open(tenant: Tenant): TenantVault {
  const sql = openNodeSql(paths.tenant(tenant.id));
  const vault = new TenantVault({
    tenant: { id: tenant.id, name: tenant.name, demo: false },
    sql,
    erasureKey: register.open(tenant.id),
    platform,
    authorizer,
    admit: () => {},
    onDueChanged: () => {},
    witnessed: witness.latest(tenant.id),
  });
  databases.set(vault, sql);
  return vault;
}

function vaultOf(name: string): TenantVault {
  const vault = vaults.get(name);
  if (vault === undefined) throw new Error('no such tenant');
  return vault;
}

const source = { address: '127.0.0.1', userAgent: 'bench' };
const admin: UserIdentity = {
  id: 'usr_bench',
  name: 'bench',
  revision: 1,
  bootstrap: false,
  grants: [{ role: 'admin', tenantId: '*' }],
  tokenId: '',
};
const asAdmin = (): Caller => ({ token: undefined, source, request: `req_${requests++}`, user: admin });

const SPLIT = { value: new TextEncoder().encode(JSON.stringify(API_KEY.value)), retained: undefined, expiresAtMs: undefined };

/** Credentials `c<from>` on, sealed and inserted as `putCredential` would, but in large batches and without an event each. */
async function fill({ tenant, from, count }: { tenant: string; from: number; count: number }): Promise<void> {
  const vault = vaultOf(tenant);
  for (let at = from; at < from + count; at += FILL_BATCH_ROWS) {
    const end = Math.min(at + FILL_BATCH_ROWS, from + count);
    await vault.submit((job) =>
      job.door.record(FILLING, (access) => {
        const environmentId = job.credentials.findEnvironment(access, ENVIRONMENT)?.id ?? '';
        for (let i = at; i < end; i++) {
          const facts = factsOf(access, environmentId, `c${i}`);
          job.credentials.insert(access, facts);
          storeVersion(job, access, facts, SPLIT, { origin: 'put', runId: null });
        }
      }),
    );
  }
}

function factsOf(access: WriteAccess, environmentId: string, name: string): CredentialRow {
  const now = clock.now();
  return {
    id: newId('credential', entropy),
    environment_id: environmentId,
    name,
    kind: API_KEY.kind,
    connector: null,
    state: 'active',
    health: 'ready',
    health_since: now,
    health_cause: null,
    current_version: 1,
    previous_version: null,
    pending_version: null,
    latest_version: 1,
    revision: 1,
    description: '',
    labels: '{}',
    config: '{}',
    value_expires_at: null,
    refresh_due_at: null,
    created_at: now,
    created_by: access.principalId,
    updated_at: now,
    deleted_at: null,
    destroy_after_at: null,
    grant_facts: '{}',
    grant_ends_at: null,
    review_due_at: null,
    rotation: '{}',
    rotation_due_at: null,
    schedule: '{}',
    rotation_promised_at: null,
    overdue_check_at: null,
  };
}

interface OpenCost {
  readonly wallMs: number;
  readonly cpuMs: number;
  /** After that: what the first read waits for. */
  readonly firstReadMs: number;
}

interface ReadAsk {
  readonly tenant: string;
  /** Names are drawn uniformly from `c0` to `c<among - 1>`. */
  readonly among: number;
  readonly reads: number;
  /** The credential cache is emptied before each batch. */
  readonly cold: boolean;
}

/** Reads in batches of 64 as 64 connections would bring them; microseconds of wall clock and of CPU per read. */
async function timeReads({ tenant, among, reads, cold }: ReadAsk): Promise<{ wallUs: number; cpuUs: number }> {
  const vault = vaultOf(tenant);
  const token = tenants.find(({ name }) => name === tenant)?.token ?? '';
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  for (let done = 0; done < reads; done += READ_BATCH) {
    if (cold) inside(vault).cache.clear();
    const batch = Array.from({ length: READ_BATCH }, () => {
      const caller: Caller = { token, source, request: `req_${requests++}` };
      const input = {
        environment: ENVIRONMENT,
        name: `c${Math.floor(Math.random() * among)}`,
        version: undefined,
        stage: undefined,
      };
      return vault.submit((job) => readCredential(job, caller, input));
    });
    await Promise.all(batch);
  }
  const wallUs = (performance.now() - startedAt) * 1e3;
  const cpu = process.cpuUsage(cpuBefore);
  return { wallUs: wallUs / reads, cpuUs: (cpu.user + cpu.system) / reads };
}

/** Opens a tenant that this process has not touched, and reads one credential; milliseconds. */
async function timeOpen({ tenant, among }: { tenant: Tenant; among: number }): Promise<OpenCost> {
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const vault = open(tenant);
  const wallMs = performance.now() - startedAt;
  const cpu = process.cpuUsage(cpuBefore);
  const caller: Caller = { token: tenant.token, source, request: `req_${requests++}` };
  const name = `c${Math.floor(Math.random() * among)}`;
  await vault.submit((job) =>
    readCredential(job, caller, { environment: ENVIRONMENT, name, version: undefined, stage: undefined }),
  );
  const firstReadMs = performance.now() - startedAt - wallMs;
  vaults.set(tenant.name, vault);
  return { wallMs, cpuMs: (cpu.user + cpu.system) / 1e3, firstReadMs };
}

/** New versions of credentials `c0` to `c<among - 1>`, each in a commit of its own. */
async function write({ tenant, among, writes }: { tenant: string; among: number; writes: number }): Promise<void> {
  const vault = vaultOf(tenant);
  const unset = { connector: undefined, config: undefined, labels: undefined, description: undefined, expiresAtMs: undefined };
  for (let i = 0; i < writes; i++) {
    const name = `c${Math.floor(Math.random() * among)}`;
    await vault.submit((job) =>
      putCredential(job, asAdmin(), { environment: ENVIRONMENT, name, ...API_KEY, ...unset, precondition: {} }),
    );
  }
}

/** Rotates the key of all API keys and rewraps until nothing is left. */
async function rewrap({ tenant }: { tenant: string }): Promise<{ rows: number; seconds: number }> {
  const vault = vaultOf(tenant);
  await vault.submit((job) => rotateKeys(job, asAdmin(), ['api_key']));
  const startedAt = performance.now();
  const { rewrapped } = await engineOf(vault).runDueWork();
  return { rows: rewrapped, seconds: (performance.now() - startedAt) / 1e3 };
}

function engineOf(vault: TenantVault): RefreshEngine {
  const every = (everyMs: number, beat: () => void) => {
    const timer = setInterval(beat, everyMs);
    return () => clearInterval(timer);
  };
  return new RefreshEngine({
    vault,
    egress: createNodeEgress({ clock }),
    connectors,
    owner: 'bench',
    sandboxAllowed: true,
    every,
  });
}

interface GrantAsk {
  readonly tenant: string;
  /** Credentials get this and a number as their names. */
  readonly prefix: string;
  readonly provider: { readonly tokenEndpoint: string; readonly clientId: string; readonly clientSecret: string };
  readonly grants: readonly { readonly accessToken: string; readonly refreshToken: string; readonly expiresIn: number }[];
}

async function putGrants({ tenant, prefix, provider, grants }: GrantAsk): Promise<void> {
  const vault = vaultOf(tenant);
  const puts = grants.map((grant, i) =>
    vault.submit((job) =>
      putCredential(job, asAdmin(), {
        environment: ENVIRONMENT,
        name: `${prefix}${i}`,
        kind: 'oauth2',
        value: {
          access_token: grant.accessToken,
          refresh_token: grant.refreshToken,
          client_secret: provider.clientSecret,
          expires_in: grant.expiresIn,
        },
        connector: 'local-sandbox',
        config: {
          token_endpoint: provider.tokenEndpoint,
          client_id: provider.clientId,
          client_authentication: 'client_secret_basic',
        },
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    ),
  );
  await Promise.all(puts);
}

interface RefreshAsk {
  readonly tenant: string;
  readonly prefix: string;
  readonly grants: number;
  readonly atOnce: number;
  readonly seconds: number;
}

/** Keeps `atOnce` refreshes of different grants under way; each counts when its new version is durable. */
async function timeRefreshes(
  ask: RefreshAsk,
): Promise<{ requests: number; perSecond: number; p50Ms: number; p99Ms: number; failures: number }> {
  const vault = vaultOf(ask.tenant);
  const engine = engineOf(vault);
  const ids = await vault.submit((job) =>
    job.door.record(FILLING, (access) => {
      const environmentId = job.credentials.findEnvironment(access, ENVIRONMENT)?.id ?? '';
      return Array.from(
        { length: ask.grants },
        (_, i) => job.credentials.find(access, environmentId, `${ask.prefix}${i}`)?.id ?? '',
      );
    }),
  );
  const before = refreshedVersions(vault);
  const tookMs: number[] = [];
  const startedAt = performance.now();
  const endAt = startedAt + ask.seconds * 1e3;
  const work = async (): Promise<void> => {
    while (performance.now() < endAt) {
      const id = ids.shift() ?? '';
      const askedAt = performance.now();
      await engine.refreshNow(id, 'request', true);
      tookMs.push(performance.now() - askedAt);
      ids.push(id);
    }
  };
  await Promise.all(Array.from({ length: ask.atOnce }, work));
  const seconds = (performance.now() - startedAt) / 1e3;
  const stored = refreshedVersions(vault) - before;
  return {
    requests: tookMs.length,
    perSecond: stored / seconds,
    p50Ms: percentile(tookMs, 50),
    p99Ms: percentile(tookMs, 99),
    failures: tookMs.length - stored,
  };
}

/** Every refresh adds one to the latest version of its credential. */
function refreshedVersions(vault: TenantVault): number {
  return Number(databases.get(vault)?.get("SELECT sum(latest_version) AS n FROM credential WHERE kind = 'oauth2'")?.['n'] ?? 0);
}

answerWith({ hello: () => ({}), fill, timeOpen, write, timeReads, rewrap, putGrants, timeRefreshes }, () => {
  for (const vault of vaults.values()) vault.close();
  registerSql.close();
});
