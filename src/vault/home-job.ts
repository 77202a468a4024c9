// What a job of the home cell works with: the team, the list of tenants and its door. Only HomeVault.submit hands it out (tenant-job.ts).

import type { AuthorizationResource } from '../access/authorizer.ts';
import { Door } from '../access/guard.ts';
import { IdempotentAnswers } from '../access/idempotent-answers.ts';
import type { Lookup } from '../cell/access.ts';
import { TenantStore } from '../cell/tenants.ts';
import { UserStore } from '../cell/users.ts';
import { type OpenCell, openCell, type Platform, type VaultOptions } from './open-cell.ts';

const INSTALLATION: AuthorizationResource = { type: 'Installation' };

export class HomeJob {
  readonly platform: Platform;
  readonly core: OpenCell;
  readonly door: Door;
  readonly users: UserStore;
  readonly tenants: TenantStore;
  readonly auditResource = INSTALLATION;
  readonly auditOperations = { read: 'installation.audit.read', export: 'installation.audit.read' } as const;

  constructor(options: VaultOptions) {
    const { platform, sql } = options;
    this.platform = platform;
    this.core = openCell({
      kind: 'home',
      sql,
      cellId: platform.installationId,
      erasureKey: options.erasureKey,
      platform,
      opening: { ...options.opening, witnessed: options.witnessed },
    });
    this.users = new UserStore(this.core.rows);
    this.tenants = new TenantStore(this.core.rows);
    this.door = new Door({
      cell: this.core.cell,
      audit: this.core.audit,
      authorizer: options.authorizer,
      clock: platform.clock,
      place: { cellId: platform.installationId, demo: false, contained: () => false },
      later: platform.later,
      admit: options.admit,
      answers: new IdempotentAnswers(this.core.idempotency, this.core.keyring, platform.clock),
    });
  }
}

/** What may be looked at without a job: stores, which show nothing without an access. */
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
