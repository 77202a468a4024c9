// The Sql port on Node: one file, one connection, one owner. It must never answer before the disk has the commit
// (synchronous=FULL), and never share its file with another process (locking_mode=EXCLUSIVE).
import { dirname, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { fail } from '../base/errors.ts';
import type { Row, Sql, SqlValue } from '../cell/sql.ts';
import { refusePromise, toSqlError } from '../cell/sql-errors.ts';
import { prepareDataDirectory, preparePrivateFile } from './database-files.ts';

const LOCK_WAIT_MS = 200;
const DELETES = /^\s*DELETE\b/i;
/** Beyond this the oldest prepared statement goes; every statement of the code fits. */
const STATEMENTS_KEPT = 256;

/** On every open, in this order and before any query: EXCLUSIVE first keeps the WAL index in memory, with no -shm file to guard. */
const PRAGMAS = [
  'locking_mode = EXCLUSIVE',
  'journal_mode = WAL',
  'synchronous = FULL', // better-sqlite3 is compiled with NORMAL for WAL, which may lose acknowledged commits at power loss
  'fullfsync = ON', // macOS: fsync alone does not reach the platter
  'foreign_keys = ON',
  'secure_delete = ON',
  'trusted_schema = OFF',
  'cell_size_check = ON',
  'temp_store = MEMORY',
  'cache_size = -4000', // at most 4 MB a cell, taken as used; 64 MB made random reads of 1M rows 10 % faster, no more
  'mmap_size = 0', // an I/O error is an error code, not a SIGBUS
  'wal_autocheckpoint = 1000',
  'journal_size_limit = 67108864',
] as const;
/** A copy is only looked at: nothing that would write to it. */
const READONLY_PRAGMAS = [
  'query_only = ON',
  'trusted_schema = OFF',
  'cell_size_check = ON',
  'temp_store = MEMORY',
  'mmap_size = 0',
];

export interface NodeSqlOptions {
  /** Look at a closed database without changing it; the file must exist. */
  readonly readonly?: boolean;
}

/**
 * Opens (creating it, private to this account) the database at `path`; `:memory:` keeps it in memory.
 * @throws conflict when another process owns it; storage_unavailable | storage_full | integrity when it cannot be used
 */
export function openNodeSql(path: string, options: NodeSqlOptions = {}): Sql {
  const inMemory = path === ':memory:';
  const file = inMemory ? path : resolve(path.trim());
  const readonly = options.readonly === true;
  if (!inMemory && !readonly) {
    prepareDataDirectory(dirname(file));
    preparePrivateFile(file);
  }
  let database: Database.Database | undefined;
  try {
    database = new Database(file, { readonly, fileMustExist: !inMemory, timeout: LOCK_WAIT_MS });
    for (const pragma of readonly ? READONLY_PRAGMAS : PRAGMAS) database.pragma(pragma);
    const journal = database.pragma('journal_mode', { simple: true });
    if (!inMemory && !readonly && journal !== 'wal') fail('storage_unavailable', 'the file system cannot hold a write-ahead log');
    assertSafeSqliteVersion(String(database.prepare('SELECT sqlite_version()').pluck().get()));
    return new NodeSql(database);
  } catch (error) {
    database?.close();
    throw toSqlError(error);
  }
}

class NodeSql implements Sql {
  readonly #database: Database.Database;
  readonly #deleting = new WeakSet<Database.Statement>();
  readonly #statements = new Map<string, Database.Statement>();
  readonly #atomically: Database.Transaction<(body: () => unknown) => unknown>;
  #depth = 0;
  #hasResidue = false;

  constructor(database: Database.Database) {
    this.#database = database;
    this.#atomically = database.transaction((body: () => unknown) => {
      const result = refusePromise(body());
      this.#requireTransaction();
      return result;
    });
  }

  all<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R[] {
    return this.#attempt(() => this.#used(statement).all(...parameters) as R[]);
  }

  get<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R | undefined {
    return this.#attempt(() => this.#used(statement).get(...parameters) as R | undefined);
  }

  run(statement: string, ...parameters: readonly SqlValue[]): void {
    this.#attempt(() => this.#used(statement).run(...parameters));
  }

  script(statements: string): void {
    this.#attempt(() => this.#database.exec(statements));
  }

  transaction<T>(body: () => T): T {
    return this.#attempt(() => {
      this.#depth += 1;
      try {
        return this.#atomically.immediate(body) as T;
      } finally {
        this.#depth -= 1;
      }
    });
  }

  get hasResidue(): boolean {
    return this.#hasResidue;
  }

  /**
   * `secure_delete` zeroes what is deleted in the pages themselves; older images of those pages stay in the write-ahead log until it is
   * copied back and cut to nothing (https://www.sqlite.org/pragma.html#pragma_wal_checkpoint).
   */
  eraseResidue(): void {
    if (this.#depth > 0) fail('internal', 'residue is erased outside a transaction');
    const row = this.#attempt(() => this.#prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() as { busy?: number } | undefined);
    if (row?.busy === 1) fail('storage_unavailable', 'the write-ahead log could not be emptied');
    this.#hasResidue = false;
  }

  sizeBytes(): number {
    const row = this.get<{ bytes: number }>('SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size');
    return row?.bytes ?? 0;
  }

  close(): void {
    this.#statements.clear();
    this.#attempt(() => this.#database.close());
  }

  #attempt<T>(action: () => T): T {
    if (this.#depth > 0) this.#requireTransaction();
    try {
      return action();
    } catch (error) {
      throw toSqlError(error);
    }
  }

  /**
   * INVARIANT: SQLite drops a whole transaction by itself when the disk is full or fails; a body that caught that error
   * cannot go on outside any transaction as if nothing had happened (test/node/sqlite.test.ts).
   */
  #requireTransaction(): void {
    if (!this.#database.inTransaction) fail('storage_unavailable', 'the transaction was lost');
  }

  #used(text: string): Database.Statement {
    const statement = this.#prepare(text);
    if (this.#deleting.has(statement)) this.#hasResidue = true;
    return statement;
  }

  #prepare(text: string): Database.Statement {
    const known = this.#statements.get(text);
    if (known !== undefined) return known;
    const statement = this.#database.prepare(text);
    if (DELETES.test(text)) this.#deleting.add(statement);
    if (this.#statements.size >= STATEMENTS_KEPT) {
      const [oldest] = this.#statements.keys();
      if (oldest !== undefined) this.#statements.delete(oldest);
    }
    this.#statements.set(text, statement);
    return statement;
  }
}

/** The first patch of a minor version that is safe. */
const REPAIRED_SINCE: Readonly<Record<string, number>> = { 44: 6, 50: 7, 51: 3 };

/**
 * Refuses the releases whose WAL may lose or corrupt commits (https://www.sqlite.org/wal.html, "The WAL-Reset Bug"): 3.7.0 to 3.51.2
 * but for the backports 3.44.6 and 3.50.7, and the withdrawn 3.52.
 * @throws storage_unavailable
 */
export function assertSafeSqliteVersion(version: string): void {
  const [, minor, patch] = /^3\.(\d+)\.(\d+)$/.exec(version) ?? [];
  if (minor === undefined || patch === undefined) fail('storage_unavailable', 'the SQLite version is unknown');
  const firstSafe = Number(minor) >= 53 ? 0 : (REPAIRED_SINCE[minor] ?? Number.POSITIVE_INFINITY);
  if (Number(patch) >= firstSafe) return;
  fail('storage_unavailable', `SQLite ${version} can corrupt a write-ahead log: use 3.51.3, 3.53.0 or newer`);
}
