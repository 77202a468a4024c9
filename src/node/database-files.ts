// Who may see a database file: nobody but the account that runs the server, whatever the umask (ST-13).
// It must never open an existing database: closing any descriptor of it drops the process's locks (fcntl(2), POSIX locks).
import { chmodSync, closeSync, constants, fchmodSync, fsyncSync, lstatSync, mkdirSync, openSync, type Stats } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { fail, KeyturnError } from '../base/errors.ts';

const GROUP_OR_OTHERS = 0o077;
const SIDE_FILES = ['-wal', '-shm', '-journal'] as const;

/**
 * Creates the directory with mode 0700, or takes those rights from one that has more. Idempotent.
 * @throws storage_unavailable when it is a symbolic link, no directory, or belongs to another account
 */
export function prepareDataDirectory(path: string): void {
  const directory = resolve(path);
  const created = onDisk(() => mkdirSync(directory, { recursive: true, mode: 0o700 }));
  const stats = requireOwn(directory, 'the data directory');
  if (!stats.isDirectory()) fail('storage_unavailable', 'the data directory is not a directory');
  if ((stats.mode & 0o777) !== 0o700) onDisk(() => chmodSync(directory, 0o700));
  if (created !== undefined) onDisk(() => syncDirectory(dirname(created)));
}

/**
 * Makes sure an empty or existing database file, and what SQLite keeps beside it, has mode 0600; SQLite gives new side files
 * the mode of the database. Idempotent.
 * @throws storage_unavailable when one of them is a symbolic link, has a second name, or belongs to another account
 */
export function preparePrivateFile(path: string): void {
  // SECURITY: O_EXCL and O_NOFOLLOW together: a link planted under the name is neither followed nor truncated.
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | constants.O_NOFOLLOW;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, flags, 0o600);
    fchmodSync(descriptor, 0o600);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw diskError(error);
    keepPrivate(path);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  for (const suffix of SIDE_FILES) keepPrivate(path + suffix);
}

function keepPrivate(path: string): void {
  if (onDisk(() => lstatSync(path, { throwIfNoEntry: false })) === undefined) return;
  const stats = requireOwn(path, 'the database file');
  if (!stats.isFile() || stats.nlink !== 1) fail('storage_unavailable', 'the database file is not a plain file with one name');
  if ((stats.mode & GROUP_OR_OTHERS) !== 0) onDisk(() => chmodSync(path, 0o600));
}

/** SECURITY: a directory or file that someone else owns or can redirect lets them read, replace or roll back the vault. */
function requireOwn(path: string, what: string): Stats {
  const stats = onDisk(() => lstatSync(path));
  if (stats.isSymbolicLink()) fail('storage_unavailable', `${what} is a symbolic link`);
  const own = process.getuid?.();
  if (own !== undefined && stats.uid !== own) fail('storage_unavailable', `${what} belongs to another account`);
  return stats;
}

/** Without this a power cut right after the first start may take the new directory with it. */
function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function onDisk<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw diskError(error);
  }
}

function diskError(error: unknown): KeyturnError {
  const code = (error as { code?: string }).code;
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const detail = full ? 'the disk is full' : 'the data directory cannot be used';
  return new KeyturnError(full ? 'storage_full' : 'storage_unavailable', detail, { evidence: code ?? 'unknown', cause: error });
}
