// The token endpoint according to a connector's data: codes, refreshes, client credentials and assertions.
// It must never issue anything that the described provider would not.
import { createHash } from 'node:crypto';
import { SignJWT } from 'jose';
import type { AssertionSpec, OAuthConnector, Renewal } from '../connector.ts';
import type { Misbehaviour } from './misbehaviour.ts';
import { tokenReply } from './persona-answer.ts';
import type { Ask } from './persona-ask.ts';
import type { Grant, Pair } from './persona-grants.ts';
import type { Code, House, Played } from './persona-house.ts';
import { refuse } from './persona-house.ts';

const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer';

export interface TokenCall {
  readonly house: House;
  readonly connector: OAuthConnector;
  readonly parameters: Readonly<Record<string, string>>;
  readonly ask: Ask;
  readonly twist: Misbehaviour | undefined;
}

export async function answerToken(call: TokenCall): Promise<Played> {
  const { connector, ask } = call;
  const grantType = ask.fields['grant_type'];
  const wrong = wrongFormat(connector, ask);
  if (wrong !== undefined) return refuse(connector, 'configuration', wrong, { grantType });
  const played = await dispatch(call, grantType);
  return { ...played, grantType };
}

function wrongFormat({ oauth2, adjustable }: OAuthConnector, { format, fields }: Ask): string | undefined {
  const { bodyFormat = 'form', renewal, extraParameters } = oauth2 ?? {};
  if (format === 'none' && renewal?.kind === 'app_jwt') return undefined;
  const either = adjustable?.includes('bodyFormat') === true && (format === 'form' || format === 'json');
  if (format !== bodyFormat && !either) return `the body must be ${bodyFormat}`;
  if (fields['grant_type'] === 'authorization_code') return undefined;
  return Object.entries(extraParameters ?? {})
    .filter(([name, value]) => fields[name] !== value)
    .map(([name]) => `${name} is missing or wrong`)[0];
}

async function dispatch(call: TokenCall, grantType: string | undefined): Promise<Played> {
  const { connector, ask, house } = call;
  const { renewal = { kind: 'refresh_token' as const }, clientAuthentication = 'none' } = connector.oauth2 ?? {};
  const assertion = assertionFor(renewal, grantType);
  if (assertion !== undefined) return byAssertion(call, assertion);
  const client = await house.clients.authenticate(connector, clientAuthentication, ask, audiencesOf(call), house.now());
  if (!client.ok) return refuse(connector, 'configuration', client.why);
  if (grantType === 'authorization_code' && connector.consent !== undefined) return byCode(call, client.clientId);
  if (grantType === 'refresh_token' && renewal.kind === 'refresh_token') return byRefreshToken(call, client.clientId);
  if (grantType === 'client_credentials' && renewal.kind === 'client_credentials')
    return byClient(call, client.clientId ?? '', scopesOf(call));
  return refuse(connector, 'configuration', 'the grant_type is unknown');
}

/** The required assertion, if the call has no other authentication. */
function assertionFor(renewal: Renewal, grantType: string | undefined): AssertionSpec | undefined {
  if (renewal.kind === 'app_jwt' && grantType === undefined) return renewal.assertion;
  const assertion = 'assertion' in renewal ? renewal.assertion : renewal.kind === 'refresh_token' ? renewal.recovery : undefined;
  return assertion !== undefined && grantType === (assertion.grantType ?? JWT_BEARER) ? assertion : undefined;
}

/** The audience may be the sandbox's address or the simulated one. */
function audiencesOf({ connector, ask }: TokenCall, spec?: AssertionSpec): string[] {
  const declared = spec === undefined ? connector.oauth2.assertionAudience : spec.audience;
  return declared === undefined || declared.includes('{') ? [ask.url, `https://${ask.address}`, declared ?? ''] : [declared];
}

function scopesOf({ connector, ask }: TokenCall): string[] {
  return (ask.fields['scope'] ?? '').split(connector.oauth2.scopeSeparator ?? ' ').filter((scope) => scope !== '');
}

async function byCode(call: TokenCall, clientId: string | undefined): Promise<Played> {
  const { house, connector, ask } = call;
  const presented = ask.fields['code'] ?? '';
  const code = house.codes.get(presented);
  const dead = (why: string, grant?: Grant): Played => refuse(connector, 'code', why, { grant });
  if (code === undefined || code.connectorId !== connector.id) return dead('the code is unknown');
  if (clientId !== undefined && clientId !== code.clientId) return dead('the code was issued to another client');
  if (code.grant !== undefined) {
    // RFC 6749 section 4.1.2: the grant of a code is revoked if the code is used twice.
    house.grants.end(code.grant, 'code_reuse', house.now());
    return dead('the code was used before', code.grant);
  }
  if (code.endsAtMs <= house.now()) return dead('the code is too old');
  const wrong = wrongWithExchange(call, code);
  if (wrong !== undefined) return dead(wrong);
  const { scope, parameters } = code;
  code.grant = house.grants.add(connector, { clientId: code.clientId, scope, parameters }, house.now());
  const renews = connector.oauth2.renewal?.kind ?? 'refresh_token';
  const withRefresh = code.bringsRefreshToken && renews === 'refresh_token';
  const pair = await house.grants.issue(connector, code.grant, withRefresh, house.now());
  return issued(call, code.grant, pair, { isExchange: true, idToken: await idTokenFor(house, connector, code) });
}

function wrongWithExchange({ connector, ask }: TokenCall, code: Code): string | undefined {
  const { oauth2, consent } = connector;
  const { redirect_uri: redirectUri, code_verifier: verifier = '' } = ask.fields;
  if (oauth2.exchangeSendsRedirectUri !== false && redirectUri !== code.redirectUri)
    return 'the redirect_uri differs from that of the authorization request';
  if (consent?.pkce === 'S256' || code.challenge !== undefined) {
    const challenge = createHash('sha256').update(verifier).digest('base64url');
    if (challenge !== code.challenge) return 'the code_verifier does not match';
  }
  return Object.entries(oauth2.exchangeParameters ?? {})
    .filter(([name, value]) => ask.fields[name] !== value)
    .map(([name]) => `${name} is missing or wrong`)[0];
}

async function byRefreshToken(call: TokenCall, clientId: string | undefined): Promise<Played> {
  const { house, connector, ask, twist } = call;
  const presented = ask.fields['refresh_token'] ?? '';
  const owner = house.grants.ofToken(presented);
  if (twist?.kind === 'same_refresh_token' && owner !== undefined) {
    const pair = await house.grants.issue(connector, owner, false, house.now());
    const generation = house.grants.generationOf(presented);
    return { ...issued(call, owner, { ...pair, refreshToken: presented }), generation };
  }
  const now = house.now();
  const spent = await house.grants.spend(connector, presented, clientId ?? owner?.clientId ?? '', now);
  const { grant, generation } = spent;
  if (!('pair' in spent)) {
    const why = spent.outcome === 'reused' ? 'used before: the family has ended' : (grant?.ended?.cause ?? 'unknown or too old');
    return refuse(connector, spent.outcome, why, { grant, generation });
  }
  const asked = scopesOf(call);
  const scope = asked.length > 0 ? spent.pair.scope.filter((one) => asked.includes(one)) : spent.pair.scope;
  return { ...issued(call, spent.grant, { ...spent.pair, scope }), outcome: spent.outcome, generation };
}

async function byAssertion(call: TokenCall, spec: AssertionSpec): Promise<Played> {
  const { house, connector, ask, parameters } = call;
  const assertion = spec.sentAs === 'bearer' ? ask.bearer : ask.fields['assertion'];
  if (assertion === undefined) return refuse(connector, 'configuration', 'the assertion is missing');
  const checked = await house.clients.verifyGrantAssertion(connector, spec, assertion, audiencesOf(call, spec), house.now());
  if ('why' in checked) return refuse(connector, 'configuration', checked.why);
  const claimed = checked.claims['scope'];
  const scope = spec.scopeIn === 'claim' && typeof claimed === 'string' ? claimed.split(' ') : scopesOf(call);
  if (connector.oauth2.renewal?.kind !== 'refresh_token') return byClient(call, checked.clientId, scope);
  // The recovery of a grant whose newest pair was not received.
  const grant = house.grants.ofClient(connector.id, checked.clientId, parameters);
  if (grant === undefined || !house.grants.isAlive(connector, grant, house.now()))
    return refuse(connector, 'dead', 'the grant no longer exists', { grant });
  return issued(call, grant, await house.grants.issue(connector, grant, true, house.now()));
}

/** Nothing is used up: the client has one grant, created at first use. */
async function byClient(call: TokenCall, clientId: string, scope: readonly string[]): Promise<Played> {
  const { house, connector, parameters } = call;
  const known = house.grants.ofClient(connector.id, clientId, parameters);
  const grant = known ?? house.grants.add(connector, { clientId, scope, parameters }, house.now());
  if (!house.grants.isAlive(connector, grant, house.now()))
    return refuse(connector, 'dead', grant.ended?.cause ?? 'ended', { grant });
  const pair = await house.grants.issue(connector, grant, false, house.now());
  return issued(call, grant, { ...pair, scope: scope.length > 0 ? scope : pair.scope });
}

function issued(
  { connector, house, twist }: TokenCall,
  grant: Grant,
  pair: Pair,
  extra: { readonly isExchange?: boolean; readonly idToken?: string | undefined } = {},
): Played {
  const reply = tokenReply(connector, grant, pair, { ...extra, twist, nowMs: house.now() });
  return { reply, outcome: 'issued', grant };
}

/** OpenID Connect Core section 2. */
async function idTokenFor(house: House, { consent }: OAuthConnector, code: Code): Promise<string | undefined> {
  if (consent?.openid !== true || consent.issuer === undefined || code.grant === undefined) return undefined;
  const now = Math.floor(house.now() / 1_000);
  const { privateJwk } = await house.clients.keyPair('ES256');
  return new SignJWT({
    iss: consent.issuer,
    sub: code.grant.account,
    aud: code.clientId,
    iat: now,
    exp: now + 600,
    ...(code.nonce === undefined ? {} : { nonce: code.nonce }),
  })
    .setProtectedHeader({ alg: 'ES256' })
    .sign(privateJwk);
}
