// Forwarded addresses: every spelling proxies write, what no trusted proxy wrote, and what cannot be read.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Networks } from '../../src/access/networks.ts';
import { callerAddress } from '../../src/http/forwarded.ts';

const PROXIES = Networks.parse(['10.0.0.0/8', 'fd00::/8'], '');
const PEER = '10.0.0.1';
const plain = (text: string) => callerAddress(PEER, { 'x-forwarded-for': text }, PROXIES);
const standard = (text: string) => callerAddress(PEER, { forwarded: text }, PROXIES);

describe('X-Forwarded-For', () => {
  it.each([
    ['203.0.113.9', '203.0.113.9'],
    ['203.0.113.9:443', '203.0.113.9'],
    ['"203.0.113.9:443"', '203.0.113.9'],
    ['2001:DB8::1', '2001:db8::1'],
    ['[2001:db8::1]', '2001:db8::1'],
    ['[2001:db8::1]:443', '2001:db8::1'],
    ['"[2001:db8::1]:443"', '2001:db8::1'],
    ['::ffff:203.0.113.9', '203.0.113.9'],
    ['[::ffff:203.0.113.9]:80', '203.0.113.9'],
    [' 203.0.113.9 , ', '203.0.113.9'],
    ['198.51.100.1, 203.0.113.9', '203.0.113.9'],
    ['198.51.100.1, 203.0.113.9, 10.0.0.5:80, [fd00::1]', '203.0.113.9'],
    ['10.0.0.7, 10.0.0.5', '10.0.0.7'],
    ['garbage of the client, 203.0.113.9', '203.0.113.9'],
    ['unknown', 'unknown'],
    ['203.0.113.9, Unknown', 'unknown'],
    ['203.0.113.9, _hidden', 'unknown'],
    ['', PEER],
    [' , ', PEER],
  ])('%j is %s', (text, address) => {
    expect(plain(text)).toBe(address);
  });

  it.each([
    'not an address',
    '203.0.113.9, garbage',
    '203.0.113.9:443:1',
    '203.0.113.9:',
    '203.0.113.256',
    '0203.0.113.9',
    '3405803785',
    '[203.0.113.9',
    '[2001:db8::1]x',
    '2001:db8::1]:443',
    '"203.0.113.9',
    'https://203.0.113.9',
    '203.0.113.9;203.0.113.8',
    'garbage, 10.0.0.5',
  ])('%j is refused', (text) => {
    expect(plain(text)).toBeUndefined();
  });
});

describe('Forwarded', () => {
  it.each([
    ['for=203.0.113.9', '203.0.113.9'],
    ['For="203.0.113.9:4711"', '203.0.113.9'],
    ['for="[2001:db8::1]:1234"', '2001:db8::1'],
    ['for="[2001:db8::1]"', '2001:db8::1'],
    ['for=203.0.113.9;proto=https;by=10.0.0.1', '203.0.113.9'],
    ['proto=https;FOR=203.0.113.9', '203.0.113.9'],
    ['for=198.51.100.1, for=203.0.113.9;host="a,b;c"', '203.0.113.9'],
    ['for=203.0.113.9, for=10.0.0.5', '203.0.113.9'],
    ['for=unknown', 'unknown'],
    ['for=_SEVKISEK', 'unknown'],
    ['proto=https', 'unknown'],
  ])('%j is %s', (text, address) => {
    expect(standard(text)).toBe(address);
  });

  it.each([
    'for=',
    'for',
    '203.0.113.9',
    'for=2001:db8::1',
    'for=203.0.113.9;for=198.51.100.1',
    'for="203.0.113.9',
    'for=203.0.113.9,for=<script>',
  ])('%j is refused', (text) => {
    expect(standard(text)).toBeUndefined();
  });
});

describe('the caller', () => {
  it('is the peer, whatever any header says, unless the peer is a trusted proxy', () => {
    for (const peer of ['203.0.113.77', '127.0.0.1', 'unknown'])
      expect(callerAddress(peer, { 'x-forwarded-for': '10.0.0.9', forwarded: 'for=10.0.0.9' }, PROXIES)).toBe(peer);
  });

  it('is taken from two headers only where both say the same', () => {
    const both = (one: string, other: string) => callerAddress(PEER, { 'x-forwarded-for': one, forwarded: other }, PROXIES);
    expect(both('203.0.113.9', 'for="203.0.113.9:80"')).toBe('203.0.113.9');
    expect(both('203.0.113.9', 'for=198.51.100.1')).toBeUndefined();
    expect(both('203.0.113.9', 'garbage')).toBeUndefined();
    expect(both('garbage', 'for=203.0.113.9')).toBeUndefined();
  });

  it('never depends on what the client put left of what the nearest trusted proxy wrote', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({ maxLength: 20 }).map((text) => text.replaceAll(',', '')),
          { maxLength: 5 },
        ),
        (lies) => {
          expect(plain([...lies, '203.0.113.9', '10.9.9.9'].join(','))).toBe('203.0.113.9');
        },
      ),
      { seed: 7, numRuns: 500 },
    );
  });
});
