// The shared state of the sandbox: connectors, grants, clients, control settings and the record of calls.
// It must never reach a network, nor contain a real provider's data.

import type { OAuthConnector, PersonaRefusal } from '../connector.ts';
import type { KeyAccount } from './key-account.ts';
import type { Misbehaviour, MisbehaviourQueue } from './misbehaviour.ts';
import { jsonReply, type Reply } from './persona-ask.ts';
import type { PersonaClients } from './persona-clients.ts';
import type { Grant, PersonaGrants } from './persona-grants.ts';
import type { Endpoint, PersonaRoutes } from './persona-routes.ts';

export interface House {
  readonly keys: KeyAccount;
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
  /** The person's answer to the consent request. `ask` shows a page. */
  decision: 'ask' | 'allow' | 'deny';
  /** Number of accounts that a grant covers, for connectors with a choice. Default: 1. */
  readonly sites: Map<string, number>;
  /** Empty: any redirect URI is accepted. */
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
  /** The same pair again, within the grace period of a used token. */
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

/** One record of a call; it contains generations instead of tokens. */
export interface PersonaCall {
  readonly number: number;
  readonly atMs: number;
  readonly connector: string;
  readonly endpoint: Endpoint;
  readonly grant: string | undefined;
  /** `grant_type` of a token call. */
  readonly grantType: string | undefined;
  /** Generation of the presented refresh token; the first of a grant is 1. */
  readonly generation: number | undefined;
  readonly outcome: Outcome;
  /** 0: no answer was sent. */
  readonly status: number;
  readonly misbehaviour: Misbehaviour['kind'] | undefined;
  /** Why it was refused, for the user of the sandbox; never sent to the caller. */
  readonly why: string | undefined;
}

/** The result of a call. */
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

/** A refusal from the connector's examples. */
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

/** Without a grant that could end, the refusal concerns the client; every provider can refuse a code (RFC 6749 section 5.2). */
function refusalOf({ persona }: OAuthConnector, outcome: RefusalKind | 'reused' | 'code'): PersonaRefusal {
  const { dead, configuration, transient, reused } = { ...GENERAL, reused: undefined, ...persona?.refusals };
  if (outcome === 'configuration') return configuration;
  if (outcome === 'transient') return transient;
  if (outcome === 'code') return persona?.refusals.dead ?? GENERAL.dead;
  const dies = persona === undefined || persona.refusals.dead !== undefined;
  return (outcome === 'reused' ? reused : undefined) ?? (dies ? dead : configuration);
}
