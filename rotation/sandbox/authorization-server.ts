// A real OAuth 2 / OpenID Connect provider on a loopback port, to test refreshes and their failures before production: refresh
// tokens rotate with every use, and the reuse of an old one ends the grant. It must never listen on another address.
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair, importJWK, type JWK } from 'jose';
import * as oauth from 'oauth4webapi';
import { Provider } from 'oidc-provider';
import { type Counters, createBehaviours, type TokenBehaviour } from './behaviour.ts';
import { providerConfiguration } from './provider-configuration.ts';
import type { SandboxClient, SandboxOptions } from './sandbox-options.ts';
import { obtainCode, signInAnyone } from './sign-in.ts';

export type { SandboxOptions } from './sandbox-options.ts';

export interface SandboxGrant {
  readonly accessToken: string;
  readonly refreshToken: string;
  readonly expiresIn: number;
  readonly scope: string;
}

export interface Sandbox {
  readonly issuer: string;
  readonly tokenEndpoint: string;
  /** Answers 200 to a valid access token and 401 to any other. */
  readonly userinfoEndpoint: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** For private_key_jwt. */
  readonly clientPrivateKeyJwk: JWK;
  readonly counters: Readonly<Counters>;
  /** A new person signs in and consents; a real authorization code with PKCE is exchanged for a real grant. */
  issueGrant(): Promise<SandboxGrant>;
  /** The person withdraws consent: every token of the grant becomes invalid. Accepts any refresh token of the grant. */
  revokeGrant(refreshToken: string): Promise<void>;
  nextToken(...behaviours: readonly TokenBehaviour[]): void;
  alwaysToken(behaviour: TokenBehaviour): void;
  /** Idempotent; closes open connections. */
  stop(): Promise<void>;
}

const CLIENT_ID = 'keyturn-sandbox';
const SCOPE = 'openid email';
const TOKEN_PATH = '/token';
const OWN_REQUEST = 'x-sandbox-own-request';

export async function startSandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  let handle: (req: IncomingMessage, res: ServerResponse) => void = (_, res) => void res.writeHead(503).end();
  const server = createServer((req, res) => handle(req, res));
  const issuer = `http://127.0.0.1:${await listen(server, options.port ?? 0)}`;
  const clientKey = await newKey();
  const client: SandboxClient = {
    id: CLIENT_ID,
    secret: randomBytes(24).toString('base64url'),
    authentication: options.clientAuthentication ?? 'client_secret_basic',
    privateKeyJwk: clientKey.privateJwk,
    publicKeyJwk: clientKey.publicJwk,
  };
  const ownRequest = randomBytes(16).toString('hex');
  const behaviours = createBehaviours(TOKEN_PATH, (ctx) => ctx.get(OWN_REQUEST) === ownRequest);
  const signingKey = (await newKey()).privateJwk;
  const provider = new Provider(issuer, providerConfiguration(options, issuer, { client, signingKey }));
  provider.use(behaviours.middleware);
  provider.silent = true;
  const answer = provider.callback();
  handle = (req, res) => void (req.url?.startsWith('/interaction/') ? signInAnyone(provider, req, res) : answer(req, res));
  return {
    issuer,
    tokenEndpoint: issuer + TOKEN_PATH,
    userinfoEndpoint: `${issuer}/me`,
    clientId: client.id,
    clientSecret: client.secret,
    clientPrivateKeyJwk: client.privateKeyJwk,
    counters: behaviours.counters,
    issueGrant: () => issueGrant(issuer, client, ownRequest),
    revokeGrant: (refreshToken) => revokeGrant(issuer, client, refreshToken),
    nextToken: behaviours.next,
    alwaysToken: behaviours.always,
    stop: () => stop(server, behaviours.stop),
  };
}

async function issueGrant(issuer: string, client: SandboxClient, ownRequest: string): Promise<SandboxGrant> {
  const { code, codeVerifier, redirectUri } = await obtainCode(issuer, client.id, `${issuer}/callback`, SCOPE);
  const fields = { grant_type: 'authorization_code', code, code_verifier: codeVerifier, redirect_uri: redirectUri };
  const answer = await asClient(issuer, client, TOKEN_PATH, fields, { [OWN_REQUEST]: ownRequest });
  const body = (await answer.json()) as { access_token: string; refresh_token: string; expires_in: number; scope: string };
  return { accessToken: body.access_token, refreshToken: body.refresh_token, expiresIn: body.expires_in, scope: body.scope };
}

/** RFC 7009: revoking a refresh token revokes its grant. */
async function revokeGrant(issuer: string, client: SandboxClient, refreshToken: string): Promise<void> {
  await (await asClient(issuer, client, '/token/revocation', { token: refreshToken, token_type_hint: 'refresh_token' })).text();
}

async function asClient(
  issuer: string,
  client: SandboxClient,
  path: string,
  fields: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const body = new URLSearchParams(fields);
  const headers = new Headers(own);
  await (await authenticationOf(client))({ issuer }, { client_id: client.id }, body, headers);
  const answer = await fetch(issuer + path, { method: 'POST', headers, body });
  if (!answer.ok) throw new Error(`the sandbox refused its own request to ${path} with status ${answer.status}`);
  return answer;
}

async function authenticationOf(client: SandboxClient): Promise<oauth.ClientAuth> {
  if (client.authentication === 'client_secret_post') return oauth.ClientSecretPost(client.secret);
  if (client.authentication === 'client_secret_basic') return oauth.ClientSecretBasic(client.secret);
  const key = await importJWK(client.privateKeyJwk);
  if (key instanceof Uint8Array) throw new Error('the sandbox client key must be asymmetric');
  return oauth.PrivateKeyJwt(key);
}

async function newKey(): Promise<{ privateJwk: JWK; publicJwk: JWK }> {
  const pair = await generateKeyPair('ES256', { extractable: true });
  const marks = { alg: 'ES256', kid: randomBytes(8).toString('hex'), use: 'sig' };
  return {
    privateJwk: { ...(await exportJWK(pair.privateKey)), ...marks },
    publicJwk: { ...(await exportJWK(pair.publicKey)), ...marks },
  };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((done, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => done((server.address() as AddressInfo).port));
  });
}

async function stop(server: Server, endDelays: () => void): Promise<void> {
  endDelays();
  const closed = new Promise<void>((done) => server.close(() => done()));
  server.closeAllConnections();
  await closed;
}
