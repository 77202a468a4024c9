// Grants of the real sandbox provider held by a whole service in a process of its own, for tests that stop, crowd or duplicate it.
import type { Sandbox, SandboxGrant } from '../../rotation/sandbox/authorization-server.ts';
import { type ChildService, CREDENTIALS, clientOf, furnish, newDirectory, type Place, startChild } from '../kit/node-process.ts';

export const GRANT_PATH = `${CREDENTIALS}/crm`;

export interface ServedGrant {
  readonly service: ChildService;
  readonly directory: string;
  readonly place: Place;
  readonly grant: SandboxGrant;
}

/** A running service with one grant; `expiresIn` is what it is told of the access token. */
export async function serveGrant(sandbox: Sandbox, expiresIn: number, config: Record<string, string> = {}): Promise<ServedGrant> {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  const grant = await sandbox.issueGrant();
  const put = await clientOf(service.url, place.workload)('PUT', GRANT_PATH, {
    kind: 'oauth2',
    connector: 'local-sandbox',
    value: {
      access_token: grant.accessToken,
      refresh_token: grant.refreshToken,
      client_secret: sandbox.clientSecret,
      expires_in: expiresIn,
    },
    config: { token_endpoint: sandbox.tokenEndpoint, client_id: sandbox.clientId, ...config },
  });
  if (put.status !== 201) throw new Error(`put: ${put.status} ${put.text}`);
  return { service, directory, place, grant };
}

/** Whether an API of the provider accepts the token. */
export async function isHonoured(sandbox: Sandbox, accessToken: string): Promise<boolean> {
  const answer = await fetch(sandbox.userinfoEndpoint, { headers: { authorization: `Bearer ${accessToken}` } });
  await answer.arrayBuffer();
  return answer.status === 200;
}
