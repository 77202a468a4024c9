// The one door (D3): who is it, may they, is more proof needed, record, then act. Every use case enters here and only here is an
// Access made. It must never let an effect run whose event is not in the same batch, nor turn an error into a yes.

import type { AuditLog } from '../audit/audit-log.ts';
import type { EventActor, EventDetails, EventInput, EventTarget } from '../audit/event.ts';
import type { Clock } from '../base/clock.ts';
import { type ErrorCode, fail, KeyturnError } from '../base/errors.ts';
import { type Access, takeAccessMint } from '../cell/access.ts';
import { type Cell, isStorageFailure } from '../cell/cell.ts';
import type { AuthorizationContext, AuthorizationResource, Authorizer, DecisionMemo } from './authorizer.ts';
import { type Need, OPERATIONS, type Operation } from './operations.ts';
import { type Caller, type Principal, type SystemPrincipal, userAt, type WorkloadPrincipal } from './principals.ts';

const mint = takeAccessMint();

/** What a use case wants to touch, found before the decision with a lookup Access. */
export interface Found<S> {
  readonly resource: AuthorizationResource;
  readonly target: EventTarget;
  /** Undefined when there is no such thing; the caller learns that only if they might have known. */
  readonly subject: S | undefined;
  /** Where the same `resource` is found again and again: remembers the last decision about it. */
  readonly memo?: DecisionMemo;
}

export interface Place {
  readonly cellId: string;
  /** Absent for the home cell. */
  readonly tenantId?: string;
  readonly demo: boolean;
  contained(): boolean;
}

export interface DoorOptions {
  readonly cell: Cell;
  readonly audit: AuditLog;
  readonly authorizer: Authorizer;
  readonly clock: Clock;
  readonly place: Place;
  /** Absent in the home cell, where no workload lives. */
  readonly workload?: (lookup: Access, token: string) => WorkloadPrincipal | undefined;
  /** @throws rate_limited */
  readonly admit: (principalId: string) => void;
}

type Effect<S, T> = (access: Access, subject: S, details: EventDetails, principal: Principal) => T;

/** How long a second factor counts as fresh (security-review 1.1: step-up max_age 300 s). */
const SECOND_FACTOR_FRESH_MS = 300_000;

export class Door {
  readonly #o: DoorOptions;

  constructor(options: DoorOptions) {
    this.#o = options;
  }

  /**
   * Runs `effect` for the caller, or throws; either way the event is in this batch. Call only inside a job of the cell.
   * @throws unauthenticated | forbidden | not_found | insufficient_user_authentication | approval_required | rate_limited
   */
  enter<S, T>(caller: Caller, operation: Operation, find: (lookup: Access) => Found<S>, effect: Effect<S, T>): T {
    return this.enterAs(this.authenticate(caller), caller, operation, find, effect);
  }

  /** As `enter`, for a principal that was authenticated by other means than a bearer token. */
  enterAs<S, T>(
    principal: Principal,
    caller: Caller | undefined,
    operation: Operation,
    find: (lookup: Access) => Found<S>,
    effect: Effect<S, T>,
  ): T {
    this.#o.admit(principal.id);
    const found = this.#find(principal, caller, operation, find);
    const refusal = this.#refusal(principal, caller, operation, found);
    if (refusal !== undefined) {
      const outcome = refusal.code === 'not_found' && refusal.evidence === undefined ? 'failure' : 'denied';
      this.#record(principal, caller, operation, found.target, outcome, refusal.evidence ?? refusal.code);
      throw refusal;
    }
    return this.#act(principal, caller, operation, found, effect);
  }

  /**
   * SECURITY: for a user without any role here, whatever they ask: the answer of a tenant that is not there, and the attempt in its log
   * (AZ-01, X4); at the home cell, for one that really is not. Call only inside a job. @throws not_found always
   */
  turnAway(caller: Caller, operation: Operation): never {
    const { tenantId } = this.#o.place;
    const target = { type: 'tenant', ...(tenantId === undefined ? {} : { id: tenantId }) };
    const reason = tenantId === undefined ? 'no such tenant' : 'no role at this tenant';
    this.#record(this.authenticate(caller), caller, operation, target, 'denied', reason);
    throw new KeyturnError('not_found', 'no such tenant');
  }

  /** The scheduler's way in: no caller, its own policy file, the same record. */
  enterAsSystem<S, T>(task: string, operation: Operation, find: (lookup: Access) => Found<S>, effect: Effect<S, T>): T {
    const principal: SystemPrincipal = { type: 'System', id: task, revision: 0, roles: [] };
    return this.enterAs(principal, undefined, operation, find, effect);
  }

  /** @throws unauthenticated, the same for every kind of bad token */
  authenticate(caller: Caller): Principal {
    if (caller.user !== undefined) return userAt(caller.user, this.#o.place.tenantId);
    const token = caller.token;
    const workload = this.#o.workload;
    if (token === undefined || workload === undefined) return unauthenticated();
    return this.lookup('authentication', (lookup) => workload(lookup, token)) ?? unauthenticated();
  }

  /** A short-lived Access for finding out who and what; it ends when `use` returns. */
  lookup<T>(principalId: string, use: (lookup: Access) => T): T {
    const access = mint.make({ cellId: this.#o.place.cellId, principalId, operation: 'lookup' });
    try {
      return use(access);
    } finally {
      mint.end(access);
    }
  }

  /** Records something that happened outside any use case (a refused token, a start, a witness gap). Inside a job. */
  note(input: Omit<EventInput, 'source'>, caller?: Caller): void {
    this.#o.audit.record({ ...input, source: caller === undefined ? undefined : this.#o.audit.sources.idFor(caller.source) });
  }

  /** What cannot even be looked up, as a changed row cannot, was asked for all the same. */
  #find<S>(principal: Principal, caller: Caller | undefined, operation: Operation, find: (lookup: Access) => Found<S>): Found<S> {
    try {
      return this.lookup(principal.id, find);
    } catch (error) {
      if (isStorageFailure(error)) throw error;
      const code: ErrorCode = error instanceof KeyturnError ? error.code : 'internal';
      const target = { type: OPERATIONS[operation].resource.toLowerCase() };
      this.#record(principal, caller, operation, target, 'failure', code);
      throw error;
    }
  }

  #act<S, T>(principal: Principal, caller: Caller | undefined, operation: Operation, found: Found<S>, effect: Effect<S, T>): T {
    const subject = found.subject as S;
    const details: EventDetails = {};
    const access = mint.make({ cellId: this.#o.place.cellId, principalId: principal.id, operation });
    try {
      // INVARIANT: the event is in the effect's own savepoint: one that cannot be recorded takes the effect with it (test/vault/lost-batch.test.ts).
      const run = () => {
        const result = effect(access, subject, details, principal);
        this.#record(principal, caller, operation, found.target, 'success', 'allowed', details);
        return result;
      };
      return OPERATIONS[operation].writes ? this.#o.cell.sql.transaction(run) : run();
    } catch (error) {
      if (isStorageFailure(error)) throw error;
      const code: ErrorCode = error instanceof KeyturnError ? error.code : 'internal';
      this.#record(principal, caller, operation, found.target, 'failure', code, details);
      throw error;
    } finally {
      mint.end(access);
    }
  }

  #refusal<S>(principal: Principal, caller: Caller | undefined, operation: Operation, found: Found<S>): KeyturnError | undefined {
    const context = this.#context(principal, caller, operation, found);
    const decision = this.#o.authorizer.decide(principal, operation, found.resource, context, found.memo);
    if (!decision.allow) {
      const missing = this.#onlyProofIsMissing(principal, operation, found, context);
      return missing ?? this.#denial(principal, found, context, decision.reason);
    }
    if (found.subject === undefined) return new KeyturnError('not_found', `no such ${found.target.type}`);
    return this.#missingProof(principal, operation, context);
  }

  /** Policies may ask for the second factor themselves; the caller then learns that, and not a plain no. */
  #onlyProofIsMissing<S>(
    principal: Principal,
    operation: Operation,
    found: Found<S>,
    context: AuthorizationContext,
  ): KeyturnError | undefined {
    if (context.mfaFresh || principal.type !== 'User' || found.subject === undefined) return undefined;
    const fresh = this.#o.authorizer.decide(principal, operation, found.resource, { ...context, mfaFresh: true });
    return fresh.allow ? this.#missingProof(principal, operation, context) : undefined;
  }

  #denial<S>(principal: Principal, found: Found<S>, context: AuthorizationContext, reason: string): KeyturnError {
    if (this.#o.place.contained()) return new KeyturnError('sealed', 'this tenant is contained', { evidence: reason });
    // SECURITY: who may not even see it gets the answer of a missing thing (D10, AZ-01).
    const visible = found.subject !== undefined && this.#maySee(principal, found, context);
    return visible
      ? new KeyturnError('forbidden', 'your role does not allow this', { evidence: reason })
      : new KeyturnError('not_found', `no such ${found.target.type}`, { evidence: reason });
  }

  #maySee<S>(principal: Principal, { resource, target }: Found<S>, context: AuthorizationContext): boolean {
    const isPerson = target.type === 'user' && target.id !== undefined;
    const operation = isPerson ? 'user.list' : SEEING[resource.type];
    const permitted = principal.type !== 'Workload' || principal.operations.has(operation);
    return this.#o.authorizer.decide(principal, operation, resource, { ...context, permitted }).allow;
  }

  /** Operations marked in operations.ts as needing a second factor or a second person stop here. */
  #missingProof(principal: Principal, operation: Operation, context: AuthorizationContext): KeyturnError | undefined {
    const need: Need = principal.type === 'User' ? OPERATIONS[operation].userNeeds : 'nothing';
    if (need === 'nothing') return undefined;
    // The bundled tour must run before anyone has a second factor: the first owner, in the demo tenant, and nowhere else.
    if (context.demo && principal.type === 'User' && principal.identity.bootstrap) return undefined;
    if (need === 'step-up' && !context.mfaFresh) {
      return new KeyturnError('insufficient_user_authentication', 'a fresh second factor is needed', {
        evidence: 'needs step-up',
      });
    }
    if (need === 'approval' && !context.approved) {
      return new KeyturnError('approval_required', 'the consent of a second person is needed', { evidence: 'needs approval' });
    }
    return undefined;
  }

  #context<S>(principal: Principal, caller: Caller | undefined, operation: Operation, found: Found<S>): AuthorizationContext {
    const { place, clock } = this.#o;
    const user = principal.type === 'User' ? principal : undefined;
    const workload = principal.type === 'Workload' ? principal : undefined;
    const secondFactorAtMs = user?.identity.secondFactorAtMs;
    return {
      assigned: user?.assigned ?? false,
      inNetwork: workload === undefined || (caller !== undefined && workload.networks.contains(caller.source.address)),
      inScope: workload === undefined || inScope(workload, found),
      permitted: workload === undefined || operation === 'token.exchange' || workload.operations.has(operation),
      mfaFresh: secondFactorAtMs !== undefined && clock.now() - secondFactorAtMs < SECOND_FACTOR_FRESH_MS,
      approved: false,
      demo: place.demo,
      contained: place.contained(),
    };
  }

  #record(
    principal: Principal,
    caller: Caller | undefined,
    operation: Operation,
    target: EventTarget,
    outcome: EventInput['outcome'],
    reason: string,
    details?: EventDetails,
  ): void {
    this.#o.audit.record({
      action: operation,
      actor: actorOf(principal),
      outcome,
      reason,
      // The system's own events have no request: their place in the log makes the id unique.
      request: caller?.request ?? `${principal.id}:${this.#o.audit.size}`,
      clientRequest: caller?.clientRequest,
      source: caller === undefined ? undefined : this.#o.audit.sources.idFor(caller.source),
      target,
      details: details !== undefined && Object.keys(details).length > 0 ? details : undefined,
      workflow: caller?.workflow,
      workflowRun: caller?.workflowRun,
    });
  }
}

/** The operation whose permission means "may know that it exists". */
const SEEING: Record<AuthorizationResource['type'], Operation> = {
  Installation: 'tenant.list',
  Tenant: 'tenant.read',
  Environment: 'credential.list',
  Credential: 'credential.describe',
  Workload: 'workload.list',
  AuditLog: 'audit.read',
  TenantKey: 'key.list',
};

function inScope<S>(workload: WorkloadPrincipal, found: Found<S>): boolean {
  const { environment, name, type } = found.target;
  if (type === 'workload') return found.target.id === workload.id;
  if (environment !== workload.environment) return false;
  return type === 'environment' || (name !== undefined && workload.matches(name));
}

export function actorOf(principal: Principal): EventActor {
  return { type: principal.type.toLowerCase() as EventActor['type'], id: principal.id };
}

function unauthenticated(): never {
  return fail('unauthenticated', 'the token is missing, unknown, expired or revoked');
}
