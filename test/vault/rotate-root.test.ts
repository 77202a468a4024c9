// The part of a cell in a rotation of the root key: each of its keys is wrapped under the new one, and every stage leaves its event.
import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fail } from '../../src/base/errors.ts';
import { RootKey } from '../../src/crypto/root-key.ts';
import { noteRootRotation, requestRootRotation, rewrapCellUnderRoot } from '../../src/vault/rotate-root.ts';
import { testTeam } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { actorOf, leftBy } from '../kit/told.ts';
import { inside } from '../kit/vaults.ts';

async function turned() {
  const team = await testTeam();
  team.register.ensureInstallationKeys(team.clock.now());
  const { keyring } = inside(team.home).core;
  expect(keyring.countUnderOldRoot()).toBe(0);
  team.home.platform.root.turnTo(RootKey.of(randomBytes(32)));
  const rewrap = () => leftBy(team.sql, () => rewrapCellUnderRoot(team.home));
  return { team, keyring, rewrap, keys: keyring.rows().length };
}

const system = { type: 'system', id: 'root-rotation' };

describe('a rotation of the root key', () => {
  it('wraps all keys of a cell under the new one, with one event for the batch and none after it', async () => {
    const { team, keyring, rewrap, keys } = await turned();
    expect(keyring.countUnderOldRoot()).toBe(keys);
    const rotated = { action: 'installation.keys.rotate', actor: system, outcome: 'success', reason: 'allowed' };
    const event = { ...rotated, target: { type: 'keys' }, details: { purpose: 'root', count: keys } };
    expect(await rewrap()).toMatchObject({ end: 'ok', events: [event] });
    expect(keyring.countUnderOldRoot()).toBe(0);
    expect((await rewrap()).events).toEqual([]);
    team.register.rewrap(100);
    team.home.platform.root.forgetPrevious();
    expect(team.reopen().identify(team.owner)?.name).toBe('ada');
  });

  it('with a damaged row of a key wraps the others and does not end', async () => {
    const { team, keyring, rewrap, keys } = await turned();
    team.sql.run("UPDATE tenant_key SET created_at = 1 WHERE purpose = 'backup'");
    for (const _ of [1, 2]) expect((await rewrap()).end).toBe('integrity');
    expect(keyring.countUnderOldRoot()).toBe(1);
    expect(keys).toBeGreaterThan(2);
  });

  it('that a crash interrupts in a batch has moved none of its keys', async () => {
    const { team, keyring, keys } = await turned();
    team.failAt('root.mid-cell');
    await expect(rewrapCellUnderRoot(team.home)).rejects.toThrow('a crash at root.mid-cell');
    expect(keyring.countUnderOldRoot()).toBe(keys);
    expect(await outcomeOf(rewrapCellUnderRoot(team.home))).toBe('ok');
    expect(keyring.countUnderOldRoot()).toBe(0);
  });
});

describe('the event of a rotation of the root key', () => {
  const noted = { action: 'root.rotate', actor: system, target: { type: 'root_key' } };
  const allowed = { outcome: 'success', reason: 'allowed' };

  it.each([
    ['begun', undefined, { ...noted, ...allowed, details: { stage: 'begun' } }],
    ['finished', 3, { ...noted, ...allowed, details: { stage: 'finished', count: 3 } }],
    ['finished', 0, { ...noted, ...allowed, details: { stage: 'finished', count: 0 } }],
    ['failed', undefined, { ...noted, outcome: 'failure', reason: 'unavailable', details: { stage: 'failed' } }],
  ] as const)('that has %s, with the count %s', async (stage, count, event) => {
    const { home, sql, urgentNotes } = await testTeam();
    const before = urgentNotes.length;
    const { events } = await leftBy(sql, () => home.submit((job) => noteRootRotation(job, stage, count)));
    expect(events).toEqual([event]);
    // A copy from before must not hide a rotation that began or finished.
    expect(urgentNotes.slice(before)).toHaveLength(stage === 'failed' ? 0 : 1);
  });

  it('that the platform cannot start now states that', async () => {
    const { home, sql, caller, owner } = await testTeam();
    const ada = caller(owner);
    const refused = () => fail('conflict', 'a rotation of the root key is under way');
    const asked = await leftBy(sql, () => home.submit((job) => requestRootRotation(job, ada, refused)));
    expect(asked.end).toBe('conflict');
    expect(asked.events).toMatchObject([{ action: 'root.rotate', actor: actorOf(ada), outcome: 'failure', reason: 'conflict' }]);
  });
});
