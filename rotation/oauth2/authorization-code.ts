// The authorization code grant (RFC 6749 section 4.1) with PKCE (RFC 7636) and issuer identification (RFC 9207): the authorization URL, the
// parsing of the callback, and the exchange of the code. It must never store anything, nor send anything but the exchange.
import * as oauth from 'oauth4webapi';
import type { Clock } from '../../src/base/clock.ts';
import { fail } from '../../src/base/errors.ts';
import type { ConsentSpec, Egress } from '../connector.ts';
import type { RefreshOutcome } from './answer.ts';
import { type ClientIdentity, clientRequest } from './client-request.ts';
import { askForToken } from './refresh.ts';
import type { ResolvedConnector } from './settings.ts';

/** The parameters of one attempt. */
export interface CodeRequest {
  readonly clientId: string;
  readonly redirectUri: string;
  readonly state: string;
  /** 43 to 128 unreserved characters (RFC 7636 section 4.1). */
  readonly codeVerifier: string;
  /** Present only if the answer contains an ID token. */
  readonly nonce: string;
  readonly scopes: readonly string[];
}

/** The authorization URL for the person's browser. @throws invalid_request naming the setting that makes it unusable */
export async function authorizationUrl(
  resolved: ResolvedConnector,
  request: CodeRequest,
  allowLoopback: boolean,
): Promise<string> {
  const consent =
    resolved.consent ??
    fail('invalid_request', 'the connector has no consent link: put the grant instead', { pointer: '/connector' });
  const url = authorizeEndpoint(consent, allowLoopback);
  const { searchParams } = url;
  for (const [name, value] of Object.entries(consent.extraParameters ?? {})) searchParams.set(name, value);
  if (consent.sendsResponseType !== false) searchParams.set('response_type', 'code');
  searchParams.set('client_id', request.clientId);
  searchParams.set('redirect_uri', request.redirectUri);
  searchParams.set('state', request.state);
  const scopeParameter = consent.scopeParameter ?? 'scope';
  if (scopeParameter !== 'none' && request.scopes.length > 0)
    searchParams.set(scopeParameter, request.scopes.join(resolved.oauth2.scopeSeparator));
  if (consent.pkce === 'S256') {
    searchParams.set('code_challenge', await oauth.calculatePKCECodeChallenge(request.codeVerifier));
    searchParams.set('code_challenge_method', 'S256');
  }
  if (consent.openid === true) searchParams.set('nonce', request.nonce);
  return url.href;
}

/** SECURITY: a browser opens this URL, so it must be https, or http on loopback (no `javascript:`). */
export function authorizeEndpoint(consent: ConsentSpec, allowLoopback: boolean): URL {
  const pointer = '/config/authorization_endpoint';
  const { authorizeEndpoint: text } = consent;
  if (text === '' || text.includes('{')) fail('invalid_request', 'the setting is required by this connector', { pointer });
  const url = URL.parse(text) ?? fail('invalid_request', 'the setting must be an absolute URL', { pointer });
  const onThisMachine = ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname);
  if (url.protocol !== 'https:' && !(url.protocol === 'http:' && onThisMachine && allowLoopback))
    fail('invalid_request', 'the setting must be an https URL', { pointer });
  return url;
}

export type Callback =
  | { readonly kind: 'code'; readonly code: string }
  /** The provider's answer is an error. `declined`: the person declined. */
  | { readonly kind: 'refused'; readonly declined: boolean; readonly cause: string }
  /** Not the answer to this request: nothing may change. */
  | { readonly kind: 'foreign'; readonly cause: 'issuer_missing' | 'issuer_wrong' | 'not_an_answer' };

/** RFC 6749 section 4.1.2.1, OpenID Connect Core section 3.1.2.6. Other codes are not repeated, because they are untrusted text. */
const ERRORS = new Set([
  'invalid_request',
  'unauthorized_client',
  'unsupported_response_type',
  'invalid_scope',
  'server_error',
  'temporarily_unavailable',
  'interaction_required',
  'login_required',
  'account_selection_required',
  'consent_required',
]);
const DECLINED = new Set(['access_denied', 'user_denied', 'user_cancelled', 'consent_denied']);
const CODE_MAX_CHARS = 8_192;

/** Parses the callback; the caller has compared `state`. `issuer`: the expected issuer; `required`: whether `iss` must be present. */
export function readCallback(
  fields: Readonly<Record<string, string>>,
  clientId: string,
  issuer: string | undefined,
  required: boolean,
): Callback {
  const parameters = new URLSearchParams({ ...fields });
  const iss = parameters.get('iss');
  const fault = faultOfIssuer(iss, issuer, required);
  if (fault !== undefined) return { kind: 'foreign', cause: fault };
  try {
    const server = {
      issuer: issuer ?? iss ?? 'https://unnamed.invalid',
      authorization_response_iss_parameter_supported: required,
    };
    const checked = oauth.validateAuthResponse(server, { client_id: clientId }, parameters, oauth.skipStateCheck);
    const code = checked.get('code') ?? '';
    const usable = code.length <= CODE_MAX_CHARS && /^[\x21-\x7e]+$/.test(code);
    return usable ? { kind: 'code', code } : { kind: 'foreign', cause: 'not_an_answer' };
  } catch (error) {
    if (!(error instanceof oauth.AuthorizationResponseError)) return { kind: 'foreign', cause: 'not_an_answer' };
    return refusalFor(error.error);
  }
}

/** RFC 9207 section 2.4. @param iss from the callback */
function faultOfIssuer(
  iss: string | null,
  issuer: string | undefined,
  required: boolean,
): 'issuer_missing' | 'issuer_wrong' | undefined {
  if (required && iss === null) return 'issuer_missing';
  return issuer !== undefined && iss !== null && iss !== issuer ? 'issuer_wrong' : undefined;
}

/** @param error the provider's error code */
function refusalFor(error: string): Callback {
  const declined = DECLINED.has(error);
  const cause = declined ? 'declined' : ERRORS.has(error) ? error : 'refused_by_provider';
  return { kind: 'refused', declined, cause };
}

/** What the exchange needs in addition to the connector. */
export interface CodeGrant extends ClientIdentity {
  readonly code: string;
  readonly redirectUri: string;
  readonly codeVerifier: string;
  readonly nonce: string;
}

/** Sends the code once; resolves for every outcome at the provider or in transit, as `refreshGrant` does. */
export async function exchangeCode(
  resolved: ResolvedConnector,
  grant: CodeGrant,
  egress: Egress,
  clock: Clock,
): Promise<RefreshOutcome> {
  const { consent } = resolved;
  const { exchangeAnswerFields, ...declared } = resolved.oauth2;
  const oauth2 = exchangeAnswerFields === undefined ? declared : { ...declared, answerFields: exchangeAnswerFields };
  const withVerifier = consent?.pkce === 'S256' ? { code_verifier: grant.codeVerifier } : {};
  const build = () =>
    clientRequest(
      {
        url: oauth2.tokenEndpoint,
        method: 'POST',
        hosts: oauth2.hosts,
        authentication: oauth2.clientAuthentication,
        bodyFormat: oauth2.bodyFormat,
        fields: {
          grant_type: 'authorization_code',
          code: grant.code,
          ...(oauth2.exchangeSendsRedirectUri === false ? {} : { redirect_uri: grant.redirectUri }),
          ...withVerifier,
        },
        extraFields: oauth2.exchangeParameters,
        audience: oauth2.assertionAudience,
      },
      grant,
      clock,
    );
  // Without a refresh token such a grant cannot be renewed.
  const renewable = oauth2.renewal !== undefined && oauth2.renewal.kind !== 'refresh_token' && oauth2.renewal.kind !== 'none';
  if (consent?.openid !== true) return askForToken(oauth2, build, egress, clock, renewable);
  const tap = new Tap(egress);
  const outcome = await askForToken(oauth2, build, tap, clock, renewable);
  if (outcome.kind !== 'refreshed' || (await identityHolds(tap.text, consent, grant))) return outcome;
  return {
    kind: 'refused',
    means: 'configuration',
    recognised: true,
    cause: 'id_token_refused',
    status: 200,
    retryAfterSeconds: undefined,
  };
}

/** Keeps the text of the answer, so that its ID token can be checked after its tokens were read. */
class Tap implements Egress {
  readonly #egress: Egress;
  text = '';

  constructor(egress: Egress) {
    this.#egress = egress;
  }

  async send(request: Parameters<Egress['send']>[0]) {
    const answer = await this.#egress.send(request);
    this.text = answer.body.reveal((bytes) => new TextDecoder().decode(bytes));
    return answer;
  }
}

/** Allowed signature algorithms of an ID token; others, and `none`, are rejected. */
const SIGNED_WITH = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519'];

/**
 * OpenID Connect Core section 3.1.3.7: issuer, audience, times and nonce. TLS to the token endpoint replaces the check of the signature
 * (point 6).
 */
async function identityHolds(text: string, { issuer }: ConsentSpec, grant: CodeGrant): Promise<boolean> {
  if (issuer === undefined) return false;
  try {
    const answer = new Response(text, { headers: { 'content-type': 'application/json' } });
    const server = { issuer, id_token_signing_alg_values_supported: SIGNED_WITH };
    await oauth.processAuthorizationCodeResponse(server, { client_id: grant.clientId }, answer, {
      expectedNonce: grant.nonce,
      requireIdToken: true,
    });
    return true;
  } catch {
    return false;
  }
}
