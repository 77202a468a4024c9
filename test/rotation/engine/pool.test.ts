import { describe, expect, it } from 'vitest';
import { inPool } from '../../../rotation/engine/pool.ts';
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
});
