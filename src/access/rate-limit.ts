// Token buckets for callers and sources, in memory of a fixed size. It must never allocate without bound for names an attacker makes
// up, and it knows nothing of what it limits.
import { LRUCache } from 'lru-cache';
import { fail } from '../base/errors.ts';

export interface RateLimitOptions {
  /** How many may come at once after a pause. */
  readonly burst: number;
  readonly perSecond: number;
  /** Buckets kept; the least recently used one is forgotten (and so refilled) beyond that. */
  readonly maxKeys: number;
}

export interface RateLimitAnswer {
  readonly ok: boolean;
  /** Whole requests left now. */
  readonly remaining: number;
  /** Whole seconds until one is allowed; 0 when `ok`. */
  readonly retryAfterSeconds: number;
}

interface Bucket {
  tokens: number;
  filledAtMs: number;
}

/**
 * SECURITY: a source that can use more than `maxKeys` names gets fresh buckets by evicting its own; choose keys it cannot make up
 * (principal ids; addresses through `limitedSource` of access/networks.ts).
 */
export class RateLimit {
  readonly #options: RateLimitOptions;
  readonly #buckets: LRUCache<string, Bucket>;

  /** @throws internal when a number is not positive */
  constructor(options: RateLimitOptions) {
    if (!(options.burst >= 1 && options.perSecond > 0 && options.maxKeys >= 1)) fail('internal', 'a rate limit must be positive');
    this.#options = options;
    this.#buckets = new LRUCache({ max: options.maxKeys });
  }

  /** Buckets held at the moment. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Takes one from the bucket of `key` if there is one. A clock that steps back adds nothing and takes nothing. O(1). */
  take(key: string, nowMs: number): RateLimitAnswer {
    const bucket = this.#filled(key, nowMs);
    if (bucket.tokens < 1) return this.#refusal(bucket);
    bucket.tokens -= 1;
    return { ok: true, remaining: Math.floor(bucket.tokens), retryAfterSeconds: 0 };
  }

  /** What `take` would answer, without taking: for limits that only failures use up. */
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
