// Makes node_modules match package-lock.json, once, even if several starts run at the same time.
// It must never let an incomplete tree pass as complete: the stamp is invalid during an install and is written last.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { acquireInstallLock } from './launch-lock.mjs';
import { bundledNodePackage, findNode, isMusl, isNewEnough, LaunchError, runCaptured } from './launch-node.mjs';

const STAMP = 'node_modules/.keyturn-stamp';
const UNFINISHED = 'an install was started and is not complete\n';
/** The sets of packages an install can include; each contains the one before it. */
const SCOPES = ['production-without-node', 'production', 'all'];
/**
 * SECURITY: stops packages from running code during the install (supply-chain attacks). No dependency needs install scripts: the package
 * better-sqlite3 contains binaries for all supported platforms, and `loadsDatabase` tests the one of this machine. Without this flag
 * `npm ci` compiles it, which needs Python and a C++ compiler: npm builds any package with a `binding.gyp` unless its package.json says
 * `gypfile: false`, a field that package-lock.json does not record. `.npmrc` sets the same for a manual `npm ci`.
 */
const NO_SCRIPTS = '--ignore-scripts';
const OPENS_A_DATABASE = "new (require('better-sqlite3'))(':memory:').close()";
/** npm settings about registry and network. Other settings of an outer `npm start` must not affect the inner `npm ci`. */
const KEPT_SETTINGS =
  /^npm_config_(registry|@.*|\/\/.*|.*proxy|noproxy|cafile|ca|cert|key|strict_ssl|userconfig|globalconfig|cache|prefer_offline|offline|fetch_.*|maxsockets|nodedir|python)$/i;

/** The set of packages that this command needs: test tools only for tests and checks, the bundled Node only if the running one is too old. */
function scopeFor(root, withDev) {
  if (withDev) return 'all';
  // Under `npm start` the running Node may itself be the bundled one, which must then stay installed.
  const isOurs = process.execPath.startsWith(join(root, 'node_modules'));
  return isNewEnough() && !isOurs ? 'production-without-node' : 'production';
}

function parsedFile(path) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

/** The stamp of an install of `scope`. It becomes invalid when package-lock.json or the dependencies in package.json change. */
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

/** True if npm's own record of the installed packages matches the lock, as after a manual `npm ci`. */
function isInstalledByHand(root, scope) {
  if (readOr(join(root, STAMP), '') === UNFINISHED) return false;
  try {
    const wanted = parsedFile(join(root, 'package-lock.json')).packages;
    const present = parsedFile(join(root, 'node_modules/.package-lock.json')).packages;
    const node = scope === 'production-without-node' || isMusl() ? undefined : `node_modules/${bundledNodePackage()}`;
    for (const [path, entry] of Object.entries(wanted)) {
      const found = present[path];
      const mustBeThere = path === node || (path !== '' && isNeeded(entry, scope));
      if (found === undefined ? mustBeThere : !isSamePackage(found, entry)) return false;
    }
    // A copied tree contains the record, too: check that its native packages are for this machine.
    return Object.values(present).every(fitsThisMachine);
  } catch {
    return false;
  }
}

function isNeeded({ optional, devOptional, peer, dev }, scope) {
  return !optional && !devOptional && !peer && (scope === 'all' || !dev);
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

/** The scope of the existing complete install, if it includes `scope`. */
function stampedScope(root, scope) {
  const stamp = readOr(join(root, STAMP), '');
  return SCOPES.slice(SCOPES.indexOf(scope)).find((one) => stamp === expectedStamp(root, one));
}

function writeStamp(root, scope) {
  try {
    writeFileSync(join(root, STAMP), expectedStamp(root, scope));
  } catch {
    // Read-only file system: the next start compares again.
  }
}

/**
 * Installs the packages of package-lock.json unless they are installed; prints one line to stderr before it does.
 * `withDev`: the command needs vitest, tsc or biome.
 */
export async function ensureInstalled(root, withDev) {
  if (!existsSync(join(root, 'package-lock.json'))) {
    if (existsSync(join(root, 'node_modules'))) return;
    throw new LaunchError(`the file package-lock.json is missing in ${root}: restore it from the repository`);
  }
  const scope = scopeFor(root, withDev);
  if (isCurrent(root, scope)) return;
  const lock = await acquireInstallLock(root);
  try {
    if (isCurrent(root, scope)) return;
    const startedAtMs = Date.now();
    const what = withDev ? 'dependencies and test tools' : 'dependencies';
    console.error(`keyturn: installing ${what} (only after a change; takes about 30 s) ...`);
    await runNpm(root, scope, lock);
    if (isMusl()) rmSync(join(root, 'node_modules/.bin/node'), { force: true }); // it does not run on musl and would come first on PATH
    await loadsDatabase(root);
    writeStamp(root, scope);
    console.error(`keyturn: installed in ${Math.round((Date.now() - startedAtMs) / 1000)} s`);
  } finally {
    lock.release();
  }
}

/** Opens an in-memory database with the installed package. @throws LaunchError if no binary fits this machine */
async function loadsDatabase(root) {
  const { code, output } = await runCaptured(findNode(root), ['-e', OPENS_A_DATABASE], { cwd: root });
  if (code === 0) return;
  process.stderr.write(output);
  throw new LaunchError(
    `better-sqlite3 has no binary that runs on ${process.platform}-${process.arch} (see the error above); ` +
      'compile it with `npm rebuild better-sqlite3 --ignore-scripts=false`, which needs Python and a C++ compiler',
  );
}

/** The environment of the inner npm: without the outer npm's flags, and without a `node` from the tree that it replaces. */
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

/** The npm that started this process, or else the first on PATH. */
function npmCommand(root, env) {
  const outer = process.env.npm_execpath;
  if (outer !== undefined && basename(outer) === 'npm-cli.js' && existsSync(outer)) {
    const own = process.execPath.startsWith(join(root, 'node_modules')) ? undefined : process.execPath;
    const node = own ?? findOnPath('node', env.PATH) ?? process.execPath;
    return [node, [outer]];
  }
  const npm = findOnPath(process.platform === 'win32' ? 'npm.cmd' : 'npm', env.PATH);
  if (npm === undefined)
    throw new LaunchError('the dependencies are not installed and npm is not on PATH; install Node 24 with npm');
  return [npm, []];
}

/**
 * `npm ci` replaces the whole tree. If a smaller set is installed completely, `npm install` only adds packages, so that a service which
 * runs from the tree keeps its files.
 */
function npmArguments(root, scope) {
  const parts = scope === 'all' ? ['--include=optional', '--include=dev'] : ['--include=optional', '--omit=dev'];
  if (scope === 'production-without-node') parts[0] = '--omit=optional';
  const how = stampedScope(root, SCOPES[0]) === undefined ? ['ci'] : ['install', '--no-save'];
  return [...how, '--no-audit', '--no-fund', NO_SCRIPTS, ...parts];
}

async function runNpm(root, scope, lock) {
  const npmArgs = npmArguments(root, scope);
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(join(root, STAMP), UNFINISHED);
  const env = npmEnvironment(root);
  const [command, before] = npmCommand(root, env);
  const options = { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' };
  const npm = spawn(command, [...before, ...npmArgs], options);
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
    throw new LaunchError('the installation was interrupted; the next start repeats it', stoppedBy === 'SIGINT' ? 130 : 143);
  if (code === 0) return;
  process.stderr.write(Buffer.concat(output));
  throw new LaunchError(`npm ${npmArgs[0]} failed (see its output above); the next start tries again`, 1);
}
