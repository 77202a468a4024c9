// The facts of an OAuth grant beside its tokens, grouped by purpose. They must never contain a secret.
// Stored as JSON in `credential.grant_facts`, under the row's MAC; only the functions here read and write it.
import type { CredentialRow } from '../cell/credentials.ts';

/** The age and use of the grant, from which limits count. Instants are milliseconds. */
export interface GrantLife {
  /** Time of the last consent; absolute limits count from it. */
  readonly consentedAt?: number;
  /** When the provider last accepted the refresh token (or signed assertion); idle limits count from it. */
  readonly refreshedAt?: number;
  /** Number of consecutive tokens that were already expired when issued. */
  readonly endedAtOnce?: number;
  /** As stated by the provider. */
  readonly refreshTokenExpiresAt?: number;
}

/** For an imported grant: its origin, and whether another system still uses it (foreign-use.ts). */
export interface GrantOrigin {
  readonly importedAt?: number;
  readonly importedFrom?: string;
  /** The import stated that the other system continues to refresh it. */
  readonly stillUsedThere?: true;
  /** The first evidence that another system still refreshes this grant. */
  readonly guard?: { readonly sign: ForeignUse; readonly at: number };
}

/** The scopes of the grant (grant-scopes.ts), separated by spaces. */
export interface GrantScopes {
  readonly grantedScope?: string;
  readonly scopeSource?: 'answer' | 'introspection' | 'jwt' | 'probe';
  /** Scopes that the connector requests in addition to the workflows' scopes: never reported as missing or extra. */
  readonly alwaysScope?: string;
  /** When the scopes were last requested from the provider. */
  readonly lookedAt?: number;
  /** The last reported difference of scopes, so that each is reported once; absent: no difference. */
  readonly scopesTold?: string;
}

/** The account of the grant. */
export interface GrantAccount {
  /** instance_url, hub_id, cloud_id ...: checked texts from the provider, never secret. */
  readonly account?: Readonly<Record<string, string>>;
  /** The value that identifies the account; kept when the account is connected again, so that another account is detected. */
  readonly accountId?: string;
  /** Keyed hash of the refresh token: two credentials with an equal one contain the same grant. */
  readonly fingerprint?: string;
}

/** The end of the grant, as of the last review (rotation/grants/review.ts). */
export interface GrantEnd {
  /** The cause of the end at `grant_ends_at`. */
  readonly end?: { readonly cause: EndCause; readonly certain: boolean };
  /** The smallest number of days before the end for which a notice was sent. */
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

/** Merges `changes` into the facts; a member with the value undefined is removed. The caller saves the row. */
export function changeGrant(row: GrantRow, changes: GrantChanges): void {
  row.grant_facts = JSON.stringify({ ...grantOf(row), ...changes });
}

/** Facts that are kept when the grant is replaced; all others belong to one grant. */
const OF_ANY_GRANT = [
  'alwaysScope',
  'accountId',
  'endedAtOnce',
  'importedAt',
  'importedFrom',
  'stillUsedThere',
  'guard',
] as const satisfies readonly (keyof Grant)[];

/** As `changeGrant`, when another grant replaces the previous one. */
export function replaceGrant(row: GrantRow, changes: GrantChanges): void {
  const before = grantOf(row);
  const kept = Object.fromEntries(OF_ANY_GRANT.map((name) => [name, before[name]]));
  row.grant_facts = JSON.stringify({ ...kept, ...changes });
}
