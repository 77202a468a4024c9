// What the map of a cell promises, on any database: a model is asked the same questions as the map, through lost batches, undone savepoints
// and restarts; and each way to put an old part of it back is refused.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { Anchor } from '../../src/cell/anchor.ts';
import { ENTRY_BYTES } from '../../src/cell/anchor-chunk.ts';
import { ChunkMemory } from '../../src/cell/anchor-memory.ts';
import { Keyring } from '../../src/cell/keyring.ts';
import { migrate } from '../../src/cell/migrations.ts';
import type { Row, Sql } from '../../src/cell/sql.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { caughtCode } from '../kit/outcome.ts';

type OpenSql = (use: (sql: Sql) => Promise<void> | void) => Promise<void>;

const NOW_MS = Date.UTC(2026, 0, 2);
export const LOG = { size: 0, stateSequence: 0, frontier: new Uint8Array(8) };
const root = RootKeys.of(RootKey.of(Uint8Array.from({ length: 32 }, (_, i) => i + 1)));
const entropy = { bytes: (count: number) => crypto.getRandomValues(new Uint8Array(count)), fraction: () => 0.5 };

export interface Bench {
  readonly sql: Sql;
  readonly anchor: Anchor;
  readonly keyring: Keyring;
  reopen(): Anchor;
}

export function begin(sql: Sql, cellId = 'ten_a', memory: ChunkMemory = new ChunkMemory(2 ** 30)): Bench {
  migrate(sql, 'tenant', NOW_MS);
  const keyring = new Keyring(sql, root, newErasureKey(), { installationId: 'ins_a', cellId }).load();
  keyring.createMissing({ now: () => NOW_MS }, entropy);
  const anchor = new Anchor(sql, keyring, memory);
  sql.transaction(() => {
    anchor.begin('inc_a', LOG);
    anchor.flush(LOG);
  });
  anchor.afterCommit();
  const reopen = () => {
    const again = new Anchor(sql, keyring, memory);
    again.open();
    return again;
  };
  return { sql, anchor, keyring, reopen };
}

export const tagOf = (value: number) => Uint8Array.from({ length: 16 }, (_, i) => ((value >> (i % 4)) + i * 7 + 1) % 256);
export const place = (anchor: Anchor, id: number) => anchor.fingerprint('token', [`tok_${id}`]);

export function batch(sql: Sql, anchor: Anchor, work: () => void): void {
  sql.transaction(() => {
    work();
    anchor.flush(LOG);
  });
  anchor.afterCommit();
}

export function fill(sql: Sql, anchor: Anchor, from: number, to: number, value = 1): void {
  for (let at = from; at < to; at += 64)
    batch(sql, anchor, () => {
      for (let id = at; id < Math.min(at + 64, to); id++) anchor.set('token', place(anchor, id), tagOf(value));
    });
}

export const dump = (sql: Sql, table: string): Row[] => sql.all(`SELECT * FROM ${table}`);

export function restore(sql: Sql, table: string, rows: readonly Row[]): void {
  sql.run(`DELETE FROM ${table}`);
  for (const row of rows) {
    const names = Object.keys(row);
    const marks = names.map(() => '?').join(', ');
    sql.run(`INSERT INTO ${table} (${names.join(', ')}) VALUES (${marks})`, ...names.map((name) => row[name] ?? null));
  }
}

type Step =
  | { kind: 'set' | 'remove'; id: number; value: number }
  | { kind: 'savepoint'; ids: number[]; keep: boolean }
  | { kind: 'commit' | 'lose' | 'restart' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('set' as const), id: fc.nat(900), value: fc.nat(50) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), id: fc.nat(900), value: fc.constant(0) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('savepoint' as const), ids: fc.array(fc.nat(900), { maxLength: 6 }), keep: fc.boolean() }) }, // biome-ignore format: one line
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'lose' as const, 'restart' as const) }) },
);

/** Plays the steps against a Map; what is open at the end is committed. */
function play(bench: Bench, steps: readonly Step[], known: Map<number, number>): void {
  let { anchor } = bench;
  let model = new Map(known);
  let pending: Step[] = [];
  const change = (ids: readonly number[], value: number | undefined) => {
    for (const id of ids) {
      if (value === undefined) anchor.remove('token', place(anchor, id));
      else anchor.set('token', place(anchor, id), tagOf(value));
      if (value === undefined) model.delete(id);
      else model.set(id, value);
    }
  };
  const run = (one: Step) => {
    if (one.kind === 'set') change([one.id], one.value);
    if (one.kind === 'remove') change([one.id], undefined);
    if (one.kind !== 'savepoint') return;
    const mark = anchor.mark();
    const before = new Map(model);
    change(one.ids, 99);
    if (one.keep) return;
    anchor.undoTo(mark);
    model = before;
  };
  const end = (lose: boolean) => {
    const before = new Map(model);
    try {
      bench.sql.transaction(() => {
        for (const one of pending) run(one);
        anchor.flush(LOG);
        if (lose) throw new RangeError('lost');
      });
      anchor.afterCommit();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      anchor.afterRollback();
      model = before;
    }
    pending = [];
  };
  for (const one of [...steps, { kind: 'commit' } as const]) {
    if (one.kind === 'commit' || one.kind === 'lose') end(one.kind === 'lose');
    else if (one.kind === 'restart') anchor = restarted(bench, end);
    else pending.push(one);
  }
  for (const id of Array.from({ length: 901 }, (_, i) => i)) {
    const value = model.get(id);
    expect(anchor.has(place(anchor, id)), `tok_${id}`).toBe(value !== undefined);
    if (value !== undefined) expect(anchor.isValid(place(anchor, id), tagOf(value)), `tok_${id}`).toBe(true);
  }
  expect(anchor.counts.get('token') ?? 0).toBe(model.size);
}

function restarted(bench: Bench, end: (lose: boolean) => void): Anchor {
  end(false);
  return bench.reopen();
}

/** `open` gives a fresh empty database each time. */
export function anchorCases(open: OpenSql, runs: number): void {
  describe('the map of a cell', () => {
    it('says what a plain map says, through savepoints, lost batches and restarts, with room for all chunks or for one', async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.constantFrom(2 ** 30, 2 ** 30, 1), (steps, bytes) =>
          open((sql) => {
            const bench = begin(sql, 'ten_a', new ChunkMemory(bytes));
            fill(sql, bench.anchor, 0, 700);
            play(bench, steps, new Map(Array.from({ length: 700 }, (_, id) => [id, 1])));
          }),
        ),
        { numRuns: runs },
      );
    });

    it('splits its chunks as it grows, and keeps a journal no longer than its chunks need', async () => {
      await open((sql) => {
        const { anchor, reopen } = begin(sql);
        fill(sql, anchor, 0, 3_000);
        const chunks = dump(sql, 'anchor_chunk').length;
        expect(chunks).toBeGreaterThan(5);
        for (let round = 2; round < 5; round++) fill(sql, anchor, 0, 3_000, round);
        expect(dump(sql, 'anchor_journal').length).toBeLessThan(chunks * 2);
        const again = reopen();
        for (let id = 0; id < 3_000; id++) expect(again.isValid(place(again, id), tagOf(4))).toBe(true);
        expect(again.counts.get('token')).toBe(3_000);
      });
    });

    it('goes on as before after a new incarnation: each chunk is written in its turn and the journal stays short', async () => {
      await open((sql) => {
        const bench = begin(sql);
        fill(sql, bench.anchor, 0, 1_500);
        bench.anchor.restart('inc_b');
        expect(dump(sql, 'anchor_head')[0]?.['incarnation_id']).toBe('inc_a');
        batch(sql, bench.anchor, () => {});
        expect(dump(sql, 'anchor_head')[0]?.['incarnation_id']).toBe('inc_b');
        expect(dump(sql, 'anchor_journal')).toEqual([]);
        const chunks = dump(sql, 'anchor_chunk').length;
        for (let round = 2; round < 5; round++) fill(sql, bench.anchor, 0, 1_500, round);
        expect(dump(sql, 'anchor_journal').length).toBeLessThan(chunks * 2);
        const again = bench.reopen();
        for (let id = 0; id < 1_500; id++) expect(again.isValid(place(again, id), tagOf(4))).toBe(true);
        expect(again.checkChunks().failed).toBe(0);
      });
    });

    it('keeps the journal as far back as what the witness has', async () => {
      await open((sql) => {
        const { anchor } = begin(sql);
        fill(sql, anchor, 0, 640);
        const seen = anchor.position;
        anchor.notePublished(seen);
        for (let round = 2; round < 6; round++) fill(sql, anchor, 0, 640, round);
        const first = Number(sql.get('SELECT min(epoch) AS epoch FROM anchor_journal')?.['epoch']);
        expect(first).toBe(seen.epoch + 1);
      });
    });

    it('cuts a journal past its limit, also if the witness has an earlier position', async () => {
      const limits: { anchorJournalMaxBytes: number } = LIMITS;
      const { anchorJournalMaxBytes } = limits;
      limits.anchorJournalMaxBytes = 640 * ENTRY_BYTES;
      try {
        await open((sql) => {
          const { anchor, reopen } = begin(sql);
          fill(sql, anchor, 0, 640);
          const seen = anchor.position;
          anchor.notePublished(seen);
          const first = () => Number(sql.get('SELECT min(epoch) AS epoch FROM anchor_journal')?.['epoch']);
          fill(sql, anchor, 0, 576, 2);
          expect(first()).toBe(seen.epoch + 1);
          for (let round = 3; round < 6; round++) fill(sql, anchor, 0, 640, round);
          expect(first()).toBeGreaterThan(seen.epoch + 1);
          expect(reopen().isValid(place(anchor, 7), tagOf(5))).toBe(true);
        });
      } finally {
        limits.anchorJournalMaxBytes = anchorJournalMaxBytes;
      }
    });

    it('writes one chunk for each 16 changes, also after a batch with more changes than its chunks ask for', async () => {
      await open((sql) => {
        const { anchor } = begin(sql);
        fill(sql, anchor, 0, 1_500);
        const rewritten = new Set<unknown>();
        for (let id = 0; id < 48; id++) {
          batch(sql, anchor, () => anchor.set('token', place(anchor, id), tagOf(2)));
          for (const { epoch } of dump(sql, 'anchor_chunk')) if (epoch === anchor.position.epoch) rewritten.add(epoch);
        }
        expect(rewritten.size).toBe(3);
      });
    });

    it('writes its head once for a position that the witness has, and nothing in a batch without a change', async () => {
      await open((sql) => {
        const { anchor } = begin(sql);
        fill(sql, anchor, 0, 100);
        const changes = () => Number(sql.get('SELECT total_changes() AS n')?.['n']);
        const written = () => {
          const before = changes();
          batch(sql, anchor, () => {});
          return changes() - before;
        };
        expect(written()).toBe(0);
        anchor.notePublished(anchor.position);
        expect([written(), written()]).toEqual([1, 0]);
        anchor.notePublished(anchor.position);
        expect(written(), 'of a position that was known').toBe(0);
      });
    });

    it('raises its time and never lowers it', async () => {
      await open((sql) => {
        const { anchor, reopen } = begin(sql);
        for (const at of [NOW_MS, NOW_MS + 5, NOW_MS - 99]) {
          anchor.raiseTime(at);
          fill(sql, anchor, at % 7, (at % 7) + 1, at % 50);
        }
        expect(reopen().timeAt).toBe(NOW_MS + 5);
      });
    });
  });

  describe('loaded chunks past their budget', () => {
    const ROWS = 2_000;
    const BUDGET_BYTES = 30_000;
    const all = Array.from({ length: ROWS }, (_, id) => id);
    const valid = (anchor: Anchor, value: number) => all.filter((id) => anchor.isValid(place(anchor, id), tagOf(value)));

    it('go, of whatever map, and what the maps know is the same', async () => {
      await open((sql) => {
        const memory = new ChunkMemory(BUDGET_BYTES);
        const { anchor, reopen } = begin(sql, 'ten_a', memory);
        for (const value of [1, 2]) fill(sql, anchor, 0, ROWS, value);
        const again = reopen();
        for (const map of [anchor, again, anchor, again]) {
          expect(valid(map, 2)).toEqual(all);
          expect(memory.bytes).toBeLessThanOrEqual(BUDGET_BYTES);
        }
        expect(memory.bytes).toBeGreaterThan(BUDGET_BYTES / 2);
        const stored = Number(sql.get('SELECT sum(length(bytes)) AS n FROM anchor_chunk')?.['n']);
        expect(stored).toBeGreaterThan(BUDGET_BYTES);
        again.release();
        anchor.release();
        expect(memory.bytes).toBe(0);
      });
    });

    it('are verified again when they are loaded again', async () => {
      await open((sql) => {
        const { anchor } = begin(sql);
        fill(sql, anchor, 0, ROWS);
        expect(valid(anchor, 1)).toEqual(all);
        sql.run('UPDATE anchor_chunk SET bytes = zeroblob(length(bytes)) WHERE start = 0');
        // What is loaded is believed, and not what lies in the file.
        expect(valid(anchor, 1)).toEqual(all);
        anchor.release();
        const ends = all.map((id) => caughtCode(() => anchor.has(place(anchor, id))));
        expect(new Set(ends)).toEqual(new Set(['ok', 'integrity']));
        const inFirst = all.filter((_, i) => ends[i] === 'integrity').map((id) => place(anchor, id).high);
        const next = Number(sql.get('SELECT min(start) AS start FROM anchor_chunk WHERE start > 0')?.['start']);
        expect(Math.max(...inFirst)).toBeLessThan(next);
      });
    });

    it('are refused when an older one was put in the place of one that went', async () => {
      await open((sql) => {
        const { anchor } = begin(sql);
        fill(sql, anchor, 0, ROWS);
        const old = dump(sql, 'anchor_chunk');
        for (const value of [2, 3]) fill(sql, anchor, 0, ROWS, value);
        anchor.release();
        restore(sql, 'anchor_chunk', old);
        const ends = all.map((id) => caughtCode(() => anchor.has(place(anchor, id))));
        expect(new Set(ends)).toEqual(new Set(['integrity']));
      });
    });

    it('lose no change that is not written into them yet', async () => {
      await open((sql) => {
        const { anchor, reopen } = begin(sql, 'ten_a', new ChunkMemory(1));
        fill(sql, anchor, 0, ROWS);
        const changed = all.filter((id) => id % 400 === 0);
        const before = anchor.position.epoch;
        for (const id of changed) {
          batch(sql, anchor, () => {
            anchor.set('token', place(anchor, id), tagOf(9));
            // With room for one chunk, the changed one goes before the batch ends.
            for (const other of all.slice(0, 8)) anchor.has(place(anchor, other));
          });
        }
        const behind = Number(sql.get('SELECT count(*) AS n FROM anchor_chunk WHERE epoch <= ?', before)?.['n']);
        expect(behind).toBeGreaterThan(0);
        for (const map of [anchor, reopen()]) expect(valid(map, 9)).toEqual(changed);
        batch(sql, anchor, () => anchor.remove('token', place(anchor, 400)));
        anchor.release();
        expect(anchor.has(place(anchor, 400))).toBe(false);
      });
    });

    it('go in the order of their last use, whatever was used, dropped by its owner or grew', () => {
      const NAMES = ['a', 'b', 'c', 'd', 'e'];
      const use = fc.record({ name: fc.constantFrom(...NAMES), bytes: fc.integer({ min: 1, max: 12 }), isOver: fc.boolean() });
      fc.assert(
        fc.property(fc.array(use, { maxLength: 40 }), (steps) => {
          const dropped: string[] = [];
          const memory = new ChunkMemory(20);
          const chunks = new Map(
            NAMES.map((name) => [name, { held: 0, older: undefined, newer: undefined, drop: () => void dropped.push(name) }]),
          );
          let model: { name: string; bytes: number }[] = [];
          const total = () => model.reduce((sum, { bytes }) => sum + bytes, 0);
          for (const { name, bytes, isOver } of steps) {
            const gone: string[] = [];
            model = model.filter((one) => one.name !== name);
            if (isOver) memory.release(chunks.get(name)!);
            else {
              model.push({ name, bytes });
              while (total() > 20) gone.push(model.shift()?.name ?? '');
              memory.use(chunks.get(name)!, bytes);
            }
            expect(dropped.splice(0)).toEqual(gone);
            expect(memory.bytes).toBe(total());
          }
        }),
      );
    });

    it('go before those that were used since', () => {
      const dropped: string[] = [];
      const memory = new ChunkMemory(30);
      const [a, b, c, d] = ['a', 'b', 'c', 'd'].map((name) => ({
        held: 0,
        older: undefined,
        newer: undefined,
        drop: () => dropped.push(name),
      }));
      if (a === undefined || b === undefined || c === undefined || d === undefined) throw new Error('four were made');
      for (const one of [a, b, c]) memory.use(one, 10);
      memory.use(a, 10);
      memory.use(d, 10);
      expect(dropped).toEqual(['b']);
      memory.release(c);
      memory.use(b, 10);
      expect(dropped).toEqual(['b']);
      memory.use(b, 30);
      expect(dropped).toEqual(['b', 'a', 'd']);
      memory.use(b, 99);
      expect([dropped.length, memory.bytes]).toEqual([3, 99]);
    });
  });

  describe('a part of the map put back', () => {
    const TABLES = ['anchor_head', 'anchor_journal', 'anchor_chunk'] as const;
    /** What the map says of row 7 afterwards: `old`, `new`, or that it refuses to. */
    const lookAfter = (bench: Bench): string => {
      let verdict = 'ok';
      const code = caughtCode(() => {
        const again = bench.reopen();
        const at = place(again, 7);
        verdict = again.isValid(at, tagOf(2)) ? 'new' : again.isValid(at, tagOf(1)) ? 'old' : 'neither';
      });
      return code === 'ok' ? verdict : code;
    };

    for (const parts of [1, 2, 3, 4, 5, 6]) {
      const names = TABLES.filter((_, i) => ((parts >> i) & 1) === 1);
      it(`(${names.join(', ')}) brings no old row back beside what stays new`, async () => {
        await open((sql) => {
          const bench = begin(sql);
          fill(sql, bench.anchor, 0, 1_200, 1);
          bench.anchor.notePublished(bench.anchor.position);
          fill(sql, bench.anchor, 1_200, 1_300, 1);
          const old = new Map(names.map((name) => [name, dump(sql, name)]));
          fill(sql, bench.anchor, 0, 1_200, 2);
          for (const [name, rows] of old) restore(sql, name, rows);
          // An older chunk of this history gives the present state: the journal goes on from it.
          expect(['integrity', 'new']).toContain(lookAfter(bench));
        });
      });
    }

    it('whole is the past itself: only its position tells, and that is what the witness has', async () => {
      await open((sql) => {
        const bench = begin(sql);
        fill(sql, bench.anchor, 0, 100, 1);
        const old = TABLES.map((name) => [name, dump(sql, name)] as const);
        fill(sql, bench.anchor, 0, 100, 2);
        const seen = bench.anchor.position;
        for (const [name, rows] of old) restore(sql, name, rows);
        expect(lookAfter(bench)).toBe('old');
        expect(bench.reopen().position.epoch).toBeLessThan(seen.epoch);
      });
    });

    const CUTS: Readonly<Record<string, (sql: Sql) => void>> = {
      'the head names a key that never was': (sql) => sql.run("UPDATE anchor_head SET mac_key_id = 'key_000000000000000000000000'"), // biome-ignore format: one line
      'the head is gone': (sql) => sql.run('DELETE FROM anchor_head'),
      'the last journal row is gone': (sql) => sql.run('DELETE FROM anchor_journal WHERE epoch = (SELECT max(epoch) FROM anchor_journal)'), // biome-ignore format: one line
      'a middle journal row is gone': (sql) => sql.run('DELETE FROM anchor_journal WHERE epoch = (SELECT max(epoch) - 1 FROM anchor_journal)'), // biome-ignore format: one line
      'a journal row was added': (sql) => sql.run('INSERT INTO anchor_journal SELECT max(epoch) + 1, ops FROM anchor_journal'),
      'the last journal row states another epoch': (sql) => sql.run('UPDATE anchor_journal SET epoch = epoch + 1 WHERE epoch = (SELECT max(epoch) FROM anchor_journal)'), // biome-ignore format: one line
      'a journal row was changed': (sql) => sql.run('UPDATE anchor_journal SET ops = zeroblob(length(ops)) WHERE epoch = (SELECT max(epoch) FROM anchor_journal)'), // biome-ignore format: one line
      'a chunk is gone': (sql) => sql.run('DELETE FROM anchor_chunk WHERE start = (SELECT max(start) FROM anchor_chunk)'),
      'all is gone': (sql) => {
        for (const table of TABLES) sql.run(`DELETE FROM ${table}`);
      },
    };
    it.each(Object.entries(CUTS))('is refused at open when %s', async (_, cut) => {
      await open((sql) => {
        const bench = begin(sql);
        fill(sql, bench.anchor, 0, 1_500);
        bench.anchor.notePublished(bench.anchor.position);
        batch(sql, bench.anchor, () => bench.anchor.set('token', place(bench.anchor, 3), tagOf(2)));
        batch(sql, bench.anchor, () => bench.anchor.set('token', place(bench.anchor, 4), tagOf(2)));
        cut(sql);
        expect(caughtCode(() => bench.reopen())).toBe('integrity');
      });
    });

    it('a changed chunk, or two that were exchanged, refuse the rows they speak of and no others', async () => {
      await open((sql) => {
        const bench = begin(sql);
        fill(sql, bench.anchor, 0, 1_500);
        const [first, second] = dump(sql, 'anchor_chunk');
        sql.run('UPDATE anchor_chunk SET bytes = ?, mac = ? WHERE start = ?', second?.['bytes'] ?? null, second?.['mac'] ?? null, first?.['start'] ?? 0); // biome-ignore format: one line
        const again = bench.reopen();
        const ends = Array.from({ length: 1_500 }, (_, id) => caughtCode(() => again.has(place(again, id))));
        expect(new Set(ends)).toEqual(new Set(['ok', 'integrity']));
        expect(again.checkChunks().failed).toBe(1);
        // What is written meanwhile goes on; the damaged part keeps refusing.
        const good = ends.indexOf('ok');
        fill(sql, again, good, good + 1, 7);
        const third = bench.reopen();
        expect(third.isValid(place(third, good), tagOf(7))).toBe(true);
        expect(caughtCode(() => third.has(place(third, ends.indexOf('integrity'))))).toBe('integrity');
      });
    });

    it.each([
      ['other bytes', 'bytes = zeroblob(length(bytes))'],
      ['a key that never was', "mac_key_id = 'key_000000000000000000000000'"],
    ])('a chunk with %s is left in its turn, and its entries are refused until it is as before', async (_, change) => {
      await open((sql) => {
        const bench = begin(sql);
        fill(sql, bench.anchor, 0, 1_500);
        const whole = dump(sql, 'anchor_chunk');
        sql.run(`UPDATE anchor_chunk SET ${change} WHERE start = 0`);
        const again = bench.reopen();
        const ids = Array.from({ length: 1_500 }, (_, id) => id);
        const refused = ids.filter((id) => caughtCode(() => again.has(place(again, id))) === 'integrity');
        expect(refused.length).toBeGreaterThan(50);
        const good = ids.filter((id) => !refused.includes(id)).slice(0, 60);
        // Each round asks for more chunks than there are, so the turn of the damaged one comes.
        for (let value = 2; value < 8; value++) {
          batch(sql, again, () => {
            for (const id of good) again.set('token', place(again, id), tagOf(value));
          });
        }
        const epochs = sql.all<{ epoch: number }>('SELECT epoch FROM anchor_chunk ORDER BY start').map(({ epoch }) => epoch);
        expect(epochs[0]).toBe(whole.find(({ start }) => start === 0)?.['epoch']);
        expect(Math.min(...epochs.slice(1))).toBeGreaterThan(epochs[0] ?? 0);
        expect(caughtCode(() => again.has(place(again, refused[0] ?? 0)))).toBe('integrity');
        const { mac, bytes, mac_key_id: keyId } = whole.find(({ start }) => start === 0) ?? {};
        sql.run('UPDATE anchor_chunk SET mac = ?, bytes = ?, mac_key_id = ? WHERE start = 0', mac ?? 0, bytes ?? 0, keyId ?? 0);
        const third = bench.reopen();
        expect(refused.every((id) => third.isValid(place(third, id), tagOf(1)))).toBe(true);
        expect(good.every((id) => third.isValid(place(third, id), tagOf(7)))).toBe(true);
      });
    });

    it('chunks of a branch that was given up do not fit the new incarnation', async () => {
      await open((sql) => {
        const bench = begin(sql);
        fill(sql, bench.anchor, 0, 1_200, 1);
        const [head, journal, chunks] = TABLES.map((name) => dump(sql, name));
        fill(sql, bench.anchor, 0, 1_200, 2);
        const abandoned = dump(sql, 'anchor_chunk');
        restore(sql, 'anchor_head', head ?? []);
        restore(sql, 'anchor_journal', journal ?? []);
        restore(sql, 'anchor_chunk', chunks ?? []);
        const again = bench.reopen();
        sql.transaction(() => {
          again.restart('inc_b');
          again.flush(LOG);
        });
        again.afterCommit();
        fill(sql, again, 0, 1_200, 3);
        restore(sql, 'anchor_chunk', abandoned);
        expect(lookAfter(bench)).toBe('integrity');
      });
    });

    it('a head that changed while the cell was open is not believed after a lost batch', async () => {
      await open((sql) => {
        const bench = begin(sql);
        fill(sql, bench.anchor, 0, 10);
        const old = dump(sql, 'anchor_head');
        fill(sql, bench.anchor, 10, 20);
        restore(sql, 'anchor_head', old);
        expect(caughtCode(() => bench.anchor.afterRollback())).toBe('integrity');
      });
    });
  });
}
