// What route handlers are given: one tenant or the home cell, and the few things both need.

import type { EnginePorts } from '../../rotation/engine/due-work.ts';
import type { Caller } from '../access/principals.ts';
import type { RunRow } from '../cell/runs.ts';
import type { KeyObject } from '../crypto/primitives.ts';
import type { HomeVault } from '../vault/home-vault.ts';
import type { Provision } from '../vault/manage-tenants.ts';
import type { TenantJob } from '../vault/tenant-job.ts';
import type { TenantVault } from '../vault/tenant-vault.ts';
import type { HealthReport } from './health.ts';
import type { MetricsFormat } from './metrics.ts';

/** The run engine as routes see it. */
export interface RotationDoor {
  readonly ports: EnginePorts;
  /** Opens (or joins) a run for the credential; `start` sets it going. */
  open(job: TenantJob, caller: Caller, environment: string, name: string): RunRow;
  /** Sets it going in the background. */
  start(credentialId: string): void;
}

export interface TenantContext {
  readonly vault: TenantVault;
  readonly rotation: RotationDoor;
  readonly cursorKey: KeyObject;
  /** Ids of users who have, or had, this name: users live in the home cell. */
  readonly userIdsNamed: (name: string) => readonly string[] | Promise<readonly string[]>;
  /** Where this service is reached, e.g. `https://vault.example.com`; audience of client assertions. */
  readonly publicUrl: string;
}

export interface HomeContext {
  readonly home: HomeVault;
  readonly cursorKey: KeyObject;
  readonly provision: Provision;
  /** The bootstrap secret was spent: its file goes. */
  readonly onSetUp: () => void;
  readonly metrics: (format: MetricsFormat) => string;
  readonly health: () => HealthReport | Promise<HealthReport>;
  readonly connectors: EnginePorts['connectors'];
}
