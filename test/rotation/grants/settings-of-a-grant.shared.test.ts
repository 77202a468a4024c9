// From the settings of a credential to what its connector is resolved with: each setting by its name, what counts for nothing, and how it is renewed.
import { describe, expect, it } from 'vitest';
import type { OAuthConnector, Renewal } from '../../../rotation/connector.ts';
import { mayReachLoopback, refuseIgnored, resolveFor, rulesOf } from '../../../rotation/grants/connector-settings.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import { type OAuth2Config, oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { GENERIC } from '../kit.ts';

const CRM: OAuthConnector = {
  id: 'crm',
  title: 'CRM',
  kind: 'oauth2',
  oauth2: {
    ...GENERIC,
    tokenEndpoint: 'https://api.crm.example/token',
    hosts: ['api.crm.example', '*.data.example', '{region}.crm.example', '{any}'],
  },
  parameters: [
    { name: 'region', title: 'Region', shape: 'label', default: 'eu' },
    { name: 'any', title: 'Any', shape: 'label', from: 'consent' },
  ],
  consent: { authorizeEndpoint: 'https://app.crm.example/a', pkce: 'S256', alwaysScopes: ['offline'] },
  lifetimes: { idleSeconds: 86_400 },
  adjustable: [
    'tokenEndpoint',
    'clientAuthentication',
    'bodyFormat',
    'refreshTokenRotates',
    'lostAnswer',
    'accessTokenTtlSeconds',
    'extraParameters',
    'scopeSeparator',
    'assertionAudience',
  ],
};
const config = (given: object = {}): OAuth2Config => oauth2Config.parse({ client_id: 'c', ...given });
const resolved = (given: object = {}, changes: Partial<OAuthConnector> = {}) =>
  resolveFor({ ...CRM, ...changes }, config(given), {}, true);

describe('a setting', () => {
  it.each<[string, object, object]>([
    ['client_authentication', { client_authentication: 'none' }, { clientAuthentication: 'none' }],
    ['body_format', { body_format: 'json' }, { bodyFormat: 'json' }],
    ['refresh_token_rotates', { refresh_token_rotates: 'never' }, { refreshTokenRotates: 'never' }],
    ['lost_answer', { lost_answer: 'safe' }, { lostAnswer: { kind: 'safe' } }],
    ['lost_answer of a window', { lost_answer: { window_seconds: 9 } }, { lostAnswer: { kind: 'window', seconds: 9 } }],
    ['access_token_ttl_seconds', { access_token_ttl_seconds: 9 }, { accessTokenTtlSeconds: 9, accessTokenTtlIsSet: true }],
    ['extra_parameters', { extra_parameters: { a: 'b' } }, { extraParameters: { a: 'b' } }],
    ['scope_separator', { scope_separator: ',' }, { scopeSeparator: ',' }],
    ['assertion_audience', { assertion_audience: 'aud' }, { assertionAudience: 'aud' }],
    [
      'token_endpoint',
      { token_endpoint: 'https://own.example/t' },
      { tokenEndpoint: 'https://own.example/t', hosts: ['own.example', 'app.crm.example'] },
    ],
    ['nothing', {}, {}],
  ])('%s changes that of the connector, and nothing else', (_name, given, changed) => {
    const { hosts, ...plain } = resolved().oauth2;
    const { hosts: moved, ...found } = resolved(given).oauth2;
    const { hosts: _told, ...others } = changed as { hosts?: string[] };
    expect(found).toEqual({ ...plain, ...others });
    if ('token_endpoint' in given) expect(moved).toContain('own.example');
    else expect(moved).toEqual(hosts);
  });

  it('of another place moves the calls that it names', () => {
    const { consent, revocation, introspection } = resolved({
      authorization_endpoint: 'https://id.example/a',
      revocation_endpoint: 'https://id.example/r',
      introspection_endpoint: 'https://id.example/i',
      issuer: 'https://id.example',
    });
    expect(consent).toMatchObject({ authorizeEndpoint: 'https://id.example/a', issuer: 'https://id.example' });
    expect([revocation?.url, introspection?.url]).toEqual(['https://id.example/r', 'https://id.example/i']);
    expect(resolved({ parameters: { region: 'us' } }).hosts).toContain('us.crm.example');
    expect(resolved({ base_urls: { 'api.crm.example': 'https://proxy.example' } }).oauth2.tokenEndpoint).toBe(
      'https://proxy.example/token',
    );
    expect(resolved({ sandbox: 'http://127.0.0.1:9' }).oauth2.tokenEndpoint).toBe('http://127.0.0.1:9/api.crm.example/token');
  });
});

describe('a setting that would count for nothing', () => {
  const refusal = (given: object, changes: Partial<OAuthConnector> = {}): string => {
    const connector = { ...CRM, ...changes };
    try {
      refuseIgnored(connector, config(given), resolveFor(connector, config(given), {}, true));
      return 'ok';
    } catch (error) {
      if (!(error instanceof KeyturnError)) throw error;
      return `${error.code} ${error.pointer}`;
    }
  };
  const renewal = (kind: Renewal['kind']) => ({
    oauth2: {
      ...CRM.oauth2,
      renewal: { kind, assertion: { algorithm: 'RS256', lifetimeSeconds: 60, sentAs: 'bearer' } } as Renewal,
    },
  });
  const moved = (host: string) => ({ base_urls: { [host]: 'https://proxy.example' } });

  it.each<[string, object, Partial<OAuthConnector>, string]>([
    ['none at all', {}, {}, 'ok'],
    [
      'other places beside a sandbox',
      { ...moved('api.crm.example'), sandbox: 'https://s.example' },
      {},
      'invalid_request /config/base_urls',
    ],
    ['a sandbox alone', { sandbox: 'https://s.example' }, {}, 'ok'],
    ['another place of a declared host', moved('api.crm.example'), {}, 'ok'],
    ['another place of a host of many', moved('a.b.data.example'), {}, 'ok'],
    [
      'another place of the many themselves',
      moved('data.example'),
      { oauth2: { ...CRM.oauth2, hosts: ['*.data.example'] } },
      'invalid_request /config/base_urls',
    ],
    ['another place of a host by its default', moved('eu.crm.example'), {}, 'ok'],
    ['another place of a host by its parameter', { ...moved('us.crm.example'), parameters: { region: 'us' } }, {}, 'ok'],
    [
      'another place of a host by nobody’s parameter',
      moved('us.crm.example'),
      { oauth2: { ...CRM.oauth2, hosts: ['{region}.crm.example'] } },
      'invalid_request /config/base_urls',
    ],
    ['another place of a host that a person tells', moved('whatever'), {}, 'ok'],
    [
      'another place of a strange host',
      moved('x.example'),
      { oauth2: { ...CRM.oauth2, hosts: ['api.crm.example'] } },
      'invalid_request /config/base_urls',
    ],
    [
      'another place of a host that only looks like it',
      moved('apiXcrm.example'),
      { oauth2: { ...CRM.oauth2, hosts: ['api.crm.example'] } },
      'invalid_request /config/base_urls',
    ],
    ...(['token_endpoint', 'authorization_endpoint', 'revocation_endpoint', 'introspection_endpoint', 'issuer'] as const).map(
      (field): [string, object, Partial<OAuthConnector>, string] => [
        `another place of the host of its ${field}`,
        { ...moved('own.example'), [field]: 'https://own.example/x' },
        { oauth2: { ...CRM.oauth2, hosts: ['api.crm.example'] } },
        'ok',
      ],
    ),
    [
      'a page where no person can connect',
      { authorization_endpoint: 'https://a.example/a' },
      { consent: undefined } as never,
      'invalid_request /config/authorization_endpoint',
    ],
    [
      'an issuer where no person can connect',
      { issuer: 'https://a.example' },
      { consent: undefined } as never,
      'invalid_request /config/issuer',
    ],
    ['a scope of what nothing renews', { scope: 'a' }, renewal('none'), 'invalid_request /config/scope'],
    ['a plan of what nothing renews', { refresh: 'ahead' }, renewal('none'), 'invalid_request /config/refresh'],
    [
      'an end of the secret of what nothing renews',
      { client_secret_expires_at: '2027-01-01' },
      renewal('none'),
      'invalid_request /config/client_secret_expires_at',
    ],
    ['a scope of an app', { scope: 'a' }, renewal('app_jwt'), 'invalid_request /config/scope'],
    ['a plan of an app', { refresh: 'ahead' }, renewal('app_jwt'), 'ok'],
    ['a scope of a client', { scope: 'a' }, renewal('client_credentials'), 'ok'],
  ])('%s: %s', (_what, given, changes, ends) => {
    expect(refusal(given, changes)).toBe(ends);
  });
});

describe('a grant is renewed', () => {
  const DAY = 86_400_000;
  const rules = (given: object = {}, changes: Partial<OAuthConnector> = {}) => rulesOf(resolved(given, changes), config(given));

  it.each<[Renewal['kind'] | undefined, string]>([
    [undefined, 'refresh_token'],
    ['refresh_token', 'refresh_token'],
    ['client_credentials', 'key'],
    ['none', 'never'],
  ])('by %s: %s', (kind, renews) => {
    const oauth2 = kind === undefined ? CRM.oauth2 : { ...CRM.oauth2, renewal: { kind } as Renewal };
    expect(rules({}, { oauth2 })).toEqual({ renews, idleMs: DAY, alwaysScopes: ['offline'] });
  });

  it('before the shorter of two limits, and by none where nobody knows one', () => {
    expect(rules({ idle_limit_days: 2 }).idleMs).toBe(DAY);
    expect(rules({ idle_limit_days: 1 }, { lifetimes: { idleSeconds: 2 * 86_400 } }).idleMs).toBe(DAY);
    expect(rules({ idle_limit_days: 3 }, { lifetimes: {} }).idleMs).toBe(3 * DAY);
    expect(rules({}, { lifetimes: {} }).idleMs).toBeUndefined();
    const { alwaysScopes: _none, ...consent } = CRM.consent!;
    expect(rules({}, { consent })).not.toHaveProperty('alwaysScopes');
  });
});

describe('this machine may be reached', () => {
  it('where the operator allows it and the credential says that it is played, alone', () => {
    const may = (allowed: boolean, connector: string | null, sandbox?: string) =>
      mayReachLoopback(allowed, connector, config(sandbox === undefined ? {} : { sandbox }));
    expect([may(true, 'local-sandbox'), may(true, 'crm', 'http://127.0.0.1'), may(true, 'crm'), may(true, null)]).toEqual([
      true,
      true,
      false,
      false,
    ]);
    expect([may(false, 'local-sandbox'), may(false, 'crm', 'http://127.0.0.1')]).toEqual([false, false]);
  });
});
