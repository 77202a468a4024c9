// Keys of clients: only public, strong keys of a known type are accepted, each once; a refusal names the member.
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { calculateJwkThumbprint, type JWK } from 'jose';
import { describe, expect, it } from 'vitest';
import { faultOfKeys, publicKeyId } from '../../src/crypto/public-key.ts';

const jwk = (key: KeyObject) => key.export({ format: 'jwk' }) as Record<string, unknown>;
const rsa = (modulusLength: number, publicExponent = 65_537) => generateKeyPairSync('rsa', { modulusLength, publicExponent });
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve });
const strong = rsa(2_048);
const p256 = ec('P-256');
const ed = generateKeyPairSync('ed25519');
const GOOD = [jwk(strong.publicKey), jwk(p256.publicKey), jwk(ec('P-384').publicKey), jwk(ed.publicKey)];

const [goodRsa = {}, goodEc = {}, , goodEd = {}] = GOOD;
const modulus = (bits: number) =>
  Buffer.from((1n << BigInt(bits - 1)).toString(16).padStart(2 * Math.ceil(bits / 8), '0'), 'hex').toString('base64url');
const BAD: readonly [string, string, Record<string, unknown>][] = [
  ['a modulus of 1024 bits', 'n', jwk(rsa(1_024).publicKey)],
  ['a modulus of 2047 bits', 'n', jwk(rsa(2_047).publicKey)],
  [
    'zeros before a short modulus',
    'n',
    { ...goodRsa, n: Buffer.concat([Buffer.alloc(256), Buffer.alloc(128, 255)]).toString('base64url') },
  ],
  ['a modulus of 8193 bits', 'n', { ...goodRsa, n: modulus(8_193) }],
  ['a modulus of nothing but zeros', 'n', { ...goodRsa, n: Buffer.alloc(256).toString('base64url') }],
  ['a modulus in another spelling', 'n', { ...goodRsa, n: `${Buffer.alloc(256, 255).toString('base64url').slice(0, -1)}x` }],
  ['a modulus in plain base64', 'n', { ...goodRsa, n: Buffer.alloc(258, 255).toString('base64') }],
  ['no exponent', 'e', { ...goodRsa, e: undefined }],
  ['an even exponent', 'e', { ...goodRsa, e: Buffer.of(1, 0, 2).toString('base64url') }],
  ['an empty exponent', 'e', { ...goodRsa, e: '' }],
  ['an exponent of seven bytes', 'e', { ...goodRsa, e: Buffer.of(1, 0, 0, 0, 0, 0, 1).toString('base64url') }],
  ['operations that are no list', 'key_ops', { ...goodEc, key_ops: 'verify' }],
  ['no modulus', 'n', { ...goodRsa, n: undefined }],
  ['a modulus with padding', 'n', { ...goodRsa, n: `${goodRsa['n']}==` }],
  ['the exponent 3', 'e', jwk(rsa(2_048, 3).publicKey)],
  ['the exponent 1', 'e', { ...goodRsa, e: 'AQ' }],
  ['a private RSA key', 'd', jwk(strong.privateKey)],
  ['a private EC key', 'd', jwk(p256.privateKey)],
  ['a private Ed25519 key', 'd', jwk(ed.privateKey)],
  ['the curve secp256k1', 'crv', jwk(ec('secp256k1').publicKey)],
  ['the curve P-521', 'crv', jwk(ec('P-521').publicKey)],
  ['the curve X25519', 'crv', jwk(generateKeyPairSync('x25519').publicKey)],
  ['the curve Ed448', 'crv', jwk(generateKeyPairSync('ed448').publicKey)],
  ['an EC curve in an OKP key', 'crv', { ...goodEd, crv: 'P-256' }],
  ['a short coordinate', 'y', { ...goodEc, y: 'AAAA' }],
  ['no coordinate', 'x', { ...goodEc, x: undefined }],
  ['a shared key', 'k', { kty: 'oct', k: 'bm90LWEtcmVhbC1zZWNyZXQ' }],
  ['a shared key in disguise', 'k', { ...goodRsa, k: 'bm90LWEtcmVhbC1zZWNyZXQ' }],
  ['an unknown type', 'kty', { kty: 'AKP', crv: 'x' }],
  ['a key for encryption', 'use', { ...goodEc, use: 'enc' }],
  ['a key that may not verify', 'key_ops', { ...goodEc, key_ops: ['sign'] }],
  ['a shared algorithm', 'alg', { ...goodRsa, alg: 'HS256' }],
  ['an algorithm of another curve', 'alg', { ...goodEc, alg: 'ES384' }],
];

describe('a set of keys', () => {
  it('of every supported type is accepted', () => {
    expect(faultOfKeys(GOOD)).toBeUndefined();
    const [longest, exponent] = [modulus(8_192), Buffer.of(1, 0, 0, 0, 0, 1).toString('base64url')];
    expect(faultOfKeys([{ ...goodRsa, n: longest, e: exponent }, { ...goodEc, alg: 'ES256' }])).toBeUndefined(); // biome-ignore format: one line
    expect(faultOfKeys([{ ...goodRsa, alg: 'RS256', use: 'sig', kid: 'one', key_ops: ['verify'] }])).toBeUndefined();
  });

  it.each(BAD)('with %s is refused, naming %s', (_what, member, key) => {
    const fault = faultOfKeys([goodEd, key]);
    expect(fault?.path).toEqual([1, member]);
    expect(fault?.rule).not.toContain('bm90');
  });

  it('is refused with a key twice, or with one key id for two keys', () => {
    expect(faultOfKeys([goodEd, goodEc, { ...goodEd, kid: 'again' }])?.path).toEqual([2]);
    expect(
      faultOfKeys([
        { ...goodEd, kid: 'one' },
        { ...goodEc, kid: 'one' },
      ])?.path,
    ).toEqual([1, 'kid']);
  });
});

describe('the id of a key', () => {
  it('is its RFC 7638 thumbprint, independent of other members', async () => {
    for (const key of GOOD) {
      expect(publicKeyId(key)).toBe(`jwk_${await calculateJwkThumbprint(key as JWK)}`);
      expect(publicKeyId({ kid: 'x', use: 'sig', ...key })).toBe(publicKeyId(key));
    }
    expect(new Set(GOOD.map(publicKeyId)).size).toBe(GOOD.length);
  });
});
