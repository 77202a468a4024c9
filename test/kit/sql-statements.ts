// Every SQL statement of the product with the place in the source it comes from, recorded either as it is run over a real database, or by
// calling each method of each store with made-up arguments over none.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Row, Sql, SqlValue } from '../../src/cell/sql.ts';
import { codeOf, lineAt } from './source-text.ts';

const ROOT = join(import.meta.dirname, '../..');
const FRAME = /\/((?:src|rotation)\/[^):]+\.ts):(\d+):\d+/;
/** Of one call over made-up rows: a loop that ends when nothing is left would not end there. */
const STATEMENTS_MAX = 40;

/** Where a statement is asked for: `path:line`. */
export type Site = string;

/** Over `inner`, or, without one, answering with made-up rows. */
export type MadeUp = 'rows' | 'rows of nulls' | 'nothing at first';

export class StatementRecorder implements Sql {
  readonly statements = new Map<string, Set<Site>>();
  readonly #answered = new Map<string, number>();
  #left = STATEMENTS_MAX;
  #answers: MadeUp = 'rows';
  readonly #inner: Sql | undefined;

  constructor(inner?: Sql) {
    this.#inner = inner;
  }

  /** Before each call of a store's method. */
  begin(answers: MadeUp): void {
    this.#answers = answers;
    this.#left = STATEMENTS_MAX;
    this.#answered.clear();
  }

  all<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R[] {
    this.#note(statement);
    return this.#inner === undefined
      ? [madeUpRow(this.#answers === 'rows of nulls') as R]
      : this.#inner.all<R>(statement, ...parameters);
  }

  get<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R | undefined {
    this.#note(statement);
    if (this.#inner !== undefined) return this.#inner.get<R>(statement, ...parameters);
    const times = (this.#answered.get(statement) ?? 0) + 1;
    this.#answered.set(statement, times);
    // What is asked until nothing is left finds something twice.
    const finds = times <= 2 && !(this.#answers === 'nothing at first' && this.#answered.size === 1 && times === 1);
    return finds ? (madeUpRow(this.#answers === 'rows of nulls') as R) : undefined;
  }

  run(statement: string, ...parameters: readonly SqlValue[]): void {
    this.#note(statement);
    this.#inner?.run(statement, ...parameters);
  }

  readonly hasResidue = false;

  eraseResidue(): void {
    this.#inner?.eraseResidue();
  }

  script(statements: string): void {
    this.#inner?.script(statements);
  }

  transaction<T>(body: () => T): T {
    return this.#inner === undefined ? body() : this.#inner.transaction(body);
  }

  sizeBytes(): number {
    return this.#inner?.sizeBytes() ?? 0;
  }

  close(): void {
    this.#inner?.close();
  }

  #note(statement: string): void {
    const sites = this.statements.get(statement) ?? new Set();
    this.statements.set(statement, sites);
    const stack = new Error().stack ?? '';
    const [, path, line] = FRAME.exec(stack.replace(/^.*\/test\/.*$/gm, '')) ?? [];
    if (path !== undefined) sites.add(`${path}:${line}`);
    this.#left -= 1;
    if (this.#inner === undefined && this.#left < 0) throw new Error('so many statements of one call');
  }
}

const BYTES = /^(mac|wrapped|wrapped_key|value|bytes|leaves|frontier|hash|[a-z]+_hash)$/;
const NUMBER =
  /(_at|version|count|attempts?|fence|size|revision|events|first_index|sequence|total|done|wraps|until|generation|epoch)$/;

/** A row that has every column: bytes or a number where the name says so, else text that is JSON, too; or no number but null. */
export function madeUpRow(ofNulls = false): Row {
  const column = (name: string): SqlValue =>
    BYTES.test(name) ? new Uint8Array(40) : NUMBER.test(name) ? (ofNulls ? null : 1) : '[]';
  return new Proxy({} as Row, { get: (_target, name) => (typeof name === 'symbol' ? undefined : column(name)) });
}

/** An argument that is whatever is made of it: text, a number, a function, an object with every member, a list of one row. */
export function anything(): unknown {
  const rows: readonly unknown[] = [madeUpRow()];
  return new Proxy(() => {}, {
    get(_target, name) {
      if (name === Symbol.toPrimitive) return (hint: string) => (hint === 'number' ? 1 : 'x');
      if (name === Symbol.iterator) return () => rows[Symbol.iterator]();
      if (typeof name === 'symbol') return undefined;
      if (!(name in Array.prototype)) return anything();
      const member = Reflect.get(rows, name) as unknown;
      return typeof member === 'function' ? member.bind(rows) : member;
    },
    apply: () => anything(),
  });
}

/** Lines of the source that ask for a statement. */
export function statementSites(): Site[] {
  const files = ['src', 'rotation'].flatMap((top) =>
    readdirSync(join(ROOT, top), { recursive: true, encoding: 'utf8' }).map((file) => `${top}/${file}`),
  );
  return files
    .filter((path) => path.endsWith('.ts') && !/^src\/(node|worker|cli)\//.test(path))
    .flatMap((path) => {
      const text = readFileSync(join(ROOT, path), 'utf8');
      const calls = [...codeOf(text).matchAll(/\bsql\s*\.\s*(?=(?:all|get|run)\b)/g)];
      return calls.map((match) => `${path}:${lineAt(text, match.index + match[0].length)}`);
    });
}
