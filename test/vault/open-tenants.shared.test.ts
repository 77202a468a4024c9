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

describe('the tenants that are open', () => {
  it('are asked once a tick when they are next due, however many commits changed that', async () => {
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
  });

  it('are left alone for a while after their work failed, even though the work changed what is due', async () => {
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

  it('do not wait for one whose next due work cannot be read', async () => {
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

  it('are all looked at when the clock was put back, changed or not', async () => {
    const quiet = played(NOW + 60_000);
    const changed = played(NOW + 60_000);
    const all = open({ quiet, changed });
    await all.tick(NOW);
    all.noteDue('changed');
    await all.tick(NOW - 24 * 3_600_000);
    expect([quiet.runs, changed.runs]).toEqual([1, 1]);
  });
});
