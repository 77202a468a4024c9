import { describe, expect, it } from 'vitest';
import { migrate } from '../../src/cell/migrations.ts';
import { isOwnSchema, refuseForeignCode, refuseOtherSchema, SCHEMA_DIGESTS, schemaDigest } from '../../src/cell/schema-check.ts';
import type { Row, Sql } from '../../src/cell/sql.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caughtCode } from '../kit/outcome.ts';

function database(kind: 'home' | 'tenant' = 'tenant') {
  const sql = openNodeSql(':memory:');
  migrate(sql, kind, 1);
  return sql;
}

describe('the schema of a database', () => {
  it.each(['home', 'tenant'] as const)(
    'of a new %s cell is the declared one: after a new step, put the new digest into schema-check.ts',
    (kind) => {
      const sql = database(kind);
      expect(schemaDigest(sql)).toBe(SCHEMA_DIGESTS[kind]);
      expect(caughtCode(() => refuseForeignCode(sql))).toBe('ok');
      expect(caughtCode(() => refuseOtherSchema(sql, kind))).toBe('ok');
    },
  );

  it.each([
    ['a column more', 'ALTER TABLE credential ADD COLUMN extra TEXT'],
    ['a table more', 'CREATE TABLE extra (id INTEGER)'],
    ['an index more', 'CREATE UNIQUE INDEX extra ON credential (name)'],
    ['an index less', 'DROP INDEX credential_by_name'],
    [
      'an index of no rows',
      'DROP INDEX credential_by_refresh; CREATE INDEX credential_by_refresh ON credential (refresh_due_at) WHERE 0',
    ],
    ['a table less', 'DROP TABLE run_step'],
    ['a table of another name', 'ALTER TABLE run_step RENAME TO run_steps'],
    ['an index under the name of a table of the platform', 'CREATE INDEX installation ON credential (name)'],
  ])('with %s is refused', (_what, change) => {
    const sql = database();
    sql.script(change);
    expect(caughtCode(() => refuseOtherSchema(sql, 'tenant'))).toBe('integrity');
  });

  it.each([
    ['a trigger', 'CREATE TRIGGER extra AFTER INSERT ON credential BEGIN DELETE FROM run; END'],
    ['a view', 'CREATE VIEW extra AS SELECT 1 AS one'],
  ])('with %s is refused before anything is done', (_what, change) => {
    const sql = database();
    sql.script(change);
    expect(caughtCode(() => refuseForeignCode(sql))).toBe('integrity');
  });

  it('is not disturbed by the tables beside a cell', () => {
    const sql = database('home');
    sql.script('CREATE TABLE erasure_key (cell_id TEXT); CREATE TABLE installation (id TEXT); DROP TABLE audit_head');
    expect(caughtCode(() => refuseOtherSchema(sql, 'home'))).toBe('ok');
  });
});

describe('an entry of a schema', () => {
  /** A database whose schema has these entries, as only an editor of its file can make them. */
  const withEntries = (...entries: readonly Row[]) => ({ all: () => entries }) as unknown as Sql;
  const entry = (type: string, sql: string | null, change: Row = {}): Row => ({
    type,
    name: 'x',
    tbl_name: 'x',
    rootpage: 2,
    sql,
    ...change,
  });
  const AUTO = { name: 'sqlite_autoindex_x_1' };

  it.each([
    ['a table', entry('table', 'CREATE TABLE x (a)'), 'ok'],
    ['an index', entry('index', 'CREATE INDEX x ON y (a)'), 'ok'],
    ['a unique index', entry('index', 'CREATE UNIQUE INDEX x ON y (a)'), 'ok'],
    ['the index of a primary key', entry('index', null, AUTO), 'ok'],
    ['a view', entry('view', 'CREATE VIEW x AS SELECT 1', { rootpage: 0 }), 'integrity'],
    ['a table without a page', entry('table', 'CREATE TABLE x (a)', { rootpage: 0 }), 'integrity'],
    ['a table on a page before the first', entry('table', 'CREATE TABLE x (a)', { rootpage: -1 }), 'integrity'],
    ['a view that is written as a table', entry('view', 'CREATE TABLE x (a)'), 'integrity'],
    ['a trigger that is written as an index', entry('trigger', 'CREATE INDEX x ON y (a)'), 'integrity'],
    [
      'a table that is written as a trigger',
      entry('table', 'CREATE TRIGGER x AFTER INSERT ON y BEGIN SELECT 1; END'),
      'integrity',
    ],
    ['a virtual table', entry('table', 'CREATE VIRTUAL TABLE x USING fts5 (a)'), 'integrity'],
    ['a table without a text', entry('table', null, AUTO), 'integrity'],
    ['an index without a text', entry('index', null), 'integrity'],
  ])('%s: %s', (_what, one, code) => {
    const plain = entry('table', 'CREATE TABLE z (a)');
    expect(caughtCode(() => refuseForeignCode(withEntries(plain, one, plain)))).toBe(code);
  });

  it('counts for the digest in no order, unless it has no text or is a table beside the cell', () => {
    const [a, b] = [
      entry('table', 'CREATE TABLE a (x)', { name: 'a' }),
      entry('index', 'CREATE INDEX b ON a (x)', { name: 'b' }),
    ];
    const digest = schemaDigest(withEntries(a, b));
    expect(schemaDigest(withEntries(b, a))).toBe(digest);
    expect(schemaDigest(withEntries(a, b, entry('index', null, AUTO)))).toBe(digest);
    for (const name of ['sqlite_sequence', '_cf_KV', 'erasure_key', 'installation_key', 'installation', 'audit_head'])
      expect(schemaDigest(withEntries(a, b, entry('table', `CREATE TABLE ${name} (x)`, { name })))).toBe(digest);
    const others: readonly (readonly Row[])[] = [
      [a],
      [a, { ...b, name: 'c' }],
      [a, { ...b, tbl_name: 'y' }],
      [a, { ...b, type: 'table' }],
      [a, b, entry('index', 'CREATE INDEX installation ON a (x)', { name: 'installation' })],
      [a, b, entry('table', 'CREATE TABLE installations (x)', { name: 'installations' })],
    ];
    for (const entries of others) expect(schemaDigest(withEntries(...entries))).not.toBe(digest);
    expect(digest).toMatch(/^[0-9a-f]{64}$/);
  });

  it('that no step made is found in an open cell, also where the digest is as before', () => {
    const sql = database();
    expect([isOwnSchema(sql, 'tenant'), isOwnSchema(sql, 'home')]).toEqual([true, false]);
    const entries = sql.all<Row>('SELECT * FROM sqlite_master');
    expect(isOwnSchema(withEntries(...entries), 'tenant')).toBe(true);
    expect(isOwnSchema(withEntries(...entries, entry('index', null)), 'tenant')).toBe(false);
    expect(isOwnSchema(withEntries(...entries, entry('table', 'CREATE TABLE x (a)')), 'tenant')).toBe(false);
  });

  it('that is refused is named to the operator, with what to do', () => {
    const sql = database();
    sql.script('CREATE VIEW extra AS SELECT 1 AS one; CREATE TABLE more (a INTEGER)');
    expect(() => refuseForeignCode(sql)).toThrow(
      expect.objectContaining({ evidence: 'schema: a trigger, a view or a virtual table' }),
    );
    expect(() => refuseOtherSchema(sql, 'tenant')).toThrow(expect.objectContaining({ evidence: 'schema: the text of a table or an index' })); // biome-ignore format: one line
  });
});
