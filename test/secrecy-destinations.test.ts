// A secret goes where it was given for, and nowhere else: every connector, every setting that can hold a URL or a host, everything that
// reads it, everyone who may write it. Generated from the schema and the catalogue. Every value is made up; not-a-real-secret.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../rotation/connector.ts';
import { completeConsent } from '../rotation/grants/consent/callback.ts';
import { createConnection, discoverEndpoints } from '../rotation/grants/consent/make-link.ts';
import { beginConsent } from '../rotation/grants/consent/visit.ts';
import type { ConnectionInput } from '../rotation/grants/consent/wanted.ts';
import { disconnectCredential } from '../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../rotation/grants/refresh-runs.ts';
import { reviewDue } from '../rotation/grants/review.ts';
import { revokeDue } from '../rotation/grants/revoke.ts';
import type { Caller } from '../src/access/principals.ts';
import { deliverDue } from '../src/alerts/deliver-webhooks.ts';
import { createWebhook } from '../src/alerts/manage-webhooks.ts';
import { raiseClockAlert } from '../src/alerts/raise-alert.ts';
import { signMessage } from '../src/alerts/sign-message.ts';
import { KeyturnError } from '../src/base/errors.ts';
import { LIMITS } from '../src/base/limits.ts';
import { secretKey } from '../src/crypto/primitives.ts';
import { type OAuth2Config, RETAINED_PARTS } from '../src/vault/credential-kinds.ts';
import { putCredential } from '../src/vault/put-credential.ts';
import { changeRows } from './kit/anchored.ts';
import { astray, goodConfig, parametersOf } from './kit/astray-settings.ts';
import { CANARY, CANARY_JWK, CANARY_PEM, decoded, EVIL_HOST, type EvilNetwork, evilNetwork } from './kit/evil-receiver.ts';
import { connectors } from './kit/oauth-connectors.ts';
import { changing, eventsOf, type TestTenant, testTenant, workloadToken } from './kit/vaults.ts';

const ENVIRONMENT = 'staging';
const REDIRECT_URI = 'https://vault.example/connect/callback';
const grantConnectors = [...connectors.values()].filter(({ kind }) => kind === 'oauth2');

let tenant: TestTenant;
let network: EvilNetwork;
let engine: RefreshEngine;
let connector: OAuthConnector;
let workload: string;

beforeAll(async () => {
  network = await evilNetwork({ now: () => tenant.clock.now() }, () => connector);
});
afterAll(() => network.stop());

/** Grants of other attacks must not count as others that live on the same client. */
async function settle(of: OAuthConnector): Promise<void> {
  tenant = await testTenant();
  connector = of;
  workload = (await workloadToken(tenant, { permissions: ['put'] })).text;
  engine = new RefreshEngine({
    vault: tenant.vault,
    egress: network.egress,
    connectors,
    owner: 'first',
    sandboxAllowed: true,
    every: (_everyMs, beat) => {
      const timer = setTimeout(beat, 0);
      return () => clearTimeout(timer);
    },
  });
  tenant.vault.refresher = engine;
}

/** Everyone who may put, and by that may name settings. */
const PRINCIPALS: Readonly<Record<string, () => Caller>> = {
  owner: () => tenant.user(['owner'], 'everywhere', { secondFactorAtMs: tenant.clock.now() }),
  admin: () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() }),
  engineer: () => tenant.user(['engineer'], 'here', { secondFactorAtMs: tenant.clock.now() }),
  workload: () => tenant.token(workload),
};

const stored = { client_secret: `client-${CANARY}`, client_private_key_pem: CANARY_PEM, client_private_jwk: CANARY_JWK };
const tokens = (mark: string) => ({ access_token: `access-${mark}`, refresh_token: `refresh-${mark}`, expires_in: 3_600 });

function put(caller: Caller, name: string, of: OAuthConnector, config: OAuth2Config, value: object, imported = false) {
  const { vault, sql } = tenant;
  const isNew = sql.get('SELECT 1 AS present FROM credential WHERE name = ?', name) === undefined;
  return vault.submit((job) =>
    putCredential(job, caller, {
      environment: ENVIRONMENT,
      name,
      kind: 'oauth2',
      value,
      connector: of.id,
      config,
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
      discard: RETAINED_PARTS.filter((part) => !isNew && !Object.hasOwn(value, part)),
      ...(imported ? { imported: { from: 'elsewhere', stillUsedThere: true } } : {}),
    }),
  );
}

const ATTACKERS = { client_secret: 'client-of-the-attacker' };

async function link(caller: Caller, name: string, config: OAuth2Config | undefined, secrets: Partial<typeof ATTACKERS>) {
  const input: ConnectionInput = {
    environment: ENVIRONMENT,
    name,
    connector: undefined,
    config,
    secrets,
    ttlMs: LIMITS.connectLinkTtlDefaultMs,
    labels: undefined,
    description: undefined,
    redirectUri: REDIRECT_URI,
  };
  const discovered = await discoverEndpoints(engine.ports, caller, input);
  const made = await tenant.vault.submit((job) => createConnection({ ...engine.ports, job }, caller, input, discovered));
  return made.linkToken;
}

const visitor = () => ({ caller: tenant.token(undefined, '198.51.100.7'), refused: async () => {} });

async function walk(linkToken: string, meanwhile: () => Promise<unknown> = async () => {}) {
  const begun = await beginConsent(engine.ports, visitor(), linkToken, parametersOf(connector));
  await meanwhile();
  if (begun.kind !== 'go') return;
  const state = new URL(begun.url).searchParams.get('state') ?? '';
  const fields = { state, code: 'code-not-a-real-secret', ...parametersOf(connector), installationId: 'made-up' };
  await completeConsent(engine.ports, visitor(), { fields, browser: begun.browser });
}

const disconnect = (caller: Caller, name: string) =>
  tenant.vault.submit((job) =>
    disconnectCredential({ ...engine.ports, job }, caller, { environment: ENVIRONMENT, name, revoke: true, precondition: {} }),
  );

interface Attack {
  readonly name: string;
  readonly caller: () => Caller;
  readonly config: OAuth2Config;
  /** What the giver of the secrets named. */
  readonly good: OAuth2Config;
}

/** What a request of the attacker leads to by itself, and in the order of events that suits them best. */
const ATTACKS: Readonly<Record<string, (attack: Attack) => Promise<unknown>>> = {
  'a link': async ({ name, caller, config }) => walk(await link(caller(), name, config, {})),
  'a link with their own secret': async ({ name, caller, config }) => walk(await link(caller(), name, config, ATTACKERS)),
  'a put': ({ name, caller, config }) => put(caller(), name, connector, config, { ...tokens('evil'), ...ATTACKERS }),
  'a put of less': ({ name, caller, config }) => put(caller(), name, connector, config, { access_token: 'access-evil' }),
  'an import': ({ name, caller, config }) => put(caller(), name, connector, config, { ...tokens('evil'), ...ATTACKERS }, true),
  'a put under another connector': ({ name, caller }) => {
    const other = connectors.get('generic-oauth2') as OAuthConnector;
    const config = {
      ...goodConfig(other),
      token_endpoint: `https://${EVIL_HOST}/token`,
      revocation_endpoint: `https://${EVIL_HOST}/r`,
    };
    return put(caller(), name, other, config, { ...tokens('evil'), ...ATTACKERS });
  },
  'a put after disconnecting': async ({ name, caller, config }) => {
    await disconnect(PRINCIPALS['admin']?.() as Caller, name);
    await put(caller(), name, connector, config, { ...tokens('evil'), ...ATTACKERS });
  },
  'a link after disconnecting': async ({ name, caller, config }) => {
    await disconnect(PRINCIPALS['admin']?.() as Caller, name);
    await walk(await link(caller(), name, config, {}));
  },
  'a put between link and visit': async ({ name, caller, config, good }) => {
    const made = await link(PRINCIPALS['admin']?.() as Caller, name, good, {});
    await put(caller(), name, connector, config, { ...tokens('evil'), ...ATTACKERS });
    await walk(made);
  },
  'a put during the consent': async ({ name, caller, config, good }) => {
    const made = await link(PRINCIPALS['admin']?.() as Caller, name, good, {});
    await walk(made, () => put(caller(), name, connector, config, { ...tokens('evil'), ...ATTACKERS }));
  },
  'a link that new secrets overtake': async ({ name, caller, config, good }) => {
    const made = await link(caller(), name, config, ATTACKERS);
    await put(PRINCIPALS['admin']?.() as Caller, name, connector, good, { ...tokens(CANARY), ...stored });
    await walk(made);
  },
};

/** The door tells owner and admin from the others, nothing behind it does: of them each kind of request is tried, of the others each order. */
function attacksOf(who: string) {
  const all = Object.entries(ATTACKS);
  return who === 'engineer' || who === 'workload'
    ? all
    : all.filter(([name]) => ['a link', 'a put after disconnecting'].includes(name));
}

/** An attack may be refused; it may not work. */
async function tried(attack: () => Promise<unknown>): Promise<string> {
  try {
    await attack();
    return 'done';
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    return error.code;
  }
}

/** Everything the vault does by itself. */
async function dueWork(id: string): Promise<void> {
  await engine.refreshNow(id, 'request', true);
  await revokeDue(engine.ports);
  await reviewDue(engine.ports);
}

/** Where the giver of the secrets wanted them, they do arrive: by a consent, a refresh, a review or a revocation. */
async function arrivesWhereItShould(of: OAuthConnector): Promise<boolean> {
  const admin = PRINCIPALS['admin'] as () => Caller;
  network.clear();
  const made = await put(admin(), 'good', of, goodConfig(of, 'good'), { ...tokens(`good-${CANARY}`), ...stored });
  await dueWork(made.located.row.id);
  await tried(async () => walk(await link(admin(), 'good', undefined, {})));
  await tried(() => disconnect(admin(), 'good'));
  await dueWork(made.located.row.id);
  return network.elsewhere.some((whole) => decoded(whole).includes(CANARY) || whole.includes('eyJ'));
}

const counts = { attacks: 0, refused: 0, reached: 0, redirected: 0 };

describe.each(grantConnectors.map((one) => [one.id, one] as const))('%s', (_id, of) => {
  it.each(Object.keys(PRINCIPALS))('sends no stored secret where %s leads it', async (who) => {
    await settle(of);
    const caller = PRINCIPALS[who] as () => Caller;
    const found: string[] = [];
    for (const { name: setting, config: lured } of astray(of, network.origin)) {
      for (const [attack, run] of attacksOf(who)) {
        network.clear();
        counts.attacks += 1;
        const name = `c-${counts.attacks}`;
        const good = goodConfig(of, name);
        const config = setting === 'client_id' ? lured : { ...lured, client_id: name };
        const admin = PRINCIPALS['admin'] as () => Caller;
        const made = await put(admin(), name, of, good, { ...tokens(`${name}-${CANARY}`), ...stored });
        const ended = await tried(() => run({ name, caller, config, good }));
        if (ended !== 'done') counts.refused += 1;
        await dueWork(made.located.row.id);
        counts.reached += network.received.length;
        for (const whole of network.stolen()) found.push(`${attack}, ${setting}: ${whole.split('\n')[0]}`);
        tenant.clock.pass(1_000);
      }
    }
    counts.redirected += eventsOf(tenant.sql).filter(({ action }) => action === 'credential.redirect').length;
    expect(found).toEqual([]);
    expect(await arrivesWhereItShould(of)).toBe(true);
  });
});

/** How another URL could come into a webhook's row: by the database alone, and as an operation would write it that does not exist today. */
const REWRITES: Readonly<Record<string, (id: string, url: string) => unknown>> = {
  'in the database': (id, url) => tenant.sql.run('UPDATE webhook SET url = ? WHERE id = ?', url, id),
  'as a use case would': (id, url) =>
    tenant.vault.submit((job) => changing(job, () => changeRows(job.core.rows, 'webhook', `id = '${id}'`, () => ({ url })))),
};
const GIVEN_FOR = 'https://hooks.example/keyturn';
const ASTRAY = {
  host: `https://${EVIL_HOST}/keyturn`,
  port: 'https://hooks.example:8443/keyturn',
  path: 'https://hooks.example/of-another-team',
  query: 'https://hooks.example/keyturn?to=another',
};

describe('the secret of a webhook', () => {
  /** Of the messages that left: where each went, and whether the secret that was shown verifies it. */
  const verified = (secret: string) =>
    [...network.received, ...network.elsewhere].map((whole) => {
      const [id, at, signature] = ['id', 'timestamp', 'signature'].map(
        (name) => new RegExp(`^webhook-${name}: (.*)$`, 'm').exec(whole)?.[1] ?? '',
      );
      const key = secretKey(Buffer.from(secret.slice('whsec_'.length), 'base64'));
      const body = new TextEncoder().encode(whole.split('\n').at(-1));
      return { to: whole.split('\n')[0], isValid: signMessage(key, id ?? '', Number(at), body) === signature };
    });

  it.each(
    Object.keys(REWRITES).flatMap((how) => (Object.keys(ASTRAY) as (keyof typeof ASTRAY)[]).map((part) => [how, part] as const)),
  )('signs nothing for another URL that was written %s: %s', async (how, part) => {
    await settle(connectors.get('generic-oauth2') as OAuthConnector);
    network.clear();
    const { vault } = tenant;
    const admin = PRINCIPALS['admin'] as () => Caller;
    const input = { url: GIVEN_FOR, kinds: [], allowLoopback: false };
    const { row, secret } = await vault.submit((job) => createWebhook(job, admin(), input));
    const shown = secret.reveal((bytes) => new TextDecoder().decode(bytes));
    const tell = async () => {
      await vault.submit((job) => changing(job, (access) => raiseClockAlert(job, access, {})));
      await deliverDue(engine.ports);
    };
    await tell();
    expect(verified(shown)).toEqual([{ to: `POST ${GIVEN_FOR}`, isValid: true }]);
    network.clear();
    await REWRITES[how]?.(row.id, ASTRAY[part]);
    await tell();
    const sent = verified(shown);
    expect(sent.filter(({ isValid }) => isValid)).toEqual([]);
    expect(sent.map(({ to }) => to)).toEqual(how === 'in the database' ? [] : [`POST ${ASTRAY[part]}`]);
  });
});

it('tried what it says', () => {
  expect(counts.attacks).toBeGreaterThan(grantConnectors.length * Object.keys(ATTACKS).length * 10);
  expect(counts.refused).toBeGreaterThan(0);
  // The receiver is reachable: what the attackers brought themselves did arrive.
  expect(counts.reached).toBeGreaterThan(0);
  expect(counts.redirected).toBeGreaterThan(0);
});
