// Keys of a cell turn by their age: each within its period, not all at once, and not on the word of a clock that jumped (D17).
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { listKeys, ROTATABLE, rewrapAll, rotateAgedKeys } from '../../src/vault/rotate-keys.ts';
import { testHome } from '../kit/homes.ts';
import { leftBy } from '../kit/told.ts';
import { eventsOf, inside, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

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
    expect(await tenant.vault.submit((job) => rotateAgedKeys(job))).toBe(0);
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
});
