// What the persona tests share: a running sandbox of all connectors, and the walk of a person through consent.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { OAuthConnector } from '../../../rotation/connector.ts';
import type { Refreshed, RefreshOutcome } from '../../../rotation/oauth2/answer.ts';
import { authorizationUrl, exchangeCode, readCallback } from '../../../rotation/oauth2/authorization-code.ts';
import { type RenewableGrant, renewGrant } from '../../../rotation/oauth2/mint-token.ts';
import { type OAuth2Settings, type ResolvedConnector, resolveConnector } from '../../../rotation/oauth2/settings.ts';
import type { IssuedGrant, Personas } from '../../../rotation/sandbox/personas.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { createNodeEgress } from '../../../src/node/egress.ts';
import { realClock, textOf } from '../kit.ts';

export const egress = createNodeEgress({ clock: realClock });
export const secret = (text: string): SecretValue => SecretValue.fromText(text);
export const REDIRECT_URI = 'https://keyturn.example/connect/callback';
const VERIFIER = 'a-code-verifier-that-is-not-a-real-secret-0123456789';

/** Every connector with grants that there is a file of. */
export async function loadGrantConnectors(): Promise<ReadonlyMap<string, OAuthConnector>> {
  const folder = join(import.meta.dirname, '../../../rotation/connectors');
  const modules = await Promise.all(
    readdirSync(folder)
      .filter((file) => file.endsWith('.ts'))
      .map((file) => import(join(folder, file)) as Promise<{ connector: OAuthConnector }>),
  );
  return new Map(modules.flatMap(({ connector }) => (connector.kind === 'oauth2' ? [[connector.id, connector] as const] : [])));
}

export function clientOf(issued: IssuedGrant) {
  return {
    clientId: issued.clientId,
    clientSecret: secret(issued.clientSecret),
    privateKeyJwk: issued.clientPrivateKeyJwk === undefined ? undefined : secret(JSON.stringify(issued.clientPrivateKeyJwk)),
    allowLoopback: true,
  };
}

export function grantOf(issued: IssuedGrant, refreshToken = issued.refreshToken): RenewableGrant {
  return {
    ...clientOf(issued),
    refreshToken: refreshToken === undefined ? undefined : secret(refreshToken),
    scope: issued.scope,
  };
}

export function renew(
  connector: OAuthConnector,
  issued: IssuedGrant,
  refreshToken = issued.refreshToken,
  lost = false,
): Promise<RefreshOutcome> {
  const { oauth2 } = resolveConnector(connector, issued.settings);
  return renewGrant(oauth2, grantOf(issued, refreshToken), egress, realClock, lost);
}

export function refreshed(
  outcome: RefreshOutcome,
): Refreshed & { readonly access: string; readonly refresh: string | undefined } {
  if (outcome.kind !== 'refreshed') throw new Error(`expected a token, got ${outcome.kind}: ${outcome.cause}`);
  return { ...outcome, access: textOf(outcome.accessToken) ?? '', refresh: textOf(outcome.refreshToken) };
}

/** Scopes that a workflow could have asked for, beside those that are always. */
export function someScopes({ consent }: OAuthConnector): string[] {
  const titled = Object.keys(consent?.scopeTitles ?? {}).slice(0, 2);
  return [...new Set([...(consent?.alwaysScopes ?? []), ...(titled.length > 0 ? titled : ['read', 'write'])])];
}

export interface Consented {
  readonly back: URL;
  readonly state: string;
  readonly settings: OAuth2Settings;
  readonly resolved: ResolvedConnector;
}

/** From the link to what the browser brings back. @param change of the address the browser is sent to */
export async function consent(
  connector: OAuthConnector,
  issued: IssuedGrant,
  decision: 'allow' | 'deny',
  change: (url: URL) => void = () => {},
): Promise<Consented> {
  const { account: _later, ...known } = issued.settings;
  const waiting = new Set(Object.values(connector.consent?.callbackParameters ?? {}));
  const parameters = Object.fromEntries(Object.entries(known.parameters ?? {}).filter(([name]) => !waiting.has(name)));
  const asking = { ...known, parameters, unfinished: true };
  const state = `state-of-${issued.grant}`;
  const link = await authorizationUrl(
    resolveConnector(connector, asking),
    {
      clientId: issued.clientId,
      redirectUri: REDIRECT_URI,
      state,
      codeVerifier: VERIFIER,
      nonce: 'nonce-1',
      scopes: someScopes(connector),
    },
    true,
  );
  const url = new URL(link);
  url.searchParams.set('auto', decision);
  change(url);
  const answer = await fetch(url, { redirect: 'manual' });
  const location = answer.headers.get('location');
  if (location === null) throw new Error(`the page stayed with ${answer.status}: ${await answer.text()}`);
  const back = new URL(location);
  const told = Object.entries(connector.consent?.callbackParameters ?? {}).flatMap(([field, name]) => {
    const value = back.searchParams.get(field);
    return value === null ? [] : [[name, value] as const];
  });
  const settings = { ...known, parameters: { ...parameters, ...Object.fromEntries(told) } };
  return { back, state, settings, resolved: resolveConnector(connector, { ...settings, unfinished: true }) };
}

export function callbackOf(consented: Consented, issued: IssuedGrant) {
  const { issuer } = consented.resolved.consent ?? {};
  return readCallback(Object.fromEntries(consented.back.searchParams), issued.clientId, issuer, issuer !== undefined);
}

export function exchange(consented: Consented, issued: IssuedGrant, codeVerifier = VERIFIER): Promise<RefreshOutcome> {
  const code = consented.back.searchParams.get('code') ?? '';
  return exchangeCode(
    consented.resolved,
    { ...clientOf(issued), code, redirectUri: REDIRECT_URI, codeVerifier, nonce: 'nonce-1' },
    egress,
    realClock,
  );
}

export function lastCall(personas: Personas) {
  return personas.calls.at(-1);
}
