// The synchronous Sql port: all code uses a database through it. Two drivers implement it and pass one contract suite
// (test/contracts/sql.contract.ts). It must never return a promise: a transaction cannot contain an await.

export type SqlValue = string | number | null | Uint8Array;
/** A row by column name. Integers are JS numbers (|n| < 2^53), blobs are Uint8Array, absent values are null. */
export type Row = Record<string, SqlValue>;

export interface Sql {
  /** All rows, in the statement's order. Parameters are positional (`?`), never spliced into the text. */
  all<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R[];
  /** The first row or undefined. */
  get<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R | undefined;
  /** Runs one statement for its effect. Use `RETURNING` with `get`/`all` where the affected rows matter. */
  run(statement: string, ...parameters: readonly SqlValue[]): void;
  /** Runs a script of several statements without parameters (migrations only). */
  script(statements: string): void;
  /**
   * Commits when `body` returns, rolls back when it throws, and rethrows. Nested calls are savepoints: an inner throw that the
   * outer body catches undoes the inner part only.
   * @throws KeyturnError storage_full | storage_unavailable when the disk refuses
   */
  transaction<T>(body: () => T): T;
  /** Whether data of deleted rows may remain in a file of the database. */
  readonly hasResidue: boolean;
  /**
   * Removes deleted and overwritten data from every file of the database. Outside a transaction only.
   * @throws storage_full | storage_unavailable
   */
  eraseResidue(): void;
  /** Size of the database. */
  sizeBytes(): number;
  /** Idempotent. A driver whose runtime owns the database does nothing. */
  close(): void;
}
