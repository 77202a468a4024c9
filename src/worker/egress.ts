// Egress with the global fetch of a Worker. It checks only the URL and the host name, because it cannot see the resolved address (the
// runtime blocks private networks). Before an answer begins, a refused connection cannot be distinguished from a lost one.

import { type Egress, type EgressAnswer, EgressFailure, type EgressRequest } from '../../rotation/connector.ts';
import { checkTarget, literalAddress, readBounded } from '../../rotation/engine/egress-rules.ts';
import { afterRunningFor, type Timer } from '../../rotation/engine/running-time.ts';
import type { Clock } from '../../src/base/clock.ts';
import { SecretValue } from '../../src/base/secret-value.ts';

const timer: Timer = (ms, task) => {
  const started = setTimeout(task, ms);
  return () => clearTimeout(started);
};

export interface WorkerEgressOptions {
  readonly clock: Clock;
  /** Default: the runtime's fetch. */
  readonly fetch?: typeof globalThis.fetch;
}

export function createWorkerEgress(options: WorkerEgressOptions): Egress {
  return { send: (request) => send(request, options) };
}

async function send(request: EgressRequest, options: WorkerEgressOptions): Promise<EgressAnswer> {
  const url = checkTarget(request);
  if (isNamedLoopback(url) && !request.allowLoopback) throw new EgressFailure('address_blocked');
  if (url.protocol === 'http:' && !isNamedLoopback(url) && literalAddress(url) === undefined)
    throw new EgressFailure('request_refused');
  const headers = buildHeaders(request);
  if (request.mayLeave?.() === false) throw new EgressFailure('withdrawn');
  const deadline = new AbortController();
  const forget = afterRunningFor(timer, request.timeoutMs, () => deadline.abort());
  const sentAtMs = options.clock.now();
  let hasAnswered = false;
  try {
    const fetch = options.fetch ?? globalThis.fetch;
    const body = copyBody(request.body);
    const answer = await fetch(url.href, {
      method: request.method,
      headers,
      redirect: 'manual',
      signal: deadline.signal,
      ...(body === undefined ? {} : { body }),
    });
    hasAnswered = true;
    // The runtime has decompressed the body, so `maxBytes` limits decompression, too.
    const bytes = answer.body === null ? new Uint8Array() : await readBounded(answer.body, request.maxBytes);
    return { status: answer.status, headers: flatten(answer.headers), body: SecretValue.adopt(bytes), sentAtMs };
  } catch (error) {
    throw failureFor(error, { isExpired: deadline.signal.aborted, hasAnswered });
  } finally {
    forget();
  }
}

function failureFor(
  error: unknown,
  { isExpired, hasAnswered }: { readonly isExpired: boolean; readonly hasAnswered: boolean },
): EgressFailure {
  if (error instanceof EgressFailure) return error;
  if (isExpired) return new EgressFailure('timeout', undefined, !hasAnswered);
  // A refused connection, an unresolved name and a broken connection cannot be distinguished here.
  return hasAnswered ? new EgressFailure('connection_lost') : new EgressFailure('fetch_failed', undefined, true);
}

function isNamedLoopback(url: URL): boolean {
  // `localhost.` is the same name in absolute form.
  return /(^|\.)localhost\.?$/.test(url.hostname);
}

function buildHeaders(request: EgressRequest): Headers {
  try {
    // GitHub rejects requests without a User-Agent.
    const headers = new Headers({ 'accept-encoding': 'identity', 'user-agent': 'keyturn' });
    for (const [name, value] of Object.entries(request.headers)) {
      headers.set(name, typeof value === 'string' ? value : value.reveal((bytes) => new TextDecoder().decode(bytes)));
    }
    return headers;
  } catch {
    throw new EgressFailure('request_refused');
  }
}

function copyBody(body: EgressRequest['body']): Uint8Array<ArrayBuffer> | undefined {
  if (body === undefined) return undefined;
  return body instanceof SecretValue ? body.reveal((bytes) => new Uint8Array(bytes)) : new Uint8Array(body);
}

function flatten(headers: Headers): Record<string, string> {
  return Object.fromEntries([...headers].filter(([name]) => name !== 'set-cookie'));
}
