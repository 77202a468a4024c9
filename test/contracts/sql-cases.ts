// What the Sql contract's cases share: two tables, and a test that gets its own database.
import { it } from 'vitest';
import type { Sql } from '../../src/cell/sql.ts';

/** Opens an empty database, lends it to `use` (which must not await) and disposes of it. */
export type WithSql = (use: (sql: Sql) => void) => Promise<void>;

type Case = (sentence: string, use: (sql: Sql) => void) => void;

export interface Cases {
  /** A test with an empty database. */
  readonly holds: Case;
  /** The same, with the tables `parent` and `child`. */
  readonly withTables: Case;
}

const TABLES = `
CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE child (
  id INTEGER PRIMARY KEY,
  parent_id INTEGER NOT NULL REFERENCES parent (id),
  amount INTEGER CHECK (amount > 0)
) STRICT;
`;

export function casesOn(withSql: WithSql): Cases {
  const holds: Case = (sentence, use) => it(sentence, () => withSql(use));
  const withTables: Case = (sentence, use) =>
    holds(sentence, (sql) => {
      sql.script(TABLES);
      use(sql);
    });
  return { holds, withTables };
}

/** The error `action` throws; the test fails when it throws none. */
export function caught(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('expected an error');
}

export function names(sql: Sql): string[] {
  return sql.all<{ name: string }>('SELECT name FROM parent ORDER BY name').map((row) => row.name);
}

export function add(sql: Sql, name: string): void {
  sql.run('INSERT INTO parent (name) VALUES (?)', name);
}
