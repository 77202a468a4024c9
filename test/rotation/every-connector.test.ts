// The whole life of a grant at every connector, as its users live it: a real service over HTTP, a browser, and the sandbox as the provider.
// Link, consent, reading, refresh, expiry, death, connecting again, disconnecting.
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../rotation/connector.ts';
import { type Personas, startPersonas } from '../../rotation/sandbox/personas.ts';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { KeyturnClient, KeyturnProblem } from '../../src/sdk/client.ts';
import { newBrowser } from '../kit/consent-provider.ts';
import { furnish } from '../kit/node-process.ts';
import { loadGrantConnectors, someScopes } from './sandbox/kit.ts';

const connectors = await loadGrantConnectors();
const ENVIRONMENT = 'staging';
const data = mkdtempSync(join(tmpdir(), 'keyturn-every-connector-'));
let personas: Personas;
let keyturn: RunningKeyturn;
let owner: KeyturnClient;
let workload: KeyturnClient;

beforeAll(async () => {
  personas = await startPersonas({ connectors });
  personas.decide('allow');
  keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
  const place = await furnish(keyturn.url, data);
  const runtime = {
    fetch,
    nowMs: Date.now,
    deadline: (ms: number) => AbortSignal.timeout(ms),
    sleep,
    fraction: Math.random,
    newKey: randomUUID,
  };
  const client = (token: string) => new KeyturnClient({ address: keyturn.url, tenant: 'acme', token }, runtime);
  owner = client(place.owner);
  workload = client(place.workload);
});
afterAll(async () => {
  await keyturn.close();
  await personas.stop();
  rmSync(data, { recursive: true, force: true });
});

const connectable = [...connectors.values()].filter(({ consent }) => consent !== undefined);
const keyed = [...connectors.values()].filter(({ consent }) => consent === undefined);

/** What an admin sets, as the sandbox says it; parameters that others tell are left to them. */
async function configFor(connector: OAuthConnector) {
  const issued = await personas.issueGrant(connector.id);
  const others = new Set(
    connector.parameters?.filter(({ from }) => from === 'consent' || from === 'callback').map(({ name }) => name),
  );
  const all = Object.entries((issued.config['parameters'] ?? {}) as Record<string, string>);
  const parameters = Object.fromEntries(all.filter(([name]) => !others.has(name)));
  const always = new Set(connector.consent?.alwaysScopes);
  const scopes = someScopes(connector).filter((scope) => !always.has(scope));
  const { parameters: _all, ...config } = issued.config;
  return {
    issued,
    asked: Object.fromEntries(all.filter(([name]) => others.has(name))),
    config: {
      ...config,
      ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
      workflows: [{ name: 'nightly-sync', scopes, why: 'copies records each night' }],
    },
  };
}

/** A person opens the link, goes to the provider, agrees, comes back, and chooses where there is a choice. */
async function consent(link: string, asked: Record<string, string>): Promise<string> {
  const browser = newBrowser();
  expect((await browser.get(link)).html).toContain('nightly-sync');
  const begun = await browser.post(link, asked);
  expect(begun.status, begun.html).toBe(303);
  const agreed = await browser.get(begun.location);
  expect(agreed.status, agreed.html).toBe(302);
  let page = await browser.get(agreed.location);
  for (let steps = 0; steps < 4 && page.status === 303; steps++) page = await browser.get(new URL(page.location, link).href);
  const choice = /name="choice" value="([^"]+)"/.exec(page.html)?.[1];
  if (choice === undefined) return page.html;
  page = await browser.post(new URL(/action="([^"]+)"/.exec(page.html)?.[1] ?? '', link).href, { choice });
  for (let steps = 0; steps < 4 && page.status === 303; steps++) page = await browser.get(new URL(page.location, link).href);
  return page.html;
}

async function refreshNow(name: string) {
  let run = await owner.rotate(ENVIRONMENT, name);
  for (let tries = 0; run.state === 'open' && tries < 100; tries++) {
    await sleep(50);
    run = await owner.run(ENVIRONMENT, name, run.id);
  }
  return run;
}

const tokenOf = async (name: string) => String((await workload.read(ENVIRONMENT, name)).value.reveal()['access_token']);
const problemOf = async (call: Promise<unknown>) => {
  const problem = await call.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(problem instanceof KeyturnProblem)) throw new Error('it was answered');
  return problem;
};
const isRenewed = ({ oauth2 }: OAuthConnector) => oauth2.renewal?.kind !== 'none';

describe.each(connectable.map((connector) => [connector.id, connector] as const))('%s, by a link', (id, connector) => {
  it('lives its whole life', async () => {
    const { issued, asked, config } = await configFor(connector);
    const secret = connector.oauth2.clientAuthentication === 'none' ? {} : { client_secret: issued.clientSecret };
    const made = await owner.grants.connect(ENVIRONMENT, id, { connector: id, config, ...secret });
    if (connector.consent?.choice !== undefined) personas.offerSites(id, 3);
    expect(await problemOf(workload.read(ENVIRONMENT, id))).toMatchObject({ status: 424, code: 'needs_consent' });

    expect(await consent(made.link, asked)).toContain('is connected');
    const connected = await owner.describe(ENVIRONMENT, id);
    expect(connected).toMatchObject({ health: { state: 'ready' }, grant: { scopes: { missing: [], extra: [] } } });
    if (connector.consent?.choice !== undefined)
      expect(Object.keys(connected.grant?.account ?? {})).toContain(connector.consent.choice.accountField);
    const first = await tokenOf(id);
    const grant = personas.grantOf(first) ?? '';
    expect(personas.isAlive(grant)).toBe(true);

    if (isRenewed(connector)) {
      expect(await refreshNow(id)).toMatchObject({ state: 'succeeded' });
      const second = await tokenOf(id);
      expect([second === first, personas.grantOf(second)]).toEqual([false, grant]);

      // An answer without a life ahead of it: the next read finds the token expired, and brings another.
      if (connector.oauth2.accessTokenTtlSeconds !== 'never') {
        personas.misbehave({ kind: 'expires_in', value: 'zero' }, { connector: id });
        expect(await refreshNow(id)).toMatchObject({ state: 'succeeded' });
        const third = await tokenOf(id);
        expect([third === second, personas.grantOf(third)]).toEqual([false, grant]);
      }

      personas.withdraw(grant);
      expect(await refreshNow(id)).toMatchObject({ state: 'failed' });
      // What a person is told at once; a token that its answer gave a life is served for that life.
      expect(await owner.describe(ENVIRONMENT, id)).toMatchObject({
        health: { state: 'needs_consent' },
        reconnect: expect.stringContaining(`/${id}/connections`) as string,
      });
      const endsAt = (await owner.describe(ENVIRONMENT, id)).expires_at;
      if (endsAt === null)
        expect(await problemOf(workload.read(ENVIRONMENT, id))).toMatchObject({ status: 424, code: 'needs_consent' });
      else expect(await tokenOf(id)).toBeDefined();
    }

    const again = await owner.grants.connect(ENVIRONMENT, id, {});
    expect(await consent(again.link, asked)).toContain('is connected');
    const reconnected = await owner.describe(ENVIRONMENT, id);
    expect(reconnected).toMatchObject({ id: connected.id, health: { state: 'ready' } });
    expect(reconnected.version).toBeGreaterThan(connected.version);
    const newGrant = personas.grantOf(await tokenOf(id)) ?? '';
    expect(personas.isAlive(newGrant)).toBe(true);

    const gone = await owner.grants.disconnect(ENVIRONMENT, id);
    expect(gone).toMatchObject({ health: { state: 'disconnected' } });
    expect(await problemOf(workload.read(ENVIRONMENT, id))).toMatchObject({ status: 424 });
    if (connector.revocation === undefined && config['revocation_endpoint' as keyof typeof config] === undefined) {
      expect(gone.grant?.revocation?.state).toBe('not_possible');
      expect(gone.manual_steps.length).toBeGreaterThan(0);
    } else {
      await expect
        .poll(async () => (await owner.describe(ENVIRONMENT, id)).grant?.revocation?.state, { timeout: 15_000 })
        .toBe('revoked');
      expect(personas.isAlive(newGrant)).toBe(false);
    }
  }, 60_000);
});

describe.each(keyed.map((connector) => [connector.id, connector] as const))('%s, by its own key or secret', (id, connector) => {
  it('lives its whole life', async () => {
    const { issued, asked, config } = await configFor(connector);
    const proof =
      issued.clientPrivateKeyPem === undefined
        ? { client_secret: issued.clientSecret }
        : { client_private_key_pem: issued.clientPrivateKeyPem };
    const body = {
      kind: 'oauth2',
      connector: id,
      value: proof,
      config: { ...config, parameters: { ...config.parameters, ...asked } },
    };
    if (Object.keys(body.config.parameters).length === 0) delete (body.config as { parameters?: unknown }).parameters;
    const put = await owner.put(ENVIRONMENT, id, body);
    const first = await tokenOf(id);
    const grant = personas.grantOf(first) ?? '';
    expect(personas.isAlive(grant)).toBe(true);
    expect(await refreshNow(id)).toMatchObject({ state: 'succeeded' });
    expect(personas.grantOf(await tokenOf(id))).toBe(grant);

    personas.misbehave({ kind: 'expires_in', value: 'zero' }, { connector: id });
    expect(await refreshNow(id)).toMatchObject({ state: 'succeeded' });
    const later = await tokenOf(id);
    expect([later === first, personas.grantOf(later)]).toEqual([false, grant]);

    personas.misbehave({ kind: 'refuse', as: 'configuration' }, { connector: id });
    await refreshNow(id);
    const degraded = await owner.describe(ENVIRONMENT, id);
    expect(degraded.health.state, 'the token that is there goes on to be served').toBe('degraded');
    expect(await tokenOf(id)).toBe(later);

    expect(await owner.grants.disconnect(ENVIRONMENT, id)).toMatchObject({ id: put.id, health: { state: 'disconnected' } });
    expect(await problemOf(workload.read(ENVIRONMENT, id))).toMatchObject({ status: 424 });
  }, 60_000);
});

it('are enough to mean something', () => {
  expect(connectable.length).toBeGreaterThanOrEqual(19);
  expect(keyed.length).toBeGreaterThanOrEqual(3);
});
