// How many connections there may be, so that the process keeps descriptors for its cells and somebody who holds many open silences nobody.
// It must never close one whose request is being worked on.
import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import { limitedSource, type Networks } from '../access/networks.ts';
import { LIMITS } from '../base/limits.ts';

const WATCH_EVERY_MS = 5_000;
/** What a process has open before anybody connects, where that cannot be counted. */
const DESCRIPTORS_ASSUMED = 64;
/** An answer that its reader has not taken by then may be cut off to let somebody else in. */
const SLOW_READER_MS = 2_000;
/** A connection this young is about to say what it wants. */
const FRESH_MS = 250;

interface Held {
  readonly socket: Socket;
  readonly otherEnd: string;
  readonly source: string;
  /** Requests of it that are not answered to the end. */
  requests: number;
  /** Milliseconds when it last had none. */
  idleSinceMs: number;
  /** Of the last one. */
  incoming: IncomingMessage | undefined;
  /** Milliseconds when the handler was done with it; undefined while it works. */
  answeredAtMs: number | undefined;
}

export interface ConnectionLimits {
  /** Descriptors the process may have; undefined: not known. */
  readonly descriptors: number | undefined;
  /** Whose connections are those of many: no limit by source. */
  readonly proxies?: Networks | undefined;
}

/** Keeps connections within bounds: beyond them idle ones go first, then those slow to send or to read, then nobody new comes in. */
export class Connections {
  readonly #limits: ConnectionLimits;
  /** By the other end: with TLS, requests come from another socket than the connection, and both have the same other end. */
  readonly #held = new Map<string, Held>();
  readonly #known = new WeakMap<Socket, Held>();
  /** Those that wait for a request or for the rest of its headers, the longest unused first. */
  readonly #idle = new Set<Held>();
  readonly #bySource = new Map<string, number>();
  readonly #watch: NodeJS.Timeout;
  #max: number;

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
    this.#max = maxConnections(limits.descriptors, DESCRIPTORS_ASSUMED);
    this.#watch = setInterval(() => void this.#count(), WATCH_EVERY_MS);
    this.#watch.unref();
    void this.#count();
  }

  get size(): number {
    return this.#held.size;
  }

  /** How many there may be now. */
  get max(): number {
    return this.#max;
  }

  attach(server: Server): void {
    server.on('connection', (socket: Socket) => this.#admit(socket));
    server.on('close', () => clearInterval(this.#watch));
  }

  /** A request began on a connection; call the result when the handler is done with it. */
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
    // SECURITY: whoever has many gives up their own; only a full house takes from others (DS-03).
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
      first(this.#idle, (held) => may(held) && nowMs - held.idleSinceMs > FRESH_MS) ??
      first(this.#held.values(), (held) => may(held) && isStuck(held, nowMs)) ??
      first(this.#idle, may);
    if (victim === undefined) return false;
    this.#forget(victim);
    victim.socket.destroy();
    return true;
  }

  /** Everything else that is open, cells first of all, comes before connections. */
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

/** It is the other side that takes its time: sending a body, or reading an answer. */
function isStuck({ requests, incoming, answeredAtMs }: Held, nowMs: number): boolean {
  if (requests === 0 || incoming === undefined) return false;
  return answeredAtMs === undefined ? !incoming.complete : nowMs - answeredAtMs > SLOW_READER_MS;
}

/** A quarter of all descriptors stays free for cells that open and for calls to providers. */
function maxConnections(descriptors: number | undefined, others: number): number {
  if (descriptors === undefined) return LIMITS.connectionsMax;
  const headroom = Math.max(LIMITS.descriptorsFreeMin, descriptors >> 2);
  return Math.min(LIMITS.connectionsMax, Math.max(LIMITS.connectionsMin, descriptors - others - headroom));
}

function maxPerSource(max: number): number {
  return Math.ceil(max * LIMITS.connectionsPerSourceFraction);
}

/** How many descriptors this process may have; undefined where that cannot be found out or is without end. */
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
