// Obtains an access token in the way that the connector declares: a refresh, client credentials or a signed assertion.
// It sends once, and must never retry, store anything, or return a token outside of a SecretValue.
import type { Clock } from '../../src/base/clock.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import type { AssertionSpec, Egress, EgressRequest, OAuth2Spec } from '../connector.ts';
import { signAssertion } from './assertion.ts';
import { type ClientIdentity, clientRequest, text, Unusable } from './client-request.ts';
import { askForToken, notSent, type RefreshOutcome, refreshGrant } from './refresh.ts';

export interface RenewableGrant extends ClientIdentity {
  readonly refreshToken: SecretValue | undefined;
  /** Separated by spaces. */
  readonly scope?: string | undefined;
}

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

/**
 * Resolves for every outcome at the provider or in transit.
 * @param lost an answer for this generation was lost: uses the provider's recovery, if there is one
 */
export async function renewGrant(
  spec: OAuth2Spec,
  grant: RenewableGrant,
  egress: Egress,
  clock: Clock,
  lost: boolean,
): Promise<RefreshOutcome> {
  const renewal = spec.renewal ?? { kind: 'refresh_token' };
  const { refreshToken } = grant;
  switch (renewal.kind) {
    case 'none':
      return notSent('configuration', 'not_renewable');
    case 'refresh_token': {
      const { recovery } = renewal;
      if (recovery !== undefined && (lost || refreshToken === undefined))
        return askForToken(spec, () => asserted(spec, recovery, grant, clock), egress, clock);
      if (refreshToken === undefined) return notSent('dead', 'no_refresh_token');
      return refreshGrant(spec, { ...grant, refreshToken }, egress, clock);
    }
    case 'client_credentials':
      return askForToken(
        spec,
        () => asClient(spec, grant, { grant_type: 'client_credentials', ...scopeField(spec, grant) }, clock),
        egress,
        clock,
      );
    case 'jwt_bearer':
      return askForToken(spec, () => asserted(spec, renewal.assertion, grant, clock), egress, clock);
    case 'app_jwt':
      return askForToken(spec, () => asApp(spec, renewal.assertion, grant, clock), egress, clock);
  }
}

/** A lost answer has no consequences: the credentials are not used up. */
export function spendsNothing(spec: OAuth2Spec): boolean {
  return spec.renewal !== undefined && (spec.renewal.kind !== 'refresh_token' || spec.renewal.recovery !== undefined);
}

async function asserted(spec: OAuth2Spec, assertion: AssertionSpec, grant: RenewableGrant, clock: Clock): Promise<EgressRequest> {
  const signed = await signAssertion(assertion, grant, spec.tokenEndpoint, grant.scope, clock);
  const fields = {
    grant_type: assertion.grantType ?? JWT_BEARER,
    ...(assertion.scopeIn === undefined || assertion.scopeIn === 'parameter' ? scopeField(spec, grant) : {}),
  };
  try {
    if (assertion.sentAs === 'bearer') return bare(spec, grant, fields, signed);
    const proven = { ...fields, assertion: text(signed) };
    // The assertion authenticates the client (RFC 7523 section 3.1): without other credentials, `client_id` is omitted, too.
    return spec.clientAuthentication === 'none' ? bare(spec, grant, proven) : await asClient(spec, grant, proven, clock);
  } finally {
    signed.wipe();
  }
}

async function asApp(spec: OAuth2Spec, assertion: AssertionSpec, grant: RenewableGrant, clock: Clock): Promise<EgressRequest> {
  const signed = await signAssertion(assertion, grant, spec.tokenEndpoint, grant.scope, clock);
  try {
    return bare(spec, grant, {}, signed);
  } finally {
    signed.wipe();
  }
}

function asClient(
  spec: OAuth2Spec,
  grant: RenewableGrant,
  fields: Readonly<Record<string, string>>,
  clock: Clock,
): Promise<EgressRequest> {
  return clientRequest(
    {
      url: spec.tokenEndpoint,
      method: 'POST',
      hosts: spec.hosts,
      authentication: spec.clientAuthentication,
      bodyFormat: spec.bodyFormat,
      fields,
      extraFields: spec.extraParameters,
      audience: spec.assertionAudience,
    },
    grant,
    clock,
  );
}

function bare(
  spec: OAuth2Spec,
  grant: ClientIdentity,
  fields: Readonly<Record<string, string>>,
  bearer?: SecretValue,
): EgressRequest {
  const url = URL.parse(spec.tokenEndpoint);
  if (url === null) throw new Unusable('request_refused');
  const all = { ...spec.extraParameters, ...fields };
  const json = spec.bodyFormat === 'json';
  return {
    url: url.href,
    method: 'POST',
    headers: {
      accept: 'application/json',
      'content-type': json ? 'application/json' : 'application/x-www-form-urlencoded',
      ...(bearer === undefined ? {} : { authorization: SecretValue.fromText(`Bearer ${text(bearer)}`) }),
    },
    body: SecretValue.fromText(json ? JSON.stringify(all) : new URLSearchParams(all).toString()),
    allowedHosts: spec.hosts.length > 0 ? spec.hosts : [url.host],
    timeoutMs: LIMITS.providerTimeoutMs,
    maxBytes: LIMITS.providerAnswerMaxBytes,
    allowLoopback: grant.allowLoopback,
  };
}

function scopeField(spec: OAuth2Spec, grant: RenewableGrant): { scope?: string } {
  return grant.scope === undefined || grant.scope === '' ? {} : { scope: grant.scope.split(' ').join(spec.scopeSeparator) };
}
