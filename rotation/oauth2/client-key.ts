// Who a client is and the key it signs with: a JWK or a PEM, as providers hand them out.
// It must never export a key, nor say of a bad one more than that it cannot be used.
import { type CryptoKey, importJWK, importPKCS8, type JWK } from 'jose';
import type { SecretValue } from '../../src/base/secret-value.ts';

/** Who the client is. */
export interface ClientIdentity {
  readonly clientId: string;
  readonly clientSecret?: SecretValue | undefined;
  /** The JSON of a private JWK with `alg`, for private_key_jwt; `kid`, `x5t` and `x5t#S256` go into the header. */
  readonly privateKeyJwk?: SecretValue | undefined;
  /** PEM, PKCS #8 or PKCS #1; used where there is no JWK. */
  readonly privateKeyPem?: SecretValue | undefined;
  readonly allowLoopback: boolean;
}

/** Why a request could not even be built; our own word. */
export class Unusable extends Error {
  readonly word: 'client_secret_missing' | 'client_key_missing' | 'client_key_unusable' | 'request_refused';
  constructor(word: Unusable['word']) {
    super(word);
    this.word = word;
  }
}

export interface ClientKey {
  readonly key: CryptoKey;
  /** What the header of an assertion says of the key. */
  readonly header: Readonly<Record<string, string>>;
}

/**
 * The private key to sign with.
 * @param algorithm of a PEM, which does not tell; a JWK tells its own
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

/** GitHub hands out PKCS #1; WebCrypto takes PKCS #8 only, which is the same bytes with a head. */
function pkcs8OfRsa(pkcs1: Uint8Array): Uint8Array {
  return der(0x30, Uint8Array.from([...RSA_HEAD, ...der(0x04, pkcs1)]));
}

/** Of content that takes more than 255 bytes, as every RSA key does that can be used. */
function der(tag: number, content: Uint8Array): Uint8Array {
  const { length } = content;
  return Uint8Array.from([tag, 0x82, length >> 8, length & 0xff, ...content]);
}

/** The text of a secret, for as short as can be: a string cannot be wiped, so it must not be kept. */
export function text(secret: SecretValue): string {
  return secret.reveal((bytes) => new TextDecoder().decode(bytes));
}
