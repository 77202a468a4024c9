import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { headerOf, open, PURPOSES, prepareOpen, type SealContext, SUITES, seal } from '../../src/crypto/envelope.ts';
import { CONTEXT, failureOf, flipBit, hex, madeUpKey, refusalOf, text, utf8 } from './fixtures.ts';

const key = madeUpKey();
const word = fc.string({ unit: 'grapheme', maxLength: 20 });
const contexts: fc.Arbitrary<SealContext> = fc.record({
  installationId: word,
  tenantId: word,
  purpose: fc.constantFrom(...PURPOSES, 'root' as const),
  field: word,
  objectId: word,
  version: fc.maxSafeNat(),
});

describe('sealing and opening', () => {
  it('returns every plaintext in every context', () => {
    fc.assert(
      fc.property(contexts, fc.uint8Array({ maxLength: 2000 }), (context, plaintext) => {
        const sealed = seal(key, context, plaintext);
        expect(hex(open(key, context, sealed).reveal((bytes) => Uint8Array.from(bytes)))).toBe(hex(plaintext));
      }),
    );
  });

  it('adds 129 bytes under a 28-character key id', () => {
    expect(seal(key, CONTEXT, utf8('not-a-real-secret')).byteLength).toBe(17 + 129);
  });

  it('returns different bytes each time', () => {
    expect(hex(seal(key, CONTEXT, utf8('x')))).not.toBe(hex(seal(key, CONTEXT, utf8('x'))));
  });

  it('opens a blob that is a view into a larger buffer', () => {
    const sealed = seal(key, CONTEXT, utf8('not-a-real-secret'));
    const larger = new Uint8Array(sealed.byteLength + 20);
    larger.set(sealed, 7);
    const view = larger.subarray(7, 7 + sealed.byteLength);
    expect(text(prepareOpen(key, CONTEXT, view).open())).toBe('not-a-real-secret');
  });

  it('returns a new buffer at each open of a prepared blob, so that a caller may wipe it', () => {
    const prepared = prepareOpen(key, CONTEXT, seal(key, CONTEXT, utf8('not-a-real-secret')));
    const first = prepared.open();
    first.fill(0);
    expect(text(prepared.open())).toBe('not-a-real-secret');
    expect(first.buffer).not.toBe(prepared.open().buffer);
  });

  it('reads the suite and the key id without opening', () => {
    const sealed = seal(madeUpKey('key_0123456789abcdefghjkmnpq', 4_000_000_000), CONTEXT, utf8('x'));
    expect(headerOf(sealed)).toEqual({ suite: 1, keyId: 'key_0123456789abcdefghjkmnpq', keyVersion: 4_000_000_000 });
  });

  it('writes exactly one suite', () => {
    expect([...SUITES.values()].filter((suite) => suite.writable)).toHaveLength(1);
    expect(SUITES.get(headerOf(seal(key, CONTEXT, utf8('x'))).suite)?.writable).toBe(true);
  });
});

describe('a changed blob', () => {
  it('fails for every single flipped bit', () => {
    const sealed = seal(key, CONTEXT, utf8('not-a-real-secret'));
    const evidence = new Set<string>();
    for (let bit = 0; bit < sealed.byteLength * 8; bit++) {
      const failure = failureOf(() => prepareOpen(key, CONTEXT, flipBit(sealed, bit)).open());
      expect(failure.code, `bit ${bit}`).toBe('integrity');
      evidence.add(failure.evidence as string);
    }
    expect([...evidence].sort()).toEqual(['commit mismatch', 'malformed', 'tag mismatch', 'unknown suite', 'wrong key']);
  });

  it('fails for every shorter length and for trailing bytes', () => {
    const sealed = seal(key, CONTEXT, utf8('not-a-real-secret'));
    for (let length = 0; length < sealed.byteLength; length++) {
      expect(failureOf(() => prepareOpen(key, CONTEXT, sealed.subarray(0, length)).open()).code, `${length} bytes`).toBe(
        'integrity',
      );
    }
    for (let length = 0; length < 120; length++)
      expect(failureOf(() => headerOf(sealed.slice(0, length))).code, `${length} bytes of their own`).toBe('integrity');
    const longer = Uint8Array.from([...sealed, 0]);
    expect(refusalOf(() => prepareOpen(key, CONTEXT, longer).open())).toBe('integrity: tag mismatch');
  });

  it('is refused with every unknown suite and format', () => {
    const sealed = seal(key, CONTEXT, utf8('x'));
    for (let value = 0; value < 256; value++) {
      const format = Uint8Array.from(sealed);
      format[2] = value;
      const suite = Uint8Array.from(sealed);
      suite[3] = value;
      if (value === 1) continue;
      expect(refusalOf(() => headerOf(format))).toBe('integrity: malformed');
      expect(refusalOf(() => headerOf(suite))).toBe('integrity: unknown suite');
    }
  });

  it('is malformed with another first byte than both of the magic', () => {
    const sealed = seal(key, CONTEXT, utf8('x'));
    for (const at of [0, 1]) expect(refusalOf(() => headerOf(flipBit(sealed, at * 8)))).toBe('integrity: malformed');
  });

  it('gives the caller one message for every fault, and the reason to the log only', () => {
    const sealed = seal(key, CONTEXT, utf8('not-a-real-secret'));
    const failures = [
      failureOf(() => prepareOpen(key, CONTEXT, sealed.subarray(0, 3))),
      failureOf(() => prepareOpen(madeUpKey(), CONTEXT, sealed)),
      failureOf(() => prepareOpen(madeUpKey('key_other'), CONTEXT, sealed)),
      failureOf(() => prepareOpen(key, CONTEXT, flipBit(sealed, sealed.byteLength * 8 - 1)).open()),
    ];
    expect(new Set(failures.map((failure) => failure.message))).toEqual(new Set(['stored data failed its check']));
    expect(failures.map((failure) => failure.evidence)).toEqual(['malformed', 'commit mismatch', 'wrong key', 'tag mismatch']);
  });
});

it('draws every byte of salt and nonce anew', () => {
  const drawn = Array.from({ length: 16 }, () =>
    seal(key, CONTEXT, utf8('x')).subarray(9 + key.id.length, 9 + key.id.length + 44),
  );
  for (let at = 0; at < 44; at++) expect(new Set(drawn.map((bytes) => bytes[at])).size, `byte ${at}`).toBeGreaterThan(1);
});

it('names a key by an id of 64 characters', () => {
  const named = { ...key, id: 'k'.repeat(64) };
  expect(headerOf(seal(named, CONTEXT, utf8('x')))).toEqual({ suite: 1, keyId: named.id, keyVersion: named.version });
});

describe('a blob in another context', () => {
  it.each([
    ['installation', { installationId: 'ins_other' }],
    ['tenant', { tenantId: 'ten_other' }],
    ['purpose', { purpose: 'oauth_token' }],
    ['field', { field: 'credential_version.retained' }],
    ['object', { objectId: 'crd_other' }],
    ['version', { version: 2 }],
  ] satisfies [string, Partial<SealContext>][])('does not open as that of another %s', (_, change) => {
    const sealed = seal(key, CONTEXT, utf8('not-a-real-secret'));
    expect(refusalOf(() => open(key, { ...CONTEXT, ...change }, sealed))).toBe('integrity: commit mismatch');
  });

  it('opens only in the context it was sealed for', () => {
    fc.assert(
      fc.property(contexts, contexts, (context, other) => {
        fc.pre(JSON.stringify(context) !== JSON.stringify(other));
        const sealed = seal(key, context, utf8('x'));
        expect(refusalOf(() => open(key, other, sealed))).toBe('integrity: commit mismatch');
      }),
    );
  });

  it('does not open when adjacent fields differ but their joined text is equal', () => {
    const sealed = seal(key, { ...CONTEXT, field: 'ab', objectId: 'c' }, utf8('x'));
    expect(refusalOf(() => open(key, { ...CONTEXT, field: 'a', objectId: 'bc' }, sealed))).toBe('integrity: commit mismatch');
  });
});

describe('the key', () => {
  it('is chosen by id and version, so the right key with another id does not open', () => {
    const sealed = seal(key, CONTEXT, utf8('x'));
    expect(refusalOf(() => open({ ...key, id: 'key_other' }, CONTEXT, sealed))).toBe('integrity: wrong key');
    expect(refusalOf(() => open({ ...key, version: 2 }, CONTEXT, sealed))).toBe('integrity: wrong key');
  });

  it.each([
    ['an empty id', { id: '' }],
    ['an id that is too long', { id: 'k'.repeat(65) }],
    ['an id that is not ASCII', { id: 'kéy' }],
    ['version 0', { version: 0 }],
    ['a version past 32 bits', { version: 2 ** 32 }],
    ['a fraction as version', { version: 1.5 }],
    ['16 bytes', { key: madeUpKey('k', 1, new Uint8Array(16).fill(1)).key }],
  ])('cannot have %s', (_, change) => {
    expect(failureOf(() => seal({ ...key, ...change }, CONTEXT, utf8('x'))).code).toBe('internal');
  });

  it('cannot seal for a context that has no canonical form', () => {
    expect(failureOf(() => seal(key, { ...CONTEXT, objectId: '\udc00' }, utf8('x'))).code).toBe('internal');
    expect(failureOf(() => seal(key, { ...CONTEXT, version: -1 }, utf8('x'))).code).toBe('internal');
    expect(failureOf(() => seal(key, { ...CONTEXT, version: Number.NaN }, utf8('x'))).code).toBe('internal');
  });
});
