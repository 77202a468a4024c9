// New passwords. The alphabet needs no quoting or encoding in URLs, shells, SQL and configuration files.
// It must never draw from a source other than the one that is passed in.
import type { Entropy } from '../../src/base/clock.ts';

const ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789';
/** More than 180 bits, and short enough for every supported target (Oracle's 30 bytes are not one of them). */
const LENGTH = 32;

/** Every character is equally probable: bytes beyond the last multiple of the alphabet are discarded. */
export function newPassword(entropy: Entropy): string {
  const usable = 256 - (256 % ALPHABET.length);
  let password = '';
  while (password.length < LENGTH) {
    for (const byte of entropy.bytes(LENGTH)) {
      if (byte < usable && password.length < LENGTH) password += ALPHABET[byte % ALPHABET.length];
    }
  }
  return password;
}
