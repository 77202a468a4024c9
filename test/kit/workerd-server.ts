// Keyturn in the real Workers runtime for tests: the bundle wrangler would deploy, served by workerd itself with storage on disk.
// It must never leave a process behind: every start has its stop, and `kill` is SIGKILL.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { rootKeyText } from '../../src/crypto/root-key.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const WORKERD = (createRequire(import.meta.url)('workerd') as { default: string }).default;

/** Made up for tests; not-a-real-secret. */
export const TEST_BOOTSTRAP_SECRET = 'kt_boot_not-a-real-secret-0123456789abcdefghij';
const TEST_ROOT_KEY = rootKeyText(Uint8Array.from({ length: 32 }, (_, index) => (index * 37 + 11) & 0xff)).trim();

export interface WorkerdServer {
  readonly url: string;
  /** What workerd and the Worker wrote to the console. */
  readonly output: () => string;
  /** SIGKILL, in the middle of whatever it does; settles when the process is gone. */
  kill(): Promise<void>;
}

export interface WorkerdDeployment {
  /** Starts on the storage that earlier starts left. `secrets` replace the usual ones; undefined leaves one out. */
  start(secrets?: Readonly<Record<string, string | undefined>>): Promise<WorkerdServer>;
  /** A copy of the storage of the tenant that was made last; only while no server runs. */
  copyNewestTenant(): { putBack(): void; remove(): void };
  /** Kills what still runs and removes bundle and storage. */
  remove(): Promise<void>;
}

/** Bundles the Worker as `wrangler deploy` does, without deploying it. */
export async function deployToWorkerd(): Promise<WorkerdDeployment> {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-workerd-'));
  const bundle = join(folder, 'bundle');
  mkdirSync(join(folder, 'objects'));
  const wrangler = join(ROOT, 'node_modules/wrangler/bin/wrangler.js');
  await promisify(execFile)(process.execPath, [wrangler, 'deploy', '--dry-run', '--outdir', bundle], {
    cwd: ROOT,
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1', NO_COLOR: '1' },
  });
  const running = new Set<WorkerdServer>();
  return {
    async start(secrets = {}) {
      const all = { KEYTURN_ROOT_KEY: TEST_ROOT_KEY, KEYTURN_BOOTSTRAP_SECRET: TEST_BOOTSTRAP_SECRET, ...secrets };
      const given = Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined));
      const config = join(folder, 'config.capnp');
      writeFileSync(config, configOf(bundle, join(folder, 'objects'), Object.keys(given)));
      const server = await serve(config, given);
      running.add(server);
      return server;
    },
    copyNewestTenant() {
      const objects = join(folder, 'objects', 'keyturn-tenant');
      const born = (file: string) => statSync(join(objects, file)).birthtimeMs;
      const databases = readdirSync(objects).filter((file) => /^[0-9a-f]{64}\.sqlite$/.test(file));
      const newest = databases.reduce((a, b) => (born(b) > born(a) ? b : a));
      const files = () => readdirSync(objects).filter((file) => file.startsWith(newest));
      const kept = new Map(files().map((file) => [file, readFileSync(join(objects, file))]));
      const remove = () => {
        for (const file of files()) rmSync(join(objects, file));
      };
      return {
        remove,
        putBack() {
          remove();
          for (const [file, bytes] of kept) writeFileSync(join(objects, file), bytes);
        },
      };
    },
    async remove() {
      await Promise.all([...running].map((server) => server.kill()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** As on Cloudflare: dates and flags of wrangler.toml, the edge's own CF-Connecting-IP over the client's; plus the way to a sandbox here. */
function configOf(bundle: string, objects: string, secrets: readonly string[]): string {
  const toml = readFileSync(join(ROOT, 'wrangler.toml'), 'utf8');
  const date = /^compatibility_date = "([^"]+)"/m.exec(toml)?.[1];
  const flags = /^compatibility_flags = \[([^\]]*)\]/m.exec(toml)?.[1];
  const kinds: readonly (readonly [RegExp, string])[] = [
    [/\.js$/, 'esModule'],
    [/\.cedar(schema)?$/, 'text'],
    [/\.wasm$/, 'wasm'],
  ];
  const modules = readdirSync(bundle).flatMap((file) => {
    const kind = kinds.find(([pattern]) => pattern.test(file))?.[1];
    return kind === undefined ? [] : [`(name = "${file}", ${kind} = embed "bundle/${file}")`];
  });
  modules.sort((a, b) => Number(b.includes('"main.js"')) - Number(a.includes('"main.js"')));
  const settings = secrets.map((name) => `(name = "${name}", fromEnvironment = "${name}")`);
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "keyturn", worker = .keyturn),
    (name = "internet", network = (allow = ["public", "private", "local"], tlsOptions = (trustBrowserCas = true))),
    (name = "objects", disk = (path = "${objects}", writable = true)),
  ],
  sockets = [(
    name = "http", address = "127.0.0.1:0", service = "keyturn",
    http = (injectRequestHeaders = [(name = "CF-Connecting-IP", value = "127.0.0.1")]),
  )],
);
const keyturn :Workerd.Worker = (
  modules = [${modules.join(', ')}],
  compatibilityDate = "${date}",
  compatibilityFlags = [${flags}],
  bindings = [
    (name = "HOME", durableObjectNamespace = "HomeCell"),
    (name = "TENANT", durableObjectNamespace = "TenantCell"),
    (name = "KEYTURN_ALLOW_LOCAL_SANDBOX", text = "true"),
    ${settings.join(', ')}
  ],
  durableObjectNamespaces = [
    (className = "HomeCell", uniqueKey = "keyturn-home", enableSql = true),
    (className = "TenantCell", uniqueKey = "keyturn-tenant", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "objects"),
);
`;
}

async function serve(config: string, secrets: Readonly<Record<string, string>>): Promise<WorkerdServer> {
  const child = spawn(WORKERD, ['serve', config, '--experimental', '--control-fd=3'], {
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], ...secrets },
  });
  const orphaned = () => void child.kill('SIGKILL');
  process.once('exit', orphaned);
  const gone = new Promise<void>((resolve) =>
    child.once('exit', () => {
      process.off('exit', orphaned);
      resolve();
    }),
  );
  let output = '';
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-200_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  const port = await Promise.race([listeningPort(child), gone.then(() => undefined)]);
  if (port === undefined) throw new Error(`workerd did not start: ${output}`);
  return {
    url: `http://127.0.0.1:${port}`,
    output: () => output,
    async kill() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

function listeningPort(child: ChildProcess): Promise<number> {
  const control = child.stdio[3] as Readable;
  return new Promise((resolve) => {
    let text = '';
    control.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      const port = /"event":"listen"[^\n]*"port":(\d+)/.exec(text)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
  });
}
