// CR-01, CR-03: no store returns an unchecked whole row, nor writes or removes one: computing a new MAC would turn a forged row into a genuine
// one. Calls every method of every store in src/cell with rows that are marked until they are checked.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { fail } from '../../src/base/errors.ts';
import { ANCHORED_TABLES, tableOf } from '../../src/cell/tables.ts';
import { caughtCode } from '../kit/outcome.ts';
import { anything } from '../kit/sql-statements.ts';

const STORES = join(import.meta.dirname, '../../src/cell');

/** Methods that return unchecked rows, each with the reason. */
const UNCHECKED: Readonly<Record<string, string>> = {
  'CredentialStore.dueForDestruction': 'the caller reads the checked row by id before it destroys one',
};

const MARK = Symbol('unchecked');
type Marked = Record<string | symbol, unknown>;

const wholeRowTables = ANCHORED_TABLES.map(({ table }) => table);

/** Whether a statement reads whole rows of a table of the map. */
function readsWholeRows(statement: string): boolean {
  return wholeRowTables.some((table) => {
    const { select } = tableOf(table);
    return statement.startsWith(select) || new RegExp(`^SELECT \\* FROM ${table}\\b`).test(statement);
  });
}

const COLUMNS = new Set(
  ANCHORED_TABLES.flatMap(({ id, columns, later = [] }) => [...id, ...columns, ...later.map(({ name }) => name), 'grants']),
);
const TEXTS = /^(grants|kinds|networks|patterns|jwks)$/;

/** A row with every column; a copy keeps the mark, because a copy of an unchecked row is unchecked. */
function unchecked(): Marked {
  const row: Marked = { [MARK]: true };
  for (const name of COLUMNS) row[name] = TEXTS.test(name) ? '[]' : name === 'state' || name === 'health' ? 'open' : 1;
  return row;
}

const isMarked = (value: unknown): boolean => typeof value === 'object' && value !== null && (value as Marked)[MARK] === true;
const carries = (value: unknown): boolean => (Array.isArray(value) ? value.some(isMarked) : isMarked(value));

function check<T>(row: T): T {
  if (!isMarked(row)) return row;
  const { [MARK]: _mark, ...rest } = row as Marked;
  return rest as T;
}

interface Book {
  violations: Set<string>;
  method: string;
  asked: number;
}

const newBook = (): Book => ({ violations: new Set(), method: '', asked: 0 });

function lent(book: Book): unknown {
  const note = (what: string) => void book.violations.add(`${book.method} ${what}`);
  const answer = (statement: string): Marked => {
    book.asked += 1;
    if (book.asked > 40) throw new Error('more than 40 statements in one call');
    const row = unchecked();
    return readsWholeRows(statement) ? row : check(row);
  };
  const sql = { all: (text: string) => [answer(text)], get: answer, run: () => {}, transaction: (body: () => unknown) => body() };
  const refuse = (what: string) => (rows: unknown) => {
    if (carries(rows)) note(what);
  };
  const of = (table: string) => ({
    select: tableOf(table).select,
    count: 0,
    checked: check,
    intact: (rows: unknown[]) => rows.map(check),
    page: (maxRows: number, read: (last: unknown, rows: number) => unknown[]) => read(undefined, maxRows).map(check),
    absentById: () => undefined,
    absentByName: () => undefined,
    insert: refuse('inserts an unchecked row'),
    update: refuse('seals an unchecked row'),
    // `remove` checks the rows itself (rows.ts) and needs whole rows; `destroy` needs ids only.
    remove: (rows: unknown[]) => {
      if (rows.some((row) => !isMarked(row))) note('removes rows that are not whole');
    },
    destroy: () => {},
    freeName: () => {},
    reseal: () => 0,
  });
  return Object.assign(sql, { sql, kind: 'tenant', keyring: anything(), anchor: anything(), of, log: anything() });
}

type Callable = (...given: unknown[]) => unknown;

async function walkStores(): Promise<{ violations: string[]; methods: number }> {
  const book = newBook();
  const lend = lent(book);
  let methods = 0;
  for (const file of readdirSync(STORES).filter((name) => name.endsWith('.ts'))) {
    const module = (await import(join(STORES, file))) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) {
      if (typeof value !== 'function' || !name.endsWith('Store')) continue;
      for (const member of Object.getOwnPropertyNames(value.prototype)) {
        if (member === 'constructor') continue;
        methods += 1;
        Object.assign(book, { method: `${name}.${member}`, asked: 0 });
        try {
          const store = new (value as unknown as new (rows: unknown) => Record<string, Callable>)(lend);
          const given = store[member]?.(...Array.from({ length: 6 }, anything));
          if (carries(given)) book.violations.add(`${book.method} returns an unchecked row`);
        } catch {
          // Everything returned or written before the error was examined.
        }
      }
    }
  }
  return { violations: [...book.violations].sort(), methods };
}

/** Methods without an access, each with the reason. */
const WITHOUT_ACCESS: Readonly<Record<string, string>> = {
  'KeyRotationStore.usesOf': 'it answers only whether a row uses a key, over several batches',
  'TokenStore.whenRevoked': 'it takes a listener',
  'UserStore.whenChanged': 'it takes a listener',
  'WorkloadStore.whenChanged': 'it takes a listener',
};

/** The methods of every store that return for an access that has ended. */
async function walkWithEndedAccess(): Promise<string[]> {
  const ended = { check: () => fail('internal', 'this access has ended') };
  const open: string[] = [];
  for (const file of readdirSync(STORES).filter((name) => name.endsWith('.ts'))) {
    const module = (await import(join(STORES, file))) as Record<string, unknown>;
    for (const [name, value] of Object.entries(module)) {
      if (typeof value !== 'function' || !name.endsWith('Store')) continue;
      for (const member of Object.getOwnPropertyNames(value.prototype)) {
        if (member === 'constructor') continue;
        const store = new (value as unknown as new (rows: unknown) => Record<string, Callable>)(lent(newBook()));
        const code = caughtCode(() => store[member]?.(ended, ...Array.from({ length: 5 }, anything)));
        if (code !== 'internal') open.push(`${name}.${member}`);
      }
    }
  }
  return open.sort();
}

describe('an access that has ended', () => {
  it('opens no method of a store', async () => {
    expect(await walkWithEndedAccess()).toEqual(Object.keys(WITHOUT_ACCESS));
  });
});

describe('a whole row of the map', () => {
  it('is checked before a store returns, seals or removes it', async () => {
    const { violations, methods } = await walkStores();
    expect(methods).toBeGreaterThan(60);
    expect(violations.filter((one) => UNCHECKED[one.split(' ')[0] ?? ''] === undefined)).toEqual([]);
  });

  it('is returned unchecked only by listed methods, and every listed method does so', async () => {
    const { violations } = await walkStores();
    const used = new Set(violations.map((one) => one.split(' ')[0]));
    expect(Object.keys(UNCHECKED).filter((name) => !used.has(name))).toEqual([]);
  });
});
