// What the mutation run changes, and what it leaves alone.
import { describe, expect, it } from 'vitest';
import { noteEntries } from './reach.ts';
import { mutantsOf } from './sites.ts';

/** `before -> after (operator)` of each change. */
const changes = (text: string) =>
  mutantsOf('src/vault/x.ts', text).map(
    ({ start, end, replacement, operator }) => `${text.slice(start, end)} -> ${replacement} (${operator})`,
  );

describe('a change', () => {
  it.each([
    ['if (a === b) c;', ['a === b -> true (condition)', 'a === b -> false (condition)', 'c; -> ; (statement)']],
    ['x = a ? b : c;', ['x = a ? b : c; -> ; (statement)', 'a -> true (condition)', 'a -> false (condition)']],
    ['const x = a || b || c;', ['c -> false (operand)', 'a -> false (operand)', 'b -> false (operand)']],
    ['const x = a && b;', ['a -> true (operand)', 'b -> true (operand)']],
    ['const x = a ?? b;', ['a ?? b -> (a) (default)']],
    ['const x = a < b;', ['< -> <= (bound)']],
    ['const x = a /* < */ >= b;', ['>= -> > (bound)']],
    ['const x = a === b;', ['=== -> !== (equality)']],
    ['const x = a - b;', ['- -> + (arithmetic)']],
    ['const x = Math.min(a, b);', ['min -> max (call)']],
    ['const x = list.some(f);', ['some -> every (call)']],
    ['const x = 3;', ['3 -> 4 (number)']],
    ['const x = 500;', ['500 -> 1000 (number)']],
    ['const x = true;', ['true -> false (boolean)']],
    ['throw x;', ['throw x; -> ; (throw)']],
    ['const x = async () => await y;', ['await y -> (y) (await)']],
    [
      "sql('SELECT a FROM b WHERE c = ? AND d <= ? ORDER BY e DESC');".replace('sql(', 'const q = sql('),
      ['= -> <> (sql)', '<= -> < (sql)', 'AND -> OR (sql)', 'DESC -> ASC (sql)'],
    ],
  ])('of %s', (text, expected) => {
    expect(changes(text).toSorted()).toEqual(expected.toSorted());
  });

  it.each([
    'type A = 1 | true;',
    'interface A { readonly b: 3 }',
    "import { a } from './b.ts';",
    "const x = 'a' + `b`;",
    'class A { constructor(b) { this.#b = b; } #b; }',
    'bytes.fill(0);',
    'const x = a.toString();',
    'export type { A } from "./b.ts";',
  ])('is not made in %s', (text) => {
    expect(changes(text)).toEqual([]);
  });

  it('knows the function it stands in', () => {
    const text = 'const top = 1;\nclass A { go() { list.map(() => b + 1); } }\nconst run = () => c + 2;';
    const places = mutantsOf('src/vault/x.ts', text).map(({ line, place }) => `${line} ${place}`);
    expect([...new Set(places)]).toEqual(['1 src/vault/x.ts#', '2 src/vault/x.ts#A.go', '3 src/vault/x.ts#run']);
  });
});

it('a source that notes its entries does what it did', () => {
  const reach = { entered: new Set<string>(), atLoad: new Set<string>(), loading: 0 };
  const text =
    'const twice = (x: number) => ({ y: x * 2 });\nclass A { go(x: number) { return [x].map((z) => twice(z).y); } }\nconst result = new A().go(4);';
  const noted = noteEntries('src/vault/x.ts', text).replace(/: number/g, '');
  const [result, later] = new Function('globalThis', `${noted}; return [result, () => twice(1)];`)({ __reach: reach });
  expect(result).toEqual([8]);
  expect([...reach.atLoad]).toEqual(['src/vault/x.ts#A.go', 'src/vault/x.ts#twice']);
  later();
  expect([[...reach.entered], reach.loading]).toEqual([['src/vault/x.ts#twice'], 0]);
});
