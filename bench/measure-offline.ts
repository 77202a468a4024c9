// What needs no HTTP in front: reads from a small and a large database, rewrapping, and the refresh engine against a provider.
import { type Child, startChild } from './child.ts';
import type { Tenant } from './installation.ts';
import type { Plan } from './plan.ts';
import { median } from './statistics.ts';

export interface ReadCost {
  readonly wallUs: number;
  readonly cpuUs: number;
}

export interface RefreshRate {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failures: number;
}

export type Provider = 'minimal' | 'sandbox';

export interface Offline {
  readonly reads: { readonly small: Record<ReadKind, ReadCost>; readonly large: Record<ReadKind, ReadCost> };
  readonly rewrap: { readonly rows: number; readonly seconds: number };
  readonly refreshes: Readonly<Record<Provider, ReadonlyMap<number, RefreshRate>>>;
}

/** `cold`: any credential, with the vault's own cache emptied before each 64 reads. `hot`: the same 64 again and again. */
export type ReadKind = 'cold' | 'hot';
const HOT_ROWS = 64;

export async function measureOffline(
  plan: Plan,
  dataDirectory: string,
  tenants: { readonly warm: Tenant; readonly cold: Tenant; readonly large: Tenant; readonly grants: Tenant },
): Promise<Offline> {
  const child = await startChild('serve-offline.ts', { dataDirectory, tenants: Object.values(tenants) }, plan.profileDirectory);
  const reads = await timeReads(plan, child, tenants.warm.name, tenants.large.name);
  const rewrap = await child.ask<Offline['rewrap']>('rewrap', { tenant: tenants.cold.name });
  const refreshes = {
    minimal: await timeRefreshes(plan, child, tenants.grants.name, 'minimal'),
    sandbox: await timeRefreshes(plan, child, tenants.grants.name, 'sandbox'),
  };
  await child.stop();
  return { reads, rewrap, refreshes };
}

async function timeReads(plan: Plan, child: Child, small: string, large: string): Promise<Offline['reads']> {
  const ask = (tenant: string, among: number, cold: boolean, reads: number) =>
    child.ask<ReadCost>('timeReads', { tenant, among, reads, cold });
  const rounds = {
    small: { cold: [] as ReadCost[], hot: [] as ReadCost[] },
    large: { cold: [] as ReadCost[], hot: [] as ReadCost[] },
  };
  const sizes = [
    { size: 'small', tenant: small, rows: plan.smallRows },
    { size: 'large', tenant: large, rows: plan.largeRows },
  ] as const;
  for (const { tenant, rows } of sizes) await ask(tenant, rows, true, plan.timedReads / 4);
  for (let round = 0; round < plan.readRounds; round++) {
    for (const { size, tenant, rows } of sizes) rounds[size].cold.push(await ask(tenant, rows, true, plan.timedReads));
    for (const { size, tenant } of sizes) rounds[size].hot.push(await ask(tenant, HOT_ROWS, false, plan.timedReads));
  }
  const middle = (costs: ReadCost[]): ReadCost => ({
    wallUs: median(costs.map((cost) => cost.wallUs)),
    cpuUs: median(costs.map((cost) => cost.cpuUs)),
  });
  return {
    small: { cold: middle(rounds.small.cold), hot: middle(rounds.small.hot) },
    large: { cold: middle(rounds.large.cold), hot: middle(rounds.large.hot) },
  };
}

async function timeRefreshes(plan: Plan, child: Child, tenant: string, kind: Provider): Promise<Map<number, RefreshRate>> {
  const provider = await startChild('serve-tokens.ts', { kind });
  const count = plan.grants[kind];
  const grants = await provider.ask('grants', count);
  // A run of its own names its own grants: those of an earlier run have a provider that is gone.
  const prefix = `${kind}-${process.pid}-`;
  await child.ask('putGrants', { tenant, prefix, provider: provider.hello, grants });
  const answeredBefore = await provider.ask<number>('answered');
  const rates = new Map<number, RefreshRate>();
  for (const atOnce of plan.connections.filter((connections) => connections <= count)) {
    const seconds = plan.refreshSeconds;
    rates.set(atOnce, await child.ask<RefreshRate>('timeRefreshes', { tenant, prefix, grants: count, atOnce, seconds }));
  }
  const answered = (await provider.ask<number>('answered')) - answeredBefore;
  const counted = [...rates.values()].reduce((sum, rate) => sum + rate.requests - rate.failures, 0);
  if (answered < counted) throw new Error(`${counted} refreshes were counted, but the provider answered ${answered} only`);
  await provider.stop();
  return rates;
}
