// The launcher on made-up projects with a made-up npm: when it installs, what it hands on, and how it ends.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const LOCK_DIR = '.keyturn-install.lock';

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

let project = '';
const inProject = (...parts: string[]) => join(project, ...parts);
const write = (path: string, text: string) => {
  mkdirSync(join(inProject(path), '..'), { recursive: true });
  writeFileSync(inProject(path), text);
};
const npmCalls = (): { args: string[]; env: Record<string, string> }[] =>
  readdirSync(project)
    .filter((name) => name.startsWith('installed-'))
    .map((name) => ({ name, at: statSync(inProject(name)).mtimeMs }))
    .sort((a, b) => a.at - b.at)
    .map(({ name }) => JSON.parse(readFileSync(inProject(name), 'utf8')));
const installs = () => readdirSync(project).filter((name) => name.startsWith('installed-')).length;

/** Stands in for npm: notes its call, takes FAKE_NPM_MS, and makes a small node_modules as `npm ci` would. */
const FAKE_NPM = `
  import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
  import { join } from 'node:path';
  const root = process.cwd();
  writeFileSync(join(root, 'installed-' + process.pid), JSON.stringify({ args: process.argv.slice(2), env: process.env }));
  if (process.argv[2] === 'ci') rmSync(join(root, 'node_modules'), { recursive: true, force: true });
  mkdirSync(join(root, 'node_modules', 'half'), { recursive: true });
  console.log('npm says something');
  await new Promise((resolve) => setTimeout(resolve, Number(process.env.FAKE_NPM_MS ?? 0)));
  if (process.env.FAKE_NPM_FAILS) { console.error('npm says why'); process.exit(3); }
  mkdirSync(join(root, 'node_modules', 'vitest'), { recursive: true });
  writeFileSync(join(root, 'node_modules', 'vitest', 'vitest.mjs'), process.env.FAKE_VITEST ?? '');
  mkdirSync(join(root, 'node_modules', 'better-sqlite3'), { recursive: true });
  writeFileSync(join(root, 'node_modules', 'better-sqlite3', 'index.js'), process.env.FAKE_SQLITE ?? 'module.exports = class { close() {} }');
  rmSync(join(root, 'node_modules', 'half'), { recursive: true });
`;

const MAIN = `
  console.log(JSON.stringify({ args: process.argv.slice(2), execArgv: process.execArgv, cwd: process.cwd(), path: process.env.PATH, cache: process.env.NODE_COMPILE_CACHE }));
  if (process.argv[2] === 'serve' && process.argv[3] === 'env') console.log(JSON.stringify(process.env));
  if (process.argv[2] === 'exit') process.exit(Number(process.argv[3]));
  if (process.argv[2] === 'wait') {
    process.on('SIGTERM', () => { console.log('asked to stop'); setTimeout(() => process.exit(7), 50); });
    setInterval(() => {}, 1000);
  }
  if (process.argv[2] === 'die') process.kill(process.pid, 'SIGKILL');
`;

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), 'keyturn-launch-'));
  cpSync(join(ROOT, 'src/cli'), inProject('src/cli'), { recursive: true, filter: (path) => !path.endsWith('.ts') });
  write('package.json', '{"name":"made-up","type":"module","dependencies":{"a":"1.0.0"}}');
  write(
    'package-lock.json',
    '{"packages":{"":{},"node_modules/a":{"version":"1.0.0","integrity":"sha512-a"},"node_modules/b":{"version":"1.0.0","dev":true}}}',
  );
  write('src/cli/main.ts', MAIN);
  write('bin/npm-cli.js', FAKE_NPM);
  write('bin/package.json', '{"type":"module"}');
});
afterEach(() => rmSync(project, { recursive: true, force: true }));

function begin(args: readonly string[], env: NodeJS.ProcessEnv = {}): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [inProject('src/cli/launch.mjs'), ...args], {
    cwd: tmpdir(),
    env: { ...process.env, npm_execpath: inProject('bin/npm-cli.js'), NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  return {
    child,
    ended: new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }))),
  };
}

const launch = (args: readonly string[], env?: NodeJS.ProcessEnv) => begin(args, env).ended;

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await sleep(25);
  expect(condition()).toBe(true);
}

describe('a first start', () => {
  test('installs, then runs the command line where the user is, and prints only its answer to stdout', async () => {
    const { code, stdout, stderr } = await launch(['get', '--json']);
    expect(code).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    expect(JSON.parse(stdout)).toMatchObject({
      args: ['get', '--json'],
      cwd: tmpdir(),
      execArgv: ['--disable-warning=ExperimentalWarning', '--disable-sigusr1'],
    });
    expect(JSON.parse(stdout).path).toBe(process.env['PATH']);
    expect(JSON.parse(stdout).cache).toBe(inProject('node_modules/.cache/keyturn'));
    expect(stderr).toMatch(/^keyturn: installing .*\nkeyturn: installed in \d+ s\n$/);
  });

  test('of the server means the tour, with further arguments behind', async () => {
    expect(JSON.parse((await launch(['start', '--port', '1'])).stdout).args).toEqual(['serve', '--tour', '--port', '1']);
  });

  test('gives the inner npm the network settings of the outer one, and none of its flags', async () => {
    await launch(['x'], {
      npm_config_registry: 'https://registry.example/',
      npm_config_omit: 'dev',
      npm_config_dry_run: 'true',
      npm_config_global: 'true',
      npm_lifecycle_event: 'start',
      NODE_ENV: 'production',
      NODE_OPTIONS: '--no-warnings',
      PATH: `${inProject('node_modules/.bin')}:${process.env['PATH']}`,
    });
    const call = npmCalls()[0]!;
    expect(call.args).toEqual(['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--omit=optional', '--omit=dev']);
    expect(call.env.npm_config_registry).toBe('https://registry.example/');
    for (const name of [
      'npm_config_omit',
      'npm_config_dry_run',
      'npm_config_global',
      'npm_lifecycle_event',
      'NODE_ENV',
      'NODE_OPTIONS',
    ]) {
      expect(call.env[name], name).toBeUndefined();
    }
    expect(call.env.PATH).not.toContain(inProject('node_modules'));
  });

  test('that fails shows what npm said, leaves no stamp, and the next start tries again', async () => {
    const { code, stdout, stderr } = await launch(['x'], { FAKE_NPM_FAILS: '1' });
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain('npm says why');
    expect(existsSync(inProject(LOCK_DIR))).toBe(false);
    expect((await launch(['x'])).code).toBe(0);
    expect(installs()).toBe(2);
  });
});

describe('a later start', () => {
  test('installs nothing, until the lock file changes', async () => {
    await launch(['x']);
    expect((await launch(['x'])).stderr).toBe('');
    expect(installs()).toBe(1);
    write('package-lock.json', `${readFileSync(inProject('package-lock.json'), 'utf8')} `);
    await launch(['x']);
    expect(installs()).toBe(2);
  });

  test('installs anew when package.json asks for something else, and not for another change of it', async () => {
    await launch(['x']);
    write('package.json', '{"name":"made-up","type":"module","scripts":{},"dependencies":{"a":"1.0.0"}}');
    await launch(['x']);
    expect(installs()).toBe(1);
    write('package.json', '{"name":"made-up","type":"module","dependencies":{"a":"1.0.1"}}');
    await launch(['x']);
    expect(installs()).toBe(2);
  });

  test('adds the tools of tests to what a start installed, and leaves the tree that a service may run from', async () => {
    await launch(['x'], { NODE_ENV: 'development' });
    await launch(['y']);
    expect(installs()).toBe(1);
    write('node_modules/in-use', '');
    await launch(['test']);
    expect(npmCalls().map(({ args }) => args)).toEqual([
      ['ci', '--no-audit', '--no-fund', '--ignore-scripts', '--omit=optional', '--omit=dev'],
      ['install', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--include=optional', '--include=dev'],
    ]);
    expect(existsSync(inProject('node_modules/in-use'))).toBe(true);
    await launch(['z']);
    expect(installs()).toBe(2);
  });

  test('makes the tree anew where an install, also one that only adds, did not come to its end', async () => {
    await launch(['x']);
    const { child, ended } = begin(['test'], { FAKE_NPM_MS: '20000' });
    await until(() => existsSync(inProject('node_modules/half')));
    child.kill('SIGTERM');
    await ended;
    // What npm noted of the whole install before does not count any more.
    write('node_modules/.package-lock.json', JSON.stringify({ packages: { 'node_modules/a': a } }));
    await launch(['x']);
    expect(npmCalls().map(({ args }) => args[0])).toEqual(['ci', 'install', 'ci']);
    expect(existsSync(inProject('node_modules/half'))).toBe(false);
  });

  test('says so when the database has no binary for this machine, and does not call it installed', async () => {
    const { code, stderr } = await launch(['x'], { FAKE_SQLITE: 'throw new Error("no prebuild fits")' });
    expect(code).toBe(78);
    expect(stderr).toContain('no prebuild fits');
    expect(stderr).toMatch(/keyturn: better-sqlite3 has no binary that runs on .*npm rebuild/);
    expect((await launch(['x'])).code).toBe(0);
    expect(installs()).toBe(2);
  });

  const byHand = (packages: object) => write('node_modules/.package-lock.json', JSON.stringify({ packages }));
  const a = { version: '1.0.0', integrity: 'sha512-a' };
  const b = { version: '1.0.0', dev: true };

  test('accepts what was installed by hand from this very lock', async () => {
    byHand({ 'node_modules/a': a, 'node_modules/b': b });
    await launch(['test']);
    expect(installs()).toBe(0);
  });

  test.each([
    ['another version', { 'node_modules/a': { ...a, version: '1.0.1' }, 'node_modules/b': b }],
    ['another content', { 'node_modules/a': { ...a, integrity: 'sha512-b' }, 'node_modules/b': b }],
    ['something missing', { 'node_modules/a': a }],
    ['another machine', { 'node_modules/a': { ...a, os: ['plan9'] }, 'node_modules/b': b }],
  ])('does not accept what was installed by hand of %s', async (_name, packages) => {
    byHand(packages);
    await launch(['test']);
    expect(installs()).toBe(1);
  });
});

describe('two starts at once', () => {
  test('install once, and both run', async () => {
    const both = await Promise.all([launch(['one'], { FAKE_NPM_MS: '400' }), launch(['two'], { FAKE_NPM_MS: '400' })]);
    expect(both.map(({ code }) => code)).toEqual([0, 0]);
    expect(installs()).toBe(1);
    expect(both.filter(({ stderr }) => stderr.includes('waiting for it'))).toHaveLength(1);
  });

  test('wait for the npm of a start that was killed, then install anew', async () => {
    const { child, ended } = begin(['x'], { FAKE_NPM_MS: '900', FAKE_NPM_FAILS: '1' });
    await until(() => existsSync(inProject('node_modules/half')));
    child.kill('SIGKILL');
    await ended;
    const { code, stderr } = await launch(['x']);
    expect([code, installs()]).toEqual([0, 2]);
    expect(stderr).toContain('waiting for it');
    expect(existsSync(inProject('node_modules/half'))).toBe(false);
  });

  test('are not held up by a lock whose owner is dead, whoever made it', async () => {
    const dead = spawnSync(process.execPath, ['-e', '']).pid;
    write(`${LOCK_DIR}/owner`, `${hostname()} ${dead}`);
    expect((await launch(['x'])).code).toBe(0);
    expect([installs(), existsSync(inProject(LOCK_DIR))]).toEqual([1, false]);
  });

  test('leave the lock of another host alone while it shows life', async () => {
    write(`${LOCK_DIR}/owner`, 'elsewhere 1');
    const { child, ended } = begin(['x']);
    await sleep(600);
    expect([child.exitCode, installs()]).toEqual([null, 0]);
    rmSync(inProject(LOCK_DIR), { recursive: true });
    expect((await ended).code).toBe(0);
  });

  test('that are stopped during the installation stop npm, say so and give the lock back', async () => {
    const { child, ended } = begin(['x'], { FAKE_NPM_MS: '20000' });
    await until(() => existsSync(inProject('node_modules/half')));
    child.kill('SIGTERM');
    const { code, stderr } = await ended;
    expect(code).toBe(143);
    expect(stderr).toContain('the next start repeats it');
    expect(existsSync(inProject(LOCK_DIR))).toBe(false);
  });
});

describe('the end of a command', () => {
  beforeEach(() => launch(['x']));

  test('has the exit code of the command', async () => {
    expect((await launch(['exit', '42'])).code).toBe(42);
  });

  test('comes after the command had time to stop when asked to', async () => {
    const { child, ended } = begin(['wait']);
    let seen = '';
    child.stdout!.on('data', (chunk) => {
      seen += chunk;
    });
    await until(() => seen.includes('wait'));
    await sleep(50);
    child.kill('SIGTERM');
    expect(await ended).toMatchObject({ code: 7, stdout: expect.stringMatching(/asked to stop\n$/) });
  });

  test('comes when npm was stopped, which tells only the shell in between', async () => {
    const line = `"${process.execPath}" "${inProject('src/cli/launch.mjs')}" wait; true`; // the second command keeps the shell
    const shell = spawn('sh', ['-c', line], {
      env: { ...process.env, npm_lifecycle_event: 'start' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let seen = '';
    shell.stdout.on('data', (chunk) => {
      seen += chunk;
    });
    await until(() => seen.includes('wait'));
    await sleep(50);
    shell.kill('SIGTERM');
    await until(() => seen.includes('asked to stop'));
    await new Promise((resolve) => shell.on('close', resolve)); // closes only when launcher and command let go of it
  });

  test('is by signal when the command died by signal', async () => {
    expect(await launch(['die'])).toMatchObject({ code: null, signal: 'SIGKILL' });
  });
});

describe('npm test', () => {
  const vitest = (report: object | undefined, exitCode: number) => ({
    FAKE_VITEST: `
      import { writeFileSync } from 'node:fs';
      const file = process.argv.find((arg) => arg.startsWith('--outputFile.json=')).slice('--outputFile.json='.length);
      console.log('args: ' + process.argv.slice(2).filter((arg) => !arg.startsWith('--')).join(' '));
      ${report === undefined ? '' : `writeFileSync(file, ${JSON.stringify(JSON.stringify(report))});`}
      process.exit(${exitCode});`,
  });
  const counts = (numPassedTests: number, numFailedTests: number, numPendingTests = 0, testResults: object[] = []) => ({
    numPassedTests,
    numFailedTests,
    numPendingTests,
    numTodoTests: 0,
    testResults,
  });

  test.each([
    ['all passed', counts(12, 0), 0, '12 passed, 0 failed', 0],
    ['some were skipped', counts(12, 0, 3), 0, '12 passed, 0 failed, 3 skipped', 0],
    ['one failed', counts(11, 1), 1, '11 passed, 1 failed', 1],
    ['a file did not load', counts(11, 0, 0, [{ status: 'failed', assertionResults: [] }]), 1, '11 passed, 1 failed', 1],
    ['something failed outside any test', counts(12, 0), 1, '12 passed, 1 failed', 1],
    ['nothing ran', counts(0, 0), 0, '0 passed, 0 failed', 1],
    ['vitest did not start', undefined, 1, '0 passed, 0 failed', 1],
  ])('ends with a plain line and the right code when %s', async (_name, report, exitCode, line, expected) => {
    const { code, stdout } = await launch(['test', 'test/some.test.ts'], vitest(report, exitCode));
    expect(stdout).toContain('args: run test/some.test.ts\n');
    expect(stdout.trimEnd().split('\n').at(-1)).toBe(line);
    expect(code).toBe(expected);
  });
});

describe('npm run test:all', () => {
  test('counts every check that fails as a failure, and the last line says so', async () => {
    const failing = 'process.exit(1)';
    const report = { numPassedTests: 3, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] };
    const FAKE_VITEST = `
      import { writeFileSync } from 'node:fs';
      const file = process.argv.find((arg) => arg.startsWith('--outputFile.json='))?.slice('--outputFile.json='.length);
      if (file !== undefined) writeFileSync(file, ${JSON.stringify(JSON.stringify(report))});`;
    await launch(['test'], { FAKE_VITEST });
    write('node_modules/typescript/bin/tsc', '');
    write('node_modules/@biomejs/biome/bin/biome', '');
    write('test/mutation/run.ts', 'if (process.argv.includes("--quick")) console.log("a sample");');
    expect(await launch(['test:all'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/\n3 passed, 0 failed\n$/) });
    write('node_modules/@biomejs/biome/bin/biome', failing);
    const { code, stdout } = await launch(['test:all']);
    expect(stdout).toContain('FAILED lint and format');
    expect(stdout).toContain('a sample\n3 passed, 1 failed');
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('3 passed, 1 failed');
    expect(code).toBe(1);
    write('test/mutation/run.ts', 'process.exit(1)');
    expect(await launch(['test:all'])).toMatchObject({ code: 1, stdout: expect.stringMatching(/\n3 passed, 2 failed\n$/) });
    expect(await launch(['test:all', 'test/some.test.ts']), 'no sample after a part of the tests').toMatchObject({
      stdout: expect.stringMatching(/\n3 passed, 1 failed\n$/),
    });
  });
});

describe('the Node it runs on', () => {
  const pretend = (version: string) => `data:text/javascript,Object.defineProperty(process.versions,'node',{value:'${version}'})`;
  const launchOn = (version: string, ...args: string[]) =>
    spawnSync(process.execPath, ['--import', pretend(version), inProject('src/cli/launch.mjs'), ...args], {
      encoding: 'utf8',
      env: { ...process.env, npm_execpath: inProject('bin/npm-cli.js'), NODE_OPTIONS: '' },
    });

  test('is refused in one line with exit code 78 when it cannot even run the launcher', () => {
    const { status, stdout, stderr } = launchOn('16.20.2', 'get');
    expect([status, stdout]).toEqual([78, '']);
    expect(stderr).toMatch(/^keyturn: Node 16\.20\.2 is too old[^\n]*Node 24[^\n]*\n$/);
    expect(existsSync(inProject('node_modules'))).toBe(false);
  });

  test('is the bundled one when the running one is older than 24, and its absence is one line', () => {
    const { status, stderr } = launchOn('20.20.2', 'get');
    expect(status).toBe(78);
    expect(stderr.trimEnd().split('\n').at(-1)).toMatch(/^keyturn: .*install Node 24 or newer/);
  });

  test('is named with a reason when it cannot run here, as on musl', async () => {
    write('odd-node', '#!/no/such/loader\n');
    const { chmodSync } = await import('node:fs');
    chmodSync(inProject('odd-node'), 0o755);
    const probe = `import { runForeground } from '${inProject('src/cli/launch-node.mjs')}'; await runForeground('${inProject('odd-node')}', [], {}).catch((e) => console.log(e.exitCode, e.message));`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', probe], { encoding: 'utf8' });
    expect(stdout).toMatch(/^78 .*loader is missing.*Alpine.*install Node 24/);
  });
});

describe('the process of the service', () => {
  test('gets none of the options and variables that load, print or open something, and says which it did not get', async () => {
    const { stdout, stderr } = await launch(['serve', 'env'], {
      NODE_OPTIONS: '--max-old-space-size=256 --trace-deprecation --use-system-ca',
      NODE_DEBUG: 'none-of-ours',
      KEYTURN_CALLER_ENVIRONMENT: '{"PATH":"/elsewhere"}',
    });
    const env = JSON.parse(stdout.trim().split('\n')[1]!) as Record<string, string>;
    expect(env['NODE_OPTIONS']).toBe('--max-old-space-size=256 --use-system-ca');
    expect(env['NODE_DEBUG']).toBeUndefined();
    expect(JSON.parse(env['KEYTURN_CALLER_ENVIRONMENT']!)).toEqual({
      NODE_OPTIONS: '--max-old-space-size=256 --trace-deprecation --use-system-ca',
      NODE_DEBUG: 'none-of-ours',
      NODE_COMPILE_CACHE: null,
    });
    expect(stderr).toContain(
      'keyturn: ignoring NODE_OPTIONS, NODE_DEBUG from the environment, because the service holds secrets',
    );
  });

  test('gets a record of the variables that the launcher changed, whatever the caller says it changed', async () => {
    await launch(['x']);
    const given = { KEYTURN_CALLER_ENVIRONMENT: '{"PATH":"/elsewhere"}', PATH: process.env['PATH'] };
    const { stdout, stderr } = await launch(['serve', 'env'], given);
    const env = JSON.parse(stdout.trim().split('\n')[1]!) as Record<string, string>;
    expect(env['KEYTURN_CALLER_ENVIRONMENT']).toBe('{"NODE_OPTIONS":"","NODE_COMPILE_CACHE":null}');
    expect(env['PATH']).toBe(process.env['PATH']);
    expect(stderr).toBe('');
  });
});

describe('package-lock.json', () => {
  test('pins the content of every package but tools of other platforms, which this lock was made without', () => {
    const { packages } = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, { integrity?: string; dev?: boolean; optional?: boolean }>;
    };
    const unpinned = Object.entries(packages).filter(([path, entry]) => path !== '' && entry.integrity === undefined);
    expect(unpinned.filter(([, entry]) => !entry.dev || !entry.optional)).toEqual([]);
    expect(
      unpinned.map(([path]) => path).filter((path) => !/^node_modules\/@(biomejs\/cli|cloudflare\/workerd)-/.test(path)),
    ).toEqual([]);
  });
});
