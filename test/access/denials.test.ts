// Denials are cheap to cause: a flood of them does not fill the log, is counted in full, and does not hide those of others.
import { describe, expect, it } from 'vitest';
import { Denials } from '../../src/access/denials.ts';
import { OPERATIONS, type Operation, ROLES } from '../../src/access/operations.ts';
import type { Caller } from '../../src/access/principals.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { eventsOf, inside, putKey, TestClock, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

function read(tenant: TestTenant, token: string, name: string): Promise<string> {
  const what = { environment: 'staging', name, version: undefined, stage: undefined };
  return outcomeOf(tenant.vault.submit((job) => readCredential(job, tenant.token(token), what)));
}

const denied = (tenant: TestTenant, from: number) =>
  eventsOf(tenant.sql)
    .slice(from)
    .filter((event) => event['outcome'] === 'denied');
const counted = (events: readonly Record<string, unknown>[]) =>
  events.reduce((sum, event) => sum + ((event['details'] as { count?: number } | undefined)?.count ?? 1), 0);

describe('what every tenant has', () => {
  const ALWAYS_THERE = (Object.keys(OPERATIONS) as Operation[]).filter((operation) =>
    ['AuditLog', 'TenantKey'].includes(OPERATIONS[operation].resource),
  );

  it.each(ALWAYS_THERE)(
    '%s is allowed or forbidden to whoever may see the tenant, and missing to nobody of them',
    async (operation) => {
      const tenant = await testTenant();
      const { text } = await workloadToken(tenant, { permissions: ['read', 'put', 'rotate'] });
      const ask = (caller: Caller) =>
        outcomeOf(
          tenant.vault.submit((job) => {
            const resource = OPERATIONS[operation].resource === 'AuditLog' ? job.auditResource : job.keyResource;
            return job.door.enter(
              caller,
              operation,
              () => ({ resource, target: { type: 'x' }, subject: true as const }),
              () => {},
            );
          }),
        );
      const outcomes = new Set<string>([await ask(tenant.token(text))]);
      for (const role of ROLES.filter((one) => one !== 'workload')) outcomes.add(await ask(tenant.user([role])));
      expect([...outcomes].sort()).toEqual(['forbidden', 'ok']);
      expect(await ask(tenant.user(['owner'], 'elsewhere'))).toBe('not_found');
    },
  );
});

describe('a principal with many denials', () => {
  it('leaves a bounded number of events and one with the count of the others; denials of others are single events', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const narrow = await workloadToken(tenant, { patterns: ['other-*'] });
    const another = await workloadToken(tenant, { patterns: ['other-*'] });
    const from = eventsOf(tenant.sql).length;
    const total = LIMITS.denialEventsBurst + 500;
    for (let i = 0; i < total; i += 100)
      await Promise.all(Array.from({ length: 100 }, () => read(tenant, narrow.text, 'stripe')));
    expect(denied(tenant, from)).toHaveLength(LIMITS.denialEventsBurst);
    expect(await read(tenant, narrow.text, 'stripe'), 'the answer stays the same').toBe('not_found');
    await read(tenant, another.text, 'stripe');
    expect(denied(tenant, from).at(-1)).toMatchObject({ actor: { id: another.id } });
    for (const wake of tenant.wakes.splice(0)) wake();
    await tenant.vault.submit(() => {});
    const summary = denied(tenant, from).at(-1);
    expect(summary).toMatchObject({ action: 'authorization', details: { count: 501 } });
    expect(counted(denied(tenant, from))).toBe(total + 2);
  });

  it('is counted in the log in full when the cell closes', async () => {
    const tenant = await testTenant();
    const narrow = await workloadToken(tenant, { patterns: ['other-*'] });
    const from = eventsOf(tenant.sql).length;
    const total = LIMITS.denialEventsBurst + 50;
    for (let i = 0; i < total; i++) await read(tenant, narrow.text, 'stripe');
    const { sql } = tenant;
    inside(tenant.vault).door.close();
    await tenant.vault.submit(() => {});
    expect(counted(denied({ ...tenant, sql }, from))).toBe(total);
  });
});

describe('denials', () => {
  it('are limited per source and in total, for a flood of any length, and none is lost', () => {
    const clock = new TestClock();
    const wakes: (() => void)[] = [];
    const written: number[] = [];
    const denials = new Denials({
      clock,
      later: (_delayMs, task) => void wakes.push(task),
      write: async (count) => void written.push(count),
    });
    let own = 0;
    let total = 0;
    const hours = 2;
    for (let second = 0; second < hours * 3_600; second++) {
      for (let i = 0; i < 50; i++) {
        total++;
        if (denials.take('one')) own++;
      }
      clock.pass(1_000);
      if (second % 60 === 59) for (const wake of wakes.splice(0)) wake();
    }
    denials.flush();
    expect(own).toBeLessThanOrEqual(LIMITS.denialEventsBurst + hours * 3_600 * LIMITS.denialEventsPerSecond + 1);
    expect(own + written.reduce((sum, count) => sum + count, 0)).toBe(total);
    expect(written.length).toBeLessThanOrEqual(hours * 60 + 1);
    own = 0;
    clock.pass(86_400_000);
    for (let i = 0; i < 100_000; i++) if (denials.take(`source-${i}`)) own++;
    expect(own).toBe(LIMITS.denialEventsBurstInAll);
  });

  it('are summarized by one event per minute, even a single one, and by none in a minute without denials', () => {
    const wakes: (() => void)[] = [];
    const written: number[] = [];
    const denials = new Denials({
      clock: new TestClock(),
      later: (delayMs, task) => {
        expect(delayMs).toBe(LIMITS.denialSummaryEveryMs);
        wakes.push(task);
      },
      write: async (count) => void written.push(count),
    });
    denials.flush();
    for (let i = 0; i < 5; i++) denials.count();
    expect(wakes).toHaveLength(1);
    wakes.shift()?.();
    denials.count();
    expect(wakes).toHaveLength(1);
    wakes.shift()?.();
    denials.flush();
    expect(written).toEqual([5, 1]);
    expect(wakes).toEqual([]);
  });

  it('that could not be written are written with the next ones', async () => {
    const wakes: (() => void)[] = [];
    const written: number[] = [];
    let failing = true;
    const denials = new Denials({
      clock: new TestClock(),
      later: (_delayMs, task) => void wakes.push(task),
      write: (count) => (failing ? Promise.reject(new Error('the disk is full')) : Promise.resolve(written.push(count))),
    });
    denials.count();
    wakes.shift()?.();
    await Promise.resolve();
    await Promise.resolve();
    failing = false;
    denials.count();
    wakes.shift()?.();
    expect(written).toEqual([2]);
  });
});
