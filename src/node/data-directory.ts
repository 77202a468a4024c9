// The data directory on Node: its layout, the installation's identity, root key and witness files.
// It must never open a database before the root key is verified, nor create a new root key for an existing installation.
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Witness } from '../audit/audit-log.ts';
import type { Entropy } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import { exposureOf, SECRET_FILE_RULE } from '../base/file-access.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import { SecretValue } from '../base/secret-value.ts';
import type { RootKey } from '../crypto/root-key.ts';
import { keepContentPrivate, prepareDataDirectory } from './database-files.ts';
import { createKeyfile, createPassphraseHeader, openPassphrase, readKeyfile } from './root-key-file.ts';

const TENANT_ID = /^ten_[0-9a-z]{24}$/;

/** Stored beside the databases, to detect a wrong root key before a database is opened. Not secret. */
interface InstallationFile {
  readonly format: 'keyturn-installation-v1';
  readonly installation_id: string;
  /** Commitment to the root key, base64url. */
  readonly root_check: string;
  /** The source of the root key: a keyfile, or a passphrase with this header. */
  readonly root: { readonly provider: 'keyfile' } | { readonly provider: 'passphrase'; readonly header: string };
}

export interface DataPaths {
  readonly directory: string;
  readonly home: string;
  readonly register: string;
  readonly installation: string;
  readonly keyfile: string;
  /** The operator named it; else it is the one in the directory. */
  readonly keyfileIsNamed: boolean;
  readonly bootstrapSecret: string;
  /** Records which notices a start has shown. */
  readonly shown: string;
  tenant(id: string): string;
  witness(cellId: string): string;
}

export interface OpenInstallation {
  readonly installationId: string;
  readonly root: RootKey;
  /** True if this start created it. */
  readonly created: boolean;
  readonly notes: readonly string[];
}

export function dataPaths(directory: string, keyfile?: string, witnessDirectory?: string): DataPaths {
  const witnesses = witnessDirectory ?? join(directory, 'witness');
  return {
    directory,
    home: join(directory, 'home.db'),
    // Separate from the cells, so that a backup of the cells does not contain it (D12).
    register: join(directory, 'register', 'register.db'),
    installation: join(directory, 'installation.json'),
    keyfile: keyfile ?? join(directory, 'root.key'),
    keyfileIsNamed: keyfile !== undefined,
    bootstrapSecret: join(directory, 'bootstrap-secret'),
    shown: join(directory, 'shown.json'),
    tenant: (id) => join(directory, 'tenants', `${id}.db`),
    witness: (cellId) => join(witnesses, `${cellId}.checkpoint`),
  };
}

/**
 * Opens or creates the installation and its root key.
 * @throws sealed if the root key is missing, wrong, exposed or comes from another source than the options name; invalid_request if they
 * name two sources; nothing is written then
 */
export function openInstallation(paths: DataPaths, entropy: Entropy, passphrase: SecretValue | undefined): OpenInstallation {
  if (passphrase !== undefined && paths.keyfileIsNamed)
    fail(
      'invalid_request',
      'the root key comes from a keyfile or from a passphrase: give --root-key-file or --passphrase-file, not both',
    );
  const beside = existsSync(paths.register) || existsSync(dirname(paths.tenant('')));
  if (existsSync(paths.installation)) {
    // SECURITY: a new empty home cell in place of a lost one would issue a new bootstrap secret and lose every tenant.
    if (beside && !existsSync(paths.home)) fail('sealed', `home.db is missing in ${paths.directory}: restore it from a backup`);
    return reopen(paths, passphrase);
  }
  if (beside || existsSync(paths.home)) {
    fail(
      'sealed',
      `${paths.directory} contains a database but no installation.json: restore that file, or use another directory`,
    );
  }
  return install(paths, entropy, passphrase);
}

function install(paths: DataPaths, entropy: Entropy, passphrase: SecretValue | undefined): OpenInstallation {
  if (passphrase !== undefined && existsSync(paths.keyfile)) {
    const advice = 'remove it if no installation uses it, or start without --passphrase-file';
    fail('sealed', `${paths.keyfile} holds a root key although a passphrase is given: ${advice}`);
  }
  prepareDataDirectory(paths.directory);
  const installationId = newId('installation', entropy);
  let root: RootKey;
  let provider: InstallationFile['root'];
  if (passphrase !== undefined) {
    const made = createPassphraseHeader(passphrase);
    root = made.root;
    provider = { provider: 'passphrase', header: made.header };
  } else {
    root = existsSync(paths.keyfile) ? readKeyfile(paths.keyfile) : makeKeyfile(paths.keyfile, entropy);
    provider = { provider: 'keyfile' };
  }
  const check = Buffer.from(root.rootCheck(installationId)).toString('base64url');
  const file: InstallationFile = {
    format: 'keyturn-installation-v1',
    installation_id: installationId,
    root_check: check,
    root: provider,
  };
  const temporary = `${paths.installation}.${newId('installation', entropy)}`;
  writeWhole(temporary, `${JSON.stringify(file, null, 2)}\n`);
  placeOnce(temporary, paths.installation);
  return { installationId, root, created: true, notes: notesOf(paths, file) };
}

/** Complete or absent: a full disk must not leave a partial keyfile that every later start refuses. */
function makeKeyfile(path: string, entropy: Entropy): RootKey {
  const temporary = `${path}.${newId('key', entropy)}`;
  try {
    const root = createKeyfile(temporary);
    placeOnce(temporary, path);
    return root;
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/**
 * Renames a complete file, unless the name exists: of two concurrent first starts, only one continues (ST-06).
 * @throws conflict
 */
function placeOnce(temporary: string, path: string): void {
  try {
    linkSync(temporary, path);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EEXIST') throw error;
    fail('conflict', 'another process is creating this installation: start again when it has finished');
  } finally {
    rmSync(temporary, { force: true });
  }
  syncDirectoryOf(path);
}

function reopen(paths: DataPaths, passphrase: SecretValue | undefined): OpenInstallation {
  const file = parseInstallation(readFileSync(paths.installation, 'utf8'));
  const root = rootOf(file, paths, passphrase);
  if (!root.matches(file.installation_id, Buffer.from(file.root_check, 'base64url'))) {
    fail('sealed', `the root key does not belong to the installation in ${paths.directory}; nothing was changed`);
  }
  keepContentPrivate(paths.directory);
  return { installationId: file.installation_id, root, created: false, notes: notesOf(paths, file) };
}

/** The notices about the root key, until a start has shown them. A start that failed after creating the key has not. */
function notesOf(paths: DataPaths, { root }: InstallationFile): string[] {
  if (root.provider !== 'keyfile' || shownAt(paths).root_key_note !== undefined) return [];
  return [
    `A root key was created in ${paths.keyfile} (0600). With it and the data, everything can be read; without it, nothing can.`,
    'Keep a copy offline. For production store it on another volume (--root-key-file) or use a passphrase (--passphrase-file).',
  ];
}

function rootOf(file: InstallationFile, paths: DataPaths, passphrase: SecretValue | undefined): RootKey {
  // SECURITY: an option that is silently not used would let the operator believe that the key is elsewhere.
  if (file.root.provider === 'keyfile') {
    if (passphrase !== undefined)
      fail(
        'sealed',
        `this installation opens with the keyfile ${paths.keyfile}, not with a passphrase: start without --passphrase-file`,
      );
    return readKeyfile(paths.keyfile);
  }
  if (paths.keyfileIsNamed)
    fail(
      'sealed',
      'this installation opens with its passphrase, not with a keyfile: give --passphrase-file instead of --root-key-file',
    );
  if (passphrase === undefined) fail('sealed', 'this installation needs its passphrase (--passphrase-file)');
  return openPassphrase(file.root.header, passphrase);
}

function parseInstallation(text: string): InstallationFile {
  try {
    const file = JSON.parse(text) as InstallationFile;
    const known =
      file.format === 'keyturn-installation-v1' &&
      typeof file.installation_id === 'string' &&
      typeof file.root_check === 'string';
    if (known && (file.root?.provider === 'keyfile' || file.root?.provider === 'passphrase')) return file;
  } catch {
    // falls through to the refusal
  }
  return fail('sealed', 'installation.json is damaged: restore it from a backup');
}

/** @throws invalid_request for the id of a cell that does not exist: the operator would believe that the option had an effect */
export function refuseUnknownCells(paths: DataPaths, cellIds: readonly string[]): void {
  const installed = existsSync(paths.installation) ? parseInstallation(readFileSync(paths.installation, 'utf8')) : undefined;
  for (const id of cellIds) {
    const isCell = id === installed?.installation_id || (TENANT_ID.test(id) && existsSync(paths.tenant(id)));
    if (!isCell)
      fail(
        'invalid_request',
        'the option --accept-missing-witness names a cell that is not in the data directory: give the id from the refusal',
      );
  }
}

/** The file's text, without a trailing newline. @throws sealed if it cannot be read or other users have access to it */
export function readPassphrase(path: string): SecretValue {
  let file: number | undefined;
  let exposure: string | undefined;
  let passphrase: SecretValue;
  try {
    file = openSync(path, 'r');
    // SECURITY: checks the open file, not the path, so that the file cannot be exchanged in between. A pipe stores nothing.
    const stats = fstatSync(file);
    exposure = stats.isFile() ? exposureOf(stats, process.getuid?.()) : undefined;
    passphrase = SecretValue.fromText(readFileSync(file, 'utf8').replace(/\r?\n$/, ''));
  } catch (error) {
    const evidence = `${path}: ${(error as { code?: string }).code ?? 'unknown'}`;
    return fail('sealed', 'the passphrase file cannot be read', { evidence, cause: error });
  } finally {
    if (file !== undefined) closeSync(file);
  }
  if (exposure !== undefined) fail('sealed', `the passphrase file ${exposure}: ${SECRET_FILE_RULE}`, { evidence: path });
  return passphrase;
}

/** Notices that are shown once, by the first successful start. */
export type Showing = 'root_key_note' | 'tour';

/** When each notice was shown; empty if the file is damaged, so that all are shown again. */
export function shownAt(paths: DataPaths): Partial<Record<Showing, string>> {
  try {
    const { root_key_note, tour } = JSON.parse(readFileSync(paths.shown, 'utf8')) as Partial<Record<Showing, string>>;
    return { ...(root_key_note === undefined ? {} : { root_key_note }), ...(tour === undefined ? {} : { tour }) };
  } catch {
    return {};
  }
}

/** Idempotent. @throws storage_full | storage_unavailable */
export function markShown(paths: DataPaths, what: Showing, at: string): void {
  const before = shownAt(paths);
  if (before[what] === undefined) writeDurably(paths.shown, `${JSON.stringify({ ...before, [what]: at }, null, 2)}\n`);
}

/** Writes the secret as one line to a 0600 file, durably. */
export function writeBootstrapSecret(paths: DataPaths, secret: SecretValue): void {
  secret.reveal((bytes) => writeDurably(paths.bootstrapSecret, Buffer.concat([bytes, Buffer.from('\n')])));
}

export function removeBootstrapSecret(paths: DataPaths): void {
  rmSync(paths.bootstrapSecret, { force: true });
}

function writeDurably(path: string, content: string | Uint8Array): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeWhole(temporary, content);
  renameSync(temporary, path);
  syncDirectoryOf(path);
}

/** Writes the file durably, or removes it. @throws storage_full | storage_unavailable */
function writeWhole(path: string, content: string | Uint8Array): void {
  try {
    const file = openSync(path, 'wx', 0o600);
    try {
      writeFileSync(file, content);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  } catch (error) {
    rmSync(path, { force: true });
    const code = (error as { code?: string }).code ?? 'unknown';
    const full = code === 'ENOSPC' || code === 'EDQUOT';
    const detail = full ? 'the disk is full' : 'the data directory is not writable';
    fail(full ? 'storage_full' : 'storage_unavailable', detail, { evidence: `${path}: ${code}`, cause: error });
  }
}

function syncDirectoryOf(path: string): void {
  const directory = openSync(dirname(path), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

/**
 * Stores the newest signed head of each cell in one file each, replaced atomically. Most heads are not flushed to the disk, so a power cut can leave
 * the file empty: then the last flushed head, in a second file, is the witness. A file that is missing is never replaced by the second one.
 */
export function fileWitness(
  paths: DataPaths,
  onFailure: (cellId: string) => void,
): Witness & { latest(cellId: string): string | undefined } {
  const made = new Set<string>();
  const flushedAtMs = new Map<string, number>();
  return {
    publish(cellId, note, urgent = false) {
      const path = paths.witness(cellId);
      try {
        const directory = dirname(path);
        if (!made.has(directory)) mkdirSync(directory, { recursive: true, mode: 0o700 });
        made.add(directory);
        const ranMs = performance.now();
        if (urgent || ranMs - (flushedAtMs.get(cellId) ?? Number.NEGATIVE_INFINITY) >= LIMITS.witnessFlushEveryMs) {
          writeDurably(flushed(path), note);
          writeDurably(path, note);
          flushedAtMs.set(cellId, ranMs);
        } else {
          writeFileSync(`${path}.new`, note, { mode: 0o600 });
          renameSync(`${path}.new`, path);
        }
        return true;
      } catch {
        // SECURITY: a failed witness delays the detection of tampering but must not stop the service; the operator is notified (AU-01).
        onFailure(cellId);
        return false;
      }
    },
    latest(cellId) {
      const path = paths.witness(cellId);
      if (!existsSync(path)) return undefined;
      const note = readFileSync(path, 'utf8');
      return note === '' && existsSync(flushed(path)) ? readFileSync(flushed(path), 'utf8') : note;
    },
  };
}

function flushed(path: string): string {
  return `${path}.flushed`;
}
