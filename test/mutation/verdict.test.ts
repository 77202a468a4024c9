// Which samples of mutations fail CI, and whether the reviewed equivalents still match the source.
import { expect, it } from 'vitest';
import { Mutations } from './mutations.ts';
import { chanceOfAtLeast, isRefused } from './verdict.ts';

const fewestRefused = (tried: number) =>
  Array.from({ length: tried + 1 }, (_, missed) => missed).find((n) => isRefused(tried, n));

it('a sample fails when a good tree would give it less than once in a thousand runs', () => {
  expect([5, 10, 20, 40, 100].map(fewestRefused)).toEqual([5, 7, 11, 17, 34]);
  expect(isRefused(0, 0)).toBe(true);
  expect(isRefused(1, 1)).toBe(false);
});

it('the probabilities are those that verdict.ts states', () => {
  const refusedAt = (percent: number) => chanceOfAtLeast(17, 40, 1 - percent / 100);
  expect(refusedAt(90)).toBeLessThan(1e-7);
  expect(refusedAt(75)).toBeCloseTo(1 / 80, 2);
  expect(refusedAt(60)).toBeCloseTo(0.4, 1);
  expect(refusedAt(50)).toBeGreaterThan(0.8);
  expect(chanceOfAtLeast(0, 3, 0.5)).toBe(1);
  expect(chanceOfAtLeast(2, 3, 0.5)).toBeCloseTo(0.5);
  expect(chanceOfAtLeast(3, 3, 0.5)).toBeCloseTo(0.125);
});

it('every mutation reviewed as equivalent still matches the source and has a reason', () => {
  const mutations = new Mutations();
  const files = [...new Set(mutations.equivalents.map(({ file }) => file))];
  const there = new Set(mutations.all(files).map((mutant) => JSON.stringify({ file: mutant.file, ...mutations.diff(mutant) })));
  const gone = mutations.equivalents.filter(({ file, before, after }) => !there.has(JSON.stringify({ file, before, after })));
  expect(gone).toEqual([]);
  expect(mutations.equivalents.filter(({ reason }) => reason.length < 10)).toEqual([]);
});
