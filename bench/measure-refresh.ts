// Refreshes as the running service makes them, by its own scheduler, against a provider in another process; and what reads of the same
// tenant lose while it does.
import { join } from 'node:path';
import { openNodeSql } from '../src/node/sqlite.ts';
import { type Child, startChild } from './child.ts';
import { API_KEY, call, createTenant, credentialPath, setUpOwner, startVault, type Tenant, type Vault } from './installation.ts';
import type { LoadGenerator, LoadRequest, LoadResult } from './load.ts';
import type { Plan } from './plan.ts';

export interface Storm {
  readonly grants: number;
  /** Seconds from the first token call to the last. */
  readonly seconds: number;
  readonly stored: number;
  readonly calls: number;
  readonly duplicates: number;
}

export interface ReadsUnderRefresh {
  readonly without: readonly LoadResult[];
  readonly during: readonly LoadResult[];
  /** Refreshes a second in each round of `during`. */
  readonly refreshesPerSecond: readonly number[];
  /** Throughput lost in each round, as a fraction: other work on the machine hits both halves of a round alike. */
  readonly lost: readonly number[];
}

export interface Refreshes {
  readonly storm: Storm;
  readonly reads: ReadsUnderRefresh;
}

interface Grant {
  readonly accessToken: string;
  readonly refreshToken: string;
}

interface Counted {
  readonly answered: number;
  readonly duplicates: number;
  readonly seconds: number;
}

const PUTS_AT_ONCE = 32;
const READ_ROWS = 1_000;
/** Of a storm's tokens: all are put before the first is due, at half of it. */
const STORM_EXPIRES_IN_SECONDS = 60;
/** Under load each token is refreshed at half of this. */
const LOAD_EXPIRES_IN_SECONDS = 12;
const SETTLE_SECONDS = 2;
const STORM_WITHIN_SECONDS = 300;

export async function measureRefreshes(plan: Plan, generator: LoadGenerator, dataDirectory: string): Promise<Refreshes> {
  const provider = await startChild('serve-single-use.ts', {});
  const vault = await startVault(dataDirectory, plan.profileDirectory);
  const owner = await setUpOwner(vault);
  const stormy = await createTenant(vault, owner, 'storm');
  const shared = await createTenant(vault, owner, 'shared');
  const unstored = await storm(plan, vault, provider, stormy);
  const reads = await readsUnderRefresh(plan, generator, vault, provider, shared);
  await vault.child.stop();
  await provider.stop();
  const path = join(dataDirectory, 'tenants', `${stormy.id}.db`);
  const sql = openNodeSql(path, { readonly: true });
  const stored = Number(sql.get('SELECT count(*) AS n FROM credential WHERE current_version = 2')?.['n']);
  sql.close();
  return { storm: { ...unstored, stored }, reads };
}

/** As many grants as the plan says, all due within seconds. */
async function storm(plan: Plan, vault: Vault, provider: Child, tenant: Tenant): Promise<Omit<Storm, 'stored'>> {
  const count = plan.stormGrants;
  await putGrants(vault, provider, tenant, 's', count, STORM_EXPIRES_IN_SECONDS);
  const endAt = performance.now() + STORM_WITHIN_SECONDS * 1e3;
  for (let before = -1; ; ) {
    await pause(SETTLE_SECONDS);
    const { answered, duplicates, seconds } = await provider.ask<Counted>('counted');
    if (answered === before && answered >= count) return { grants: count, calls: answered, duplicates, seconds };
    if (performance.now() > endAt) throw new Error(`${answered} of ${count} grants were refreshed in time`);
    before = answered;
  }
}

async function readsUnderRefresh(
  plan: Plan,
  generator: LoadGenerator,
  vault: Vault,
  provider: Child,
  tenant: Tenant,
): Promise<ReadsUnderRefresh> {
  await inTurns(READ_ROWS, (i) => call(vault, tenant.token, 'PUT', credentialPath(tenant.name, `c${i}`), API_KEY));
  const request: LoadRequest = {
    method: 'GET',
    path: `${credentialPath(tenant.name, 'c{i}')}/value`,
    pick: READ_ROWS,
    headers: { authorization: `Bearer ${tenant.token}` },
  };
  const read = (seconds: number) => generator.run(vault.url, request, plan.targetConnections, seconds);
  await read(plan.warmUpSeconds);
  const without: LoadResult[] = [];
  const during: LoadResult[] = [];
  const refreshesPerSecond: number[] = [];
  for (let round = 0; round < plan.refreshRounds; round++) {
    without.push(await read(plan.refreshRoundSeconds));
    await provider.ask('liveFor', LOAD_EXPIRES_IN_SECONDS);
    await putGrants(vault, provider, tenant, `r${round}-`, plan.loadGrants, LOAD_EXPIRES_IN_SECONDS);
    await pause(LOAD_EXPIRES_IN_SECONDS / 2);
    await provider.ask('restartCount');
    const startedAt = performance.now();
    during.push(await read(plan.refreshRoundSeconds));
    const { answered } = await provider.ask<Counted>('counted');
    refreshesPerSecond.push(answered / ((performance.now() - startedAt) / 1e3));
    await provider.ask('liveFor', 3_600);
    await pause(LOAD_EXPIRES_IN_SECONDS);
  }
  const lost = during.map(({ perSecond }, i) => 1 - perSecond / (without[i]?.perSecond ?? 0));
  return { without, during, refreshesPerSecond, lost };
}

async function putGrants(
  vault: Vault,
  provider: Child,
  tenant: Tenant,
  prefix: string,
  count: number,
  expiresIn: number,
): Promise<void> {
  const grants = await provider.ask<Grant[]>('grants', count);
  const { tokenEndpoint, clientId, clientSecret } = provider.hello;
  await inTurns(count, (i) =>
    call(vault, tenant.token, 'PUT', credentialPath(tenant.name, `${prefix}${i}`), {
      kind: 'oauth2',
      connector: 'local-sandbox',
      value: {
        access_token: grants[i]?.accessToken,
        refresh_token: grants[i]?.refreshToken,
        client_secret: clientSecret,
        expires_in: expiresIn,
      },
      config: { token_endpoint: tokenEndpoint, client_id: clientId },
    }),
  );
}

/** A few at a time, in order. */
async function inTurns(count: number, work: (i: number) => Promise<unknown>): Promise<void> {
  let at = 0;
  const worker = async () => {
    while (at < count) await work(at++);
  };
  await Promise.all(Array.from({ length: PUTS_AT_ONCE }, worker));
}

function pause(seconds: number): Promise<void> {
  return new Promise((resume) => setTimeout(resume, seconds * 1e3));
}
