// The SCRAM-SHA-256 verifier that PostgreSQL stores in place of a password (RFC 5802 section 3, RFC 7677), so that the server never sees
// the password. It must never be made from a password outside of printable ASCII, which would need SASLprep (RFC 4013).
import { createHash, createHmac, pbkdf2 } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify(pbkdf2);
const SALT_BYTES = 16;
const KEY_BYTES = 32;

/** As in `pg_authid.rolpassword`: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. */
export async function scramVerifier(password: string, salt: Uint8Array, iterations: number): Promise<string> {
  if (!/^[\x21-\x7e]+$/.test(password)) throw new TypeError('a password for a verifier must be printable ASCII');
  if (salt.byteLength !== SALT_BYTES) throw new TypeError(`a salt must have ${SALT_BYTES} bytes`);
  const salted = await derive(password, salt, iterations, KEY_BYTES, 'sha256');
  const keyed = (text: string) => createHmac('sha256', salted).update(text).digest();
  const storedKey = createHash('sha256').update(keyed('Client Key')).digest('base64');
  const serverKey = keyed('Server Key').toString('base64');
  return `SCRAM-SHA-256$${iterations}:${Buffer.from(salt).toString('base64')}$${storedKey}:${serverKey}`;
}
