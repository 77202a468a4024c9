// One refresh of one grant at its token endpoint (RFC 6749 section 6): builds the request, sends it once, parses the answer.
// It must never retry, store or decide anything, nor return a token or provider text outside of a SecretValue.
import type { Clock } from '../../src/base/clock.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import {
  type Egress,
  type EgressAnswer,
  EgressFailure,
  type EgressReason,
  type EgressRequest,
  type OAuth2Spec,
} from '../connector.ts';
import { type NotSent, type RefreshOutcome, readTokenAnswer, type SentAndLost } from './answer.ts';
import { type ClientIdentity, clientRequest, text, Unusable, wipeRequest } from './client-request.ts';
import { secretsSent } from './provider-words.ts';

export type { NotSent, Refreshed, RefreshFailure, RefreshOutcome } from './answer.ts';

export interface RefreshGrant extends ClientIdentity {
  readonly refreshToken: SecretValue;
  /** Separated by spaces. Absent: the scope is unchanged. */
  readonly scope?: string | undefined;
}

/** Resolves for every outcome at the provider or in transit. */
export function refreshGrant(spec: OAuth2Spec, grant: RefreshGrant, egress: Egress, clock: Clock): Promise<RefreshOutcome> {
  return askForToken(spec, () => buildRequest(spec, grant, clock), egress, clock);
}

/**
 * Sends one request to a token endpoint and parses the answer; `build` may throw `Unusable`. Resolves as `refreshGrant` does.
 * @param renewable false: without a refresh token in the answer the grant cannot be renewed
 */
export async function askForToken(
  spec: OAuth2Spec,
  build: () => Promise<EgressRequest>,
  egress: Egress,
  clock: Clock,
  renewable = true,
): Promise<RefreshOutcome> {
  let request: EgressRequest;
  try {
    request = await build();
  } catch (error) {
    return notSent('configuration', error instanceof Unusable ? error.word : 'request_unbuildable');
  }
  const secrets = secretsSent(request);
  let answer: EgressAnswer;
  try {
    answer = await egress.send(request);
  } catch (error) {
    return unanswered(error);
  } finally {
    wipeRequest(request);
  }
  return readTokenAnswer(spec, answer, clock.now(), { secrets, renewable });
}

/** The outcome of a call that was not made, or provably not sent. */
export function notSent(means: NotSent['means'], cause: string): NotSent {
  return { kind: 'not_sent', means, cause };
}

function unanswered(error: unknown): NotSent | SentAndLost {
  // Any other error, even a defect of Keyturn, may have occurred after the token was used up.
  if (!(error instanceof EgressFailure)) return { kind: 'sent_and_lost', cause: 'egress_failed', certain: true };
  const { sent, reason, evidence, maybeUnsent } = error;
  const said = evidence === undefined || evidence === reason ? {} : { said: { systemCode: evidence } };
  if (sent === 'not_sent') return { ...notSent(meaningOf(reason), reason), ...said };
  return { kind: 'sent_and_lost', cause: reason, certain: !maybeUnsent, ...said };
}

function meaningOf(reason: EgressReason): NotSent['means'] {
  if (reason === 'withdrawn') return 'withdrawn';
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
