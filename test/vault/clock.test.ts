// Effects of a wrong machine clock on a tenant: nothing expired becomes valid again, and a jump destroys nothing.
import { describe, expect, it } from 'vitest';
import { bringForward, purgeExpired } from '../../rotation/engine/house-keeping.ts';
import { IdempotentAnswers } from '../../src/access/idempotent-answers.ts';
import type { Principal } from '../../src/access/principals.ts';
import { createWebhook } from '../../src/alerts/manage-webhooks.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SteadyClock } from '../../src/base/steady-clock.ts';
import { deleteCredential, destroyExpired } from '../../src/vault/change-credential.ts';
import { createWorkload } from '../../src/vault/manage-workloads.ts';
import type { Platform } from '../../src/vault/open-cell.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { destroyRetiredKeys, rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { tellClock } from '../../src/vault/tell-clock.ts';
import type { TenantVault } from '../../src/vault/tenant-vault.ts';
import { changeRows } from '../kit/anchored.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { eventsOf, putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const DAY = 86_400_000;
const YEAR = 365 * DAY;

/** The clock after a jump by a year, not steady yet. */
function jump({ clock }: TestTenant): void {
  clock.pass(YEAR);
  clock.steadyAtMs = clock.now() + LIMITS.clockSteadyMs;
}

describe('a clock that jumped by a year', () => {
  it('destroys no credential in its recovery window until it is steady', async () => {
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

  it('destroys no retired key and purges nothing until it is steady', async () => {
    const tenant = await testTenant();
    const { vault, clock, sql } = tenant;
    const admin = tenant.user(['admin'], 'everywhere');
    await vault.submit((job) => rotateKeys(job, admin, ['oauth_token']));
    for (let turn = 0; turn < 5; turn++) await vault.submit((job) => rewrapBatch(job));
    const destroyed = () => Number(sql.get("SELECT count(*) AS n FROM tenant_key WHERE state = 'destroyed'")?.['n']);
    jump(tenant);
    await destroyRetiredKeys(vault);
    await vault.submit((job) => purgeExpired(job));
    expect(destroyed()).toBe(0);
    clock.pass(LIMITS.clockSteadyMs);
    await destroyRetiredKeys(vault);
    expect(destroyed()).toBe(1);
  });

  it('causes an event and an alert', async () => {
    const tenant = await testTenant();
    const { vault, sql } = tenant;
    await vault.submit((job) => tellClock(job, { kind: 'ahead', byMs: YEAR }));
    expect(eventsOf(sql).at(-1)).toMatchObject({ action: 'clock.jumped', reason: 'ahead', details: { seconds: YEAR / 1_000 } });
    expect(sql.all('SELECT kind, credential_id FROM alert')).toEqual([{ kind: 'clock.jumped', credential_id: null }]);
  });
});

/** A machine whose clock can be set: passing time moves both clocks, setting moves only the wall clock. */
function machineAt(startMs: number) {
  const state = { wall: startMs, ran: 0 };
  return {
    clock: { now: () => state.wall, ran: () => state.ran },
    pass(ms: number) {
      state.wall += ms;
      state.ran += ms;
    },
    set(ms: number) {
      state.wall += ms;
    },
  };
}

/** A tenant whose process uses the clock of a machine, as a service does. */
async function onMachine() {
  const tenant = await testTenant();
  const machine = machineAt(tenant.clock.now());
  const start = (other: Partial<Platform> = {}) => tenant.reopenWith({ clock: new SteadyClock(machine.clock), ...other });
  const isGood = (vault: TenantVault, text: string) =>
    outcomeOf(
      vault.submit((job) =>
        readCredential(job, tenant.token(text), { environment: 'staging', name: 'stripe', version: undefined, stage: undefined }),
      ),
    ).then((found) => found !== 'unauthenticated');
  return { tenant, machine, start, isGood };
}

describe('a clock that jumped ahead and is corrected before it was proven', () => {
  it('leaves objects valid that had seemed expired, and makes tokens invalid that were issued meanwhile', async () => {
    const { tenant, machine, start, isGood } = await onMachine();
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const before = await workloadToken(tenant);
    const vault = start();
    const during = async () => (await workloadToken({ ...tenant, vault })).text;
    expect(await isGood(vault, before.text)).toBe(true);
    machine.set(DAY);
    expect(await isGood(vault, before.text)).toBe(false);
    const issued = await during();
    expect(await isGood(vault, issued)).toBe(true);
    machine.set(-DAY);
    expect(await isGood(vault, before.text)).toBe(true);
    expect(await isGood(vault, issued)).toBe(false);
    // The same after a restart: the jump was not committed.
    const again = start();
    expect(await isGood(again, before.text)).toBe(true);
    expect(await isGood(again, issued)).toBe(false);
    machine.set(DAY);
    expect(await isGood(again, before.text)).toBe(false);
  });

  it('causes a check of all due work at once, also when it was corrected while the service was stopped', async () => {
    const { tenant, machine, start } = await onMachine();
    machine.set(30 * DAY);
    const ahead = start();
    await ahead.submit((job) => job.door.note({ ...NOTE, request: 'req_ahead' }));
    expect(ahead.nextDueAt()).toBeUndefined();
    machine.set(-30 * DAY);
    const right = start();
    expect(right.nextDueAt()).toBe(tenant.clock.now());
    right.planLookedAt();
    expect(right.nextDueAt()).toBeUndefined();
  });

  it('makes due now whatever was planned further ahead than any wait', async () => {
    const tenant = await testTenant();
    const { vault, clock, sql } = tenant;
    const user = tenant.user(['admin'], 'everywhere');
    await vault.submit((job) =>
      createWebhook(job, user, { url: 'https://hook.example/', kinds: ['clock.jumped'], allowLoopback: false }),
    );
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    await vault.submit((job) => tellClock(job, { kind: 'ahead', byMs: YEAR }));
    const at = clock.now() + YEAR;
    await vault.submit((job) => {
      changeRows(job.core.rows, 'delivery', '1', () => ({ next_attempt_at: at }));
      changeRows(job.core.rows, 'credential', '1', () => ({ review_due_at: at }));
    });
    expect(await bringForward(vault)).toBe(2);
    const now = clock.now();
    expect(sql.all('SELECT next_attempt_at FROM delivery')).toEqual([{ next_attempt_at: now }]);
    expect(sql.all('SELECT review_due_at FROM credential')).toEqual([{ review_due_at: now }]);
    expect(await bringForward(vault)).toBe(0);
  });

  it('keeps idempotent answers that had seemed expired', async () => {
    const tenant = await testTenant();
    const { vault, clock } = tenant;
    const keep = {
      principal: { type: 'User' as const, id: 'usr_x', revision: 1 },
      asked: { key: 'k', hash: new Uint8Array(32) },
    };
    const answers = () => vault.submit((job) => new IdempotentAnswers(job.core.idempotency, job.core.keyring, clock));
    const found = async (asked = keep.asked) => {
      const all = await answers();
      return vault.lookup('test', (lookup) => all.find(lookup, keep.principal as unknown as Principal, asked));
    };
    const save = async (key: string) => {
      const all = await answers();
      await vault.submit((job) =>
        job.door.keepBooks('idempotency', (books) =>
          all.keep(
            books,
            keep.principal as unknown as Principal,
            { ...keep.asked, key },
            { status: 201, body: new Uint8Array(2) },
          ),
        ),
      );
    };
    await save('k');
    clock.pass(YEAR);
    clock.unprovenMs = YEAR;
    await save('another');
    expect(await found()).toMatchObject({ status: 201 });
    clock.unprovenMs = 0;
    expect(await found()).toBeUndefined();
  });
});

describe('a service that was off for three days', () => {
  it('uses the right time at once: objects that expired meanwhile are expired, although the time is not proven', async () => {
    const { tenant, machine, start, isGood } = await onMachine();
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const token = await workloadToken(tenant);
    machine.set(3 * DAY);
    const vault = start();
    expect(await isGood(vault, token.text)).toBe(false);
    expect(await isGood(vault, (await workloadToken({ ...tenant, vault })).text)).toBe(true);
    await vault.submit((job) => {
      expect(job.core.rows.anchor.timeAt).toBeLessThan(machine.clock.now() - 2 * DAY);
    });
    machine.pass(LIMITS.clockSteadyMs);
    await vault.submit((job) => job.door.note({ ...NOTE, request: 'req_later' }));
    await vault.submit((job) => {
      expect(job.core.rows.anchor.timeAt).toBe(machine.clock.now());
    });
  });
});

const NOTE = { action: 'x', actor: { type: 'system', id: 'x' }, outcome: 'success', reason: 'x', target: { type: 'x' } } as const;

describe('a clock that was set back while the service was stopped', () => {
  it('does not set time before the last committed one, unless the operator accepts the clock', async () => {
    const { tenant, machine, start, isGood } = await onMachine();
    machine.set(DAY);
    const wrong = start();
    await putKey({ ...tenant, vault: wrong }, 'stripe', 'not-a-real-secret');
    machine.pass(LIMITS.clockSteadyMs);
    const issued = await workloadToken({ ...tenant, vault: wrong });
    const committed = machine.clock.now();
    machine.set(-DAY);
    const clock = new SteadyClock(machine.clock);
    const ahead = start({ clock });
    expect(clock.now()).toBe(committed);
    expect(await isGood(ahead, issued.text)).toBe(true);
    const accepted = new SteadyClock(machine.clock);
    const vault = start({ clock: accepted, acceptsClock: true });
    expect(accepted.now()).toBe(committed - DAY);
    // Tokens issued under the wrong clock may be the only ones: each keeps its lifetime, starting now.
    expect(await isGood(vault, issued.text)).toBe(true);
    const [told, ...more] = eventsOf(tenant.sql).filter(({ action }) => action === 'clock.accept');
    expect(told).toMatchObject({
      actor: { type: 'system', id: 'open' },
      outcome: 'success',
      reason: 'declared by the operator',
      request: expect.stringMatching(/^open:[0-9]+$/),
      target: { type: 'cell' },
      details: { count: 2 },
    });
    expect(more).toEqual([]);
    const row = tenant.sql.get('SELECT created_at, expires_at FROM token WHERE type = ?', 'acc');
    expect(row).toEqual({ created_at: committed - DAY, expires_at: committed - DAY + LIMITS.accessTokenTtlDefaultMs });
  });

  it('that was never proven is accepted with an event only if a token was issued under it', async () => {
    const { tenant, machine, start } = await onMachine();
    const accepted = () => eventsOf(tenant.sql).filter(({ action }) => action === 'clock.accept');
    const admin = tenant.user(['admin'], 'everywhere');
    const workload = { name: 'sync', environment: 'staging', patterns: ['*'], networks: [], jwks: undefined, ttlMs: DAY };
    const reopen = () => start({ acceptsClock: true }).submit(() => {});
    machine.set(DAY);
    await start().submit((job) => createWorkload(job, admin, { ...workload, permissions: ['read'] }));
    machine.set(-DAY);
    await reopen();
    expect(accepted().map(({ details }) => details)).toEqual([{ count: 1 }]);
    await reopen();
    expect(accepted()).toHaveLength(1);
  });
});
