// A tenant in its Durable Object: vault and engine over the object's own database, woken by the object's alarm.
// It must never open the database for another tenant, nor leave due work without an alarm.
import type { DurableObjectStorage } from '@cloudflare/workers-types';
import type { Connector } from '../../rotation/connector.ts';
import { CredentialRuns } from '../../rotation/credential-runs.ts';
import type { Authorizer } from '../../src/access/authorizer.ts';
import { fail } from '../../src/base/errors.ts';
import { schemaVersion } from '../../src/cell/migrations.ts';
import { openRegisterEntry } from '../../src/cell/register.ts';
import type { Platform } from '../../src/vault/open-cell.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { DailyScrub } from './daily-scrub.ts';
import { durableObjectSql } from './durable-object-sql.ts';
import { createWorkerEgress } from './egress.ts';
import type { TenantOpening } from './home.ts';

export interface WorkerTenantOptions {
  readonly storage: DurableObjectStorage;
  readonly platform: Platform;
  readonly authorizer: Authorizer;
  readonly admit: (principalId: string) => void;
  readonly connectors: ReadonlyMap<string, Connector>;
  readonly sandboxAllowed: boolean;
  /** True only during the creation of the tenant. */
  readonly mayCreate: boolean;
}

/** Pause between two passes, so that work that stays due (because of another owner's lease) does not cause a busy loop. */
const REST_MS = 1_000;
const RETRY_MS = 60_000;

export class WorkerTenant {
  readonly vault: TenantVault;
  readonly engine: CredentialRuns;
  readonly #storage: DurableObjectStorage;
  readonly #now: () => number;
  readonly #scrub: DailyScrub;

  /** @throws integrity | key_destroyed | rolled_back */
  constructor(opening: TenantOpening, options: WorkerTenantOptions) {
    const { storage, platform, authorizer, admit } = options;
    const sql = durableObjectSql(storage);
    // SECURITY: if the cell of a complete tenant is missing, it was removed; a new empty cell would hide that (CR-03).
    if (!options.mayCreate && schemaVersion(sql) === 0)
      fail('rolled_back', 'the database of this tenant is missing: restore it by point-in-time recovery');
    this.#storage = storage;
    this.#now = () => platform.clock.now();
    this.vault = new TenantVault({
      tenant: opening.tenant,
      sql,
      erasureKey: openRegisterEntry(platform.root, platform.installationId, opening.tenant.id, opening.entry),
      platform,
      authorizer,
      admit,
      witnessed: opening.witnessed,
      opening: { mustExist: !options.mayCreate, anchored: opening.anchored, hasWitness: opening.anchored },
      onDueChanged: () => this.arm(),
    });
    const owner = `worker-${Buffer.from(platform.entropy.bytes(9)).toString('base64url')}`;
    this.engine = new CredentialRuns({
      vault: this.vault,
      egress: createWorkerEgress({ clock: platform.clock }),
      connectors: options.connectors,
      owner,
      // Only one instance of an object can write at a time, so every other owner of a lease has ended.
      isDead: (other) => other !== owner,
      sandboxAllowed: options.sandboxAllowed,
      every: (everyMs, beat) => {
        const timer = setInterval(beat, everyMs);
        return () => clearInterval(timer);
      },
    });
    this.engine.attachTo(this.vault);
    this.#scrub = new DailyScrub(storage, this.vault, this.#now);
    this.arm();
  }

  /** Sets the alarm to the next due time, but at least `restMs` from now. Idempotent. */
  arm(restMs = 0): void {
    const due = Math.min(this.vault.nextDueAt() ?? Number.POSITIVE_INFINITY, this.#scrub.dueAt());
    void this.#storage.setAlarm(Math.max(due, this.#now() + restMs));
  }

  /** Runs due work, then sets the next alarm. Never throws. */
  async runDueWork(report: (error: unknown) => void): Promise<void> {
    try {
      await this.engine.runDueWork();
      await this.#scrub.runIfDue();
      this.arm(REST_MS);
    } catch (error) {
      report(error);
      await this.#storage.setAlarm(this.#now() + RETRY_MS);
    }
  }
}
