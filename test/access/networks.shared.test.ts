// Network lists: equal spellings of one address, refused spellings, and the meaning of an empty list.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonicalAddress, limitedSource, Networks } from '../../src/access/networks.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';

const parse = (...list: string[]) => Networks.parse(list, '/networks');

describe('a network list', () => {
  test('contains the addresses of its networks and no others', () => {
    const networks = parse('10.0.0.0/8', '2001:db8::/32', '192.0.2.7');
    for (const ip of ['10.0.0.0', '10.255.255.255', '2001:db8::1', '2001:DB8:0::1', '192.0.2.7'])
      expect(networks.contains(ip), ip).toBe(true);
    for (const ip of ['9.255.255.255', '11.0.0.0', '2001:db9::1', '192.0.2.8', '::'])
      expect(networks.contains(ip), ip).toBe(false);
  });

  test('is canonical: host bits cleared, without repeats, sorted', () => {
    const list = ['10.1.2.3/8', '10.0.0.0/8', '2001:DB8:0:0::ff/32', '2001:db8::7', '192.0.2.7', '192.0.2.129/25'];
    expect(parse(...list).list).toEqual(['10.0.0.0/8', '192.0.2.128/25', '192.0.2.7/32', '2001:db8::/32', '2001:db8::7/128']);
  });

  test('treats a v4-mapped IPv6 address as the IPv4 address, in lists and in lookups', () => {
    expect(parse('10.0.0.0/8').contains('::ffff:10.1.2.3')).toBe(true);
    expect(parse('10.0.0.0/8').contains('::ffff:a01:203')).toBe(true);
    expect(parse('::ffff:10.0.0.0/104').list).toEqual(['10.0.0.0/8']);
    expect(parse('::/0').contains('10.1.2.3')).toBe(false);
    expect(parse('0.0.0.0/0').contains('2001:db8::1')).toBe(false);
  });

  test('that is empty contains every address, and isAny is true', () => {
    expect([parse().isAny, parse().contains('203.0.113.9'), parse('10.0.0.0/8').isAny]).toEqual([true, true, false]);
  });

  test.each([
    '',
    'localhost',
    '010.0.0.1',
    '0x7f.0.0.1',
    '2130706433',
    '127.1',
    '10.0.0.1 ',
    '10.0.0.1:80',
    '[::1]',
    '::1::',
    '999.1.1.1',
    `${'1'.repeat(5_000)}`,
  ])('holds no %j, for that is not an address', (garbage) => {
    expect(parse('0.0.0.0/0', '::/0').contains(garbage)).toBe(false);
    expect(canonicalAddress(garbage)).toBeUndefined();
  });

  test.each([
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.9.0.0/8/8',
    '::/129',
    '10.9.0.0/',
    '::ffff:10.0.0.0/90',
    'fe80::1%eth0',
    'all',
    '127.1/8',
  ])('refuses %j, naming its place and not its text', (text) => {
    const error = (() => {
      try {
        parse('10.0.0.0/8', text);
      } catch (caught) {
        return caught as KeyturnError;
      }
      return undefined;
    })();
    expect(error).toMatchObject({ code: 'invalid_request', pointer: '/networks/1' });
    expect(error?.message).not.toContain(text);
  });

  test('refuses more networks than the limit', () => {
    const many = Array.from({ length: LIMITS.networksMaxCount + 1 }, (_, i) => `10.0.${i}.0/24`);
    expect(() => parse(...many)).toThrow(KeyturnError);
    expect(parse(...many.slice(1)).list).toHaveLength(LIMITS.networksMaxCount);
  });

  test('refuses a text longer than any address with a zone', () => {
    const withZone = (chars: number) => `fe80::1%${'z'.repeat(chars - 'fe80::1%'.length)}`;
    expect(canonicalAddress(withZone(LIMITS.addressMaxChars))).toBe('fe80::1');
    expect(canonicalAddress(withZone(LIMITS.addressMaxChars + 1))).toBeUndefined();
  });

  test('agrees with integer arithmetic for any IPv4 network', () => {
    const u32 = fc.integer({ min: 0, max: 0xffffffff });
    const text = (n: number) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join('.');
    fc.assert(
      fc.property(u32, fc.integer({ min: 0, max: 32 }), u32, fc.boolean(), (base, bits, random, near) => {
        const mask = bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
        const address = near ? ((base & mask) | (random & ~mask)) >>> 0 : random;
        const expected = ((address ^ base) & mask) >>> 0 === 0;
        expect(parse(`${text(base)}/${bits}`).contains(text(address))).toBe(expected);
      }),
    );
  });
});

describe('the rate-limit key of a source', () => {
  test('is the IPv4 address, the /64 of an IPv6 address, and one key for all other texts', () => {
    expect(limitedSource('::ffff:192.0.2.7')).toBe('192.0.2.7');
    expect(limitedSource('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2::');
    expect(limitedSource('2001:db8:1:2::ffff')).toBe('2001:db8:1:2::');
    expect([limitedSource('x'), limitedSource('y')]).toEqual(['unknown', 'unknown']);
  });
});
