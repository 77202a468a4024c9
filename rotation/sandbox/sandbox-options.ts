// The options of the strict provider, and its client.
import type { JWK } from 'jose';
import type { ClientAuthentication } from '../connector.ts';

export interface SandboxOptions {
  /** Default: any free port. */
  readonly port?: number;
  /** Default: 60. A function is called for each token. */
  readonly accessTokenTtlSeconds?: number | (() => number);
  /** Default: 14 days. */
  readonly refreshTokenTtlSeconds?: number;
  /** Authentication method of its client. Default: client_secret_basic. */
  readonly clientAuthentication?: Exclude<ClientAuthentication, 'none' | 'client_secret_as_user'>;
}

export interface SandboxClient {
  readonly id: string;
  readonly secret: string;
  readonly authentication: Exclude<ClientAuthentication, 'none' | 'client_secret_as_user'>;
  readonly privateKeyJwk: JWK;
  readonly publicKeyJwk: JWK;
}
