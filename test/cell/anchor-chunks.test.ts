// The chunks of a map as they are stored and kept in memory: their ranges, their turns, what is refused of them and what they weigh.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Anchor } from '../../src/cell/anchor.ts';
import { ENTRY_BYTES, type Fingerprint } from '../../src/cell/anchor-chunk.ts';
import { ChunkMemory } from '../../src/cell/anchor-memory.ts';
import type { Row, Sql } from '../../src/cell/sql.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caughtCode } from '../kit/outcome.ts';
import { batch, begin, dump, fill, LOG, place, tagOf } from './anchor-cases.ts';

const SPACE = 2 ** 32;
const opened = (memory?: ChunkMemory) => begin(openNodeSql(':memory:'), 'ten_a', memory);
const setAll = (anchor: Anchor, places: readonly Fingerprint[], value: number) => {
  for (const one of places) anchor.set('token', one, tagOf(value));
};
const chunksOf = (sql: Sql) =>
  sql.all<{ start: number; bits: number; epoch: number; bytes: Uint8Array }>('SELECT * FROM anchor_chunk ORDER BY start');
const rewrittenAt = (sql: Sql, epoch: number) => chunksOf(sql).filter((chunk) => chunk.epoch === epoch).length;
const all = (count: number) => Array.from({ length: count }, (_, id) => id);
const validIn = (anchor: Anchor, count: number, value: number) =>
  all(count).filter((id) => anchor.isValid(place(anchor, id), tagOf(value))).length;
const evidenceOf = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return (error as { evidence?: unknown }).evidence;
  }
  return 'ok';
};

/** Checks that the stored chunks cover the space, each with its own entries in order. */
function expectOrder(sql: Sql): void {
  let next = 0;
  for (const { start, bits, bytes } of chunksOf(sql)) {
    expect(start).toBe(next);
    next = start + SPACE / 2 ** bits;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const words = Array.from({ length: bytes.byteLength / ENTRY_BYTES }, (_, i) => [view.getUint32(i * ENTRY_BYTES), view.getUint32(i * ENTRY_BYTES + 4)] as const); // biome-ignore format: one line
    for (const [high] of words) expect(high >= start && high < next).toBe(true);
    const sorted = words.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]);
    expect(words).toEqual(sorted);
    expect(words.length <= LIMITS.anchorChunkMaxEntries || bits === 32).toBe(true);
  }
  expect(next).toBe(SPACE);
}

function withMaxEntries<T>(count: number, work: () => T): T {
  const limits: { anchorChunkMaxEntries: number } = LIMITS;
  const { anchorChunkMaxEntries } = limits;
  limits.anchorChunkMaxEntries = count;
  try {
    return work();
  } finally {
    limits.anchorChunkMaxEntries = anchorChunkMaxEntries;
  }
}

const at = (high: number, low = 0): Fingerprint => ({ high, low });

describe('the stored chunks', () => {
  it('cover the space without gap or overlap, each with the entries of its range', () => {
    const { sql, anchor, reopen } = opened();
    fill(sql, anchor, 0, 1_500);
    expect(chunksOf(sql).length).toBeGreaterThan(3);
    const edges = chunksOf(sql).flatMap(({ start, bits }) => [at(start), at(start, 9), at(start + SPACE / 2 ** bits - 1, 9)]);
    for (let round = 2; round < 8; round++) batch(sql, anchor, () => setAll(anchor, edges, round));
    fill(sql, anchor, 0, 1_500, 2);
    expectOrder(sql);
    const again = reopen();
    for (const edge of edges) for (const map of [anchor, again]) expect(map.isValid(edge, tagOf(7))).toBe(true);
    for (const map of [anchor, again]) expect(validIn(map, 1_500, 2)).toBe(1_500);
  });

  it('are split in half until each is small enough, or of one value', () => {
    withMaxEntries(2, () => {
      const { sql, anchor, reopen } = opened();
      const same = [at(7, 1), at(7, 2), at(7, 3), at(7, 4)];
      for (const value of [1, 2]) batch(sql, anchor, () => setAll(anchor, [at(6), ...same, at(8)], value));
      for (let id = 0; id < 64; id++) batch(sql, anchor, () => anchor.set('token', same[id % 4] ?? at(7), tagOf(3 + id)));
      expectOrder(sql);
      expect(chunksOf(sql).find(({ start }) => start === 7)).toMatchObject({ bits: 32 });
      expect(chunksOf(sql).find(({ start }) => start === 7)?.bytes.byteLength).toBe(4 * ENTRY_BYTES);
      const again = reopen();
      expect(same.map((one, i) => again.isValid(one, tagOf(3 + 60 + i)))).toEqual([true, true, true, true]);
      expect([at(6), at(8)].map((one) => again.isValid(one, tagOf(2)))).toEqual([true, true]);
    });
  });

  it('are as full as the limit allows, and no fuller', () => {
    const small = opened();
    batch(small.sql, small.anchor, () => {
      for (let id = 0; id < LIMITS.anchorChunkMaxEntries; id++) small.anchor.set('token', place(small.anchor, id), tagOf(1));
    });
    expect(chunksOf(small.sql)).toHaveLength(1);
    fill(small.sql, small.anchor, LIMITS.anchorChunkMaxEntries, LIMITS.anchorChunkMaxEntries + 16);
    expect(chunksOf(small.sql)).toHaveLength(2);
  });

  it('are written whole at once when rows of an older build are adopted, with room for all or for one', () => {
    for (const memory of [new ChunkMemory(2 ** 30), new ChunkMemory(1)]) {
      const { sql, anchor, reopen } = opened(memory);
      sql.transaction(() => {
        anchor.begin('inc_b', LOG);
        for (let id = 0; id < 2_000; id++) anchor.set('token', place(anchor, id), tagOf(1));
        for (let id = 0; id < 2_000; id += 400) anchor.remove('token', place(anchor, id));
        for (let id = 1; id < 2_000; id += 400) anchor.set('token', place(anchor, id), tagOf(2));
        expect(anchor.has(place(anchor, 0))).toBe(false);
        anchor.flush(LOG);
      });
      anchor.afterCommit();
      expectOrder(sql);
      expect(dump(sql, 'anchor_journal')).toEqual([]);
      for (const map of [anchor, reopen()]) {
        expect([validIn(map, 2_000, 1), validIn(map, 2_000, 2), map.counts.get('token')]).toEqual([1_990, 5, 1_995]);
        expect(map.has(place(map, 400))).toBe(false);
      }
    }
  });

  it('go on in a new incarnation, with room for all or for one', () => {
    for (const memory of [new ChunkMemory(2 ** 30), new ChunkMemory(1)]) {
      const { sql, anchor, reopen } = opened(memory);
      fill(sql, anchor, 0, 1_500);
      batch(sql, anchor, () => anchor.restart('inc_b'));
      expect(chunksOf(sql).every(({ epoch }) => epoch === anchor.position.epoch)).toBe(true);
      fill(sql, anchor, 0, 1_500, 2);
      for (const map of [anchor, reopen()]) expect(validIn(map, 1_500, 2)).toBe(1_500);
      anchor.release();
    }
  });
});

describe('the turn of a chunk', () => {
  /** Batches of so many changes, and how many chunks each writes. */
  const written = (sizes: readonly number[], prepare: (sql: Sql, anchor: Anchor) => void, reopens = false) => {
    const bench = opened();
    prepare(bench.sql, bench.anchor);
    const anchor = reopens ? bench.reopen() : bench.anchor;
    return sizes.map((size) => {
      batch(bench.sql, anchor, () => {
        for (let id = 0; id < size; id++) anchor.set('token', place(anchor, id), tagOf(anchor.position.epoch % 250));
      });
      return rewrittenAt(bench.sql, anchor.position.epoch);
    });
  };
  const many = (sql: Sql, anchor: Anchor) => fill(sql, anchor, 0, 1_536);

  it('comes with each 16 changes, and what is left over counts for the next batch', () => {
    expect(written([15, 1, 15, 1], many)).toEqual([0, 1, 0, 1]);
    expect(written([24, 7, 1, 48, 8, 8], many)).toEqual([1, 0, 1, 3, 0, 1]);
    expect(written([15, 1, 24, 8], many, true)).toEqual([0, 1, 1, 1]);
  });

  it('counts from the first change of a map, and of a new incarnation', () => {
    expect(written([15, 1], () => {})).toEqual([0, 1]);
    const restart = (sql: Sql, anchor: Anchor) => {
      many(sql, anchor);
      batch(sql, anchor, () => anchor.set('token', place(anchor, 0), tagOf(9)));
      batch(sql, anchor, () => anchor.restart('inc_b'));
    };
    expect(written([15, 1], restart)).toEqual([0, 1]);
    const anew = (sql: Sql, anchor: Anchor) => {
      many(sql, anchor);
      batch(sql, anchor, () => anchor.set('token', place(anchor, 0), tagOf(9)));
      batch(sql, anchor, () => anchor.begin('inc_b', LOG));
    };
    expect(written([15, 1], anew)).toEqual([0, 1]);
  });

  it('leaves nothing for the next batch where all chunks were written', () => {
    expect(written([100, 12, 3, 1], () => {})).toEqual([1, 0, 0, 1]);
  });

  it('is that of the chunk that was written first, also after a restart', () => {
    const bench = opened();
    many(bench.sql, bench.anchor);
    for (const open of [() => bench.anchor, bench.reopen]) {
      const anchor = open();
      for (let round = 0; round < 6; round++) {
        const oldest = Math.min(...chunksOf(bench.sql).map(({ epoch }) => epoch));
        const before = rewrittenAt(bench.sql, oldest);
        batch(bench.sql, anchor, () => {
          for (let id = 0; id < 16; id++) anchor.set('token', place(anchor, id), tagOf(anchor.position.epoch % 250));
        });
        expect(rewrittenAt(bench.sql, oldest)).toBe(before - 1);
      }
    }
  });
});

describe('a stored chunk', () => {
  const CHANGED = 'anchor: a chunk differs from the directory';
  it.each([
    ['is gone', 'DELETE FROM anchor_chunk WHERE start = 0', CHANGED],
    ['states another length', 'UPDATE anchor_chunk SET bits = bits + 1 WHERE start = 0', CHANGED],
    ['states another epoch', 'UPDATE anchor_chunk SET epoch = epoch + 1 WHERE start = 0', CHANGED],
    [
      'has other entries',
      'UPDATE anchor_chunk SET bytes = zeroblob(length(bytes)) WHERE start = 0',
      'anchor: a chunk failed its check',
    ],
    ['has another MAC', 'UPDATE anchor_chunk SET mac = zeroblob(32) WHERE start = 0', 'anchor: a chunk failed its check'],
    [
      'names another key',
      "UPDATE anchor_chunk SET mac_key_id = 'key_of_nobody' WHERE start = 0",
      'anchor: a part of the map names no key of this cell',
    ],
  ])('that %s while the map is open is refused when it is loaded', (_what, change, evidence) => {
    const { sql, anchor } = opened();
    fill(sql, anchor, 0, 600);
    sql.run(change);
    expect(anchor.has(at(0, 5))).toBe(false);
    anchor.release();
    expect(evidenceOf(() => anchor.has(at(0, 5)))).toBe(evidence);
    expect(anchor.checkChunks()).toEqual({ chunks: chunksOf(sql).length + (/^DELETE/.test(change) ? 1 : 0), failed: 1 });
    expect(caughtCode(() => anchor.has(at(SPACE - 1)))).toBe('ok');
  });

  const GAP = 'anchor: chunks have a gap or overlap';
  it.each<[string, (sql: Sql) => void, string]>([
    ['the first one is gone', (sql) => sql.run('DELETE FROM anchor_chunk WHERE start = 0'), GAP],
    [
      'the last one is gone',
      (sql) => sql.run('DELETE FROM anchor_chunk WHERE start = (SELECT max(start) FROM anchor_chunk)'),
      GAP,
    ],
    ['there is none', (sql) => sql.run('DELETE FROM anchor_chunk'), GAP],
    ['one is longer', (sql) => sql.run('UPDATE anchor_chunk SET bits = bits - 1 WHERE start = 0'), GAP],
    ['one is shorter', (sql) => sql.run('UPDATE anchor_chunk SET bits = bits + 1 WHERE start = 0'), GAP],
    [
      'the last one is longer',
      (sql) => sql.run('UPDATE anchor_chunk SET bits = -1 WHERE start = (SELECT max(start) FROM anchor_chunk)'),
      GAP,
    ],
    ['one lies behind the end', (sql) => sql.run('INSERT INTO anchor_chunk SELECT 4294967296, 2000, epoch, bytes, mac, mac_key_id FROM anchor_chunk WHERE start = 0'), GAP], // biome-ignore format: one line
    ['one states an epoch of another history', (sql) => sql.run('UPDATE anchor_chunk SET epoch = 99999 WHERE start = 0'), 'anchor: a chunk of another history'], // biome-ignore format: one line
  ])('is refused at open where %s', (_what, change, evidence) => {
    const { sql, anchor, reopen } = opened();
    fill(sql, anchor, 0, 600);
    expect(chunksOf(sql).length).toBeGreaterThan(1);
    change(sql);
    expect(evidenceOf(reopen)).toBe(evidence);
  });

  it('that cannot be read fails the batch: it is not taken for damaged', () => {
    const { sql, anchor } = opened();
    fill(sql, anchor, 0, 64);
    anchor.release();
    const { get } = sql;
    const work = () =>
      batch(sql, anchor, () => {
        for (let id = 100; id < 116; id++) anchor.set('token', { high: id, low: 0 }, tagOf(1));
      });
    let isBroken = false;
    sql.get = <R extends object = Row>(
      text: string,
      ...values: Parameters<Sql['get']> extends [string, ...infer V] ? V : never
    ) => {
      if (isBroken && text.includes('anchor_chunk')) throw new RangeError('the disk');
      return get.call(sql, text, ...values) as R | undefined;
    };
    isBroken = true;
    expect(work).toThrow(RangeError);
    isBroken = false;
    anchor.afterRollback();
    work();
    expect(anchor.isValid({ high: 100, low: 0 }, tagOf(1))).toBe(true);
  });

  it('that is damaged keeps its former key, and the others move to the active one', () => {
    const { sql, anchor, keyring, reopen } = opened();
    fill(sql, anchor, 0, 1_500);
    const old = keyring.macKey().keyId;
    const count = chunksOf(sql).length;
    sql.run('UPDATE anchor_chunk SET bytes = zeroblob(length(bytes)) WHERE start = 0');
    anchor.release();
    const next = fakeTurn(keyring);
    expect([anchor.countUnder(), anchor.countUnder(old)]).toEqual([count + 1, count + 1]);
    let done = 0;
    batch(sql, anchor, () => {
      done = anchor.reseal(99);
      expect(anchor.reseal(99)).toBe(0);
    });
    expect(done).toBe(count);
    expect([anchor.countUnder(), anchor.countUnder(old), anchor.countUnder(next)]).toEqual([1, 1, count]);
    expect(reopen().checkChunks()).toEqual({ chunks: count, failed: 1 });
  });
});

/** Another active key for MACs, beside the former one. */
function fakeTurn(keyring: ReturnType<typeof begin>['keyring']): string {
  const { macKey } = keyring;
  const former = macKey.call(keyring);
  const other = keyring.current('backup');
  keyring.macKey = (keyId) => (keyId === former.keyId ? former : { keyId: other.id, key: other.key });
  return other.id;
}

describe('the memory of loaded chunks', () => {
  it('is counted as it is, after each batch', () => {
    const memory = new ChunkMemory(2 ** 30);
    const { sql, anchor } = opened(memory);
    fill(sql, anchor, 0, 1_536);
    const touch = () => {
      for (const { start } of chunksOf(sql)) anchor.has(at(start));
      return memory.bytes;
    };
    const loaded = touch();
    expect(loaded).toBeGreaterThan(1_536 * ENTRY_BYTES);
    // All into one chunk, before its turn comes: it grows in memory.
    for (let round = 0; round < 12; round++) {
      batch(sql, anchor, () => {
        for (let i = 0; i < 15; i++) anchor.set('token', at(SPACE - 1, round * 100 + i), tagOf(1));
      });
      expect(memory.bytes).toBe(touch());
    }
    expect(memory.bytes).toBeGreaterThan(loaded);
    batch(sql, anchor, () => anchor.restart('inc_b'));
    expect(memory.bytes).toBe(touch());
    anchor.release();
    expect(memory.bytes).toBe(0);
    touch();
    expect(memory.bytes).toBeGreaterThan(loaded);
  });

  it('holds a map that is not stored yet, whatever is released', () => {
    const { sql, anchor } = opened(new ChunkMemory(1));
    sql.transaction(() => {
      anchor.begin('inc_b', LOG);
      for (let id = 0; id < 100; id++) anchor.set('token', place(anchor, id), tagOf(1));
      anchor.release();
      anchor.flush(LOG);
    });
    anchor.afterCommit();
    expect(validIn(anchor, 100, 1)).toBe(100);
  });
});
