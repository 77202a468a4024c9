// A real server program for a test: in a folder of its own, on a free port of loopback, as another user where the program refuses root.
// It must never touch a server that it did not start.
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** The user `nobody`: initdb and mysqld refuse to run as root. */
const NOBODY = 65_534;
export const asNobody = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {};

/** A new folder that belongs to the user of the server. */
export function serverFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `keyturn-${name}-`));
  chmodSync(folder, 0o755);
  if (asNobody.uid !== undefined) chownSync(folder, asNobody.uid, asNobody.gid);
  return folder;
}

/** The first program of this name on PATH or in the folders where Debian puts servers. */
export function programPath(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin'];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export function freePort(): Promise<number> {
  return new Promise((done, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => done(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

export interface RealServer {
  readonly port: number;
  readonly folder: string;
  /** Everything that the server has written to its log. */
  log(): string;
  stop(): Promise<void>;
}

export interface ServerProgram {
  readonly command: string;
  readonly args: readonly string[];
  readonly folder: string;
  readonly port: number;
  readonly env?: NodeJS.ProcessEnv;
  /** Files of the log beside the output. */
  readonly logFiles?: readonly string[];
  readonly stopSignal?: NodeJS.Signals;
  /** A line of the log that says that the server is ready; a port may accept connections before. */
  readonly readyLine?: RegExp;
}

/** Resolves when the port accepts connections. */
export async function startServer(program: ServerProgram): Promise<RealServer> {
  const { command, args, folder, port, env = process.env, logFiles = [] } = program;
  let output = '';
  const child = spawn(command, args, { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'], ...asNobody });
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const log = () => output + logFiles.map((file) => (existsSync(file) ? readFileSync(file, 'utf8') : '')).join('');
  // A run that ends in the middle of a test leaves no server behind.
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  child.once('exit', () => process.removeListener('exit', kill));
  await untilListening(child, program, log);
  return {
    port,
    folder,
    log,
    stop: async () => {
      await ended(child, program.stopSignal ?? 'SIGTERM');
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function untilListening(child: ChildProcess, { port, readyLine }: ServerProgram, log: () => string): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}:\n${log()}`);
    if ((readyLine?.test(log()) ?? true) && (await answers(port))) return;
    await wait(50);
  }
  await ended(child, 'SIGKILL');
  throw new Error(`the server does not listen:\n${log()}`);
}

function answers(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => done(true)).on('error', () => done(false));
    socket.on('connect', () => socket.destroy());
  });
}

function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((done) => {
    child.on('exit', () => done());
    child.kill(signal);
  });
}

/** Runs a program of a server to its end. */
export function runProgram(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<void> {
  return new Promise((done, reject) => {
    let output = '';
    const child = spawn(command, args, { env, cwd: tmpdir(), stdio: ['ignore', 'pipe', 'pipe'], ...asNobody });
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.on('error', reject);
    child.on('exit', (code) => (code === 0 ? done() : reject(new Error(`${command} ended with ${code}:\n${output}`))));
  });
}
