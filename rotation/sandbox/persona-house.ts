// What every part of the sandbox shares: the connectors as they are played, their grants and clients, the switches, the books.
// It must never reach a network, nor know what a real provider keeps.
import type { OAuthConnector, PersonaRefusal } from '../connector.ts';
import type { Misbehaviour, MisbehaviourQueue } from './misbehaviour.ts';
import { jsonReply, type Reply } from './persona-ask.ts';
import type { PersonaClients } from './persona-clients.ts';
import type { Grant, PersonaGrants } from './persona-grants.ts';
import type { Endpoint, PersonaRoutes } from './persona-routes.ts';

export interface House {
  readonly origin: string;
  readonly connectors: ReadonlyMap<string, OAuthConnector>;
  readonly routes: PersonaRoutes;
  readonly grants: PersonaGrants;
  readonly clients: PersonaClients;
  readonly misbehaviours: MisbehaviourQueue;
  readonly codes: Map<string, Code>;
  readonly switches: Switches;
  readonly calls: PersonaCall[];
  /** Milliseconds since 1970 by the provider's clock. */
  now(): number;
}

export interface Switches {
  /** What the person answers when asked. `ask` shows a page. */
  decision: 'ask' | 'allow' | 'deny';
  /** Places a grant covers, where the connector asks for one of them. Default: 1. */
  readonly sites: Map<string, number>;
  /** None: any redirect URI is registered. */
  readonly redirectUris: Set<string>;
  clockOffsetMs: number;
}

export interface Code {
  readonly connectorId: string;
  readonly clientId: string;
  readonly redirectUri: string;
  readonly challenge: string | undefined;
  readonly nonce: string | undefined;
  readonly scope: readonly string[];
  readonly bringsRefreshToken: boolean;
  readonly parameters: Readonly<Record<string, string>>;
  readonly endsAtMs: number;
  grant: Grant | undefined;
}

export type Outcome =
  | 'issued'
  /** The same pair again, within the grace a spent token has. */
  | 'replayed'
  | 'reused'
  | 'dead'
  | 'configuration'
  | 'transient'
  | 'revoked'
  | 'consented'
  | 'denied'
  | 'answered'
  | 'unanswered';

/** One line of the sandbox's books; it names tokens by generation only. */
export interface PersonaCall {
  readonly number: number;
  readonly atMs: number;
  readonly connector: string;
  readonly endpoint: Endpoint;
  readonly grant: string | undefined;
  /** `grant_type` of a token call. */
  readonly grantType: string | undefined;
  /** Of the refresh token that was presented; the first of a grant is 1. */
  readonly generation: number | undefined;
  readonly outcome: Outcome;
  /** 0: no answer was sent. */
  readonly status: number;
  readonly misbehaviour: Misbehaviour['kind'] | undefined;
  /** Why it was refused, for the person who reads the books; never sent to the caller. */
  readonly why: string | undefined;
}

/** What a part of the sandbox makes of a call. */
export interface Played {
  readonly reply: Reply;
  readonly outcome: Outcome;
  readonly grant?: Grant | undefined;
  readonly grantType?: string | undefined;
  readonly generation?: number | undefined;
  readonly why?: string | undefined;
}

const GENERAL: Readonly<Record<RefusalKind, PersonaRefusal>> = {
  dead: { status: 400, body: { error: 'invalid_grant' } },
  configuration: { status: 401, body: { error: 'invalid_client' } },
  transient: { status: 503, body: { error: 'temporarily_unavailable' } },
};
type RefusalKind = 'dead' | 'configuration' | 'transient';

/** A refusal in the connector's own words. */
export function refuse(
  connector: OAuthConnector,
  outcome: RefusalKind | 'reused' | 'code',
  why: string,
  told: Partial<Played> = {},
): Played {
  const { status, body, headers } = refusalOf(connector, outcome);
  const reply =
    typeof body === 'string'
      ? { status, headers: { 'content-type': 'text/html', ...headers }, body }
      : jsonReply(status, body, headers);
  return { ...told, reply, outcome: outcome === 'code' ? 'dead' : outcome, why };
}

/** Where no grant can die, what ends it is the client's own affair; a code can be refused everywhere (RFC 6749 section 5.2). */
function refusalOf({ persona }: OAuthConnector, outcome: RefusalKind | 'reused' | 'code'): PersonaRefusal {
  const { dead, configuration, transient, reused } = { ...GENERAL, reused: undefined, ...persona?.refusals };
  if (outcome === 'configuration') return configuration;
  if (outcome === 'transient') return transient;
  if (outcome === 'code') return persona?.refusals.dead ?? GENERAL.dead;
  const dies = persona === undefined || persona.refusals.dead !== undefined;
  return (outcome === 'reused' ? reused : undefined) ?? (dies ? dead : configuration);
}
