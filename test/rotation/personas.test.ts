// Every connector, played by the sandbox and walked through by the functions that production uses: consent, exchange, refresh, death, revoking.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../rotation/connector.ts';
import { discover } from '../../rotation/oauth2/discovery.ts';
import { introspectToken } from '../../rotation/oauth2/introspection.ts';
import { spendsNothing } from '../../rotation/oauth2/mint-token.ts';
import { askProbe } from '../../rotation/oauth2/probe.ts';
import { revokeGrant } from '../../rotation/oauth2/revocation.ts';
import { resolveConnector } from '../../rotation/oauth2/settings.ts';
import { type Personas, startPersonas } from '../../rotation/sandbox/personas.ts';
import { meaningOf, realClock } from './kit.ts';
import {
  callbackOf,
  clientOf,
  consent,
  egress,
  exchange,
  lastCall,
  loadGrantConnectors,
  refreshed,
  renew,
  secret,
  someScopes,
} from './sandbox/kit.ts';

const connectors = await loadGrantConnectors();
const all = [...connectors.values()].map((connector) => [connector.id, connector] as const);
const renewable = all.filter(([, { oauth2 }]) => oauth2.renewal?.kind !== 'none');
const withRefreshToken = renewable.filter(([, { oauth2 }]) => (oauth2.renewal?.kind ?? 'refresh_token') === 'refresh_token');
const connectable = all.filter(([, connector]) => connector.consent !== undefined);
let personas: Personas;
beforeAll(async () => {
  personas = await startPersonas({ connectors });
});
afterEach(() => {
  personas.calm();
  personas.setClockOffset(0);
});
afterAll(() => personas.stop());

const HOUR_MS = 3_600_000;
const issue = (connector: OAuthConnector) => personas.issueGrant(connector.id, { scope: someScopes(connector).join(' ') });
const requester = (issued: Awaited<ReturnType<typeof issue>>) => ({ client: clientOf(issued), egress, clock: realClock });
const resolve = (connector: OAuthConnector, issued: Awaited<ReturnType<typeof issue>>) =>
  resolveConnector(connector, issued.settings);

it('plays every connector that has grants', () => {
  expect(personas.connectors).toEqual([...connectors.keys()]);
  expect(all.length).toBeGreaterThan(2);
});

describe.each(connectable)('%s: consent', (_, connector) => {
  it('brings a code that is good once, for a grant with the scopes that were asked for', async () => {
    const issued = await issue(connector);
    const consented = await consent(connector, issued, 'allow');
    expect(consented.back.searchParams.get('state')).toBe(consented.state);
    expect(callbackOf(consented, issued)).toMatchObject({ kind: 'code' });
    const first = refreshed(await exchange(consented, issued));
    expect(first.access).toContain(connector.persona?.accessTokenIs === 'jwt' ? '.' : 'not-a-real-secret');
    if (connector.persona?.scopeAs !== 'absent' && connector.consent?.scopeParameter !== 'none')
      expect(first.scope?.split(' ')).toEqual(someScopes(connector));
    const grant = personas.grantOf(first.access) ?? '';
    expect(personas.isAlive(grant)).toBe(true);
    expect(meaningOf(await exchange(consented, issued))).toBe('dead');
    expect(personas.isAlive(grant), 'a code that comes twice ends what it brought').toBe(false);
  });

  it('takes no for an answer', async () => {
    const issued = await issue(connector);
    expect(callbackOf(await consent(connector, issued, 'deny'), issued)).toEqual({
      kind: 'refused',
      declined: true,
      cause: 'declined',
    });
  });

  it('refuses a verifier that does not fit, where the connector has PKCE', async () => {
    const issued = await issue(connector);
    const consented = await consent(connector, issued, 'allow');
    const outcome = await exchange(consented, issued, 'another-verifier-that-is-not-a-real-secret-0123456789');
    expect(meaningOf(outcome)).toBe(connector.consent?.pkce === 'S256' ? 'dead' : 'refreshed');
  });

  it('stays on its page when the client or the redirect URI is none', async () => {
    const issued = await issue(connector);
    const strange = (name: string, value: string) =>
      consent(connector, issued, 'allow', (url) => url.searchParams.set(name, value));
    await expect(strange('client_id', 'somebody-else')).rejects.toThrow('stayed with 400');
    await expect(strange('redirect_uri', 'javascript:alert(1)')).rejects.toThrow('stayed with 400');
  });
});

describe.each(renewable)('%s: renewal', (_, connector) => {
  it('gives a fresh token that works until its end, and says what it granted', async () => {
    const issued = await issue(connector);
    const fresh = refreshed(await renew(connector, issued));
    expect(fresh.access).not.toBe(issued.accessToken);
    expect(personas.grantOf(fresh.access)).toBe(issued.grant);
    expect(lastCall(personas)).toMatchObject({ grant: issued.grant, outcome: 'issued', endpoint: 'token' });
    const resolved = resolve(connector, issued);
    const { probe } = resolved;
    if (probe === undefined) return;
    expect((await askProbe(probe, resolved.hosts, secret(fresh.access), egress, true)).verdict).toBe('works');
    const ttl = connector.oauth2.accessTokenTtlSeconds ?? 3_600;
    if (ttl === 'never') return;
    personas.setClockOffset(ttl * 1_000 + 1_000);
    // A connector may say that no status of its read means the token.
    const silent = probe.rejectedBy?.length === 0;
    expect((await askProbe(probe, resolved.hosts, secret(fresh.access), egress, true)).verdict).toBe(
      silent ? 'unknown' : 'rejected',
    );
  });

  it('is dead when the grant is, or for the operator where no person consented', async () => {
    const issued = await issue(connector);
    personas.revoke(issued.grant);
    const { persona } = connector;
    const dies = persona === undefined || persona.refusals.dead !== undefined;
    expect(meaningOf(await renew(connector, issued))).toBe(dies ? 'dead' : 'configuration');
    expect(personas.isAlive(issued.grant)).toBe(false);
  });

  it('is a matter of configuration when the client is wrong, and the grant lives', async () => {
    const issued = await issue(connector);
    const keyless = connector.oauth2.clientAuthentication === 'none';
    personas.misbehave({ kind: 'refuse', as: 'configuration' }, { connector: connector.id });
    expect(meaningOf(await renew(connector, issued))).toBe('configuration');
    if (!keyless && issued.clientPrivateKeyJwk === undefined) {
      const outcome = await renew(connector, { ...issued, clientSecret: 'a-wrong-one-that-is-not-a-real-secret' });
      expect(meaningOf(outcome)).toBe('configuration');
    }
    expect(personas.isAlive(issued.grant)).toBe(true);
  });

  it('is transient when the provider says so, and works afterwards', async () => {
    const issued = await issue(connector);
    personas.misbehave({ kind: 'refuse', as: 'transient' }, { connector: connector.id });
    expect(meaningOf(await renew(connector, issued))).toBe('transient');
    expect((await renew(connector, issued)).kind).toBe('refreshed');
  });
});

describe.each(withRefreshToken)('%s: refresh tokens', (_, connector) => {
  const rotates = connector.oauth2.refreshTokenRotates;

  it('turn as the connector says', async () => {
    const issued = await issue(connector);
    const first = refreshed(await renew(connector, issued));
    const second = refreshed(await renew(connector, issued, first.refresh ?? issued.refreshToken));
    const turned = [first.refresh, second.refresh].filter((token) => token !== undefined).length;
    expect(turned).toBe({ always: 2, sometimes: 1, never: 0 }[rotates ?? 'never']);
    const generations = personas.callsFor(issued.grant).map(({ generation }) => generation);
    expect(generations).toEqual(rotates === 'always' ? [1, 2] : [1, 1]);
  });

  it('after a lost answer do what the connector says of lost answers', async () => {
    const issued = await issue(connector);
    if (rotates === 'sometimes') await renew(connector, issued);
    personas.misbehave({ kind: 'drop' }, { connector: connector.id });
    expect(await renew(connector, issued)).toMatchObject({ kind: 'sent_and_lost', cause: 'connection_lost' });
    const again = await renew(connector, issued, issued.refreshToken, true);
    const lost = connector.oauth2.lostAnswer.kind;
    const { oauth2 } = resolve(connector, issued);
    const survives =
      rotates === 'never' || lost !== 'unsafe' || spendsNothing(oauth2) || (connector.persona?.graceSeconds ?? 0) > 0;
    expect(meaningOf(again)).toBe(survives ? 'refreshed' : 'dead');
    expect(personas.familyRevoked(issued.grant)).toBe(!survives);
  });

  it('die of neglect where the connector has such a limit', async () => {
    const { idleSeconds, absoluteSeconds, refreshTokenSeconds } = connector.lifetimes ?? {};
    const limits = [idleSeconds, absoluteSeconds, refreshTokenSeconds, connector.persona?.refreshTokenSeconds];
    const shortest = Math.min(...limits.filter((limit) => limit !== undefined));
    const issued = await issue(connector);
    personas.setClockOffset(shortest === Number.POSITIVE_INFINITY ? HOUR_MS : shortest * 1_000 + HOUR_MS);
    expect(meaningOf(await renew(connector, issued))).toBe(shortest === Number.POSITIVE_INFINITY ? 'refreshed' : 'dead');
  });
});

describe.each(all)('%s: what is beside tokens', (_, connector) => {
  it('is revoked at the provider, and gone when it is asked again', async () => {
    const issued = await issue(connector);
    const { revocation, hosts } = resolve(connector, issued);
    const tokens = () => ({
      accessToken: secret(issued.accessToken),
      refreshToken: issued.refreshToken === undefined ? undefined : secret(issued.refreshToken),
    });
    if (revocation === undefined) {
      expect(connector.revocation === undefined || connector.revocation.url.includes('{')).toBe(true);
      return;
    }
    const once = await revokeGrant(revocation, hosts, tokens(), requester(issued));
    expect(once).toEqual({ kind: 'revoked', alreadyGone: false });
    expect(personas.isAlive(issued.grant)).toBe(false);
    const twice = await revokeGrant(revocation, hosts, tokens(), requester(issued));
    expect(twice.kind).toBe('revoked');
    if ((connector.oauth2.renewal?.kind ?? 'refresh_token') === 'refresh_token')
      expect(meaningOf(await renew(connector, issued))).toBe('dead');
  });

  it('tells of a live token what it may do, and of a dead one that it is dead', async () => {
    const issued = await issue(connector);
    const resolved = resolve(connector, issued);
    if (resolved.introspection === undefined) return;
    const ask = () => introspectToken(resolved, secret(issued.accessToken), requester(issued));
    const told = await ask();
    expect(told?.active).toBe(true);
    if (resolved.introspection.fields.scope !== undefined) expect(told?.scope?.split(' ')).toEqual(someScopes(connector));
    personas.withdraw(issued.grant);
    expect((await ask())?.active ?? false).toBe(false);
  });

  it('lists the places a grant covers, where one of them is chosen', async () => {
    const issued = await issue(connector);
    const { choice } = resolve(connector, issued).consent ?? {};
    if (choice === undefined) return;
    for (const count of [0, 1, 3]) {
      personas.offerSites(connector.id, count);
      const answer = await fetch(choice.url, { headers: { authorization: `Bearer ${issued.accessToken}` } });
      const text = await answer.text();
      expect(text.split('Made-up site').length - 1).toBe(count);
    }
  });
});

describe('clients without a shared secret', () => {
  it.each(['RS256', 'ES256'] as const)('prove themselves with a key (%s), and with no other', async (algorithm) => {
    const connector = [...connectors.values()].find(({ adjustable }) => adjustable?.includes('clientAuthentication'));
    if (connector === undefined) throw new Error('no connector lets a credential choose');
    const issued = await issue(connector);
    const { jwk } = await personas.clientKey(algorithm);
    const adjust = { ...issued.settings.adjust, clientAuthentication: 'private_key_jwt' as const };
    const signed = { ...issued, settings: { ...issued.settings, adjust }, clientPrivateKeyJwk: jwk };
    expect((await renew(connector, signed)).kind).toBe('refreshed');
    const stranger = await startPersonas({ connectors: [] });
    const { jwk: foreign } = await stranger.clientKey(algorithm);
    await stranger.stop();
    expect(meaningOf(await renew(connector, { ...signed, clientPrivateKeyJwk: foreign }))).toBe('configuration');
    expect(personas.isAlive(issued.grant)).toBe(true);
    const { d: _private, p, q, dp, dq, qi, ...publicJwk } = foreign;
    await personas.registerClientKey(publicJwk);
    const { refreshToken } = await issue(connector);
    expect((await renew(connector, { ...signed, clientPrivateKeyJwk: foreign }, refreshToken)).kind).toBe('refreshed');
  });

  it('are found where a provider describes itself', async () => {
    const connector = [...connectors.values()].find(({ consent: asked }) => asked?.openid === true);
    const issued = await personas.issueGrant(connector?.id ?? '');
    const { issuer = '' } = issued.settings;
    const found = await discover({ issuer, sandbox: personas.origin, allowLoopback: true }, egress);
    expect(found).toMatchObject({ tokenEndpoint: issued.settings.adjust?.tokenEndpoint, namesItself: true });
  });
});

it('plays any address with generic connectors, by the last word of its path', async () => {
  const connector = connectors.get('generic-oauth2');
  if (connector === undefined) throw new Error('generic-oauth2 is gone');
  const issued = await issue(connector);
  const adjust = { tokenEndpoint: 'https://login.made-up.example/realms/one/token' };
  const { settings } = issued;
  expect((await renew(connector, { ...issued, settings: { ...settings, adjust } })).kind).toBe('refreshed');
});
