// What fails CI of a sample of changes, and what is known about changes that are not counted.
import { expect, it } from 'vitest';
import { Mutations } from './mutations.ts';
import { chanceOfAtLeast, isRefused } from './verdict.ts';

const fewestRefused = (tried: number) =>
  Array.from({ length: tried + 1 }, (_, missed) => missed).find((n) => isRefused(tried, n));

it('a sample is refused when a good tree would hardly ever give it', () => {
  expect([5, 10, 20, 40, 100].map(fewestRefused)).toEqual([4, 6, 8, 12, 21]);
  expect(isRefused(0, 0)).toBe(true);
  expect(isRefused(1, 1)).toBe(false);
});

it('the chances are those that the comment there states', () => {
  const refusedAt = (percent: number) => chanceOfAtLeast(12, 40, 1 - percent / 100);
  expect(refusedAt(95)).toBeLessThan(1e-5);
  expect(refusedAt(70)).toBeGreaterThan(0.5);
  expect(refusedAt(60)).toBeGreaterThan(0.9);
  expect(chanceOfAtLeast(0, 3, 0.5)).toBe(1);
  expect(chanceOfAtLeast(2, 3, 0.5)).toBeCloseTo(0.5);
  expect(chanceOfAtLeast(3, 3, 0.5)).toBeCloseTo(0.125);
});

it('every change that is reviewed as equivalent still stands in the source, with a reason', () => {
  const mutations = new Mutations();
  const files = [...new Set(mutations.equivalents.map(({ file }) => file))];
  const there = new Set(mutations.all(files).map((mutant) => JSON.stringify({ file: mutant.file, ...mutations.diff(mutant) })));
  const gone = mutations.equivalents.filter(({ file, before, after }) => !there.has(JSON.stringify({ file, before, after })));
  expect(gone).toEqual([]);
  expect(mutations.equivalents.filter(({ reason }) => reason.length < 10)).toEqual([]);
});
