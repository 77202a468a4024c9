// Whether a principal may do an operation on a class of resource (D8): Cedar decides, a cache keeps decisions.
// It must never allow on an error, nor keep a decision after a fact or policy behind it changed.
import { LRUCache } from 'lru-cache';
import { LIMITS } from '../base/limits.ts';
import { type CedarEngine, type EntityUid, evaluate } from './cedar.ts';
import type { Operation, ResourceType, Role } from './operations.ts';
import { loadBundle, type PolicySource } from './policy-bundle.ts';

export { type CedarEngine, evaluate } from './cedar.ts';
export type { PolicySource } from './policy-bundle.ts';

/** Immutable: a change of roles or facts makes a new object with a new revision. */
export interface AuthorizationPrincipal {
  readonly type: 'User' | 'Workload' | 'System';
  readonly id: string;
  readonly revision: number;
  readonly roles: readonly Role[];
}

/** The class of a resource, by attributes that never change during its life; not the resource itself. */
export interface AuthorizationResource {
  readonly type: ResourceType;
  /** Absent only for the installation. */
  readonly tenant?: string;
  readonly environment?: string;
  readonly kind?: string;
  readonly connector?: string;
}

export interface AuthorizationContext {
  /** The user has a role granted for this tenant by name. */
  readonly assigned: boolean;
  /** True for users. */
  readonly inNetwork: boolean;
  /** Environment and name match the token; true for users. */
  readonly inScope: boolean;
  /** The token's own permissions include the operation; true for users. */
  readonly permitted: boolean;
  readonly mfaFresh: boolean;
  /** A second person approved exactly this operation. */
  readonly approved: boolean;
  readonly demo: boolean;
  /** The tenant or the principal is isolated. */
  readonly contained: boolean;
}

export interface Decision {
  readonly allow: boolean;
  /** Ids of the deciding policies joined by `, `, or `no policy permits`, or `policy error`. */
  readonly reason: string;
  /** The decision is a deny because the evaluation failed; needs an alert. */
  readonly failed: boolean;
  /** The engine's error, for the operator's log only; absent unless `failed`. */
  readonly evidence?: string;
}

/** A cache of one decision, kept beside the resource; only the Authorizer reads or writes it. */
export interface DecisionMemo {
  last?: {
    readonly epoch: object;
    readonly principal: AuthorizationPrincipal;
    readonly operation: Operation;
    readonly resource: AuthorizationResource;
    readonly bits: number;
    readonly decision: Decision;
  };
}

export interface DecisionCounters {
  readonly hits: number;
  readonly misses: number;
  /** Evaluations that failed; anything above zero needs an alert. */
  readonly failures: number;
}

export class Authorizer {
  /** The first 16 hex digits of SHA-256 over schema and policies. */
  readonly policyVersion: string;
  /** `roles/owner#everything` ..., sorted. */
  readonly policyIds: readonly string[];
  readonly #engine: CedarEngine;
  readonly #bundle: string;
  readonly #known = new LRUCache<string, Decision>({ max: LIMITS.decisionCacheEntries });
  /** A decision in a memo is valid only while it carries this object. */
  #epoch: object = {};
  #hits = 0;
  #misses = 0;
  #failures = 0;

  /** @throws internal when a part of `source` is missing, does not parse or does not validate strictly */
  constructor(engine: CedarEngine, source: PolicySource) {
    const bundle = loadBundle(engine, source);
    this.#engine = engine;
    this.#bundle = bundle.hash;
    this.policyVersion = bundle.hash.slice(0, 16);
    this.policyIds = bundle.policyIds;
  }

  /** The decision for this class of request; less than a microsecond when it is cached. Never throws. */
  decide(
    p: AuthorizationPrincipal,
    operation: Operation,
    r: AuthorizationResource,
    c: AuthorizationContext,
    memo?: DecisionMemo,
  ): Decision {
    // INVARIANT: principal and resource are the same objects as in the memo, and both are immutable (test/access/decision-memo.test.ts).
    const last = memo?.last;
    const bits = contextBits(c);
    const isSameThing = last !== undefined && last.principal === p && last.resource === r && last.operation === operation;
    if (isSameThing && last.bits === bits && last.epoch === this.#epoch) {
      this.#hits++;
      return last.decision;
    }
    const decision = this.#recall(p, operation, r, c);
    if (memo !== undefined && !decision.failed)
      memo.last = { epoch: this.#epoch, principal: p, operation, resource: r, bits, decision };
    return decision;
  }

  #recall(p: AuthorizationPrincipal, operation: Operation, r: AuthorizationResource, c: AuthorizationContext): Decision {
    // INVARIANT: the key does not contain the policies, because they cannot change: other policies need another Authorizer.
    const key = decisionKey(p, operation, r, c);
    const known = this.#known.get(key);
    if (known !== undefined) {
      this.#hits++;
      return known;
    }
    this.#misses++;
    const decision = this.#evaluate(p, operation, r, c);
    if (decision.failed) this.#failures++;
    else this.#known.set(key, decision);
    return decision;
  }

  get counters(): DecisionCounters {
    return { hits: this.#hits, misses: this.#misses, failures: this.#failures };
  }

  /** Empties the cache; the counters keep their values. */
  forget(): void {
    this.#known.clear();
    this.#epoch = {};
  }

  #evaluate(p: AuthorizationPrincipal, operation: Operation, r: AuthorizationResource, c: AuthorizationContext): Decision {
    const principal = { type: p.type, id: p.id };
    const resource = { type: r.type, id: classKey(r) };
    const roles = p.roles.map((role): EntityUid => ({ type: 'Role', id: role }));
    const evaluation = evaluate(this.#engine, {
      principal,
      action: { type: 'Action', id: operation },
      resource,
      context: toContext(c),
      preparsedSchemaName: this.#bundle,
      validateRequest: true,
      preparsedPolicySetId: this.#bundle,
      entities: [
        { uid: principal, attrs: {}, parents: roles },
        { uid: resource, attrs: toAttributes(r), parents: [] },
      ],
    });
    if (evaluation.failed) {
      return Object.freeze({ allow: false, reason: 'policy error', failed: true, evidence: evaluation.errors.join('; ') });
    }
    const reason = evaluation.policies.length === 0 ? 'no policy permits' : evaluation.policies.join(', ');
    return Object.freeze({ allow: evaluation.allow, reason, failed: false });
  }
}

/**
 * The key of one class of request; two keys are equal only when all their parts are.
 * INVARIANT: each part is prefixed with its length, so two different lists of parts never give the same text (test/access/authorizer.test.ts).
 */
export function decisionKey(
  p: AuthorizationPrincipal,
  operation: Operation,
  r: AuthorizationResource,
  c: AuthorizationContext,
): string {
  let roles = '';
  for (const role of p.roles) roles += part(role);
  return `${contextBits(c)};${part(operation)}${part(p.type)}${part(p.id)}${p.revision};${p.roles.length};${roles}${r.type};${classKey(r)}`;
}

function classKey(r: AuthorizationResource): string {
  return part(r.tenant) + part(r.environment) + part(r.kind) + part(r.connector);
}

function part(text: string | undefined): string {
  return text === undefined ? '-' : `${text.length}:${text}`;
}

// SECURITY: a fact counts only when it is exactly true, and containment unless it is exactly false, so an omitted fact never widens a
// decision, even where types were not checked.
function contextBits(c: AuthorizationContext): number {
  return (
    (c.assigned === true ? 1 : 0) |
    (c.inNetwork === true ? 2 : 0) |
    (c.inScope === true ? 4 : 0) |
    (c.permitted === true ? 8 : 0) |
    (c.mfaFresh === true ? 16 : 0) |
    (c.approved === true ? 32 : 0) |
    (c.demo === true ? 64 : 0) |
    (c.contained === false ? 0 : 128)
  );
}

function toContext(c: AuthorizationContext): Record<string, boolean> {
  return {
    assigned: c.assigned === true,
    inNetwork: c.inNetwork === true,
    inScope: c.inScope === true,
    permitted: c.permitted === true,
    mfaFresh: c.mfaFresh === true,
    approved: c.approved === true,
    demo: c.demo === true,
    contained: c.contained !== false,
  };
}

function toAttributes({ tenant, environment, kind, connector }: AuthorizationResource): Record<string, string> {
  const given = Object.entries({ tenant, environment, kind, connector });
  return Object.fromEntries(given.filter((entry): entry is [string, string] => entry[1] !== undefined));
}
