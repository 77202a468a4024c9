// Keys of a cell turn by their age: each within its period, not all at once, and not on the word of a clock that jumped (D17).
import { describe, expect, it, vi } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { HomeVault } from '../../src/vault/home-vault.ts';
import { listKeys, nextKeyTurnAt, ROTATABLE, rewrapAll, rotateAgedKeys, rotateKeys } from '../../src/vault/rotate-keys.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { testHome, testTeam } from '../kit/homes.ts';
import { leftBy } from '../kit/told.ts';
import { authorizer, eventsOf, inside, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

const PERIOD_MS = LIMITS.keyPeriodMs;

async function listed(tenant: TestTenant) {
  return tenant.vault.submit((job) => listKeys(job, tenant.user(['auditor'], 'everywhere')));
}

describe('the keys of a tenant', () => {
  it('say when they turn: in the last tenth of the period, at different times; the key of the log never', async () => {
    const tenant = await testTenant({ keyPeriodMs: PERIOD_MS });
    const { keys, turns } = await listed(tenant);
    const times = keys.map((key) => (turns.get(key.key_id) ?? Number.NaN) - key.created_at);
    const rotated = keys.map((key) => (ROTATABLE as readonly string[]).includes(key.purpose));
    expect(times.map(Number.isFinite)).toEqual(rotated);
    const finite = times.filter(Number.isFinite);
    expect(Math.min(...finite)).toBeGreaterThanOrEqual(PERIOD_MS * 0.9);
    expect(Math.max(...finite)).toBeLessThanOrEqual(PERIOD_MS);
    expect(new Set(finite).size).toBe(ROTATABLE.length);
    expect(tenant.vault.nextDueAt()).toBe(Math.min(...turns.values()));
  });

  it('are spread evenly over all of that tenth', async () => {
    const tenant = await testTenant({ keyPeriodMs: PERIOD_MS });
    const { core, platform } = inside<unknown, TenantJob>(tenant.vault as never);
    const turnsOf = (id: string) => {
      const active = [{ id, purpose: 'api_key' as const, createdAtMs: 0, wraps: 0 }];
      const keyring = { ...core.keyring, activeKeys: () => active } as unknown as typeof core.keyring;
      return nextKeyTurnAt({ ...core, keyring }, platform) / PERIOD_MS;
    };
    const turns = Array.from({ length: 1_000 }, (_, index) => turnsOf(`key_${index}`)).toSorted((a, b) => a - b);
    for (const tenth of [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]) {
      const within = turns.filter((turn) => turn > 0.9 + tenth / 100 && turn <= 0.9 + (tenth + 1) / 100);
      expect(within.length, `tenth ${tenth}`).toBeGreaterThan(50);
      expect(within.length, `tenth ${tenth}`).toBeLessThan(150);
    }
    expect(turns[0]).toBeGreaterThanOrEqual(0.9);
    expect(turns.at(-1)).toBeLessThanOrEqual(1);
  });

  it('turn one by one as their times come, once each, with an event; values stay readable', async () => {
    const tenant = await testTenant({ keyPeriodMs: PERIOD_MS });
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const { turns } = await listed(tenant);
    const [first] = [...turns].toSorted(([, a], [, b]) => a - b);
    tenant.clock.pass((first?.[1] ?? 0) - tenant.clock.now() - 1);
    expect(tenant.vault.keysAreDue()).toBe(false);
    expect(await tenant.vault.submit((job) => rotateAgedKeys(job))).toBe(0);
    tenant.clock.pass(1);
    expect(tenant.vault.keysAreDue()).toBe(true);
    const turned = await leftBy(tenant.sql, () => tenant.vault.submit((job) => rotateAgedKeys(job)));
    expect(turned.value).toBe(1);
    expect(turned.events).toMatchObject([{ action: 'key.rotate', actor: { type: 'system', id: 'key-age' }, outcome: 'success', details: { count: 1 } }]); // biome-ignore format: one line
    expect(tenant.vault.keysAreDue()).toBe(false);
    tenant.clock.pass(PERIOD_MS);
    expect(await tenant.vault.submit((job) => rotateAgedKeys(job))).toBe(ROTATABLE.length);
    const again = await leftBy(tenant.sql, () => tenant.vault.submit((job) => rotateAgedKeys(job)));
    expect(again, 'nothing is left to do or to record').toMatchObject({ value: 0, events: [] });
    await rewrapAll(tenant.vault);
    const { keys } = await listed(tenant);
    expect(keys.filter(({ state }) => state === 'active')).toHaveLength(ROTATABLE.length + 1);
    expect(tenant.reopen().keysAreDue()).toBe(false);
  });

  it('do not turn while the clock is in doubt, and are then due when it is steady', async () => {
    const tenant = await testTenant({ keyPeriodMs: PERIOD_MS });
    tenant.clock.pass(PERIOD_MS);
    tenant.clock.steadyAtMs = tenant.clock.now() + 3_600_000;
    expect(await tenant.vault.submit((job) => rotateAgedKeys(job))).toBe(0);
    expect(tenant.vault.keysAreDue()).toBe(false);
    expect(tenant.vault.nextDueAt()).toBe(tenant.clock.steadyAtMs);
    tenant.clock.pass(3_600_000);
    expect(await tenant.vault.submit((job) => rotateAgedKeys(job))).toBe(ROTATABLE.length);
  });

  it('turn early when one was used for very many values', async () => {
    const tenant = await testTenant({ keyPeriodMs: PERIOD_MS });
    const { keyring } = inside(tenant.vault).core;
    tenant.sql.run('UPDATE tenant_key SET wraps = ? WHERE key_id = ?', LIMITS.wrapsPerKeyAged, keyring.current('api_key').id);
    keyring.load();
    expect(tenant.vault.keysAreDue()).toBe(true);
    expect(await tenant.vault.submit((job) => rotateAgedKeys(job))).toBe(1);
    expect(keyring.current('api_key').version).toBe(2);
    expect(await tenant.vault.submit((job) => rotateAgedKeys(job))).toBe(0);
  });
});

describe('the keys of the home cell', () => {
  it('turn by age, are rewrapped, and the old ones are destroyed after their delay', async () => {
    const { home, sql, clock } = await testHome();
    expect(home.keysDueAt()).toBeGreaterThan(clock.now());
    clock.pass(PERIOD_MS);
    expect(home.keysDueAt()).toBeLessThanOrEqual(clock.now());
    await home.tendKeys();
    const states = () => sql.all<{ state: string }>("SELECT state FROM tenant_key WHERE purpose <> 'audit_sign'").map(({ state }) => state); // biome-ignore format: one line
    expect(states().toSorted()).toEqual([
      ...Array(ROTATABLE.length).fill('active'),
      ...Array(ROTATABLE.length).fill('decrypt_only'),
    ]);
    expect(home.keysDueAt()).toBe(clock.now() + LIMITS.keyDestroyDelayMs);
    clock.pass(LIMITS.keyDestroyDelayMs);
    await home.tendKeys();
    expect(states().filter((state) => state === 'destroyed')).toHaveLength(ROTATABLE.length);
    expect(home.keysDueAt()).toBeGreaterThan(clock.now());
    const actions = eventsOf(sql).filter((event) => event['action'] === 'installation.keys.rotate');
    expect(new Set(actions.map((event) => (event['actor'] as { id: string }).id))).toEqual(
      new Set(['key-age', 'rewrap', 'key-destruction']),
    );
  });

  it('are due at once while a rotation waits, also beside one that has finished, and then when the first old key may be destroyed', async () => {
    const { home, clock, caller, owner } = await testTeam();
    const rotate = (purpose: 'api_key' | 'backup') => home.submit((job) => rotateKeys(job, caller(owner), [purpose]));
    await rotate('api_key');
    expect(home.keysDueAt()).toBe(0);
    await home.tendKeys();
    const firstEndAt = clock.now() + LIMITS.keyDestroyDelayMs;
    expect(home.keysDueAt()).toBe(firstEndAt);
    clock.pass(1_000);
    await rotate('backup');
    expect(home.keysDueAt()).toBe(0);
    await home.tendKeys();
    expect(home.keysDueAt()).toBe(firstEndAt);
    clock.steadyAtMs = firstEndAt + 1;
    expect(home.keysDueAt()).toBe(firstEndAt + 1);
  });

  it('tell their owner when work on them begins and ends, and drop what was kept under old ones', async () => {
    const { opening, caller, owner } = await testTeam();
    const told = vi.fn();
    const { sql, erasureKey, platform } = opening;
    const home = new HomeVault({ sql, erasureKey, platform, authorizer, admit: () => {}, onKeysChanged: told });
    const forgotten = vi.spyOn(inside(home).core.audit.sources, 'forget');
    await home.submit((job) => rotateKeys(job, caller(owner), ['audit_pii']));
    expect(told).toHaveBeenCalledTimes(1);
    expect(forgotten).toHaveBeenCalledTimes(1);
    await home.tendKeys();
    expect(told).toHaveBeenCalledTimes(2);
  });

  it('are not asked for again and again by a rotation whose row is damaged', async () => {
    const { home, sql, clock, caller, owner } = await testTeam();
    await home.submit((job) => rotateKeys(job, caller(owner), ['api_key']));
    sql.run('UPDATE key_rotation SET total = total + 1');
    expect(home.keysDueAt()).toBeGreaterThan(clock.now());
  });

  it.each(['keys.after-new-version', 'keys.mid-rewrap', 'keys.before-destroy'] as const)(
    'whose work fails at %s say so, and go on at the next time',
    async (point) => {
      const { home, sql, clock, failAt } = await testHome();
      clock.pass(PERIOD_MS);
      if (point === 'keys.before-destroy') {
        await home.tendKeys();
        clock.pass(LIMITS.keyDestroyDelayMs);
      }
      failAt(point);
      await expect(home.tendKeys()).rejects.toThrow(`a crash at ${point}`);
      expect(home.keysDueAt()).toBeLessThanOrEqual(clock.now());
      await home.tendKeys();
      expect(home.keysDueAt()).toBeGreaterThan(clock.now());
      const unfinished = sql.all('SELECT 1 FROM key_rotation WHERE finished_at IS NULL');
      expect(unfinished).toEqual([]);
    },
  );
});
