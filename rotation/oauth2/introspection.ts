// Asks a provider about an access token: whether it is active, its scopes and its expiry (RFC 7662 or a provider's equivalent).
// It must never decide anything: the caller records the answer, after the token is stored.
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { EgressAnswer, EgressRequest, IntrospectionSpec } from '../connector.ts';
import { memberAt, readJson, readScopes } from './answer-body.ts';
import { inQuery, type Requester, text, tokenEndpointRequest, wipeRequest } from './client-request.ts';
import type { ResolvedConnector } from './settings.ts';
import { tokenExpiry } from './token-expiry.ts';

export interface Introspected {
  readonly active: boolean;
  /** Separated by spaces. */
  readonly scope: string | undefined;
  /** Undefined: not in the answer. */
  readonly expiresAtMs: number | undefined;
}

/** Undefined if there is no readable answer. */
export async function introspectToken(
  resolved: Pick<ResolvedConnector, 'introspection' | 'hosts' | 'oauth2'>,
  accessToken: SecretValue,
  requester: Requester,
): Promise<Introspected | undefined> {
  const { introspection: spec, hosts, oauth2 } = resolved;
  if (spec === undefined) return undefined;
  let request: EgressRequest | undefined;
  try {
    request = await buildRequest(spec, hosts, accessToken, requester);
    const answer = await requester.egress.send(request);
    return readAnswer(spec, oauth2.scopeSeparator, answer);
  } catch {
    return undefined;
  } finally {
    if (request !== undefined) wipeRequest(request);
  }
}

/** The token's expiry, if only introspection returns it (rule 5). Called after the pair is stored, because this call may fail. */
export async function introspectExpiry(
  resolved: Pick<ResolvedConnector, 'introspection' | 'hosts' | 'oauth2'>,
  accessToken: SecretValue,
  requester: Requester,
): Promise<number | undefined> {
  const { fields } = resolved.introspection ?? {};
  if (fields === undefined || (fields.expiresAt === undefined && fields.expiresIn === undefined)) return undefined;
  return (await introspectToken(resolved, accessToken, requester))?.expiresAtMs;
}

async function buildRequest(
  spec: IntrospectionSpec,
  hosts: readonly string[],
  accessToken: SecretValue,
  requester: Requester,
): Promise<EgressRequest> {
  const fields = { [spec.tokenParameter]: text(accessToken) };
  const request = await tokenEndpointRequest(spec, { hosts, fields, bearer: accessToken }, requester);
  return spec.bodyFormat === 'query' || spec.method === 'GET' ? inQuery(request, fields) : request;
}

function readAnswer(spec: IntrospectionSpec, separator: ' ' | ',', answer: EgressAnswer): Introspected | undefined {
  const { status, sentAtMs } = answer;
  const body = readJson(answer);
  if (status < 200 || status >= 300 || typeof body !== 'object' || body === null) return undefined;
  const { active, scope, expiresAt, expiresIn } = spec.fields;
  const isActive = active === undefined || memberAt(body, active) === true;
  const expiry = tokenExpiry(
    { accessTokenTtlSeconds: 'never' },
    '',
    {
      expiresIn: expiresIn === undefined ? undefined : memberAt(body, expiresIn),
      expiresAt: expiresAt === undefined ? undefined : memberAt(body, expiresAt),
    },
    sentAtMs,
  );
  return {
    active: isActive,
    scope: scope === undefined || !isActive ? undefined : readScopes(memberAt(body, scope), separator),
    expiresAtMs: isActive ? expiry.expiresAtMs : undefined,
  };
}
