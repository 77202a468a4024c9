// The connector contract: what Keyturn must know of one kind of credential at one provider. Data first, code only where the
// provider is odd. A connector never opens a connection, reads a clock, keeps state or touches customer records.
import type {
  ConsentSpec,
  IntrospectionSpec,
  LifetimeSpec,
  OAuth2Spec,
  PersonaSpec,
  ProbeSpec,
  RevocationSpec,
  ScopeSource,
} from './oauth2/spec.ts';

export * from './egress.ts';
export type * from './oauth2/spec.ts';

/** One file in rotation/connectors/ exports exactly one of these as `connector`; `kind` tells which. */
export type Connector = ConnectorByKind[keyof ConnectorByKind];

/** The contract of each kind of credential that a connector can work with, by `Connector.kind` and `Credential.kind`: one line a kind. */
export interface ConnectorByKind {
  readonly oauth2: OAuthConnector;
}

/** What a connector declares whatever its kind. */
interface ConnectorBase<K extends string> {
  /** Equals the file's name without `.ts`; stored with credentials, so it is never renamed. */
  readonly id: string;
  /** For people; shown in the console. */
  readonly title: string;
  readonly kind: K;
  /** What a credential must say for `{name}` in URLs and hosts. */
  readonly parameters?: readonly Parameter[];
  /** A harmless read that tells whether an access token or key works. */
  readonly probe?: ProbeSpec;
  /** What a person does where no call exists: numbered steps, no secrets. */
  readonly manualSteps?: readonly string[];
  /** Where the figures come from, by field name, e.g. `oauth2.lostAnswer`. */
  readonly facts?: Readonly<Record<string, Fact>>;
}

/** OAuth grants: all of it is data. */
export interface OAuthConnector extends ConnectorBase<'oauth2'> {
  readonly oauth2: OAuth2Spec;
  /** Fields of `oauth2` that a credential may set for itself (regions, self-hosted editions, sandboxes). */
  readonly adjustable?: readonly (keyof OAuth2Spec)[];
  /** Present: a person can connect an account. Absent: a grant can only be put in by hand. */
  readonly consent?: ConsentSpec;
  /** Where granted scopes are read, best first. Default: the token answer. */
  readonly scopes?: readonly ScopeSource[];
  readonly introspection?: IntrospectionSpec;
  /** Absent: the provider has no way, and `manualSteps` tell what a person does. */
  readonly revocation?: RevocationSpec;
  readonly lifetimes?: LifetimeSpec;
  readonly persona?: PersonaSpec;
}

/** The connector of this id, if it is one for this kind of credential. */
export function findConnector<K extends keyof ConnectorByKind>(
  connectors: ReadonlyMap<string, Connector>,
  kind: K,
  id: string | null | undefined,
): ConnectorByKind[K] | undefined {
  const found = connectors.get(id ?? '');
  return found?.kind === kind ? found : undefined;
}

/** What an outside test of a token or key shows. `unknown` never promotes and never revokes (D5). */
export type Verdict = 'works' | 'rejected' | 'unknown';

/** `documented`: read at the provider. `known`: the page is known, not re-read. `seen`: in others' code. `unknown`: keep it adjustable. */
export interface Fact {
  readonly sureness: 'documented' | 'known' | 'seen' | 'inferred' | 'unknown';
  /** URL or public code, with the date it was read where known. */
  readonly source: string;
}

export interface Parameter {
  readonly name: string;
  readonly title: string;
  /** `label`: one host label or path segment (letters, digits, `-`, `_`). `host`: a whole host name, optionally with a port. */
  readonly shape: 'label' | 'host';
  readonly default?: string;
  /** `consent`: the person who connects may fill it in. `callback`: the provider names it when it answers. Default: with the credential. */
  readonly from?: 'credential' | 'consent' | 'callback';
  /** The only values there are; shown as a choice. */
  readonly values?: readonly string[];
}
