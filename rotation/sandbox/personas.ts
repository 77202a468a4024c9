// A provider on a loopback port that simulates every connector according to its data, with misbehaviours on demand, to test consent,
// refreshes and their failures before production. It must never listen on another address, nor contain real data.
import type { Connector, OAuthConnector } from '../connector.ts';
import { KeyAccount } from './key-account.ts';
import { MisbehaviourQueue } from './misbehaviour.ts';
import { CLIENT_ID, CLIENT_SECRET, PersonaClients } from './persona-clients.ts';
import type { GrantView, Personas, PersonasOptions } from './persona-contract.ts';
import { type Grant, PersonaGrants } from './persona-grants.ts';
import type { House, PersonaCall } from './persona-house.ts';
import { issueGrant } from './persona-issue.ts';
import { PersonaRoutes, playedAs } from './persona-routes.ts';
import { listenOnLoopback } from './persona-server.ts';

export type { Misbehaviour, MisbehaviourPlan } from './misbehaviour.ts';
export type { IssuedGrant, Personas } from './persona-contract.ts';
export type { PersonaCall } from './persona-house.ts';

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
    keys: new KeyAccount(),
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
  const grantById = (id: string) => grantOf(house, id);
  const connectorById = (id: string) => connectorOf(house, id);
  return {
    origin: house.origin,
    firstKey: house.keys.first,
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

function grantOf({ grants }: House, id: string): Grant {
  const grant = grants.find(id);
  if (grant === undefined) throw new Error('the sandbox does not have this grant');
  return grant;
}

function connectorOf({ connectors }: House, id: string): OAuthConnector {
  const connector = connectors.get(id);
  if (connector === undefined) throw new Error('the sandbox does not simulate this connector');
  return connector;
}

function viewOf({ id, connectorId, account, scope, generation, refreshes, ended }: Grant): GrantView {
  return { id, connector: connectorId, account, scope: scope.join(' '), generation, refreshes, ended: ended?.cause };
}
