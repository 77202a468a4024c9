// Known-answer tests and a check of the random source, run before anything else (CR-16).
// It must never be skipped: a broken primitive must stop the process before it writes anything.
import { fail } from '../base/errors.ts';
import * as primitives from './primitives.ts';

const DRAW_BYTES = 32;

/** The tested primitives; a test passes broken ones. */
export type Primitives = typeof primitives;

/**
 * Runs every primitive once against a published answer and draws random bytes twice.
 * @throws internal naming the primitive that is broken
 */
export function selfTest(tested: Primitives = primitives): void {
  const { hkdf, hmacSha256, secretKey, sha256 } = tested;
  checkRandom(tested);
  expectKnown(hex(sha256(ascii('abc'))) === SHA256_ABC, 'SHA-256');
  expectKnown(hex(hmacSha256(secretKey(ascii('Jefe')), ascii('what do ya want for nothing?'))) === HMAC_JEFE, 'HMAC-SHA-256');
  const ikm = secretKey(bytes('0b'.repeat(22)));
  expectKnown(
    hex(hkdf('sha256', ikm, bytes('000102030405060708090a0b0c'), bytes('f0f1f2f3f4f5f6f7f8f9'), 42)) === HKDF_OKM,
    'HKDF',
  );
  checkGcm(tested);
  checkEd25519(tested);
}

function checkRandom({ equalBytes, randomBytes }: Primitives): void {
  const first = randomBytes(DRAW_BYTES);
  const second = randomBytes(DRAW_BYTES);
  const usable = first.byteLength === DRAW_BYTES && second.byteLength === DRAW_BYTES && varied(first) && varied(second);
  expectKnown(usable && !equalBytes(first, second), 'the random source');
}

/** A stubbed or failed source repeats one byte; by chance that has probability 2^-248. */
function varied(drawn: Uint8Array): boolean {
  return drawn.some((byte) => byte !== drawn[0]);
}

function checkGcm({ gcmOpen, gcmSeal, secretKey }: Primitives): void {
  const key = secretKey(bytes(GCM_CASE.key));
  const nonce = bytes(GCM_CASE.nonce);
  const aad = bytes(GCM_CASE.aad);
  const sealed = gcmSeal(key, nonce, aad, bytes(GCM_CASE.plaintext));
  expectKnown(hex(sealed) === GCM_CASE.sealed, 'AES-256-GCM');
  const opened = gcmOpen(key, nonce, aad, sealed);
  expectKnown(opened !== undefined && hex(opened) === GCM_CASE.plaintext, 'AES-256-GCM');
  const last = sealed.byteLength - 1;
  sealed[last] = (sealed[last] ?? 0) ^ 1;
  expectKnown(gcmOpen(key, nonce, aad, sealed) === undefined, 'the AES-256-GCM tag check');
}

function checkEd25519({ ed25519Private, ed25519PublicBytes, ed25519Sign, ed25519Verify }: Primitives): void {
  const key = ed25519Private(bytes(ED25519_CASE.seed));
  const publicBytes = ed25519PublicBytes(key);
  expectKnown(hex(publicBytes) === ED25519_CASE.publicKey, 'Ed25519');
  const message = bytes(ED25519_CASE.message);
  const signature = ed25519Sign(key, message);
  expectKnown(hex(signature) === ED25519_CASE.signature && ed25519Verify(publicBytes, message, signature), 'Ed25519');
  expectKnown(!ed25519Verify(publicBytes, ascii('another message'), signature), 'the Ed25519 check');
}

function expectKnown(holds: boolean, what: string): void {
  if (!holds) fail('internal', `the self-test failed: ${what} gives wrong results on this machine`);
}

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function bytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

function hex(data: Uint8Array): string {
  return Buffer.from(data).toString('hex');
}

const SHA256_ABC = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'; // FIPS 180-4 example
const HMAC_JEFE = '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'; // RFC 4231 section 4.3
const HKDF_OKM = '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865'; // RFC 5869 A.1
// McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16
const GCM_CASE = {
  key: 'feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308',
  nonce: 'cafebabefacedbaddecaf888',
  aad: 'feedfacedeadbeeffeedfacedeadbeefabaddad2',
  plaintext:
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72' +
    '1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39',
  sealed:
    '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa' +
    '8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662' +
    '76fc6ece0f4e1768cddf8853bb2d551b',
};
// RFC 8032 section 7.1, test 2
const ED25519_CASE = {
  seed: '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
  publicKey: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
  message: '72',
  signature:
    '92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da' +
    '085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00',
};
