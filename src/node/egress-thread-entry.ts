// The code of the egress thread: sends each request with egress.ts and returns its outcome.
// It must never send a request on an old permission of the vault: the process may have been suspended since.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { EgressFailure, LEAVES_WITHIN_MS } from '../../rotation/egress.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { createNodeEgress } from './egress.ts';
import type { AnswerMessage, FromThread, RequestMessage, ToThread } from './egress-thread.ts';

const port = parentPort as MessagePort;
const { trustedRoots } = workerData as { trustedRoots: string | undefined };
const egress = createNodeEgress({ clock: { now: () => Date.now() }, ...(trustedRoots === undefined ? {} : { trustedRoots }) });
const asked = new Map<number, (may: boolean) => void>();

port.on('message', (message: ToThread) => {
  if ('may' in message) {
    asked.get(message.id)?.(message.may);
    asked.delete(message.id);
    return;
  }
  void carry(message);
});

async function carry(message: RequestMessage): Promise<void> {
  const { id, body, asks } = message;
  const headers = message.headers.map(
    ([name, value]) => [name, typeof value === 'string' ? value : SecretValue.adopt(value)] as const,
  );
  try {
    const answer = await egress.send({
      ...message.request,
      headers: Object.fromEntries(headers),
      ...(body === undefined ? {} : { body }),
      ...(asks ? { mayLeave: () => mayLeave(id) } : {}),
    });
    const bytes = answer.body.reveal((revealed) => new Uint8Array(revealed));
    answer.body.wipe();
    const { status, sentAtMs } = answer;
    port.postMessage({ id, status, headers: answer.headers, body: bytes, sentAtMs } satisfies AnswerMessage, [bytes.buffer]);
  } catch (error) {
    port.postMessage(failureOf(id, error));
  } finally {
    for (const [, value] of headers) if (value instanceof SecretValue) value.wipe();
    body?.fill(0);
  }
}

function failureOf(id: number, error: unknown): FromThread {
  if (error instanceof EgressFailure) return { id, reason: error.reason, systemCode: error.evidence };
  return { id, reason: 'egress_failed', systemCode: error instanceof KeyturnError ? error.code : undefined };
}

async function mayLeave(id: number): Promise<boolean> {
  for (;;) {
    const askedAtMs = Date.now();
    const may = await new Promise<boolean>((resolve) => {
      asked.set(id, resolve);
      port.postMessage({ id, asks: true } satisfies FromThread);
    });
    const agoMs = Date.now() - askedAtMs;
    if (!may) return false;
    if (agoMs >= 0 && agoMs < LEAVES_WITHIN_MS) return true;
  }
}
