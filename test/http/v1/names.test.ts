// A credential's name is the same wherever one is accepted: path, pattern, list, log, link, cursor, alert.
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { patternMatcher } from '../../../src/access/principals.ts';
import { isCredentialName } from '../../../src/base/ids.ts';
import { segment } from '../../../src/sdk/transport.ts';
import { type TestApp, testApp } from '../../kit/app.ts';

const BASE = '/v1/tenants/acme/environments/staging/credentials';
const NAMES = ['DB_PASSWORD', 'stripe', 'team/payments/STRIPE_KEY', 'a.b', 'x-1', '_internal', 'Prod/db.main', 'a'.repeat(128)];
const SECRET = 'not-a-real-secret';
let app: TestApp;

beforeAll(async () => {
  app = await testApp();
  await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
});

const at = (name: string, rest = '') => `${BASE}/${segment(name)}${rest}`;
const put = (name: string, extra: object = {}) =>
  app.call({ method: 'PUT', path: at(name), body: { kind: 'api_key', value: { key: SECRET }, ...extra } });
async function tokenFor(patterns: readonly string[]): Promise<string> {
  const name = `wl-${Math.random().toString(36).slice(2)}`;
  const made = await app.call({
    method: 'POST',
    path: '/v1/tenants/acme/workloads',
    body: { name, environment: 'staging', patterns, permissions: ['read', 'put'] },
  });
  expect(made.status, made.text).toBe(201);
  return (await app.call({ method: 'POST', path: `/v1/tenants/acme/workloads/${name}/tokens`, body: {} })).json.token as string;
}

describe('names that people have', () => {
  it.each(NAMES)('work in every place that takes or tells one: %s', async (name) => {
    const made = await put(name, { labels: { of: 'names' } });
    expect(made).toMatchObject({ status: 201, json: { name } });
    const exact = await tokenFor([name]);
    const value = await app.call({ path: at(name, '/value'), token: exact });
    expect(value).toMatchObject({ status: 200, json: { name, value: { key: SECRET } } });
    const scoped = await app.call({ path: BASE, token: exact });
    expect(scoped.json.items.map((item: { name: string }) => item.name)).toEqual([name]);
    for (const [method, rest, body] of [
      ['GET', '', undefined],
      ['PATCH', '', { description: 'd' }],
      ['GET', '/versions', undefined],
      ['GET', '/runs', undefined],
      ['GET', '/connections', undefined],
      ['DELETE', '', undefined],
      ['POST', '/restorations', {}],
    ] as const)
      expect((await app.call({ method, path: at(name, rest), body })).status, `${method} ${rest}`).toBe(200);
    const found = await app.call({ path: `${BASE}?search=${encodeURIComponent(name.slice(0, 100).toUpperCase())}` });
    expect(found.json.items.map((item: { name: string }) => item.name)).toContain(name);
    const log = await app.call({ path: `/v1/tenants/acme/audit/events?target=${encodeURIComponent(name)}` });
    expect(log.json.items.length).toBeGreaterThan(8);
    expect(log.json.items.every((event: { target: { name: string } }) => event.target.name === name)).toBe(true);
  });

  it('are paged through by one cursor each, in one order', async () => {
    const names: string[] = [];
    for (let cursor: string | undefined = ''; cursor !== undefined; ) {
      const page = await app.call({ path: `${BASE}?limit=1${cursor === '' ? '' : `&cursor=${cursor}`}` });
      names.push(...page.json.items.map((item: { name: string }) => item.name));
      cursor = page.json.next_cursor ?? undefined;
    }
    expect(names).toEqual([...NAMES].sort());
  });

  it('have no twin that differs in upper and lower case alone, also while one is deleted', async () => {
    await put('Twin/Key');
    for (const twin of ['twin/key', 'TWIN/KEY', 'Twin/key'])
      expect(await put(twin)).toMatchObject({ status: 409, json: { code: 'conflict', pointer: ':credential' } });
    expect((await app.call({ path: at('twin/key') })).status).toBe(404);
    await app.call({ method: 'DELETE', path: at('Twin/Key') });
    expect((await put('twin/key')).status).toBe(409);
    expect((await put('Twin/Key2')).status).toBe(201);
  });

  it('reach what a pattern reaches: * matches any run of characters, slashes too, and letters for themselves', async () => {
    const token = await tokenFor(['team/*', '*_PASSWORD']);
    const status = async (name: string) => (await app.call({ path: at(name, '/value'), token })).status;
    expect([await status('DB_PASSWORD'), await status('team/payments/STRIPE_KEY')]).toEqual([200, 200]);
    expect([await status('stripe'), await status('Prod/db.main')]).toEqual([404, 404]);
    expect(patternMatcher(['db_*'])('DB_PASSWORD')).toBe(false);
  });
});

describe('what is no name', () => {
  it.each([
    ['my key', 'got a space'],
    ['ключ', 'got a character outside ASCII'],
    ['a//b', 'got an empty part'],
    ['/a', 'got an empty part'],
    ['a/', 'got an empty part'],
    ['.env', "got a part that begins with '.' or '-'"],
    ['a/../b', "got a part that begins with '.' or '-'"],
    ['-x', "got a part that begins with '.' or '-'"],
    ['a@b', 'got a character that is not allowed'],
    ["it's", 'got a character that is not allowed'],
    ['a\u0007', 'got a control character'],
    ['x'.repeat(129), 'got 129 characters'],
    ['%41', 'got a character that is not allowed'],
  ])('is refused with the rule and what was got, never the text: %j', async (name, got) => {
    const refused = await put(name);
    expect(refused).toMatchObject({ status: 400, json: { code: 'invalid_request', pointer: ':credential' } });
    expect(refused.json.detail).toContain(
      "a credential name may contain A-Z, a-z, 0-9, '.', '_', '-' and '/', at most 128 characters",
    );
    expect(refused.json.detail).toContain(got);
    if (name.length > 3) expect(refused.text).not.toContain(name);
  });

  it('is refused in a pattern by the same rule, since it would match nothing', async () => {
    for (const pattern of ['a b*', '/x/*', 'a//b', '.*', '-*', '']) {
      const body = { name: 'odd', environment: 'staging', patterns: [pattern] };
      const refused = await app.call({ method: 'POST', path: '/v1/tenants/acme/workloads', body });
      expect(refused, pattern).toMatchObject({ status: 400, json: { pointer: '/patterns/0' } });
      expect(refused.json.detail).toContain('a pattern is a credential name in which * matches any run of characters');
    }
  });

  it('states the rule of other names, too', async () => {
    const refused = await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'Acme' } });
    expect(refused.json.detail).toBe(
      "a name may contain a-z, 0-9, '.', '_' and '-', at most 64 characters, and begins with a letter or a digit; got an upper-case letter",
    );
    const environment = await app.call({ path: '/v1/tenants/acme/environments/Staging/credentials' });
    expect(environment.json).toMatchObject({
      pointer: ':environment',
      detail: expect.stringContaining('got an upper-case letter'),
    });
  });

  it.each([
    ['%61', /must not percent-encode/],
    ['%2e', /must not percent-encode/],
    ['%5F', /must not percent-encode/],
    ['%5f', /must not percent-encode/],
    ['%7E', /must not percent-encode/],
    ['%2D', /must not percent-encode/],
    ['%zz', /written %25/],
    ['%', /written %25/],
    ['%g2', /written %25/],
    ['(', /must be percent-encoded/],
  ])('has one spelling in a path: %s is refused with the rule', async (odd, rule) => {
    const answer = await app.call({ path: `${BASE}/a${odd}b` });
    expect(answer).toMatchObject({ status: 400, json: { detail: expect.stringMatching(rule) } });
  });

  it('may have the digits of %2F in either case, and says so of a slash that is not encoded', async () => {
    await app.call({ method: 'PUT', path: `${BASE}/team%2Fdb`, body: { kind: 'api_key', value: { key: 'not-a-real-secret' } } });
    for (const spelling of ['team%2Fdb', 'team%2fdb'])
      expect(await app.call({ path: `${BASE}/${spelling}` })).toMatchObject({ status: 200, json: { name: 'team/db' } });
    for (const split of ['team/db', 'team//db'])
      expect(await app.call({ path: `${BASE}/${split}` })).toMatchObject({ json: { detail: expect.stringContaining('%2F') } });
  });
});

it('every text is a name or is refused, and a name reads back as it was written', async () => {
  const char = fc.constantFrom(...'aZ09._-/ %~é');
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: char, minLength: 1, maxLength: 12 }), async (text) => {
      fc.pre(text !== '.' && text !== '..');
      const answer = await app.call({ path: at(text) });
      expect(isCredentialName(text) ? [200, 404] : [400]).toContain(answer.status);
      if (answer.status === 200) expect(answer.json.name).toBe(text);
    }),
    { numRuns: 300 },
  );
});
