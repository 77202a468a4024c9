// The job of the home cell: the team, the list of tenants and the door. Only HomeVault.submit provides it (as in tenant-job.ts).

import type { AuthorizationResource } from '../access/authorizer.ts';
import type { Door } from '../access/guard.ts';
import type { Lookup } from '../cell/access.ts';
import { TenantStore } from '../cell/tenants.ts';
import { UserStore } from '../cell/users.ts';
import { doorOf } from './cell-door.ts';
import { cellOf, type OpenCell, type Platform, type VaultOptions } from './open-cell.ts';

const INSTALLATION: AuthorizationResource = { type: 'Installation' };

export interface HomeVaultOptions extends VaultOptions {
  /** Called during a job that changes when the keys of the home cell are due. Default: the owner asks at intervals. */
  readonly onKeysChanged?: () => void;
}

export class HomeJob {
  readonly platform: Platform;
  readonly core: OpenCell;
  readonly door: Door;
  readonly users: UserStore;
  readonly tenants: TenantStore;
  readonly auditResource = INSTALLATION;
  readonly auditOperations = { read: 'installation.audit.read', export: 'installation.audit.read' } as const;
  readonly keyResource = INSTALLATION;
  readonly keyOperations = { list: 'installation.keys.list', rotate: 'installation.keys.rotate' } as const;

  readonly #onKeysChanged: () => void;

  constructor(options: HomeVaultOptions) {
    const { platform } = options;
    this.platform = platform;
    this.#onKeysChanged = options.onKeysChanged ?? (() => {});
    this.core = cellOf('home', platform.installationId, options);
    this.users = new UserStore(this.core.rows);
    this.tenants = new TenantStore(this.core.rows);
    this.door = doorOf(this.core, options, { cellId: platform.installationId, demo: false });
  }

  /** Drops cached data derived under old keys. */
  forgetKeys(): void {
    this.core.audit.sources.forget();
  }

  dueChanged(): void {
    this.#onKeysChanged();
  }
}

/** The parts of a job that may be read outside it: stores, which return nothing without an access. */
export type HomeView = Pick<HomeJob, 'platform' | 'users' | 'tenants'> & { readonly core: Pick<OpenCell, 'tokens'> };

export function installationTarget(type = 'installation', name?: string) {
  return () => ({ resource: INSTALLATION, target: { type, ...(name === undefined ? {} : { name }) }, subject: true as const });
}

export function userTarget(job: HomeView, idOrName: string) {
  return (lookup: Lookup) => {
    const subject = job.users.find(lookup, idOrName);
    return {
      resource: { type: 'Installation' as const },
      target: { type: 'user', ...(subject === undefined ? {} : { id: subject.row.id, name: subject.row.name }) },
      subject,
    };
  };
}
