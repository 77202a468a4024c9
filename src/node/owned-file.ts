// Whether a file can be changed by nobody but the operator: programs that get secrets, and the lists that name them.
// It must never accept a file that another account could replace, itself or by a folder above it.
import { lstatSync, readlinkSync, realpathSync, type Stats } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { fail } from '../base/errors.ts';

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
const EXECUTABLE = 0o111;

/**
 * Checks the file at the end of all links, and every link and folder on the way to it.
 * @param what e.g. `the program of --root-command`; begins the message
 * @returns the path without links, to be used instead of the given one
 * @throws invalid_request
 */
export function requireOwnedFile(path: string, what: string, use: 'read' | 'execute'): string {
  const real = realPathOf(path, what);
  const file = lstatSync(real);
  if (!file.isFile()) refuse(what, 'must be a regular file');
  if (use === 'execute' && (file.mode & EXECUTABLE) === 0) refuse(what, 'must be executable: chmod u+x');
  // A platform without owners (Windows) has no modes to judge either.
  if (process.getuid !== undefined) checkWay(isAbsolute(path) ? path : `${process.cwd()}/${path}`, what);
  return real;
}

/** Follows the path as the system does: who owns a link, or may write its folder, determines where it leads. */
function checkWay(path: string, what: string): void {
  let at = '/';
  const names = path.split('/');
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    const next = join(at, name);
    const stats = lstatSync(next);
    checkOwner(stats, what, stats.isFile() ? 'it' : stats.isDirectory() ? 'a folder above it' : 'a link on the way to it');
    if (!stats.isSymbolicLink()) at = next;
    else {
      const target = readlinkSync(next);
      if (isAbsolute(target)) at = '/';
      names.unshift(...target.split('/'));
    }
  }
}

function realPathOf(path: string, what: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    const { code = 'unknown error' } = error as NodeJS.ErrnoException;
    return refuse(what, `cannot be opened (${code}): check the path`);
  }
}

function checkOwner(stats: Stats, what: string, which: string): void {
  const { uid, mode } = stats;
  if (uid !== 0 && uid !== process.getuid?.()) refuse(what, `${which} must belong to root or to the account of the service`);
  // In a sticky folder nobody replaces what belongs to another account. The mode of a link has no effect.
  const isProtected = stats.isSymbolicLink() || (stats.isDirectory() && (mode & STICKY) !== 0);
  if ((mode & WRITABLE_BY_OTHERS) !== 0 && !isProtected)
    refuse(what, `${which} must not be writable by its group or by others: chmod go-w`);
}

function refuse(what: string, rule: string): never {
  return fail('invalid_request', `${what}: ${rule}`);
}
