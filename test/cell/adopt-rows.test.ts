// Rows of an older build enter the map once, each after its old MAC was checked; a cell that had a map is refused.
import { beforeEach, describe, expect, it } from 'vitest';
import { adoptRows, formerHead, isUnanchored, pagesOf } from '../../src/cell/adopt-rows.ts';
import { Anchor } from '../../src/cell/anchor.ts';
import { Keyring } from '../../src/cell/keyring.ts';
import { migrate } from '../../src/cell/migrations.ts';
import { CellRows } from '../../src/cell/rows.ts';
import type { CellKind } from '../../src/cell/schema-step.ts';
import type { Row, Sql, SqlValue } from '../../src/cell/sql.ts';
import { anchoredTablesOf, tableOf } from '../../src/cell/tables.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { rowMac } from '../../src/crypto/row-mac.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { cellBench, EMPTY_LOG, madeUp } from '../kit/anchored.ts';
import { caughtCode } from '../kit/outcome.ts';
import { START_MS, TestClock, testEntropy } from '../kit/vaults.ts';

const root = RootKeys.of(RootKey.of(Uint8Array.from({ length: 32 }, (_, i) => i + 3)));
const erasureKey = newErasureKey();
let sql: Sql;
let keyring: Keyring;

/** A database as an older build left it: with keys and without a map. */
function older(kind: CellKind): void {
  sql = openNodeSql(':memory:');
  migrate(sql, kind, START_MS);
  sql.script('PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;');
  keyring = new Keyring(sql, root, erasureKey, { installationId: 'ins_a', cellId: 'ten_a' }).load();
  keyring.createMissing(new TestClock(), testEntropy);
}

function adopt(kind: CellKind) {
  const anchor = new Anchor(sql, keyring);
  const rows = new CellRows(kind, sql, keyring, anchor);
  const adopted = sql.transaction(() => {
    anchor.begin('inc_a', EMPTY_LOG);
    const done = adoptRows(rows);
    anchor.flush(EMPTY_LOG);
    return done;
  });
  anchor.afterCommit();
  const damageOf = (table: string, id: SqlValue) => {
    const own = rows.of<Row>(table);
    const [name = ''] = tableOf(table).id;
    return own.damageOf(sql.get<Row>(`${own.select} WHERE ${name} = ?`, id) as Row);
  };
  return { rows, adopted, damageOf };
}

function put(table: string, row: Row): void {
  const names = Object.keys(row);
  const marks = names.map(() => '?').join(', ');
  sql.run(`INSERT INTO ${table} (${names.join(', ')}) VALUES (${marks})`, ...names.map((name) => row[name] ?? null));
}

/** Puts in a row with a MAC of version 1 over the values of these columns, and further values. */
function putSealed(table: string, row: Row, columns: readonly string[], more: readonly SqlValue[] = []): string {
  const { keyId, key } = keyring.macKey();
  const id = String(row[tableOf(table).id[0] ?? '']);
  const mac = rowMac(key, table, id, [...columns.map((name) => row[name] ?? null), ...more]);
  put(table, { ...row, mac, mac_key_id: keyId });
  return id;
}

const TOKEN = ['type', 'hash', 'subject_id', 'permissions', 'created_at', 'expires_at', 'revoked_at'];
const LATER = ['grant_facts', 'grant_ends_at', 'review_due_at', 'revoke_due_at'];
const UNTOUCHED: Row = { grant_facts: '{}', grant_ends_at: null, review_due_at: null, revoke_due_at: null, rotation: '{}', rotation_due_at: null }; // biome-ignore format: one line
const credentialColumns = () => tableOf('credential').columns as readonly string[];

describe('a row of an older build', () => {
  beforeEach(() => older('tenant'));

  it('enters the map with a MAC of the present version', () => {
    const keys = keyring.rows().length;
    const id = putSealed('token', { ...madeUp(sql, 'token', 1), origin: null }, TOKEN);
    put('alert', madeUp(sql, 'alert', 1));
    const { rows, adopted, damageOf } = adopt('tenant');
    expect(adopted).toEqual({ adopted: keys + 2, refused: 0 });
    expect([damageOf('token', id), damageOf('alert', 'row_alert1')]).toEqual([undefined, undefined]);
    expect([rows.of('token').count, rows.of('alert').count, rows.of('tenant_key').count]).toEqual([1, 1, keys]);
    expect(sql.get("SELECT 1 AS present FROM sqlite_master WHERE name = 'audit_head'")).toBeUndefined();
  });

  it('stays outside when its old MAC is not its own, or names no key', () => {
    const keys = keyring.rows().length;
    const ids = [1, 2, 3, 4].map((n) => putSealed('token', { ...madeUp(sql, 'token', n), origin: null }, TOKEN));
    sql.run('UPDATE token SET expires_at = expires_at + 1 WHERE public_id = ?', ids[1] ?? '');
    sql.run("UPDATE token SET mac_key_id = 'key_of_nobody' WHERE public_id = ?", ids[2] ?? '');
    sql.run("UPDATE token SET mac_key_id = '' WHERE public_id = ?", ids[3] ?? '');
    const { adopted, damageOf, rows } = adopt('tenant');
    expect(adopted).toEqual({ adopted: keys + 1, refused: 3 });
    expect(ids.map((id) => damageOf('token', id))).toEqual([undefined, 'changed', 'unknown', 'changed']);
    expect(rows.of('token').count).toBe(1);
  });

  it('has its origin under its MAC since it has one', () => {
    const ids = [
      putSealed('token', { ...madeUp(sql, 'token', 1), origin: null }, TOKEN),
      putSealed('token', { ...madeUp(sql, 'token', 2), origin: 'consent' }, [...TOKEN, 'origin']),
      putSealed('token', { ...madeUp(sql, 'token', 3), origin: 'consent' }, TOKEN),
      putSealed('token', { ...madeUp(sql, 'token', 4), origin: null }, [...TOKEN, 'origin']),
    ];
    const { damageOf } = adopt('tenant');
    expect(ids.map((id) => damageOf('token', id))).toEqual([undefined, undefined, 'changed', 'changed']);
  });

  it('of a credential has the columns of the second step under its MAC since one of them has a value', () => {
    const made = (n: number, change: Row, later: boolean) =>
      putSealed('credential', { ...madeUp(sql, 'credential', n), ...UNTOUCHED, ...change }, [
        ...credentialColumns(),
        ...(later ? LATER : []),
      ]);
    const changes: readonly Row[] = [
      { grant_facts: '{"a":1}' },
      { grant_ends_at: 1 },
      { review_due_at: 1 },
      { revoke_due_at: 1 },
    ];
    const sealed = [made(1, {}, false), ...changes.map((change, i) => made(10 + i, change, true))];
    const not = [made(2, {}, true), ...changes.map((change, i) => made(20 + i, change, false))];
    const { damageOf } = adopt('tenant');
    expect(sealed.map((id) => damageOf('credential', id))).toEqual(sealed.map(() => undefined));
    expect(not.map((id) => damageOf('credential', id))).toEqual(not.map(() => 'changed'));
  });

  it('of a home cell has the roles of a user under its MAC, in one order', () => {
    older('home');
    const USER = ['name', 'revision', 'bootstrap', 'offboarded_at'];
    const grants = [['user-admin', 'ten_b'], ['admin', 'ten_b'], ['admin', 'ten_a']]; // biome-ignore format: one line
    const ids = [1, 2].map((n) => {
      const user = madeUp(sql, 'user', n);
      for (const [role = '', tenant = ''] of grants) put('user_grant', { user_id: user['id'] ?? '', role, tenant_id: tenant });
      return putSealed(
        'user',
        user,
        USER,
        n === 1 ? ['admin@ten_a', 'admin@ten_b', 'user-admin@ten_b'] : ['admin@ten_a', 'admin@ten_b'],
      );
    });
    const { damageOf } = adopt('home');
    expect(ids.map((id) => damageOf('user', id))).toEqual([undefined, 'changed']);
  });

  it('is adopted with all others, in whatever number', () => {
    for (let n = 0; n < 1_001; n++) put('alert', madeUp(sql, 'alert', n));
    const keys = keyring.rows().length;
    expect(adopt('tenant').adopted).toEqual({ adopted: keys + 1_001, refused: 0 });
  });
});

describe('a cell that had a map', () => {
  it('is refused when one row has a MAC of the present version', () => {
    const bench = cellBench('tenant');
    bench.batch(() => bench.rows.of('webhook').insert(madeUp(bench.sql, 'webhook', 1)));
    ({ sql, keyring } = bench);
    const before = sql.all('SELECT * FROM webhook');
    expect(() => adopt('tenant')).toThrow(
      expect.objectContaining({ code: 'integrity', evidence: 'anchor: the map was deleted' }),
    );
    expect(sql.all('SELECT * FROM webhook')).toEqual(before);
  });

  it('is told from one that had none by each part of the map', () => {
    older('tenant');
    expect(isUnanchored(sql)).toBe(true);
    const bench = cellBench('tenant');
    bench.batch(() => bench.rows.of('webhook').insert(madeUp(bench.sql, 'webhook', 1)));
    const TABLES = ['anchor_head', 'anchor_journal', 'anchor_chunk'];
    expect(isUnanchored(bench.sql)).toBe(false);
    for (const kept of TABLES) {
      const copy = cellBench('tenant');
      copy.batch(() => copy.rows.of('webhook').insert(madeUp(copy.sql, 'webhook', 1)));
      for (const table of TABLES.filter((name) => name !== kept)) copy.sql.run(`DELETE FROM ${table}`);
      expect(isUnanchored(copy.sql), kept).toBe(false);
    }
    for (const table of TABLES) bench.sql.run(`DELETE FROM ${table}`);
    expect(isUnanchored(bench.sql)).toBe(true);
  });

  it('has no head of an older build', () => {
    older('tenant');
    expect(formerHead(sql)).toEqual(EMPTY_LOG);
    sql.run('INSERT INTO audit_head (id, size, state_sequence, frontier) VALUES (1, 3, 9, ?)', Uint8Array.of(7));
    expect(formerHead(sql)).toEqual({ size: 3, stateSequence: 9, frontier: Buffer.of(7) });
    sql.run('DROP TABLE audit_head');
    expect(caughtCode(() => formerHead(sql))).toBe('integrity');
    sql.run('CREATE INDEX audit_head ON alert (kind)');
    expect(() => formerHead(sql)).toThrow(
      expect.objectContaining({ code: 'integrity', evidence: 'anchor: the head is missing' }),
    );
  });
});

describe('the pages of a table', () => {
  it('have every row once, in order, with its columns only', () => {
    older('tenant');
    const alert = tableOf('alert');
    const page = (rows: number) => [...pagesOf(sql, alert, rows)].map((one) => one.map(({ id }) => id));
    expect(page(2)).toEqual([]);
    for (const n of [5, 1, 4, 2]) put('alert', madeUp(sql, 'alert', n));
    expect(page(2)).toEqual([['row_alert5', 'row_alert1'], ['row_alert4', 'row_alert2']]); // biome-ignore format: one line
    expect(page(3)).toEqual([['row_alert5', 'row_alert1', 'row_alert4'], ['row_alert2']]); // biome-ignore format: one line
    sql.run("UPDATE alert SET rowid = -7 WHERE id = 'row_alert2'");
    expect(page(9)).toEqual([['row_alert2', 'row_alert5', 'row_alert1', 'row_alert4']]);
    const [first] = [...pagesOf(sql, alert)];
    expect(Object.keys(first?.[0] ?? {}).sort()).toEqual([...alert.id, ...alert.columns].sort());
  });

  it('are those of each table of both kinds of cell', () => {
    for (const kind of ['home', 'tenant'] as const) {
      older(kind);
      for (const table of anchoredTablesOf(kind)) {
        if (table.table !== 'tenant_key') put(table.table, madeUp(sql, table.table, 1));
        expect([...pagesOf(sql, table)].flat().length, table.table).toBe(
          table.table === 'tenant_key' ? keyring.rows().length : 1,
        );
      }
    }
  });
});
