// A MAC over the columns of a row that decides something (D2): whoever can write the database cannot write such a row.
// It must never let two different rows give the same bytes: every column carries its type and length.
import type { KeyObject } from 'node:crypto';
import { fail } from '../base/errors.ts';
import { FrameWriter } from './framing.ts';
import { equalBytes, hmacSha256 } from './primitives.ts';

/** A column as it comes from the database. */
export type MacColumn = string | number | null | Uint8Array;

const NULL_TAG = 0;
const TEXT_TAG = 1;
const NUMBER_TAG = 2;
const BLOB_TAG = 3;
const writer = new FrameWriter();

/**
 * HMAC-SHA-256, 32 bytes, over
 *
 *     "keyturn-row-mac-v1" | table | objectId     each: length u32, UTF-8
 *     count u32, then each column:  0 | 1 length u32 UTF-8 | 2 binary64 | 3 length u32 bytes
 *
 * The order of `columns` is part of the contract between writer and checker.
 * @throws internal for a number that is not finite or a text that is not well-formed
 */
export function rowMac(key: KeyObject, table: string, objectId: string, columns: readonly MacColumn[]): Uint8Array {
  writer.clear().text('keyturn-row-mac-v1').text(table).text(objectId).u32(columns.length);
  for (const column of columns) {
    if (column === null) writer.u8(NULL_TAG);
    else if (typeof column === 'string') writer.u8(TEXT_TAG).text(column);
    else if (typeof column === 'number') writer.u8(NUMBER_TAG).f64(column);
    else writer.u8(BLOB_TAG).blob(column);
  }
  return hmacSha256(key, writer.peek());
}

/** @throws integrity when a column, the table or the object is not the one the MAC was made for */
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
