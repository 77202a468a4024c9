// Token buckets: what a caller may do at once, over time, and what strangers can make the limiter hold.
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

  test('never holds more than the burst, however long nobody came', () => {
    const limit = new RateLimit({ burst: 2, perSecond: 100, maxKeys: 10 });
    limit.take('a', T0_MS);
    expect([0, 1, 2].map(() => limit.take('a', T0_MS + 1e9).ok)).toEqual([true, true, false]);
  });

  test('gives a caller whose bucket is empty nothing more at the same instant, however high the rate', () => {
    const limit = new RateLimit({ burst: 2, perSecond: 1_000, maxKeys: 10 });
    expect([0, 1, 2, 3].map(() => limit.take('a', T0_MS).ok)).toEqual([true, true, false, false]);
  });

  test('tells who is let through to wait for nothing', () => {
    const limit = new RateLimit({ burst: 2, perSecond: 1, maxKeys: 10 });
    expect(limit.peek('a', T0_MS)).toEqual({ ok: true, remaining: 2, retryAfterSeconds: 0 });
    expect(limit.take('a', T0_MS)).toEqual({ ok: true, remaining: 1, retryAfterSeconds: 0 });
    expect(limit.peek('a', T0_MS)).toEqual({ ok: true, remaining: 1, retryAfterSeconds: 0 });
    expect(limit.take('a', T0_MS)).toEqual({ ok: true, remaining: 0, retryAfterSeconds: 0 });
  });

  test('keeps callers apart', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, maxKeys: 10 });
    expect(limit.take('a', T0_MS).ok).toBe(true);
    expect(limit.take('a', T0_MS).ok).toBe(false);
    expect(limit.take('b', T0_MS).ok).toBe(true);
  });

  test('gives nothing away and takes nothing when the clock steps back', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, maxKeys: 10 });
    limit.take('a', T0_MS);
    expect(limit.take('a', T0_MS - 3_600_000).ok).toBe(false);
    expect(limit.take('a', T0_MS - 3_600_000 + 1_000).ok).toBe(true);
  });

  test('can be looked at without being used up or remembered', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 1, maxKeys: 10 });
    expect([limit.peek('a', T0_MS).ok, limit.peek('a', T0_MS).ok, limit.size]).toEqual([true, true, 0]);
    limit.take('a', T0_MS);
    expect(limit.peek('a', T0_MS)).toEqual({ ok: false, remaining: 0, retryAfterSeconds: 1 });
  });

  test('holds a fixed number of buckets against made-up names, and a busy caller stays throttled among them', () => {
    const limit = new RateLimit({ burst: 1, perSecond: 0.001, maxKeys: 1_000 });
    limit.take('busy', T0_MS);
    for (let i = 0; i < 50_000; i++) {
      limit.take(`made up ${i}`, T0_MS);
      if (i % 500 === 0) expect(limit.take('busy', T0_MS).ok).toBe(false);
    }
    expect(limit.size).toBe(1_000);
  });

  test('over any stretch lets through no more than the burst and the rate', () => {
    const limit = new RateLimit({ burst: 20, perSecond: 50, maxKeys: 10 });
    let allowed = 0;
    for (let ms = 0; ms < 10_000; ms++) if (limit.take('a', T0_MS + ms).ok) allowed++;
    expect(allowed).toBeGreaterThanOrEqual(20 + 499);
    expect(allowed).toBeLessThanOrEqual(20 + 500);
  });

  test('refuses to be made without numbers that limit', () => {
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
