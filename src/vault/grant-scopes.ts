// What a grant may do held against what its workflows need (commitment X2): what is missing, what is too much.
// It must never flag a grant whose scopes nobody told, nor one whose needs nobody declared.

import { raiseAlert } from '../alerts/raise-alert.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { type CredentialChange, configOf } from './credential.ts';
import type { OAuth2Config } from './credential-kinds.ts';
import { changeGrant, type GrantScopes, grantOf } from './grant.ts';

export interface ScopeComparison {
  /** The union of what the workflows need and what the connector cannot do without. */
  readonly wanted: readonly string[];
  /** Null: nobody told. */
  readonly granted: readonly string[] | null;
  readonly missing: readonly string[];
  /** Granted, and neither needed nor asked for by the connector itself. */
  readonly extra: readonly string[];
  readonly source: NonNullable<GrantScopes['scopeSource']> | null;
}

const listOf = (scope: string | undefined): string[] => (scope ?? '').split(' ').filter((part) => part !== '');

/** Exact and in the provider's own case (RFC 6749 section 3.3). */
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
    // Many providers never list what is not a right to data (`offline_access`, `openid`): only what a workflow needs can be missing.
    missing: isJudged ? [...new Set(declared)].filter((scope) => !granted.includes(scope)).sort() : [],
    extra: isJudged ? granted.filter((scope) => !wanted.includes(scope)) : [],
    source: granted === null ? null : (grant.scopeSource ?? 'answer'),
  };
}

export interface NotedScope {
  /** Separated by spaces; undefined: nothing new is known. */
  readonly scope: string | undefined;
  readonly source: NonNullable<GrantScopes['scopeSource']>;
  /** Default: as noted before. */
  readonly alwaysScopes?: readonly string[] | undefined;
}

/** Keeps what was granted, and raises one alert when what is missing or too much became another set. The caller saves the draft. */
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
  // What is missing are our own words; what is too much are the provider's, so only their number is told.
  const alert = { missing: missing.join(' '), ...counts };
  raiseAlert(job, access, { credential: draft, environment, kind: 'credential.scopes_changed', details: alert });
}
