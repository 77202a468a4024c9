import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalJson } from '../../src/crypto/canonical-json.ts';
import cases from '../vectors/jcs/cases.json' with { type: 'json' };
import { failureOf, hex, utf8 } from './fixtures.ts';

describe('RFC 8785', () => {
  it.each(Object.entries(cases))('writes %s as published', (_, { input, output, outhex }) => {
    const written = canonicalJson(JSON.parse(input));
    expect(written).toBe(output);
    expect(hex(utf8(written))).toBe(outhex.replace(/\s/g, ''));
  });

  it('has all six published cases', () => {
    expect(Object.keys(cases)).toHaveLength(6);
  });

  // RFC 8785 appendix B
  it.each([
    [0, '0'],
    [-0, '0'],
    [5e-324, '5e-324'],
    [1.7976931348623157e308, '1.7976931348623157e+308'],
    [9007199254740992, '9007199254740992'],
    [295147905179352830000, '295147905179352830000'],
    [9.999999999999997e22, '9.999999999999997e+22'],
    [1e23, '1e+23'],
    [0.000001, '0.000001'],
    [1e-7, '1e-7'],
  ])('writes the number %d as %s', (number, text) => {
    expect(canonicalJson(number)).toBe(text);
  });
});

it('writes equal values equally, for any order of members, and loses nothing', () => {
  fc.assert(
    fc.property(fc.jsonValue({ stringUnit: 'grapheme', maxDepth: 4 }), (value) => {
      const written = canonicalJson(value);
      expect(JSON.parse(written)).toEqual(JSON.parse(JSON.stringify(value)));
      expect(canonicalJson(JSON.parse(written))).toBe(written);
    }),
  );
  expect(canonicalJson({ b: 1, a: { d: 1, c: 2 } })).toBe(canonicalJson({ a: { c: 2, d: 1 }, b: 1 }));
});

it('keeps a member named __proto__', () => {
  expect(canonicalJson(JSON.parse('{"__proto__":1,"a":2}'))).toBe('{"__proto__":1,"a":2}');
});

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
it.each([
  ['undefined', undefined],
  ['an undefined member', { a: undefined }],
  ['NaN', [Number.NaN]],
  ['infinity', Number.POSITIVE_INFINITY],
  ['a bigint', 1n],
  ['a function', () => 1],
  ['a symbol', Symbol('x')],
  ['a member named by a symbol', { [Symbol('x')]: 1 }],
  ['a date', new Date(0)],
  ['bytes', new Uint8Array(1)],
  ['a map', new Map()],
  ['a hole', new Array(1)],
  ['an own toJSON', { toJSON: () => 'x' }],
  ['a lone surrogate', '\ud800'],
  ['a name with a lone surrogate', { '\udfff': 1 }],
  ['a cycle', cyclic],
])('refuses %s', (_, value) => {
  expect(failureOf(() => canonicalJson(value)).code).toBe('invalid_request');
});

it('takes an object without a prototype', () => {
  expect(canonicalJson(Object.assign(Object.create(null), { a: 1 }))).toBe('{"a":1}');
});

it.each([
  ['lists', '[', ']'],
  ['objects', '{"a":', '}'],
])('takes a value inside 64 %s, and no deeper', (_, open, close) => {
  const nested = (depth: number) => `${open.repeat(depth)}1${close.repeat(depth)}`;
  expect(canonicalJson(JSON.parse(nested(64)))).toBe(nested(64));
  expect(failureOf(() => canonicalJson(JSON.parse(nested(65)))).code).toBe('invalid_request');
});
