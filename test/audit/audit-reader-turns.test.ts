// What one turn of a reader gives, exactly, of blocks made by hand: where it ends, what it looked at, and what it makes of damaged lines.
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { AuditReader, type EventFilter } from '../../src/audit/audit-reader.ts';
import type { AuditEvent } from '../../src/audit/event.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { LogRows } from '../../src/cell/log-rows.ts';
import type { CellRows } from '../../src/cell/rows.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { Frontier, leafHash } from '../../src/crypto/merkle.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { inside, START_MS, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
let blocks: Sql;
let log: LogRows;
let tree: Frontier;

/** A log of its own beside the tenant's. */
beforeEach(async () => {
  tenant ??= await testTenant();
  blocks = openNodeSql(':memory:');
  for (const { sql } of tenant.sql.all<{ sql: string }>(
    "SELECT sql FROM sqlite_schema WHERE name IN ('audit_block', 'checkpoint') AND type = 'table'",
  ))
    blocks.run(sql);
  log = new LogRows(blocks);
  tree = new Frontier();
});

const at = (index: number) => new Date(START_MS + index * 1_000).toISOString();

function line(index: number, change: Partial<AuditEvent> = {}): string {
  const event: AuditEvent = {
    action: 'test',
    actor: { type: 'system', id: 'sys' },
    at: at(index),
    index,
    outcome: 'success',
    reason: 'test',
    request: `req_${index}`,
    target: { type: 'test' },
    v: 1,
    ...change,
  };
  return JSON.stringify(event);
}

/** One block at `first`, as if its lines had been logged; `endsAtMs` after the start. */
function store(first: number, text: string, endsAtMs = (first + 1) * 1_000): void {
  const leaves = text.split('\n').slice(0, -1).map((one) => leafHash(Buffer.from(one))); // biome-ignore format: one line
  tree.appendAll(leaves);
  log.append(
    { first_index: first, events: leaves.length, bytes: Buffer.from(text), leaves: Buffer.concat(leaves) },
    START_MS + endsAtMs,
  );
}

/** Of a cell whose head is that of the stored blocks. */
function reader(): AuditReader {
  const { core } = inside(tenant.vault);
  const anchor = { log: { size: tree.size, stateSequence: 1, frontier: tree.toBytes() } };
  return new AuditReader({ log, anchor, keyring: core.keyring, onDamage: () => {} } as unknown as CellRows);
}

const search = (filter: EventFilter, before = 1_000, maxRows = 1_000, floor = 0) =>
  tenant.vault.lookup('test', (access) => reader().search(access, filter, { before, floor }, maxRows));
const follow = (filter: EventFilter, from = 0, maxRows = 1_000) =>
  tenant.vault.lookup('test', (access) => reader().follow(access, filter, from, maxRows));
const indexes = ({ events }: { readonly events: readonly AuditEvent[] }) => events.map(({ index }) => index);

const DAMAGED = ['', 'x', 'null', '7', '"text"', '[]', '{}', '{"index":1.5}', '{"index":"3"}', '{"index":3}', '"id":"sys"', '"request":"req_1"', '{"actor":{"id":"sys"},"index":3}', '{"index":3,"target":{"id":"sys","type":"x"}}', '{"actor":null,"id":"sys","index":3,"target":{}}', '{"actor":{},"index":3,"target":null}']; // biome-ignore format: one line

describe('a block with damaged lines', () => {
  const filters: EventFilter[] = [{}, { actor: 'sys' }, { request: 'req_1' }, { actor: 'sys', actorIds: ['x', 'sys'] }, { target: 'sys' }]; // biome-ignore format: one line

  it('gives every event in it that can be read, once, whatever stands between, before and after them', () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.constantFrom(...DAMAGED), fc.constant('event')), { maxLength: 8 }),
        fc.constantFrom(...filters),
        (kinds, filter) => {
          blocks.run('DELETE FROM audit_block');
          tree = new Frontier();
          let index = 0;
          const texts = kinds.map((kind) => (kind === 'event' ? line(index++) : kind));
          store(0, texts.map((text) => `${text}\n`).join(''));
          const all = Array.from({ length: index }, (_, i) => i);
          const expected = filter.target !== undefined ? [] : filter.request !== undefined ? all.filter((i) => i === 1) : all;
          expect(indexes(search(filter))).toEqual(expected.toReversed());
          expect(indexes(follow(filter))).toEqual(expected);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('is listed by what an event says of itself, not by what it says inside', () => {
    const inner = { action: 'inner', outcome: 'denied', environment: 'inner', workflow: 'inner', request: 'inner', name: 'inner', id: 'inner', at: '2020' }; // biome-ignore format: one line
    store(0, `${line(0, { details: inner as never })}\n`);
    for (const filter of [
      { action: 'inner' },
      { outcome: 'denied' },
      { environment: 'inner' },
      { workflow: 'inner' },
      { request: 'inner' },
      { target: 'inner' },
      { actor: 'inner' },
    ]) {
      expect(indexes(search(filter)), JSON.stringify(filter)).toEqual([]);
      expect(indexes(follow(filter)), JSON.stringify(filter)).toEqual([]);
    }
    expect(indexes(search({ action: 'test' }))).toEqual([0]);
  });
});

describe('one turn of a search', () => {
  /** Blocks of one event each. */
  const fill = (count: number, pad = '') => {
    for (let index = 0; index < count; index++) store(index, `${line(index, { reason: `test${pad}` })}\n`);
  };

  it('ends at its last row, and says where the next one goes on and how many events it looked past', () => {
    fill(10);
    expect(search({}, 8, 3)).toMatchObject({ nextBefore: 5, looked: 3 });
    expect(search({}, 1_000, 3)).toMatchObject({ nextBefore: 7, looked: 3 });
    expect(search({}, 3, 3)).toMatchObject({ nextBefore: undefined, looked: 3 });
    expect(search({}, 4, 3)).toMatchObject({ nextBefore: 1, looked: 3 });
  });

  it('goes down to its floor and no further', () => {
    fill(10);
    const turn = search({}, 1_000, 100, 4);
    expect(indexes(turn)).toEqual([9, 8, 7, 6, 5, 4]);
    expect(turn).toMatchObject({ nextBefore: undefined, looked: 6 });
    expect(search({}, 1_000, 6, 4)).toMatchObject({ nextBefore: undefined });
    expect(search({}, 1_000, 5, 4)).toMatchObject({ nextBefore: 5 });
    expect(search({}, 0)).toEqual({ events: [], nextBefore: undefined, looked: 0, damaged: [] });
  });

  it('begins below its index, also inside a block', () => {
    store(0, `${line(0)}\n${line(1)}\n${line(2)}\n`);
    expect(indexes(search({}, 2))).toEqual([1, 0]);
    expect(search({}, 2)).toMatchObject({ looked: 2, nextBefore: undefined });
  });

  it('looks at so many blocks and no more', () => {
    fill(LIMITS.auditSliceBlocks + 2);
    expect(search({ action: 'no' })).toEqual({ events: [], nextBefore: 2, looked: LIMITS.auditSliceBlocks, damaged: [] });
    expect(search({ action: 'no' }, 2)).toEqual({ events: [], nextBefore: undefined, looked: 2, damaged: [] });
    expect(follow({ action: 'no' })).toEqual({ events: [], nextFrom: LIMITS.auditSliceBlocks, atEnd: false, looked: LIMITS.auditSliceBlocks, damaged: [] }); // biome-ignore format: one line
    expect(follow({ action: 'no' }, 5)).toMatchObject({ atEnd: true, looked: LIMITS.auditSliceBlocks - 3 });
  });

  it('looks at so many bytes and no more, but at one block at least', () => {
    const pad = 'x'.repeat(LIMITS.auditSliceBytes / 4);
    fill(6, pad);
    expect(search({ action: 'no' })).toMatchObject({ nextBefore: 3, looked: 3 });
    expect(follow({ action: 'no' })).toMatchObject({ nextFrom: 3, atEnd: false });
    store(6, `${line(6, { reason: 'x'.repeat(LIMITS.auditSliceBytes * 2) })}\n`);
    expect(search({ action: 'no' })).toMatchObject({ nextBefore: 6, looked: 1 });
    expect(follow({}, 6)).toMatchObject({ nextFrom: 7, atEnd: true });
  });

  it('takes blocks that come to exactly that many bytes', () => {
    const half = LIMITS.auditSliceBytes / 2;
    for (let index = 0; index < 3; index++)
      store(index, `${line(index, { reason: 'x'.repeat(half - line(index, { reason: '' }).length - 1) })}\n`);
    expect(search({})).toMatchObject({ nextBefore: 1, looked: 2 });
  });

  it.each<[string, EventFilter]>([
    ['an action', { action: 'no' }],
    ['an outcome', { outcome: 'no' }],
    ['an actor', { actor: 'no' }],
    ['an actor of several ids', { actor: 'no', actorIds: ['neither'] }],
    ['a target', { target: 'no' }],
    ['an environment', { environment: 'no' }],
    ['a workflow', { workflow: 'no' }],
    ['a request', { request: 'no' }],
  ])('parses no line that cannot match %s', (_what, filter) => {
    const count = LIMITS.auditSliceEvents * 2;
    const full: Partial<AuditEvent> = {
      context: { workflow: 'flow' },
      target: { type: 'test', id: 'crd_1', name: 'a', environment: 'staging' },
    };
    store(0, Array.from({ length: count }, (_, index) => `${line(index, full)}\n`).join(''));
    expect(search(filter, 10_000)).toEqual({ events: [], nextBefore: undefined, looked: count, damaged: [] });
    expect(follow(filter)).toEqual({ events: [], nextFrom: count, atEnd: true, looked: count, damaged: [] });
  });

  it('parses so many events and no more', () => {
    const count = LIMITS.auditSliceEvents + 1;
    store(0, Array.from({ length: count }, (_, index) => `${line(index)}\n`).join(''));
    // Stands in every line, though not as a target.
    expect(search({ target: 'sys' }, 10_000)).toEqual({ events: [], nextBefore: 1, looked: count - 1, damaged: [] });
    expect(follow({ target: 'sys' })).toEqual({ events: [], nextFrom: count - 1, atEnd: false, looked: count - 1, damaged: [] });
    expect(follow({ target: 'sys' }, 2)).toMatchObject({ atEnd: true, looked: count - 2 });
  });
});

describe('one turn of following', () => {
  it('ends at its last row', () => {
    for (let index = 0; index < 5; index++) store(index, `${line(index)}\n`);
    expect(follow({}, 1, 2)).toMatchObject({ nextFrom: 3, atEnd: false, looked: 2 });
    expect(follow({}, 5)).toEqual({ events: [], nextFrom: 5, atEnd: true, looked: 0, damaged: [] });
    expect(follow({}, 9)).toEqual({ events: [], nextFrom: 9, atEnd: true, looked: 0, damaged: [] });
  });
});

describe('the bounds of a search', () => {
  const bounds = (filter: EventFilter) => tenant.vault.lookup('test', (access) => reader().bounds(access, filter));
  const later = (ms: number) => new Date(START_MS + ms).toISOString();
  /** Two events a block, at the instant the block ends. */
  const put = (endsAtMs: readonly number[]) =>
    endsAtMs.forEach((ms, index) => {
      const [first, second] = [index * 2, index * 2 + 1].map((one) => line(one, { at: later(ms) }));
      store(index * 2, `${first}\n${second}\n`, ms);
    });
  const slack = LIMITS.auditClockSlackMs;

  it('are the whole log without instants, and nothing where there is none', () => {
    expect(bounds({})).toEqual({ floor: 0, ceiling: Number.MAX_SAFE_INTEGER });
    expect(bounds({ sinceAt: later(0), untilAt: later(0) })).toEqual({ floor: 0, ceiling: Number.MAX_SAFE_INTEGER });
  });

  it('begin with the first block that did not end before `since` less the slack', () => {
    put([0, 100, 200, 300]);
    for (const [since, floor] of [[0, 0], [1, 2], [100, 2], [101, 4], [300, 6], [301, 8]] as const) // biome-ignore format: one line
      expect(bounds({ sinceAt: later(since + slack) }).floor, String(since)).toBe(floor);
  });

  it('end with the first block that did not end before `until` and the slack', () => {
    put([0, 100, slack, slack + 100, slack + 200]);
    for (const [until, ceiling] of [[50, 6], [100, 6], [101, 8]] as const) // biome-ignore format: one line
      expect(bounds({ untilAt: later(until) }).ceiling, String(until)).toBe(ceiling);
  });

  it('are open above where the log steps over `until` and the slack at once', () => {
    put([0, 100, 3 * slack]);
    expect(bounds({ untilAt: later(100) }).ceiling).toBe(4);
    expect(bounds({ untilAt: later(101) }).ceiling).toBe(Number.MAX_SAFE_INTEGER);
  });
});
