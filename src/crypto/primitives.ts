// The only module that imports node:crypto: every parameter that could weaken a primitive is fixed here.
// It must never take an algorithm name from data, return bytes before they are authentic, or compare secrets with `===`.
import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  hash,
  hkdfSync,
  type KeyObject,
  pbkdf2Sync,
  randomFillSync,
  randomBytes as secureRandom,
  sign as signBytes,
  timingSafeEqual,
  verify as verifyBytes,
} from 'node:crypto';
import { fail } from '../base/errors.ts';

export type { KeyObject };

export const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
export const HASH_BYTES = 32;
const ED25519_SEED_BYTES = 32;
const ED25519_KEY_BYTES = 32;
const ED25519_SIGNATURE_BYTES = 64;
const GCM = 'aes-256-gcm';
const GCM_OPTIONS = { authTagLength: TAG_BYTES } as const;

/** A Uint8Array over a Buffer's bytes: printing a Buffer shows its content. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

const RANDOM_POOL_BYTES = 4_096;
const SMALL_DRAW_BYTES = 256;
const randomPool = new Uint8Array(RANDOM_POOL_BYTES);
let randomUsed = RANDOM_POOL_BYTES;

/**
 * Bytes of OpenSSL's CSPRNG, in a buffer of their own. Small counts are cut from bytes that were drawn in advance, because a draw takes longer
 * than to seal a short value.
 * SECURITY: each byte is given out once and erased from the pool. The generator of OpenSSL has its state in this process, too, and continues
 * it until it is reseeded, so a machine copied while it runs repeats bytes with or without the pool.
 */
export function randomBytes(count: number): Uint8Array {
  if (count > SMALL_DRAW_BYTES) return plain(secureRandom(count));
  if (randomUsed + count > RANDOM_POOL_BYTES) {
    randomFillSync(randomPool);
    randomUsed = 0;
  }
  const end = randomUsed + count;
  const bytes = randomPool.slice(randomUsed, end);
  randomPool.fill(0, randomUsed, end);
  randomUsed = end;
  return bytes;
}

/** A symmetric key whose bytes can no longer be printed; the caller may wipe `bytes`. */
export function secretKey(bytes: Uint8Array): KeyObject {
  return createSecretKey(bytes);
}

/** As `secretKey`, wiping `bytes`. @throws internal unless there are 32 */
export function adoptKey(bytes: Uint8Array): KeyObject {
  if (bytes.byteLength !== KEY_BYTES) fail('internal', 'a key must have 32 bytes');
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

/** Constant time for equal lengths; false, never a throw, for unequal ones. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b);
}

export function sha256(bytes: Uint8Array): Uint8Array {
  return digestBytes(hash('sha256', bytes, 'binary'));
}

/** The first 64 bits of SHA-256, as two numbers: for what is looked up by them, without bytes in between. */
export function sha256Words(bytes: Uint8Array): { readonly high: number; readonly low: number } {
  const digest = hash('sha256', bytes, 'binary');
  return { high: wordAt(digest, 0), low: wordAt(digest, 4) };
}

function wordAt(binary: string, at: number): number {
  const low = (binary.charCodeAt(at + 1) << 16) | (binary.charCodeAt(at + 2) << 8) | binary.charCodeAt(at + 3);
  return binary.charCodeAt(at) * 2 ** 24 + low;
}

/** Incremental SHA-256. */
export class RunningSha256 {
  readonly #hash = createHash('sha256');

  add(bytes: Uint8Array): this {
    this.#hash.update(bytes);
    return this;
  }

  /** The digest of everything added; call it once, at the end. */
  digest(): Uint8Array {
    return plain(this.#hash.digest());
  }
}

/** SHA-256 of the UTF-8 bytes; lone surrogates count as U+FFFD, as everywhere text is stored. */
export function sha256OfText(text: string): Uint8Array {
  return digestBytes(hash('sha256', text, 'binary'));
}

/**
 * 16 bytes. SECURITY: only for HTTP Digest (RFC 7616) with providers that offer nothing else; MD5 protects nothing of Keyturn's own.
 */
export function md5OfText(text: string): Uint8Array {
  return plain(hash('md5', text, 'buffer'));
}

/** Node makes a digest as text in a third of the time it takes to make a Buffer. */
function digestBytes(binary: string, into: Uint8Array = new Uint8Array(HASH_BYTES), at = 0): Uint8Array {
  for (let i = 0; i < HASH_BYTES; i++) into[at + i] = binary.charCodeAt(i);
  return into;
}

const HMAC_BLOCK_BYTES = 64;

interface HmacBlocks {
  readonly inner: Uint8Array;
  /** Followed by room for the inner digest. */
  readonly outer: Uint8Array;
}

const hmacBlocks = new WeakMap<KeyObject, HmacBlocks>();
let hmacRoom = new Uint8Array(1_024);

/**
 * 32 bytes (RFC 2104). Two one-shot hashes over blocks that are made once a key take less than half of the time of a `Hmac` object,
 * and every checked row pays for one.
 */
export function hmacSha256(key: KeyObject, bytes: Uint8Array): Uint8Array {
  const { inner, outer } = hmacBlocks.get(key) ?? makeHmacBlocks(key);
  const end = HMAC_BLOCK_BYTES + bytes.byteLength;
  if (end > hmacRoom.byteLength) hmacRoom = new Uint8Array(end * 2);
  hmacRoom.set(inner);
  hmacRoom.set(bytes, HMAC_BLOCK_BYTES);
  digestBytes(hash('sha256', hmacRoom.subarray(0, end), 'binary'), outer, HMAC_BLOCK_BYTES);
  hmacRoom.fill(0, 0, end);
  return digestBytes(hash('sha256', outer, 'binary'));
}

function makeHmacBlocks(key: KeyObject): HmacBlocks {
  const exported = key.export();
  const block = new Uint8Array(HMAC_BLOCK_BYTES);
  block.set(exported.byteLength > HMAC_BLOCK_BYTES ? sha256(exported) : exported);
  const outer = new Uint8Array(HMAC_BLOCK_BYTES + HASH_BYTES);
  outer.set(block.map((byte) => byte ^ 0x5c));
  const blocks = { inner: block.map((byte) => byte ^ 0x36), outer };
  exported.fill(0);
  block.fill(0);
  hmacBlocks.set(key, blocks);
  return blocks;
}

/** RFC 5869 extract and expand. @throws internal past 255 blocks */
export function hkdf(
  algorithm: 'sha256' | 'sha512',
  ikm: KeyObject,
  salt: Uint8Array,
  info: Uint8Array,
  count: number,
): Uint8Array {
  if (count < 1 || count > 255 * (algorithm === 'sha256' ? 32 : 64)) fail('internal', 'HKDF gives at most 255 blocks');
  return new Uint8Array(hkdfSync(algorithm, ikm, salt, info, count));
}

/** RFC 8018 section 5.2 with HMAC-SHA-256; for SLIP-0039 only. */
export function pbkdf2Sha256(password: Uint8Array, salt: Uint8Array, iterations: number, count: number): Uint8Array {
  return plain(pbkdf2Sync(password, salt, iterations, count, 'sha256'));
}

/**
 * AES-256-GCM (NIST SP 800-38D); returns ciphertext then 16-byte tag.
 * SECURITY: only envelope.ts may call this, with a nonce it drew itself (CVE-2023-4680: nonces chosen by a caller).
 * @throws internal for any other key or nonce size
 */
export function gcmSeal(key: KeyObject, nonce: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  if (key.symmetricKeySize !== KEY_BYTES) wrongKey();
  if (nonce.byteLength !== NONCE_BYTES) wrongNonce();
  const cipher = createCipheriv(GCM, key, nonce, GCM_OPTIONS);
  cipher.setAAD(aad);
  const body = cipher.update(plaintext);
  cipher.final();
  const out = new Uint8Array(body.byteLength + TAG_BYTES);
  out.set(body);
  out.set(cipher.getAuthTag(), body.byteLength);
  return out;
}

/**
 * The plaintext, or undefined when the tag does not match; `sealed` is ciphertext then 16-byte tag.
 * SECURITY: node releases plaintext before the tag is verified and accepts short tags by default; this function does neither.
 * @throws internal for any other key or nonce size
 */
export function gcmOpen(key: KeyObject, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
  if (nonce.byteLength !== NONCE_BYTES) wrongNonce();
  const bodyBytes = sealed.byteLength - TAG_BYTES;
  if (bodyBytes < 0) return undefined;
  const decipher = decipherOf(key, nonce);
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(bodyBytes));
  const body = decipher.update(sealed.subarray(0, bodyBytes));
  try {
    decipher.final();
  } catch {
    body.fill(0);
    return undefined;
  }
  return plain(body);
}

/** The cipher refuses other key sizes itself; reading the key's size first costs a tenth of the whole opening. */
function decipherOf(key: KeyObject, nonce: Uint8Array) {
  try {
    return createDecipheriv(GCM, key, nonce, GCM_OPTIONS);
  } catch {
    return wrongKey();
  }
}

function wrongKey(): never {
  return fail('internal', 'an AES-256-GCM key must have 32 bytes');
}

function wrongNonce(): never {
  return fail('internal', 'an AES-256-GCM nonce must have 12 bytes');
}

const PKCS8_SEED = Buffer.from('302e020100300506032b657004220420', 'hex'); // RFC 8410 section 7, before the seed
const SPKI_KEY = Buffer.from('302a300506032b6570032100', 'hex'); // RFC 8410 section 4, before the public key

/** The private key of a 32-byte RFC 8032 seed. @throws internal for another size */
export function ed25519Private(seed: Uint8Array): KeyObject {
  if (seed.byteLength !== ED25519_SEED_BYTES) fail('internal', 'an Ed25519 seed must have 32 bytes');
  const der = Buffer.concat([PKCS8_SEED, seed]);
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  return key;
}

/** The 32 public bytes of a private key. */
export function ed25519PublicBytes(privateKey: KeyObject): Uint8Array {
  const der = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return Uint8Array.from(der.subarray(der.byteLength - ED25519_KEY_BYTES));
}

/** 64 bytes, deterministic (RFC 8032). */
export function ed25519Sign(privateKey: KeyObject, message: Uint8Array): Uint8Array {
  return plain(signBytes(null, message, privateKey));
}

// The y coordinates of the eight low-order points, every encoding of them, the sign bit masked off.
const LOW_ORDER = new Set([
  `01${'00'.repeat(31)}`,
  `ee${'ff'.repeat(30)}7f`,
  `ec${'ff'.repeat(30)}7f`,
  '00'.repeat(32),
  `ed${'ff'.repeat(30)}7f`,
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
]);

function isLowOrder(point: Uint8Array): boolean {
  const masked = Buffer.from(point);
  masked[ED25519_KEY_BYTES - 1] = (masked[ED25519_KEY_BYTES - 1] ?? 0) & 0x7f;
  return LOW_ORDER.has(masked.toString('hex'));
}

/**
 * False for every kind of bad key or signature.
 * SECURITY: OpenSSL 3.5 rejects low-order points and BoringSSL (workerd) does not; evidence must not be valid on one runtime only.
 */
export function ed25519Verify(publicBytes: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean {
  if (publicBytes.byteLength !== ED25519_KEY_BYTES || signature.byteLength !== ED25519_SIGNATURE_BYTES) return false;
  if (isLowOrder(publicBytes) || isLowOrder(signature.subarray(0, ED25519_KEY_BYTES))) return false;
  try {
    const key = createPublicKey({ key: Buffer.concat([SPKI_KEY, publicBytes]), format: 'der', type: 'spki' });
    return verifyBytes(null, message, key, signature);
  } catch {
    return false;
  }
}
