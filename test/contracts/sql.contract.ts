// What every Sql driver promises, whatever runs beneath it. Each test gets an empty database and its own turn with it.
import { describe, expect, it } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import type { Sql, SqlValue } from '../../src/cell/sql.ts';
import { isConstraintError } from '../../src/cell/sql-errors.ts';

/** Opens an empty database, lends it to `use` (which must not await) and disposes of it. */
export type WithSql = (use: (sql: Sql) => void) => Promise<void>;

const TABLES = `
CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE child (
  id INTEGER PRIMARY KEY,
  parent_id INTEGER NOT NULL REFERENCES parent (id),
  amount INTEGER CHECK (amount > 0)
) STRICT;
`;

/** The error `action` throws; the test fails when it throws none. */
export function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('expected an error');
}

function names(sql: Sql): string[] {
  return sql.all<{ name: string }>('SELECT name FROM parent ORDER BY name').map((row) => row.name);
}

function add(sql: Sql, name: string): void {
  sql.run('INSERT INTO parent (name) VALUES (?)', name);
}

export function sqlContract(driver: string, withSql: WithSql): void {
  const holds = (sentence: string, use: (sql: Sql) => void) => it(sentence, () => withSql(use));
  const withTables = (sentence: string, use: (sql: Sql) => void) =>
    holds(sentence, (sql) => {
      sql.script(TABLES);
      use(sql);
    });

  describe(`${driver}: values`, () => {
    const roundTrips: readonly [string, SqlValue][] = [
      ['zero', 0],
      ['a negative integer', -42],
      ['the largest exact integer', Number.MAX_SAFE_INTEGER],
      ['a fraction', 0.1],
      ['null', null],
      ['empty text', ''],
      ['text beyond the basic plane', 'ключ 鍵 🔑'],
      ['text with a NUL inside', 'before\0after'],
      ['text that looks like SQL', `'; DROP TABLE parent; --`],
    ];
    for (const [what, value] of roundTrips) {
      holds(`gives back ${what}`, (sql) => expect(sql.get('SELECT ? AS value', value)).toEqual({ value }));
    }

    for (const length of [0, 1, 64 * 1024, 1024 * 1024]) {
      holds(`gives back a blob of ${length} bytes as Uint8Array`, (sql) => {
        const bytes = Uint8Array.from({ length }, (_, index) => index % 251);
        sql.script('CREATE TABLE box (bytes BLOB NOT NULL) STRICT;');
        sql.run('INSERT INTO box (bytes) VALUES (?)', bytes);
        const stored = sql.get<{ bytes: Uint8Array }>('SELECT bytes FROM box')?.bytes;
        expect(stored).toBeInstanceOf(Uint8Array);
        expect(Uint8Array.from(stored ?? [1, 2, 3])).toEqual(bytes);
      });
    }

    holds('stores only the window of a view into a larger buffer', (sql) => {
      const window = Uint8Array.from([1, 2, 3, 4, 5]).subarray(1, 3);
      expect(sql.get('SELECT hex(?) AS hex, typeof(?) AS type', window, window)).toEqual({ hex: '0203', type: 'blob' });
    });

    holds('gives every row its own blob memory', (sql) => {
      const query = "SELECT x'0102' AS bytes";
      sql.get<{ bytes: Uint8Array }>(query)?.bytes.fill(0);
      expect(Uint8Array.from(sql.get<{ bytes: Uint8Array }>(query)?.bytes ?? [])).toEqual(Uint8Array.from([1, 2]));
    });

    holds('stores a whole number as an integer where the column is one', (sql) => {
      sql.script('CREATE TABLE typed (i INTEGER, r REAL) STRICT;');
      sql.run('INSERT INTO typed (i, r) VALUES (?, ?)', 7, 7);
      expect(sql.get('SELECT typeof(i) AS i, typeof(r) AS r, i AS n FROM typed')).toEqual({ i: 'integer', r: 'real', n: 7 });
    });

    holds('binds a bare number as a real, so SQL that divides must cast', (sql) => {
      expect(sql.get('SELECT ? / 2 AS bare, CAST(? AS INTEGER) / 2 AS whole', 5, 5)).toEqual({ bare: 2.5, whole: 2 });
    });
  });

  describe(`${driver}: statements`, () => {
    withTables('binds parameters by position', (sql) => {
      sql.run('INSERT INTO parent (id, name) VALUES (?, ?)', 3, 'first');
      expect(sql.get('SELECT ? AS a, name AS b, ? AS c FROM parent WHERE id = ?', 'x', 'z', 3)).toEqual({ a: 'x', b: 'first', c: 'z' });
    });

    holds('refuses a missing and a superfluous parameter', (sql) => {
      expect(() => sql.get('SELECT ? AS a, ? AS b', 1)).toThrow();
      expect(() => sql.get('SELECT ? AS a', 1, 2)).toThrow();
    });

    holds('takes 100 parameters', (sql) => {
      const marks = Array.from({ length: 100 }, () => '?').join(', ');
      const values = Array.from({ length: 100 }, (_, index) => index);
      expect(sql.get(`SELECT 'found' AS a WHERE 99 IN (${marks})`, ...values)).toEqual({ a: 'found' });
    });

    withTables('answers undefined and an empty list where there is no row', (sql) => {
      expect(sql.get('SELECT * FROM parent')).toBeUndefined();
      expect(sql.all('SELECT * FROM parent')).toEqual([]);
    });

    withTables('returns all rows in the order asked for', (sql) => {
      for (const name of ['b', 'a', 'c']) add(sql, name);
      expect(names(sql)).toEqual(['a', 'b', 'c']);
      expect(sql.get('SELECT name FROM parent ORDER BY name DESC')).toEqual({ name: 'c' });
    });

    withTables('answers RETURNING and finishes the change it returns from', (sql) => {
      for (const name of ['a', 'b', 'c']) add(sql, name);
      expect(sql.get('UPDATE parent SET name = name || name RETURNING id')).toBeDefined();
      expect(names(sql)).toEqual(['aa', 'bb', 'cc']);
      expect(sql.all('DELETE FROM parent WHERE id > ? RETURNING name', 1)).toHaveLength(2);
      sql.run('DELETE FROM parent RETURNING name');
      expect(names(sql)).toEqual([]);
    });

    withTables('knows upsert, STRICT, WITHOUT ROWID, partial and expression indexes, generated columns and JSON', (sql) => {
      sql.script(`
        CREATE TABLE wide (
          k TEXT PRIMARY KEY, n INTEGER NOT NULL, doc TEXT NOT NULL, open INTEGER,
          twice INTEGER GENERATED ALWAYS AS (n * 2) STORED, color TEXT AS (json_extract(doc, '$.color')) VIRTUAL
        ) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX wide_open ON wide (n) WHERE open IS NOT NULL;
        CREATE INDEX wide_lower ON wide (lower(k));
      `);
      const upsert = 'INSERT INTO wide (k, n, doc) VALUES (?, ?, ?) ON CONFLICT (k) DO UPDATE SET n = n + excluded.n RETURNING n, twice, color';
      sql.run(upsert, 'a', 1, '{"color":"red"}');
      expect(sql.get(upsert, 'a', 4, '{}')).toEqual({ n: 5, twice: 10, color: 'red' });
      expect(sql.get("SELECT sum(value) AS total FROM json_each('[1,2,3]')")).toEqual({ total: 6 });
      sql.run('INSERT INTO wide (k, n, doc) VALUES (?, ?, ?)', 'b', 5, '{}');
      sql.run("UPDATE wide SET open = 1 WHERE k = 'a'");
      expect(isConstraintError(caught(() => sql.run("UPDATE wide SET open = 1 WHERE k = 'b'")), 'unique')).toBe(true);
    });

    withTables('counts the rows of the last change', (sql) => {
      sql.run("INSERT INTO parent (name) VALUES ('a'), ('b')");
      expect(sql.get('SELECT changes() AS changed')).toEqual({ changed: 2 });
    });

    holds('reports how many bytes the database takes', (sql) => {
      const before = sql.sizeBytes();
      sql.script('CREATE TABLE filler (bytes BLOB);');
      sql.run('INSERT INTO filler (bytes) VALUES (?)', new Uint8Array(256 * 1024));
      expect(sql.sizeBytes()).toBeGreaterThanOrEqual(before + 256 * 1024);
    });
  });

  describe(`${driver}: errors`, () => {
    withTables('names a unique violation, a repeated primary key included', (sql) => {
      add(sql, 'a');
      const twice = caught(() => add(sql, 'a'));
      expect(isConstraintError(twice, 'unique')).toBe(true);
      expect(twice).toMatchObject({ code: 'conflict' });
      expect(isConstraintError(caught(() => sql.run("INSERT INTO parent (id, name) VALUES (1, 'b')")), 'unique')).toBe(true);
    });

    withTables('enforces foreign keys at the statement', (sql) => {
      expect(isConstraintError(caught(() => sql.run('INSERT INTO child (parent_id) VALUES (99)')), 'foreign_key')).toBe(true);
      add(sql, 'a');
      sql.run('INSERT INTO child (parent_id) VALUES (1)');
      expect(isConstraintError(caught(() => sql.run('DELETE FROM parent')), 'foreign_key')).toBe(true);
    });

    withTables('names CHECK, NOT NULL and type violations', (sql) => {
      add(sql, 'a');
      const insert = 'INSERT INTO child (parent_id, amount) VALUES (?, ?)';
      expect(isConstraintError(caught(() => sql.run(insert, 1, 0)), 'check')).toBe(true);
      expect(isConstraintError(caught(() => sql.run(insert, null, 1)), 'not_null')).toBe(true);
      expect(isConstraintError(caught(() => sql.run(insert, 1, 'many')), 'other')).toBe(true);
    });

    withTables('keeps bound values out of every part of the error', (sql) => {
      const marker = 'not-a-real-secret-canary';
      add(sql, marker);
      for (const error of [caught(() => add(sql, marker)), caught(() => sql.get('SELECT nope FROM parent WHERE name = ?', marker))]) {
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

    withTables('undoes only the statement that failed', (sql) => {
      sql.transaction(() => {
        add(sql, 'a');
        expect(() => add(sql, 'a')).toThrow();
        add(sql, 'b');
      });
      expect(names(sql)).toEqual(['a', 'b']);
    });
  });

  describe(`${driver}: transactions`, () => {
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
  });

  describe(`${driver}: scripts`, () => {
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
  });
}
