// One refresh of one grant at its token endpoint (RFC 6749 section 6): builds the request, sends it once, reads what came back.
// It never retries, stores or decides what happens next, and no token or provider text leaves it but as a SecretValue.
import { importJWK, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import type { Clock } from '../src/base/clock.ts';
import { LIMITS } from '../src/base/limits.ts';
import { SecretValue } from '../src/base/secret-value.ts';
import {
  type Egress,
  type EgressAnswer,
  EgressFailure,
  type EgressReason,
  type EgressRequest,
  type OAuth2Spec,
} from './connector.ts';
import { type RefreshOutcome, type RefreshRefused, readTokenAnswer } from './oauth2-answer.ts';

export type { Refreshed, RefreshOutcome, RefreshRefused, RefreshUnknown } from './oauth2-answer.ts';

export interface RefreshGrant {
  readonly tokenEndpoint: string;
  readonly clientId: string;
  readonly clientSecret?: SecretValue | undefined;
  /** The JSON of a private JWK with `alg`, for private_key_jwt. */
  readonly privateKeyJwk?: SecretValue | undefined;
  readonly refreshToken: SecretValue;
  /** Separated by spaces. Absent: the scope stays as it was granted. */
  readonly scope?: string | undefined;
  readonly allowLoopback: boolean;
}

const OWN_FIELDS = new Set([
  'grant_type',
  'refresh_token',
  'scope',
  'client_id',
  'client_secret',
  'client_assertion',
  'client_assertion_type',
]);
const ASSERTION_SECONDS = 60;
/** A provider whose clock is a little behind must not see an assertion from its future. */
const ASSERTION_BACKDATE_SECONDS = 5;

/** Resolves for everything that can happen at the provider or on the way; it never rejects for those. */
export async function refreshGrant(spec: OAuth2Spec, grant: RefreshGrant, egress: Egress, clock: Clock): Promise<RefreshOutcome> {
  let request: EgressRequest;
  try {
    request = await buildRequest(spec, grant, clock);
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
  }
  return readTokenAnswer(spec, answer, clock.now());
}

class Unusable extends Error {
  readonly word: 'client_secret_missing' | 'client_key_missing' | 'client_key_unusable' | 'request_refused';
  constructor(word: Unusable['word']) {
    super(word);
    this.word = word;
  }
}

function notSent(kind: RefreshRefused['kind'], cause: string): RefreshRefused {
  return { kind, cause, status: undefined, retryAfterSeconds: undefined, nothingSpent: true };
}

function kindOfNotSent(reason: EgressReason): RefreshRefused['kind'] {
  return reason === 'request_refused' || reason === 'host_not_allowed' || reason === 'address_blocked'
    ? 'configuration'
    : 'transient';
}

async function buildRequest(spec: OAuth2Spec, grant: RefreshGrant, clock: Clock): Promise<EgressRequest> {
  const url = URL.parse(grant.tokenEndpoint);
  if (url === null) throw new Unusable('request_refused');
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries(spec.extraParameters ?? {})) {
    if (!OWN_FIELDS.has(name)) fields.set(name, value);
  }
  fields.set('grant_type', 'refresh_token');
  fields.set('refresh_token', text(grant.refreshToken));
  if (grant.scope !== undefined && grant.scope !== '') fields.set('scope', grant.scope.split(' ').join(spec.scopeSeparator));

  const authenticated = new Headers();
  const authenticate = await clientAuthentication(spec, grant, clock);
  await authenticate(
    { issuer: grant.tokenEndpoint, token_endpoint: grant.tokenEndpoint },
    { client_id: grant.clientId },
    fields,
    authenticated,
  );
  const authorization = authenticated.get('authorization');

  const json = spec.bodyFormat === 'json';
  return {
    url: url.href,
    method: 'POST',
    headers: {
      accept: 'application/json',
      'content-type': json ? 'application/json' : 'application/x-www-form-urlencoded',
      ...(authorization === null ? {} : { authorization: SecretValue.fromText(authorization) }),
    },
    body: SecretValue.fromText(json ? JSON.stringify(Object.fromEntries(fields)) : fields.toString()),
    allowedHosts: spec.hosts.length > 0 ? spec.hosts : [url.host],
    timeoutMs: LIMITS.providerTimeoutMs,
    maxBytes: LIMITS.providerAnswerMaxBytes,
    allowLoopback: grant.allowLoopback,
  };
}

async function clientAuthentication(spec: OAuth2Spec, grant: RefreshGrant, clock: Clock): Promise<oauth.ClientAuth> {
  if (spec.clientAuthentication === 'none') return oauth.None();
  if (spec.clientAuthentication === 'private_key_jwt') return privateKeyJwt(spec, grant, clock);
  if (grant.clientSecret === undefined || grant.clientSecret.byteLength === 0) throw new Unusable('client_secret_missing');
  const secret = text(grant.clientSecret);
  return spec.clientAuthentication === 'client_secret_post' ? oauth.ClientSecretPost(secret) : oauth.ClientSecretBasic(secret);
}

async function privateKeyJwt(spec: OAuth2Spec, grant: RefreshGrant, clock: Clock): Promise<oauth.ClientAuth> {
  if (grant.privateKeyJwk === undefined) throw new Unusable('client_key_missing');
  try {
    const jwk = JSON.parse(text(grant.privateKeyJwk)) as JWK;
    const key = await importJWK(jwk);
    if (key instanceof Uint8Array) throw new Unusable('client_key_unusable');
    return oauth.PrivateKeyJwt(typeof jwk.kid === 'string' ? { key, kid: jwk.kid } : { key }, {
      [oauth.modifyAssertion]: (_header, payload) => {
        const nowSeconds = Math.floor(clock.now() / 1_000);
        payload['iat'] = nowSeconds - ASSERTION_BACKDATE_SECONDS;
        payload['nbf'] = payload['iat'];
        payload['exp'] = nowSeconds + ASSERTION_SECONDS;
        payload['aud'] = spec.assertionAudience ?? grant.tokenEndpoint;
      },
    });
  } catch {
    throw new Unusable('client_key_unusable');
  }
}

/** The text of a secret, for as short as can be: a string cannot be wiped, so it must not be kept. */
function text(secret: SecretValue): string {
  return secret.reveal((bytes) => new TextDecoder().decode(bytes));
}
