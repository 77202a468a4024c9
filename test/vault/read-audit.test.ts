// Reading the log turn by turn: what a search or a reader who follows finds over many turns is whole, in order and once; one event says so.
import { describe, expect, it, vi } from 'vitest';
import type { Caller } from '../../src/access/principals.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { exportAudit, followAudit, readCheckpoint, searchAudit } from '../../src/vault/read-audit.ts';
import { verifyLines } from '../kit/exports.ts';
import { drained } from '../kit/told.ts';
import { eventsOf, inside, putKey, testTenant } from '../kit/vaults.ts';

/** More blocks than two turns look at; every fiftieth event is odd. */
const NOTES = LIMITS.auditSliceBlocks * 2 + 44;

async function longLog() {
  const tenant = await testTenant();
  const { vault, sql } = tenant;
  const odd: number[] = [];
  for (let i = 0; i < NOTES; i++) {
    const action = i % 50 === 7 ? 'odd' : 'even';
    if (action === 'odd') odd.push(eventsOf(sql).length);
    await vault.submit((job) =>
      job.door.note({
        action,
        actor: { type: 'system', id: 'x' },
        outcome: 'success',
        reason: 'x',
        request: `x:${i}`,
        target: { type: 'x' },
      }),
    );
  }
  const auditor = () => tenant.user(['auditor'], 'everywhere');
  const lastDetails = () => eventsOf(sql).at(-1)?.['details'];
  return { tenant, vault, sql, odd, auditor, lastDetails, size: () => eventsOf(sql).length };
}
const indexes = (events: readonly { readonly index: number }[]) => events.map(({ index }) => index);
const ODD = { action: 'odd' };

describe('a long log', () => {
  it('is searched newest first over many turns, until the page is full or the log has ended', async () => {
    const { vault, odd, auditor, lastDetails } = await longLog();
    const newest = odd.toReversed();
    expect(odd).toHaveLength(6);
    const search = (before: number | undefined, maxRows: number) => searchAudit(vault, auditor(), ODD, before, maxRows);
    const all = await search(undefined, 9);
    expect([indexes(all.events), all.nextBefore]).toEqual([newest, undefined]);
    expect(lastDetails(), 'more turns than one: nobody knows yet').toBeUndefined();
    const first = await search(undefined, 5);
    expect(indexes(first.events)).toEqual(newest.slice(0, 5));
    const rest = await search(first.nextBefore, 5);
    expect([indexes(rest.events), rest.nextBefore]).toEqual([newest.slice(5), undefined]);
    const oldest = await search(odd[1], 5);
    expect([indexes(oldest.events), lastDetails()]).toEqual([[odd[0]], { count: 1 }]);
    expect((await search(0, 5)).events).toEqual([]);
    const full = await searchAudit(vault, auditor(), {}, undefined, 3);
    expect([full.events.length, lastDetails()]).toEqual([3, { count: 3 }]);
  });

  it('gives pages of exactly the size that was asked for, at any size', async () => {
    const { vault, odd, auditor } = await longLog();
    for (let maxRows = 1; maxRows <= odd.length; maxRows++) {
      const found: number[] = [];
      for (let before: number | undefined = Number.MAX_SAFE_INTEGER; before !== undefined; ) {
        const page = await searchAudit(vault, auditor(), ODD, before, maxRows);
        const left = odd.length - found.length;
        expect(page.events.length, `pages of ${maxRows}`).toBe(Math.min(maxRows, left));
        found.push(...indexes(page.events));
        before = page.nextBefore;
      }
      expect(found).toEqual(odd.toReversed());
    }
  });

  it('is followed oldest first over many turns, from where one left off', async () => {
    const { vault, odd, auditor, lastDetails, size } = await longLog();
    const follow = (from: number, maxRows: number) => followAudit(vault, auditor(), ODD, from, maxRows);
    const all = await follow(0, 9);
    expect(indexes(all.events)).toEqual(odd);
    expect(lastDetails()).toBeUndefined();
    expect(all.nextFrom).toBe(size());
    const first = await follow(0, 4);
    expect(indexes(first.events)).toEqual(odd.slice(0, 4));
    expect(first.nextFrom).toBe((odd[3] ?? 0) + 1);
    const rest = await follow(first.nextFrom, 4);
    expect(indexes(rest.events)).toEqual(odd.slice(4));
    const none = await follow(rest.nextFrom, 4);
    expect([none.events, lastDetails()]).toEqual([[], { count: 0 }]);
    const exact = await follow(odd[5] ?? 0, 1);
    expect([indexes(exact.events), lastDetails()]).toEqual([[odd[5]], { count: 1 }]);
  });

  it('is exported over many turns, every event once, with one event that says so', async () => {
    const { vault, auditor, size } = await longLog();
    const before = size();
    const text = (await drained(exportAudit(vault, auditor()))).map((bytes) => new TextDecoder().decode(bytes)).join('');
    expect(size()).toBe(before + 1);
    expect(verifyLines(text.trimEnd().split('\n'))).toMatchObject({ ok: true, verdict: 'whole', events: before + 1 });
  });
});

describe('a search of a log that is longer than one search reads', () => {
  const damaged = [{ first: 1, last: 2 }] as never;

  it.each([
    ['all at once', LIMITS.auditScanMaxEvents, 1],
    ['nearly all at once', LIMITS.auditScanMaxEvents - 1, 2],
    ['in halves', LIMITS.auditScanMaxEvents / 2, 2],
    ['in more turns', LIMITS.auditScanMaxEvents / 4, 4],
  ])('ends where it may, with all that it found: %s', async (_how, looked, turns) => {
    const tenant = await testTenant();
    const auditor = () => tenant.user(['auditor'], 'everywhere');
    const { events } = inside(tenant.vault).core;
    let at = 100;
    const search = vi.spyOn(events, 'search').mockImplementation(() => ({ events: [], nextBefore: at--, looked, damaged }));
    const found = await searchAudit(tenant.vault, auditor(), ODD, undefined, 5);
    expect(search).toHaveBeenCalledTimes(turns);
    expect(found).toEqual({ events: [], nextBefore: at + 1, damaged: Array(turns).fill(damaged[0]) });
    const follow = vi
      .spyOn(events, 'follow')
      .mockImplementation((_access, _filter, from) => ({ events: [], nextFrom: from + 1, looked, damaged, atEnd: false }));
    const followed = await followAudit(tenant.vault, auditor(), ODD, 7, 5);
    expect(follow).toHaveBeenCalledTimes(turns);
    expect(followed).toEqual({ events: [], nextFrom: 7 + turns, damaged: Array(turns).fill(damaged[0]) });
  });
});

describe('the origin of an event', () => {
  it('is opened once for many events of a page, and is absent once it is erased', async () => {
    const tenant = await testTenant();
    for (const name of ['a', 'b', 'c']) await putKey(tenant, name, 'not-a-real-secret');
    const { sources } = inside(tenant.vault).core.audit;
    const find = vi.spyOn(sources, 'find');
    const puts = () =>
      searchAudit(tenant.vault, tenant.user(['auditor'], 'everywhere'), { action: 'credential.put' }, undefined, 5);
    expect((await puts()).events.map(({ origin }) => origin?.address)).toEqual(Array(3).fill('127.0.0.1'));
    expect(find).toHaveBeenCalledTimes(1);
    find.mockReturnValue(undefined);
    const erased = (await puts()).events;
    expect(erased).toHaveLength(3);
    for (const event of erased) expect(event).not.toHaveProperty('origin');
  });

  it('is shown with it where it is known, and is not where there is none', async () => {
    const { vault, auditor, tenant } = await longLog();
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const { events } = await searchAudit(vault, auditor(), {}, undefined, 2);
    expect(events.map(({ action, origin }) => [action, origin])).toEqual([
      ['credential.put', { address: '127.0.0.1', userAgent: 'vitest' }],
      ['even', undefined],
    ]);
  });
});

describe('a signed head', () => {
  it('covers the reading of it, and is not signed anew where nothing came', async () => {
    const tenant = await testTenant();
    const auditor: Caller = tenant.user(['auditor'], 'everywhere');
    const head = await readCheckpoint(tenant.vault, auditor);
    expect(head).toMatchObject({ size: eventsOf(tenant.sql).length, verifierKey: tenant.vault.verifierKey });
    expect(tenant.notes.at(-1)).toContain(String(head.size));
  });
});
