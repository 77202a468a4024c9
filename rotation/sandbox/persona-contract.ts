// What can be asked of the personas, by a test in the same process and over HTTP alike (persona-control.ts).
import type { JWK } from 'jose';
import type { Clock } from '../../src/base/clock.ts';
import type { Connector } from '../connector.ts';
import type { OAuth2Settings } from '../oauth2/settings.ts';
import type { Misbehaviour, MisbehaviourPlan } from './misbehaviour.ts';
import type { EndCause } from './persona-grants.ts';
import type { PersonaCall } from './persona-house.ts';

export interface PersonasOptions {
  /** Only those of OAuth grants are played. */
  readonly connectors: ReadonlyMap<string, Connector> | Iterable<Connector>;
  /** Default: any free port. */
  readonly port?: number;
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** The same seed makes the same tokens for the same calls. Default: 1. */
  readonly seed?: number;
  /** One line a call; it names no token. */
  readonly log?: (line: string) => void;
}

export interface GrantWish {
  /** Separated by spaces. */
  readonly scope?: string | undefined;
  /** Grants of one account share caps. Default: a new one. */
  readonly account?: string | undefined;
  readonly parameters?: Readonly<Record<string, string>> | undefined;
}

export interface IssuedGrant {
  /** For `callsFor`, `isAlive`, `revoke` ... */
  readonly grant: string;
  readonly connector: string;
  readonly accessToken: string;
  /** Undefined where the connector has none. */
  readonly refreshToken: string | undefined;
  /** Undefined: the access token has no end. */
  readonly expiresIn: number | undefined;
  readonly scope: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Only where the connector signs with a key; the same key in both forms. */
  readonly clientPrivateKeyJwk: JWK | undefined;
  readonly clientPrivateKeyPem: string | undefined;
  /** For `resolveConnector`. */
  readonly settings: OAuth2Settings;
  /** The same as the `config` of a credential. */
  readonly config: Readonly<Record<string, unknown>>;
}

export interface GrantView {
  readonly id: string;
  readonly connector: string;
  readonly account: string;
  readonly scope: string;
  readonly generation: number;
  readonly refreshes: number;
  readonly ended: EndCause | undefined;
}

export interface Personas {
  readonly origin: string;
  /** Known to every persona; `<clientId>.<connector>` means one connector where several share an address. */
  readonly clientId: string;
  readonly clientSecret: string;
  /** Ids. */
  readonly connectors: readonly string[];
  /** A grant without a browser. @throws Error for a connector that is not played */
  issueGrant(connectorId: string, wish?: GrantWish): Promise<IssuedGrant>;
  /** The made-up client's own key; the same until it stops. */
  clientKey(algorithm: 'RS256' | 'ES256'): Promise<{ readonly jwk: JWK; readonly pem: string }>;
  /** Another public key of the client. */
  registerClientKey(jwk: JWK): Promise<void>;
  /** From the first on, only registered ones are accepted, and exactly. */
  registerRedirectUri(uri: string): void;
  /** What the person answers when asked for consent; `ask` shows a page. */
  decide(decision: 'ask' | 'allow' | 'deny'): void;
  /** How many places the next grants of this connector cover. */
  offerSites(connectorId: string, count: number): void;
  misbehave(misbehaviour: Misbehaviour, plan?: MisbehaviourPlan): void;
  /** Ends every misbehaviour. */
  calm(): void;
  /** The provider's clock runs so much ahead; what is past its end ends. */
  setClockOffset(ms: number): void;
  /** The provider ends the grant. */
  revoke(grantId: string): void;
  /** The person takes the consent back. */
  withdraw(grantId: string): void;
  /** Somebody else refreshes it: the generation jumps. */
  rotateElsewhere(grantId: string): Promise<void>;
  readonly calls: readonly PersonaCall[];
  callsFor(grantId: string): readonly PersonaCall[];
  /** Of an access or refresh token of any generation. */
  grantOf(token: string): string | undefined;
  isAlive(grantId: string): boolean;
  /** Killed because a spent refresh token came again. */
  familyRevoked(grantId: string): boolean;
  grants(): readonly GrantView[];
  /** Idempotent; cuts what is open. */
  stop(): Promise<void>;
}
