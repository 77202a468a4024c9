// The MAC of rows that decide something (D2): state, expiry, policy, scope. It must be checked before a row is believed.
import { fail, KeyturnError } from '../base/errors.ts';
import { checkRowMac, rowMac } from '../crypto/row-mac.ts';
import type { Keyring } from './keyring.ts';
import type { SqlValue } from './sql.ts';

export interface Sealed {
  mac: Uint8Array;
  mac_key_id: string;
}

/** Rows under another key than the given one, which is given twice: what differs lies on both sides of it in the index. */
export const UNDER_OTHER_KEY = '(mac_key_id < ? OR mac_key_id > ?)';

export function sealRow(keyring: Keyring, table: string, id: string, columns: readonly SqlValue[]): Sealed {
  const { keyId, key } = keyring.macKey();
  return { mac: rowMac(key, table, id, columns), mac_key_id: keyId };
}

/** @throws integrity when any of the columns was changed behind our back */
export function checkRow(keyring: Keyring, table: string, id: string, columns: readonly SqlValue[], sealed: Sealed): void {
  if (sealed.mac_key_id === '') fail('integrity', 'stored data failed its check', { evidence: `${table}: no mac` });
  checkRowMac(keyring.macKey(sealed.mac_key_id).key, table, id, columns, sealed.mac);
}

/**
 * Does `work` for every row that passes its check and returns for how many. A damaged one stays as it is and stops nobody else;
 * whoever asks must notice that rows are left.
 */
export function eachIntact<R>(rows: readonly R[], work: (row: R) => void): number {
  let done = 0;
  for (const row of rows) {
    try {
      work(row);
      done += 1;
    } catch (error) {
      if (!(error instanceof KeyturnError) || (error.code !== 'integrity' && error.code !== 'key_destroyed')) throw error;
    }
  }
  return done;
}
