// Reads and writes the rows of anchored tables: every write computes the row's MAC and updates the map, every read checks both. One object
// per cell. It must never write a row without the map, nor return a row that differs from its entry in the map.
import { fail } from '../base/errors.ts';
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

/** Called for each row that fails its check, at every read. `id`: the row's id, if Keyturn made it. */
export type OnDamage = (table: string, id: string | undefined, damage: Damage) => void;

/** The MAC columns of a row, in tables that have them. */
export interface Sealed {
  mac: Uint8Array;
  mac_key_id: string;
}

/** Rows under another key than the given one, which is passed twice: with `<` and `>` the query can use the index. */
const UNDER_OTHER_KEY = '(mac_key_id < ? OR mac_key_id > ?)';

const NOTHING: readonly string[] = [];
const encoder = new TextEncoder();

type Columns = Readonly<Record<string, unknown>>;

/** A row that was read and passed, and its position in the map. */
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
  /** The rows of the audit log, which are not in the map. */
  readonly log: LogRows;
  /** Set by the owner of the cell (vault/damage-book.ts). */
  onDamage: OnDamage = () => {};
  readonly #tables = new Map<string, TableRows<object>>();

  constructor(kind: CellKind, sql: Sql, keyring: Keyring, anchor: Anchor) {
    this.kind = kind;
    this.sql = sql;
    this.keyring = keyring;
    this.anchor = anchor;
    this.log = new LogRows(sql);
  }

  /** Returns the same object for the same table. */
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
  /** Statements by the columns that change. */
  readonly #changes = new Map<string, string>();
  /** The last row read: most changes follow a read of the same row. */
  #lastRead: Known | undefined;

  constructor(cell: CellRows, table: PreparedTable) {
    this.#cell = cell;
    this.#table = table;
    this.#covered = [...table.columns, ...(table.later ?? []).map(({ name }) => name)];
  }

  /** The number of rows in the map. */
  get count(): number {
    return this.#cell.anchor.counts.get(this.#table.table) ?? 0;
  }

  /** SELECT of whole rows, for `checked`; a WHERE clause can be appended. */
  get select(): string {
    return this.#table.select;
  }

  // ---- writing

  /** Writes every declared column of `row`; an absent one gets its initial value, or null. */
  insert(row: object): void {
    const columns = this.#whole(row);
    const { id, insert, mac } = this.#table;
    const sealed = this.#seal(columns);
    const values = [...id, ...this.#table.written].map((name) => columns[name] as SqlValue);
    this.#cell.sql.run(insert, ...values, ...(mac === 'row' ? [sealed.mac, sealed.mac_key_id] : []));
    this.#enter(columns, sealed.mac);
  }

  /**
   * Writes the `changed` columns of `row`, which is the whole row after the change; default: every covered column that differs from the row
   * as it was read.
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
   * Writes the columns that changed: writing an unchanged column costs as much, including its indexes. Returns false if nothing was written,
   * because another row was read last or the stored row differs from the one read.
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

  /** Whether `columns` were made of the row `was`, and are sealed under the same key. */
  #isChangeOf(was: Columns, columns: Columns, sealed: Sealed): boolean {
    return was['mac'] === columns['mac'] && was['mac_key_id'] === sealed.mac_key_id;
  }

  /** Undefined beyond the limit of statements per table: then every column is written. */
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
   * Deletes whole rows from the database, and the rows that pass their check also from the map.
   * SECURITY: the entry of a damaged row stays in the map, so its id is refused from then on: editing an expiry must not let a used assertion
   * or a repeated request pass as new.
   */
  remove(rows: readonly R[]): void {
    for (const row of this.intact(rows)) this.#forget(row as Columns);
    this.#delete(rows);
  }

  /** Deletes rows from the database and the map by their id, damaged or not. For tables without a second name. */
  destroy(rows: readonly object[]): void {
    for (const row of rows) this.#forget(row as Columns);
    this.#delete(rows);
  }

  #delete(rows: readonly object[]): void {
    const statement = `DELETE FROM ${this.#table.table} WHERE ${this.#table.whereId}`;
    for (const row of rows) this.#cell.sql.run(statement, ...this.#idOf(row as Columns));
  }

  /** Frees the second name of a row, before the row gets another one. `was`: the row before the change. */
  freeName(was: object): void {
    const name = this.#second().name;
    const second = this.#secondFingerprint(was as Columns);
    if (this.#cell.anchor.isValid(second, this.#ownerTag(was as Columns))) this.#cell.anchor.remove(name, second);
  }

  // ---- reading

  /** Returns the row if it is the last written one. @throws integrity */
  checked(row: R | undefined): R | undefined {
    if (row === undefined) return undefined;
    const place = this.#fingerprint(row as Columns);
    const damage = this.#damageAt(row as Columns, place);
    if (damage !== undefined) return this.#refuse(row as Columns, damage);
    // Frozen, so that the difference to it is the difference to the stored row.
    if (this.#table.mac === 'row') this.#lastRead = { columns: Object.freeze(row) as Columns, place };
    return row;
  }

  /**
   * As `checked`, for a row that almost every request reads: one that equals `known`, which passed its check, has the same MAC, and `known` is
   * returned.
   * @throws integrity
   */
  checkedAgainst(known: R | undefined, row: R | undefined): R | undefined {
    if (known === undefined || row === undefined || !isEqualRow(known as Columns, row as Columns)) return this.checked(row);
    const isLast = this.#cell.anchor.isValid(this.#fingerprint(row as Columns), (row as Columns)['mac'] as Uint8Array);
    return isLast ? known : this.checked(row);
  }

  /** The rows that pass their check. The others are left out and reported. */
  intact(rows: readonly R[]): R[] {
    return rows.filter((row) => {
      const damage = this.damageOf(row);
      if (damage !== undefined) this.#cell.onDamage(this.#table.table, this.#nameOf(row as Columns), damage);
      return damage === undefined;
    });
  }

  /**
   * Up to `maxRows` rows that pass their check. Reads further rows in place of damaged ones, so that a damaged row never ends a list.
   * `read` gets the last row read, at first undefined, and the number of rows to read.
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

  /** Why the row fails its check; undefined if it passes. */
  damageOf(row: R): Damage | undefined {
    return this.#damageAt(row as Columns, this.#fingerprint(row as Columns));
  }

  #damageAt(columns: Columns, place: Fingerprint): Damage | undefined {
    try {
      const mac = this.#expectedMac(columns);
      if (mac === undefined) return 'changed';
      return this.#cell.anchor.isValid(place, mac) ? undefined : 'stale';
    } catch (error) {
      if (isUnreadable(error)) return 'unknown';
      throw error;
    }
  }

  /** Whether the map agrees with the row about its second name: that the row has it, or that it is free. */
  isNamed(row: R): boolean {
    const { secondName } = this.#table;
    if (secondName === undefined) return true;
    const columns = row as Columns;
    const isOwn = this.#cell.anchor.isValid(this.#secondFingerprint(columns), this.#ownerTag(columns));
    return isOwn === secondName.held(columns);
  }

  /** For the operator: the row's id, if Keyturn made it; else its position in the map. */
  label(row: R): string {
    const { high, low } = this.#fingerprint(row as Columns);
    return this.#nameOf(row as Columns) ?? `${high.toString(16)}.${low.toString(16)}`;
  }

  /** For events and alerts: the row's id, if Keyturn made it. */
  idInEvents(row: R): string | undefined {
    return this.#nameOf(row as Columns);
  }

  /** Call when no row has this id, to check that against the map. @throws integrity when the map has such a row */
  absentById(...id: readonly SqlValue[]): undefined {
    if (this.#cell.anchor.has(this.#cell.anchor.fingerprint(this.#table.table, id))) this.#missing(id);
    return undefined;
  }

  /** Call when no row has this second name, to check that against the map. @throws integrity when the map has such a row */
  absentByName(...values: readonly SqlValue[]): undefined {
    if (this.#cell.anchor.has(this.#cell.anchor.fingerprint(this.#second().name, values))) this.#missing([]);
    return undefined;
  }

  /** Rows are missing, and which ones is not known. */
  tellMissing(): void {
    this.#cell.onDamage(this.#table.table, undefined, 'missing');
  }

  // ---- keys, adoption

  /** Computes the MACs of up to `maxRows` rows under other keys again under the active one, except damaged ones; returns how many. */
  reseal(maxRows: number): number {
    if (this.#table.mac !== 'row') return 0;
    const { keyId } = this.#cell.keyring.macKey();
    const stale = this.#cell.sql.all<R>(`${this.select} WHERE ${UNDER_OTHER_KEY} LIMIT ?`, keyId, keyId, maxRows);
    const rows = this.intact(stale);
    for (const row of rows) this.update(row, NOTHING);
    return rows.length;
  }

  /** Computes the MAC of a row of an older build and adds the row to the map. */
  adopt(row: R): void {
    if (this.#table.mac === 'row') this.update(row, NOTHING);
    else this.#enter(row as Columns, this.#seal(row as Columns).mac);
  }

  /** Whether the row's MAC is correct under the present rules, without the map. */
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

  /** The row with the stored default of each absent column. */
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

  /** The MAC that the row must have in the map; undefined when the MAC in the row is wrong. */
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

  /** The tag of a second name: identifies the row that has it. */
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

  /** For events and alerts: only ids made by Keyturn; for a version the id of its credential, for a step that of its run. */
  #nameOf(row: Columns): string | undefined {
    const id = String(this.#idOf(row)[0]);
    return /^[a-z]{2,12}_[A-Za-z0-9_-]{1,64}$/.test(id) ? id : undefined;
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

/** Runs `work` for every row and returns how many succeeded; a damaged row is skipped and does not stop the others. */
export function eachIntact<R>(rows: readonly R[], work: (row: R) => void): number {
  let done = 0;
  for (const row of rows) {
    try {
      work(row);
      done += 1;
    } catch (error) {
      if (!isUnreadable(error)) throw error;
    }
  }
  return done;
}

function isEqualRow(a: Columns, b: Columns): boolean {
  for (const name in b) {
    const one = a[name];
    const other = b[name];
    if (one !== other && !(one instanceof Uint8Array && other instanceof Uint8Array && equalBytes(one, other))) return false;
  }
  return true;
}

function isUnreadable(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === 'integrity' || code === 'key_destroyed';
}
