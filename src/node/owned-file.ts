// Whether a file can be changed by nobody but the operator: programs that get secrets, and the lists that name them.
// It must never accept a file that another account could replace, itself or by a folder above it.
import { lstatSync, realpathSync, type Stats } from 'node:fs';
import { dirname } from 'node:path';
import { fail } from '../base/errors.ts';

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
const EXECUTABLE = 0o111;

/**
 * Checks the file at the end of all links, and every folder above it.
 * @param what e.g. `the program of --root-command`; begins the message
 * @returns the path without links, to be used instead of the given one
 * @throws invalid_request
 */
export function requireOwnedFile(path: string, what: string, use: 'read' | 'execute'): string {
  const real = realPathOf(path, what);
  const file = lstatSync(real);
  if (!file.isFile()) refuse(what, 'must be a regular file');
  if (use === 'execute' && (file.mode & EXECUTABLE) === 0) refuse(what, 'must be executable: chmod u+x');
  checkOwner(file, what, 'it');
  for (let folder = dirname(real); ; folder = dirname(folder)) {
    checkOwner(lstatSync(folder), what, 'a folder above it');
    if (folder === dirname(folder)) return real;
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

function checkOwner({ uid, mode }: Stats, what: string, which: string): void {
  // A platform without owners (Windows) has no modes to judge either.
  const self = process.getuid?.();
  if (self === undefined) return;
  if (uid !== 0 && uid !== self) refuse(what, `${which} must belong to root or to the account of the service`);
  const isSticky = (mode & STICKY) !== 0;
  if ((mode & WRITABLE_BY_OTHERS) !== 0 && !isSticky)
    refuse(what, `${which} must not be writable by its group or by others: chmod go-w`);
}

function refuse(what: string, rule: string): never {
  return fail('invalid_request', `${what}: ${rule}`);
}
