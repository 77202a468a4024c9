// What a grant may do held against what its workflows need (commitment X2): what is missing, what is too much.
// It must never flag a grant whose scopes nobody told, nor one whose needs nobody declared.

import { raiseAlert } from '../alerts/raise-alert.ts';
import type { EventDetails } from '../audit/event.ts';
import type { WriteAccess } from '../cell/access.ts';
import type { CredentialRow } from '../cell/credentials.ts';
import { configOf } from './credential.ts';
import type { OAuth2Config } from './credential-kinds.ts';
import { changeGrantFacts, type GrantFacts, grantFacts } from './grant-facts.ts';
import type { TenantJob } from './tenant-job.ts';

export interface ScopeComparison {
  /** The union of what the workflows need and what the connector cannot do without. */
  readonly wanted: readonly string[];
  /** Null: nobody told. */
  readonly granted: readonly string[] | null;
  readonly missing: readonly string[];
  /** Granted, and neither needed nor asked for by the connector itself. */
  readonly extra: readonly string[];
  readonly source: NonNullable<GrantFacts['scopeSource']> | null;
}

const listOf = (scope: string | undefined): string[] => (scope ?? '').split(' ').filter((part) => part !== '');

/** Exact and in the provider's own case (RFC 6749 section 3.3). */
export function compareScopes(row: Pick<CredentialRow, 'config' | 'grant_facts'>): ScopeComparison {
  const facts = grantFacts(row);
  const { workflows } = configOf(row) as Partial<OAuth2Config>;
  const always = listOf(facts.alwaysScope);
  const declared = (workflows ?? []).flatMap(({ scopes }) => scopes);
  const wanted = [...new Set([...always, ...declared])].sort();
  const granted = facts.grantedScope === undefined ? null : [...new Set(listOf(facts.grantedScope))].sort();
  const isJudged = granted !== null && workflows !== undefined && workflows.length > 0;
  return {
    wanted,
    granted,
    // Many providers never list what is not a right to data (`offline_access`, `openid`): only what a workflow needs can be missing.
    missing: isJudged ? [...new Set(declared)].filter((scope) => !granted.includes(scope)).sort() : [],
    extra: isJudged ? granted.filter((scope) => !wanted.includes(scope)) : [],
    source: granted === null ? null : (facts.scopeSource ?? 'answer'),
  };
}

export interface NotedScope {
  /** Separated by spaces; undefined: nothing new is known. */
  readonly scope: string | undefined;
  readonly source: NonNullable<GrantFacts['scopeSource']>;
  /** Default: as noted before. */
  readonly alwaysScopes?: readonly string[] | undefined;
}

/**
 * Keeps what was granted in `facts` (the caller saves the row) and raises one alert when what is missing or too much became another set.
 * True when it did.
 */
export function noteGrantedScope(
  job: TenantJob,
  access: WriteAccess,
  facts: CredentialRow,
  environment: string,
  { scope, source, alwaysScopes }: NotedScope,
  details: EventDetails,
): boolean {
  if (alwaysScopes !== undefined) {
    changeGrantFacts(facts, { alwaysScope: alwaysScopes.length === 0 ? undefined : alwaysScopes.join(' ') });
  }
  if (scope !== undefined) changeGrantFacts(facts, { grantedScope: scope, scopeSource: source });
  const { missing, extra } = compareScopes(facts);
  const told = missing.length + extra.length === 0 ? undefined : `${missing.join(' ')}|${extra.join(' ')}`;
  if (told === grantFacts(facts).scopesTold) return false;
  changeGrantFacts(facts, { scopesTold: told });
  details.scopes_missing = missing.length;
  details.scopes_extra = extra.length;
  // What is missing are our own words; what is too much are the provider's, so only their number is told.
  const alert = { missing: missing.join(' '), scopes_missing: missing.length, scopes_extra: extra.length };
  raiseAlert(job, access, facts, environment, 'credential.scopes_changed', alert);
  return true;
}
