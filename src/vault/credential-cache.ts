// A cache of recently read credentials: their checked rows and derived data keys, never a plaintext. Bounded in number and age, dropped
// at every write to the credential and at every rollback.

import { LRUCache } from 'lru-cache';
import type { Found } from '../access/guard.ts';
import { growingTo } from '../base/growing-to.ts';
import { LIMITS } from '../base/limits.ts';
import type { CredentialRow, EnvironmentRow } from '../cell/credentials.ts';
import type { PreparedOpen } from '../crypto/envelope.ts';

export interface OpenedCredential {
  readonly environment: EnvironmentRow;
  readonly row: CredentialRow;
  /** The members of the answer before `value`, encoded. */
  readonly head: Uint8Array;
  readonly prepared: PreparedOpen;
  readonly expiresAtMs: number;
}

/** An entry in the form that the door needs. */
export type CachedCredential = Found<OpenedCredential> & { readonly subject: OpenedCredential };

export class CredentialCache {
  readonly #entries = new LRUCache<string, CachedCredential>(growingTo(LIMITS.credentialCacheEntries));

  find(environment: string, name: string, nowMs: number): CachedCredential | undefined {
    const key = `${environment}/${name}`;
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    // A remaining life above the maximum means that the entry was added while the clock was ahead.
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
