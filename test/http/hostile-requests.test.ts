// Requests no well-behaved client sends: odd methods, paths, bodies, framing and headers, byte by byte.
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { apiKey, at, comparable, makeWorkload, must, rawCall } from '../conformance/world.ts';
import { type Attacked, attacked, eventsOf, rawBytes, statusesOf } from '../kit/attacked.ts';

let world: Attacked;

beforeAll(async () => {
  world = await attacked();
  await must(world.call('PUT', at('acme', 'known'), { token: world.owner, body: apiKey('not-a-real-secret') }), 201);
});
afterAll(() => world.stop());

const raw = (lines: readonly string[], body = '') => rawBytes(world.url, `${lines.join('\r\n')}\r\n\r\n${body}`);
const bearer = () => `Authorization: Bearer ${world.acme.token}`;

describe('methods', () => {
  it('HEAD asks for the same permission as GET, is recorded like it, and brings no byte of a body', async () => {
    const before = (await eventsOf(world.call, world.owner, 'acme')).length;
    const good = await world.call('HEAD', `${at('acme', 'known')}/value`, { token: world.acme.token });
    expect([good.status, good.text]).toEqual([200, '']);
    expect((await world.call('HEAD', `${at('acme', 'known')}/value`)).status).toBe(401);
    expect((await world.call('HEAD', `${at('acme', 'known')}/value`, { token: world.globex.token })).status).toBe(401);
    expect((await world.call('HEAD', `${at('acme', 'known')}/value`, { token: world.auditor })).status).toBe(403);
    const events = (await eventsOf(world.call, world.owner, 'acme', before)).filter(
      (event) => event.action === 'credential.read',
    );
    expect(events.map((event) => event.outcome)).toEqual(['success', 'denied']);
    const bytes = await raw([`HEAD ${at('acme', 'known')}/value HTTP/1.1`, 'Host: x', bearer(), 'Connection: close']);
    expect(bytes).not.toContain('not-a-real-secret');
    expect(bytes.split('\r\n\r\n')[1]).toBe('');
  });

  it('no other method does anything on any route, whatever a header says it really is', async () => {
    const taken = new Map<string, Set<string>>();
    for (const { method, path } of ALL_ROUTES) taken.set(path, (taken.get(path) ?? new Set()).add(method));
    for (const [path, methods] of taken) {
      const filled = path.replace('{tenant}', 'acme').replace('{environment}', 'staging').replace('{credential}', 'known');
      const target = filled.replace(/\{\w+\}/g, 'wkl_000000000000000000000000');
      for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'LINK', 'PURGE'] as const) {
        if (methods.has(method)) continue;
        const answer = await rawCall(world.url, method, target, {
          authorization: `Bearer ${world.owner}`,
          'x-http-method-override': [...methods][0] as string,
          'x-http-method': [...methods][0] as string,
        });
        expect(answer.status, `${method} ${path}`).toBe(405);
        expect(answer.headers['allow']?.split(', '), path).toEqual(expect.arrayContaining([...methods]));
      }
    }
  });

  it('TRACE is refused without an echo, CONNECT and unknown words get no tunnel', async () => {
    const trace = await raw([`TRACE ${at('acme', 'known')} HTTP/1.1`, 'Host: x', bearer(), 'Connection: close']);
    expect(statusesOf(trace)).toEqual([405]);
    expect(trace).not.toContain(world.acme.token);
    for (const line of [
      'CONNECT 127.0.0.1:22 HTTP/1.1',
      'CONNECT /health HTTP/1.1',
      'FOO /health HTTP/1.1',
      'get /health HTTP/1.1',
    ]) {
      const answer = await raw([line, 'Host: x', bearer(), 'Connection: close']);
      expect(
        statusesOf(answer).every((status) => status >= 400),
        `${line}: ${answer.slice(0, 40)}`,
      ).toBe(true);
      expect(answer).not.toContain(world.acme.token);
    }
  });
});

describe('paths', () => {
  const value = () => `${at('acme', 'known')}/value`;

  it('have one spelling: no other one reaches what the plain one reaches', async () => {
    const plain = value();
    const spellings = [
      plain.replace('known', '%6bnown'),
      plain.replace('known', '%256bnown'),
      plain.replace('/known', '/x/../known'),
      plain.replace('/known', '/x/%2e%2e/known'),
      plain.replace('/known', '/x/%252e%252e/known'),
      plain.replace('/known', '/./known'),
      plain.replace('/known', '//known'),
      plain.replace('/known', '/\\known'),
      plain.replace('/known', '\\known'),
      plain.replace('/known', '%2fknown'),
      plain.replace('/known', '%5cknown'),
      plain.replace('/known', '/known;a=b'),
      plain.replace('/known', '/known%00'),
      plain.replace('/known', '/known%0d%0a'),
      plain.replace('/known', '/known.'),
      plain.replace('/known', '/known%20'),
      plain.replace('/known', '/known+'),
      plain.replace('/known', '/KNOWN'),
      plain.replace('/known', '/%EF%BC%8Fknown'),
      plain.replace('/known', '/%c0%afknown'),
      plain.replace('/known', '/%ef%bd%8bnown'),
      plain.replace('/known', '/%zz'),
      `${plain}/`,
      `${plain}#x`,
      `/${plain}`,
      `\\${plain.slice(1)}`,
      `.${plain}`,
      `/..${plain}`,
      `/%2e${plain}`,
      plain.replace('/v1', '/V1'),
      plain.replace('/v1', '/v1;x'),
      `x${plain}`,
      '*',
    ];
    for (const path of spellings) {
      const answer = await raw([`GET ${path} HTTP/1.1`, 'Host: x', bearer(), 'Connection: close']);
      const [status] = statusesOf(answer);
      expect(status === 400 || status === 404, `${path}: ${answer.slice(0, 60)}`).toBe(true);
      expect(answer, path).not.toContain('not-a-real-secret');
    }
    const absolute = await raw([`GET http://elsewhere.example${plain} HTTP/1.1`, 'Host: x', bearer(), 'Connection: close']);
    const answers = statusesOf(absolute);
    expect(answers).toHaveLength(1);
  });

  it('with a token in query, path or fragment are refused, and the token is in no log', async () => {
    const token = world.acme.token;
    for (const path of [
      `${value()}?access_token=${token}`,
      `${value()}?token=${token}`,
      `${value()}?${token}`,
      `${at('acme')}?search=x&access_token=${token}`,
      `/v1/tenants/acme/whoami?access_token=${token}`,
      `/v1/tenants/${token}/whoami`,
      `/v1/tenants/acme/workloads/${token}`,
      `${at('acme', token)}/value`,
      `/${token}`,
    ]) {
      const answer = await rawCall(world.url, 'GET', path);
      expect([400, 401, 404], path).toContain(answer.status);
      expect(answer.text, path).not.toContain(token);
    }
    const secretLike = { authorization: `Bearer ${world.acme.token}` };
    for (const name of ['x-request-id', 'x-keyturn-workflow', 'x-keyturn-run']) {
      const answer = await rawCall(world.url, 'GET', value(), { ...secretLike, [name]: world.owner });
      expect(answer.status, name).toBe(400);
    }
    const logs = [await eventsOf(world.call, world.owner), await eventsOf(world.call, world.owner, 'acme'), world.log];
    for (const secret of [token, world.owner]) expect(JSON.stringify(logs)).not.toContain(secret);
  });

  it('longer than any of ours are refused, and so are headers', async () => {
    const long = await raw([`GET /v1/${'x'.repeat(10_000)} HTTP/1.1`, 'Host: x', 'Connection: close']);
    expect(statusesOf(long).every((status) => status >= 400)).toBe(true);
    const headers = Array.from({ length: 3_000 }, (_, index) => `X-${index}: ${'y'.repeat(20)}`);
    expect(statusesOf(await raw(['GET /health HTTP/1.1', 'Host: x', ...headers]))).toEqual([431]);
  });
});

describe('bodies', () => {
  it('compressed in any way are refused, whatever they would unpack to', async () => {
    const bomb = gzipSync(Buffer.alloc(20_000_000, 0x20), { level: 9 });
    for (const encoding of [
      'gzip',
      'br',
      'deflate',
      'zstd',
      'compress',
      'x-gzip',
      'identity, gzip',
      'gzip, identity',
      'GZIP',
      '',
    ]) {
      const startedCpu = process.cpuUsage();
      const answer = await world.call('PUT', at('acme', 'zipped'), {
        token: world.acme.token,
        body: bomb,
        headers: { 'content-encoding': encoding },
      });
      expect(encoding === '' ? [400, 415] : [415], encoding).toContain(answer.status);
      expect(process.cpuUsage(startedCpu).user / 1_000).toBeLessThan(500);
    }
  });

  it('cannot give objects a new prototype: not by JSON, by form, by query or by brackets', async () => {
    const { call, acme, owner } = world;
    const poison = '{"polluted":"yes","role":"owner","isAdmin":true}';
    const bodies = [
      `{"kind":"json","value":{"__proto__":${poison}}}`,
      `{"kind":"json","value":{"a":{"constructor":{"prototype":${poison}}}}}`,
      `{"kind":"json","value":{"\\u005f_proto__":${poison}}}`,
      `{"kind":"json","value":{"a":1},"__proto__":${poison}}`,
      `{"kind":"json","value":{"a":1},"labels":{"__proto__":"x"}}`,
      `{"kind":"json","value":{"a":1},"labels":{"constructor":"x"}}`,
      `{"constructor":{"prototype":${poison}}}`,
      `{"__proto__":[],"kind":"json"}`,
    ];
    for (const body of bodies) expect((await call('PUT', at('acme', 'polluted'), { token: acme.token, body })).status).toBe(400);
    const queries = [
      '__proto__[polluted]=yes',
      'constructor[prototype][polluted]=yes',
      '__proto__=x',
      '__proto__.polluted=yes',
      'limit[__proto__]=1',
      'toString=1',
      'hasOwnProperty=x',
    ];
    for (const query of queries)
      expect((await call('GET', `${at('acme')}?${query}`, { token: acme.token })).status, query).toBe(400);
    for (const query of queries) {
      const form = `grant_type=client_credentials&${query}`;
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      expect((await call('POST', '/v1/tenants/acme/token', { body: form, headers })).status, query).toBe(400);
    }
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect((Object.prototype as Record<string, unknown>)['role']).toBeUndefined();
    for (const name of ['constructor', 'prototype', 'tostring', 'valueof', 'hasownproperty']) {
      const path = at('acme', name);
      expect((await call('GET', path, { token: acme.token })).status).toBe(404);
      await must(call('PUT', path, { token: acme.token, body: apiKey() }), 201);
      await must(call('GET', `${path}/value`, { token: acme.token }), 200);
      await must(call('DELETE', path, { token: owner }), 200);
    }
  });

  it('of another type, in another alphabet, or with a second content type are refused', async () => {
    const { call, acme } = world;
    const put = (type: string, body: Uint8Array | string = JSON.stringify(apiKey())) =>
      call('PUT', at('acme', 'typed'), { token: acme.token, body, headers: { 'content-type': type } });
    for (const type of [
      'text/plain',
      'application/x-www-form-urlencoded',
      'application/xml',
      'multipart/form-data; boundary=x',
      'application/json-patch+json',
      'application/jsonx',
    ])
      expect((await put(type)).status, type).toBe(415);
    for (const [what, bytes] of [
      ['UTF-16', Buffer.from(JSON.stringify(apiKey()), 'utf16le')],
      ['a byte order mark', Buffer.from(`\ufeff${JSON.stringify(apiKey())}`)],
      [
        'half a character',
        Buffer.concat([Buffer.from('{"kind":"api_key","value":{"key":"'), Buffer.from([0xc3]), Buffer.from('"}}')]),
      ],
      [
        'an overlong slash',
        Buffer.concat([Buffer.from('{"kind":"api_key","value":{"key":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}}')]),
      ],
    ] as const)
      expect((await put('application/json', bytes)).status, what).toBe(400);
  });
});

describe('framing', () => {
  const smuggled = () => `GET ${at('acme', 'known')}/value HTTP/1.1\r\nHost: x\r\n${bearer()}\r\n\r\n`;

  it('that two readers could read differently is refused and the connection ends: what hides behind it is not served', async () => {
    const post = ['POST /v1/tenants/acme/token HTTP/1.1', 'Host: x', 'Content-Type: application/json'];
    const cases: [string, string[], string][] = [
      ['CL.TE', [...post, 'Content-Length: 6', 'Transfer-Encoding: chunked'], '0\r\n\r\n'],
      ['TE.CL', [...post, 'Transfer-Encoding: chunked', 'Content-Length: 4'], '5c\r\nx\r\n0\r\n\r\n'],
      ['two lengths', [...post, 'Content-Length: 2', 'Content-Length: 40'], '{}'],
      ['a list of lengths', [...post, 'Content-Length: 2, 40'], '{}'],
      ['a signed length', [...post, 'Content-Length: +2'], '{}'],
      ['a hexadecimal length', [...post, 'Content-Length: 0x2'], '{}'],
      ['a negative length', [...post, 'Content-Length: -1'], '{}'],
      ['two codings', [...post, 'Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], '0\r\n\r\n'],
      ['chunked, identity', [...post, 'Transfer-Encoding: chunked, identity'], '0\r\n\r\n'],
      ['an unknown coding', [...post, 'Transfer-Encoding: xchunked'], '0\r\n\r\n'],
      ['a folded header', [...post, 'X-Folded: a', ' Content-Length: 2'], '{}'],
      ['a space before the colon', [...post, 'Content-Length : 2'], '{}'],
      ['a bare line feed in a header', [...post, 'X-A: b\nContent-Length: 2'], '{}'],
      ['a NUL in a header', [...post, 'X-A: b\u0000c', 'Content-Length: 2'], '{}'],
      ['a bad chunk size', [...post, 'Transfer-Encoding: chunked'], 'zz\r\n{}\r\n0\r\n\r\n'],
      ['a chunk size too large', [...post, 'Transfer-Encoding: chunked'], 'ffffffffffffffffff\r\n{}\r\n0\r\n\r\n'],
      ['no host', ['GET /health HTTP/1.1'], ''],
      ['two hosts', ['GET /health HTTP/1.1', 'Host: x', 'Host: y'], ''],
      ['two authorizations', [`GET ${at('acme')} HTTP/1.1`, 'Host: x', bearer(), bearer()], ''],
      ['HTTP/2 preface', ['PRI * HTTP/2.0', '', 'SM'], ''],
      ['an unknown version', ['GET /health HTTP/9.9', 'Host: x'], ''],
    ];
    for (const [what, lines, body] of cases) {
      const answer = await raw(lines, `${body}${smuggled()}`);
      const statuses = statusesOf(answer);
      expect(
        statuses.filter((status) => status < 400),
        `${what}: ${answer.slice(0, 200)}`,
      ).toEqual([]);
      expect(answer, what).not.toContain('not-a-real-secret');
    }
  });

  it('of two whole requests in one packet serves both, each with its own rights', async () => {
    const none = `GET ${at('acme', 'known')}/value HTTP/1.1\r\nHost: x\r\n\r\n`;
    expect(statusesOf(await rawBytes(world.url, smuggled() + none + smuggled()))).toEqual([200, 401, 200]);
  });

  it('with a body where none belongs does not let the body become the next request', async () => {
    const answer = await raw([`GET ${at('acme')} HTTP/1.1`, 'Host: x', `Content-Length: ${smuggled().length}`], smuggled());
    expect(statusesOf(answer)).toEqual([401]);
    expect(answer).not.toContain('not-a-real-secret');
  });
});

describe('forged headers', () => {
  const FORGED = [
    'X-Forwarded-For',
    'X-Real-IP',
    'CF-Connecting-IP',
    'True-Client-IP',
    'X-Client-IP',
    'X-Cluster-Client-IP',
    'X-Originating-IP',
  ];

  it('move nobody into a network they are not in, nor into another record', async () => {
    const far = await makeWorkload(world.call, world.owner, 'acme', { name: 'far', networks: ['203.0.113.0/24'] });
    const path = `${at('acme', 'known')}/value`;
    const none = comparable(await world.call('GET', `${at('acme', 'nothing-here')}/value`, { token: far.token }));
    for (const name of FORGED) {
      const forged = await world.call('GET', path, { token: far.token, headers: { [name]: '203.0.113.9' } });
      expect(comparable(forged), name).toEqual(none);
    }
    const forwarded = await world.call('GET', path, { token: far.token, headers: { forwarded: 'for=203.0.113.9;proto=https' } });
    expect(comparable(forwarded)).toEqual(none);
    const exchange = await world.call('POST', '/v1/tenants/acme/token', {
      body: { grant_type: 'client_credentials', client_secret: far.secret },
      headers: { 'x-forwarded-for': '203.0.113.9' },
    });
    expect(exchange.status).toBeGreaterThanOrEqual(400);
    const events = (await eventsOf(world.call, world.owner, 'acme')).filter((event) => event.actor.id === far.workload);
    expect(events.length).toBeGreaterThan(FORGED.length);
    for (const event of events) expect(event.origin.address).toBe('127.0.0.1');
  });

  it('do not choose the host, the path or the user', async () => {
    const headers = {
      'x-forwarded-host': 'elsewhere.example',
      'x-original-url': '/v1/users',
      'x-rewrite-url': '/v1/users',
      'x-user': 'usr_000000000000000000000000',
      'x-keyturn-user': 'owner',
      'x-forwarded-user': 'owner',
      cookie: `token=${world.owner}`,
      'proxy-authorization': `Bearer ${world.owner}`,
      'x-api-key': world.owner,
      'x-vault-token': world.owner,
    };
    expect((await world.call('GET', '/v1/users', { headers })).status).toBe(401);
    expect((await world.call('GET', '/v1/users', { token: world.acme.token, headers })).status).toBe(401);
  });

  it('keep the id a client gives its request apart, however often it is the same', async () => {
    const { call, owner } = world;
    const ids = new Set<string>();
    const before = (await eventsOf(call, owner, 'acme')).length;
    for (let i = 0; i < 5; i++) {
      const reply = await call('GET', at('acme'), { token: owner, headers: { 'x-request-id': 'req_0000000000000000same' } });
      ids.add(reply.headers.get('x-request-id') as string);
    }
    const events = (await eventsOf(call, owner, 'acme', before)).filter((event) => event.client_request !== undefined);
    expect(events.map((event) => event.client_request)).toEqual(Array(5).fill('req_0000000000000000same'));
    expect(new Set(events.map((event) => event.request))).toEqual(ids);
    expect(ids.size).toBe(5);
    for (const bad of ['a b', 'a\tb', 'é', '"', 'x'.repeat(129), '{{7*7}}', 'jndi:ldap://{x}', '<b>'])
      expect(
        (
          await rawCall(world.url, 'GET', at('acme'), {
            authorization: `Bearer ${owner}`,
            'x-request-id': Buffer.from(bad).toString('latin1'),
          })
        ).status,
        bad,
      ).toBe(400);
  });
});
