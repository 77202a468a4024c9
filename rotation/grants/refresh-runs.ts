// The run engine of one tenant: refreshes by schedule, request and stale read, one at a time per credential, and other due work. It is independent
// of providers. Timers and alarms of the composition root call runDueWork.
import type { Caller } from '../../src/access/principals.ts';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { ReadAccess, WriteAccess } from '../../src/cell/access.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import type { RunRow, RunTrigger } from '../../src/cell/runs.ts';
import { destroyExpired } from '../../src/vault/change-credential.ts';
import { openRequested } from '../../src/vault/change-run.ts';
import type { OAuth2Config } from '../../src/vault/credential-kinds.ts';
import { mayBeTriedAgain } from '../../src/vault/grant-health.ts';
import type { RenewalRules } from '../../src/vault/refresh-schedule.ts';
import { destroyRetiredKeys, rewrapAll, rotateAgedKeys } from '../../src/vault/rotate-keys.ts';
import { type RotationPlan, requireSame } from '../../src/vault/rotation-plan.ts';
import { type RunRequest, requestFacts } from '../../src/vault/run-request.ts';
import { whyDead } from '../../src/vault/stale-grant.ts';
import { credentialTarget, type Located, requireActive } from '../../src/vault/targets.ts';
import type { Refresher, TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { type Connector, type Egress, findConnector } from '../connector.ts';
import type { LeasePorts } from '../engine/due-work.ts';
import { bringForward, purgeExpired } from '../engine/house-keeping.ts';
import { type CallPoints, makeCall } from '../engine/outside-call.ts';
import { ProviderGate, togetherAfter } from '../engine/provider-gate.ts';
import { freeLeasesOfDead, heartbeat } from '../engine/run.ts';
import { boundEgress, destinationsOf } from '../oauth2/destinations.ts';
import { renewGrant } from '../oauth2/mint-token.ts';
import { notSent, type RefreshOutcome } from '../oauth2/refresh.ts';
import type { ResolvedConnector } from '../oauth2/settings.ts';
import { mayReachLoopback, ResolvedConnectors, refuseIgnored, resolveFor, rulesOf } from './connector-settings.ts';
import { DUE_PARTS } from './due-parts.ts';
import { reportOf } from './gate-report.ts';
import { isGuessed, learnExpiry } from './learn-expiry.ts';
import { planRefresh } from './plan-refresh.ts';
import { type Attempt, findWork, holdsLease, type LeaseRequest, openRefresh, takeLease, wipeGrant } from './refresh-lease.ts';
import { type Booked, bookFailure, storeRefreshed } from './refresh-outcome.ts';
import { DueRefreshes, type Turn } from './refresh-queue.ts';

export interface EngineOptions {
  readonly vault: TenantVault;
  readonly egress: Egress;
  readonly connectors: ReadonlyMap<string, Connector>;
  /** Identifies this incarnation of the process or object as lease owner; each incarnation has another id. */
  readonly owner: string;
  /**
   * Whether this lease owner is proven dead, so that its runs may continue at once: on a platform with one owner per cell, every
   * owner except `owner`. Default: false; the lease must expire.
   */
  readonly isDead?: (owner: string) => boolean;
  /** Whether sandbox providers on loopback are allowed. */
  readonly sandboxAllowed: boolean;
  /** Calls `beat` every `everyMs` until the returned function is called. */
  readonly every: (everyMs: number, beat: () => void) => () => void;
  /** Further parts of due work, e.g. rotations of keys; each resolves with how many rows it handled. */
  readonly parts?: readonly (() => Promise<number>)[];
  /** How this platform reaches targets without HTTP. */
  readonly drivers?: LeasePorts['drivers'] & {};
  /** The programs that the operator allows this tenant. Default: none. */
  readonly programs?: LeasePorts['programs'] & {};
  /** Shared by all tenants of the process. Default: a separate one. */
  readonly gate?: ProviderGate;
}

/** How long a refresh waits for the provider's budget: a caller waits for an answer, due work is repeated later. */
const LINE_MAX_MS = { schedule: 1_000, read: LIMITS.breakerProbeMs, request: 5_000 } as const;
/** The result of one pass of due work. */
export interface DueWork {
  readonly refreshed: number;
  readonly destroyed: number;
  readonly rewrapped: number;
}

export class RefreshEngine implements Refresher {
  readonly #o: EngineOptions;
  readonly #gate: ProviderGate;
  readonly #resolved: ResolvedConnectors;
  readonly #inFlight = new Map<string, Promise<Turn>>();
  /** Set when the leases of dead owners are being freed. */
  #recovered: Promise<void> | undefined;
  /** Background work after a pair was stored. */
  readonly #learning = new Set<Promise<void>>();
  #stopping = false;
  readonly #due: DueRefreshes;

  constructor(options: EngineOptions) {
    this.#o = options;
    this.#due = new DueRefreshes(options.vault);
    this.#resolved = new ResolvedConnectors(options.connectors);
    this.#gate = options.gate ?? new ProviderGate(options.vault.platform.clock);
    void this.#recover();
  }

  /** The ports for routes and due work. */
  get ports(): LeasePorts {
    return this.#o;
  }

  /** Settles when the leases of dead owners are free. If the cell cannot be written, they stay until they expire or it can. */
  #recover(): Promise<void> {
    const { vault, isDead } = this.#o;
    if (isDead === undefined) return Promise.resolve();
    this.#recovered ??= vault
      .submit((job) => freeLeasesOfDead(job, isDead))
      .catch(() => {
        this.#recovered = undefined;
      });
    return this.#recovered;
  }

  /** No refresh is under way. */
  get idle(): boolean {
    return this.#inFlight.size === 0 && this.#learning.size === 0;
  }

  /** Concurrent callers share one refresh; a caller that disconnects does not cancel it. */
  async refreshNow(credentialId: string, trigger: RunTrigger = 'read', force = false): Promise<number | undefined> {
    const turn = await this.#refreshOnce(credentialId, trigger, force);
    return turn === 'done' ? undefined : turn.heldForMs;
  }

  #refreshOnce(credentialId: string, trigger: RunTrigger, force: boolean): Promise<Turn> {
    const running = this.#inFlight.get(credentialId);
    if (running !== undefined) return running;
    if (this.#stopping) return Promise.resolve({ heldForMs: LIMITS.stoppingAgainMs });
    const started = this.#refresh(credentialId, trigger, force).finally(() => this.#inFlight.delete(credentialId));
    this.#inFlight.set(credentialId, started);
    return started;
  }

  /** Starts no new refresh and waits for those in progress: an answer after the database is closed would be a lost grant (D6). */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.allSettled([...this.#inFlight.values(), ...this.#learning]);
  }

  /** Opens a run for the caller, or returns the open one; `start` executes it. @throws not_rotatable | gone | needs_consent */
  open(job: TenantJob, caller: Caller, environment: string, name: string, request: RunRequest = {}): RunRow {
    return job.door.enter(
      caller,
      'credential.rotate',
      (lookup) => credentialTarget(job, lookup, environment, name),
      (access, located, details) => {
        const row = requireActive(located.row);
        if (row.kind !== 'oauth2')
          fail('not_rotatable', 'the kind of this credential cannot be rotated yet: put a new version instead');
        if (row.health === 'needs_consent') this.#refuseDead(job, access, row);
        if (row.health === 'disconnected') fail('needs_consent', 'the account is disconnected: connect it again');
        const open = () => {
          requireSame(this.plan(job, access, located), request.plan);
          return openRefresh(job, access, row, 'request', { kind: 'rotation', facts: requestFacts(request) });
        };
        const run = openRequested(job, access, located, request, open);
        details.trigger = 'request';
        details.run = run.id;
        return run;
      },
    );
  }

  /** What a refresh on request would do now. Nothing outside is called. */
  plan(job: TenantJob, access: ReadAccess, located: Located): RotationPlan {
    return planRefresh(job, access, located, this.#resolved.of(located.row));
  }

  /** A grant that ended because of lost answers may be tried once more for each request (decision 0003). @throws needs_consent */
  #refuseDead(job: TenantJob, access: WriteAccess, row: CredentialRow): void {
    if (!mayBeTriedAgain(row.health_cause)) fail('needs_consent', whyDead(row));
    const endedAt = job.runs.requestEndedAt(access, row.id);
    const since = endedAt === undefined ? undefined : job.platform.clock.now() - endedAt;
    if (since !== undefined && since >= 0 && since < LIMITS.refreshCoolDownMs)
      fail(
        'needs_consent',
        'the stored tokens were tried less than 30 s ago: connect the account again, or repeat the request later',
      );
  }

  /** Executes an opened run in the background; its journal records the progress. */
  start(credentialId: string): void {
    // A failure is in the run's journal or, if it could not be written, is repeated by due work.
    this.refreshNow(credentialId, 'request', true).catch(() => {});
  }

  /** Does due work, bounded. The caller calls again at `vault.nextDueAt()`. */
  async runDueWork(): Promise<DueWork> {
    const { vault } = this.#o;
    vault.planLookedAt();
    await this.#recover();
    // Refreshes first, each part separately: a damaged row must not prevent the refresh of other grants (CR-01).
    const failures: unknown[] = [];
    const part = async <T>(work: () => T | Promise<T>): Promise<T | 0> => {
      try {
        return await work();
      } catch (error) {
        failures.push(error);
        return 0;
      }
    };
    const refreshed = await part(() => this.#due.run((id) => this.#refreshOnce(id, 'schedule', false)));
    await part(() => bringForward(vault));
    for (const due of DUE_PARTS) await part(() => due(this.#o));
    for (const due of this.#o.parts ?? []) await part(due);
    const destroyed = await part(() => vault.submit((job) => destroyExpired(job, LIMITS.dueWorkBatchRows)));
    if (vault.keysAreDue()) await part(() => vault.submit((job) => rotateAgedKeys(job)));
    const rewrapped = await part(() => rewrapAll(vault));
    await part(() => destroyRetiredKeys(vault));
    await part(() => vault.submit((job) => purgeExpired(job)));
    if (failures.length > 0) throw failures[0];
    return { refreshed, destroyed, rewrapped };
  }

  async #refresh(credentialId: string, trigger: RunTrigger, force: boolean): Promise<Turn> {
    const { vault } = this.#o;
    const wanted: LeaseRequest = {
      owner: this.#o.owner,
      trigger,
      force,
      allowLoopback: (connector, config) => mayReachLoopback(this.#o.sandboxAllowed, connector, config),
      resolve: (row) => this.#resolved.of(row),
    };
    await this.#recover();
    try {
      for (let tries = 0; tries < LIMITS.refreshTriesMax; tries++) {
        const work = vault.lookup('scheduler', (lookup, view) => findWork(view, lookup, credentialId, wanted));
        if (work === undefined) return 'done';
        // Delayed before the lease, so that a delay causes neither an attempt nor an event.
        const resolved = this.#resolved.of(work.row);
        const held = await this.#line(resolved, trigger);
        if (held !== undefined) return held;
        if ((await this.#send(credentialId, wanted, resolved)) !== 'at_once') return 'done';
      }
    } catch (error) {
      // The run stays open with its journalled intent; the scheduler resumes it when the lease has expired.
      if (!(error instanceof KeyturnError) || error.code === 'integrity') throw error;
    }
    return 'done';
  }

  /** Waits for the provider's budget; held if that takes longer than its trigger allows. */
  async #line(resolved: ResolvedConnector | undefined, trigger: RunTrigger): Promise<{ readonly heldForMs: number } | undefined> {
    if (resolved === undefined) return undefined;
    const { tokenEndpoint, rateBudget } = resolved.oauth2;
    let patienceMs = LINE_MAX_MS[trigger];
    for (;;) {
      const admission = this.#gate.admit(tokenEndpoint, rateBudget, patienceMs, trigger);
      if (admission.kind === 'go') {
        const { afterMs } = admission;
        if (afterMs > 0)
          await this.#wait(trigger === 'schedule' ? togetherAfter(this.#o.vault.platform.clock.now(), afterMs) : afterMs);
        return this.#stopping ? { heldForMs: LIMITS.stoppingAgainMs } : undefined;
      }
      // A reader waits for the next probe of the provider; scheduled work does not wait.
      if (trigger === 'schedule' || admission.forMs > patienceMs || this.#stopping) return { heldForMs: admission.forMs };
      patienceMs -= admission.forMs;
      await this.#wait(admission.forMs);
    }
  }

  /** One attempt; `at_once`: the first lost answer, or a withdrawn request. */
  async #send(id: string, wanted: LeaseRequest, resolved: ResolvedConnector | undefined): Promise<Booked | 'stored' | 'idle'> {
    const { vault, every } = this.#o;
    let guessed = false;
    const ports = {
      vault,
      wait: (ms: number) => this.#wait(ms),
      isStopping: () => this.#stopping,
      isUnhurried: wanted.trigger === 'schedule',
    };
    const sent = await makeCall<Attempt, RefreshOutcome, Booked | 'stored' | 'idle'>(ports, {
      points: POINTS,
      begin: (job) => {
        const lease = takeLease(job, id, wanted);
        if (lease.kind === 'attempt') return { kind: 'go', attempt: lease.attempt };
        this.#gate.report(tokenEndpointOf(resolved), { kind: 'none' });
        return { kind: 'stop', as: 'idle' };
      },
      hold: (attempt) =>
        every(LIMITS.leaseHeartbeatMs, () => {
          void vault.submit((job) => heartbeat(job, attempt.run)).catch(() => {});
        }),
      call: (attempt) => this.#call(attempt),
      mustBeKept: holdsTokens,
      book: (job, attempt, outcome) => {
        if (outcome.kind !== 'refreshed') return bookFailure(job, attempt, outcome);
        guessed = isGuessed(outcome);
        return storeRefreshed(job, attempt, outcome);
      },
      release: wipeGrant,
    });
    if (guessed) this.#learn(id);
    return sent;
  }

  async #call(attempt: Attempt): Promise<RefreshOutcome> {
    const { vault, egress } = this.#o;
    const { resolved, grant, doubted } = attempt;
    if (resolved === undefined) return notSent('configuration', 'connector_unusable');
    const { tokenEndpoint } = resolved.oauth2;
    const way = boundEgress(egress, resolved);
    const guarded: Egress = { send: (request) => way.send({ ...request, mayLeave: () => holdsLease(vault, attempt) }) };
    const outcome = await renewGrant(resolved.oauth2, grant, guarded, vault.platform.clock, doubted);
    this.#gate.report(tokenEndpoint, reportOf(outcome));
    return outcome;
  }

  #learn(credentialId: string): void {
    // If it cannot be asked, the default expiry stays; unreadable rows are handled by due work.
    const learning = learnExpiry(this.#o, credentialId)
      .catch(() => {})
      .finally(() => this.#learning.delete(learning));
    this.#learning.add(learning);
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const stop = this.#o.every(ms, () => {
        stop();
        resolve();
      });
    });
  }

  checkSettings(connectorId: string, config: OAuth2Config): RenewalRules {
    return rulesOf(this.#resolve(connectorId, config), config);
  }

  destinationsOf(connectorId: string, config: OAuth2Config): readonly string[] {
    return destinationsOf(this.#resolve(connectorId, config));
  }

  #resolve(connectorId: string, config: OAuth2Config): ResolvedConnector {
    const connector =
      findConnector(this.#o.connectors, 'oauth2', connectorId) ??
      fail('invalid_request', 'the connector does not exist: see `keyturn connectors`', { pointer: '/connector' });
    const resolved = resolveFor(connector, config, {}, true);
    refuseIgnored(connector, config, resolved);
    return resolved;
  }
}

const POINTS: CallPoints = {
  begun: 'refresh.after-intent',
  before: 'refresh.before-call',
  after: 'refresh.after-call',
  booking: 'refresh.before-store',
  booked: 'refresh.after-store',
};

function holdsTokens(outcome: RefreshOutcome): boolean {
  return outcome.kind === 'refreshed' || (outcome.kind === 'answered_oddly' && outcome.refreshToken !== undefined);
}

function tokenEndpointOf(resolved: ResolvedConnector | undefined): string {
  return resolved?.oauth2.tokenEndpoint ?? '';
}
