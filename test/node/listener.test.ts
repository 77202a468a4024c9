// The Node listener over real sockets: where it may listen, TLS versions, hostile requests, forwarded addresses and closing.
import { chmodSync, copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as secureRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect as tlsConnect } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { type FetchHandler, type Listening, type ListenOptions, listen } from '../../src/node/listener.ts';
import { writeSelfSigned } from '../kit/certificate.ts';

const opened: Listening[] = [];
const echo: FetchHandler = (_request, env) => Response.json({ address: env.callerAddress, secure: env.secure });

async function open(options: Partial<ListenOptions> = {}, handler: FetchHandler = echo): Promise<Listening> {
  const listening = await listen(handler, { host: '127.0.0.1', port: 0, closeGraceMs: 200, ...options });
  opened.push(listening);
  return listening;
}

afterEach(async () => {
  await Promise.all(opened.splice(0).map((listening) => listening.close()));
});

/** Sends bytes as they are and resolves to all that came back once the server closed the connection. */
function sendRaw(url: string, bytes: string, timeoutMs = 5_000): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(bytes));
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk;
    });
    socket.on('close', () => resolve(answer));
    socket.on('error', () => resolve(answer));
    socket.setTimeout(timeoutMs, () => {
      socket.destroy();
      reject(new Error(`still open after ${timeoutMs} ms; so far: ${answer}`));
    });
  });
}

const statusOf = (answer: string) => Number(answer.split(' ')[1]);

describe('what the listener refuses by itself', () => {
  test.each([
    ['a dot segment', {}, 'GET /v1/x/.. HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n', /"\." or "\.\." segments/],
    [
      'a header twice',
      {},
      'GET / HTTP/1.1\r\nHost: a\r\nIf-Match: "r1"\r\nIf-Match: "r2"\r\nConnection: close\r\n\r\n',
      /if-match is given twice/,
    ],
    [
      'a forwarded address that is none',
      { behindProxy: true, trustedProxies: ['127.0.0.1'] },
      'GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: none\r\nConnection: close\r\n\r\n',
      /forwarded address/,
    ],
  ] as const)('(%s) is a problem like all others, with a request id', async (_name, options, head, says) => {
    const { url } = await open(options);
    const answer = await sendRaw(url, head);
    const id = /x-request-id: (req_[0-9a-f]{24})/i.exec(answer)?.[1];
    const problem = JSON.parse(/\{.*\}/.exec(answer)?.[0] ?? '{}') as Record<string, unknown>;
    expect(problem).toMatchObject({
      type: 'urn:keyturn:problem:invalid_request',
      status: 400,
      code: 'invalid_request',
      request_id: id,
    });
    expect(problem['detail']).toMatch(says);
    expect(answer).toMatch(/content-type: application\/problem\+json/i);
  });
});

describe('where it listens', () => {
  test.each(['0.0.0.0', '::', '192.0.2.1', 'vault.example', '::ffff:0.0.0.0'])(
    'plaintext on %s is refused with advice',
    async (host) => {
      await expect(listen(echo, { host, port: 0 })).rejects.toMatchObject({ code: 'invalid_request', pointer: '/host' });
      await expect(listen(echo, { host, port: 0 })).rejects.toThrow(/without TLS.*127\.0\.0\.1/);
    },
  );

  test.each(['127.0.0.1', 'localhost'])('plaintext on %s is allowed and answers at its url', async (host) => {
    const { url } = await open({ host });
    expect(await (await fetch(url)).json()).toEqual({ address: expect.stringMatching(/^(127\.0\.0\.1|::1)$/), secure: false });
  });

  test('plaintext beyond this machine is allowed where a proxy stands in front', async () => {
    const { url } = await open({ host: '0.0.0.0', behindProxy: true });
    expect(url).toMatch(/^http:\/\/localhost:\d+$/);
    expect((await fetch(url)).status).toBe(200);
  });

  test('a port in use is a conflict that names the port', async () => {
    const { url } = await open();
    const port = Number(new URL(url).port);
    await expect(listen(echo, { host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'conflict', pointer: '/port' });
  });
});

describe('a hostile request', () => {
  let handled: string[] = [];
  const counting: FetchHandler = async (incoming) => {
    handled.push(new URL(incoming.url).pathname);
    await incoming.text();
    return new Response('ok');
  };
  const post = 'POST /v1/x HTTP/1.1\r\nHost: localhost\r\n';

  test.each([
    ['Content-Length and Transfer-Encoding', `${post}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG`],
    ['Transfer-Encoding before Content-Length', `${post}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG`],
    ['two Content-Lengths', `${post}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`],
    ['a Content-Length with a sign', `${post}Content-Length: +3\r\n\r\nabc`],
    ['an unknown Transfer-Encoding', `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ['a folded header', `${post}X-A: b\r\n c: d\r\nContent-Length: 0\r\n\r\n`],
    ['a space before the colon', `${post}Content-Length : 3\r\n\r\nabc`],
    ['a bare line feed in a header', `${post}X-A: b\nContent-Length: 3\r\n\r\nabc`],
    ['a NUL in a header', `${post}X-A: b\0c\r\nContent-Length: 0\r\n\r\n`],
    ['two Transfer-Encodings', `${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ])('with %s gets 400 and a closed connection; neither it nor what is behind it is answered', async (_name, head) => {
    const { url } = await open({}, counting);
    handled = [];
    const answer = await sendRaw(url, `${head}GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    expect(statusOf(answer)).toBe(400);
    expect(answer.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(answer.toLowerCase()).toContain('connection: close');
    expect(handled).toEqual([]);
  });

  test('with a broken chunk gets 400, and the handler sees its body fail', async () => {
    let body: unknown;
    const { url } = await open({}, async (incoming) => {
      body = await incoming.text().catch((error: unknown) => error);
      return new Response('ok');
    });
    expect(statusOf(await sendRaw(url, `${post}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n`))).toBe(400);
    expect(body).toBeInstanceOf(Error);
  });

  test.each([
    ['no Host', 'GET /v1/x HTTP/1.1\r\n\r\n'],
    ['two Hosts', 'GET /v1/x HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n'],
    ['a Host that is no host', 'GET /v1/x HTTP/1.1\r\nHost: a/b\r\nConnection: close\r\n\r\n'],
    ['two Authorizations', `${post}Authorization: Bearer a\r\nauthorization: Bearer b\r\nContent-Length: 0\r\n\r\n`],
  ])('with %s gets 400 and is not handled', async (_name, head) => {
    const { url } = await open({}, counting);
    handled = [];
    expect(statusOf(await sendRaw(url, head))).toBe(400);
    expect(handled).toEqual([]);
  });

  test('with headers beyond 16 KiB gets 431', async () => {
    const { url } = await open({}, counting);
    expect(statusOf(await sendRaw(url, `GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ${'a'.repeat(17_000)}\r\n\r\n`))).toBe(431);
  });

  test('that stops in the middle of its headers gets 408 after the header time', async () => {
    const { url } = await open({ headersTimeoutMs: 500 }, counting);
    const startedAtMs = Date.now();
    expect(statusOf(await sendRaw(url, 'GET / HTTP/1.1\r\nHost: loc'))).toBe(408);
    expect(Date.now() - startedAtMs).toBeLessThan(3_000);
  });
});

describe('the caller address', () => {
  async function addressSeen(forwarded: string | undefined, options: Partial<ListenOptions>): Promise<string> {
    const { url } = await open(options);
    const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
    return ((await (await fetch(url, { headers })).json()) as { address: string }).address;
  }
  const trusting = { behindProxy: true, trustedProxies: ['127.0.0.0/8', '10.0.0.0/8'] };

  test('is the peer when no proxy was announced, whatever the headers claim', async () => {
    expect(await addressSeen('203.0.113.9', {})).toBe('127.0.0.1');
    await expect(addressSeen('203.0.113.9', { trustedProxies: ['127.0.0.0/8'] })).rejects.toMatchObject({
      code: 'invalid_request',
      pointer: '/trustedProxies',
    });
  });

  test('is the peer when a proxy was announced but none is trusted, or another one', async () => {
    expect(await addressSeen('203.0.113.9', { behindProxy: true })).toBe('127.0.0.1');
    expect(await addressSeen('203.0.113.9', { behindProxy: true, trustedProxies: ['10.0.0.0/8'] })).toBe('127.0.0.1');
  });

  test('is the last hop that is no trusted proxy, not what the client put before it', async () => {
    expect(await addressSeen('203.0.113.9', trusting)).toBe('203.0.113.9');
    expect(await addressSeen('198.51.100.1, 203.0.113.9, 10.0.0.5', trusting)).toBe('203.0.113.9');
    expect(await addressSeen('10.0.0.1, 203.0.113.9', trusting)).toBe('203.0.113.9');
    expect(await addressSeen('2001:DB8::0:1', trusting)).toBe('2001:db8::1');
    expect(await addressSeen('::ffff:203.0.113.9', trusting)).toBe('203.0.113.9');
  });

  test('is the peer when a trusted proxy says nothing, nothing known when it says so, and no request when it cannot be read', async () => {
    expect(await addressSeen('', trusting)).toBe('127.0.0.1');
    expect(await addressSeen(undefined, trusting)).toBe('127.0.0.1');
    expect(await addressSeen('203.0.113.9, unknown', trusting)).toBe('unknown');
    const { url } = await open(trusting);
    expect((await fetch(url, { headers: { 'x-forwarded-for': '203.0.113.9, not an address' } })).status).toBe(400);
  });

  test('is read over several header lines as over one', async () => {
    const { url } = await open(trusting);
    const lines = [
      'X-Forwarded-For: 198.51.100.1',
      'X-Forwarded-For: 203.0.113.9:4711',
      'X-Forwarded-For: "[::ffff:10.0.0.5]:80"',
    ];
    const answer = await sendRaw(url, `GET / HTTP/1.1\r\nHost: localhost\r\n${lines.join('\r\n')}\r\nConnection: close\r\n\r\n`);
    expect(answer).toContain('203.0.113.9');
    const standard = ['Forwarded: for=198.51.100.1', 'Forwarded: For="[2001:db8::1]:1234";proto=https'];
    const other = await sendRaw(
      url,
      `GET / HTTP/1.1\r\nHost: localhost\r\n${standard.join('\r\n')}\r\nConnection: close\r\n\r\n`,
    );
    expect(other).toContain('2001:db8::1');
  });
});

describe('closing', () => {
  test('lets a request in flight finish, accepts nothing new, and may be asked twice', async () => {
    const started = Promise.withResolvers<void>();
    const listening = await open({ closeGraceMs: 5_000 }, async () => {
      started.resolve();
      await sleep(150);
      return new Response('finished');
    });
    const inFlight = fetch(listening.url);
    await started.promise;
    const closing = listening.close();
    expect(listening.close()).toBe(closing);
    await expect(fetch(listening.url)).rejects.toThrow();
    expect(await (await inFlight).text()).toBe('finished');
    await closing;
  });

  test('does not wait for idle connections', async () => {
    const listening = await open({ closeGraceMs: 5_000 });
    await (await fetch(listening.url)).text(); // its connection stays open in the pool
    const startedAtMs = Date.now();
    await listening.close();
    expect(Date.now() - startedAtMs).toBeLessThan(1_000);
  });

  test('cuts off what does not finish within the grace', async () => {
    const started = Promise.withResolvers<void>();
    const listening = await open({ closeGraceMs: 100 }, () => {
      started.resolve();
      return new Promise(() => {});
    });
    const stuck = fetch(listening.url).catch((error: unknown) => error);
    await started.promise;
    const startedAtMs = Date.now();
    await listening.close();
    expect(Date.now() - startedAtMs).toBeLessThan(2_000);
    expect(await stuck).toBeInstanceOf(Error);
  });
});

describe('TLS', () => {
  let folder = '';
  const path = (name: string) => join(folder, name);
  const files = { certPath: '', keyPath: '' };

  const makeCertificate = (name: string) =>
    writeSelfSigned(path(`${name}.key`), path(`${name}.crt`), name, ['localhost', '127.0.0.1']);

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'keyturn-tls-'));
    makeCertificate('first');
    makeCertificate('second');
    files.certPath = path('current.crt');
    files.keyPath = path('current.key');
    copyFileSync(path('first.crt'), files.certPath);
    copyFileSync(path('first.key'), files.keyPath);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function handshake(
    url: string,
    maxVersion: 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3',
  ): Promise<{ version: string | null; name: string }> {
    return new Promise((resolve, reject) => {
      const legacy = maxVersion === 'TLSv1.1' ? { ciphers: 'DEFAULT@SECLEVEL=0' } : {};
      const target = { host: '127.0.0.1', port: Number(new URL(url).port), rejectUnauthorized: false };
      const socket = tlsConnect({ ...target, ...legacy, minVersion: maxVersion, maxVersion }, () => {
        resolve({ version: socket.getProtocol(), name: `${socket.getPeerCertificate().subject.CN}` });
        socket.end();
      });
      socket.on('error', reject);
    });
  }

  test('serves version 1.3 beyond this machine and tells the handler that it is secure', async () => {
    const { url } = await open({ host: '0.0.0.0', tls: files });
    expect(url).toMatch(/^https:/);
    const body = await new Promise<string>((resolve, reject) => {
      const call = secureRequest(url, { rejectUnauthorized: false }, (answer) => answer.setEncoding('utf8').on('data', resolve));
      call.on('error', reject).end();
    });
    expect(JSON.parse(body)).toMatchObject({ secure: true });
    expect((await handshake(url, 'TLSv1.3')).version).toBe('TLSv1.3');
  });

  test('refuses version 1.2 unless asked for it, and 1.1 even then', async () => {
    const strict = await open({ tls: files });
    await expect(handshake(strict.url, 'TLSv1.2')).rejects.toThrow(/protocol version|EPROTO|ECONNRESET/i);
    const lenient = await open({ tls: { ...files, minVersion: 'TLSv1.2' } });
    expect((await handshake(lenient.url, 'TLSv1.2')).version).toBe('TLSv1.2');
    await expect(handshake(lenient.url, 'TLSv1.1')).rejects.toThrow();
  });

  test('answers no plaintext on its port', async () => {
    const { url } = await open({ tls: files });
    const failure = await new Promise((resolve) => request(url.replace('https', 'http'), resolve).on('error', resolve).end());
    expect(failure).toBeInstanceOf(Error);
  });

  test('names the file that is missing, broken, of another pair or open to others, and not its path or content', async () => {
    const broken = path('broken.key');
    writeFileSync(broken, 'not-a-real-secret', { mode: 0o600 });
    const exposed = path('exposed.key');
    copyFileSync(path('first.key'), exposed);
    chmodSync(exposed, 0o644);
    const cases: [Partial<typeof files>, string][] = [
      [{ certPath: path('absent') }, '/tls/certPath'],
      [{ keyPath: path('absent') }, '/tls/keyPath'],
      [{ keyPath: broken }, '/tls'],
      [{ keyPath: path('second.key') }, '/tls'],
      [{ keyPath: exposed }, '/tls/keyPath'],
    ];
    for (const [wrong, pointer] of cases) {
      const failure = await listen(echo, { host: '127.0.0.1', port: 0, tls: { ...files, ...wrong } }).catch(
        (error: KeyturnError) => error,
      );
      expect(failure).toMatchObject({ code: 'invalid_request', pointer });
      expect((failure as KeyturnError).message).not.toMatch(/not-a-real|keyturn-tls/);
    }
  });

  test('takes a new certificate on SIGHUP, keeps the old one when the new one is broken, and stops listening for it when closed', async () => {
    const before = process.listenerCount('SIGHUP');
    const onTlsReload = vi.fn();
    const listening = await open({ tls: files, onTlsReload });
    expect((await handshake(listening.url, 'TLSv1.3')).name).toBe('first');
    writeFileSync(files.certPath, 'half a certificate');
    process.emit('SIGHUP');
    expect(onTlsReload).toHaveBeenLastCalledWith(expect.any(KeyturnError));
    expect((await handshake(listening.url, 'TLSv1.3')).name).toBe('first');
    copyFileSync(path('second.crt'), files.certPath);
    copyFileSync(path('second.key'), files.keyPath);
    process.emit('SIGHUP');
    expect(onTlsReload).toHaveBeenLastCalledWith(undefined);
    expect((await handshake(listening.url, 'TLSv1.3')).name).toBe('second');
    await listening.close();
    expect(process.listenerCount('SIGHUP')).toBe(before);
  });
});
