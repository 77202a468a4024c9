// One attempt to revoke a grant at its provider (RFC 7009 or a provider's equivalent): builds the request, sends it once, parses the answer.
// It must never retry or store anything, nor report a grant as revoked without the provider's confirmation.
import type { SecretValue } from '../../src/base/secret-value.ts';
import { type EgressAnswer, EgressFailure, type EgressRequest, type RevocationSpec } from '../connector.ts';
import { retryAfterSeconds } from './answer.ts';
import { membersOf } from './answer-body.ts';
import { inQuery, type Requester, text, tokenEndpointRequest, Unusable, wipeRequest } from './client-request.ts';
import { readRefusal, saysRefusal } from './errors.ts';

export interface RevocableTokens {
  readonly refreshToken: SecretValue | undefined;
  readonly accessToken: SecretValue | undefined;
}

export type RevocationOutcome =
  /** `alreadyGone`: the provider reports that the token did not exist any more. */
  | { readonly kind: 'revoked'; readonly alreadyGone: boolean }
  | {
      readonly kind: 'failed';
      /** A word from Keyturn's table; safe to store, log and show. */
      readonly cause: string;
      readonly retryAfterSeconds: number | undefined;
    };

const failed = (cause: string, retryAfter?: number): RevocationOutcome => ({
  kind: 'failed',
  cause,
  retryAfterSeconds: retryAfter,
});

/** Resolves for every outcome at the provider or in transit. @param hosts of the connector; empty: the endpoint's host */
export async function revokeGrant(
  spec: RevocationSpec,
  hosts: readonly string[],
  tokens: RevocableTokens,
  requester: Requester,
): Promise<RevocationOutcome> {
  let request: EgressRequest;
  try {
    request = await buildRequest(spec, hosts, tokens, requester);
  } catch (error) {
    return failed(error instanceof Unusable ? error.word : 'request_unbuildable');
  }
  try {
    return readAnswer(spec, await requester.egress.send(request), requester.clock.now());
  } catch (error) {
    return failed(error instanceof EgressFailure ? error.reason : 'egress_failed');
  } finally {
    wipeRequest(request);
  }
}

async function buildRequest(
  spec: RevocationSpec,
  hosts: readonly string[],
  tokens: RevocableTokens,
  requester: Requester,
): Promise<EgressRequest> {
  const fields = fieldsOf(spec, tokens);
  const { accessToken: bearer } = tokens;
  // The token for authentication must be an access token, whichever token is revoked.
  if (spec.authentication === 'bearer' && bearer === undefined) throw new Unusable('request_refused');
  const { extraParameters: extraFields } = spec;
  const request = await tokenEndpointRequest(spec, { hosts, fields, extraFields, bearer }, requester);
  if (spec.bodyFormat !== 'none') return request;
  // SECURITY: proxies log URLs, so a client secret must not be in one (RFC 6749 section 2.3.1).
  if (spec.authentication === 'client_secret_post') throw new Unusable('request_refused');
  return inQuery(request, { ...extraFields, ...fields });
}

/** @throws Unusable if there is no token to revoke */
function fieldsOf(spec: RevocationSpec, { refreshToken, accessToken }: RevocableTokens): Record<string, string> {
  const isRefresh = spec.token === 'refresh' && refreshToken !== undefined;
  const token = isRefresh ? refreshToken : accessToken;
  if (token === undefined) throw new Unusable('request_refused');
  if (spec.tokenParameter === undefined) return {};
  const hint = spec.sendsHint === true ? { token_type_hint: isRefresh ? 'refresh_token' : 'access_token' } : {};
  return { [spec.tokenParameter]: text(token), ...hint };
}

function readAnswer(spec: RevocationSpec, answer: EgressAnswer, nowMs: number): RevocationOutcome {
  const raw = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
  answer.body.wipe();
  const members = membersOf(raw);
  const ok = answer.status >= 200 && answer.status < 300;
  // RFC 7009 section 2.2: 200 also for an unknown token.
  if (ok && (members === undefined || !saysRefusal(members))) return { kind: 'revoked', alreadyGone: false };
  const goneRows = (spec.alreadyGone ?? []).map((row) => ({ ...row, means: 'dead' as const, cause: ALREADY_GONE }));
  const refusal = readRefusal(answer.status, { members, text: raw }, goneRows);
  if (refusal.cause === ALREADY_GONE) return { kind: 'revoked', alreadyGone: true };
  return failed(refusal.cause, retryAfterSeconds(answer.headers['retry-after'], nowMs));
}

const ALREADY_GONE = 'already_gone';
