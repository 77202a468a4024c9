import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  dataKeyOf,
  prepareField,
  prepareFields,
  prepareValue,
  rewrapDataKey,
  sealFields,
  sealUnderDataKey,
} from '../../src/crypto/data-key.ts';
import { headerOf, seal } from '../../src/crypto/envelope.ts';
import { CONTEXT, failureOf, flipBit, hex, madeUpKey, refusalOf, text, utf8 } from './fixtures.ts';

const tenantKey = madeUpKey();
const TABLE = { ...CONTEXT, field: 'credential_version' };
const grant = () =>
  sealFields(tenantKey, TABLE, { value: utf8('not-a-real-secret: access'), retained: utf8('not-a-real-secret: refresh') });

describe('a value under its data key', () => {
  it('opens to what was sealed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (plaintext) => {
        const { wrappedKey, sealed } = sealUnderDataKey(tenantKey, CONTEXT, plaintext);
        expect(hex(prepareValue(tenantKey, CONTEXT, wrappedKey, sealed).open())).toBe(hex(plaintext));
      }),
    );
  });

  it('has the id of the tenant key in the wrap and of its own data key in the value', () => {
    const [a, b] = [sealUnderDataKey(tenantKey, CONTEXT, utf8('x')), sealUnderDataKey(tenantKey, CONTEXT, utf8('x'))];
    expect(dataKeyOf(a.wrappedKey)).toEqual({ keyId: tenantKey.id, keyVersion: 1 });
    expect(headerOf(a.sealed).keyId).toMatch(/^dek_[A-Za-z0-9_-]{20}$/);
    expect(headerOf(a.sealed).keyId).not.toBe(headerOf(b.sealed).keyId);
  });

  it('does not open under the data key of another version', () => {
    const [a, b] = [sealUnderDataKey(tenantKey, CONTEXT, utf8('x')), sealUnderDataKey(tenantKey, CONTEXT, utf8('x'))];
    expect(refusalOf(() => prepareValue(tenantKey, CONTEXT, b.wrappedKey, a.sealed))).toBe('integrity: wrong key');
  });

  it('does not open when wrap and value move together to another object', () => {
    const { wrappedKey, sealed } = sealUnderDataKey(tenantKey, CONTEXT, utf8('x'));
    const elsewhere = { ...CONTEXT, objectId: 'crd_other' };
    expect(refusalOf(() => prepareValue(tenantKey, elsewhere, wrappedKey, sealed))).toBe('integrity: commit mismatch');
  });

  it('does not open when any bit of the wrap was changed', () => {
    const { wrappedKey, sealed } = sealUnderDataKey(tenantKey, CONTEXT, utf8('x'));
    for (let bit = 0; bit < wrappedKey.byteLength * 8; bit++) {
      expect(failureOf(() => prepareValue(tenantKey, CONTEXT, flipBit(wrappedKey, bit), sealed)).code, `bit ${bit}`).toBe(
        'integrity',
      );
    }
  });

  it('does not accept a sealed value as a wrapped key, nor a wrap of another length', () => {
    const { sealed } = sealUnderDataKey(tenantKey, CONTEXT, utf8('x'));
    const value = seal(tenantKey, CONTEXT, new Uint8Array(47));
    expect(refusalOf(() => prepareValue(tenantKey, CONTEXT, value, sealed))).toBe('integrity: commit mismatch');
    const short = seal(tenantKey, { ...CONTEXT, field: `${CONTEXT.field}/data-key` }, new Uint8Array(46));
    expect(refusalOf(() => prepareValue(tenantKey, CONTEXT, short, sealed))).toBe('integrity: malformed');
  });
});

describe('the fields of one version', () => {
  it('share one data key and open each by its name', () => {
    const { wrappedKey, sealed } = grant();
    const [value, retained] = [sealed['value'] as Uint8Array, sealed['retained'] as Uint8Array];
    expect(text(prepareField(tenantKey, TABLE, 'value', wrappedKey, value).open())).toBe('not-a-real-secret: access');
    expect(text(prepareField(tenantKey, TABLE, 'retained', wrappedKey, retained).open())).toBe('not-a-real-secret: refresh');
    expect(headerOf(value).keyId).toBe(headerOf(retained).keyId);
    expect(Object.keys(sealed)).toEqual(['value', 'retained']);
  });

  it('also open together, each under its own name', () => {
    const { wrappedKey, sealed } = grant();
    const [value, retained] = [sealed['value'] as Uint8Array, sealed['retained'] as Uint8Array];
    const prepared = prepareFields(tenantKey, TABLE, wrappedKey, { value, retained });
    expect(text(prepared.value.open())).toBe('not-a-real-secret: access');
    expect(text(prepared.retained.open())).toBe('not-a-real-secret: refresh');
    const exchanged = { value: retained, retained: value };
    expect(refusalOf(() => prepareFields(tenantKey, TABLE, wrappedKey, exchanged))).toBe('integrity: commit mismatch');
  });

  it('do not open as one another, so that a refresh token cannot be read as the value', () => {
    const { wrappedKey, sealed } = grant();
    const retained = sealed['retained'] as Uint8Array;
    expect(refusalOf(() => prepareField(tenantKey, TABLE, 'value', wrappedKey, retained))).toBe('integrity: commit mismatch');
  });

  it.each(['', 'value/data-key', 'a.b', 'Value', '__proto__'])('cannot be named %j', (name) => {
    const fields = Object.fromEntries([[name, utf8('x')]]);
    expect(failureOf(() => sealFields(tenantKey, TABLE, fields)).code).toBe('internal');
  });
});

describe('rewrapping', () => {
  it('moves the data key to the new tenant key and does not change the sealed fields', () => {
    const newKey = madeUpKey('key_1123456789abcdefghjkmnpq', 2);
    const { wrappedKey, sealed } = grant();
    const moved = rewrapDataKey(tenantKey, newKey, TABLE, wrappedKey);
    expect(dataKeyOf(moved)).toEqual({ keyId: newKey.id, keyVersion: 2 });
    const value = prepareField(newKey, TABLE, 'value', moved, sealed['value'] as Uint8Array);
    expect(text(value.open())).toBe('not-a-real-secret: access');
    expect(refusalOf(() => prepareField(tenantKey, TABLE, 'value', moved, sealed['value'] as Uint8Array))).toBe(
      'integrity: wrong key',
    );
  });

  it('refuses a wrap of another context or key', () => {
    const newKey = madeUpKey('key_1123456789abcdefghjkmnpq', 2);
    const { wrappedKey } = grant();
    expect(refusalOf(() => rewrapDataKey(tenantKey, newKey, { ...TABLE, version: 9 }, wrappedKey))).toBe(
      'integrity: commit mismatch',
    );
    expect(refusalOf(() => rewrapDataKey(newKey, tenantKey, TABLE, wrappedKey))).toBe('integrity: wrong key');
  });
});
