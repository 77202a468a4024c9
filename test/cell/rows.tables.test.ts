// Every anchored table through the one door to its rows (rows.ts): what is written is read back, every covered column is covered, names and ids
// are in the map exactly as long as a row has them.
import { beforeEach, describe, expect, it } from 'vitest';
import type { TableRows } from '../../src/cell/rows.ts';
import type { Row, SqlValue } from '../../src/cell/sql.ts';
import { anchoredTablesOf, type PreparedTable, tableOf } from '../../src/cell/tables.ts';
import { type CellBench, cellBench, madeUp } from '../kit/anchored.ts';
import { caughtCode } from '../kit/outcome.ts';

const KINDS = ['home', 'tenant'] as const;
const TABLES = KINDS.flatMap((kind) => anchoredTablesOf(kind).map((table) => [kind, table.table, table] as const));
const NAMED = TABLES.filter(([, , { secondName }]) => secondName !== undefined);

/** What makes a row of the table have no second name, where it may have none. */
const NAMELESS: Readonly<Record<string, readonly Row[]>> = {
  environment: [],
  credential: [{ state: 'destroyed' }],
  workload: [{ revoked_at: 5 }],
  run: [{ state: 'succeeded' }, { kind: 'revocation' }],
  connection: [],
  tenant: [{ state: 'erased' }],
  user: [{ offboarded_at: 5 }],
};
/** What makes a row have it. */
const HOLDING: Readonly<Record<string, Row>> = {
  // No name, but a key that cannot be opened is not loaded.
  tenant_key: { state: 'destroyed', wrapped: null },
  credential: { state: 'active' },
  workload: { revoked_at: null },
  run: { state: 'open', kind: 'refresh' },
  tenant: { state: 'active' },
  user: { offboarded_at: null, grants: '[]' },
};

const BENCHES = { home: cellBench('home'), tenant: cellBench('tenant') };
let bench: CellBench;
/** Rows of one test have numbers that no other test has. */
let made = 0;

const own = (table: string): TableRows<Row> => bench.rows.of<Row>(table);
const row = (table: string, n: number, change: Row = {}): Row => ({
  ...madeUp(bench.sql, table, made + n),
  ...HOLDING[table],
  ...change,
});
const idOf = (table: string, of: Row): SqlValue[] => tableOf(table).id.map((name) => of[name] ?? null);
const whereId = (table: string) => `WHERE ${tableOf(table).whereId}`;
/** With arrays of bytes as the tests make them. */
const plain = (found: Row | undefined) =>
  found &&
  Object.fromEntries(
    Object.entries(found).map(([name, value]) => [name, value instanceof Uint8Array ? Uint8Array.from(value) : value]),
  );
const stored = (table: string, of: Row): Row =>
  plain(bench.sql.get<Row>(`${own(table).select} ${whereId(table)}`, ...idOf(table, of))) as Row;
const damageOf = (table: string, of: Row) => own(table).damageOf(stored(table, of));
const insert = (table: string, ...rows: readonly Row[]) =>
  bench.batch(() => {
    for (const one of rows) own(table).insert(one);
  });
/** Changes a row behind the map. */
const edit = (table: string, of: Row, column: string, value: SqlValue) =>
  bench.sql.run(`UPDATE ${table} SET ${column} = ? ${whereId(table)}`, value, ...idOf(table, of));
const nameOf = (table: string, of: Row): SqlValue[] => (tableOf(table).secondName?.columns ?? []).map((name) => of[name] ?? null);
const isTaken = (table: string, of: Row): boolean => {
  const code = caughtCode(() => own(table).absentByName(...nameOf(table, of)));
  expect(['ok', 'integrity']).toContain(code);
  return code === 'integrity';
};

function use(given: CellBench): void {
  bench = given;
  bench.damages.length = 0;
  made += 100;
}

/** Another value of the column's type. */
function another(table: string, column: string, value: SqlValue | undefined): SqlValue {
  const { type } = bench.sql.get<{ type: string }>('SELECT type FROM pragma_table_info(?) WHERE name = ?', table, column) ?? {};
  if (type === 'INTEGER') return Number(value) + 1;
  return type === 'TEXT' ? `${value}x` : new Uint8Array(24).fill(99);
}

describe.each(TABLES)('a row of a %s cell in %s', (kind, table, declared: PreparedTable) => {
  beforeEach(() => use(BENCHES[kind]));

  it('is read as it was written, also after a restart, and counted once', () => {
    const before = own(table).count;
    const [first, second] = [row(table, 1), row(table, 2)];
    insert(table, first, second);
    const { mac, mac_key_id, ...written } = first;
    expect(stored(table, first)).toMatchObject(written);
    expect(own(table).checked(stored(table, first))).toMatchObject(written);
    expect(own(table).count).toBe(before + 2);
    const again = bench.reopen().of<Row>(table);
    expect([again.count, again.damageOf(stored(table, first)), again.isNamed(stored(table, first))]).toEqual([
      before + 2,
      undefined,
      true,
    ]);
    const [sealed] = bench.sql.all(`SELECT * FROM ${table} ${whereId(table)}`, ...idOf(table, first));
    if (declared.mac === 'row') expect(sealed?.['mac_key_id']).toBe(bench.keyring.current('metadata_mac').id);
    expect(bench.damages).toEqual([]);
  });

  it('is damaged once any covered column was changed behind the map, and not by another one', () => {
    const of = row(table, 1);
    insert(table, of);
    const kept = plain(bench.sql.get<Row>(`SELECT * FROM ${table} ${whereId(table)}`, ...idOf(table, of))) as Row;
    const damage = declared.mac === 'row' ? 'changed' : 'stale';
    const later = (declared.later ?? []).map(({ name }) => name);
    for (const column of [...declared.columns, ...later, ...(declared.mac === 'row' ? ['mac'] : [])]) {
      edit(table, of, column, another(table, column, kept[column]));
      expect(damageOf(table, of), column).toBe(damage);
      edit(table, of, column, kept[column] ?? null);
      expect(damageOf(table, of), column).toBeUndefined();
    }
    for (const column of Object.keys(declared.open ?? {})) {
      edit(table, of, column, another(table, column, kept[column]));
      expect(damageOf(table, of), column).toBeUndefined();
    }
    if (declared.mac === 'row') {
      edit(table, of, 'mac_key_id', 'key_of_nobody');
      expect(damageOf(table, of)).toBe('unknown');
      edit(table, of, 'mac_key_id', '');
      expect(damageOf(table, of)).toBe('changed');
    }
  });

  it('is damaged under another id, and when it was put back', () => {
    const of = row(table, 1);
    insert(table, of);
    const old = stored(table, of);
    for (const name of declared.id) {
      const moved = own(table).damageOf({ ...old, [name]: another(table, name, old[name]) });
      expect(moved, name).toBe(declared.mac === 'row' ? 'changed' : 'stale');
    }
    const [column = ''] = declared.columns;
    bench.batch(() => own(table).update({ ...old, [column]: another(table, column, old[column]) }));
    expect(damageOf(table, of)).toBeUndefined();
    expect(own(table).damageOf(old)).toBe('stale');
  });

  it('gets the stored default of each column that it does not name', () => {
    const later = declared.later ?? [];
    const optional = bench.sql
      .all<{ name: string }>(`SELECT name FROM pragma_table_info('${table}') WHERE "notnull" = 0 AND pk = 0`)
      .map(({ name }) => name);
    for (const [i, absent] of [undefined, null].entries()) {
      const some: Record<string, SqlValue | undefined> = row(table, i + 1);
      for (const name of [...optional, ...later.map(({ name }) => name)]) {
        if (absent === undefined) delete some[name];
        else some[name] = null;
      }
      insert(table, some as Row);
      const found = stored(table, some as Row);
      for (const name of optional)
        expect(found[name] ?? null, name).toBe(later.find((one) => one.name === name)?.initial ?? null);
      for (const { name, initial } of later) expect(found[name], name).toBe(initial);
      expect(own(table).damageOf(found)).toBeUndefined();
    }
  });

  it('is gone from the database and the map when it is removed; a damaged one stays refused', () => {
    const before = own(table).count;
    const [good, bad, other] = [row(table, 1), row(table, 2), row(table, 3)];
    insert(table, good, bad, other);
    const [column = ''] = declared.columns.filter((name) => !declared.secondName?.columns.includes(name));
    edit(table, bad, column, another(table, column, bad[column]));
    bench.batch(() => own(table).remove([stored(table, good), stored(table, bad)]));
    expect(own(table).count).toBe(before + 2);
    expect([stored(table, good), stored(table, bad)]).toEqual([undefined, undefined]);
    expect(damageOf(table, other)).toBeUndefined();
    expect(caughtCode(() => own(table).absentById(...idOf(table, good)))).toBe('ok');
    const id =
      declared.id[0] !== undefined && /^[a-z]+_/.test(String(bad[declared.id[0]])) ? String(bad[declared.id[0]]) : undefined;
    expect(bench.damages.splice(0)).toEqual([[table, id, declared.mac === 'row' ? 'changed' : 'stale']]);
    expect(() => own(table).absentById(...idOf(table, bad))).toThrow(
      expect.objectContaining({ code: 'integrity', evidence: `${table}: the row is missing` }),
    );
    expect(bench.damages).toEqual([[table, id, 'missing']]);
    if (declared.secondName === undefined) return;
    expect([isTaken(table, good), isTaken(table, bad), isTaken(table, other)]).toEqual([false, true, true]);
  });

  it('is gone when it is destroyed, damaged or not', () => {
    if (declared.secondName !== undefined) return;
    const before = own(table).count;
    const [good, bad, other] = [row(table, 1), row(table, 2), row(table, 3)];
    insert(table, good, bad, other);
    const [column = ''] = declared.columns;
    edit(table, bad, column, another(table, column, bad[column]));
    bench.batch(() => own(table).destroy([good, bad]));
    expect(own(table).count).toBe(before + 1);
    for (const of of [good, bad]) {
      expect(stored(table, of)).toBeUndefined();
      expect(caughtCode(() => own(table).absentById(...idOf(table, of)))).toBe('ok');
    }
    expect(damageOf(table, other)).toBeUndefined();
    expect(bench.damages).toEqual([]);
  });

  it('is changed in the columns that a change names', () => {
    const [of, other] = [row(table, 1), row(table, 2)];
    insert(table, of, other);
    const [one = '', two = ''] = declared.columns.filter(
      (name) => !declared.secondName?.columns.includes(name) && name !== 'state',
    );
    const next = { ...stored(table, of), [one]: another(table, one, of[one]) };
    // Twice: the statement is made for the list of columns once.
    const names = [one];
    bench.batch(() => own(table).update(next, names));
    expect(stored(table, of)[one]).toEqual(another(table, one, of[one]));
    expect([damageOf(table, of), damageOf(table, other)]).toEqual([undefined, undefined]);
    if (two === '') return;
    bench.batch(() =>
      own(table).update(
        {
          ...own(table).checked(stored(table, other)),
          [one]: another(table, one, other[one]),
          [two]: another(table, two, other[two]),
        },
        names,
      ),
    );
    expect(stored(table, other)).toMatchObject({ [one]: another(table, one, other[one]), [two]: other[two] });
    // What was not written does not pass as written.
    expect(damageOf(table, other)).not.toBeUndefined();
    expect(stored(table, of)[one]).toEqual(another(table, one, of[one]));
  });

  it('is changed as a whole when a change names no columns', () => {
    const [of, other] = [row(table, 1), row(table, 2)];
    insert(table, of, other);
    const names = declared.columns.filter(
      (name) => !declared.secondName?.columns.includes(name) && !['state', 'kind'].includes(name),
    );
    const changes = (from: Row): Row => Object.fromEntries(names.map((name) => [name, another(table, name, from[name])]));
    bench.batch(() => own(table).update({ ...stored(table, of), ...changes(of) }));
    expect(stored(table, of)).toMatchObject(changes(of));
    bench.batch(() => {
      const read = own(table).checked(stored(table, of)) as Row;
      own(table).update({ ...read, ...changes(read) });
    });
    expect(stored(table, of)).toMatchObject(changes(changes(of)));
    expect([damageOf(table, of), damageOf(table, other)]).toEqual([undefined, undefined]);
    expect(own(table).isNamed(stored(table, of))).toBe(true);
    expect(stored(table, other)).toMatchObject(Object.fromEntries(names.map((name) => [name, other[name]])));
  });
});

describe.each(NAMED)('the second name of a row of a %s cell in %s', (kind, table) => {
  const changes = NAMELESS[table] ?? [];

  beforeEach(() => use(BENCHES[kind]));

  it('is taken as long as a row has it, and counts no row', () => {
    const of = row(table, 1);
    expect(isTaken(table, of)).toBe(false);
    const before = own(table).count;
    insert(table, of);
    expect(own(table).count).toBe(before + 1);
    expect(bench.damages).toEqual([]);
    expect(isTaken(table, of)).toBe(true);
    expect(bench.damages).toEqual([[table, undefined, 'missing']]);
    expect(isTaken(table, row(table, 2))).toBe(false);
    expect(own(table).isNamed(stored(table, of))).toBe(true);
    bench.batch(() => own(table).freeName(of));
    expect(isTaken(table, of)).toBe(false);
    expect(own(table).isNamed(stored(table, of))).toBe(false);
    expect(own(table).count).toBe(before + 1);
  });

  it('is that of the row which says so', () => {
    expect(NAMELESS[table]).toBeDefined();
    for (const [i, change] of changes.entries()) {
      const [without, of] = [row(table, 10 * i + 1, change), row(table, 10 * i + 2)];
      insert(table, without, of);
      expect(isTaken(table, without), JSON.stringify(change)).toBe(false);
      expect(own(table).isNamed(stored(table, without))).toBe(true);
      for (const read of [false, true]) {
        bench.batch(() => {
          const now = read ? own(table).checked(stored(table, of)) : stored(table, of);
          own(table).update({ ...now, ...change });
        });
        expect(isTaken(table, of)).toBe(false);
        expect(own(table).isNamed(stored(table, of))).toBe(true);
        bench.batch(() => {
          const now = read ? own(table).checked(stored(table, of)) : stored(table, of);
          own(table).update({ ...now, ...HOLDING[table] });
        });
        expect(isTaken(table, of)).toBe(true);
        expect(own(table).isNamed(stored(table, of))).toBe(true);
      }
    }
  });

  it('that another row has now is not freed by a row that had it', () => {
    for (const [i, change] of changes.entries()) {
      const first = row(table, 10 * i + 1);
      const named = Object.fromEntries((tableOf(table).secondName?.columns ?? []).map((name) => [name, first[name] ?? null]));
      const second = row(table, 10 * i + 2, named);
      insert(table, first);
      bench.batch(() => own(table).update({ ...stored(table, first), ...change }));
      insert(table, second);
      const stays = () => {
        expect(isTaken(table, second)).toBe(true);
        expect([own(table).isNamed(stored(table, first)), own(table).isNamed(stored(table, second))]).toEqual([true, true]);
      };
      stays();
      bench.batch(() => own(table).update({ ...stored(table, first), ...change }));
      stays();
      bench.batch(() => own(table).freeName(first));
      stays();
      bench.batch(() => own(table).remove([stored(table, first)]));
      expect(isTaken(table, second)).toBe(true);
      expect(own(table).isNamed(stored(table, second))).toBe(true);
    }
  });
});

describe('a row without a second name', () => {
  it('has no name that could be missing or freed', () => {
    use(BENCHES.tenant);
    const of = row('alert', 1);
    insert('alert', of);
    expect(own('alert').isNamed(of)).toBe(true);
    expect(caughtCode(() => own('alert').absentByName('a'))).toBe('internal');
    expect(caughtCode(() => own('alert').freeName(of))).toBe('internal');
  });
});

describe('the roles of a user', () => {
  beforeEach(() => {
    use(cellBench('home'));
    const give = (user: string, role: string, tenant: string) =>
      bench.sql.run('INSERT INTO user_grant (user_id, role, tenant_id) VALUES (?, ?, ?)', user, role, tenant);
    bench.batch(() => {
      for (const n of [1, 2]) {
        const user = row('user', n);
        give(String(user['id']), 'admin', 'ten_b');
        give(String(user['id']), 'admin', 'ten_a');
        give(String(user['id']), 'auditor', '*');
        own('user').insert({ ...user, grants: '[["admin","ten_a"],["admin","ten_b"],["auditor","*"]]' });
      }
    });
  });

  it('are part of the row, in one order', () => {
    for (const n of [1, 2]) {
      expect(stored('user', row('user', n))['grants']).toBe('[["admin","ten_a"],["admin","ten_b"],["auditor","*"]]');
      expect(damageOf('user', row('user', n))).toBeUndefined();
    }
  });

  it.each([
    ['given', "INSERT INTO user_grant (user_id, role, tenant_id) VALUES (?, 'owner', '*')"],
    ['taken', "DELETE FROM user_grant WHERE user_id = ? AND role = 'auditor'"],
    ['raised', "UPDATE user_grant SET role = 'owner' WHERE user_id = ? AND role = 'auditor'"],
    ['moved', "UPDATE user_grant SET tenant_id = 'ten_c' WHERE user_id = ? AND tenant_id = 'ten_b'"],
  ])('that are %s behind the map damage this user only', (_how, change) => {
    bench.sql.run(change, String(row('user', 1)['id']));
    expect([damageOf('user', row('user', 1)), damageOf('user', row('user', 2))]).toEqual(['changed', undefined]);
  });
});

describe('the rows of a cell', () => {
  beforeEach(() => {
    use(cellBench('tenant'));
  });

  it('are one object for each table, and no other table has one', () => {
    expect(own('token')).toBe(own('token'));
    expect(own('token')).not.toBe(own('run'));
    expect(caughtCode(() => own('cell'))).toBe('internal');
    expect(own('token').count).toBe(0);
  });

  it('that are absent, damaged or missing are told apart when they are read', () => {
    const [good, bad] = [row('alert', 1), row('alert', 2)];
    insert('alert', good, bad);
    expect(own('alert').checked(undefined)).toBeUndefined();
    edit('alert', bad, 'kind', 'other');
    expect(() => own('alert').checked(stored('alert', bad))).toThrow(
      expect.objectContaining({
        code: 'integrity',
        message: 'stored data failed its check',
        evidence: 'alert: the row is stale',
      }),
    );
    expect(own('alert').intact([stored('alert', bad), stored('alert', good)])).toEqual([stored('alert', good)]);
    own('alert').tellMissing();
    expect(bench.damages).toEqual([['alert', String(bad['id']), 'stale'], ['alert', String(bad['id']), 'stale'], ['alert', undefined, 'missing']]); // biome-ignore format: one line
  });

  it('are unknown, not damaged, where the map itself is', () => {
    const of = row('alert', 1);
    insert('alert', of);
    bench.sql.run('UPDATE anchor_chunk SET bytes = zeroblob(length(bytes))');
    bench.rows.anchor.release();
    expect(damageOf('alert', of)).toBe('unknown');
    expect(own('alert').intact([stored('alert', of)])).toEqual([]);
    expect(bench.damages).toEqual([['alert', String(of['id']), 'unknown']]);
  });

  it('are not called damaged when the database cannot be read', () => {
    const of = row('alert', 1);
    insert('alert', of);
    const read = stored('alert', of);
    bench.rows.anchor.release();
    bench.sql.get = () => {
      throw new RangeError('the disk');
    };
    expect(() => own('alert').damageOf(read)).toThrow(RangeError);
    expect(bench.damages).toEqual([]);
  });

  it('are named in events by an id that Keyturn made, and to the operator by their place otherwise', () => {
    const named = { ...row('alert', 1), id: 'alr_0123' };
    const step = { ...row('run_step', 1), run_id: 'run_9-_Z' };
    const { high, low } = bench.rows.anchor.fingerprint('alert', ['x y']);
    expect([own('alert').label(named), own('alert').idInEvents(named)]).toEqual(['alr_0123', 'alr_0123']);
    expect([own('run_step').label(step), own('run_step').idInEvents(step)]).toEqual(['run_9-_Z', 'run_9-_Z']);
    const place = `${high.toString(16)}.${low.toString(16)}`;
    expect([own('alert').label({ ...named, id: 'x y' }), own('alert').idInEvents({ ...named, id: 'x y' })]).toEqual([
      place,
      undefined,
    ]);
    const others = ['a_b', `${'a'.repeat(13)}_b`, 'ab_', `ab_${'c'.repeat(65)}`, 'AB_c', 'ab_c d', ' ab_c', 'abc'];
    for (const id of others) expect(own('alert').idInEvents({ ...named, id }), id).toBeUndefined();
  });
});

describe('a page of rows', () => {
  beforeEach(() => {
    use(cellBench('tenant'));
    insert('alert', ...Array.from({ length: 9 }, (_, i) => row('alert', i + 1)));
  });

  const page = (maxRows: number) => {
    const asked: number[] = [];
    const found = own('alert').page(maxRows, (last, rows) => {
      asked.push(rows);
      if (asked.length > 9) throw new RangeError('asked without end');
      return bench.sql.all<Row>(`${own('alert').select} WHERE id > ? ORDER BY id LIMIT ?`, last?.['id'] ?? '', rows);
    });
    return { ids: found.map(({ id }) => Number(String(id).slice(-1))), asked };
  };

  it('is read at once where no row is damaged', () => {
    expect(page(4)).toEqual({ ids: [1, 2, 3, 4], asked: [4] });
    expect(page(9)).toEqual({ ids: [1, 2, 3, 4, 5, 6, 7, 8, 9], asked: [9] });
    expect(page(20)).toEqual({ ids: [1, 2, 3, 4, 5, 6, 7, 8, 9], asked: [20] });
  });

  it('has other rows in the place of damaged ones, as long as there are any', () => {
    for (const n of [2, 3, 5]) edit('alert', row('alert', n), 'kind', 'other');
    expect(page(4)).toEqual({ ids: [1, 4, 6, 7], asked: [4, 2, 1] });
    expect(page(6)).toEqual({ ids: [1, 4, 6, 7, 8, 9], asked: [6, 3] });
    expect(page(7)).toEqual({ ids: [1, 4, 6, 7, 8, 9], asked: [7, 3] });
    expect(bench.damages.map(([, id]) => id)).toEqual([2, 3, 5, 2, 3, 5, 2, 3, 5].map((n) => row('alert', n)['id']));
  });
});

describe('rows under another key', () => {
  /** Keys whose ids are in this order: the first, the third, the second. */
  const fills = [0x10, 0x30, 0x20];
  let keys = 0;
  const entropy = {
    bytes: (count: number) =>
      new Uint8Array(count).map((_, i) => (i === 0 ? (fills[Math.floor(keys / 40)] ?? 0) : i === 14 ? keys++ % 40 : 0)),
    fraction: () => 0.5,
  };

  it('are sealed under the active one, so many at a time, except damaged ones', () => {
    keys = 0;
    use(cellBench('tenant', entropy));
    const turn = (version: number) =>
      bench.batch(() => {
        keys = 40 * (version - 1);
        bench.keyring.addVersion('metadata_mac', version, { now: () => 1 }, entropy);
      });
    const macKeys = () =>
      bench.sql.all<{ key: string }>('SELECT mac_key_id AS key FROM webhook ORDER BY id').map(({ key }) => key);
    const active = () => bench.keyring.current('metadata_mac').id;
    const ids: string[] = [];
    const hooks = Array.from({ length: 6 }, (_, i) => row('webhook', i + 1));
    insert('webhook', ...hooks.slice(0, 3));
    ids.push(active());
    turn(2);
    insert('webhook', ...hooks.slice(3));
    ids.push(active());
    turn(3);
    ids.push(active());
    const [lowest = '', highest = '', middle = ''] = ids;
    expect([...ids].sort()).toEqual([lowest, middle, highest]);
    expect(macKeys()).toEqual([lowest, lowest, lowest, highest, highest, highest]);
    edit('webhook', hooks[1] ?? {}, 'url', 'https://other.example');
    expect(bench.batch(() => own('webhook').reseal(4))).toBe(3);
    expect(macKeys().filter((id) => id === active())).toHaveLength(3);
    expect(bench.batch(() => own('webhook').reseal(99))).toBe(2);
    expect(macKeys()).toEqual([middle, lowest, middle, middle, middle, middle]);
    expect(bench.batch(() => own('webhook').reseal(99))).toBe(0);
    for (const [i, hook] of hooks.entries()) expect(damageOf('webhook', hook)).toBe(i === 1 ? 'changed' : undefined);
    expect(bench.batch(() => own('alert').reseal(99))).toBe(0);
  });

  it('are changed with their key, if they were read under the former one', () => {
    use(cellBench('tenant'));
    const of = row('webhook', 1);
    insert('webhook', of);
    bench.batch(() => {
      const read = own('webhook').checked(stored('webhook', of)) as Row;
      bench.keyring.addVersion(
        'metadata_mac',
        2,
        { now: () => 1 },
        { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)), fraction: () => 0 },
      );
      own('webhook').update({ ...read, url: 'https://other.example' });
    });
    expect(stored('webhook', of)).toMatchObject({
      url: 'https://other.example',
      mac_key_id: bench.keyring.current('metadata_mac').id,
    });
    expect(damageOf('webhook', of)).toBeUndefined();
  });

  it('are sealed without the map where only their MAC is asked for', () => {
    use(cellBench('tenant'));
    insert('webhook', row('webhook', 1));
    insert('alert', row('alert', 1));
    const sealed = stored('webhook', row('webhook', 1));
    expect(own('webhook').isSealed(sealed)).toBe(true);
    expect(own('webhook').isSealed({ ...sealed, url: 'x' })).toBe(false);
    bench.batch(() => own('webhook').remove([sealed]));
    expect(own('webhook').isSealed(sealed)).toBe(true);
    expect(own('alert').isSealed(stored('alert', row('alert', 1)))).toBe(false);
  });
});
