import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../src/crypto/crc32.ts';
import { equalBytes, hashToken, mintToken, parseToken, TOKEN_TYPES } from '../../src/crypto/token.ts';
import { hex, madeUpKey, text } from './fixtures.ts';

const pepper = madeUpKey().key;
const mint = (type: (typeof TOKEN_TYPES)[number]) => {
  const { publicId, token } = mintToken(type);
  return { publicId, token: token.reveal(text) };
};

describe('a minted token', () => {
  it.each(TOKEN_TYPES)('of type %s has its form and parses', (type) => {
    const { publicId, token } = mint(type);
    expect(token).toMatch(new RegExp(`^kt_${type}_${publicId}[0-9A-Za-z]{49}$`));
    const parsed = parseToken(token);
    expect(parsed).toMatchObject({ type, publicId });
    expect(text(parsed?.hashInput as Uint8Array)).toBe(token);
  });

  it('uses all 62 digits equally often', () => {
    const counts = new Map<string, number>();
    const tokens = 2_000;
    for (let i = 0; i < tokens; i++) {
      for (const digit of mint('acc').token.slice('kt_acc_'.length, -6)) counts.set(digit, (counts.get(digit) ?? 0) + 1);
    }
    const expected = (tokens * 55) / 62; // about 1774, standard deviation 42: six of them are never seen by chance
    expect(counts.size).toBe(62);
    for (const [digit, count] of counts) expect(Math.abs(count - expected), `digit ${digit}`).toBeLessThan(6 * 42);
  });

  it('never repeats', () => {
    expect(new Set(Array.from({ length: 2_000 }, () => mint('cs').token)).size).toBe(2_000);
  });
});

describe('parsing', () => {
  it('refuses every change of one character', () => {
    const { token } = mint('wlk');
    for (let at = 0; at < token.length; at++) {
      for (const other of 'aZ0_-. é') {
        if (token[at] === other) continue;
        expect(parseToken(token.slice(0, at) + other + token.slice(at + 1)), `character ${at}`).toBeUndefined();
      }
    }
  });

  it('refuses two swapped adjacent characters', () => {
    const { token } = mint('usr');
    for (let at = 0; at + 1 < token.length; at++) {
      const exchanged = token.slice(0, at) + token[at + 1] + token[at] + token.slice(at + 2);
      if (exchanged !== token) expect(parseToken(exchanged), `characters ${at}`).toBeUndefined();
    }
  });

  it('refuses any other spacing, case, length or encoding', () => {
    const { token } = mint('boot');
    const others = [
      ` ${token}`,
      `${token} `,
      `${token}\n`,
      `\u200b${token}`,
      token.toUpperCase(),
      token.slice(0, -1),
      `${token}0`,
    ];
    for (const other of [...others, '', 'kt_', `kt_xxx_${token.slice(8)}`, encodeURIComponent(` ${token}`), `Bearer ${token}`]) {
      expect(parseToken(other), JSON.stringify(other)).toBeUndefined();
    }
  });

  it('refuses another form under a checksum that fits', () => {
    const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
    const closed = (body: string) => {
      let digits = '';
      for (let rest = crc32(body, body.length); digits.length < 6; rest = Math.floor(rest / 62))
        digits = alphabet[rest % 62] + digits;
      return body + digits;
    };
    const body = `kt_usr_${'a'.repeat(55)}`;
    expect(parseToken(closed(body))).toMatchObject({ type: 'usr', publicId: 'a'.repeat(12) });
    for (const other of [
      '',
      body.slice(1),
      body.replace('usr', 'abc'),
      `${body}a`,
      body.slice(0, -1),
      body.replace('aaa', 'a-a'),
    ])
      expect(parseToken(closed(other)), other).toBeUndefined();
  });

  it('never throws', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary', maxLength: 100 }), (text) => parseToken(text) === undefined));
  });
});

describe('the stored hash', () => {
  it('is the same for text and bytes and depends on pepper and token', () => {
    const { token } = mint('acc');
    const stored = hashToken(pepper, token);
    expect(stored.byteLength).toBe(32);
    expect(equalBytes(stored, hashToken(pepper, parseToken(token)?.hashInput as Uint8Array))).toBe(true);
    expect(equalBytes(stored, hashToken(madeUpKey().key, token))).toBe(false);
    expect(equalBytes(stored, hashToken(pepper, mint('acc').token))).toBe(false);
  });
});

describe('CRC-32', () => {
  it('gives the published check value', () => {
    expect(hex(Uint8Array.of(...new Uint8Array(new Uint32Array([crc32('123456789')]).buffer)).reverse())).toBe('cbf43926');
    expect(crc32('')).toBe(0);
    expect(crc32('123456789 and more', 9)).toBe(0xcbf43926);
  });
});
