// Makes database files private to the account that runs the service, whatever the umask (ST-13).
// It must never open an existing database: closing any descriptor of it releases the locks of the process (fcntl(2), POSIX locks).
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  type Stats,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fail, KeyturnError } from '../base/errors.ts';
import { modeText } from '../base/file-access.ts';

const GROUP_OR_OTHERS = 0o077;
const OTHERS = 0o007;
const DIRECTORY_RULE =
  'it must be owned by this user, or by root with access for the group only (mode 2770, as set by fsGroup); use a new folder inside it';
const SIDE_FILES = ['-wal', '-shm', '-journal'] as const;

/**
 * Creates the directory with mode 0700, or reduces its mode to that. Idempotent.
 * Accepts root's directory unchanged if only its group has access, too: a Kubernetes volume with fsGroup, root:fsGroup 2770.
 * @throws storage_unavailable if it is a symbolic link, not a directory, another account's, or root's with access for others
 */
export function prepareDataDirectory(path: string): void {
  const directory = resolve(path);
  const created = onDisk(directory, () => makeDirectories(directory));
  const stats = onDisk(directory, () => lstatSync(directory));
  const where = { evidence: directory };
  if (stats.isSymbolicLink())
    fail('storage_unavailable', 'the data directory is a symbolic link: give the directory that it points to', where);
  if (!stats.isDirectory()) fail('storage_unavailable', 'the data directory is not a directory', where);
  if (isAnothers(stats)) requireGroupVolume(directory, stats);
  else if ((stats.mode & 0o777) !== 0o700) onDisk(directory, () => chmodSync(directory, 0o700));
  if (created !== undefined) onDisk(directory, () => syncDirectory(dirname(created)));
}

/**
 * Removes the access of group and others from this account's files and folders in the directory. On a volume with fsGroup the group gets
 * access to all of them at every mount.
 */
export function keepContentPrivate(path: string): void {
  for (const entry of onDisk(path, () => readdirSync(path, { withFileTypes: true }))) {
    if (!entry.isFile() && !entry.isDirectory()) continue;
    const inside = join(path, entry.name);
    const stats = lstatSync(inside, { throwIfNoEntry: false });
    if (stats === undefined || isAnothers(stats) || (stats.mode & GROUP_OR_OTHERS) === 0) continue;
    onDisk(inside, () => chmodSync(inside, entry.isFile() ? 0o600 : 0o700));
  }
}

/** SECURITY: the group can remove and rename files there, as root can; other users must have no access at all. */
function requireGroupVolume(directory: string, stats: Stats): void {
  const isRoots = stats.uid === 0;
  if (isRoots && (stats.mode & OTHERS) === 0) {
    onDisk(directory, () => accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK));
    return;
  }
  const found = isRoots
    ? `is owned by root and accessible to others (mode ${modeText(stats.mode)})`
    : 'is owned by another account';
  fail('storage_unavailable', `the data directory ${found}: ${DIRECTORY_RULE}`, { evidence: directory });
}

/**
 * Creates the database file with mode 0600, or sets that mode for it and SQLite's side files. SQLite creates side files with the mode
 * of the database. Idempotent.
 * @throws storage_unavailable if one of them is a symbolic link, has a second name, or is owned by another account
 */
export function preparePrivateFile(path: string): void {
  // SECURITY: with O_EXCL and O_NOFOLLOW, a planted symbolic link is neither followed nor truncated.
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR | constants.O_NOFOLLOW;
  let descriptor: number | undefined;
  try {
    descriptor = openSync(path, flags, 0o600);
    fchmodSync(descriptor, 0o600);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw diskError(path, error);
    keepPrivate(path);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  for (const suffix of SIDE_FILES) keepPrivate(path + suffix);
}

/** SECURITY: another user who owns or redirects a file could read, replace or roll back the vault. */
function keepPrivate(path: string): void {
  const stats = onDisk(path, () => lstatSync(path, { throwIfNoEntry: false }));
  if (stats === undefined) return;
  const where = { evidence: path };
  if (stats.isSymbolicLink()) fail('storage_unavailable', 'the database file must not be a symbolic link', where);
  if (isAnothers(stats))
    fail('storage_unavailable', 'the database file is owned by another account: it must be owned by this user', where);
  if (!stats.isFile() || stats.nlink !== 1)
    fail('storage_unavailable', 'the database file must be a regular file with one name', where);
  if ((stats.mode & GROUP_OR_OTHERS) !== 0) onDisk(path, () => chmodSync(path, 0o600));
}

function isAnothers(stats: Stats): boolean {
  const own = process.getuid?.();
  return own !== undefined && stats.uid !== own;
}

/** Creates each missing directory of the path with mode 0700, whatever the umask; returns the outermost new one. */
function makeDirectories(directory: string): string | undefined {
  if (existsSync(directory)) return undefined;
  const outermost = makeDirectories(dirname(directory));
  // Another start may have created it in the meantime.
  const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (made !== undefined) chmodSync(directory, 0o700);
  return outermost ?? made;
}

/** Without this, a power failure right after the first start may lose the new directory. */
function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function onDisk<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw diskError(path, error);
  }
}

/** Path and cause are evidence for the operator and are never sent to a caller. */
function diskError(path: string, error: unknown): KeyturnError {
  const code = (error as { code?: string }).code ?? 'unknown';
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const detail = full ? 'the disk is full' : 'the data directory cannot be used';
  const why = REASONS[code];
  const evidence = `${path}: ${why === undefined ? code : `${why}, ${code}`}`;
  return new KeyturnError(full ? 'storage_full' : 'storage_unavailable', detail, { evidence, cause: error });
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user has no access',
  EPERM: 'this user must not change it',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'a part of the path is not a directory',
  EEXIST: 'another object has this name',
  ENOENT: 'a part of the path does not exist',
};
