// The shape of the whole source: functions a reader can hold, imports without circles, nothing dead, numbers where they are looked for.
// Exports and numbers that break a rule today are counted in known-structure.json; the counts may fall and never rise.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ANCHORED_TABLES } from '../src/cell/tables.ts';
import type { SourceFile } from './kit/architecture.ts';
import {
  circlesOf,
  deadExports,
  exportsOf,
  FUNCTION_LIMITS,
  type FunctionRule,
  functionsOf,
  importGraph,
  numbersOf,
} from './kit/structure.ts';

const ROOT = join(import.meta.dirname, '..');

/** Violations allowed for now, by rule and file. */
const KNOWN = JSON.parse(readFileSync(join(import.meta.dirname, 'known-structure.json'), 'utf8')) as Readonly<
  Record<string, Readonly<Record<string, number>>>
>;

function sources(...folders: string[]): SourceFile[] {
  return folders.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(ts|tsx|mjs)$/.test(entry.name) && !entry.name.endsWith('.d.ts'))
      .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)).split(sep).join('/'))
      .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') })),
  );
}

const product = sources('src', 'rotation');

/** Fails where a file has more violations of `rule` than are known, and says which; tells where the known number can be lowered. */
function expectNoNew(rule: string, found: readonly { readonly file: string; readonly text: string }[]): void {
  const known = KNOWN[rule] ?? {};
  const byFile = Map.groupBy(found, ({ file }) => file);
  const excess = [...byFile].filter(([file, list]) => list.length > (known[file] ?? 0));
  for (const [file, count] of Object.entries(known)) {
    const now = byFile.get(file)?.length ?? 0;
    if (now < count) console.warn(`test/known-structure.json: ${rule} of ${file} is ${now} now and can be lowered from ${count}`);
  }
  if (excess.length > 0) {
    expect.fail(excess.map(([file, list]) => list.map(({ text }) => `${file}${text}`).join('\n')).join('\n'));
  }
}

describe('every function of the product', () => {
  const functions = product.flatMap(functionsOf);

  test('is seen', () => {
    expect(functions.length).toBeGreaterThan(product.length * 3);
  });

  test.each(Object.keys(FUNCTION_LIMITS) as FunctionRule[])('keeps the limit of %s', (rule) => {
    const long = functions.filter((figures) => figures[rule] > FUNCTION_LIMITS[rule]);
    const told = long.map(({ file, line, name, ...figures }) => `${file}:${line} ${name}: ${figures[rule]} ${rule}`);
    expect(told, `at most ${FUNCTION_LIMITS[rule]} ${rule}`).toEqual([]);
  });
});

describe('the imports', () => {
  test('make no circle when they are loaded', () => {
    expect(circlesOf(importGraph(product, 'what is loaded'))).toEqual([]);
  });

  test('make no circle with their types either', () => {
    expect(circlesOf(importGraph(product, 'with types'))).toEqual([]);
  });
});

describe('every export', () => {
  /** What the platform takes by name: wrangler.toml names the classes. */
  const TAKEN = /\bclass_name = "(\w+)"/g;

  test('is used by the product, and where only its own file does, at least by a test', () => {
    const byPlatform = [...readFileSync(join(ROOT, 'wrangler.toml'), 'utf8').matchAll(TAKEN)].map((match) => match[1]);
    const dead = deadExports(product, sources('bench'), sources('test')).filter(({ name }) => !byPlatform.includes(name));
    expectNoNew(
      'exports',
      dead.map(({ file, line, name, why }) => ({ file, text: `:${line} ${name} is ${why}` })),
    );
  });
});

test('every number that bounds something stands in src/base/limits.ts, the ones of the first start (plain JavaScript) beside it', () => {
  const files = product.filter(({ path }) => path !== 'src/base/limits.ts' && !path.endsWith('.mjs'));
  expectNoNew(
    'numbers',
    files.flatMap(numbersOf).map(({ file, line, name }) => ({ file, text: `:${line} ${name} belongs to src/base/limits.ts` })),
  );
});

/** Tests whose subject is a row that somebody changed behind the map, or a map that does not fit its rows. */
const TAMPERING = new Set([
  'test/alerts/alerts.test.ts',
  'test/alerts/deliver-webhooks.test.ts',
  'test/audit/receipt.test.ts', // lines of a journal deleted or edited
  'test/audit/sources.test.ts',
  'test/cell/adopt-rows.test.ts',
  'test/cell/anchor-cases.ts',
  'test/cell/carry-rows.test.ts',
  'test/cell/connections.test.ts',
  'test/cell/home-queries.test.ts',
  'test/cell/keyring.test.ts',
  'test/cell/queries.test.ts',
  'test/cell/query-plans.test.ts', // statements as examples
  'test/cell/rewrap.test.ts',
  'test/cell/rows.test.ts',
  'test/cell/schema-check.shared.test.ts', // statements as examples
  'test/cell/scrub.test.ts',
  'test/cell/stores.test.ts',
  'test/cell/rows.tables.test.ts',
  'test/cli/doctor-deep.test.ts',
  'test/faults/damaged-due-work.test.ts', // damage met by due work
  'test/faults/planted.test.ts', // what is put into the file of a stopped cell
  'test/faults/attacked-rows.test.ts',
  'test/faults/tampered-rows.test.ts',
  'test/http/hostile-evidence.test.ts',
  'test/secrecy-destinations.test.ts',
  'test/rotation/grants/consent/steps-of-a-link.test.ts', // a damaged link among those that expire
  'test/rotation/grants/ended-at-the-provider.test.ts', // damaged rows beside the one that is used
  'test/rotation/grants/used-meanwhile.test.ts', // damaged during the call
  'test/rotation/grants/when-to-refresh.test.ts', // "because a row is damaged"
  'test/rotation/grants/refresh-races.test.ts', // "although one row is damaged"
  'test/rotation/keys/readers.test.ts', // "a reader whose row was edited"
  'test/rotation/grants/review.test.ts', // "when a row is damaged"
  'test/vault/aged-keys.test.ts', // "whose row is damaged"
  'test/vault/every-event-at-home.test.ts', // "as a damaged object"
  'test/vault/opening.test.ts', // "a database that is not as this build left it"
  'test/vault/rotate-root.test.ts', // "with a damaged row of a key"
  'test/vault/credentials.test.ts', // "is read anew from the database"
  'test/vault/damaged-state.test.ts',
  'test/vault/remove-credential.test.ts', // a damaged row stops nobody else
  'test/vault/rotate-keys.test.ts', // as above
  'test/cell/scrub.test.ts', // findings by part
  'test/vault/scrub.shared.test.ts', // what no request reads
  'test/vault/tenants.test.ts', // a cell in the place of another
  'test/vault/upgrade.test.ts', // rows that fail their old check
  'test/vectors/make-schemas.ts', // a build that had no map
  'test/architecture.test.ts', // statements as examples
]);

describe('the tests', () => {
  const STATEMENT =
    /\b(UPDATE|INSERT(?: OR [A-Z]+)? INTO|DELETE FROM|REPLACE INTO) (\$\{[^}]*\}|[a-z_]+)((?: SET [^\n]*?(?: WHERE |$))?)/gm;
  const writers = sources('test').flatMap(({ path, text }) =>
    [...text.matchAll(STATEMENT)]
      .filter(([, , table = '', set = '']) => isBehindTheMap(table, set))
      .map(([found]) => ({ path, found })),
  );

  /** Whether a statement changes what the map answers for; a table that is only known when it runs may be any. */
  function isBehindTheMap(table: string, set: string): boolean {
    if (table.startsWith('$')) return true;
    const declared = ANCHORED_TABLES.find((known) => known.table === table);
    if (declared === undefined) return false;
    const changed = [...set.matchAll(/(?: SET |, )([a-z_]+) = /g)].map(([, column = '']) => column);
    return changed.length === 0 || !changed.every((column) => Object.hasOwn(declared.open ?? {}, column));
  }

  test('change rows through the map (test/kit/anchored.ts), unless they are about what happens when somebody does not', () => {
    const astray = writers.filter(({ path }) => !TAMPERING.has(path)).map(({ path, found }) => `${path}: ${found}`);
    expect(astray).toEqual([]);
  });

  test('that may change them behind the map do', () => {
    const doing = new Set(writers.map(({ path }) => path));
    expect([...TAMPERING].filter((path) => !doing.has(path))).toEqual([]);
  });
});

describe('the figures', () => {
  const of = (text: string) => functionsOf({ path: 'src/vault/x.ts', text });

  test('of a function are its own, not those of the functions inside', () => {
    const inner = 'const inner = (x: number) => x > 1 && x < 3 ? 1 : (x ?? 2);';
    const [outer, nested] = of(`function outer(a: string, b = 1) {\n  ${inner}\n  if (a) return 1;\n  return inner(b);\n}`);
    expect(outer).toMatchObject({ name: 'outer', lines: 5, complexity: 2, parameters: 2 });
    expect(nested).toMatchObject({ name: 'inner', lines: 1, complexity: 4, parameters: 1 });
  });

  test('count what branches', () => {
    const text = 'class A { #m() { for (;;) { try { while (a) b(); } catch {} } switch (c) { case 1: case 2: default: } } }';
    expect(of(text)).toEqual([expect.objectContaining({ name: 'm', complexity: 6 })]);
  });

  const at = (path: string, text: string): SourceFile => ({ path, text });

  test('tell a circle of types from one that is loaded', () => {
    const a = at('src/vault/a.ts', "import type { B } from './b.ts';\nexport type A = B;");
    const b = at('src/vault/b.ts', "import { c } from './c.ts';\nexport type B = typeof c;");
    const c = at('src/vault/c.ts', "import { type A, x } from './a.ts';\nexport const c: A = x;");
    expect(circlesOf(importGraph([a, b, c], 'what is loaded'))).toEqual([]);
    expect(circlesOf(importGraph([a, b, c], 'with types'))).toEqual([['src/vault/a.ts', 'src/vault/b.ts', 'src/vault/c.ts']]);
  });

  test('find what nobody uses', () => {
    const a = at('src/vault/a.ts', 'export const used = 1;\nexport const own = 2;\nexport const dead = own;\nexport type T = 1;');
    const b = at('src/vault/b.ts', "export { used as again } from './a.ts';\nexport function lone() {}");
    const test = at('test/x.test.ts', "import { dead, lone } from '../src/vault/a.ts';");
    const found = deadExports([a, b], [], [test]).map(({ name, why }) => `${name}: ${why}`);
    expect(found).toEqual(['own: exported for nobody', 'dead: used nowhere', 'T: used nowhere', 'lone: used nowhere']);
    expect(exportsOf(a).map(({ name }) => name)).toEqual(['used', 'own', 'dead', 'T']);
  });

  test('find a bound wherever it is hidden', () => {
    const text =
      'const PAGES_MAX = 5;\nconst WAIT_MS = 2 * (60 + 1) as number;\nconst NONCE_BYTES = 12;\nconst TRIES = LIMITS.tries;';
    expect(numbersOf(at('src/vault/x.ts', text)).map(({ line, name }) => `${line} ${name}`)).toEqual([
      '1 PAGES_MAX',
      '2 WAIT_MS',
    ]);
  });
});
