// The edge: what is not known is refused, once, by name and never by value; what is known arrives parsed.
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { LIMITS } from '../../src/base/limits.ts';
import { callerOf, checkPath, type EdgeInfo, parseRequest } from '../../src/http/edge.ts';
import { toResponse } from '../../src/http/response.ts';
import type { RouteShape } from '../../src/http/route.ts';
import { type TestApp, testApp } from '../kit/app.ts';
import { caughtCode } from '../kit/outcome.ts';

const CANARY = 'NotARealSecretEdge';
const INFO: EdgeInfo = { address: '192.0.2.1', nextRequestId: () => 'req_1', secure: false };

const shape: RouteShape = {
  method: 'POST',
  path: '/v1/things/{thing}',
  summary: 'for this test',
  tag: 'test',
  operation: 'public',
  fields: { thing: 'name' },
  query: z.strictObject({ limit: z.coerce.number().int().min(1).max(10).default(5) }),
  body: z.strictObject({
    name: z.string().max(5),
    nested: z.strictObject({ 'a/b~c': z.array(z.int()).max(2) }).optional(),
    kind: z.enum(['x', 'y']).optional(),
  }),
  success: { status: 200, description: 'ok' },
};

interface Given {
  readonly path?: string;
  readonly body?: string | Uint8Array;
  readonly headers?: Record<string, string>;
  readonly thing?: string;
  readonly shape?: RouteShape;
}

async function parse({ path = '/v1/things/a', body = '{"name":"ada"}', headers = {}, thing = 'a', shape: as = shape }: Given) {
  const request = new Request(`http://vault.example${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: body as string,
  });
  return parseRequest(as, request, { thing }, callerOf(request, INFO), INFO);
}

async function refusal(given: Given): Promise<[string, string | undefined]> {
  const error = await parse(given).then(
    () => undefined,
    (thrown: { code: string; pointer?: string; message: string; extra: unknown }) => thrown,
  );
  expect(JSON.stringify([error?.message, error?.extra, error?.pointer])).not.toContain(CANARY);
  return [error?.code ?? 'ok', error?.pointer];
}

describe('a body', () => {
  it('arrives parsed, with the defaults of the query', async () => {
    const parsed = await parse({ body: '{"name":"ada","nested":{"a/b~c":[1]}}' });
    expect(parsed.body).toEqual({ name: 'ada', nested: { 'a/b~c': [1] } });
    expect(parsed.query).toEqual({ limit: 5 });
  });

  it.each([
    ['{"name":5}', ['invalid_request', '/name']],
    ['{}', ['invalid_request', '/name']],
    ['[]', ['invalid_request', '']],
    ['null', ['invalid_request', '']],
    [`{"name":"ada","other":"${CANARY}"}`, ['invalid_request', '/other']],
    [`{"name":"${CANARY}"}`, ['invalid_request', '/name']],
    [`{"name":"a","kind":"${CANARY}"}`, ['invalid_request', '/kind']],
    [`{"name":"a","nested":{"a/b~c":[1,"${CANARY}"]}}`, ['invalid_request', '/nested/a~1b~0c/1']],
    ['{"name":"a","nested":{"a/b~c":[1,2,3]}}', ['invalid_request', '/nested/a~1b~0c']],
    [`{"name":"a","name":"${CANARY}"}`, ['invalid_request', '/name']],
  ])('%s is refused, with the place and without the value', async (body, expected) => {
    expect(await refusal({ body })).toEqual(expected);
  });

  it.each(['', '{', '{"name":"a"} x', "{'name':'a'}", '{"name":"a",}', '\ufeff{"name":"a"}', 'NaN'])(
    '%j is not JSON',
    async (body) => {
      expect((await refusal({ body }))[0]).toBe('malformed_json');
    },
  );

  it.each([
    [{ 'content-type': 'text/plain' }],
    [{ 'content-type': 'application/x-www-form-urlencoded' }],
    [{ 'content-type': 'multipart/form-data; boundary=x' }],
    [{ 'content-type': 'application/jsonp' }],
    [{ 'content-encoding': 'gzip' }],
    [{ 'content-encoding': 'br' }],
  ])('with %j is of another type than the route takes', async (headers) => {
    expect((await refusal({ headers }))[0]).toBe('unsupported_media_type');
  });

  it('may name its character set, and take exactly 256 KiB, said or not', async () => {
    expect((await refusal({ headers: { 'content-type': 'Application/JSON; charset=utf-8' } }))[0]).toBe('ok');
    const padded = (bytes: number) => `{"name":"ada"}`.padEnd(bytes, ' ');
    expect((await refusal({ body: padded(LIMITS.bodyMaxBytes) }))[0]).toBe('ok');
    expect((await refusal({ body: padded(LIMITS.bodyMaxBytes + 1) }))[0]).toBe('payload_too_large');
    expect((await refusal({ headers: { 'content-length': String(LIMITS.bodyMaxBytes + 1) } }))[0]).toBe('payload_too_large');
  });

  it('in a form is taken where the route takes forms, each field once', async () => {
    const form: Given = { shape: { ...shape, form: true }, headers: { 'content-type': 'application/x-www-form-urlencoded' } };
    expect((await parse({ ...form, body: 'name=a%20b&kind=x' })).body).toEqual({ name: 'a b', kind: 'x' });
    expect(await refusal({ ...form, body: `name=a&name=${CANARY}` })).toEqual(['invalid_request', 'name']);
    expect(await refusal({ ...form, body: `name=a&__proto__=${CANARY}` })).toEqual(['invalid_request', '/__proto__']);
  });

  it('never changes what every object has', async () => {
    for (const body of ['{"name":"a","__proto__":{"x":1}}', '{"name":"a","constructor":{"prototype":{"x":1}}}']) {
      expect((await refusal({ body }))[0]).toBe('invalid_request');
    }
    expect(({} as Record<string, unknown>)['x']).toBeUndefined();
  });

  it('of any bytes gives a body or a problem, never a surprise', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.json(), fc.string(), fc.uint8Array({ maxLength: 60 })), async (body) => {
        expect(['ok', 'invalid_request', 'malformed_json']).toContain((await refusal({ body }))[0]);
      }),
      { numRuns: 300 },
    );
  });
});

describe('a query', () => {
  it.each([
    ['?limit=10', 'ok', undefined],
    ['?limit=11', 'invalid_request', '?limit'],
    ['?limit=0', 'invalid_request', '?limit'],
    ['?limit=1.5', 'invalid_request', '?limit'],
    [`?limit=${CANARY}`, 'invalid_request', '?limit'],
    ['?limit=1&limit=2', 'invalid_request', '?limit'],
    ['?other=1', 'invalid_request', '?other'],
    [`?${CANARY}=1`, 'invalid_request', '?'],
    ['?__proto__=1', 'invalid_request', '?__proto__'],
  ])('%s', async (query, code, pointer) => {
    expect(await refusal({ path: `/v1/things/a${query}` })).toEqual([code, pointer]);
  });

  it('is refused where the route takes none', async () => {
    const { query: _query, ...without } = shape;
    expect(await refusal({ path: `/v1/things/a?token=${CANARY}`, shape: without })).toEqual(['invalid_request', '?token']);
  });
});

describe('a path', () => {
  it('has one spelling', () => {
    for (const good of ['/v1/tenants/acme', '/v1/tenants/ten_0123/environments/a.b-c_d/credentials/x~y']) {
      expect(
        caughtCode(() => checkPath(good)),
        good,
      ).toBe('ok');
    }
    for (const bad of [
      '/v1//tenants',
      '/v1/%61',
      '/v1/a%2',
      '/v1/a;b',
      '/v1/a\\b',
      '/v1/ä',
      '/v1/a b',
      '/v1/a\0',
      `/${'a'.repeat(LIMITS.urlMaxBytes)}`,
    ]) {
      expect
        .soft(
          caughtCode(() => checkPath(bad)),
          bad,
        )
        .toBe('invalid_request');
    }
  });

  it('names things as they may be named', async () => {
    for (const good of ['a', '0', 'a.b_c-d', 'x'.repeat(64)]) expect((await refusal({ thing: good }))[0], good).toBe('ok');
    for (const bad of ['', 'A', '-a', '.a', '_a', 'a/b', 'ä', 'x'.repeat(65), '..', 'a b', 'a\n']) {
      expect.soft(await refusal({ thing: bad }), bad).toEqual(['invalid_request', ':thing']);
    }
  });
});

describe('a caller', () => {
  const caller = (headers: Record<string, string>) => callerOf(new Request('http://vault.example/', { headers }), INFO);

  it('is what the headers say, with the address of the connection and a request id of ours', () => {
    expect(
      caller({
        authorization: 'bearer kt_acc_x',
        'user-agent': 'curl',
        'x-request-id': 'mine',
        'x-keyturn-workflow': 'sync:nightly',
        'x-keyturn-run': '42',
        'x-forwarded-for': '198.51.100.1',
      }),
    ).toMatchObject({
      token: 'kt_acc_x',
      source: { address: '192.0.2.1', userAgent: 'curl' },
      request: 'req_1',
      clientRequest: 'mine',
      workflow: 'sync:nightly',
      workflowRun: '42',
    });
  });

  it('has no token without the Bearer scheme, nor with one of absurd length', () => {
    for (const authorization of ['kt_acc_x', 'Basic a3Q=', 'Bearer', `Bearer ${'x'.repeat(600)}`]) {
      expect.soft(caller({ authorization }).token, authorization.slice(0, 20)).toBeUndefined();
    }
    expect(caller({}).token).toBeUndefined();
  });

  it('cannot write free text into the log through its headers', () => {
    for (const name of ['x-request-id', 'x-keyturn-workflow', 'x-keyturn-run']) {
      for (const value of ['a b', 'a"b', 'ä', 'x'.repeat(129), '<script>', '{}']) {
        expect
          .soft(
            caughtCode(() => caller({ [name]: value })),
            `${name} ${value}`,
          )
          .toBe('invalid_request');
      }
    }
    expect(caller({ 'user-agent': 'x'.repeat(1_000) }).source.userAgent).toHaveLength(256);
  });
});

describe('a response', () => {
  it('hardens every answer, with HSTS only behind TLS', () => {
    const headers = (secure: boolean) => toResponse({ status: 200, body: {} }, 'req_1', { ...INFO, secure }).headers;
    expect(headers(true).get('strict-transport-security')).toContain('max-age=');
    expect(headers(false).get('strict-transport-security')).toBeNull();
    expect(headers(false).get('cache-control')).toBe('no-store');
    expect(headers(false).get('content-security-policy')).toContain("default-src 'none'");
  });

  it('of a stream ends its source when the reader goes away', async () => {
    let ended = false;
    async function* lines() {
      try {
        for (;;) yield new TextEncoder().encode('x\n');
      } finally {
        ended = true;
      }
    }
    const reader = toResponse({ status: 200, stream: lines() }, 'req_1', INFO).body?.getReader();
    await reader?.read();
    await reader?.cancel();
    expect(ended).toBe(true);
  });
});

describe('conditions of a write', () => {
  let app: TestApp;
  const path = '/v1/tenants/acme/environments/staging/credentials/stripe';
  const put = async (headers: Record<string, string>, more: object = {}) => {
    const body = { kind: 'api_key', value: { key: 'not-a-real-secret' }, ...more };
    return (await app.call({ method: 'PUT', path, body, headers })).status;
  };

  beforeAll(async () => {
    app = await testApp();
    await app.call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
  });

  it('are If-None-Match: *, an ETag in If-Match, and cas in the body, each with its own refusal', async () => {
    expect(await put({ 'if-match': '"r1"' })).toBe(412);
    expect(await put({ 'if-none-match': '*' })).toBe(201);
    expect(await put({ 'if-none-match': '*' })).toBe(412);
    expect(await put({}, { cas: 0 })).toBe(409);
    expect(await put({}, { cas: 1 })).toBe(200);
    const { headers } = await app.call({ path });
    const etag = headers.get('etag') ?? '';
    expect(etag).toBe('"r2"');
    expect(await put({ 'if-match': etag })).toBe(200);
    expect(await put({ 'if-match': etag })).toBe(412);
    for (const bad of ['r3', '"3"', 'W/"r3"', '"r3", "r4"', '*']) expect.soft(await put({ 'if-match': bad }), bad).toBe(400);
    expect(await put({ 'if-none-match': '"r3"' })).toBe(400);
    expect((await app.call({ path, headers: { 'if-none-match': '"r3"' } })).status).toBe(304);
    expect((await app.call({ path, headers: { 'if-none-match': '"r2"' } })).status).toBe(200);
  });
});
