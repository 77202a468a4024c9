import fc from 'fast-check';
import { expect, it } from 'vitest';
import { checkRowMac, type MacColumn, rowMac } from '../../src/crypto/row-mac.ts';
import { failureOf, hex, madeUpKey, refusalOf, utf8 } from './fixtures.ts';

const { key } = madeUpKey();
const columns: fc.Arbitrary<MacColumn[]> = fc.array(
  fc.oneof(
    fc.constant(null),
    fc.string({ unit: 'grapheme', maxLength: 5 }),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
    fc.uint8Array({ maxLength: 5 }),
  ),
  { maxLength: 4 },
);
const plain = (row: readonly MacColumn[]) =>
  JSON.stringify(row.map((column) => (column instanceof Uint8Array ? { blob: hex(column) } : column)));

it('accepts the row it was made for', () => {
  fc.assert(
    fc.property(columns, (row) => {
      expect(() => checkRowMac(key, 'credential', 'crd_1', row, rowMac(key, 'credential', 'crd_1', row))).not.toThrow();
    }),
  );
});

it('is equal only for equal rows', () => {
  const mac = (row: readonly MacColumn[]) => hex(rowMac(key, 'credential', 'crd_1', row));
  fc.assert(fc.property(columns, columns, (a, b) => (mac(a) === mac(b)) === (plain(a) === plain(b))));
});

it.each([
  ['null and the empty text', [null], ['']],
  ['null and zero', [null], [0]],
  ['the empty text and no bytes', [''], [new Uint8Array(0)]],
  ['a number and its text', [1], ['1']],
  ['a text and its bytes', ['a'], [utf8('a')]],
  ['another split of the same text', ['ab', 'c'], ['a', 'bc']],
  ['another order', ['a', 'b'], ['b', 'a']],
  ['one more null', ['a'], ['a', null]],
  ['true as 1 and as 1.0000000000000002', [1], [1.0000000000000002]],
] as [string, MacColumn[], MacColumn[]][])('tells apart %s', (_, a, b) => {
  const mac = rowMac(key, 'credential', 'crd_1', a);
  expect(refusalOf(() => checkRowMac(key, 'credential', 'crd_1', b, mac))).toBe('integrity: credential: mac mismatch');
});

it('is bound to table, object and key', () => {
  const mac = rowMac(key, 'credential', 'crd_1', ['active']);
  expect(mac.byteLength).toBe(32);
  expect(failureOf(() => checkRowMac(key, 'workload', 'crd_1', ['active'], mac)).code).toBe('integrity');
  expect(failureOf(() => checkRowMac(key, 'credential', 'crd_2', ['active'], mac)).code).toBe('integrity');
  expect(failureOf(() => checkRowMac(madeUpKey().key, 'credential', 'crd_1', ['active'], mac)).code).toBe('integrity');
  expect(failureOf(() => checkRowMac(key, 'credential', 'crd_1', ['active'], mac.subarray(0, 31))).code).toBe('integrity');
  expect(failureOf(() => checkRowMac(key, 'credential', 'crd_1', ['active'], new Uint8Array(0))).code).toBe('integrity');
});

it('treats 0 and -0 as the same number, as a database does', () => {
  expect(hex(rowMac(key, 'credential', 'crd_1', [-0]))).toBe(hex(rowMac(key, 'credential', 'crd_1', [0])));
});

it('refuses values that a database column cannot store', () => {
  expect(failureOf(() => rowMac(key, 'credential', 'crd_1', [Number.NaN])).code).toBe('internal');
  expect(failureOf(() => rowMac(key, 'credential', 'crd_1', ['\ud800'])).code).toBe('internal');
});
