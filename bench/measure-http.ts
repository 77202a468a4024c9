// Requests per second over HTTP, in rounds that take turns (bare, read, write ...) because the machine is not quiet: medians of the rounds.
import type { CpuUse } from './child.ts';
import { type Child, startChild } from './child.ts';
import { API_KEY, credentialPath, startVault, type Tenant } from './installation.ts';
import type { LoadGenerator, LoadRequest } from './load.ts';
import type { Plan } from './plan.ts';
import { median } from './statistics.ts';

export const KINDS = ['bare Hono', 'bare Hono, ready Response', 'read, warm', 'read, cold', 'write'] as const;
export type Kind = (typeof KINDS)[number];

export interface Rate {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The server's own CPU time; what other processes do does not show in it. */
  readonly cpuUs: number;
  readonly failures: number;
}

export interface Http {
  readonly generator: string;
  readonly answerBytes: number;
  readonly rates: ReadonlyMap<number, ReadonlyMap<Kind, Rate>>;
  /** Warm reads over bare Hono at the target's connections, round by round. */
  readonly ratios: readonly number[];
  readonly ratiosToReady: readonly number[];
}

interface Subject {
  readonly child: Child;
  readonly url: string;
  readonly request: LoadRequest;
}

export interface HttpTenants {
  readonly warm: Tenant;
  readonly cold: Tenant;
  readonly writes: Tenant;
}

export async function measureHttp(
  plan: Plan,
  generator: LoadGenerator,
  dataDirectory: string,
  tenants: HttpTenants,
): Promise<Http> {
  const vault = await startVault(dataDirectory, plan.profileDirectory);
  const { warm } = tenants;
  const path = `${credentialPath(warm.name, 'c0')}/value`;
  const sample = await fetch(vault.url + path, { headers: { authorization: `Bearer ${warm.token}` } });
  const text = await sample.text();
  const bare = await startChild('serve-bare.ts', { answer: JSON.parse(text), headers: ownHeaders(sample.headers) });
  const headers = { authorization: `Bearer ${warm.token}` };
  const read = (tenant: Tenant, pick: number): LoadRequest => ({
    method: 'GET',
    path: `${credentialPath(tenant.name, 'c{i}')}/value`,
    pick,
    headers: { authorization: `Bearer ${tenant.token}` },
  });
  const subjects: Record<Kind, Subject> = {
    'bare Hono': { child: bare, url: String(bare.hello['url']), request: { method: 'GET', path: '/bare', pick: 1, headers } },
    'bare Hono, ready Response': {
      child: bare,
      url: String(bare.hello['url']),
      request: { method: 'GET', path: '/ready', pick: 1, headers },
    },
    'read, warm': { child: vault.child, url: vault.url, request: read(warm, plan.smallRows) },
    'read, cold': { child: vault.child, url: vault.url, request: read(tenants.cold, plan.coldRows) },
    write: {
      child: vault.child,
      url: vault.url,
      request: {
        method: 'PUT',
        path: credentialPath(tenants.writes.name, 'c{i}'),
        pick: plan.smallRows,
        headers: { authorization: `Bearer ${tenants.writes.token}`, 'content-type': 'application/json' },
        body: JSON.stringify(API_KEY),
      },
    },
  };
  for (const kind of KINDS) await measure(generator, subjects[kind], plan.targetConnections, plan.warmUpSeconds);
  const rates = new Map<number, Map<Kind, Rate>>();
  let ratios: number[] = [];
  let ratiosToReady: number[] = [];
  for (const connections of plan.connections) {
    const isTarget = connections === plan.targetConnections;
    const rounds = await inTurns(plan, generator, subjects, connections, isTarget ? plan.targetRounds : plan.rounds);
    rates.set(connections, new Map(KINDS.map((kind) => [kind, middle(rounds[kind])])));
    if (!isTarget) continue;
    ratios = readsOver(rounds, 'bare Hono');
    ratiosToReady = readsOver(rounds, 'bare Hono, ready Response');
  }
  await bare.stop();
  await vault.child.stop();
  return { generator: generator.name, answerBytes: text.length, rates, ratios, ratiosToReady };
}

function readsOver(rounds: Record<Kind, Rate[]>, yardstick: Kind): number[] {
  return rounds['read, warm'].map((rate, i) => rate.perSecond / (rounds[yardstick][i]?.perSecond ?? 0));
}

/** What the vault sets itself; node adds the rest to both. */
function ownHeaders(headers: Headers): Record<string, string> {
  const added = new Set(['connection', 'date', 'keep-alive', 'content-length', 'transfer-encoding']);
  return Object.fromEntries([...headers].filter(([name]) => !added.has(name)));
}

async function inTurns(
  plan: Plan,
  generator: LoadGenerator,
  subjects: Record<Kind, Subject>,
  connections: number,
  count: number,
): Promise<Record<Kind, Rate[]>> {
  const rounds = Object.fromEntries(KINDS.map((kind) => [kind, [] as Rate[]])) as Record<Kind, Rate[]>;
  for (let round = 0; round < count; round++) {
    for (const kind of KINDS) rounds[kind].push(await measure(generator, subjects[kind], connections, plan.roundSeconds));
  }
  return rounds;
}

async function measure(generator: LoadGenerator, subject: Subject, connections: number, seconds: number): Promise<Rate> {
  const before = await subject.child.ask<CpuUse>('cpu');
  const result = await generator.run(subject.url, subject.request, connections, seconds);
  const after = await subject.child.ask<CpuUse>('cpu');
  const cpu = after.user + after.system - before.user - before.system;
  return { ...result, cpuUs: cpu / result.requests };
}

function middle(rounds: readonly Rate[]): Rate {
  return {
    perSecond: median(rounds.map((rate) => rate.perSecond)),
    p50Ms: median(rounds.map((rate) => rate.p50Ms)),
    p99Ms: median(rounds.map((rate) => rate.p99Ms)),
    cpuUs: median(rounds.map((rate) => rate.cpuUs)),
    failures: rounds.reduce((sum, rate) => sum + rate.failures, 0),
  };
}
