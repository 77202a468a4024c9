import { describe, expect, it } from 'vitest';
import * as primitives from '../../src/crypto/primitives.ts';
import { type Primitives, selfTest } from '../../src/crypto/self-test.ts';
import { failureOf } from './fixtures.ts';

/** The primitives with some of them broken. */
const broken = (change: Partial<Primitives>): Primitives => ({ ...primitives, ...change });
const flipped = (bytes: Uint8Array) => bytes.map((byte, index) => (index === 0 ? byte ^ 1 : byte));

it('passes when the primitives work', () => {
  expect(() => selfTest()).not.toThrow();
});

it.each([
  ['all zeros', (count: number) => new Uint8Array(count)],
  ['one byte repeated', (count: number) => new Uint8Array(count).fill(7)],
  ['fewer bytes than asked for', (count: number) => primitives.randomBytes(count - 1)],
  ['the same bytes again', (count: number) => Uint8Array.from({ length: count }, (_, index) => index)],
])('stops when the random source gives %s', (_, randomBytes) => {
  expect(failureOf(() => selfTest(broken({ randomBytes }))).message).toContain('the random source');
});

it.each([0, 1])('fails when only draw %i of the random source is short or constant', (bad) => {
  for (const wrong of [(count: number) => primitives.randomBytes(count - 1), (count: number) => new Uint8Array(count)]) {
    let draw = 0;
    const randomBytes = (count: number) => (draw++ === bad ? wrong(count) : primitives.randomBytes(count));
    expect(failureOf(() => selfTest(broken({ randomBytes }))).message).toContain('the random source');
  }
});

describe('names the primitive that is broken', () => {
  const { ed25519PublicBytes, ed25519Sign, gcmOpen, gcmSeal, hkdf, hmacSha256, sha256 } = primitives;
  it.each<[string, string, Partial<Primitives>]>([
    ['SHA-256', 'SHA-256', { sha256: (bytes) => flipped(sha256(bytes)) }],
    ['HMAC', 'HMAC-SHA-256', { hmacSha256: (...args) => flipped(hmacSha256(...args)) }],
    ['HKDF', 'HKDF', { hkdf: (...args) => flipped(hkdf(...args)) }],
    ['sealing', 'AES-256-GCM', { gcmSeal: (...args) => flipped(gcmSeal(...args)) }],
    ['opening to other bytes', 'AES-256-GCM', { gcmOpen: (...args) => flipped(gcmOpen(...args) ?? new Uint8Array(1)) }],
    ['opening nothing', 'AES-256-GCM', { gcmOpen: () => undefined }],
    [
      'a tag that is not checked',
      'the AES-256-GCM tag check',
      { gcmOpen: (key, nonce, aad, sealed) => gcmOpen(key, nonce, aad, gcmSealOf(sealed)) },
    ],
    ['a public key', 'Ed25519', { ed25519PublicBytes: (key) => flipped(ed25519PublicBytes(key)) }],
    ['a signature', 'Ed25519', { ed25519Sign: (...args) => flipped(ed25519Sign(...args)) }],
    ['a check that refuses', 'Ed25519', { ed25519Verify: () => false }],
    ['a check that accepts everything', 'the Ed25519 check', { ed25519Verify: () => true }],
  ])('%s', (_, name, change) => {
    expect(failureOf(() => selfTest(broken(change))).message).toBe(
      `the self-test failed: ${name} gives wrong results on this machine`,
    );
  });

  /** The published sealed bytes, with any change reverted. */
  function gcmSealOf(sealed: Uint8Array): Uint8Array {
    known ??= Uint8Array.from(sealed);
    return known;
  }
  let known: Uint8Array | undefined;
});

it.each<[string, Partial<Primitives>]>([
  [
    'a cipher that opens what it sealed, otherwise than the world',
    {
      gcmSeal: (key, nonce, aad, plaintext) => primitives.gcmSeal(key, nonce, aad, flipped(plaintext)),
      gcmOpen: (...args) => {
        const opened = primitives.gcmOpen(...args);
        return opened === undefined ? undefined : flipped(opened);
      },
    },
  ],
  [
    'a signature that is verified, otherwise than the world',
    {
      ed25519Sign: (...args) => flipped(primitives.ed25519Sign(...args)),
      ed25519Verify: (key, message, signature) => primitives.ed25519Verify(key, message, flipped(signature)),
    },
  ],
  [
    'a public key that is verified with, otherwise than the world',
    {
      ed25519PublicBytes: (key) => flipped(primitives.ed25519PublicBytes(key)),
      ed25519Verify: (key, ...args) => primitives.ed25519Verify(flipped(key), ...args),
    },
  ],
])('stops at %s', (_, change) => {
  expect(failureOf(() => selfTest(broken(change))).code).toBe('internal');
});
