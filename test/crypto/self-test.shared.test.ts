import { expect, it } from 'vitest';
import { randomBytes } from '../../src/crypto/primitives.ts';
import { selfTest } from '../../src/crypto/self-test.ts';
import { failureOf } from './fixtures.ts';

it('passes where the primitives work', () => {
  expect(() => selfTest()).not.toThrow();
});

it.each([
  ['all zeros', (count: number) => new Uint8Array(count)],
  ['one byte repeated', (count: number) => new Uint8Array(count).fill(7)],
  ['fewer bytes than asked for', (count: number) => randomBytes(count - 1)],
  ['the same bytes again', (count: number) => Uint8Array.from({ length: count }, (_, index) => index)],
])('stops when the random source gives %s', (_, draw) => {
  expect(failureOf(() => selfTest(draw)).message).toContain('the random source');
});
