// How long a tenant takes to open, small and large: after its rows were filled in, and again after many writes one by one, when the journal of
// its map is long. Each opening is in a process of its own.
import { startChild } from './child.ts';
import type { Tenant } from './installation.ts';
import type { Plan } from './plan.ts';
import { median } from './statistics.ts';

export interface OpenCost {
  readonly wallMs: number;
  readonly cpuMs: number;
  /** After that: what the first read waits for. */
  readonly firstReadMs: number;
}

export interface Opens {
  readonly small: OpenCost;
  readonly large: OpenCost;
  readonly writes: number;
  readonly largeAfterWrites: OpenCost;
}

export async function measureOpens(
  plan: Plan,
  dataDirectory: string,
  tenants: { readonly warm: Tenant; readonly large: Tenant },
): Promise<Opens> {
  const small = await timeOpens(plan, dataDirectory, tenants.warm, plan.smallRows);
  const large = await timeOpens(plan, dataDirectory, tenants.large, plan.largeRows);
  const writer = await startChild('serve-offline.ts', { dataDirectory, tenants: [tenants.large] });
  await writer.ask('write', { tenant: tenants.large.name, among: plan.largeRows, writes: plan.loneWrites });
  await writer.stop();
  const largeAfterWrites = await timeOpens(plan, dataDirectory, tenants.large, plan.largeRows);
  return { small, large, writes: plan.loneWrites, largeAfterWrites };
}

async function timeOpens(plan: Plan, dataDirectory: string, tenant: Tenant, among: number): Promise<OpenCost> {
  const costs: OpenCost[] = [];
  for (let i = 0; i < plan.starts; i++) {
    const child = await startChild('serve-offline.ts', { dataDirectory, tenants: [] }, plan.profileDirectory);
    costs.push(await child.ask<OpenCost>('timeOpen', { tenant, among }));
    await child.stop();
  }
  const middle = (of: (cost: OpenCost) => number) => median(costs.map(of));
  return {
    wallMs: middle(({ wallMs }) => wallMs),
    cpuMs: middle(({ cpuMs }) => cpuMs),
    firstReadMs: middle(({ firstReadMs }) => firstReadMs),
  };
}
