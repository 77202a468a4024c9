import { describe, expect, it } from 'vitest';
import { migrate } from '../../src/cell/migrations.ts';
import { refuseForeignCode, refuseOtherSchema, SCHEMA_DIGESTS, schemaDigest } from '../../src/cell/schema-check.ts';
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
