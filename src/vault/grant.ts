// What was learnt of an OAuth grant beside its tokens, in parts by what they are for. Never a secret.
// It lies as JSON in `credential.grant_facts`, under the row's MAC; only the functions here read and write it.
import type { CredentialRow } from '../cell/credentials.ts';

/** How old it is and how it is used; limits count from here. Instants are milliseconds. */
export interface GrantLife {
  /** When a person last consented; absolute limits count from here. */
  readonly consentedAt?: number;
  /** When the provider last honoured the refresh token (or signed assertion); idle limits count from here. */
  readonly refreshedAt?: number;
  /** How many tokens one after another had ended when the provider handed them out. */
  readonly endedAtOnce?: number;
  /** As the provider said it. */
  readonly refreshTokenExpiresAt?: number;
}

/** Of a grant that was made elsewhere and brought here: from where, and whether somebody else still uses it (foreign-use.ts). */
export interface GrantOrigin {
  readonly importedAt?: number;
  readonly importedFrom?: string;
  /** Whoever brought it says that the other system goes on refreshing it. */
  readonly stillUsedThere?: true;
  /** The first evidence that another system still refreshes this grant. */
  readonly guard?: { readonly sign: ForeignUse; readonly at: number };
}

/** What it may do (grant-scopes.ts). Scopes are separated by spaces. */
export interface GrantScopes {
  readonly grantedScope?: string;
  readonly scopeSource?: 'answer' | 'introspection' | 'jwt' | 'probe';
  /** What the connector asks for beside the workflows' scopes: never missing, never too much. */
  readonly alwaysScope?: string;
  /** When the provider was last asked what the grant may do. */
  readonly lookedAt?: number;
  /** What was told of the scopes last, so that it is told once; absent: that they are as wanted. */
  readonly scopesTold?: string;
}

/** Whose it is. */
export interface GrantAccount {
  /** instance_url, hub_id, cloud_id ...: checked text of the provider, never secret. */
  readonly account?: Readonly<Record<string, string>>;
  /** What of it says whose account it is; kept when the account is connected anew, so that another one is noticed. */
  readonly accountId?: string;
  /** Keyed hash of the refresh token: two credentials with the same one share a grant. */
  readonly fingerprint?: string;
}

/** What ends it, as the last review found (rotation/grants/review.ts). */
export interface GrantEnd {
  /** What ends the grant at `grant_ends_at`. */
  readonly end?: { readonly cause: EndCause; readonly certain: boolean };
  /** The smallest number of days before the end that was told already. */
  readonly noticedDays?: number;
}

export interface Grant extends GrantLife, GrantOrigin, GrantScopes, GrantAccount, GrantEnd {}

export type ForeignUse = 'refused_early' | 'replaced_unexpectedly' | 'token_dead_early' | 'put_while_alive';
export type EndCause =
  | 'idle_limit'
  | 'absolute_limit'
  | 'refresh_token_expiry'
  | 'access_token_expiry'
  | 'client_secret_expiry'
  | 'token_cap'
  | 'provider_change'
  | 'end_date';

type GrantRow = Pick<CredentialRow, 'grant_facts'>;
type GrantChanges = { readonly [K in keyof Grant]?: Grant[K] | undefined };

export function grantOf(row: GrantRow): Grant {
  return JSON.parse(row.grant_facts) as Grant;
}

/** Writes `changes` over what is known; a member that is undefined goes away. The caller saves the row. */
export function changeGrant(row: GrantRow, changes: GrantChanges): void {
  row.grant_facts = JSON.stringify({ ...grantOf(row), ...changes });
}

/** What is true of whatever grant the credential has: everything else was learnt of one grant and goes with it. */
const OF_ANY_GRANT = [
  'alwaysScope',
  'accountId',
  'endedAtOnce',
  'importedAt',
  'importedFrom',
  'stillUsedThere',
  'guard',
] as const satisfies readonly (keyof Grant)[];

/** As `changeGrant` where another grant takes the place of the one before. */
export function replaceGrant(row: GrantRow, changes: GrantChanges): void {
  const before = grantOf(row);
  const kept = Object.fromEntries(OF_ANY_GRANT.map((name) => [name, before[name]]));
  row.grant_facts = JSON.stringify({ ...kept, ...changes });
}
