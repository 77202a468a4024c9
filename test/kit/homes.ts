// A home cell in memory with its key register, and tenants made through it, on the clock of test/kit/vaults.ts.
import { randomBytes } from 'node:crypto';
import type { Caller, UserIdentity } from '../../src/access/principals.ts';
import { type FaultPoint, NO_FAULTS } from '../../src/base/faults.ts';
import { newId } from '../../src/base/ids.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import { KeyRegister } from '../../src/cell/register.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { HomeVault } from '../../src/vault/home-vault.ts';
import type { Provision } from '../../src/vault/manage-tenants.ts';
import type { CellOptions, Platform } from '../../src/vault/open-cell.ts';
import { provisionTenant } from '../../src/vault/provision-tenant.ts';
import { createBootstrapSecret, setUp } from '../../src/vault/set-up.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { testAuthorizer } from './cedar.ts';
import { TestClock, testEntropy } from './vaults.ts';

const authorizer = testAuthorizer();
let requests = 0;

export interface TestHome {
  readonly home: HomeVault;
  readonly sql: Sql;
  readonly clock: TestClock;
  readonly register: KeyRegister;
  /** The bootstrap secret of the first start, as text. */
  readonly bootstrap: string;
  /** The tenants made so far, by id. */
  readonly tenants: ReadonlyMap<string, { readonly vault: TenantVault; readonly sql: Sql }>;
  readonly provision: Provision;
  /** The heads that an answer waited for, of all cells. */
  readonly urgentNotes: readonly string[];
  /** Throws at this point once. */
  failAt(point: FaultPoint | undefined): void;
  /** As the edge does it: looks the token up now. */
  caller(token: string): Caller;
  /** The home database opened again, as after a restart. */
  reopen(): HomeVault;
  /** What an opening needs, for tests that look at the database alone. */
  readonly opening: CellOptions;
}

/** @param hasOwner whether its first start is over */
export async function testHome(sql: Sql = openNodeSql(':memory:'), hasOwner = true): Promise<TestHome> {
  const clock = new TestClock();
  const urgentNotes: string[] = [];
  let failing: FaultPoint | undefined;
  const root = RootKeys.of(RootKey.of(randomBytes(32)));
  const installationId = newId('installation', testEntropy);
  const platform: Platform = {
    clock,
    entropy: testEntropy,
    faults: {
      at: (point) => {
        NO_FAULTS.at(point);
        if (point !== failing) return;
        failing = undefined;
        throw new Error(`a crash at ${point}`);
      },
    },
    nextTick: (task) => void setImmediate(task),
    later: () => {},
    witness: { publish: (_cell, note, isUrgent) => void (isUrgent === true && urgentNotes.push(note)) },
    root,
    installationId,
  };
  const register = new KeyRegister(openNodeSql(':memory:'), root, installationId);
  register.ensure(installationId, clock.now());
  const open = () => new HomeVault({ sql, erasureKey: register.open(installationId), platform, authorizer, admit: () => {} });
  const home = open();
  const secret = hasOwner ? await createBootstrapSecret(home) : undefined;
  const tenants = new Map<string, { vault: TenantVault; sql: Sql }>();
  const provision: Provision = async (row, environments) => {
    register.ensure(row.id, clock.now());
    const known = tenants.get(row.id)?.sql ?? openNodeSql(':memory:');
    const vault = new TenantVault({
      tenant: { id: row.id, name: row.name, demo: row.demo === 1 },
      sql: known,
      erasureKey: register.open(row.id),
      platform,
      authorizer,
      admit: () => {},
      onDueChanged: () => {},
    });
    tenants.set(row.id, { vault, sql: known });
    await provisionTenant(vault, environments);
  };
  return {
    home,
    sql,
    clock,
    register,
    bootstrap: secret === undefined ? '' : textOf(secret),
    tenants,
    provision,
    urgentNotes,
    failAt: (point) => {
      failing = point;
    },
    caller: (token) => callerOf(token, home.identify(token)),
    reopen: open,
    opening: { kind: 'home', sql, cellId: installationId, erasureKey: register.open(installationId), platform, opening: {} },
  };
}

/** The same, set up: with the token of its owner `ada`. */
export async function testTeam(sql?: Sql): Promise<TestHome & { readonly owner: string }> {
  const made = await testHome(sql);
  const { issued } = await made.home.submit((job) => setUp(job, made.caller(made.bootstrap), 'ada'));
  return { ...made, owner: textOf(issued.token) };
}

export function textOf(secret: SecretValue): string {
  return secret.reveal((bytes) => new TextDecoder().decode(bytes));
}

function callerOf(token: string, user: UserIdentity | undefined): Caller {
  return { token, source: { address: '127.0.0.1', userAgent: 'vitest' }, request: `req_home_${++requests}`, user };
}
