// The settings of a key connector: which are refused, naming the field, and where calls may then go.
import { describe, expect, it } from 'vitest';
import type { Connector, EgressRequest, KeyConnector, KeySpec } from '../../../rotation/connector.ts';
import { EgressFailure } from '../../../rotation/connector.ts';
import { boundEgress, managerKinds, resolvedOrNot, resolveKey, settingsOfKey } from '../../../rotation/keys/key-settings.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import type { KeyConfig } from '../../../src/vault/rotation-state.ts';
import { answer } from '../key-provider.ts';
import { connectorOf } from './made-up-calls.ts';

const PARAMETERS = [
  { name: 'account', title: 'Account' },
  { name: 'region', title: 'Region', values: ['eu', 'us'], default: 'eu' },
  { name: 'site', title: 'Site', shape: 'host', default: 'site.example' },
] as unknown as NonNullable<KeyConnector['parameters']>;
const HOSTS = ['{account}.example.com', 'api.{region}.example.com', '{site}'];

function resolve(config: KeyConfig, more: Partial<KeySpec> = {}, id = 'made-up', kind = 'api_key') {
  const connector: KeyConnector = { ...connectorOf({ hosts: HOSTS, ...more }), parameters: PARAMETERS };
  const connectors = new Map<string, Connector>([['made-up', connector]]);
  return resolveKey({ connectors }, kind, id, config);
}
const refusal = (config: KeyConfig, more: Partial<KeySpec> = {}, kind?: string) => {
  try {
    resolve(config, more, undefined, kind);
  } catch (error) {
    if (error instanceof KeyturnError) return [error.code, error.pointer];
    throw error;
  }
  return 'taken';
};
const account = (value = 'acme') => ({ parameters: { account: value } });

describe('settings', () => {
  it('are taken with the defaults of the connector, and name its hosts', () => {
    const resolved = resolve(account());
    expect(resolved?.parameters).toEqual({ account: 'acme', region: 'eu', site: 'site.example' });
    expect(resolved?.hosts).toEqual(['acme.example.com', 'api.eu.example.com', 'site.example']);
    expect(resolved?.rotator).toBeDefined();
    expect(resolve(account(), {}, 'none')).toBeUndefined();
  });

  it.each<[string, KeyConfig, Partial<KeySpec>, string]>([
    ['without a required admin', account(), { admin: 'credential' }, '/config/admin'],
    ['with an admin that has no effect', { ...account(), admin: 'root' }, { admin: 'self' }, '/config/admin'],
    ['with a sandbox and a moved host', { ...account(), sandbox: 'http://127.0.0.1:9', base_urls: {} }, {}, '/config/base_urls'],
    ['with an unknown parameter', { parameters: { account: 'a', tenant: 'b' } }, {}, '/config/parameters/tenant'],
    ['without a parameter', {}, {}, '/config/parameters/account'],
    ['with a value that is none of a list', { parameters: { account: 'a', region: 'cn' } }, {}, '/config/parameters/region'],
    ['with a host that is none', { parameters: { account: 'a', site: 'Site.Example/x' } }, {}, '/config/parameters/site'],
    [
      'with a moved host that is not called',
      { ...account(), base_urls: { 'other.example.com': 'https://x.example' } },
      {},
      '/config/base_urls/other.example.com',
    ],
  ])('%s are refused', (_, config, more, pointer) => {
    expect(refusal(config, more)).toEqual(['invalid_request', pointer]);
  });

  it('say which form a parameter must have', () => {
    expect(() => resolve(account('a b'))).toThrow('must be one label');
    expect(() => resolve({ parameters: { account: 'a', site: '-' } })).toThrow('must be a host name');
    expect(() => resolve({ parameters: { account: 'a', region: 'cn' } })).toThrow('must be one of eu, us');
  });

  it('of a connector for another kind of credential are refused', () => {
    expect(refusal(account(), {}, 'basic')).toEqual(['invalid_request', '/connector']);
  });

  it('have labels and hosts of a closed form', () => {
    const taken = (value: string) => refusal(account(value)) === 'taken';
    expect(['a', 'A-1_b', '0', 'a'.repeat(128)].map(taken)).toEqual([true, true, true, true]);
    expect(['', '-a', '_a', 'a.b', 'a/b', 'a b', 'a'.repeat(129)].map(taken)).toEqual(Array(7).fill(false));
    const site = (value: string) => refusal({ parameters: { account: 'a', site: value } }) === 'taken';
    expect(['a', 'a.example', 'a-b.example:8443', `a${'b'.repeat(251)}c`].map(site)).toEqual([true, true, true, true]);
    expect(['', '-a', 'a-', 'a.', 'a:0', 'a:123456', 'a_b', `a${'b'.repeat(252)}c`].map(site)).toEqual(Array(8).fill(false));
  });

  it('that need or take an admin are told apart', () => {
    const admin = { ...account(), admin: 'root' };
    expect([refusal(admin, { admin: 'credential' }), refusal(account(), { admin: 'self' })]).toEqual(['taken', 'taken']);
    expect([refusal(admin, { admin: 'either' }), refusal(account(), { admin: 'either' })]).toEqual(['taken', 'taken']);
  });

  it('move hosts, to one or several others, or all of them to a sandbox', () => {
    const moved = { 'acme.example.com': 'https://z.example:8443/base', 'site.example': 'https://api.eu.example.com' };
    expect(resolve({ ...account(), base_urls: moved })?.hosts).toEqual(['api.eu.example.com', 'z.example:8443']);
    expect(resolve({ ...account(), sandbox: 'http://127.0.0.1:9/x' })?.hosts).toEqual(['127.0.0.1:9']);
    expect(resolve({ ...account(), base_urls: {} })?.hosts).toHaveLength(3);
  });
});

describe('settings of a credential that manages others', () => {
  const manages = { ...account(), manages: true } as const;

  it('need no admin, name the same hosts, and give no rotator', () => {
    const resolved = resolve(manages, { admin: 'credential' });
    expect([resolved?.rotator, resolved?.hosts]).toEqual([undefined, ['acme.example.com', 'api.eu.example.com', 'site.example']]);
    expect(resolve({ ...account(), manages: false } as unknown as KeyConfig)?.rotator).toBeDefined();
  });

  it('are for a kind that manages, and for no grant', () => {
    const kinds = (more: Partial<KeySpec>) => managerKinds(connectorOf(more));
    expect([kinds({ admin: 'self' }), kinds({}), kinds({ adminKinds: ['basic', 'oauth2', 'json'] })]).toEqual([
      [],
      ['api_key'],
      ['basic', 'json'],
    ]);
    expect(refusal(manages, { admin: 'self' })).toEqual(['invalid_request', '/config/manages']);
    expect(refusal(manages, { adminKinds: ['oauth2'] })).toEqual(['invalid_request', '/config/manages']);
    expect(refusal(manages, {}, 'basic')).toEqual(['invalid_request', '/config/manages']);
    expect(refusal(manages, { adminKinds: ['basic'] }, 'basic')).toBe('taken');
  });

  it('contain nothing about a rotation of its own', () => {
    for (const other of [{ admin: 'root' }, { grace_seconds: 1 }, { rotate_every_seconds: 99_999 }])
      expect(refusal({ ...manages, ...other })).toEqual(['invalid_request', `/config/${Object.keys(other)[0]}`]);
    expect(refusal({ ...manages, sandbox: 'http://127.0.0.1:9', base_urls: {} })).toEqual([
      'invalid_request',
      '/config/base_urls',
    ]);
  });
});

describe('the deadline of a replaced value', () => {
  it('is no earlier than the end of its grace period', () => {
    const taken = (config: KeyConfig) => refusal({ ...account(), ...config });
    expect(taken({ grace_seconds: 10, deadline_seconds: 9 })).toEqual(['invalid_request', '/config/deadline_seconds']);
    for (const config of [{ grace_seconds: 10, deadline_seconds: 10 }, { deadline_seconds: 0 }, { grace_seconds: 10 }])
      expect(taken(config)).toBe('taken');
  });
});

describe('settings that a row still has', () => {
  const ports = (connectors: unknown) => ({ connectors }) as Parameters<typeof resolvedOrNot>[0];

  it('are unusable without a reason, but a defect is none of them', () => {
    const connectors = new Map<string, Connector>([['made-up', connectorOf()]]);
    expect(resolvedOrNot(ports(connectors), 'api_key', { connector: 'made-up', config: {} })?.hosts).toEqual(['api.example.com']);
    expect(resolvedOrNot(ports(connectors), 'basic', { connector: 'made-up', config: {} })).toBeUndefined();
    const broken = { get: () => { throw new RangeError('a defect'); } }; // biome-ignore format: one line
    expect(() => resolvedOrNot(ports(broken), 'api_key', { connector: 'made-up', config: {} })).toThrow('a defect');
  });
});

describe('the rotator of a connector', () => {
  const rotator = { made: 'up' };
  const resolvedBy = (more: Partial<KeySpec>, drivers = new Map([['postgresql', { rotator: () => rotator }]])) => {
    const { calls: _, ...key } = connectorOf(more).key;
    const connectors = new Map<string, Connector>([['made-up', { ...connectorOf(), key: key as KeySpec }]]);
    return resolveKey({ connectors, drivers: drivers as never }, 'api_key', 'made-up', {})?.rotator;
  };

  it('is that of its driver, if this platform has it and no person must do it', () => {
    expect(resolvedBy({ driver: 'postgresql' })).toBe(rotator);
    expect(resolvedBy({ driver: 'mysql' })).toBeUndefined();
    expect(resolvedBy({ driver: 'postgresql', strategy: 'manual' })).toBeUndefined();
    expect([resolvedBy({}), resolvedBy({ driver: 'postgresql' }, undefined as never)]).toEqual([undefined, rotator]);
  });
});

describe('an egress that is bound to settings', () => {
  const sent = async (url: string, config: KeyConfig) => {
    const requests: EgressRequest[] = [];
    const egress = boundEgress(
      {
        send: async (request) => {
          requests.push(request);
          return answer(200, '');
        },
      },
      resolve({ ...account(), ...config }) as NonNullable<ReturnType<typeof resolve>>,
    );
    const request = {
      method: 'GET',
      url,
      headers: {},
      allowedHosts: ['evil.example'],
      allowLoopback: false,
      timeoutMs: 1,
      maxBytes: 2,
    } as const;
    try {
      await egress.send(request);
    } catch (error) {
      return error instanceof EgressFailure ? error.reason : error;
    }
    expect(requests[0]).toMatchObject({
      method: 'GET',
      timeoutMs: 1,
      maxBytes: 2,
      allowedHosts: resolve({ ...account(), ...config })?.hosts,
    });
    return requests[0]?.url;
  };

  it('reaches the declared hosts, where they were moved to, and no other', async () => {
    const url = 'https://acme.example.com/v1?x=1';
    expect(await sent(url, {})).toBe(url);
    expect(await sent(url, { base_urls: { 'acme.example.com': 'https://z.example/base/' } })).toBe(
      'https://z.example/base/v1?x=1',
    );
    expect(await sent(url, { sandbox: 'http://127.0.0.1:9' })).toBe('http://127.0.0.1:9/acme.example.com/v1?x=1');
    for (const other of ['https://evil.example/', 'https://acme.example.com:444/', 'not a url'])
      expect(await sent(other, {})).toBe('host_not_allowed');
    expect(await sent('https://z.example/', { base_urls: { 'acme.example.com': 'https://z.example' } })).toBe('host_not_allowed');
  });
});

it('a value is used with the settings sealed with it, and with those of the credential that are free', () => {
  const row = {
    config: JSON.stringify({ admin: 'new', grace_seconds: 9, parameters: { account: 'new' }, sandbox: 'http://127.0.0.1:9' }),
  };
  const retained = { settings: { connector: 'c', config: { admin: 'old', parameters: { account: 'old' } } } };
  expect(settingsOfKey(row, retained)).toEqual({
    connector: 'c',
    config: { admin: 'new', grace_seconds: 9, parameters: { account: 'old' } },
  });
  expect(settingsOfKey(row, {})).toBeUndefined();
});
