// The data directory on Node: its layout, the installation's identity, root key and witness files.
// It must never open a database before the root key is verified, nor create a new root key for an existing installation.
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Witness } from '../audit/audit-log.ts';
import type { Entropy } from '../base/clock.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { LIMITS } from '../base/limits.ts';
import type { SecretValue } from '../base/secret-value.ts';
import { RootKeys } from '../crypto/root-keys.ts';
import { keepContentPrivate, prepareDataDirectory } from './database-files.ts';
import { placeOnce, writeDurably, writeWhole } from './durable-files.ts';
import {
  type InstallationFile,
  installationText,
  matchesRoot,
  newInstallationFile,
  readInstallation,
  rootKeysOf,
} from './installation-file.ts';
import type { RootProvider } from './root-provider.ts';
import { providerFor, type RootSources } from './root-providers.ts';

const TENANT_ID = /^ten_[0-9a-z]{24}$/;

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
  readonly root: RootKeys;
  /** True if this start created it. */
  readonly created: boolean;
  readonly notes: readonly string[];
  readonly file: InstallationFile;
  /** The source of the root key; to be settled by the process that has locked the directory. */
  readonly provider: RootProvider;
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
 * @throws sealed if the root key is missing, wrong, exposed or comes from another source than the options name; nothing is written then
 */
export async function openInstallation(paths: DataPaths, entropy: Entropy, sources: RootSources): Promise<OpenInstallation> {
  const beside = existsSync(paths.register) || existsSync(dirname(paths.tenant('')));
  if (existsSync(paths.installation)) {
    // SECURITY: a new empty home cell in place of a lost one would issue a new bootstrap secret and lose every tenant.
    if (beside && !existsSync(paths.home)) fail('sealed', `home.db is missing in ${paths.directory}: restore it from a backup`);
    return reopen(paths, sources);
  }
  if (beside || existsSync(paths.home)) {
    fail(
      'sealed',
      `${paths.directory} contains a database but no installation.json: restore that file, or use another directory`,
    );
  }
  return install(paths, entropy, sources);
}

async function install(paths: DataPaths, entropy: Entropy, sources: RootSources): Promise<OpenInstallation> {
  const provider = sources.given[0] ?? fail('internal', 'there is no source of the root key');
  if (provider.name !== 'keyfile' && existsSync(paths.keyfile)) {
    const advice = `remove it if no installation uses it, or start without ${provider.options}`;
    fail('sealed', `${paths.keyfile} holds a root key although ${provider.described} is given: ${advice}`);
  }
  prepareDataDirectory(paths.directory);
  const installationId = newId('installation', entropy);
  const { root, descriptor } = await provider.first(installationId);
  const file = newInstallationFile(installationId, root, descriptor);
  const temporary = `${paths.installation}.${newId('installation', entropy)}`;
  writeWhole(temporary, installationText(file));
  placeOnce(temporary, paths.installation);
  return { installationId, root: RootKeys.of(root), created: true, notes: notesOf(paths, file), file, provider };
}

async function reopen(paths: DataPaths, sources: RootSources): Promise<OpenInstallation> {
  const file = readInstallation(paths.installation);
  const provider = providerFor(sources, file.root.provider, paths.keyfile);
  const root = await provider.open(file.root, file.installation_id, (one) => matchesRoot(file, one));
  if (!matchesRoot(file, root))
    fail('sealed', `the root key does not belong to the installation in ${paths.directory}; nothing was changed`);
  keepContentPrivate(paths.directory);
  return {
    installationId: file.installation_id,
    root: rootKeysOf(file, root),
    created: false,
    notes: notesOf(paths, file),
    file,
    provider,
  };
}

/** The notices about the root key, until a start has shown them. A start that failed after creating the key has not. */
function notesOf(paths: DataPaths, { root }: InstallationFile): string[] {
  if (root.provider !== 'keyfile' || shownAt(paths).root_key_note !== undefined) return [];
  return [
    `A root key was created in ${paths.keyfile} (0600). With it and the data, everything can be read; without it, nothing can.`,
    'Keep a copy offline. For production store it on another volume (--root-key-file) or use a passphrase (--passphrase-file).',
  ];
}

/** @throws invalid_request for the id of a cell that does not exist: the operator would believe that the option had an effect */
export function refuseUnknownCells(paths: DataPaths, cellIds: readonly string[]): void {
  const installed = existsSync(paths.installation) ? readInstallation(paths.installation) : undefined;
  for (const id of cellIds) {
    const isCell = id === installed?.installation_id || (TENANT_ID.test(id) && existsSync(paths.tenant(id)));
    if (!isCell)
      fail(
        'invalid_request',
        'the option --accept-missing-witness names a cell that is not in the data directory: give the id from the refusal',
      );
  }
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
