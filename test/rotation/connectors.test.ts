// The contract suite of OAuth connectors, and the generated catalog and page of all: every file in rotation/connectors/ is in them, without
// being listed anywhere by hand. key-connectors.test.ts is the suite of the others.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Connector, OAuth2Spec, OAuthConnector, PersonaRefusal } from '../../rotation/connector.ts';
import { readTokenAnswer } from '../../rotation/oauth2/answer.ts';
import { readRefusal } from '../../rotation/oauth2/errors.ts';
import { type OAuth2Settings, resolveConnector } from '../../rotation/oauth2/settings.ts';
import { catalogText } from './catalog-text.ts';
import { connectorPage } from './connector-page.ts';
import { answerOf, meaningOf, textOf } from './kit.ts';
import { personaAnswer } from './persona-answer.ts';

const DIRECTORY = new URL('../../rotation/connectors/', import.meta.url);
const files = readdirSync(DIRECTORY)
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.slice(0, -3))
  .sort();

const all: Connector[] = [];
for (const id of files) all.push((await import(new URL(`${id}.ts`, DIRECTORY).href)).connector);
const loaded = new Map(all.flatMap((connector) => (connector.kind === 'oauth2' ? [[connector.id, connector] as const] : [])));
const ids = [...loaded.keys()];

const GENERIC = ['generic-oauth2', 'generic-oidc'];
const NOW = 1_500_000;

it('the catalog holds exactly the files of rotation/connectors (`vitest run test/rotation/connectors.test.ts -u` rewrites it)', async () => {
  await expect(catalogText(files)).toMatchFileSnapshot('../../rotation/catalog.ts');
});

it('docs/connectors.md says what the files say (the same command rewrites it)', async () => {
  await expect(connectorPage(all)).toMatchFileSnapshot('../../docs/connectors.md');
});

it('the providers whose users asked for them are there', () => {
  expect(ids).toEqual(
    expect.arrayContaining([
      ...['hubspot-oauth', 'salesforce-oauth', 'microsoft-oauth', 'microsoft-app', 'atlassian-oauth', 'asana-oauth'],
      ...['monday-oauth', 'monday-legacy-oauth', 'clickup-oauth', 'calendly-oauth', 'google-oauth', 'google-service-account'],
      ...['stripe-connect-oauth', 'stripe-apps-oauth', 'intercom-oauth', 'sentry-oauth', 'slack-oauth', 'slack-user-oauth'],
      ...['github-app-user', 'github-app-installation', 'generic-oauth2', 'generic-oidc'],
    ]),
  );
});

describe.each(ids)('connector %s', (id) => {
  const connector = loaded.get(id) as OAuthConnector;
  const { oauth2 } = connector;
  const isReal = !GENERIC.includes(id) && id !== 'local-sandbox';

  it('is named after its file and imports the contract only', () => {
    expect(connector.id).toBe(id);
    expect(id).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/);
    const source = readFileSync(new URL(`${id}.ts`, DIRECTORY), 'utf8');
    const imported = [...source.matchAll(/from '([^']+)'/g)].map((match) => match[1]);
    expect(imported.filter((path) => path !== '../connector.ts' && !path?.startsWith('../../src/base/'))).toEqual([]);
  });

  it('declares an endpoint whose host is declared too, or leaves it to the credential', () => {
    if (oauth2.tokenEndpoint === '') {
      expect(connector.adjustable).toContain('tokenEndpoint');
      return;
    }
    const url = new URL(oauth2.tokenEndpoint.replaceAll(/\{[a-z0-9_]+\}/g, 'x'));
    expect(oauth2.hosts.map((host) => host.replaceAll(/\{[a-z0-9_]+\}/g, 'x'))).toContain(url.host);
    if (id !== 'local-sandbox') expect(url.protocol).toBe('https:');
  });

  // Skipped for keys and passwords, and for connectors whose every URL is the credential's.
  it.skipIf(!isReal)('resolves to https calls of its own hosts, and all of them move to a sandbox together', () => {
    const settings = madeUpSettings(connector);
    const resolved = resolveConnector(connector, settings);
    expect(callsOf(resolved).length).toBe(callsOf(connector).length);
    for (const call of callsOf(resolved)) {
      expect(call).not.toContain('{');
      expect(new URL(call).protocol).toBe('https:');
      expect(resolved.hosts.some((host) => covers(host, new URL(call).host))).toBe(true);
    }
    if (resolved.consent !== undefined) expect(resolved.consent.authorizeEndpoint).toMatch(/^https:\/\/[^{]+$/);

    const played = resolveConnector(connector, { ...settings, sandbox: 'http://127.0.0.1:9' });
    expect(callsOf(played).filter((call) => !call.startsWith('http://127.0.0.1:9/'))).toEqual([]);
    expect(played.hosts).toEqual(['127.0.0.1:9']);
  });

  it('declares every parameter and account field its URLs, hosts and claims use', () => {
    const text = JSON.stringify({ ...connector, manualSteps: [], facts: {}, persona: {} });
    const names = new Set(['client_id', ...(connector.parameters?.map(({ name }) => name) ?? [])]);
    const accountNames = [...Object.keys(oauth2.accountFields ?? {}), connector.consent?.choice?.accountField];
    expect([...text.matchAll(/\{([a-z0-9_]+)\}/g)].filter(([, name]) => !names.has(name ?? ''))).toEqual([]);
    expect([...text.matchAll(/\{account\.([a-z0-9_]+)\}/g)].filter(([, name]) => !accountNames.includes(name))).toEqual([]);
    for (const name of Object.values(connector.consent?.callbackParameters ?? {})) expect(names).toContain(name);
  });

  it('lets nobody but an admin name a whole host that a client secret is sent to', () => {
    for (const { shape, from, values } of connector.parameters ?? [])
      if (shape === 'host' && values === undefined) expect(from ?? 'credential').toBe('credential');
  });

  it('has error rows that match something and causes that are safe to show', () => {
    for (const row of oauth2.errorTable ?? []) {
      expect(row.status ?? row.code ?? row.text).toBeDefined();
      expect(row.cause).toMatch(/^[a-z0-9_]{1,64}$/);
    }
  });

  it('does not let a credential move its hosts, and a rotating provider is not called safe', () => {
    expect(connector.adjustable ?? []).not.toContain('hosts');
    expect(connector.adjustable ?? []).not.toContain('errorTable');
    // Entra alone says in writing that a used refresh token goes on working.
    if (oauth2.refreshTokenRotates === 'always' && oauth2.lostAnswer.kind === 'safe')
      expect(connector.facts?.['oauth2.lostAnswer']?.sureness).toBe('documented');
  });

  // Skipped where there is no consent of a person.
  it.skipIf(connector.consent === undefined)('asks in words, and only for titles of scopes', () => {
    const { alwaysScopes = [], scopeTitles = {}, scopeParameter } = connector.consent as NonNullable<OAuthConnector['consent']>;
    for (const scope of alwaysScopes) expect(scopeTitles).toHaveProperty([scope]);
    for (const title of Object.values(scopeTitles)) expect(title).toMatch(/^[A-Z].{3,80}[^.]$/);
    if (scopeParameter === 'none') expect(alwaysScopes).toEqual([]);
  });

  it('refuses as its provider does, and every refusal is read as what it is', () => {
    const refusals = connector.persona?.refusals;
    if (isReal) expect(refusals).toBeDefined();
    const read = (refusal: PersonaRefusal) =>
      meaningOf(readTokenAnswer(oauth2, answerOf(refusal.status, refusal.body, { ...refusal.headers }), NOW));
    for (const kind of ['dead', 'configuration', 'transient'] as const) {
      const refusal = refusals?.[kind];
      if (refusal === undefined) continue;
      const members = typeof refusal.body === 'string' ? undefined : refusal.body;
      const text = typeof refusal.body === 'string' ? refusal.body : JSON.stringify(refusal.body);
      expect(readRefusal(refusal.status, { members, text }, oauth2.errorTable).kind).toBe(kind);
      expect(read(refusal)).toBe(kind);
    }
    if (refusals?.reused !== undefined) expect(read(refusals.reused)).toBe('dead');
  });

  // What can be refreshed is a person's consent, and that can end.
  it.skipIf(!isReal)('says how the end of a grant looks, where a refresh can meet it', () => {
    if ((oauth2.renewal?.kind ?? 'refresh_token') === 'refresh_token') expect(connector.persona?.refusals.dead).toBeDefined();
  });

  const keyed = ['client_credentials', 'jwt_bearer', 'app_jwt'].includes(oauth2.renewal?.kind ?? 'none');
  // Skipped where a person consents.
  it.skipIf(!keyed)('never asks a person to consent again where nobody did', () => {
    const outcome = readTokenAnswer(oauth2, answerOf(400, { error: 'invalid_grant' }), NOW);
    expect(meaningOf(outcome)).toBe('configuration');
    expect(connector.persona?.refusals.dead).toBeUndefined();
  });

  // Skipped where a real provider stands behind it (rotation/sandbox/).
  it.skipIf(connector.persona === undefined).each(['a code', 'a refresh token'] as const)(
    'answers %s as its provider does',
    (call) => {
      const fields = call === 'a code' ? (oauth2.exchangeAnswerFields ?? oauth2.answerFields) : oauth2.answerFields;
      const { body, status, expected } = personaAnswer(connector, fields ?? {});
      const outcome = readTokenAnswer({ ...oauth2, answerFields: fields ?? {} }, answerOf(status, body), NOW);
      if (outcome.kind !== 'refreshed') throw new Error(`read as ${outcome.kind}: ${outcome.cause}`);
      expect(textOf(outcome.accessToken)).toBe(expected.accessToken);
      expect(textOf(outcome.refreshToken)).toBe(expected.refreshToken);
      expect(outcome).toMatchObject({ expirySource: expected.expirySource, scope: expected.scope });
      expect(outcome.expiresAtMs).toBe(expected.expiresAtMs);
      expect(outcome.refreshTokenExpiresAtMs).toBe(expected.refreshTokenExpiresAtMs);
      expect(outcome.account).toEqual(expected.account);
    },
  );

  it('says where its facts come from', () => {
    for (const fact of Object.values(connector.facts ?? {})) expect(fact.source.length).toBeGreaterThan(10);
  });

  it('has a fact for every figure, and for every part that is missing', () => {
    const told = Object.keys(connector.facts ?? {});
    const unsaid = wantFacts(connector).filter(
      (part) => !told.some((key) => key === part || part.startsWith(`${key}.`) || key.startsWith(`${part}.`)),
    );
    expect(unsaid).toEqual([]);
  });
});

/** What a fact must stand for: each figure that is there, and the parts whose absence somebody would ask about. */
function wantFacts({ id, oauth2, consent, introspection, lifetimes, scopes }: OAuthConnector): string[] {
  const ofToken = ['tokenEndpoint', 'refreshTokenRotates', 'lostAnswer', 'errorTable', 'accessTokenTtlSeconds', 'rateBudget'];
  const generic = GENERIC.includes(id);
  return [
    ...ofToken
      .filter((field) => !(generic && ['tokenEndpoint', 'accessTokenTtlSeconds'].includes(field)))
      .map((field) => `oauth2.${field}`),
    ...['renewal', 'answerFields', 'exchangeAnswerFields', 'exchangeSendsRedirectUri']
      .filter((field) => oauth2[field as keyof OAuth2Spec] !== undefined)
      .filter((field) => field !== 'renewal' || !['none', 'client_credentials'].includes(oauth2.renewal?.kind ?? 'none'))
      .map((field) => `oauth2.${field}`),
    ...(consent === undefined ? [] : ['consent.pkce', ...(generic ? [] : ['consent.authorizeEndpoint'])]),
    ...(introspection === undefined ? [] : ['introspection']),
    ...(scopes === undefined || scopes.length > 0 ? [] : ['scopes']),
    ...Object.keys(lifetimes ?? {}).map((field) => `lifetimes.${field}`),
    'revocation',
    'probe',
  ];
}

function madeUpSettings(connector: OAuthConnector): OAuth2Settings {
  const parameters = (connector.parameters ?? []).map(({ name, shape, default: fallback, values }) => {
    return [name, fallback ?? values?.[0] ?? (shape === 'host' ? 'made-up.example' : 'made-up')] as const;
  });
  const account = personaAnswer(connector, {}).expected.account;
  return { clientId: 'made-up-client', parameters: Object.fromEntries(parameters), account };
}

type Calls = Pick<OAuthConnector, 'oauth2' | 'introspection' | 'revocation' | 'probe' | 'consent'>;

/** Every URL that is called with a token or a client secret. */
function callsOf({ oauth2, introspection, revocation, probe, consent }: { [K in keyof Calls]: Calls[K] | undefined }): string[] {
  const urls = [oauth2?.tokenEndpoint, introspection?.url, revocation?.url, probe?.url, consent?.choice?.url];
  return urls.filter((url) => url !== undefined);
}

function covers(host: string, reached: string): boolean {
  return host.startsWith('*.') ? reached.endsWith(host.slice(1)) : reached === host;
}
