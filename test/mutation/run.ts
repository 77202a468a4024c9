// npm run test:mutation: changes the program in one place at a time and asks whether a test notices. Options in `usage` below.
// It must never change the work tree: it works in copies under the system's temporary folder.
import { createHash, randomInt } from 'node:crypto';
import { cpSync, existsSync, globSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Copies, type TestRun } from './copies.ts';
import { chosen, Mutations } from './mutations.ts';
import { type Entries, type Reach, readReach, testsFor } from './reach.ts';
import type { Mutant } from './sites.ts';
import { isRefused } from './verdict.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const REACH = join(ROOT, 'node_modules', '.cache', 'keyturn-reach');

const PATHS = [
  'src/access',
  'src/crypto',
  'src/cell',
  'src/audit',
  'src/vault',
  'rotation/engine',
  'rotation/keys',
  'rotation/grants/refresh*.ts',
  'rotation/grants/revoke.ts',
];
/** Tests that run inside one process; those that start others are too slow to ask a thousand times. */
const TESTS = [
  ...['access', 'alerts', 'audit', 'base', 'cell', 'console', 'contracts', 'crypto', 'http', 'policies', 'rotation', 'vault'],
  ...['docs/webhooks', 'secrecy.test.ts', 'node/sqlite', 'node/egress.test.ts', 'node/database-files'],
].map((name) => join('test', name));
const SLOW_TESTS = ['conformance/conformance.node', 'faults/simulated-refresh', 'faults/tampered'].map((name) =>
  join('test', name),
);
/** Too slow to ask so often, or judging by time, which on a busy machine is chance. */
const LEFT_OUT = ['test/rotation/every-connector.test.ts', 'test/crypto/nonces.test.ts', 'test/http/hostile-evidence.test.ts'];

const TARGET_PERCENT = 95;
const FIRST_TESTS = 5;
const PROGRESS_EVERY = 20;
const FULL_COUNT = 200;
/** Of folders whose own tests take half a minute to map; on a slow machine the map may take all of the time. */
const QUICK = {
  count: 40,
  seconds: 110,
  secondsAfterMap: 30,
  paths: ['src/access', 'src/crypto', 'src/cell', 'src/audit', 'src/vault'],
  tests: ['access', 'alerts', 'audit', 'cell', 'crypto', 'vault'].map((name) => join('test', name)),
};
const REACH_MAX_MS = 15 * 60_000;
/** On top of what the tests took without a change: start, and a busy machine. */
const SLACK_MS = 60_000;
const SLACK_FACTOR = 4;

const FATES = ['killed', 'timeout', 'survived', 'not reached', 'broken'] as const;
type Fate = (typeof FATES)[number];
interface Result {
  readonly mutant: Mutant;
  readonly fate: Fate;
  readonly by: string;
}

const { values: given } = parseArgs({
  options: {
    seed: { type: 'string' },
    count: { type: 'string' },
    paths: { type: 'string' },
    lines: { type: 'string' },
    tests: { type: 'string' },
    workers: { type: 'string', default: '2' },
    quick: { type: 'boolean', default: false },
    slow: { type: 'boolean', default: false },
    'same-reach': { type: 'boolean', default: false },
    json: { type: 'string' },
    help: { type: 'boolean', short: 'h', default: false },
  },
});

const usage = `npm run test:mutation -- [options]
  --quick          at most ${QUICK.count} changes in ${QUICK.paths.join(',')}, tried with the tests of these folders and begun in the first ${QUICK.seconds} seconds; verdict.ts decides whether it fails
  --seed N         the same choice again; without it a fresh one is printed
  --count N        how many changes (${FULL_COUNT}); "all" for every one
  --paths a,b      folders, files or patterns (${PATHS.join(',')})
  --lines a:1-9    only these lines of a file
  --tests a,b      ask only these folders or files of tests: quick, but what survives may be noticed elsewhere
  --workers N      copies of the tree at work at once (2)
  --slow           asks the conformance suite and the simulator too
  --same-reach     keep the map of which test enters which function although sources changed; changed tests are mapped anew
  --json FILE      every result, for a program`;

/** The map of an earlier run where nothing changed since, or a fresh one: the tests run once, unchanged, a share of them in each copy. */
async function reachOf(copies: Copies, tests: readonly string[]): Promise<Reach> {
  const last = join(REACH, 'last');
  if (given['same-reach'] && existsSync(last)) {
    const since = changedSince(last, tests);
    if (since.length > 0) await noteReach(copies, since, last);
    return readReach(last, tests);
  }
  const folder = join(REACH, digestOfTree(tests));
  if (!existsSync(folder)) {
    const fresh = join(REACH, `new-${process.pid}`);
    await noteReach(copies, tests, fresh);
    renameSync(fresh, folder);
    rmSync(last, { recursive: true, force: true });
    cpSync(folder, last, { recursive: true });
  }
  return readReach(folder, tests);
}

async function noteReach(copies: Copies, tests: readonly string[], folder: string): Promise<void> {
  const skipped = LEFT_OUT.map((test) => `--exclude=${test}`);
  const runs = await Promise.all(
    copies.folders.map((copy, index) => {
      const share = `--shard=${index + 1}/${copies.folders.length}`;
      return copies.test(copy, [...tests, ...skipped, '--passWithNoTests', share], REACH_MAX_MS, { KEYTURN_REACH: folder });
    }),
  );
  for (const { failedFiles } of runs) for (const file of failedFiles) dropTest(folder, file);
}

/** Test files that the map in `folder` does not know, or that are younger than what it says of them. */
function changedSince(folder: string, tests: readonly string[]): string[] {
  const noted = new Map(
    readdirSync(folder).map((name) => {
      const path = join(folder, name);
      return [(JSON.parse(readFileSync(path, 'utf8')) as Entries).test, statSync(path).mtimeMs];
    }),
  );
  const files = globSync('test/**/*.test.ts', { cwd: ROOT, exclude: ['**/*.workers.test.ts', ...LEFT_OUT] });
  const isAsked = (file: string) => tests.some((prefix) => file.startsWith(prefix));
  return files.filter((file) => isAsked(file) && statSync(join(ROOT, file)).mtimeMs > (noted.get(file) ?? 0));
}

/** A test that fails without a change would notice everything. */
function dropTest(folder: string, test: string): void {
  console.log(`left out, it does not pass unchanged on this machine now: ${test}`);
  for (const name of readdirSync(folder)) {
    if ((JSON.parse(readFileSync(join(folder, name), 'utf8')) as Entries).test === test) rmSync(join(folder, name));
  }
}

function digestOfTree(tests: readonly string[]): string {
  const files = globSync('{src,rotation,test,policies}/**/*', { cwd: ROOT, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  const hash = createHash('sha256').update(tests.join());
  for (const path of files.map((entry) => join(entry.parentPath, entry.name)).sort()) hash.update(readFileSync(path));
  return hash.digest('hex').slice(0, 16);
}

/** Tries the likely tests first: most changes are noticed there, and only the rest pays for all tests that enter the place. */
async function tried(copies: Copies, folder: string, mutations: Mutations, mutant: Mutant, reach: Reach): Promise<Result> {
  const all = testsFor(mutant.place, reach);
  if (all.length === 0) return { mutant, fate: 'not reached', by: 'no test enters it' };
  const stages = [all.slice(0, FIRST_TESTS), all.slice(FIRST_TESTS)].filter((stage) => stage.length > 0);
  return copies.changed(folder, mutant.file, mutations.changed(mutant), async () => {
    for (const stage of stages) {
      const usualMs = stage.reduce((sum, test) => sum + (reach.millisecondsOf.get(test) ?? 0), 0);
      const run: TestRun = await copies.test(folder, stage, usualMs * SLACK_FACTOR + SLACK_MS);
      if (run.outcome === 'failed') return { mutant, fate: 'killed', by: run.first };
      if (run.outcome !== 'passed') return { mutant, fate: run.outcome, by: run.first };
    }
    return { mutant, fate: 'survived', by: `${all.length} test files` };
  });
}

class Run {
  readonly #results: Result[] = [];
  readonly #queue: Mutant[];
  readonly #asked: number;
  readonly #mutations: Mutations;

  constructor(mutants: readonly Mutant[], mutations: Mutations) {
    this.#queue = [...mutants];
    this.#asked = mutants.length;
    this.#mutations = mutations;
  }

  /** Begins no mutation after `deadlineMs` and finishes those begun: mutations that no test notices take longest, and must be counted. */
  async all(copies: Copies, reach: Reach, deadlineMs: number): Promise<void> {
    await Promise.all(
      copies.folders.map(async (folder) => {
        while (Date.now() < deadlineMs) {
          const mutant = this.#queue.shift();
          if (mutant === undefined) return;
          this.#note(await tried(copies, folder, this.#mutations, mutant, reach));
        }
      }),
    );
  }

  #note(result: Result): void {
    this.#results.push(result);
    if (this.#results.length % PROGRESS_EVERY === 0) console.log(`${this.#results.length} of ${this.#asked} tried`);
    if (result.fate === 'killed') return;
    const { mutant, fate, by } = result;
    const { before, after } = this.#mutations.diff(mutant);
    console.log(`${fate}: ${mutant.file}:${mutant.line} (${mutant.operator}; ${by})\n  - ${before}\n  + ${after}`);
  }

  /** Says how far it came, which after a full run is everywhere. */
  finish(): void {
    const all = this.#results.map((result) => ({ ...result, ...this.#mutations.diff(result.mutant) }));
    if (given.json !== undefined) writeFileSync(given.json, JSON.stringify(all, null, 1));
    const count = (...fates: Fate[]) => all.filter((result) => fates.includes(result.fate)).length;
    const noticed = count('killed', 'timeout');
    const judged = noticed + count('survived', 'not reached');
    const percent = judged === 0 ? 0 : (100 * noticed) / judged;
    const fates = FATES.map((fate) => `${count(fate)} ${fate}`).join(', ');
    const left = this.#asked > all.length ? `; ${this.#asked - all.length} not tried in the time given` : '';
    console.log(`mutation score ${percent.toFixed(1)} % of ${judged} changes (target ${TARGET_PERCENT} %): ${fates}${left}`);
    const isBad = given.quick ? isRefused(judged, judged - noticed) : percent < TARGET_PERCENT;
    process.exitCode = isBad ? 1 : 0;
  }
}

function isAsked({ file, line }: Mutant): boolean {
  if (given.lines === undefined) return true;
  const [, path, from, to] = /^(.*):(\d+)(?:-(\d+))?$/.exec(given.lines) ?? [];
  if (path === undefined) throw new Error('--lines is written file:from-to');
  return file === path && line >= Number(from) && line <= Number(to ?? from);
}

/** What this run tries, by seed, and the first line of its report. */
function drawn(mutations: Mutations): Mutant[] {
  const seed = given.seed === undefined ? randomInt(1, 2 ** 31) : Number(given.seed);
  const all = mutations.all(given.paths?.split(',') ?? (given.quick ? QUICK.paths : PATHS)).filter(isAsked);
  const open = all.filter((mutant) => !mutations.isEquivalent(mutant));
  const count = given.count === 'all' ? open.length : Number(given.count ?? (given.quick ? QUICK.count : FULL_COUNT));
  const mutants = chosen(open, count, seed);
  const equivalent = all.length - open.length;
  console.log(`mutation: seed ${seed}, ${mutants.length} of ${open.length} changes (${equivalent} reviewed as equivalent)`);
  return mutants;
}

function quickDeadlineMs(startedAtMs: number): number {
  return Math.max(startedAtMs + QUICK.seconds * 1_000, Date.now() + QUICK.secondsAfterMap * 1_000);
}

function testsAsked(): readonly string[] {
  if (given.tests !== undefined) return given.tests.split(',');
  if (given.quick) return QUICK.tests;
  return given.slow ? [...TESTS, ...SLOW_TESTS] : TESTS;
}

async function main(): Promise<void> {
  const startedAtMs = Date.now();
  const secondsPassed = () => Math.round((Date.now() - startedAtMs) / 1000);
  const mutations = new Mutations();
  const run = new Run(drawn(mutations), mutations);
  const copies = new Copies(ROOT, Number(given.workers));
  const end = () => {
    copies.remove();
    run.finish();
    process.exit();
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  try {
    const reach = await reachOf(copies, testsAsked());
    console.log(`${reach.millisecondsOf.size} test files pass unchanged (${secondsPassed()} s)`);
    await run.all(copies, reach, given.quick ? quickDeadlineMs(startedAtMs) : Number.POSITIVE_INFINITY);
  } finally {
    copies.remove();
  }
  run.finish();
}

if (given.help) console.log(usage);
else await main();
