// A key goes where it was given for, and nowhere else: every key connector, every setting that can hold a URL or a host, everything that
// reads it, everyone who may write it. The providers are played from their data. Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import { connectors } from '../rotation/catalog.ts';
import type { Egress, EgressRequest, KeyConnector, StoredValue } from '../rotation/connector.ts';
import { CredentialRuns } from '../rotation/credential-runs.ts';
import { checkTarget } from '../rotation/engine/egress-rules.ts';
import type { ProviderGate } from '../rotation/engine/provider-gate.ts';
import { managerKinds } from '../rotation/keys/key-settings.ts';
import type { Caller } from '../src/access/principals.ts';
import { KeyturnError } from '../src/base/errors.ts';
import { SecretValue } from '../src/base/secret-value.ts';
import { rollBack } from '../src/vault/change-credential.ts';
import type { Kind } from '../src/vault/credential-kinds.ts';
import { putCredential } from '../src/vault/put-credential.ts';
import type { KeyConfig } from '../src/vault/rotation-state.ts';
import { eventsOf, type TestTenant, testTenant, workloadToken } from './kit/vaults.ts';
import { KeyProvider, madeUpParameters, NOW } from './rotation/key-provider.ts';

const EVIL = 'https://evil.example/taken';
const SHARED = 'https://shared.example';
const SANDBOX = 'http://127.0.0.1:9/sandbox';
/** Part of every text that the vault keeps and its provider makes; what the attacker brings has none. */
const CANARY = 'Canary';

const keyConnectors = [...connectors.values()].flatMap((one) => (one.kind === 'key' && one.key.calls !== undefined ? [one] : []));

interface Lure {
  readonly setting: string;
  /** What the giver of the secrets named. */
  readonly good: KeyConfig;
  readonly evil: KeyConfig;
  /** Whether the setting moves a host or a base path; a parameter with a host may be none that is called. */
  readonly isElsewhere: boolean;
}

function hostsOf({ key }: KeyConnector, parameters: Readonly<Record<string, string>>): readonly string[] {
  return key.hosts.map((host) => host.replaceAll(/\{(\w+)\}/g, (_, name: string) => parameters[name] ?? ''));
}

function settingsOf(of: KeyConnector): KeyConfig {
  const parameters = madeUpParameters(of);
  return Object.keys(parameters).length === 0 ? {} : { parameters };
}

/** Every setting of the schema that can hold a URL or a host. */
function* luresOf(of: KeyConnector): Generator<Lure> {
  const good = settingsOf(of);
  const hosts = hostsOf(of, good.parameters ?? {});
  const moved = (to: string) => Object.fromEntries(hosts.map((host) => [host, to]));
  for (const host of hosts)
    yield { setting: `base_urls of ${host}`, good, evil: { ...good, base_urls: { [host]: EVIL } }, isElsewhere: true };
  yield { setting: 'every base URL', good, evil: { ...good, base_urls: moved(EVIL) }, isElsewhere: true };
  yield {
    setting: 'another path at a shared host',
    good: { ...good, base_urls: moved(`${SHARED}/good`) },
    evil: { ...good, base_urls: moved(`${SHARED}/evil`) },
    isElsewhere: true,
  };
  yield { setting: 'sandbox', good, evil: { ...good, sandbox: SANDBOX }, isElsewhere: true };
  for (const { name, shape } of of.parameters ?? []) {
    if (shape !== 'host') continue;
    const evil = { parameters: { ...good.parameters, [name]: 'evil.example' } };
    yield { setting: `the parameter ${name}`, good, evil, isElsewhere: of.key.hosts.some((host) => host.includes(`{${name}}`)) };
  }
}

class Stage {
  readonly victim: KeyProvider;
  readonly thief: KeyProvider;
  readonly stolen: string[] = [];
  evilCount = 0;
  /** Done once while the vault makes a key. */
  meanwhile: (() => Promise<unknown>) | undefined;
  tenant!: TestTenant;
  runs!: CredentialRuns;
  workload = '';
  readonly #of: KeyConnector;

  constructor(of: KeyConnector) {
    this.#of = of;
    this.victim = new KeyProvider(of, CANARY);
    this.thief = new KeyProvider(of, 'Thief');
  }

  async open(): Promise<this> {
    this.tenant = await testTenant({ demo: true });
    const { vault, clock } = this.tenant;
    clock.atMs = NOW;
    this.runs = new CredentialRuns({
      vault,
      egress: this.#egress(),
      connectors,
      owner: 'owner',
      sandboxAllowed: true,
      every: () => () => {},
      gate: { admit: () => ({ kind: 'go', afterMs: 0 }), report: () => {}, heldForMs: () => 0 } as unknown as ProviderGate,
    });
    this.runs.attachTo(vault);
    this.workload = (await workloadToken(this.tenant, { permissions: ['put', 'rotate'] })).text;
    return this;
  }

  #egress(): Egress {
    return {
      send: async (request) => {
        checkTarget(request);
        const isEvil = /^(https:\/\/([^/]*\.)?evil\.example|http:|https:\/\/shared\.example\/evil)/.test(request.url);
        if (!isEvil) await this.#interrupt(request);
        if (isEvil) {
          this.evilCount += 1;
          const whole = wholeOf(request);
          if (formsOf(whole).some((form) => form.includes(CANARY))) this.stolen.push(whole);
        }
        const provider = isEvil ? this.thief : this.victim;
        for (const url of this.#unmoved(request.url)) {
          try {
            return await provider.send({ ...request, url });
          } catch (error) {
            if (!(error instanceof Error) || !error.message.includes('no declared call')) throw error;
          }
        }
        return { status: 200, headers: {}, body: SecretValue.fromText('{"ok":true}'), sentAtMs: this.tenant.clock.now() };
      },
    };
  }

  async #interrupt({ method }: EgressRequest): Promise<void> {
    if (method === 'GET' || this.meanwhile === undefined) return;
    const act = this.meanwhile;
    this.meanwhile = undefined;
    await act();
  }

  /** The URL as the connector declares it, whichever of its hosts was moved. */
  #unmoved(url: string): string[] {
    const rest = [`${EVIL}`, `${SHARED}/good`, `${SHARED}/evil`].find((base) => url.startsWith(base));
    const hosts = hostsOf(this.#of, madeUpParameters(this.#of));
    if (url.startsWith(SANDBOX)) return [`https:/${url.slice(SANDBOX.length)}`];
    if (rest !== undefined) return hosts.map((host) => `https://${host}${url.slice(rest.length)}`);
    return [url, ...hosts.map((host) => url.replace('https://evil.example', `https://${host}`))];
  }

  put(
    caller: Caller,
    name: string,
    value: StoredValue,
    config: object,
    kind: Kind = this.#of.key.credential,
    connector = this.#of.id,
  ) {
    return this.tenant.vault.submit((job) =>
      putCredential(job, caller, {
        environment: 'staging',
        name,
        kind,
        value,
        connector,
        config: config as KeyConfig,
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
  }

  /** The credential of the victim and, if the connector needs one, the one that manages it. */
  async furnish(good: KeyConfig): Promise<KeyConfig> {
    const admin = this.caller('admin');
    const { key } = this.#of;
    let config = good;
    if (key.admin === 'credential') {
      const [kind] = managerKinds(this.#of);
      if (kind === undefined) await this.#putGrant(good);
      else await this.put(admin, 'root', this.victim.admin, { ...good, manages: true }, kind as Kind);
      config = { ...good, admin: 'root' };
    }
    await this.put(admin, 'mine', this.victim.old, config);
    return config;
  }

  /** The grant of an administrator at the provider. */
  #putGrant(good: KeyConfig) {
    const hosts = hostsOf(this.#of, good.parameters ?? {});
    const known = [...connectors.values()].find(
      (one) => one.kind === 'oauth2' && hosts.every((host) => one.oauth2.hosts.includes(host)),
    );
    const parameters = Object.fromEntries(
      Object.entries(good.parameters ?? {}).filter(([name]) => known?.parameters?.some((one) => one.name === name)),
    );
    const value = {
      ...this.victim.admin,
      client_secret: `client-${CANARY}`,
      client_private_key_pem: this.victim.old['private_key'],
      expires_in: 3_600,
    };
    const config = {
      client_id: 'made-up',
      ...(good.base_urls === undefined ? {} : { base_urls: good.base_urls }),
      ...(Object.keys(parameters).length === 0 ? {} : { parameters }),
      ...(known === undefined ? { token_endpoint: `https://${hosts[0]}/api/oauth/token` } : {}),
    };
    return this.put(this.caller('admin'), 'root', value, config, 'oauth2', known?.id ?? 'generic-oauth2');
  }

  caller(who: string): Caller {
    const { tenant } = this;
    if (who === 'workload') return tenant.token(this.workload);
    return tenant.user([who as 'admin'], who === 'engineer' ? 'here' : 'everywhere', { secondFactorAtMs: tenant.clock.now() });
  }

  async rotate(caller: Caller, name: string): Promise<void> {
    const run = await this.tenant.vault.submit((job) => this.runs.open(job, caller, 'staging', name));
    await this.runs.advance(run.credential_id);
  }

  /** Everything the vault does by itself: retries, the end of grace periods, revocations and proofs. */
  async dueWork(): Promise<void> {
    for (let round = 0; round < 3; round++) {
      await this.runs.runDueWork();
      this.tenant.clock.pass(26 * 3_600_000);
    }
  }
}

interface Attack {
  readonly stage: Stage;
  readonly caller: () => Caller;
  readonly evil: KeyConfig;
  readonly good: KeyConfig;
}

/** The credential of the victim is `mine`; the attacker puts a key of their own. */
const putOver = ({ stage, caller, evil, good }: Attack) =>
  stage.put(caller(), 'mine', stage.thief.old, good.admin === undefined ? evil : { ...evil, admin: 'root' });

const ATTACKS: Readonly<Record<string, (attack: Attack) => Promise<unknown>>> = {
  'a put': async (attack) => {
    await putOver(attack);
    await attack.stage.rotate(attack.caller(), 'mine');
  },
  'a put while a key is made': async (attack) => {
    attack.stage.meanwhile = () => tried(() => putOver(attack));
    await attack.stage.rotate(attack.caller(), 'mine');
  },
  'a put in the grace period': async (attack) => {
    await attack.stage.rotate(attack.caller(), 'mine');
    await putOver(attack);
  },
  'a put and a rollback': async (attack) => {
    const { stage, caller } = attack;
    await putOver(attack);
    await stage.tenant.vault.submit((job) =>
      rollBack(job, caller(), { environment: 'staging', name: 'mine', toVersion: 1, precondition: {} }),
    );
    await stage.rotate(caller(), 'mine');
  },
  'an own credential that the victim’s one manages': async ({ stage, caller, evil, good }) => {
    await stage.put(caller(), 'theirs', stage.thief.old, { ...evil, admin: good.admin ?? 'mine' });
    await stage.rotate(caller(), 'theirs');
  },
  'another connector': async ({ stage, caller, evil }) => {
    const other = connectors.get('sendgrid-api-key') as KeyConnector;
    const config = evil.sandbox === undefined ? { base_urls: { 'api.sendgrid.com': EVIL } } : { sandbox: SANDBOX };
    await stage.put(caller(), 'mine', stage.thief.old, config, other.key.credential, other.id);
    await stage.rotate(caller(), 'mine');
  },
};

/** The door tells owner and admin from the others, nothing behind it does. */
function attacksOf(who: string): readonly string[] {
  return who === 'engineer' ? Object.keys(ATTACKS) : ['a put'];
}

async function tried(attack: () => Promise<unknown>): Promise<string> {
  try {
    await attack();
    return 'done';
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    return error.code;
  }
}

const counts = { attacks: 0, refused: 0, reached: 0, redirected: 0 };

describe.each(keyConnectors.map((one) => [one.id, one] as const))('%s', (_id, of) => {
  it.each(['owner', 'admin', 'engineer', 'workload'])('sends no stored key where %s leads it', async (who) => {
    const found: string[] = [];
    for (const { setting, good, evil, isElsewhere } of luresOf(of)) {
      for (const attack of attacksOf(who)) {
        counts.attacks += 1;
        const stage = await new Stage(of).open();
        const config = await stage.furnish(good);
        const ended = await tried(async () => ATTACKS[attack]?.({ stage, caller: () => stage.caller(who), evil, good: config }));
        if (ended !== 'done') counts.refused += 1;
        await stage.dueWork();
        await tried(() => stage.rotate(stage.caller('admin'), 'mine'));
        await stage.dueWork();
        counts.reached += stage.evilCount;
        for (const whole of stage.stolen) found.push(`${attack}, ${setting}: ${whole.split('\n')[0]}`);
        const redirects = eventsOf(stage.tenant.sql).filter(
          ({ action, outcome }) => action === 'credential.redirect' && outcome === 'success',
        );
        counts.redirected += redirects.length;
        if (ended === 'done' && attack === 'a put' && isElsewhere) {
          const { from_hosts, to_hosts } = (redirects[0]?.['details'] ?? {}) as { from_hosts?: string; to_hosts?: string };
          expect([setting, from_hosts === undefined, to_hosts === undefined]).toEqual([setting, false, false]);
          if (!setting.includes('shared')) expect(to_hosts).not.toBe(from_hosts);
        }
        stage.tenant.vault.close();
      }
    }
    expect(found).toEqual([]);
  });

  it('is rotated where its giver named, and the old key is proved dead', async () => {
    for (const { good } of luresOf(of)) {
      const stage = await new Stage(of).open();
      await stage.furnish(good);
      await stage.rotate(stage.caller('admin'), 'mine');
      const { sql } = stage.tenant;
      expect(sql.all("SELECT outcome, cause FROM run WHERE kind = 'rotation'")).toEqual([{ outcome: 'rotated', cause: null }]);
      stage.tenant.clock.pass((of.key.graceSeconds ?? 0) * 1_000);
      await stage.dueWork();
      expect(sql.all("SELECT cause FROM run WHERE kind = 'revocation'")).toEqual([{ cause: 'proved_dead' }]);
      expect(stage.evilCount).toBe(0);
      stage.tenant.vault.close();
    }
  });
});

it('tried what it says', () => {
  expect(counts.attacks).toBeGreaterThan(keyConnectors.length * 12);
  expect(counts.refused).toBeGreaterThan(0);
  // The receiver is reachable: what the attackers brought themselves did arrive.
  expect(counts.reached).toBeGreaterThan(0);
  expect(counts.redirected).toBeGreaterThan(0);
});

const plain = (value: string | SecretValue | Uint8Array | undefined) =>
  value instanceof SecretValue
    ? value.reveal((bytes) => new TextDecoder().decode(bytes))
    : value instanceof Uint8Array
      ? new TextDecoder().decode(value)
      : (value ?? '');

function wholeOf({ url, method, headers, body }: EgressRequest): string {
  const told = Object.entries(headers).map(([name, value]) => `${name}: ${plain(value)}`);
  return `${method} ${url}\n${told.join('\n')}\n${plain(body)}`;
}

/** As sent, percent-decoded, and every base64 in it decoded: basic authentication and the parts of a JWT. */
function formsOf(whole: string): string[] {
  const decoded = decodeURIComponent(whole.replaceAll('+', ' ').replaceAll(/%(?![0-9A-F]{2})/gi, '%25'));
  const inside = [...whole.matchAll(/[A-Za-z0-9+/_-]{16,}={0,2}/g)].map(([text]) => Buffer.from(text, 'base64').toString());
  return [whole, decoded, ...inside];
}
