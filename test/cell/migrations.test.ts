// Schema steps are forward-only and atomic, and a database of a newer build is refused unchanged.
import { describe, expect, it } from 'vitest';
import { latestSchemaVersion, migrate, schemaVersion } from '../../src/cell/migrations.ts';
import type { SchemaStep } from '../../src/cell/schema-step.ts';
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
});
