// A provider on a loopback port that plays every connector at once, as its data describes it, and misbehaves on demand: to try consent,
// refreshes and their failures on before production. It must never listen on another address, nor hold anything that is real.
import type { JWK } from 'jose';
import type { Clock } from '../../src/base/clock.ts';
import type { Connector, OAuthConnector } from '../connector.ts';
import type { OAuth2Settings } from '../oauth2/settings.ts';
import { type Misbehaviour, type MisbehaviourPlan, MisbehaviourQueue } from './misbehaviour.ts';
import { CLIENT_ID, CLIENT_SECRET, PersonaClients } from './persona-clients.ts';
import { type EndCause, type Grant, PersonaGrants } from './persona-grants.ts';
import type { House, PersonaCall } from './persona-house.ts';
import { issueGrant } from './persona-issue.ts';
import { PersonaRoutes, playedAs } from './persona-routes.ts';
import { listenOnLoopback } from './persona-server.ts';

export type { Misbehaviour, MisbehaviourPlan } from './misbehaviour.ts';
export type { PersonaCall } from './persona-house.ts';

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

export async function startPersonas(options: PersonasOptions): Promise<Personas> {
  const { clock = { now: Date.now }, seed = 1, port = 0, log } = options;
  const given = options.connectors instanceof Map ? options.connectors.values() : (options.connectors as Iterable<Connector>);
  const declared = new Map([...given].filter(({ kind }) => kind === 'oauth2').map((one) => [one.id, one]));
  const connectors = new Map([...declared].map(([id, one]) => [id, playedAs(one)]));
  const switches: House['switches'] = { decision: 'ask', sites: new Map(), redirectUris: new Set(), clockOffsetMs: 0 };
  const inside = {
    connectors,
    switches,
    routes: new PersonaRoutes(connectors.values()),
    grants: new PersonaGrants(String(seed)),
    clients: new PersonaClients(),
    misbehaviours: new MisbehaviourQueue(),
    codes: new Map(),
    calls: [] as PersonaCall[],
    now: () => clock.now() + switches.clockOffsetMs,
  };
  const server = await listenOnLoopback(port, log);
  const house: House = { ...inside, origin: server.origin };
  const personas = switchesOf(house, declared, server.stop);
  server.open(house, personas);
  return personas;
}

function switchesOf(house: House, declared: ReadonlyMap<string, OAuthConnector>, stop: () => Promise<void>): Personas {
  const { grants, switches, clients, calls, misbehaviours } = house;
  const grantById = (id: string): Grant => {
    const grant = grants.find(id);
    if (grant === undefined) throw new Error('the sandbox has no such grant');
    return grant;
  };
  const connectorById = (id: string): OAuthConnector => {
    const connector = house.connectors.get(id);
    if (connector === undefined) throw new Error('the sandbox plays no such connector');
    return connector;
  };
  return {
    origin: house.origin,
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    connectors: [...declared.keys()],
    issueGrant: (id, wish = {}) => issueGrant(house, declared.get(id) ?? connectorById(id), connectorById(id), wish),
    async clientKey(algorithm) {
      const { privateJwk, privatePem } = await clients.keyPair(algorithm);
      return { jwk: privateJwk, pem: privatePem };
    },
    registerClientKey: (jwk) => clients.registerKey(jwk),
    registerRedirectUri: (uri) => void switches.redirectUris.add(uri),
    decide(decision) {
      switches.decision = decision;
    },
    offerSites: (id, count) => void switches.sites.set(connectorById(id).id, count),
    misbehave: (misbehaviour, plan = {}) => misbehaviours.plan(misbehaviour, plan),
    calm: () => misbehaviours.calm(),
    setClockOffset(ms) {
      switches.clockOffsetMs = ms;
    },
    revoke: (id) => grants.end(grantById(id), 'revoked', house.now()),
    withdraw: (id) => grants.end(grantById(id), 'withdrawn', house.now()),
    async rotateElsewhere(id) {
      const grant = grantById(id);
      await grants.rotateElsewhere(connectorById(grant.connectorId), grant, house.now());
    },
    calls,
    callsFor: (id) => calls.filter(({ grant }) => grant === id),
    grantOf: (token) => grants.ofToken(token)?.id,
    isAlive(id) {
      const grant = grantById(id);
      return grants.isAlive(connectorById(grant.connectorId), grant, house.now());
    },
    familyRevoked: (id) => grantById(id).ended?.cause === 'reuse',
    grants: () => [...grants.all()].map(viewOf),
    stop,
  };
}

function viewOf({ id, connectorId, account, scope, generation, refreshes, ended }: Grant): GrantView {
  return { id, connector: connectorId, account, scope: scope.join(' '), generation, refreshes, ended: ended?.cause };
}
