import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { EgressFailure } from '../../rotation/connector.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { createEgressThread } from '../../src/node/egress-thread.ts';
import { createWorkerEgress } from '../../src/worker/egress.ts';
import { type BadServer, realClock, requestTo, startServer, textOf } from '../rotation/kit.ts';

const thread = createEgressThread({ clock: realClock });
afterAll(() => thread.close());

const drivers = [
  ['node', createNodeEgress({ clock: realClock })],
  ['thread', thread],
  ['worker', createWorkerEgress({ clock: realClock })],
] as const;
const node = drivers[0][1];

const servers: { stop(): Promise<void> }[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

async function serve(listener: Parameters<typeof startServer>[0]): Promise<BadServer> {
  const server = await startServer(listener);
  servers.push(server);
  return server;
}

/** A port that speaks raw bytes. */
async function serveRaw(onConnect: (socket: import('node:net').Socket) => void): Promise<number> {
  const server = createServer((socket) => onConnect(socket.on('error', () => {})));
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  servers.push({ stop: () => new Promise((done) => server.close(() => done())) });
  return (server.address() as AddressInfo).port;
}

async function failureOf(sending: Promise<unknown>): Promise<EgressFailure> {
  const error = await sending.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(EgressFailure);
  return error as EgressFailure;
}

describe.each(drivers)('the %s egress', (name, egress) => {
  it('hands back the answer whatever its status, without cookies, and says when the request left', async () => {
    const server = await serve((_, res) => res.writeHead(418, { 'x-a': '1', 'set-cookie': 'c=1' }).end('short and stout'));
    const before = Date.now();
    const answer = await egress.send(
      requestTo(`${server.origin}/pot?q=1`, { headers: { authorization: SecretValue.fromText('Bearer not-a-real-secret') } }),
    );
    expect(answer).toMatchObject({ status: 418, headers: { 'x-a': '1' } });
    expect(answer.headers).not.toHaveProperty('set-cookie');
    expect(textOf(answer.body)).toBe('short and stout');
    expect(answer.sentAtMs).toBeGreaterThanOrEqual(before);
    expect(server.requests[0]).toMatchObject({
      body: 'body-not-a-real-secret',
      headers: { authorization: 'Bearer not-a-real-secret' },
    });
  });

  it('withdraws a request that may not leave any more: not one byte of it arrives', async () => {
    const server = await serve((_, res) => res.end('served'));
    expect(await failureOf(egress.send(requestTo(server.origin, { mayLeave: () => false })))).toMatchObject({
      reason: 'withdrawn',
      sent: 'not_sent',
    });
    expect(server.requests).toHaveLength(0);
    expect((await egress.send(requestTo(server.origin, { mayLeave: () => true }))).status).toBe(200);
  });

  it('returns a redirect as an answer and goes nowhere', async () => {
    const elsewhere = await serve((_, res) => res.end('secret elsewhere'));
    const server = await serve((_, res) => res.writeHead(302, { location: elsewhere.origin }).end());
    expect((await egress.send(requestTo(server.origin))).status).toBe(302);
    expect(elsewhere.requests).toHaveLength(0);
  });

  it('stops reading at the bound', async () => {
    const server = await serve((_, res) => res.end('x'.repeat(70_000)));
    expect(await failureOf(egress.send(requestTo(server.origin)))).toMatchObject({ reason: 'answer_too_large', sent: 'unknown' });
    expect((await egress.send(requestTo(server.origin, { maxBytes: 70_000 }))).body.byteLength).toBe(70_000);
  });

  it('stops an endless answer at the bound', async () => {
    const server = await serve((_, res) => {
      const write = () => {
        while (!res.destroyed && res.write(Buffer.alloc(16_384)));
        if (!res.destroyed) res.once('drain', write);
      };
      write();
    });
    expect(await failureOf(egress.send(requestTo(server.origin)))).toMatchObject({ reason: 'answer_too_large' });
  });

  it('opens a compressed answer it did not ask for, and stops a bomb', async () => {
    const server = await serve((req, res) =>
      res.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(req.url === '/bomb' ? Buffer.alloc(50_000_000) : 'small')),
    );
    expect(textOf((await egress.send(requestTo(`${server.origin}/`))).body)).toBe('small');
    expect(await failureOf(egress.send(requestTo(`${server.origin}/bomb`)))).toMatchObject({ reason: 'answer_too_large' });
  });

  it('gives up at the deadline, whether nothing comes or it trickles, and then cannot know', async () => {
    const server = await serve((req, res) => {
      if (req.url !== '/trickle') return;
      res.writeHead(200);
      const timer = setInterval(() => res.write('.'), 20);
      res.on('close', () => clearInterval(timer));
    });
    for (const path of ['/silent', '/trickle']) {
      const started = Date.now();
      const failure = await failureOf(egress.send(requestTo(server.origin + path, { timeoutMs: 200 })));
      const maybeUnsent = name === 'worker' && path === '/silent';
      expect(failure).toMatchObject({ reason: 'timeout', sent: 'unknown', maybeUnsent });
      expect(Date.now() - started).toBeLessThan(1_500);
    }
  });

  it.each([
    ['before the answer', (res: import('node:http').ServerResponse) => void res.destroy()],
    [
      'within the answer',
      (res: import('node:http').ServerResponse) =>
        void res.writeHead(200, { 'content-length': 100 }).write('half', () => res.destroy()),
    ],
  ])('cannot know when the connection dies %s', async (when, die) => {
    const server = await serve((_req, res) => die(res));
    // Until an answer begins, the Worker's platform does not tell a lost connection from a refused one.
    const maybeUnsent = name === 'worker' && when === 'before the answer';
    expect(await failureOf(egress.send(requestTo(server.origin)))).toMatchObject({
      reason: maybeUnsent ? 'fetch_failed' : 'connection_lost',
      sent: 'unknown',
      maybeUnsent,
    });
    expect(server.requests).toHaveLength(1);
  });

  it.each([
    ['https://127.0.0.1:9/', 'address_blocked'],
    ['https://localhost:9/', 'address_blocked'],
    ['https://[::1]:9/', 'address_blocked'],
    ['https://[::ffff:127.0.0.1]:9/', 'address_blocked'],
    ['https://169.254.169.254/', 'address_blocked'],
    ['https://2130706433/', 'address_blocked'],
    ['http://api.example.com/', 'request_refused'],
  ])('never opens a connection to %s unasked', async (url, reason) => {
    expect(await failureOf(egress.send(requestTo(url, { allowLoopback: false })))).toMatchObject({ reason, sent: 'not_sent' });
  });

  it('refuses a host that was not declared and a header that would split the request', async () => {
    const server = await serve((_, res) => res.end());
    expect(await failureOf(egress.send(requestTo(server.origin, { allowedHosts: ['other.example'] })))).toMatchObject({
      reason: 'host_not_allowed',
    });
    const split = { headers: { 'x-a': 'a\r\nx-b: b' } };
    expect(await failureOf(egress.send(requestTo(server.origin, split)))).toMatchObject({
      reason: 'request_refused',
      sent: 'not_sent',
    });
    expect(server.requests).toHaveLength(0);
  });

  it('puts no URL, header, body or address into a failure', async () => {
    const closed = await startServer(() => {});
    await closed.stop();
    const request = requestTo(`${closed.origin}/path-canary?q=canary`, {
      headers: { authorization: SecretValue.fromText('Bearer canary') },
      body: SecretValue.fromText('canary'),
    });
    const failure = await failureOf(egress.send(request));
    const told = [
      failure.message,
      String(failure.stack),
      inspect(failure, { depth: 9, showHidden: true }),
      JSON.stringify(failure),
    ].join('\n');
    expect(told).not.toContain('canary');
    expect(told).not.toContain(closed.host);
    expect([failure.sent, failure.maybeUnsent]).toEqual(name === 'worker' ? ['unknown', true] : ['not_sent', false]);
  });
});

describe('the node egress alone', () => {
  it('connects to the address that was looked up and judged, and looks up once', async () => {
    const server = await serve((_, res) => res.end('pinned'));
    let lookups = 0;
    const egress = createNodeEgress({
      clock: realClock,
      lookup: async () => {
        lookups += 1;
        return ['127.0.0.1'];
      },
    });
    const url = `http://provider.example:${new URL(server.origin).port}/`;
    expect(textOf((await egress.send(requestTo(url))).body)).toBe('pinned');
    expect(server.requests[0]?.headers).toMatchObject({ host: url.slice(7, -1) });
    expect(lookups).toBe(1);
  });

  it.each([
    ['loopback', ['127.0.0.1'], 'address_blocked'],
    ['loopback over IPv6', ['::1'], 'address_blocked'],
    ['a public and a private address', ['93.184.216.34', '10.0.0.1'], 'address_blocked'],
    ['the metadata address', ['169.254.169.254'], 'address_blocked'],
    ['nothing', [], 'dns_failed'],
  ])('refuses a name that resolves to %s', async (_, addresses, reason) => {
    const egress = createNodeEgress({ clock: realClock, lookup: async () => addresses });
    const sending = egress.send(requestTo('https://provider.example/', { allowLoopback: false }));
    expect(await failureOf(sending)).toMatchObject({ reason, sent: 'not_sent' });
  });

  it('has sent nothing when a name does not resolve, or not in time', async () => {
    const unknown = createNodeEgress({
      clock: realClock,
      lookup: () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' })),
    });
    const request = requestTo('https://provider.example/', { timeoutMs: 100 });
    expect(await failureOf(unknown.send(request))).toMatchObject({
      reason: 'dns_failed',
      sent: 'not_sent',
      evidence: 'ENOTFOUND',
    });
    const slow = createNodeEgress({ clock: realClock, lookup: () => new Promise(() => {}) });
    expect(await failureOf(slow.send(request))).toMatchObject({ reason: 'dns_failed', sent: 'not_sent' });
  });

  it('has sent nothing when nobody listens', async () => {
    const closed = await startServer(() => {});
    await closed.stop();
    const failure = await failureOf(node.send(requestTo(closed.origin)));
    expect(failure).toMatchObject({ reason: 'connect_failed', sent: 'not_sent', evidence: 'ECONNREFUSED' });
  });

  it('has sent nothing when the other side does not speak TLS, hangs in it or hangs up', async () => {
    const received: Buffer[] = [];
    const keep = (socket: import('node:net').Socket) => socket.on('data', (bytes: Buffer) => received.push(bytes));
    const plain = await serveRaw((socket) => void keep(socket).end('HTTP/1.1 200 OK\r\n\r\n'));
    const rude = await serveRaw((socket) => void keep(socket).once('data', () => socket.destroy()));
    const mute = await serveRaw((socket) => void keep(socket));
    const reasons: string[] = [];
    for (const port of [plain, rude, mute]) {
      const failure = await failureOf(node.send(requestTo(`https://127.0.0.1:${port}/`, { timeoutMs: 300 })));
      expect(failure.sent).toBe('not_sent');
      reasons.push(failure.reason);
    }
    expect(reasons).toEqual(['tls_failed', 'tls_failed', 'connect_timeout']);
    expect(Buffer.concat(received).toString('latin1')).not.toContain('not-a-real-secret');
  });

  it('does not use a proxy from the environment', async () => {
    const proxy = await serve((_, res) => res.end('proxied'));
    const server = await serve((_, res) => res.end('direct'));
    const saved = { ...process.env };
    Object.assign(process.env, {
      HTTP_PROXY: proxy.origin,
      http_proxy: proxy.origin,
      ALL_PROXY: proxy.origin,
      NODE_USE_ENV_PROXY: '1',
    });
    try {
      expect(textOf((await createNodeEgress({ clock: realClock }).send(requestTo(server.origin))).body)).toBe('direct');
    } finally {
      for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY']) {
        if (saved[name] === undefined) delete process.env[name];
        else process.env[name] = saved[name];
      }
    }
    expect(proxy.requests).toHaveLength(0);
  });

  it('refuses an encoding it cannot open', async () => {
    const server = await serve((_, res) => res.writeHead(200, { 'content-encoding': 'compress' }).end('x'));
    expect(await failureOf(node.send(requestTo(server.origin)))).toMatchObject({ reason: 'answer_undecodable', sent: 'unknown' });
  });
});
