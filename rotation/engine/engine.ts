// The run engine of one tenant: refreshes on schedule, on request and on a stale read, one at a time per credential, and does whatever else
// is due. It knows no provider. Timers and alarms are the composition root's; they all call runDueWork.
import type { Caller } from '../../src/access/principals.ts';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { RunRow } from '../../src/cell/runs.ts';
import { destroyExpired } from '../../src/vault/change-credential.ts';
import type { OAuth2Config } from '../../src/vault/credential-kinds.ts';
import { grantFacts } from '../../src/vault/grant-facts.ts';
import type { RenewalRules } from '../../src/vault/refresh-schedule.ts';
import { destroyRetiredKeys, rewrapBatch } from '../../src/vault/rotate-keys.ts';
import { credentialTarget, type Refresher, requireActive, type TenantVault } from '../../src/vault/tenant-vault.ts';
import type { Connector, Egress } from '../connector.ts';
import { type RefreshRefused, refreshGrant } from '../oauth2-refresh.ts';
import type { SettledConnector } from '../oauth2-settings.ts';
import { mayReachLoopback, rulesOf, settleFor } from './connector-settings.ts';
import { DUE_PARTS } from './due-parts.ts';
import type { DueWorkPorts } from './due-work.ts';
import { type Attempt, heartbeat, type LeaseRequest, takeLease } from './refresh-lease.ts';
import { bookFailure, storeRefreshed } from './refresh-outcome.ts';
import { openRun, type Trigger } from './run-record.ts';

export interface EngineOptions {
  readonly vault: TenantVault;
  readonly egress: Egress;
  readonly connectors: ReadonlyMap<string, Connector>;
  /** Names this process or object among lease owners. */
  readonly owner: string;
  /** Whether connectors declared for the local sandbox may reach loopback. */
  readonly sandboxAllowed: boolean;
  /** Calls `beat` every `everyMs` until the returned function is called. */
  readonly every: (everyMs: number, beat: () => void) => () => void;
}

/** What one pass of due work did. */
export interface DueWork {
  readonly refreshed: number;
  readonly destroyed: number;
  readonly rewrapped: number;
}

export class RunEngine implements Refresher {
  readonly #o: EngineOptions;
  readonly #inFlight = new Map<string, Promise<void>>();
  #stopping = false;

  constructor(options: EngineOptions) {
    this.#o = options;
  }

  /** What routes and due work need of it. */
  get ports(): DueWorkPorts {
    return this.#o;
  }

  /** No refresh is under way. */
  get idle(): boolean {
    return this.#inFlight.size === 0;
  }

  /** Callers that come while a refresh is under way get the same one; a caller that goes away cancels nothing. */
  refreshNow(credentialId: string, trigger: Trigger = 'read', force = false): Promise<void> {
    const running = this.#inFlight.get(credentialId);
    if (running !== undefined) return running;
    if (this.#stopping) return Promise.resolve();
    const started = this.#refresh(credentialId, trigger, force).finally(() => this.#inFlight.delete(credentialId));
    this.#inFlight.set(credentialId, started);
    return started;
  }

  /** Begins nothing new and waits for what is under way: an answer that comes after the database closed would be a lost grant (D6). */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.allSettled(this.#inFlight.values());
  }

  /** Opens (or joins) a run for the caller, inside a job; `start` sets it going. @throws not_rotatable | gone | needs_consent */
  open(caller: Caller, environment: string, name: string): RunRow {
    const { vault } = this.#o;
    return vault.door.enter(
      caller,
      'credential.rotate',
      (lookup) => credentialTarget(vault, lookup, environment, name),
      (access, located, details) => {
        const row = requireActive(located.row);
        if (row.kind !== 'oauth2') fail('not_rotatable', 'no connector can rotate this credential: put a new version instead');
        if (row.health === 'needs_consent') fail('needs_consent', 'the grant is dead at the provider: connect it again');
        if (row.health === 'disconnected') fail('needs_consent', 'the account is disconnected: connect it again');
        const run = vault.runs.findOpen(access, row.id) ?? openRun(vault, access, row, 'request', 'rotation');
        details.trigger = 'request';
        details.run = run.id;
        return run;
      },
    );
  }

  /** Sets an opened run going in the background; its journal tells the rest. */
  start(credentialId: string): void {
    // What went wrong is in the run's journal or, where nothing could be written, comes up again in due work.
    this.refreshNow(credentialId, 'request', true).catch(() => {});
  }

  /** Does what is due now, bounded; returns what it did. The caller comes again at `vault.nextDueAt()`. */
  async runDueWork(): Promise<DueWork> {
    const { vault } = this.#o;
    // Refreshes first and each part by itself: one damaged row must not keep a tenant's grants from being refreshed (CR-01).
    const failures: unknown[] = [];
    const part = async (work: () => number | Promise<number>): Promise<number> => {
      try {
        return await work();
      } catch (error) {
        failures.push(error);
        return 0;
      }
    };
    const refreshed = await part(() => this.#refreshDue());
    for (const due of DUE_PARTS) await part(() => due(this.#o));
    const destroyed = await part(() => vault.submit(() => destroyExpired(vault, LIMITS.dueWorkBatchRows)));
    const rewrapped = await part(() => this.#rewrap());
    await part(() => vault.submit(() => destroyRetiredKeys(vault)));
    await part(() => vault.submit(() => this.#purge()));
    if (failures.length > 0) throw failures[0];
    return { refreshed, destroyed, rewrapped };
  }

  async #rewrap(): Promise<number> {
    const { vault } = this.#o;
    let moved = 0;
    for (;;) {
      const rows = await vault.submit(() => rewrapBatch(vault));
      if (rows === 0) {
        // A second, empty pass books the purposes that had nothing left.
        if ((await vault.submit(() => rewrapBatch(vault))) === 0) return moved;
        continue;
      }
      moved += rows;
    }
  }

  #purge(): number {
    const { vault } = this.#o;
    const now = vault.around.clock.now();
    vault.door.lookup('purge', (access) => {
      vault.core.tokens.purgeExpired(access, now - LIMITS.idempotencyKeepMs, LIMITS.dueWorkBatchRows);
      vault.core.idempotency.purgeExpired(access, now, LIMITS.dueWorkBatchRows);
      vault.workloads.purgeAssertions(access, now);
    });
    return 0;
  }

  async #refreshDue(): Promise<number> {
    const { vault } = this.#o;
    const now = vault.around.clock.now();
    const ids = vault.door.lookup('scheduler', (lookup) => {
      const due = vault.credentials.dueForRefresh(lookup, now, LIMITS.dueWorkBatchRows);
      const waiting = new Set(vault.runs.due(lookup, now, LIMITS.dueWorkBatchRows).map((run) => run.credential_id));
      for (const id of due) {
        const open = vault.runs.findOpen(lookup, id);
        if (open === undefined) waiting.add(id);
      }
      return [...waiting];
    });
    const queue = [...ids];
    const failures: unknown[] = [];
    const workers = Array.from({ length: Math.min(LIMITS.dueWorkConcurrency, queue.length) }, async () => {
      for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
        await this.refreshNow(id, 'schedule').catch((error: unknown) => failures.push(error));
      }
    });
    await Promise.all(workers);
    if (failures.length > 0) throw failures[0];
    return ids.length;
  }

  async #refresh(credentialId: string, trigger: Trigger, force: boolean): Promise<void> {
    const { vault } = this.#o;
    const wanted: LeaseRequest = {
      owner: this.#o.owner,
      trigger,
      force,
      allowLoopback: (connector, config) => mayReachLoopback(this.#o.sandboxAllowed, connector, config),
    };
    try {
      // At most two tries in one go: an answer that was lost is asked for once more at once (rule 7), everything else waits its turn.
      for (let tries = 0; tries < 2; tries++) {
        const lease = await vault.submit(() => takeLease(vault, credentialId, wanted));
        if (lease.kind !== 'attempt') return;
        vault.around.faults.at('refresh.after-intent');
        const again = await this.#attempt(lease.attempt);
        if (!again) return;
      }
    } catch (error) {
      // The run stays open with its intent journalled; the scheduler resumes it when the lease has lapsed.
      if (!(error instanceof KeyturnError) || error.code === 'integrity') throw error;
    }
  }

  /** True when the answer was lost for the first time and may be asked for again at once. */
  async #attempt(attempt: Attempt): Promise<boolean> {
    const { vault, every, egress } = this.#o;
    const { faults, clock } = vault.around;
    const stop = every(LIMITS.leaseHeartbeatMs, () => {
      void vault.submit(() => heartbeat(vault, attempt)).catch(() => {});
    });
    try {
      const settled = this.#settled(attempt);
      faults.at('refresh.before-call');
      const outcome =
        attempt.retained.refresh_token === undefined
          ? notCalled('dead', 'no_refresh_token')
          : settled === undefined
            ? notCalled('configuration', 'connector_unusable')
            : await refreshGrant(settled.oauth2, attempt.grant, egress, clock);
      faults.at('refresh.after-call');
      if (outcome.kind === 'refreshed') {
        faults.at('refresh.before-store');
        await this.#storeSurely(attempt, outcome);
        faults.at('refresh.after-store');
        return false;
      }
      const booked = await vault.submit(() => bookFailure(vault, attempt, outcome));
      return booked === 'retry' && outcome.kind === 'unknown' && !attempt.answerLost;
    } finally {
      stop();
      attempt.grant.refreshToken.wipe();
      attempt.grant.clientSecret?.wipe();
      attempt.grant.privateKeyJwk?.wipe();
    }
  }

  /** The new pair exists nowhere else: a full disk is waited out while the process lives. */
  async #storeSurely(attempt: Attempt, outcome: Parameters<typeof storeRefreshed>[2]): Promise<void> {
    const { vault, every } = this.#o;
    for (let tries = 0; ; tries++) {
      try {
        await vault.submit(() => storeRefreshed(vault, attempt, outcome));
        return;
      } catch (error) {
        const storage = error instanceof KeyturnError && (error.code === 'storage_full' || error.code === 'storage_unavailable');
        if (!storage || this.#stopping || tries >= 600) throw error;
        await new Promise<void>((resolve) => {
          const stop = every(1_000, () => {
            stop();
            resolve();
          });
        });
      }
    }
  }

  checkSettings(connectorId: string, config: OAuth2Config): RenewalRules {
    const connector =
      this.#o.connectors.get(connectorId) ?? fail('invalid_request', 'no such connector', { pointer: '/connector' });
    return rulesOf(settleFor(connector, config, {}, true), config);
  }

  #settled(attempt: Attempt): SettledConnector | undefined {
    const connector = this.#o.connectors.get(attempt.located.row.connector ?? '');
    if (connector === undefined) return undefined;
    try {
      return settleFor(connector, attempt.config, grantFacts(attempt.located.row));
    } catch {
      return undefined;
    }
  }
}

function notCalled(kind: RefreshRefused['kind'], cause: string): RefreshRefused {
  return { kind, cause, status: undefined, retryAfterSeconds: undefined, nothingSpent: true };
}
