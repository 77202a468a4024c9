// The connector contract: what Keyturn must know about one kind of credential at one provider. Data first, code only for unusual
// providers. A connector must never open a connection, read a clock, keep state or access customer records.

import type { KeySpec } from './key-spec.ts';
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
export type * from './key-spec.ts';
export type * from './oauth2/spec.ts';
export type * from './rotator.ts';

/** Each file in rotation/connectors/ exports exactly one of these as `connector`; `kind` is the discriminator. */
export type Connector = ConnectorByKind[keyof ConnectorByKind];

/** The contract for each kind of connector: `oauth2` refreshes grants, `key` replaces keys and passwords. */
export interface ConnectorByKind {
  readonly oauth2: OAuthConnector;
  readonly key: KeyConnector;
}

/** The fields of every connector. */
interface ConnectorBase<K extends string> {
  /** Equals the file's name without `.ts`; stored with credentials, so it is never renamed. */
  readonly id: string;
  /** For people; shown in the console. */
  readonly title: string;
  readonly kind: K;
  /** Parameters that a credential sets for `{name}` in URLs and hosts. */
  readonly parameters?: readonly Parameter[];
  /** Steps for a person, if the provider has no call; without secrets. */
  readonly manualSteps?: readonly string[];
  /** The sources of the facts, by field name, e.g. `oauth2.lostAnswer`. */
  readonly facts?: Readonly<Record<string, Fact>>;
}

/** OAuth grants: only data. */
export interface OAuthConnector extends ConnectorBase<'oauth2'> {
  readonly oauth2: OAuth2Spec;
  /** Fields of `oauth2` that a credential may override (regions, self-hosted editions, sandboxes). */
  readonly adjustable?: readonly (keyof OAuth2Spec)[];
  /** Present: a person can connect an account by a link. Absent: a grant can only be put. */
  readonly consent?: ConsentSpec;
  /** Where granted scopes are read, best first. Default: the token answer. */
  readonly scopes?: readonly ScopeSource[];
  readonly introspection?: IntrospectionSpec;
  /** A harmless read that shows whether an access token works. */
  readonly probe?: ProbeSpec;
  /** Absent: the provider has no revocation call, and `manualSteps` describe what a person does. */
  readonly revocation?: RevocationSpec;
  readonly lifetimes?: LifetimeSpec;
  readonly persona?: PersonaSpec;
}

/** Keys and passwords: only data; a target without HTTP is reached by a driver of the platform. */
export interface KeyConnector extends ConnectorBase<'key'> {
  readonly key: KeySpec;
}

/** The connector of this id, if it is one for this kind of credential. */
export function findConnector<K extends keyof ConnectorByKind>(
  connectors: ReadonlyMap<string, Connector>,
  kind: K,
  id: string | null | undefined,
): ConnectorByKind[K] | undefined {
  const found = connectors.get(id ?? '');
  return found?.kind === kind ? (found as ConnectorByKind[K]) : undefined;
}

/** `documented`: read in the provider's documentation. `known`: the page is known but was not read again. `seen`: in public code. `unknown`: keep it adjustable. */
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
  /** `consent`: the consenting person fills it in. `callback`: the provider's callback contains it. Default: set with the credential. */
  readonly from?: 'credential' | 'consent' | 'callback';
  /** The allowed values; shown as a choice. */
  readonly values?: readonly string[];
}
