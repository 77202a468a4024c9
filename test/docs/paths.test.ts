// What README.md and SECURITY.md point at is there.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const TOP = /^(?:src|test|rotation|policies|docs|bench)\//;

const read = (page: string): string => readFileSync(join(ROOT, page), 'utf8').replace(/```.*?```/gs, '');
const between = (text: string): string[] => [...text.matchAll(/`([^`\s]+)`/g)].map(([, word = '']) => word);
const linked = (text: string): string[] => [...text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, target = '']) => target);

describe('every path', () => {
  it.each(['README.md', 'SECURITY.md'])('that %s names is there', (page) => {
    const text = read(page);
    const named = [
      ...between(text).filter((word) => TOP.test(word)),
      ...linked(text).filter((target) => !/^[a-z]+:/.test(target)),
    ];
    expect(named.length).toBeGreaterThan(4);
    expect(named.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  it('is given by every promise of SECURITY.md: what shows it', () => {
    const rows = read('SECURITY.md')
      .split('\n')
      .flatMap((line) => (line.startsWith('| ') ? [line.split('|').map((cell) => cell.trim())] : []))
      .filter(([, promise = '']) => promise !== 'promise' && !promise.startsWith('---'));
    expect(rows.length).toBeGreaterThan(10);
    for (const [, promise, , shown = ''] of rows) {
      const paths = between(shown);
      expect(paths.length, promise).toBeGreaterThan(0);
      for (const path of paths) expect(existsSync(join(ROOT, path)), `${promise}: ${path}`).toBe(true);
    }
  });
});
