import { describe, expect, it } from 'vitest';
import { exposureOf, modeText } from '../../src/base/file-access.ts';

const ME = 1000;

describe('a file with a secret', () => {
  it.each([
    [0o600, ME],
    [0o400, ME],
    [0o640, ME],
    [0o440, 0],
    [0o100440, 0],
    [0o600, 0],
  ])('may be read with mode %o when its owner is %i', (mode, uid) => {
    expect(exposureOf({ mode, uid }, ME)).toBeUndefined();
  });

  it('is refused for each forbidden permission bit, with its whole mode in the message', () => {
    for (const right of [0o020, 0o004, 0o002, 0o001]) {
      expect(exposureOf({ mode: 0o600 | right, uid: ME }, ME)).toBe(`has mode ${modeText(0o600 | right)}`);
      expect(exposureOf({ mode: 0o600 | right, uid: 0 }, 0)).toBe(`has mode ${modeText(0o600 | right)}`);
    }
    expect(exposureOf({ mode: 0o100666, uid: ME }, ME)).toBe('has mode 0666');
  });

  it('is refused when another user owns it, except for root, who can read every file', () => {
    expect(exposureOf({ mode: 0o600, uid: 1001 }, ME)).toBe('belongs to another user');
    expect(exposureOf({ mode: 0o600, uid: 1001 }, 0)).toBeUndefined();
  });

  it('is not checked on a platform without users', () => {
    expect(exposureOf({ mode: 0o666, uid: 0 }, undefined)).toBeUndefined();
  });
});
