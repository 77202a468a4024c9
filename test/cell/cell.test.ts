// Group commit: the jobs of one tick commit together, an error of one job does not affect others, and no answer precedes the commit.
import { describe, expect, it } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { Cell } from '../../src/cell/cell.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { SqlSpy } from '../kit/sql-spy.ts';

const nextTick = (task: () => void) => void setImmediate(task);

function openCell() {
  const sql = new SqlSpy(openNodeSql(':memory:'));
  sql.script('CREATE TABLE entry (n INTEGER PRIMARY KEY) STRICT;');
  const cell = new Cell(sql, nextTick);
  const insert = (n: number) => sql.run('INSERT INTO entry (n) VALUES (?)', n);
  const stored = () => sql.all<{ n: number }>('SELECT n FROM entry ORDER BY n').map((row) => row.n);
  return { sql, cell, insert, stored };
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('a batch', () => {
  it('runs all jobs of a tick, up to the limit, in one transaction and in order', async () => {
    const { sql, cell, insert, stored } = openCell();
    const order: number[] = [];
    const jobs = numbers(LIMITS.batchMaxJobs).map((n) =>
      cell.submit(() => {
        order.push(n);
        insert(n);
        return n;
      }),
    );
    expect(sql.count('begin')).toBe(0);
    expect(await Promise.all(jobs)).toEqual(numbers(LIMITS.batchMaxJobs));
    expect(sql.count('commit')).toBe(1);
    expect(order).toEqual(numbers(LIMITS.batchMaxJobs));
    expect(stored()).toEqual(order);
  });

  it('splits more jobs than the limit into as few transactions as it allows, in order of submission', async () => {
    const { sql, cell, insert, stored } = openCell();
    const all = numbers(2 * LIMITS.batchMaxJobs + 1);
    const settled: number[] = [];
    await Promise.all(all.map((n) => cell.submit(() => insert(n)).then(() => settled.push(n))));
    expect(sql.count('commit')).toBe(3);
    expect(settled).toEqual(all);
    expect(stored()).toEqual(all);
  });

  it('answers no job before its commit', async () => {
    const { sql, cell, insert } = openCell();
    const seen: string[] = [];
    const log = (what: string) => () => void seen.push(`${what} after ${sql.log.at(-1)}`);
    await Promise.all([
      cell.submit(() => insert(1)).then(log('value')),
      cell.submit(() => { throw new KeyturnError('forbidden', 'no'); }).catch(log('error')), // biome-ignore format: one line
    ]);
    expect(seen).toEqual(['value after commit', 'error after commit']);
  });

  it("keeps the others' changes when one job fails, and undoes the changes of the failed one in its savepoint", async () => {
    const { sql, cell, insert, stored } = openCell();
    const outcomes = await Promise.allSettled([
      cell.submit(() => insert(1)),
      cell.submit(() =>
        sql.transaction(() => {
          insert(2);
          throw new KeyturnError('conflict', 'no');
        }),
      ),
      cell.submit(() => insert(1)),
      cell.submit(() => insert(3)),
    ]);
    expect(outcomes.map((outcome) => outcome.status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
    expect(stored()).toEqual([1, 3]);
    expect(sql.count('commit')).toBe(1);
  });

  it('that does not commit answers every job with the failure and none with its result', async () => {
    const { sql, cell, insert, stored } = openCell();
    sql.failCommits();
    const outcomes = await Promise.allSettled([
      cell.submit(() => insert(1)),
      cell.submit(() => { throw new KeyturnError('forbidden', 'no'); }), // biome-ignore format: one line
      cell.submit(() => 'a value before its commit'),
    ]);
    expect(outcomes.map((o) => (o.status === 'rejected' ? (o.reason as KeyturnError).code : o.value))).toEqual(
      Array(3).fill('storage_full'),
    );
    expect(stored()).toEqual([]);
    await cell.submit(() => insert(1));
    expect(stored()).toEqual([1]);
  });

  it('is rolled back as a whole when the disk fails in a job', async () => {
    const { cell, insert, stored } = openCell();
    const outcomes = await Promise.allSettled([
      cell.submit(() => insert(1)),
      cell.submit(() => { throw new KeyturnError('storage_unavailable', 'the disk'); }), // biome-ignore format: one line
    ]);
    expect(outcomes.every((outcome) => outcome.status === 'rejected')).toBe(true);
    expect(stored()).toEqual([]);
  });

  it('refuses a job that returns a promise from its savepoint', async () => {
    const { cell, insert, stored } = openCell();
    const work = cell.submit(() => cell.savepoint(() => Promise.resolve(insert(1))));
    await expect(work).rejects.toMatchObject({ code: 'internal' });
    expect(stored()).toEqual([]);
  });
});

describe('the hooks of a cell', () => {
  it('run in the transaction before the commit, and after the commit', async () => {
    const { sql, cell, insert } = openCell();
    const seen: string[] = [];
    cell.use({
      beforeCommit: () => seen.push(`before: ${sql.log.at(-1)}`),
      afterCommit: () => seen.push(`after: ${sql.log.at(-1)}`),
      afterRollback: () => seen.push('rollback'),
    });
    await cell.submit(() => insert(1));
    expect(seen).toEqual(['before: INSERT INTO entry', 'after: commit']);
  });

  it('drop their in-memory state again before the next batch when the disk could not be read', async () => {
    const { sql, cell, insert, stored } = openCell();
    const seen: string[] = [];
    cell.use({
      afterRollback: () => {
        seen.push('drop');
        sql.get('SELECT count(*) AS n FROM entry');
        seen.push('dropped');
      },
    });
    sql.failCommits();
    const first = cell.submit(() => insert(1)).catch((error: KeyturnError) => error.code);
    sql.failReads(true);
    expect(await first).toBe('storage_full');
    const second = cell.submit(() => seen.push('a job ran on stale state'));
    expect(await second.catch((error: KeyturnError) => error.code)).toBe('storage_unavailable');
    sql.failReads(false);
    await cell.submit(() => insert(2));
    expect(seen.filter((entry) => entry !== 'drop')).toEqual(['dropped']);
    expect(stored()).toEqual([2]);
  });

  it('roll back the batch when they cannot write, and every job gets the error', async () => {
    const { cell, insert, stored } = openCell();
    let broken = true;
    cell.use({
      beforeCommit: () => {
        if (broken) throw new Error('cannot write');
      },
    });
    await expect(cell.submit(() => insert(1))).rejects.toMatchObject({ code: 'storage_unavailable' });
    broken = false;
    await cell.submit(() => insert(2));
    expect(stored()).toEqual([2]);
  });
});

describe('a cell that closes', () => {
  it('commits queued jobs first and refuses later ones', async () => {
    const { sql, cell, insert } = openCell();
    const queued = numbers(LIMITS.batchMaxJobs * 2 + 1).map((n) => cell.submit(() => insert(n)));
    cell.close();
    cell.close();
    await Promise.all(queued);
    expect(sql.count('commit')).toBe(3);
    await expect(cell.submit(() => 1)).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('an unhurried job', () => {
  function unhurriedCell() {
    const opened = openCell();
    const calm: (() => void)[] = [];
    const cell = new Cell(opened.sql, nextTick, undefined, (task) => void calm.push(task));
    const passCalm = () => {
      for (const task of calm.splice(0)) task();
    };
    return { ...opened, cell, calm, passCalm };
  }

  it('joins the batch of other jobs and adds no commit', async () => {
    const { sql, cell, insert, stored, passCalm } = unhurriedCell();
    const unhurried = cell.submitUnhurried(() => insert(1));
    await cell.submit(() => insert(2));
    await unhurried;
    expect(stored()).toEqual([1, 2]);
    passCalm();
    expect(sql.count('commit')).toBe(1);
  });

  it('shares one commit with other unhurried jobs, which is scheduled once', async () => {
    const { sql, cell, insert, stored, calm, passCalm } = unhurriedCell();
    const all = numbers(5).map((n) => cell.submitUnhurried(() => insert(n)));
    expect(calm).toHaveLength(1);
    await new Promise((resume) => setImmediate(resume));
    expect(stored()).toEqual([]);
    passCalm();
    await Promise.all(all);
    expect([stored(), sql.count('commit')]).toEqual([numbers(5), 1]);
    const later = cell.submitUnhurried(() => insert(9));
    passCalm();
    await later;
    expect(stored()).toEqual([0, 1, 2, 3, 4, 9]);
  });

  it('runs before the cell closes, and is refused afterwards', async () => {
    const { sql, cell, insert, passCalm } = unhurriedCell();
    const last = cell.submitUnhurried(() => insert(1));
    cell.close();
    await last;
    expect(sql.count('commit')).toBe(1);
    passCalm();
    await expect(cell.submitUnhurried(() => insert(2))).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('a cell outside a batch', () => {
  it('refuses what belongs into one', async () => {
    const { cell } = openCell();
    for (const attempt of [() => cell.requireBatch(), () => cell.eraseResidue(), () => cell.savepoint(() => 1)])
      expect(attempt).toThrow(expect.objectContaining({ code: 'internal' }));
    await cell.submit(() => cell.requireBatch());
    await expect(cell.submit(() => { throw new Error('no'); })).rejects.toThrow('no'); // biome-ignore format: one line
    expect(() => cell.requireBatch()).toThrow(expect.objectContaining({ code: 'internal' }));
    expect(() => cell.eraseResidue()).toThrow(expect.objectContaining({ code: 'internal' }));
  });

  it('says whether something is queued, and whether it is closed', async () => {
    const { cell } = openCell();
    expect([cell.idle, cell.isClosed]).toEqual([true, false]);
    const work = cell.submit(() => 1);
    expect(cell.idle).toBe(false);
    await work;
    expect(cell.idle).toBe(true);
    cell.close();
    expect(cell.isClosed).toBe(true);
  });

  it('says why its last batch could not be stored, until one can be', async () => {
    const { sql, cell, insert, stored } = openCell();
    sql.script('CREATE TABLE cell (id INTEGER PRIMARY KEY, created_at INTEGER NOT NULL) STRICT;');
    expect(cell.failure).toBeUndefined();
    sql.failCommits();
    await expect(cell.submit(() => insert(1))).rejects.toMatchObject({ code: 'storage_full' });
    expect(cell.failure?.code).toBe('storage_full');
    await cell.submit(() => { throw new KeyturnError('forbidden', 'no'); }).catch(() => {}); // biome-ignore format: one line
    expect(cell.failure).toBeUndefined();
    sql.failCommits();
    await expect(cell.probe()).rejects.toMatchObject({ code: 'storage_full' });
    await cell.probe();
    sql.script(
      'INSERT INTO cell VALUES (1, 7); CREATE TRIGGER told AFTER UPDATE ON cell BEGIN INSERT INTO entry VALUES (new.created_at); END;',
    );
    await cell.probe();
    expect(stored()).toEqual([7]);
  });
});

describe('what a job deletes', () => {
  function erasingCell() {
    const opened = openCell();
    let erased = 0;
    let failure: Error | undefined;
    const sql = Object.create(opened.sql, {
      eraseResidue: { value: () => { erased += 1; if (failure !== undefined) throw failure; } }, // biome-ignore format: one line
      hasResidue: { get: () => true },
    }) as typeof opened.sql;
    const cell = new Cell(bound(sql, opened.sql), nextTick);
    return { ...opened, cell, erased: () => erased, failWith: (error: Error | undefined) => { failure = error; } }; // biome-ignore format: one line
  }
  /** Methods of `inner`, with what `outer` has of its own. */
  function bound<T extends object>(outer: T, inner: T): T {
    return new Proxy(inner, {
      get(target, name) {
        const value = Object.hasOwn(outer, name) ? Reflect.get(outer, name) : Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  }

  it('is erased from the files once, after its commit and before its answer', async () => {
    const { cell, erased, insert } = erasingCell();
    await cell.submit(() => insert(1));
    expect(erased()).toBe(0);
    await Promise.all([cell.submit(() => cell.eraseResidue()), cell.submit(() => cell.eraseResidue()), cell.submit(() => 1)]);
    expect(erased()).toBe(1);
    expect(cell.hasResidue).toBe(true);
  });

  it('fails alone where the files cannot be cleaned, though it is committed', async () => {
    const { cell, failWith, insert, stored } = erasingCell();
    for (const [error, code] of [
      [new KeyturnError('storage_full', 'full'), 'storage_full'],
      [new Error('x'), 'storage_unavailable'],
    ] as const) {
      // biome-ignore format: one line
      failWith(error);
      const n = stored().length;
      const other = cell.submit(() => 'done');
      const erasing = cell.submit(() => {
        insert(n);
        cell.eraseResidue();
      });
      await expect(erasing).rejects.toMatchObject({ code });
      expect(await other).toBe('done');
      expect(stored()).toContain(n);
    }
  });
});

describe('hooks', () => {
  it('hold the answers back until what they wait for has ended, well or badly', async () => {
    const { cell, insert, stored } = openCell();
    let end = (_bad?: Error) => {};
    cell.use({ holdAnswers: () => new Promise<void>((resolve, reject) => { end = (bad) => (bad === undefined ? resolve() : reject(bad)); }) }); // biome-ignore format: one line
    for (const bad of [undefined, new Error('no')]) {
      let answered = false;
      const n = stored().length;
      const work = cell.submit(() => insert(n)).then(() => { answered = true; }); // biome-ignore format: one line
      for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
      expect([stored().length, answered]).toEqual([n + 1, false]);
      end(bad);
      await work;
    }
  });

  it('take back what memory was told in a savepoint that is undone, the last first, and nothing of one that holds', async () => {
    const { cell, insert, stored } = openCell();
    const undone: string[] = [];
    for (const name of ['first', 'second']) cell.use({ mark: () => () => void undone.push(name) });
    cell.use({});
    await cell.submit(() => cell.savepoint(() => insert(1)));
    expect(undone).toEqual([]);
    await cell
      .submit(() =>
        cell.savepoint(() => {
          insert(2);
          throw new RangeError('no');
        }),
      )
      .catch(() => {});
    expect(undone).toEqual(['second', 'first']);
    expect(stored()).toEqual([1]);
  });
});

describe('a batch of its own', () => {
  it('is asked for once a tick', async () => {
    const { sql, insert } = openCell();
    const ticks: (() => void)[] = [];
    const cell = new Cell(sql, (task) => void ticks.push(task));
    const first = [cell.submit(() => insert(1)), cell.submit(() => insert(2))];
    expect(ticks).toHaveLength(1);
    ticks.shift()?.();
    await Promise.all(first);
    expect(ticks, 'nothing is left').toHaveLength(0);
    const last = cell.submit(() => insert(3));
    expect(ticks).toHaveLength(1);
    const unhurried = cell.submitUnhurried(() => insert(4));
    expect(ticks, 'work that can wait joins it').toHaveLength(1);
    ticks.shift()?.();
    await Promise.all([last, unhurried]);
  });

  it('passes its fault points before and after the commit', async () => {
    const { sql, insert } = openCell();
    const passed: string[] = [];
    const cell = new Cell(sql, nextTick, { at: (point) => void passed.push(`${point} after ${sql.log.at(-1)}`) });
    await cell.submit(() => insert(1));
    expect(passed).toEqual(['cell.before-commit after INSERT INTO entry', 'cell.after-commit after commit']);
  });

  it('that was lost drops the memory of it at once, and once', async () => {
    const { sql, cell, insert } = openCell();
    let dropped = 0;
    cell.use({ afterRollback: () => { dropped += 1; } }); // biome-ignore format: one line
    sql.failCommits();
    await expect(cell.submit(() => insert(1))).rejects.toMatchObject({ code: 'storage_full' });
    expect(dropped).toBe(1);
    await cell.submit(() => insert(1));
    expect(dropped).toBe(1);
  });

  it.each<[string, unknown, string]>([
    ['an error of ours that is not of the storage', new KeyturnError('forbidden', 'no'), 'no'],
    ['another error', new RangeError('made up'), 'made up'],
    ['no error at all', { code: 'storage_full' }, 'unknown'],
  ])('that a hook ends with %s could not be stored', async (_what, error, evidence) => {
    const { cell, insert, stored } = openCell();
    cell.use({ beforeCommit: () => { throw error; } }); // biome-ignore format: one line
    const lost = cell.submit(() => insert(1));
    await expect(lost).rejects.toMatchObject({ code: 'storage_unavailable', evidence, cause: error });
    expect(stored()).toEqual([]);
  });

  it('is undone by a job that meets a full disk, and by nothing that only looks like it', async () => {
    const { cell, insert, stored } = openCell();
    const thrown = { code: 'storage_full' };
    await Promise.allSettled([cell.submit(() => insert(1)), cell.submit(() => { throw thrown; })]); // biome-ignore format: one line
    expect(stored()).toEqual([1]);
    const full = new KeyturnError('storage_full', 'full');
    const ends = await Promise.allSettled([cell.submit(() => insert(2)), cell.submit(() => { throw full; })]); // biome-ignore format: one line
    expect(ends.map((end) => end.status)).toEqual(['rejected', 'rejected']);
    expect(stored()).toEqual([1]);
  });
});

it('a cell that closes closes its database, once', () => {
  const { sql, cell } = openCell();
  let closed = 0;
  const { close } = sql;
  sql.close = () => {
    closed += 1;
    close.call(sql);
  };
  cell.close();
  cell.close();
  expect(closed).toBe(1);
});
