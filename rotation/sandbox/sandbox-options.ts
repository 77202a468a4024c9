// How a sandbox is started, and the one client it has.
import type { JWK } from 'jose';
import type { ClientAuthentication } from '../connector.ts';

export interface SandboxOptions {
  /** Default: any free port. */
  readonly port?: number;
  /** Default: 60. A function is asked for each token. */
  readonly accessTokenTtlSeconds?: number | (() => number);
  /** Default: 14 days. */
  readonly refreshTokenTtlSeconds?: number;
  /** How its one client proves itself. Default: client_secret_basic. */
  readonly clientAuthentication?: Exclude<ClientAuthentication, 'none' | 'client_secret_as_user'>;
}

export interface SandboxClient {
  readonly id: string;
  readonly secret: string;
  readonly authentication: Exclude<ClientAuthentication, 'none' | 'client_secret_as_user'>;
  readonly privateKeyJwk: JWK;
  readonly publicKeyJwk: JWK;
}
