// The committed envelope: a sealed blob opens under exactly one key and for exactly one context.
// It must never accept a nonce from a caller, try several keys, or return a byte before the tag was verified.
import type { KeyObject } from 'node:crypto';
import { fail } from '../base/errors.ts';
import { SecretValue } from '../base/secret-value.ts';
import { FrameWriter } from './framing.ts';
import {
  adoptKey,
  equalBytes,
  gcmOpen,
  gcmSeal,
  HASH_BYTES,
  hkdf,
  KEY_BYTES,
  NONCE_BYTES,
  randomBytes,
  sha256,
  TAG_BYTES,
} from './primitives.ts';

/** What a tenant key may protect; one key, one purpose. */
export const PURPOSES = ['oauth_token', 'api_key', 'mfa_seed', 'backup', 'audit_pii', 'metadata_mac', 'audit_sign'] as const;
export type Purpose = (typeof PURPOSES)[number];

/**
 * Where a sealed blob belongs. It is not stored with the blob: the caller of `open` must know it.
 *
 *     "keyturn-context-v1" | installationId | tenantId | purpose | field | objectId   each: length u32, UTF-8
 *     version                                                                         u64
 */
export interface SealContext {
  readonly installationId: string;
  readonly tenantId: string;
  readonly purpose: Purpose | 'root';
  /** `table.column`. */
  readonly field: string;
  readonly objectId: string;
  readonly version: number;
}

/** A 32-byte key and the name by which it is chosen. */
export interface SealingKey {
  /** 1 to 64 characters of `A-Z a-z 0-9 _ - .`; usually an `Id<'key'>`. */
  readonly id: string;
  /** 1 to 2^32 - 1. */
  readonly version: number;
  readonly key: KeyObject;
}

/**
 * The header of a sealed blob; numbers are big-endian.
 *
 *     offset     bytes
 *     0          2      magic "KT"
 *     2          1      format, 1
 *     3          1      suite, see SUITES
 *     4          4      key version
 *     8          1      n, length of the key id
 *     9          n      key id, ASCII
 *     9+n        32     salt, random
 *     41+n       12     nonce, random
 *     53+n       32     commitment
 *     85+n       m      ciphertext, as long as the plaintext
 *     85+n+m     16     tag
 *
 *     derived    = HKDF-SHA-512(key, salt, "keyturn-envelope-v1" | suite u8 | SHA-256(context), 64)
 *     K_enc      = derived[0..32]     used for this one encryption only
 *     commitment = derived[32..64]    compared before any decryption
 *     associated data = header up to and including the commitment, then the context
 */
export interface SealedHeader {
  readonly suite: number;
  readonly keyId: string;
  readonly keyVersion: number;
}

interface Suite {
  readonly name: string;
  readonly writable: boolean;
}

/** Closed: any other number is refused. INVARIANT: exactly one is writable (test/crypto/envelope.shared.test.ts). */
export const SUITES: ReadonlyMap<number, Suite> = new Map([[1, { name: 'HKDF-SHA-512 AES-256-GCM committed', writable: true }]]);
const WRITE_SUITE = 1;

/** A sealed blob whose header, key and commitment were checked; only the AES-256-GCM decryption remains. */
export interface PreparedOpen {
  /** Fresh bytes each time; the caller may wipe them. @throws integrity */
  open(): Uint8Array;
}

/** The evidence of `fail`, for the operator's log; the caller of the vault gets the same answer for each. */
export type IntegrityEvidence = 'malformed' | 'unknown suite' | 'wrong key' | 'commit mismatch' | 'tag mismatch';

const MAGIC_0 = 0x4b;
const MAGIC_1 = 0x54;
const FORMAT = 1;
const KEY_ID_AT = 9;
const SALT_BYTES = 32;
const KEY_ID_TEXT = /^[A-Za-z0-9_.-]{1,64}$/;
const AFTER_KEY_ID_BYTES = SALT_BYTES + NONCE_BYTES + HASH_BYTES;
const encoder = new TextEncoder();
const DERIVE_LABEL = encoder.encode('keyturn-envelope-v1');
const CONTEXT_LABEL = 'keyturn-context-v1';
const writer = new FrameWriter();

/** Seals `plaintext` for one context; every call returns different bytes. @throws internal for a key or context of the wrong shape */
export function seal(key: SealingKey, context: SealContext, plaintext: Uint8Array): Uint8Array {
  const header = newHeader(key);
  const saltAt = KEY_ID_AT + key.id.length;
  const commitAt = saltAt + SALT_BYTES + NONCE_BYTES;
  const contextBytes = encodeContext(context);
  const { encryptionKey, commitment } = derive(key.key, WRITE_SUITE, header.subarray(saltAt, saltAt + SALT_BYTES), contextBytes);
  header.set(commitment, commitAt);
  const nonce = header.subarray(saltAt + SALT_BYTES, commitAt);
  const body = gcmSeal(encryptionKey, nonce, joined(header, contextBytes), plaintext);
  return joined(header, body);
}

/** Opens a blob once. @throws integrity */
export function open(key: SealingKey, context: SealContext, sealed: Uint8Array): SecretValue {
  return SecretValue.adopt(prepareOpen(key, context, sealed).open());
}

/**
 * Checks everything that can be checked without decrypting. Keeps only `sealed` (the caller must not change it) and the one-use key.
 * @throws integrity
 */
export function prepareOpen(key: SealingKey, context: SealContext, sealed: Uint8Array): PreparedOpen {
  const { suite, keyId, keyVersion } = headerOf(sealed);
  // SECURITY: the key is chosen by its id, never by trial decryption (partitioning oracles, security-review 2.4).
  if (keyId !== key.id || keyVersion !== key.version) refuse('wrong key');
  const saltAt = KEY_ID_AT + keyId.length;
  const nonceAt = saltAt + SALT_BYTES;
  const commitAt = nonceAt + NONCE_BYTES;
  const bodyAt = commitAt + HASH_BYTES;
  const contextBytes = encodeContext(context);
  const { encryptionKey, commitment } = derive(key.key, suite, sealed.subarray(saltAt, nonceAt), contextBytes);
  if (!equalBytes(commitment, sealed.subarray(commitAt, bodyAt))) refuse('commit mismatch');
  const nonce = sealed.subarray(nonceAt, commitAt);
  const aad = joined(sealed.subarray(0, bodyAt), contextBytes);
  const body = sealed.subarray(bodyAt);
  return { open: () => gcmOpen(encryptionKey, nonce, aad, body) ?? refuse('tag mismatch') };
}

/** The suite and key id in a blob's header, not authenticated. @throws integrity when it is not an envelope v1 */
export function headerOf(sealed: Uint8Array): SealedHeader {
  if (sealed.byteLength < KEY_ID_AT || !hasMagic(sealed)) refuse('malformed');
  const view = new DataView(sealed.buffer, sealed.byteOffset, KEY_ID_AT);
  const suite = view.getUint8(3);
  if (!SUITES.has(suite)) refuse('unknown suite');
  const idEnd = KEY_ID_AT + view.getUint8(8);
  if (sealed.byteLength < idEnd + AFTER_KEY_ID_BYTES + TAG_BYTES) refuse('malformed');
  let keyId = ''; // spreading the bytes into one call takes ten times as long
  for (let at = KEY_ID_AT; at < idEnd; at++) keyId += String.fromCharCode(sealed[at] as number);
  const keyVersion = view.getUint32(4);
  if (!KEY_ID_TEXT.test(keyId) || keyVersion === 0) refuse('malformed');
  return { suite, keyId, keyVersion };
}

function hasMagic(sealed: Uint8Array): boolean {
  return sealed[0] === MAGIC_0 && sealed[1] === MAGIC_1 && sealed[2] === FORMAT;
}

/** @throws internal for a context without a canonical form */
export function encodeContext(context: SealContext): Uint8Array {
  writer.clear().text(CONTEXT_LABEL).text(context.installationId).text(context.tenantId).text(context.purpose);
  return writer.text(context.field).text(context.objectId).u64(context.version).bytes();
}

/** Header with key name, salt and nonce; the commitment is still zero. */
function newHeader(key: SealingKey): Uint8Array {
  const validVersion = Number.isInteger(key.version) && key.version >= 1 && key.version < 2 ** 32;
  if (!KEY_ID_TEXT.test(key.id) || !validVersion) fail('internal', 'a sealing key must have an id and a version');
  const header = new Uint8Array(KEY_ID_AT + key.id.length + AFTER_KEY_ID_BYTES);
  header.set([MAGIC_0, MAGIC_1, FORMAT, WRITE_SUITE]);
  new DataView(header.buffer).setUint32(4, key.version);
  header[8] = key.id.length;
  for (let i = 0; i < key.id.length; i++) header[KEY_ID_AT + i] = key.id.charCodeAt(i); // ASCII, as KEY_ID_TEXT requires
  header.set(randomBytes(SALT_BYTES + NONCE_BYTES), KEY_ID_AT + key.id.length);
  return header;
}

function derive(key: KeyObject, suite: number, salt: Uint8Array, contextBytes: Uint8Array) {
  if (key.symmetricKeySize !== KEY_BYTES) fail('internal', 'a sealing key must have 32 bytes');
  const info = writer.clear().raw(DERIVE_LABEL).u8(suite).raw(sha256(contextBytes)).bytes();
  const derived = hkdf('sha512', key, salt, info, KEY_BYTES + HASH_BYTES);
  const commitment = derived.slice(KEY_BYTES);
  return { encryptionKey: adoptKey(derived.subarray(0, KEY_BYTES)), commitment };
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.byteLength + b.byteLength);
  out.set(a);
  out.set(b, a.byteLength);
  return out;
}

function refuse(evidence: IntegrityEvidence): never {
  fail('integrity', 'stored data failed its check', { evidence });
}
