// Recently read credentials: their checked rows and derived data keys, never a plaintext. Bounded in number and age,
// dropped on every write to the credential and whenever a batch is undone.

import { LRUCache } from 'lru-cache';
import type { Found } from '../access/guard.ts';
import { growingTo } from '../base/growing-to.ts';
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import type { PreparedOpen } from '../crypto/envelope.ts';

export interface OpenedCredential {
  readonly environment: EnvironmentRow;
  readonly row: CredentialRow;
  /** The members of the answer before `value`, ready as bytes. */
  readonly head: Uint8Array;
  readonly prepared: PreparedOpen;
  readonly expiresAtMs: number;
}

/** Just as the door asks for it. */
export type CachedCredential = Found<OpenedCredential> & { readonly subject: OpenedCredential };

export class CredentialCache {
  readonly #entries = new LRUCache<string, CachedCredential>(growingTo(LIMITS.credentialCacheEntries));

  find(environment: string, name: string, nowMs: number): CachedCredential | undefined {
    const key = `${environment}/${name}`;
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    // One that lives longer than any was kept by a clock that was ahead.
    const leftMs = entry.subject.expiresAtMs - nowMs;
    if (leftMs > 0 && leftMs <= LIMITS.dataKeyCacheTtlMs) return entry;
    this.#entries.delete(key);
    return undefined;
  }

  keep(entry: CachedCredential): void {
    const { environment, row } = entry.subject;
    this.#entries.set(`${environment.name}/${row.name}`, entry);
  }

  forget(environment: string, name: string): void {
    this.#entries.delete(`${environment}/${name}`);
  }

  clear(): void {
    this.#entries.clear();
  }
}
