// Public keys of clients as JSON Web Keys: which are good enough to be registered, and what names one.
// It must never take a private or a shared key, nor a key that is too weak to stand for somebody.
import { sha256 } from './primitives.ts';

/** What an id made here begins with; token ids never do. */
export const KEY_ID_PREFIX = 'jwk_';
/** RFC 7638 section 3.2: what makes up a key, by type, in the order it is hashed. */
const IDENTITY: Readonly<Record<string, readonly string[]>> = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
};

/** `jwk_` and the key's SHA-256 thumbprint (RFC 7638), base64url. Equal for two spellings of one key. */
export function publicKeyId(jwk: object): string {
  const key = jwk as Readonly<Record<string, unknown>>;
  const members = IDENTITY[String(key['kty'])] ?? [];
  const text = JSON.stringify(Object.fromEntries(members.map((member) => [member, key[member]])));
  return KEY_ID_PREFIX + Buffer.from(sha256(new TextEncoder().encode(text))).toString('base64url');
}
