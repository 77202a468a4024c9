// The Sql port on Node: one file, one connection, one owner. It must never return before a commit is durable (synchronous=FULL),
// nor share its file with another process (locking_mode=EXCLUSIVE).
import { dirname, resolve } from 'node:path';
import Database from 'better-sqlite3';
import { fail } from '../base/errors.ts';
import type { Row, Sql, SqlValue } from '../cell/sql.ts';
import { refusePromise, toSqlError } from '../cell/sql-errors.ts';
import { prepareDataDirectory, preparePrivateFile } from './database-files.ts';

const LOCK_WAIT_MS = 200;
const DELETES = /^\s*DELETE\b/i;
/** Limit of cached prepared statements, the oldest is dropped; all statements of the code fit. */
const STATEMENTS_KEPT = 256;

/** Set in this order before any query: with EXCLUSIVE first, SQLite keeps the WAL index in memory and creates no -shm file. */
const PRAGMAS = [
  'locking_mode = EXCLUSIVE',
  'journal_mode = WAL',
  'synchronous = FULL', // better-sqlite3's default for WAL is NORMAL, which may lose acknowledged commits at a power failure
  'fullfsync = ON', // macOS: fsync alone does not flush the drive's cache
  'foreign_keys = ON',
  'secure_delete = ON',
  'trusted_schema = OFF',
  'cell_size_check = ON',
  'temp_store = MEMORY',
  'cache_size = -4000', // at most 4 MB per cell, allocated on use; 64 MB made random reads of 1M rows only 10 % faster
  'mmap_size = 0', // so that an I/O error is an error code, not a SIGBUS
  'wal_autocheckpoint = 1000',
  'journal_size_limit = 67108864',
] as const;
/** For read-only checks: without pragmas that write. */
const READONLY_PRAGMAS = [
  'query_only = ON',
  'trusted_schema = OFF',
  'cell_size_check = ON',
  'temp_store = MEMORY',
  'mmap_size = 0',
];

export interface NodeSqlOptions {
  /** Opens a closed database without changing it; the file must exist. */
  readonly readonly?: boolean;
}

/**
 * Opens the database at `path`, or creates it, private to this account; `:memory:` is an in-memory database.
 * @throws conflict if another process has it open; storage_unavailable | storage_full | integrity if it cannot be used
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
    if (!inMemory && !readonly && journal !== 'wal')
      fail('storage_unavailable', 'the file system does not support a write-ahead log: use a local file system');
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
   * `secure_delete` zeroes deleted content in the pages; older images of the pages stay in the write-ahead log until it is
   * checkpointed and truncated (https://www.sqlite.org/pragma.html#pragma_wal_checkpoint).
   */
  eraseResidue(): void {
    if (this.#depth > 0) fail('internal', 'residue must be erased outside of a transaction');
    const row = this.#attempt(() => this.#prepare('PRAGMA wal_checkpoint(TRUNCATE)').get() as { busy?: number } | undefined);
    if (row?.busy === 1) fail('storage_unavailable', 'the write-ahead log could not be truncated');
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
   * INVARIANT: SQLite itself rolls a transaction back if the disk is full or fails; a body that caught that error must not continue
   * outside of a transaction (test/node/sqlite.test.ts).
   */
  #requireTransaction(): void {
    if (!this.#database.inTransaction) fail('storage_unavailable', 'SQLite rolled the transaction back');
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

/** The first safe patch release of a minor version. */
const REPAIRED_SINCE: Readonly<Record<string, number>> = { 44: 6, 50: 7, 51: 3 };

/**
 * Refuses releases whose WAL may lose or corrupt commits (https://www.sqlite.org/wal.html, "The WAL-Reset Bug"): 3.7.0 to 3.51.2
 * except the backports 3.44.6 and 3.50.7, and the withdrawn 3.52.
 * @throws storage_unavailable
 */
export function assertSafeSqliteVersion(version: string): void {
  const [, minor, patch] = /^3\.(\d+)\.(\d+)$/.exec(version) ?? [];
  if (minor === undefined || patch === undefined) fail('storage_unavailable', 'the SQLite version is unknown');
  const firstSafe = Number(minor) >= 53 ? 0 : (REPAIRED_SINCE[minor] ?? Number.POSITIVE_INFINITY);
  if (Number(patch) >= firstSafe) return;
  fail('storage_unavailable', `SQLite ${version} can corrupt a write-ahead log: use 3.51.3, 3.53.0 or newer`);
}
