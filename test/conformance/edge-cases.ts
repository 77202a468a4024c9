// Bodies, methods, paths and headers: what is refused before anything is asked.
import { describe, expect, it } from 'vitest';
import { apiKey, at, CANARY, type Json, must, rawCall, type World } from './world.ts';

export function edgeCases(world: () => World): void {
  it('is healthy, says its version and of which parts it knows, and no more', async () => {
    const reply = await world().call('GET', '/health');
    expect(reply.status).toBe(200);
    const { parts, ...rest } = reply.body;
    expect(rest).toEqual({ status: 'ok', version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
    expect(parts.storage).toBe('ok');
    for (const [part, state] of Object.entries(parts)) {
      expect(['storage', 'witness', 'scheduler', 'clock', 'state', 'tenants']).toContain(part);
      expect(state, part).toBe('ok');
    }
  });

  it('describes itself in OpenAPI 3.1: every reference resolves, every path field is declared, every operation has its name', async () => {
    const { body: document } = await must(world().call('GET', '/openapi.json'), 200);
    expect(document.openapi).toMatch(/^3\.1\./);
    const names: string[] = [];
    for (const [path, item] of Object.entries<Record<string, Json>>(document.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        names.push(operation.operationId);
        expect(Object.keys(operation.responses), `${method} ${path}`).toEqual(expect.arrayContaining(['default']));
        const declared = (operation.parameters ?? []).filter((p: Json) => p.in === 'path').map((p: Json) => p.name);
        expect(declared.sort(), `${method} ${path}`).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort());
      }
    }
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(30);
    for (const [, ref] of JSON.stringify(document).matchAll(/"\$ref":"#([^"]+)"/g)) {
      const found = ref!
        .slice(1)
        .split('/')
        .reduce((value: Json, key) => value?.[key], document);
      expect(found, ref).toBeDefined();
    }
  });

  it('is set up exactly once, however many race', () => {
    const statuses = world().setUps.map((reply) => reply.status);
    expect(statuses.filter((status) => status === 201)).toHaveLength(1);
    expect(statuses.filter((status) => ![201, 401, 409].includes(status))).toEqual([]);
  });

  it('sends the same protective headers with every kind of answer', async () => {
    const { call, owner, acme } = world();
    const replies = [
      await call('GET', '/health'),
      await call('GET', '/openapi.json'),
      await call('GET', '/v1/tenants', { token: owner }),
      await call('GET', '/v1/tenants'),
      await call('GET', '/nowhere'),
      await call('DELETE', '/v1/tenants', { token: owner }),
      await call('GET', at('acme', 'nothing'), { token: acme.token }),
      await call('PUT', at('acme', 'x'), { token: acme.token, body: '{' }),
    ];
    for (const { headers, status } of replies) {
      expect(headers.get('cache-control'), String(status)).toBe('no-store');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('x-frame-options')).toBe('DENY');
      expect(headers.get('referrer-policy')).toBe('no-referrer');
      expect(headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(headers.get('content-encoding')).toBeNull();
      expect(headers.get('x-request-id')).toMatch(/^req_[0-9a-z]+$/);
      expect(headers.get('server')).toBeNull();
      expect(headers.get('x-powered-by')).toBeNull();
    }
  });

  it('answers every refusal as a problem that carries the id of its request, and no id comes twice', async () => {
    const { call, owner } = world();
    const refusals = [
      await call('GET', '/v1/tenants'),
      await call('GET', '/nowhere', { token: owner }),
      await call('DELETE', '/v1/tenants', { token: owner }),
      await call('POST', '/v1/tenants', { token: owner, body: '{' }),
      await call('GET', at('acme', 'nothing'), { token: owner }),
      await call('GET', at('acme', 'nothing')),
    ];
    for (const { status, body, headers } of refusals) {
      expect(headers.get('content-type')).toBe('application/problem+json');
      expect(body).toMatchObject({ type: expect.stringMatching(/^urn:keyturn:problem:/), status, detail: expect.any(String) });
      expect(body.type.endsWith(`:${body.code}`)).toBe(true);
      expect(body.errors).toEqual([body.detail]);
      expect(body.request_id).toBe(headers.get('x-request-id'));
    }
    expect(new Set(refusals.map(({ body }) => body.request_id)).size).toBe(refusals.length);
  });

  it('keeps the id a client gives its request apart from its own', async () => {
    const { call, owner } = world();
    const reply = await call('GET', '/v1/tenants', { token: owner, headers: { 'x-request-id': 'client-1' } });
    expect(reply.headers.get('x-request-id')).not.toBe('client-1');
    expect((await call('GET', '/v1/tenants', { token: owner, headers: { 'x-request-id': 'a b' } })).status).toBe(400);
  });

  describe('bodies', () => bodyCases(world));
  describe('methods and paths', () => pathCases(world));
}

const deep = (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;
const put = (extra: string) => `{"kind":"api_key","value":{"key":"${CANARY}"}${extra}}`;

/** What, body, status, code, pointer. */
const BODIES: readonly (readonly [string, string, number, string, string?])[] = [
  ['is empty', '', 400, 'malformed_json'],
  ['is cut short', `{"kind":"api_key","value":{"key":"${CANARY}`, 400, 'malformed_json'],
  ['has something after its end', `${put('')} ${CANARY}`, 400, 'malformed_json'],
  ['names a member twice', put(`,"kind":"${CANARY}"`), 400, 'invalid_request', '/kind'],
  ['names a member twice, once with escapes', put(`,"k\\u0069nd":"${CANARY}"`), 400, 'invalid_request', '/kind'],
  ['has a trailing comma', put(','), 400, 'malformed_json'],
  ['has NaN', put(',"cas":NaN'), 400, 'malformed_json'],
  ['is nested too deep', `{"kind":"json","value":${deep(40)}}`, 400, 'invalid_request'],
  ['is a list', `["${CANARY}"]`, 400, 'invalid_request'],
  ['is null', 'null', 400, 'invalid_request'],
  ['has a wrong type', put(',"cas":"1"'), 400, 'invalid_request', '/cas'],
  ['has a fraction for a whole number', put(',"cas":1.5'), 400, 'invalid_request', '/cas'],
  ['has an unknown field', put(`,"surprise":"${CANARY}"`), 400, 'invalid_request', '/surprise'],
  [
    'has an unknown field inside',
    `{"kind":"api_key","value":{"key":"a","extra":"${CANARY}"}}`,
    400,
    'invalid_request',
    '/value/extra',
  ],
  ['lacks a field', '{"kind":"api_key","value":{}}', 400, 'invalid_request', '/value/key'],
  ['is of an unknown kind', `{"kind":"${CANARY}","value":{}}`, 400, 'invalid_request', '/kind'],
  ['sets __proto__', put(`,"__proto__":{"role":"${CANARY}"}`), 400, 'invalid_request'],
  ['sets constructor', put(`,"constructor":{"x":"${CANARY}"}`), 400, 'invalid_request'],
  ['hides __proto__ in a free value', `{"kind":"json","value":{"__proto__":{"x":"${CANARY}"}}}`, 400, 'invalid_request'],
];

function bodyCases(world: () => World): void {
  it.each(BODIES)('refuses a body that %s, naming the field and never the value', async (_what, body, status, code, pointer) => {
    const { call, acme } = world();
    const reply = await call('PUT', at('acme', 'bodies'), { token: acme.token, body });
    expect({ status: reply.status, code: reply.body?.code }).toEqual({ status, code });
    if (pointer !== undefined) expect(reply.body.pointer).toBe(pointer);
    expect(reply.text).not.toContain(CANARY);
    expect((await call('GET', at('acme', 'bodies'), { token: acme.token })).status).toBe(404);
  });

  it('refuses bytes that are not UTF-8', async () => {
    const { call, acme } = world();
    const body = Buffer.concat([
      Buffer.from('{"kind":"api_key","value":{"key":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}}'),
    ]);
    expect((await call('PUT', at('acme', 'bodies'), { token: acme.token, body })).status).toBe(400);
  });

  it('refuses a body beyond 256 KiB, announced or streamed', async () => {
    const { call, acme, url } = world();
    const big = `{"kind":"api_key","value":{"key":"${'x'.repeat(300 * 1024)}"}}`;
    const announced = await call('PUT', at('acme', 'bodies'), { token: acme.token, body: big });
    expect({ status: announced.status, code: announced.body?.code }).toEqual({ status: 413, code: 'payload_too_large' });
    const streamed = await rawCall(
      url,
      'PUT',
      at('acme', 'bodies'),
      { authorization: `Bearer ${acme.token}`, 'content-type': 'application/json' },
      Array.from({ length: 32 }, () => Buffer.alloc(64 * 1024, 'x')),
    ).then(
      (reply) => reply.status,
      () => 'cut off',
    );
    expect([413, 'cut off']).toContain(streamed);
    expect((await call('GET', '/health')).status).toBe(200);
  });

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x'])('refuses %s', async (type) => {
    const { call, acme } = world();
    const ask = { token: acme.token, body: JSON.stringify(apiKey()), headers: { 'content-type': type } };
    expect((await call('PUT', at('acme', 'bodies'), ask)).status).toBe(415);
  });

  it('refuses a compressed body', async () => {
    const { call, acme } = world();
    const ask = { token: acme.token, body: JSON.stringify(apiKey()), headers: { 'content-encoding': 'gzip' } };
    expect((await call('PUT', at('acme', 'bodies'), ask)).status).toBe(415);
  });

  it('refuses unknown and repeated query fields, naming them', async () => {
    const { call, acme } = world();
    const unknown = await call('GET', `${at('acme')}?surprise=${CANARY}`, { token: acme.token });
    expect({ status: unknown.status, pointer: unknown.body.pointer }).toEqual({ status: 400, pointer: '?surprise' });
    expect(unknown.text).not.toContain(CANARY);
    const twice = await call('GET', `${at('acme')}?limit=1&limit=2`, { token: acme.token });
    expect({ status: twice.status, pointer: twice.body.pointer }).toEqual({ status: 400, pointer: '?limit' });
  });
}

function pathCases(world: () => World): void {
  it('answers 405 with Allow to a method that a path does not take', async () => {
    const { call, owner, url } = world();
    for (const [method, path, allow] of [
      ['DELETE', '/v1/tenants', 'GET, POST, HEAD'],
      ['POST', '/health', 'GET, HEAD'],
      ['PATCH', at('acme'), 'GET, HEAD'],
      ['OPTIONS', at('acme', 'x'), 'GET, PUT, PATCH, DELETE, HEAD'],
    ] as const) {
      const reply = await call(method, path, { token: owner });
      expect(reply.status, `${method} ${path}`).toBe(405);
      expect(reply.headers.get('allow')?.split(', ').sort()).toEqual(allow.split(', ').sort());
      expect(reply.headers.get('access-control-allow-origin')).toBeNull();
    }
    const trace = await rawCall(url, 'TRACE', '/v1/tenants', { authorization: `Bearer ${CANARY}` });
    expect(trace.status).toBeGreaterThanOrEqual(400);
    expect(trace.text).not.toContain(CANARY);
  });

  it('answers HEAD as GET, without the body', async () => {
    const { call, acme } = world();
    const path = at('acme', 'headed');
    await must(call('PUT', path, { token: acme.token, body: apiKey() }), 201);
    const [head, get] = [await call('HEAD', path, { token: acme.token }), await call('GET', path, { token: acme.token })];
    expect({ status: head.status, text: head.text, etag: head.headers.get('etag') }).toEqual({
      status: 200,
      text: '',
      etag: get.headers.get('etag'),
    });
    expect((await call('HEAD', path)).status).toBe(401);
  });

  const SPELLINGS = [
    '/v1//tenants',
    '//v1/tenants',
    '/v1/tenants/',
    '/v1/%74enants',
    '/v1/tenants;a=b',
    '/v1/tenants%00',
    '/v1/tenants%2f',
    '/V1/tenants',
  ];
  it.each(SPELLINGS)('does not take %s for /v1/tenants', async (path) => {
    const { url, owner } = world();
    const reply = await rawCall(url, 'GET', path, { authorization: `Bearer ${owner}` });
    expect(reply.status).toBeGreaterThanOrEqual(400);
    expect(reply.status).toBeLessThan(500);
    expect(reply.text).not.toContain('next_cursor');
  });

  it.each(['/v1/./tenants', '/v1/x/../tenants', '/v1/%2e/tenants', '/v1/x/%2e%2e/tenants', '/v1\\tenants'])(
    'refuses %s or reads it as its one canonical form, for the check of rights too',
    async (path) => {
      const { url, owner, acme } = world();
      const read = (as: string, spelling: string) => rawCall(url, 'GET', spelling, { authorization: `Bearer ${as}` });
      const reply = await read(owner, path);
      if (reply.status !== 400 && reply.status !== 404) expect(reply.text).toBe((await read(owner, '/v1/tenants')).text);
      expect((await read(acme.token, path)).status).toBeGreaterThanOrEqual(400);
    },
  );

  it('gains nothing by a path that leaves the tenant it names', async () => {
    const { url, acme } = world();
    const path = `/v1/tenants/acme/../globex/environments/staging/credentials`;
    expect((await rawCall(url, 'GET', path, { authorization: `Bearer ${acme.token}` })).status).toBeGreaterThanOrEqual(400);
  });

  it.each(['acme%2fx', 'acme%00', 'ACME', 'acme;x', '.', '..', '%2e%2e', 'a%0d%0aSet-Cookie:x=1', '*', `${'a'.repeat(65)}`])(
    'does not take %s for a tenant',
    async (tenant) => {
      const { url, owner } = world();
      const reply = await rawCall(url, 'GET', `/v1/tenants/${tenant}/environments`, { authorization: `Bearer ${owner}` });
      expect(reply.status).toBeGreaterThanOrEqual(400);
      expect(reply.status).toBeLessThan(500);
      expect(reply.headers['set-cookie']).toBeUndefined();
    },
  );

  it('refuses a very long URL', async () => {
    const { url, owner } = world();
    const reply = await rawCall(url, 'GET', `/v1/tenants/acme/environments/${'a/'.repeat(4_000)}`, {
      authorization: `Bearer ${owner}`,
    });
    expect(reply.status).toBeGreaterThanOrEqual(400);
    expect(reply.status).toBeLessThan(500);
  });
}
