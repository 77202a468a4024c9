// The one door (D3): authenticates, decides, demands further proof, records, then acts. Every use case enters here; no other module
// makes an access. It must never run an effect whose event is not in the same batch, nor turn an error into an allow.

import type { AuditLog } from '../audit/audit-log.ts';
import type { EventActor, EventDetails, EventInput, EventTarget } from '../audit/event.ts';
import { type Clock, isInForce } from '../base/clock.ts';
import { type ErrorCode, fail, KeyturnError } from '../base/errors.ts';
import {
  type Bookkeeping,
  type BookkeepingTask,
  type Lookup,
  type ReadAccess,
  takeAccessMint,
  type WriteAccess,
} from '../cell/access.ts';
import { type Cell, isStorageFailure } from '../cell/cell.ts';
import { sha256OfText } from '../crypto/primitives.ts';
import type { AuthorizationContext, AuthorizationResource, Authorizer, DecisionMemo } from './authorizer.ts';
import { Denials } from './denials.ts';
import type { IdempotentAnswers, Repeatable, StoredAnswer } from './idempotent-answers.ts';
import { type Need, OPERATIONS, type Operation, PERSONAL_OPERATIONS, type WriteOperation } from './operations.ts';
import { type Caller, type Principal, type SystemPrincipal, userAt, type WorkloadPrincipal } from './principals.ts';

const mint = takeAccessMint();

/** The object that a use case acts on, found with a Lookup before the decision. */
export interface Found<S> {
  readonly resource: AuthorizationResource;
  readonly target: EventTarget;
  /** Undefined when it does not exist; only a caller who may see such objects learns that. */
  readonly subject: S | undefined;
  /** For a `resource` that is found often: caches the last decision about it. */
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
  /** Absent in the home cell, which has no workloads. */
  readonly workload?: ((books: Bookkeeping<'authentication'>, token: string) => WorkloadPrincipal | undefined) | undefined;
  readonly later: (delayMs: number, task: () => void) => void;
  /** @throws rate_limited */
  readonly admit: (principalId: string) => void;
  readonly answers: IdempotentAnswers;
}

/** A principal's attempt of an operation. */
interface Attempt<O extends Operation = Operation> {
  readonly principal: Principal;
  /** Undefined for the system. */
  readonly caller: Caller | undefined;
  readonly operation: O;
}

/** The outcome of an attempt, for its event. */
interface Result extends Pick<EventInput, 'outcome' | 'reason'> {
  readonly details?: EventDetails;
}

/** The access that an operation's effect gets: only an operation that changes state can change rows. */
export type AccessFor<O extends Operation> = O extends WriteOperation ? WriteAccess : ReadAccess;
type Effect<O extends Operation, S, T> = (access: AccessFor<O>, subject: S, details: EventDetails, principal: Principal) => T;

export interface FirstAnswer<T> {
  /** The answer to repetitions of the request. */
  readonly kept: StoredAnswer;
  readonly value: T;
}
export type OnceAnswered<T> =
  | { readonly kind: 'first'; readonly value: T }
  | { readonly kind: 'repeated'; readonly answer: StoredAnswer };

/** Thrown through the use case to `Door.once`: the stored answer of an earlier request with the same key. */
class Replay {
  readonly answer: StoredAnswer;

  constructor(answer: StoredAnswer) {
    this.answer = answer;
  }
}

const failures = new WeakMap<EventDetails, ErrorCode>();

/** Marks the effect as failed: its event gets the outcome `failure` and this reason; its changes are kept. */
export function recordFailure(details: EventDetails, code: ErrorCode): void {
  failures.set(details, code);
}

/** How long a second factor counts as fresh (security-review 1.1: step-up max_age 300 s). */
const SECOND_FACTOR_FRESH_MS = 300_000;

export class Door {
  readonly #o: DoorOptions;
  /** Set while `once` runs its use case, which is synchronous. */
  #repeatable: (Repeatable & { readonly operation: Operation }) | undefined;

  readonly #denials: Denials;

  constructor(options: DoorOptions) {
    this.#o = options;
    const { clock, later } = options;
    this.#denials = new Denials({ clock, later, write: (count) => options.cell.submit(() => this.#noteDenials(count)) });
  }

  /** Call before the cell closes: writes the denials counted since the last summary. */
  close(): void {
    this.#denials.flush();
  }

  /**
   * Runs `effect` for the caller, or throws; either way the event is in this batch.
   * @throws unauthenticated | forbidden | not_found | insufficient_user_authentication | approval_required | rate_limited
   */
  enter<O extends Operation, S, T>(caller: Caller, operation: O, find: (lookup: Lookup) => Found<S>, effect: Effect<O, S, T>): T {
    return this.enterAs(this.authenticate(caller), caller, operation, find, effect);
  }

  /** As `enter`, for a principal that was authenticated by other means than a bearer token. */
  enterAs<O extends Operation, S, T>(
    principal: Principal,
    caller: Caller | undefined,
    operation: O,
    find: (lookup: Lookup) => Found<S>,
    effect: Effect<O, S, T>,
  ): T {
    this.#o.cell.requireBatch();
    this.#o.admit(principal.id);
    const attempt = { principal, caller, operation };
    const found = this.#find(attempt, find);
    const refusal = this.#refusal(attempt, found);
    if (refusal !== undefined) {
      // Without evidence: the caller may know of such objects, and this one does not exist. That is a failure, not a denial.
      const outcome = refusal.evidence === undefined ? 'failure' : 'denied';
      this.#record(attempt, found.target, { outcome, reason: refusal.evidence ?? refusal.code });
      throw refusal;
    }
    return this.#act(attempt, found, effect);
  }

  /**
   * Refuses a user without a role at this tenant; at the home cell, a user who names a tenant that does not exist.
   * SECURITY: both get the same answer, and the attempt is in the log (AZ-01, X4). @throws not_found always
   */
  turnAway(caller: Caller, operation: Operation): never {
    const { tenantId } = this.#o.place;
    const target = { type: 'tenant', ...(tenantId === undefined ? {} : { id: tenantId }) };
    const reason = tenantId === undefined ? 'no such tenant' : 'no role at this tenant';
    this.#record({ principal: this.authenticate(caller), caller, operation }, target, { outcome: 'denied', reason });
    throw new KeyturnError('not_found', 'no such tenant');
  }

  /** Records a denial that was decided without the policies. */
  refuse(principal: Principal, caller: Caller, operation: Operation, target: EventTarget, reason: string): void {
    this.#record({ principal, caller, operation }, target, { outcome: 'denied', reason });
  }

  /** As `enter`, for the scheduler: without a caller, under the policy file `roles/system`. */
  enterAsSystem<O extends Operation, S, T>(
    task: string,
    operation: O,
    find: (lookup: Lookup) => Found<S>,
    effect: Effect<O, S, T>,
  ): T {
    const principal: SystemPrincipal = { type: 'System', id: task, revision: 0, roles: [] };
    return this.enterAs(principal, undefined, operation, find, effect);
  }

  /** @throws unauthenticated, the same for every kind of bad token */
  authenticate(caller: Caller): Principal {
    if (caller.user !== undefined) return userAt(caller.user, this.#o.place.tenantId);
    const token = caller.token;
    const workload = this.#o.workload;
    if (token === undefined || workload === undefined) return unauthenticated();
    return this.keepBooks('authentication', (books) => workload(books, token)) ?? unauthenticated();
  }

  /** Access for lookups before the decision; ends when `use` returns. `purpose` is a text for readers only. */
  lookup<T>(purpose: string, use: (lookup: Lookup) => T): T {
    return this.#during(mint.lookup({ principalId: purpose, purpose }), use);
  }

  /**
   * Access for one kind of change without an event (listed in cell/access.ts); ends when `use` returns. When `use` throws, its changes are
   * undone, except those of `authentication`.
   */
  keepBooks<B extends BookkeepingTask, T>(task: B, use: (books: Bookkeeping<B>) => T): T {
    this.#o.cell.requireBatch();
    const run = () => this.#during(mint.bookkeeping(task), use);
    // Each change of an authentication stands alone, and an assertion that was presented stays used. Every request pays for a savepoint here.
    return task === 'authentication' ? run() : this.#o.cell.savepoint(run);
  }

  /**
   * Runs a change that the installation makes without a caller and without a policy decision: its first owner, a tenant's environments.
   * The event is in the same savepoint as the effect.
   */
  record<T>(input: Omit<EventInput, 'source' | 'outcome'>, effect: (access: WriteAccess) => T): T {
    const access = mint.write({ principalId: input.actor.id, purpose: input.action });
    return this.#o.cell.savepoint(() => {
      const result = this.#during(access, effect);
      this.note({ ...input, outcome: 'success' });
      return result;
    });
  }

  /**
   * Runs a use case once per Idempotency-Key of the caller: a repetition gets the stored answer after authentication, rate limit and
   * authorization. @throws idempotency_mismatch when the key was used for another request
   */
  once<T>(caller: Caller, operation: Operation, repeat: Repeatable, useCase: () => FirstAnswer<T>): OnceAnswered<T> {
    this.#o.cell.requireBatch();
    const principal = this.authenticate(caller);
    this.#repeatable = { ...repeat, operation };
    try {
      const { kept, value } = useCase();
      this.keepBooks('idempotency', (books) => this.#o.answers.keep(books, principal, repeat, kept));
      return { kind: 'first', value };
    } catch (thrown) {
      if (thrown instanceof Replay) return { kind: 'repeated', answer: thrown.answer };
      throw thrown;
    } finally {
      this.#repeatable = undefined;
    }
  }

  #during<A extends Lookup, T>(access: A, use: (access: A) => T): T {
    try {
      return use(access);
    } finally {
      mint.end(access);
    }
  }

  /** Records an event outside any use case (a refused token, a start, a witness gap). */
  note(input: Omit<EventInput, 'source'>, caller?: Caller): void {
    this.#o.audit.record({ ...input, source: caller === undefined ? undefined : this.#o.audit.sources.idFor(caller.source) });
  }

  #noteDenials(count: number): void {
    this.note({
      action: 'authorization',
      actor: { type: 'system', id: 'denials' },
      outcome: 'denied',
      reason: 'beyond the limit for single events',
      request: `denials:${this.#o.audit.size}`,
      target: { type: 'requests' },
      details: { count },
    });
  }

  /** A failed lookup (for example of a tampered row) is recorded too: the caller asked for the object. */
  #find<S>(attempt: Attempt, find: (lookup: Lookup) => Found<S>): Found<S> {
    try {
      return this.lookup(attempt.principal.id, find);
    } catch (error) {
      if (isStorageFailure(error)) throw error;
      const code: ErrorCode = error instanceof KeyturnError ? error.code : 'internal';
      const target = { type: OPERATIONS[attempt.operation].resource.toLowerCase() };
      this.#record(attempt, target, { outcome: 'failure', reason: code });
      throw error;
    }
  }

  #act<O extends Operation, S, T>(attempt: Attempt<O>, found: Found<S>, effect: Effect<O, S, T>): T {
    const { principal, operation } = attempt;
    const subject = found.subject as S;
    const details: EventDetails = {};
    const { writes } = OPERATIONS[operation];
    const passage = { principalId: principal.id, purpose: operation };
    const access = (writes ? mint.write(passage) : mint.read(passage)) as AccessFor<O>;
    try {
      // INVARIANT: event and effect share a savepoint: when the event cannot be recorded, the effect is undone (test/vault/lost-batch.test.ts).
      const run = () => {
        const result = effect(access, subject, details, principal);
        const failure = failures.get(details);
        const outcome = failure === undefined ? 'success' : 'failure';
        this.#record(attempt, found.target, { outcome, reason: failure ?? 'allowed', details });
        return result;
      };
      return writes ? this.#o.cell.savepoint(run) : run();
    } catch (error) {
      if (isStorageFailure(error)) throw error;
      const code: ErrorCode = error instanceof KeyturnError ? error.code : 'internal';
      this.#record(attempt, found.target, { outcome: 'failure', reason: code, details });
      throw error;
    } finally {
      mint.end(access);
    }
  }

  #refusal<S>(attempt: Attempt, found: Found<S>): KeyturnError | undefined {
    const { principal, caller, operation } = attempt;
    const context = this.#context(principal, caller, operation, found);
    const decision = this.#o.authorizer.decide(principal, operation, found.resource, context, found.memo);
    if (!decision.allow) {
      const missing = this.#onlyProofIsMissing(principal, operation, found, context);
      return missing ?? this.#denial(attempt, found, context, decision.reason);
    }
    const proof = this.#missingProof(principal, operation, context);
    if (proof !== undefined && found.subject !== undefined) return proof;
    if (this.#repeatable?.operation === operation) this.#replay(attempt, this.#repeatable, found.target);
    return found.subject === undefined ? new KeyturnError('not_found', `no such ${found.target.type}`) : undefined;
  }

  /** SECURITY: called only after the request was allowed with the rights of now: a stored answer never replaces a right that was lost. */
  #replay(attempt: Attempt, repeat: Repeatable, target: EventTarget): void {
    const known = this.lookup('idempotency', (lookup) => this.#o.answers.find(lookup, attempt.principal, repeat));
    if (known === undefined) return;
    if (known === 'mismatch') {
      this.#record(attempt, target, { outcome: 'failure', reason: 'idempotency_mismatch' });
      throw new KeyturnError('idempotency_mismatch', 'this Idempotency-Key was used for another request');
    }
    this.#record(attempt, target, { outcome: 'success', reason: 'idempotent replay' });
    throw new Replay(known);
  }

  /** Policies may require a second factor themselves; the caller then gets that error instead of `forbidden`. */
  #onlyProofIsMissing<S>(
    principal: Principal,
    operation: Operation,
    found: Found<S>,
    context: AuthorizationContext,
  ): KeyturnError | undefined {
    if (principal.type !== 'User' || found.subject === undefined) return undefined;
    const fresh = this.#o.authorizer.decide(principal, operation, found.resource, { ...context, mfaFresh: true });
    return fresh.allow ? this.#missingProof(principal, operation, context) : undefined;
  }

  #denial<S>({ principal, operation }: Attempt, found: Found<S>, context: AuthorizationContext, reason: string): KeyturnError {
    if (this.#o.place.contained()) return new KeyturnError('sealed', 'this tenant is contained', { evidence: reason });
    // SECURITY: a caller who may not see the object gets the answer for a missing one (D10, AZ-01).
    const visible = found.subject !== undefined && this.#maySee(principal, found, context);
    const isAnothers = PERSONAL_OPERATIONS.has(operation) && principal.type === 'User';
    const detail = isAnothers
      ? 'only the person themselves makes and ends their tokens, whatever role another has'
      : 'your role does not allow this operation';
    return visible
      ? new KeyturnError('forbidden', detail, { evidence: reason })
      : new KeyturnError('not_found', `no such ${found.target.type}`, { evidence: reason });
  }

  #maySee<S>(principal: Principal, { resource, target }: Found<S>, context: AuthorizationContext): boolean {
    // Every tenant has keys and a log, so whoever may see the tenant knows of them; a workload belongs to its tenant.
    if (resource.type === 'AuditLog' || resource.type === 'TenantKey') {
      const tenant = resource.tenant === undefined ? {} : { tenant: resource.tenant };
      return (
        principal.type !== 'User' ||
        this.#o.authorizer.decide(principal, 'tenant.read', { type: 'Tenant', ...tenant }, context).allow
      );
    }
    const isPerson = target.type === 'user' && target.id !== undefined;
    const operation = isPerson ? 'user.list' : SEEING[resource.type];
    const permitted = principal.type !== 'Workload' || principal.operations.has(operation);
    const seen = { ...context, permitted, inScope: context.inScope || principal.type === 'User' };
    return this.#o.authorizer.decide(principal, operation, resource, seen).allow;
  }

  /** The error for an operation that needs a second factor or a second person (operations.ts) and does not have it. */
  #missingProof(principal: Principal, operation: Operation, context: AuthorizationContext): KeyturnError | undefined {
    const need: Need = principal.type === 'User' ? OPERATIONS[operation].userNeeds : 'nothing';
    // The tour must run before any user has a second factor: the first owner needs none in the demo tenant, and only there.
    if (context.demo && principal.type === 'User' && principal.identity.bootstrap) return undefined;
    if (need === 'step-up' && !context.mfaFresh) {
      return new KeyturnError('insufficient_user_authentication', 'this operation needs a fresh second factor', {
        evidence: 'needs step-up',
      });
    }
    if (need === 'approval' && !context.approved) {
      return new KeyturnError('approval_required', 'this operation needs the approval of a second person', {
        evidence: 'needs approval',
      });
    }
    return undefined;
  }

  #context<S>(principal: Principal, caller: Caller | undefined, operation: Operation, found: Found<S>): AuthorizationContext {
    const { place, clock } = this.#o;
    const user = principal.type === 'User' ? principal : undefined;
    const workload = principal.type === 'Workload' ? principal : undefined;
    const secondFactorAtMs = user?.identity.secondFactorAtMs;
    return {
      assigned: user?.assigned === true,
      inNetwork: workload === undefined || (caller !== undefined && workload.networks.contains(caller.source.address)),
      inScope: workload === undefined ? inOwnScope(principal, operation, found) : inScope(workload, found),
      permitted: workload === undefined || operation === 'token.exchange' || workload.operations.has(operation),
      mfaFresh:
        secondFactorAtMs !== undefined && isInForce(secondFactorAtMs, secondFactorAtMs + SECOND_FACTOR_FRESH_MS, clock.now()),
      approved: false,
      demo: place.demo,
      contained: place.contained(),
    };
  }

  #record({ principal, caller, operation }: Attempt, target: EventTarget, result: Result): void {
    const { outcome, reason, details } = result;
    // SECURITY: denials are cheap to cause; those beyond a principal's limit share one event (DS-13).
    if (outcome === 'denied' && !this.#denials.take(principal.id)) return;
    this.#o.audit.record({
      action: operation,
      actor: actorOf(principal),
      outcome,
      reason,
      // Events of the system have no request: their position in the log makes the id unique.
      request: caller?.request ?? `${principal.id}:${this.#o.audit.size}`,
      clientRequest: caller?.clientRequest,
      source: caller === undefined ? undefined : this.#o.audit.sources.idFor(caller.source),
      target: outcome === 'success' ? target : withoutForeignText(target),
      details: details !== undefined && Object.keys(details).length > 0 ? details : undefined,
      workflow: caller?.workflow,
      workflowRun: caller?.workflowRun,
    });
  }
}

/** SECURITY: the name of a credential that does not exist is caller input, possibly a secret pasted into the wrong field (LK-16). */
function withoutForeignText(target: EventTarget): EventTarget {
  const { name, ...rest } = target;
  if (name === undefined || target.type !== 'credential' || target.id !== undefined) return target;
  return { ...rest, name_sha256: Buffer.from(sha256OfText(name)).toString('hex') };
}

/** For each type of resource, the operation that a caller must be allowed to know that one exists. */
const SEEING: Record<Exclude<AuthorizationResource['type'], 'AuditLog' | 'TenantKey'>, Operation> = {
  Installation: 'tenant.list',
  Tenant: 'tenant.read',
  Environment: 'credential.list',
  Credential: 'credential.describe',
  Workload: 'workload.list',
};

function inOwnScope<S>(principal: Principal, operation: Operation, { target }: Found<S>): boolean {
  return !PERSONAL_OPERATIONS.has(operation) || target.id === principal.id;
}

function inScope<S>(workload: WorkloadPrincipal, found: Found<S>): boolean {
  const { environment, name, type } = found.target;
  if (type === 'workload') return found.target.id === workload.id;
  if (environment !== workload.environment) return false;
  return type === 'environment' || (name !== undefined && workload.matches(name));
}

function actorOf(principal: Principal): EventActor {
  const token = tokenIdOf(principal);
  const type = principal.type.toLowerCase() as EventActor['type'];
  return { type, id: principal.id, ...(token === '' ? {} : { token }) };
}

/** Empty without a token: the scheduler, the owner at first start. */
function tokenIdOf(principal: Principal): string {
  if (principal.type === 'User') return principal.identity.tokenId;
  return principal.type === 'Workload' ? principal.tokenId : '';
}

function unauthenticated(): never {
  return fail('unauthenticated', 'the token is missing, unknown, expired or revoked');
}
