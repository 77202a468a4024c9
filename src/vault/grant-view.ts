// What may be told of a grant: when it came, when it ends, what it may do, who else seems to use it, whether it was revoked.
// Never a token, a fingerprint or a provider's raw answer.
import { toTimestamp } from '../base/clock.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { type GrantFacts, type GuardSign, grantFacts } from './grant-facts.ts';
import { compareScopes, type ScopeComparison } from './grant-scopes.ts';
import { explainSign } from './import-guard.ts';

export interface GrantView {
  readonly connected_at: string | null;
  readonly imported_at: string | null;
  readonly imported_from: string | null;
  readonly refreshed_at: string | null;
  readonly ends_at: string | null;
  readonly ends_because: string | null;
  readonly ends_certain: boolean | null;
  readonly account: Readonly<Record<string, string>>;
  readonly scopes: ScopeComparison;
  readonly guard: { readonly sign: GuardSign; readonly at: string; readonly explanation: string } | null;
  readonly revocation: {
    readonly state: NonNullable<GrantFacts['revocation']>['state'];
    readonly at: string;
    readonly attempts: number;
    readonly cause: string | null;
  } | null;
}

const time = (atMs: number | null | undefined): string | null => (atMs === null || atMs === undefined ? null : toTimestamp(atMs));

export function grantView(row: Pick<CredentialRow, 'config' | 'grant_facts' | 'grant_ends_at'>): GrantView {
  const facts = grantFacts(row);
  const { guard, revocation } = facts;
  return {
    connected_at: time(facts.consentedAt),
    imported_at: time(facts.importedAt),
    imported_from: facts.importedFrom ?? null,
    refreshed_at: time(facts.refreshedAt),
    ends_at: time(row.grant_ends_at),
    ends_because: facts.end?.cause ?? null,
    ends_certain: facts.end?.certain ?? null,
    account: facts.account ?? {},
    scopes: compareScopes(row),
    guard: guard === undefined ? null : { sign: guard.sign, at: toTimestamp(guard.at), explanation: explainSign(facts) },
    revocation:
      revocation === undefined
        ? null
        : {
            state: revocation.state,
            at: toTimestamp(revocation.at),
            attempts: revocation.attempts,
            cause: revocation.cause ?? null,
          },
  };
}

/** Where a link to connect again is made; undefined while the grant needs none. */
export function reconnectPath(
  tenantId: string,
  environment: string,
  row: Pick<CredentialRow, 'kind' | 'health' | 'name'>,
): string | undefined {
  const isDead = row.kind === 'oauth2' && (row.health === 'needs_consent' || row.health === 'disconnected');
  return isDead ? connectionsPath(tenantId, environment, row.name) : undefined;
}

export function connectionsPath(tenantId: string, environment: string, name: string): string {
  return `/v1/tenants/${tenantId}/environments/${environment}/credentials/${encodeURIComponent(name)}/connections`;
}
