// The lock around `npm ci`: a directory holding its owner's host and process ids, so that a dead owner is seen as dead.
// It must never wait for ever: an owner that shows no life is replaced.
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LaunchError } from './launch-node.mjs';

const LOCK = '.keyturn-install.lock';
const POLL_MS = 200;
const HEARTBEAT_MS = 5_000;
const UNNAMED_STALE_MS = 5_000; // made, but its owner died before it wrote its name
const ELSEWHERE_STALE_MS = 60_000; // another host or container: only its heartbeat can be seen
const HERE_STALE_MS = 15 * 60_000; // a living process id may by now belong to something else

/** Waits for the lock; `alsoHeldBy(pid)` keeps it held while that child lives, `release()` gives it back. */
export async function acquireInstallLock(root) {
  const path = join(root, LOCK);
  for (let told = false; ; ) {
    const owner = `${hostname()} ${process.pid}`;
    if (tryToMake(path, owner)) return holdLock(path, owner);
    const judged = readOwner(path);
    if (judged !== undefined && isDead(judged)) {
      takeAway(path, judged.text);
      continue;
    }
    if (!told) console.error('keyturn: another start is installing the dependencies; waiting for it ...');
    told = true;
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
    throw new LaunchError(`dependencies are missing and cannot be installed here: ${path} cannot be written (${error.code})`);
  }
}

function holdLock(path, owner) {
  const file = join(path, 'owner');
  const heartbeat = setInterval(() => {
    const now = new Date();
    try {
      utimesSync(file, now, now);
    } catch {
      // taken away by hand: the install goes on
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

/** Undefined when there is no lock any more. */
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

/** Moves the dead lock aside in one step; when it turns out to be a newer owner's, it is put back. */
function takeAway(path, judgedText) {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // another start was faster
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
