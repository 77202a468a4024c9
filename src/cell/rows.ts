// The rows of anchored tables, written and believed: every write seals the row and sets it in the map, every read checks both. One object a
// cell. It must never write a row without the map, nor hand out a row that the map does not know as it is.
import { fail, KeyturnError } from '../base/errors.ts';
import { LIMITS } from '../base/limits.ts';
import { equalBytes } from '../crypto/primitives.ts';
import { rowMacV2 } from '../crypto/row-mac.ts';
import type { Anchor } from './anchor.ts';
import { type Fingerprint, TAG_BYTES } from './anchor-chunk.ts';
import type { Keyring } from './keyring.ts';
import { LogRows } from './log-rows.ts';
import type { CellKind } from './schema-step.ts';
import type { Sql, SqlValue } from './sql.ts';
import { type PreparedTable, tableOf } from './tables.ts';

/** Why a row is refused. */
export type Damage = 'changed' | 'stale' | 'missing' | 'unknown';

/** Told of each row that fails, however often it is read. `id`: the row's id where it is one text of ours. */
export type OnDamage = (table: string, id: string | undefined, damage: Damage) => void;

/** Columns of a row's own MAC, where the table has them. */
export interface Sealed {
  mac: Uint8Array;
  mac_key_id: string;
}

/** Rows under another key than the given one, which is given twice: what differs lies on both sides of it in the index. */
const UNDER_OTHER_KEY = '(mac_key_id < ? OR mac_key_id > ?)';

const NOTHING: readonly string[] = [];
const encoder = new TextEncoder();

type Columns = Readonly<Record<string, unknown>>;

/** A row that was read and passed, and where it stands in the map. */
interface Known {
  readonly columns: Columns;
  readonly place: Fingerprint;
}

/** The rows of one cell. */
export class CellRows {
  readonly kind: CellKind;
  readonly sql: Sql;
  readonly keyring: Keyring;
  readonly anchor: Anchor;
  /** Of the audit log, whose blocks and heads are not in the map. */
  readonly log: LogRows;
  /** Set by who keeps the book of damage. */
  onDamage: OnDamage = () => {};
  readonly #tables = new Map<string, TableRows<object>>();

  constructor(kind: CellKind, sql: Sql, keyring: Keyring, anchor: Anchor) {
    this.kind = kind;
    this.sql = sql;
    this.keyring = keyring;
    this.anchor = anchor;
    this.log = new LogRows(sql);
  }

  /** The same object for the same table. */
  of<R extends object>(table: string): TableRows<R> {
    const known = this.#tables.get(table);
    if (known !== undefined) return known as TableRows<R>;
    const made = new TableRows<R>(this, tableOf(table));
    this.#tables.set(table, made as unknown as TableRows<object>);
    return made;
  }
}

export class TableRows<R extends object> {
  readonly #cell: CellRows;
  readonly #table: PreparedTable;
  readonly #covered: readonly string[];
  readonly #updates = new WeakMap<readonly string[], string>();
  /** By the columns that change. */
  readonly #changes = new Map<string, string>();
  /** The row that was read last: the next change is most often one of it. */
  #lastRead: Known | undefined;

  constructor(cell: CellRows, table: PreparedTable) {
    this.#cell = cell;
    this.#table = table;
    this.#covered = [...table.columns, ...(table.later ?? []).map(({ name }) => name)];
  }

  /** How many rows there are, as the map has it. */
  get count(): number {
    return this.#cell.anchor.counts.get(this.#table.table) ?? 0;
  }

  /** Reads whole rows, ready for `checked`: an SQL text that ends where a WHERE may follow. */
  get select(): string {
    return this.#table.select;
  }

  // ---- writing

  /** Every declared column of `row` is written; an absent one becomes its initial value, or null. */
  insert(row: object): void {
    const columns = this.#whole(row);
    const { id, insert, mac } = this.#table;
    const sealed = this.#seal(columns);
    const values = [...id, ...this.#table.written].map((name) => columns[name] as SqlValue);
    this.#cell.sql.run(insert, ...values, ...(mac === 'row' ? [sealed.mac, sealed.mac_key_id] : []));
    this.#enter(columns, sealed.mac);
  }

  /**
   * Overwrites `changed` columns of the row that `row` is now, its own change included; default: every one that is covered and is not as it
   * was read.
   */
  update(row: object, changed?: readonly string[]): void {
    const columns = this.#whole(row);
    const sealed = this.#seal(columns);
    if (changed === undefined && this.#updateDifference(columns, sealed)) return;
    const names = changed ?? this.#covered;
    const values = names.map((name) => columns[name] as SqlValue);
    this.#cell.sql.run(
      this.#updateOf(names),
      ...values,
      ...(this.#table.mac === 'row' ? [sealed.mac, sealed.mac_key_id] : []),
      ...this.#idOf(columns),
    );
    this.#enter(columns, sealed.mac);
  }

  /**
   * Writes the columns that changed: one that is written as it was costs as much, its indexes included. False where nothing was written,
   * because another row was read last, its object was changed since, or the database does not have what was read any more.
   */
  #updateDifference(columns: Columns, sealed: Sealed): boolean {
    const { secondName, table } = this.#table;
    const known = this.#lastRead;
    if (known === undefined || !this.#isChangeOf(known.columns, columns, sealed)) return false;
    const { columns: was, place } = known;
    const changed = this.#covered.filter((name) => columns[name] !== was[name]);
    const statement = this.#changeOf(changed);
    if (statement === undefined) return false;
    const values = changed.map((name) => columns[name] as SqlValue);
    const done = this.#cell.sql.get(statement, ...values, sealed.mac, ...this.#idOf(columns), was['mac'] as Uint8Array);
    if (done === undefined) return false;
    const isNamedAsBefore =
      secondName === undefined ||
      (secondName.held(columns) === secondName.held(was) && !secondName.columns.some((name) => changed.includes(name)));
    if (isNamedAsBefore) this.#cell.anchor.set(table, place, sealed.mac);
    else this.#enter(columns, sealed.mac);
    return true;
  }

  /** Whether `columns` were made of the row `was`, which still is as it was read, and are sealed under the same key. */
  #isChangeOf(was: Columns, columns: Columns, sealed: Sealed): boolean {
    if (was['mac'] !== columns['mac'] || was['mac_key_id'] !== sealed.mac_key_id) return false;
    if (this.#table.id.some((name) => was[name] !== columns[name])) return false;
    // A copy at each read would cost every reader; only a write asks whether the object still is what was read.
    return this.#expectedMac(was) !== undefined;
  }

  /** Undefined past the number of statements that a table may have: then every column is written. */
  #changeOf(changed: readonly string[]): string | undefined {
    const key = changed.join();
    const known = this.#changes.get(key);
    if (known !== undefined || this.#changes.size >= LIMITS.changeStatementsPerTable) return known;
    const { table, whereId } = this.#table;
    const set = [...changed, 'mac'].map((name) => `${name} = ?`).join(', ');
    const text = `UPDATE ${table} SET ${set} WHERE ${whereId} AND mac = ? RETURNING 1 AS done`;
    this.#changes.set(key, text);
    return text;
  }

  /**
   * Takes whole rows out of the database, and those that pass out of the map.
   * SECURITY: what a damaged one named stays in the map and is refused from then on: an edited expiry must not make the service forget
   * that an assertion or a request was seen.
   */
  remove(rows: readonly R[]): void {
    for (const row of this.intact(rows)) this.#forget(row as Columns);
    this.#delete(rows);
  }

  /** Takes rows out of the database and the map, damaged or not: their id alone says that they go. Of a table without a second name. */
  destroy(rows: readonly object[]): void {
    for (const row of rows) this.#forget(row as Columns);
    this.#delete(rows);
  }

  #delete(rows: readonly object[]): void {
    const statement = `DELETE FROM ${this.#table.table} WHERE ${this.#table.whereId}`;
    for (const row of rows) this.#cell.sql.run(statement, ...this.#idOf(row as Columns));
  }

  /** The row, as it was, no longer holds its second name: it is about to get another one. */
  freeName(was: object): void {
    const name = this.#second().name;
    const second = this.#secondFingerprint(was as Columns);
    if (this.#cell.anchor.isValid(second, this.#ownerTag(was as Columns))) this.#cell.anchor.remove(name, second);
  }

  // ---- reading

  /** The row as it is, if it is the one that was last written. @throws integrity */
  checked(row: R | undefined): R | undefined {
    if (row === undefined) return undefined;
    const place = this.#fingerprint(row as Columns);
    const damage = this.#damageAt(row as Columns, place);
    if (damage !== undefined) return this.#refuse(row as Columns, damage);
    if (this.#table.mac === 'row') this.#lastRead = { columns: row as Columns, place };
    return row;
  }

  /** Those rows that pass. The others are left out, and told. */
  intact(rows: readonly R[]): R[] {
    return rows.filter((row) => {
      const damage = this.damageOf(row);
      if (damage !== undefined) this.#cell.onDamage(this.#table.table, this.#nameOf(row as Columns), damage);
      return damage === undefined;
    });
  }

  /**
   * Up to `maxRows` rows that pass, reading on past those that do not, so that a damaged row never ends a list.
   * `read` gets the last row that was read, undefined at first, and how many to read.
   */
  page(maxRows: number, read: (last: R | undefined, rows: number) => R[]): R[] {
    const found: R[] = [];
    let last: R | undefined;
    for (;;) {
      const asked = maxRows - found.length;
      const batch = read(last, asked);
      found.push(...this.intact(batch));
      last = batch.at(-1);
      if (batch.length < asked || found.length >= maxRows) return found;
    }
  }

  /** What is wrong with the row; undefined: nothing. */
  damageOf(row: R): Damage | undefined {
    return this.#damageAt(row as Columns, this.#fingerprint(row as Columns));
  }

  #damageAt(columns: Columns, place: Fingerprint): Damage | undefined {
    try {
      const mac = this.#expectedMac(columns);
      if (mac === undefined) return 'changed';
      return this.#cell.anchor.isValid(place, mac) ? undefined : 'stale';
    } catch (error) {
      if (error instanceof KeyturnError && (error.code === 'integrity' || error.code === 'key_destroyed')) return 'unknown';
      throw error;
    }
  }

  /** Whether the second name that the row holds is known to be its own; a row that holds none has it freed. */
  isNamed(row: R): boolean {
    const { secondName } = this.#table;
    if (secondName === undefined) return true;
    const columns = row as Columns;
    const isOwn = this.#cell.anchor.isValid(this.#secondFingerprint(columns), this.#ownerTag(columns));
    return isOwn === secondName.held(columns);
  }

  /** The row's id for the operator, where it is one of ours; else where the row stands in the map. */
  label(row: R): string {
    const { high, low } = this.#fingerprint(row as Columns);
    return this.#nameOf(row as Columns) ?? `${high.toString(16)}.${low.toString(16)}`;
  }

  /** The row's id for events and alerts, where it is one of ours. */
  idInEvents(row: R): string | undefined {
    return this.#nameOf(row as Columns);
  }

  /** Nothing was found by these values of the id: so it must be. @throws integrity when the map knows such a row */
  absentById(...id: readonly SqlValue[]): undefined {
    if (this.#cell.anchor.has(this.#cell.anchor.fingerprint(this.#table.table, id))) this.#missing(id);
    return undefined;
  }

  /** Nothing was found by these values of the second name: so it must be. @throws integrity when the map knows such a row */
  absentByName(...values: readonly SqlValue[]): undefined {
    if (this.#cell.anchor.has(this.#cell.anchor.fingerprint(this.#second().name, values))) this.#missing([]);
    return undefined;
  }

  /** Rows are missing, and which ones is not known. */
  tellMissing(): void {
    this.#cell.onDamage(this.#table.table, undefined, 'missing');
  }

  // ---- keys, adoption

  /** Seals up to `maxRows` rows that carry another MAC key than the active one; a damaged one stays. Returns how many. */
  reseal(maxRows: number): number {
    if (this.#table.mac !== 'row') return 0;
    const { keyId } = this.#cell.keyring.macKey();
    const stale = this.#cell.sql.all<R>(`${this.select} WHERE ${UNDER_OTHER_KEY} LIMIT ?`, keyId, keyId, maxRows);
    const rows = this.intact(stale);
    for (const row of rows) this.update(row, NOTHING);
    return rows.length;
  }

  /** Seals a row of an older build as it is and sets it in the map. */
  adopt(row: R): void {
    if (this.#table.mac === 'row') this.update(row, NOTHING);
    else this.#enter(row as Columns, this.#seal(row as Columns).mac);
  }

  /** The row's MAC under the present rules fits, whatever the map says. */
  isSealed(row: R): boolean {
    return this.#table.mac === 'row' && this.#expectedMac(row as Columns) !== undefined;
  }

  #updateOf(changed: readonly string[]): string {
    const known = this.#updates.get(changed);
    if (known !== undefined) return known;
    const names = this.#table.mac === 'row' ? [...changed, 'mac', 'mac_key_id'] : changed;
    const text = `UPDATE ${this.#table.table} SET ${names.map((name) => `${name} = ?`).join(', ')} WHERE ${this.#table.whereId}`;
    this.#updates.set(changed, text);
    return text;
  }

  /** With what an absent column has in the database. */
  #whole(row: object): Columns {
    const { written, later } = this.#table;
    const isWhole = written.every((name) => (row as Columns)[name] !== undefined);
    if (isWhole && !later?.some(({ name, initial }) => initial !== null && (row as Columns)[name] === null))
      return row as Columns;
    const whole: Record<string, unknown> = { ...row };
    for (const { name, initial } of this.#table.later ?? []) whole[name] ??= initial;
    for (const name of this.#table.written) whole[name] ??= null;
    return whole;
  }

  #seal(row: Columns): Sealed {
    if (this.#table.mac === 'map') return { mac: rowMacV2(this.#cell.keyring.tagKey(), this.#table.layout, row), mac_key_id: '' };
    const { keyId, key } = this.#cell.keyring.macKey();
    return { mac: rowMacV2(key, this.#table.layout, row), mac_key_id: keyId };
  }

  /** The MAC the row must have in the map; undefined when its own does not fit it. */
  #expectedMac(row: Columns): Uint8Array | undefined {
    if (this.#table.mac === 'map') return rowMacV2(this.#cell.keyring.tagKey(), this.#table.layout, row);
    const keyId = row['mac_key_id'] as string;
    if (keyId === '') return undefined;
    const mac = rowMacV2(this.#cell.keyring.macKey(keyId).key, this.#table.layout, row);
    return equalBytes(mac, row['mac'] as Uint8Array) ? mac : undefined;
  }

  #enter(row: Columns, mac: Uint8Array): void {
    const { anchor } = this.#cell;
    const { table, secondName } = this.#table;
    const own = this.#fingerprint(row);
    anchor.set(table, own, mac);
    if (secondName === undefined) return;
    const second = this.#secondFingerprint(row);
    const tag = this.#ownerTag(row);
    if (secondName.held(row)) anchor.set(secondName.name, second, tag);
    else if (anchor.isValid(second, tag)) anchor.remove(secondName.name, second);
  }

  #forget(row: Columns): void {
    const { anchor } = this.#cell;
    const { table, secondName } = this.#table;
    anchor.remove(table, this.#fingerprint(row));
    if (secondName !== undefined) this.freeName(row);
  }

  #fingerprint(row: Columns) {
    return this.#cell.anchor.fingerprint(this.#table.table, this.#idOf(row));
  }

  #secondFingerprint(row: Columns) {
    const { name, columns } = this.#second();
    return this.#cell.anchor.fingerprint(
      name,
      columns.map((column) => row[column] as SqlValue),
    );
  }

  /** Of a second name: whose it is. */
  #ownerTag(row: Columns): Uint8Array {
    const { id } = this.#table;
    const [first = ''] = id.map((name) => row[name] as SqlValue);
    return encoder.encode(String(first).slice(-TAG_BYTES).padStart(TAG_BYTES, '.'));
  }

  #second() {
    return this.#table.secondName ?? fail('internal', `the rows of ${this.#table.table} have no second name`);
  }

  #idOf(row: Columns): SqlValue[] {
    return this.#table.id.map((name) => row[name] as SqlValue);
  }

  /** For events and alerts: only ids that we made; of a version its credential's, of a step its run's. */
  #nameOf(row: Columns): string | undefined {
    const value = row[this.#table.id[0] ?? ''];
    return typeof value === 'string' && /^[a-z]{2,12}_[A-Za-z0-9_-]{1,64}$/.test(value) ? value : undefined;
  }

  #refuse(row: Columns, damage: Damage): never {
    const { table } = this.#table;
    this.#cell.onDamage(table, this.#nameOf(row), damage);
    return fail('integrity', 'stored data failed its check', { evidence: `${table}: the row is ${damage}` });
  }

  #missing(id: readonly SqlValue[]): never {
    const { id: names } = this.#table;
    const row = Object.fromEntries(names.map((name, i) => [name, id[i]]));
    return this.#refuse(row, 'missing');
  }
}

/** Does `work` for every row that passes its check and returns for how many; a damaged one stays as it is and stops nobody else. */
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
