import { describe, expect, it } from 'vitest';
import { backOffMs } from '../../../rotation/engine/back-off.ts';

const policy = { baseMs: 1_000, maxMs: 60_000 };
const longest = (tries: number) => backOffMs(policy, tries, 1);

describe('the wait before the next try', () => {
  it('begins with the base and doubles with every failed try, up to the bound', () => {
    expect([1, 2, 3, 4, 5, 6, 7, 8].map(longest)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
    expect([100, 5_000, 1e9].map(longest)).toEqual([60_000, 60_000, 60_000]);
  });

  it('is the base where no try is counted yet', () => {
    expect(longest(0)).toBe(1_000);
  });

  it('is less by chance, by no more than half, so that those who failed together do not come again together', () => {
    for (const tries of [1, 3, 100]) {
      expect([0, 0.5, 1].map((fraction) => backOffMs(policy, tries, fraction) / longest(tries))).toEqual([0.5, 0.75, 1]);
    }
  });
});
