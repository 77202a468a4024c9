// The process itself: how long it takes to start, and what it holds in memory with many tenants open.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { API_KEY, call, createTenant, credentialPath, setUpOwner, startVault, type Vault } from './installation.ts';
import type { Plan } from './plan.ts';
import { median } from './statistics.ts';

export interface Memory {
  readonly tenants: number;
  readonly emptyBytes: number;
  readonly openBytes: number;
  /** Until the listener answers; the tenants open after that, in the background. */
  readonly startMs: number;
  readonly allOpenMs: number;
}

export interface Starts {
  readonly firstMs: number;
  readonly againMs: number;
  /** Absent where there is no command line. */
  readonly cliMs: number | undefined;
}

const TENANTS_AT_ONCE = 8;
const POLL_MS = 20;

export async function measureMemory(plan: Plan, dataDirectory: string): Promise<Memory> {
  const maker = await startVault(dataDirectory);
  const owner = await setUpOwner(maker);
  const emptyBytes = await maker.child.ask<number>('rss');
  const names = Array.from({ length: plan.tenants }, (_, i) => `t${i}`);
  const work = async (): Promise<void> => {
    for (let name = names.pop(); name !== undefined; name = names.pop()) {
      await createTenant(maker, owner, name);
      await call(maker, owner, 'PUT', credentialPath(name, 'c0'), API_KEY);
    }
  };
  await Promise.all(Array.from({ length: TENANTS_AT_ONCE }, work));
  await maker.child.stop();
  const startedAt = performance.now();
  const vault = await startVault(dataDirectory);
  await untilOpen(vault, owner, plan.tenants);
  const allOpenMs = performance.now() - startedAt;
  for (let i = 0; i < plan.tenants; i++) await call(vault, owner, 'GET', credentialPath(`t${i}`, 'c0'));
  const openBytes = await vault.child.ask<number>('rss');
  await vault.child.stop();
  return { tenants: plan.tenants, emptyBytes, openBytes, startMs: vault.child.readyAfterMs, allOpenMs };
}

async function untilOpen(vault: Vault, owner: string, tenants: number): Promise<void> {
  for (;;) {
    const text = String(await call(vault, owner, 'GET', '/metrics'));
    if (Number(/^keyturn_open_tenants (\d+)$/m.exec(text)?.[1]) >= tenants) return;
    await new Promise((resume) => setTimeout(resume, POLL_MS));
  }
}

export async function measureStarts(plan: Plan, scratch: string): Promise<Starts> {
  const first: number[] = [];
  const again: number[] = [];
  for (let i = 0; i < plan.starts; i++) {
    for (const times of [first, again]) {
      const vault = await startVault(join(scratch, `start-${i}`));
      times.push(vault.child.readyAfterMs);
      await vault.child.stop();
    }
  }
  return { firstMs: median(first), againMs: median(again), cliMs: await timeCli(plan) };
}

async function timeCli(plan: Plan): Promise<number | undefined> {
  const cli = join(import.meta.dirname, '..', 'src', 'cli');
  if (!existsSync(join(cli, 'main.ts'))) return undefined;
  const times: number[] = [];
  for (let i = 0; i < plan.starts; i++) {
    const startedAt = performance.now();
    await promisify(execFile)(process.execPath, [join(cli, 'launch.mjs'), '--version']);
    times.push(performance.now() - startedAt);
  }
  return median(times);
}
