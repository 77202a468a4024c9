// Maps SQLite's errors to Keyturn's, for both drivers. An error must never contain a bound value: SQLite's messages name tables and
// columns only, and even those go to `evidence`, not to the caller.
import { type ErrorCode, fail, KeyturnError } from '../base/errors.ts';

export type ConstraintKind = 'unique' | 'foreign_key' | 'not_null' | 'check' | 'other';

/** A constraint of the schema refused a write; only that statement is undone. `unique` has code `conflict`, the others `internal`. */
class ConstraintError extends KeyturnError {
  readonly kind: ConstraintKind;

  constructor(kind: ConstraintKind, cause: Error) {
    const evidence = cause.message;
    if (kind === 'unique') super('conflict', 'an object with this name or id exists already', { evidence, cause });
    else super('internal', 'a constraint of the database refused the change', { evidence, cause });
    this.name = 'ConstraintError';
    this.kind = kind;
  }
}

/** Without `kind`: any constraint. A primary key counts as `unique`. */
export function isConstraintError(error: unknown, kind?: ConstraintKind): error is ConstraintError {
  return error instanceof ConstraintError && (kind === undefined || error.kind === kind);
}

const CONSTRAINTS: Readonly<Record<string, ConstraintKind>> = {
  SQLITE_CONSTRAINT_UNIQUE: 'unique',
  SQLITE_CONSTRAINT_PRIMARYKEY: 'unique',
  SQLITE_CONSTRAINT_ROWID: 'unique',
  SQLITE_CONSTRAINT_FOREIGNKEY: 'foreign_key',
  SQLITE_CONSTRAINT_NOTNULL: 'not_null',
  SQLITE_CONSTRAINT_CHECK: 'check',
};

/** By primary result code (https://www.sqlite.org/rescode.html); any other code is a fault in Keyturn's SQL. */
const FAILURES: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  SQLITE_FULL: ['storage_full', 'the disk or the database is full'],
  SQLITE_IOERR: ['storage_unavailable', 'the database could not be read or written'],
  SQLITE_READONLY: ['storage_unavailable', 'the database cannot be written'],
  SQLITE_CANTOPEN: ['storage_unavailable', 'the database cannot be opened'],
  SQLITE_PERM: ['storage_unavailable', 'the database cannot be opened'],
  SQLITE_NOMEM: ['storage_unavailable', 'there is not enough memory for the database'],
  SQLITE_PROTOCOL: ['storage_unavailable', 'the database could not be locked'],
  SQLITE_CORRUPT: ['integrity', 'the database is damaged'],
  SQLITE_NOTADB: ['integrity', 'the file is not a database'],
  SQLITE_BUSY: ['conflict', 'the data directory is in use by another process'],
  SQLITE_LOCKED: ['conflict', 'the data directory is in use by another process'],
};

/**
 * Messages of SQLite about a schema that is not the one of our statements. The statements are fixed and tested against the schema of the
 * migrations, so a table, an index, a column or the list of migrations was changed in the file.
 */
const FOREIGN_SCHEMA =
  /no such (table|index|column|view)|no query solution|has no column named|already exists|duplicate column name|malformed database schema|ON CONFLICT clause does not match|foreign key mismatch|because it is a view/;

/** The Keyturn error for a driver's error; an error that is not SQLite's (thrown by a transaction's body) is returned unchanged. */
export function toSqlError(error: unknown): unknown {
  if (error instanceof KeyturnError || !(error instanceof Error)) return error;
  const code = sqliteCode(error);
  if (code === undefined) return error;
  const primary = code.split('_', 2).join('_');
  if (primary === 'SQLITE_CONSTRAINT') return new ConstraintError(CONSTRAINTS[code] ?? 'other', error);
  if (primary === 'SQLITE_ERROR' && FOREIGN_SCHEMA.test(error.message))
    return new KeyturnError('integrity', 'the tables of the database are not those of this service', {
      evidence: error.message,
      cause: error,
    });
  const [keyturnCode, detail] = FAILURES[primary] ?? ['internal', 'the database refused a statement'];
  return new KeyturnError(keyturnCode, detail, { evidence: error.message, cause: error });
}

/** @throws internal when a transaction's body returned a promise, which could only settle after the commit */
export function refusePromise<T>(result: T): T {
  if (typeof (result as { then?: unknown } | null | undefined)?.then === 'function') {
    fail('internal', 'the body of a transaction must not return a promise: a transaction cannot wait');
  }
  return result;
}

/** The extended result code: a property in better-sqlite3, the end of the message in workerd. */
function sqliteCode(error: Error): string | undefined {
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && code.startsWith('SQLITE_')) return code;
  const match = /: (SQLITE_[A-Z]+)(?: \(extended: (SQLITE_[A-Z_]+)\))?$/.exec(error.message);
  return match === null ? undefined : (match[2] ?? match[1]);
}
