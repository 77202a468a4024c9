// A token endpoint whose refresh tokens are single use, and which counts every one that is used twice: the proof that no refresh is
// made double under load. How long its access tokens live is set while it runs, which turns the load on and off.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answerWith } from './child.ts';

/** The number of the refresh token that each grant must show next. */
const next = new Map<string, number>();
let issued = 0;
let expiresIn = 3_600;
let answered = 0;
let duplicates = 0;
let firstAtMs: number | undefined;
let lastAtMs = 0;

function answerTo(refreshToken: string): { status: number; body: unknown } {
  const [, grant = '', number = ''] = refreshToken.split('-');
  if (next.get(grant) !== Number(number)) {
    duplicates += 1;
    return { status: 400, body: { error: 'invalid_grant' } };
  }
  firstAtMs ??= performance.now();
  lastAtMs = performance.now();
  answered += 1;
  next.set(grant, Number(number) + 1);
  return {
    status: 200,
    body: { access_token: accessToken(grant), refresh_token: token(grant), token_type: 'Bearer', expires_in: expiresIn },
  };
}

const token = (grant: string) => `refresh-${grant}-${next.get(grant)}-not-a-real-secret`;
const accessToken = (grant: string) => `access-${grant}-${next.get(grant)}-not-a-real-secret`;

const server = createServer((request, response) => {
  let text = '';
  request.on('data', (part: Buffer) => {
    text += part.toString();
  });
  request.on('end', () => {
    const { status, body } = answerTo(new URLSearchParams(text).get('refresh_token') ?? '');
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(JSON.stringify(body));
  });
});

async function hello() {
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const tokenEndpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  return { tokenEndpoint, clientId: 'bench', clientSecret: 'client-not-a-real-secret' };
}

function grants(count: number) {
  return Array.from({ length: count }, () => {
    const grant = String(issued++);
    next.set(grant, 0);
    return { accessToken: accessToken(grant), refreshToken: token(grant) };
  });
}

/** Since the count was last restarted; `seconds` from the first call to the last. */
function counted() {
  return { answered, duplicates, seconds: firstAtMs === undefined ? 0 : (lastAtMs - firstAtMs) / 1e3 };
}

function restartCount(): void {
  answered = 0;
  firstAtMs = undefined;
}

function liveFor(seconds: number): void {
  expiresIn = seconds;
}

answerWith({ hello, grants, counted, restartCount, liveFor }, () => server.closeAllConnections());
