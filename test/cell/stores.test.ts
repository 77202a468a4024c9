// Rows that decide something have a MAC: an edit of the database causes an error and grants nothing.
import { describe, expect, it } from 'vitest';
import type { Sql } from '../../src/cell/sql.ts';
import { describeCredential, listCredentials } from '../../src/vault/describe-credential.ts';
import { createTenant, listTenants, resolveTenant } from '../../src/vault/manage-tenants.ts';
import { createUser, listUsers } from '../../src/vault/manage-users.ts';
import { getWorkload } from '../../src/vault/manage-workloads.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { testTeam } from '../kit/homes.ts';
import { caughtCode, outcomeOf } from '../kit/outcome.ts';
import { inside, putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

interface Column {
  readonly name: string;
  readonly type: string;
}

/** For every column of a table except `free`, an assignment of another value of its type. */
function edits(sql: Sql, table: string, free: readonly string[]): { column: string; change: string }[] {
  return sql
    .all<Column & { notnull: number }>(`SELECT name, type, "notnull" FROM pragma_table_info('${table}')`)
    .filter((column) => !free.includes(column.name))
    .map(({ name, type }) => ({ column: name, change: ANOTHER[type]?.(name) ?? '' }));
}

const ANOTHER: Readonly<Record<string, (name: string) => string>> = {
  INTEGER: (name) => `${name} = coalesce(${name}, 0) + 1`,
  TEXT: (name) => `${name} = coalesce(${name}, '') || 'x'`,
  BLOB: (name) => `${name} = zeroblob(length(${name}))`,
};

/** Edits the rows of a table, runs `attempt`, and restores the rows. */
async function underEdit(sql: Sql, table: string, change: string, attempt: () => Promise<string>): Promise<string> {
  sql.script(
    `CREATE TEMP TABLE kept AS SELECT * FROM ${table}; PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;`,
  );
  try {
    sql.run(`UPDATE ${table} SET ${change}`);
    return await attempt();
  } finally {
    const columns = sql.all<Column>(`SELECT name FROM pragma_table_info('${table}')`).map(({ name }) => `${name} = kept.${name}`);
    sql.script(`UPDATE ${table} SET ${columns.join(', ')} FROM kept WHERE kept.rowid = ${table}.rowid; DROP TABLE kept;`);
    sql.script('PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF;');
  }
}

const CANARY = 'not-a-real-secret-stores';
const describeStripe = (tenant: TestTenant) =>
  outcomeOf(tenant.vault.submit((job) => describeCredential(job, tenant.user(['admin'], 'everywhere'), 'staging', 'stripe')));

function read(tenant: TestTenant, token: string): Promise<string> {
  const input = { environment: 'staging', name: 'stripe', version: undefined, stage: undefined };
  return outcomeOf(tenant.vault.submit((job) => readCredential(job, tenant.token(token), input)));
}

function dropMemory(tenant: TestTenant): void {
  inside(tenant.vault).cache.clear();
  inside(tenant.vault).authenticator.forget();
}

describe('an edit of the database', () => {
  it('of any column of a credential is detected before the row is used', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    // With another name or environment it is not the requested row.
    for (const { column, change } of edits(tenant.sql, 'credential', ['name', 'environment_id'])) {
      const outcome = await underEdit(tenant.sql, 'credential', change, () => describeStripe(tenant));
      expect.soft(outcome, column).toMatch(column === 'mac_key_id' ? /^(integrity|key_destroyed)$/ : /^integrity$/);
    }
    expect(await describeStripe(tenant)).toBe('ok');
  });

  it('that renames a credential or moves it to another environment is detected under its new name', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'other', CANARY, 'production');
    expect(await underEdit(tenant.sql, 'credential', "name = 'stripe'", () => describeStripe(tenant))).toBe('not_found');
    const moved = "name = 'stripe', environment_id = (SELECT id FROM environment WHERE name = 'staging')";
    expect(await underEdit(tenant.sql, 'credential', moved, () => describeStripe(tenant))).toBe('integrity');
  });

  it('excludes the row from lists, which still work', async () => {
    const tenant = await testTenant();
    for (const name of ['stripe', 'a', 'b', 'c']) await putKey(tenant, name, CANARY);
    const list = async () => {
      const page = await tenant.vault.submit((job) =>
        listCredentials(job, tenant.user(['admin'], 'everywhere'), {
          environment: 'staging',
          filter: { deleted: false },
          afterName: '',
          maxRows: 2,
        }),
      );
      return `${page.rows.map(({ row }) => row.name)} then ${page.next}`;
    };
    expect(await underEdit(tenant.sql, 'credential', "health = 'degraded'", list)).toBe(' then undefined');
    tenant.sql.run("UPDATE credential SET health = 'degraded' WHERE name = 'a'");
    expect(await list()).toBe('b,c then c');
    tenant.sql.run("UPDATE credential SET health = 'ready' WHERE name = 'a'");
    expect(await list()).toBe('a,b then b');
  });

  it('of any column of a token or of its workload grants nothing', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const { text, id } = await workloadToken(tenant);
    const attempt = () => {
      dropMemory(tenant);
      return read(tenant, text);
    };
    const free = ['last_used_at', 'public_id', 'id'];
    for (const table of ['token', 'workload']) {
      for (const { column, change } of edits(tenant.sql, table, free)) {
        const outcome = await underEdit(tenant.sql, table, change, attempt);
        const asked = column === 'mac_key_id' ? /^(integrity|key_destroyed)$/ : /^integrity$/;
        expect.soft(outcome, `${table}.${column}`).toMatch(asked);
      }
    }
    expect(await attempt()).toBe('ok');
    const found = () => outcomeOf(tenant.vault.submit((job) => getWorkload(job, tenant.user(['admin'], 'everywhere'), id)));
    expect(await underEdit(tenant.sql, 'workload', 'patterns = \'["*","x"]\'', found)).toBe('integrity');
  });

  it('of a sealed version, its wrapped key or its number makes the version unreadable', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    await putKey(tenant, 'stripe', `${CANARY}-2`);
    await putKey(tenant, 'hubspot', CANARY);
    const { text } = await workloadToken(tenant);
    const attempt = () => {
      dropMemory(tenant);
      return read(tenant, text);
    };
    const swaps = [
      'value = zeroblob(length(value))',
      'wrapped_key = zeroblob(length(wrapped_key))',
      'value = (SELECT value FROM credential_version WHERE version = 1 LIMIT 1)',
      'wrapped_key = (SELECT wrapped_key FROM credential_version WHERE version = 1 LIMIT 1)',
      'value = substr(value, 1, length(value) - 1)',
      "value = x''",
      "key_id = (SELECT key_id FROM tenant_key WHERE purpose = 'oauth_token')",
      "key_id = 'key_000000000000000000000000'",
    ];
    for (const change of swaps) {
      const outcome = await underEdit(tenant.sql, 'credential_version', change, attempt);
      expect.soft(outcome, change).toMatch(/^(integrity|key_destroyed)$/);
    }
    expect(await attempt()).toBe('ok');
  });

  it('that swaps the names of two environments is detected', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY, 'production');
    const { text } = await workloadToken(tenant);
    dropMemory(tenant);
    tenant.sql.run("UPDATE environment SET name = 'aside' WHERE name = 'staging'");
    tenant.sql.run("UPDATE environment SET name = 'staging' WHERE name = 'production'");
    expect(await read(tenant, text)).toBe('integrity');
  });

  it('of any column of an environment is detected, though the same row was read before', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', CANARY);
    const { text } = await workloadToken(tenant);
    const attempt = () => {
      dropMemory(tenant);
      return read(tenant, text);
    };
    expect(await attempt()).toBe('ok');
    for (const { column, change } of edits(tenant.sql, 'environment', ['id', 'name'])) {
      const where = "name = 'staging'";
      const [before] = tenant.sql.all<Record<string, string>>(`SELECT ${column} AS was FROM environment WHERE ${where}`);
      tenant.sql.run(`UPDATE environment SET ${change} WHERE ${where}`);
      expect.soft(await attempt(), column).toBe('integrity');
      tenant.sql.run(`UPDATE environment SET ${column} = ? WHERE ${where}`, before?.['was'] ?? null);
      expect.soft(await attempt(), column).toBe('ok');
    }
  });

  it('that puts back an environment which the map no longer has is detected, though its row was read before', async () => {
    const tenant = await testTenant();
    const find = async () => {
      try {
        return tenant.vault.lookup(
          'test',
          (lookup) => inside(tenant.vault).credentials.findEnvironment(lookup, 'production')?.name,
        );
      } catch (error) {
        return (error as { code?: string }).code;
      }
    };
    expect(await find()).toBe('production');
    const [row = {}] = tenant.sql.all("SELECT * FROM environment WHERE name = 'production'");
    await tenant.vault.submit((job) => job.core.rows.of('environment').destroy([row]));
    const columns = Object.keys(row);
    tenant.sql.run(
      `INSERT INTO environment (${columns.join()}) VALUES (${columns.map(() => '?').join()})`,
      ...Object.values(row),
    );
    expect(await find()).toBe('integrity');
  });

  it('of a user or of their grants is detected', async () => {
    const team = await testTeam();
    const owner = () => team.caller(team.owner);
    const input = { name: 'eve', grants: [{ role: 'auditor' as const, tenant: undefined }], enrolmentTtlMs: 60_000 };
    await team.home.submit((job) => createUser(job, owner(), input));
    const caller = owner();
    const list = async () => {
      const { rows } = await team.home.submit((job) => listUsers(job, caller, '', 10));
      return rows
        .map(({ row }) => row.name)
        .sort()
        .join();
    };
    expect(await list()).toBe('ada,eve');
    for (const { column, change } of edits(team.sql, 'user', ['id'])) {
      const asOne = column === 'name' ? "name = name || 'x'" : change;
      expect.soft(await underEdit(team.sql, 'user', asOne, list), column).toBe('');
    }
    expect(await underEdit(team.sql, 'user_grant', "role = 'admin'", list)).toBe('');
    team.sql.run("INSERT INTO user_grant SELECT id, 'admin', '*' FROM user WHERE name = 'eve'");
    expect(await list()).toBe('ada');
    expect(caughtCode(() => team.home.lookup('test', (lookup, view) => view.users.find(lookup, 'eve')))).toBe('integrity');
  });

  it('of a tenant’s name, state or demo flag is detected', async () => {
    const team = await testTeam();
    const owner = () => team.caller(team.owner);
    const made = await createTenant(team.home, owner(), { name: 'acme', environments: ['staging'], demo: false }, team.provision);
    const list = async () => {
      team.home.routes.clear();
      expect.soft(caughtCode(() => resolveTenant(team.home, made.id))).toBe('integrity');
      const { rows } = await team.home.submit((job) => listTenants(job, owner(), '', 10));
      return String(rows.length);
    };
    for (const change of ["name = 'evil'", 'demo = 1', "state = 'creating'", "environments = '[]'", "witnessed = 'x'"]) {
      expect.soft(await underEdit(team.sql, 'tenant', change, list), change).toBe('0');
    }
  });
});
