// The consent page of the sandbox and its redirect (RFC 6749 section 4.1, RFC 7636, RFC 9207).
// It must never redirect a browser except to the validated redirect URI of the request.
import type { ConsentSpec, OAuthConnector } from '../connector.ts';
import type { Misbehaviour } from './misbehaviour.ts';
import type { Ask, Reply } from './persona-ask.ts';
import { claimedClient } from './persona-clients.ts';
import type { Code, House, Played } from './persona-house.ts';
import { homeOf } from './persona-routes.ts';

const CODE_SECONDS = 600;

export function answerAuthorize(
  house: House,
  connector: OAuthConnector,
  parameters: Readonly<Record<string, string>>,
  ask: Ask,
  twist: Misbehaviour | undefined,
): Played {
  const { query } = ask;
  const clientId = claimedClient(ask);
  const redirectUri = query.get('redirect_uri') ?? '';
  // SECURITY: before both are validated, the browser must not be redirected there (RFC 6749 section 4.1.2.1).
  if (clientId === undefined || !house.clients.knows(clientId, connector.id)) return stay('client_id is unknown here');
  if (!isRedirectUri(house, redirectUri)) return stay('redirect_uri is not registered');
  const state = query.get('state');
  const back = (fields: Readonly<Record<string, string>>, outcome: Played['outcome'], why?: string): Played => ({
    reply: sendBack(connector, redirectUri, state, fields, twist),
    outcome,
    why,
  });
  const wrong = wrongWith(connector, query);
  if (wrong !== undefined) return back({ error: wrong.error }, 'configuration', wrong.why);
  const decision = decisionOf(query.get('auto')) ?? house.switches.decision;
  if (decision === 'ask') return { reply: page(connector, query, ask.url), outcome: 'answered' };
  if (decision === 'deny') return back({ error: 'access_denied' }, 'denied');
  const callback = callbackFields(house, connector);
  const named = { ...parameters, ...callback.parameters };
  const code = newCode(house, connector, query, { clientId, redirectUri, parameters: named });
  return back({ code, ...callback.fields }, 'consented');
}

function newCode(
  house: House,
  connector: OAuthConnector,
  query: URLSearchParams,
  asked: Pick<Code, 'clientId' | 'redirectUri' | 'parameters'>,
): string {
  const scope = scopesAsked(connector, query);
  const always = connector.consent?.alwaysScopes ?? [];
  const code = house.grants.word('code', connector.id);
  house.codes.set(code, {
    ...asked,
    connectorId: connector.id,
    challenge: query.get('code_challenge') ?? undefined,
    nonce: query.get('nonce') ?? undefined,
    scope,
    bringsRefreshToken: connector.consent?.scopeParameter === 'none' || always.every((one) => scope.includes(one)),
    endsAtMs: house.now() + CODE_SECONDS * 1_000,
    grant: undefined,
  });
  return code;
}

function decisionOf(auto: string | null): 'allow' | 'deny' | undefined {
  return auto === 'allow' || auto === 'deny' ? auto : undefined;
}

function isRedirectUri(house: House, redirectUri: string): boolean {
  const { redirectUris } = house.switches;
  if (redirectUris.size > 0) return redirectUris.has(redirectUri);
  const url = URL.parse(redirectUri);
  return url !== null && (url.protocol === 'https:' || url.protocol === 'http:') && url.hash === '';
}

function wrongWith(connector: OAuthConnector, query: URLSearchParams): { error: string; why: string } | undefined {
  const { consent } = connector;
  const invalid = (why: string) => ({ error: 'invalid_request', why });
  if (consent?.sendsResponseType !== false && query.get('response_type') !== 'code')
    return { error: 'unsupported_response_type', why: 'response_type must be code' };
  if ((query.get('state') ?? '') === '') return invalid('state is missing');
  const challenge = wrongChallenge(consent?.pkce, query);
  if (challenge !== undefined) return invalid(challenge);
  for (const [name, value] of Object.entries(consent?.extraParameters ?? {}))
    if (query.get(name) !== value) return invalid(`${name} is missing or wrong`);
  if (consent?.openid === true && !scopesAsked(connector, query).includes('openid'))
    return { error: 'invalid_scope', why: 'openid is missing from the scopes' };
  return undefined;
}

/** RFC 7636 section 4.3. */
function wrongChallenge(pkce: ConsentSpec['pkce'] | undefined, query: URLSearchParams): string | undefined {
  const challenge = query.get('code_challenge');
  if (pkce === 'refused') return challenge === null ? undefined : 'this provider refuses a code_challenge';
  if (pkce !== 'S256') return undefined;
  if (query.get('code_challenge_method') !== 'S256') return 'code_challenge_method must be S256';
  return /^[A-Za-z0-9_-]{43}$/.test(challenge ?? '') ? undefined : 'code_challenge must be a SHA-256';
}

function scopesAsked({ consent, oauth2 }: OAuthConnector, query: URLSearchParams): string[] {
  const name = consent?.scopeParameter ?? 'scope';
  return (query.get(name) ?? '').split(oauth2.scopeSeparator ?? ' ').filter((scope) => scope !== '');
}

/** Parameters from the callback, e.g. the installation. */
function callbackFields(house: House, { id, consent, parameters }: OAuthConnector) {
  const fields: Record<string, string> = {};
  const named: Record<string, string> = {};
  for (const [field, name] of Object.entries(consent?.callbackParameters ?? {})) {
    const allowed = parameters?.find((parameter) => parameter.name === name)?.values;
    const value = allowed?.[0] ?? `${name}-${house.codes.size + 1}`;
    fields[field] = value;
    named[name] = value;
  }
  return { fields, parameters: named, id };
}

function sendBack(
  connector: OAuthConnector,
  redirectUri: string,
  state: string | null,
  fields: Readonly<Record<string, string>>,
  twist: Misbehaviour | undefined,
): Reply {
  const target = new URL(redirectUri);
  for (const [name, value] of Object.entries(fields)) target.searchParams.set(name, value);
  if (state !== null) target.searchParams.set('state', twist?.kind === 'wrong_state' ? `${state}-of-somebody-else` : state);
  const issuer = connector.consent?.issuer;
  const told = twist?.kind === 'wrong_issuer' ? 'https://elsewhere.example' : twist?.kind === 'no_issuer' ? undefined : issuer;
  if (told !== undefined) target.searchParams.set('iss', told);
  return { status: 302, headers: { location: target.href, 'cache-control': 'no-store' }, body: '' };
}

function stay(why: string): Played {
  const body = `<!doctype html><meta charset="utf-8"><title>Sandbox</title><h1>This request cannot be answered</h1><p>${escaped(why)}</p>`;
  return { reply: html(400, body), outcome: 'configuration', why };
}

function page(connector: OAuthConnector, query: URLSearchParams, url: string): Reply {
  const link = (auto: string): string => {
    const fields = new URLSearchParams(query);
    fields.set('auto', auto);
    return escaped(`${url}?${fields}`);
  };
  const titles = connector.consent?.scopeTitles ?? {};
  const scopes = scopesAsked(connector, query).map((scope) => {
    const title = Object.hasOwn(titles, scope) ? ` ${escaped(titles[scope] ?? '')}` : '';
    return `<li><code>${escaped(scope)}</code>${title}</li>`;
  });
  return html(
    200,
    `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sandbox: ${escaped(connector.title)}</title>
<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:10vh auto;padding:0 1rem}
small{opacity:.7}a{display:inline-block;margin:1rem .5rem 0 0;padding:.5rem 1.5rem;border:1px solid;border-radius:.4rem;text-decoration:none}</style>
<small>Keyturn sandbox. No account is real here.</small>
<h1>${escaped(connector.title)}</h1>
<p><b>${escaped(query.get('client_id') ?? '')}</b> asks for access${scopes.length > 0 ? ' to:' : '.'}</p><ul>${scopes.join('')}</ul>
<a href="${link('allow')}">Allow</a><a href="${link('deny')}">Deny</a></html>\n`,
  );
}

function html(status: number, body: string): Reply {
  return {
    status,
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
      'cache-control': 'no-store',
    },
    body,
  };
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}

/** OpenID Connect Discovery 1.0 section 3, for connectors whose endpoints the credential sets. */
export function describeIssuer({ id, oauth2, consent, revocation, introspection }: OAuthConnector): unknown {
  return {
    issuer: consent?.issuer ?? homeOf(id),
    authorization_endpoint: consent?.authorizeEndpoint,
    token_endpoint: oauth2.tokenEndpoint,
    revocation_endpoint: revocation?.url,
    introspection_endpoint: introspection?.url,
    jwks_uri: `${homeOf(id)}/jwks`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
    code_challenge_methods_supported: ['S256'],
    authorization_response_iss_parameter_supported: consent?.issuer !== undefined,
  };
}
