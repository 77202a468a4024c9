// The half of the Sql contract about changes: what fails, what is undone with it, and how it is called.
import { expect } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { latestSchemaVersion, migrate, schemaVersion } from '../../src/cell/migrations.ts';
import { isConstraintError } from '../../src/cell/sql-errors.ts';
import { add, type Cases, caught, names } from './sql-cases.ts';

export function errorsCases({ holds, withTables }: Cases): void {
  withTables('names a unique violation, a repeated primary key included', (sql) => {
    add(sql, 'a');
    const twice = caught(() => add(sql, 'a'));
    expect(isConstraintError(twice, 'unique')).toBe(true);
    expect(twice).toMatchObject({ code: 'conflict' });
    expect(
      isConstraintError(
        caught(() => sql.run("INSERT INTO parent (id, name) VALUES (1, 'b')")),
        'unique',
      ),
    ).toBe(true);
  });

  withTables('enforces foreign keys at the statement', (sql) => {
    expect(
      isConstraintError(
        caught(() => sql.run('INSERT INTO child (parent_id) VALUES (99)')),
        'foreign_key',
      ),
    ).toBe(true);
    add(sql, 'a');
    sql.run('INSERT INTO child (parent_id) VALUES (1)');
    expect(
      isConstraintError(
        caught(() => sql.run('DELETE FROM parent')),
        'foreign_key',
      ),
    ).toBe(true);
  });

  withTables('names CHECK, NOT NULL and type violations', (sql) => {
    add(sql, 'a');
    const insert = 'INSERT INTO child (parent_id, amount) VALUES (?, ?)';
    expect(
      isConstraintError(
        caught(() => sql.run(insert, 1, 0)),
        'check',
      ),
    ).toBe(true);
    expect(
      isConstraintError(
        caught(() => sql.run(insert, null, 1)),
        'not_null',
      ),
    ).toBe(true);
    expect(
      isConstraintError(
        caught(() => sql.run(insert, 1, 'many')),
        'other',
      ),
    ).toBe(true);
  });

  withTables('keeps bound values out of every part of the error', (sql) => {
    const marker = 'not-a-real-secret-canary';
    add(sql, marker);
    for (const error of [
      caught(() => add(sql, marker)),
      caught(() => sql.get('SELECT nope FROM parent WHERE name = ?', marker)),
    ]) {
      expect(error).toBeInstanceOf(KeyturnError);
      const { message, evidence, cause } = error as KeyturnError;
      expect(`${message} ${evidence} ${(cause as Error).message}`).not.toContain(marker);
    }
  });

  holds('calls a mistake in the SQL internal, with SQLite’s words as evidence only', (sql) => {
    const error = caught(() => sql.run('SELEC 1')) as KeyturnError;
    expect(error).toMatchObject({ code: 'internal' });
    expect(error.evidence).toContain('syntax error');
    expect(error.message).not.toContain('syntax');
  });

  const foreign: readonly [what: string, change: string, statement: string][] = [
    ['a table that is gone', 'DROP TABLE child; DROP TABLE parent;', 'SELECT name FROM parent'],
    ['a column that is gone', 'CREATE TABLE box (a INTEGER) STRICT;', 'SELECT b FROM box'],
    ['a column that is gone, in a write', 'CREATE TABLE box (a INTEGER) STRICT;', 'INSERT INTO box (a, b) VALUES (1, 2)'],
    ['a column that is gone, in a change', 'CREATE TABLE box (a INTEGER) STRICT;', 'UPDATE box SET b = 1'],
    ['an index that is gone', 'CREATE TABLE box (a INTEGER) STRICT;', 'SELECT a FROM box INDEXED BY box_by_a WHERE a = 1'],
    ['an index of other columns', 'CREATE TABLE box (a INTEGER, b INTEGER) STRICT; CREATE INDEX box_by_a ON box (b) WHERE b > 1;', 'SELECT a FROM box INDEXED BY box_by_a WHERE a = 1'], // biome-ignore format: one line
    ['a key that is gone', 'CREATE TABLE box (a INTEGER, b INTEGER) STRICT;', 'INSERT INTO box (a, b) VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET b = 3'], // biome-ignore format: one line
    ['a view in the place of a table', 'CREATE VIEW box AS SELECT 1 AS a;', 'INSERT INTO box (a) VALUES (1)'],
    ['a table that a step makes anew', 'CREATE TABLE box (a INTEGER) STRICT;', 'CREATE TABLE box (a INTEGER) STRICT'],
    ['an index that a step makes anew', 'CREATE TABLE box (a INTEGER) STRICT; CREATE INDEX box_by_a ON box (a);', 'CREATE INDEX box_by_a ON box (a)'], // biome-ignore format: one line
    ['a column that a step adds anew', 'CREATE TABLE box (a INTEGER) STRICT;', 'ALTER TABLE box ADD COLUMN a INTEGER'],
  ];
  for (const [what, change, statement] of foreign) {
    withTables(`calls ${what} damage of the database`, (sql) => {
      sql.script(change);
      const error = caught(() => sql.run(statement)) as KeyturnError;
      expect(error).toMatchObject({ code: 'integrity', message: 'the tables of the database are not those of this service' });
      expect(error.evidence).not.toBe('');
    });
  }

  withTables('undoes only the statement that failed', (sql) => {
    sql.transaction(() => {
      add(sql, 'a');
      expect(() => add(sql, 'a')).toThrow();
      add(sql, 'b');
    });
    expect(names(sql)).toEqual(['a', 'b']);
  });
}

export function transactionsCases({ withTables }: Cases): void {
  withTables('commit and return what the body returns', (sql) => {
    const result = sql.transaction(() => {
      add(sql, 'a');
      return { kept: names(sql) };
    });
    expect(result).toEqual({ kept: ['a'] });
    expect(names(sql)).toEqual(['a']);
  });

  withTables('roll back and rethrow the very error the body threw', (sql) => {
    const reason = new RangeError('made up');
    const error = caught(() =>
      sql.transaction(() => {
        add(sql, 'a');
        throw reason;
      }),
    );
    expect(error).toBe(reason);
    expect(names(sql)).toEqual([]);
  });

  withTables('an inner one that throws undoes the inner part only', (sql) => {
    sql.transaction(() => {
      add(sql, 'outer before');
      caught(() =>
        sql.transaction(() => {
          add(sql, 'inner');
          throw new Error('made up');
        }),
      );
      sql.transaction(() => add(sql, 'second inner'));
      add(sql, 'outer after');
    });
    expect(names(sql)).toEqual(['outer after', 'outer before', 'second inner']);
  });

  withTables('an outer one that throws undoes the inner ones that returned', (sql) => {
    caught(() =>
      sql.transaction(() => {
        sql.transaction(() => sql.transaction(() => add(sql, 'two deep')));
        throw new Error('made up');
      }),
    );
    expect(names(sql)).toEqual([]);
    sql.transaction(() => add(sql, 'next'));
    expect(names(sql)).toEqual(['next']);
  });

  withTables('refuse a body that returns a promise, and undo what it did', (sql) => {
    const refused = caught(() =>
      sql.transaction(() => {
        add(sql, 'a');
        return Promise.resolve();
      }),
    );
    expect(refused).toMatchObject({ code: 'internal' });
    // biome-ignore lint/suspicious/noThenProperty: a thenable that is no Promise is the point
    const thenable = { then: () => {} };
    sql.transaction(() => expect(() => sql.transaction(() => thenable)).toThrow());
    expect(names(sql)).toEqual([]);
  });

  withTables('are not for statements to open: BEGIN inside one is refused', (sql) => {
    sql.transaction(() => {
      add(sql, 'a');
      expect(() => sql.run('BEGIN')).toThrow();
    });
    expect(names(sql)).toEqual(['a']);
  });
}

export function scriptsCases({ holds }: Cases): void {
  holds('run several statements and may end in a comment or blank lines', (sql) => {
    sql.script("CREATE TABLE one (a TEXT);\nINSERT INTO one VALUES ('x;y'); -- a ; in a comment\n\n");
    sql.script("INSERT INTO one VALUES ('z')");
    expect(sql.all('SELECT a FROM one')).toEqual([{ a: 'x;y' }, { a: 'z' }]);
  });

  holds('inside a transaction apply wholly or not at all, tables included', (sql) => {
    expect(() => sql.transaction(() => sql.script('CREATE TABLE one (a); INSERT INTO nowhere VALUES (1);'))).toThrow();
    expect(sql.get("SELECT name FROM sqlite_master WHERE name = 'one'")).toBeUndefined();
    sql.transaction(() => sql.script('CREATE TABLE one (a); INSERT INTO one VALUES (1);'));
    expect(sql.get('SELECT a FROM one')).toEqual({ a: 1 });
  });

  for (const kind of ['home', 'tenant'] as const) {
    holds(`carry the whole schema of a ${kind} cell, once`, (sql) => {
      expect(migrate(sql, kind, 1_000)).toBe(latestSchemaVersion(kind));
      expect(migrate(sql, kind, 2_000)).toBe(latestSchemaVersion(kind));
      expect(schemaVersion(sql)).toBe(latestSchemaVersion(kind));
      expect(sql.all('SELECT applied_at FROM schema_step WHERE applied_at > 1000')).toEqual([]);
    });
  }

  holds('of a schema step that fails leave the database as it was', (sql) => {
    const steps = [
      { version: 1, name: 'good', script: 'CREATE TABLE good (a TEXT);' },
      { version: 2, name: 'bad', script: 'CREATE TABLE half (a TEXT); INSERT INTO nowhere VALUES (1);' },
    ];
    expect(() => migrate(sql, 'tenant', 1_000, steps)).toThrow();
    expect(sql.all("SELECT name FROM sqlite_master WHERE type = 'table'")).toEqual([]);
  });
}
