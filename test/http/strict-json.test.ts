// What the body parser accepts and refuses, against JSONTestSuite and against what stricter readers of one body must agree on.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { type JsonLimits, parseStrictJson } from '../../src/http/strict-json.ts';

const limits: JsonLimits = { maxBytes: LIMITS.bodyMaxBytes, maxDepth: LIMITS.bodyMaxDepth, maxMembers: LIMITS.bodyMaxMembers };
const bytesOf = (text: string) => new TextEncoder().encode(text);

function refusal(body: string | Uint8Array, given: JsonLimits = limits): KeyturnError {
  try {
    parseStrictJson(typeof body === 'string' ? bytesOf(body) : body, given);
  } catch (error) {
    if (error instanceof KeyturnError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

const suite = join(import.meta.dirname, '../vectors/json-parsing/test_parsing');
const files = readdirSync(suite).sort();
const outcome = (file: string) => {
  try {
    parseStrictJson(readFileSync(join(suite, file)), limits);
    return 'accepted';
  } catch (error) {
    return error instanceof KeyturnError ? error.code : `threw ${error}`;
  }
};

/** Valid JSON that we refuse on purpose, and why. */
const STRICTER_THAN_JSON: Record<string, string> = {
  'y_number.json': 'a number beyond 2^53-1',
  'y_number_real_capital_e.json': 'a number beyond 2^53-1',
  'y_number_real_exponent.json': 'a number beyond 2^53-1',
  'y_number_real_fraction_exponent.json': 'a number beyond 2^53-1',
  'y_object_duplicated_key.json': 'two members of one name',
  'y_object_duplicated_key_and_value.json': 'two members of one name',
  'y_object_extreme_numbers.json': 'a number beyond 2^53-1',
};

describe('JSONTestSuite', () => {
  test('has its 95 + 188 + 35 files', () => {
    expect(['y_', 'n_', 'i_'].map((kind) => files.filter((file) => file.startsWith(kind)).length)).toEqual([95, 188, 35]);
  });

  test('everything that must be accepted is accepted, but for what we refuse on purpose', () => {
    const refused = files.filter((file) => file.startsWith('y_') && outcome(file) !== 'accepted');
    expect(refused).toEqual(Object.keys(STRICTER_THAN_JSON));
  });

  test('everything that must be refused is refused as malformed or too deep', () => {
    const odd = files.filter((file) => file.startsWith('n_') && !['malformed_json', 'invalid_request'].includes(outcome(file)));
    expect(odd).toEqual([]);
  });

  test('of what is left free (bad UTF-8, half surrogates, huge numbers, depth 500, a byte order mark) nothing is accepted', () => {
    const free = files.filter((file) => file.startsWith('i_'));
    expect(free.filter((file) => outcome(file) === 'accepted')).toEqual([]);
    const refusedForTheirContent = free.filter((file) => outcome(file) === 'invalid_request');
    expect(refusedForTheirContent).toEqual([
      'i_number_double_huge_neg_exp.json',
      'i_number_huge_exp.json',
      'i_number_neg_int_huge_exp.json',
      'i_number_pos_double_huge_exp.json',
      'i_number_real_neg_overflow.json',
      'i_number_real_pos_overflow.json',
      'i_number_real_underflow.json',
      'i_number_too_big_neg_int.json',
      'i_number_too_big_pos_int.json',
      'i_number_very_big_negative_int.json',
      'i_structure_500_nested_arrays.json',
    ]);
  });
});

describe('a body', () => {
  test.each([
    ['{"a":1,"b":{"c":[1,2,{"d":1,"d":2}]}}', '/b/c/2/d', 'two members of one name'],
    ['{"name":1,"n\\u0061me":2}', '/name', 'two members of one name, one of them escaped'],
    ['{"a":{"__proto__":{"x":1}}}', '/a/__proto__', 'a prototype member'],
    ['{"a":{"__pr\\u006fto__":{"x":1}}}', '/a/__proto__', 'an escaped prototype member'],
    ['{"constructor":{"prototype":{}}}', '/constructor', 'a constructor member'],
    ['[[],[{"prototype":1}]]', '/1/0/prototype', 'a prototype member in a list'],
    ['{"n":9007199254740992}', '/n', 'an integer beyond 2^53-1'],
    ['{"n":-9007199254740993}', '/n', 'a negative integer beyond 2^53-1'],
    ['{"n":1e400}', '/n', 'an infinite number'],
    ['{"n":-0.1e-400}', '/n', 'a number that would become 0'],
  ])('%s is refused at %s: %s', (body, pointer) => {
    expect(refusal(body)).toMatchObject({ code: 'invalid_request', pointer });
  });

  test.each([
    ['{"s":"\\ud800"}', 'a lone high surrogate'],
    ['{"s":"\\udc00\\ud800"}', 'surrogates in the wrong order'],
    ['{"s":"\\ud83d\\n"}', 'half a pair before another escape'],
    ['\ufeff{}', 'a byte order mark'],
    ['{} {}', 'a second value'],
    ['', 'nothing'],
    ['{"a":1,}', 'a comma too many'],
    ['NaN', 'a word of another language'],
  ])('%j is malformed: %s', (body) => {
    expect(refusal(body).code).toBe('malformed_json');
  });

  test('is refused when its bytes are not UTF-8, be they overlong, cut or a surrogate', () => {
    for (const bytes of [
      [0x22, 0xc0, 0xaf, 0x22],
      [0x22, 0xe2, 0x82, 0x22],
      [0x22, 0xed, 0xa0, 0x80, 0x22],
      [0xff, 0xfe],
    ]) {
      expect(refusal(Uint8Array.from(bytes)).code).toBe('malformed_json');
    }
  });

  test('may be as deep, as wide and as long as its limits and no more', () => {
    const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth);
    expect(parseStrictJson(bytesOf(nested(32)), limits)).toBeTruthy();
    expect(refusal(nested(33))).toMatchObject({ code: 'invalid_request', message: expect.stringContaining('32 levels') });
    const list = (length: number) => JSON.stringify(Array.from({ length }, () => 0));
    expect(parseStrictJson(bytesOf(list(2_000)), limits)).toHaveLength(2_000);
    expect(refusal(list(2_001))).toMatchObject({ code: 'invalid_request', pointer: '/2000' });
    const exact = bytesOf(JSON.stringify('x'.repeat(98)));
    expect(parseStrictJson(exact, { ...limits, maxBytes: 100 })).toHaveLength(98);
    expect(refusal(exact, { ...limits, maxBytes: 99 }).code).toBe('payload_too_large');
  });

  test('costs bounded CPU time whatever it is made of, even with a limit of 4 MB (DS-01)', () => {
    const wide = { ...limits, maxBytes: 4_000_000 };
    const hostile = {
      'two million levels': '['.repeat(2_000_000),
      'two million objects': '{"a":'.repeat(700_000),
      'a million names': `{${Array.from({ length: 250_000 }, (_, i) => `"k${i}":0`).join(',')}}`,
      'one long number': '9'.repeat(4_000_000),
      'one long fraction': `0.${'0'.repeat(3_900_000)}`,
      'one long string of escapes': `"${'\\u0041'.repeat(600_000)}`,
      spaces: ' '.repeat(4_000_000),
    };
    parseStrictJson(bytesOf('{"warm":"up"}'), limits);
    for (const [name, text] of Object.entries(hostile)) {
      const bytes = bytesOf(text);
      const before = process.cpuUsage();
      try {
        parseStrictJson(bytes, wide);
      } catch (error) {
        expect(error).toBeInstanceOf(KeyturnError);
      }
      // CPU time, not the clock's: other work on the machine is not this parser's. A quiet machine takes below 50 ms.
      const { user, system } = process.cpuUsage(before);
      expect((user + system) / 1_000, name).toBeLessThan(250);
    }
  });

  test('comes out exactly as JSON.parse reads it, whatever plain JSON it is', () => {
    const plain = fc.jsonValue({ maxDepth: 5 }).filter((value) => {
      const text = JSON.stringify(value);
      const numbers = text.match(/-?[0-9.]+e[+-]?[0-9]+|-?[0-9.]+/g) ?? [];
      return (
        !/__proto__|constructor|prototype|\\u[dD]/.test(text) &&
        numbers.every((n) => Math.abs(Number(n)) <= Number.MAX_SAFE_INTEGER)
      );
    });
    fc.assert(
      fc.property(plain, fc.integer({ min: 0, max: 3 }), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(parseStrictJson(bytesOf(text), limits)).toEqual(JSON.parse(text));
      }),
    );
  });

  test('is read by nothing that JSON.parse would refuse', () => {
    const alphabet = fc.constantFrom(...'[]{}",:0123.eE+-tfn \\u\n', 'true', 'null', '"a"', '"a":');
    fc.assert(
      fc.property(fc.array(alphabet, { maxLength: 24 }), (parts) => {
        const text = parts.join('');
        let ours = true;
        try {
          parseStrictJson(bytesOf(text), limits);
        } catch (error) {
          // A SyntaxError here would mean that our scan passed what JSON.parse then refused.
          expect(error).toBeInstanceOf(KeyturnError);
          ours = false;
        }
        if (ours) expect(() => JSON.parse(text)).not.toThrow();
      }),
      { numRuns: 20_000 },
    );
  });
});

describe('a refusal', () => {
  const canary = 'canary-not-a-real-secret-0123456789';

  test('never shows a value or a piece of the body', () => {
    for (const body of [
      `{"value":"${canary}`,
      `{"value":"${canary}"`,
      `{"value":${canary}}`,
      `{"value":"${canary}","value":1}`,
    ]) {
      const error = refusal(body);
      expect(JSON.stringify([error.message, error.pointer, error.extra, error.evidence, error.cause])).not.toContain('canary');
      expect(error.pointer).toBe('/value');
    }
  });

  test('stops its pointer above a name that is long or odd enough to be a secret', () => {
    expect(refusal(`{"labels":{"${canary}":{"x":1,"x":2}}}`).pointer).toBe('/labels');
    expect(refusal('{"labels":{"a/b~c":{"x":1,"x":2}}}').pointer).toBe('/labels');
  });
});
