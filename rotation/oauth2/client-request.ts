// Builds a request with client authentication: to a token, revocation or introspection endpoint (RFC 6749 section 2.3, RFC 7523 section 2.2).
// It must never send a request, nor return a secret outside of a SecretValue.
import * as oauth from 'oauth4webapi';
import type { Clock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { ClientAuthentication, Egress, EgressRequest } from '../connector.ts';
import { type ClientIdentity, importClientKey, text, Unusable } from './client-key.ts';

export { type ClientIdentity, text, Unusable } from './client-key.ts';

export interface ClientCall {
  readonly url: string;
  readonly method: EgressRequest['method'];
  readonly hosts: readonly string[];
  readonly authentication: ClientAuthentication;
  readonly bodyFormat: 'form' | 'json';
  /** Fields of the protocol; `client_id` and the client authentication are added. */
  readonly fields: Readonly<Record<string, string>>;
  /** Fields of a connector; they never replace a protocol field. */
  readonly extraFields?: Readonly<Record<string, string>> | undefined;
  readonly audience?: string | undefined;
  /** Lower-case names. */
  readonly headers?: Readonly<Record<string, string | SecretValue>>;
}

/** The client of the requests, and the egress. */
export interface Requester {
  readonly client: ClientIdentity;
  readonly egress: Egress;
  readonly clock: Clock;
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
  'code_verifier',
  'token',
]);
const ASSERTION_SECONDS = 60;
/** An assertion must not appear to be from the future at a provider whose clock is slightly behind. */
const ASSERTION_BACKDATE_SECONDS = 5;

/** @throws Unusable */
export async function clientRequest(call: ClientCall, client: ClientIdentity, clock: Clock): Promise<EgressRequest> {
  const url = URL.parse(call.url);
  if (url === null) throw new Unusable('request_refused');
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(call.extraFields ?? {})) {
    if (mayBeSent(call, client, name, value)) fields.set(name, value);
  }
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

/** An endpoint that receives a token: introspection (RFC 7662), revocation (RFC 7009), or a provider's equivalent. */
export interface TokenEndpoint {
  readonly url: string;
  readonly method: EgressRequest['method'];
  /** `bearer`: authentication by an access token instead of client authentication. */
  readonly authentication: ClientAuthentication | 'bearer';
  readonly assertionAudience?: string;
  readonly bodyFormat: 'form' | 'json' | 'query' | 'none';
}

/** A request to such an endpoint. @param bearer the access token for authentication `bearer` @throws Unusable */
export function tokenEndpointRequest(
  { url, method, authentication, assertionAudience, bodyFormat }: TokenEndpoint,
  { bearer, ...call }: Pick<ClientCall, 'hosts' | 'fields' | 'extraFields'> & { readonly bearer: SecretValue | undefined },
  { client, clock }: Pick<Requester, 'client' | 'clock'>,
): Promise<EgressRequest> {
  const isBearer = authentication === 'bearer';
  const shown = isBearer && bearer !== undefined ? { authorization: SecretValue.fromText(`Bearer ${text(bearer)}`) } : {};
  return clientRequest(
    {
      ...call,
      url,
      method,
      authentication: isBearer ? 'none' : authentication,
      audience: assertionAudience,
      bodyFormat: bodyFormat === 'json' ? 'json' : 'form',
      headers: shown,
    },
    client,
    clock,
  );
}

/** The request with these fields in its URL and without a body, for providers that accept no other form. */
export function inQuery({ body, headers, ...rest }: EgressRequest, fields: Readonly<Record<string, string>>): EgressRequest {
  if (body instanceof SecretValue) body.wipe();
  const { 'content-type': _type, ...kept } = headers;
  const url = new URL(rest.url);
  for (const [name, value] of Object.entries(fields)) url.searchParams.set(name, value);
  return { ...rest, url: url.href, headers: kept };
}

/** Wipes every secret of a sent request. */
export function wipeRequest({ body, headers }: EgressRequest): void {
  for (const value of [body, ...Object.values(headers)]) if (value instanceof SecretValue) value.wipe();
}

/** Some providers require `client_id` in the body in addition to Basic; with the secret as user name, it is not needed. */
function mayBeSent({ authentication }: ClientCall, client: ClientIdentity, name: string, value: string): boolean {
  if (name === 'client_id') return authentication === 'client_secret_as_user' || value === client.clientId;
  return !OF_THE_PROTOCOL.has(name);
}

async function clientAuthentication(call: ClientCall, client: ClientIdentity, clock: Clock): Promise<oauth.ClientAuth> {
  if (call.authentication === 'none') return oauth.None();
  if (call.authentication === 'private_key_jwt') return privateKeyJwt(call, client, clock);
  if (client.clientSecret === undefined || client.clientSecret.byteLength === 0) throw new Unusable('client_secret_missing');
  const secret = text(client.clientSecret);
  if (call.authentication === 'client_secret_as_user') return secretAsUser(secret);
  return call.authentication === 'client_secret_post' ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret);
}

function secretAsUser(secret: string): oauth.ClientAuth {
  return (_server, _client, _fields, headers) => {
    headers.set('authorization', `Basic ${Buffer.from(`${secret}:`).toString('base64')}`);
  };
}

async function privateKeyJwt(call: ClientCall, client: ClientIdentity, clock: Clock): Promise<oauth.ClientAuth> {
  const { key, header: ours } = await importClientKey(client, 'RS256');
  return oauth.PrivateKeyJwt(key, {
    [oauth.modifyAssertion]: (header, payload) => {
      Object.assign(header, ours);
      const nowSeconds = Math.floor(clock.now() / 1_000);
      payload['iat'] = nowSeconds - ASSERTION_BACKDATE_SECONDS;
      payload['nbf'] = payload['iat'];
      payload['exp'] = nowSeconds + ASSERTION_SECONDS;
      payload['aud'] = call.audience ?? call.url;
    },
  });
}
