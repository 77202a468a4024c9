import { createCipheriv } from 'node:crypto';
import { expect, it } from 'vitest';
import { encodeContext, prepareOpen, seal } from '../../src/crypto/envelope.ts';
import { gcmOpen, hkdf, secretKey, sha256 } from '../../src/crypto/primitives.ts';
import { CONTEXT, hex, madeUp, madeUpKey, refusalOf, utf8 } from './fixtures.ts';

// GCM alone does not commit to its key: with two keys, one can make a ciphertext that is authentic under both.
// This test makes such a ciphertext and shows that the envelope opens under at most one of the two.

const R = 0xe1n << 120n;

/** NIST SP 800-38D section 6.3; the leftmost bit is the coefficient of x^0. */
function multiply(x: bigint, y: bigint): bigint {
  let [z, v] = [0n, y];
  for (let bit = 127n; bit >= 0n; bit--) {
    if ((x >> bit) & 1n) z ^= v;
    v = v & 1n ? (v >> 1n) ^ R : v >> 1n;
  }
  return z;
}

function invert(x: bigint): bigint {
  // x^(2^128 - 2)
  let [result, power] = [1n << 127n, x];
  for (let bit = 1; bit < 128; bit++) {
    power = multiply(power, power);
    result = multiply(result, power);
  }
  return result;
}

const toInt = (bytes: Uint8Array) => BigInt(`0x${hex(bytes)}`);
const toBlock = (value: bigint) => Uint8Array.from(Buffer.from(value.toString(16).padStart(32, '0'), 'hex'));

function encryptBlock(key: Uint8Array, block: Uint8Array): bigint {
  return toInt(createCipheriv('aes-256-ecb', key, null).setAutoPadding(false).update(block));
}

/** The inputs of the tag under one key: H, E(J0), and the hash of the associated data. */
function gcmParts(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array) {
  const h = encryptBlock(key, new Uint8Array(16));
  const mask = encryptBlock(key, Uint8Array.from([...nonce, 0, 0, 0, 1]));
  let hash = 0n;
  for (let at = 0; at < aad.byteLength; at += 16) {
    const block = new Uint8Array(16);
    block.set(aad.subarray(at, at + 16));
    hash = multiply(hash ^ toInt(block), h);
  }
  return { h, mask, hash };
}

/** One ciphertext block and a tag that both keys accept: a linear equation in the block. */
function collide(first: Uint8Array, second: Uint8Array, nonce: Uint8Array, aad: Uint8Array): Uint8Array {
  const lengths = (BigInt(aad.byteLength * 8) << 64n) | 128n;
  const [a, b] = [gcmParts(first, nonce, aad), gcmParts(second, nonce, aad)];
  const fixed = ({ h, mask, hash }: typeof a) => multiply(hash, multiply(h, h)) ^ multiply(lengths, h) ^ mask;
  const block = multiply(fixed(a) ^ fixed(b), invert(multiply(a.h, a.h) ^ multiply(b.h, b.h)));
  const tag = multiply(block, multiply(a.h, a.h)) ^ fixed(a);
  return Uint8Array.from([...toBlock(block), ...toBlock(tag)]);
}

/** K_enc of the envelope, derived as its diagram says. */
function encryptionKey(root: Uint8Array, salt: Uint8Array): Uint8Array {
  const info = Uint8Array.from([...utf8('keyturn-envelope-v1'), 1, ...sha256(encodeContext(CONTEXT))]);
  return hkdf('sha512', secretKey(root), salt, info, 64).slice(0, 32);
}

it('refuses a ciphertext whose tag is valid under two keys, by the commitment', () => {
  const roots = [madeUp('first key'), madeUp('second key')] as const;
  const keys = roots.map((bytes) => madeUpKey('key_0123456789abcdefghjkmnpq', 1, bytes));
  const [first, second] = keys as [(typeof keys)[0], (typeof keys)[0]];
  const sealed = seal(first, CONTEXT, new Uint8Array(16));
  const bodyAt = sealed.byteLength - 32;
  const salt = sealed.subarray(bodyAt - 76, bodyAt - 44);
  const nonce = sealed.subarray(bodyAt - 44, bodyAt - 32);
  const aad = Uint8Array.from([...sealed.subarray(0, bodyAt), ...encodeContext(CONTEXT)]);
  const [k1, k2] = roots.map((root) => encryptionKey(root, salt)) as [Uint8Array, Uint8Array];
  const crafted = collide(k1, k2, nonce, aad);

  // GCM alone accepts it under both keys, with two different plaintexts.
  const [p1, p2] = [gcmOpen(secretKey(k1), nonce, aad, crafted), gcmOpen(secretKey(k2), nonce, aad, crafted)];
  expect(p1).toBeDefined();
  expect(p2).toBeDefined();
  expect(hex(p1 as Uint8Array)).not.toBe(hex(p2 as Uint8Array));

  // The envelope refuses it: the tag would be valid, but the commitment is checked first.
  const blob = Uint8Array.from([...sealed.subarray(0, bodyAt), ...crafted]);
  expect(hex(prepareOpen(first, CONTEXT, blob).open())).toBe(hex(p1 as Uint8Array));
  expect(refusalOf(() => prepareOpen(second, CONTEXT, blob))).toBe('integrity: commit mismatch');
});
