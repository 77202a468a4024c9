// The facts of a grant for readers: consent, expiry, scopes, signs of foreign use, revocation.
// It must never contain a token, a fingerprint or a provider's raw answer.
import { toTimestamp } from '../base/clock.ts';
import { KeyturnError } from '../base/errors.ts';
import type { Lookup } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import type { RunRow } from '../cell/runs.ts';
import { explainForeignUse } from './foreign-use.ts';
import { type ForeignUse, grantOf } from './grant.ts';
import { compareScopes, type ScopeComparison } from './grant-scopes.ts';
import type { TenantView } from './tenant-job.ts';

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
  readonly guard: { readonly sign: ForeignUse; readonly at: string; readonly explanation: string } | null;
  readonly revocation: {
    /** `waiting`, or the outcome of its run. */
    readonly state: string;
    readonly at: string;
    readonly attempts: number;
    readonly cause: string | null;
  } | null;
}

const time = (atMs: number | null | undefined): string | null => (atMs === null || atMs === undefined ? null : toTimestamp(atMs));

/** @param revocation the last one, if it concerns the present grant */
export function grantView(
  row: Pick<CredentialRow, 'config' | 'grant_facts' | 'grant_ends_at'>,
  revocation: RunRow | undefined,
): GrantView {
  const grant = grantOf(row);
  const { guard } = grant;
  return {
    connected_at: time(grant.consentedAt),
    imported_at: time(grant.importedAt),
    imported_from: grant.importedFrom ?? null,
    refreshed_at: time(grant.refreshedAt),
    ends_at: time(row.grant_ends_at),
    ends_because: grant.end?.cause ?? null,
    ends_certain: grant.end?.certain ?? null,
    account: grant.account ?? {},
    scopes: compareScopes(row),
    guard: guard === undefined ? null : { sign: guard.sign, at: toTimestamp(guard.at), explanation: explainForeignUse(grant) },
    revocation:
      revocation === undefined
        ? null
        : {
            state: revocation.outcome ?? 'waiting',
            at: toTimestamp(revocation.finished_at ?? revocation.started_at),
            attempts: revocation.attempts,
            cause: revocation.cause,
          },
  };
}

/** The last revocation while it waits, and after its end until the grant is replaced. Undefined also if its row is damaged. */
export function shownRevocation(
  view: TenantView,
  lookup: Lookup,
  row: Pick<CredentialRow, 'id' | 'health_since'>,
): RunRow | undefined {
  try {
    const last = view.runs.lastRevocation(lookup, row.id);
    return last === undefined || (last.finished_at ?? Number.POSITIVE_INFINITY) < row.health_since ? undefined : last;
  } catch (error) {
    if (error instanceof KeyturnError) return undefined;
    throw error;
  }
}
