// Made-up keys and contexts for the crypto tests. Nothing here is a real secret.
import { KeyturnError } from '../../src/base/errors.ts';
import type { SealContext, SealingKey } from '../../src/crypto/envelope.ts';
import { randomBytes, secretKey, sha256 } from '../../src/crypto/primitives.ts';

const encoder = new TextEncoder();

export const CONTEXT: SealContext = {
  installationId: 'ins_0123456789abcdefghjkmnpq',
  tenantId: 'ten_0123456789abcdefghjkmnpq',
  purpose: 'api_key',
  field: 'credential_version.value',
  objectId: 'crd_0123456789abcdefghjkmnpq',
  version: 1,
};

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

export function text(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

export function fromHex(text: string): Uint8Array {
  const bytes = Uint8Array.from(Buffer.from(text, 'hex'));
  if (bytes.byteLength * 2 !== text.length) throw new Error('not hex');
  return bytes;
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** The same bytes for the same name. */
export function madeUp(name: string): Uint8Array {
  return sha256(utf8(`not-a-real-secret: ${name}`));
}

export function madeUpKey(id = 'key_0123456789abcdefghjkmnpq', version = 1, bytes: Uint8Array = randomBytes(32)): SealingKey {
  return { id, version, key: secretKey(bytes) };
}

export function flipBit(bytes: Uint8Array, bit: number): Uint8Array {
  const flipped = Uint8Array.from(bytes);
  const at = bit >> 3;
  flipped[at] = (flipped[at] ?? 0) ^ (1 << (bit & 7));
  return flipped;
}

/** The KeyturnError that `action` throws; any other result fails the test. */
export function failureOf(action: () => unknown): KeyturnError {
  try {
    action();
  } catch (error) {
    if (error instanceof KeyturnError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** `code: evidence` of the failure. */
export function refusalOf(action: () => unknown): string {
  const { code, evidence } = failureOf(action);
  return evidence === undefined ? code : `${code}: ${evidence}`;
}
