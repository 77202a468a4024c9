// Turns an answer into a Response, with the headers that every answer carries.
// It must never allow a cache to store an answer, nor a browser to interpret JSON as a page.
import type { KeyturnError } from '../base/errors.ts';
import type { EdgeInfo } from './edge.ts';
import { problemHeaders, problemOf, STATUS_OF } from './problems.ts';
import type { Answer } from './route.ts';

const BASE_HEADERS: Readonly<Record<string, string>> = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
};
const SECURE_HEADERS: Readonly<Record<string, string>> = {
  ...BASE_HEADERS,
  'strict-transport-security': 'max-age=31536000; includeSubDomains',
};

export function toResponse(answer: Answer, requestId: string, info: EdgeInfo): Response {
  const headers: Record<string, string> = { ...(info.secure ? SECURE_HEADERS : BASE_HEADERS), 'x-request-id': requestId };
  for (const name in answer.headers) headers[name] = answer.headers[name] as string;
  const { body } = answer;
  if (answer.stream !== undefined) return new Response(streamOf(answer.stream), { status: answer.status, headers });
  if (body === undefined) return new Response(null, { status: answer.status, headers });
  headers['content-type'] ??= 'application/json';
  const content = body instanceof Uint8Array || typeof body === 'string' ? body : JSON.stringify(body);
  return new Response(content as string, { status: answer.status, headers });
}

function streamOf(source: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await source.next();
      if (done === true) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await source.return(undefined);
    },
  });
}

/** A stream whose first part was produced before the answer started, so that an error still has its status and its problem. */
export function prepend(first: Uint8Array, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  const parts = joined(first, rest);
  const end = parts.return.bind(parts);
  // A generator that has not begun runs no `finally`: a client that leaves before the first part is taken ends the rest, too.
  parts.return = async (value) => {
    await rest.return(undefined);
    return end(value);
  };
  return parts;
}

async function* joined(first: Uint8Array, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield first;
  yield* rest;
}

/** The answer to HEAD: nobody reads its stream, which would stay open for ever. */
export async function withoutStream({ stream, ...answer }: Answer): Promise<Answer> {
  await stream?.return(undefined);
  return answer;
}

export function problemAnswer(error: KeyturnError, requestId: string): Answer {
  return {
    status: STATUS_OF[error.code],
    body: problemOf(error, requestId),
    headers: { 'content-type': 'application/problem+json', ...problemHeaders(error) },
  };
}
