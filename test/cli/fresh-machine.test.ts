// The two commands of the README on a machine that has node, npm and sh and nothing else: no compiler, no Python, no settings, no home.
// Takes what npm has in its cache; skipped, loudly, only where the package registry cannot be reached.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join, sep } from 'node:path';
import { afterAll, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
/** What a clone does not have. */
const NOT_CLONED = new Set(['.git', 'node_modules', 'data', '.wrangler', 'coverage']);
const WITHIN_MS = 240_000;

const folder = mkdtempSync(join(tmpdir(), 'keyturn-fresh-'));
const at = (...names: string[]) => join(folder, ...names);
const running = new Set<ChildProcess>();

afterAll(() => {
  for (const { pid } of running) if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

/** The machine's own, not the ones that came with the dependencies. */
function onThisMachine(program: string): string {
  const entries = (process.env['PATH'] ?? '').split(delimiter).filter((entry) => !entry.includes(`${sep}node_modules${sep}`));
  const found = entries.map((entry) => join(entry, program)).find((file) => existsSync(file));
  if (found === undefined) throw new Error(`${program} is not on PATH`);
  return realpathSync(found);
}

/** Where packages come from here is all that the fresh machine shares with this one. */
function freshEnvironment(): Record<string, string> {
  const shared = /^(https?_proxy|no_proxy|node_extra_ca_certs|ssl_cert_(file|dir)|npm_config_(registry|cafile|.*proxy))$/i;
  const environment = Object.fromEntries(
    Object.entries(process.env).filter((entry): entry is [string, string] => shared.test(entry[0]) && entry[1] !== undefined),
  );
  const cache = process.env['npm_config_cache'] ?? join(homedir(), '.npm');
  return {
    ...environment,
    HOME: at('home'),
    PATH: at('bin'),
    npm_config_cache: existsSync(cache) ? cache : at('cache'),
    npm_config_prefer_offline: 'true',
  };
}

interface Started {
  readonly child: ChildProcess;
  readonly said: () => string;
  readonly ended: Promise<number | null>;
}

function start(args: readonly string[]): Started {
  const child = spawn('npm', args, {
    cwd: at('keyturn'),
    env: freshEnvironment(),
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (part: Buffer) => (said += part.toString()));
  const ended = new Promise<number | null>((resolve) =>
    child.on('close', (code) => {
      running.delete(child);
      resolve(code);
    }),
  );
  return { child, said: () => said, ended };
}

async function saidUntil(started: Started, sign: RegExp): Promise<RegExpExecArray> {
  const end = Date.now() + WITHIN_MS / 2;
  for (;;) {
    const found = sign.exec(started.said());
    if (found !== null) return found;
    if (Date.now() > end || !running.has(started.child)) throw new Error(`${sign} was not said, but:\n${started.said()}`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

function sizeMb(path: string): number {
  const files = readdirSync(path, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Math.round(files.reduce((sum, file) => sum + lstatSync(join(file.parentPath, file.name)).size, 0) / 2 ** 20);
}

function registryAnswers(): boolean {
  try {
    execFileSync('npm', ['ping'], { env: freshEnvironment(), stdio: 'pipe', timeout: 20_000 });
    return true;
  } catch {
    return false;
  }
}

it('`npm start` and `npm test` work with node, npm and sh alone', { timeout: WITHIN_MS }, async ({ skip }) => {
  mkdirSync(at('home'));
  mkdirSync(at('bin'));
  for (const program of ['node', 'npm', 'sh']) symlinkSync(onThisMachine(program), at('bin', program));
  for (const absent of ['cc', 'gcc', 'make', 'python3', 'openssl', 'git', 'bash'])
    expect(existsSync(at('bin', absent))).toBe(false);
  if (!registryAnswers()) {
    console.warn('SKIPPED the installation on a fresh machine: the package registry cannot be reached');
    skip();
  }
  cpSync(ROOT, at('keyturn'), {
    recursive: true,
    filter: (path) => !NOT_CLONED.has(path.slice(ROOT.length + 1).split(sep)[0] ?? ''),
  });

  const service = start(['start', '--', '--port', '0', '--data', at('data')]);
  const [, url] = await saidUntil(service, /Keyturn\s+(http:\S+)/);
  expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: 'ok' });
  await saidUntil(service, /nothing edited or missing/);
  const modules = readdirSync(at('keyturn', 'node_modules'));
  expect(modules).toContain('better-sqlite3');
  expect(modules).not.toContain('vitest');
  expect(modules).not.toContain('wrangler');
  expect(existsSync(at('keyturn', 'node_modules', 'better-sqlite3', 'build'))).toBe(false);
  console.info(`installed for production: ${sizeMb(at('keyturn', 'node_modules'))} MB`);

  // Beside the running service: the tools of tests are added to the tree it runs from.
  const tests = start(['test', '--', 'test/base']);
  expect(await tests.ended, tests.said()).toBe(0);
  expect(tests.said().trimEnd().split('\n').at(-1)).toMatch(/^\d+ passed, 0 failed$/);
  expect(existsSync(at('keyturn', 'node_modules', 'better-sqlite3', 'build'))).toBe(false);
  expect((await fetch(`${url}/health`)).status).toBe(200);

  process.kill(-(service.child.pid ?? 0), 'SIGTERM');
  await service.ended;
  expect(service.said()).toContain('stopping');
});
