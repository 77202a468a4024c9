// The first transaction of a cell: its keys, the rows of older builds, and a new incarnation after a declared restore.
import { beforeEach, describe, expect, it } from 'vitest';
import { Anchor } from '../../src/cell/anchor.ts';
import { CELL_PURPOSES, Keyring } from '../../src/cell/keyring.ts';
import { migrate, NOT_CARRIED } from '../../src/cell/migrations.ts';
import { beginState, completeState } from '../../src/cell/open-state.ts';
import { CellRows } from '../../src/cell/rows.ts';
import type { Row, Sql } from '../../src/cell/sql.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { madeUp } from '../kit/anchored.ts';
import { START_MS, TestClock, testEntropy } from '../kit/vaults.ts';

const root = RootKeys.of(RootKey.of(Uint8Array.from({ length: 32 }, (_, i) => i + 3)));
const erasureKey = newErasureKey();
const IDENTITY = { installationId: 'ins_a', cellId: 'ten_a' };
const LOG = { size: 5, stateSequence: 9, frontier: Uint8Array.of(1, 2) };
let sql: Sql;
let clock: TestClock;

function rowsOf(): CellRows {
  const keyring = new Keyring(sql, root, erasureKey, IDENTITY).load();
  return new CellRows('tenant', sql, keyring, new Anchor(sql, keyring));
}

/** As a later start: with the map as it is stored. */
function opened(): CellRows {
  const rows = rowsOf();
  rows.anchor.open();
  rows.keyring.bind(rows.of('tenant_key'));
  return rows;
}

const appliedAt = () => sql.get('SELECT applied_at FROM schema_step WHERE version = 9')?.['applied_at'];
const begin = () => {
  const rows = rowsOf();
  return { rows, adopted: beginState(rows, 'inc_a', LOG, clock, testEntropy) };
};

beforeEach(() => {
  sql = openNodeSql(':memory:');
  migrate(sql, 'tenant', START_MS);
  sql.script('PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;');
  sql.run(
    "INSERT INTO cell (id, kind, installation_id, cell_id, incarnation_id, created_at) VALUES (1, 'tenant', 'ins_a', 'ten_a', 'inc_a', 0)",
  );
  clock = new TestClock();
  clock.unprovenMs = 50;
});

describe('a cell that begins its map', () => {
  it('has its keys in it, with the log, the incarnation and the proven time', () => {
    sql.run('UPDATE schema_step SET applied_at = ? WHERE version = 9', NOT_CARRIED);
    const { rows, adopted } = begin();
    expect(adopted).toEqual({ adopted: CELL_PURPOSES.length, refused: 0 });
    for (const one of [rows, opened()]) {
      expect(one.of('tenant_key').count).toBe(CELL_PURPOSES.length);
      expect(one.keyring.intactRows()).toHaveLength(CELL_PURPOSES.length);
      expect([one.anchor.incarnationId, one.anchor.timeAt]).toEqual(['inc_a', START_MS - 50]);
      expect([one.anchor.log.size, one.anchor.log.stateSequence]).toEqual([5, 9]);
    }
    expect(appliedAt()).toBe(START_MS);
    // The keys are bound to the map, and the map is no longer changed at once.
    sql.transaction(() => {
      rows.keyring.addVersion('api_key', 2, clock, testEntropy);
      rows.anchor.flush(LOG);
    });
    rows.anchor.afterCommit();
    expect(rows.anchor.position.epoch).toBe(1);
    expect(opened().keyring.current('api_key').version).toBe(2);
  });
});

describe('a cell with a map that opens again', () => {
  it('stays as it is', () => {
    begin();
    const before = sql.all<Row>('SELECT * FROM anchor_head');
    const rows = opened();
    completeState(rows, clock, testEntropy);
    expect(sql.all<Row>('SELECT * FROM anchor_head')).toEqual(before);
    expect(sql.get('SELECT incarnation_id FROM cell')).toEqual({ incarnation_id: 'inc_a' });
    expect(rows.anchor.mark()).toBe(0);
  });

  it('gets a key for a purpose without one, and its rows are migrated', () => {
    const { rows } = begin();
    sql.transaction(() => {
      rows.of<Row>('tenant_key').destroy(rows.keyring.rows().filter(({ purpose }) => purpose === 'backup'));
      rows.anchor.flush(LOG);
    });
    rows.anchor.afterCommit();
    sql.run('UPDATE schema_step SET applied_at = ? WHERE version = 9', NOT_CARRIED);
    clock.pass(1_000);
    const again = opened();
    completeState(again, clock, testEntropy);
    expect(appliedAt()).toBe(START_MS + 1_000);
    for (const one of [again, opened()]) {
      expect(one.keyring.intactRows()).toHaveLength(CELL_PURPOSES.length);
      expect([one.keyring.current('backup').version, one.anchor.position.epoch]).toEqual([1, 2]);
    }
    expect(again.anchor.mark()).toBe(0);
  });

  it('goes on as another incarnation after a declared restore', () => {
    const { rows } = begin();
    sql.transaction(() => {
      rows.of('alert').insert(madeUp(sql, 'alert', 1));
      rows.of<Row>('tenant_key').destroy(rows.keyring.rows().filter(({ purpose }) => purpose === 'backup'));
      rows.anchor.flush(LOG);
    });
    rows.anchor.afterCommit();
    const again = opened();
    const { chain } = again.anchor.position;
    completeState(again, clock, testEntropy, 'inc_b');
    expect(sql.get('SELECT incarnation_id FROM cell')).toEqual({ incarnation_id: 'inc_b' });
    for (const one of [again, opened()]) {
      expect([one.anchor.incarnationId, one.of('alert').count, one.keyring.intactRows().length]).toEqual([
        'inc_b',
        1,
        CELL_PURPOSES.length,
      ]);
      expect(one.anchor.position.epoch).toBe(3);
      expect(one.anchor.position.chain).not.toEqual(chain);
      expect(one.of<Row>('alert').intact(sql.all<Row>(one.of('alert').select))).toHaveLength(1);
    }
    expect(sql.all('SELECT * FROM anchor_journal')).toEqual([]);
    // Changes are journalled again.
    sql.transaction(() => {
      again.of('alert').insert(madeUp(sql, 'alert', 2));
      again.anchor.flush(LOG);
    });
    again.anchor.afterCommit();
    expect(opened().of('alert').count).toBe(2);
  });
});
