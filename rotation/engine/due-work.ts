// What due work is given: one tenant's vault and the way out. Each part is bounded, and one bad row stops nobody else.
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import type { Connector, Egress } from '../connector.ts';

export interface DueWorkPorts {
  readonly vault: TenantVault;
  readonly egress: Egress;
  readonly connectors: ReadonlyMap<string, Connector>;
  /** Whether credentials played by a sandbox may reach loopback. */
  readonly sandboxAllowed: boolean;
}
