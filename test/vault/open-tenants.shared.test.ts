import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type OpenTenant, OpenTenants } from '../../src/vault/open-tenants.ts';

const NOW = 1_800_000_000_000;

interface Played extends OpenTenant {
  reads: number;
  runs: number;
  due: number | undefined;
  work: () => void;
}

function played(due: number | undefined): Played {
  const tenant: Played = {
    reads: 0,
    runs: 0,
    due,
    work: () => {},
    nextDueAt: () => {
      tenant.reads += 1;
      return tenant.due;
    },
    idle: () => true,
    close: () => {},
    runDueWork: async () => {
      tenant.runs += 1;
      tenant.work();
    },
  };
  return tenant;
}

function open(tenants: Record<string, Played>): OpenTenants<Played> {
  const all = new OpenTenants<Played>((id) => tenants[id]);
  for (const id of Object.keys(tenants)) all.get(id);
  return all;
}

describe('the open tenants', () => {
  it('are asked for their next due time once per tick, for any number of commits', async () => {
    const tenant = played(undefined);
    const all = open({ a: tenant });
    tenant.due = NOW;
    for (let commit = 0; commit < 1_000; commit++) all.noteDue('a');
    expect(tenant.reads).toBe(1); // when it was opened
    await all.tick(NOW);
    expect(tenant).toMatchObject({ runs: 1, reads: 3 }); // for the tick, and after its work
    tenant.due = NOW + 60_000;
    await all.tick(NOW + 1_000);
    await all.tick(NOW + 2_000);
    expect(tenant.reads).toBe(4); // what nobody changed is not read again
    tenant.due = undefined;
    all.noteDue('a');
    await all.tick(NOW + 60_000);
    expect(tenant.runs, 'nothing is due any more').toBe(2);
  });

  it('get a pause after their work failed, even if the work changed due times', async () => {
    const tenant = played(NOW);
    const all = open({ a: tenant });
    tenant.work = () => {
      all.noteDue('a');
      throw new Error('a damaged row');
    };
    await expect(all.tick(NOW)).rejects.toThrow('a damaged row');
    await all.tick(NOW + LIMITS.refreshCoolDownMs - 1);
    expect(tenant.runs).toBe(1);
    await expect(all.tick(NOW + LIMITS.refreshCoolDownMs)).rejects.toThrow('a damaged row');
    expect(tenant.runs).toBe(2);
  });

  it('do not wait for one whose next due time cannot be read', async () => {
    const damaged = played(undefined);
    const healthy = played(NOW);
    const all = open({ damaged, healthy });
    damaged.nextDueAt = () => {
      throw new Error('the disk cannot be read');
    };
    all.noteDue('damaged');
    await expect(all.tick(NOW)).rejects.toThrow('the disk cannot be read');
    expect(healthy.runs).toBe(1);
    expect(damaged.runs).toBe(1);
  });

  it('are all checked after the clock was set back, changed or not', async () => {
    const quiet = played(NOW + 60_000);
    const changed = played(NOW + 60_000);
    const all = open({ quiet, changed });
    await all.tick(NOW);
    all.noteDue('changed');
    await all.tick(NOW - 24 * 3_600_000);
    expect([quiet.runs, changed.runs]).toEqual([1, 1]);
  });

  it('work once at a time: one that still does is left alone, and is asked what is due when it has ended', async () => {
    const slow = played(NOW);
    const quick = played(undefined);
    const all = open({ slow, quick });
    let end = () => {};
    slow.runDueWork = () => {
      slow.runs += 1;
      return new Promise<void>((resolve) => {
        end = resolve;
      });
    };
    const first = all.tick(NOW);
    quick.due = NOW + 1;
    all.noteDue('quick');
    all.noteDue('slow');
    await all.tick(NOW + 1);
    expect([slow.runs, quick.runs]).toEqual([1, 1]);
    expect(slow.reads, 'read again after its work').toBe(1);
    slow.due = NOW + 5;
    end();
    await first;
    void all.tick(NOW + 4);
    expect(slow.runs).toBe(1);
    const second = all.tick(NOW + 5);
    expect(slow.runs).toBe(2);
    end();
    await second;
  });

  it('are late by what is due longest', async () => {
    const all = open({ a: played(NOW - 5), b: played(NOW - 7), c: played(NOW + 3), d: played(undefined) });
    expect([NOW, NOW - 6, NOW - 7, NOW - 8].map((now) => all.dueLagMs(now))).toEqual([7, 1, 0, 0]);
    expect(open({}).dueLagMs(NOW)).toBe(0);
  });

  it('are opened once, listed, and closed together', () => {
    const tenants = { a: played(undefined), b: played(undefined) };
    const closed: string[] = [];
    for (const [id, tenant] of Object.entries(tenants)) tenant.close = () => void closed.push(id);
    const all = open(tenants);
    expect(all.get('a')).toBe(tenants.a);
    expect(tenants.a.reads).toBe(1);
    expect(all.get('none')).toBeUndefined();
    expect([all.size, all.all()]).toEqual([2, [tenants.a, tenants.b]]);
    all.closeAll();
    expect([closed, all.size, all.dueLagMs(NOW)]).toEqual([['a', 'b'], 0, 0]);
  });

  it('make room for another by closing the first that is idle, when there are as many as may be', () => {
    const tenants: Record<string, Played> = {};
    const closed: string[] = [];
    for (let i = 0; i <= LIMITS.openTenantsMax; i++) {
      const id = `t${i}`;
      tenants[id] = { ...played(undefined), close: () => void closed.push(id) };
    }
    tenants['t0']!.idle = () => false;
    const all = new OpenTenants<Played>((id) => tenants[id]);
    for (let i = 0; i < LIMITS.openTenantsMax; i++) all.get(`t${i}`);
    expect(closed).toEqual([]);
    all.get(`t${LIMITS.openTenantsMax}`);
    expect([closed, all.size]).toEqual([['t1'], LIMITS.openTenantsMax]);
  });

  it('are not opened by a change of one that is closed', async () => {
    const tenants = { open: played(undefined), closed: played(NOW) };
    const all = new OpenTenants<Played>((id) => tenants[id as keyof typeof tenants]);
    all.get('open');
    all.noteDue('closed');
    await all.tick(NOW);
    expect([all.size, tenants.closed.reads, tenants.closed.runs]).toEqual([1, 0, 0]);
  });

  it('that are closed to make room still get their due work: one that works is not closed, and a change is read before', async () => {
    const tenants: Record<string, Played> = {};
    const closed: string[] = [];
    for (let i = 0; i <= LIMITS.openTenantsMax; i++) {
      const made = played(undefined);
      made.close = () => void closed.push(`t${i}`);
      tenants[`t${i}`] = made;
    }
    const [working, changed] = [tenants['t0']!, tenants['t1']!];
    working.due = NOW;
    let end = () => {};
    working.runDueWork = () => new Promise<void>((resolve) => (end = resolve));
    const all = new OpenTenants<Played>((id) => tenants[id]);
    for (let i = 0; i < LIMITS.openTenantsMax; i++) all.get(`t${i}`);
    const first = all.tick(NOW);
    changed.due = NOW + 1;
    all.noteDue('t1');
    all.get(`t${LIMITS.openTenantsMax}`);
    expect(closed).toEqual(['t1']);
    working.due = undefined;
    end();
    await first;
    await all.tick(NOW + 1);
    expect(changed.runs).toBe(1);
  });

  it.each([
    [0, 0],
    [-LIMITS.clockSkewMs, 0],
    [-LIMITS.clockSkewMs - 1, 1],
  ])('are looked at when the clock went by %i ms: %i times', async (byMs, runs) => {
    const quiet = played(NOW + 60_000_000);
    const all = open({ quiet });
    await all.tick(NOW);
    await all.tick(NOW + byMs);
    expect(quiet.runs).toBe(runs);
  });
});
