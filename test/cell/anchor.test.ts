// The map of a cell on Node (anchor-cases.ts), and its head: what is written when, what follows a batch that was lost, and what is refused at open.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { Anchor } from '../../src/cell/anchor.ts';
import { ChunkMemory } from '../../src/cell/anchor-memory.ts';
import type { Row, Sql } from '../../src/cell/sql.ts';
import { FrameWriter } from '../../src/crypto/framing.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caughtCode } from '../kit/outcome.ts';
import { anchorCases, batch, begin, dump, fill, LOG, place, restore, tagOf } from './anchor-cases.ts';

anchorCases(async (use) => use(openNodeSql(':memory:')), 45);

const opened = () => begin(openNodeSql(':memory:'));
const headOf = (sql: Sql) => dump(sql, 'anchor_head')[0] as Row;
const changesOf = (sql: Sql, work: () => void): number => {
  const count = () => Number(sql.get('SELECT total_changes() AS n')?.['n']);
  const before = count();
  work();
  return count() - before;
};
const set = (sql: Sql, anchor: Anchor, id: number, value: number) =>
  batch(sql, anchor, () => anchor.set('token', place(anchor, id), tagOf(value)));
const evidenceOf = (work: () => unknown): unknown => {
  try {
    work();
  } catch (error) {
    return (error as { evidence?: unknown }).evidence;
  }
  return 'ok';
};
const log = (size: number, stateSequence = size) => ({ size, stateSequence, frontier: new Uint8Array(8).fill(size) });
/** A batch of the log, with or without a change of rows. */
const logged = (sql: Sql, anchor: Anchor, next: ReturnType<typeof log>, work = () => {}) => {
  sql.transaction(() => {
    work();
    anchor.flush(next);
  });
  anchor.afterCommit();
};
const lost = (sql: Sql, anchor: Anchor, work: () => void) => {
  expect(() =>
    sql.transaction(() => {
      work();
      throw new RangeError('lost');
    }),
  ).toThrow(RangeError);
  anchor.afterRollback();
};

describe('the place of a row in the map', () => {
  it('is a hash over salt, table and id, with the type of each part', () => {
    const { sql, anchor } = opened();
    const salt = headOf(sql)['salt'] as Uint8Array;
    expect(salt).toHaveLength(16);
    const expected = (write: (frames: FrameWriter) => FrameWriter) => {
      const framed = write(new FrameWriter().raw(salt).text('run_step').u8(0)).bytes();
      const digest = createHash('sha256').update(framed).digest();
      return { high: digest.readUInt32BE(0), low: digest.readUInt32BE(4) };
    };
    const bytes = Uint8Array.of(1, 2);
    expect(anchor.fingerprint('run_step', ['run_a', 7])).toEqual(expected((frames) => frames.u8(1).text('run_a').u8(2).f64(7)));
    expect(anchor.fingerprint('run_step', [bytes, null])).toEqual(expected((frames) => frames.u8(3).blob(bytes).u8(3).blob(new Uint8Array(0)))); // biome-ignore format: one line
  });

  it('takes a tag of which every byte counts, and no more of it than 16', () => {
    const { sql, anchor } = opened();
    const tag = new Uint8Array(32).fill(7);
    batch(sql, anchor, () => anchor.set('token', place(anchor, 1), tag));
    expect(anchor.isValid(place(anchor, 1), tag)).toBe(true);
    expect(anchor.isValid(place(anchor, 1), new Uint8Array(16).fill(7))).toBe(true);
    for (let at = 0; at < 16; at++) {
      const other = Uint8Array.from(tag);
      other[at] = 8;
      expect(anchor.isValid(place(anchor, 1), other), String(at)).toBe(false);
    }
    expect(changesOf(sql, () => batch(sql, anchor, () => anchor.set('token', place(anchor, 1), tag)))).toBe(0);
    expect(anchor.isValid(place(anchor, 2), tag)).toBe(false);
  });
});

describe('a batch', () => {
  it('sees its own changes before it is committed', () => {
    const { sql, anchor } = opened();
    set(sql, anchor, 1, 1);
    batch(sql, anchor, () => {
      expect(anchor.mark()).toBe(0);
      anchor.set('token', place(anchor, 1), tagOf(2));
      expect(anchor.isValid(place(anchor, 1), tagOf(2))).toBe(true);
      anchor.remove('token', place(anchor, 1));
      expect(anchor.has(place(anchor, 1))).toBe(false);
      anchor.remove('token', place(anchor, 1));
      expect(anchor.counts.get('token')).toBe(0);
      const mark = anchor.mark();
      expect(mark).toBe(2);
      anchor.set('token', place(anchor, 1), tagOf(3));
      anchor.set('run', anchor.fingerprint('run', ['run_a']), tagOf(1));
      expect([anchor.counts.get('token'), anchor.counts.get('run')]).toEqual([1, 1]);
      anchor.undoTo(mark);
      expect([anchor.has(place(anchor, 1)), anchor.counts.get('token'), anchor.counts.get('run')]).toEqual([false, 0, 0]);
      anchor.undoTo(1);
      expect(anchor.isValid(place(anchor, 1), tagOf(2))).toBe(true);
      anchor.undoTo(0);
      expect(anchor.isValid(place(anchor, 1), tagOf(1))).toBe(true);
    });
    expect([anchor.isValid(place(anchor, 1), tagOf(1)), anchor.mark()]).toEqual([true, 0]);
  });

  it('has a position ahead of the committed one once it is written', () => {
    const { sql, anchor } = opened();
    set(sql, anchor, 1, 1);
    const before = anchor.position;
    expect(anchor.staged).toBe(before);
    sql.transaction(() => {
      anchor.set('token', place(anchor, 2), tagOf(1));
      expect(anchor.staged).toBe(before);
      anchor.flush(LOG);
      expect(anchor.position).toBe(before);
      expect(anchor.staged.epoch).toBe(before.epoch + 1);
    });
    const { staged } = anchor;
    anchor.afterCommit();
    expect([anchor.position, anchor.staged]).toEqual([staged, staged]);
    expect(headOf(sql)).toMatchObject({ epoch: staged.epoch, chain: Buffer.from(staged.chain) });
  });

  it('that changes only the log writes only the head, and keeps what the head says of the map', () => {
    const { sql, anchor, reopen } = opened();
    fill(sql, anchor, 0, 100);
    const before = headOf(sql);
    expect(changesOf(sql, () => logged(sql, anchor, log(3)))).toBe(1);
    expect(anchor.log).toEqual(log(3));
    expect(changesOf(sql, () => logged(sql, anchor, log(3, 4)))).toBe(1);
    expect(changesOf(sql, () => logged(sql, anchor, log(3, 4)))).toBe(0);
    expect(changesOf(sql, () => logged(sql, anchor, log(5, 4)))).toBe(1);
    expect(headOf(sql)).toMatchObject({ size: 5, state_sequence: 4, epoch: before['epoch'], entries: before['entries'], start: before['start'] }); // biome-ignore format: one line
    const again = reopen();
    expect([again.log.size, again.log.stateSequence, again.counts.get('token')]).toEqual([5, 4, 100]);
    expect([...again.log.frontier]).toEqual([...log(5).frontier]);
    expect(again.position).toEqual({ epoch: anchor.position.epoch, chain: Buffer.from(anchor.position.chain) });
  });

  it('after one that changed rows keeps their count', () => {
    const { sql, anchor, reopen } = opened();
    logged(sql, anchor, log(1), () => anchor.set('token', place(anchor, 1), tagOf(1)));
    logged(sql, anchor, log(2), () => anchor.set('run', anchor.fingerprint('run', ['run_a']), tagOf(1)));
    logged(sql, anchor, log(3));
    expect([...reopen().counts]).toEqual([['token', 1], ['run', 1]]); // biome-ignore format: one line
  });

  it('keeps exactly the journal of the epochs after its start', () => {
    const { sql, anchor } = opened();
    for (let id = 0; id < 60; id++) {
      fill(sql, anchor, id * 7, id * 7 + 20, id + 1);
      const { start, epoch } = headOf(sql);
      const epochs = sql.all('SELECT epoch FROM anchor_journal ORDER BY epoch').map((row) => row['epoch']);
      expect(epochs).toEqual(Array.from({ length: Number(epoch) - Number(start) }, (_, i) => Number(start) + 1 + i));
    }
  });
});

describe('the time of the map', () => {
  it('rises only, unless the operator declared it wrong, and is written with the next change', () => {
    const { sql, anchor, reopen } = opened();
    anchor.raiseTime(500);
    anchor.raiseTime(400);
    expect(anchor.timeAt).toBe(500);
    expect(reopen().timeAt).toBe(0);
    set(sql, anchor, 1, 1);
    expect(reopen().timeAt).toBe(500);
    anchor.resetTime(300);
    expect(anchor.timeAt).toBe(300);
    logged(sql, anchor, log(1));
    expect(reopen().timeAt).toBe(300);
    lost(sql, anchor, () => anchor.raiseTime(900));
    expect(anchor.timeAt).toBe(300);
  });
});

describe('a batch whose outcome is not known', () => {
  it('counts as the stored head says, whether it changed rows or the log', () => {
    const { sql, anchor, reopen } = opened();
    set(sql, anchor, 1, 1);
    sql.transaction(() => {
      anchor.set('token', place(anchor, 2), tagOf(2));
      anchor.flush(log(1));
    });
    // The commit went through, but the driver threw.
    anchor.afterRollback();
    expect([anchor.isValid(place(anchor, 2), tagOf(2)), anchor.log.size, anchor.mark()]).toEqual([true, 1, 0]);
    expect(anchor.position.epoch).toBe(Number(headOf(sql)['epoch']));
    sql.transaction(() => anchor.flush(log(2)));
    anchor.afterRollback();
    expect(anchor.log).toEqual({ ...log(2), frontier: Buffer.from(log(2).frontier) });
    lost(sql, anchor, () => {
      anchor.set('token', place(anchor, 3), tagOf(3));
      anchor.flush(log(3));
    });
    expect([anchor.has(place(anchor, 3)), anchor.log.size, anchor.counts.get('token'), anchor.mark()]).toEqual([false, 2, 2, 0]);
    lost(sql, anchor, () => anchor.flush(log(4)));
    expect([anchor.log.size, anchor.staged]).toEqual([2, anchor.position]);
    logged(sql, anchor, log(3), () => anchor.set('token', place(anchor, 4), tagOf(4)));
    const again = reopen();
    expect([1, 2, 3, 4].map((id) => again.has(place(again, id)))).toEqual([true, true, false, true]);
  });

  /** The head after one more batch of a copy of this map. */
  const headOfBranch = (sql: Sql, anchor: Anchor, reopen: () => Anchor, next: ReturnType<typeof log>, id: number | undefined) => {
    const before = ['anchor_head', 'anchor_journal', 'anchor_chunk'].map((table) => [table, dump(sql, table)] as const);
    const other = reopen();
    logged(sql, other, next, () => {
      if (id !== undefined) other.set('token', place(anchor, id), tagOf(9));
    });
    const head = dump(sql, 'anchor_head');
    for (const [table, rows] of before) restore(sql, table, rows);
    return head;
  };

  it.each<[string, { size: number; id: number | undefined }]>([
    ['another chain at the same epoch', { size: 2, id: 77 }],
    ['another size of the log', { size: 3, id: undefined }],
  ])('is refused when the head is of neither: it has %s', (_what, { size, id }) => {
    const { sql, anchor, reopen } = opened();
    logged(sql, anchor, log(1), () => anchor.set('token', place(anchor, 1), tagOf(1)));
    const head = headOfBranch(sql, anchor, reopen, log(size), id);
    sql.transaction(() => {
      anchor.set('token', place(anchor, 2), tagOf(2));
      anchor.flush(log(2));
    });
    restore(sql, 'anchor_head', head);
    expect(evidenceOf(() => anchor.afterRollback())).toBe('anchor: the head changed while the cell was open');
  });

  it('is refused when the head was replaced by one of the same epoch before it', () => {
    const { sql, anchor, reopen } = opened();
    logged(sql, anchor, log(1), () => anchor.set('token', place(anchor, 1), tagOf(1)));
    const head = headOfBranch(sql, anchor, reopen, log(2), 77);
    logged(sql, anchor, log(2), () => anchor.set('token', place(anchor, 2), tagOf(2)));
    restore(sql, 'anchor_head', head);
    expect(evidenceOf(() => anchor.afterRollback())).toBe('anchor: the head changed while the cell was open');
  });
});

describe('a map that begins', () => {
  it('has nothing of what was there before', () => {
    const { sql, anchor, reopen } = opened();
    fill(sql, anchor, 0, 40);
    anchor.notePublished(anchor.position);
    lost(sql, anchor, () => anchor.set('token', place(anchor, 99), tagOf(1)));
    const { position, incarnationId } = anchor;
    sql.transaction(() => {
      anchor.begin('inc_b', log(7));
      expect([anchor.position.epoch, anchor.publishedEpoch, anchor.counts.size, anchor.mark(), anchor.log]).toEqual([
        0,
        0,
        0,
        0,
        log(7),
      ]);
      expect(anchor.position.chain).not.toEqual(position.chain);
      anchor.set('token', place(anchor, 1), tagOf(5));
      anchor.flush(log(7));
    });
    anchor.afterCommit();
    expect([incarnationId, anchor.incarnationId, reopen().incarnationId]).toEqual(['inc_a', 'inc_b', 'inc_b']);
    for (const map of [anchor, reopen()]) {
      expect([map.counts.get('token'), map.has(place(map, 1)), map.has(place(map, 2)), map.position.epoch]).toEqual([
        1,
        true,
        false,
        0,
      ]);
      expect([map.publishedEpoch, map.log.size]).toEqual([0, 7]);
    }
    expect([dump(sql, 'anchor_journal'), dump(sql, 'anchor_chunk').length]).toEqual([[], 1]);
  });

  it('has a head from then on', () => {
    const sql = openNodeSql(':memory:');
    const { keyring } = begin(sql);
    expect(Anchor.exists(sql)).toBe(true);
    sql.run('DELETE FROM anchor_head');
    expect(Anchor.exists(sql)).toBe(false);
    const anchor = new Anchor(sql, keyring, new ChunkMemory(1));
    expect(evidenceOf(() => anchor.open())).toBe('anchor: the head is missing');
    expect(caughtCode(() => anchor.has({ high: 1, low: 1 }))).toBe('integrity');
  });

  it('again as another incarnation is one epoch further on another chain, and its witness has nothing yet', () => {
    const { sql, anchor, reopen } = opened();
    fill(sql, anchor, 0, 40);
    anchor.notePublished(anchor.position);
    batch(sql, anchor, () => {});
    const before = anchor.position;
    batch(sql, anchor, () => anchor.restart('inc_b'));
    for (const map of [anchor, reopen()]) {
      expect([map.position.epoch, map.publishedEpoch, map.incarnationId, map.counts.get('token')]).toEqual([
        before.epoch + 1,
        0,
        'inc_b',
        40,
      ]);
      expect(map.position.chain).not.toEqual(before.chain);
    }
    const framed = new FrameWriter().text('keyturn-anchor-restore-v1').blob(before.chain).text('inc_b').bytes();
    expect(Buffer.from(anchor.position.chain)).toEqual(createHash('sha256').update(framed).digest());
  });
});

describe('the position that the witness has', () => {
  const firstEpoch = (sql: Sql) => Number(sql.get('SELECT min(epoch) AS epoch FROM anchor_journal')?.['epoch']);
  const withJournalBytes = <T>(bytes: number, work: () => T): T => {
    const limits: { anchorJournalMaxBytes: number } = LIMITS;
    const { anchorJournalMaxBytes } = limits;
    limits.anchorJournalMaxBytes = bytes;
    try {
      return work();
    } finally {
      limits.anchorJournalMaxBytes = anchorJournalMaxBytes;
    }
  };

  it('is remembered, rises only, and is kept in the journal from the first epoch on', () => {
    const { sql, anchor, reopen } = opened();
    expect([anchor.publishedEpoch, reopen().publishedEpoch]).toEqual([0, 0]);
    fill(sql, anchor, 0, 40);
    const first = anchor.position;
    expect(first.epoch).toBe(1);
    anchor.notePublished(first);
    for (let round = 2; round < 30; round++) fill(sql, anchor, 0, 40, round);
    expect(firstEpoch(sql)).toBe(2);
    anchor.notePublished({ epoch: 0, chain: first.chain });
    for (const map of [anchor, reopen()]) expect(map.publishedEpoch).toBe(1);
    expect(reopen().open(1)).toEqual(Buffer.from(first.chain));
    anchor.notePublished(anchor.position);
    batch(sql, anchor, () => {});
    // The start moved, although no row changed.
    expect(Number(headOf(sql)['start'])).toBeGreaterThan(1);
    expect(reopen().publishedEpoch).toBe(anchor.position.epoch);
  });

  const BEGINNINGS: Readonly<Record<string, (anchor: Anchor) => void>> = {
    'of a new map': () => {},
    'of a map that was begun again': (anchor) => anchor.begin('inc_b', LOG),
    'of a new incarnation': (anchor) => anchor.restart('inc_b'),
  };
  it.each(Object.entries(BEGINNINGS))(
    'is given up exactly when the journal %s reaches its limit, in memory as after a restart',
    (_what, beginning) => {
      for (const reopens of [false, true]) {
        for (const over of [0, 1]) {
          const bench = opened();
          for (let id = 0; id < 15; id++) set(bench.sql, bench.anchor, id, 1);
          batch(bench.sql, bench.anchor, () => beginning(bench.anchor));
          fill(bench.sql, bench.anchor, 0, 40, 8);
          bench.anchor.notePublished(bench.anchor.position);
          // Cuts the journal in between, so that its length is what was written less what was cut.
          fill(bench.sql, bench.anchor, 0, 40, 2);
          bench.anchor.notePublished(bench.anchor.position);
          for (let round = 3; round < 9; round++) fill(bench.sql, bench.anchor, 0, 40, round);
          const anchor = reopens ? bench.reopen() : bench.anchor;
          const first = firstEpoch(bench.sql);
          expect(first).toBe(bench.anchor.publishedEpoch + 1);
          const length = Number(bench.sql.get('SELECT sum(length(ops)) AS n FROM anchor_journal')?.['n']);
          withJournalBytes(length + over, () => fill(bench.sql, anchor, 0, 40, 9));
          if (over === 1) expect(firstEpoch(bench.sql)).toBe(first);
          else expect(Number(headOf(bench.sql)['start'])).toBeGreaterThan(first);
        }
      }
    },
  );

  it('is replaced by the start of the journal when that was cut past it, and is none without a witness', () => {
    const { sql, anchor, reopen } = opened();
    fill(sql, anchor, 0, 40);
    anchor.notePublished(anchor.position);
    withJournalBytes(1, () => {
      for (let round = 2; round < 9; round++) fill(sql, anchor, 0, 40, round);
    });
    expect(headOf(sql)).toMatchObject({ published: 1 });
    expect(reopen().publishedEpoch).toBe(Number(headOf(sql)['start']));
    const quiet = opened();
    for (let round = 2; round < 9; round++) fill(quiet.sql, quiet.anchor, 0, 40, round);
    expect(Number(headOf(quiet.sql)['start'])).toBeGreaterThan(0);
    expect(quiet.reopen().publishedEpoch).toBe(0);
  });

  it('is found in the journal at open, as far back as it goes', () => {
    const { sql, anchor, reopen } = opened();
    const positions = [anchor.position];
    for (let round = 1; round < 30; round++) {
      fill(sql, anchor, 0, 5, round);
      positions.push(anchor.position);
    }
    const { start } = headOf(sql);
    expect(Number(start)).toBeGreaterThan(1);
    for (const { epoch, chain } of positions) {
      const found = reopen().open(epoch);
      expect(found, String(epoch)).toEqual(epoch < Number(start) ? undefined : Buffer.from(chain));
    }
    expect(reopen().open(anchor.position.epoch + 1)).toBeUndefined();
    expect(reopen().open()).toBeUndefined();
    expect(opened().reopen().open()).toHaveLength(32);
  });
});

describe('a map that does not open', () => {
  const LAST = 'WHERE epoch = (SELECT max(epoch) FROM anchor_journal)';
  it.each([
    ['the head has another MAC', 'UPDATE anchor_head SET mac = zeroblob(32)', 'the head failed its check'],
    ['the head says another time', 'UPDATE anchor_head SET time_at = time_at + 1', 'the head failed its check'],
    ['the head counts other rows', "UPDATE anchor_head SET entries = '{}'", 'the head failed its check'],
    ['the head has another salt', 'UPDATE anchor_head SET salt = zeroblob(16)', 'the head failed its check'],
    [
      'the head names no key',
      "UPDATE anchor_head SET mac_key_id = 'key_of_nobody'",
      'a part of the map names no key of this cell',
    ],
    ['the head is gone', 'DELETE FROM anchor_head', 'the head is missing'],
    ['the journal lacks its last epoch', `DELETE FROM anchor_journal ${LAST}`, 'the journal does not lead to the head'],
    [
      'the journal lacks its first epoch',
      'DELETE FROM anchor_journal WHERE epoch = (SELECT min(epoch) FROM anchor_journal)',
      'the journal has a gap',
    ],
    [
      'the journal goes on',
      'INSERT INTO anchor_journal SELECT max(epoch) + 1, ops FROM anchor_journal',
      'the journal does not lead to the head',
    ],
    [
      'an epoch was changed',
      `UPDATE anchor_journal SET ops = zeroblob(length(ops)) ${LAST}`,
      'the journal does not lead to the head',
    ],
    ['an epoch is empty', `UPDATE anchor_journal SET ops = x'' ${LAST}`, 'the journal has an incomplete change'],
    [
      'an epoch has half a change',
      `UPDATE anchor_journal SET ops = zeroblob(12) ${LAST}`,
      'the journal has an incomplete change',
    ],
  ])('says why: %s', (_what, change, evidence) => {
    const { sql, anchor, reopen } = opened();
    fill(sql, anchor, 0, 1_500);
    for (const id of [1, 2, 3]) set(sql, anchor, id, 9);
    expect(dump(sql, 'anchor_journal').length).toBeGreaterThan(3);
    expect(evidenceOf(reopen)).toBe('ok');
    sql.run(change);
    expect(evidenceOf(reopen)).toBe(`anchor: ${evidence}`);
  });
});
