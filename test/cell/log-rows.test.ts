// Which blocks and heads of the log each query returns, on both sides of its bounds.
import { beforeAll, describe, expect, it } from 'vitest';
import type { Lookup } from '../../src/cell/access.ts';
import { LogRows } from '../../src/cell/log-rows.ts';
import { migrate } from '../../src/cell/migrations.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { type TestTenant, testTenant } from '../kit/vaults.ts';

let sql: Sql;
let log: LogRows;
let tenant: TestTenant;
const looking = (work: (access: Lookup) => void) => tenant.vault.lookup('test', work);
const BLOCKS = [0, 3, 5, 9];
const HEADS = [3, 5, 9];

beforeAll(async () => {
  tenant = await testTenant();
  sql = openNodeSql(':memory:');
  migrate(sql, 'tenant', 1);
  for (const first of BLOCKS)
    sql.run("INSERT INTO audit_block (first_index, events, last_at, bytes, leaves) VALUES (?, 1, 1, x'00', x'00')", first);
  for (const size of HEADS)
    sql.run(
      'INSERT INTO checkpoint (size, at, note, frontier) VALUES (?, 1, ?, ?)',
      size,
      `n${size}`,
      size === 5 ? null : new Uint8Array(8),
    );
  log = new LogRows(sql);
});

const firsts = (rows: readonly { readonly first_index: number }[]) => rows.map(({ first_index }) => first_index);
const sizes = (rows: readonly { readonly size: number }[]) => rows.map(({ size }) => size);

describe('blocks of the log', () => {
  it('begin at an event or later and before another, in the order and number asked for', () =>
    looking((access) => {
      expect(firsts(log.blocksFrom(access, 3, 9, 9))).toEqual([3, 5]);
      expect(firsts(log.blocksFrom(access, 4, 10, 9))).toEqual([5, 9]);
      expect(firsts(log.blocksFrom(access, 0, 99, 2))).toEqual([0, 3]);
      expect(firsts(log.blocksBefore(access, 9, 3, 9))).toEqual([5, 3]);
      expect(firsts(log.blocksBefore(access, 10, 4, 9))).toEqual([9, 5]);
      expect(firsts(log.blocksBefore(access, 99, 0, 2))).toEqual([9, 5]);
      expect(firsts(log.wholeBlocks(access, 3, 9))).toEqual([3, 5, 9]);
      expect(firsts(log.wholeBlocks(access, 4, 8))).toEqual([5]);
    }));

  it('contain an event, or are the newest', () =>
    looking((access) => {
      expect([2, 3, 4, 5, 99].map((index) => log.blockAt(access, index)?.first_index)).toEqual([0, 3, 3, 5, 9]);
      expect(log.newestBlock(access)?.first_index).toBe(9);
      expect(firsts(log.leavesFrom(4, 9, 9))).toEqual([3, 5]);
      expect(firsts(log.leavesFrom(5, 10, 9))).toEqual([5, 9]);
      expect(firsts(log.leavesFrom(0, 99, 1))).toEqual([0]);
    }));
});

describe('signed heads', () => {
  it('are found by the number of events that they cover', () =>
    looking((access) => {
      expect(log.newestHead(access)?.size).toBe(9);
      expect(sizes(log.heads(access, 3, 9))).toEqual([5, 9]);
      expect(sizes(log.heads(access, 2, 8))).toEqual([3, 5]);
      expect([2, 3, 5, 8, 9].map((size) => log.headUpTo(size)?.size)).toEqual([undefined, 3, 3, 3, 9]);
      expect(sizes(log.headsFrom(5, 9))).toEqual([5, 9]);
      expect(sizes(log.headsFrom(4, 1))).toEqual([5]);
    }));
});

it('an access that has ended reads nothing of the log', () => {
  const access = tenant.vault.lookup('test', (lookup) => lookup);
  for (const read of [
    () => log.newestBlock(access),
    () => log.blockAt(access, 0),
    () => log.blocksBefore(access, 9, 0, 9),
    () => log.blocksFrom(access, 0, 9, 9),
    () => log.wholeBlocks(access, 0, 9),
    () => log.newestHead(access),
    () => log.heads(access, 0, 9),
  ])
    expect(read).toThrow('this access has ended');
});

describe('the log of a cell', () => {
  it('keeps whole batches, and one head of each size with its frontier', () => {
    const rows = new LogRows(emptyCell());
    const block = { first_index: 0, events: 2, bytes: new Uint8Array([1, 2, 3]), leaves: new Uint8Array([4]) };
    rows.append(block, 77);
    rows.saveHead({ size: 2, at: 5, note: 'old' }, new Uint8Array([1]));
    rows.saveHead({ size: 2, at: 6, note: 'new' }, new Uint8Array([2]));
    rows.saveHead({ size: 4, at: 7, note: 'next' }, new Uint8Array([3]));
    looking((access) => {
      expect(rows.newestBlock(access)).toEqual({ first_index: 0, events: 2, last_at: 77, size: 3 });
      const [{ bytes, leaves, ...facts } = block] = rows.wholeBlocks(access, 0, 0);
      expect([facts, [...bytes], [...leaves]]).toEqual([{ first_index: 0, events: 2 }, [1, 2, 3], [4]]);
      expect(rows.heads(access, 0, 9)).toEqual([
        { size: 2, at: 6, note: 'new' },
        { size: 4, at: 7, note: 'next' },
      ]);
    });
    expect([...(rows.frontierAt(2) ?? [])]).toEqual([2]);
    expect([rows.frontierAt(3), [1, 2, 3, 4].map((size) => rows.signedSizeUpTo(size))]).toEqual([
      undefined,
      [undefined, 2, 2, 4],
    ]);
  });

  it('that is empty has neither blocks nor heads', () => {
    const rows = new LogRows(emptyCell());
    looking((access) => {
      expect([rows.newestBlock(access), rows.blockAt(access, 9), rows.newestHead(access), rows.headUpTo(9)]).toEqual(
        Array(4).fill(undefined),
      );
    });
    expect([rows.leavesFrom(5, 9, 9), rows.headsFrom(0, 9)]).toEqual([[], []]);
  });
});

function emptyCell(): Sql {
  const empty = openNodeSql(':memory:');
  migrate(empty, 'tenant', 1);
  return empty;
}
