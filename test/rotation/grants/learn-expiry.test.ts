// Rule 5 of expiry: where neither the answer nor the token tells, the provider's introspection does, after the pair is stored.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { type IssuedGrant, type Personas, startPersonas } from '../../../rotation/sandbox/personas.ts';
import { createNodeEgress } from '../../../src/node/egress.ts';
import { type OAuth2Config, oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../../src/vault/read-credential.ts';
import { type TestTenant, testTenant } from '../../kit/vaults.ts';
import { loadGrantConnectors } from '../sandbox/kit.ts';

const connectors = await loadGrantConnectors();
const GUESS_SECONDS = 600;
/** As the provider is, but for the figure that is taken where nobody tells. */
const guessing = new Map(
  [...connectors].map(([id, connector]) => [
    id,
    { ...connector, oauth2: { ...connector.oauth2, accessTokenTtlSeconds: GUESS_SECONDS } },
  ]),
);
let personas: Personas;
let tenant: TestTenant;
let engine: RefreshEngine;
let issued: IssuedGrant;

beforeAll(async () => {
  tenant = await testTenant({ demo: true });
  const { vault, clock } = tenant;
  personas = await startPersonas({ connectors, clock });
  engine = new RefreshEngine({
    vault,
    egress: createNodeEgress({ clock }),
    connectors: guessing,
    owner: 'first',
    sandboxAllowed: true,
    every: () => () => {},
  });
  vault.refresher = engine;
});
afterAll(() => personas.stop());
afterEach(() => personas.calm());

let name = '';
let count = 0;
beforeEach(() => connect());

async function connect(config: Partial<OAuth2Config> = {}): Promise<void> {
  const { vault } = tenant;
  name = `crm-${++count}`;
  issued = await personas.issueGrant('salesforce-oauth', { scope: 'api refresh_token' });
  await vault.submit((job) =>
    putCredential(job, tenant.user(['admin'], 'everywhere'), {
      environment: 'staging',
      name,
      kind: 'oauth2',
      value: { refresh_token: issued.refreshToken, client_secret: issued.clientSecret },
      connector: 'salesforce-oauth',
      config: oauth2Config.parse({ ...issued.config, ...config }),
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
}

const row = () =>
  tenant.vault.lookup('test', (lookup, view) => {
    const environment = view.credentials.findEnvironment(lookup, 'staging');
    const found = view.credentials.find(lookup, environment?.id ?? '', name);
    if (found === undefined) throw new Error('no such credential');
    return found;
  });

async function read(): Promise<{ expires_at: string; version: number }> {
  const { body } = await readFreshCredential(
    tenant.vault,
    tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() }),
    {
      environment: 'staging',
      name,
      version: undefined,
      stage: undefined,
    },
  );
  return JSON.parse(new TextDecoder().decode(body)) as { expires_at: string; version: number };
}

const learnt = () => expect.poll(() => engine.idle, { timeout: 5_000 }).toBe(true);

describe('a token whose answer names no end', () => {
  it('is served at once by a guess, then ends when introspection says, and its next refresh moves with it', async () => {
    // Salesforce puts the tokens of an org where the answer says, so the first refresh tells where to ask, and the second asks.
    await engine.refreshNow(row().id, 'request', true);
    await learnt();
    const { value_expires_at: endsAt, refresh_due_at: dueAt } = row();
    expect(endsAt).toBeGreaterThan(tenant.clock.now() + GUESS_SECONDS * 1_000 + 60_000);
    expect(dueAt).toBeGreaterThan(tenant.clock.now() + GUESS_SECONDS * 1_000);
    expect(dueAt).toBeLessThan(endsAt ?? 0);
    expect(Date.parse((await read()).expires_at)).toBe(endsAt);
    expect(personas.callsFor(issued.grant).map(({ endpoint }) => endpoint)).toEqual(['token', 'introspection']);
  });

  it('keeps the guess when introspection fails, and nothing else is disturbed', async () => {
    personas.misbehave({ kind: 'html' }, { on: 'introspection', times: 0 });
    await engine.refreshNow(row().id, 'request', true);
    await learnt();
    expect(row().value_expires_at).toBe(tenant.clock.now() + GUESS_SECONDS * 1_000);
    expect(row()).toMatchObject({ health: 'ready', current_version: 2 });
  });

  it('does not believe an end for a token that was replaced while the provider thought', async () => {
    personas.misbehave({ kind: 'slow', ms: 300 }, { on: 'introspection' });
    await engine.refreshNow(row().id, 'request', true);
    const before = row().current_version;
    personas.misbehave({ kind: 'html' }, { on: 'introspection', times: 0 });
    await engine.refreshNow(row().id, 'request', true);
    await learnt();
    expect(row().current_version).toBe(before + 1);
    expect(row().value_expires_at).toBe(tenant.clock.now() + GUESS_SECONDS * 1_000);
  });

  it('ends when the credential itself says, whatever introspection would tell', async () => {
    await connect({ access_token_ttl_seconds: 240 });
    await engine.refreshNow(row().id, 'request', true);
    await learnt();
    expect(row().value_expires_at).toBe(tenant.clock.now() + 240_000);
    expect(personas.callsFor(issued.grant).map(({ endpoint }) => endpoint)).toEqual(['token']);
  });
});
