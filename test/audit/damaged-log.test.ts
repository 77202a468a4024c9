// Whatever somebody does to the stored log, a reader gets events that were logged and is told of all others, by each way to read it.
import { beforeAll, describe, expect, it } from 'vitest';
import { AuditReader, type EventFilter } from '../../src/audit/audit-reader.ts';
import type { AuditEvent } from '../../src/audit/event.ts';
import type { IndexRange } from '../../src/audit/export-lines.ts';
import { ExportVerifier } from '../../src/audit/verify-export.ts';
import type { Lookup } from '../../src/cell/access.ts';
import type { CellRows } from '../../src/cell/rows.ts';
import type { SqlValue } from '../../src/cell/sql.ts';
import { leafHash } from '../../src/crypto/merkle.ts';
import { exportAudit, followAudit, searchAudit } from '../../src/vault/read-audit.ts';
import { eventsOf, inside, type TestTenant, testTenant } from '../kit/vaults.ts';

interface Block {
  first_index: number;
  events: number;
  last_at: number;
  bytes: Uint8Array;
  leaves: Uint8Array;
}

const BATCHES = 20;
let tenant: TestTenant;
let all: AuditEvent[];
let blocks: Block[];
let told: string[];

async function write(set: TestTenant): Promise<void> {
  for (let batch = 0; batch < BATCHES; batch++) {
    await set.vault.submit((job) => {
      for (let i = 0; i <= batch % 3; i++) {
        job.door.note({
          action: 'x',
          actor: { type: 'system', id: `actor-${i}` },
          outcome: 'success',
          reason: 'x',
          request: `req_${batch}_${i}`,
          target: { type: 'x' },
        });
      }
    });
    set.clock.pass(7_200_000);
  }
}

beforeAll(async () => {
  tenant = await testTenant();
  await write(tenant);
  all = eventsOf(tenant.sql) as unknown as AuditEvent[];
  blocks = tenant.sql.all<Block>('SELECT * FROM audit_block ORDER BY first_index');
});

/** A block of three events in the middle: each head covers one block, so no other may be lost with it. */
const threes = () => blocks.filter(({ events }) => events === 3);
const middle = () => threes()[4] as Block;
const another = () => threes()[5] as Block;
const spanOf = ({ first_index, events }: Block): IndexRange => ({ from: first_index, to: first_index + events - 1 });
const sql = (statement: string, ...values: SqlValue[]) => tenant.sql.run(statement, ...values);
const setBytes = (block: Block, bytes: SqlValue) =>
  sql('UPDATE audit_block SET bytes = ? WHERE first_index = ?', bytes, block.first_index);
const setLeaves = (block: Block, leaves: SqlValue) =>
  sql('UPDATE audit_block SET leaves = ? WHERE first_index = ?', leaves, block.first_index);
const forged = (block: Block) => Buffer.from(Buffer.from(block.bytes).toString().replace('actor-1', 'actor-9'));
const leavesOf = (bytes: Buffer) =>
  Buffer.concat(bytes.toString().trimEnd().split('\n').map((line) => leafHash(Buffer.from(line)))); // biome-ignore format: one line

type Case = [what: string, damage: () => void, lost: () => IndexRange[]];
const one = () => [spanOf(middle())];
const DAMAGE: Case[] = [
  ['the bytes of an event', () => setBytes(middle(), forged(middle())), one],
  ['an event with its hash', () => { setBytes(middle(), forged(middle())); setLeaves(middle(), leavesOf(forged(middle()))); }, one], // biome-ignore format: one line
  [
    'a hash',
    () =>
      setLeaves(
        middle(),
        middle().leaves.map((byte, i) => (i === 40 ? byte ^ 1 : byte)),
      ),
    one,
  ],
  ['the number of hashes', () => setLeaves(middle(), middle().leaves.subarray(32)), one],
  ['the last newline', () => setBytes(middle(), middle().bytes.subarray(0, -1)), one],
  ['a newline too many', () => setBytes(middle(), Buffer.concat([middle().bytes, Buffer.from('\n')])), one],
  ['the bytes, now none', () => setBytes(middle(), new Uint8Array(0)), one],
  ['a block, now empty', () => { setBytes(middle(), new Uint8Array(0)); setLeaves(middle(), new Uint8Array(0)); }, one], // biome-ignore format: one line
  ['a block, now gone', () => sql('DELETE FROM audit_block WHERE first_index = ?', middle().first_index), one],
  ['the oldest block, now gone', () => sql('DELETE FROM audit_block WHERE first_index = 0'), () => [spanOf(blocks[0] as Block)]],
  ['the newest block, now gone', () => sql('DELETE FROM audit_block WHERE first_index = ?', blocks.at(-1)?.first_index ?? 0), () => [spanOf(blocks.at(-1) as Block)]], // biome-ignore format: one line
  ['all blocks, now gone', () => sql('DELETE FROM audit_block'), () => [{ from: 0, to: all.length - 1 }]],
  ['every second block, now gone', () => { for (const [i, { first_index }] of blocks.entries()) if (i % 2 === 1 && i > 5) sql('DELETE FROM audit_block WHERE first_index = ?', first_index); }, () => blocks.flatMap((block, i) => (i % 2 === 1 && i > 5 ? [spanOf(block)] : []))], // biome-ignore format: one line
  ['two blocks, exchanged', () => { const other = another(); setBytes(middle(), other.bytes); setLeaves(middle(), other.leaves); setBytes(other, middle().bytes); setLeaves(other, middle().leaves); }, () => [spanOf(middle()), spanOf(another())]], // biome-ignore format: one line
  ['a block, moved down by one', () => sql('UPDATE audit_block SET first_index = first_index + 1 WHERE first_index = ?', middle().first_index), one], // biome-ignore format: one line
  ['a block put in beside the others', () => sql('INSERT INTO audit_block (first_index, events, last_at, bytes, leaves) VALUES (?, 1, ?, ?, ?)', middle().first_index + 1, middle().last_at, forged(middle()), leavesOf(forged(middle()))), () => []], // biome-ignore format: one line
  ['a count, now none', () => sql('UPDATE audit_block SET events = 0'), () => []],
  ['a count, now huge', () => sql('UPDATE audit_block SET events = 1000000000'), () => []],
  ['the times of blocks, now early', () => sql('UPDATE audit_block SET last_at = 0'), () => []],
  ['the times of blocks, now late', () => sql('UPDATE audit_block SET last_at = 9000000000000000'), () => []],
  ['the time of one block, now early', () => sql('UPDATE audit_block SET last_at = 0 WHERE first_index = ?', middle().first_index), () => []], // biome-ignore format: one line
  ['the frontier of a head', () => sql('UPDATE checkpoint SET frontier = ? WHERE size = ?', new Uint8Array(40), middle().first_index), () => []], // biome-ignore format: one line
  ['all frontiers', () => sql("UPDATE checkpoint SET frontier = x'00'"), () => []],
  ['all frontiers, now none, as of an older build', () => sql('UPDATE checkpoint SET frontier = NULL'), () => []],
  ['the notes of heads', () => sql("UPDATE checkpoint SET note = replace(note, 'keyturn-seq', 'keyturn-sea')"), () => []],
  ['the sizes of heads', () => sql('UPDATE checkpoint SET size = -size'), () => []],
  ['all heads, now gone', () => sql('DELETE FROM checkpoint'), () => []],
];

class Undone extends Error {}

function withDamage<T>(damage: () => void, look: (reader: AuditReader, access: Lookup) => T): T {
  told = [];
  const onDamage = (table: string, _id: string | undefined, how: string) => told.push(`${table} ${how}`);
  const rows = { ...inside(tenant.vault).core.rows, onDamage } as unknown as CellRows;
  const results: T[] = [];
  try {
    tenant.sql.transaction(() => {
      damage();
      results.push(tenant.vault.lookup('test', (access) => look(new AuditReader(rows), access)));
      throw new Undone();
    });
  } catch (error) {
    if (!(error instanceof Undone)) throw error;
  }
  return results[0] as T;
}

interface Seen {
  readonly events: AuditEvent[];
  readonly damaged: IndexRange[];
}

function searchAll(reader: AuditReader, access: Lookup, pageSize: number, filter: EventFilter = {}): Seen {
  const seen: Seen = { events: [], damaged: [] };
  const { floor, ceiling } = reader.bounds(access, filter);
  for (let before: number | undefined = ceiling; before !== undefined; ) {
    const page: ReturnType<AuditReader['search']> = reader.search(access, filter, { before, floor }, pageSize);
    seen.events.push(...page.events);
    seen.damaged.push(...page.damaged);
    before = page.nextBefore;
  }
  return { events: seen.events.reverse(), damaged: seen.damaged.reverse() };
}

function followAll(reader: AuditReader, access: Lookup, pageSize: number): Seen {
  const seen: Seen = { events: [], damaged: [] };
  for (let from = 0, atEnd = false; !atEnd; ) {
    const page = reader.follow(access, {}, from, pageSize);
    seen.events.push(...page.events);
    seen.damaged.push(...page.damaged);
    from = page.nextFrom;
    atEnd = page.atEnd;
  }
  return seen;
}

/** Neighbours are one range, wherever a page ended. */
function joined(ranges: readonly IndexRange[]): IndexRange[] {
  const out: { from: number; to: number }[] = [];
  for (const { from, to } of ranges) {
    const last = out.at(-1);
    if (last !== undefined && last.to === from - 1) last.to = to;
    else out.push({ from, to });
  }
  return out;
}

const without = (lost: readonly IndexRange[]) =>
  all.filter(({ index }) => !lost.some(({ from, to }) => index >= from && index <= to));

describe.each(DAMAGE)('a log with damage to %s', (what, damage, lostOf) => {
  const isForeignBlock = what === 'a block put in beside the others';
  it('is searched without what is damaged, which is named and told, in pages of any size', () => {
    const lost = lostOf();
    for (const pageSize of [1, 500]) {
      const { events, damaged } = withDamage(damage, (reader, access) => searchAll(reader, access, pageSize));
      expect(events).toEqual(without(lost));
      expect(joined(damaged)).toEqual(joined(lost));
      if (lost.length > 0) expect(told).toContain('audit_block changed');
    }
  });

  it('is followed likewise', () => {
    for (const pageSize of [1, 500]) {
      const { events, damaged } = withDamage(damage, (reader, access) => followAll(reader, access, pageSize));
      // Following begins at the block that claims to hold an index: a false one may hide the true one, which is then named as damaged.
      const lost =
        isForeignBlock && damaged.length > 0 ? [{ from: middle().first_index + 1, to: middle().first_index + 2 }] : lostOf();
      expect(events).toEqual(without(lost));
      expect(joined(damaged)).toEqual(joined(lost));
      if (lost.length > 0) expect(told).toContain('audit_block changed');
    }
  });

  it('loses no event of a time that is searched for', () => {
    const lost = lostOf();
    for (const at of [middle().first_index, middle().first_index + 3, 4]) {
      const since = all[at]?.at ?? '';
      const until = all[at + 12]?.at ?? '';
      for (const filter of [{ sinceAt: since }, { untilAt: until }, { sinceAt: since, untilAt: until }]) {
        const { events, damaged } = withDamage(damage, (reader, access) => searchAll(reader, access, 50, filter));
        const isWithin = (event: AuditEvent) => event.at >= (filter.sinceAt ?? '') && event.at < (filter.untilAt ?? '~');
        expect(events).toEqual(without(lost).filter(isWithin));
        const isNamed = ({ index }: AuditEvent) => damaged.some(({ from, to }) => index >= from && index <= to);
        expect(all.filter(isWithin).filter((event) => !events.includes(event) && !events.some(({ index }) => index === event.index)).every(isNamed)).toBe(true); // biome-ignore format: one line
      }
    }
  });

  it('has the time of its newest event from that event', () => {
    const isNewestLost = lostOf().some(({ to }) => to === all.length - 1);
    const newestAt = withDamage(damage, (reader, access) => reader.newestAt(access));
    expect(newestAt).toBe(isNewestLost ? Number.MAX_SAFE_INTEGER : Date.parse(all.at(-1)?.at ?? ''));
  });

  it('is exported as it is stored, and what is damaged is told', () => {
    withDamage(damage, (reader, access) => {
      for (let from = 0; from < all.length; ) from = reader.exportSlice(access, from, all.length, undefined).nextIndex;
    });
    expect(told.length > 0).toBe(lostOf().length > 0 || isForeignBlock);
  });
});

describe('damage of the log in a vault', () => {
  it('is in the answer, in the log and an alert; the export goes on, and does not verify', async () => {
    const set = await testTenant();
    await write(set);
    const events = eventsOf(set.sql).length;
    set.sql.run('DELETE FROM audit_block WHERE first_index = ?', middle().first_index);
    const auditor = set.user(['auditor'], 'everywhere');
    const found = await searchAudit(set.vault, auditor, {}, undefined, 500);
    expect(found.damaged).toEqual(one());
    expect(found.events).toHaveLength(events - 3);
    expect((await followAudit(set.vault, auditor, {}, 0, 500)).damaged).toEqual(one());
    await set.vault.submit(() => {});
    expect(eventsOf(set.sql)).toContainEqual(
      expect.objectContaining({ action: 'state.damaged', reason: 'changed', target: { type: 'audit_block' } }),
    );
    const verifier = new ExportVerifier();
    const text: Uint8Array[] = [];
    for await (const part of exportAudit(set.vault, auditor)) text.push(part);
    for (const part of text) verifier.add(part);
    const { verdict, findings } = verifier.finish();
    expect(verdict).toBe('altered');
    expect(findings).toMatchObject([{ kind: 'deleted', ...one()[0] }]);
  });
});
