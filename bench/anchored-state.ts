// What a change to stored state costs: microseconds of CPU a call in one cell, without HTTP, of several checkouts in turns. The first one given
// is what the others are compared with; node_modules must be in each.
//   node bench/anchored-state.ts [--rounds 40] [--file] [--profile <directory>] [--only <part of a case's name>] <checkout> ...
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Child, startChild, stopChildren } from './child.ts';
import { median, percentile } from './statistics.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '40' },
    /** With a database in a file, committed as the service commits. Default: in memory. */
    file: { type: 'boolean', default: false },
    profile: { type: 'string' },
    only: { type: 'string', default: '' },
  },
});
const trees = (positionals.length > 0 ? positionals : ['.']).map((tree) => resolve(tree));
const WARM_UP_ROUNDS = 3;

/** Rounds of each case: microseconds by checkout. */
async function measure(children: readonly Child[], cases: readonly string[]): Promise<Map<string, number[][]>> {
  const rounds = new Map<string, number[][]>(cases.map((name) => [name, []]));
  for (let round = -WARM_UP_ROUNDS; round < Number(values.rounds); round++) {
    for (const name of cases) {
      const figures: number[] = [];
      // One after another, and every second round the other way round: what slows the machine slows each of them as often.
      const order = children.map((_, i) => (round % 2 === 0 ? i : children.length - 1 - i));
      for (const i of order) figures[i] = (await children[i]?.ask<number>('time', { name })) ?? Number.NaN;
      if (round >= 0) rounds.get(name)?.push(figures);
    }
  }
  return rounds;
}

function lineOf(figures: readonly number[][], i: number): string {
  const own = figures.map((round) => round[i] ?? Number.NaN);
  const more = figures.map((round) => ((round[i] ?? Number.NaN) / (round[0] ?? Number.NaN) - 1) * 100);
  const compared =
    i === 0 ? '' : `  ${signed(median(more))} % (${signed(percentile(more, 25))} to ${signed(percentile(more, 75))})`;
  const spread = `${percentile(own, 25).toFixed(1)} to ${percentile(own, 75).toFixed(1)}`;
  // Other work on the machine only adds: the tenth of the rounds with the least is disturbed least.
  const least = percentile(own, 10);
  const base = percentile(
    figures.map((round) => round[0] ?? Number.NaN),
    10,
  );
  const undisturbed = `, least ${least.toFixed(1)}${i === 0 ? '' : ` ${signed((least / base - 1) * 100)} %`}`;
  return `  ${median(own).toFixed(1).padStart(7)} us (${spread})${compared}${undisturbed}  ${trees[i]}`;
}

const signed = (percent: number) => `${percent < 0 ? '' : '+'}${percent.toFixed(1)}`;

try {
  const children: Child[] = [];
  for (const tree of trees) children.push(await startChild('serve-anchored.ts', { tree, inFile: values.file }, values.profile));
  const cases = ((children[0]?.hello['cases'] ?? []) as string[]).filter((name) => name.includes(values.only));
  console.log(`medians of ${values.rounds} rounds, quartiles; difference to the first checkout within a round`);
  for (const [name, figures] of await measure(children, cases)) {
    console.log(name);
    for (const i of trees.keys()) console.log(lineOf(figures, i));
  }
  for (const child of children) await child.stop();
} finally {
  stopChildren();
}
