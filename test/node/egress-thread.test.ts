import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EgressFailure } from '../../rotation/connector.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { createEgressThread, type EgressThread } from '../../src/node/egress-thread.ts';
import { type BadServer, realClock, requestTo, startServer, textOf } from '../rotation/kit.ts';

let thread: EgressThread;
let server: BadServer;
beforeEach(() => {
  thread = createEgressThread({ clock: realClock });
});
afterEach(async () => {
  await thread.close();
  await server.stop();
});

const failureOf = (sending: Promise<unknown>): Promise<EgressFailure> =>
  sending.then(
    () => expect.fail('it was answered'),
    (error: unknown) => (error instanceof EgressFailure ? error : expect.fail(String(error))),
  );

describe('the egress thread', () => {
  it('ends what may have left as lost when it ends, and begins anew with the next request', async () => {
    let arrived = () => {};
    const arrival = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    server = await startServer((request, response) => (request.url === '/hang' ? arrived() : response.end('again')));
    const hanging = failureOf(thread.send(requestTo(`${server.origin}/hang`, { mayLeave: () => true })));
    await arrival;
    await thread.close();
    expect(await hanging).toMatchObject({ reason: 'connection_lost', sent: 'unknown', evidence: 'EGRESS_THREAD_ENDED' });
    expect(textOf((await thread.send(requestTo(server.origin))).body)).toBe('again');
  });

  it('ends what was never allowed to leave as unsent, and not a byte of it arrived', async () => {
    server = await startServer((_, response) => response.end());
    const refused = thread.send(
      requestTo(server.origin, {
        mayLeave: () => {
          void thread.close();
          return false;
        },
      }),
    );
    expect((await failureOf(refused)).sent).toBe('not_sent');
    expect(server.requests).toHaveLength(0);
  });

  it('asks again when the yes it got is old: whoever asked may have been stopped meanwhile', async () => {
    server = await startServer((_, response) => response.end('late'));
    const answers: boolean[] = [];
    const mayLeave = () => {
      const startedAt = Date.now();
      while (answers.length === 0 && Date.now() - startedAt < 1_100);
      answers.push(answers.length === 0);
      return answers.length === 1;
    };
    expect(await failureOf(thread.send(requestTo(server.origin, { mayLeave })))).toMatchObject({ reason: 'withdrawn' });
    expect(answers).toEqual([true, false]);
    expect(server.requests).toHaveLength(0);
  });

  it('withdraws what it cannot ask for', async () => {
    server = await startServer((_, response) => response.end());
    const mayLeave = () => {
      throw new Error('the database is closed');
    };
    expect(await failureOf(thread.send(requestTo(server.origin, { mayLeave })))).toMatchObject({ reason: 'withdrawn' });
  });

  it('leaves the secrets of its caller as they are, and carries many requests at once', async () => {
    server = await startServer((request, response) => response.end(request.url));
    const secret = SecretValue.fromText('Bearer not-a-real-secret');
    const urls = Array.from({ length: 50 }, (_, i) => `${server.origin}/${i}`);
    const answers = await Promise.all(urls.map((url) => thread.send(requestTo(url, { headers: { authorization: secret } }))));
    expect(answers.map(({ body }) => textOf(body))).toEqual(urls.map((_, i) => `/${i}`));
    expect(new Set(server.requests.map(({ headers }) => headers['authorization']))).toEqual(
      new Set(['Bearer not-a-real-secret']),
    );
    expect(secret.reveal((bytes) => new TextDecoder().decode(bytes))).toBe('Bearer not-a-real-secret');
  });

  it('keeps no process alive while it is idle', async () => {
    server = await startServer((_, response) => response.end('done'));
    const script = `
      import { createEgressThread } from '${new URL('../../src/node/egress-thread.ts', import.meta.url)}';
      const request = { url: '${server.origin}', method: 'GET', headers: {}, timeoutMs: 5_000, maxBytes: 100, allowLoopback: true };
      const { status } = await createEgressThread({ clock: { now: Date.now } }).send({ ...request, allowedHosts: ['127.0.0.1:${new URL(server.origin).port}'] });
      console.log(status);`;
    const directory = mkdtempSync(join(tmpdir(), 'keyturn-thread-'));
    try {
      writeFileSync(join(directory, 'once.mjs'), script);
      const { stdout } = await promisify(execFile)(process.execPath, [join(directory, 'once.mjs')], { timeout: 20_000 });
      expect(stdout).toBe('200\n');
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
