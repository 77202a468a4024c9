// Tokens of whoever saw a public id in a log: rightly spelled, with a right checksum, and without the secret.
import { crc32 } from '../../src/crypto/crc32.ts';

const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const SECRET_CHARS = 43;
const CHECKSUM_CHARS = 6;

/** As crypto/token.ts writes it. */
export function checksumOf(body: string): string {
  let rest = crc32(body, body.length);
  let text = '';
  for (let i = 0; i < CHECKSUM_CHARS; i++) {
    text = DIGITS.charAt(rest % 62) + text;
    rest = Math.floor(rest / 62);
  }
  return text;
}

/** Type and public id of `token` with another secret: wholly another one, or but for one character. */
export function forgedFrom(token: string, how: 'wholly' | 'one-character' = 'wholly'): string {
  const secretAt = token.length - SECRET_CHARS - CHECKSUM_CHARS;
  const secret = token.slice(secretAt, -CHECKSUM_CHARS);
  const other = how === 'wholly' ? 'x'.repeat(SECRET_CHARS) : `${secret.slice(0, -1)}${secret.endsWith('0') ? '1' : '0'}`;
  const body = token.slice(0, secretAt) + other;
  return body + checksumOf(body);
}
