// Works through a list with a bounded number at once. It must never let one that fails stop the others, nor hide that it failed.
import { KeyturnError } from '../../src/base/errors.ts';

/** What one item says of the rest: `stop` leaves what nobody began for another time, and does not count as done. */
export type Turn = 'done' | 'stop';

/**
 * Resolves with how many were done; rejects with the first failure when all had their turn. A vault that closes is no failure: what it left
 * journalled is made again.
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

/** Of pools that ran beside each other: how many were done in all. @throws the first failure */
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
