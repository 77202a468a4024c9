// The installation most sections share: a few tenants, filled with as many credentials as the plan says. Kept between runs if asked.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startChild } from './child.ts';
import { createTenant, setUpOwner, startVault, type Tenant } from './installation.ts';
import type { Plan } from './plan.ts';

export const TENANTS = ['warm', 'cold', 'writes', 'large', 'grants'] as const;

export interface Prepared {
  readonly dataDirectory: string;
  readonly tenants: Readonly<Record<(typeof TENANTS)[number], Tenant>>;
  /** Undefined when the large set was there from an earlier run. */
  readonly filledPerSecond: number | undefined;
}

export async function prepare(plan: Plan, scratch: string): Promise<Prepared> {
  const dataDirectory = join(scratch, `data-${plan.largeRows}`);
  const note = join(scratch, `data-${plan.largeRows}.json`);
  if (existsSync(note)) {
    return { dataDirectory, tenants: JSON.parse(readFileSync(note, 'utf8')), filledPerSecond: undefined };
  }
  const vault = await startVault(dataDirectory);
  const owner = await setUpOwner(vault);
  const tenants = {} as Record<(typeof TENANTS)[number], Tenant>;
  for (const name of TENANTS) tenants[name] = await createTenant(vault, owner, name);
  await vault.child.stop();
  const child = await startChild('serve-offline.ts', { dataDirectory, tenants: Object.values(tenants) });
  await child.ask('fill', { tenant: 'warm', from: 0, count: plan.smallRows });
  await child.ask('fill', { tenant: 'writes', from: 0, count: plan.smallRows });
  await child.ask('fill', { tenant: 'cold', from: 0, count: plan.coldRows });
  const startedAt = performance.now();
  await child.ask('fill', { tenant: 'large', from: 0, count: plan.largeRows });
  const filledPerSecond = plan.largeRows / ((performance.now() - startedAt) / 1e3);
  await child.stop();
  if (plan.keep) writeFileSync(note, JSON.stringify(tenants), { mode: 0o600 });
  return { dataDirectory, tenants, filledPerSecond };
}
