import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isFromTheFuture } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { endsAtOnce, keepAliveAt, readerTriesAt, refreshDueAt } from '../../src/vault/refresh-schedule.ts';
import { reviewDueAt } from '../../src/vault/review-schedule.ts';

const MINUTE = 60_000;
const NOW = 1_000_000_000_000;

describe('the moment a refresh is due', () => {
  it.each([
    ['five minutes before the end of half an hour', 30, 25],
    ['a tenth before the end of an hour', 60, 54],
    ['a tenth before the end of a day', 1_440, 1_296],
    ['half-way of a short life', 4, 2],
  ])('is %s', (_, lifeMinutes, dueMinutes) => {
    expect(refreshDueAt(NOW, NOW + lifeMinutes * MINUTE, 0)).toBe(NOW + dueMinutes * MINUTE);
  });

  it('is spread by chance, always earlier', () => {
    const due = (lifeMinutes: number) =>
      [0, 0.5, 1].map((fraction) => (refreshDueAt(NOW, NOW + lifeMinutes * MINUTE, fraction) - NOW) / MINUTE);
    expect(due(60)).toEqual([54, 52.5, 51]);
    expect(due(30)).toEqual([25, 23.75, 22.5]);
    expect(due(12)).toEqual([7, 6, 6]);
  });

  it('is never in the first half of a life, never after its end, whatever the life', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 400 * 24 * 60 * MINUTE }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (lifeMs, fraction) => {
          const due = refreshDueAt(NOW, NOW + lifeMs, fraction);
          expect(due).toBeGreaterThanOrEqual(NOW + Math.floor(lifeMs / 2));
          expect(due).toBeLessThanOrEqual(NOW + lifeMs);
        },
      ),
    );
  });
});

describe('the moment a grant must be used to stay alive', () => {
  const DAY = 1_440 * MINUTE;

  it('is well before its idle limit ends, spread by chance towards earlier', () => {
    const soonest = NOW + 10 * DAY * LIMITS.keepAliveFraction;
    expect(keepAliveAt(NOW, 10 * DAY, 0)).toBe(soonest);
    expect(keepAliveAt(NOW, 10 * DAY, 1)).toBe(NOW + 10 * DAY * LIMITS.keepAliveFraction * 0.9);
  });

  it('goes by thirty days where nobody knows the limit', () => {
    expect(keepAliveAt(NOW, undefined, 0)).toBe(keepAliveAt(NOW, 30 * DAY, 0));
  });
});

describe('an instant', () => {
  it('of an end is no use where less than a second is left of it', () => {
    const left = [-5_000, 0, LIMITS.usefulLifetimeMinMs - 1, LIMITS.usefulLifetimeMinMs];
    expect(left.map((ms) => endsAtOnce(NOW, NOW + ms))).toEqual([true, true, true, false]);
  });

  it('lies in the future where it is further ahead than clocks differ', () => {
    const ahead = [-1, 0, LIMITS.clockSkewMs, LIMITS.clockSkewMs + 1];
    expect(ahead.map((ms) => isFromTheFuture(NOW + ms, NOW))).toEqual([false, false, false, true]);
  });
});

describe('a reader who finds no live token', () => {
  const run = { attempts: 1, outcome: 'transient', lease_until: NOW, next_attempt_at: NOW + 60 * MINUTE };
  const waitOf = (changes: Partial<typeof run> | { next_attempt_at: null }) => readerTriesAt({ ...run, ...changes }) - NOW;

  it('has a waiting run tried soon after its last attempt, then less soon, up to ten seconds', () => {
    expect([0, 1, 2, 3, 50, 5_000].map((attempts) => waitOf({ attempts }))).toEqual([
      5_000, 5_000, 10_000, 10_000, 10_000, 10_000,
    ]);
  });

  it('up to five minutes where the provider refuses the settings', () => {
    expect([1, 2, 7, 50].map((attempts) => waitOf({ attempts, outcome: 'configuration' }))).toEqual([
      5_000, 10_000, 300_000, 300_000,
    ]);
  });

  it('never before the time that the provider named, nor after the planned one', () => {
    expect(waitOf({ outcome: 'told_when' })).toBe(60 * MINUTE);
    expect(waitOf({ attempts: 2, next_attempt_at: NOW + 7_000 })).toBe(7_000);
    expect(waitOf({ next_attempt_at: null })).toBe(-NOW);
  });
});

describe('the next look at what changed', () => {
  const HOUR = 60 * MINUTE;
  const grant = { kind: 'oauth2', review_due_at: NOW + 10 * HOUR, grant_ends_at: NOW + 90 * HOUR, value_expires_at: null };
  const key = { kind: 'api_key', review_due_at: null, grant_ends_at: null, value_expires_at: null };

  it('at a grant is as planned, within an hour where its end is known, and at once where none is planned', () => {
    expect(reviewDueAt(grant, NOW)).toBe(NOW + HOUR);
    expect(reviewDueAt({ ...grant, review_due_at: NOW + HOUR - 1 }, NOW)).toBe(NOW + HOUR - 1);
    expect(reviewDueAt({ ...grant, grant_ends_at: null }, NOW)).toBe(NOW + 10 * HOUR);
    expect(reviewDueAt({ ...grant, review_due_at: null }, NOW)).toBe(NOW);
  });

  it('at anything else is at once where it has an end date or just lost one, and never where it has none', () => {
    expect(reviewDueAt({ ...key, value_expires_at: NOW + 1 }, NOW)).toBe(NOW);
    expect(reviewDueAt({ ...key, grant_ends_at: NOW + 1 }, NOW)).toBe(NOW);
    expect(reviewDueAt({ ...key, review_due_at: NOW + 1 }, NOW)).toBeNull();
  });
});
