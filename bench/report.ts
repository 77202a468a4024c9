// Turns a run into tables, on the terminal and between the two marks in docs/performance.md; the prose around them is written by hand.
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, totalmem, type } from 'node:os';
import { join } from 'node:path';
import type { LoadResult } from './load.ts';
import { type Http, KINDS } from './measure-http.ts';
import type { Offline } from './measure-offline.ts';
import type { OpenCost, Opens } from './measure-open.ts';
import type { Memory, Starts } from './measure-process.ts';
import type { Refreshes } from './measure-refresh.ts';
import type { Plan } from './plan.ts';
import { median } from './statistics.ts';

export interface Results {
  readonly plan: Plan;
  filledPerSecond?: number | undefined;
  offline?: Offline;
  opens?: Opens;
  http?: Http;
  refreshes?: Refreshes;
  memory?: Memory;
  starts?: Starts;
}

const DOCUMENT = join(import.meta.dirname, '..', 'docs', 'performance.md');
const BEGIN = '<!-- bench:begin -->';
const END = '<!-- bench:end -->';
const OPEN_TARGET_MS = 1_000;

export function tableOf(results: Results): string {
  const { plan, http, offline, opens, refreshes, memory, starts } = results;
  return [
    machine(http?.generator),
    ...(http === undefined ? [] : httpTables(http, plan)),
    ...(offline === undefined ? [] : offlineTables(offline, plan, results.filledPerSecond)),
    ...(opens === undefined ? [] : openTables(opens, plan)),
    ...(refreshes === undefined ? [] : refreshTables(refreshes, plan)),
    ...(memory === undefined && starts === undefined ? [] : [processTable(memory, starts)]),
  ].join('\n\n');
}

/** @throws when the document lost its marks */
export function writeDocument(results: Results): void {
  const text = readFileSync(DOCUMENT, 'utf8');
  const from = text.indexOf(BEGIN);
  const to = text.indexOf(END);
  if (from < 0 || to < from) throw new Error(`docs/performance.md must hold ${BEGIN} and ${END}`);
  writeFileSync(DOCUMENT, `${text.slice(0, from)}${BEGIN}\n\n${tableOf(results)}\n\n${text.slice(to)}`);
}

function machine(generator: string | undefined): string {
  const [first] = cpus();
  const gib = (totalmem() / 2 ** 30).toFixed(0);
  const by = generator === undefined ? '' : `; load by ${generator} on the same machine`;
  const { node, modules: _modules, ...versions } = process.versions;
  return (
    `Measured ${new Date().toISOString().slice(0, 10)} at commit ${commit()}: ${cpus().length} x ${first?.model.trim()}, ` +
    `${gib} GiB, ${type()}, Node ${node}, V8 ${versions.v8}, OpenSSL ${versions.openssl}${by}.`
  );
}

function commit(): string {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
  } catch {
    return 'unknown';
  }
}

type Cell = string | number;

function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const line = (cells: readonly Cell[]) => `| ${cells.join(' | ')} |`;
  return [line(head), `|${head.map((_, i) => (i === 0 ? '---|' : '---:|')).join('')}`, ...rows.map(line)].join('\n');
}

function httpTables(http: Http, plan: Plan): string[] {
  const rows = [...http.rates].flatMap(([connections, rates]) =>
    KINDS.map((kind) => {
      const rate = rates.get(kind);
      if (rate === undefined) return [kind, connections, '-', '-', '-', '-'];
      const failed = rate.failures > 0 ? ` (${rate.failures} failed)` : '';
      return [kind, connections, `${whole(rate.perSecond)}${failed}`, fixed(rate.p50Ms), fixed(rate.p99Ms), fixed(rate.cpuUs, 1)];
    }),
  );
  const at = http.rates.get(plan.targetConnections);
  const p99 = at?.get('read, warm')?.p99Ms ?? Number.NaN;
  const ratio = median(http.ratios);
  const all = http.ratios.map((one) => percent(one)).join(', ');
  const cpuRatio = (at?.get('bare Hono')?.cpuUs ?? Number.NaN) / (at?.get('read, warm')?.cpuUs ?? Number.NaN);
  return [
    `Over HTTP, answers of ${http.answerBytes} bytes. "Cold": any of ${whole(plan.coldRows)} credentials, of which 5,000 fit the cache.`,
    table(['', 'connections', 'per second', 'p50 ms', 'p99 ms', 'server CPU us each'], rows),
    `Warm read over bare Hono at ${plan.targetConnections} connections: ${percent(ratio)} (rounds: ${all}), by the server's CPU time ` +
      `${percent(cpuRatio)}, over the ready Response ${percent(median(http.ratiosToReady))}; p99 ${fixed(p99)} ms. ` +
      `Target: at least 40 %, p99 below 15 ms: ${verdict(http, ratio, p99)}.`,
  ];
}

/** The median alone hides a spread across the target, so the rounds are counted; autocannon is slower than bare Hono and would flatter. */
function verdict(http: Http, ratio: number, p99Ms: number): string {
  if (http.generator.startsWith('autocannon')) return 'not judged, the load generator is the limit of bare Hono';
  const reached = http.ratios.filter((one) => one >= 0.4).length;
  return `${ratio >= 0.4 && p99Ms < 15 ? 'met' : 'missed'} by the medians, the ratio in ${reached} of ${http.ratios.length} rounds`;
}

function openTables({ small, large, writes, largeAfterWrites }: Opens, plan: Plan): string[] {
  const row = (name: string, { wallMs, cpuMs, firstReadMs }: OpenCost) => [
    name,
    fixed(wallMs, 0),
    fixed(cpuMs, 0),
    fixed(firstReadMs, 1),
  ];
  const met = Math.max(large.wallMs, largeAfterWrites.wallMs) < OPEN_TARGET_MS;
  return [
    'Opening one tenant in a process of its own, medians; then its first read. Each write has a commit of its own.',
    table(
      ['open', 'ms', 'CPU ms', 'first read ms'],
      [
        row(`${whole(plan.smallRows)} credentials`, small),
        row(`${whole(plan.largeRows)} credentials`, large),
        row(`${whole(plan.largeRows)} credentials, after ${whole(writes)} writes`, largeAfterWrites),
      ],
    ),
    `Target: below 1 s: ${met ? 'met' : 'missed'}.`,
  ];
}

function offlineTables(offline: Offline, plan: Plan, filledPerSecond: number | undefined): string[] {
  const { small, large } = offline.reads;
  const row = (name: string, kind: 'cold' | 'hot') => {
    const times = large[kind].wallUs / small[kind].wallUs;
    const cpu = `${fixed(small[kind].cpuUs, 1)} / ${fixed(large[kind].cpuUs, 1)}`;
    return [name, fixed(small[kind].wallUs, 1), fixed(large[kind].wallUs, 1), `${fixed(times)} x`, cpu];
  };
  const times = large.cold.wallUs / small.cold.wallUs;
  const filled = filledPerSecond === undefined ? '' : ` Sealing and inserting in bulk: ${whole(filledPerSecond)} credentials/s.`;
  const refreshes = (['minimal', 'sandbox'] as const).flatMap((provider) =>
    [...offline.refreshes[provider]].map(([atOnce, rate]) => [
      provider === 'minimal' ? 'refresh, minimal token server' : 'refresh, sandbox provider',
      atOnce,
      `${whole(rate.perSecond)}${rate.failures > 0 ? ` (${rate.failures} failed)` : ''}`,
      fixed(rate.p50Ms),
      fixed(rate.p99Ms),
    ]),
  );
  return [
    `One audited read without HTTP, 64 in a batch, in a tenant of ${whole(plan.smallRows)} and of ${whole(plan.largeRows)} credentials. ` +
      '"Cold": any credential, nothing of it in the cache of the vault. "Hot": 64 credentials again and again.',
    table(
      ['', `us, ${whole(plan.smallRows)}`, `us, ${whole(plan.largeRows)}`, 'times', 'CPU us'],
      [row('cold', 'cold'), row('hot', 'hot')],
    ),
    `Target: cold reads at most 1.3 times as dear: ${times <= 1.3 ? 'met' : 'missed'}.${filled}`,
    table(['', 'at once', 'per second', 'p50 ms', 'p99 ms'], refreshes),
    `Rewrap after a key rotation: ${whole(offline.rewrap.rows / offline.rewrap.seconds)} rows/s ` +
      `(${whole(offline.rewrap.rows)} rows in ${fixed(offline.rewrap.seconds)} s, in batches that let requests through).`,
  ];
}

function refreshTables({ storm, reads }: Refreshes, plan: Plan): string[] {
  const perMinute = (storm.calls / storm.seconds) * 60;
  const rows = [
    ['reads alone', reads.without],
    ['reads while refreshing', reads.during],
  ] as const;
  const spread = (results: readonly LoadResult[]) => results.map(({ perSecond }) => whole(perSecond)).join(', ');
  const middle = (results: readonly LoadResult[], of: 'perSecond' | 'p50Ms' | 'p99Ms') => median(results.map((one) => one[of]));
  const failed = reads.during.reduce((sum, { failures }) => sum + failures, 0);
  return [
    `${whole(storm.grants)} grants of one tenant, all due within seconds, refreshed by the service's own scheduler against a provider in ` +
      `another process: ${whole(perMinute)} a minute (${fixed(storm.seconds, 1)} s), ${whole(storm.stored)} stored, ${whole(storm.calls)} ` +
      `token calls, ${storm.duplicates} refresh tokens used twice. Target: 10,000 a minute and none twice: ` +
      `${perMinute >= 10_000 && storm.duplicates === 0 && storm.stored === storm.grants ? 'met' : 'missed'}.`,
    table(
      [`${plan.targetConnections} connections, one tenant`, 'per second', 'p50 ms', 'p99 ms', 'rounds'],
      rows.map(([name, results]) => [
        name,
        whole(middle(results, 'perSecond')),
        fixed(middle(results, 'p50Ms')),
        fixed(middle(results, 'p99Ms')),
        spread(results),
      ]),
    ),
    `Meanwhile ${reads.refreshesPerSecond.map((rate) => whole(rate)).join(', ')} refreshes a second; ${failed} reads failed. Throughput ` +
      `lost: ${percent(median(reads.lost))} (rounds: ${reads.lost.map((one) => percent(one)).join(', ')}). Target: at most 20 %: ` +
      `${median(reads.lost) <= 0.2 ? 'met by the median' : 'missed'}.`,
  ];
}

function processTable(memory: Memory | undefined, starts: Starts | undefined): string {
  const rows: Cell[][] = [];
  if (memory !== undefined) {
    const { tenants, emptyBytes, openBytes } = memory;
    rows.push(['resident memory, no tenant', `${mib(emptyBytes)} MiB`]);
    rows.push([`resident memory, ${whole(tenants)} tenants open and used`, `${mib(openBytes)} MiB`]);
    rows.push([
      `start with ${whole(tenants)} tenants: first answer / all open`,
      `${whole(memory.startMs)} / ${whole(memory.allOpenMs)} ms`,
    ]);
  }
  if (starts !== undefined) {
    rows.push(['first start, new installation', `${whole(starts.firstMs)} ms`]);
    rows.push(['start again', `${whole(starts.againMs)} ms`]);
    rows.push(['`keyturn --version`', starts.cliMs === undefined ? 'not measured' : `${whole(starts.cliMs)} ms`]);
  }
  return table(['', ''], rows);
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function fixed(value: number, digits = 2): string {
  return value.toFixed(digits);
}

function percent(value: number): string {
  return `${(value * 100).toFixed(0)} %`;
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(0);
}
