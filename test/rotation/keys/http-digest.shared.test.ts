// HTTP Digest against the examples of RFC 7616 section 3.9.1, on both runtimes.
import { expect, it } from 'vitest';
import { answerChallenge, readChallenge } from '../../../rotation/keys/http-digest.ts';
import { LIMITS } from '../../../src/base/limits.ts';

const OPAQUE = 'FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS';
const NONCE = '7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v';
const challenge = (algorithm: string, qop = 'auth, auth-int') =>
  `Digest realm="http-auth@example.org", qop="${qop}", algorithm=${algorithm}, nonce="${NONCE}", opaque="${OPAQUE}"`;
const REQUEST = {
  method: 'GET',
  url: 'http://www.example.org/dir/index.html',
  username: 'Mufasa',
  password: 'Circle of Life',
};
const CNONCE = 'f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ';
const entropy = { bytes: (count: number) => new Uint8Array(count), fraction: () => 0 };
const responseTo = (header: string) => {
  const read = readChallenge(header);
  return read === undefined ? undefined : answerChallenge(read, REQUEST, entropy, CNONCE);
};

it('answers the examples of RFC 7616 with MD5 and with SHA-256', () => {
  expect(responseTo(challenge('MD5'))).toContain('response="8ca523f5e9506fed4657c9700eebdbec"');
  expect(responseTo(challenge('SHA-256'))).toContain(
    'response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"',
  );
});

it('prefers SHA-256, and reads a challenge without an algorithm as MD5', () => {
  expect(responseTo(`${challenge('MD5')}, ${challenge('SHA-256')}`)).toContain('algorithm=SHA-256');
  expect(responseTo(`Digest realm="MMS Public API", domain="", nonce="abc", algorithm=MD5, qop="auth", stale=false`)).toContain(
    'realm="MMS Public API"',
  );
  expect(responseTo('Basic realm="x", Digest realm="y", nonce="z", qop="auth"')).toContain('algorithm=MD5');
});

it('answers no challenge that it could not answer safely', () => {
  for (const header of [
    undefined,
    '',
    'Basic realm="x"',
    'Basic realm="x", nonce="y", qop="auth"',
    challenge('MD5-sess'),
    challenge('MD5', 'auth-int'),
    'Digest realm="x", nonce="y"',
    'Digest realm="x", qop="auth"',
    'Digest nonce="y", qop="auth"',
    'Digest realm="x", nonce="y", qop="auth", algorithm=SHA-512-256',
    `${challenge('MD5')}, ${'a'.repeat(LIMITS.challengeMaxChars)}`,
  ])
    expect(readChallenge(header)).toBeUndefined();
});

it('makes a nonce of its own from the entropy that is passed in', () => {
  const read = readChallenge(challenge('MD5'));
  if (read === undefined) throw new Error('the challenge was not read');
  expect(answerChallenge(read, REQUEST, entropy)).toContain(`cnonce="${'0'.repeat(32)}"`);
});

it('reads names and words in any case and form, and answers with what was asked', () => {
  const read = readChallenge('dIGEST Realm=plain, NONCE="a\\"b", QOP="auth-int,AUTH", algorithm=sha-256');
  expect(read).toEqual({ realm: 'plain', nonce: 'a\\"b', opaque: undefined, algorithm: 'SHA-256' });
  const request = { ...REQUEST, method: 'POST', url: 'https://x.example/a/b?c=d&e', username: 'a"b\\c' };
  const header = answerChallenge({ realm: 'r', nonce: 'n', opaque: undefined, algorithm: 'MD5' }, request, entropy, 'own');
  expect(header.replace(/response="[0-9a-f]{32}"/, 'response="x"')).toBe(
    'Digest username="a\\"b\\\\c", realm="r", nonce="n", uri="/a/b?c=d&e", algorithm=MD5, response="x", qop=auth, nc=00000001, cnonce="own"',
  );
  expect(answerChallenge({ realm: 'r', nonce: 'n', opaque: 'o', algorithm: 'MD5' }, request, entropy)).toMatch(/, opaque="o"$/);
});

it('takes the first challenge that it can answer, if none asks for SHA-256', () => {
  expect(
    readChallenge(`Digest realm="none", nonce="x", ${challenge('MD5')}, Digest realm="late", nonce="y", qop="auth"`),
  ).toMatchObject({
    realm: 'http-auth@example.org',
  });
});
