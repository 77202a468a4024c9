// The result of a scrub, part by part: what it covered, what failed and in which words.
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { type ScrubPart, scrub, scrubInService } from '../../src/cell/scrub.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { ANCHORED_TABLES } from '../../src/cell/tables.ts';
import { Frontier, leafHashOfText } from '../../src/crypto/merkle.ts';
import { type CellBench, cellBench, madeUp } from '../kit/anchored.ts';
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

describe('a scrub of a cell without a vault', () => {
  let bench: CellBench;
  let tree: Frontier;

  /** Writes blocks of the log, each with these events. */
  function log(...blocks: readonly (readonly string[])[]): void {
    bench.sql.transaction(() => {
      for (const events of blocks) {
        const first = tree.size;
        const leaves = events.map(leafHashOfText);
        tree.appendAll(leaves);
        const bytes = new TextEncoder().encode(events.map((event) => `${event}\n`).join(''));
        const insert = 'INSERT INTO audit_block (first_index, events, last_at, bytes, leaves) VALUES (?, ?, 0, ?, ?)';
        bench.sql.run(insert, first, events.length, bytes, new Uint8Array(Buffer.concat(leaves)));
      }
      bench.rows.anchor.flush({ size: tree.size, stateSequence: tree.size, frontier: tree.toBytes() });
    });
    bench.rows.anchor.afterCommit();
  }
  const add = (table: string, ...numbers: readonly number[]) =>
    bench.sql.transaction(() => {
      for (const n of numbers) bench.rows.of(table).insert(madeUp(bench.sql, table, n));
      bench.rows.anchor.flush(bench.rows.anchor.log);
      return void bench.rows.anchor.afterCommit();
    });
  const parts = () => [...scrub(bench.rows)];
  const part = (name: string) => parts().find((one) => one?.part === name);
  const inService = () => {
    const told: [string, string | undefined, string][] = [];
    const slices = [...scrubInService(bench.rows, (...damage) => void told.push(damage))];
    return { told, slices, checked: slices.reduce((sum, n) => sum + n, 0) };
  };
  const rowsOf = (table: string) => Number(bench.sql.get(`SELECT count(*) AS n FROM ${table}`)?.['n']);
  const singles = (count: number) => Array.from({ length: count }, (_, i) => [`event ${i}`]);

  beforeEach(() => {
    bench = cellBench('tenant');
    tree = new Frontier();
  });

  it('pauses after each thousand rows and each two hundred blocks', () => {
    add('alert', ...Array.from({ length: 1_001 }, (_, i) => i));
    log(...singles(201));
    const all = parts();
    expect(all.filter((one) => one !== undefined && one.failed + one.missing > 0)).toEqual([]);
    const slicesBefore = (name: string) => {
      const at = all.findIndex((one) => one?.part === name);
      let slices = 0;
      while (at - 1 - slices >= 0 && all[at - 1 - slices] === undefined) slices += 1;
      return slices;
    };
    expect([
      slicesBefore('tenant_key'),
      slicesBefore('alert'),
      slicesBefore('webhook'),
      slicesBefore('log'),
      slicesBefore('pages'),
    ]).toEqual([1, 2, 0, 2, 0]);
    expect(part('log')).toEqual({ part: 'log', looked: 201, failed: 0, missing: 0, findings: [] });
    expect(part('pages')).toEqual({ part: 'pages', looked: 1, failed: 0, missing: 0, findings: [] });
    expect(part('tables')?.looked).toBeGreaterThan(20);
  });

  it('in service pauses after each hundred rows and each eight blocks, and counts what it checked', () => {
    add('alert', ...Array.from({ length: 101 }, (_, i) => i));
    log(...singles(17));
    const { told, slices, checked } = inService();
    expect(told).toEqual([]);
    expect(slices.filter((n) => n === LIMITS.scrubSliceRows || n === 1)).toEqual([LIMITS.scrubSliceRows, 1]);
    expect(checked).toBe(rowsOf('alert') + rowsOf('tenant_key') + 3 * LIMITS.scrubSliceBlocks);
    expect(slices.filter((n) => n === LIMITS.scrubSliceBlocks)).toHaveLength(3);
  });

  it('tells each damaged row, one whose name is not its own, and that rows are missing', () => {
    add('webhook', 1, 2);
    add('workload', 1);
    add('alert', 1, 2);
    bench.sql.run("UPDATE webhook SET url = 'https://other.example' WHERE id = 'row_webhook2'");
    bench.sql.run("DELETE FROM alert WHERE id = 'row_alert2'");
    bench.sql.transaction(() => {
      bench.rows.of('workload').freeName({ ...madeUp(bench.sql, 'workload', 1), revoked_at: null });
      bench.rows.anchor.flush(bench.rows.anchor.log);
    });
    bench.rows.anchor.afterCommit();
    // It says that it is revoked, so it has no name.
    expect(part('workload')).toMatchObject({ looked: 1, failed: 0, findings: [] });
    expect(part('webhook')).toMatchObject({ looked: 2, failed: 1, missing: 0, findings: ['row_webhook2: changed'] });
    expect(part('alert')).toMatchObject({ looked: 1, failed: 0, missing: 1, findings: ['the map has 2 rows, the table 1'] });
    expect(inService().told).toEqual([['alert', undefined, 'missing'], ['webhook', 'row_webhook2', 'changed']]); // biome-ignore format: one line
  });

  it('tells a row that lost its name', () => {
    add('environment', 1);
    bench.sql.transaction(() => {
      bench.rows.of('environment').freeName(madeUp(bench.sql, 'environment', 1));
      bench.rows.anchor.flush(bench.rows.anchor.log);
    });
    bench.rows.anchor.afterCommit();
    expect(part('environment')).toMatchObject({ looked: 1, failed: 1, findings: ['row_environment1: unnamed'] });
    expect(inService().told).toEqual([['environment', 'row_environment1', 'stale']]);
  });

  it('tells rows that were added behind the map by their number', () => {
    add('alert', 1);
    bench.sql.run("INSERT INTO alert SELECT 'row_alert9', kind, credential_id, facts, at FROM alert");
    expect(part('alert')).toMatchObject({ looked: 2, failed: 1, missing: 1 });
    expect(part('alert')?.findings).toEqual(['row_alert9: stale', 'the map has 1 rows, the table 2']);
    expect(inService().told).toEqual([['alert', 'row_alert9', 'stale'], ['alert', undefined, 'missing']]); // biome-ignore format: one line
  });

  it.each([
    ['a table', 'CREATE TABLE extra (id INTEGER)', ['extra']],
    ['two tables', 'CREATE TABLE extra (id INTEGER); CREATE TABLE _cg_more (id INTEGER)', ['extra', '_cg_more']],
    ['an index', 'CREATE INDEX extra ON alert (kind)', ['a table, an index, a trigger or a view differs from the schema steps']],
  ])('tells %s that no step made', (_what, change, findings) => {
    bench.sql.script(change);
    expect(part('tables')).toMatchObject({ failed: findings.length, missing: 0, findings });
    expect(inService().told).toEqual([['sqlite_schema', undefined, 'unknown']]);
  });

  it('passes the tables of the platform', () => {
    const looked = part('tables')?.looked ?? 0;
    bench.sql.script('CREATE TABLE _cf_KV (id INTEGER)');
    expect(part('tables')).toMatchObject({ looked: looked + 1, failed: 0, findings: [] });
    expect(inService().told).toEqual([]);
  });

  it('describes at most ten tables and counts all', () => {
    bench.sql.script(Array.from({ length: 12 }, (_, i) => `CREATE TABLE extra_${i} (id INTEGER);`).join(''));
    expect(part('tables')).toMatchObject({ failed: 12 });
    expect(part('tables')?.findings).toHaveLength(LIMITS.scrubFindingsMax);
  });

  it('passes what is written meanwhile', () => {
    log(...singles(3));
    const found: (ScrubPart | undefined)[] = [];
    for (const one of scrub(bench.rows)) {
      found.push(one);
      // After the head was noted, before its end.
      if (one === undefined && found.some((known) => known?.part === 'map')) log(['meanwhile']);
    }
    expect(found.find((one) => one?.part === 'log')).toEqual({ part: 'log', looked: 3, failed: 0, missing: 0, findings: [] });
  });

  it.each<[string, () => void, Partial<ScrubPart>]>([
    ['an event more than was logged', () => bench.sql.run("UPDATE audit_block SET bytes = CAST(CAST(bytes AS TEXT) || 'more' || char(10) AS BLOB), events = 2 WHERE first_index = 4"), { looked: 6, failed: 2, missing: 1 }], // biome-ignore format: one line
    ['one more leaf hash', () => bench.sql.run('UPDATE audit_block SET leaves = CAST(leaves || leaves AS BLOB) WHERE first_index = 4'), { looked: 5, failed: 1, missing: 0 }], // biome-ignore format: one line
    ['the first block gone', () => bench.sql.run('DELETE FROM audit_block WHERE first_index = 0'), { looked: 4, missing: 1 }],
    [
      'the last block gone',
      () => bench.sql.run('DELETE FROM audit_block WHERE first_index = 4'),
      { looked: 4, failed: 1, missing: 1 },
    ],
    ['all blocks gone', () => bench.sql.run('DELETE FROM audit_block'), { looked: 0, failed: 1, missing: 5, findings: ['the stored events do not give the tree of the head'] }], // biome-ignore format: one line
    [
      'another count of events',
      () => bench.sql.run('UPDATE audit_block SET events = 2 WHERE first_index = 4'),
      { looked: 5, failed: 1, missing: 0 },
    ],
    ['another leaf hash', () => bench.sql.run('UPDATE audit_block SET leaves = zeroblob(32) WHERE first_index = 4'), { looked: 5, failed: 1, missing: 0, findings: ['the block of event 4 has an event that differs from the logged one'] }], // biome-ignore format: one line
  ])('finds in the log %s', (_what, change, found) => {
    log(...singles(5));
    expect(part('log')).toMatchObject({ looked: 5, failed: 0, missing: 0 });
    change();
    expect(part('log')).toMatchObject(found);
    expect(inService().told).toEqual([['audit_block', undefined, 'changed']]);
  });

  it('finds one changed event among several of a block', () => {
    log(['one', 'two', 'three']);
    for (const at of [0, 1, 2]) {
      const { leaves } = bench.sql.get<{ leaves: Uint8Array }>('SELECT leaves FROM audit_block') ?? { leaves: new Uint8Array(0) };
      const changed = Uint8Array.from(leaves);
      changed[at * 32 + 31] = (changed[at * 32 + 31] ?? 0) ^ 1;
      bench.sql.run('UPDATE audit_block SET leaves = ?', changed);
      expect(part('log')?.findings).toEqual(['the block of event 0 has an event that differs from the logged one']);
      bench.sql.run('UPDATE audit_block SET leaves = ?', leaves);
      expect(part('log')?.failed).toBe(0);
    }
  });
});
