// Starts the command line on Node 24 so that nobody looks into its memory: no debugger, no core file, no options of somebody's shell.
// It must never hand on an environment variable that makes Node print, dump or open what the process holds.
import { mkdirSync } from 'node:fs';
import inspector from 'node:inspector';
import { join } from 'node:path';
import { childEnvironment, runForeground } from './launch-node.mjs';

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

function productEnvironment(root) {
  const env = childEnvironment(root);
  const dropped = Object.fromEntries(DROPPED.filter((name) => env[name]).map((name) => [name, env[name]]));
  for (const name of DROPPED) delete env[name];
  const options = (dropped.NODE_OPTIONS ?? '').split(/\s+/).filter(Boolean);
  const kept = options.filter((option) => KEPT_OPTIONS.test(option));
  if (kept.length > 0) env.NODE_OPTIONS = kept.join(' ');
  // For the program that `keyturn run` starts, which is not ours: it gets them as they were.
  if (Object.keys(dropped).length > 0) env.KEYTURN_CALLER_ENVIRONMENT = JSON.stringify(dropped);
  else delete env.KEYTURN_CALLER_ENVIRONMENT;
  const cache = join(root, 'node_modules', '.cache', 'keyturn');
  try {
    // SECURITY: cached code is executed, so nobody else may write there.
    mkdirSync(cache, { recursive: true, mode: 0o700 });
    env.NODE_COMPILE_CACHE ??= cache; // halves the start
  } catch {
    // A read-only tree: start without a cache.
  }
  const refused = Object.keys(dropped).filter((name) => name !== 'NODE_OPTIONS' || kept.length < options.length);
  return { env, refused };
}
