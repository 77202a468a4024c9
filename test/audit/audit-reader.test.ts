// Searching and following the log: every event exactly once, whatever the page size and wherever blocks begin.
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { AuditReader, type EventFilter } from '../../src/audit/audit-reader.ts';
import type { AuditEvent } from '../../src/audit/event.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup } from '../../src/cell/access.ts';
import { followAudit, readCheckpoint, searchAudit } from '../../src/vault/read-audit.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { eventsOf, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
let all: AuditEvent[];

/** Batches of one to seven events about three targets, one second apart. */
beforeAll(async () => {
  tenant = await testTenant();
  for (let batch = 0; batch < 60; batch++) {
    const size = 1 + ((batch * 5) % 7);
    await tenant.vault.submit(() => {
      for (let i = 0; i < size; i++) {
        tenant.vault.door.note({
          action: i % 2 === 0 ? 'credential.read' : 'credential.put',
          actor: { type: 'workload', id: `wkl_${batch % 4}` },
          outcome: i % 3 === 0 ? 'denied' : 'success',
          reason: 'test',
          request: `req_${batch}_${i}`,
          workflow: `flow-${batch % 2}`,
          target: { type: 'credential', id: `crd_${i}`, environment: batch % 2 === 0 ? 'staging' : 'production', name: `c${i}` },
        });
      }
    });
    tenant.clock.pass(1_000);
  }
  all = eventsOf(tenant.sql) as unknown as AuditEvent[];
});

const look = <T>(use: (reader: AuditReader, access: Lookup) => T): T =>
  tenant.vault.door.lookup('test', (access) => use(new AuditReader(tenant.sql), access));

function searchAll(filter: EventFilter, pageSize: number): AuditEvent[] {
  const found: AuditEvent[] = [];
  let before: number | undefined = Number.MAX_SAFE_INTEGER;
  while (before !== undefined) {
    const at: number = before;
    const page = look((reader, access) => reader.search(access, filter, at, pageSize));
    expect(page.events.length).toBeLessThanOrEqual(pageSize);
    found.push(...page.events);
    before = page.nextBefore;
  }
  return found;
}

const FILTERS: [string, EventFilter, (event: AuditEvent) => boolean][] = [
  ['nothing', {}, () => true],
  ['an action', { action: 'credential.put' }, (e) => e.action === 'credential.put'],
  ['an actor', { actor: 'wkl_3' }, (e) => e.actor.id === 'wkl_3'],
  ['an outcome', { outcome: 'denied' }, (e) => e.outcome === 'denied'],
  ["a target's id", { target: 'crd_2' }, (e) => e.target.id === 'crd_2'],
  ["a target's name", { target: 'c2' }, (e) => e.target.name === 'c2'],
  ['an environment', { environment: 'production' }, (e) => e.target.environment === 'production'],
  ['a workflow', { workflow: 'flow-1' }, (e) => e.context?.workflow === 'flow-1'],
  ['a request', { request: 'req_7_0' }, (e) => e.request === 'req_7_0'],
  ['several at once', { action: 'credential.put', outcome: 'success', environment: 'staging' }, (e) => e.action === 'credential.put' && e.outcome === 'success' && e.target.environment === 'staging'], // biome-ignore format: one line
  ['what never was', { action: 'nothing.like.it' }, () => false],
];

describe('a search of the log', () => {
  it.each(FILTERS)('by %s finds exactly the events that match, newest first, in pages of any size', (_what, filter, matches) => {
    const expected = all.filter(matches).reverse();
    for (const pageSize of [1, 2, 3, 7, 50, 500]) expect(searchAll(filter, pageSize)).toEqual(expected);
  });

  it('takes `since` as inclusive and `until` as exclusive', () => {
    const at = all[100]?.at ?? '';
    expect(searchAll({ sinceAt: at }, 50)).toEqual(all.filter((event) => event.at >= at).reverse());
    expect(searchAll({ untilAt: at }, 50)).toEqual(all.filter((event) => event.at < at).reverse());
  });

  it('begins below any index it is given', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: all.length + 5 }), fc.integer({ min: 1, max: 20 }), (before, rows) => {
        const { events } = look((reader, access) => reader.search(access, {}, before, rows));
        expect(events).toEqual(all.slice(0, before).reverse().slice(0, rows));
      }),
    );
  });
});

describe('following the log', () => {
  it('gives every event once, oldest first, from any index and in pages of any size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: all.length + 5 }), fc.integer({ min: 1, max: 60 }), (from, rows) => {
        expect(look((reader, access) => reader.from(access, from, rows))).toEqual(all.slice(from, from + rows));
      }),
    );
  });
});

describe('readers of the log', () => {
  it('are auditors, owners and admins; reading is an event of its own', async () => {
    const may = async (role: 'owner' | 'admin' | 'auditor' | 'engineer' | 'rotation-operator') =>
      outcomeOf(tenant.vault.submit(() => searchAudit(tenant.vault, tenant.user([role], 'everywhere'), {}, undefined, 10)));
    expect(await may('auditor')).toBe('ok');
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ action: 'audit.read', outcome: 'success', details: { count: 10 } });
    expect(await may('engineer')).not.toBe('ok');
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ action: 'audit.read', outcome: 'denied' });
  });

  it('see the address behind an event, which the event itself does not hold', async () => {
    const auditor = { ...tenant.user(['auditor'], 'everywhere'), source: { address: '192.0.2.77', userAgent: 'reviewer/1' } };
    await tenant.vault.submit(() => searchAudit(tenant.vault, auditor, {}, undefined, 1));
    const { events } = await tenant.vault.submit(() => searchAudit(tenant.vault, auditor, {}, undefined, 1));
    expect(events[0]?.origin).toEqual({ address: '192.0.2.77', userAgent: 'reviewer/1' });
    const stored = tenant.sql.all<{ bytes: Uint8Array }>('SELECT bytes FROM audit_block');
    expect(stored.some((block) => Buffer.from(block.bytes).includes('192.0.2.77'))).toBe(false);
    const followed = await tenant.vault.submit(() => followAudit(tenant.vault, auditor, tenant.vault.core.audit.size - 1, 1));
    expect(followed[0]?.origin?.address).toBe('192.0.2.77');
  });

  it('get a signed head that covers their own request', async () => {
    const auditor = tenant.user(['auditor'], 'everywhere');
    const head = await readCheckpoint(tenant.vault, auditor);
    expect(head.size).toBe(eventsOf(tenant.sql).length);
    const again = await readCheckpoint(tenant.vault, auditor);
    expect(again.size).toBe(head.size + 1);
  });
});

describe('a search that matches little', () => {
  it('stops after a bounded scan and says where to go on', async () => {
    const long = await testTenant();
    const batch = 5_000;
    const batches = Math.ceil(LIMITS.auditScanMaxEvents / batch) + 2;
    const input = { actor: { type: 'system', id: 'x' }, outcome: 'success', reason: 'x', target: { type: 'x' } } as const;
    for (let i = 0; i < batches; i++) {
      await long.vault.submit(() => {
        for (let n = 0; n < batch; n++) long.vault.door.note({ ...input, action: 'x', request: 'x' });
      });
    }
    const search = (before: number) =>
      long.vault.door.lookup('test', (access) =>
        long.vault.core.events.search(access, { action: 'environment.create' }, before, 10),
      );
    const first = search(Number.MAX_SAFE_INTEGER);
    expect(first.events).toEqual([]);
    expect(first.nextBefore).toBeGreaterThan(0);
    const second = search(first.nextBefore ?? 0);
    expect(second.events).toHaveLength(2);
    expect(second.nextBefore).toBeUndefined();
  });
});
