// A whole Keyturn on a data directory of its own, in this process or as a child that can be killed, and a small client for it.
// Everything it starts ends with `stopAll`.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { ExportVerifier, type VerifyOptions, type VerifyResult } from '../../src/audit/verify-export.ts';

const CHILD = fileURLToPath(new URL('./serve-child.ts', import.meta.url));
const START_WITHIN_MS = 30_000;
const running = new Set<ChildProcess>();
const directories = new Set<string>();

export function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'keyturn-faults-'));
  directories.add(directory);
  return directory;
}

/** Kills what still runs. */
export async function killAll(): Promise<void> {
  await Promise.all([...running].map((child) => ended(child, 'SIGKILL')));
}

/** Kills what still runs and removes every directory made by `newDirectory`. */
export async function stopAll(): Promise<void> {
  await killAll();
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  directories.clear();
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise<void>((done) => child.once('exit', () => done()));
  child.kill(signal);
  await exit;
}

export interface ChildOptions {
  /** `<point>[:kill|error|stall][:<nth>]` */
  readonly fault?: string | undefined;
  readonly passphraseFile?: string;
  readonly rootKeyFile?: string;
  readonly nextRootKeyFile?: string;
  readonly rootCommand?: string;
  readonly nextRoot?: 'keyfile' | 'passphrase' | 'exec' | 'aws-kms' | 'shamir';
  readonly rootShares?: string;
  readonly umask?: number;
  /** As `ulimit -n` sets it. */
  readonly descriptors?: number;
  /** Another program that serves and says its URL, with its arguments. Default: serve-child.ts. */
  readonly program?: readonly string[];
  /** The service's clock is so far ahead, and believed at once. */
  readonly aheadMs?: number;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface ChildService {
  readonly url: string;
  readonly directory: string;
  readonly pid: number;
  /** The operator's log so far. */
  readonly log: readonly string[];
  readonly exited: Promise<Exit>;
  signal(name: NodeJS.Signals): void;
  /** SIGKILL, awaited. */
  kill(): Promise<void>;
  /** SIGTERM, awaited. */
  stop(): Promise<Exit>;
}

/** Starts the service in a process of its own. @throws with the service's refusal when it does not come up */
export async function startChild(directory: string, options: ChildOptions = {}): Promise<ChildService> {
  const { fault, program, descriptors, ...serve } = options;
  const command = [process.execPath, ...(program ?? [CHILD, JSON.stringify({ directory, ...serve })])];
  const limited = descriptors === undefined ? command : ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...command];
  const child = spawn(limited[0] as string, limited.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], ...(fault === undefined ? {} : { FAULT: fault, KEYTURN_TEST_BUILD: '1' }) },
  });
  running.add(child);
  const log: string[] = [];
  const exited = new Promise<Exit>((done) =>
    child.once('exit', (code, signal) => {
      running.delete(child);
      done({ code, signal });
    }),
  );
  const errors = createInterface({ input: child.stderr }).on('line', (line) => log.push(line));
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise<string>((done, reject) => {
    const timer = setTimeout(() => reject(new Error('the child did not start in time')), START_WITHIN_MS);
    const read = program === undefined ? readOwn : readOther;
    for (const source of [lines, errors]) {
      source.on('line', (line) => {
        const said = read(line);
        if (said === undefined) return;
        clearTimeout(timer);
        if (said.url === undefined) reject(new Error(said.refused ?? 'unknown'));
        else done(said.url);
      });
    }
    void exited.then(({ code, signal }) => {
      clearTimeout(timer);
      reject(new Error(`the child ended first: ${code ?? signal} ${log.join('\n')}`));
    });
  });
  return {
    url,
    directory,
    pid: child.pid ?? 0,
    log,
    exited,
    signal: (name) => void child.kill(name),
    kill: () => ended(child, 'SIGKILL'),
    stop: async () => {
      child.kill('SIGTERM');
      return exited;
    },
  };
}

interface Said {
  readonly url?: string;
  readonly refused?: string;
}

function readOwn(line: string): Said | undefined {
  return line.startsWith('{') ? (JSON.parse(line) as Said) : undefined;
}

function readOther(line: string): Said | undefined {
  const url = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
  return url === undefined ? undefined : { url };
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes
  readonly body: any;
}

export type Client = (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>;

/** A client of one service with one token. */
export function clientOf(url: string, token: string): Client {
  return async (method, path, body, headers = {}) => {
    const answer = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    let parsed: unknown;
    try {
      parsed = JSON.parse(text);
    } catch {
      parsed = undefined;
    }
    return { status: answer.status, headers: answer.headers, text, body: parsed };
  };
}

/** Spends the bootstrap secret; returns the owner's token. */
export async function setUpOwner(url: string, directory: string): Promise<string> {
  const secret = readFileSync(join(directory, 'bootstrap-secret'), 'utf8').trim();
  const answer = await clientOf(url, secret)('POST', '/v1/setup', { name: 'ada' });
  if (answer.status !== 201) throw new Error(`set-up answered ${answer.status} ${answer.text}`);
  return answer.body.token.token as string;
}

export interface WorkloadAsk {
  readonly name?: string;
  readonly environment?: string;
  readonly permissions?: readonly string[];
}

/** Makes a workload that may touch everything in its environment; returns a direct token of it. */
export async function workloadToken(admin: Client, tenant: string, ask: WorkloadAsk = {}): Promise<string> {
  const { name = 'sync', environment = 'staging', permissions = ['read', 'put', 'rotate'] } = ask;
  const made = await admin('POST', `/v1/tenants/${tenant}/workloads`, { name, environment, patterns: ['*'], permissions });
  if (made.status !== 201) throw new Error(`workload: ${made.status} ${made.text}`);
  const token = await admin('POST', `/v1/tenants/${tenant}/workloads/${name}/tokens`, {});
  if (token.status !== 201) throw new Error(`token: ${token.status} ${token.text}`);
  return token.body.token as string;
}

export interface Place {
  readonly owner: string;
  readonly workload: string;
  readonly tenantId: string;
}

/** Owner, the tenant `acme` and a workload in its staging environment. */
export async function furnish(url: string, directory: string): Promise<Place> {
  const owner = await setUpOwner(url, directory);
  const admin = clientOf(url, owner);
  const tenant = await admin('POST', '/v1/tenants', { name: 'acme' });
  if (tenant.status !== 201) throw new Error(`tenant: ${tenant.status} ${tenant.text}`);
  return { owner, tenantId: tenant.body.id as string, workload: await workloadToken(admin, 'acme') };
}

export const CREDENTIALS = '/v1/tenants/acme/environments/staging/credentials';

export const apiKey = (key: string) => ({ kind: 'api_key', value: { key } });

/** Fetches the whole log and checks it as an outsider would. */
export async function verifyLog(
  auditor: Client,
  base: string,
  options: VerifyOptions = {},
): Promise<VerifyResult & { readonly lines: readonly string[] }> {
  const answer = await auditor('GET', `${base}/audit/export`);
  if (answer.status !== 200) throw new Error(`export: ${answer.status} ${answer.text}`);
  const verifier = new ExportVerifier(options);
  const lines = answer.text.split('\n');
  verifier.add(Buffer.from(answer.text));
  return { ...verifier.finish(), lines };
}

export interface LoggedEvent {
  readonly action: string;
  readonly outcome: string;
  readonly request: string;
  readonly index: number;
  readonly target: { readonly name?: string };
  readonly details?: { readonly version?: number; readonly step?: string };
}

/** The events among the lines of an export. */
export function eventsOf(lines: readonly string[]): LoggedEvent[] {
  return lines.filter((line) => line.startsWith('{"action"')).map((line) => JSON.parse(line) as LoggedEvent);
}

/** Looks into (or tampers with) a database while nobody serves it. */
export function withDatabase<T>(path: string, use: (database: Database.Database) => T): T {
  const database = new Database(path, { fileMustExist: true });
  try {
    return use(database);
  } finally {
    database.close();
  }
}

export const tenantPath = (directory: string, tenantId: string) => join(directory, 'tenants', `${tenantId}.db`);

/** Polls until `look` gives something. */
export async function eventually<T>(look: () => T | undefined | Promise<T | undefined>, withinMs = 10_000): Promise<T> {
  const end = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error('it did not come about in time');
    await new Promise((resume) => setTimeout(resume, 25));
  }
}
