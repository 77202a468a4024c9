import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type Scrubbed, ScrubRounds } from '../../src/node/scrub-rounds.ts';

/** Rounds over cells whose slices take 2 ms each, on a clock that only they and the rests move. */
function scene(cells: readonly Scrubbed[], maxRests: number) {
  let ms = 0;
  const rests: number[] = [];
  const failures: unknown[] = [];
  const rounds: ScrubRounds = new ScrubRounds({
    cells: () => cells,
    ranMs: () => ms,
    rest: async (restMs) => {
      ms += restMs;
      rests.push(restMs);
      if (rests.length >= maxRests) rounds.stop();
    },
    onFailure: (error) => void failures.push(error),
  });
  const cell = (...slices: number[]): Scrubbed => ({
    *scrub() {
      for (const checked of slices) {
        ms += 2;
        yield checked;
      }
    },
  });
  return { rounds, rests, failures, cell, passed: () => ms };
}

describe('the rounds of the scrub', () => {
  it('rest fifty times as long as they work, and begin at most once an hour', async () => {
    const cells: Scrubbed[] = [];
    const { rounds, rests, cell } = scene(cells, 7);
    cells.push(cell(100, 100), cell(30));
    expect([rounds.checked, rounds.sinceRoundMs]).toEqual([0, undefined]);
    await rounds.run();
    const rest = 2 * LIMITS.scrubRestFactor;
    expect(rests).toEqual([rest, rest, rest, LIMITS.scrubEveryMs - 3 * (rest + 2), rest, rest, rest]);
    expect(rounds.checked).toBe(460);
  });

  it('tell how long ago the last one ended', async () => {
    const cells: Scrubbed[] = [];
    const { rounds, cell } = scene(cells, 2);
    cells.push(cell(1));
    await rounds.run();
    expect(rounds.sinceRoundMs).toBe(LIMITS.scrubEveryMs - 2 * LIMITS.scrubRestFactor - 2);
  });

  it('go on with the next cell where one fails', async () => {
    const cells: Scrubbed[] = [];
    const { rounds, failures, cell } = scene(cells, 2);
    const broken = new Error('a cell that cannot be read');
    cells.push(
      {
        // biome-ignore lint/correctness/useYield: it fails before its first slice
        *scrub() {
          throw broken;
        },
      },
      cell(7),
    );
    await rounds.run();
    expect([failures, rounds.checked]).toEqual([[broken], 7]);
  });

  it('wait no longer than they must where a round took more than an hour', async () => {
    const cells: Scrubbed[] = [];
    const { rounds, rests, cell } = scene(cells, 40_000);
    cells.push(cell(...Array.from({ length: 39_000 }, () => 1)));
    await rounds.run();
    expect(rests[39_000]).toBe(0);
  });
});
