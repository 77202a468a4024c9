// Starts the command line on Node 24 with its memory protected: no debugger, no core file, no NODE_OPTIONS of the caller's shell.
// It must never pass on an environment variable that makes Node print, dump or expose the memory of the process.
import { mkdirSync } from 'node:fs';
import inspector from 'node:inspector';
import { delimiter, join } from 'node:path';
import { runForeground } from './launch-node.mjs';

const NODE_FLAGS = [
  '--disable-warning=ExperimentalWarning', // type stripping still warns in the first 24.x
  '--disable-sigusr1', // SECURITY: the signal would open a debugger port
];
/** The NODE_OPTIONS that are kept: memory sizes and the choice of certificates. The others load code, open ports or write files. */
const KEPT_OPTIONS = /^--(max-old-space-size(-percentage)?|max-semi-space-size|use-(system|openssl|bundled)-ca)(=\S+)?$/;
/** SECURITY: with NODE_DEBUG set, Node prints request headers, which contain tokens. */
const DROPPED = ['NODE_OPTIONS', 'NODE_DEBUG', 'NODE_DEBUG_NATIVE'];
/** `exec` keeps the process id, so that signals reach Node itself. */
const WITHOUT_CORE_FILES = 'ulimit -c 0; exec "$@"';

/** Runs src/cli/main.ts with these arguments; resolves to `{ code, signal }`. */
export function runProduct(node, root, args) {
  const serves = args[0] === 'serve';
  if (inspector.url() !== undefined) inspector.close();
  const { env, refused } = productEnvironment(root);
  if (serves && refused.length > 0)
    console.error(`keyturn: ignoring ${refused.join(', ')} from the environment, because the service holds secrets`);
  const command = [node, ...NODE_FLAGS, join(root, 'src', 'cli', 'main.ts'), ...args];
  const [program, ...rest] =
    serves && process.platform !== 'win32' ? ['sh', '-c', WITHOUT_CORE_FILES, 'sh', ...command] : command;
  return runForeground(program, rest, { env });
}

/** The environment of the service or the command. `KEYTURN_CALLER_ENVIRONMENT` holds the original values that `keyturn run` restores for its child. */
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
    // SECURITY: the cached code is executed, so no other user may write to this directory.
    mkdirSync(cache, { recursive: true, mode: 0o700 });
    env.NODE_COMPILE_CACHE ??= cache; // halves the start time
  } catch {
    // Read-only file system: start without a cache.
  }
  const changed = [...DROPPED, 'NODE_COMPILE_CACHE'].filter((name) => env[name] !== process.env[name]);
  const before = changed.map((name) => [name, process.env[name] ?? null]);
  if (before.length > 0) env.KEYTURN_CALLER_ENVIRONMENT = JSON.stringify(Object.fromEntries(before));
  const refused = dropped.filter((name) => name !== 'NODE_OPTIONS' || kept.length < options.length);
  return { env, refused };
}

/** npm puts this project's folders first on the PATH of its scripts; `keyturn run` must not look up programs in them. */
function pathBeforeNpm(root) {
  if (process.env.npm_package_json !== join(root, 'package.json')) return process.env.PATH;
  const entries = (process.env.PATH ?? '').split(delimiter);
  const first = entries.findIndex((entry) => !/[\\/](node_modules[\\/]\.bin|node-gyp-bin)$/.test(entry));
  return entries.slice(Math.max(first, 0)).join(delimiter);
}
