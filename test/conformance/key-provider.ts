// A provider of keys on this machine, of the connector local-sandbox-key, that can refuse every call or be down.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { KeyAccount } from '../../rotation/sandbox/key-account.ts';
import { readAsk } from '../../rotation/sandbox/persona-ask.ts';
import { must, type World } from './world.ts';

export interface KeyProvider {
  /** What is put for its first key: the old key ends as soon as the rotation has finished. */
  readonly body: unknown;
  readonly firstKey: string;
  /** Every call from now on has this status; undefined: the account answers. */
  failWith(status: number | undefined): void;
  isAlive(key: string): Promise<boolean>;
  stop(): Promise<void>;
}

export async function startKeyProvider(): Promise<KeyProvider> {
  const account = new KeyAccount();
  let failure: number | undefined;
  const server = createServer(async (request, response) => {
    const ask = await readAsk(request, origin);
    const { status, headers, body } =
      failure === undefined
        ? (account.answer(ask) ?? { status: 404, headers: {}, body: '' })
        : { status: failure, headers: { 'content-type': 'application/json' }, body: '{"error":"as told"}' };
    response.writeHead(status, { ...headers }).end(body);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    body: {
      kind: 'api_key',
      connector: 'local-sandbox-key',
      value: account.first,
      config: { sandbox: origin, grace_seconds: 0, deadline_seconds: 0 },
    },
    firstKey: account.first.key,
    failWith(status) {
      failure = status;
    },
    async isAlive(key) {
      const answer = await fetch(`${origin}/keys.sandbox.example/me`, { headers: { authorization: `Bearer ${key}` } });
      await answer.arrayBuffer();
      return answer.status === 200;
    },
    async stop() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** The root key of a Worker is a secret of its platform, so its provider tells the platform. */
export async function isOnWorker({ call, owner }: World): Promise<boolean> {
  const { body } = await must(call('GET', '/v1/installation/root', { token: owner }), 200);
  return body.provider === 'worker-secret';
}
