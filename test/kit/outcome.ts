// How something ended, as one word: `ok` or the code of its error. Anything but a KeyturnError is rethrown: tests expect none.
import { KeyturnError } from '../../src/base/errors.ts';

export function caughtCode(work: () => unknown): string {
  try {
    work();
    return 'ok';
  } catch (error) {
    return codeOf(error);
  }
}

export function outcomeOf(work: Promise<unknown>): Promise<string> {
  return work.then(() => 'ok', codeOf);
}

function codeOf(error: unknown): string {
  if (error instanceof KeyturnError) return error.code;
  throw error;
}
