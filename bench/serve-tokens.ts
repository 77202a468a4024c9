// The smallest token endpoint there can be, so that the engine and not the provider is measured; or the sandbox provider itself.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startSandbox } from '../rotation/sandbox/authorization-server.ts';
import { answerWith, givenInput } from './child.ts';

const { kind } = givenInput<{ kind: 'minimal' | 'sandbox' }>();

async function minimal() {
  let count = 0;
  const server = createServer((request, response) => {
    request.resume().on('end', () => {
      count += 1;
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(
        JSON.stringify({
          access_token: `access-${count}-not-a-real-secret`,
          refresh_token: `refresh-${count}-not-a-real-secret`,
          token_type: 'Bearer',
          expires_in: 3_600,
        }),
      );
    });
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const grant = () => ({ accessToken: 'access-not-a-real-secret', refreshToken: 'refresh-not-a-real-secret', expiresIn: 3_600 });
  return {
    hello: {
      tokenEndpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
      clientId: 'bench',
      clientSecret: 'client-not-a-real-secret',
    },
    grant: async () => grant(),
    answered: () => count,
    stop: async () => server.closeAllConnections(),
  };
}

async function sandboxed() {
  const sandbox = await startSandbox({ accessTokenTtlSeconds: 3_600 });
  const { tokenEndpoint, clientId, clientSecret } = sandbox;
  return {
    hello: { tokenEndpoint, clientId, clientSecret },
    grant: () => sandbox.issueGrant(),
    answered: () => sandbox.counters.refreshes,
    stop: () => sandbox.stop(),
  };
}

const provider = kind === 'minimal' ? minimal() : sandboxed();
const grants = async (count: number) => {
  const { grant } = await provider;
  const made = [];
  for (let i = 0; i < count; i++) made.push(await grant());
  return made;
};
answerWith({ hello: async () => (await provider).hello, grants, answered: async () => (await provider).answered() }, async () =>
  (await provider).stop(),
);
