import { describe, expect, it } from 'vitest';
import { bar, facts, table } from '../../src/cli/print.ts';

describe('what is printed', () => {
  it('aligns columns by their widest cell and leaves no blanks at the end of a line', () => {
    expect(
      table(
        ['name', 'version'],
        [
          ['stripe', 1],
          ['a-longer-name', null],
        ],
      ),
    ).toBe('NAME           VERSION\nstripe         1\na-longer-name  -');
  });

  it('keeps the control characters of a name off the terminal', () => {
    for (const hostile of ['\u001b[2Jx', 'a\nb', 'a\u202eb', '\u009b31m'])
      for (const printed of [table(['name'], [[hostile]]), facts([['name', hostile]])]) {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones looked for
        expect(printed.replace('NAME\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
        expect(printed).toContain('?');
      }
  });

  it('draws a bar from nothing to all, and nothing to do as done', () => {
    expect(bar(0, 10, 4)).toBe('░░░░ 0 %');
    expect(bar(5, 10, 4)).toBe('██░░ 50 %');
    expect(bar(0, 0, 4)).toBe('████ 100 %');
  });
});
