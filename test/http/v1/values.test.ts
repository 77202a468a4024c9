// What is put is what is read, byte for byte, for every kind, through versions and roll-backs.
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { bytesOf, memberOf } from '../../../src/sdk/value-bytes.ts';
import { type TestApp, testApp } from '../../kit/app.ts';

const BASE = '/v1/tenants/acme/environments/staging/credentials';
let app: TestApp;
let reader: string;

beforeAll(async () => {
  app = await testApp();
  await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
  const body = { name: 'reader', environment: 'staging', patterns: ['*'] };
  const made = await app.call({ method: 'POST', path: '/v1/tenants/acme/workloads', body });
  expect(made.status).toBe(201);
  const token = await app.call({ method: 'POST', path: '/v1/tenants/acme/workloads/reader/tokens', body: {} });
  reader = token.json.token as string;
});

const put = (name: string, kind: string, value: unknown) =>
  app.call({ method: 'PUT', path: `${BASE}/${name}`, body: { kind, value } });
async function read(name: string, query = '') {
  const answer = await app.call({ path: `${BASE}/${name}/value${query}`, token: reader });
  expect(answer.status, answer.text).toBe(200);
  return answer.json.value as Record<string, unknown>;
}

const latin1 = Uint8Array.from({ length: 96 }, (_, i) => 0xa0 + i);
const SAMPLES: readonly (readonly [string, Uint8Array])[] = [
  ['binary', Uint8Array.from({ length: 256 }, (_, i) => i)],
  ['Latin-1', latin1],
  ['a line break at the end', Buffer.from('not-a-real-secret\n')],
  ['CRLF at the end', Buffer.from('not-a-real-secret\r\n')],
  ['only line breaks', Buffer.from('\n\n')],
  ['a byte order mark', Buffer.from('\ufeffnot-a-real-secret')],
  ['NUL', Buffer.from('a\0b')],
  ['a replacement character of its own', Buffer.from('\ufffd')],
  ['a cut UTF-8 sequence', Uint8Array.of(0xe2, 0x82)],
  ['an encoded surrogate', Uint8Array.of(0xed, 0xa0, 0x80)],
  ['a JSON document', Buffer.from('{"type":"service_account","n":12345678901234567890}\n')],
  ['the beginning of one', Buffer.from('{not json')],
  ['letters that have two forms', Buffer.from('e\u0301\u00e9')],
  [
    'an SSH key',
    Buffer.from('-----BEGIN OPENSSH PRIVATE KEY-----\nbm90LWEtcmVhbC1zZWNyZXQ=\n-----END OPENSSH PRIVATE KEY-----\n'),
  ],
];
const MEMBERS = [
  ['api_key', 'key', {}],
  ['basic', 'password', { username: 'ada' }],
  ['database', 'password', { engine: 'postgresql', host: 'db.example' }],
] as const;

describe('the bytes of a value', () => {
  it.each(SAMPLES)('come out as they went in: %s', async (what, bytes) => {
    for (const [kind, member, rest] of MEMBERS) {
      const name = `${kind}/${SAMPLES.findIndex(([one]) => one === what)}`.replace('/', '%2F');
      expect((await put(name, kind, { ...rest, ...memberOf(member, bytes) })).status).toBe(201);
      const value = await read(name);
      expect(value).toEqual({ ...rest, ...memberOf(member, bytes) });
      expect(Buffer.from(bytesOf(value, member) ?? [])).toEqual(Buffer.from(bytes));
    }
  });

  it('come out as they went in, whatever they are, of every version and after a roll-back', async () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 300 });
    const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 100 }).map((one) => new Uint8Array(Buffer.from(one)));
    let count = 0;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...MEMBERS), fc.oneof(bytes, text), fc.oneof(bytes, text), async (made, first, second) => {
        const [kind, member, rest] = made;
        const name = `any-${count++}`;
        const held = async (query = '') => Buffer.from(bytesOf(await read(name, query), member) ?? []);
        await put(name, kind, { ...rest, ...memberOf(member, first) });
        await put(name, kind, { ...rest, ...memberOf(member, second) });
        expect(await held()).toEqual(Buffer.from(second));
        expect(await held('?version=1')).toEqual(Buffer.from(first));
        expect((await app.call({ method: 'POST', path: `${BASE}/${name}/rollbacks`, body: {} })).status).toBe(200);
        expect(await held()).toEqual(Buffer.from(first));
        expect(await held('?stage=previous')).toEqual(Buffer.from(second));
      }),
      { numRuns: 60 },
    );
  });

  it('of a document come out as the same document', async () => {
    let count = 0;
    const document = fc.dictionary(fc.string({ minLength: 1, maxLength: 20 }), fc.jsonValue({ maxDepth: 3 }), { minKeys: 1 });
    await fc.assert(
      fc.asyncProperty(document, async (made) => {
        const sent = JSON.parse(JSON.stringify(made)) as Record<string, unknown>;
        const name = `document-${count++}`;
        const answer = await put(name, 'json', sent);
        // Refused as a whole, and said so: what no reader could keep exactly, or what becomes a prototype.
        if (answer.status === 400) expect(answer.json.code).toBe('invalid_request');
        else expect(await read(name)).toEqual(sent);
      }),
      { numRuns: 60 },
    );
  });

  it('of texts in a document are any text: line breaks, marks of direction, NUL', async () => {
    const document = { pem: '-----BEGIN X-----\nbm90LWEtcmVhbC1zZWNyZXQ=\r\n', nul: 'a\0b', mark: '\ufeff\u202e\ufffd', ' ': '' };
    expect((await put('texts', 'json', document)).status).toBe(201);
    expect(await read('texts')).toEqual(document);
  });

  it('of a number are kept or refused, never rounded', async () => {
    const sent = (number: string) =>
      app.call({ method: 'PUT', path: `${BASE}/number`, raw: `{"kind":"json","value":{"n":${number}}}` });
    for (const kept of ['1', '1.10', '-0.5e-3', '0.1', '3.14159', '1E3', '9007199254740991', '0.30000000000000004', '100.0'])
      expect((await sent(kept)).status, kept).toBeLessThan(300);
    for (const lost of ['3.14159265358979323846', '0.1000000000000000055', '12345678901234567890', '1e400', '1e-400'])
      expect(await sent(lost), lost).toMatchObject({ status: 400, json: { pointer: '/value/n' } });
  });

  it.each([
    ['both forms at once', 'api_key', { key: 'a', key_base64: 'YQ==' }, '/value/key_base64'],
    [
      'both forms of a password',
      'database',
      { engine: 'redis', host: 'h', password: 'a', password_base64: 'YQ==' },
      '/value/password_base64',
    ],
    ['neither form', 'api_key', { key_id: 'a' }, '/value/key'],
    ['an empty key', 'api_key', { key: '' }, '/value/key'],
    ['base64 without its padding', 'api_key', { key_base64: 'YQ' }, '/value/key_base64'],
    ['base64 of another alphabet', 'api_key', { key_base64: '_-==' }, '/value/key_base64'],
    ['a user without name and password', 'basic', { username: '', password: '' }, '/value'],
    ['a database without a place', 'database', { engine: 'redis' }, '/value/host'],
  ])('are refused with the field and the rule: %s', async (_what, kind, value, pointer) => {
    const answer = await put('refused', kind, value);
    expect(answer).toMatchObject({ status: 400, json: { code: 'invalid_request', pointer } });
    expect(answer.json.detail).toMatch(/must|is unknown/);
  });
});

describe('shapes that people have', () => {
  it.each([
    ['a token as the password of nobody', 'basic', { username: '', password: 'pat-not-a-real-secret' }],
    ['a key as the user name', 'basic', { username: 'sk_not-a-real-secret', password: '' }],
    [
      'MongoDB by SRV, without a port',
      'database',
      { engine: 'mongodb', host: 'cluster0.abc.mongodb.net', username: 'u', password: 'p' },
    ],
    ['several hosts', 'database', { engine: 'mongodb', host: 'a:27017,b:27017', password: 'p' }],
    ['an engine by another name', 'database', { engine: 'postgres', host: 'h', port: 5432, password: 'p' }],
    ['SQL Server', 'database', { engine: 'mssql', host: 'h', port: 1433, password: 'p' }],
    ['a port as text', 'database', { engine: 'mysql', host: 'h', port: '3306', password: 'p' }],
    ['redis without a password', 'database', { engine: 'redis', host: 'h', port: 6379 }],
    ['an empty password', 'database', { engine: 'mysql', host: 'h', password: '' }],
    ['a Unix socket', 'database', { engine: 'postgresql', host: '/var/run/postgresql', port: 5432, password: 'p' }],
    ['a connection string', 'database', { url: 'postgres://u:p@%2Fvar%2Frun/db?sslmode=require&options=-c%20a%3Db' }],
    [
      'driver options',
      'database',
      { engine: 'postgresql', host: 'h', password: 'p', options: { sslmode: 'require', timeout: 5 } },
    ],
    [
      'the secret of Amazon RDS',
      'database',
      { engine: 'mysql', host: 'h', port: 3306, username: 'u', password: 'p', dbname: 'd', dbInstanceIdentifier: 'i' },
    ],
    ['a key pair', 'api_key', { key: 'not-a-real-secret', key_id: 'AKIAEXAMPLE' }],
  ])('are taken and given back unchanged: %s', async (what, kind, value) => {
    const name = `shape-${what.toLowerCase().replaceAll(/[^a-z]+/g, '-')}`;
    expect((await put(name, kind, value)).status).toBe(201);
    expect(await read(name)).toEqual(value);
  });
});
