// Bearer tokens and client secrets: secret scanners recognise them, the checksum works offline, only a keyed hash is stored.
// It must never store a token, or accept one in another spelling than the minted one.
import type { KeyObject } from 'node:crypto';
import { SecretValue } from '../base/secret-value.ts';
import { crc32 } from './crc32.ts';
import { hmacSha256, randomBytes } from './primitives.ts';

export { equalBytes } from './primitives.ts';

/** `boot` bootstrap owner, `enr` a new person's enrolment (spent by that person for a first `usr` token), `usr` user, `wlk` direct workload token, `acc` exchanged access token, `cs` workload client secret. */
export const TOKEN_TYPES = ['boot', 'enr', 'usr', 'wlk', 'acc', 'cs'] as const;
export type TokenType = (typeof TOKEN_TYPES)[number];

/**
 *     kt_ <type> _ <12 public id> <43 secret> <6 checksum>      base62 (0-9 A-Z a-z); 43 digits hold 256 bits
 *
 * The checksum is the CRC-32 of all characters before it, most significant digit first.
 */
export interface ParsedToken {
  readonly type: TokenType;
  readonly publicId: string;
  /** What `hashToken` takes: the whole token. */
  readonly hashInput: Uint8Array;
}

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const BASE = 62;
const PUBLIC_ID_CHARS = 12;
const SECRET_CHARS = 43;
const CHECKSUM_CHARS = 6;
const UNBIASED_BELOW = 256 - (256 % BASE); // 248: bytes from here on would make the first digits more likely
const TOKEN = /^kt_(boot|enr|usr|wlk|acc|cs)_([0-9A-Za-z]{12})[0-9A-Za-z]{49}$/;
const encoder = new TextEncoder();

/** A new token; shown once. Store the public id and `hashToken`, never the token. */
export function mintToken(type: TokenType): { publicId: string; token: SecretValue } {
  const publicId = randomDigits(PUBLIC_ID_CHARS);
  const body = `kt_${type}_${publicId}${randomDigits(SECRET_CHARS)}`;
  return { publicId, token: SecretValue.fromText(body + checksum(body, body.length)) };
}

/** Undefined unless the text has exactly the minted form. Does not check whether the token is valid. */
export function parseToken(text: string): ParsedToken | undefined {
  const match = TOKEN.exec(text);
  if (match === null) return undefined;
  const bodyChars = text.length - CHECKSUM_CHARS;
  if (text.slice(bodyChars) !== checksum(text, bodyChars)) return undefined;
  return { type: match[1] as TokenType, publicId: match[2] as string, hashInput: encoder.encode(text) };
}

/** HMAC-SHA-256 of the whole token under the pepper; 32 bytes. Compare with `equalBytes` only. */
export function hashToken(pepper: KeyObject, token: string | Uint8Array): Uint8Array {
  return hmacSha256(pepper, typeof token === 'string' ? encoder.encode(token) : token);
}

function checksum(text: string, length: number): string {
  let rest = crc32(text, length);
  let digits = '';
  for (let i = 0; i < CHECKSUM_CHARS; i++) {
    digits = ALPHABET.charAt(rest % BASE) + digits;
    rest = Math.floor(rest / BASE);
  }
  return digits;
}

function randomDigits(count: number): string {
  let digits = '';
  while (digits.length < count) {
    for (const byte of randomBytes(count)) {
      if (byte < UNBIASED_BELOW && digits.length < count) digits += ALPHABET.charAt(byte % BASE);
    }
  }
  return digits;
}
