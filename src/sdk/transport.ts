// Requests of the client: one address, one token, bounded retries. It must never follow a redirect, send a token to another address, or use
// plain http to another machine without permission.
import { KeyturnProblem, problemFrom } from './problem.ts';

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface TransportOptions {
  /** e.g. `https://vault.example.com`, or with the base path at a gateway: `https://gateway.example.com/vault`. */
  readonly address: string;
  readonly fetch: Fetch;
  readonly deadline: (ms: number) => AbortSignal;
  readonly sleep: (ms: number) => Promise<void>;
  readonly fraction: () => number;
  readonly newKey: () => string;
  /** Retries of 429, 503 and unreachable; default 3. */
  readonly maxRetries: number;
  readonly timeoutMs: number;
  readonly allowPlaintext: boolean;
  /** Recorded in the audit log. */
  readonly workflow?: string | undefined;
  readonly workflowRun?: string | undefined;
}

/** Fields of a query; undefined ones are omitted. */
export type Query = Readonly<Record<string, string | number | undefined>>;

export interface Call {
  readonly method: string;
  readonly path: string;
  readonly token?: string | undefined;
  readonly body?: unknown;
  /** Sent unchanged instead of `body`. */
  readonly text?: string | undefined;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default: that of the transport. */
  readonly timeoutMs?: number;
  /** Aborts the request and the reading of its answer. */
  readonly signal?: AbortSignal | undefined;
  /** Further statuses that are returned as answers instead of thrown as problems. */
  readonly accepts?: readonly number[];
}

/** Encodes a name as one path segment. @throws KeyturnProblem for a name that is not a valid segment */
export function segment(text: string): string {
  if (text === '' || text === '.' || text === '..')
    throw new KeyturnProblem({ status: 0, code: 'invalid_request', detail: "a name must not be empty, '.' or '..'" });
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

const LOOPBACK = /^(localhost|127(\.[0-9]{1,3}){3}|\[::1\])$/;
const BACKOFF_MS = 200;

/** Origin and base path of the address, without a final slash. @throws KeyturnProblem refused_address */
export function checkAddress(address: string, allowPlaintext: boolean): string {
  const url = parsed(address);
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new KeyturnProblem({ status: 0, code: 'refused_address', detail: 'the address must be an http(s) URL' });
  }
  if (url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '') {
    throw new KeyturnProblem({
      status: 0,
      code: 'refused_address',
      detail: 'the address must be scheme, host, port and path, without user name, query or fragment',
    });
  }
  if (url.protocol === 'http:' && !allowPlaintext && !LOOPBACK.test(url.hostname)) {
    throw new KeyturnProblem({
      status: 0,
      code: 'refused_address',
      detail: 'the address must use https: a token is sent over plain http on loopback only',
    });
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, '')}`;
}

/** True for a loopback URL; false for invalid URLs. */
export function isLoopback(address: string): boolean {
  return LOOPBACK.test(parsed(address)?.hostname ?? '');
}

function parsed(address: string): URL | undefined {
  try {
    return new URL(address);
  } catch {
    return undefined;
  }
}

export class Transport {
  readonly #o: TransportOptions;
  readonly #base: string;

  constructor(options: TransportOptions) {
    this.#o = options;
    this.#base = checkAddress(options.address, options.allowPlaintext);
  }

  /** Returns the answer if its status is below 400, including 304. @throws KeyturnProblem */
  async send(call: Call): Promise<Response> {
    const key = call.method === 'POST' ? this.#o.newKey() : undefined;
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(call, key);
      } catch (error) {
        if (!(error instanceof KeyturnProblem) || attempt >= this.#o.maxRetries || !isPassing(error, call)) throw error;
        const waitMs = error.retryAfterSeconds === undefined ? BACKOFF_MS * 2 ** attempt : error.retryAfterSeconds * 1_000;
        await this.#o.sleep(Math.min(waitMs, 30_000) * (1 + this.#o.fraction() / 4));
      }
    }
  }

  /** The URL of an API path. */
  urlOf(path: string): string {
    return `${this.#base}${path}`;
  }

  async json<T>(call: Call): Promise<T> {
    return (await (await this.send(call)).json()) as T;
  }

  async #once(call: Call, key: string | undefined): Promise<Response> {
    const answer = await this.#fetch(call, key);
    const { status } = answer;
    if (call.accepts?.includes(status) === true || status === 304 || (status >= 200 && status < 300)) return answer;
    if (answer.type === 'opaqueredirect' || (status >= 300 && status < 400)) {
      throw new KeyturnProblem({
        status,
        code: 'refused_address',
        detail: 'the server answered with a redirect, which the client does not follow: give the final address',
      });
    }
    throw problemFrom(status, answer.headers, await answer.text());
  }

  #signalOf({ timeoutMs = this.#o.timeoutMs, signal }: Call): AbortSignal {
    const deadline = this.#o.deadline(timeoutMs);
    return signal === undefined ? deadline : AbortSignal.any([deadline, signal]);
  }

  async #fetch(call: Call, key: string | undefined): Promise<Response> {
    const text = call.text ?? (call.body === undefined ? undefined : JSON.stringify(call.body));
    try {
      return await this.#o.fetch(`${this.#base}${call.path}${searchOf(call)}`, {
        method: call.method,
        headers: {
          accept: 'application/json',
          ...told({
            authorization: call.token === undefined ? undefined : `Bearer ${call.token}`,
            'content-type': text === undefined ? undefined : 'application/json',
            'idempotency-key': key,
            'x-keyturn-workflow': this.#o.workflow,
            'x-keyturn-run': this.#o.workflowRun,
          }),
          ...call.headers,
        },
        // SECURITY: a redirect could send the token to another host (OP-01).
        redirect: 'manual',
        signal: this.#signalOf(call),
        ...(text === undefined ? {} : { body: text }),
      });
    } catch (error) {
      throw new KeyturnProblem({ status: 0, code: 'unreachable', detail: `cannot reach ${this.#base}${reasonOf(error)}` });
    }
  }
}

function searchOf({ query = {} }: Call): string {
  const text = new URLSearchParams(told(query)).toString();
  return text === '' ? '' : `?${text}`;
}

/** The query string, without undefined fields. */
function told(members: Readonly<Record<string, string | number | boolean | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(members).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}

function isPassing(problem: KeyturnProblem, call: Call): boolean {
  // A PUT whose answer was lost may have created its version: a repetition would replace the previous version by it.
  if (problem.code === 'unreachable') return call.method !== 'PUT';
  return problem.status === 429 || problem.status === 503;
}

function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause as { code?: string } | undefined) : undefined;
  return typeof cause?.code === 'string' ? ` (${cause.code})` : '';
}
