// Runs the strict OpenID Connect provider of authorization-server.ts alone and prints the settings of a credential and a grant, until it
// is interrupted. It must never print a token that is valid elsewhere.
import { startSandbox } from './authorization-server.ts';

/** @param port 0: any free one */
export async function runStrictProvider(port: number, accessTokenTtlSeconds: number): Promise<void> {
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
}
