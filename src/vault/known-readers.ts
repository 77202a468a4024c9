// Reads that are stored already, so that most reads write nothing: which version each reader of a credential received last. Bounded;
// dropped when a batch is rolled back.
import { LRUCache } from 'lru-cache';
import { growingTo } from '../base/growing-to.ts';
import { LIMITS } from '../base/limits.ts';

interface Known {
  readonly version: number;
  readonly seenAt: number;
}

export class KnownReaders {
  readonly #entries = new LRUCache<string, Known>(growingTo(LIMITS.knownReadersEntries));

  /** Whether the stored row says that the reader received this version, not long ago. */
  has(credentialId: string, principalId: string, version: number, nowMs: number): boolean {
    const known = this.#entries.get(`${credentialId} ${principalId}`);
    // The absolute difference, because the clock may have been set back since.
    return known !== undefined && known.version === version && Math.abs(nowMs - known.seenAt) < LIMITS.readerSeenEveryMs;
  }

  keep(credentialId: string, principalId: string, known: Known): void {
    this.#entries.set(`${credentialId} ${principalId}`, known);
  }

  clear(): void {
    this.#entries.clear();
  }
}
