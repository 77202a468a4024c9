// Every connector in a real tenant: a credential that is played by the sandbox is refreshed when it is read, and dies when its grant does.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { type IssuedGrant, type Personas, startPersonas } from '../../../rotation/sandbox/personas.ts';
import { createNodeEgress } from '../../../src/node/egress.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { readFreshCredential } from '../../../src/vault/read-credential.ts';
import { type TestTenant, testTenant } from '../../kit/vaults.ts';
import { loadGrantConnectors, someScopes } from './kit.ts';

const connectors = await loadGrantConnectors();
// What only a call can tell of the account, and what signs with a key, is tried with the functions themselves.
const plain = [...connectors.values()].filter(
  ({ oauth2, id }) =>
    (oauth2.renewal?.kind ?? 'refresh_token') === 'refresh_token' &&
    oauth2.clientAuthentication !== 'none' &&
    id !== 'local-sandbox',
);
let personas: Personas;
let tenant: TestTenant;
beforeAll(async () => {
  tenant = await testTenant({ demo: true });
  const { vault, clock } = tenant;
  personas = await startPersonas({ connectors, clock });
  vault.refresher = new RefreshEngine({
    vault,
    egress: createNodeEgress({ clock }),
    connectors,
    owner: 'first',
    sandboxAllowed: true,
    every: () => () => {},
  });
});
afterAll(() => personas.stop());

const reader = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });

async function read(name: string): Promise<{ access_token: string }> {
  const { body } = await readFreshCredential(tenant.vault, reader(), {
    environment: 'staging',
    name,
    version: undefined,
    stage: undefined,
  });
  return (JSON.parse(new TextDecoder().decode(body)) as { value: { access_token: string } }).value;
}

function put(issued: IssuedGrant): Promise<unknown> {
  const { vault } = tenant;
  return vault.submit((job) =>
    putCredential(job, tenant.user(['admin'], 'everywhere'), {
      environment: 'staging',
      name: issued.connector,
      kind: 'oauth2',
      value: {
        access_token: issued.accessToken,
        refresh_token: issued.refreshToken,
        expires_in: issued.expiresIn ?? 600,
        client_secret: issued.clientSecret,
        scope: issued.scope,
      },
      connector: issued.connector,
      config: oauth2Config.parse(issued.config),
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
}

describe.each(plain.map((connector) => [connector.id, connector] as const))('%s in a tenant', (id, connector) => {
  it('is refreshed when it is stale, and dead once the provider ended it', async () => {
    const issued = await personas.issueGrant(id, { scope: someScopes(connector).join(' ') });
    await put(issued);
    expect((await read(id)).access_token).toBe(issued.accessToken);
    const lifetimeMs = () => ((issued.expiresIn ?? 600) + 1) * 1_000;
    tenant.clock.pass(lifetimeMs());
    const fresh = await read(id);
    expect(personas.grantOf(fresh.access_token)).toBe(issued.grant);
    expect(fresh.access_token).not.toBe(issued.accessToken);
    personas.withdraw(issued.grant);
    tenant.clock.pass(lifetimeMs());
    await expect(read(id)).rejects.toMatchObject({ code: 'needs_consent' });
    // Beside these, introspection may have been asked when the token ends.
    const calls = personas.callsFor(issued.grant).filter(({ endpoint }) => endpoint === 'token');
    expect(calls.map(({ outcome }) => outcome)).toEqual(['issued', 'dead']);
  });
});
