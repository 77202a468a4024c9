// Makes node_modules match package-lock.json, once, however many starts run at the same time.
// It must never leave a half-made tree looking whole: the stamp is written last, and npm removes it first.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, delimiter, join } from 'node:path';
import { acquireInstallLock } from './launch-lock.mjs';
import { isMusl, LaunchError } from './launch-node.mjs';

const STAMP = 'node_modules/.keyturn-stamp';
/** npm settings that say where packages come from; all others of an outer `npm start` would bend the inner `npm ci`. */
const KEPT_SETTINGS =
  /^npm_config_(registry|@.*|\/\/.*|.*proxy|noproxy|cafile|ca|cert|key|strict_ssl|userconfig|globalconfig|cache|prefer_offline|offline|fetch_.*|maxsockets|nodedir|python)$/i;

/** What the stamp holds when everything is installed; `production` leaves the development dependencies out. */
function expectedStamp(root, scope) {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  return `${lock} ${process.platform}-${process.arch} ${scope}\n`;
}

function readOr(path, fallback) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return fallback;
  }
}

/** True when npm's own record of the last whole install agrees with the lock: an `npm ci` run by hand counts. */
function isInstalledByHand(root, withDev) {
  try {
    const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
    const present = JSON.parse(readFileSync(join(root, 'node_modules/.package-lock.json'), 'utf8')).packages;
    for (const [path, entry] of Object.entries(wanted)) {
      const mustBeThere = path !== '' && !entry.optional && !entry.devOptional && !entry.peer && (withDev || !entry.dev);
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

function isCurrent(root, withDev) {
  const stamp = readOr(join(root, STAMP), '');
  if (stamp === expectedStamp(root, 'all') || (!withDev && stamp === expectedStamp(root, 'production'))) return true;
  if (!isInstalledByHand(root, withDev)) return false;
  writeStamp(root, withDev);
  return true;
}

function writeStamp(root, withDev) {
  try {
    writeFileSync(join(root, STAMP), expectedStamp(root, withDev ? 'all' : 'production'));
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
  if (isCurrent(root, withDev)) return;
  const lock = await acquireInstallLock(root);
  try {
    if (isCurrent(root, withDev)) return;
    const startedAtMs = Date.now();
    console.error('keyturn: installing dependencies (only when they changed; about half a minute) ...');
    await runNpmCi(root, withDev, lock);
    if (isMusl()) rmSync(join(root, 'node_modules/.bin/node'), { force: true }); // it would hide a Node that works here
    writeStamp(root, withDev);
    console.error(`keyturn: installed in ${Math.round((Date.now() - startedAtMs) / 1000)} s`);
  } finally {
    lock.release();
  }
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

async function runNpmCi(root, withDev, lock) {
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  rmSync(join(root, STAMP), { force: true });
  const env = npmEnvironment(root);
  const [command, before] = npmCommand(root, env);
  const scope = withDev ? '--include=dev' : '--omit=dev';
  const args = [...before, 'ci', '--no-audit', '--no-fund', '--include=optional', scope];
  const npm = spawn(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' });
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
  throw new LaunchError('npm ci failed (its output is above); the next start tries again', 1);
}
