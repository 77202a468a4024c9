// installation.json: identity of the installation, the source of its root key and, during a rotation, the previous root key under the
// present one. Stored beside the databases, so that a wrong root key is detected before a database is opened. It must never hold a secret in
// the clear, nor the present root key under the previous one.
import { readFileSync } from 'node:fs';
import { fail } from '../base/errors.ts';
import type { RootKey } from '../crypto/root-key.ts';
import { RootKeys } from '../crypto/root-keys.ts';

/** How installation.json describes the source of the root key. Not secret. Binary members are base64url. */
export type RootDescriptor =
  | { readonly provider: 'keyfile' }
  | { readonly provider: 'passphrase'; readonly header: string }
  | { readonly provider: 'exec' | 'aws-kms'; readonly wrapped: string }
  | { readonly provider: 'shamir'; readonly set: string; readonly threshold: number };
export type RootProviderName = RootDescriptor['provider'];
export const ROOT_PROVIDERS = [
  'keyfile',
  'passphrase',
  'exec',
  'aws-kms',
  'shamir',
] as const satisfies readonly RootProviderName[];

export interface InstallationFile {
  /** v2: a rotation has begun once, so a build that derives the keys of the installation from the root key must not open it. */
  readonly format: 'keyturn-installation-v1' | 'keyturn-installation-v2';
  readonly installation_id: string;
  /** Commitment to the root key, base64url. */
  readonly root_check: string;
  readonly root: RootDescriptor;
  /** Only during a rotation: the previous root key, sealed under the present one (base64url), and when the rotation began. */
  readonly previous?: { readonly sealed: string; readonly since: string };
}

export function installationText(file: InstallationFile): string {
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** @throws sealed */
export function readInstallation(path: string): InstallationFile {
  try {
    const file = JSON.parse(readFileSync(path, 'utf8')) as InstallationFile;
    const known =
      (file.format === 'keyturn-installation-v1' || file.format === 'keyturn-installation-v2') &&
      typeof file.installation_id === 'string' &&
      typeof file.root_check === 'string' &&
      (file.previous === undefined || typeof file.previous.sealed === 'string');
    if (known && ROOT_PROVIDERS.some((name) => name === file.root?.provider)) return file;
  } catch {
    // falls through to the refusal
  }
  return fail('sealed', 'installation.json is damaged: restore it from a backup');
}

export function newInstallationFile(installationId: string, root: RootKey, descriptor: RootDescriptor): InstallationFile {
  return {
    format: 'keyturn-installation-v1',
    installation_id: installationId,
    root_check: checkOf(installationId, root),
    root: descriptor,
  };
}

/** The file during a rotation to `next`. */
export function turnedFile(
  file: InstallationFile,
  previous: RootKey,
  next: { readonly root: RootKey; readonly descriptor: RootDescriptor },
  since: string,
): InstallationFile {
  const { installation_id } = file;
  return {
    format: 'keyturn-installation-v2',
    installation_id,
    root_check: checkOf(installation_id, next.root),
    root: next.descriptor,
    previous: { sealed: Buffer.from(next.root.sealPrevious(installation_id, previous)).toString('base64url'), since },
  };
}

/** The file after a rotation. */
export function finishedFile({ previous: _previous, ...file }: InstallationFile): InstallationFile {
  return file;
}

export function matchesRoot({ installation_id, root_check }: InstallationFile, root: RootKey): boolean {
  return root.matches(installation_id, Buffer.from(root_check, 'base64url'));
}

/** The root key and, during a rotation, the one before it. @throws integrity */
export function rootKeysOf({ installation_id, previous }: InstallationFile, root: RootKey): RootKeys {
  if (previous === undefined) return RootKeys.of(root);
  return RootKeys.of(root, root.openPrevious(installation_id, Buffer.from(previous.sealed, 'base64url')));
}

function checkOf(installationId: string, root: RootKey): string {
  return Buffer.from(root.rootCheck(installationId)).toString('base64url');
}
