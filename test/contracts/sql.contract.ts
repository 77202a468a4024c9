// What every Sql driver promises, whatever runs beneath it. Each test gets an empty database and its own turn with it.
import { describe, expect } from 'vitest';
import type { SqlValue } from '../../src/cell/sql.ts';
import { isConstraintError } from '../../src/cell/sql-errors.ts';
import { add, type Cases, casesOn, caught, names, type WithSql } from './sql-cases.ts';
import { errorsCases, scriptsCases, transactionsCases } from './sql-changes.contract.ts';

export function sqlContract(driver: string, withSql: WithSql): void {
  const cases = casesOn(withSql);
  describe(`${driver}: values`, () => valuesCases(cases));
  describe(`${driver}: statements`, () => statementsCases(cases));
  describe(`${driver}: errors`, () => errorsCases(cases));
  describe(`${driver}: transactions`, () => transactionsCases(cases));
  describe(`${driver}: scripts`, () => scriptsCases(cases));
}

function valuesCases({ holds }: Cases): void {
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
}

function statementsCases({ holds, withTables }: Cases): void {
  withTables('binds parameters by position', (sql) => {
    sql.run('INSERT INTO parent (id, name) VALUES (?, ?)', 3, 'first');
    expect(sql.get('SELECT ? AS a, name AS b, ? AS c FROM parent WHERE id = ?', 'x', 'z', 3)).toEqual({
      a: 'x',
      b: 'first',
      c: 'z',
    });
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
    const upsert =
      'INSERT INTO wide (k, n, doc) VALUES (?, ?, ?) ON CONFLICT (k) DO UPDATE SET n = n + excluded.n RETURNING n, twice, color';
    sql.run(upsert, 'a', 1, '{"color":"red"}');
    expect(sql.get(upsert, 'a', 4, '{}')).toEqual({ n: 5, twice: 10, color: 'red' });
    expect(sql.get("SELECT sum(value) AS total FROM json_each('[1,2,3]')")).toEqual({ total: 6 });
    sql.run('INSERT INTO wide (k, n, doc) VALUES (?, ?, ?)', 'b', 5, '{}');
    sql.run("UPDATE wide SET open = 1 WHERE k = 'a'");
    expect(
      isConstraintError(
        caught(() => sql.run("UPDATE wide SET open = 1 WHERE k = 'b'")),
        'unique',
      ),
    ).toBe(true);
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
}
