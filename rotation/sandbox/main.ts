// Runs the sandbox provider alone: `node rotation/sandbox/main.ts --port 8421 --ttl 60`. It prints what a credential needs,
// one grant included, and stays until it is interrupted. Its tokens are worth nothing anywhere else.
import { parseArgs } from 'node:util';
import { startSandbox } from './authorization-server.ts';

const { values } = parseArgs({ options: { port: { type: 'string', default: '8421' }, ttl: { type: 'string', default: '60' } } });
const port = wholeNumber('port', values.port, 65_535);
const accessTokenTtlSeconds = wholeNumber('ttl', values.ttl, 86_400);

const sandbox = await startSandbox({ port, accessTokenTtlSeconds });
const grant = await sandbox.issueGrant();
console.log(
  JSON.stringify(
    {
      kind: 'oauth2',
      connector: 'local-sandbox',
      config: {
        token_endpoint: sandbox.tokenEndpoint,
        client_id: sandbox.clientId,
        client_authentication: 'client_secret_basic',
      },
      value: {
        access_token: grant.accessToken,
        refresh_token: grant.refreshToken,
        client_secret: sandbox.clientSecret,
        scope: grant.scope,
        expires_in: grant.expiresIn,
      },
      userinfo_endpoint: sandbox.userinfoEndpoint,
    },
    null,
    2,
  ),
);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void sandbox.stop());

function wholeNumber(name: string, text: string, max: number): number {
  const number = Number(text);
  if (Number.isInteger(number) && number >= 0 && number <= max) return number;
  console.error(`--${name} must be a whole number from 0 to ${max}`);
  process.exit(2);
}
