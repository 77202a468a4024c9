// Nobody looks into the process of the service or of `keyturn run` from outside: debugger, core files, variables of the shell.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { CommandLine } from '../kit/command.ts';
import { eventually } from '../kit/node-process.ts';

const CLI = join(import.meta.dirname, '../../src/cli');
const MAIN = join(CLI, 'main.ts');
const LAUNCHER = join(CLI, 'launch.mjs');
const folder = mkdtempSync(join(tmpdir(), 'keyturn-private-'));
const cli = new CommandLine();
const running: ChildProcess[] = [];

afterEach(() => {
  for (const child of running.splice(0)) {
    if (child.pid === undefined) continue;
    // Its whole group where it leads one: a killed launcher would leave the service it started.
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      child.kill('SIGKILL');
    }
  }
});
afterAll(() => {
  for (const path of [folder, cli.config]) rmSync(path, { recursive: true, force: true });
});

interface Up {
  readonly pid: number;
  readonly directory: string;
  readonly data: string;
  readonly url: string;
  readonly said: () => string;
  readonly ended: Promise<NodeJS.Signals | number | null>;
}

/** Serves in a working directory of its own, from a shell that allows core files. */
async function serve(program: readonly string[]): Promise<Up> {
  const directory = mkdtempSync(join(folder, 'cwd-'));
  const data = join(directory, 'data');
  const args = [
    '-c',
    'ulimit -c unlimited; exec "$@"',
    'sh',
    process.execPath,
    ...program,
    'serve',
    '--port',
    '0',
    '--data',
    data,
  ];
  const child = spawn('sh', args, {
    cwd: directory,
    detached: true,
    env: { PATH: process.env['PATH'], HOME: folder, NO_COLOR: '1' },
  });
  running.push(child);
  let said = '';
  child.stderr.on('data', (part: Buffer) => {
    said += part.toString();
  });
  const ended = new Promise<NodeJS.Signals | number | null>((done) => child.on('exit', (code, signal) => done(signal ?? code)));
  const url = await eventually(() => /Keyturn\s+(http:\S+)/.exec(said)?.[1], 20_000);
  return { pid: child.pid ?? 0, directory, data, url, said: () => said, ended };
}

/** The process that serves: the launcher's child, or the process itself. Linux only. */
function servingProcess({ pid }: Up): number {
  const child = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0];
  return child === undefined || child === '' ? pid : Number(child);
}

const pause = (ms: number) => new Promise((resume) => setTimeout(resume, ms));
const isLinux = process.platform === 'linux';
if (!isLinux) console.warn('SKIPPED what looks into /proc: this is not Linux');

describe.each([
  ['by the launcher', [LAUNCHER]],
  ['without it', [MAIN]],
])('a service started %s', (_how, program) => {
  // The process that serves is found in /proc (console.warn above).
  it.skipIf(!isLinux)('opens no debugger on SIGUSR1 and goes on serving', async () => {
    const up = await serve(program);
    for (const pid of new Set([up.pid, servingProcess(up)])) process.kill(pid, 'SIGUSR1');
    await pause(500);
    expect((await fetch(`${up.url}/health`)).status).toBe(200);
    expect(up.said()).not.toMatch(/Debugger|ws:\/\//i);
  });

  // Core files are the kernel's (console.warn above).
  it.skipIf(!isLinux)('leaves nothing of its memory in a core file when it is aborted', async () => {
    const up = await serve(program);
    const pid = servingProcess(up);
    const key = readFileSync(join(up.data, 'root.key'), 'utf8').split(':')[1] ?? '';
    const secret = readFileSync(join(up.data, 'bootstrap-secret'), 'utf8').trim();
    expect(readFileSync(`/proc/${pid}/coredump_filter`, 'utf8').trim()).toBe('00000000');
    if (program[0] === LAUNCHER) expect(readFileSync(`/proc/${pid}/limits`, 'utf8')).toMatch(/Max core file size +0 +0 /);
    process.kill(pid, 'SIGABRT');
    await up.ended;
    const cores = readdirSync(up.directory).filter((name) => name.startsWith('core'));
    if (program[0] === LAUNCHER) expect(cores).toEqual([]);
    for (const core of cores) {
      const text = readFileSync(join(up.directory, core)).toString('latin1');
      expect([
        text.includes(secret),
        text.includes(key),
        text.includes(Buffer.from(key, 'base64url').toString('latin1')),
      ]).toEqual([false, false, false]);
    }
  });
});

describe('a service', () => {
  it.each([
    ['--inspect on its command line', ['--inspect=127.0.0.1:0', MAIN], {}],
    ['--inspect in NODE_OPTIONS', [MAIN], { NODE_OPTIONS: '--inspect=127.0.0.1:0' }],
  ])('does not start with %s', async (_how, program, env) => {
    const data = join(mkdtempSync(join(folder, 'inspected-')), 'data');
    const child = spawn(process.execPath, [...program, 'serve', '--port', '0', '--data', data], {
      env: { PATH: process.env['PATH'], NO_COLOR: '1', ...env },
    });
    running.push(child);
    let said = '';
    child.stderr.on('data', (part: Buffer) => {
      said += part.toString();
    });
    expect(await new Promise((done) => child.on('close', done))).toBe(2);
    expect(said).toContain('error: a debugger port is open (--inspect)');
    expect(existsSync(data)).toBe(false);
  });

  it('gets no --inspect from the environment when the launcher starts it', async () => {
    const directory = mkdtempSync(join(folder, 'cwd-'));
    const child = spawn(process.execPath, [LAUNCHER, 'serve', '--port', '0', '--data', join(directory, 'data')], {
      env: { PATH: process.env['PATH'], HOME: folder, NO_COLOR: '1', NODE_OPTIONS: '--inspect=127.0.0.1:0' },
    });
    running.push(child);
    let said = '';
    child.stderr.on('data', (part: Buffer) => {
      said += part.toString();
    });
    await eventually(() => /Keyturn\s+http:\S+/.test(said) || undefined, 20_000);
    expect(said).toContain('keyturn: ignoring NODE_OPTIONS from the environment');
    const opened = [...said.matchAll(/ws:\/\/127\.0\.0\.1:(\d+)\//g)];
    expect(opened.length).toBeLessThanOrEqual(1); // the launcher's own, which it closed before it started the service
    for (const [, port] of opened) await expect(fetch(`http://127.0.0.1:${port}/json`)).rejects.toThrow();
    const exited = new Promise((done) => child.on('close', done));
    child.kill('SIGTERM');
    await exited;
  });

  it('does not start with --trusted-proxy alone, which would mean nothing', async () => {
    const data = join(folder, 'untrusted');
    const { code, stderr } = await cli.run(['serve', '--port', '0', '--data', data, '--trusted-proxy', '10.0.0.0/8']);
    expect([code, existsSync(data)]).toEqual([2, false]);
    expect(stderr).toContain('--behind-proxy');
  });
});

describe('keyturn run', () => {
  const NPM_FOLDERS = ['node_modules/.bin', '../node_modules/.bin', 'node_modules/npm/lib/node-gyp-bin'];
  const root = join(CLI, '../..');
  const npm = { npm_package_json: join(root, 'package.json'), npm_lifecycle_event: 'keyturn' };
  const before = NPM_FOLDERS.map((name) => join(root, name)).join(':');

  it.each([
    ['the launcher starts it', {}, ''],
    ['a shell with Node options starts it', { NODE_OPTIONS: '--no-warnings', NODE_DEBUG: 'none-of-ours' }, ''],
    ['the shell has a compile cache of its own', { NODE_COMPILE_CACHE: join(folder, 'cache') }, ''],
    ['it is a script of npm', npm, `${before}:`],
  ])('gives the program the environment of the caller when %s', async (_how, extra, npmPath) => {
    // Not the one of this process: the tests may be a script of npm themselves.
    const own = '/usr/local/bin:/usr/bin:/bin';
    const PATH = `/opt/of-the-caller/node_modules/.bin:${own}`;
    const env = { XDG_CONFIG_HOME: folder, KEYTURN_TENANT: 'acme', ...extra };
    const print = [process.execPath, '-e', 'console.log(JSON.stringify(process.env))'];
    const child = spawn(process.execPath, [LAUNCHER, 'run', '--environment', 'staging', '--', ...print], {
      env: { ...env, PATH: `${npmPath}${PATH}`, KEYTURN_TOKEN: 'kt_never' },
    });
    running.push(child);
    let said = '';
    child.stdout.on('data', (part: Buffer) => {
      said += part.toString();
    });
    await new Promise((done) => child.on('close', done));
    expect(JSON.parse(said)).toEqual({ ...env, PATH: npmPath === '' ? PATH : own });
  });

  // What answers to the signal is found in /proc (console.warn above).
  it.skipIf(!isLinux)('opens no debugger on SIGUSR1', async () => {
    const child = spawn(process.execPath, [MAIN, 'run', '--environment', 'staging', '--', 'sh', '-c', 'echo up; read line'], {
      env: { PATH: process.env['PATH'], XDG_CONFIG_HOME: folder, KEYTURN_TENANT: 'acme' },
    });
    running.push(child);
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (part: Buffer) => {
        said += part.toString();
      });
    }
    await eventually(() => said.includes('up') || undefined, 20_000);
    process.kill(child.pid ?? 0, 'SIGUSR1');
    await pause(500);
    child.stdin.end('\n');
    await new Promise((done) => child.on('close', done));
    expect(said).toBe('no --env is given: the program runs without credentials\nup\n');
  });
});

describe('NODE_TLS_REJECT_UNAUTHORIZED=0', () => {
  it.each([[['whoami']], [['status']], [['serve', '--port', '0', '--data', join(folder, 'loose')]], [['run', '--', 'true']]])(
    'is refused in a sentence before %j does anything',
    async (args) => {
      const { code, stdout, stderr } = await cli.run(args, '', { NODE_TLS_REJECT_UNAUTHORIZED: '0' });
      expect([code, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(/^error: NODE_TLS_REJECT_UNAUTHORIZED=0 is set.*\nhint: .*KEYTURN_CACERT/);
      expect(existsSync(join(folder, 'loose'))).toBe(false);
    },
  );
});

describe('with umask 000', () => {
  it('every file of data and config is 0600 and every folder 0700, after a first day', { timeout: 60_000 }, async () => {
    const directory = mkdtempSync(join(folder, 'umask-'));
    const environment = {
      PATH: process.env['PATH'] ?? '',
      HOME: directory,
      XDG_CONFIG_HOME: join(directory, 'config'),
      NO_COLOR: '1',
    };
    const script = 'umask 0; exec "$@"';
    const keyturn = (args: readonly string[], extra: Record<string, string> = {}) =>
      spawn('sh', ['-c', script, 'sh', process.execPath, MAIN, ...args], { env: { ...environment, ...extra }, cwd: directory });
    const service = keyturn(['serve', '--tour', '--port', '0', '--data', 'data']);
    running.push(service);
    let said = '';
    service.stderr.on('data', (part: Buffer) => {
      said += part.toString();
    });
    await eventually(() => said.includes('stop with Ctrl-C') || undefined, 40_000);
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(said)?.[0] ?? '';
    const env = { KEYTURN_ADDR: url, KEYTURN_TENANT: 'acme', KEYTURN_ENVIRONMENT: 'staging' };
    const lines: [string[], string?][] = [
      [['init', '--data', 'data']],
      [['tenant', 'create', 'acme']],
      [['credential', 'put', 'word', '--kind', 'api_key'], 'not-a-real-secret'],
      [['audit', 'verify']],
      [['logout', '--yes']],
    ];
    for (const [args, input = ''] of lines) {
      const child = keyturn(args, env);
      child.stdin.end(input);
      expect(await new Promise((done) => child.on('close', done)), args.join(' ')).toBe(0);
    }
    const modes = () => {
      const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
      const wrong = entries.filter((entry) => {
        const mode = statSync(join(entry.parentPath, entry.name)).mode & 0o777;
        return mode !== (entry.isDirectory() ? 0o700 : 0o600);
      });
      expect(wrong.map(({ name }) => name)).toEqual([]);
      return entries.map(({ name }) => name);
    };
    expect(modes()).toEqual(expect.arrayContaining(['config.json', 'root.key', 'installation.json', 'shown.json', 'home.db']));
    const exited = new Promise((done) => service.on('close', done));
    service.kill('SIGTERM');
    await exited;
    modes();
  });
});
