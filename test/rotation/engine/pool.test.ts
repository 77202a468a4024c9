import { describe, expect, it } from 'vitest';
import { inPool, sumOf } from '../../../rotation/engine/pool.ts';
import { KeyturnError } from '../../../src/base/errors.ts';

const items = Array.from({ length: 20 }, (_, i) => i);

describe('a pool', () => {
  it('works on so many at once and no more', async () => {
    let now = 0;
    let most = 0;
    const done = await inPool(items, 3, async () => {
      most = Math.max(most, ++now);
      await new Promise((resume) => setImmediate(resume));
      now -= 1;
      return 'done';
    });
    expect([done, most]).toEqual([20, 3]);
  });

  it('lets all have their turn although some fail, and tells the first failure; a vault that closes is none', async () => {
    const seen: number[] = [];
    const work = async (item: number) => {
      seen.push(item);
      if (item === 2) throw new KeyturnError('unavailable', 'closing');
      if (item === 5 || item === 9) throw new Error(`item ${item}`);
      return 'done' as const;
    };
    await expect(inPool(items, 4, work)).rejects.toThrow('item 5');
    expect(seen).toEqual(items);
    expect(await inPool([1, 2, 3], 1, work)).toBe(2);
  });

  it('leaves the rest where one says to stop', async () => {
    const seen: number[] = [];
    const done = await inPool(items, 1, async (item) => {
      seen.push(item);
      return item === 3 ? 'stop' : 'done';
    });
    expect([done, seen]).toEqual([3, [0, 1, 2, 3]]);
  });

  it('has nothing to do for nothing, and no more workers than items', async () => {
    expect(await inPool([], 3, async () => 'done')).toBe(0);
    let begun = 0;
    await inPool([1, 2], 9, async () => {
      begun += 1;
      return 'done';
    });
    expect(begun).toBe(2);
  });

  it('counts a turn that went wrong in no case, whatever went wrong', async () => {
    const failing = [
      new KeyturnError('unavailable', 'closing'),
      new KeyturnError('integrity', 'damaged'),
      new Error('unavailable'),
    ];
    for (const [index, error] of failing.entries()) {
      const ended = inPool([1, 2, 3], 3, async (item) => {
        if (item === 2) throw error;
        return 'done';
      });
      if (index === 0) expect(await ended).toBe(2);
      else await expect(ended).rejects.toBe(error);
    }
    const foreign = Object.assign(new Error('foreign'), { code: 'unavailable' });
    await expect(inPool([1], 1, () => Promise.reject(foreign))).rejects.toBe(foreign);
  });
});

describe('pools that ran beside each other', () => {
  it('sum up what was done, and tell the first failure', async () => {
    const done = [3, 0, 4].map((value) => Promise.resolve(value));
    expect(sumOf(await Promise.allSettled(done))).toBe(7);
    expect(sumOf([])).toBe(0);
    const failed = [Promise.reject(new Error('first')), Promise.reject(new Error('second'))];
    const ends = await Promise.allSettled([...done, ...failed]);
    expect(() => sumOf(ends)).toThrow('first');
  });
});
