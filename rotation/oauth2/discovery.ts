// What a provider says of itself (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3): where its endpoints are.
// It must never believe a document that names another issuer than the one that was asked, nor an endpoint that is not https.
import * as oauth from 'oauth4webapi';
import { fail } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { type Egress, type EgressAnswer, EgressFailure } from '../connector.ts';

/** Endpoints as absolute URLs; undefined where the provider names none. */
export interface Discovered {
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly revocationEndpoint: string | undefined;
  readonly introspectionEndpoint: string | undefined;
  /** Its answers to a browser carry `iss` (RFC 9207 section 3). */
  readonly namesItself: boolean;
}

export interface DiscoveryRequest {
  readonly issuer: string;
  /** The sandbox that plays the issuer's host. */
  readonly sandbox: string | undefined;
  readonly allowLoopback: boolean;
}

const POINTER = { pointer: '/config/issuer' };

/** @throws invalid_request at /config/issuer when it is none | provider_unavailable */
export async function discover(request: DiscoveryRequest, egress: Egress): Promise<Discovered> {
  const issuer = URL.parse(request.issuer);
  if (issuer === null || issuer.search !== '' || issuer.hash !== '') fail('invalid_request', 'must be an issuer URL', POINTER);
  const path = issuer.pathname.replace(/\/$/, '');
  const documents = [`${path}/.well-known/openid-configuration`, `/.well-known/oauth-authorization-server${path}`];
  for (const document of documents) {
    const answer = await ask(issuer, document, request, egress);
    if (answer.status === 200) return read(issuer, request, answer);
    answer.body.wipe();
    if (answer.status >= 500 || answer.status === 429) fail('provider_unavailable', 'the issuer does not answer; try again');
  }
  return fail('invalid_request', 'publishes no description of itself', POINTER);
}

async function ask(issuer: URL, path: string, request: DiscoveryRequest, egress: Egress): Promise<EgressAnswer> {
  const origin = request.sandbox === undefined ? issuer.origin : `${request.sandbox.replace(/\/+$/, '')}/${issuer.host}`;
  const url = URL.parse(`${origin}${path}`) ?? fail('invalid_request', 'must be an issuer URL', POINTER);
  try {
    return await egress.send({
      url: url.href,
      method: 'GET',
      headers: { accept: 'application/json' },
      allowedHosts: [url.host],
      timeoutMs: LIMITS.providerTimeoutMs,
      maxBytes: LIMITS.providerAnswerMaxBytes,
      allowLoopback: request.allowLoopback,
    });
  } catch (error) {
    const refused =
      error instanceof EgressFailure && ['request_refused', 'address_blocked', 'host_not_allowed'].includes(error.reason);
    return refused
      ? fail('invalid_request', 'cannot be reached from here', POINTER)
      : fail('provider_unavailable', 'the issuer does not answer; try again');
  }
}

async function read(issuer: URL, request: DiscoveryRequest, answer: EgressAnswer): Promise<Discovered> {
  const text = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
  let server: oauth.AuthorizationServer;
  try {
    const document = new Response(text, { headers: { 'content-type': 'application/json' } });
    server = await oauth.processDiscoveryResponse(issuer, document);
  } catch {
    return fail('invalid_request', 'describes another issuer, or nothing that can be read', POINTER);
  }
  const endpoint = (value: unknown): string | undefined => usableEndpoint(value, request.allowLoopback);
  return {
    authorizationEndpoint:
      endpoint(server.authorization_endpoint) ?? fail('invalid_request', 'names no usable authorization endpoint', POINTER),
    tokenEndpoint: endpoint(server.token_endpoint) ?? fail('invalid_request', 'names no usable token endpoint', POINTER),
    revocationEndpoint: endpoint(server.revocation_endpoint),
    introspectionEndpoint: endpoint(server.introspection_endpoint),
    namesItself: server.authorization_response_iss_parameter_supported === true,
  };
}

/** As it will be stored and called. */
function usableEndpoint(value: unknown, allowLoopback: boolean): string | undefined {
  if (typeof value !== 'string' || value.length > LIMITS.providerEndpointMaxChars) return undefined;
  const url = URL.parse(value);
  if (url === null || (url.protocol !== 'https:' && !(url.protocol === 'http:' && allowLoopback && isLoopback(url))))
    return undefined;
  // SECURITY: settings are filled in where `{name}` stands, and shown: a provider's word is neither a template nor a place for a password.
  const isPlain = url.username === '' && url.password === '' && url.hash === '' && !/[{}]/.test(value);
  return isPlain ? url.href : undefined;
}

function isLoopback({ hostname }: URL): boolean {
  return /^(127\.[0-9.]+|\[::1\]|localhost)$/.test(hostname);
}
