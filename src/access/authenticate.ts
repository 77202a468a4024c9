// Resolves a bearer token or client secret to a workload. It must never let the caller distinguish unknown, expired, revoked and
// malformed, and never trust a cached entry past its expiry or revocation.

import { LRUCache } from 'lru-cache';
import { type Clock, isInForce } from '../base/clock.ts';
import { growingTo } from '../base/growing-to.ts';
import { LIMITS } from '../base/limits.ts';
import type { Bookkeeping, Lookup } from '../cell/access.ts';
import type { TokenRow, TokenStore } from '../cell/tokens.ts';
import type { WorkloadRow, WorkloadStore } from '../cell/workloads.ts';
import type { KeyObject } from '../crypto/primitives.ts';
import { KEY_ID_PREFIX, publicKeyId } from '../crypto/public-key.ts';
import { equalBytes, hashToken, parseToken } from '../crypto/token.ts';
import { Networks } from './networks.ts';
import { type Operation, WORKLOAD_PERMISSIONS, type WorkloadPermission } from './operations.ts';
import { patternMatcher, type WorkloadPrincipal } from './principals.ts';

/** Compared when the token id is unknown. */
const NO_HASH = new Uint8Array(32);

/** A workload with a genuine token; whether the token is valid now is checked on every use. */
interface Proven {
  readonly principal: WorkloadPrincipal;
  readonly issuedAtMs: number;
}

export class WorkloadAuthenticator {
  readonly #tokens: TokenStore;
  readonly #workloads: WorkloadStore;
  readonly #pepper: KeyObject;
  readonly #clock: Clock;
  readonly #known = new LRUCache<string, Proven>(growingTo(LIMITS.tokenCacheEntries));
  readonly #usedAtMs = new LRUCache<string, number>(growingTo(LIMITS.tokenCacheEntries));

  constructor(tokens: TokenStore, workloads: WorkloadStore, pepper: KeyObject, clock: Clock) {
    this.#tokens = tokens;
    this.#workloads = workloads;
    this.#pepper = pepper;
    this.#clock = clock;
    tokens.whenRevoked(() => this.forget());
    workloads.whenChanged(() => this.forget());
  }

  /** The workload of an access or direct token, or undefined for every kind of bad token. */
  byToken(books: Bookkeeping<'authentication'>, text: string): WorkloadPrincipal | undefined {
    const known = this.#known.get(text);
    const proven = known ?? this.#find(books, text, ['acc', 'wlk']);
    const now = this.#clock.now();
    const principal = inForce(proven, now);
    if (proven === undefined || principal === undefined) return undefined;
    if (known === undefined) this.#known.set(text, proven);
    this.#markUsed(books, principal, now);
    return principal;
  }

  /** The workload of a client secret; never cached, and not marked as used yet: its network is checked later. */
  byClientSecret(lookup: Lookup, text: string): WorkloadPrincipal | undefined {
    return inForce(this.#find(lookup, text, ['cs']), this.#clock.now());
  }

  /** Marks the secret or key that this workload presented as used now. */
  markProven(books: Bookkeeping<'authentication'>, principal: WorkloadPrincipal): void {
    this.#markUsed(books, principal, this.#clock.now());
  }

  /** The workload of a client assertion whose signature was verified with key `keyId`. */
  byProof(row: WorkloadRow, keyId: string): WorkloadPrincipal | undefined {
    if (row.revoked_at !== null || row.expires_at <= this.#clock.now() || !hasKey(row, keyId)) return undefined;
    return toPrincipal(row, { public_id: keyId, type: 'assertion', permissions: null }, row.expires_at);
  }

  /** Drops every cached token. Runs when a token is revoked or a workload changes; the caller runs it when a batch is rolled back. */
  forget(): void {
    this.#known.clear();
    this.#usedAtMs.clear();
  }

  #find(lookup: Lookup, text: string, types: readonly string[]): Proven | undefined {
    const parsed = parseToken(text);
    if (parsed === undefined || !types.includes(parsed.type)) return undefined;
    const row = this.#tokens.find(lookup, parsed.publicId);
    const presented = hashToken(this.#pepper, parsed.hashInput);
    // SECURITY: an unknown id takes the same work as a wrong secret, and the comparison takes constant time (LK-10).
    const matches = equalBytes(presented, row?.hash ?? NO_HASH);
    const workload = this.#workloads.find(lookup, row?.subject_id ?? parsed.publicId);
    if (row === undefined || !matches || row.type !== parsed.type || row.revoked_at !== null) return undefined;
    if (workload === undefined || workload.revoked_at !== null) return undefined;
    if (!this.#originLives(lookup, row, workload)) return undefined;
    return {
      principal: toPrincipal(workload, row, Math.min(row.expires_at, workload.expires_at)),
      issuedAtMs: row.created_at,
    };
  }

  /** SECURITY: an access token is valid only while the secret or key that it was exchanged for is: not revoked, replaced or removed. */
  #originLives(lookup: Lookup, { origin, subject_id }: TokenRow, workload: WorkloadRow): boolean {
    if (origin === null) return true;
    if (origin.startsWith(KEY_ID_PREFIX)) return hasKey(workload, origin);
    const secret = this.#tokens.find(lookup, origin);
    return secret !== undefined && secret.subject_id === subject_id && secret.revoked_at === null;
  }

  #markUsed(books: Bookkeeping<'authentication'>, principal: WorkloadPrincipal, nowMs: number): void {
    const last = this.#usedAtMs.get(principal.tokenId);
    if (last !== undefined && nowMs - last < LIMITS.lastUsedResolutionMs) return;
    this.#usedAtMs.set(principal.tokenId, nowMs);
    if (principal.tokenType !== 'assertion') this.#tokens.markUsed(books, principal.tokenId, nowMs);
    this.#workloads.markUsed(books, principal.id, nowMs);
  }
}

function inForce(proven: Proven | undefined, nowMs: number): WorkloadPrincipal | undefined {
  if (proven === undefined) return undefined;
  const { principal, issuedAtMs } = proven;
  return isInForce(issuedAtMs, principal.expiresAtMs, nowMs) ? principal : undefined;
}

/** Whether the workload's key set contains the key with this id. */
function hasKey({ jwks }: WorkloadRow, keyId: string): boolean {
  return jwks !== null && (JSON.parse(jwks) as { keys: object[] }).keys.some((key) => publicKeyId(key) === keyId);
}

type Proof = Pick<TokenRow, 'public_id' | 'type' | 'permissions'>;

function toPrincipal(workload: WorkloadRow, token: Proof, expiresAtMs: number): WorkloadPrincipal {
  const own = JSON.parse(workload.permissions) as WorkloadPermission[];
  const narrowed = token.permissions === null ? own : (JSON.parse(token.permissions) as WorkloadPermission[]);
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
    tokenId: token.public_id,
    tokenType: token.type,
    expiresAtMs,
  };
}
