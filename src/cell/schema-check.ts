// Checks that the schema of a database is exactly the one of the schema steps. The check must come before any other read or write: SQLite
// runs code in a schema inside Keyturn's transactions.
import { fail } from '../base/errors.ts';
import { sha256 } from '../crypto/primitives.ts';
import type { CellKind } from './schema-step.ts';
import type { Sql } from './sql.ts';

/** One entry of sqlite_master. */
interface SchemaObject {
  readonly type: string;
  readonly name: string;
  readonly tbl_name: string;
  readonly rootpage: number;
  readonly sql: string | null;
}

/** SHA-256 over the schema of each kind of cell at the newest step. test/cell/schema-check.shared.test.ts prints the new one after a step. */
export const SCHEMA_DIGESTS: Readonly<Record<CellKind, string>> = {
  home: 'd54be9acf859e8d887beb3b548a99d85827ce0f1acd76ee2c63f4d201ef50516',
  tenant: 'd0c3eaa5dd2a3fe54a0e3cb7a7426468304ea6e09dfc28ffbbd1da4f74d0f6df',
};

/** Tables in the same database outside the steps: of the platform, the register and the home object, and the log's head of older builds. */
const OTHERS = /^(?:sqlite_.*|_cf_.*|erasure_key|installation_key|installation|audit_head)$/;

/** SQLite derives the kind of an entry from this text, not from `type`. */
const TABLE_OR_INDEX = /^CREATE (?:TABLE|INDEX|UNIQUE INDEX) /;

/**
 * SECURITY: no build creates triggers, views or virtual tables. One that an attacker put into the file could copy destroyed data, undo a
 * change or omit an event.
 * @throws integrity
 */
export function refuseForeignCode(sql: Sql): void {
  if (!schemaOf(sql).every(isPlain))
    fail(
      'integrity',
      'the database has a trigger, a view or a virtual table, which Keyturn never creates: restore it from a copy',
      {
        evidence: 'schema: a trigger, a view or a virtual table',
      },
    );
}

/** For a database at the newest step. @throws integrity */
export function refuseOtherSchema(sql: Sql, kind: CellKind): void {
  if (schemaDigest(sql) === SCHEMA_DIGESTS[kind]) return;
  fail('integrity', 'the tables of the database differ from those of this build: restore it from a copy', {
    evidence: 'schema: the text of a table or an index',
  });
}

/** Whether the schema of an open cell is unchanged. */
export function isOwnSchema(sql: Sql, kind: CellKind): boolean {
  return schemaOf(sql).every(isPlain) && schemaDigest(sql) === SCHEMA_DIGESTS[kind];
}

/** Hexadecimal digest of everything that the steps create. */
export function schemaDigest(sql: Sql): string {
  const lines = schemaOf(sql)
    .filter(({ type, name, sql }) => sql !== null && !(type === 'table' && OTHERS.test(name)))
    .map(({ type, name, tbl_name, sql }) => JSON.stringify([type, name, tbl_name, sql]));
  return Buffer.from(sha256(new TextEncoder().encode(lines.sort().join('\n')))).toString('hex');
}

function schemaOf(sql: Sql): SchemaObject[] {
  return sql.all<SchemaObject>('SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master');
}

function isPlain({ type, name, rootpage, sql }: SchemaObject): boolean {
  if (rootpage <= 0) return false;
  if (sql === null) return type === 'index' && name.startsWith('sqlite_autoindex_');
  return (type === 'table' || type === 'index') && TABLE_OR_INDEX.test(sql);
}
