// CR-03, CR-13: an index whose entries were taken out of the file while its declaration stayed. Lists and counts that walk it are short, so
// nothing irreversible may rest on it, and the scrub finds it.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { scrub, scrubInService } from '../../src/cell/scrub.ts';
import { ANCHORED_TABLES } from '../../src/cell/tables.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { destroyRetiredKeys, rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { withDatabase } from '../kit/node-process.ts';
import { inside, putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const directory = mkdtempSync(join(tmpdir(), 'keyturn-hollow-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const WHERE = /\bWHERE\b[\s\S]*$/;

interface Index {
  readonly name: string;
  readonly tbl_name: string;
  readonly sql: string;
}

/** Takes the entries out of an index, except those of rows that meet `kept`, and leaves its declaration as it was. */
function hollow(path: string, { name, sql }: Index, kept = '0'): void {
  withDatabase(path, (database) => {
    database.exec(`DROP INDEX ${name}; ${sql}${WHERE.test(sql) ? ' AND' : ' WHERE'} ${kept}`);
    database.unsafeMode(true);
    database.pragma('writable_schema = ON');
    database.prepare('UPDATE sqlite_master SET sql = ? WHERE name = ?').run(sql, name);
  });
}

async function closedTenant(path: string): Promise<TestTenant> {
  const tenant = await testTenant({ sql: openNodeSql(path) });
  for (const name of ['a', 'b', 'c']) await putKey(tenant, name, 'not-a-real-secret');
  await workloadToken(tenant);
  tenant.vault.close();
  return tenant;
}

function indexesOf(path: string): Index[] {
  const sql = openNodeSql(path);
  const found = sql.all<Index>("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL");
  const anchored = new Set(ANCHORED_TABLES.map(({ table }) => table));
  const filled = found.filter(
    ({ tbl_name, sql: text }) =>
      anchored.has(tbl_name) && sql.get(`SELECT 1 AS one FROM ${tbl_name} NOT INDEXED ${WHERE.exec(text)?.[0] ?? ''} LIMIT 1`),
  );
  sql.close();
  return filled;
}

describe('an index without entries', () => {
  it('is found by the scrub in service and by the deep one, whichever it is', async () => {
    const path = join(directory, 'tenant.db');
    const tenant = await closedTenant(path);
    const indexes = indexesOf(path);
    expect(indexes.length).toBeGreaterThan(8);
    for (const [i, index] of indexes.entries()) {
      const copy = join(directory, `copy-${i}.db`);
      copyFileSync(path, copy);
      hollow(copy, index);
      const vault = tenant.reopen(undefined, openNodeSql(copy));
      const { rows } = inside(vault).core;
      const told = new Set<string>();
      for (const _ of scrubInService(rows, (table, _id, damage) => void told.add(`${table} ${damage}`)));
      expect([...told], index.name).toEqual([`${index.tbl_name} missing`]);
      const parts = [...scrub(rows)].filter((part) => part !== undefined);
      expect(parts.find(({ part }) => part === 'pages')?.failed, index.name).toBeGreaterThan(0);
      vault.close();
    }
  });

  it('is found where a single entry is missing, in whichever slice', async () => {
    const path = join(directory, 'single.db');
    const tenant = await closedTenant(path);
    const index = indexesOf(path).find(({ name }) => name === 'credential_by_name') as Index;
    const limits: { scrubSliceRows: number } = LIMITS;
    const { scrubSliceRows } = limits;
    for (const name of ['a', 'b', 'c']) {
      const copy = join(directory, `single-${name}.db`);
      copyFileSync(path, copy);
      hollow(copy, index, `name <> '${name}'`);
      const vault = tenant.reopen(undefined, openNodeSql(copy));
      for (const rows of [1, 2, scrubSliceRows]) {
        limits.scrubSliceRows = rows;
        const told: string[] = [];
        for (const _ of scrubInService(
          inside(vault).core.rows,
          (table, id, damage) => void told.push(`${table} ${id} ${damage}`),
        ));
        expect(told, `${name}, ${rows} at a time`).toEqual(['credential undefined missing']);
      }
      limits.scrubSliceRows = scrubSliceRows;
      vault.close();
    }
  });

  it('does not make a key unused that rows lie under', async () => {
    const path = join(directory, 'keys.db');
    const tenant = await closedTenant(path);
    const byKey = indexesOf(path).find(({ name }) => name === 'credential_version_by_key');
    expect(byKey).toBeDefined();
    hollow(path, byKey as Index);
    const sql = openNodeSql(path);
    const vault = tenant.reopen(undefined, sql);
    await vault.submit((job) => rotateKeys(job, tenant.user(['admin'], 'everywhere'), ['api_key']));
    for (let i = 0; i < 5; i++) await vault.submit((job) => rewrapBatch(job));
    tenant.clock.pass(LIMITS.keyDestroyDelayMs);
    expect(await destroyRetiredKeys(vault)).toBe(0);
    const states = () =>
      sql.all("SELECT state FROM tenant_key WHERE purpose = 'api_key' ORDER BY version").map((row) => row['state']);
    expect(states()).toEqual(['decrypt_only', 'active']);
    const dueAt = sql.get("SELECT destroy_after_at FROM tenant_key WHERE purpose = 'api_key' AND version = 1")?.[
      'destroy_after_at'
    ];
    expect(dueAt, 'it is looked at again a day later').toBe(tenant.clock.now() + LIMITS.keyDestroyAgainMs);
    // Once the index is whole again, the rows move and the key goes.
    sql.script('REINDEX');
    await vault.submit((job) => rotateKeys(job, tenant.user(['admin'], 'everywhere'), ['api_key']));
    for (let i = 0; i < 5; i++) await vault.submit((job) => rewrapBatch(job));
    tenant.clock.pass(LIMITS.keyDestroyDelayMs + LIMITS.keyDestroyAgainMs);
    expect(await destroyRetiredKeys(vault)).toBe(2);
    expect(states()).toEqual(['destroyed', 'destroyed', 'active']);
    vault.close();
  });
});
