// What each field of a value and of a grant's settings may hold, on both sides of every bound.
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  apiKeyValue,
  basicValue,
  databaseValue,
  FREE_SETTINGS,
  fromJsonBytes,
  instant,
  jsonBytes,
  jsonValue,
  kindFacts,
  oauth2Config,
  oauth2Value,
  splitGrant,
} from '../../src/vault/credential-kinds.ts';

const takes = (schema: z.ZodType, value: unknown) => schema.safeParse(value).success;
const refusals = (schema: z.ZodType, value: unknown) =>
  schema.safeParse(value).error?.issues.map(({ path, message }) => `/${path.join('/')} ${message}`) ?? [];

/** A schema with the values around one field of it; its longest text that is taken, where one of a character more is not. */
type Bounded = readonly [what: string, schema: z.ZodType, around: (text: string) => unknown, maxChars: number, of?: string];

const CONFIG = { client_id: 'c' };
const config = (field: string) => (text: string) => ({ ...CONFIG, [field]: text });
const workflow = (given: object) => ({ ...CONFIG, workflows: [{ name: 'w', scopes: [], ...given }] });
const bounded: readonly Bounded[] = [
  ['the key of an API key', apiKeyValue, (key) => ({ key }), 65_536],
  ['its id', apiKeyValue, (key_id) => ({ key: 'k', key_id }), 512],
  ['its id beside bytes', apiKeyValue, (key_id) => ({ key_base64: 'YQ==', key_id }), 512],
  ['a user name', basicValue, (username) => ({ username, password: 'p' }), 65_536],
  ['a password', basicValue, (password) => ({ username: 'u', password }), 65_536],
  ['a user name beside bytes', basicValue, (username) => ({ username, password_base64: 'YQ==' }), 65_536],
  ['a host of a database', databaseValue, (host) => ({ engine: 'mysql', host }), 2_048],
  ['an engine', databaseValue, (engine) => ({ engine, host: 'h' }), 64],
  ['a connection string', databaseValue, (url) => ({ url }), 65_536],
  ['a connection string beside parts', databaseValue, (url) => ({ engine: 'mysql', host: 'h', url }), 65_536],
  ['a database user', databaseValue, (username) => ({ url: 'u', username }), 512],
  ['a database password', databaseValue, (password) => ({ url: 'u', password }), 65_536],
  ['a database name', databaseValue, (database) => ({ url: 'u', database }), 255],
  ['an option of a database', databaseValue, (text) => ({ url: 'u', options: { o: text } }), 1_024],
  ['the name of an option', databaseValue, (text) => ({ url: 'u', options: { [text]: 1 } }), 128],
  ['dbname', databaseValue, (dbname) => ({ url: 'u', dbname }), 255],
  ['dbInstanceIdentifier', databaseValue, (text) => ({ url: 'u', dbInstanceIdentifier: text }), 255],
  ['dbClusterIdentifier', databaseValue, (text) => ({ url: 'u', dbClusterIdentifier: text }), 255],
  ['a name in a document', jsonValue, (text) => ({ [text]: 1 }), 256],
  ['an access token', oauth2Value, (access_token) => ({ access_token }), 65_536],
  ['a refresh token', oauth2Value, (refresh_token) => ({ refresh_token }), 65_536],
  ['a client secret', oauth2Value, (client_secret) => ({ client_secret }), 65_536],
  ['a private key', oauth2Value, (client_private_key_pem) => ({ client_private_key_pem }), 16_384],
  ['the algorithm of a key', oauth2Value, (alg) => ({ client_private_jwk: { kty: 'RSA', alg } }), 16],
  ['a type of tokens', oauth2Value, (token_type) => ({ token_type }), 64],
  ['a scope', oauth2Value, (scope) => ({ scope }), 4_096],
  ['a client id', oauth2Config, config('client_id'), 512],
  ['an audience', oauth2Config, config('assertion_audience'), 1_024],
  ['a scope of every refresh', oauth2Config, config('scope'), 4_096],
  ['a parameter', oauth2Config, (text) => ({ ...CONFIG, parameters: { p: text } }), 255],
  ['the name of a parameter', oauth2Config, (text) => ({ ...CONFIG, parameters: { [text]: 'p' } }), 64],
  ['a host that is moved', oauth2Config, (text) => ({ ...CONFIG, base_urls: { [text]: 'https://a.example' } }), 255],
  ['the name of a workflow', oauth2Config, (name) => workflow({ name }), 64],
  ['the reason of a workflow', oauth2Config, (why) => workflow({ why }), 200],
  ['a scope of a workflow', oauth2Config, (scope) => workflow({ scopes: [scope] }), 256],
  ['a further parameter', oauth2Config, (text) => ({ ...CONFIG, extra_parameters: { p: text } }), 1_024],
  ['the name of a further parameter', oauth2Config, (text) => ({ ...CONFIG, extra_parameters: { [text]: 'p' } }), 64],
  ...['token_endpoint', 'authorization_endpoint', 'revocation_endpoint', 'introspection_endpoint', 'issuer', 'sandbox'].map(
    (field): Bounded => [field, oauth2Config, config(field), 1_024, 'https://a.example/'],
  ),
  ['another place of a host', oauth2Config, (text) => ({ ...CONFIG, base_urls: { a: text } }), 1_024, 'https://a.example/'],
];

const rows = bounded.map(([what, schema, around, maxChars, of = '']) => [what, { schema, around, maxChars, of }] as const);

describe('a text', () => {
  it.each(rows)('that is %s may be as long as it may be, and no longer', (_what, { schema, around, maxChars, of }) => {
    expect(takes(schema, around(of + 'a'.repeat(maxChars - of.length)))).toBe(true);
    expect(takes(schema, around(of + 'a'.repeat(maxChars + 1 - of.length)))).toBe(false);
  });

  it.each(rows)('that is %s may be a single character', (_what, { schema, around, of }) => {
    expect(takes(schema, around(of === '' ? 'a' : of))).toBe(true);
  });

  const mayBeEmpty = new Set([
    'a user name',
    'a password',
    'a user name beside bytes',
    'a database user',
    'a database password',
    'an option of a database',
    'a name in a document',
    'the algorithm of a key',
    'a scope',
    'a scope of every refresh',
    'a further parameter',
  ]);
  it.each(rows)('that is %s may be empty only where that says something', (what, { schema, around }) => {
    expect(takes(schema, around(''))).toBe(mayBeEmpty.has(what));
  });
});

describe('a number', () => {
  const DAYS = [1, 3_650] as const;
  it.each<[string, z.ZodType, (value: unknown) => unknown, number, number]>([
    ['seconds of an access token', oauth2Value, (expires_in) => ({ expires_in }), 0, 31_536_000],
    ['a port', databaseValue, (port) => ({ url: 'u', port }), 1, 65_535],
    ['a window', oauth2Config, (window_seconds) => ({ ...CONFIG, lost_answer: { window_seconds } }), 1, 86_400],
    ['a life', oauth2Config, (access_token_ttl_seconds) => ({ ...CONFIG, access_token_ttl_seconds }), 1, 31_536_000],
    ['an idle limit', oauth2Config, (idle_limit_days) => ({ ...CONFIG, idle_limit_days }), ...DAYS],
    ['an absolute limit', oauth2Config, (absolute_limit_days) => ({ ...CONFIG, absolute_limit_days }), ...DAYS],
  ])('that is %s is whole and within its bounds', (_what, schema, around, min, max) => {
    expect([min - 1, min, max, max + 1, min + 0.5].map((value) => takes(schema, around(value)))).toEqual([
      false,
      true,
      true,
      false,
      false,
    ]);
  });

  it('of things in a list has a bound, too', () => {
    const scopes = (count: number) => takes(oauth2Config, workflow({ scopes: Array.from({ length: count }, (_, i) => `s${i}`) }));
    expect([200, 201].map(scopes)).toEqual([true, false]);
    const named = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `w${i}`, scopes: [] }));
    expect([64, 65].map((count) => takes(oauth2Config, { ...CONFIG, workflows: named(count) }))).toEqual([true, false]);
  });

  it('of bytes is counted as base64', () => {
    for (const around of [
      (key_base64: string) => [apiKeyValue, { key_base64 }] as const,
      (password_base64: string) => [basicValue, { username: 'u', password_base64 }] as const,
      (password_base64: string) => [databaseValue, { url: 'u', password_base64 }] as const,
    ]) {
      const taken = (text: string) => {
        const [schema, value] = around(text);
        return takes(schema, value);
      };
      expect(taken('a'.repeat(87_384))).toBe(true);
      for (const bad of ['a'.repeat(87_388), '', 'abc', 'ab*=']) expect(taken(bad)).toBe(false);
    }
  });

  it('as text is a port', () => {
    for (const port of ['1', '65535', '99999']) expect(takes(databaseValue, { url: 'u', port })).toBe(true);
    for (const port of ['', '0', '01', '100000', '-1', 'x']) expect(takes(databaseValue, { url: 'u', port })).toBe(false);
  });
});

describe('what may not stand together', () => {
  it('are two forms of one secret', () => {
    expect(takes(apiKeyValue, { key: 'k', key_base64: 'YQ==' })).toBe(false);
    expect(takes(basicValue, { username: 'u', password: 'p', password_base64: 'YQ==' })).toBe(false);
    expect(refusals(databaseValue, { url: 'u', password: 'p', password_base64: 'YQ==' })).toEqual([
      '/password_base64 must not be given together with password',
    ]);
    expect(takes(databaseValue, { url: 'u', password: '' })).toBe(true);
    expect(takes(databaseValue, { url: 'u', password_base64: 'YQ==' })).toBe(true);
  });

  it('are an empty user name and an empty password', () => {
    const both = (username: string, password: string) => takes(basicValue, { username, password });
    expect([both('', ''), both('u', ''), both('', 'p')]).toEqual([false, true, true]);
    expect(takes(basicValue, { username: '', password_base64: 'YQ==' })).toBe(true);
    expect(refusals(basicValue, { username: '', password: '' })).toEqual(['/ must have a user name or a password']);
  });

  it('is nothing at all in a document, and anything in it else', () => {
    expect(refusals(jsonValue, {})).toEqual(['/ must not be empty']);
    expect(z.toJSONSchema(jsonValue)).toMatchObject({ type: 'object', minProperties: 1 });
    expect(takes(jsonValue, { a: { b: [1, null] } })).toBe(true);
  });

  it('are two workflows of one name', () => {
    const workflows = [
      { name: 'a', scopes: [] },
      { name: 'b', scopes: [] },
    ];
    expect(takes(oauth2Config, { ...CONFIG, workflows })).toBe(true);
    expect(refusals(oauth2Config, { ...CONFIG, workflows: [...workflows, workflows[0]] })).toEqual([
      '/workflows must not list a workflow twice',
    ]);
  });

  it('are further parameters and the fields of the protocol, or another client', () => {
    const extra = (name: string, value = 'x') => refusals(oauth2Config, { ...CONFIG, extra_parameters: { [name]: value } });
    for (const name of [
      'grant_type',
      'refresh_token',
      'scope',
      'client_secret',
      'client_assertion',
      'client_assertion_type',
      'code',
      'code_verifier',
      'token',
    ])
      expect(extra(name)).toEqual([
        '/extra_parameters must not set grant_type, refresh_token, scope, client_secret, client_assertion, client_assertion_type, code, code_verifier, token: ' +
          'use the settings for them, or leave them to Keyturn',
      ]);
    expect(extra('resource')).toEqual([]);
    const beside = { ...CONFIG, extra_parameters: { resource: 'x', scope: 'x' } };
    expect(refusals(oauth2Config, beside)[0], 'one among others').toContain('/extra_parameters must not set');
    expect(extra('client_id', 'c')).toEqual([]);
    expect(extra('client_id', 'd')).toEqual(['/extra_parameters/client_id must be the client_id of this credential, or absent']);
  });
});

describe('an endpoint', () => {
  const endpoint = (token_endpoint: string) => takes(oauth2Config, { ...CONFIG, token_endpoint });
  it.each(['https://a.example', 'http://a.example/x?y=z'])('may be %s', (url) => expect(endpoint(url)).toBe(true));
  it.each([
    'ftp://a.example',
    'https://u@a.example',
    'https://:p@a.example',
    'https://a.example/#x',
    'https://a.example/{x}',
    'https://a.example/}',
    'https://a.example/\u202ex',
    'nowhere',
  ])('may not be %s', (url) => expect(endpoint(url)).toBe(false));
});

describe('the reason that a person reads', () => {
  it.each(['a\nb', 'a\u2028b', 'a\u2029b', 'a\u202eb', 'a\u2066b'])('is one line, read as it is written: not %j', (why) => {
    expect(refusals(oauth2Config, workflow({ why }))).toEqual(['/workflows/0/why must be one line of plain text']);
  });
});

describe('an instant', () => {
  it('is kept as this service writes it', () => {
    expect(instant.parse('2026-01-02')).toBe('2026-01-02T00:00:00.000Z');
    expect(instant.parse('2026-01-02T03:04:05+01:00')).toBe('2026-01-02T02:04:05.000Z');
    expect(takes(instant, 'soon')).toBe(false);
  });
});

describe('a kind', () => {
  it('has keys, a way and a connector of its own', () => {
    const plain = { purpose: 'api_key', isRenewed: false, defaultConnector: null };
    expect(kindFacts('oauth2')).toEqual({ purpose: 'oauth_token', isRenewed: true, defaultConnector: 'generic-oauth2' });
    for (const kind of ['api_key', 'basic', 'database', 'json']) expect(kindFacts(kind)).toEqual(plain);
    expect(() => kindFacts('unheard')).toThrow(expect.objectContaining({ code: 'internal' }));
  });

  it('that is a grant has settings that name no host, client or proof, and those alone are free', () => {
    const named = Object.keys(oauth2Config.shape).filter((name) => !(FREE_SETTINGS as readonly string[]).includes(name));
    expect(named.sort()).toEqual([
      'assertion_audience',
      'authorization_endpoint',
      'base_urls',
      'client_authentication',
      'client_id',
      'extra_parameters',
      'introspection_endpoint',
      'issuer',
      'parameters',
      'revocation_endpoint',
      'sandbox',
      'token_endpoint',
    ]);
  });
});

describe('a grant that is put', () => {
  const settings = { connector: 'x', config: CONFIG };
  const split = (value: Parameters<typeof splitGrant>[0]) => {
    const { value: served, retained, expiresAtMs } = splitGrant(value, settings, 1_000);
    return { served: fromJsonBytes(served), retained: fromJsonBytes(retained ?? jsonBytes(null)), expiresAtMs };
  };

  it('is served as a token, its type and scope; all else is kept for the vault', () => {
    const jwk = { kty: 'RSA', alg: 'RS256' } as const;
    const secrets = { refresh_token: 'r', client_secret: 'c', client_private_jwk: jwk, client_private_key_pem: 'p' };
    expect(split({ access_token: 'a', token_type: 't', scope: 's', expires_in: 5, ...secrets })).toEqual({
      served: { access_token: 'a', token_type: 't', scope: 's' },
      retained: { ...secrets, settings },
      expiresAtMs: 6_000,
    });
  });

  it('without an access token has no type and no end; with one it is a bearer token', () => {
    expect(split({ refresh_token: 'r', token_type: 't', expires_in: 5 })).toEqual({
      served: {},
      retained: { refresh_token: 'r', settings },
      expiresAtMs: undefined,
    });
    expect(split({ access_token: 'a' })).toEqual({
      served: { access_token: 'a', token_type: 'Bearer' },
      retained: { settings },
      expiresAtMs: undefined,
    });
    expect(split({ access_token: 'a', expires_in: 0 }).expiresAtMs).toBe(1_000);
  });
});
