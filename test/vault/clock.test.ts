// What the clock of the machine may do to a tenant, and what not: nothing expired lives again, nothing is destroyed on the word of a jump.
import { describe, expect, it } from 'vitest';
import { purgeExpired } from '../../rotation/engine/house-keeping.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SteadyClock } from '../../src/base/steady-clock.ts';
import { deleteCredential, destroyExpired } from '../../src/vault/change-credential.ts';
import { destroyRetiredKeys, rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { tellClock } from '../../src/vault/tell-clock.ts';
import { eventsOf, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

const DAY = 86_400_000;
const YEAR = 365 * DAY;

/** The clock stands where a jump by a year has brought it, not steady yet. */
function jump({ clock }: TestTenant): void {
  clock.pass(YEAR);
  clock.steadyAtMs = clock.now() + LIMITS.clockSteadyMs;
}

describe('a clock that jumped by a year', () => {
  it('destroys no credential in its recovery window, until it went steadily', async () => {
    const tenant = await testTenant();
    const { vault, clock, sql } = tenant;
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const where = { environment: 'staging', name: 'stripe' };
    await vault.submit((job) =>
      deleteCredential(job, tenant.user(['admin'], 'everywhere'), { ...where, recoveryWindowMs: 30 * DAY, precondition: {} }),
    );
    jump(tenant);
    expect(await vault.submit((job) => destroyExpired(job, 10))).toBe(0);
    expect(sql.get('SELECT count(*) AS n FROM credential_version')?.['n']).toBe(1);
    expect(vault.nextDueAt()).toBe(clock.steadyAtMs);
    clock.pass(LIMITS.clockSteadyMs);
    expect(await vault.submit((job) => destroyExpired(job, 10))).toBe(1);
    expect(sql.get('SELECT count(*) AS n FROM credential_version')?.['n']).toBe(0);
  });

  it('destroys no retired key and purges nothing, until it went steadily', async () => {
    const tenant = await testTenant();
    const { vault, clock, sql } = tenant;
    const admin = tenant.user(['admin'], 'everywhere');
    await vault.submit((job) => rotateKeys(job, admin, ['oauth_token']));
    for (let turn = 0; turn < 5; turn++) await vault.submit((job) => rewrapBatch(job));
    const destroyed = () => Number(sql.get("SELECT count(*) AS n FROM tenant_key WHERE state = 'destroyed'")?.['n']);
    jump(tenant);
    await vault.submit((job) => destroyRetiredKeys(job));
    await vault.submit((job) => purgeExpired(job));
    expect(destroyed()).toBe(0);
    clock.pass(LIMITS.clockSteadyMs);
    await vault.submit((job) => destroyRetiredKeys(job));
    expect(destroyed()).toBe(1);
  });

  it('is an event and an alert', async () => {
    const tenant = await testTenant();
    const { vault, sql } = tenant;
    await vault.submit((job) => tellClock(job, { kind: 'ahead', byMs: YEAR }));
    expect(eventsOf(sql).at(-1)).toMatchObject({ action: 'clock.jumped', reason: 'ahead', details: { seconds: YEAR / 1_000 } });
    expect(sql.all('SELECT kind, credential_id FROM alert')).toEqual([{ kind: 'clock.jumped', credential_id: null }]);
  });
});

describe('a clock that was set back while nothing ran', () => {
  const machineAt = (atMs: number) => ({ now: () => atMs, ran: () => 0 });

  it('is not believed below what the cell committed, unless the operator says that it is right', async () => {
    const tenant = await testTenant();
    tenant.clock.pass(DAY);
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const committed = tenant.clock.now();
    const clock = new SteadyClock(machineAt(committed - DAY));
    tenant.reopenWith({ clock });
    expect(clock.now()).toBe(committed);
    const accepted = new SteadyClock(machineAt(committed - DAY));
    const vault = tenant.reopenWith({ clock: accepted, acceptsClock: true });
    expect(accepted.now()).toBe(committed - DAY);
    await vault.submit(() => {});
    expect(eventsOf(tenant.sql).map(({ action }) => action)).toContain('clock.accept');
  });
});
