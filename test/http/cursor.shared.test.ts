// Page cursors: they open where they were made and nowhere else, and no other text opens at all.
import { createSecretKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openCursor, signCursor } from '../../src/http/cursor.ts';
import { caughtCode } from '../kit/outcome.ts';

const key = createSecretKey(randomBytes(32));
const open = (scope: string, text: string, by = key) => caughtCode(() => openCursor(by, scope, text));

describe('a cursor', () => {
  it('gives back what it was made of, in its scope and under its key', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 60 }), fc.string({ maxLength: 60 }), (scope, after) => {
        const cursor = signCursor(key, scope, after);
        expect(cursor).toMatch(/^[A-Za-z0-9_-]+$/);
        expect(openCursor(key, scope, cursor)).toBe(Buffer.from(after, 'utf8').toString('utf8'));
      }),
    );
  });

  it('opens in no other scope, whatever joins to the same text, and under no other key', () => {
    const cursor = signCursor(key, 'credentials/ten_a/staging', 'stripe');
    expect(open('credentials/ten_a/staging', cursor)).toBe('ok');
    expect(open('credentials/ten_b/staging', cursor)).toBe('invalid_request');
    expect(open('credentials/ten_a/staging', cursor, createSecretKey(randomBytes(32)))).toBe('invalid_request');
    const tag = Buffer.from(signCursor(key, 'a', 'bc'), 'base64url').subarray(0, 12);
    const moved = Buffer.concat([tag, Buffer.from('c')]).toString('base64url');
    expect(open('ab', moved), 'the border between scope and place was moved').toBe('invalid_request');
  });

  it('that was changed in any place is refused, as is every other text', () => {
    const cursor = signCursor(key, 's', 'stripe');
    for (let i = 0; i < cursor.length; i++) {
      const other = cursor[i] === 'A' ? 'B' : 'A';
      expect(open('s', cursor.slice(0, i) + other + cursor.slice(i + 1)), String(i)).toBe('invalid_request');
      expect(open('s', cursor.slice(0, i))).toBe('invalid_request');
    }
    for (const text of ['', 'x', `${cursor}=`, ` ${cursor}`, `${cursor}A`, 'x'.repeat(600), 'ü', '../../etc']) {
      expect.soft(open('s', text), text).toBe('invalid_request');
    }
    fc.assert(fc.property(fc.string(), (text) => void expect(open('s', text)).toBe('invalid_request')));
  });

  it('in a longer spelling of the same bytes is refused', () => {
    const cursor = signCursor(key, 's', 'a');
    const last = cursor.at(-1) ?? '';
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const sibling = alphabet[alphabet.indexOf(last) ^ 1] ?? '';
    expect(open('s', cursor.slice(0, -1) + sibling)).toBe('invalid_request');
  });
});
