// The job of a tenant's cell: its stores and its door. Use cases (one file each in this folder) take it as their first argument.
// Only TenantVault.submit provides it, so a use case called outside a job does not compile; its door refuses to work outside a batch.

import { WorkloadAuthenticator } from '../access/authenticate.ts';
import type { AuthorizationResource } from '../access/authorizer.ts';
import type { Door } from '../access/guard.ts';
import type { WriteAccess } from '../cell/access.ts';
import { AlertStore } from '../cell/alerts.ts';
import { ConnectionStore } from '../cell/connections.ts';
import { type CredentialRow, CredentialStore } from '../cell/credentials.ts';
import { ForecastStore } from '../cell/forecasts.ts';
import { ReaderStore } from '../cell/readers.ts';
import { type RunRow, RunStore } from '../cell/runs.ts';
import { CalendarFeedStore, ScheduleStore } from '../cell/schedules.ts';
import { WorkloadStore } from '../cell/workloads.ts';
import { doorOf } from './cell-door.ts';
import { CredentialCache } from './credential-cache.ts';
import type { OAuth2Config } from './credential-kinds.ts';
import { KnownReaders } from './known-readers.ts';
import { cellOf, type OpenCell, type Platform, type VaultOptions } from './open-cell.ts';
import type { RenewalRules } from './refresh-schedule.ts';
import type { KeyConfig } from './rotation-state.ts';

export interface TenantIdentity {
  readonly id: string;
  readonly name: string;
  readonly demo: boolean;
}

/** The functions of the run engine that the vault uses; the composition root sets them. */
export interface Refresher {
  /**
   * Settles with the credential's shared refresh, `force`: also of a fresh token; never throws for a failed refresh.
   * @returns milliseconds for which no refresh is sent, if the provider fails or throttles; undefined if one was sent or not needed
   */
  refreshNow(credentialId: string, trigger?: 'read' | 'request', force?: boolean): Promise<number | undefined>;
  /** The connector's renewal rules for these settings. @throws invalid_request naming the field | not_rotatable */
  checkSettings(connector: string, config: OAuth2Config): RenewalRules;
  /** Origins with paths to which the connector sends secrets and browsers with these settings. @throws as `checkSettings` */
  destinationsOf(connector: string, config: OAuth2Config): readonly string[];
}

/** The functions of the rotation of keys and passwords that the vault uses; the composition root sets them. */
export interface KeyRotator {
  /** Resolves when the open run, e.g. one that put the current value in doubt, has ended or waits, or after `LIMITS.doubtWaitMs`. */
  settle(credentialId: string): Promise<void>;
  /**
   * Origins with base paths that a value with these settings is sent to; empty if they are in the value itself; undefined if the connector
   * does not exist. @throws invalid_request naming the field
   */
  checkSettings(kind: string, connector: string, config: KeyConfig): readonly string[] | undefined;
  /** As `checkSettings`, from the bound settings alone. */
  destinationsOf(kind: string, connector: string, config: KeyConfig): readonly string[] | undefined;
  /** Records that a new value, which will never become current, must be ended at its target, after a call under way has ended. */
  endPending(job: TenantJob, access: WriteAccess, credentialId: string, version: number, underWayMs: number): void;
  /** As `endPending`, for a key that this run may have made without learning of it; nothing, if it cannot have made one. */
  endMade(job: TenantJob, access: WriteAccess, run: RunRow, underWayMs: number): void;
  /**
   * Opens the run that rolls back; undefined if nothing can ask the target, so that the version becomes current at once.
   * @throws conflict if the target does not accept the version any more
   */
  openRollBack(
    job: TenantJob,
    access: WriteAccess,
    row: CredentialRow,
    wanted: { readonly to: number; readonly revokesReplaced: boolean },
  ): RunRow | undefined;
}

export interface TenantVaultOptions extends VaultOptions {
  readonly tenant: TenantIdentity;
  /** Called when a due time of this tenant changed. */
  readonly onDueChanged: (tenantId: string) => void;
}

export class TenantJob {
  readonly tenant: TenantIdentity;
  readonly platform: Platform;
  readonly core: OpenCell;
  readonly door: Door;
  readonly credentials: CredentialStore;
  readonly workloads: WorkloadStore;
  readonly runs: RunStore;
  readonly alerts: AlertStore;
  readonly connections: ConnectionStore;
  readonly forecasts: ForecastStore;
  readonly readers: ReaderStore;
  readonly schedules: ScheduleStore;
  readonly feeds: CalendarFeedStore;
  readonly authenticator: WorkloadAuthenticator;
  readonly cache = new CredentialCache();
  readonly knownReaders = new KnownReaders();
  refresher: Refresher | undefined;
  rotator: KeyRotator | undefined;
  readonly auditResource: AuthorizationResource;
  readonly keyResource: AuthorizationResource;
  readonly auditOperations = { read: 'audit.read', export: 'audit.export' } as const;
  readonly keyOperations = { list: 'key.list', rotate: 'key.rotate' } as const;
  readonly #onDueChanged: (tenantId: string) => void;
  #dueChanged = false;

  constructor(options: TenantVaultOptions) {
    const { tenant, platform } = options;
    this.tenant = tenant;
    this.platform = platform;
    this.auditResource = { type: 'AuditLog', tenant: tenant.id };
    this.keyResource = { type: 'TenantKey', tenant: tenant.id };
    this.core = cellOf('tenant', tenant.id, options);
    this.credentials = new CredentialStore(this.core.rows);
    this.workloads = new WorkloadStore(this.core.rows);
    this.runs = new RunStore(this.core.rows);
    this.alerts = new AlertStore(this.core.rows);
    this.connections = new ConnectionStore(this.core.rows);
    this.forecasts = new ForecastStore(this.core.rows);
    this.readers = new ReaderStore(this.core.rows);
    this.schedules = new ScheduleStore(this.core.rows);
    this.feeds = new CalendarFeedStore(this.core.rows);
    this.authenticator = new WorkloadAuthenticator(
      this.core.tokens,
      this.workloads,
      platform.root.subkey('token-pepper'),
      platform.clock,
    );
    this.#onDueChanged = options.onDueChanged;
    const place = { cellId: tenant.id, tenantId: tenant.id, demo: tenant.demo };
    this.door = doorOf(this.core, options, place, (books, token) => this.authenticator.byToken(books, token));
    this.core.cell.use({
      afterCommit: () => this.#notifyDueChanged(),
      afterRollback: () => {
        this.cache.clear();
        this.knownReaders.clear();
        this.authenticator.forget();
        this.#dueChanged = false;
      },
    });
  }

  /** Marks that the batch changed a due time; the owner of the timer is notified after the commit. */
  dueChanged(): void {
    this.#dueChanged = true;
  }

  /** Drops cached data derived under old keys. */
  forgetKeys(): void {
    this.cache.clear();
    this.core.audit.sources.forget();
  }

  #notifyDueChanged(): void {
    if (!this.#dueChanged) return;
    this.#dueChanged = false;
    this.#onDueChanged(this.tenant.id);
  }
}

/** The parts of a job that may be read outside it: stores, which return nothing without an access. */
export type TenantView = Pick<
  TenantJob,
  | 'tenant'
  | 'platform'
  | 'credentials'
  | 'workloads'
  | 'runs'
  | 'alerts'
  | 'connections'
  | 'forecasts'
  | 'readers'
  | 'schedules'
  | 'feeds'
>;
