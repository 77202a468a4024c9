// Who may see a database file: nobody but the account that runs the server, whatever the umask (ST-13).
// It must never open an existing database: closing any descriptor of it drops the process's locks (fcntl(2), POSIX locks).
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
  'it must be this user’s own, or root’s with access for its group alone (mode 2770, as fsGroup makes it); a new folder inside it would do';
const SIDE_FILES = ['-wal', '-shm', '-journal'] as const;

/**
 * Creates the directory with mode 0700, or takes those rights from one that has more. Idempotent.
 * One that root made is left as it is where only its group may write besides: a Kubernetes volume with fsGroup, root:fsGroup 2770.
 * @throws storage_unavailable when it is a symbolic link, no directory, another account's, or root's and open to others
 */
export function prepareDataDirectory(path: string): void {
  const directory = resolve(path);
  const created = onDisk(directory, () => makeDirectories(directory));
  const stats = onDisk(directory, () => lstatSync(directory));
  const where = { evidence: directory };
  if (stats.isSymbolicLink()) fail('storage_unavailable', 'the data directory is a symbolic link: name what it points to', where);
  if (!stats.isDirectory()) fail('storage_unavailable', 'the data directory is not a directory', where);
  if (isAnothers(stats)) requireGroupVolume(directory, stats);
  else if ((stats.mode & 0o777) !== 0o700) onDisk(directory, () => chmodSync(directory, 0o700));
  if (created !== undefined) onDisk(directory, () => syncDirectory(dirname(created)));
}

/**
 * Takes the rights of group and others from every file and folder of this account that lies in the directory itself: where it is a
 * group's volume, it does not hide them, and at every mount the group is given rights on all of them.
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

/** SECURITY: members of the group may remove and rename what lies there, as root may; nobody else may even look. */
function requireGroupVolume(directory: string, stats: Stats): void {
  const isRoots = stats.uid === 0;
  if (isRoots && (stats.mode & OTHERS) === 0) {
    onDisk(directory, () => accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK));
    return;
  }
  const found = isRoots ? `belongs to root and is open to others (mode ${modeText(stats.mode)})` : 'belongs to another account';
  fail('storage_unavailable', `the data directory ${found}: ${DIRECTORY_RULE}`, { evidence: directory });
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
    if ((error as { code?: string }).code !== 'EEXIST') throw diskError(path, error);
    keepPrivate(path);
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
  for (const suffix of SIDE_FILES) keepPrivate(path + suffix);
}

/** SECURITY: a file that someone else owns or can redirect lets them read, replace or roll back the vault. */
function keepPrivate(path: string): void {
  const stats = onDisk(path, () => lstatSync(path, { throwIfNoEntry: false }));
  if (stats === undefined) return;
  const where = { evidence: path };
  if (stats.isSymbolicLink()) fail('storage_unavailable', 'the database file is a symbolic link', where);
  if (isAnothers(stats)) fail('storage_unavailable', 'the database file belongs to another account', where);
  if (!stats.isFile() || stats.nlink !== 1)
    fail('storage_unavailable', 'the database file is not a plain file with one name', where);
  if ((stats.mode & GROUP_OR_OTHERS) !== 0) onDisk(path, () => chmodSync(path, 0o600));
}

function isAnothers(stats: Stats): boolean {
  const own = process.getuid?.();
  return own !== undefined && stats.uid !== own;
}

/** Each missing part of the path, 0700 whatever the umask; returns the outermost that was made. */
function makeDirectories(directory: string): string | undefined {
  if (existsSync(directory)) return undefined;
  const outermost = makeDirectories(dirname(directory));
  // Not an error when another start made it in between.
  const made = mkdirSync(directory, { recursive: true, mode: 0o700 });
  if (made !== undefined) chmodSync(directory, 0o700);
  return outermost ?? made;
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

function onDisk<T>(path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw diskError(path, error);
  }
}

/** Path and cause are evidence: callers of a tenant hear neither, the operator both. */
function diskError(path: string, error: unknown): KeyturnError {
  const code = (error as { code?: string }).code ?? 'unknown';
  const full = code === 'ENOSPC' || code === 'EDQUOT';
  const detail = full ? 'the disk is full' : 'the data directory cannot be used';
  const why = REASONS[code];
  const evidence = `${path}: ${why === undefined ? code : `${why}, ${code}`}`;
  return new KeyturnError(full ? 'storage_full' : 'storage_unavailable', detail, { evidence, cause: error });
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not go or write there',
  EPERM: 'this user may not change it',
  EROFS: 'the file system is read-only',
  ENOTDIR: 'a part of the path is not a directory',
  EEXIST: 'there is something else of this name',
  ENOENT: 'a part of the path does not exist',
};
