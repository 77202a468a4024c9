// Makes node_modules match package-lock.json, once, however many starts run at the same time.
// It must never leave a half-made tree looking whole: the stamp is written last, and says so from the first moment.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { acquireInstallLock } from './launch-lock.mjs';
import { bundledNodePackage, findNode, isMusl, isNewEnough, LaunchError, runCaptured } from './launch-node.mjs';

const STAMP = 'node_modules/.keyturn-stamp';
const UNFINISHED = 'an install was begun and did not end\n';
/** What an install brings, each with all of the one before it. */
const SCOPES = ['production-without-node', 'production', 'all'];
/**
 * SECURITY: no package runs code of its own while it is installed. None of ours has to: better-sqlite3 brings its binaries for every
 * platform in the package, and `loadsDatabase` tries the one of this machine. Left to itself `npm ci` compiles it again, which takes
 * Python and a C++ compiler: npm takes a `binding.gyp` for an order to build unless package.json says `gypfile: false`, and
 * package-lock.json does not record that field. `.npmrc` says the same for an `npm ci` typed by hand.
 */
const NO_SCRIPTS = '--ignore-scripts';
const OPENS_A_DATABASE = "new (require('better-sqlite3'))(':memory:').close()";
/** npm settings that say where packages come from; all others of an outer `npm start` would bend the inner `npm ci`. */
const KEPT_SETTINGS =
  /^npm_config_(registry|@.*|\/\/.*|.*proxy|noproxy|cafile|ca|cert|key|strict_ssl|userconfig|globalconfig|cache|prefer_offline|offline|fetch_.*|maxsockets|nodedir|python)$/i;

/** The scope this command needs: tools of tests and checks only for those, the bundled Node only where the running one is too old. */
function scopeFor(root, withDev) {
  if (withDev) return 'all';
  // `npm start` finds the bundled Node first on its PATH: that one is not there of its own accord.
  const isOurs = process.execPath.startsWith(join(root, 'node_modules'));
  return isNewEnough() && !isOurs ? 'production-without-node' : 'production';
}

function parsedFile(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** What the stamp holds when `scope` is installed: it ends when the lock or what package.json asks for changes. */
function expectedStamp(root, scope) {
  const { dependencies, devDependencies, optionalDependencies } = parsedFile(join(root, 'package.json'));
  const content = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(JSON.stringify([dependencies, devDependencies, optionalDependencies]))
    .digest('hex');
  return `${content} ${process.platform}-${process.arch} ${scope}\n`;
}

function readOr(path, fallback) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return fallback;
  }
}

/** True when npm's own record of the last whole install agrees with the lock: an `npm ci` run by hand counts. */
function isInstalledByHand(root, scope) {
  if (readOr(join(root, STAMP), '') === UNFINISHED) return false;
  try {
    const wanted = parsedFile(join(root, 'package-lock.json')).packages;
    const present = parsedFile(join(root, 'node_modules/.package-lock.json')).packages;
    const node = scope === 'production-without-node' || isMusl() ? undefined : `node_modules/${bundledNodePackage()}`;
    for (const [path, entry] of Object.entries(wanted)) {
      const isPlain = path !== '' && !entry.optional && !entry.devOptional && !entry.peer;
      const mustBeThere = path === node || (isPlain && (scope === 'all' || !entry.dev));
      const found = present[path];
      if (found === undefined ? mustBeThere : !isSamePackage(found, entry)) return false;
    }
    // The record travels with a copied tree: its native packages tell which machine it was made for.
    return Object.values(present).every(fitsThisMachine);
  } catch {
    return false;
  }
}

function isSamePackage(found, entry) {
  return found.version === entry.version && (entry.integrity === undefined || found.integrity === entry.integrity);
}

function fitsThisMachine({ os, cpu }) {
  const fits = (field, value) => {
    const list = [].concat(field ?? value);
    return list[0].startsWith('!') ? !list.includes(`!${value}`) : list.includes(value);
  };
  return fits(os, process.platform) && fits(cpu, process.arch);
}

function isCurrent(root, scope) {
  if (stampedScope(root, scope) !== undefined) return true;
  if (!isInstalledByHand(root, scope)) return false;
  writeStamp(root, scope);
  return true;
}

/** The whole install that is there, when it has at least `scope`. */
function stampedScope(root, scope) {
  const stamp = readOr(join(root, STAMP), '');
  return SCOPES.slice(SCOPES.indexOf(scope)).find((one) => stamp === expectedStamp(root, one));
}

function writeStamp(root, scope) {
  try {
    writeFileSync(join(root, STAMP), expectedStamp(root, scope));
  } catch {
    // A read-only image: the comparison is made again at the next start.
  }
}

/**
 * Installs what package-lock.json names unless it is there already; prints one line to stderr when it does.
 * `withDev`: the command needs vitest, tsc or biome.
 */
export async function ensureInstalled(root, withDev) {
  if (!existsSync(join(root, 'package-lock.json'))) {
    if (existsSync(join(root, 'node_modules'))) return;
    throw new LaunchError(`package-lock.json is missing in ${root}`);
  }
  const scope = scopeFor(root, withDev);
  if (isCurrent(root, scope)) return;
  const lock = await acquireInstallLock(root);
  try {
    if (isCurrent(root, scope)) return;
    const startedAtMs = Date.now();
    const what = withDev ? 'dependencies and the tools of tests and checks' : 'dependencies';
    console.error(`keyturn: installing ${what} (only when they changed; about half a minute) ...`);
    await runNpm(root, scope, lock);
    if (isMusl()) rmSync(join(root, 'node_modules/.bin/node'), { force: true }); // it would hide a Node that works here
    await loadsDatabase(root);
    writeStamp(root, scope);
    console.error(`keyturn: installed in ${Math.round((Date.now() - startedAtMs) / 1000)} s`);
  } finally {
    lock.release();
  }
}

/** Opens a database in memory with what was installed. @throws LaunchError where no binary fits this machine */
async function loadsDatabase(root) {
  const { code, output } = await runCaptured(findNode(root), ['-e', OPENS_A_DATABASE], { cwd: root });
  if (code === 0) return;
  process.stderr.write(output);
  throw new LaunchError(
    `better-sqlite3 brings no binary that runs on ${process.platform}-${process.arch} (the reason is above); ` +
      'on another platform compile it once with `npm rebuild better-sqlite3 --ignore-scripts=false`, which takes Python and a C++ compiler',
  );
}

/** The environment of the inner npm: not the outer npm's flags, and no `node` out of the tree that is about to be replaced. */
function npmEnvironment(root) {
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (/^npm_/i.test(name) && !KEPT_SETTINGS.test(name)) continue;
    if (name === 'NODE_ENV' || name === 'NODE_OPTIONS' || name === 'INIT_CWD') continue;
    env[name] = value;
  }
  const inside = join(root, 'node_modules');
  env.PATH = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((entry) => !entry.startsWith(inside))
    .join(delimiter);
  return env;
}

function findOnPath(name, path) {
  return path
    .split(delimiter)
    .map((entry) => join(entry, name))
    .find((file) => existsSync(file));
}

/** The npm that started us when there is one, else the first on PATH. */
function npmCommand(root, env) {
  const outer = process.env.npm_execpath;
  if (outer !== undefined && basename(outer) === 'npm-cli.js' && existsSync(outer)) {
    const own = process.execPath.startsWith(join(root, 'node_modules')) ? undefined : process.execPath;
    const node = own ?? findOnPath('node', env.PATH) ?? process.execPath;
    return [node, [outer]];
  }
  const npm = findOnPath(process.platform === 'win32' ? 'npm.cmd' : 'npm', env.PATH);
  if (npm === undefined) throw new LaunchError('dependencies are missing and npm is not on PATH; install Node 24 with npm');
  return [npm, []];
}

/**
 * `npm ci` makes the tree anew. Where a smaller one is whole, `npm install` only adds to it: a service that runs from it goes on
 * finding its files.
 */
function npmArguments(root, scope) {
  const parts = scope === 'all' ? ['--include=optional', '--include=dev'] : ['--include=optional', '--omit=dev'];
  if (scope === 'production-without-node') parts[0] = '--omit=optional';
  const how = stampedScope(root, SCOPES[0]) === undefined ? ['ci'] : ['install', '--no-save'];
  return [...how, '--no-audit', '--no-fund', NO_SCRIPTS, ...parts];
}

async function runNpm(root, scope, lock) {
  const asked = npmArguments(root, scope);
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(join(root, STAMP), UNFINISHED);
  const env = npmEnvironment(root);
  const [command, before] = npmCommand(root, env);
  const options = { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' };
  const npm = spawn(command, [...before, ...asked], options);
  if (npm.pid !== undefined) lock.alsoHeldBy(npm.pid);
  const output = [];
  npm.stdout.on('data', (chunk) => output.push(chunk));
  npm.stderr.on('data', (chunk) => output.push(chunk));
  let stoppedBy;
  const stop = (signal) => {
    stoppedBy = signal;
    npm.kill(signal);
  };
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const code = await new Promise((resolve, reject) => {
    npm.on('error', (error) => reject(new LaunchError(`npm could not be started (${error.code})`)));
    npm.on('close', (exitCode) => resolve(exitCode));
  }).finally(() => process.off('SIGINT', stop).off('SIGTERM', stop));
  if (stoppedBy !== undefined)
    throw new LaunchError('the installation was stopped; the next start repeats it', stoppedBy === 'SIGINT' ? 130 : 143);
  if (code === 0) return;
  process.stderr.write(Buffer.concat(output));
  throw new LaunchError(`npm ${asked[0]} failed (its output is above); the next start tries again`, 1);
}
