// The key register: without its entry a tenant's keys cannot be opened, even with the root key and a copy of the database (D12).
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { newId } from '../../src/base/ids.ts';
import { Keyring } from '../../src/cell/keyring.ts';
import { migrate } from '../../src/cell/migrations.ts';
import { KeyRegister, openRegisterEntry } from '../../src/cell/register.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caughtCode } from '../kit/outcome.ts';
import { START_MS, TestClock, testEntropy } from '../kit/vaults.ts';

const INSTALLATION = newId('installation', testEntropy);

function newRegister() {
  const root = RootKeys.of(RootKey.of(randomBytes(32)));
  return { root, register: new KeyRegister(openNodeSql(':memory:'), root, INSTALLATION) };
}

const bytesOf = (register: KeyRegister, cellId: string) => register.open(cellId).reveal((bytes) => Uint8Array.from(bytes));

describe('the key register', () => {
  it('creates one entry for a cell and keeps it', () => {
    const { register } = newRegister();
    register.ensure('ten_a', START_MS);
    const first = bytesOf(register, 'ten_a');
    register.ensure('ten_a', START_MS + 1);
    expect(bytesOf(register, 'ten_a')).toEqual(first);
    register.ensure('ten_b', START_MS);
    expect(bytesOf(register, 'ten_b')).not.toEqual(first);
  });

  it('does not open an entry for another cell or installation, or under another root key', () => {
    const { root, register } = newRegister();
    register.ensure('ten_a', START_MS);
    const entry = register.wrappedEntry('ten_a');
    expect(caughtCode(() => openRegisterEntry(root, INSTALLATION, 'ten_a', entry))).toBe('ok');
    expect(caughtCode(() => openRegisterEntry(root, INSTALLATION, 'ten_b', entry))).toBe('integrity');
    expect(caughtCode(() => openRegisterEntry(root, newId('installation', testEntropy), 'ten_a', entry))).toBe('integrity');
    expect(caughtCode(() => openRegisterEntry(RootKeys.of(RootKey.of(randomBytes(32))), INSTALLATION, 'ten_a', entry))).not.toBe(
      'ok',
    );
  });

  it('distinguishes a missing entry from a destroyed one, and never recreates a destroyed one', () => {
    const { register } = newRegister();
    expect(caughtCode(() => register.open('ten_a'))).toBe('not_found');
    register.ensure('ten_a', START_MS);
    register.destroy('ten_a', START_MS + 1);
    register.destroy('ten_a', START_MS + 2);
    expect(caughtCode(() => register.open('ten_a'))).toBe('key_destroyed');
    register.ensure('ten_a', START_MS + 3);
    expect(caughtCode(() => register.open('ten_a'))).toBe('key_destroyed');
  });

  it('is necessary: a copy of the tenant with the root key and another erasure key does not open', () => {
    const { root, register } = newRegister();
    register.ensure('ten_a', START_MS);
    const sql = openNodeSql(':memory:');
    migrate(sql, 'tenant', START_MS);
    const identity = { installationId: INSTALLATION, cellId: 'ten_a' };
    const keyring = new Keyring(sql, root, register.open('ten_a'), identity).load();
    keyring.createMissing(new TestClock(), testEntropy);
    expect(caughtCode(() => new Keyring(sql, root, register.open('ten_a'), identity).load())).toBe('ok');
    register.destroy('ten_a', START_MS);
    expect(caughtCode(() => new Keyring(sql, root, register.open('ten_a'), identity).load())).toBe('key_destroyed');
    expect(caughtCode(() => new Keyring(sql, root, newErasureKey(), identity).load())).toBe('integrity');
  });

  it('leaves no byte of a destroyed entry in its row', () => {
    const root = RootKeys.of(RootKey.of(randomBytes(32)));
    const sql = openNodeSql(':memory:');
    const register = new KeyRegister(sql, root, INSTALLATION);
    register.ensure('ten_a', START_MS);
    register.destroy('ten_a', START_MS + 5);
    expect(sql.get('SELECT wrapped, destroyed_at FROM erasure_key WHERE cell_id = ?', 'ten_a')).toEqual({
      wrapped: null,
      destroyed_at: START_MS + 5,
    });
  });
});
