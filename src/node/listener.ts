// The Node listener: sockets, TLS and time limits around one fetch handler. It must never serve plain http on other than loopback addresses
// without a declared proxy, nor trust a forwarded address from a peer that is not that proxy.
import { randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import type { IncomingMessage, ServerOptions, ServerResponse } from 'node:http';
import { createServer as createPlainServer } from 'node:http';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { createSecureContext } from 'node:tls';
import { createAdaptorServer, type HttpBindings } from '@hono/node-server';
import { canonicalAddress, Networks } from '../access/networks.ts';
import { fail, KeyturnError } from '../base/errors.ts';
import { exposureOf, SECRET_FILE_RULE } from '../base/file-access.ts';
import { LIMITS } from '../base/limits.ts';
import { DOT_SEGMENT_REFUSED } from '../http/edge.ts';
import { callerAddress } from '../http/forwarded.ts';
import { problemAnswer, toResponse } from '../http/response.ts';
import { Connections, descriptorLimit } from './connections.ts';

const HEADERS_MAX_BYTES = 16 * 1024;
/** Longer than the idle timeout of a proxy (60 s is common), so that the proxy closes first and does not write to a closed socket. */
const KEEP_ALIVE_TIMEOUT_MS = 65_000;
/** How often Node checks the time limits of requests. */
const DEADLINE_CHECK_MS = 1_000;
/** A connection without any transfer for this long is closed. */
const IDLE_SOCKET_MS = 2 * LIMITS.requestTimeoutMs;
const CLOSE_GRACE_MS = 10_000;
const CLOSE_POLL_MS = 50;
const LOOPBACK = Networks.parse(['127.0.0.0/8', '::1'], '');
const DOT_SEGMENT = /^[^?#]*[/\\](\.|%2e){1,2}([/\\?#]|$)/i;
/** Headers that must not be repeated: two parsers could use different copies. */
const SINGLE_HEADERS = new Set(['host', 'authorization', 'content-type', 'transfer-encoding', 'idempotency-key', 'if-match']);

export interface TlsOptions {
  readonly certPath: string;
  readonly keyPath: string;
  /** Default TLSv1.3. */
  readonly minVersion?: 'TLSv1.3' | 'TLSv1.2';
}

export interface ListenOptions {
  /** An address or host name; other than loopback it needs `tls` or `behindProxy`. */
  readonly host: string;
  /** 0: the system chooses a free port. */
  readonly port: number;
  readonly tls?: TlsOptions | undefined;
  /** A proxy terminates TLS. */
  readonly behindProxy?: boolean | undefined;
  /** Networks whose X-Forwarded-For and Forwarded headers are trusted; needs `behindProxy` or `tls`. Empty: none. */
  readonly trustedProxies?: readonly string[] | undefined;
  /** Descriptor limit of the process; default: the system's. */
  readonly descriptorLimit?: number | undefined;
  /** Milliseconds until the headers of a request must be complete; default `LIMITS.headersTimeoutMs`. */
  readonly headersTimeoutMs?: number | undefined;
  /** Milliseconds that requests in progress have to finish at close; default 10 s. */
  readonly closeGraceMs?: number | undefined;
  /** Called after a SIGHUP: undefined if the new certificate is in use, or else the reason why the old one stays. */
  readonly onTlsReload?: ((error: Error | undefined) => void) | undefined;
}

/** What the handler receives in addition to the request. */
export interface ListenerEnv extends HttpBindings {
  /** The caller's address in canonical form: the peer's, or the one that a trusted proxy forwards. */
  readonly callerAddress: string;
  /** True if this listener terminated TLS. */
  readonly secure: boolean;
}

export type FetchHandler = (request: Request, env: ListenerEnv) => Response | Promise<Response>;

export interface Listening {
  readonly url: string;
  /** The number of open connections. */
  connections(): number;
  /** Stops accepting, waits for requests in progress up to the grace period, then closes all connections. Idempotent. */
  close(): Promise<void>;
}

/**
 * Serves HTTP/1.1 until closed. With TLS, SIGHUP reloads certificate and key.
 * @throws invalid_request (unsafe or invalid options) | conflict (the port is in use) | unavailable (cannot listen on the address)
 */
export async function listen(handler: FetchHandler, options: ListenOptions): Promise<Listening> {
  const mayServeBeyond = options.tls !== undefined || options.behindProxy === true;
  if (!mayServeBeyond && !isLoopbackName(options.host)) refusePlaintext(options.host);
  const proxies = trustedProxies(options);
  const state = { closing: false };
  const connections = new Connections({ descriptors: options.descriptorLimit ?? descriptorLimit(), proxies });
  const serve = (request: Request, { incoming, outgoing }: HttpBindings) => {
    if (state.closing) outgoing.shouldKeepAlive = false;
    const ambiguity = ambiguityOf(incoming);
    const secure = options.tls !== undefined;
    if (ambiguity !== undefined) return refuseAmbiguity(ambiguity, secure);
    const address = addressOf(incoming, proxies);
    if (address === undefined)
      return refuseAmbiguity(
        'the forwarded address of the caller is not valid: check X-Forwarded-For and Forwarded of the proxy',
        secure,
      );
    return handler(request, { incoming, outgoing, callerAddress: address, secure });
  };
  const server = makeServer(options, (request, bindings) => {
    const answered = connections.began(bindings.incoming, bindings.outgoing as ServerResponse);
    const response = serve(request, bindings);
    if (response instanceof Promise) return response.finally(answered);
    answered();
    return response;
  });
  connections.attach(server);
  const bound = await bind(server, options);
  if (!mayServeBeyond && !LOOPBACK.contains(bound.address)) {
    server.close();
    refusePlaintext(options.host);
  }
  const stopReloading = options.tls === undefined ? () => {} : reloadOnHangup(server, options.tls, options.onTlsReload);
  let closed: Promise<void> | undefined;
  return {
    url: urlOf(options, bound.port),
    connections: () => connections.size,
    close: () => {
      state.closing = true;
      stopReloading();
      closed ??= closeGracefully(server, options.closeGraceMs ?? CLOSE_GRACE_MS);
      return closed;
    },
  };
}

function isLoopbackName(host: string): boolean {
  return host === 'localhost' || LOOPBACK.contains(host);
}

function refusePlaintext(host: string): never {
  const name = canonicalAddress(host) ?? 'this host name';
  return fail(
    'invalid_request',
    `refusing to listen on ${name} without TLS: other machines could read secrets on the network. ` +
      'Give --tls-cert and --tls-key, or --behind-proxy if a proxy terminates TLS, or listen on 127.0.0.1',
    { pointer: '/host' },
  );
}

/** Undefined if no forwarded address is trusted. */
function trustedProxies({ behindProxy, tls, trustedProxies: list = [] }: ListenOptions): Networks | undefined {
  const networks = Networks.parse(list, '/trustedProxies');
  // SECURITY: elsewhere an empty list means "any network"; here it must mean none (AZ-20).
  if (networks.isAny) return undefined;
  if (behindProxy !== true && tls === undefined) {
    fail('invalid_request', 'trusted proxies need --behind-proxy or TLS: give one of them, or omit --trusted-proxy', {
      pointer: '/trustedProxies',
    });
  }
  return networks;
}

function makeServer(options: ListenOptions, fetch: (request: Request, env: HttpBindings) => unknown): TlsServer {
  const limits: ServerOptions = {
    headersTimeout: options.headersTimeoutMs ?? LIMITS.headersTimeoutMs,
    requestTimeout: LIMITS.requestTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: DEADLINE_CHECK_MS,
    maxHeaderSize: HEADERS_MAX_BYTES,
    // SECURITY: set explicitly, so that a flag in NODE_OPTIONS cannot enable request smuggling (AZ-21).
    insecureHTTPParser: false,
    requireHostHeader: true,
  };
  const handler = fetch as (request: Request, env: unknown) => unknown;
  const server = (
    options.tls === undefined
      ? createAdaptorServer({ fetch: handler, createServer: createPlainServer, serverOptions: limits })
      : createAdaptorServer({
          fetch: handler,
          createServer: createTlsServer,
          serverOptions: {
            ...limits,
            ...readTls(options.tls),
            ALPNProtocols: ['http/1.1'],
            handshakeTimeout: LIMITS.headersTimeoutMs,
          },
        })
  ) as TlsServer;
  server.timeout = IDLE_SOCKET_MS;
  server.maxRequestsPerSocket = 0;
  return server;
}

function readTls(tls: TlsOptions): { cert: Buffer; key: Buffer; minVersion: 'TLSv1.3' | 'TLSv1.2' } {
  const minVersion = tls.minVersion ?? 'TLSv1.3';
  const context = { cert: readPem(tls.certPath, '/tls/certPath'), key: readPem(tls.keyPath, '/tls/keyPath'), minVersion };
  const exposure = exposureOf(statSync(tls.keyPath), process.getuid?.());
  if (exposure !== undefined)
    fail('invalid_request', `the key file ${exposure}: ${SECRET_FILE_RULE}`, { pointer: '/tls/keyPath', evidence: tls.keyPath });
  try {
    createSecureContext(context);
  } catch (error) {
    fail('invalid_request', 'the certificate and the key must be PEM files that match', {
      pointer: '/tls',
      cause: error,
    });
  }
  return context;
}

function readPem(path: string, pointer: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    return fail('invalid_request', `the file of ${pointer} cannot be read`, { pointer, cause: error });
  }
}

function bind(server: TlsServer, options: ListenOptions): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(error));
    server.listen({ port: options.port, host: options.host }, () => {
      server.on('error', () => {}); // a failed accept (no free descriptor) affects one connection only
      resolve(server.address() as AddressInfo);
    });
  }).catch((error: NodeJS.ErrnoException) => {
    const cause = { cause: error, pointer: error.code === 'EADDRINUSE' || error.code === 'EACCES' ? '/port' : '/host' };
    if (error.code === 'EADDRINUSE')
      return fail('conflict', `the port ${options.port} is in use by another program: stop it, or give another --port`, cause);
    if (error.code === 'EACCES')
      return fail('unavailable', `this user must not use the port ${options.port}: give another --port`, cause);
    return fail('unavailable', `cannot listen on the address given by --host (${error.code ?? 'unknown'})`, cause);
  }) as Promise<AddressInfo>;
}

function urlOf({ host, tls }: ListenOptions, port: number): string {
  const isWildcard = host === '0.0.0.0' || host === '::';
  const name = isWildcard ? 'localhost' : host.includes(':') ? `[${host}]` : host;
  return `${tls === undefined ? 'http' : 'https'}://${name}:${port}`;
}

/** The reason why another parser could read the request differently, if any; Node's parser rejects other ambiguities. */
function ambiguityOf({ rawHeaders, url = '' }: IncomingMessage): string | undefined {
  if (DOT_SEGMENT.test(url)) return DOT_SEGMENT_REFUSED;
  let seen: Set<string> | undefined;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (name === 'transfer-encoding' && rawHeaders[i + 1]!.toLowerCase() !== 'chunked')
      return 'the header transfer-encoding must be chunked';
    if (!SINGLE_HEADERS.has(name)) continue;
    seen ??= new Set();
    if (seen.has(name)) return `the header ${name} is given twice: send it once`;
    seen.add(name);
  }
  return undefined;
}

function refuseAmbiguity(detail: string, secure: boolean): Response {
  const response = refusal(new KeyturnError('invalid_request', detail), secure);
  response.headers.set('connection', 'close');
  return response;
}

/** The answer to a request that no route sees: a problem like all others, with an id of its own. */
export function refusal(error: KeyturnError, secure: boolean): Response {
  const requestId = `req_${randomBytes(12).toString('hex')}`;
  return toResponse(problemAnswer(error, requestId), requestId, { address: 'unknown', nextRequestId: () => requestId, secure });
}

const PEERS = new WeakMap<Socket, string>();

/** Cached, because the peer of a connection does not change. */
function peerOf(socket: Socket): string {
  const known = PEERS.get(socket);
  if (known !== undefined) return known;
  const address = canonicalAddress(socket.remoteAddress ?? '') ?? 'unknown';
  PEERS.set(socket, address);
  return address;
}

/** Undefined when what a trusted proxy wrote cannot be read. */
function addressOf({ socket, headers }: IncomingMessage, proxies: Networks | undefined): string | undefined {
  const peer = peerOf(socket);
  return proxies === undefined ? peer : callerAddress(peer, headers, proxies);
}

function reloadOnHangup(server: TlsServer, tls: TlsOptions, told: (error: Error | undefined) => void = () => {}): () => void {
  const reload = () => {
    try {
      server.setSecureContext(readTls(tls));
      told(undefined);
    } catch (error) {
      told(error as Error); // a half-written certificate must not end the service: the old one stays
    }
  };
  process.on('SIGHUP', reload);
  return () => process.off('SIGHUP', reload);
}

async function closeGracefully(server: TlsServer, graceMs: number): Promise<void> {
  // A connection becomes idle only after its answer, so it is looked for again and again.
  const idle = setInterval(() => server.closeIdleConnections(), CLOSE_POLL_MS);
  const deadline = setTimeout(() => server.closeAllConnections(), graceMs);
  try {
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
    });
  } finally {
    clearInterval(idle);
    clearTimeout(deadline);
  }
}
