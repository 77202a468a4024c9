// The key register: without its entry a tenant's keys cannot be opened, even with the root key and a copy of the database (D12).
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { Keyring } from '../../src/cell/keyring.ts';
import { migrate } from '../../src/cell/migrations.ts';
import { KeyRegister, openRegisterEntry } from '../../src/cell/register.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { INSTALLATION_KEYS, newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caughtCode } from '../kit/outcome.ts';
import { START_MS, TestClock, testEntropy } from '../kit/vaults.ts';

const INSTALLATION = newId('installation', testEntropy);

function newRegister() {
  const root = RootKeys.of(RootKey.of(randomBytes(32)));
  const sql = openNodeSql(':memory:');
  return { root, sql, register: new KeyRegister(sql, root, INSTALLATION) };
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

const PAGE_ROWS = 3;

/** With pages of three entries. */
function withSmallPages<T>(work: () => T): T {
  const limits: { rewrapBatchRows: number } = LIMITS;
  const { rewrapBatchRows } = limits;
  limits.rewrapBatchRows = PAGE_ROWS;
  try {
    return work();
  } finally {
    limits.rewrapBatchRows = rewrapBatchRows;
  }
}

describe('the entries of the key register', () => {
  it('carry the time at which they were made, and a second one for the same cell changes nothing', () => {
    const { root, register, sql } = newRegister();
    const rows = () => sql.all('SELECT cell_id, wrapped, created_at, destroyed_at FROM erasure_key');
    register.ensure('ten_a', START_MS);
    const [first] = rows();
    expect(first).toMatchObject({ cell_id: 'ten_a', created_at: START_MS, destroyed_at: null });
    register.insert('ten_a', root.wrapErasureKey({ installationId: INSTALLATION, tenantId: 'ten_a' }, newErasureKey()), 9);
    expect(rows()).toEqual([first]);
  });

  it('are destroyed one by one, once, and the time stays', () => {
    const { register, sql } = newRegister();
    for (const id of ['ten_a', 'ten_b']) register.ensure(id, START_MS);
    register.destroy('ten_a', START_MS + 1);
    register.destroy('ten_a', START_MS + 2);
    expect(sql.all('SELECT cell_id, destroyed_at, wrapped IS NULL AS gone FROM erasure_key ORDER BY cell_id')).toEqual([
      { cell_id: 'ten_a', destroyed_at: START_MS + 1, gone: 1 },
      { cell_id: 'ten_b', destroyed_at: null, gone: 0 },
    ]);
    expect(caughtCode(() => register.open('ten_b'))).toBe('ok');
  });

  it('are all listed, page by page, without the destroyed ones', () => {
    const { register } = newRegister();
    expect(register.cellIds()).toEqual([]);
    const ids = Array.from({ length: 2 * PAGE_ROWS + 1 }, (_, i) => `ten_${i}`);
    for (const [i, id] of ids.entries()) {
      register.ensure(id, START_MS);
      expect(withSmallPages(() => register.cellIds())).toEqual(ids.slice(0, i + 1));
    }
    const [first, , , , middle, , last] = ids;
    for (const id of [first, middle, last]) register.destroy(String(id), START_MS);
    expect(withSmallPages(() => register.cellIds())).toEqual(ids.filter((id) => ![first, middle, last].includes(id)));
  });
});

describe('the keys of the installation', () => {
  it('are made once, all of them, in their first version', () => {
    const { root, register, sql } = newRegister();
    const derived = INSTALLATION_KEYS.map((label) => root.subkey(label).export());
    register.ensureInstallationKeys(START_MS);
    const stored = () => sql.all('SELECT label, version, wrapped, created_at FROM installation_key ORDER BY label');
    const first = stored();
    expect(first.map(({ label, version, created_at }) => [label, version, created_at])).toEqual(
      [...INSTALLATION_KEYS].sort().map((label) => [label, 1, START_MS]),
    );
    register.ensureInstallationKeys(START_MS + 1);
    expect(stored()).toEqual(first);
    expect(INSTALLATION_KEYS.map((label) => root.subkey(label).export())).toEqual(derived);
  });

  it('are read, not made, where the register is only looked at', () => {
    const { root, register, sql } = newRegister();
    register.loadInstallationKeys();
    expect(sql.all("SELECT name FROM sqlite_master WHERE name = 'installation_key'")).toEqual([]);
    // A register of an older build: what the root key derives stays in use.
    expect(caughtCode(() => root.subkey('row-tag'))).toBe('ok');
    register.ensureInstallationKeys(START_MS);
    const again = RootKeys.of(root.current);
    new KeyRegister(sql, again, INSTALLATION).loadInstallationKeys();
    sql.run("DELETE FROM installation_key WHERE label = 'row-tag'");
    const lacking = RootKeys.of(root.current);
    new KeyRegister(sql, lacking, INSTALLATION).loadInstallationKeys();
    expect([caughtCode(() => again.subkey('row-tag')), caughtCode(() => lacking.subkey('row-tag'))]).toEqual(['ok', 'integrity']);
  });
});

describe('a rotation of the root key', () => {
  const underWhich = (sql: Sql, root: RootKeys) =>
    sql
      .all<{ what: string; wrapped: Uint8Array }>(
        'SELECT cell_id AS what, wrapped FROM erasure_key WHERE wrapped IS NOT NULL UNION ALL SELECT label, wrapped FROM installation_key',
      )
      .filter(({ wrapped }) => root.isCurrent(wrapped))
      .map(({ what }) => what)
      .sort();

  it('wraps entries first, then keys of the installation, as many as it was asked for, and each once', () => {
    const { root, register, sql } = newRegister();
    register.ensureInstallationKeys(START_MS);
    for (const id of ['ten_a', 'ten_b', 'ten_c', 'ten_d']) register.ensure(id, START_MS);
    register.destroy('ten_c', START_MS);
    const cells = ['ten_a', 'ten_b', 'ten_d'];
    const secrets = cells.map((id) => bytesOf(register, id));
    const keys = INSTALLATION_KEYS.map((label) => root.subkey(label).export());
    expect([register.countStale(), register.rewrap(99)]).toEqual([0, 0]);
    root.turnTo(RootKey.of(randomBytes(32)));
    const all = cells.length + INSTALLATION_KEYS.length;
    expect(register.countStale()).toBe(all);
    expect(register.rewrap(2)).toBe(2);
    expect(underWhich(sql, root)).toEqual(['ten_a', 'ten_b']);
    expect(register.rewrap(2)).toBe(2);
    expect(underWhich(sql, root).slice(0, 1)).toEqual([[...INSTALLATION_KEYS].sort()[0]]);
    expect(register.countStale()).toBe(all - 4);
    expect([register.rewrap(99), register.rewrap(99), register.countStale()]).toEqual([all - 4, 0, 0]);
    expect(underWhich(sql, root)).toEqual([...cells, ...INSTALLATION_KEYS].sort());
    root.forgetPrevious();
    register.loadInstallationKeys();
    expect(cells.map((id) => bytesOf(register, id))).toEqual(secrets);
    expect(INSTALLATION_KEYS.map((label) => root.subkey(label).export())).toEqual(keys);
    expect(caughtCode(() => register.open('ten_c'))).toBe('key_destroyed');
  });

  it('wraps all that it was asked for or nothing, and leaves erasing of the file to the database', () => {
    const { root, register, sql } = newRegister();
    register.ensureInstallationKeys(START_MS);
    for (const id of ['ten_a', 'ten_b']) register.ensure(id, START_MS);
    root.turnTo(RootKey.of(randomBytes(32)));
    const whole = sql.get<{ wrapped: Uint8Array }>("SELECT wrapped FROM erasure_key WHERE cell_id = 'ten_b'")?.wrapped;
    const spoilt = Uint8Array.from(whole ?? []);
    spoilt[spoilt.length - 1] = (spoilt.at(-1) ?? 0) ^ 1;
    sql.run("UPDATE erasure_key SET wrapped = ? WHERE cell_id = 'ten_b'", spoilt);
    expect(caughtCode(() => register.rewrap(99))).toBe('integrity');
    expect(underWhich(sql, root)).toEqual([]);
    let erased = 0;
    sql.eraseResidue = () => {
      erased += 1;
    };
    register.eraseResidue();
    expect(erased).toBe(1);
  });
});
