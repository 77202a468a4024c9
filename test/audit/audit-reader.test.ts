// Searching and following the log: every event exactly once, for any page size and any block boundaries.

import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { AuditReader, type EventFilter, type EventSlice } from '../../src/audit/audit-reader.ts';
import type { AuditEvent } from '../../src/audit/event.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup } from '../../src/cell/access.ts';
import { LogRows } from '../../src/cell/log-rows.ts';
import type { CellRows } from '../../src/cell/rows.ts';
import { followAudit, readCheckpoint, searchAudit } from '../../src/vault/read-audit.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { eventsOf, inside, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
let all: AuditEvent[];

/** Batches of one to seven events about three targets, one second apart. */
beforeAll(async () => {
  tenant = await testTenant();
  for (let batch = 0; batch < 60; batch++) {
    const size = 1 + ((batch * 5) % 7);
    await tenant.vault.submit((job) => {
      for (let i = 0; i < size; i++) {
        job.door.note({
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
  tenant.vault.lookup('test', (access) => use(new AuditReader(inside(tenant.vault).core.rows), access));

/** Searches turn by turn, down to the start of the log or of `filter`. */
function searchAll(filter: EventFilter, pageSize: number, from = Number.MAX_SAFE_INTEGER): AuditEvent[] {
  const found: AuditEvent[] = [];
  const { floor, ceiling } = look((reader, access) => reader.bounds(access, filter));
  let before: number | undefined = Math.min(from, ceiling);
  while (before !== undefined) {
    const at: { before: number; floor: number } = { before, floor };
    const page: EventSlice = look((reader, access) => reader.search(access, filter, at, pageSize));
    expect(page.events.length).toBeLessThanOrEqual(pageSize);
    found.push(...page.events);
    before = page.nextBefore;
  }
  return found;
}

function followAll(filter: EventFilter, fromIndex: number, pageSize: number): AuditEvent[] {
  const found: AuditEvent[] = [];
  for (let at = fromIndex, atEnd = false; !atEnd; ) {
    const from = at;
    const turn = look((reader, access) => reader.follow(access, filter, from, pageSize));
    expect(turn.events.length).toBeLessThanOrEqual(pageSize);
    found.push(...turn.events);
    at = turn.nextFrom;
    atEnd = turn.atEnd;
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
  it.each(FILTERS)('by %s finds exactly the matching events, newest first, in pages of any size', (_what, filter, matches) => {
    const expected = all.filter(matches).reverse();
    for (const pageSize of [1, 2, 3, 7, 50, 500]) expect(searchAll(filter, pageSize)).toEqual(expected);
  });

  it.each(FILTERS)('by %s follows the same events, oldest first', (_what, filter, matches) => {
    for (const pageSize of [1, 7, 500]) expect(followAll(filter, 100, pageSize)).toEqual(all.slice(100).filter(matches));
  });

  it('by an actor’s name matches every id with that name', () => {
    const expected = all.filter((event) => ['wkl_1', 'wkl_2'].includes(event.actor.id)).reverse();
    expect(searchAll({ actor: 'nightly', actorIds: ['wkl_1', 'wkl_2'] }, 50)).toEqual(expected);
  });

  it('includes `since` and excludes `until`', () => {
    const at = all[100]?.at ?? '';
    expect(searchAll({ sinceAt: at }, 50)).toEqual(all.filter((event) => event.at >= at).reverse());
    expect(searchAll({ untilAt: at }, 50)).toEqual(all.filter((event) => event.at < at).reverse());
  });

  it('starts below any given index', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: all.length + 5 }), fc.integer({ min: 1, max: 20 }), (before, rows) => {
        expect(searchAll({}, rows, before).slice(0, rows)).toEqual(all.slice(0, before).reverse().slice(0, rows));
      }),
    );
  });
});

describe('following the log', () => {
  it('returns every event once, oldest first, from any index and in pages of any size', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: all.length + 5 }), fc.integer({ min: 1, max: 60 }), (from, rows) => {
        expect(followAll({}, from, rows)).toEqual(all.slice(from));
      }),
    );
  });
});

describe('readers of the log', () => {
  it('are auditors, owners and admins; each read is an event', async () => {
    const may = async (role: 'owner' | 'admin' | 'auditor' | 'engineer' | 'rotation-operator') =>
      outcomeOf(searchAudit(tenant.vault, tenant.user([role], 'everywhere'), {}, undefined, 10));
    expect(await may('auditor')).toBe('ok');
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ action: 'audit.read', outcome: 'success', details: { count: 10 } });
    expect(await may('engineer')).not.toBe('ok');
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ action: 'audit.read', outcome: 'denied' });
  });

  it('see the address of an event, which the event itself does not contain', async () => {
    const auditor = { ...tenant.user(['auditor'], 'everywhere'), source: { address: '192.0.2.77', userAgent: 'reviewer/1' } };
    await searchAudit(tenant.vault, auditor, {}, undefined, 1);
    const { events } = await searchAudit(tenant.vault, auditor, {}, undefined, 1);
    expect(events[0]?.origin).toEqual({ address: '192.0.2.77', userAgent: 'reviewer/1' });
    const stored = tenant.sql.all<{ bytes: Uint8Array }>('SELECT bytes FROM audit_block');
    expect(stored.some((block) => Buffer.from(block.bytes).includes('192.0.2.77'))).toBe(false);
    const followed = await followAudit(tenant.vault, auditor, {}, inside(tenant.vault).core.audit.size - 1, 1);
    expect(followed.events[0]?.origin?.address).toBe('192.0.2.77');
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
  let long: TestTenant;
  let events: number;

  beforeAll(async () => {
    long = await testTenant();
    const batch = 1_200;
    const batches = Math.ceil(LIMITS.auditScanMaxEvents / batch) + 30;
    const input = { actor: { type: 'system', id: 'x' }, outcome: 'success', reason: 'x', target: { type: 'x' } } as const;
    for (let i = 0; i < batches; i++) {
      await long.vault.submit((job) => {
        for (let n = 0; n < batch; n++) job.door.note({ ...input, action: 'x', request: 'x' });
      });
      long.clock.pass(7_200_000);
    }
    events = inside(long.vault).core.audit.size;
  });

  const search = (filter: EventFilter, before?: number) =>
    searchAudit(long.vault, long.user(['auditor'], 'everywhere'), filter, before, 10);

  it('stops after a bounded scan and returns where to continue', async () => {
    const first = await search({ action: 'environment.create' });
    expect(first.events).toEqual([]);
    expect(first.nextBefore).toBeGreaterThan(0);
    expect(events - (first.nextBefore ?? 0)).toBeLessThan(LIMITS.auditScanMaxEvents * 1.1);
    const second = await search({ action: 'environment.create' }, first.nextBefore);
    expect(second.events).toHaveLength(2);
    expect(second.nextBefore).toBeUndefined();
  });

  it('lets other requests run: each of its turns reads few bytes and parses few events, for any filter', async () => {
    const filters: EventFilter[] = [
      { action: 'environment.create' },
      { actor: 'nobody' },
      { request: 'req_of_nobody' },
      // Every line contains this text in another role, so each line has to be parsed.
      { target: 'x' },
      { sinceAt: '2026-01-02T03:04:05.000Z', untilAt: '2027-01-01T00:00:00.000Z', outcome: 'denied' },
    ];
    for (const filter of filters) {
      let before: number | undefined = Number.MAX_SAFE_INTEGER;
      const turns: number[] = [];
      while (before !== undefined) {
        const at: { before: number; floor: number } = { before, floor: 0 };
        const turn: EventSlice = long.vault.lookup('test', (access) =>
          new AuditReader(inside(long.vault).core.rows).search(access, filter, at, 10),
        );
        turns.push(turn.looked);
        before = turn.nextBefore;
      }
      expect(turns.length).toBeGreaterThan(10);
      expect(turns.length).toBeLessThan(events / 300);
      expect(Math.max(...turns)).toBeLessThan(12_000);
    }
    let others = 0;
    let searching = true;
    const searched = search({ action: 'nothing.like.it' }).finally(() => {
      searching = false;
    });
    while (searching) {
      await long.vault.submit(() => {});
      others += 1;
    }
    await searched;
    expect(others).toBeGreaterThan(5);
  });

  it('finds `since` and `until` without reading the rest', async () => {
    const at = (hours: number) => new Date(Date.parse('2026-01-02T03:04:05.000Z') + hours * 3_600_000).toISOString();
    for (const filter of [{ untilAt: at(-48) }, { sinceAt: at(1_000) }, { sinceAt: at(60), untilAt: at(60) }]) {
      const spy = new SqlSpy(long.sql);
      const rows = { ...inside(long.vault).core.rows, log: new LogRows(spy) } as CellRows;
      const { floor, ceiling } = long.vault.lookup('test', (access) => new AuditReader(rows).bounds(access, filter));
      expect(spy.log.length).toBeLessThan(60);
      const slice = long.vault.lookup('test', (access) =>
        new AuditReader(inside(long.vault).core.rows).search(access, filter, { before: ceiling, floor }, 10),
      );
      expect(slice.events).toEqual([]);
      expect(slice.looked).toBeLessThan(50 * 1_200);
      expect((await search(filter)).nextBefore).toBeUndefined();
    }
    const found = await search({ sinceAt: at(60), untilAt: at(61) });
    expect(found.events).toHaveLength(10);
    expect(found.events.every((event) => event.at === at(60))).toBe(true);
  });

  const jumps = [
    { what: 'set back by less than a day', hours: [0, 30, 60, 40, 50, 90, 80, 120] },
    { what: 'a month ahead and then corrected', hours: [0, 30, 720, 40, 50, 90, 80, 120] },
  ];

  it.each(jumps)('finds events written while the clock was $what', async ({ hours: written }) => {
    const set = await testTenant();
    const note = (request: string) =>
      set.vault.submit((job) =>
        job.door.note({
          action: 'x',
          actor: { type: 'system', id: 'x' },
          outcome: 'success',
          reason: 'x',
          request,
          target: { type: 'x' },
        }),
      );
    const start = set.clock.now();
    for (const [i, hours] of written.entries()) {
      set.clock.atMs = start + hours * 3_600_000;
      await note(`req_${i}`);
    }
    const between = async (from: number, to: number) => {
      const filter = {
        sinceAt: new Date(start + from * 3_600_000).toISOString(),
        untilAt: new Date(start + to * 3_600_000).toISOString(),
        action: 'x',
      };
      return (await searchAudit(set.vault, set.user(['auditor'], 'everywhere'), filter, undefined, 50)).events.map(
        (e) => e.request,
      );
    };
    expect(await between(40, 51)).toEqual(['req_4', 'req_3']);
    expect(await between(60, 91)).toEqual(written[2] === 60 ? ['req_6', 'req_5', 'req_2'] : ['req_6', 'req_5']);
    expect(await between(0, 31)).toEqual(['req_1', 'req_0']);
  });
});
