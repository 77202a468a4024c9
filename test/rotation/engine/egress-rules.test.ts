import { describe, expect, it } from 'vitest';
import {
  checkAddresses,
  checkTarget,
  isReachable,
  judgeAddress,
  literalAddress,
  readBounded,
} from '../../../rotation/engine/egress-rules.ts';
import { requestTo } from '../kit.ts';

describe('an address', () => {
  it.each(['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])('%s is loopback', (address) => {
    expect(judgeAddress(address)).toBe('loopback');
  });

  it.each(['8.8.8.8', '93.184.216.34', '2606:4700::1111', '2a00:1450:4001:830::200e'])('%s is public', (address) => {
    expect(judgeAddress(address)).toBe('public');
  });

  it.each([
    ['private', '10.0.0.1'],
    ['private', '172.16.0.1'],
    ['private', '192.168.1.1'],
    ['metadata of most clouds', '169.254.169.254'],
    ['metadata of AWS over IPv6', 'fd00:ec2::254'],
    ['metadata of Alibaba, carrier-grade NAT', '100.100.100.200'],
    ['metadata of Oracle', '192.0.0.192'],
    ['wire server of Azure', '168.63.129.16'],
    ['unspecified', '0.0.0.0'],
    ['unspecified', '::'],
    ['link-local', 'fe80::1'],
    ['a zone', 'fe80::1%eth0'],
    ['a public address in a zone', '2606:4700::1111%eth0'],
    ['unique local', 'fc00::1'],
    ['multicast', '224.0.0.1'],
    ['broadcast', '255.255.255.255'],
    ['reserved', '240.0.0.1'],
    ['documentation', '203.0.113.1'],
    ['mapped private', '::ffff:10.0.0.1'],
    ['mapped metadata', '::ffff:169.254.169.254'],
    ['mapped public', '::ffff:8.8.8.8'],
    ['compatible loopback', '::7f00:1'],
    ['NAT64 of loopback', '64:ff9b::7f00:1'],
    ['6to4 of loopback', '2002:7f00:1::'],
    ['outside global unicast', '4000::1'],
    ['no address', 'localhost'],
    ['nothing', ''],
  ])('is blocked: %s %s', (_, address) => {
    expect(judgeAddress(address)).toBe('blocked');
  });
});

describe('a target', () => {
  const strict = { allowLoopback: false };

  it.each([
    ['https://127.0.0.1/', 'address_blocked'],
    ['https://[::1]/', 'address_blocked'],
    ['https://[::ffff:127.0.0.1]/', 'address_blocked'],
    ['https://169.254.169.254/latest/meta-data', 'address_blocked'],
    ['https://2130706433/', 'address_blocked'],
    ['https://0x7f.1/', 'address_blocked'],
    ['https://0177.0.0.1/', 'address_blocked'],
    ['http://api.example.com/', 'request_refused'],
    ['https://user:not-a-real-secret@api.example.com/', 'request_refused'],
    ['https://user@api.example.com/', 'request_refused'],
    ['https://:not-a-real-secret@api.example.com/', 'request_refused'],
    ['ftp://api.example.com/', 'request_refused'],
    ['file:///etc/passwd', 'request_refused'],
    ['/token', 'request_refused'],
  ])('%s is refused before any look-up', (url, reason) => {
    expect(() => checkTarget(requestTo(url, strict))).toThrowError(expect.objectContaining({ reason, sent: 'not_sent' }));
  });

  it('may reach loopback, even by http, where that is allowed, and still nothing private', () => {
    expect(checkTarget(requestTo('http://127.0.0.1:8421/token')).port).toBe('8421');
    expect(checkTarget(requestTo('http://127.0.0.1/token', { allowedHosts: ['127.0.0.1:80'] })).pathname).toBe('/token');
    expect(() => checkTarget(requestTo('ftp://127.0.0.1/'))).toThrowError(expect.objectContaining({ reason: 'request_refused' }));
    expect(() => checkTarget(requestTo('http://10.0.0.1/'))).toThrowError(expect.objectContaining({ reason: 'address_blocked' }));
  });

  it.each([
    ['https://api.example.com/', 'api.example.com', true],
    ['https://API.example.com/', 'api.example.com', true],
    ['https://api.example.com:443/', 'api.example.com:443', true],
    ['https://api.example.com:8443/', 'api.example.com:8443', true],
    ['https://api.example.com:8443/', 'api.example.com', false],
    ['https://api.example.com./', 'api.example.com', false],
    ['https://evilapi.example.com/', 'api.example.com', false],
    ['https://acme.my.example.com/', '*.my.example.com', true],
    ['https://a.b.my.example.com/', '*.my.example.com', true],
    ['https://my.example.com/', '*.my.example.com', false],
    ['https://.my.example.com/', '*.my.example.com', false],
    ['https://evilmy.example.com/', '*.my.example.com', false],
    ['https://my.example.com.evil.example/', '*.my.example.com', false],
    ['https://acme.my.example.com:8443/', '*.my.example.com', false],
  ])('%s against %s: %s', (url, allowed, passes) => {
    const check = () => checkTarget(requestTo(url, { ...strict, allowedHosts: ['other.example', allowed] }));
    if (passes) expect(check().protocol).toBe('https:');
    else expect(check).toThrowError(expect.objectContaining({ reason: 'host_not_allowed' }));
  });
});

describe('the addresses of a name', () => {
  const https = new URL('https://api.example.com/');

  it.each([
    [['127.0.0.1'], false],
    [['8.8.8.8', '10.0.0.1'], true],
    [['8.8.8.8', '127.0.0.1'], false],
    [['not an address'], true],
  ])('%j are blocked as a whole', (addresses, allowLoopback) => {
    expect(() => checkAddresses(https, addresses, allowLoopback)).toThrowError(
      expect.objectContaining({ reason: 'address_blocked' }),
    );
  });

  it.each([
    [['8.8.8.8', '2606:4700::1111'], 'https://api.example.com/', false],
    [['8.8.8.8'], 'https://api.example.com/', true],
    [['127.0.0.1', '8.8.8.8'], 'https://api.example.com/', true],
    [['127.0.0.1', '::1'], 'http://localhost:8421/', true],
  ])('%j may be called as %s (loopback allowed: %s)', (addresses, url, allowLoopback) => {
    expect(() => checkAddresses(new URL(url), addresses, allowLoopback)).not.toThrow();
  });

  it('are never public for http', () => {
    const check = () => checkAddresses(new URL('http://api.example.com/'), ['8.8.8.8'], true);
    expect(check).toThrowError(expect.objectContaining({ reason: 'request_refused' }));
  });

  it('must exist', () => {
    expect(() => checkAddresses(https, [], false)).toThrowError(expect.objectContaining({ reason: 'dns_failed' }));
  });
});

describe('a URL that somebody gives', () => {
  const reached = (url: string) => [false, true].map((allowLoopback) => isReachable(new URL(url), allowLoopback));

  it.each<[string, boolean, boolean]>([
    ['https://api.example.com/x', true, true],
    ['https://api.example.com:8443/', true, true],
    ['https://localhost/', false, true],
    ['https://LOCALHOST./', false, true],
    ['https://a.localhost:9/', false, true],
    ['https://mylocalhost/', true, true],
    ['https://localhost.example/', true, true],
    ['http://localhost/', false, true],
    ['http://api.example.com/', false, true],
    ['https://127.0.0.1/', false, true],
    ['https://[::1]/', false, true],
    ['http://127.0.0.1/', false, true],
    ['http://8.8.8.8/', false, false],
    ['https://8.8.8.8/', true, true],
    ['https://10.0.0.1/', false, false],
    ['https://user@api.example.com/', false, false],
    ['ftp://api.example.com/', false, false],
  ])('%s is refused by its own text unless it may be reached (%s, with loopback %s)', (url, strictly, withLoopback) => {
    expect(reached(url)).toEqual([strictly, withLoopback]);
  });
});

describe('an address written as such', () => {
  it.each([
    ['https://127.0.0.1:8421/', '127.0.0.1'],
    ['https://0x7f.1/', '127.0.0.1'],
    ['https://[::1]:8421/', '::1'],
    ['https://api.example.com/', undefined],
    ['https://127.0.0.1.example.com/', undefined],
  ])('%s names %s', (url, address) => {
    expect(literalAddress(new URL(url))).toBe(address);
  });
});

describe('the body of an answer', () => {
  const read: number[] = [];
  async function* inChunks(...lengths: number[]) {
    read.length = 0;
    for (const [index, length] of lengths.entries()) {
      read.push(length);
      yield new Uint8Array(length).fill(index + 1);
    }
  }

  it('is put together in order, up to the bound exactly', async () => {
    expect([...(await readBounded(inChunks(2, 1, 3), 6))]).toEqual([1, 1, 2, 3, 3, 3]);
    expect(await readBounded(inChunks(), 0)).toHaveLength(0);
  });

  it('is refused at the first byte beyond the bound, and the rest is not read', async () => {
    await expect(readBounded(inChunks(4, 3, 5), 6)).rejects.toMatchObject({ reason: 'answer_too_large' });
    expect(read).toEqual([4, 3]);
  });
});
