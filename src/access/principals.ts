// The principals: a user of the team, a workload of one tenant, or the scheduler. Facts only; guard.ts decides.
import type { RequestSource } from '../audit/sources.ts';
import type { Networks } from './networks.ts';
import type { Operation, Role } from './operations.ts';

/** The facts of one request. The bearer token is not verified yet. */
export interface Caller {
  readonly token: string | undefined;
  readonly source: RequestSource;
  /** The request id: made by the server, unique (AU-13). */
  readonly request: string;
  readonly clientRequest?: string | undefined;
  readonly workflow?: string | undefined;
  readonly workflowRun?: string | undefined;
  /** Set by the home cell for a user token that it verified; never taken from a client. */
  readonly user?: UserIdentity | undefined;
}

/** The facts of a user, from the home cell, for one request. */
export interface UserIdentity {
  readonly id: string;
  readonly name: string;
  readonly revision: number;
  /** The owner created at first start; guard.ts makes one exception for it. */
  readonly bootstrap: boolean;
  readonly grants: readonly UserGrant[];
  readonly tokenId: string;
  /** Time of the last second factor in this session; absent until users have second factors. */
  readonly secondFactorAtMs?: number | undefined;
}

export interface UserGrant {
  readonly role: Role;
  /** A tenant's id, or `*` for all. */
  readonly tenantId: string;
}

export interface UserPrincipal {
  readonly type: 'User';
  readonly id: string;
  readonly revision: number;
  readonly roles: readonly Role[];
  readonly identity: UserIdentity;
  /** Has the engineer role for this tenant by name (X4). */
  readonly assigned: boolean;
}

export interface WorkloadPrincipal {
  readonly type: 'Workload';
  readonly id: string;
  readonly revision: number;
  readonly roles: readonly Role[];
  readonly name: string;
  readonly environment: string;
  readonly matches: (credentialName: string) => boolean;
  readonly operations: ReadonlySet<Operation>;
  readonly networks: Networks;
  /** Public id of the presented token or client secret, or of the key that signed. */
  readonly tokenId: string;
  readonly tokenType: string;
  readonly expiresAtMs: number;
}

export interface SystemPrincipal {
  readonly type: 'System';
  readonly id: string;
  readonly revision: 0;
  readonly roles: readonly Role[];
}

export type Principal = UserPrincipal | WorkloadPrincipal | SystemPrincipal;

const ROLE_LISTS = new WeakMap<UserIdentity, Map<string | undefined, UserPrincipal>>();

/** The user at one tenant, with the roles granted for all tenants or for this one. Memoised per identity object. */
export function userAt(identity: UserIdentity, tenantId: string | undefined): UserPrincipal {
  let places = ROLE_LISTS.get(identity);
  if (places === undefined) {
    places = new Map();
    ROLE_LISTS.set(identity, places);
  }
  const known = places.get(tenantId);
  if (known !== undefined) return known;
  const here = identity.grants.filter((grant) => grant.tenantId === '*' || grant.tenantId === tenantId);
  const principal: UserPrincipal = {
    type: 'User',
    id: identity.id,
    revision: identity.revision,
    roles: [...new Set(here.map((grant) => grant.role))].sort(),
    identity,
    assigned: here.some((grant) => grant.role === 'engineer' && grant.tenantId !== '*'),
  };
  places.set(tenantId, principal);
  return principal;
}

/** `*` matches any run of characters; everything else matches itself. Linear, no regular expression from data (DS-05). */
export function patternMatcher(patterns: readonly string[]): (name: string) => boolean {
  if (patterns.includes('*')) return () => true;
  const exact = new Set(patterns.filter((pattern) => !pattern.includes('*')));
  const wild = patterns.filter((pattern) => pattern.includes('*')).map((pattern) => pattern.split('*'));
  return (name) => exact.has(name) || wild.some((parts) => matchesParts(name, parts));
}

function matchesParts(name: string, parts: readonly string[]): boolean {
  const first = parts[0] ?? '';
  const last = parts.at(-1) ?? '';
  if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
  let at = first.length;
  const end = name.length - last.length;
  for (const part of parts.slice(1, -1)) {
    const found = name.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
