// When a cell opens and when it does not, by what is there and what is known of it from outside; and the event of what an operator accepted.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { type CellOptions, type Opening, openCell, openForReading } from '../../src/vault/open-cell.ts';
import { leftBy } from '../kit/told.ts';
import { eventsOf, putKey, testTenant } from '../kit/vaults.ts';

function ends(options: CellOptions, open: (options: CellOptions) => unknown = openCell): string {
  try {
    open(options);
    return 'opens';
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    return `${error.code}: ${error.message}`;
  }
}

/** A tenant with a head that its witness was given. */
async function witnessed() {
  const tenant = await testTenant();
  await putKey(tenant, 'a', 'not-a-real-secret');
  tenant.clock.pass(LIMITS.checkpointIntervalMs);
  await putKey(tenant, 'b', 'not-a-real-secret');
  await putKey(tenant, 'c', 'not-a-real-secret');
  const note = tenant.notes.at(-1);
  const opens = (opening: Opening, given: Partial<CellOptions> = {}) => ({ ...tenant.opening, ...given, opening });
  return { tenant, note, opens };
}

const EMPTY = 'rolled_back: the database of this cell is empty: restore it from a copy';

describe('an empty database', () => {
  it.each<[string, (note: string | undefined) => Opening, string]>([
    ['of which nothing is known', () => ({}), 'opens'],
    ['of a cell that may be made', () => ({ mustExist: false }), 'opens'],
    ['of a cell that was made', () => ({ mustExist: true }), EMPTY],
    ['of a cell that was seen', (witnessed) => ({ witnessed }), EMPTY],
    ['of a cell that was seen and made', (witnessed) => ({ witnessed, mustExist: true }), EMPTY],
    ['of a cell that had a head', () => ({ anchored: true }), 'integrity: stored data failed its check'],
  ])('%s: %s', async (_what, openingOf, end) => {
    const { note, opens } = await witnessed();
    expect(note).toBeDefined();
    expect(ends(opens(openingOf(note), { sql: openNodeSql(':memory:') }))).toBe(end);
  });

  it('is not looked at before it was opened once', async () => {
    const { opens } = await witnessed();
    const message = 'conflict: this build has not opened this database yet: start the service once';
    expect(ends(opens({}, { sql: openNodeSql(':memory:') }), openForReading)).toBe(message);
  });
});

describe('a database', () => {
  it('opens with the note that its witness keeps, and is looked at without a change', async () => {
    const { tenant, note, opens } = await witnessed();
    for (const open of [openCell, openForReading]) {
      expect(ends(opens({ witnessed: note }), open)).toBe('opens');
      expect(ends(opens({ witnessed: note, mustExist: true, anchored: true }), open)).toBe('opens');
    }
    const before = eventsOf(tenant.sql).length;
    const changes = tenant.sql.get('SELECT total_changes() AS n')?.['n'];
    openForReading(opens({ witnessed: note }));
    expect(tenant.sql.get('SELECT total_changes() AS n')?.['n']).toBe(changes);
    expect(eventsOf(tenant.sql)).toHaveLength(before);
  });

  it('without its witness says how to go on, and opens for who says that it is lost', async () => {
    const { tenant, opens } = await witnessed();
    const id = tenant.vault.tenant.id;
    const missing = `rolled_back: the witness of ${id} is missing: restore it; if it is lost and this database is the newest, start with --accept-missing-witness ${id}`;
    for (const open of [openCell, openForReading]) {
      expect(ends(opens({}), open)).toBe(missing);
      expect(ends(opens({ acceptMissingWitness: false }), open)).toBe(missing);
    }
    const { events, whole } = await leftBy(tenant.sql, () =>
      openCell(opens({ acceptMissingWitness: true })).cell.submit(() => {}),
    );
    expect(events).toEqual([
      {
        action: 'witness.accept_missing',
        actor: { type: 'system', id: 'open' },
        outcome: 'success',
        reason: 'declared by the operator',
        target: { type: 'cell' },
      },
    ]);
    expect(whole[0]?.['request']).toMatch(/^open:[0-9]+$/);
  });

  it('leaves no event where there was nothing to accept', async () => {
    const { tenant, note, opens } = await witnessed();
    const { events } = await leftBy(tenant.sql, () =>
      openCell(opens({ witnessed: note, acceptMissingWitness: true })).cell.submit(() => {}),
    );
    expect(events).toEqual([]);
    const fresh = openNodeSql(':memory:');
    await openCell(opens({ acceptMissingWitness: true }, { sql: fresh })).cell.submit(() => {});
    expect(eventsOf(fresh)).toEqual([]);
  });
});

describe('a copy of a database', () => {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-opening-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const OTHER = 'rolled_back: the state is older than its last witnessed checkpoint, or differs from it';

  it('that is older than its witnessed checkpoint, or differs from it, does not open', async () => {
    const path = join(folder, 'one.db');
    const tenant = await testTenant({ sql: openNodeSql(path) });
    const { clock, notes } = tenant;
    const goOn = async (vault: typeof tenant.vault, names: readonly string[]) => {
      for (const name of names) {
        clock.pass(LIMITS.checkpointIntervalMs);
        await putKey({ ...tenant, vault }, name, 'not-a-real-secret');
      }
      return notes.at(-1);
    };
    const before = await goOn(tenant.vault, ['a', 'b']);
    for (const end of ['', '-wal']) for (const copy of ['two.db', 'old.db']) copyFileSync(path + end, join(folder, copy + end));
    const one = await goOn(tenant.vault, ['c', 'd']);
    const sql = openNodeSql(join(folder, 'two.db'));
    const two = await goOn(tenant.reopen(before, sql), ['e', 'f']);
    expect(new Set([before, one, two]).size).toBe(3);
    const ended = (from: CellOptions['sql'], witnessed: string | undefined) =>
      ends({ ...tenant.opening, sql: from, opening: { witnessed } });
    const old = openNodeSql(join(folder, 'old.db'));
    expect(ended(old, one)).toBe(OTHER);
    expect(ended(old, before)).toBe('opens');
    expect(ended(tenant.sql, two)).toBe(OTHER);
    expect(ended(sql, one)).toBe(OTHER);
    expect(ended(tenant.sql, one)).toBe('opens');
    expect(ended(sql, two)).toBe('opens');
  });
});
