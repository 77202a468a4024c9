// SLIP-0039 against the vectors of its authors, and shares that were made here.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { combineShares, setOf, splitSecret } from '../../src/crypto/slip39.ts';
import { failureOf, hex } from './fixtures.ts';

type Vector = readonly [what: string, shares: readonly string[], secret: string, key: string];
const VECTORS = JSON.parse(readFileSync(new URL('../vectors/slip39/vectors.json', import.meta.url), 'utf8')) as Vector[];

describe('the vectors of SLIP-0039', () => {
  it.each(VECTORS)('%s', (_what, shares, secret) => {
    if (secret !== '') expect(hex(combineShares(shares, 'TREZOR'))).toBe(secret);
    else expect(failureOf(() => combineShares(shares, 'TREZOR')).code).toBe('sealed');
  });

  it('are all there', () => {
    expect(VECTORS).toHaveLength(45);
  });
});

describe('shares of a secret', () => {
  const secret = new Uint8Array(randomBytes(32));

  it.each([
    [1, 1],
    [2, 2],
    [2, 3],
    [3, 5],
    [16, 16],
  ])('%i of %i give it back, in any choice and order, and one fewer do not', (threshold, count) => {
    const shares = splitSecret(secret, threshold, count);
    expect(shares).toHaveLength(count);
    expect(new Set(shares.map(setOf)).size).toBe(1);
    expect(hex(combineShares(shares.slice(0, threshold)))).toBe(hex(secret));
    expect(hex(combineShares(shares.toReversed().slice(0, threshold)))).toBe(hex(secret));
    if (threshold > 1) expect(failureOf(() => combineShares(shares.slice(1, threshold))).code).toBe('sealed');
  });

  it('are different each time, and two sets do not mix', () => {
    const [a, b] = [splitSecret(secret, 2, 3), splitSecret(secret, 2, 3)];
    expect(new Set([...a, ...b]).size).toBe(6);
    expect(failureOf(() => combineShares([a[0] ?? '', b[1] ?? ''])).code).toBe('sealed');
  });

  it.each([
    [0, 3],
    [4, 3],
    [1, 2],
    [2, 17],
  ])('cannot be %i of %i', (threshold, count) => {
    expect(failureOf(() => splitSecret(secret, threshold, count)).code).toBe('invalid_request');
  });

  it('are refused with a changed word, a word outside the list, and a word less; the error names no word', () => {
    const [share = '', other = ''] = splitSecret(secret, 2, 2);
    const words = share.split(' ');
    const changed = [[...words.slice(0, 9), words[9] === 'academic' ? 'acid' : 'academic', ...words.slice(10)], [...words.slice(1), 'notaword'], words.slice(1)]; // biome-ignore format: one line
    for (const one of changed) {
      const { code, message } = failureOf(() => combineShares([one.join(' '), other]));
      expect(code).toBe('sealed');
      expect(message).not.toContain('notaword');
    }
  });
});
