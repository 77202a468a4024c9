// One request that a client makes as itself: to a token, revocation or introspection endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2).
// It builds requests and sends none; a secret leaves it only inside a SecretValue.
import { importJWK, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import type { Clock } from '../src/base/clock.ts';
import { LIMITS } from '../src/base/limits.ts';
import { SecretValue } from '../src/base/secret-value.ts';
import type { ClientAuthentication, EgressRequest } from './connector.ts';

/** Who the client is. */
export interface ClientIdentity {
  readonly clientId: string;
  readonly clientSecret?: SecretValue | undefined;
  /** The JSON of a private JWK with `alg`, for private_key_jwt; `kid`, `x5t` and `x5t#S256` go into the header. */
  readonly privateKeyJwk?: SecretValue | undefined;
  readonly allowLoopback: boolean;
}

export interface ClientCall {
  readonly url: string;
  readonly method: EgressRequest['method'];
  readonly hosts: readonly string[];
  readonly authentication: ClientAuthentication;
  readonly bodyFormat: 'form' | 'json';
  /** Fields of the protocol; `client_id` and what proves the client are added. */
  readonly fields: Readonly<Record<string, string>>;
  /** Fields of a connector; they never replace one of the protocol. */
  readonly extraFields?: Readonly<Record<string, string>> | undefined;
  readonly audience?: string | undefined;
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string | SecretValue>>;
}

/** Why a request could not even be built; our own word. */
export class Unusable extends Error {
  readonly word: 'client_secret_missing' | 'client_key_missing' | 'client_key_unusable' | 'request_refused';
  constructor(word: Unusable['word']) {
    super(word);
    this.word = word;
  }
}

const OF_THE_PROTOCOL = new Set([
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
  'refresh_token',
  'grant_type',
  'scope',
  'code',
  'redirect_uri',
  'code_verifier',
  'token',
]);
const ASSERTION_SECONDS = 60;
/** A provider whose clock is a little behind must not see an assertion from its future. */
const ASSERTION_BACKDATE_SECONDS = 5;

/** @throws Unusable */
export async function clientRequest(call: ClientCall, client: ClientIdentity, clock: Clock): Promise<EgressRequest> {
  const url = URL.parse(call.url);
  if (url === null) throw new Unusable('request_refused');
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(call.extraFields ?? {})) if (!OF_THE_PROTOCOL.has(name)) fields.set(name, value);
  for (const [name, value] of Object.entries(call.fields)) fields.set(name, value);

  const authenticated = new Headers();
  const authenticate = await clientAuthentication(call, client, clock);
  await authenticate({ issuer: call.url, token_endpoint: call.url }, { client_id: client.clientId }, fields, authenticated);
  const authorization = authenticated.get('authorization');

  const json = call.bodyFormat === 'json';
  return {
    url: url.href,
    method: call.method,
    headers: {
      accept: 'application/json',
      'content-type': json ? 'application/json' : 'application/x-www-form-urlencoded',
      ...(authorization === null ? {} : { authorization: SecretValue.fromText(authorization) }),
      ...call.headers,
    },
    body: SecretValue.fromText(json ? JSON.stringify(Object.fromEntries(fields)) : fields.toString()),
    allowedHosts: call.hosts.length > 0 ? call.hosts : [url.host],
    timeoutMs: LIMITS.providerTimeoutMs,
    maxBytes: LIMITS.providerAnswerMaxBytes,
    allowLoopback: client.allowLoopback,
  };
}

async function clientAuthentication(call: ClientCall, client: ClientIdentity, clock: Clock): Promise<oauth.ClientAuth> {
  if (call.authentication === 'none') return oauth.None();
  if (call.authentication === 'private_key_jwt') return privateKeyJwt(call, client, clock);
  if (client.clientSecret === undefined || client.clientSecret.byteLength === 0) throw new Unusable('client_secret_missing');
  const secret = text(client.clientSecret);
  return call.authentication === 'client_secret_post' ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret);
}

async function privateKeyJwt(call: ClientCall, client: ClientIdentity, clock: Clock): Promise<oauth.ClientAuth> {
  if (client.privateKeyJwk === undefined) throw new Unusable('client_key_missing');
  try {
    const jwk = JSON.parse(text(client.privateKeyJwk)) as JWK & Record<string, unknown>;
    const key = await importJWK(jwk);
    if (key instanceof Uint8Array) throw new Unusable('client_key_unusable');
    return oauth.PrivateKeyJwt(typeof jwk.kid === 'string' ? { key, kid: jwk.kid } : { key }, {
      [oauth.modifyAssertion]: (header, payload) => {
        // Entra finds the certificate by its thumbprint (RFC 7515 sections 4.1.7 and 4.1.8).
        for (const name of ['x5t', 'x5t#S256']) if (typeof jwk[name] === 'string') header[name] = jwk[name];
        const nowSeconds = Math.floor(clock.now() / 1_000);
        payload['iat'] = nowSeconds - ASSERTION_BACKDATE_SECONDS;
        payload['nbf'] = payload['iat'];
        payload['exp'] = nowSeconds + ASSERTION_SECONDS;
        payload['aud'] = call.audience ?? call.url;
      },
    });
  } catch {
    throw new Unusable('client_key_unusable');
  }
}

/** The text of a secret, for as short as can be: a string cannot be wiped, so it must not be kept. */
export function text(secret: SecretValue): string {
  return secret.reveal((bytes) => new TextDecoder().decode(bytes));
}
