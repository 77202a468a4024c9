// Identifiers: a short type prefix and 120 random bits. They name things; they are never secrets and never derived from names.
import type { Entropy } from './clock.ts';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'; // Crockford base32, lower case

const ID_PREFIXES = {
  installation: 'ins',
  tenant: 'ten',
  environment: 'env',
  credential: 'crd',
  workload: 'wkl',
  user: 'usr',
  run: 'run',
  incarnation: 'inc',
  key: 'key',
  token: 'tok',
  request: 'req',
  connection: 'con',
  alert: 'alr',
  webhook: 'whk',
  delivery: 'dlv',
} as const;
export type IdKind = keyof typeof ID_PREFIXES;
/** e.g. `crd_0123456789abcdefghjkmnpq`. */
export type Id<K extends IdKind> = string & { readonly __id: K };

export function newId<K extends IdKind>(kind: K, entropy: Entropy): Id<K> {
  const bytes = entropy.bytes(15);
  let bits = 0n;
  for (const byte of bytes) bits = (bits << 8n) | BigInt(byte);
  let body = '';
  for (let i = 0; i < 24; i++) {
    body = ALPHABET[Number(bits & 31n)] + body;
    bits >>= 5n;
  }
  return `${ID_PREFIXES[kind]}_${body}` as Id<K>;
}

/** Names of tenants, environments, credentials, workloads: lower case, digits, `.`, `_`, `-`; 1 to 64; starts with a letter or digit. */
export type Name = string & { readonly __name: true };
const NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

export function isName(text: string): text is Name {
  return NAME.test(text);
}
