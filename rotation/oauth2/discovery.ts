// Discovery of a provider's endpoints (OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3).
// It must never accept a document of another issuer, nor an endpoint that is not https.
import * as oauth from 'oauth4webapi';
import { fail } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { type Egress, type EgressAnswer, EgressFailure } from '../connector.ts';

/** Endpoints as absolute URLs; undefined if the document has none. */
export interface Discovered {
  readonly authorizationEndpoint: string;
  readonly tokenEndpoint: string;
  readonly revocationEndpoint: string | undefined;
  readonly introspectionEndpoint: string | undefined;
  /** Whether its authorization responses contain `iss` (RFC 9207 section 3). */
  readonly namesItself: boolean;
}

export interface DiscoveryRequest {
  readonly issuer: string;
  /** The sandbox in place of the issuer's host. */
  readonly sandbox: string | undefined;
  readonly allowLoopback: boolean;
}

const POINTER = { pointer: '/config/issuer' };

/** @throws invalid_request at /config/issuer if it is not an issuer | provider_unavailable */
export async function discover(request: DiscoveryRequest, egress: Egress): Promise<Discovered> {
  const issuer = URL.parse(request.issuer);
  if (issuer === null || issuer.search !== '' || issuer.hash !== '')
    fail('invalid_request', 'the setting issuer must be an https URL without query and fragment', POINTER);
  const path = issuer.pathname.replace(/\/$/, '');
  const documents = [`${path}/.well-known/openid-configuration`, `/.well-known/oauth-authorization-server${path}`];
  for (const document of documents) {
    const answer = await ask(issuer, document, request, egress);
    if (answer.status === 200) return read(issuer, request, answer);
    answer.body.wipe();
    if (answer.status >= 500 || answer.status === 429) fail('provider_unavailable', 'the issuer did not answer: try again');
  }
  return fail('invalid_request', 'the issuer publishes no discovery document: check the setting issuer', POINTER);
}

async function ask(issuer: URL, path: string, request: DiscoveryRequest, egress: Egress): Promise<EgressAnswer> {
  const origin = request.sandbox === undefined ? issuer.origin : `${request.sandbox.replace(/\/+$/, '')}/${issuer.host}`;
  const url =
    URL.parse(`${origin}${path}`) ??
    fail('invalid_request', 'the setting issuer must be an https URL without query and fragment', POINTER);
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
      ? fail('invalid_request', 'the issuer cannot be reached from this service: check the setting issuer', POINTER)
      : fail('provider_unavailable', 'the issuer did not answer: try again');
  }
}

async function read(issuer: URL, request: DiscoveryRequest, answer: EgressAnswer): Promise<Discovered> {
  const text = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
  let server: oauth.AuthorizationServer;
  try {
    const document = new Response(text, { headers: { 'content-type': 'application/json' } });
    server = await oauth.processDiscoveryResponse(issuer, document);
  } catch {
    return fail(
      'invalid_request',
      'the discovery document is not valid or names another issuer: check the setting issuer',
      POINTER,
    );
  }
  const endpoint = (value: unknown): string | undefined => usableEndpoint(value, request.allowLoopback);
  return {
    authorizationEndpoint:
      endpoint(server.authorization_endpoint) ??
      fail('invalid_request', 'the discovery document has no usable authorization_endpoint', POINTER),
    tokenEndpoint:
      endpoint(server.token_endpoint) ?? fail('invalid_request', 'the discovery document has no usable token_endpoint', POINTER),
    revocationEndpoint: endpoint(server.revocation_endpoint),
    introspectionEndpoint: endpoint(server.introspection_endpoint),
    namesItself: server.authorization_response_iss_parameter_supported === true,
  };
}

/** The endpoint in its stored form. */
function usableEndpoint(value: unknown, allowLoopback: boolean): string | undefined {
  if (typeof value !== 'string' || value.length > LIMITS.providerEndpointMaxChars) return undefined;
  const url = URL.parse(value);
  if (url === null || (url.protocol !== 'https:' && !(url.protocol === 'http:' && allowLoopback && isLoopback(url))))
    return undefined;
  // SECURITY: stored settings are used as templates and displayed, so an endpoint must not contain `{name}`, a user name or a password.
  const isPlain = url.username === '' && url.password === '' && url.hash === '' && !/[{}]/.test(value);
  return isPlain ? url.href : undefined;
}

function isLoopback({ hostname }: URL): boolean {
  return /^(127\.[0-9.]+|\[::1\]|localhost)$/.test(hostname);
}
