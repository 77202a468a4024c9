// An installation in memory: home and tenant vaults over real SQLite, real keys and the shipped policies, with a clock the test moves.

import { randomBytes } from 'node:crypto';
import type { Door } from '../../src/access/guard.ts';
import type { Role } from '../../src/access/operations.ts';
import type { Caller, UserIdentity } from '../../src/access/principals.ts';
import type { Entropy, InstallationClock } from '../../src/base/clock.ts';
import { type Faults, NO_FAULTS } from '../../src/base/faults.ts';
import { newId } from '../../src/base/ids.ts';
import type { SecretValue } from '../../src/base/secret-value.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import type { CellHandle, CellJob } from '../../src/vault/cell-handle.ts';
import { exchangeToken } from '../../src/vault/exchange-token.ts';
import { createWorkload } from '../../src/vault/manage-workloads.ts';
import type { CellOptions, Platform } from '../../src/vault/open-cell.ts';
import { provisionTenant } from '../../src/vault/provision-tenant.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { testAuthorizer } from './cedar.ts';

export const START_MS = Date.UTC(2026, 0, 2, 3, 4, 5);

/** Passes as a test says. Like a platform's own it is steady, unless a test says otherwise, and may be set back. */
export class TestClock implements InstallationClock {
  atMs = START_MS;
  steadyAtMs = 0;
  /** How much of it is not proven. */
  unprovenMs = 0;
  now(): number {
    return this.atMs;
  }
  pass(ms: number): void {
    this.atMs += ms;
  }
  provenAt(): number {
    return this.atMs - this.unprovenMs;
  }
  atLeast(): void {}
  isSteady(): boolean {
    return this.atMs >= this.steadyAtMs;
  }
  steadyFrom(): number {
    return this.steadyAtMs;
  }
}

export const testEntropy: Entropy = { bytes: (count) => new Uint8Array(randomBytes(count)), fraction: () => 0.5 };
export const authorizer = testAuthorizer();
let requests = 0;

export interface TestTenant {
  readonly vault: TenantVault;
  readonly sql: Sql;
  readonly clock: TestClock;
  readonly notes: string[];
  /** What the log asked to be woken for. */
  readonly wakes: (() => void)[];
  /** How often the owner of the timer was told that a due time changed. */
  readonly dueChanges: () => number;
  /** A user with these roles at this tenant (assigned), or everywhere. */
  user(roles: readonly Role[], where?: 'here' | 'everywhere' | 'elsewhere', extra?: Partial<UserIdentity>): Caller;
  token(text: string | undefined, address?: string): Caller;
  /** Opens the same database again, as after a restart, or a copy of it; default: with the last note that the witness was given. */
  reopen(witnessed?: string, copy?: Sql): TenantVault;
  /** As `reopen`, on a machine that differs in this. */
  reopenWith(other: Partial<Platform>): TenantVault;
  /** What an opening needs, for tests that look at the database alone. */
  readonly opening: CellOptions;
}

export interface TestTenantOptions {
  readonly demo?: boolean;
  readonly sql?: Sql;
  readonly clock?: TestClock;
  readonly faults?: Faults;
  /** Default: keys do not age, so that nothing is due by itself. */
  readonly keyPeriodMs?: number;
  /** How many requests of whom there may be; default: any. @throws rate_limited */
  readonly admit?: (principalId: string) => void;
}

export async function testTenant(options: TestTenantOptions = {}): Promise<TestTenant> {
  const clock = options.clock ?? new TestClock();
  const sql = options.sql ?? openNodeSql(':memory:');
  const notes: string[] = [];
  const wakes: (() => void)[] = [];
  let dueChanges = 0;
  const platform: Platform = {
    clock,
    entropy: testEntropy,
    faults: options.faults ?? NO_FAULTS,
    nextTick: (task) => void setImmediate(task),
    later: (_delayMs, task) => void wakes.push(task),
    witness: { publish: (_cell, note) => notes.push(note) > 0 },
    root: RootKeys.of(RootKey.of(randomBytes(32))),
    installationId: newId('installation', testEntropy),
    keyPeriodMs: options.keyPeriodMs ?? Number.POSITIVE_INFINITY,
  };
  const erasureKey: SecretValue = newErasureKey();
  const tenant = { id: newId('tenant', testEntropy), name: 'acme', demo: options.demo === true };
  const open = (witnessed?: string, from: Sql = sql, other: Partial<Platform> = {}) =>
    new TenantVault({
      tenant,
      sql: from,
      erasureKey,
      platform: { ...platform, ...other },
      authorizer,
      admit: options.admit ?? (() => {}),
      witnessed,
      onDueChanged: () => {
        dueChanges += 1;
      },
    });
  const vault = open();
  await provisionTenant(vault, ['staging', 'production']);
  const source = (address = '127.0.0.1') => ({ address, userAgent: 'vitest' });
  return {
    vault,
    sql,
    clock,
    notes,
    wakes,
    dueChanges: () => dueChanges,
    user: (roles, where = 'here', extra = {}) => {
      const tenantId = where === 'here' ? tenant.id : where === 'everywhere' ? '*' : 'ten_another';
      const user: UserIdentity = {
        id: `usr_${roles.join('')}`,
        name: 'someone',
        revision: ++requests,
        bootstrap: false,
        grants: roles.map((role) => ({ role, tenantId })),
        tokenId: 'token',
        ...extra,
      };
      return { token: undefined, source: source(), request: `req_${++requests}`, user };
    },
    token: (text, address) => ({ token: text, source: source(address), request: `req_${++requests}` }),
    opening: { kind: 'tenant', sql, cellId: tenant.id, erasureKey, platform, opening: {} },
    reopen: (witnessed = notes.at(-1), copy = sql) => open(witnessed, copy),
    reopenWith: (other) => open(notes.at(-1), sql, other),
  };
}

/** Puts an api_key credential `name` into staging. */
export async function putKey(tenant: TestTenant, name: string, key: string, environment = 'staging') {
  return tenant.vault.submit((job) =>
    putCredential(job, tenant.user(['admin'], 'everywhere'), {
      environment,
      name,
      kind: 'api_key',
      value: { key },
      connector: undefined,
      config: undefined,
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
}

export interface WorkloadOptions {
  readonly name?: string;
  readonly patterns?: readonly string[];
  readonly permissions?: readonly ('read' | 'put' | 'rotate')[];
  readonly networks?: readonly string[];
  readonly environment?: string;
}

/** A workload with an access token, as text. */
export async function workloadToken(tenant: TestTenant, options: WorkloadOptions = {}): Promise<{ text: string; id: string }> {
  const { vault } = tenant;
  const made = await vault.submit((job) =>
    createWorkload(job, tenant.user(['admin'], 'everywhere'), {
      name: options.name ?? `sync-${++requests}`,
      environment: options.environment ?? 'staging',
      patterns: options.patterns ?? ['*'],
      permissions: options.permissions ?? ['read'],
      networks: options.networks ?? [],
      jwks: undefined,
      ttlMs: 86_400_000,
    }),
  );
  const clientSecret = made.clientSecret?.token.reveal((bytes) => new TextDecoder().decode(bytes)) ?? '';
  const issued = await exchangeToken(
    vault,
    tenant.token(undefined),
    { method: 'client_secret', clientId: made.row.id, clientSecret },
    [],
  );
  return { text: issued.token.reveal((bytes) => new TextDecoder().decode(bytes)), id: made.row.id };
}

/** All events of a tenant, oldest first, as they lie in the database. */
export function eventsOf(sql: Sql): Record<string, unknown>[] {
  const blocks = sql.all<{ bytes: Uint8Array }>('SELECT bytes FROM audit_block ORDER BY first_index');
  return blocks.flatMap((block) =>
    new TextDecoder()
      .decode(block.bytes)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Record<string, unknown>),
  );
}

/** What jobs of the vault work with, for tests that look into its cell. Its door refuses to work outside a job. */
export function inside<View, Job extends CellJob & View>(vault: CellHandle<View, Job>): Job {
  return vault.lookup('test', (_lookup, view) => view as unknown as Job);
}

/** Changes rows as a use case would, so that a test can bring about a state that nothing brings about by itself. */
export function changing<T>({ door }: { readonly door: Door }, effect: (access: WriteAccess) => T): T {
  const actor = { type: 'system', id: 'test' } as const;
  return door.record({ action: 'test.change', actor, reason: 'test', request: 'test', target: { type: 'test' } }, effect);
}
