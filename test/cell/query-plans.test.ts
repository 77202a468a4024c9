// Every statement uses an index: none scans a table that may be large, and none sorts its result. And only statements in src/cell/rows.ts
// write rows that are in the cell's map.
import { randomBytes } from 'node:crypto';
import { globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { migrate } from '../../src/cell/migrations.ts';
import { KeyRegister, REGISTER_SCRIPT } from '../../src/cell/register.ts';
import { scrub, scrubInService } from '../../src/cell/scrub.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { ANCHORED_TABLES, tableOf } from '../../src/cell/tables.ts';
import { RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { followAudit, readCheckpoint, searchAudit } from '../../src/vault/read-audit.ts';
import { rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { exportedLines } from '../kit/exports.ts';
import { anything, madeUpRow, StatementRecorder, statementSites } from '../kit/sql-statements.ts';
import { inside, putKey, testTenant, workloadToken } from '../kit/vaults.ts';

/** Tables that are always small. */
const SMALL = new Map([
  ['cell', 'one row'],
  ['audit_head', 'one row'],
  ['anchor_head', 'one row'],
  ['anchor_chunk', 'one row for some hundred rows of all tables; its directory is read whole at open'],
  ['anchor_journal', 'changes that are in no chunk yet; read whole at open'],
  ['tenant_key', 'a handful of purposes, a row for each version'],
  ['key_rotation', 'a row for each rotation of a purpose'],
  ['environment', 'created by people'],
  ['schedule_rule', 'at most LIMITS.scheduleRulesMaxCount'],
  ['user', 'the team'],
  ['user_grant', 'the team'],
  ['installation_key', 'a handful of labels, a row for each version'],
  ['schema_step', 'a row for each step'],
  ['sqlite_master', 'the schema itself'],
]);

/** Scans of an index with few rows. */
const BOUNDED = new Set([
  'SCAN webhook USING INDEX webhook_live', // at most LIMITS.webhooksMaxCount of them
  'SCAN calendar_feed USING INDEX calendar_feed_live', // at most LIMITS.calendarFeedsMaxCount of them
]);

const ROOT = join(import.meta.dirname, '../..');
const STORES = join(ROOT, 'src/cell');
const statements = new Map<string, Set<string>>();
const databases: Sql[] = [];
let counted = 0;

function keep(recorder: StatementRecorder): void {
  for (const [text, sites] of recorder.statements) statements.set(text, new Set([...(statements.get(text) ?? []), ...sites]));
}

/** Argument lists with all, with one missing, and with only the first argument: so each optional filter is used and not used. */
const ARGUMENTS = [0, 1, 2, 3, 4, 5]
  .map((absent) => (count: number) => Array.from({ length: count }, (_, i) => (i >= 1 && i === absent ? undefined : anything())))
  .concat([(count) => Array.from({ length: count }, (_, i) => (i === 0 ? anything() : undefined))]);

type Callable = (...given: unknown[]) => unknown;

function call(recorder: StatementRecorder, method: (given: unknown[]) => unknown): void {
  for (const made of ARGUMENTS) {
    for (const answers of ['rows', 'rows of nulls', 'nothing at first'] as const) {
      recorder.begin(answers);
      try {
        method(made(8));
      } catch {
        // Statements before the error are recorded; a statement that never runs fails the test below.
      }
    }
  }
}

/** The arguments of a store: the database, and rows that pass every check and are not written. */
function lent(recorder: StatementRecorder): unknown {
  const of = (table: string) => ({
    select: tableOf(table).select,
    /** None and one in turns: some stores ask the map before the table. */
    get count() {
      counted += 1;
      return counted % 2;
    },
    checked: (row: unknown) => row,
    intact: (rows: unknown) => rows,
    page: (maxRows: number, read: (last: unknown, rows: number) => unknown[]) => [
      ...read(undefined, maxRows),
      ...read(madeUpRow(), maxRows),
    ],
    absentById: () => undefined,
    absentByName: () => undefined,
    insert: () => {},
    update: () => {},
    remove: () => {},
    freeName: () => {},
    reseal: () => 0,
  });
  return Object.assign(recorder, { sql: recorder, kind: 'tenant', keyring: anything(), anchor: anything(), of });
}

/** Calls every function and every method of every class in src/cell whose first parameter is a database. */
async function askStores(): Promise<void> {
  const recorder = new StatementRecorder();
  lent(recorder);
  // Made-up rows have no valid MACs, which does not matter for query plans.
  vi.resetModules();
  vi.doMock('../../src/crypto/row-mac.ts', async (original) => ({
    ...(await original<object>()),
    rowMac: () => new Uint8Array(32),
    checkRowMac: () => {},
  }));
  // The recorder's rows are not a schema.
  vi.doMock('../../src/cell/schema-check.ts', async (original) => ({
    ...(await original<object>()),
    refuseForeignCode: () => {},
  }));
  for (const file of readdirSync(STORES).filter((name) => name.endsWith('.ts'))) {
    const module = (await import(join(STORES, file))) as Record<string, unknown>;
    for (const value of Object.values(module)) {
      if (typeof value !== 'function') continue;
      const isClass = Function.prototype.toString.call(value).startsWith('class ');
      if (!isClass) call(recorder, (given) => (value as Callable)(recorder, ...given));
      for (const name of isClass ? Object.getOwnPropertyNames(value.prototype) : []) {
        const member = Object.getOwnPropertyDescriptor(value.prototype, name)?.value as unknown;
        if (name === 'constructor' || typeof member !== 'function') continue;
        call(recorder, (given) => {
          const store = new (value as new (...made: unknown[]) => Record<string, Callable>)(recorder, ...given.map(anything));
          return store[name]?.(...given);
        });
      }
    }
  }
  vi.doUnmock('../../src/crypto/row-mac.ts');
  vi.doUnmock('../../src/cell/schema-check.ts');
  vi.resetModules();
  keep(recorder);
}

/** Runs the statements of the key register during a rotation of the root key. */
function runRegister(): void {
  const recorder = new StatementRecorder(openNodeSql(':memory:'));
  const roots = RootKeys.of(RootKey.of(randomBytes(32)));
  const register = new KeyRegister(recorder, roots, 'ins_a');
  register.ensure('ten_a', 0);
  register.ensureInstallationKeys(0);
  roots.turnTo(RootKey.of(randomBytes(32)));
  while (register.rewrap(2) > 0);
  keep(recorder);
  databases.push(recorder);
}

/** Runs the statements of the log, the keys and their rotation in a real tenant. */
async function runTenant(): Promise<void> {
  const recorder = new StatementRecorder(openNodeSql(':memory:'));
  const tenant = await testTenant({ sql: recorder });
  const { vault } = tenant;
  for (const key of ['not-a-real-secret', 'nor-is-this-one']) await putKey(tenant, 'crm', key);
  await workloadToken(tenant);
  await vault.submit((job) => {
    rotateKeys(job, tenant.user(['admin'], 'everywhere'), ['metadata_mac']);
    job.core.rows.anchor.reseal(9);
  });
  await vault.submit((job) => rotateKeys(job, tenant.user(['admin'], 'everywhere'), undefined));
  for (let turn = 0; turn < 40; turn++) await vault.submit((job) => rewrapBatch(job));
  await vault.submit((job) =>
    job.door.keepBooks('purge', (books) => job.core.tokens.purgeExpired(books, Number.MAX_SAFE_INTEGER, 9)),
  );
  for (const _ of scrub(inside(vault).core.rows));
  for (const _ of scrubInService(inside(vault).core.rows, () => {}));
  const auditor = tenant.user(['auditor'], 'everywhere');
  const filter = { sinceAt: '2020-01-01T00:00:00.000Z', untilAt: '2030-01-01T00:00:00.000Z' };
  await searchAudit(vault, auditor, filter, undefined, 50);
  await followAudit(vault, auditor, {}, 3, 50);
  await readCheckpoint(vault, auditor);
  await exportedLines(tenant);
  await inside(vault).core.cell.probe();
  const [first] = tenant.notes;
  tenant.reopen();
  tenant.reopen(first);
  tenant.sql.run('UPDATE checkpoint SET frontier = NULL');
  tenant.reopen(first);
  keep(recorder);
  databases.push(recorder);
}

beforeAll(async () => {
  const tenant = openNodeSql(':memory:');
  migrate(tenant, 'tenant', 0);
  const home = openNodeSql(':memory:');
  migrate(home, 'home', 0);
  home.script(REGISTER_SCRIPT);
  databases.push(tenant, home);
  await askStores();
  runRegister();
  await runTenant();
});

/** Undefined when this database does not have a table of the statement. */
function planOf(sql: Sql, statement: string): string[] | undefined {
  const values = [...statement.matchAll(/\?/g)].map(() => null);
  try {
    return sql.all<{ detail: string }>(`EXPLAIN QUERY PLAN ${statement}`, ...values).map(({ detail }) => detail);
  } catch (error) {
    if (/no such table/.test(String((error as { cause?: unknown }).cause ?? error))) return undefined;
    throw error;
  }
}

/** The steps of a plan that scan or sort, unless all its tables are small. */
function faultsOf(plan: readonly string[]): string[] {
  const tables = plan.flatMap((step) => /^(?:SCAN|SEARCH) (\w+)/.exec(step)?.[1] ?? []);
  if (tables.every((table) => SMALL.has(table))) return [];
  return plan.filter((step) => {
    const [, table = ''] = /^SCAN (\w+)/.exec(step) ?? [];
    const isHarmless = SMALL.has(table) || /^SCAN CONSTANT ROW|^SCAN json_each/.test(step) || BOUNDED.has(step);
    return /TEMP B-TREE/.test(step) || (step.startsWith('SCAN') && !isHarmless);
  });
}

/** Files whose statements read whole tables on purpose, in slices. */
const READS_ALL = ['src/cell/scrub.ts', 'src/cell/adopt-rows.ts'];

describe('the statements of Keyturn', () => {
  it('are all recorded: every call site was reached', () => {
    const reached = new Set([...statements.values()].flatMap((sites) => [...sites]));
    expect(statements.size).toBeGreaterThan(110);
    expect(statementSites().filter((site) => !reached.has(site))).toEqual([]);
  });

  it('each use an index', () => {
    const faults: string[] = [];
    for (const [statement, sites] of statements) {
      if ([...sites].every((site) => READS_ALL.some((path) => site.startsWith(path)))) continue;
      const plans = databases.map((sql) => planOf(sql, statement)).filter((plan) => plan !== undefined);
      expect(plans.length, statement).toBeGreaterThan(0);
      for (const plan of plans) faults.push(...faultsOf(plan).map((step) => `${[...sites].join(', ')}: ${step}: ${statement}`));
    }
    expect([...new Set(faults)]).toEqual([]);
  });

  it('would fail this test if one scanned or sorted a large table', () => {
    const faults = (statement: string) => faultsOf(planOf(databases[0] as Sql, statement) ?? []);
    expect(faults('SELECT * FROM credential WHERE description = ?')).toEqual(['SCAN credential']);
    expect(faults('SELECT * FROM credential WHERE environment_id = ? AND name > ? ORDER BY name')).toContain('SCAN credential');
    expect(faults('SELECT * FROM run WHERE credential_id = ? ORDER BY step')).toEqual(['USE TEMP B-TREE FOR ORDER BY']);
    expect(faults('SELECT * FROM credential WHERE id = ?')).toEqual([]);
    expect(faults('SELECT * FROM environment ORDER BY name')).toEqual([]);
  });
});

const ANCHORED = new Map(ANCHORED_TABLES.map((declared) => [declared.table, declared]));
/** Tables whose rows are a column under another table's MAC. */
const JOINED = ANCHORED_TABLES.flatMap(({ joined }) =>
  [...(joined?.sql.matchAll(/ FROM (\w+)/g) ?? [])].map(([, name = '']) => name),
);

/** `file verb table` of allowed writes outside rows.ts, with the reason. */
const WRITES_BY_ITSELF = new Map([
  [
    'src/cell/keyring.ts INSERT tenant_key',
    'the first keys of a cell: they seal its map, which is created after them and then contains them',
  ],
  ['src/cell/users.ts INSERT user_grant', "with the user's own row, whose MAC covers them"],
  ['src/cell/users.ts DELETE user_grant', "with the user's own row, whose MAC covers them"],
]);

const WRITE =
  /\b(INSERT|REPLACE|UPDATE|DELETE)\s+(?:OR\s+\w+\s+)?(?:INTO\s+|FROM\s+)?["[]?(\w+)["\]]?(?:\s+SET\s+((?:(?!\bWHERE\b|\bRETURNING\b)[^'`;])*))?/g;

/** The writes in `text` to rows that the map covers, without writes to columns outside every MAC. */
function coveredWrites(text: string): string[] {
  return [...text.matchAll(WRITE)].flatMap(([, verb = '', table = '', set]) => {
    const declared = ANCHORED.get(table);
    if (declared === undefined && !JOINED.includes(table)) return [];
    const columns = [...(set ?? '').matchAll(/(?:^|,)\s*(\w+)\s*=/g)].map(([, name = '']) => name);
    const isOpen = columns.length > 0 && columns.every((name) => Object.hasOwn(declared?.open ?? {}, name));
    return isOpen ? [] : [`${verb} ${table}`];
  });
}

describe('a row in the map of a cell', () => {
  it('is written by src/cell/rows.ts only, with its MAC and its entry in the map', () => {
    const used = new Set<string>();
    const faults: string[] = [];
    const look = (file: string, text: string) => {
      for (const write of coveredWrites(text)) {
        if (file === 'src/cell/rows.ts') used.add(write);
        else if (WRITES_BY_ITSELF.has(`${file} ${write}`)) used.add(`${file} ${write}`);
        else faults.push(`${file}: ${write}`);
      }
    };
    // Both the executed statements, for computed texts, and the source, for scripts of migrations and drivers.
    for (const [statement, sites] of statements) for (const site of sites) look(site.replace(/:\d+$/, ''), statement);
    for (const file of globSync('{src,rotation}/**/*.ts', { cwd: ROOT })) look(file, readFileSync(join(ROOT, file), 'utf8'));
    expect([...new Set(faults)]).toEqual([]);
    expect([...WRITES_BY_ITSELF.keys()].filter((known) => !used.has(known))).toEqual([]);
    // The search finds the writes of rows.ts, so it would find others.
    for (const verb of ['INSERT', 'UPDATE', 'DELETE'])
      expect(
        [...used].some((write) => write.startsWith(`${verb} `)),
        verb,
      ).toBe(true);
  });

  it.each([
    ['UPDATE credential SET health = ? WHERE id = ?', ['UPDATE credential']],
    ['UPDATE token SET last_used_at = ?, revoked_at = ? WHERE public_id = ?', ['UPDATE token']],
    ['UPDATE token SET last_used_at = ? WHERE public_id = ?', []],
    ['DELETE FROM run_step WHERE run_id = ?', ['DELETE run_step']],
    ['INSERT OR REPLACE INTO webhook (id) VALUES (?)', ['INSERT webhook']],
    ['REPLACE INTO "user" VALUES (?)', ['REPLACE user']],
    ['WITH old AS (SELECT 1) DELETE FROM alert', ['DELETE alert']],
    ['DELETE FROM user_grant WHERE user_id = ?', ['DELETE user_grant']],
    ['INSERT INTO audit_block (bytes) VALUES (?)', []],
    ['SELECT * FROM credential WHERE id = ?', []],
  ])('is found in %j', (statement, found) => {
    expect(coveredWrites(statement)).toEqual(found);
  });
});
