// Rotating the keys of a cell, below the vault: which rows lie under a key, which of them move in one batch, and the progress of it.
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Lookup, WriteAccess } from '../../src/cell/access.ts';
import { KeyRotationStore } from '../../src/cell/key-rotations.ts';
import { countStale, resealRows, rewrapRows, usesOf } from '../../src/cell/rewrap.ts';
import type { Row } from '../../src/cell/sql.ts';
import { tableOf } from '../../src/cell/tables.ts';
import { prepareValue, sealUnderDataKey } from '../../src/crypto/data-key.ts';
import type { Purpose, SealContext } from '../../src/crypto/envelope.ts';
import { type CellBench, cellBench, madeUp } from '../kit/anchored.ts';
import { changing, type TestTenant, testEntropy, testTenant } from '../kit/vaults.ts';

const PLAIN = new TextEncoder().encode('not-a-real-secret');
const NOW_MS = 1_000;

type Sealed = 'credential_version' | 'idempotency' | 'audit_source';

let bench: CellBench;

function contextOf(table: Sealed, purpose: Purpose, row: Row): SealContext {
  const { keyring } = bench;
  if (table === 'audit_source') return keyring.context(purpose, 'audit_source.value', 'source', 0);
  if (table === 'credential_version')
    return keyring.context(purpose, 'credential_version', String(row['credential_id']), Number(row['version']));
  return keyring.context(purpose, 'idempotency.value', `${row['principal_id']}/${row['idempotency_key']}`, 0);
}

/** Rows sealed under the active key of the purpose. */
function add(table: Sealed, purpose: Purpose, ...numbers: readonly number[]): void {
  bench.batch(() => {
    for (const n of numbers) {
      const row = madeUp(bench.sql, table, n);
      const key = bench.keyring.current(purpose);
      const { wrappedKey, sealed } = sealUnderDataKey(key, contextOf(table, purpose, row), PLAIN);
      bench.rows.of(table).insert({ ...row, key_id: key.id, wrapped_key: wrappedKey, value: sealed });
    }
  });
}

const stored = (table: string): Row[] => bench.sql.all<Row>(`${tableOf(table).select} ORDER BY rowid`);
const keysOf = (table: string): unknown[] => stored(table).map((row) => row['key_id']);
const active = (purpose: Purpose): string => bench.keyring.current(purpose).id;
const turn = (purpose: Purpose, version: number) =>
  bench.batch(() => bench.keyring.addVersion(purpose, version, { now: () => NOW_MS }, testEntropy)).id;
const rewrap = (purpose: Purpose, maxRows: number) => bench.batch(() => rewrapRows(bench.rows, purpose, maxRows));

/** Opens each row of the table under the key that it names. */
function openAll(table: Sealed, purpose: Purpose): void {
  for (const row of stored(table)) {
    const key = bench.keyring.byId(purpose, String(row['key_id']));
    const opened = prepareValue(
      key,
      contextOf(table, purpose, row),
      row['wrapped_key'] as Uint8Array,
      row['value'] as Uint8Array,
    );
    expect(opened.open()).toEqual(PLAIN);
  }
}

describe('the rows under a key that was retired', () => {
  beforeEach(() => {
    bench = cellBench('tenant');
    add('credential_version', 'api_key', 1, 2);
    add('idempotency', 'api_key', 3, 4);
    add('audit_source', 'audit_pii', 5);
  });

  it('move to the active one, so many at a time, and open as before', () => {
    const old = active('api_key');
    expect(countStale(bench.rows, 'api_key')).toBe(0);
    expect(rewrap('api_key', 99)).toBe(0);
    const next = turn('api_key', 2);
    const values = stored('credential_version').map((row) => row['value']);
    expect([countStale(bench.rows, 'api_key'), countStale(bench.rows, 'api_key', old)]).toEqual([4, 4]);
    expect(rewrap('api_key', 1)).toBe(1);
    expect([...keysOf('credential_version'), ...keysOf('idempotency')]).toEqual([next, old, old, old]);
    expect(rewrap('api_key', 2)).toBe(2);
    expect([...keysOf('credential_version'), ...keysOf('idempotency')]).toEqual([next, next, next, old]);
    expect([countStale(bench.rows, 'api_key'), countStale(bench.rows, 'api_key', next)]).toEqual([1, 3]);
    expect([rewrap('api_key', 99), rewrap('api_key', 99), countStale(bench.rows, 'api_key')]).toEqual([1, 0, 0]);
    openAll('credential_version', 'api_key');
    openAll('idempotency', 'api_key');
    expect(stored('credential_version').map((row) => row['value'])).toEqual(values);
    expect(bench.damages).toEqual([]);
    expect(bench.reopen().of<Row>('idempotency').intact(stored('idempotency'))).toHaveLength(2);
    expect(keysOf('audit_source')).toEqual([active('audit_pii')]);
  });

  it('count as wraps of the active one', () => {
    turn('api_key', 2);
    bench.batch(() => {
      rewrapRows(bench.rows, 'api_key', 3);
      bench.keyring.flushWraps();
    });
    const row = bench.keyring.rows().find(({ key_id }) => key_id === active('api_key'));
    expect(bench.keyring.usedWraps(row ?? { key_id: '', wraps: -1 })).toBe(3);
  });

  it('move from every retired version, and within the bound over all of them', () => {
    const first = active('api_key');
    const second = turn('api_key', 2);
    add('credential_version', 'api_key', 6, 7);
    const third = turn('api_key', 3);
    expect(countStale(bench.rows, 'api_key')).toBe(6);
    expect([countStale(bench.rows, 'api_key', first), countStale(bench.rows, 'api_key', second)]).toEqual([4, 2]);
    expect(rewrap('api_key', 3)).toBe(3);
    expect(keysOf('credential_version')).toEqual([third, third, third, second]);
    expect(keysOf('idempotency')).toEqual([first, first]);
    expect(rewrap('api_key', 99)).toBe(3);
    openAll('credential_version', 'api_key');
    openAll('idempotency', 'api_key');
  });

  it('of each purpose move alone', () => {
    add('credential_version', 'oauth_token', 8);
    const kept = active('api_key');
    const oauth = active('oauth_token');
    const next = turn('audit_pii', 2);
    expect([countStale(bench.rows, 'audit_pii'), countStale(bench.rows, 'api_key'), countStale(bench.rows, 'backup')]).toEqual([1, 0, 0]); // biome-ignore format: one line
    expect(rewrap('audit_pii', 99)).toBe(1);
    expect([keysOf('audit_source'), keysOf('credential_version')]).toEqual([[next], [kept, kept, oauth]]);
    openAll('audit_source', 'audit_pii');
    expect(countStale(bench.rows, 'oauth_token', oauth)).toBe(1);
    const after = turn('oauth_token', 2);
    expect([countStale(bench.rows, 'oauth_token'), rewrap('oauth_token', 99)]).toEqual([1, 1]);
    expect(keysOf('credential_version')).toEqual([kept, kept, after]);
  });

  it('stay under it where they are damaged or do not open, and the others move', () => {
    const old = active('api_key');
    const [first, second] = stored('idempotency');
    bench.sql.run(
      "UPDATE credential_version SET created_by = 'other' WHERE version = ?",
      stored('credential_version')[0]?.['version'] ?? 0,
    );
    // Intact, but of another row.
    bench.batch(() =>
      bench.rows.of('idempotency').update({ ...first, wrapped_key: second?.['wrapped_key'] ?? null }, ['wrapped_key']),
    );
    const next = turn('api_key', 2);
    expect(rewrap('api_key', 99)).toBe(2);
    expect([...keysOf('credential_version'), ...keysOf('idempotency')]).toEqual([old, next, old, next]);
    expect(bench.damages.map(([table, , damage]) => [table, damage])).toEqual([['credential_version', 'stale']]);
    expect([countStale(bench.rows, 'api_key'), rewrap('api_key', 99)]).toEqual([2, 0]);
  });

  it('are found by reading all of them, and a damaged one may be under any key', () => {
    const old = active('api_key');
    const next = turn('api_key', 2);
    expect([...usesOf(bench.rows, old)]).toEqual([true, true]);
    expect([...usesOf(bench.rows, next)]).toEqual([false, false]);
    expect([...usesOf(bench.rows, 'key_of_nobody')]).toEqual([]);
    expect([...usesOf(bench.rows, active('backup'))]).toEqual([]);
    expect([...usesOf(bench.rows, active('audit_pii'))]).toEqual([true]);
    rewrap('api_key', 3);
    expect([...usesOf(bench.rows, old)]).toEqual([false, true]);
    rewrap('api_key', 1);
    expect([...usesOf(bench.rows, old)]).toEqual([false, false]);
    bench.sql.run(
      "UPDATE credential_version SET created_by = 'other' WHERE version = ?",
      stored('credential_version')[1]?.['version'] ?? 0,
    );
    expect([...usesOf(bench.rows, old)]).toEqual([true, false]);
  });
});

describe('a home cell', () => {
  it('has no versions of credentials, but kept answers', () => {
    bench = cellBench('home');
    add('idempotency', 'api_key', 1);
    const old = active('api_key');
    turn('api_key', 2);
    expect([...usesOf(bench.rows, old)]).toEqual([true]);
    expect([countStale(bench.rows, 'api_key'), rewrap('api_key', 99), countStale(bench.rows, 'api_key')]).toEqual([1, 1, 0]);
    openAll('idempotency', 'api_key');
  });
});

describe('the MACs of rows and of the map', () => {
  const reseal = (maxRows: number) => bench.batch(() => resealRows(bench.rows, maxRows));
  const macKeys = (table: string) => bench.sql.all(`SELECT mac_key_id FROM ${table}`).map((row) => row['mac_key_id']);
  const add3 = () =>
    bench.batch(() => {
      for (const [table, n] of [['webhook', 1], ['webhook', 2], ['environment', 3]] as const) // biome-ignore format: one line
        bench.rows.of(table).insert(madeUp(bench.sql, table, n));
      bench.rows.of('alert').insert(madeUp(bench.sql, 'alert', 4));
    });

  beforeEach(() => {
    bench = cellBench('tenant');
    add3();
  });

  it('move to the active key with chunks and head, so many at a time', () => {
    const old = active('metadata_mac');
    expect(countStale(bench.rows, 'metadata_mac')).toBe(0);
    // Three rows, one chunk, the head.
    expect(countStale(bench.rows, 'metadata_mac', old)).toBe(5);
    const next = turn('metadata_mac', 2);
    // The batch that added the key wrote the head.
    expect([countStale(bench.rows, 'metadata_mac'), countStale(bench.rows, 'metadata_mac', old)]).toEqual([4, 4]);
    expect(macKeys('anchor_head')).toEqual([next]);
    expect(reseal(2)).toBe(2);
    expect(countStale(bench.rows, 'metadata_mac', next)).toBe(3);
    expect(reseal(1)).toBe(1);
    expect(macKeys('anchor_chunk')).toEqual([old]);
    expect([...macKeys('webhook'), ...macKeys('environment')]).toEqual([next, next, next]);
    expect(reseal(1)).toBe(1);
    expect(macKeys('anchor_chunk')).toEqual([next]);
    expect([reseal(99), countStale(bench.rows, 'metadata_mac')]).toEqual([0, 0]);
    expect(bench.reopen().of<Row>('webhook').intact(stored('webhook'))).toHaveLength(2);
    expect(bench.damages).toEqual([]);
  });

  it('are found by reading all rows that carry one', () => {
    const old = active('metadata_mac');
    expect([...usesOf(bench.rows, old)]).toEqual([true, true]);
    turn('metadata_mac', 2);
    reseal(99);
    expect([...usesOf(bench.rows, old)]).toEqual([false, false]);
    bench.sql.run("UPDATE webhook SET url = 'https://other.example'");
    expect([...usesOf(bench.rows, old)]).toEqual([false, true]);
  });
});

describe('the progress of a rotation', () => {
  let store: KeyRotationStore;
  /** Whose door makes the accesses. */
  let tenant: TestTenant;
  const change = <T>(work: (access: WriteAccess) => T): Promise<T> =>
    tenant.vault.submit((job) => changing(job, (access) => bench.batch(() => work(access))));
  const look = <T>(work: (access: Lookup) => T): T => tenant.vault.lookup('test', (lookup) => work(lookup));
  const progress = () => look((access) => store.progress(access));
  const hasUnfinished = () => look((access) => store.hasUnfinished(access));

  beforeAll(async () => {
    tenant = await testTenant();
  });

  beforeEach(() => {
    bench = cellBench('tenant');
    store = new KeyRotationStore(bench.rows);
    add('credential_version', 'api_key', 1, 2, 3);
    turn('api_key', 2);
  });

  it('begins with the number of rows to move, and is listed in the order of its start', async () => {
    expect([progress(), hasUnfinished()]).toEqual([[], false]);
    await change((access) => store.begin(access, 'backup', 7, 200));
    await change((access) => store.begin(access, 'api_key', 2, 100));
    await change((access) => store.begin(access, 'audit_pii', 5, 200));
    expect(progress()).toEqual([
      { purpose: 'api_key', toVersion: 2, total: 3, done: 0, startedAtMs: 100, finishedAtMs: null },
      { purpose: 'audit_pii', toVersion: 5, total: 0, done: 0, startedAtMs: 200, finishedAtMs: null },
      { purpose: 'backup', toVersion: 7, total: 0, done: 0, startedAtMs: 200, finishedAtMs: null },
    ]);
    expect(hasUnfinished()).toBe(true);
  });

  it('advances to its total and no further, alone', async () => {
    await change((access) => store.begin(access, 'api_key', 2, 100));
    await change((access) => store.begin(access, 'api_key', 3, 101));
    const done = () => progress().map((one) => one.done);
    const [first] = progress();
    if (first === undefined) throw new Error('it has begun');
    await change((access) => store.advance(access, first, 2));
    expect(done()).toEqual([2, 0]);
    await change((access) => store.advance(access, first, 2));
    expect(done()).toEqual([3, 0]);
    await change((access) => store.advance(access, { ...first, purpose: 'backup' }, 1));
    await change((access) => store.advance(access, { ...first, toVersion: 4 }, 1));
    expect(done()).toEqual([3, 0]);
  });

  it('ends for one purpose, whose retired keys may then be destroyed', async () => {
    turn('backup', 2);
    await change((access) => store.begin(access, 'api_key', 2, 100));
    await change((access) => store.begin(access, 'backup', 2, 101));
    await change((access) => store.finish(access, 'api_key', 500, 900));
    expect(progress().map(({ purpose, done, finishedAtMs }) => [purpose, done, finishedAtMs])).toEqual([
      ['api_key', 3, 500],
      ['backup', 0, null],
    ]);
    const planned = () => bench.keyring.rows().filter((row) => row.destroy_after_at !== null);
    expect(planned().map(({ purpose, version, destroy_after_at }) => [purpose, version, destroy_after_at])).toEqual([
      ['api_key', 1, 900],
    ]);
    expect(hasUnfinished()).toBe(true);
    await change((access) => store.finish(access, 'api_key', 600, 901));
    await change((access) => store.finish(access, 'backup', 700, 902));
    expect(progress().map(({ finishedAtMs }) => finishedAtMs)).toEqual([500, 700]);
    expect(hasUnfinished()).toBe(false);
    const [retired] = planned();
    await change((access) => store.postpone(access, retired?.key_id ?? '', 1_000));
    await change((access) => store.postpone(access, active('api_key'), 1_000));
    await change((access) => store.postpone(access, 'key_of_nobody', 1_000));
    expect(planned().map(({ purpose, destroy_after_at }) => [purpose, destroy_after_at])).toEqual([
      ['api_key', 1_000],
      ['backup', 902],
    ]);
  });

  it('whose row is damaged is neither listed nor changed, but unfinished', async () => {
    await change((access) => store.begin(access, 'api_key', 2, 100));
    const [first] = progress();
    if (first === undefined) throw new Error('it has begun');
    bench.sql.run('UPDATE key_rotation SET total = 9');
    await change((access) => store.advance(access, first, 1));
    await change((access) => store.finish(access, 'api_key', 500, 900));
    expect([progress(), hasUnfinished()]).toEqual([[], true]);
    expect(bench.sql.all('SELECT total, done, finished_at FROM key_rotation')).toEqual([
      { total: 9, done: 0, finished_at: null },
    ]);
  });

  it('asks rows by the kind of key: sealed values, or MACs', async () => {
    const macKey = active('metadata_mac');
    const oldKey = String(keysOf('credential_version')[0]);
    expect(look((access) => [store.countStale(access, 'api_key'), store.countStale(access, 'metadata_mac', macKey)])).toEqual([
      3, 2,
    ]);
    expect([...store.usesOf(oldKey)]).toEqual([true]);
    expect(await change((access) => store.rewrap(access, 'api_key', 2))).toBe(2);
    expect(look((access) => store.countStale(access, 'api_key', oldKey))).toBe(1);
    bench.batch(() => bench.rows.of('webhook').insert(madeUp(bench.sql, 'webhook', 1)));
    turn('metadata_mac', 2);
    expect(await change((access) => store.rewrap(access, 'metadata_mac', 99))).toBe(2);
  });
});
