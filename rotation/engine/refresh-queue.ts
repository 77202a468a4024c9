// Takes due refreshes in turns: each provider has its own queue, so that a slow, throttling or crowded one holds up nobody else.
// It must never refresh by itself; what it is given to run does that.
import { LIMITS } from '../../src/base/limits.ts';
import type { DueForRefresh } from '../../src/cell/runs.ts';

/** `held`: the provider is to be left alone for now, the rest of its queue too. */
export type Turn = 'done' | 'held';

/** Resolves with how many were done, at most `maxRows` a provider; rejects with the first failure when all had their turn. */
export async function inTurns(
  due: readonly DueForRefresh[],
  run: (id: string) => Promise<Turn>,
  maxRows: number,
): Promise<number> {
  const queues = [...Map.groupBy(due, ({ provider }) => provider).values()];
  const failures: unknown[] = [];
  const done = await Promise.all(queues.map((queue) => drain(queue.slice(0, maxRows), run, failures)));
  if (failures.length > 0) throw failures[0];
  return done.reduce((sum, count) => sum + count, 0);
}

async function drain(queue: readonly DueForRefresh[], run: (id: string) => Promise<Turn>, failures: unknown[]): Promise<number> {
  let next = 0;
  let done = 0;
  const worker = async () => {
    for (let due = queue[next++]; due !== undefined; due = queue[next++]) {
      try {
        if ((await run(due.id)) === 'held') return;
        done += 1;
      } catch (error) {
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(LIMITS.dueWorkConcurrency, queue.length) }, worker));
  return done;
}
