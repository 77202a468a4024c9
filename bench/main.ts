// `npm run bench`: measures the service on this machine and writes the table of docs/performance.md (a full run only).
//   --quick           less of everything, under a minute, writes nothing     --only offline,open,http,refreshes,memory,start
//   --keep            keeps the filled databases for the next run            --profile <directory>   CPU profiles of the vault
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stopChildren } from './child.ts';
import { loadGenerator } from './load.ts';
import { measureHttp } from './measure-http.ts';
import { measureOffline } from './measure-offline.ts';
import { measureOpens } from './measure-open.ts';
import { measureMemory, measureStarts } from './measure-process.ts';
import { measureRefreshes } from './measure-refresh.ts';
import { planOf, SECTIONS } from './plan.ts';
import { prepare } from './prepare.ts';
import { type Results, tableOf, writeDocument } from './report.ts';

const plan = planOf(process.argv.slice(2));
const startedAt = performance.now();
const say = (text: string) => console.error(`[${((performance.now() - startedAt) / 1e3).toFixed(0).padStart(3)} s] ${text}`);

async function run(scratch: string, own: string): Promise<Results> {
  const { sections } = plan;
  const results: Results = { plan };
  if (sections.has('offline') || sections.has('open') || sections.has('http')) {
    say(`filling tenants with up to ${plan.largeRows.toLocaleString('en')} credentials`);
    const { dataDirectory, tenants, filledPerSecond } = await prepare(plan, scratch);
    results.filledPerSecond = filledPerSecond;
    if (sections.has('offline')) {
      say('reads by size of the database, rewrap, refresh');
      results.offline = await measureOffline(plan, dataDirectory, tenants);
    }
    if (sections.has('open')) {
      say('opening a small and a large tenant');
      results.opens = await measureOpens(plan, dataDirectory, tenants);
    }
    if (sections.has('http')) {
      say('requests over HTTP');
      results.http = await measureHttp(plan, loadGenerator(own), dataDirectory, tenants);
    }
  }
  if (sections.has('refreshes')) {
    say('refreshes by the scheduler, reads while refreshing');
    results.refreshes = await measureRefreshes(plan, loadGenerator(own), join(own, 'refreshes'));
  }
  if (sections.has('memory')) {
    say(`${plan.tenants.toLocaleString('en')} tenants`);
    results.memory = await measureMemory(plan, join(own, 'many'));
  }
  if (sections.has('start')) {
    say('starts');
    results.starts = await measureStarts(plan, own);
  }
  return results;
}

const own = mkdtempSync(join(tmpdir(), 'keyturn-bench-'));
const scratch = plan.keep ? join(tmpdir(), 'keyturn-bench-kept') : own;
mkdirSync(scratch, { recursive: true, mode: 0o700 });
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    stopChildren();
    rmSync(own, { recursive: true, force: true });
    process.exit(130);
  });
}
try {
  const results = await run(scratch, own);
  say('done');
  console.log(tableOf(results));
  if (!plan.quick && plan.sections.size === SECTIONS.length) writeDocument(results);
} finally {
  stopChildren();
  rmSync(own, { recursive: true, force: true });
}
