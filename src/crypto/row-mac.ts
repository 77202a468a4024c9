// A MAC over the columns of a row that decides something (D2): write access to the database is not enough to forge such a row.
// It must never give two different rows the same bytes: every column is framed with its name, its type and its length.
import type { KeyObject } from 'node:crypto';
import { fail } from '../base/errors.ts';
import { FrameWriter } from './framing.ts';
import { equalBytes, hmacSha256 } from './primitives.ts';

/** The keys that a cell's rows and its map are sealed under. */
export interface MacKeys {
  /** The active one, or the one with this id. @throws key_destroyed | integrity */
  macKey(keyId?: string): { readonly keyId: string; readonly key: KeyObject };
  /** The key for rows without a MAC column. */
  tagKey(): KeyObject;
  readonly identity: { readonly installationId: string; readonly cellId: string };
}

/** A column as it comes from the database. */
export type MacColumn = string | number | null | Uint8Array;

const NULL_TAG = 0;
const TEXT_TAG = 1;
const NUMBER_TAG = 2;
const BLOB_TAG = 3;
const writer = new FrameWriter();

function writeColumn(column: MacColumn): void {
  if (column === null) writer.u8(NULL_TAG);
  else if (typeof column === 'string') writer.u8(TEXT_TAG).text(column);
  else if (typeof column === 'number') writer.u8(NUMBER_TAG).f64(column);
  else writer.u8(BLOB_TAG).blob(column);
}

/** A column with its framed name, computed once. */
export interface NamedColumn {
  readonly name: string;
  /** Length u32, UTF-8. */
  readonly frame: Uint8Array;
  /** For a column that a later schema step added: the value at which the MAC does not cover it. Undefined: always covered. */
  readonly initial?: MacColumn;
}

/** The columns of one table that a MAC of version 2 covers. */
export interface RowLayout {
  readonly table: string;
  readonly id: readonly string[];
  readonly columns: readonly NamedColumn[];
  /** The frames of domain and table. */
  readonly head: Uint8Array;
}

export interface LayoutColumn {
  readonly name: string;
  readonly initial?: MacColumn;
}

/** @param columns in a fixed order; a column with `initial` was added by a later schema step */
export function rowLayout(table: string, id: readonly string[], columns: readonly LayoutColumn[]): RowLayout {
  const framed = columns.map((column) => ({ ...column, frame: new FrameWriter().text(column.name).bytes() }));
  return { table, id, columns: framed, head: new FrameWriter().text('keyturn-row-mac-v2').text(table).bytes() };
}

/**
 * HMAC-SHA-256, 32 bytes, over
 *
 *     "keyturn-row-mac-v2" | table                each: length u32, UTF-8
 *     count u32, then each column of the id:      value
 *     each column that is covered:                name, value      name: length u32, UTF-8
 *     value:  0 | 1 length u32 UTF-8 | 2 binary64 | 3 length u32 bytes
 *
 * A column of a later step is covered once it differs from its initial value, so adding a column changes no MAC.
 * @throws internal for a number that is not finite or a text that is not well-formed
 */
export function rowMacV2(key: KeyObject, layout: RowLayout, row: Readonly<Record<string, unknown>>): Uint8Array {
  writer.clear().raw(layout.head).u32(layout.id.length);
  for (const name of layout.id) writeColumn((row[name] ?? null) as MacColumn);
  for (const { name, frame, initial } of layout.columns) {
    const value = (row[name] ?? null) as MacColumn;
    if (initial !== undefined && value === initial) continue;
    writer.raw(frame);
    writeColumn(value);
  }
  return hmacSha256(key, writer.peek());
}

/**
 * The MAC of version 1, read only when the rows of an older build are adopted: HMAC-SHA-256, 32 bytes, over
 *
 *     "keyturn-row-mac-v1" | table | objectId     each: length u32, UTF-8
 *     count u32, then each column:  0 | 1 length u32 UTF-8 | 2 binary64 | 3 length u32 bytes
 *
 * Writer and checker must pass `columns` in the same order.
 * @throws internal for a number that is not finite or a text that is not well-formed
 */
export function rowMac(key: KeyObject, table: string, objectId: string, columns: readonly MacColumn[]): Uint8Array {
  writer.clear().text('keyturn-row-mac-v1').text(table).text(objectId).u32(columns.length);
  for (const column of columns) writeColumn(column);
  return hmacSha256(key, writer.peek());
}

/** @throws integrity when a column, the table or the object differs from what the MAC was made for */
export function checkRowMac(
  key: KeyObject,
  table: string,
  objectId: string,
  columns: readonly MacColumn[],
  mac: Uint8Array,
): void {
  if (!equalBytes(rowMac(key, table, objectId, columns), mac)) {
    fail('integrity', 'stored data failed its check', { evidence: `${table}: mac mismatch` });
  }
}
