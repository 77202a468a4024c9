// Starts the command line on Node 24 so that nobody looks into its memory: no debugger, no core file, no options of somebody's shell.
// It must never hand on an environment variable that makes Node print, dump or open what the process holds.
import { mkdirSync } from 'node:fs';
import inspector from 'node:inspector';
import { delimiter, join } from 'node:path';
import { runForeground } from './launch-node.mjs';

const NODE_FLAGS = [
  '--disable-warning=ExperimentalWarning', // type stripping still warns in the first 24.x
  '--disable-sigusr1', // SECURITY: the signal would open a debugger port
];
/** Of NODE_OPTIONS: what sizes memory and what chooses the system's certificates. All else loads, opens or writes something. */
const KEPT_OPTIONS = /^--(max-old-space-size(-percentage)?|max-semi-space-size|use-(system|openssl|bundled)-ca)(=\S+)?$/;
/** SECURITY: Node prints headers of requests when told to debug its own modules. */
const DROPPED = ['NODE_OPTIONS', 'NODE_DEBUG', 'NODE_DEBUG_NATIVE'];
/** `exec`: the process id stays, so signals reach Node itself. */
const WITHOUT_CORE_FILES = 'ulimit -c 0; exec "$@"';

/** Runs src/cli/main.ts with these arguments; resolves to `{ code, signal }`. */
export function runProduct(node, root, args) {
  const serves = args[0] === 'serve';
  if (inspector.url() !== undefined) inspector.close();
  const { env, refused } = productEnvironment(root);
  if (serves && refused.length > 0)
    console.error(`keyturn: ${refused.join(', ')} from the environment is not used: the service holds secrets`);
  const command = [node, ...NODE_FLAGS, join(root, 'src', 'cli', 'main.ts'), ...args];
  const [program, ...rest] =
    serves && process.platform !== 'win32' ? ['sh', '-c', WITHOUT_CORE_FILES, 'sh', ...command] : command;
  return runForeground(program, rest, { env });
}

/** The environment of the service or the command; `KEYTURN_CALLER_ENVIRONMENT` lists what `keyturn run` has to undo for its child. */
function productEnvironment(root) {
  const { KEYTURN_CALLER_ENVIRONMENT: _outer, ...env } = process.env;
  const dropped = DROPPED.filter((name) => env[name]);
  for (const name of DROPPED) delete env[name];
  const options = (process.env.NODE_OPTIONS ?? '').split(/\s+/).filter(Boolean);
  const kept = options.filter((option) => KEPT_OPTIONS.test(option));
  if (kept.length > 0) env.NODE_OPTIONS = kept.join(' ');
  const path = pathBeforeNpm(root);
  if (path !== undefined) env.PATH = path;
  const cache = join(root, 'node_modules', '.cache', 'keyturn');
  try {
    // SECURITY: cached code is executed, so nobody else may write there.
    mkdirSync(cache, { recursive: true, mode: 0o700 });
    env.NODE_COMPILE_CACHE ??= cache; // halves the start
  } catch {
    // A read-only tree: start without a cache.
  }
  const changed = [...DROPPED, 'NODE_COMPILE_CACHE'].filter((name) => env[name] !== process.env[name]);
  const before = changed.map((name) => [name, process.env[name] ?? null]);
  if (before.length > 0) env.KEYTURN_CALLER_ENVIRONMENT = JSON.stringify(Object.fromEntries(before));
  const refused = dropped.filter((name) => name !== 'NODE_OPTIONS' || kept.length < options.length);
  return { env, refused };
}

/** npm puts folders of this project first on the PATH of its scripts: a program that `keyturn run` starts must not be found there. */
function pathBeforeNpm(root) {
  if (process.env.npm_package_json !== join(root, 'package.json')) return process.env.PATH;
  const entries = (process.env.PATH ?? '').split(delimiter);
  const first = entries.findIndex((entry) => !/[\\/](node_modules[\\/]\.bin|node-gyp-bin)$/.test(entry));
  return entries.slice(Math.max(first, 0)).join(delimiter);
}
