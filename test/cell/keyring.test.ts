// A cell's keys: chosen by id and purpose, counted, retired, destroyed; in-memory state always equals the database.
import { randomBytes } from 'node:crypto';
import { beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { Anchor } from '../../src/cell/anchor.ts';
import { CELL_PURPOSES, type KeyRow, Keyring } from '../../src/cell/keyring.ts';
import { migrate } from '../../src/cell/migrations.ts';
import { CellRows } from '../../src/cell/rows.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { newErasureKey, RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { anchored } from '../kit/anchored.ts';
import { caughtCode } from '../kit/outcome.ts';
import { START_MS, TestClock, testEntropy } from '../kit/vaults.ts';

const root = RootKeys.of(RootKey.of(randomBytes(32)));
const erasureKey = newErasureKey();
const identity = { installationId: newId('installation', testEntropy), cellId: newId('tenant', testEntropy) };
const clock = new TestClock();
let sql: Sql;
let keyring: Keyring;

const opened = () => new Keyring(sql, root, erasureKey, identity).load();

beforeEach(() => {
  sql = openNodeSql(':memory:');
  migrate(sql, 'tenant', START_MS);
  keyring = opened();
  keyring.createMissing(clock, testEntropy);
  anchored('tenant', sql, keyring);
});

function wrapsOf(keyId: string): unknown {
  return sql.get('SELECT wraps FROM tenant_key WHERE key_id = ?', keyId)?.['wraps'];
}

describe('a keyring', () => {
  it('creates one key for each purpose, all different, and only once', () => {
    keyring.createMissing(clock, testEntropy);
    expect(keyring.rows().map((row) => row.purpose)).toEqual([...CELL_PURPOSES].sort());
    const bytes = CELL_PURPOSES.map((purpose) => keyring.current(purpose).key.export().toString('hex'));
    expect(new Set(bytes).size).toBe(CELL_PURPOSES.length);
    expect(CELL_PURPOSES.map((purpose) => opened().current(purpose).key.export().toString('hex'))).toEqual(bytes);
  });

  it('is sealed before it is loaded', () => {
    const cold = new Keyring(sql, root, erasureKey, identity);
    expect(caughtCode(() => cold.current('api_key'))).toBe('sealed');
  });

  it('opens under its own root key, erasure key and identity only', () => {
    const other = { ...identity, cellId: newId('tenant', testEntropy) };
    expect(caughtCode(() => new Keyring(sql, root, erasureKey, other).load())).toBe('integrity');
    expect(caughtCode(() => new Keyring(sql, root, newErasureKey(), identity).load())).toBe('integrity');
    expect(caughtCode(() => new Keyring(sql, RootKeys.of(RootKey.of(randomBytes(32))), erasureKey, identity).load())).not.toBe(
      'ok',
    );
  });

  it('refuses a key that was moved to another purpose or given another version in the table', () => {
    const { id } = keyring.current('mfa_seed');
    sql.run("UPDATE tenant_key SET purpose = 'api_key', version = 9 WHERE key_id = ?", id);
    expect(caughtCode(opened)).toBe('integrity');
    sql.run("UPDATE tenant_key SET purpose = 'mfa_seed', version = 2 WHERE key_id = ?", id);
    expect(caughtCode(opened)).toBe('integrity');
  });

  it('never returns a key for another purpose', () => {
    const { id } = keyring.current('api_key');
    expect(keyring.byId('api_key', id).id).toBe(id);
    expect(caughtCode(() => keyring.byId('oauth_token', id))).toBe('integrity');
  });

  it('keeps the old key for opening after a new version is added, and seals with the new one', () => {
    const before = keyring.current('api_key');
    const after = sql.transaction(() => keyring.addVersion('api_key', 2, clock, testEntropy));
    expect(after.version).toBe(2);
    expect(keyring.current('api_key').id).toBe(after.id);
    expect(keyring.byId('api_key', before.id).key.equals(before.key)).toBe(true);
    expect(
      keyring
        .rows()
        .filter((row) => row.purpose === 'api_key')
        .map((row) => row.state),
    ).toEqual(['decrypt_only', 'active']);
  });

  it('never destroys the active key, and leaves no bytes of a destroyed one', () => {
    const before = keyring.current('api_key');
    sql.transaction(() => keyring.destroy(before.id, START_MS));
    expect(opened().current('api_key').id).toBe(before.id);
    expect(keyring.current('api_key').id).toBe(before.id);
    expect(keyring.byId('api_key', before.id).id).toBe(before.id);
    sql.transaction(() => keyring.addVersion('api_key', 2, clock, testEntropy));
    sql.transaction(() => keyring.destroy(before.id, START_MS));
    for (const ring of [keyring, opened()]) expect(caughtCode(() => ring.byId('api_key', before.id))).toBe('key_destroyed');
    expect(sql.get('SELECT wrapped, state FROM tenant_key WHERE key_id = ?', before.id)).toEqual({
      wrapped: null,
      state: 'destroyed',
    });
  });

  it('returns the lowest key version that opens values', () => {
    expect(keyring.lowestVersion()).toBe(1);
    for (const purpose of CELL_PURPOSES) {
      const { id } = keyring.current(purpose);
      sql.transaction(() => keyring.addVersion(purpose, 2, clock, testEntropy));
      sql.transaction(() => keyring.destroy(id, START_MS));
    }
    expect(keyring.lowestVersion()).toBe(2);
  });
});

describe('the rows of keys', () => {
  const row = (keyId: string) => keyring.rows().find((one) => one.key_id === keyId);

  it('say when a key came, was retired, may be destroyed and was', () => {
    const { id } = keyring.current('api_key');
    expect(row(id)).toMatchObject({ state: 'active', created_at: clock.now(), retired_at: null, destroy_after_at: null, wraps: 0 }); // biome-ignore format: one line
    clock.pass(1_000);
    const { id: next } = sql.transaction(() => keyring.addVersion('api_key', 2, clock, testEntropy));
    expect(row(id)).toMatchObject({ state: 'decrypt_only', created_at: clock.now() - 1_000, retired_at: clock.now() });
    sql.transaction(() => keyring.planDestruction('api_key', 77));
    sql.transaction(() => keyring.planDestruction('api_key', 99));
    expect(row(id)).toMatchObject({ destroy_after_at: 77 });
    sql.transaction(() => keyring.destroy(id, 88));
    expect(row(id)).toMatchObject({ state: 'destroyed', destroyed_at: 88, wrapped: null });
    expect(row(next)).toMatchObject({ state: 'active', destroy_after_at: null, wraps: 0 });
    const [retiredAtMs, other] = [clock.now(), keyring.current('oauth_token').id];
    sql.transaction(() => keyring.addVersion('oauth_token', 2, clock, testEntropy));
    clock.pass(1_000);
    sql.transaction(() => keyring.addVersion('oauth_token', 3, clock, testEntropy));
    sql.transaction(() => keyring.planDestruction('api_key', 111));
    expect(row(other)).toMatchObject({ state: 'decrypt_only', retired_at: retiredAtMs, destroy_after_at: null });
    expect(keyring.rows().filter((one) => one.destroy_after_at !== null)).toHaveLength(1);
    expect(keyring.rows().filter((one) => one.state === 'active')).toHaveLength(CELL_PURPOSES.length);
  });

  it('leave an unknown key, and one that is destroyed, as it is', () => {
    const before = keyring.rows();
    keyring.destroy('key_of_nobody', START_MS);
    expect(keyring.rows()).toEqual(before);
  });

  it('that were changed take their key out of use, and say that it is damaged, not closed', () => {
    const { id } = keyring.current('api_key');
    sql.run("UPDATE tenant_key SET state = 'decrypt_only' WHERE key_id = ?", id);
    keyring.reload();
    expect(caughtCode(() => keyring.current('api_key'))).toBe('integrity');
    expect(caughtCode(() => keyring.byId('api_key', id))).toBe('integrity');
    expect(caughtCode(() => keyring.current('audit_pii'))).toBe('ok');
    sql.run("UPDATE tenant_key SET state = 'active' WHERE key_id = ?", id);
    keyring.reload();
    expect(keyring.current('api_key').id).toBe(id);
  });

  it('count no key of the log, which never rotates, as the lowest version', () => {
    for (const purpose of CELL_PURPOSES.filter((one) => one !== 'audit_sign')) {
      const { id } = keyring.current(purpose);
      sql.transaction(() => keyring.addVersion(purpose, 5, clock, testEntropy));
      if (purpose !== 'api_key') sql.transaction(() => keyring.destroy(id, START_MS));
    }
    expect(keyring.lowestVersion()).toBe(1);
    const old = keyring.rows().find((one) => one.purpose === 'api_key' && one.version === 1);
    sql.transaction(() => keyring.destroy(old?.key_id ?? '', START_MS));
    expect(keyring.lowestVersion()).toBe(5);
    expect(new Keyring(sql, root, erasureKey, identity).lowestVersion()).toBe(0);
  });
});

describe('the count of wraps', () => {
  const used = (id: string) => keyring.usedWraps(keyring.rows().find((row) => row.key_id === id) as KeyRow);

  it('is written with the batch and accumulates', () => {
    const { id } = keyring.current('api_key');
    for (let i = 0; i < 3; i++) keyring.countWrap('api_key');
    expect([wrapsOf(id), used(id)]).toEqual([0, 0]);
    sql.transaction(() => keyring.flushWraps());
    sql.transaction(() => keyring.flushWraps());
    expect(wrapsOf(id)).toBe(3 + LIMITS.wrapsReserved);
    expect(used(id)).toBe(3);
  });

  it('is written again only when the reserved wraps are used', () => {
    const { id } = keyring.current('api_key');
    const wrap = () => {
      keyring.countWrap('api_key');
      sql.transaction(() => keyring.flushWraps());
    };
    for (let i = 0; i < LIMITS.wrapsReserved + 1; i++) wrap();
    expect(wrapsOf(id)).toBe(LIMITS.wrapsReserved + 1);
    expect(used(id)).toBe(LIMITS.wrapsReserved + 1);
    wrap();
    expect(wrapsOf(id)).toBe(2 * LIMITS.wrapsReserved + 2);
    expect(used(id)).toBe(LIMITS.wrapsReserved + 2);
  });

  it('counts what was reserved as used when the keys are loaded again', () => {
    const { id } = keyring.current('api_key');
    keyring.countWrap('api_key');
    sql.transaction(() => keyring.flushWraps());
    keyring.countWrap('api_key');
    keyring.reload();
    expect(used(id)).toBe(1 + LIMITS.wrapsReserved);
    keyring.countWrap('api_key');
    sql.transaction(() => keyring.flushWraps());
    expect(used(id)).toBe(2 + LIMITS.wrapsReserved);
    expect(wrapsOf(id)).toBe(2 + 2 * LIMITS.wrapsReserved);
  });

  it('reserves nothing for a batch that is rolled back', () => {
    const { id } = keyring.current('api_key');
    keyring.countWrap('api_key');
    const lost = () =>
      sql.transaction(() => {
        keyring.flushWraps();
        throw new RangeError('made up');
      });
    expect(lost).toThrow(RangeError);
    keyring.reload();
    expect(wrapsOf(id)).toBe(0);
    keyring.countWrap('api_key');
    sql.transaction(() => keyring.flushWraps());
    expect(used(id)).toBe(1);
    expect(wrapsOf(id)).toBe(1 + LIMITS.wrapsReserved);
  });

  it('drops the counts of a rolled-back batch', () => {
    const { id } = keyring.current('api_key');
    keyring.countWrap('api_key');
    keyring.reload();
    sql.transaction(() => keyring.flushWraps());
    expect(wrapsOf(id)).toBe(0);
  });

  it('refuses only the wrap beyond the limit; a new version can wrap again', () => {
    const { id } = keyring.current('api_key');
    sql.run('UPDATE tenant_key SET wraps = ? WHERE key_id = ?', LIMITS.wrapsPerKeyMax - 1, id);
    keyring.reload();
    keyring.countWrap('api_key');
    expect(caughtCode(() => keyring.countWrap('api_key'))).toBe('unavailable');
    sql.transaction(() => keyring.flushWraps());
    expect(wrapsOf(id)).toBe(LIMITS.wrapsPerKeyMax);
    expect(caughtCode(() => keyring.countWrap('api_key'))).toBe('unavailable');
    expect(caughtCode(() => keyring.countWrap('audit_pii'))).toBe('ok');
    sql.transaction(() => keyring.addVersion('api_key', 2, clock, testEntropy));
    expect(caughtCode(() => keyring.countWrap('api_key'))).toBe('ok');
  });
});

describe('a change of keys', () => {
  it('needs the map, except the first key of each purpose', () => {
    const cold = opened();
    const before = keyring.rows();
    expect(caughtCode(() => sql.transaction(() => cold.addVersion('api_key', 2, clock, testEntropy)))).toBe('internal');
    expect(keyring.rows()).toEqual(before);
  });

  it('postpones the destruction of a retired key only', () => {
    const { id } = keyring.current('api_key');
    const next = sql.transaction(() => keyring.addVersion('api_key', 2, clock, testEntropy)).id;
    const due = () => Object.fromEntries(keyring.rows().map((row) => [row.key_id, row.destroy_after_at]));
    sql.transaction(() => {
      for (const one of [id, next, 'key_of_nobody']) keyring.postponeDestruction(one, 77);
    });
    expect([due()[id], due()[next]]).toEqual([77, null]);
    sql.transaction(() => {
      keyring.destroy(id, START_MS);
      keyring.postponeDestruction(id, 99);
    });
    expect(due()[id]).toBe(77);
  });
});

describe('the keys in use', () => {
  it('are told with their age and their wraps, without those that are retired', () => {
    clock.pass(1_000);
    const [bornAtMs, { id }] = [clock.now(), sql.transaction(() => keyring.addVersion('api_key', 2, clock, testEntropy))];
    keyring.countWrap('api_key');
    sql.transaction(() => keyring.flushWraps());
    const keys = keyring.activeKeys();
    expect(keys.map(({ purpose }) => purpose).sort()).toEqual([...CELL_PURPOSES].sort());
    expect(keys.find(({ purpose }) => purpose === 'api_key')).toEqual({
      id,
      purpose: 'api_key',
      createdAtMs: bornAtMs,
      wraps: 1 + LIMITS.wrapsReserved,
    });
    expect(keys.find(({ purpose }) => purpose === 'backup')).toMatchObject({ createdAtMs: bornAtMs - 1_000, wraps: 0 });
  });

  it('include the one for MACs, by its id or the active one, and the one for tags', () => {
    const { id, key } = keyring.current('metadata_mac');
    const next = sql.transaction(() => keyring.addVersion('metadata_mac', 2, clock, testEntropy));
    expect(keyring.macKey().keyId).toBe(next.id);
    expect(keyring.macKey().key.equals(next.key)).toBe(true);
    expect(keyring.macKey(id).keyId).toBe(id);
    expect(keyring.macKey(id).key.equals(key)).toBe(true);
    expect(caughtCode(() => keyring.macKey(keyring.current('api_key').id))).toBe('integrity');
    expect(keyring.tagKey().equals(root.rowTagKey())).toBe(true);
  });

  it('seal in the context of their cell', () => {
    expect(keyring.context('api_key', 'table.column', 'crd_a', 3)).toEqual({
      installationId: identity.installationId,
      tenantId: identity.cellId,
      purpose: 'api_key',
      field: 'table.column',
      objectId: 'crd_a',
      version: 3,
    });
  });
});

describe('keys whose rows are gone', () => {
  /** As a cell opens: the keys first, then the map, which they need. */
  function boundAgain() {
    const keys = opened();
    const anchor = new Anchor(sql, keys);
    anchor.open();
    const rows = new CellRows('tenant', sql, keys, anchor);
    const told: unknown[] = [];
    rows.onDamage = (...damage) => told.push(damage);
    keys.bind(rows.of('tenant_key'));
    return { keys, told };
  }
  const remove = (id: string) => sql.run('DELETE FROM tenant_key WHERE key_id = ?', id);

  it('are reported once, their values are refused as damaged, and no key takes their place', () => {
    const { id } = keyring.current('api_key');
    const whole = boundAgain();
    expect(whole.told).toEqual([]);
    remove(id);
    const { keys, told } = boundAgain();
    expect(told).toEqual([['tenant_key', undefined, 'missing']]);
    const before = keys.rows();
    keys.createMissing(clock, testEntropy);
    expect(keys.rows()).toEqual(before);
    expect([caughtCode(() => keys.current('api_key')), caughtCode(() => keys.byId('api_key', id))]).toEqual([
      'integrity',
      'integrity',
    ]);
    expect(caughtCode(() => keys.byId('api_key', 'key_of_nobody'))).toBe('key_destroyed');
    expect(caughtCode(() => keys.current('backup'))).toBe('ok');
    whole.keys.reload();
    expect([caughtCode(() => whole.keys.byId('api_key', id)), caughtCode(() => whole.keys.current('api_key'))]).toEqual(['integrity', 'sealed']); // biome-ignore format: one line
  });

  it('are damage also if the key had been destroyed', () => {
    const { id } = keyring.current('api_key');
    sql.transaction(() => keyring.addVersion('api_key', 2, clock, testEntropy));
    sql.transaction(() => keyring.destroy(id, START_MS));
    expect(caughtCode(() => keyring.byId('api_key', id))).toBe('key_destroyed');
    remove(id);
    keyring.reload();
    expect(caughtCode(() => keyring.byId('api_key', id))).toBe('integrity');
  });

  it('have no count of wraps any more', () => {
    keyring.countWrap('api_key');
    keyring.countWrap('backup');
    remove(keyring.current('api_key').id);
    sql.transaction(() => keyring.flushWraps());
    expect(wrapsOf(keyring.current('backup').id)).toBe(1 + LIMITS.wrapsReserved);
  });
});

describe('the count of wraps of a key whose row was damaged in the same batch', () => {
  it('is written all the same', () => {
    const { id } = keyring.current('api_key');
    keyring.countWrap('api_key');
    sql.run('UPDATE tenant_key SET created_at = 1 WHERE key_id = ?', id);
    sql.transaction(() => {
      keyring.addVersion('backup', 2, clock, testEntropy);
      keyring.flushWraps();
    });
    expect(wrapsOf(id)).toBe(1 + LIMITS.wrapsReserved);
  });
});

describe('a rotation of the root key', () => {
  it('wraps so many keys at a time, none that is damaged, and counts what is left', () => {
    const roots = RootKeys.of(RootKey.of(randomBytes(32)));
    roots.loadInstallationKeys(identity.installationId, [
      { label: 'row-tag', version: 1, wrapped: roots.current.wrapInstallationKey(identity.installationId, { label: 'row-tag', version: 1 }, roots.subkey('row-tag')) }, // biome-ignore format: one line
    ]);
    sql = openNodeSql(':memory:');
    migrate(sql, 'tenant', START_MS);
    const keysOf = () => new Keyring(sql, roots, erasureKey, identity).load();
    const keys = keysOf();
    keys.createMissing(clock, testEntropy);
    anchored('tenant', sql, keys);
    const retired = keys.current('api_key').id;
    sql.transaction(() => keys.addVersion('api_key', 2, clock, testEntropy));
    sql.transaction(() => keys.destroy(retired, START_MS));
    const bytes = () => CELL_PURPOSES.map((purpose) => keysOf().current(purpose).key.export().toString('hex'));
    const before = bytes();
    const all = CELL_PURPOSES.length;
    expect([keys.countUnderOldRoot(), keys.rewrapUnderRoot(99)]).toEqual([0, 0]);
    roots.turnTo(RootKey.of(randomBytes(32)));
    expect(keys.countUnderOldRoot()).toBe(all);
    expect([sql.transaction(() => keys.rewrapUnderRoot(2)), keys.countUnderOldRoot()]).toEqual([2, all - 2]);
    const damaged = keys.rows().at(-1);
    sql.run('UPDATE tenant_key SET retired_at = 5 WHERE key_id = ?', damaged?.key_id ?? '');
    expect([sql.transaction(() => keys.rewrapUnderRoot(99)), keys.countUnderOldRoot()]).toEqual([all - 3, 1]);
    sql.run('UPDATE tenant_key SET retired_at = NULL WHERE key_id = ?', damaged?.key_id ?? '');
    expect([sql.transaction(() => keys.rewrapUnderRoot(99)), keys.countUnderOldRoot()]).toEqual([1, 0]);
    expect(keys.intactRows()).toHaveLength(all + 1);
    roots.forgetPrevious();
    expect(bytes()).toEqual(before);
  });
});
