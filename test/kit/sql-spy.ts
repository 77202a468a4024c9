// An Sql that writes down what is asked of it and can make the next commit fail, over any other Sql.
import { KeyturnError } from '../../src/base/errors.ts';
import type { Row, Sql, SqlValue } from '../../src/cell/sql.ts';

export class SqlSpy implements Sql {
  /** `begin`, `commit`, `rollback` of outermost transactions, and every statement's first word and table between them. */
  readonly log: string[] = [];
  readonly #inner: Sql;
  #depth = 0;
  #failures = 0;
  #failReads = false;

  constructor(inner: Sql) {
    this.#inner = inner;
  }

  /** The next `count` outermost transactions do all their work and then fail to commit. */
  failCommits(count = 1): void {
    this.#failures = count;
  }

  /** While true, everything outside a transaction fails as on a dead disk. */
  failReads(yes: boolean): void {
    this.#failReads = yes;
  }

  count(what: string): number {
    return this.log.filter((entry) => entry === what).length;
  }

  all<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R[] {
    this.#note(statement);
    return this.#inner.all<R>(statement, ...parameters);
  }

  get<R extends object = Row>(statement: string, ...parameters: readonly SqlValue[]): R | undefined {
    this.#note(statement);
    return this.#inner.get<R>(statement, ...parameters);
  }

  run(statement: string, ...parameters: readonly SqlValue[]): void {
    this.#note(statement);
    this.#inner.run(statement, ...parameters);
  }

  script(statements: string): void {
    this.#inner.script(statements);
  }

  transaction<T>(body: () => T): T {
    if (this.#depth > 0) return this.#nested(body);
    this.log.push('begin');
    try {
      const result = this.#inner.transaction(() => {
        const value = this.#nested(body);
        if (this.#failures > 0) {
          this.#failures -= 1;
          throw new KeyturnError('storage_full', 'the disk or the database is full');
        }
        return value;
      });
      this.log.push('commit');
      return result;
    } catch (error) {
      this.log.push('rollback');
      throw error;
    }
  }

  get hasResidue(): boolean {
    return this.#inner.hasResidue;
  }

  eraseResidue(): void {
    this.#inner.eraseResidue();
  }

  sizeBytes(): number {
    return this.#inner.sizeBytes();
  }

  close(): void {
    this.#inner.close();
  }

  #nested<T>(body: () => T): T {
    this.#depth += 1;
    try {
      return this.#depth === 1 ? body() : this.#inner.transaction(body);
    } finally {
      this.#depth -= 1;
    }
  }

  #note(statement: string): void {
    if (this.#failReads && this.#depth === 0)
      throw new KeyturnError('storage_unavailable', 'the database could not be read or written');
    this.log.push(statement.replace(/^(\w+ (?:INTO |FROM )?\w+).*$/s, '$1'));
  }
}
