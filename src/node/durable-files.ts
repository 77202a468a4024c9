// Writing small files so that they are complete or absent, also after a power failure. It must never follow a name that exists.
import { closeSync, fsyncSync, linkSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fail } from '../base/errors.ts';

/**
 * Renames a complete file, unless the name exists: of two concurrent first starts, only one continues (ST-06).
 * @throws conflict
 */
export function placeOnce(temporary: string, path: string): void {
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

/** Replaces the file, durably. @throws storage_full | storage_unavailable */
export function writeDurably(path: string, content: string | Uint8Array): void {
  const temporary = `${path}.new`;
  rmSync(temporary, { force: true });
  writeWhole(temporary, content);
  renameSync(temporary, path);
  syncDirectoryOf(path);
}

/** Writes the file durably, or removes it. @throws storage_full | storage_unavailable */
export function writeWhole(path: string, content: string | Uint8Array): void {
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

export function syncDirectoryOf(path: string): void {
  const directory = openSync(dirname(path), 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
