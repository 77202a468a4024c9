// What route handlers receive: a tenant or the home cell, and what both need.

import type { EnginePorts } from '../../rotation/engine/due-work.ts';
import type { Caller } from '../access/principals.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { RunRow } from '../cell/runs.ts';
import type { KeyObject } from '../crypto/primitives.ts';
import type { HomeVault } from '../vault/home-vault.ts';
import type { Provision } from '../vault/manage-tenants.ts';
import type { RotationPlan } from '../vault/rotation-plan.ts';
import type { RunRequest } from '../vault/run-request.ts';
import type { TenantJob } from '../vault/tenant-job.ts';
import type { TenantVault } from '../vault/tenant-vault.ts';
import type { HealthReport } from './health.ts';
import type { MetricsFormat } from './metrics.ts';

/** The part of the run engine that routes use. */
export interface RotationDoor {
  readonly ports: EnginePorts;
  /** Opens a run for the credential, or returns the open one; `start` executes it. */
  open(job: TenantJob, caller: Caller, environment: string, name: string, request?: RunRequest): RunRow;
  /** What a run requested now would do. */
  plan(job: TenantJob, caller: Caller, environment: string, name: string): RotationPlan;
  /** Executes the credential's open run in the background. */
  start(credentialId: string): void;
}

export type ActorNames = readonly (readonly [id: string, name: string])[];

export interface TenantContext {
  readonly vault: TenantVault;
  readonly rotation: RotationDoor;
  readonly cursorKey: KeyObject;
  /** Ids of current and former users with this name; users are stored in the home cell. */
  readonly userIdsNamed: (name: string) => readonly string[] | Promise<readonly string[]>;
  /** Present names of users by id. */
  readonly userNames: (ids: readonly string[]) => ActorNames | Promise<ActorNames>;
  /** The public base URL, e.g. `https://vault.example.com`; part of the audience of client assertions. */
  readonly publicUrl: string;
}

export interface RootRotationState {
  /** The source of the root key. */
  readonly provider: string;
  /** When the rotation that is under way began. */
  readonly sinceMs: number | undefined;
  /** Cells and the key register. */
  readonly total: number;
  readonly done: number;
  /** Cells that could not be opened or rewrapped; they are tried again. */
  readonly blocked: readonly { readonly id: string; readonly code: ErrorCode }[];
}

/** The root key of the installation; each platform has its own way to replace it. */
export interface RootKeyDoor {
  state(): RootRotationState;
  /** Starts a rotation, which continues in the background. @throws forbidden | conflict while one is under way */
  rotate(caller: Caller): Promise<RootRotationState>;
}

export interface HomeContext {
  readonly home: HomeVault;
  readonly cursorKey: KeyObject;
  readonly provision: Provision;
  /** Called when the bootstrap secret was used; deletes its file. */
  readonly onSetUp: () => void;
  readonly metrics: (format: MetricsFormat) => string;
  readonly health: () => HealthReport | Promise<HealthReport>;
  readonly connectors: EnginePorts['connectors'];
  readonly rootKey: RootKeyDoor;
}
