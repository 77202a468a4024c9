// Schema steps are forward-only and atomic, and a database of a newer build is refused unchanged.

import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { latestSchemaVersion, migrate, NOT_CARRIED, schemaVersion } from '../../src/cell/migrations.ts';
import { HOME_STEPS } from '../../src/cell/schema-home.ts';
import type { SchemaStep } from '../../src/cell/schema-step.ts';
import { TENANT_STEPS } from '../../src/cell/schema-tenant.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caughtCode } from '../kit/outcome.ts';
import { START_MS } from '../kit/vaults.ts';

const step = (version: number, script: string): SchemaStep => ({ version, name: `step ${version}`, script });
const ONE = step(1, 'CREATE TABLE one (a INTEGER) STRICT; INSERT INTO one (a) VALUES (1);');
const TWO = step(2, 'CREATE TABLE two (b INTEGER) STRICT; INSERT INTO two SELECT a FROM one;');
const BAD = step(3, 'CREATE TABLE three (c INTEGER) STRICT; INSERT INTO nowhere (c) VALUES (1);');

function tables(sql: Sql): string[] {
  return sql.all<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").map((row) => row.name);
}

describe('migrations', () => {
  it.each(['home', 'tenant'] as const)('bring an empty %s database to the newest schema, once', (kind) => {
    const sql = openNodeSql(':memory:');
    expect(schemaVersion(sql)).toBe(0);
    expect(migrate(sql, kind, START_MS)).toBe(latestSchemaVersion(kind));
    const made = sql.all('SELECT sql FROM sqlite_master ORDER BY name');
    expect(migrate(sql, kind, START_MS + 1)).toBe(latestSchemaVersion(kind));
    expect(sql.all('SELECT sql FROM sqlite_master ORDER BY name')).toEqual(made);
    expect(sql.all('SELECT applied_at FROM schema_step').every((row) => row['applied_at'] === START_MS)).toBe(true);
  });

  it.each(['home', 'tenant'] as const)(
    'make only strict tables in a %s database, so that no column takes another type',
    (kind) => {
      const sql = openNodeSql(':memory:');
      migrate(sql, kind, START_MS);
      const loose = sql.all("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0");
      expect(loose.map((row) => row['name'])).toEqual(['sqlite_schema']);
    },
  );

  it('run only missing steps', () => {
    const sql = openNodeSql(':memory:');
    migrate(sql, 'tenant', START_MS, [ONE]);
    expect(migrate(sql, 'tenant', START_MS + 1, [ONE, TWO])).toBe(2);
    expect(sql.all('SELECT b FROM two')).toEqual([{ b: 1 }]);
    expect(sql.all('SELECT version, applied_at FROM schema_step ORDER BY version')).toEqual([
      { version: 1, applied_at: START_MS },
      { version: 2, applied_at: START_MS + 1 },
    ]);
  });

  it('leave the database unchanged when a step fails, without the good steps before it', () => {
    const sql = openNodeSql(':memory:');
    migrate(sql, 'tenant', START_MS, [ONE]);
    expect(() => migrate(sql, 'tenant', START_MS, [ONE, TWO, BAD])).toThrow();
    expect(schemaVersion(sql)).toBe(1);
    expect(tables(sql)).toEqual(['one', 'schema_step']);
    expect(migrate(sql, 'tenant', START_MS, [ONE, TWO])).toBe(2);
  });

  it('leave an empty database empty when the first one fails', () => {
    const sql = openNodeSql(':memory:');
    expect(() => migrate(sql, 'tenant', START_MS, [ONE, BAD])).toThrow();
    expect(tables(sql)).toEqual([]);
  });

  it('refuse a database of a newer build and do not change it', () => {
    const sql = openNodeSql(':memory:');
    migrate(sql, 'tenant', START_MS, [ONE, TWO]);
    expect(caughtCode(() => migrate(sql, 'tenant', START_MS, [ONE]))).toBe('conflict');
    expect(tables(sql)).toEqual(['one', 'schema_step', 'two']);
    expect(schemaVersion(sql)).toBe(2);
  });

  it('leave a database at the newest step as it is, without a transaction', () => {
    const sql = openNodeSql(':memory:');
    migrate(sql, 'tenant', START_MS, [ONE]);
    sql.transaction = () => {
      throw new RangeError('a transaction');
    };
    expect(migrate(sql, 'tenant', START_MS, [ONE])).toBe(1);
    expect(() => migrate(sql, 'tenant', START_MS, [ONE, TWO])).toThrow(RangeError);
  });

  it('leave a database without steps empty', () => {
    const sql = openNodeSql(':memory:');
    expect(migrate(sql, 'tenant', START_MS, [])).toBe(0);
    expect(tables(sql)).toEqual([]);
  });

  it('begin with the first step beside tables of another owner', () => {
    const sql = openNodeSql(':memory:');
    sql.script('CREATE TABLE erasure_key (cell_id TEXT) STRICT; CREATE INDEX schema_step ON erasure_key (cell_id);');
    expect(schemaVersion(sql)).toBe(0);
  });

  it('mark a step whose sealed rows are to be migrated, unless the database was empty', () => {
    const carrying = [ONE, { ...TWO, carries: true }] as const;
    const appliedAt = (sql: Sql) =>
      sql.all('SELECT applied_at FROM schema_step ORDER BY version').map((row) => row['applied_at']);
    const fresh = openNodeSql(':memory:');
    migrate(fresh, 'tenant', START_MS, carrying);
    expect(appliedAt(fresh)).toEqual([START_MS, START_MS]);
    const older = openNodeSql(':memory:');
    migrate(older, 'tenant', START_MS, [ONE]);
    migrate(older, 'tenant', START_MS, carrying);
    expect(appliedAt(older)).toEqual([START_MS, NOT_CARRIED]);
    // Databases in the field have it.
    expect(NOT_CARRIED).toBe(0);
  });
});

/** The first bytes of SHA-256 over each released step. An edit would give old and new databases different schemas. */
const RELEASED = {
  home: ['1 358c6fb236ed9af1', '2 5fb26d9de9ce7992', '3 af4328142299de33', '4 f38177a2e4f166f0'],
  tenant: [
    '1 e84d7795b408989b',
    '2 6a566869d87d694c',
    '3 dd2505b211953439',
    '4 672206202dba8667',
    '5 62d0beb97d564b03',
    '6 c282552ffc65ea14',
    '7 ef4e711cc0d50e17',
    '8 1fdcd33dc0c16675',
    '9 c155d5f63f2cb081',
    '10 1f9c3a03385df6a1',
    '11 766ccebe1429c086',
    '12 8a58f4ffbabc05f4',
    '13 4c921264b3dd3c2c',
  ],
};

describe('a released step', () => {
  it.each([
    ['home', HOME_STEPS],
    ['tenant', TENANT_STEPS],
  ] as const)(
    'of a %s cell is as it was released: change the schema with another step, and add its digest here',
    (kind, steps) => {
      const digests = steps.map((one) => {
        const digest = createHash('sha256').update(JSON.stringify(one)).digest('hex').slice(0, 16);
        return `${one.version} ${digest}`;
      });
      expect(digests).toEqual(RELEASED[kind]);
    },
  );
});
