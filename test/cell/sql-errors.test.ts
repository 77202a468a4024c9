// Every result code of SQLite, as each driver gives it, in Keyturn's words: no message of SQLite reaches a caller.
import { describe, expect, it } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { isConstraintError, refusePromise, toSqlError } from '../../src/cell/sql-errors.ts';

const CODES = [
  ['SQLITE_FULL', 'storage_full'],
  ['SQLITE_IOERR', 'storage_unavailable'],
  ['SQLITE_IOERR_FSYNC', 'storage_unavailable'],
  ['SQLITE_READONLY_DBMOVED', 'storage_unavailable'],
  ['SQLITE_CANTOPEN', 'storage_unavailable'],
  ['SQLITE_PERM', 'storage_unavailable'],
  ['SQLITE_NOMEM', 'storage_unavailable'],
  ['SQLITE_PROTOCOL', 'storage_unavailable'],
  ['SQLITE_CORRUPT_VTAB', 'integrity'],
  ['SQLITE_NOTADB', 'integrity'],
  ['SQLITE_BUSY', 'conflict'],
  ['SQLITE_LOCKED', 'conflict'],
  ['SQLITE_MISUSE', 'internal'],
  ['SQLITE_ERROR', 'internal'],
] as const;

const CONSTRAINTS = [
  ['SQLITE_CONSTRAINT_UNIQUE', 'unique'],
  ['SQLITE_CONSTRAINT_PRIMARYKEY', 'unique'],
  ['SQLITE_CONSTRAINT_ROWID', 'unique'],
  ['SQLITE_CONSTRAINT_FOREIGNKEY', 'foreign_key'],
  ['SQLITE_CONSTRAINT_NOTNULL', 'not_null'],
  ['SQLITE_CONSTRAINT_CHECK', 'check'],
  ['SQLITE_CONSTRAINT_TRIGGER', 'other'],
] as const;

const SAID = 'table.column says';
const onNode = (code: string) => Object.assign(new Error(SAID), { code });
const primaryOf = (code: string) => code.split('_', 2).join('_');
const inWorkerd = (code: string) =>
  new Error(primaryOf(code) === code ? `${SAID}: ${code}` : `${SAID}: ${primaryOf(code)} (extended: ${code})`);

describe.each([
  ['on Node', onNode],
  ['in workerd', inWorkerd],
])('an error of SQLite %s', (_runtime, errorOf) => {
  it.each(CODES)('%s is %s', (code, expected) => {
    const cause = errorOf(code);
    const error = toSqlError(cause) as KeyturnError;
    expect(error).toBeInstanceOf(KeyturnError);
    expect(error).toMatchObject({ code: expected, evidence: cause.message, cause });
    expect(error.message).not.toContain(SAID);
    expect(isConstraintError(error)).toBe(false);
  });

  it.each(CONSTRAINTS)('%s is a constraint of kind %s', (code, kind) => {
    const cause = errorOf(code);
    const error = toSqlError(cause) as KeyturnError;
    expect(error).toMatchObject({ code: kind === 'unique' ? 'conflict' : 'internal', kind, evidence: cause.message, cause });
    expect(error.message).not.toContain(SAID);
    expect(isConstraintError(error)).toBe(true);
    for (const other of ['unique', 'foreign_key', 'not_null', 'check', 'other'] as const)
      expect(isConstraintError(error, other)).toBe(other === kind);
  });
});

/** What SQLite says of a statement that does not fit the schema. */
const FOREIGN = [
  'no such table: credential',
  'no such index: credential_by_name',
  'no such column: mac',
  'no such view: credential',
  'no query solution',
  'table credential has no column named mac',
  'table schema_step already exists',
  'duplicate column name: origin',
  'malformed database schema (credential_by_name)',
  'ON CONFLICT clause does not match any PRIMARY KEY or UNIQUE constraint',
  'foreign key mismatch - "run" referencing "credential"',
  'cannot modify credential because it is a view',
];

describe('a statement that does not fit the tables', () => {
  it.each(FOREIGN)('is damage of the database: %s', (message) => {
    const errors = [
      Object.assign(new Error(message), { code: 'SQLITE_ERROR' }),
      new Error(`${message}: SQLITE_ERROR`),
      new Error(`${message}: SQLITE_ERROR (extended: SQLITE_ERROR_MISSING_COLLSEQ)`),
    ];
    for (const cause of errors) {
      const error = toSqlError(cause) as KeyturnError;
      expect(error).toMatchObject({ code: 'integrity', evidence: cause.message, cause });
      expect(error.message).toBe('the tables of the database are not those of this service');
    }
    expect(toSqlError(Object.assign(new Error(message), { code: 'SQLITE_FULL' }))).toMatchObject({ code: 'storage_full' });
  });
});

describe('what is no error of SQLite', () => {
  it.each([
    ['one of ours', new KeyturnError('forbidden', 'no')],
    ['one of the body', new RangeError('no')],
    ['one with a code of another kind', Object.assign(new Error('no'), { code: 'ENOSPC' })],
    ['one with a number as code', Object.assign(new Error('no'), { code: 13 })],
    ['one that mentions a code', new Error(`${SAID}: SQLITE_FULL, it says`)],
    ['a text', 'SQLITE_FULL'],
    ['nothing', undefined],
    ['a look-alike', { code: 'SQLITE_FULL', message: SAID }],
  ])('stays as it is: %s', (_what, error) => {
    expect(toSqlError(error)).toBe(error);
    expect(isConstraintError(error)).toBe(false);
  });
});

const thenable = (then: unknown) => Object.fromEntries([['then', then]]);

describe('the result of a transaction', () => {
  it('is no promise, and anything else is handed on', () => {
    for (const value of [undefined, null, 0, '', thenable(1), [1]]) expect(refusePromise(value)).toBe(value);
    for (const promise of [Promise.resolve(), thenable(() => {})])
      expect(() => refusePromise(promise)).toThrow(expect.objectContaining({ code: 'internal' }));
  });
});
