// Providers that lie, over real HTTP: whatever they answer is an outcome, costs nobody else anything and moves no secret elsewhere.
import { createServer, type Socket } from 'node:net';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { connectors } from '../../../rotation/catalog.ts';
import type { EgressAnswer } from '../../../rotation/connector.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { discover } from '../../../rotation/oauth2/discovery.ts';
import { type RefreshOutcome, refreshGrant } from '../../../rotation/oauth2/refresh.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { createNodeEgress } from '../../../src/node/egress.ts';
import { createEgressThread } from '../../../src/node/egress-thread.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { createWorkerEgress } from '../../../src/worker/egress.ts';
import { testTenant } from '../../kit/vaults.ts';
import { answerOf, GENERIC, realClock, requestTo, startServer, textOf } from '../kit.ts';

const thread = createEgressThread({ clock: realClock });
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()));
});
afterAll(() => thread.close());

async function serve(listener: Parameters<typeof startServer>[0]) {
  const server = await startServer(listener);
  stops.push(() => server.stop());
  return server;
}

/** A provider that speaks raw bytes once it was spoken to; never ends what it writes with `endless`. */
async function serveRaw(speak: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}));
    socket.once('data', () => speak(socket));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  stops.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  });
  const address = server.address();
  return `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`;
}

function endless(socket: Socket, start: string, more: string): void {
  socket.write(start);
  const write = () => {
    while (!socket.destroyed && socket.write(more));
    if (!socket.destroyed) socket.once('drain', write);
  };
  write();
}

function refreshAt(origin: string, egress = createNodeEgress({ clock: realClock })): Promise<RefreshOutcome> {
  const grant = {
    refreshToken: SecretValue.fromText('refresh-not-a-real-secret'),
    clientId: 'client',
    clientSecret: SecretValue.fromText('client-not-a-real-secret'),
    allowLoopback: true,
  };
  const local = { send: (request: Parameters<typeof egress.send>[0]) => egress.send({ ...request, timeoutMs: 1_000 }) };
  return refreshGrant({ ...GENERIC, tokenEndpoint: `${origin}/token`, hosts: [new URL(origin).host] }, grant, local, realClock);
}

const TOKEN = 'access-not-a-real-secret';
const CANARY = 'canary-of-the-provider';
const told = (members: string) => `{"access_token":"${TOKEN}",${members}}`;
const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels);

describe('a token answer', () => {
  it.each<[string, string, object]>([
    ['nests 100,000 levels beside the token', told(`"x":${nested(100_000)}`), { kind: 'refreshed' }],
    ['is nothing but 100,000 levels', nested(100_000), { kind: 'answered_oddly', cause: 'no_token_answer' }],
    ['hides the token in its prototype', `{"__proto__":{"access_token":"${TOKEN}"}}`, { kind: 'answered_oddly' }],
    [
      'brings a constructor',
      told('"constructor":{"prototype":{"x":1}},"__proto__":{"refresh_token":"x"}'),
      { kind: 'refreshed' },
    ],
    ['is a list of answers', `[${told('"x":1')}]`, { kind: 'answered_oddly', cause: 'no_token_answer' }],
    ['has a number for a refresh token', told('"refresh_token":5'), { kind: 'refreshed', oddity: 'refresh_token_unusable' }],
    ['has false for a refresh token', told('"refresh_token":false'), { kind: 'refreshed', oddity: 'refresh_token_unusable' }],
    ['has 200 kB for a refresh token', told(`"refresh_token":"${'r'.repeat(200_000)}"`), { kind: 'refreshed' }],
    [
      'has a line break in a refresh token',
      told('"refresh_token":"a\\r\\nx: y"'),
      { kind: 'refreshed', oddity: 'refresh_token_unusable' },
    ],
    ['has a megabyte for a refresh token', told(`"refresh_token":"${'r'.repeat(1_000_000)}"`), { cause: 'answer_too_large' }],
    ['has a line break in the token', '{"access_token":"a\\r\\nx: y"}', { kind: 'answered_oddly', cause: 'malformed_token' }],
    ['has an object for a token', '{"access_token":{"toString":1}}', { kind: 'answered_oddly', cause: 'malformed_token' }],
    ['lives infinitely', told('"expires_in":1e400'), { kind: 'refreshed', expirySource: 'default' }],
    ['lives an object', told('"expires_in":{"valueOf":5}'), { kind: 'refreshed', expirySource: 'default' }],
    ['has a type with a line break', told('"token_type":"mac\\r\\nx: y"'), { kind: 'refreshed', tokenType: 'Bearer' }],
    ['has objects for scopes', told('"scope":{"read":true}'), { kind: 'refreshed', scope: undefined }],
    ['has one scope that is none', told('"scope":["read","a\\r\\nb",5,null,["x"],"write read"]'), { scope: 'read write' }],
    ['has an object for an error', '{"error":{"error":{"toString":1}}}', { means: 'configuration', cause: 'unrecognised_error' }],
    ['explains itself in an unknown error', `{"error":"${CANARY}"}`, { means: 'configuration', cause: 'unrecognised_error' }],
  ])('that %s is an outcome, and not a word of it is repeated but to the operator', async (_, body, expected) => {
    const server = await serve((_req, res) =>
      res.writeHead(200, { 'content-type': 'application/json; charset=\xff,' }).end(body),
    );
    const outcome = await refreshAt(server.origin);
    expect(outcome).toMatchObject(expected);
    const { said: _forTheOperator, ...told } = { said: undefined, ...outcome };
    expect(JSON.stringify(told)).not.toContain(CANARY);
    expect(({} as Record<string, unknown>)['refresh_token']).toBeUndefined();
  });

  it.each([301, 302, 303, 307, 308])(
    'that redirects with %i takes neither the refresh token nor the client secret along',
    async (status) => {
      const elsewhere = await serve((_, res) => res.end(told('"x":1')));
      const server = await serve((_, res) => res.writeHead(status, { location: `${elsewhere.origin}/token` }).end());
      expect(await refreshAt(server.origin)).toMatchObject({ kind: 'answered_oddly', cause: 'redirect_refused' });
      expect(elsewhere.requests).toHaveLength(0);
      expect(server.requests).toHaveLength(1);
    },
  );
});

const OK = 'HTTP/1.1 200 OK\r\n';
const CHUNKED = `${OK}transfer-encoding: chunked\r\n\r\n`;
const ABUSES: readonly (readonly [string, (socket: Socket) => void])[] = [
  ['a header of a megabyte', (socket) => socket.end(`${OK}x: ${'a'.repeat(1_000_000)}\r\n\r\n`)],
  ['headers without an end', (socket) => endless(socket, OK, `x: ${'a'.repeat(1_000)}\r\n`)],
  ['a status line without an end', (socket) => endless(socket, 'HTTP/1.1 200 ', 'a'.repeat(10_000))],
  ['trailers without an end', (socket) => endless(socket, `${CHUNKED}0\r\n`, `x: ${'a'.repeat(1_000)}\r\n`)],
  ['a chunk size without an end', (socket) => endless(socket, `${CHUNKED}1;`, 'a'.repeat(10_000))],
  ['one-byte chunks without an end', (socket) => endless(socket, CHUNKED, '1\r\na\r\n'.repeat(1_000))],
  ['early hints without an end', (socket) => endless(socket, '', 'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n'.repeat(100))],
  ['100 Continue without an end', (socket) => endless(socket, '', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100))],
  ['another protocol', (socket) => socket.end('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n')],
  ['HTTP/2 unasked', (socket) => socket.end('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
  ['a status that is none', (socket) => socket.end('HTTP/1.1 000 Nothing\r\ncontent-length: 0\r\n\r\n')],
  ['two lengths', (socket) => socket.end(`${OK}content-length: 1\r\ncontent-length: 5\r\n\r\nabcde`)],
  ['a negative length', (socket) => socket.end(`${OK}content-length: -1\r\n\r\nabcde`)],
  ['an encoding of the prototype', (socket) => socket.end(`${OK}content-encoding: __proto__\r\ncontent-length: 1\r\n\r\na`)],
];

describe('a provider that breaks HTTP', () => {
  it('is cut off long before the deadline, and what is under way in the same thread arrives', { timeout: 30_000 }, async () => {
    let release = () => {};
    const slow = await serve((_, res) => {
      release = () => res.end('arrived');
    });
    const neighbour = thread.send(requestTo(slow.origin, { timeoutMs: 25_000 }));
    const outcomes = await Promise.all(
      ABUSES.map(async ([name, speak]) => [name, await refreshAt(await serveRaw(speak), thread)] as const),
    );
    for (const [name, outcome] of outcomes) {
      expect(outcome, name).toMatchObject({
        kind: 'sent_and_lost',
        cause: expect.stringMatching(/^(connection_lost|answer_|egress_failed)/),
      });
    }
    release();
    expect(textOf((await neighbour).body)).toBe('arrived');
  });

  it('gets no header of its own past the cookies, and none into a prototype', async () => {
    const headers = '__proto__: x\r\nconstructor: y\r\nset-cookie: a=b\r\nset-cookie: c=d\r\ncontent-length: 2';
    const answer = await thread.send(requestTo(await serveRaw((socket) => socket.end(`${OK}${headers}\r\n\r\n{}`))));
    expect(answer.headers['set-cookie']).toBeUndefined();
    expect(Object.getPrototypeOf(answer.headers)).toBe(Object.prototype);
    expect(Object.hasOwn({}, 'x')).toBe(false);
  });

  it('cannot be this machine under a name written to its end, where only names can be judged', async () => {
    const worker = createWorkerEgress({ clock: realClock, fetch: () => Promise.reject(new Error('it was called')) });
    for (const host of ['localhost.', 'metadata.localhost.', 'LOCALHOST.'])
      await expect(worker.send(requestTo(`https://${host}/`, { allowLoopback: false }))).rejects.toMatchObject({
        reason: 'address_blocked',
      });
  });
});

describe('a provider whose tokens end at once', () => {
  it.each<[object, number]>([
    [{ expires_at: '2001-01-01T00:00:00Z' }, 2],
    [{ expires_at: 1_000_000_000 }, 2],
    // Not believed: the token is taken to live for an hour.
    [{ expires_in: 0 }, 1],
    [{ expires_in: -5 }, 1],
    [{ expires_in: 1e-9 }, 1],
  ])('is not asked in a loop (%j)', async (told, callsAtLeast) => {
    const { vault, clock, user } = await testTenant({ demo: true });
    let calls = 0;
    const egress = {
      send: async (): Promise<EgressAnswer> => {
        calls += 1;
        const body = { access_token: `${TOKEN}-${calls}`, refresh_token: `refresh-not-a-real-secret-${calls}`, ...told };
        return { ...answerOf(200, body), sentAtMs: clock.now() };
      },
    };
    const engine = new RefreshEngine({ vault, egress, connectors, owner: 'one', sandboxAllowed: false, every: () => () => {} });
    const value = {
      access_token: TOKEN,
      refresh_token: 'refresh-not-a-real-secret',
      expires_in: 0,
      client_secret: 'not-a-real-secret',
    };
    await vault.submit((job) =>
      putCredential(job, user(['admin'], 'everywhere'), {
        environment: 'staging',
        name: 'crm',
        kind: 'oauth2',
        value,
        connector: 'generic-oauth2',
        config: oauth2Config.parse({ token_endpoint: 'https://provider.example/token', client_id: 'client' }),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
    const minutes = 5;
    for (let second = 0; second < minutes * 60; second++) {
      await engine.runDueWork();
      clock.pass(1_000);
    }
    // What was put in ended already is refreshed at once; then as often as the cool-down lets it.
    expect(calls).toBeGreaterThanOrEqual(callsAtLeast);
    expect(calls).toBeLessThanOrEqual(callsAtLeast === 1 ? 1 : 1 + (minutes * 60_000) / LIMITS.refreshCoolDownMs);
    await engine.stop();
  });
});

const ISSUER = 'https://idp.example';
const described = (changes: object) => ({
  send: async () =>
    answerOf(200, { issuer: ISSUER, authorization_endpoint: `${ISSUER}/a`, token_endpoint: `${ISSUER}/t`, ...changes }),
});

describe('an endpoint that a provider names', () => {
  it.each([
    ['holds a password', 'https://user:not-a-real-secret@idp.example/t'],
    ['holds a fragment', `${ISSUER}/t#x`],
    ['is a template of settings', `${ISSUER}/t?x={client_id}`],
    ['is a template of nothing', `${ISSUER}/{evil}`],
    ['is plain http to elsewhere, though a sandbox may be here', 'http://evil.example/t'],
    ['is plain http to the metadata of a cloud', 'http://169.254.169.254/t'],
    ['is plain http to a name that looks like here', 'http://localhost.evil.example/t'],
    ['is longer than any', `${ISSUER}/${'t'.repeat(2_000)}`],
    ['is a list', [`${ISSUER}/t`]],
  ])('and that %s is none', async (_, token_endpoint) => {
    const finding = discover({ issuer: ISSUER, sandbox: undefined, allowLoopback: true }, described({ token_endpoint }));
    await expect(finding).rejects.toMatchObject({ code: 'invalid_request', pointer: '/config/issuer' });
  });

  it('is kept as it will be called, without what a URL parser drops', async () => {
    const finding = discover(
      { issuer: ISSUER, sandbox: undefined, allowLoopback: false },
      described({ authorization_endpoint: ` ${ISSUER}/a\r\nx`, token_endpoint: 'https://IDP.example:443/t' }),
    );
    expect(await finding).toMatchObject({ authorizationEndpoint: `${ISSUER}/ax`, tokenEndpoint: `${ISSUER}/t` });
  });
});

describe('an endpoint in the settings of a credential', () => {
  it.each(['https://user:not-a-real-secret@idp.example/t', `${ISSUER}/t#x`, `${ISSUER}/{evil}`, `${ISSUER}/\u202et`])(
    '%j is refused at the door, for it would be shown or filled in',
    (url) => {
      const fields = [
        'token_endpoint',
        'authorization_endpoint',
        'revocation_endpoint',
        'introspection_endpoint',
        'issuer',
        'sandbox',
      ];
      for (const field of fields) {
        const parsed = oauth2Config.safeParse({ client_id: 'client', [field]: url });
        expect(parsed.success, field).toBe(false);
        expect(JSON.stringify(parsed.error?.issues), field).not.toContain('not-a-real-secret');
      }
      expect(oauth2Config.safeParse({ client_id: 'client', base_urls: { 'api.example': url } }).success).toBe(false);
    },
  );

  it('is stored without what a URL parser drops, as it will be called', () => {
    const parsed = oauth2Config.parse({ client_id: 'client', token_endpoint: ' https://idp.exa\r\nmple/a\tt\n' });
    expect(parsed.token_endpoint).toBe(`${ISSUER}/at`);
  });
});
