// The result of a scrub, part by part: what it covered, what failed and in which words.
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type ScrubPart, scrub } from '../../src/cell/scrub.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { ANCHORED_TABLES } from '../../src/cell/tables.ts';
import { eventsOf, inside, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
let sql: Sql;

beforeEach(async () => {
  tenant = await testTenant();
  sql = tenant.sql;
  for (const name of ['a', 'b', 'c']) await putKey(tenant, name, 'not-a-real-secret');
});

const partsOf = () => [...scrub(inside(tenant.vault).core.rows)].filter((part) => part !== undefined);
const partOf = (name: string) => partsOf().find(({ part }) => part === name) as ScrubPart;
const events = () => eventsOf(sql).length;

/** Replaces the stored text of the first block, and its leaf hashes if they are given. */
function rewriteFirst(change: (text: string) => string, leaves?: (bytes: Uint8Array) => Uint8Array): void {
  const block = sql.get<{ bytes: Uint8Array; leaves: Uint8Array }>('SELECT bytes, leaves FROM audit_block WHERE first_index = 0');
  const text = change(new TextDecoder().decode(block?.bytes));
  const hashes = leaves?.(block?.leaves ?? new Uint8Array(0)) ?? block?.leaves ?? null;
  sql.run('UPDATE audit_block SET bytes = ?, leaves = ? WHERE first_index = 0', new TextEncoder().encode(text), hashes);
}

describe('a scrub of a cell as it was written', () => {
  it('covers every anchored table, the schema, the map, the log and the pages, and finds nothing', () => {
    const parts = partsOf();
    const tables = ANCHORED_TABLES.filter(({ cells }) => (cells as readonly string[]).includes('tenant')).map(
      ({ table }) => table,
    );
    expect(parts.map(({ part }) => part)).toEqual([...tables, 'tables', 'map', 'log', 'pages']);
    expect(parts.filter(({ failed, missing, findings }) => failed + missing + findings.length > 0)).toEqual([]);
    expect(partOf('credential').looked).toBe(3);
    expect(partOf('log').looked).toBe(events());
    expect(partOf('map').looked).toBe(Number(sql.get('SELECT count(*) AS n FROM anchor_chunk')?.['n']));
    expect(partOf('map').looked).toBeGreaterThan(0);
  });
});

describe('a scrub', () => {
  it('names at most ten rows of a table and counts all', async () => {
    for (let i = 0; i < 12; i++) await putKey(tenant, `key-${i}`, 'not-a-real-secret');
    sql.run("UPDATE credential SET description = 'x'");
    const { failed, findings } = partOf('credential');
    expect([failed, findings.length]).toEqual([15, LIMITS.scrubFindingsMax]);
    expect(findings[0]).toMatch(/^crd_[a-z0-9]+: changed$/);
  });

  it('counts the rows that are missing and those that were added', () => {
    sql.script('DELETE FROM audit_source');
    const { missing, findings } = partOf('audit_source');
    expect(missing).toBe(inside(tenant.vault).core.rows.of('audit_source').count);
    expect(findings.at(-1)).toMatch(/has \d+ rows.*0$/);
  });

  it('finds a stored chunk of the map that was changed', () => {
    sql.run('UPDATE anchor_chunk SET mac = zeroblob(32)');
    const { failed, findings, looked } = partOf('map');
    expect([failed, findings]).toEqual([looked, [`${looked} chunks failed their check`]]);
  });

  it('finds each event of which one letter was changed', () => {
    rewriteFirst((text) => text.replace('success', 'succezz'));
    expect(partOf('log')).toMatchObject({
      failed: 2,
      findings: [
        'the block of event 0 has an event that differs from the logged one',
        'the stored events do not give the tree of the head',
      ],
    });
  });

  it('finds leaf hashes of another length, and bytes that are no text', () => {
    rewriteFirst(
      (text) => text,
      (leaves) => leaves.slice(32),
    );
    expect(partOf('log').findings).toEqual(['the block of event 0 has an event that differs from the logged one']);
    sql.run('UPDATE audit_block SET bytes = ? WHERE first_index = 0', Uint8Array.of(0xff, 0x0a));
    expect(partOf('log').findings[0]).toBe('the block of event 0 is not UTF-8 text');
  });

  it('finds a block that states another number of events', () => {
    sql.run('UPDATE audit_block SET events = events + 1 WHERE first_index = 0');
    expect(partOf('log')).toMatchObject({
      failed: 1,
      findings: ['the block of event 0 states another number of events than it has'],
    });
  });

  it('says which events are missing in the middle, and counts those missing at the end', () => {
    const firsts = sql
      .all<{ first_index: number }>('SELECT first_index FROM audit_block ORDER BY first_index')
      .map((row) => row.first_index);
    const [, second = 0, third = 0] = firsts;
    const last = firsts.at(-1) ?? 0;
    const logged = events();
    sql.run('DELETE FROM audit_block WHERE first_index = ?', last);
    expect(partOf('log')).toMatchObject({ looked: last, missing: logged - last });
    sql.run('DELETE FROM audit_block WHERE first_index = ?', second);
    expect(partOf('log').findings[0]).toBe(`events ${second} to ${third - 1} are missing`);
  });
});
