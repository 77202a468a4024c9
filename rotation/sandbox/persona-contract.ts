// The control interface of the personas, for tests in the same process and over HTTP (persona-control.ts).
import type { JWK } from 'jose';
import type { Clock } from '../../src/base/clock.ts';
import type { Connector } from '../connector.ts';
import type { OAuth2Settings } from '../oauth2/settings.ts';
import type { Misbehaviour, MisbehaviourPlan } from './misbehaviour.ts';
import type { EndCause } from './persona-grants.ts';
import type { PersonaCall } from './persona-house.ts';

export interface PersonasOptions {
  /** Only those of OAuth grants are simulated. */
  readonly connectors: ReadonlyMap<string, Connector> | Iterable<Connector>;
  /** Default: any free port. */
  readonly port?: number;
  /** Default: the machine's. */
  readonly clock?: Clock;
  /** The same seed gives the same tokens for the same calls. Default: 1. */
  readonly seed?: number;
  /** One line per call, without tokens. */
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
  /** Undefined if the connector has none. */
  readonly refreshToken: string | undefined;
  /** Undefined: the access token does not expire. */
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
  /** The first value of a credential with the connector local-sandbox-key. */
  readonly firstKey: { readonly key: string; readonly key_id: string };
  readonly origin: string;
  /** Known to every persona; `<clientId>.<connector>` selects a connector if several have the same address. */
  readonly clientId: string;
  readonly clientSecret: string;
  /** Ids. */
  readonly connectors: readonly string[];
  /** Creates a grant without a browser. @throws Error for a connector that is not simulated */
  issueGrant(connectorId: string, wish?: GrantWish): Promise<IssuedGrant>;
  /** The fictitious client's key; the same until the sandbox stops. */
  clientKey(algorithm: 'RS256' | 'ES256'): Promise<{ readonly jwk: JWK; readonly pem: string }>;
  /** Adds a public key of the client. */
  registerClientKey(jwk: JWK): Promise<void>;
  /** After the first registration, only registered redirect URIs are accepted, by exact comparison. */
  registerRedirectUri(uri: string): void;
  /** The person's answer to the consent request; `ask` shows a page. */
  decide(decision: 'ask' | 'allow' | 'deny'): void;
  /** How many accounts the next grants of this connector cover. */
  offerSites(connectorId: string, count: number): void;
  misbehave(misbehaviour: Misbehaviour, plan?: MisbehaviourPlan): void;
  /** Ends every misbehaviour. */
  calm(): void;
  /** Sets the provider's clock ahead by this time; expired tokens become invalid. */
  setClockOffset(ms: number): void;
  /** The provider ends the grant. */
  revoke(grantId: string): void;
  /** The person withdraws the consent. */
  withdraw(grantId: string): void;
  /** Another system refreshes the grant: the generation increases. */
  rotateElsewhere(grantId: string): Promise<void>;
  readonly calls: readonly PersonaCall[];
  callsFor(grantId: string): readonly PersonaCall[];
  /** Of an access or refresh token of any generation. */
  grantOf(token: string): string | undefined;
  isAlive(grantId: string): boolean;
  /** Ended because a used refresh token was sent again. */
  familyRevoked(grantId: string): boolean;
  grants(): readonly GrantView[];
  /** Idempotent; closes open connections. */
  stop(): Promise<void>;
}
