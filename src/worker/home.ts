// The home object's storage in workerd: the installation's identity, the home cell and the key register, in one database.
// Known limitation: point-in-time recovery of that database includes the register, so an erasure is final only after the platform's
// 30 days of history (https://developers.cloudflare.com/durable-objects/api/sqlite-storage-api/, 2026-11).
import type { DurableObjectStorage } from '@cloudflare/workers-types';
import type { Authorizer } from '../access/authorizer.ts';
import { fail } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { KeyRegister } from '../cell/register.ts';
import type { Sql } from '../cell/sql.ts';
import type { TenantRow } from '../cell/tenants.ts';
import { rootKeyFromText } from '../crypto/root-key.ts';
import { RootKeys, type WrappedInstallationKey } from '../crypto/root-keys.ts';
import type { RootKeyDoor } from '../http/context.ts';
import { HomeVault } from '../vault/home-vault.ts';
import { finishTenant, type Provision } from '../vault/manage-tenants.ts';
import type { Platform } from '../vault/open-cell.ts';
import { requestRootRotation } from '../vault/rotate-root.ts';
import { createBootstrapSecret } from '../vault/set-up.ts';
import { DailyScrub } from './daily-scrub.ts';
import { durableObjectSql } from './durable-object-sql.ts';

export interface WorkerHomeOptions {
  readonly storage: DurableObjectStorage;
  readonly rootKeyText: string;
  readonly platform: Omit<Platform, 'root' | 'installationId'>;
  readonly authorizer: Authorizer;
  readonly admit: (principalId: string) => void;
  /** Creates the cell of a tenant in the tenant's own object, from its sealed register entry. */
  readonly makeCell: (opening: TenantOpening, environments: readonly string[]) => Promise<void>;
}

/** What a tenant's object needs to open its cell, as plain data. */
export interface TenantOpening {
  readonly installationId: string;
  readonly tenant: { readonly id: string; readonly name: string; readonly demo: boolean };
  readonly entry: Uint8Array;
  readonly installationKeys: readonly WrappedInstallationKey[];
  readonly witnessed: string | undefined;
  /** Whether the home cell lists the tenant's cell as anchored. */
  readonly anchored: boolean;
}

/** Known hole: the root key of a Worker, a secret of the platform, is not rotated yet. */
function fixedRootKey(home: HomeVault): RootKeyDoor {
  const state = () => ({ provider: 'worker-secret', sinceMs: undefined, total: 0, done: 0, blocked: [] });
  const refuse = () => fail('conflict', 'the root key of an installation on Workers cannot be rotated yet');
  return {
    state,
    rotate: async (caller) => {
      await home.submit((job) => requestRootRotation(job, caller, refuse));
      return state();
    },
  };
}

export class WorkerHome {
  readonly rootKey: RootKeyDoor;
  readonly home: HomeVault;
  readonly #scrub: DailyScrub;
  readonly #register: KeyRegister;
  readonly #makeCell: WorkerHomeOptions['makeCell'];
  #ready: Promise<void> | undefined;

  /** @throws sealed if the root key is damaged or is not the installation's */
  constructor(options: WorkerHomeOptions) {
    const { authorizer, admit } = options;
    const root = rootKeyFromText(options.rootKeyText.trim());
    const sql = durableObjectSql(options.storage);
    const installationId = findInstallation(sql);
    const entropy = options.platform.entropy;
    const id = installationId?.id ?? newId('installation', entropy);
    // SECURITY: a wrong key is refused before anything is derived from it or encrypted with it.
    if (installationId !== undefined && !root.matches(id, installationId.root_check))
      fail('sealed', 'the root key does not belong to this installation: set KEYTURN_ROOT_KEY to its root key');
    if (installationId === undefined)
      sql.run('INSERT INTO installation (only_one, id, root_check) VALUES (1, ?, ?)', id, root.rootCheck(id));
    const roots = RootKeys.of(root);
    const platform: Platform = { ...options.platform, root: roots, installationId: id };
    this.#register = new KeyRegister(sql, roots, id);
    this.#register.ensure(id, platform.clock.now());
    this.#register.ensureInstallationKeys(platform.clock.now());
    const now = () => platform.clock.now();
    this.home = new HomeVault({
      sql,
      erasureKey: this.#register.open(id),
      platform,
      authorizer,
      admit,
      onKeysChanged: () => void options.storage.setAlarm(now()),
    });
    this.rootKey = fixedRootKey(this.home);
    this.#scrub = new DailyScrub(options.storage, this.home, now);
    this.#makeCell = options.makeCell;
  }

  /** When the next scrub, or work on the keys of the home cell, is due. */
  dueAt(): number {
    return Math.min(this.#scrub.dueAt(), this.home.keysDueAt());
  }

  async runDueWork(): Promise<void> {
    if (this.home.keysDueAt() <= this.home.platform.clock.now()) await this.home.tendKeys();
    await this.#scrub.runIfDue();
  }

  /** Settles when the first owner exists. Idempotent. */
  ready(): Promise<void> {
    this.#ready ??= this.#makeOwner().catch((error) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  /** Completes tenants whose creation a restart interrupted. */
  async finishHalfMade(): Promise<void> {
    const half = this.home.lookup('start', (lookup, view) => view.tenants.inState(lookup, 'creating'));
    for (const row of half) await finishTenant(this.home, row, this.provision);
  }

  async #makeOwner(): Promise<void> {
    // Its text is not used: the operator provides the bootstrap secret (operator-bootstrap.ts).
    (await createBootstrapSecret(this.home))?.wipe();
  }

  provision: Provision = async (row, environments) => {
    this.#register.ensure(row.id, this.home.platform.clock.now());
    await this.#makeCell(this.#openingOf(row), environments);
  };

  /** Undefined for a tenant that does not exist or was erased. @throws key_destroyed */
  opening(tenantId: string): TenantOpening | undefined {
    const row = this.home.lookup('opening', (lookup, view) => view.tenants.find(lookup, tenantId));
    return row === undefined || row.id !== tenantId || row.state !== 'active' ? undefined : this.#openingOf(row);
  }

  /** Stores the newest signed head of a tenant's log; ignores an older one. */
  async witness(tenantId: string, note: string): Promise<void> {
    await this.home.submit((job) =>
      job.door.keepBooks('witness', (lookup) => {
        const row = job.tenants.find(lookup, tenantId);
        const known = row?.witnessed ?? undefined;
        if (known !== undefined && !isNewer(note, known)) return;
        job.tenants.setWitnessed(lookup, tenantId, note);
        if (ANCHORED.test(note)) job.tenants.setAnchored(lookup, tenantId);
      }),
    );
  }

  #openingOf(row: TenantRow): TenantOpening {
    return {
      installationId: this.home.platform.installationId,
      tenant: { id: row.id, name: row.name, demo: row.demo === 1 },
      entry: this.#register.wrappedEntry(row.id),
      installationKeys: this.#register.installationKeys(),
      witnessed: row.witnessed ?? undefined,
      anchored: row.anchored === 1,
    };
  }
}

interface InstallationRow {
  id: string;
  root_check: Uint8Array;
}

function findInstallation(sql: Sql): InstallationRow | undefined {
  sql.script(
    'CREATE TABLE IF NOT EXISTS installation (only_one INTEGER PRIMARY KEY, id TEXT NOT NULL, root_check BLOB NOT NULL) STRICT;',
  );
  return sql.get<InstallationRow>('SELECT id, root_check FROM installation WHERE only_one = 1');
}

/** A checkpoint note of an anchored cell. */
const ANCHORED = /^keyturn-anchor \d+ /m;

/** By state sequence, then by epoch. The signature is verified by the tenant's object when it opens. */
function isNewer(note: string, known: string): boolean {
  const by = numberIn(note, /^keyturn-seq (\d+)$/m) - numberIn(known, /^keyturn-seq (\d+)$/m);
  return by > 0 || (by === 0 && numberIn(note, /^keyturn-anchor (\d+) /m) > numberIn(known, /^keyturn-anchor (\d+) /m));
}

function numberIn(note: string, line: RegExp): number {
  return Number(line.exec(note)?.[1] ?? -1);
}
