import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { refreshDueAt } from '../../../src/vault/refresh-schedule.ts';

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
    const due = [0, 0.5, 0.999].map((fraction) => refreshDueAt(NOW, NOW + 60 * MINUTE, fraction));
    expect(due).toEqual([...due].sort((a, b) => b - a));
    expect(new Set(due).size).toBe(3);
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
