// The HTTP server of the personas, on loopback only.
// It must never answer a request with another Host than loopback, so that a web page cannot reach it.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Ask, jsonReply, type Reply, readAsk } from './persona-ask.ts';
import type { Personas } from './persona-contract.ts';
import { takeOrder } from './persona-control.ts';
import type { House } from './persona-house.ts';
import { type Delivery, play } from './persona-play.ts';

export interface PersonaServer {
  readonly origin: string;
  /** Before it is set, every call is answered with 503. */
  open(house: House, personas: Personas): void;
  stop(): Promise<void>;
}

const CONTROL = '/_control';
const ORDER_MAX_BYTES = 65_536;

/** @param port 0: any free one */
export async function listenOnLoopback(port: number, log: ((line: string) => void) | undefined): Promise<PersonaServer> {
  let handle = async (_req: IncomingMessage, res: ServerResponse): Promise<void> =>
    send(res, jsonReply(503, { error: 'starting' }));
  const stopping = new AbortController();
  const server = createServer((req, res) => {
    handle(req, res).catch(() => res.destroy());
  });
  await new Promise<void>((done, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', done);
  });
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  let stopped: Promise<void> | undefined;
  return {
    origin,
    open(house, personas) {
      handle = (req, res) => answer({ house, personas, stopping: stopping.signal, log }, req, res);
    },
    stop() {
      stopping.abort();
      stopped ??= new Promise<void>((done) => {
        server.close(() => done());
        server.closeAllConnections();
      });
      return stopped;
    },
  };
}

interface Open {
  readonly house: House;
  readonly personas: Personas;
  readonly stopping: AbortSignal;
  readonly log: ((line: string) => void) | undefined;
}

async function answer({ house, personas, stopping, log }: Open, req: IncomingMessage, res: ServerResponse): Promise<void> {
  const url = new URL(req.url ?? '/', house.origin);
  // SECURITY: stops DNS rebinding: a foreign name that resolves to loopback is in the Host header.
  if (!isLoopback(req.headers.host)) return send(res, jsonReply(421, { error: 'not this machine' }));
  if (url.pathname === '/' && req.method === 'GET') return send(res, await takeOrder(personas, orderOf('GET', '', url, '')));
  if (url.pathname === CONTROL || url.pathname.startsWith(`${CONTROL}/`)) {
    // SECURITY: browsers send Origin; a web page must not control the sandbox.
    if (req.headers.origin !== undefined) return send(res, jsonReply(403, { error: 'not from a web page' }));
    const order = orderOf(req.method ?? 'GET', url.pathname.slice(CONTROL.length), url, await textOf(req));
    return send(res, await takeOrder(personas, order));
  }
  const { reply, half, afterMs } = await playCall(house, await readAsk(req, house.origin), log);
  if (afterMs > 0) await pause(afterMs, stopping);
  if (reply === undefined) req.socket.destroy();
  else if (half) cutInHalf(res, reply);
  else send(res, reply);
}

async function playCall(house: House, ask: Ask, log: Open['log']): Promise<Delivery> {
  const reply = house.keys.answer(ask);
  const delivery = reply === undefined ? await play(house, ask) : { reply, half: false, afterMs: 0 };
  log?.(reply === undefined ? lineOf(house) : `local-sandbox-key ${ask.method} ${ask.address} ${reply.status}`);
  return delivery;
}

function orderOf(method: string, path: string, url: URL, body: string) {
  return { method, path, query: url.searchParams, body };
}

function isLoopback(host: string | undefined): boolean {
  return /^(127\.0\.0\.1|localhost|\[::1\])(:[0-9]+)?$/.test(host ?? '');
}

async function textOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of req as AsyncIterable<Buffer>) {
    size += chunk.byteLength;
    if (size > ORDER_MAX_BYTES) throw new Error('the command is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function lineOf({ calls }: House): string {
  const call = calls.at(-1);
  if (call === undefined) return 'no connector has this address';
  const { connector, endpoint, grant = '-', generation, outcome, status, misbehaviour, why } = call;
  const spent = generation === undefined ? '' : ` generation ${generation}`;
  const odd = misbehaviour === undefined ? '' : ` [${misbehaviour}]`;
  return `${connector} ${endpoint} ${grant}${spent} ${outcome} ${status === 0 ? 'no answer' : status}${odd}${why === undefined ? '' : `: ${why}`}`;
}

function send(res: ServerResponse, { status, headers, body }: Reply): void {
  res.writeHead(status, { ...headers, ...(status === 204 ? {} : { 'content-length': Buffer.byteLength(body) }) });
  res.end(status === 204 ? undefined : body);
}

function cutInHalf(res: ServerResponse, { status, headers, body }: Reply): void {
  res.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) });
  res.write(body.slice(0, Math.floor(body.length / 2)), () => res.destroy());
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    const end = (): void => {
      clearTimeout(timer);
      done();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
  });
}
