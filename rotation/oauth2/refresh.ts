// One refresh of one grant at its token endpoint (RFC 6749 section 6): builds the request, sends it once, reads what came back.
// It never retries, stores or decides what happens next, and no token or provider text leaves it but as a SecretValue.
import type { Clock } from '../../src/base/clock.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import {
  type Egress,
  type EgressAnswer,
  EgressFailure,
  type EgressReason,
  type EgressRequest,
  type OAuth2Spec,
} from '../connector.ts';
import { type RefreshOutcome, type RefreshRefused, readTokenAnswer } from './answer.ts';
import { type ClientIdentity, clientRequest, text, Unusable } from './client-request.ts';

export type { Refreshed, RefreshOutcome, RefreshRefused, RefreshUnknown } from './answer.ts';

export interface RefreshGrant extends ClientIdentity {
  readonly refreshToken: SecretValue;
  /** Separated by spaces. Absent: the scope stays as it was granted. */
  readonly scope?: string | undefined;
}

/** Resolves for everything that can happen at the provider or on the way; it never rejects for those. */
export function refreshGrant(spec: OAuth2Spec, grant: RefreshGrant, egress: Egress, clock: Clock): Promise<RefreshOutcome> {
  return askForToken(spec, () => buildRequest(spec, grant, clock), egress, clock);
}

/** Sends one request to a token endpoint and reads its answer; `build` may throw `Unusable`. Resolves as `refreshGrant` does. */
export async function askForToken(
  spec: OAuth2Spec,
  build: () => Promise<EgressRequest>,
  egress: Egress,
  clock: Clock,
): Promise<RefreshOutcome> {
  let request: EgressRequest;
  try {
    request = await build();
  } catch (error) {
    return notSent('configuration', error instanceof Unusable ? error.word : 'request_unbuildable');
  }
  let answer: EgressAnswer;
  try {
    answer = await egress.send(request);
  } catch (error) {
    if (error instanceof EgressFailure && error.sent === 'not_sent') return notSent(kindOfNotSent(error.reason), error.reason);
    // Anything else, even a defect of our own, may have happened after the token was spent.
    return { kind: 'unknown', cause: error instanceof EgressFailure ? error.reason : 'egress_failed' };
  } finally {
    if (request.body instanceof SecretValue) request.body.wipe();
    for (const value of Object.values(request.headers)) if (value instanceof SecretValue) value.wipe();
  }
  return readTokenAnswer(spec, answer, clock.now());
}

/** The outcome of a call that was not made, or provably never left. */
export function notSent(kind: RefreshRefused['kind'], cause: string): RefreshRefused {
  return { kind, cause, status: undefined, retryAfterSeconds: undefined, nothingSpent: true };
}

function kindOfNotSent(reason: EgressReason): RefreshRefused['kind'] {
  return reason === 'request_refused' || reason === 'host_not_allowed' || reason === 'address_blocked'
    ? 'configuration'
    : 'transient';
}

function buildRequest(spec: OAuth2Spec, grant: RefreshGrant, clock: Clock): Promise<EgressRequest> {
  const scope = grant.scope === undefined || grant.scope === '' ? undefined : grant.scope.split(' ').join(spec.scopeSeparator);
  return clientRequest(
    {
      url: spec.tokenEndpoint,
      method: 'POST',
      hosts: spec.hosts,
      authentication: spec.clientAuthentication,
      bodyFormat: spec.bodyFormat,
      fields: {
        grant_type: 'refresh_token',
        refresh_token: text(grant.refreshToken),
        ...(scope === undefined ? {} : { scope }),
      },
      extraFields: spec.extraParameters,
      audience: spec.assertionAudience,
    },
    grant,
    clock,
  );
}
