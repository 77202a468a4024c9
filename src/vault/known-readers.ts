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

  /** When the stored row says that the reader received this version, if that is not long ago. */
  seenAt(credentialId: string, principalId: string, version: number, nowMs: number): number | undefined {
    const known = this.#entries.get(`${credentialId} ${principalId}`);
    // The absolute difference, because the clock may have been set back since.
    const isKnown = known !== undefined && known.version === version && Math.abs(nowMs - known.seenAt) < LIMITS.readerSeenEveryMs;
    return isKnown ? known.seenAt : undefined;
  }

  keep(credentialId: string, principalId: string, known: Known): void {
    this.#entries.set(`${credentialId} ${principalId}`, known);
  }

  clear(): void {
    this.#entries.clear();
  }
}
