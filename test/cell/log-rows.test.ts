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
