// The Sql port on a Durable Object's own SQLite database. It must never hold state: the runtime owns the database,
// its durability (answers wait at the output gate) and its lifetime.
import type { DurableObjectStorage, SqlStorageValue } from '@cloudflare/workers-types';
import type { Row, Sql, SqlValue } from '../cell/sql.ts';
import { refusePromise, toSqlError } from '../cell/sql-errors.ts';

/**
 * The database of the object that owns `storage` (class listed in `new_sqlite_classes`). Limits of the platform: 100
 * parameters and 100 kB per statement or script, 2 MB per row, 100 columns
 * (https://developers.cloudflare.com/durable-objects/platform/limits, 2026-11). Foreign keys are always enforced, and a violated deferred
 * one resets the object at the commit: the schema has none.
 */
export function durableObjectSql(storage: DurableObjectStorage): Sql {
  const all = <R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R[] =>
    attempt(() => {
      const rows = storage.sql.exec<Record<string, SqlStorageValue>>(statement, ...parameters).toArray();
      for (const row of rows) withBytes(row);
      return rows as R[];
    });
  return {
    all,
    get: <R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]) => all<R>(statement, ...parameters)[0],
    run: (statement, ...parameters) => void all(statement, ...parameters),
    // workerd requires a statement at the end, where a script may have a comment.
    script: (statements) => void all(`${statements}\n;SELECT 1`),
    transaction: (body) => attempt(() => storage.transactionSync(() => refusePromise(body()))),
    // The platform keeps deleted data for 30 days for point-in-time recovery (SECURITY.md).
    hasResidue: false,
    eraseResidue: () => {},
    sizeBytes: () => storage.sql.databaseSize,
    close: () => {},
  };
}

/** Changes the row in place: workerd returns blobs as ArrayBuffer, which belong to the row and need no copy. */
function withBytes(row: Record<string, SqlStorageValue | Uint8Array>): void {
  for (const name in row) {
    const value = row[name];
    if (value instanceof ArrayBuffer) row[name] = new Uint8Array(value);
  }
}

function attempt<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw toSqlError(error);
  }
}
