// Identifiers: a short type prefix and 120 random bits. They name things; they are never secrets and never derived from names.
import type { Entropy } from './clock.ts';
import { LIMITS } from './limits.ts';

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
  feed: 'cal',
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

/** Names of tenants, environments, workloads, users: lower case, digits, `.`, `_`, `-`; 1 to 64; starts with a letter or digit. */
export type Name = string & { readonly __name: true };
export const NAME_PATTERN = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const NAME_RULE = "a name may contain a-z, 0-9, '.', '_' and '-', at most 64 characters, and begins with a letter or a digit";

export function isName(text: string): text is Name {
  return NAME_PATTERN.test(text);
}

/**
 * Names of credentials, stored as they are spelled: parts between single slashes. Two names in one environment must not differ in case
 * alone. `.`, `..` and empty parts are refused, so a name is never another path.
 */
export type CredentialName = string & { readonly __credentialName: true };
export const CREDENTIAL_NAME_PATTERN = /^[A-Za-z0-9_][A-Za-z0-9._-]*(?:\/[A-Za-z0-9_][A-Za-z0-9._-]*)*$/;
const CREDENTIAL_NAME_RULE =
  "a credential name may contain A-Z, a-z, 0-9, '.', '_', '-' and '/', at most 128 characters, and each part between slashes begins with a letter, a digit or '_'";

export function isCredentialName(text: string): text is CredentialName {
  return text.length <= LIMITS.credentialNameMaxChars && CREDENTIAL_NAME_PATTERN.test(text);
}

/** A pattern of a workload: a credential name in which `*` matches any run of characters, `/` included. */
export const NAME_GLOB_PATTERN = /^(?=.{1,128}$)[A-Za-z0-9_*][A-Za-z0-9._*-]*(?:\/[A-Za-z0-9_*][A-Za-z0-9._*-]*)*$/;
const NAME_GLOB_RULE = `a pattern is a credential name in which * matches any run of characters; ${CREDENTIAL_NAME_RULE}`;

/** The rule and the kind of character that broke it; never the text itself. */
export function nameFault(text: string): string {
  return `${NAME_RULE}; got ${gotIn(text, 64, /[a-z0-9._-]/, 'a name that begins with another character')}`;
}

export function credentialNameFault(text: string): string {
  return `${CREDENTIAL_NAME_RULE}; got ${gotIn(text, LIMITS.credentialNameMaxChars, /[A-Za-z0-9._/-]/, partFault(text))}`;
}

export function nameGlobFault(text: string): string {
  return `${NAME_GLOB_RULE}; got ${gotIn(text, LIMITS.credentialNameMaxChars, /[A-Za-z0-9._*/-]/, partFault(text))}`;
}

function gotIn(text: string, maxChars: number, allowed: RegExp, otherwise: string): string {
  if (text === '') return 'nothing';
  const odd = [...text].find((char) => !allowed.test(char));
  if (odd !== undefined) return kindOf(odd);
  return text.length > maxChars ? `${text.length} characters` : otherwise;
}

function partFault(text: string): string {
  return text.split('/').includes('') ? 'an empty part' : "a part that begins with '.' or '-'";
}

function kindOf(char: string): string {
  if (char === ' ') return 'a space';
  if (char === '/') return 'a slash';
  if (/[A-Z]/.test(char)) return 'an upper-case letter';
  if (/\p{Cc}/u.test(char)) return 'a control character';
  return /[^\x20-\x7e]/.test(char) ? 'a character outside ASCII' : 'a character that is not allowed';
}
