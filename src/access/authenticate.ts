// From a bearer token or client secret to a workload. It must never tell unknown, expired, revoked and malformed apart to
// the caller, and never trust a cached entry past its expiry or revocation.

import { LRUCache } from 'lru-cache';
import type { Clock } from '../base/clock.ts';
import { growingTo } from '../base/growing-to.ts';
import { LIMITS } from '../base/limits.ts';
import type { Bookkeeping, Lookup } from '../cell/access.ts';
import type { TokenRow, TokenStore } from '../cell/tokens.ts';
import type { WorkloadRow, WorkloadStore } from '../cell/workloads.ts';
import type { KeyObject } from '../crypto/primitives.ts';
import { equalBytes, hashToken, parseToken } from '../crypto/token.ts';
import { Networks } from './networks.ts';
import { type Operation, WORKLOAD_PERMISSIONS, type WorkloadPermission } from './operations.ts';
import { patternMatcher, type WorkloadPrincipal } from './principals.ts';

const NOBODY = new Uint8Array(32);

export class WorkloadAuthenticator {
  readonly #tokens: TokenStore;
  readonly #workloads: WorkloadStore;
  readonly #pepper: KeyObject;
  readonly #clock: Clock;
  readonly #known = new LRUCache<string, WorkloadPrincipal>(growingTo(LIMITS.tokenCacheEntries));
  readonly #usedAtMs = new Map<string, number>();

  constructor(tokens: TokenStore, workloads: WorkloadStore, pepper: KeyObject, clock: Clock) {
    this.#tokens = tokens;
    this.#workloads = workloads;
    this.#pepper = pepper;
    this.#clock = clock;
  }

  /** The workload behind an access or direct token, or undefined for every kind of bad token. */
  byToken(books: Bookkeeping<'authentication'>, text: string): WorkloadPrincipal | undefined {
    const known = this.#known.get(text);
    const principal = known ?? this.#find(books, text, ['acc', 'wlk']);
    const now = this.#clock.now();
    if (principal === undefined || principal.expiresAtMs <= now) return undefined;
    if (known === undefined) this.#known.set(text, principal);
    this.#markUsed(books, principal, now);
    return principal;
  }

  /** The workload behind a client secret; never cached. */
  byClientSecret(books: Bookkeeping<'authentication'>, text: string): WorkloadPrincipal | undefined {
    const principal = this.#find(books, text, ['cs']);
    const now = this.#clock.now();
    if (principal === undefined || principal.expiresAtMs <= now) return undefined;
    this.#markUsed(books, principal, now);
    return principal;
  }

  /** A workload that proved itself otherwise (a verified client assertion). */
  byProof(row: WorkloadRow): WorkloadPrincipal | undefined {
    if (row.revoked_at !== null || row.expires_at <= this.#clock.now()) return undefined;
    return toPrincipal(row, undefined, row.expires_at);
  }

  /** Drops every cached token: after a revocation, or a batch that was undone. */
  forget(): void {
    this.#known.clear();
    this.#usedAtMs.clear();
  }

  #find(lookup: Lookup, text: string, types: readonly string[]): WorkloadPrincipal | undefined {
    const parsed = parseToken(text);
    if (parsed === undefined || !types.includes(parsed.type)) return undefined;
    const row = this.#tokens.find(lookup, parsed.publicId);
    const presented = hashToken(this.#pepper, parsed.hashInput);
    // SECURITY: the same work for an unknown id as for a wrong secret, and a constant-time compare (LK-10).
    const matches = equalBytes(presented, row?.hash ?? NOBODY);
    if (row === undefined || !matches || row.type !== parsed.type || row.revoked_at !== null) return undefined;
    const workload = this.#workloads.find(lookup, row.subject_id);
    if (workload === undefined || workload.revoked_at !== null) return undefined;
    return toPrincipal(workload, row, Math.min(row.expires_at, workload.expires_at));
  }

  #markUsed(books: Bookkeeping<'authentication'>, principal: WorkloadPrincipal, nowMs: number): void {
    const last = this.#usedAtMs.get(principal.tokenId);
    if (last !== undefined && nowMs - last < LIMITS.lastUsedResolutionMs) return;
    if (this.#usedAtMs.size > LIMITS.tokenCacheEntries) this.#usedAtMs.clear();
    this.#usedAtMs.set(principal.tokenId, nowMs);
    if (principal.tokenId !== '') this.#tokens.markUsed(books, principal.tokenId, nowMs);
    this.#workloads.markUsed(books, principal.id, nowMs);
  }
}

function toPrincipal(workload: WorkloadRow, token: TokenRow | undefined, expiresAtMs: number): WorkloadPrincipal {
  const own = JSON.parse(workload.permissions) as WorkloadPermission[];
  const narrowed = token?.permissions == null ? own : (JSON.parse(token.permissions) as WorkloadPermission[]);
  const permissions = narrowed.filter((permission) => own.includes(permission));
  return {
    type: 'Workload',
    id: workload.id,
    revision: workload.revision,
    roles: ['workload'],
    name: workload.name,
    environment: workload.environment,
    matches: patternMatcher(JSON.parse(workload.patterns) as string[]),
    operations: new Set<Operation>(permissions.flatMap((permission) => [...WORKLOAD_PERMISSIONS[permission]])),
    networks: Networks.parse(JSON.parse(workload.networks) as string[], '/networks'),
    tokenId: token?.public_id ?? '',
    tokenType: token?.type ?? 'assertion',
    expiresAtMs,
  };
}
