// Egress in a thread of its own, so that TLS handshakes and the parsing of providers' answers do not delay readers.
// It must never leave a request without an outcome if the thread ends, nor report a request as not sent that may have been sent.
import { Worker } from 'node:worker_threads';
import { type Egress, type EgressAnswer, EgressFailure, type EgressReason, type EgressRequest } from '../../rotation/egress.ts';
import type { Clock } from '../../src/base/clock.ts';
import { SecretValue } from '../../src/base/secret-value.ts';

/** A request in the form that is sent to the thread; its bytes are transferred, not copied. */
export interface RequestMessage {
  readonly id: number;
  readonly request: Omit<EgressRequest, 'headers' | 'body' | 'mayLeave'>;
  readonly headers: readonly (readonly [name: string, value: string | Uint8Array<ArrayBuffer>])[];
  readonly body: Uint8Array<ArrayBuffer> | undefined;
  /** The thread must ask for permission before it sends the first byte. */
  readonly asks: boolean;
}
export type ToThread = RequestMessage | { readonly id: number; readonly may: boolean };

export interface AnswerMessage {
  readonly id: number;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array<ArrayBuffer>;
  /** By the system clock. */
  readonly sentAtMs: number;
}
export type FromThread =
  | AnswerMessage
  | { readonly id: number; readonly asks: true }
  | { readonly id: number; readonly reason: EgressReason; readonly systemCode: string | undefined };

export interface EgressThreadOptions {
  readonly clock: Clock;
  /** As in NodeEgressOptions. */
  readonly trustedRoots?: string;
}

export interface EgressThread extends Egress {
  /** Ends the thread; its pending requests fail as lost. The next request starts a new thread. */
  close(): Promise<void>;
}

interface Waiting {
  readonly mayLeave: EgressRequest['mayLeave'];
  /** True if the request may have been sent. */
  mayHaveLeft: boolean;
  readonly resolve: (answer: EgressAnswer) => void;
  readonly reject: (failure: EgressFailure) => void;
}

/** One thread for all tenants of a process, started by the first request. */
export function createEgressThread(options: EgressThreadOptions): EgressThread {
  return new Threaded(options);
}

class Threaded implements EgressThread {
  readonly #options: EgressThreadOptions;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  #lastId = 0;

  constructor(options: EgressThreadOptions) {
    this.#options = options;
  }

  send(request: EgressRequest): Promise<EgressAnswer> {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      this.#worker ??= this.#start();
      this.#worker.ref();
      this.#waiting.set(id, { mayLeave: request.mayLeave, mayHaveLeft: request.mayLeave === undefined, resolve, reject });
      const message = messageOf(id, request);
      this.#worker.postMessage(message, bytesOf(message));
    });
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const { trustedRoots } = this.#options;
    const started = new Worker(new URL('./egress-thread-entry.ts', import.meta.url), { workerData: { trustedRoots } });
    const ended = () => this.#end(started);
    started.on('message', (message: FromThread) => this.#receive(started, message));
    started.on('messageerror', ended);
    started.on('error', ended);
    started.on('exit', ended);
    return started;
  }

  #end(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    for (const { mayHaveLeft, reject } of this.#waiting.values())
      reject(new EgressFailure(mayHaveLeft ? 'connection_lost' : 'connect_failed', 'EGRESS_THREAD_ENDED'));
    this.#waiting.clear();
  }

  #receive(from: Worker, message: FromThread): void {
    const request = this.#waiting.get(message.id);
    if (request === undefined) return;
    if ('asks' in message) {
      const may = isAllowed(request.mayLeave);
      request.mayHaveLeft = may;
      from.postMessage({ id: message.id, may } satisfies ToThread);
      return;
    }
    this.#waiting.delete(message.id);
    // An idle thread must not keep the process alive.
    if (this.#waiting.size === 0) from.unref();
    if ('reason' in message) request.reject(new EgressFailure(message.reason, message.systemCode));
    else request.resolve(answerOf(message, this.#options.clock));
  }
}

function isAllowed(mayLeave: EgressRequest['mayLeave']): boolean {
  try {
    return mayLeave?.() ?? true;
  } catch {
    return false; // without a permission the request is not sent
  }
}

function messageOf(id: number, { headers, body, mayLeave, ...request }: EgressRequest): RequestMessage {
  return {
    id,
    request,
    headers: Object.entries(headers).map(([name, value]) => [name, typeof value === 'string' ? value : copyOf(value)]),
    body: body === undefined ? undefined : copyOf(body),
    asks: mayLeave !== undefined,
  };
}

function copyOf(secret: SecretValue | Uint8Array): Uint8Array<ArrayBuffer> {
  return secret instanceof SecretValue ? secret.reveal((bytes) => new Uint8Array(bytes)) : new Uint8Array(secret);
}

function bytesOf({ headers, body }: RequestMessage): ArrayBuffer[] {
  const values = headers.flatMap(([, value]) => (typeof value === 'string' ? [] : [value.buffer]));
  return body === undefined ? values : [...values, body.buffer];
}

function answerOf({ status, headers, body, sentAtMs }: AnswerMessage, clock: Clock): EgressAnswer {
  const agoMs = Math.max(0, Date.now() - sentAtMs);
  return { status, headers, body: SecretValue.adopt(body), sentAtMs: clock.now() - agoMs };
}
