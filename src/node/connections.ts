// Limits connections, so that file descriptors stay free for cells and one client with many connections cannot lock out others.
// It must never close a connection whose request is being handled.
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import { limitedSource, type Networks } from '../access/networks.ts';
import { LIMITS } from '../base/limits.ts';

/** Assumed number of open descriptors without connections, if they cannot be counted. */
const DESCRIPTORS_ASSUMED = 64;

interface Held {
  readonly socket: Socket;
  readonly otherEnd: string;
  readonly source: string;
  /** Requests whose answer is not complete. */
  requests: number;
  /** When the last request ended, in milliseconds. */
  idleSinceMs: number;
  /** The last request. */
  incoming: IncomingMessage | undefined;
  /** When the handler returned its answer, in milliseconds; undefined while it runs. */
  answeredAtMs: number | undefined;
}

export interface ConnectionLimits {
  /** The descriptor limit of the process; undefined if unknown. */
  readonly descriptors: number | undefined;
  /** Proxies, whose connections belong to many clients: exempt from the limit per source. */
  readonly proxies?: Networks | undefined;
}

/** Limits connections: beyond the limit it closes idle ones, then those that send or read slowly, and otherwise refuses new ones. */
export class Connections {
  readonly #limits: ConnectionLimits;
  /** By remote address and port: with TLS, a request has another socket object than the connection, but the same remote end. */
  readonly #held = new Map<string, Held>();
  readonly #known = new WeakMap<Socket, Held>();
  /** Connections that wait for a request or for the rest of its headers, the longest idle first. */
  readonly #idle = new Set<Held>();
  readonly #bySource = new Map<string, number>();
  readonly #watch: NodeJS.Timeout;
  #max: number;

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
    this.#max = maxConnections(limits.descriptors, DESCRIPTORS_ASSUMED);
    this.#watch = setInterval(() => void this.#count(), LIMITS.descriptorsCountEveryMs);
    this.#watch.unref();
    void this.#count();
  }

  get size(): number {
    return this.#held.size;
  }

  /** The current limit. */
  get max(): number {
    return this.#max;
  }

  attach(server: Server): void {
    server.on('connection', (socket: Socket) => this.#admit(socket));
    server.on('close', () => clearInterval(this.#watch));
  }

  /** Registers a request; call the returned function when the handler has returned. */
  began(incoming: IncomingMessage, outgoing: ServerResponse): () => void {
    const { socket } = incoming;
    const held = this.#known.get(socket) ?? this.#held.get(otherEndOf(socket));
    if (held === undefined) return () => {};
    this.#known.set(socket, held);
    held.requests += 1;
    held.incoming = incoming;
    held.answeredAtMs = undefined;
    this.#idle.delete(held);
    outgoing.once('close', () => {
      held.requests -= 1;
      if (held.requests > 0 || this.#held.get(held.otherEnd) !== held) return;
      held.idleSinceMs = performance.now();
      this.#idle.add(held);
    });
    return () => {
      held.answeredAtMs = performance.now();
    };
  }

  #admit(socket: Socket): void {
    const source = limitedSource(socket.remoteAddress ?? '');
    const mine = this.#bySource.get(source) ?? 0;
    const isProxy = this.#limits.proxies?.contains(socket.remoteAddress ?? '') === true;
    const tooManyOfIt = !isProxy && mine >= maxPerSource(this.#max);
    // SECURITY: a source over its limit loses its own connections; connections of other sources are closed only at the total limit (DS-03).
    if (tooManyOfIt && !this.#makeRoom((held) => held.source === source)) return void socket.destroy();
    if (!tooManyOfIt && this.#held.size >= this.#max && !this.#makeRoom(() => true)) return void socket.destroy();
    const otherEnd = otherEndOf(socket);
    const held: Held = {
      socket,
      otherEnd,
      source,
      requests: 0,
      idleSinceMs: performance.now(),
      incoming: undefined,
      answeredAtMs: undefined,
    };
    this.#held.set(otherEnd, held);
    this.#idle.add(held);
    this.#bySource.set(source, (this.#bySource.get(source) ?? 0) + 1);
    socket.once('close', () => this.#forget(held));
  }

  #forget(held: Held): void {
    if (this.#held.get(held.otherEnd) !== held) return;
    this.#held.delete(held.otherEnd);
    this.#idle.delete(held);
    const left = (this.#bySource.get(held.source) ?? 1) - 1;
    if (left > 0) this.#bySource.set(held.source, left);
    else this.#bySource.delete(held.source);
  }

  #makeRoom(may: (held: Held) => boolean): boolean {
    const nowMs = performance.now();
    const victim =
      first(this.#idle, (held) => may(held) && nowMs - held.idleSinceMs > LIMITS.freshConnectionMs) ??
      first(this.#held.values(), (held) => may(held) && isStuck(held, nowMs)) ??
      first(this.#idle, may);
    if (victim === undefined) return false;
    this.#forget(victim);
    victim.socket.destroy();
    return true;
  }

  /** Adjusts the limit to the other open descriptors, such as those of cells. */
  async #count(): Promise<void> {
    const open = await readdir('/proc/self/fd').catch(() => undefined);
    if (open === undefined) return;
    this.#max = maxConnections(this.#limits.descriptors, Math.max(0, open.length - this.#held.size));
    while (this.#held.size > this.#max && this.#makeRoom(() => true));
  }
}

function otherEndOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

function first(from: Iterable<Held>, may: (held: Held) => boolean): Held | undefined {
  for (const held of from) if (may(held)) return held;
  return undefined;
}

/** The client is slow: it has not sent the whole body or has not read the answer in time. */
function isStuck({ requests, incoming, answeredAtMs }: Held, nowMs: number): boolean {
  if (requests === 0 || incoming === undefined) return false;
  return answeredAtMs === undefined ? !incoming.complete : nowMs - answeredAtMs > LIMITS.slowReaderMs;
}

/** Reserves a quarter of all descriptors for cells and for calls to providers. */
function maxConnections(descriptors: number | undefined, others: number): number {
  if (descriptors === undefined) return LIMITS.connectionsMax;
  const headroom = Math.max(LIMITS.descriptorsFreeMin, descriptors >> 2);
  return Math.min(LIMITS.connectionsMax, Math.max(LIMITS.connectionsMin, descriptors - others - headroom));
}

function maxPerSource(max: number): number {
  return Math.ceil(max * LIMITS.connectionsPerSourceFraction);
}

/** The descriptor limit of this process; undefined if it is unknown or unlimited. */
export function descriptorLimit(): number | undefined {
  const soft = limitFromProc() ?? limitFromReport();
  return soft !== undefined && Number.isSafeInteger(soft) ? soft : undefined;
}

function limitFromProc(): number | undefined {
  try {
    const match = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    return match === null ? undefined : Number(match[1]);
  } catch {
    return undefined;
  }
}

function limitFromReport(): number | undefined {
  const report = process.report.getReport() as {
    readonly userLimits?: { readonly open_files?: { readonly soft?: number | string } };
  };
  return Number(report.userLimits?.open_files?.soft);
}
