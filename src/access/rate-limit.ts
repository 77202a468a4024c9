// Token buckets for callers and sources, in bounded memory. It must never allocate without bound for keys that an attacker invents.
import { LRUCache } from 'lru-cache';
import { fail } from '../base/errors.ts';

export interface RateLimitOptions {
  /** Requests allowed at once after a pause. */
  readonly burst: number;
  readonly perSecond: number;
  /** Buckets kept; beyond that the least recently used one is evicted, and so refilled. */
  readonly maxKeys: number;
}

export interface RateLimitAnswer {
  readonly ok: boolean;
  /** Whole requests left now. */
  readonly remaining: number;
  /** Whole seconds until the next request is allowed; 0 when `ok`. */
  readonly retryAfterSeconds: number;
}

interface Bucket {
  tokens: number;
  filledAtMs: number;
}

/**
 * SECURITY: a source with more than `maxKeys` keys gets fresh buckets by evicting its own; use keys that it cannot invent
 * (principal ids; addresses through `limitedSource` of access/networks.ts).
 */
export class RateLimit {
  readonly #options: RateLimitOptions;
  readonly #buckets: LRUCache<string, Bucket>;

  /** @throws internal when a number is not positive */
  constructor(options: RateLimitOptions) {
    if (!(options.burst >= 1 && options.perSecond > 0 && options.maxKeys >= 1))
      fail('internal', 'burst, perSecond and maxKeys of a rate limit must be positive');
    this.#options = options;
    this.#buckets = new LRUCache({ max: options.maxKeys });
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** Takes one token from the bucket of `key` if it has one. A clock that goes back adds and removes no tokens. O(1). */
  take(key: string, nowMs: number): RateLimitAnswer {
    const bucket = this.#filled(key, nowMs);
    if (bucket.tokens < 1) return this.#refusal(bucket);
    bucket.tokens -= 1;
    return { ok: true, remaining: Math.floor(bucket.tokens), retryAfterSeconds: 0 };
  }

  /** The answer of `take`, without taking: for limits that count failures only. */
  peek(key: string, nowMs: number): RateLimitAnswer {
    if (!this.#buckets.has(key)) return { ok: true, remaining: Math.floor(this.#options.burst), retryAfterSeconds: 0 };
    const bucket = this.#filled(key, nowMs);
    return bucket.tokens < 1 ? this.#refusal(bucket) : { ok: true, remaining: Math.floor(bucket.tokens), retryAfterSeconds: 0 };
  }

  #filled(key: string, nowMs: number): Bucket {
    const { burst, perSecond } = this.#options;
    const known = this.#buckets.get(key);
    if (known === undefined) {
      const fresh = { tokens: burst, filledAtMs: nowMs };
      this.#buckets.set(key, fresh);
      return fresh;
    }
    const elapsedMs = Math.max(0, nowMs - known.filledAtMs);
    known.tokens = Math.min(burst, known.tokens + (elapsedMs * perSecond) / 1_000);
    known.filledAtMs = nowMs;
    return known;
  }

  #refusal(bucket: Bucket): RateLimitAnswer {
    const retryAfterSeconds = Math.max(1, Math.ceil((1 - bucket.tokens) / this.#options.perSecond));
    return { ok: false, remaining: 0, retryAfterSeconds };
  }
}
