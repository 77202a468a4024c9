import { describe, expect, it } from 'vitest';
import { typed } from '../../src/cli/typed-in.ts';

function type(keys: string): ReturnType<typeof typed> {
  let state: ReturnType<typeof typed> = { text: '' };
  for (const key of keys) {
    if (state.end !== undefined) break;
    state = typed(state.text, key);
  }
  return state;
}

describe('a secret typed unseen', () => {
  it('ends with Enter or Ctrl-D, and takes letters back', () => {
    expect(type('abd\u007fc\r ignored')).toEqual({ text: 'abc', end: 'done' });
    expect(type('é\u{1f511}\b\u0004')).toEqual({ text: 'é', end: 'done' });
    expect(type('\u007fa')).toEqual({ text: 'a' });
  });

  it('is cancelled and discarded with Ctrl-C', () => {
    expect(type('not-a-real-secret\u0003')).toEqual({ text: '', end: 'cancelled' });
  });
});
