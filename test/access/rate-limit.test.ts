// Token buckets: the burst, the rate over time, and the bounded memory.
import { describe, expect, test } from 'vitest';
import { RateLimit } from '../../src/access/rate-limit.ts';
import { KeyturnError } from '../../src/base/errors.ts';

const T0_MS = 1_700_000_000_000;

describe('a rate limit', () => {
  test('allows a burst, then one per interval, and says how long to wait', () => {
    const limit = new RateLimit({ burst: 3, perSecond: 0.5, maxKeys: 10 });
    expect([0, 1, 2].map(() => limit.take('a', T0_MS).remaining)).toEqual([2, 1, 0]);
    expect(limit.take('a', T0_MS)).toEqual({ ok: false, remaining: 0, retryAfterSeconds: 2 });
    expect(limit.take('a', T0_MS + 1_500)).toEqual({ ok: false, remaining: 0, retryAfterSeconds: 1 });
    expect(limit.take('a', T0_MS + 2_000).ok).toBe(true);
    expect(limit.take('a', T0_MS + 2_001).ok).toBe(false);
  });

  test('never has more than the burst, after a pause of any length', () => {
    const limit = new RateLimit({ burst: 2, perSecond: 100, maxKeys: 10 });
    limit.take('a', T0_MS);
    expect([0, 1, 2].map(() => limit.take('a', T0_MS + 1e9).ok)).toEqual([true, true, false]);
  });

  test('refuses a caller with an empty bucket at the same instant, for any rate', () => {
    const limit = new RateLimit({ burst: 2, perSecond: 1_000, maxKeys: 10 });
    expect([0, 1, 2, 3].map(() => limit.take('a', T0_MS).ok)).toEqual([true, true, false, false]);
  });

  test('returns no wait when a request is allowed', () => {
    const limit = new RateLimit({ burst: 2, perSecond: 1, maxKeys: 10 });
    expect(limit.peek('a', T0_MS)).toEqual({ ok: true, remaining: 2, retryAfterSeconds: 0 });
    expect(limit.take('a', T0_MS)).toEqual({ ok: true, remaining: 1, retryAfterSeconds: 0 });
    expect(limit.peek('a', T0_MS)).toEqual({ ok: true, remaining: 1, retryAfterSeconds: 0 });
    expect(limit.take('a', T0_MS)).toEqual({ ok: true, remaining: 0, retryAfterSeconds: 0 });
  });

  test('is separate for each caller', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, maxKeys: 10 });
    expect(limit.take('a', T0_MS).ok).toBe(true);
    expect(limit.take('a', T0_MS).ok).toBe(false);
    expect(limit.take('b', T0_MS).ok).toBe(true);
  });

  test('adds and removes no tokens when the clock goes back', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, maxKeys: 10 });
    limit.take('a', T0_MS);
    expect(limit.take('a', T0_MS - 3_600_000).ok).toBe(false);
    expect(limit.take('a', T0_MS - 3_600_000 + 1_000).ok).toBe(true);
  });

  test('can be read without taking a token or creating a bucket', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, maxKeys: 10 });
    expect([limit.peek('a', T0_MS).ok, limit.peek('a', T0_MS).ok, limit.size]).toEqual([true, true, 0]);
    limit.take('a', T0_MS);
    expect(limit.peek('a', T0_MS)).toEqual({ ok: false, remaining: 0, retryAfterSeconds: 1 });
  });

  test('has a bounded number of buckets for invented keys, and a busy caller stays limited among them', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 0.001, maxKeys: 1_000 });
    limit.take('busy', T0_MS);
    for (let i = 0; i < 50_000; i++) {
      limit.take(`made up ${i}`, T0_MS);
      if (i % 500 === 0) expect(limit.take('busy', T0_MS).ok).toBe(false);
    }
    expect(limit.size).toBe(1_000);
  });

  test('allows at most the burst plus the rate over any period', () => {
    const limit = new RateLimit({ burst: 20, perSecond: 50, maxKeys: 10 });
    let allowed = 0;
    for (let ms = 0; ms < 10_000; ms++) if (limit.take('a', T0_MS + ms).ok) allowed++;
    expect(allowed).toBeGreaterThanOrEqual(20 + 499);
    expect(allowed).toBeLessThanOrEqual(20 + 500);
  });

  test('cannot be created without positive numbers', () => {
    for (const options of [
      { burst: 0, perSecond: 1, maxKeys: 1 },
      { burst: 1, perSecond: 0, maxKeys: 1 },
      { burst: Number.NaN, perSecond: 1, maxKeys: 1 },
      { burst: 1, perSecond: 1, maxKeys: 0 },
    ]) {
      expect(() => new RateLimit(options)).toThrow(KeyturnError);
    }
  });
});
