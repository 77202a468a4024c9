// Public keys of clients as JSON Web Keys: which may be registered, and how a key's id is computed.
// It must never accept a private or shared key, nor a weak one.
import { LIMITS } from '../base/limits.ts';
import { sha256 } from './primitives.ts';

/** The prefix of every id made here; no token id has it. */
export const KEY_ID_PREFIX = 'jwk_';
/** RFC 7638 section 3.2: the members of a key that are hashed, by type, in hash order. */
const IDENTITY: Readonly<Record<string, readonly string[]>> = {
  EC: ['crv', 'kty', 'x', 'y'],
  OKP: ['crv', 'kty', 'x'],
  RSA: ['e', 'kty', 'n'],
};

/** `jwk_` and the key's SHA-256 thumbprint (RFC 7638), base64url. The same for every JSON spelling of one key. */
export function publicKeyId(jwk: object): string {
  const key = jwk as Readonly<Record<string, unknown>>;
  const members = IDENTITY[String(key['kty'])] ?? [];
  const text = JSON.stringify(Object.fromEntries(members.map((member) => [member, key[member]])));
  return KEY_ID_PREFIX + Buffer.from(sha256(new TextEncoder().encode(text))).toString('base64url');
}

export interface KeyFault {
  /** Index of the key, then the member that is wrong, if it is one. */
  readonly path: readonly (string | number)[];
  /** The rule that is broken; never a value. */
  readonly rule: string;
}

const PRIVATE_MEMBERS = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k'];
const BASE64URL = /^[A-Za-z0-9_-]+$/;
/** By curve: bytes of a coordinate, and the algorithm it signs with. */
const CURVES: Readonly<Record<string, { readonly kty: string; readonly bytes: number; readonly alg: string }>> = {
  'P-256': { kty: 'EC', bytes: 32, alg: 'ES256' },
  'P-384': { kty: 'EC', bytes: 48, alg: 'ES384' },
  Ed25519: { kty: 'OKP', bytes: 32, alg: 'EdDSA' },
};
const RSA_ALGORITHMS = ['PS256', 'RS256'];

/** The first fault in a client's set of keys; undefined when each key is public, strong, of a known type and not repeated. */
export function faultOfKeys(keys: readonly object[]): KeyFault | undefined {
  const seen = new Set<string>();
  for (const [index, key] of keys.entries()) {
    const fault = faultOfKey(key as Readonly<Record<string, unknown>>);
    if (fault !== undefined) return { path: [index, fault.member], rule: fault.rule };
    const id = publicKeyId(key);
    if (seen.has(id)) return { path: [index], rule: 'is the same key as another of the set' };
    seen.add(id);
    const kid = (key as { kid?: unknown }).kid;
    if (kid !== undefined && keys.slice(0, index).some((other) => (other as { kid?: unknown }).kid === kid))
      return { path: [index, 'kid'], rule: 'names another key of the set, too' };
  }
  return undefined;
}

type Jwk = Readonly<Record<string, unknown>>;
type MemberFault = { readonly member: string; readonly rule: string };

function faultOfKey(key: Jwk): MemberFault | undefined {
  const secret = PRIVATE_MEMBERS.find((member) => member in key);
  if (secret !== undefined) return { member: secret, rule: 'is part of a private or shared key: give the public key only' };
  if (key['use'] !== undefined && key['use'] !== 'sig') return { member: 'use', rule: 'must be sig' };
  const operations = key['key_ops'];
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify')))
    return { member: 'key_ops', rule: 'must include verify' };
  return key['kty'] === 'RSA' ? faultOfRsa(key) : faultOfCurve(key);
}

function faultOfRsa(key: Jwk): MemberFault | undefined {
  const bits = bitsOf(key['n']);
  if (bits === undefined) return { member: 'n', rule: 'must be a number in base64url' };
  if (bits < LIMITS.rsaMinBits || bits > LIMITS.rsaMaxBits)
    return { member: 'n', rule: `must have ${LIMITS.rsaMinBits} to ${LIMITS.rsaMaxBits} bits` };
  const exponent = bytesOf(key['e']);
  const value = exponent === undefined || exponent.length > 6 ? Number.NaN : exponent.readUIntBE(0, exponent.length);
  if (!(value >= LIMITS.rsaExponentMin && value % 2 === 1))
    return { member: 'e', rule: `must be odd and at least ${LIMITS.rsaExponentMin}` };
  const { alg } = key;
  const known = alg === undefined || RSA_ALGORITHMS.includes(String(alg));
  return known ? undefined : { member: 'alg', rule: `must be one of ${RSA_ALGORITHMS.join(', ')}` };
}

function faultOfCurve(key: Jwk): MemberFault | undefined {
  const curve = CURVES[String(key['crv'])];
  if (curve === undefined || curve.kty !== key['kty']) {
    const names = Object.keys(CURVES).filter((name) => CURVES[name]?.kty === key['kty']);
    return names.length === 0
      ? { member: 'kty', rule: 'must be EC, OKP or RSA' }
      : { member: 'crv', rule: `must be ${names.join(' or ')}` };
  }
  for (const member of curve.kty === 'EC' ? ['x', 'y'] : ['x'])
    if (bytesOf(key[member])?.length !== curve.bytes) return { member, rule: `must be ${curve.bytes} bytes in base64url` };
  const { alg } = key;
  return alg === undefined || alg === curve.alg ? undefined : { member: 'alg', rule: `must be ${curve.alg}` };
}

/** Undefined for a text that is not canonical base64url. */
function bytesOf(text: unknown): Buffer | undefined {
  if (typeof text !== 'string' || !BASE64URL.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  return bytes.toString('base64url') === text ? bytes : undefined;
}

function bitsOf(text: unknown): number | undefined {
  const bytes = bytesOf(text);
  if (bytes === undefined) return undefined;
  const first = bytes.findIndex((byte) => byte !== 0);
  return first < 0 ? 0 : (bytes.length - first) * 8 - Math.clz32(bytes[first] as number) + 24;
}
