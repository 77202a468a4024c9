// Plain text: ordinary text passes, in every script; text that displays differently from its characters does not.
import { describe, expect, it } from 'vitest';
import { asPlainText, isPlainText } from '../../src/base/text.ts';

const MISLEADING = [
  'a\nb', 'a\rb', 'a\tb', 'a\0b', 'a\x1b[31mb', 'a\x7fb', 'a\x85b', 'a\u2028b', 'a\u2029b', // breaks and control
  'a\u202eb', 'a\u202ab', 'a\u2066b', 'a\u2069b', 'a\u200eb', 'a\u200fb', 'a\u061cb', // order
  'a\u200bb', 'a\u2060b', 'a\ufeffb', 'a\u00adb', 'a\u{e0041}b', // not seen
  'a\ud800b', 'a\udc00b', // halves
]; // biome-ignore format: by kind

describe('plain text', () => {
  it.each(['', 'A key of Acme', 'clé à molette', 'ключ', '鍵', 'مفتاح', 'כתובת', 'क्‍ष', '👩‍💻 ✈️', '<b>&amp;"\'', 'a\u00a0b'])(
    'is %j',
    (text) => {
      expect(isPlainText(text)).toBe(true);
      expect(asPlainText(text)).toBe(text);
    },
  );

  it.each(MISLEADING)('is not %j, and each such character is replaced by a mark', (text) => {
    expect(isPlainText(text)).toBe(false);
    expect(asPlainText(text)).toMatch(/^a\ufffd(\[31m)?b$/u);
    expect(isPlainText(asPlainText(text))).toBe(true);
  });
});
