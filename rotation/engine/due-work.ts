// What due work is given: one tenant's vault and the way out. Each part is bounded, and one bad row stops nobody else.
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { Connector, Egress } from '../connector.ts';

export interface EnginePorts {
  readonly egress: Egress;
  readonly connectors: ReadonlyMap<string, Connector>;
  /** Whether credentials played by a sandbox may reach loopback. */
  readonly sandboxAllowed: boolean;
}

export interface DueWorkPorts extends EnginePorts {
  readonly vault: TenantVault;
}

/** As `DueWorkPorts`, for work under a lease. */
export interface LeasePorts extends DueWorkPorts {
  /** Names this incarnation of the process or object among the owners of leases. */
  readonly owner: string;
}

/** As `DueWorkPorts`, inside a job of the vault. */
export interface JobPorts extends EnginePorts {
  readonly job: TenantJob;
}
