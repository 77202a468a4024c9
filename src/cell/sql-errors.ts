// What SQLite says, in Keyturn's words; the same for both drivers. It must never carry a bound value: SQLite's messages
// name tables and columns only, and even those go to `evidence`, not to the caller.
import { type ErrorCode, fail, KeyturnError } from '../base/errors.ts';

export type ConstraintKind = 'unique' | 'foreign_key' | 'not_null' | 'check' | 'other';

/** A write that a constraint of the schema refused; only the statement is undone. `unique` has code `conflict`, the rest `internal`. */
class ConstraintError extends KeyturnError {
  readonly kind: ConstraintKind;

  constructor(kind: ConstraintKind, cause: unknown) {
    const evidence = messageOf(cause);
    if (kind === 'unique') super('conflict', 'it exists already', { evidence, cause });
    else super('internal', 'a constraint of the database refused the change', { evidence, cause });
    this.name = 'ConstraintError';
    this.kind = kind;
  }
}

/** Any constraint when `kind` is absent. A primary key is a `unique` one. */
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

/** By primary result code (https://www.sqlite.org/rescode.html); a code not listed here is a mistake in our SQL. */
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

/** A driver's error in Keyturn's words; anything that did not come from SQLite (a body's own error) is returned as it is. */
export function toSqlError(error: unknown): unknown {
  if (error instanceof KeyturnError) return error;
  const code = sqliteCode(error);
  if (code === undefined) return error;
  const primary = code.split('_', 2).join('_');
  if (primary === 'SQLITE_CONSTRAINT') return new ConstraintError(CONSTRAINTS[code] ?? 'other', error);
  const [keyturnCode, detail] = FAILURES[primary] ?? ['internal', 'the database refused a statement'];
  return new KeyturnError(keyturnCode, detail, { evidence: messageOf(error), cause: error });
}

/** @throws internal when a transaction's body returned a promise, which could only settle after the commit */
export function refusePromise<T>(result: T): T {
  if (typeof (result as { then?: unknown } | null | undefined)?.then === 'function') {
    fail('internal', 'a transaction cannot wait for a promise');
  }
  return result;
}

/** The extended result code: a property in better-sqlite3, the end of the message in workerd. */
function sqliteCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && code.startsWith('SQLITE_')) return code;
  const match = /: (SQLITE_[A-Z]+)(?: \(extended: (SQLITE_[A-Z_]+)\))?$/.exec(error.message);
  return match === null ? undefined : (match[2] ?? match[1]);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown';
}
