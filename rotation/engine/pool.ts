// Processes a list with bounded concurrency. A failed item must never stop the others, nor be hidden.
import { KeyturnError } from '../../src/base/errors.ts';

/** The result of one item: `stop` leaves the items that are not started, and does not count as done. */
export type Turn = 'done' | 'stop';

/**
 * Resolves with the number of items done; rejects with the first failure after all were processed. A closing vault is not a failure, because
 * its journalled work is repeated.
 */
export async function inPool<T>(items: readonly T[], width: number, work: (item: T) => Promise<Turn>): Promise<number> {
  let next = 0;
  let done = 0;
  let stopped = false;
  const failures: unknown[] = [];
  const worker = async () => {
    while (!stopped && next < items.length) {
      const item = items[next++] as T;
      try {
        if ((await work(item)) === 'stop') stopped = true;
        else done += 1;
      } catch (error) {
        if (!isClosing(error)) failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
  return done;
}

/**
 * One pool per provider, so that a slow or throttling one does not delay others; at most `maxItems` of each. Resolves with how many were done;
 * rejects with the first failure after all were processed.
 */
export async function inQueues<T extends { readonly provider: string }>(
  items: readonly T[],
  { width, maxItems }: { readonly width: number; readonly maxItems: number },
  work: (item: T) => Promise<Turn>,
): Promise<number> {
  const queues = [...Map.groupBy(items, ({ provider }) => provider).values()];
  return sumOf(await Promise.allSettled(queues.map((queue) => inPool(queue.slice(0, maxItems), width, work))));
}

/** The total of pools that ran concurrently. @throws the first failure */
export function sumOf(ends: readonly PromiseSettledResult<number>[]): number {
  let sum = 0;
  for (const end of ends) {
    if (end.status === 'rejected') throw end.reason;
    sum += end.value;
  }
  return sum;
}

function isClosing(error: unknown): boolean {
  return error instanceof KeyturnError && error.code === 'unavailable';
}
