// The ports of due work: one tenant's vault and egress. Each part of due work is bounded, and a damaged row does not stop the others.
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { Connector, DriverName, Egress, KeyDriver, Program } from '../connector.ts';
import type { ProviderGate } from './provider-gate.ts';

export interface EnginePorts {
  readonly egress: Egress;
  readonly connectors: ReadonlyMap<string, Connector>;
  /** How this platform reaches targets without HTTP. Default: it reaches none. */
  readonly drivers?: ReadonlyMap<DriverName, KeyDriver>;
  /** The programs that the operator allows this tenant. Default: none. */
  readonly programs?: (name: string) => Program | undefined;
  /** Whether credentials with a sandbox may reach loopback. */
  readonly sandboxAllowed: boolean;
  /** Budgets and failures of providers, shared by all tenants of the process. Default: none are kept. */
  readonly gate?: ProviderGate;
}

export interface DueWorkPorts extends EnginePorts {
  readonly vault: TenantVault;
}

/** As `DueWorkPorts`, for work under a lease. */
export interface LeasePorts extends DueWorkPorts {
  /** Identifies this incarnation of the process or object as owner of leases. */
  readonly owner: string;
}

/** As `DueWorkPorts`, inside a job of the vault. */
export interface JobPorts extends EnginePorts {
  readonly job: TenantJob;
}
