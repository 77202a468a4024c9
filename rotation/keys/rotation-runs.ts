// The rotations of one tenant's keys and passwords: on request and by schedule, one at a time per credential. It is independent of providers.
// A rotation that a process did not finish is continued by due work, or by the first read of a value that it put in doubt.
import type { Caller } from '../../src/access/principals.ts';
import { isBelievable } from '../../src/base/clock.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { ReadAccess, WriteAccess } from '../../src/cell/access.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { openRequested } from '../../src/vault/change-run.ts';
import { overrideStaging } from '../../src/vault/override-staging.ts';
import { readerTriesAt } from '../../src/vault/refresh-schedule.ts';
import { type RotationPlan, requireReady, requireSame } from '../../src/vault/rotation-plan.ts';
import { type KeyConfig, keyConfigOf } from '../../src/vault/rotation-state.ts';
import { type RunRequest, requestFacts } from '../../src/vault/run-request.ts';
import { credentialTarget, type Located, requireActive } from '../../src/vault/targets.ts';
import type { KeyRotator, TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { type Egress, LEAVES_WITHIN_MS } from '../connector.ts';
import type { LeasePorts } from '../engine/due-work.ts';
import { makeCall } from '../engine/outside-call.ts';
import { inQueues } from '../engine/pool.ts';
import { heartbeat, heldRun, openRun } from '../engine/run.ts';
import { type KeyPorts, placesOfKey, type ResolvedKey, resolvedOrNot, resolveKey } from './key-settings.ts';
import { planRotation } from './plan.ts';
import { openRollBack } from './roll-back.ts';
import { mayHaveMade, openEnd, openEndOfMade } from './rotation-booking.ts';
import { type Booked, bookPhase } from './rotation-outcome.ts';
import { type Attempt, beginPhase, type Called, callPhase } from './rotation-phase.ts';
import type { GrantTokenOf } from './rotation-target.ts';
import { openScheduled } from './scheduled.ts';

export interface KeyRotationOptions extends LeasePorts {
  readonly grantTokenOf: GrantTokenOf;
  /** Calls `beat` every `everyMs` until the returned function is called. */
  readonly every: (everyMs: number, beat: () => void) => () => void;
}

export class KeyRotations implements KeyRotator {
  readonly #o: KeyRotationOptions;
  readonly #inFlight = new Map<string, Promise<void>>();
  #stopping = false;
  /** The end of the last pass of due work. */
  #workedAtMs = Number.NEGATIVE_INFINITY;
  #missedBeforeMs = Number.NEGATIVE_INFINITY;

  constructor(options: KeyRotationOptions) {
    this.#o = options;
  }

  get idle(): boolean {
    return this.#inFlight.size === 0;
  }

  /** Starts no new step and waits for those in progress: a new key in an answer exists nowhere else. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.allSettled(this.#inFlight.values());
  }

  /** Opens a run for the caller, or returns the open one. Nothing outside is called. @throws not_rotatable | gone | conflict */
  open(job: TenantJob, caller: Caller, environment: string, name: string, request: RunRequest = {}): RunRow {
    return job.door.enter(
      caller,
      'credential.rotate',
      (lookup) => credentialTarget(job, lookup, environment, name),
      (access, located, details) => {
        const row = requireActive(located.row);
        const facts = requestFacts(request);
        const fresh = {
          credentialId: row.id,
          kind: 'rotation',
          trigger: 'request',
          generation: row.current_version,
          facts,
        } as const;
        const run = openRequested(job, access, located, request, () => {
          if (request.skipsStaging === true) overrideStaging(job, caller, located, request.reason);
          // Every local check comes before the first outside call.
          const plan = this.plan(job, access, located, request.skipsStaging);
          requireReady(plan);
          requireSame(plan, request.plan);
          return openRun(job, access, fresh);
        });
        details.trigger = 'request';
        details.run = run.id;
        return run;
      },
    );
  }

  /** What a rotation would do now, and every local check. Nothing outside is called. */
  plan(job: TenantJob, access: ReadAccess, located: Located, skipsStaging?: boolean): RotationPlan {
    return planRotation({ ...this.#o, job, urgency: 'request' }, access, located, skipsStaging);
  }

  /** Executes the credential's open run in the background. */
  start(credentialId: string): void {
    // A failure is in the run's journal or, if it could not be written, is repeated by due work.
    this.advance(credentialId, true).catch(() => {});
  }

  /** Concurrent callers share one execution. */
  advance(credentialId: string, force = false): Promise<void> {
    const running = this.#inFlight.get(credentialId);
    if (running !== undefined) return running;
    if (this.#stopping) return Promise.resolve();
    const started = this.#advance(credentialId, force).finally(() => this.#inFlight.delete(credentialId));
    this.#inFlight.set(credentialId, started);
    return started;
  }

  async #advance(credentialId: string, force: boolean): Promise<void> {
    for (let phases = 0; phases < LIMITS.rotationPhasesMax && !this.#stopping; phases++) {
      const booked = await this.#phase(credentialId, force && phases === 0);
      if (booked !== 'on') return;
    }
  }

  #phase(credentialId: string, force: boolean): Promise<Booked> {
    const { vault, every, owner } = this.#o;
    const wait = (ms: number) => new Promise<void>((resolve) => vault.platform.later(ms, resolve));
    return makeCall<Attempt, Called, Booked>(
      { vault, wait, isStopping: () => this.#stopping },
      {
        points: {
          begun: 'rotate.after-intent',
          before: 'rotate.before-call',
          after: 'rotate.after-call',
          booking: 'rotate.before-store',
          booked: 'rotate.after-store',
        },
        begin: (job) => {
          const urgency = force ? 'request' : 'schedule';
          const attempt = beginPhase({ ...this.#o, job, urgency }, credentialId, owner, force);
          return attempt === undefined ? { kind: 'stop', as: 'waiting' } : { kind: 'go', attempt };
        },
        hold: ({ run }) =>
          every(LIMITS.leaseHeartbeatMs, () => {
            void vault.submit((job) => heartbeat(job, run)).catch(() => {});
          }),
        call: (attempt) => callPhase(withdrawable(vault, attempt)),
        mustBeKept: (called) => called.phase === 'create' && called.outcome.kind === 'done',
        book: (job, attempt, called) => bookPhase(job, attempt, called),
      },
    );
  }

  /** Continues due runs and begins scheduled ones; returns how many. */
  async runDue(): Promise<number> {
    const { vault } = this.#o;
    const now = vault.platform.clock.now();
    const believable = isBelievable(vault.platform.clock);
    const due = vault.lookup('scheduler', (lookup, view) =>
      view.runs.dueForRotation(lookup, now, believable, LIMITS.dueWorkBatchRows),
    );
    // Nothing was done for a while: what is long due was missed. What waits in the queue while it is worked on was not.
    if (now - this.#workedAtMs > LIMITS.missedAfterMs) this.#missedBeforeMs = now - LIMITS.missedAfterMs;
    const perProvider = { width: LIMITS.providerCallsAtOnce, maxItems: LIMITS.dueWorkBatchRows };
    await inQueues(due, perProvider, async ({ id, isScheduled }) => {
      // Before the run and the lease, so that a delay causes no attempt, no event and no queue of open runs.
      if (this.#isHeld(id)) return 'stop';
      if (isScheduled) await vault.submit((job) => openScheduled(job, id, this.#missedBeforeMs));
      await this.advance(id);
      return 'done';
    });
    this.#workedAtMs = vault.platform.clock.now();
    return due.length;
  }

  /** Whether a host of the credential's connector fails, throttles or has no budget left. */
  #isHeld(credentialId: string): boolean {
    const { gate, vault } = this.#o;
    const row = vault.lookup('scheduler', (lookup, view) => view.credentials.byId(lookup, credentialId));
    const resolved = gate === undefined ? undefined : settingsIn(this.#o, row);
    if (gate === undefined || resolved === undefined) return false;
    const { config, connector, hosts } = resolved;
    const origins = config.sandbox === undefined ? hosts.map((host) => `https://${host}`) : [config.sandbox];
    return origins.some((origin) => gate.heldForMs(origin, connector.key.rateBudget, LIMITS.gateLineMaxMs) > 0);
  }

  async settle(credentialId: string): Promise<void> {
    const { platform } = this.#o.vault;
    const waited = new Promise<void>((resolve) => platform.later(LIMITS.doubtWaitMs, resolve));
    await Promise.race([this.#advanceForReader(credentialId).catch(() => {}), waited]);
  }

  /** INVARIANT: the number of readers does not change how often the run is tried; nor does a lost process delay them. */
  async #advanceForReader(credentialId: string): Promise<void> {
    const { vault } = this.#o;
    const run = vault.lookup('rotation', (lookup, view) => view.runs.findOpen(lookup, credentialId));
    const isFirst = run?.attempts === 0 || run?.lease_owner !== '';
    await this.advance(credentialId, isFirst || readerTriesAt(run) <= vault.platform.clock.now());
  }

  openRollBack(
    job: TenantJob,
    access: WriteAccess,
    row: Located['row'],
    wanted: { readonly to: number; readonly revokesReplaced: boolean },
  ): RunRow | undefined {
    return openRollBack(this.#o, job, access, row, wanted);
  }

  endPending(job: TenantJob, access: WriteAccess, credentialId: string, version: number, underWayMs: number): void {
    openEnd(job, access, { credentialId, version, graceMs: underWayMs, rotation: undefined });
  }

  endMade(job: TenantJob, access: WriteAccess, run: RunRow, underWayMs: number): void {
    const row = job.credentials.byId(access, run.credential_id);
    const rotator = row.kind === 'oauth2' || row.state === 'destroyed' ? undefined : settingsIn(this.#o, row)?.rotator;
    if (rotator?.mintsAtTarget === true && rotator.revoke !== undefined && mayHaveMade(run))
      openEndOfMade(job, access, run, underWayMs);
  }

  checkSettings(kind: string, connector: string, config: KeyConfig): readonly string[] | undefined {
    return resolveKey(this.#o, kind, connector, config)?.places;
  }

  destinationsOf(kind: string, connector: string, config: KeyConfig): readonly string[] | undefined {
    return placesOfKey(this.#o, kind, connector, config);
  }
}

function settingsIn(ports: KeyPorts, row: Located['row']): ResolvedKey | undefined {
  return row.connector === null
    ? undefined
    : resolvedOrNot(ports, row.kind, { connector: row.connector, config: keyConfigOf(row) });
}

/** No request leaves for a run that was cancelled, or whose lease was lost, while the request waited. */
function withdrawable(vault: TenantVault, attempt: Attempt): Attempt {
  const { run, target } = attempt;
  const holds = () => vault.lookup('rotation', (lookup, view) => heldRun(view, lookup, run, LEAVES_WITHIN_MS)) !== undefined;
  const egress: Egress = { send: (request) => target.egress.send({ ...request, mayLeave: () => isTrue(holds) }) };
  return { ...attempt, target: { ...target, egress } };
}

/** A damaged row counts as a lost lease. */
function isTrue(holds: () => boolean): boolean {
  try {
    return holds();
  } catch (error) {
    if (error instanceof KeyturnError) return false;
    throw error;
  }
}
