// When a cell opens and when it does not, by what is there and what is known of it from outside; and the event of what an operator accepted.
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { fail, KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { ChunkMemory } from '../../src/cell/anchor-memory.ts';
import { latestSchemaVersion } from '../../src/cell/migrations.ts';
import { scrub } from '../../src/cell/scrub.ts';
import { type Checkpoint, signCheckpoint, signerFrom, verifyCheckpoint } from '../../src/crypto/checkpoint.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { type CellOptions, closeCell, type Opening, openCell, openForReading } from '../../src/vault/open-cell.ts';
import { leftBy } from '../kit/told.ts';
import { eventsOf, inside, putKey, testTenant } from '../kit/vaults.ts';

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

const FORKED = 'rolled_back: the database is older than its last witnessed checkpoint, or its log differs from it';
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

describe('a checkpoint of the witness', () => {
  it('that states a later sequence, epoch, key version or another incarnation than the database has refuses it', async () => {
    const { tenant, note = '', opens } = await witnessed();
    const { keyring } = openForReading(opens({ witnessed: note }));
    const { installationId, cellId } = keyring.identity;
    const signer = signerFrom(keyring.current('audit_sign').key.export(), `keyturn/${installationId}/${cellId}`);
    const seen = verifyCheckpoint(signer.vkey, note);
    const { anchor = fail('internal', 'the checkpoint has no position of the map') } = seen;
    const { stateSequence } = inside(tenant.vault).core.rows.anchor.log;
    const ended = (change: Partial<Checkpoint>) => {
      const changed = signCheckpoint(signer, { ...seen, ...change });
      const found = [openForReading, openCell].map((open) => ends(opens({ witnessed: changed }), open));
      expect(found[0]).toBe(found[1]);
      return found[0];
    };
    const { epoch } = inside(tenant.vault).core.rows.anchor.position;
    const older = 'rolled_back: the database is older than its last witnessed checkpoint';
    const behind = 'rolled_back: the state is older than its last witnessed checkpoint, or differs from it';
    expect(ended({ lowestKeyVersion: 0 })).toBe('opens');
    expect(ended({ lowestKeyVersion: 1 })).toBe('opens');
    expect(ended({ lowestKeyVersion: 2 })).toBe(
      'rolled_back: the database contains a key that was destroyed: it is an older copy',
    );
    expect(ended({ stateSequence })).toBe('opens');
    expect(ended({ stateSequence: stateSequence + 1 })).toBe(older);
    expect(ended({ anchor: { ...anchor, epoch: epoch + 1 } })).toBe(behind);
    expect(ended({ anchor: { ...anchor, chain: new Uint8Array(32) } })).toBe(behind);
    expect(ended({ anchor: undefined }), 'of a build without a map').toBe('opens');
    expect(ended({ root: new Uint8Array(32) })).toBe(FORKED);
    expect(ended({ anchor: undefined, stateSequence: stateSequence + 1 })).toBe(older);
    expect(ended({ incarnation: 'inc_other' })).toBe('rolled_back: the database is another incarnation than the witnessed one');
  });
});

describe('a cell that closes', () => {
  it('signs and publishes its last events, and nothing if its last head covers them', async () => {
    const { tenant } = await witnessed();
    const before = tenant.notes.length;
    const size = eventsOf(tenant.sql).length;
    tenant.vault.close();
    expect(tenant.notes.slice(before).map((note) => note.split('\n')[1])).toEqual([String(size)]);
    const quiet = await testTenant();
    await quiet.vault.submit((job) => job.core.audit.signNow());
    const signed = quiet.notes.length;
    quiet.vault.close();
    expect(quiet.notes).toHaveLength(signed);
  });

  it('gives back the memory of its map and takes no further job', async () => {
    const { note, opens, tenant } = await witnessed();
    const chunkMemory = new ChunkMemory(1_000_000);
    const core = openCell(opens({ witnessed: note }, { platform: { ...tenant.opening.platform, chunkMemory } }));
    await core.cell.submit(() => core.rows.anchor.position);
    for (const _part of scrub(core.rows));
    expect(chunkMemory.bytes).toBeGreaterThan(0);
    closeCell(core);
    closeCell(core);
    expect(chunkMemory.bytes).toBe(0);
    expect(core.cell.isClosed).toBe(true);
  });
});

describe('a database that is not as this build left it', () => {
  const DAMAGED = 'integrity: stored data failed its check';
  const both = (options: CellOptions) => [openCell, openForReading].map((open) => ends(options, open));

  it('has another table or index: it is refused', async () => {
    for (const change of ['CREATE TABLE planted (id INTEGER)', 'CREATE INDEX planted ON alert (at)', 'DROP TABLE alert']) {
      const { tenant, note, opens } = await witnessed();
      tenant.sql.run('PRAGMA foreign_keys = OFF');
      tenant.sql.run(change);
      const message = 'integrity: the tables of the database differ from those of this build: restore it from a copy';
      for (const end of both(opens({ witnessed: note }))) expect(end, change).toBe(message);
    }
  });

  it('lost its identity: a cell that was made gets no other one', async () => {
    for (const known of [{ mustExist: true }, {}]) {
      const { tenant, note, opens } = await witnessed();
      tenant.sql.run('DELETE FROM cell');
      const empty = 'rolled_back: the database of this cell is empty: restore it from a copy';
      for (const end of both(opens({ witnessed: note, ...known }))) expect(end).toBe(empty);
    }
  });

  it('has an identity of another incarnation than its map', async () => {
    const { tenant, note, opens } = await witnessed();
    tenant.sql.run("UPDATE cell SET incarnation_id = 'inc_other'");
    for (const end of both(opens({ witnessed: note }))) expect(end).toBe(DAMAGED);
  });

  it('lost the head of its map: no rows are adopted, whatever else is known of it', async () => {
    for (const rest of ['anchor_journal', 'anchor_chunk', undefined]) {
      const { tenant, note, opens } = await witnessed();
      for (const table of ['anchor_head', 'anchor_journal', 'anchor_chunk'])
        if (table !== rest) tenant.sql.run(`DELETE FROM ${table}`);
      expect(ends(opens({ witnessed: note })), `with ${rest}`).toBe(DAMAGED);
      expect(ends(opens({ anchored: true })), `with ${rest}`).toBe(DAMAGED);
    }
  });

  it('has no key that passes its check: that is damage, and no older copy', async () => {
    const { tenant, note, opens } = await witnessed();
    tenant.sql.run("UPDATE tenant_key SET created_at = created_at + 1 WHERE purpose <> 'audit_sign'");
    for (const end of both(opens({ witnessed: note }))) expect(end).toBe(DAMAGED);
  });

  it('was not opened by this build yet: it is not looked at, whether its schema or its map is missing', async () => {
    const once = 'conflict: this build has not opened this database yet: start the service once';
    const { tenant, note, opens } = await witnessed();
    const version = latestSchemaVersion('tenant');
    const step = tenant.sql.get('SELECT * FROM schema_step WHERE version = ?', version) ?? {};
    tenant.sql.run('DELETE FROM schema_step WHERE version = ?', version);
    expect(ends(opens({ witnessed: note }), openForReading)).toBe(once);
    const marks = Object.keys(step).map(() => '?');
    tenant.sql.run(
      `INSERT INTO schema_step (${Object.keys(step).join(', ')}) VALUES (${marks.join(', ')})`,
      ...Object.values(step),
    );
    expect(ends(opens({ witnessed: note }), openForReading)).toBe('opens');
    for (const table of ['anchor_head', 'anchor_journal', 'anchor_chunk']) tenant.sql.run(`DELETE FROM ${table}`);
    expect(ends(opens({ witnessed: note }), openForReading)).toBe(once);
  });
});

describe('what a killed process left in the file of a database', () => {
  it('is erased when the cell is opened, and not when it is only looked at', async () => {
    const { tenant, note, opens } = await witnessed();
    const erased = vi.spyOn(tenant.sql, 'eraseResidue');
    openForReading(opens({ witnessed: note }));
    expect(erased).not.toHaveBeenCalled();
    openCell(opens({ witnessed: note }));
    expect(erased).toHaveBeenCalledTimes(1);
  });
});

describe('a database with a trigger', () => {
  it('is refused before anything else is read of it', async () => {
    const { tenant, note, opens } = await witnessed();
    tenant.sql.run('CREATE TRIGGER planted AFTER INSERT ON alert BEGIN SELECT 1; END');
    tenant.sql.run('DELETE FROM schema_step WHERE version = ?', latestSchemaVersion('tenant'));
    const message =
      'integrity: the database has a trigger, a view or a virtual table, which Keyturn never creates: restore it from a copy';
    for (const open of [openCell, openForReading]) expect(ends(opens({ witnessed: note }), open)).toBe(message);
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
