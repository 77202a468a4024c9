import { describe, expect, it } from 'vitest';
import { SecretValue } from '../../src/base/secret-value.ts';
import { crc32 } from '../../src/crypto/crc32.ts';
import { headerOf } from '../../src/crypto/envelope.ts';
import { newErasureKey, newTenantKey, RootKey, rootKeyFromText, rootKeyText, SUBKEYS } from '../../src/crypto/root-key.ts';
import { failureOf, hex, madeUp, refusalOf } from './fixtures.ts';

const INSTALLATION = 'ins_0123456789abcdefghjkmnpq';
const register = { installationId: INSTALLATION, tenantId: 'ten_0123456789abcdefghjkmnpq' };
const tenantContext = { ...register, purpose: 'api_key', keyId: 'key_0123456789abcdefghjkmnpq', version: 1 } as const;
const root = RootKey.of(madeUp('root'));
const otherRoot = RootKey.of(madeUp('another root'));

describe('the root key', () => {
  it('matches its own check value only', () => {
    const check = root.rootCheck(INSTALLATION);
    expect(check.byteLength).toBe(32);
    expect(root.matches(INSTALLATION, check)).toBe(true);
    expect(RootKey.of(SecretValue.of(madeUp('root'))).matches(INSTALLATION, check)).toBe(true);
    expect(otherRoot.matches(INSTALLATION, check)).toBe(false);
    expect(root.matches('ins_other', check)).toBe(false);
    expect(root.matches(INSTALLATION, check.subarray(1))).toBe(false);
  });

  it('splits into subkeys that are all different and always the same', () => {
    const exported = SUBKEYS.map((label) => hex(root.subkey(label).export()));
    expect(new Set([...exported, hex(madeUp('root'))]).size).toBe(SUBKEYS.length + 1);
    expect(SUBKEYS.map((label) => hex(RootKey.of(madeUp('root')).subkey(label).export()))).toEqual(exported);
    expect(root.subkey('token-pepper')).toBe(root.subkey('token-pepper'));
  });

  it.each([
    ['31 bytes', new Uint8Array(31).map((_, index) => index)],
    ['33 bytes', new Uint8Array(33).map((_, index) => index)],
    ['zeros', new Uint8Array(32)],
    ['one byte repeated', new Uint8Array(32).fill(255)],
    ['nothing', new Uint8Array(0)],
  ])('is not made of %s', (_, bytes) => {
    expect(failureOf(() => RootKey.of(bytes)).code).toBe('sealed');
  });

  it('has the same name for ever: stored blobs say it', () => {
    const wrapped = root.wrapErasureKey(register, newErasureKey());
    expect(headerOf(wrapped).keyId).toMatch(/^root_[A-Za-z0-9_-]{20}$/);
    const known = RootKey.of(Uint8Array.from({ length: 32 }, (_, index) => index));
    expect(headerOf(known.wrapErasureKey(register, newErasureKey())).keyId).toBe('root_BwXEgWYZHg1R3Rcu9AKU');
  });

  it('does not appear in JSON', () => {
    expect(JSON.stringify({ root })).toBe('{"root":"[redacted]"}');
  });
});

describe('the key register', () => {
  it('returns an erasure key for its own tenant only', () => {
    const key = newErasureKey();
    const entry = root.wrapErasureKey(register, key);
    expect(root.unwrapErasureKey(register, entry).reveal(hex)).toBe(key.reveal(hex));
    expect(refusalOf(() => root.unwrapErasureKey({ ...register, tenantId: 'ten_other' }, entry))).toBe(
      'integrity: commit mismatch',
    );
    expect(refusalOf(() => root.unwrapErasureKey({ ...register, installationId: 'ins_other' }, entry))).toBe(
      'integrity: commit mismatch',
    );
    expect(refusalOf(() => otherRoot.unwrapErasureKey(register, entry))).toBe('integrity: wrong key');
  });
});

describe('a tenant key', () => {
  it('opens with root and erasure key together', () => {
    const erasureKey = newErasureKey();
    const bytes = newTenantKey();
    const wrapped = root.sealTenantKey(erasureKey, tenantContext, bytes);
    expect(hex(root.openTenantKey(erasureKey, tenantContext, wrapped).export())).toBe(hex(bytes));
  });

  it('cannot be opened without its erasure key, even with the root key (D12)', () => {
    const wrapped = root.sealTenantKey(newErasureKey(), tenantContext, newTenantKey());
    expect(refusalOf(() => root.openTenantKey(newErasureKey(), tenantContext, wrapped))).toBe('integrity: commit mismatch');
  });

  it('does not open under another root key, even with the erasure key', () => {
    const erasureKey = newErasureKey();
    const wrapped = root.sealTenantKey(erasureKey, tenantContext, newTenantKey());
    expect(refusalOf(() => otherRoot.openTenantKey(erasureKey, tenantContext, wrapped))).toBe('integrity: wrong key');
  });

  it.each([
    ['tenant', { tenantId: 'ten_other' }],
    ['installation', { installationId: 'ins_other' }],
    ['purpose', { purpose: 'mfa_seed' }],
    ['key id', { keyId: 'key_other' }],
    ['version', { version: 2 }],
  ] as const)('does not open as that of another %s', (_, change) => {
    const erasureKey = newErasureKey();
    const wrapped = root.sealTenantKey(erasureKey, tenantContext, newTenantKey());
    expect(refusalOf(() => root.openTenantKey(erasureKey, { ...tenantContext, ...change }, wrapped))).toBe(
      'integrity: commit mismatch',
    );
  });

  it('has 32 bytes, as has an erasure key', () => {
    const short = SecretValue.of(new Uint8Array(31));
    expect(failureOf(() => root.sealTenantKey(newErasureKey(), tenantContext, new Uint8Array(31))).code).toBe('internal');
    expect(failureOf(() => root.sealTenantKey(short, tenantContext, newTenantKey())).code).toBe('internal');
  });
});

describe('the root key as text', () => {
  const line = rootKeyText(madeUp('root'));

  it('parses with or without its newline', () => {
    const check = root.rootCheck(INSTALLATION);
    expect(rootKeyFromText(line).matches(INSTALLATION, check)).toBe(true);
    expect(rootKeyFromText(line.trimEnd()).matches(INSTALLATION, check)).toBe(true);
  });

  it('is refused when any one character changed', () => {
    const body = line.trimEnd();
    for (let at = 0; at < body.length; at++) {
      for (const other of ['A', 'b', '0', ':', ' ']) {
        if (body[at] === other) continue;
        const changed = body.slice(0, at) + other + body.slice(at + 1);
        expect(failureOf(() => rootKeyFromText(changed)).code, `character ${at}`).toBe('sealed');
      }
    }
  });

  it.each(['', '\n', `${line}\n`, ` ${line}`, line.replace('\n', '\r\n'), line.toUpperCase(), line.slice(0, -3)])(
    'is refused in another form (%#)',
    (text) => {
      expect(failureOf(() => rootKeyFromText(text)).code).toBe('sealed');
    },
  );

  it('is refused in another spelling of the same bytes, though its checksum fits', () => {
    const [, encoded] = rootKeyText(madeUp('root')).split(':') as [string, string];
    const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const body = `keyturn-root-v1:${encoded.slice(0, -1)}${digits[digits.indexOf(encoded.at(-1) as string) + 1]}`;
    const text = `${body}:${crc32(body, body.length).toString(16).padStart(8, '0')}`;
    expect(failureOf(() => rootKeyFromText(text)).code).toBe('sealed');
  });

  it('is not in the message when it is refused', () => {
    const failure = failureOf(() => rootKeyFromText(line.replace('a', 'b')));
    expect(failure.message).not.toContain(line.slice(16, 30));
  });
});
