// The tenants of a Node process: database file, keys, vault and engine of each, opened at first use.
// It must never open a tenant's file twice.
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Connector, DriverName, KeyDriver } from '../../rotation/connector.ts';
import { CredentialRuns } from '../../rotation/credential-runs.ts';
import { ProviderGate } from '../../rotation/engine/provider-gate.ts';
import type { Authorizer } from '../../src/access/authorizer.ts';
import { type ErrorCode, fail, KeyturnError } from '../../src/base/errors.ts';
import type { KeyRegister } from '../../src/cell/register.ts';
import type { TenantRow } from '../../src/cell/tenants.ts';
import type { HomeVault } from '../../src/vault/home-vault.ts';
import { finishTenant, resolveTenant } from '../../src/vault/manage-tenants.ts';
import type { Platform } from '../../src/vault/open-cell.ts';
import { type OpenTenant, OpenTenants } from '../../src/vault/open-tenants.ts';
import { provisionTenant } from '../../src/vault/provision-tenant.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { LIMITS } from '../base/limits.ts';
import { createEgressThread, type EgressThread } from './egress-thread.ts';
import type { RotationPrograms } from './rotation-programs.ts';
import { openNodeSql } from './sqlite.ts';

export interface NodeTenantsOptions {
  readonly home: HomeVault;
  readonly register: KeyRegister;
  readonly platform: Platform;
  readonly authorizer: Authorizer;
  readonly connectors: ReadonlyMap<string, Connector>;
  readonly drivers?: ReadonlyMap<DriverName, KeyDriver>;
  readonly programs?: RotationPrograms | undefined;
  readonly admit: (principalId: string) => void;
  readonly pathOf: (tenantId: string) => string;
  readonly witnessedAt: (tenantId: string) => string | undefined;
  /** Whether the operator has declared the witness of this tenant lost. */
  readonly acceptsMissingWitness?: ((tenantId: string) => boolean) | undefined;
  readonly sandboxAllowed: boolean;
  readonly log: (line: string) => void;
}

export interface NodeTenant extends OpenTenant {
  readonly vault: TenantVault;
  readonly engine: CredentialRuns;
}

export class NodeTenants {
  readonly #o: NodeTenantsOptions;
  readonly #open: OpenTenants<NodeTenant>;
  readonly #owner = `node-${process.pid}-${randomBytes(9).toString('base64url')}`;

  readonly #gate: ProviderGate;
  readonly #egress: EgressThread;
  readonly #troubles = new Map<string, ErrorCode>();
  readonly #provisioning = new Map<string, Promise<void>>();
  readonly #opened = Promise.withResolvers<void>();
  /** Settles when `openAll` has finished. */
  readonly allOpen = this.#opened.promise;

  constructor(options: NodeTenantsOptions) {
    this.#o = options;
    this.#gate = new ProviderGate(options.platform.clock);
    this.#egress = createEgressThread({ clock: options.platform.clock });
    this.#open = new OpenTenants((id) => {
      const row = resolveTenant(options.home, id);
      if (row === undefined) return undefined;
      // SECURITY: if the file of a complete tenant is missing, it was removed; a new empty file would hide that (CR-03).
      try {
        if (!existsSync(options.pathOf(id)))
          fail('rolled_back', 'the database of this tenant is missing: restore it from a backup');
        const opened = this.#openTenant(row, true);
        this.#troubles.delete(id);
        return opened;
      } catch (error) {
        this.#troubles.set(id, error instanceof KeyturnError ? error.code : 'internal');
        throw error;
      }
    });
  }

  get connectors(): ReadonlyMap<string, Connector> {
    return this.#o.connectors;
  }

  /** Tenants whose last opening failed, and open tenants whose last batch could not be stored. */
  troubles(): { readonly id: string; readonly code: ErrorCode }[] {
    const open = this.#open.all().flatMap(({ vault }) => {
      const code = vault.failure?.code;
      return code === undefined ? [] : [{ id: vault.tenant.id, code }];
    });
    return [...[...this.#troubles].map(([id, code]) => ({ id, code })), ...open];
  }

  /** Probes a few tenants only: if the disk is full, all fail for the same reason. */
  async probeFailing(): Promise<void> {
    const failing = this.open().filter(({ failure }) => failure !== undefined);
    await Promise.allSettled(failing.slice(0, LIMITS.storageProbesMax).map((vault) => vault.probe()));
  }

  open(): TenantVault[] {
    return this.#open.all().map(({ vault }) => vault);
  }

  /** Delay of the oldest due work of the open tenants, in milliseconds. */
  dueLagMs(nowMs: number): number {
    return this.#open.dueLagMs(nowMs);
  }

  get size(): number {
    return this.#open.size;
  }

  /** By name or id; undefined for unknown, incomplete and erased tenants. @throws rolled_back | integrity */
  find(idOrName: string): NodeTenant | undefined {
    const row = resolveTenant(this.#o.home, idOrName);
    return row === undefined ? undefined : this.#open.get(row.id);
  }

  tick(nowMs: number): Promise<void> {
    return this.#open.tick(nowMs);
  }

  /** Raises alerts about overdue rotations of the open tenants, whatever their due work does. */
  async watch(): Promise<void> {
    const ends = await Promise.allSettled(this.#open.all().map(({ engine }) => engine.watch()));
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
  }

  /** Waits for every engine to finish its provider calls; no new ones start. */
  async stop(): Promise<void> {
    await Promise.all(this.#open.all().flatMap(({ engine, vault }) => [engine.stop(), vault.finished()]));
    await this.#egress.close();
  }

  closeAll(): void {
    this.#open.closeAll();
  }

  /** Completes the creation of a tenant: register entry, file, environments. Idempotent. */
  provision = (row: TenantRow, environments: readonly string[]): Promise<void> => {
    const running = this.#provisioning.get(row.id);
    if (running !== undefined) return running;
    const started = this.#provision(row, environments).finally(() => this.#provisioning.delete(row.id));
    this.#provisioning.set(row.id, started);
    return started;
  };

  async #provision(row: TenantRow, environments: readonly string[]): Promise<void> {
    this.#o.register.ensure(row.id, this.#o.platform.clock.now());
    const tenant = this.#openTenant(row, false);
    try {
      await provisionTenant(tenant.vault, environments);
    } finally {
      tenant.close();
    }
    await this.#noteAnchored(row);
  }

  /** Completes tenants whose creation a crash interrupted. */
  async finishHalfMade(): Promise<void> {
    const { home } = this.#o;
    const half = home.lookup('start', (lookup, view) => view.tenants.inState(lookup, 'creating'));
    for (const row of half) await finishTenant(home, row, this.provision);
  }

  /** Opens every tenant once, in the background, so that the scheduler knows when each is due. */
  async openAll(): Promise<void> {
    const { home, log } = this.#o;
    const rows = home.lookup('start', (lookup, view) => view.tenants.inState(lookup, 'active'));
    for (const row of rows) {
      await new Promise((resume) => setImmediate(resume));
      try {
        this.#open.get(row.id);
      } catch (error) {
        log(`tenant ${row.id}: ${error instanceof KeyturnError ? `${error.code}: ${error.message}` : 'could not be opened'}`);
      }
    }
    this.#opened.resolve();
  }

  /** Records in the home cell that the tenant is anchored, so that its database is never opened without its head or created again. */
  async #noteAnchored(row: TenantRow): Promise<void> {
    const { home } = this.#o;
    // If the witness could not be written, the next opening would refuse its absence.
    if (row.anchored === 1 || this.#o.witnessedAt(row.id) === undefined) return;
    await home.submit((job) => job.door.keepBooks('provision', (books) => job.tenants.setAnchored(books, row.id)));
    home.routes.clear();
  }

  #openTenant(row: TenantRow, mustExist: boolean): NodeTenant {
    const { platform, authorizer, admit, register } = this.#o;
    const sql = openNodeSql(this.#o.pathOf(row.id));
    try {
      const vault = new TenantVault({
        tenant: { id: row.id, name: row.name, demo: row.demo === 1 },
        sql,
        erasureKey: register.open(row.id),
        platform,
        authorizer,
        admit,
        witnessed: this.#o.witnessedAt(row.id),
        opening: {
          mustExist,
          anchored: row.anchored === 1,
          hasWitness: row.anchored === 1,
          acceptMissingWitness: this.#o.acceptsMissingWitness?.(row.id) ?? false,
        },
        onDueChanged: (id) => this.#open.noteDue(id),
      });
      const engine = this.#engineOf(vault);
      engine.attachTo(vault);
      if (mustExist && row.anchored === 0) void this.#noteAnchored(row).catch(() => {});
      return {
        vault,
        engine,
        nextDueAt: () => vault.nextDueAt(),
        idle: () => engine.idle && vault.idle,
        close: () => vault.close(),
        runDueWork: () => engine.runDueWork(),
      };
    } catch (error) {
      sql.close();
      throw error;
    }
  }

  #engineOf(vault: TenantVault): CredentialRuns {
    return new CredentialRuns({
      vault,
      egress: this.#egress,
      connectors: this.#o.connectors,
      ...(this.#o.drivers === undefined ? {} : { drivers: this.#o.drivers }),
      programs: (name) => this.#o.programs?.find(name, vault.tenant.name),
      owner: this.#owner,
      // The lock on the data directory proves that every other owner has ended.
      isDead: (owner) => owner !== this.#owner,
      gate: this.#gate,
      sandboxAllowed: this.#o.sandboxAllowed,
      every: (everyMs, beat) => {
        const timer = setInterval(beat, everyMs);
        return () => clearInterval(timer);
      },
    });
  }
}
