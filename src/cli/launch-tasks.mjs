// The commands of the scripts in package.json: start, test, test:all, test:faults, test:mutation, check, format, bench, new:connector. All others are
// passed to the command line. It must never print to stdout anything but the command's own output: `keyturn ... | jq` has to work.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureInstalled } from './launch-install.mjs';
import { childEnvironment, endLike, findNode, runCaptured, runForeground } from './launch-node.mjs';
import { runProduct } from './launch-product.mjs';

const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const VITEST = join('node_modules', 'vitest', 'vitest.mjs');
const BIOME = join('node_modules', '@biomejs', 'biome', 'bin', 'biome');
const TSC = join('node_modules', 'typescript', 'bin', 'tsc');
/** Each has 500 crashes and stalls: 10,000 on each store. */
const SIMULATED_STORIES = '20';

/** The first releases of Node 24 warn about type stripping. */
const QUIET = '--disable-warning=ExperimentalWarning';

const TASKS = {
  test: runTests,
  'test:all': runEverything,
  'test:faults': runFaultTests,
  'test:mutation': runMutation,
  check: runChecks,
  format: runFormat,
  bench: runBench,
  'new:connector': runNewConnector,
};

/** `args`: the arguments after `keyturn`, or those of an npm script. */
export async function launch(args) {
  const [name, ...rest] = args;
  const task = name !== undefined && Object.hasOwn(TASKS, name) ? TASKS[name] : undefined;
  await ensureInstalled(ROOT, task !== undefined);
  const node = findNode(ROOT);
  if (task !== undefined) return task(node, rest);
  const given = name === 'start' ? ['serve', '--tour', ...rest] : args;
  endLike(await runProduct(node, ROOT, given));
}

/** Runs all scenarios of the simulator, or the one with the seed `SEED`; arguments select files of test/faults. */
async function runFaultTests(node, args) {
  const { SEED } = process.env;
  // Only variables with the prefix VITE_ reach tests in workerd.
  process.env.VITE_SIMULATED_STORIES ??= SIMULATED_STORIES;
  if (SEED !== undefined) process.env.VITE_SEED = SEED;
  return runTests(node, args.length > 0 ? args : [join('test', 'faults')]);
}

/**
 * Runs the checks, then the tests. After a complete run that passed, also runs a sample of mutations. Each failed check and a failed sample
 * count as one failure in the last line.
 */
async function runEverything(node, args) {
  const failedChecks = await runChecks(node);
  const sample = async (passed) => (passed && args.length === 0 ? runQuickMutation(node) : 0);
  return runTests(node, args, async (passed) => failedChecks + (await sample(passed)));
}

/** Resolves to 1 when the tests missed too many mutations (test/mutation/verdict.ts) or the sample did not run, else to 0. */
async function runQuickMutation(node) {
  const { code } = await runForeground(node, [QUIET, join('test', 'mutation', 'run.ts'), '--quick'], inRoot());
  if (code !== 0)
    console.error('the sample of mutations failed: the tests missed too many of them, or it did not run; counted as one failure');
  return code === 0 ? 0 : 1;
}

/** `failedElsewhere` is called after the tests with whether they passed, and returns how many other failures to count. */
async function runTests(node, args, failedElsewhere = async () => 0) {
  const scratch = mkdtempSync(join(tmpdir(), 'keyturn-test-'));
  const report = join(scratch, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const ended = await runForeground(node, [VITEST, 'run', ...reporters, ...args], inRoot());
    const elsewhere = ended.signal === null ? await failedElsewhere(ended.code === 0) : 0;
    const { line, ok } = summarise(report, ended, elsewhere);
    console.log(line);
    if (ended.signal !== null) endLike(ended);
    else process.exitCode = ok ? 0 : ended.code || 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The last line, and whether the run passed: at least one test ran, and nothing failed inside or outside a test. */
function summarise(report, ended, failedElsewhere) {
  let counts = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] };
  try {
    counts = { ...counts, ...JSON.parse(readFileSync(report, 'utf8')) };
  } catch {
    // Without a report no test ran, which counts as a failure below.
  }
  const brokenFiles = counts.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length;
  let failed = counts.numFailedTests + brokenFiles;
  if (failed === 0 && ended.code !== 0 && counts.numPassedTests > 0) {
    console.error(`the run failed outside of any test (exit code ${ended.code}); this counts as one failure`);
    failed = 1;
  }
  failed += failedElsewhere;
  const skipped = counts.numPendingTests + counts.numTodoTests;
  const line = `${counts.numPassedTests} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  return { line, ok: failed === 0 && counts.numPassedTests > 0 && ended.code === 0 };
}

/** Resolves to the number of failed checks. */
async function runChecks(node) {
  const step = async (name, args) => {
    const { code, output, seconds } = await runCaptured(node, args, inRoot());
    if (code !== 0) process.stdout.write(output);
    console.log(`${code === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(1)} s)`);
    return code === 0;
  };
  const results = await Promise.all([step('types', [TSC, '-p', '.']), step('lint and format', [BIOME, 'check', '.'])]);
  const structureTests = [join('test', 'architecture.test.ts'), join('test', 'structure.test.ts')];
  results.push(await step('architecture', [VITEST, 'run', '--project=node', ...structureTests]));
  const failed = results.filter((ok) => !ok).length;
  process.exitCode = failed === 0 ? 0 : 1;
  return failed;
}

async function runFormat(node, args) {
  endLike(await runForeground(node, [BIOME, 'check', '--write', ...(args.length > 0 ? args : ['.'])], inRoot()));
}

async function runMutation(node, args) {
  endLike(await runForeground(node, [QUIET, join('test', 'mutation', 'run.ts'), ...args], inRoot()));
}

async function runNewConnector(node, args) {
  endLike(await runForeground(node, [QUIET, join('test', 'rotation', 'new-connector.ts'), ...args], inRoot()));
}

async function runBench(node, args) {
  endLike(await runForeground(node, [QUIET, join('bench', 'main.ts'), ...args], inRoot()));
}

function inRoot() {
  return { cwd: ROOT, env: childEnvironment(ROOT) };
}
