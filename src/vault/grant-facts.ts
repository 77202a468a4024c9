// What was learnt of an OAuth grant beside its tokens: when it was consented to, what it may do, when it dies. Never a secret.
// It lies as JSON in `credential.grant_facts`, under the row's MAC; only the functions here read and write it.
import type { CredentialRow } from '../cell/credentials.ts';

export interface GrantFacts {
  /** When a person last consented; absolute limits count from here. Milliseconds, as all instants here. */
  readonly consentedAt?: number;
  /** Set when the grant was made elsewhere and brought here. */
  readonly importedAt?: number;
  readonly importedFrom?: string;
  /** Whoever brought it says that the other system goes on refreshing it. */
  readonly stillUsedThere?: true;
  /** When the provider last honoured the refresh token (or signed assertion); idle limits count from here. */
  readonly refreshedAt?: number;
  /** How many tokens one after another had ended when the provider handed them out. */
  readonly endedAtOnce?: number;
  /** As the provider said it. */
  readonly refreshTokenExpiresAt?: number;
  /** Separated by spaces. */
  readonly grantedScope?: string;
  readonly scopeSource?: 'answer' | 'introspection' | 'jwt' | 'probe';
  /** What the connector asks for beside the workflows' scopes, separated by spaces: never missing, never too much. */
  readonly alwaysScope?: string;
  /** When the provider was last asked what the grant may do. */
  readonly lookedAt?: number;
  /** What was told of the scopes last, so that it is told once; absent: that they are as wanted. */
  readonly scopesTold?: string;
  /** instance_url, hub_id, cloud_id ...: checked text of the provider, never secret. */
  readonly account?: Readonly<Record<string, string>>;
  /** What of it says whose account it is; kept when the account is connected anew, so that another one is noticed. */
  readonly accountId?: string;
  /** Keyed hash of the refresh token: two credentials with the same one share a grant. */
  readonly fingerprint?: string;
  /** A sign that another system still refreshes this grant. */
  readonly guard?: { readonly sign: GuardSign; readonly at: number };
  /** What ends the grant at `grant_ends_at`. */
  readonly end?: { readonly cause: EndCause; readonly certain: boolean };
  /** The smallest number of days before the end that was told already. */
  readonly noticedDays?: number;
}

export type GuardSign = 'refused_early' | 'replaced_unexpectedly' | 'token_dead_early' | 'put_while_alive';
export type EndCause =
  | 'idle_limit'
  | 'absolute_limit'
  | 'refresh_token_expiry'
  | 'access_token_expiry'
  | 'client_secret_expiry'
  | 'token_cap'
  | 'provider_change'
  | 'end_date';

export function grantFacts(row: Pick<CredentialRow, 'grant_facts'>): GrantFacts {
  return JSON.parse(row.grant_facts) as GrantFacts;
}

/** Writes `changes` over what is known; a member that is undefined goes away. The caller saves the row. */
export function changeGrantFacts(
  row: Pick<CredentialRow, 'grant_facts'>,
  changes: { readonly [K in keyof GrantFacts]?: GrantFacts[K] | undefined },
): void {
  row.grant_facts = JSON.stringify({ ...grantFacts(row), ...changes });
}
