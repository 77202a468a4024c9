// What the rotation tests share: servers that answer badly on purpose, a clock, and requests with made-up secrets.
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { EgressAnswer, EgressRequest, OAuth2Spec } from '../../rotation/connector.ts';
import type { RefreshOutcome } from '../../rotation/oauth2/answer.ts';
import { SecretValue } from '../../src/base/secret-value.ts';

export const realClock = { now: () => Date.now() };

export const GENERIC: OAuth2Spec = {
  tokenEndpoint: 'https://provider.example/token',
  hosts: [],
  clientAuthentication: 'client_secret_basic',
  bodyFormat: 'form',
  refreshTokenRotates: 'sometimes',
  lostAnswer: { kind: 'unsafe' },
  scopeSeparator: ' ',
};

export interface BadServer {
  readonly origin: string;
  readonly host: string;
  readonly requests: { readonly headers: Record<string, unknown>; readonly body: string }[];
  stop(): Promise<void>;
}

/** Answers every request with `listener`, after its body was read and kept. */
export async function startServer(listener: RequestListener): Promise<BadServer> {
  const requests: BadServer['requests'] = [];
  const server: Server = createServer((req, res) => {
    const chunks: Buffer[] = [];
    req.on('data', (chunk: Buffer) => chunks.push(chunk));
    req.on('end', () => {
      requests.push({ headers: req.headers, body: Buffer.concat(chunks).toString() });
      listener(req, res);
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin: `http://${host}`,
    host,
    requests,
    stop: async () => {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

export function answerOf(status: number, body: unknown, headers: Record<string, string> = {}): EgressAnswer {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  return { status, headers, body: SecretValue.fromText(text), sentAtMs: 1_000_000 };
}

export function requestTo(url: string, overrides: Partial<EgressRequest> = {}): EgressRequest {
  return {
    url,
    method: 'POST',
    headers: { 'content-type': 'text/plain' },
    body: SecretValue.fromText('body-not-a-real-secret'),
    allowedHosts: [URL.parse(url)?.host ?? 'nowhere.example'],
    timeoutMs: 2_000,
    maxBytes: 65_536,
    allowLoopback: true,
    ...overrides,
  };
}

export function textOf(secret: SecretValue | undefined): string | undefined {
  return secret?.reveal((bytes) => new TextDecoder().decode(bytes));
}

/** The word on it, where one was spoken, as an error table means it; else how the call ended. */
export function meaningOf(outcome: RefreshOutcome): string {
  if (outcome.kind === 'refused' || outcome.kind === 'not_sent') return outcome.means;
  return outcome.kind === 'throttled' ? 'transient' : outcome.kind;
}
