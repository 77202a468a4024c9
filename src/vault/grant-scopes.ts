// Compares the scopes of a grant with those that its workflows need (commitment X2): missing and extra scopes.
// It must never flag a grant with unknown scopes, nor one without declared workflows.

import { raiseAlert } from '../alerts/raise-alert.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { type CredentialChange, configOf } from './credential.ts';
import type { OAuth2Config } from './credential-kinds.ts';
import { changeGrant, type GrantScopes, grantOf } from './grant.ts';

export interface ScopeComparison {
  /** The union of the scopes that the workflows need and those that the connector always requests. */
  readonly wanted: readonly string[];
  /** Null if unknown. */
  readonly granted: readonly string[] | null;
  readonly missing: readonly string[];
  /** Granted, but neither needed by a workflow nor requested by the connector. */
  readonly extra: readonly string[];
  readonly source: NonNullable<GrantScopes['scopeSource']> | null;
}

const listOf = (scope: string | undefined): string[] => (scope ?? '').split(' ').filter((part) => part !== '');

/** Exact comparison, case-sensitive (RFC 6749 section 3.3). */
export function compareScopes(row: Pick<CredentialRow, 'config' | 'grant_facts'>): ScopeComparison {
  const grant = grantOf(row);
  const { workflows } = configOf(row) as Partial<OAuth2Config>;
  const always = listOf(grant.alwaysScope);
  const declared = (workflows ?? []).flatMap(({ scopes }) => scopes);
  const wanted = [...new Set([...always, ...declared])].sort();
  const granted = grant.grantedScope === undefined ? null : [...new Set(listOf(grant.grantedScope))].sort();
  const isJudged = granted !== null && workflows !== undefined && workflows.length > 0;
  return {
    wanted,
    granted,
    // Many providers never list scopes without access to data (`offline_access`, `openid`), so only a workflow's scopes can be missing.
    missing: isJudged ? [...new Set(declared)].filter((scope) => !granted.includes(scope)).sort() : [],
    extra: isJudged ? granted.filter((scope) => !wanted.includes(scope)) : [],
    source: granted === null ? null : (grant.scopeSource ?? 'answer'),
  };
}

export interface NotedScope {
  /** Separated by spaces; undefined: no new information. */
  readonly scope: string | undefined;
  readonly source: NonNullable<GrantScopes['scopeSource']>;
  /** Default: unchanged. */
  readonly alwaysScopes?: readonly string[] | undefined;
}

/** Stores the granted scopes, and raises one alert if the set of missing and extra scopes changed. The caller saves the draft. */
export function noteGrantedScope(
  { job, access, draft, environment, details }: CredentialChange,
  { scope, source, alwaysScopes }: NotedScope,
): void {
  if (alwaysScopes !== undefined) {
    changeGrant(draft, { alwaysScope: alwaysScopes.length === 0 ? undefined : alwaysScopes.join(' ') });
  }
  if (scope !== undefined) changeGrant(draft, { grantedScope: scope, scopeSource: source });
  const { missing, extra } = compareScopes(draft);
  const told = missing.length + extra.length === 0 ? undefined : `${missing.join(' ')}|${extra.join(' ')}`;
  if (told === grantOf(draft).scopesTold) return;
  changeGrant(draft, { scopesTold: told });
  const counts = { scopes_missing: missing.length, scopes_extra: extra.length };
  Object.assign(details, counts);
  // Missing scopes are declared here; extra ones are the provider's text, so the alert contains only their number.
  const alert = { missing: missing.join(' '), ...counts };
  raiseAlert(job, access, { credential: draft, environment, kind: 'credential.scopes_changed', details: alert });
}
