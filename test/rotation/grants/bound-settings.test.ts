// Secrets are bound to the settings they came with: what is refused, what is told, and what becomes of versions older than the binding.
// Every value is made up; not-a-real-secret.

import { describe, expect, it } from 'vitest';
import { EgressFailure } from '../../../rotation/connector.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { revokeDue } from '../../../rotation/grants/revoke.ts';
import { boundEgress } from '../../../rotation/oauth2/destinations.ts';
import { resolveConnector } from '../../../rotation/oauth2/settings.ts';
import type { Caller } from '../../../src/access/principals.ts';
import type { KeyturnError } from '../../../src/base/errors.ts';
import { boundPart, changedSetting } from '../../../src/vault/bound-settings.ts';
import {
  FREE_SETTINGS,
  fromJsonBytes,
  jsonBytes,
  oauth2Config,
  type RetainedGrant,
  type RetainedPart,
} from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { prepareWholeVersion, storeVersion } from '../../../src/vault/versions.ts';
import { CONFIG, type ConsentBench, CRM, consentBench } from '../../kit/consent-bench.ts';
import { changing, workloadToken } from '../../kit/vaults.ts';
import { requestTo } from '../kit.ts';

const REVOCATION = {
  url: 'https://api.crm.example/revoke',
  method: 'POST',
  authentication: 'client_secret_post',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  ends: 'grant',
} as const;

async function bench(): Promise<ConsentBench> {
  const made = await consentBench({ revocation: REVOCATION });
  const { vault } = made.tenant;
  vault.refresher = new RefreshEngine({ ...made.ports, vault, owner: 'first', every: () => () => {} });
  return made;
}

const elsewhere = oauth2Config.parse({ ...CONFIG, token_endpoint: 'https://moved.example/token' });
const alerts = ({ tenant }: ConsentBench, kind: string) =>
  tenant.sql.all<{ facts: string }>('SELECT facts FROM alert WHERE kind = ?', kind).map(({ facts }) => JSON.parse(facts));
const redirections = (b: ConsentBench) => b.events().filter(({ action }) => action === 'credential.redirect');
const refusal = (work: Promise<unknown>): Promise<KeyturnError> =>
  work.then(
    () => Promise.reject(new Error('it was not refused')),
    (error: KeyturnError) => error,
  );

const WHOLE = {
  access_token: 'put-not-a-real-secret',
  refresh_token: 'put-refresh-not-a-real-secret',
  client_secret: 'put-not-a-real-secret',
};

function put(
  b: ConsentBench,
  config = elsewhere,
  caller: Caller = b.admin(),
  value: object = WHOLE,
  discard: readonly RetainedPart[] = [],
) {
  const { vault } = b.tenant;
  return vault.submit((job) =>
    putCredential(job, caller, {
      environment: 'staging',
      name: 'crm',
      kind: 'oauth2',
      value,
      discard,
      connector: CRM.id,
      config,
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
}

const disconnect = (b: ConsentBench) =>
  b.tenant.vault.submit((job) =>
    disconnectCredential({ ...b.ports, job }, b.admin(), { environment: 'staging', name: 'crm', revoke: true, precondition: {} }),
  );

/** Stores the current value once more as a build before the binding did, and makes it current. */
async function storeAsBefore(b: ConsentBench): Promise<void> {
  const { vault } = b.tenant;
  await vault.submit((job) =>
    changing(job, (access) => {
      const row = job.credentials.byId(access, b.row('crm').id);
      const stored = job.credentials.findVersion(access, row.id, row.current_version);
      if (stored === undefined) throw new Error('no version');
      const { value, retained } = prepareWholeVersion(job, row, stored);
      const { settings: _none, ...secrets } = fromJsonBytes<RetainedGrant>(retained.open());
      const version = row.latest_version + 1;
      const next = { ...row, previous_version: row.current_version, current_version: version, latest_version: version };
      const split = { value: value.open(), retained: jsonBytes(secrets), expiresAtMs: stored.value_expires_at ?? undefined };
      storeVersion(job, access, next, split, { origin: 'refresh', runId: null });
      job.credentials.save(access, next);
    }),
  );
}

describe('a link with other settings', () => {
  it.each([
    ['token_endpoint', '/config/token_endpoint', { token_endpoint: 'https://moved.example/token' }],
    ['client_id', '/config/client_id', { client_id: 'another-client' }],
    ['base_urls', '/config/base_urls', { base_urls: { 'api.crm.example': 'https://moved.example' } }],
    ['sandbox', '/config/sandbox', { sandbox: 'http://127.0.0.1:9' }],
  ])('is refused without the secret, naming %s and what to do', async (_field, pointer, change) => {
    const b = await bench();
    await b.connect('crm');
    const error = await refusal(b.make('crm', { config: oauth2Config.parse({ ...CONFIG, ...change }), secrets: {} }));
    expect(error.code).toBe('invalid_request');
    expect(error.pointer).toBe(pointer);
    expect(error.message).toContain('give the client secret');
    expect(b.row('crm').pending_version).toBeNull();
  });

  it('keeps what is free to change without it', async () => {
    const b = await bench();
    await b.connect('crm');
    const config = oauth2Config.parse({
      ...CONFIG,
      refresh: 'on_read',
      workflows: [{ name: 'reports', scopes: ['deals.read'] }],
    });
    const made = await b.make('crm', { config, secrets: {} });
    await b.comeBack(await b.begin(made.linkToken));
    expect(JSON.parse(b.row('crm').config)).toMatchObject({ refresh: 'on_read' });
    expect(b.sent.at(-1)?.fields.get('client_secret')).toBe('client-not-a-real-secret');
    expect(redirections(b)).toEqual([]);
  });

  it('is made with the secret, as an operation of its own; the alert comes when consent makes it true', async () => {
    const b = await bench();
    await b.connect('crm');
    const made = await b.make('crm', { config: elsewhere, secrets: { client_secret: 'moved-not-a-real-secret' } });
    const hosts = {
      from_hosts: 'api.crm.example app.crm.example',
      to_hosts: 'api.crm.example app.crm.example moved.example',
    };
    expect(redirections(b)).toMatchObject([{ outcome: 'success', details: hosts }]);
    await b.comeBack(await b.begin(made.linkToken));
    const { url, fields } = b.sent.at(-1) ?? {};
    expect([url, fields?.get('client_secret')]).toEqual(['https://moved.example/token', 'moved-not-a-real-secret']);
    expect(alerts(b, 'credential.destination_changed')).toMatchObject([hosts]);
    expect(b.events('stored').at(-1)).toMatchObject({ details: hosts });
  });
});

describe('a put with other settings', () => {
  it('is an operation of its own with an event and an alert of the old and new hosts', async () => {
    const b = await bench();
    await b.connect('crm');
    await put(b);
    expect(redirections(b)).toMatchObject([
      { outcome: 'success', details: { to_hosts: expect.stringContaining('moved.example') } },
    ]);
    expect(alerts(b, 'credential.destination_changed')).toHaveLength(1);
    await put(b);
    expect(redirections(b)).toHaveLength(1);
  });

  it('is not for a program: its put is undone as a whole', async () => {
    const b = await bench();
    await b.connect('crm');
    const { text } = await workloadToken(b.tenant, { permissions: ['put'] });
    const before = b.row('crm');
    expect((await refusal(put(b, elsewhere, b.tenant.token(text)))).code).toBe('forbidden');
    expect(b.row('crm')).toEqual(before);
    await put(b, oauth2Config.parse(CONFIG), b.tenant.token(text));
    expect(b.row('crm').current_version).toBe(before.latest_version + 1);
  });
});

describe('a put that leaves out what nobody can read back', () => {
  const bare = { access_token: 'put-not-a-real-secret', client_secret: 'put-not-a-real-secret' };

  it('is refused, naming the part and both ways on, and changes nothing', async () => {
    const b = await bench();
    await b.connect('crm');
    const before = b.row('crm');
    const error = await refusal(put(b, oauth2Config.parse(CONFIG), b.admin(), bare));
    expect([error.code, error.pointer]).toEqual(['invalid_request', '/value/refresh_token']);
    expect(error.message).toContain('add it, or list it in discard');
    expect(b.row('crm')).toEqual(before);
    const { client_secret: _left, ...rest } = { ...bare, refresh_token: 'put-refresh-not-a-real-secret' };
    expect((await refusal(put(b, oauth2Config.parse(CONFIG), b.admin(), rest))).pointer).toBe('/value/client_secret');
  });

  it('is done when it says so, but not about a part that it gives', async () => {
    const b = await bench();
    await b.connect('crm');
    await put(b, oauth2Config.parse(CONFIG), b.admin(), bare, ['refresh_token']);
    expect(b.row('crm').refresh_due_at).toBeNull();
    expect((await refusal(put(b, oauth2Config.parse(CONFIG), b.admin(), bare, ['client_secret']))).pointer).toBe('/discard');
  });

  it('may leave out the refresh token of a grant that is disconnected', async () => {
    const b = await bench();
    await b.connect('crm');
    await disconnect(b);
    await put(b, oauth2Config.parse(CONFIG), b.admin(), bare);
    expect(b.row('crm').health).toBe('ready');
  });
});

describe('an older version', () => {
  it('is revoked where it came from, whatever was put since', async () => {
    const b = await bench();
    await b.connect('crm');
    await disconnect(b);
    await put(b);
    b.sent.length = 0;
    b.replies.push({ status: 200, body: {} });
    await revokeDue(b.ports);
    expect(b.sent.map(({ url }) => url)).toEqual(['https://api.crm.example/revoke']);
    expect(b.sent[0]?.fields.get('client_secret')).toBe('client-not-a-real-secret');
  });

  it('that was stored without its settings is never used at a provider, and somebody is told', async () => {
    const b = await bench();
    await b.connect('crm');
    await storeAsBefore(b);
    await disconnect(b);
    await put(b);
    b.sent.length = 0;
    await revokeDue(b.ports);
    expect(b.sent).toEqual([]);
    expect(b.revocation('crm')).toMatchObject({ state: 'given_up', cause: 'settings_unknown' });
    expect(alerts(b, 'credential.exposed')).toHaveLength(1);
  });

  it('is used with the settings of its credential while it is the current one', async () => {
    const b = await bench();
    await b.connect('crm');
    await storeAsBefore(b);
    await disconnect(b);
    b.replies.push({ status: 200, body: {} });
    await revokeDue(b.ports);
    expect(b.sent.at(-1)?.url).toBe('https://api.crm.example/revoke');
  });
});

describe('a connector whose hosts changed with a release', () => {
  it('is used, and the event of the use tells the hosts of the put and of today', async () => {
    const b = await bench();
    await b.connect('crm');
    const changed = { ...CRM, revocation: { ...REVOCATION, url: 'https://new.crm.example/revoke' } };
    const ports = { ...b.ports, connectors: new Map([[CRM.id, changed]]) };
    await disconnect(b);
    b.replies.push({ status: 200, body: {} });
    await revokeDue(ports);
    expect(b.sent.at(-1)?.url).toBe('https://new.crm.example/revoke');
    expect(b.events('intent').at(-1)).toMatchObject({
      details: {
        from_hosts: 'api.crm.example app.crm.example',
        to_hosts: 'api.crm.example app.crm.example new.crm.example',
      },
    });
  });
});

describe('the way out', () => {
  it('lets a request out to the endpoints of its own settings alone', async () => {
    const sent: string[] = [];
    const egress = boundEgress(
      { send: async ({ url }) => Promise.reject(new Error(`${sent.push(url)}`)) },
      resolveConnector({ ...CRM, revocation: REVOCATION }, { clientId: 'made-up' }),
    );
    for (const url of [
      'https://api.crm.example/other',
      'https://api.crm.example:444/token',
      'http://api.crm.example/token',
      'https://x.example/token',
    ])
      await expect(egress.send(requestTo(url))).rejects.toThrow(EgressFailure);
    await expect(egress.send(requestTo('https://api.crm.example/token?a=b'))).rejects.toThrow('1');
    expect(sent).toEqual(['https://api.crm.example/token?a=b']);
  });
});

describe('which settings are bound', () => {
  it('all but those that are listed, so that a new one is bound', () => {
    const all = Object.keys(oauth2Config.shape);
    const bound = all.filter((name) => !(FREE_SETTINGS as readonly string[]).includes(name));
    expect(bound).toEqual([
      'token_endpoint',
      'authorization_endpoint',
      'revocation_endpoint',
      'introspection_endpoint',
      'issuer',
      'parameters',
      'base_urls',
      'sandbox',
      'client_id',
      'client_authentication',
      'extra_parameters',
      'assertion_audience',
    ]);
  });

  it('names the one that changed, and no parameter that is told at each consent', () => {
    const config = (changes: object) => boundPart(oauth2Config.parse({ client_id: 'made-up', ...changes }));
    const [a, b] = [config({ parameters: { slug: 'a', site: 'x' } }), config({ parameters: { slug: 'b', site: 'x' } })];
    expect(changedSetting(a, a)).toBeUndefined();
    expect(changedSetting(a, b)).toBe('/config/parameters/slug');
    expect(changedSetting(a, b, new Set(['slug']))).toBeUndefined();
    expect(changedSetting(a, config({ parameters: { slug: 'a' } }), new Set(['slug']))).toBe('/config/parameters/site');
    expect(changedSetting(a, { ...a, base_urls: { 'a.example': 'https://b.example' } })).toBe('/config/base_urls');
  });
});
