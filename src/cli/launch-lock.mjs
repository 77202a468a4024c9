// The lock around `npm ci`: a directory with the host and process ids of its owner, so that the lock of a dead owner is recognized.
// It must never wait without a bound: a lock without a heartbeat is taken over.
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LaunchError } from './launch-node.mjs';

const LOCK = '.keyturn-install.lock';
const POLL_MS = 200;
const HEARTBEAT_MS = 5_000;
const UNNAMED_STALE_MS = 5_000; // the owner died between creating the directory and writing its name
const ELSEWHERE_STALE_MS = 60_000; // another host or container: only its heartbeat is visible
const HERE_STALE_MS = 15 * 60_000; // the process id may have been reused

/** Waits for the lock. `alsoHeldBy(pid)` keeps it while that child process lives; `release()` releases it. */
export async function acquireInstallLock(root) {
  const path = join(root, LOCK);
  for (let announced = false; ; ) {
    const owner = `${hostname()} ${process.pid}`;
    if (tryToMake(path, owner)) return holdLock(path, owner);
    const judged = readOwner(path);
    if (judged !== undefined && isDead(judged)) {
      takeAway(path, judged.text);
      continue;
    }
    if (!announced) console.error('keyturn: another process is installing the dependencies; waiting for it ...');
    announced = true;
    await sleep(POLL_MS);
  }
}

function tryToMake(path, owner) {
  try {
    mkdirSync(path);
    writeFileSync(join(path, 'owner'), owner);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST' || error.code === 'ENOENT') return false;
    throw new LaunchError(`the dependencies are not installed, and ${path} cannot be written to install them (${error.code})`);
  }
}

function holdLock(path, owner) {
  const file = join(path, 'owner');
  const heartbeat = setInterval(() => {
    const now = new Date();
    try {
      utimesSync(file, now, now);
    } catch {
      // somebody removed the lock by hand: the install continues
    }
  }, HEARTBEAT_MS);
  heartbeat.unref();
  let text = owner;
  return {
    alsoHeldBy(pid) {
      text = `${owner} ${pid}`;
      writeFileSync(file, text);
    },
    release() {
      clearInterval(heartbeat);
      if (readOwner(path)?.text === text) rmSync(path, { recursive: true, force: true });
    },
  };
}

/** Undefined if the lock no longer exists. */
function readOwner(path) {
  try {
    const text = readFileSync(join(path, 'owner'), 'utf8');
    return { text, ageMs: Date.now() - statSync(join(path, 'owner')).mtimeMs };
  } catch {
    try {
      return { text: '', ageMs: Date.now() - statSync(path).mtimeMs };
    } catch {
      return undefined;
    }
  }
}

function isDead({ text, ageMs }) {
  const [host, ...pids] = text.split(' ');
  if (text === '') return ageMs > UNNAMED_STALE_MS;
  if (host !== hostname()) return ageMs > ELSEWHERE_STALE_MS;
  return ageMs > HERE_STALE_MS || !pids.some((pid) => isAlive(Number(pid)));
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Moves the stale lock aside atomically; if it belongs to a newer owner by then, moves it back. */
function takeAway(path, judgedText) {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // another process removed it first
  }
  if ((readOwner(aside)?.text ?? '') === judgedText) {
    rmSync(aside, { recursive: true, force: true });
    return;
  }
  try {
    renameSync(aside, path);
  } catch {
    rmSync(aside, { recursive: true, force: true });
  }
}
