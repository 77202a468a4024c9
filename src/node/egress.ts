// Egress on Node: https to declared hosts, at addresses that were resolved once, checked and pinned. One connection per request, so that
// "not sent" can be proven. It must never follow a redirect, use a proxy from the environment or read without a limit.

import { lookup as systemLookup } from 'node:dns/promises';
import { isIPv6, type Socket } from 'node:net';
import { brotliDecompress, gunzip, inflate } from 'node:zlib';
import { buildConnector, Client } from 'undici';
import {
  type Egress,
  type EgressAnswer,
  EgressFailure,
  type EgressReason,
  type EgressRequest,
} from '../../rotation/connector.ts';
import { checkAddresses, checkTarget, literalAddress, readBounded } from '../../rotation/engine/egress-rules.ts';
import { afterRunningFor, type Timer } from '../../rotation/engine/running-time.ts';
import type { Clock } from '../../src/base/clock.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { LIMITS } from '../base/limits.ts';

const timer: Timer = (ms, task) => {
  const started = setTimeout(task, ms);
  return () => clearTimeout(started);
};

export interface NodeEgressOptions {
  readonly clock: Clock;
  /** Returns all addresses of a name. Default: the system's resolver. */
  readonly lookup?: (hostname: string) => Promise<readonly string[]>;
  /** Root certificates (PEM) that replace Node's own, for providers inside a company. */
  readonly trustedRoots?: string;
}

/** An EgressRequest whose permission may be asynchronous. */
export interface NodeEgressRequest extends Omit<EgressRequest, 'mayLeave'> {
  readonly mayLeave?: () => boolean | Promise<boolean>;
}

export interface NodeEgress extends Egress {
  send(request: NodeEgressRequest): Promise<EgressAnswer>;
}

/** Sends in the calling thread; the service runs it in a thread of its own (egress-thread.ts). */
export function createNodeEgress(options: NodeEgressOptions): NodeEgress {
  return { send: (request) => send(request, options) };
}

async function send(request: NodeEgressRequest, options: NodeEgressOptions): Promise<EgressAnswer> {
  const url = checkTarget(request);
  const deadline = new AbortController();
  const forget = afterRunningFor(timer, request.timeoutMs, () => deadline.abort());
  try {
    const addresses = await resolve(url, request, options, deadline.signal);
    return await exchange(url, addresses, request, options, deadline.signal);
  } finally {
    forget();
  }
}

async function resolve(
  url: URL,
  request: NodeEgressRequest,
  options: NodeEgressOptions,
  deadline: AbortSignal,
): Promise<readonly string[]> {
  const literal = literalAddress(url);
  if (literal !== undefined) return [literal];
  const lookup = options.lookup ?? lookupAll;
  const expired = new Promise<never>((_, reject) =>
    deadline.addEventListener('abort', () => reject(new EgressFailure('dns_failed')), { once: true }),
  );
  let addresses: readonly string[];
  try {
    addresses = await Promise.race([lookup(url.hostname), expired]);
  } catch (error) {
    throw new EgressFailure('dns_failed', codeOf(error));
  }
  checkAddresses(url, addresses, request.allowLoopback);
  return addresses;
}

async function lookupAll(hostname: string): Promise<readonly string[]> {
  return (await systemLookup(hostname, { all: true })).map(({ address }) => address);
}

async function exchange(
  url: URL,
  addresses: readonly string[],
  request: NodeEgressRequest,
  options: NodeEgressOptions,
  deadline: AbortSignal,
): Promise<EgressAnswer> {
  const dial = pinnedConnector(addresses, request.timeoutMs, options.trustedRoots);
  let sentAtMs: number | undefined;
  const client = new Client(url.origin, {
    allowH2: false,
    headersTimeout: 0,
    bodyTimeout: 0, // the deadline covers the whole exchange
    connect: asksBeforeSending(dial, request, () => {
      sentAtMs = options.clock.now();
    }),
  });
  const body = copyBody(request.body);
  try {
    const {
      statusCode,
      headers,
      body: stream,
    } = await client.request({
      path: url.pathname + url.search,
      method: request.method,
      // GitHub rejects requests without a User-Agent.
      headers: { 'user-agent': 'keyturn', ...plainHeaders(request), 'accept-encoding': 'identity' },
      body,
      signal: deadline,
    });
    const bytes = await readBounded(stream as AsyncIterable<Uint8Array>, request.maxBytes);
    const decoded = await decode(bytes, headers['content-encoding'], request.maxBytes);
    return {
      status: statusCode,
      headers: flatten(headers),
      body: SecretValue.adopt(decoded),
      sentAtMs: sentAtMs ?? options.clock.now(),
    };
  } catch (error) {
    throw failureFor(error, url, { isSent: sentAtMs !== undefined, isExpired: deadline.aborted });
  } finally {
    await client.destroy();
    body?.fill(0);
  }
}

/** @param onSending called right before the first byte is sent */
function asksBeforeSending(
  dial: buildConnector.connector,
  request: NodeEgressRequest,
  onSending: () => void,
): buildConnector.connector {
  return (target, callback) =>
    dial(target, async (...result) => {
      const [failed, socket] = result;
      const refused = failed === null ? await whyNotToSend(socket, request) : undefined;
      if (refused !== undefined) {
        socket?.destroy();
        callback(refused, null);
        return;
      }
      if (failed === null) cutOff(socket, request.maxBytes);
      // INVARIANT: no byte of the request is sent before this line (test/node/egress.test.ts).
      if (failed === null) onSending();
      callback(...result);
    });
}

function failureFor(
  error: unknown,
  url: URL,
  { isSent, isExpired }: { readonly isSent: boolean; readonly isExpired: boolean },
): EgressFailure {
  if (error instanceof EgressFailure) return error;
  if (error instanceof Flood || (error instanceof Error && error.cause instanceof Flood))
    return new EgressFailure('answer_too_large');
  const code = codeOf(error);
  return new EgressFailure(isSent ? afterSending(isExpired) : beforeSending(url, code, isExpired), code);
}

async function whyNotToSend(socket: Socket, { mayLeave }: NodeEgressRequest): Promise<EgressFailure | undefined> {
  if (mayLeave === undefined) return undefined;
  try {
    const answer = mayLeave();
    if (!(typeof answer === 'boolean' ? answer : await answer)) return new EgressFailure('withdrawn');
  } catch {
    return new EgressFailure('withdrawn');
  }
  return socket.destroyed ? new EgressFailure('connect_failed') : undefined;
}

class Flood extends Error {}
/** Allowed bytes on the wire per byte of the body: headers, informational responses, chunk framing. */
const WIRE_BYTES_PER_BODY_BYTE = 8;

/** SECURITY: endless informational responses, status lines or chunk sizes would occupy the thread of all tenants until the deadline. */
function cutOff(socket: Socket, maxBytes: number): void {
  const mostBytes = LIMITS.wireMinBytes + WIRE_BYTES_PER_BODY_BYTE * maxBytes;
  socket.on('readable', () => {
    if (socket.bytesRead > mostBytes) socket.destroy(new Flood());
  });
}

function pinnedConnector(
  addresses: readonly string[],
  timeoutMs: number,
  trustedRoots: string | undefined,
): buildConnector.connector {
  const pinned = addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
  return buildConnector({
    allowH2: false,
    maxCachedSessions: 0,
    timeout: Math.min(LIMITS.connectTimeoutMaxMs, timeoutMs),
    ...(trustedRoots === undefined ? {} : { ca: trustedRoots }),
    // SECURITY: the socket connects to the checked addresses only: a second look-up could return others (DNS rebinding).
    lookup: (_hostname: string, { all }: { all?: boolean }, done: (error: null, ...found: unknown[]) => void) =>
      all ? done(null, pinned) : done(null, pinned[0]?.address, pinned[0]?.family),
  } as buildConnector.BuildOptions);
}

function beforeSending(url: URL, code: unknown, expired: boolean): EgressReason {
  if (code === 'UND_ERR_INVALID_ARG') return 'request_refused';
  if (expired || code === 'UND_ERR_CONNECT_TIMEOUT' || code === 'ETIMEDOUT') return 'connect_timeout';
  const reachedNothing = [
    'ECONNREFUSED',
    'ENETUNREACH',
    'EHOSTUNREACH',
    'EADDRNOTAVAIL',
    'EACCES',
    'EMFILE',
    'ENETDOWN',
    'EHOSTDOWN',
  ];
  return url.protocol === 'http:' || (typeof code === 'string' && reachedNothing.includes(code))
    ? 'connect_failed'
    : 'tls_failed';
}

function afterSending(expired: boolean): EgressReason {
  return expired ? 'timeout' : 'connection_lost';
}

function plainHeaders(request: NodeEgressRequest): Record<string, string> {
  return Object.fromEntries(
    Object.entries(request.headers).map(([name, value]) => [
      name,
      typeof value === 'string' ? value : value.reveal((bytes) => new TextDecoder().decode(bytes)),
    ]),
  );
}

function copyBody(body: EgressRequest['body']): Buffer | null {
  if (body === undefined) return null;
  return body instanceof SecretValue ? body.reveal((bytes) => Buffer.from(bytes)) : Buffer.from(body);
}

type Decoder = (
  bytes: Uint8Array,
  options: { maxOutputLength: number },
  done: (error: Error | null, decoded: Uint8Array) => void,
) => void;
const DECODERS: Readonly<Record<string, Decoder>> = { gzip: gunzip, 'x-gzip': gunzip, deflate: inflate, br: brotliDecompress };

/** Some servers compress despite `identity`. Decompression stops at `maxBytes`. */
async function decode(bytes: Uint8Array, encoding: string | string[] | undefined, maxBytes: number): Promise<Uint8Array> {
  const name = String(encoding ?? 'identity')
    .trim()
    .toLowerCase();
  if (name === 'identity' || name === '') return bytes;
  const decoder = Object.hasOwn(DECODERS, name) ? DECODERS[name] : undefined;
  if (decoder === undefined) throw new EgressFailure('answer_undecodable');
  return new Promise((done, reject) => {
    decoder(bytes, { maxOutputLength: maxBytes }, (error, decoded) => {
      if (error === null) done(new Uint8Array(decoded));
      else
        reject(
          new EgressFailure(codeOf(error) === 'ERR_BUFFER_TOO_LARGE' ? 'answer_too_large' : 'answer_undecodable', codeOf(error)),
        );
    });
  });
}

function flatten(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined && name !== 'set-cookie') flat[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return flat;
}

function codeOf(error: unknown): unknown {
  return typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined;
}
