// Recently read credentials: their checked rows and derived data keys, never a plaintext. Bounded in number and age,
// dropped on every write to the credential and whenever a batch is undone.

import { LRUCache } from 'lru-cache';
import { growingTo } from '../base/growing-to.ts';
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import type { PreparedOpen } from '../crypto/envelope.ts';

export interface CachedCredential {
  readonly environment: EnvironmentRow;
  readonly row: CredentialRow;
  /** The members of the answer before `value`, ready as bytes. */
  readonly head: Uint8Array;
  readonly prepared: PreparedOpen;
  readonly expiresAtMs: number;
}

export class CredentialCache {
  readonly #entries = new LRUCache<string, CachedCredential>(growingTo(LIMITS.credentialCacheEntries));

  find(environment: string, name: string, nowMs: number): CachedCredential | undefined {
    const key = `${environment}/${name}`;
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.expiresAtMs > nowMs) return entry;
    this.#entries.delete(key);
    return undefined;
  }

  keep(entry: CachedCredential): void {
    this.#entries.set(`${entry.environment.name}/${entry.row.name}`, entry);
  }

  forget(environment: string, name: string): void {
    this.#entries.delete(`${environment}/${name}`);
  }

  clear(): void {
    this.#entries.clear();
  }
}
