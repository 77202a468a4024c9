// The identity of an OAuth client and its signing key: a JWK or a PEM, in the forms of providers.
// It must never export a key, nor report more about an invalid one than that it is unusable.
import { type CryptoKey, importJWK, importPKCS8, type JWK } from 'jose';
import type { SecretValue } from '../../src/base/secret-value.ts';

/** The OAuth client. */
export interface ClientIdentity {
  readonly clientId: string;
  readonly clientSecret?: SecretValue | undefined;
  /** The JSON of a private JWK with `alg`, for private_key_jwt; `kid`, `x5t` and `x5t#S256` go into the header. */
  readonly privateKeyJwk?: SecretValue | undefined;
  /** PEM, PKCS #8 or PKCS #1; used if there is no JWK. */
  readonly privateKeyPem?: SecretValue | undefined;
  readonly allowLoopback: boolean;
}

/** Why a request could not be built, as a word from Keyturn's table. */
export class Unusable extends Error {
  readonly word: 'client_secret_missing' | 'client_key_missing' | 'client_key_unusable' | 'request_refused';
  constructor(word: Unusable['word']) {
    super(word);
    this.word = word;
  }
}

export interface ClientKey {
  readonly key: CryptoKey;
  /** The header fields of an assertion that identify the key. */
  readonly header: Readonly<Record<string, string>>;
}

/**
 * The private key to sign with.
 * @param algorithm for a PEM; a JWK contains its own
 * @throws Unusable client_key_missing | client_key_unusable
 */
export async function importClientKey(client: ClientIdentity, algorithm: 'RS256' | 'ES256'): Promise<ClientKey> {
  const { privateKeyJwk, privateKeyPem } = client;
  if (privateKeyJwk === undefined && privateKeyPem === undefined) throw new Unusable('client_key_missing');
  try {
    if (privateKeyJwk === undefined) return { key: await importPem(text(privateKeyPem as SecretValue), algorithm), header: {} };
    const jwk = JSON.parse(text(privateKeyJwk)) as JWK & Record<string, unknown>;
    const key = await importJWK(jwk);
    if (key instanceof Uint8Array || key.type !== 'private') throw new Unusable('client_key_unusable');
    // Entra finds the certificate by its thumbprint (RFC 7515 sections 4.1.7 and 4.1.8).
    const named = ['kid', 'x5t', 'x5t#S256'].flatMap((name) => (typeof jwk[name] === 'string' ? [[name, jwk[name]]] : []));
    return { key, header: Object.fromEntries(named) as Record<string, string> };
  } catch {
    throw new Unusable('client_key_unusable');
  }
}

function importPem(pem: string, algorithm: string): Promise<CryptoKey> {
  const pkcs1 = /-----BEGIN RSA PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END RSA PRIVATE KEY-----/.exec(pem)?.[1];
  if (pkcs1 === undefined) return importPKCS8(pem, algorithm);
  const wrapped = Buffer.from(pkcs8OfRsa(Buffer.from(pkcs1, 'base64'))).toString('base64');
  return importPKCS8(`-----BEGIN PRIVATE KEY-----\n${wrapped}\n-----END PRIVATE KEY-----`, algorithm);
}

/** Version 0 and the identifier of rsaEncryption with its NULL (RFC 5208 section 5, RFC 8017 appendix A.1). */
const RSA_HEAD = [0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/** GitHub issues PKCS #1; WebCrypto accepts only PKCS #8, which is the same content with a header. */
function pkcs8OfRsa(pkcs1: Uint8Array): Uint8Array {
  return der(0x30, Uint8Array.from([...RSA_HEAD, ...der(0x04, pkcs1)]));
}

/** The DER header for content of more than 255 bytes, which every usable RSA key has. */
function der(tag: number, content: Uint8Array): Uint8Array {
  const { length } = content;
  return Uint8Array.from([tag, 0x82, length >> 8, length & 0xff, ...content]);
}

/** The text of a secret. A string cannot be wiped, so the caller must not keep it. */
export function text(secret: SecretValue): string {
  return secret.reveal((bytes) => new TextDecoder().decode(bytes));
}
