// The runs of all credentials of one tenant: OAuth grants are refreshed, keys and passwords are rotated. Routes, readers and timers use this.
import type { Caller } from '../src/access/principals.ts';
import type { ReadAccess } from '../src/cell/access.ts';
import type { CredentialRow } from '../src/cell/credentials.ts';
import type { RunRow } from '../src/cell/runs.ts';
import type { RotationPlan } from '../src/vault/rotation-plan.ts';
import type { RunRequest } from '../src/vault/run-request.ts';
import { credentialTarget, requireActive } from '../src/vault/targets.ts';
import type { TenantJob } from '../src/vault/tenant-job.ts';
import type { TenantVault } from '../src/vault/tenant-vault.ts';
import type { JobPorts, LeasePorts } from './engine/due-work.ts';
import { ProviderGate } from './engine/provider-gate.ts';
import { openGrant, wipeTokens } from './grants/grant-tokens.ts';
import { type DueWork, type EngineOptions, RefreshEngine } from './grants/refresh-runs.ts';
import { retireDue } from './keys/retire.ts';
import { KeyRotations } from './keys/rotation-runs.ts';
import { planAfterRuleChange, watchOverdue } from './keys/scheduled.ts';

export class CredentialRuns {
  readonly #grants: RefreshEngine;
  readonly #keys: KeyRotations;
  readonly #vault: TenantVault;

  constructor(options: EngineOptions) {
    const { vault } = options;
    const gate = options.gate ?? new ProviderGate(vault.platform.clock);
    const ports = { ...options, gate, grantTokenOf };
    this.#vault = vault;
    this.#keys = new KeyRotations(ports);
    const parts = [() => planAfterRuleChange(vault), () => this.#keys.runDue(), () => retireDue(ports)];
    this.#grants = new RefreshEngine({ ...options, gate, parts });
  }

  /** Lets reads and puts of the vault use these runs. */
  attachTo(vault: TenantVault): void {
    vault.refresher = this.#grants;
    vault.rotator = this.#keys;
  }

  get ports(): LeasePorts {
    return this.#grants.ports;
  }

  /** No refresh or rotation is under way. */
  get idle(): boolean {
    return this.#grants.idle && this.#keys.idle;
  }

  async stop(): Promise<void> {
    await Promise.all([this.#grants.stop(), this.#keys.stop()]);
  }

  /** Opens a run for the credential, or returns the open one. @throws not_rotatable | gone | needs_consent | conflict */
  open(job: TenantJob, caller: Caller, environment: string, name: string, request: RunRequest = {}): RunRow {
    const kind = job.door.lookup('scheduler', (lookup) => credentialTarget(job, lookup, environment, name).subject?.row.kind);
    const engine = kind === undefined || kind === 'oauth2' ? this.#grants : this.#keys;
    return engine.open(job, caller, environment, name, request);
  }

  /** What a run requested now would do. Nothing outside is called, and nothing is changed. @throws gone */
  plan(job: TenantJob, caller: Caller, environment: string, name: string): RotationPlan {
    return job.door.enter(
      caller,
      'run.read',
      (lookup) => credentialTarget(job, lookup, environment, name),
      (access, located, details) => {
        details.step = 'plan';
        const { kind } = requireActive(located.row);
        return (kind === 'oauth2' ? this.#grants : this.#keys).plan(job, access, located);
      },
    );
  }

  /** Executes the credential's open run in the background. */
  start(credentialId: string): void {
    // Each engine leaves the runs of the other alone.
    this.#grants.start(credentialId);
    this.#keys.start(credentialId);
  }

  /** Executes the open rotation of a key or password until it ends or waits. */
  advance(credentialId: string): Promise<void> {
    return this.#keys.advance(credentialId, true);
  }

  /** Does due work, bounded. The caller calls again at `vault.nextDueAt()`. */
  async runDueWork(): Promise<DueWork> {
    const watching = await Promise.allSettled([this.watch()]);
    const done = await this.#grants.runDueWork();
    if (watching[0].status === 'rejected') throw watching[0].reason;
    return done;
  }

  /** Raises alerts about overdue rotations; may run while due work is stuck. */
  async watch(): Promise<void> {
    await watchOverdue(this.#vault);
  }
}

function grantTokenOf(ports: JobPorts, access: ReadAccess, grant: CredentialRow) {
  const opened = openGrant(ports, access, grant, grant.current_version);
  if (opened.kind === 'unusable') return undefined;
  const { tokens, resolved } = opened.grant;
  const accessToken = tokens.accessToken?.reveal((bytes) => new TextDecoder().decode(bytes));
  wipeTokens(tokens);
  return accessToken === undefined ? undefined : { accessToken, places: resolved.places };
}
