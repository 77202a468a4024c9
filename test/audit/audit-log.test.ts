// The log: committed events, signed heads and in-memory state agree after any sequence of batches, rollbacks and restarts.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Witness } from '../../src/audit/audit-log.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { CELL_PURPOSES } from '../../src/cell/keyring.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { verifyCheckpoint } from '../../src/crypto/checkpoint.ts';
import { Frontier, leafHash, rootOf } from '../../src/crypto/merkle.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { eventsOf, inside, putKey, type TestTenant, testEntropy, testTenant } from '../kit/vaults.ts';

/** Leaves of the log, computed from the stored event bytes only. */
function leavesFromBytes(sql: Sql): Uint8Array[] {
  const blocks = sql.all<{ bytes: Uint8Array }>('SELECT bytes FROM audit_block ORDER BY first_index');
  const text = blocks.map((block) => new TextDecoder().decode(block.bytes)).join('');
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => leafHash(new TextEncoder().encode(line)));
}

function note(tenant: TestTenant, count: number): Promise<unknown> {
  const input = { actor: { type: 'system', id: 'test' }, outcome: 'success', target: { type: 'test' } } as const;
  return tenant.vault.submit((job) => {
    for (let i = 0; i < count; i++) job.door.note({ ...input, action: 'test', reason: 'test', request: `req_${i}` });
  });
}

const sequenceOf = (sql: Sql) => Number(sql.get('SELECT state_sequence FROM anchor_head')?.['state_sequence']);

describe('the head of the log', () => {
  it('equals the one computed from the stored events, after any batches, rollbacks and restarts', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ events: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 5 }), end: fc.constantFrom('commit', 'commit', 'lose', 'restart') }), { maxLength: 8 }), // biome-ignore format: one line
        async (batches) => {
          const sql = new SqlSpy(openNodeSql(':memory:'));
          const tenant = await testTenant({ sql });
          let vault = tenant.vault;
          for (const { events, end } of batches) {
            if (end === 'restart') vault = tenant.reopen(tenant.notes.at(-1));
            if (end === 'lose') sql.failCommits();
            const ends = await Promise.all(events.map((count) => outcomeOf(note({ ...tenant, vault }, count))));
            if (end === 'lose' && ends.length > 0) expect(new Set(ends)).toEqual(new Set(['storage_full']));
            sql.failCommits(0);
            const leaves = leavesFromBytes(sql);
            expect(inside(vault).core.audit.size).toBe(leaves.length);
            expect(Buffer.from(inside(vault).core.audit.root()).equals(rootOf(leaves))).toBe(true);
            const head = sql.get<{ size: number; frontier: Uint8Array }>('SELECT size, frontier FROM anchor_head');
            expect(head?.size).toBe(leaves.length);
            expect(Buffer.from(Frontier.fromBytes(head?.frontier as Uint8Array).root()).equals(rootOf(leaves))).toBe(true);
            expect(eventsOf(sql).map((event) => event['index'])).toEqual(leaves.map((_, i) => i));
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('increases its state sequence by one for each batch with events, and not for one without or for a rollback', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const tenant = await testTenant({ sql });
    const start = sequenceOf(sql);
    await note(tenant, 3);
    await note(tenant, 1);
    await note(tenant, 0);
    expect(sequenceOf(sql)).toBe(start + 2);
    sql.failCommits();
    expect(await outcomeOf(note(tenant, 1))).toBe('storage_full');
    expect(inside(tenant.vault).core.audit.stateSequence).toBe(start + 2);
    await note({ ...tenant, vault: tenant.reopen() }, 1);
    expect(sequenceOf(sql)).toBe(start + 3);
  });
});

describe('checkpoints', () => {
  it('are signed at most once per interval, and always over a committed head', async () => {
    const tenant = await testTenant();
    const seen: [number, number][] = [];
    for (let i = 0; i < 60; i++) {
      await note(tenant, 1 + (i % 3));
      tenant.clock.pass(170);
    }
    const leaves = leavesFromBytes(tenant.sql);
    for (const text of tenant.notes) {
      const head = verifyCheckpoint(inside(tenant.vault).core.audit.verifierKey, text);
      expect(Buffer.from(head.root).equals(rootOf(leaves.slice(0, head.size)))).toBe(true);
      expect(head.origin).toBe(inside(tenant.vault).core.audit.origin);
      seen.push([head.at, head.stateSequence]);
    }
    expect(seen.length).toBeGreaterThan(8);
    for (const [i, [at, sequence]] of seen.entries()) {
      const before = seen[i - 1];
      if (before === undefined) continue;
      expect(at - before[0]).toBeGreaterThanOrEqual(LIMITS.checkpointIntervalMs);
      expect(sequence).toBeGreaterThan(before[1]);
    }
    expect(tenant.sql.all('SELECT note FROM checkpoint ORDER BY size').map((row) => row['note'])).toEqual(tenant.notes);
  });

  it('contain the lowest key version that opens values, so that a restored keyring is detected', async () => {
    const tenant = await testTenant();
    const { keyring, audit, cell } = inside(tenant.vault).core;
    const lowest = () => verifyCheckpoint(audit.verifierKey, tenant.notes.at(-1) ?? '').lowestKeyVersion;
    const signed = async () => {
      tenant.clock.pass(LIMITS.checkpointIntervalMs);
      await note(tenant, 1);
    };
    await signed();
    expect([keyring.lowestVersion(), lowest()]).toEqual([1, 1]);
    await cell.submit(() => {
      for (const purpose of CELL_PURPOSES) {
        const { id } = keyring.current(purpose);
        keyring.addVersion(purpose, 7, tenant.clock, testEntropy);
        keyring.destroy(id, tenant.clock.now());
      }
    });
    await signed();
    expect([keyring.lowestVersion(), lowest()]).toEqual([7, 7]);
  });

  it('cover the last events of a burst without a further request: the log sets one timer', async () => {
    const tenant = await testTenant();
    await note(tenant, 1);
    tenant.clock.pass(10);
    const asked = tenant.wakes.length;
    await note(tenant, 1);
    await note(tenant, 1);
    expect(tenant.wakes.length - asked).toBeLessThanOrEqual(1);
    tenant.clock.pass(LIMITS.checkpointIntervalMs);
    const signed = tenant.notes.length;
    tenant.wakes.at(-1)?.();
    await tenant.vault.submit(() => {});
    expect(tenant.notes.length).toBe(signed + 1);
    const head = verifyCheckpoint(inside(tenant.vault).core.audit.verifierKey, tenant.notes.at(-1) ?? '');
    expect(head.size).toBe(inside(tenant.vault).core.audit.size);
  });

  it('are still signed after the clock is set back', async () => {
    const tenant = await testTenant();
    tenant.clock.pass(LIMITS.checkpointIntervalMs);
    await note(tenant, 1);
    const signed = tenant.notes.length;
    tenant.clock.pass(-3_600_000);
    await note(tenant, 1);
    expect(tenant.notes.length).toBe(signed + 1);
  });

  it('are not published when their batch is rolled back, and the next one is signed instead', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const tenant = await testTenant({ sql });
    tenant.clock.pass(LIMITS.checkpointIntervalMs);
    const published = [...tenant.notes];
    sql.failCommits();
    expect(await outcomeOf(note(tenant, 1))).toBe('storage_full');
    await tenant.vault.submit(() => {});
    expect(tenant.notes).toEqual(published);
    await note(tenant, 2);
    expect(tenant.notes.length).toBe(published.length + 1);
    const head = verifyCheckpoint(inside(tenant.vault).core.audit.verifierKey, tenant.notes.at(-1) ?? '');
    expect(head.size).toBe(leavesFromBytes(sql).length);
  });

  it('are not signed over a forged head', async () => {
    const tenant = await testTenant();
    tenant.clock.pass(LIMITS.checkpointIntervalMs);
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const witnessed = tenant.notes.at(-1) ?? '';
    expect(() => tenant.reopen(witnessed)).not.toThrow();
    const last = tenant.sql.get<{ first_index: number }>('SELECT max(first_index) AS first_index FROM audit_block');
    const shorter = new Frontier();
    shorter.appendAll(leavesFromBytes(tenant.sql).slice(0, last?.first_index));
    tenant.sql.run('DELETE FROM audit_block WHERE first_index = ?', last?.first_index ?? -1);
    tenant.sql.run('UPDATE anchor_head SET size = ?, frontier = ?', shorter.size, shorter.toBytes());
    expect(() => tenant.reopen(witnessed)).toThrow(expect.objectContaining({ code: 'integrity' }));
    shorter.append(leafHash(new TextEncoder().encode('another event')));
    tenant.sql.run('UPDATE anchor_head SET size = ?, frontier = ?', shorter.size, shorter.toBytes());
    expect(() => tenant.reopen(witnessed)).toThrow(expect.objectContaining({ code: 'integrity' }));
  });
});

/** A tenant with the given answer of the witness, and the log's calls to the witness, the timer and the metrics. */
async function witnessed(answer: (urgent: boolean) => ReturnType<Witness['publish']> = () => true) {
  const sql = new SqlSpy(openNodeSql(':memory:'));
  const tenant = await testTenant({ sql });
  const published: { readonly note: string; readonly urgent: boolean | undefined }[] = [];
  const told: string[] = [];
  const wakes: (() => void)[] = [];
  const vault = tenant.reopenWith({
    witness: {
      publish: (_cell, text, urgent) => {
        published.push({ note: text, urgent });
        return answer(urgent === true);
      },
    },
    told: (action, outcome) => told.push(`${action} ${outcome}`),
    later: (_delayMs, task) => void wakes.push(task),
  });
  const { audit, rows } = inside(vault).core;
  const again = (count: number) => note({ ...tenant, vault }, count);
  const pass = () => tenant.clock.pass(LIMITS.checkpointIntervalMs);
  pass();
  await again(1);
  for (const list of [published, told, wakes]) list.length = 0;
  const publishNow = () => vault.submit((job) => job.core.audit.publishNow());
  return { tenant, sql, vault, audit, anchor: rows.anchor, published, told, wakes, note: again, publishNow, pass };
}

/** Whether `work` settles within some turns of the event loop. */
async function isAnswered(work: Promise<unknown>): Promise<boolean> {
  let answered = false;
  const mark = () => {
    answered = true;
  };
  void work.then(mark, mark);
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
  return answered;
}

describe('a head is signed', () => {
  it('when the last one is exactly an interval old', async () => {
    const { tenant, note, published } = await witnessed();
    tenant.clock.pass(LIMITS.checkpointIntervalMs - 1);
    await note(1);
    expect(published).toHaveLength(0);
    tenant.clock.pass(1);
    await note(1);
    expect(published).toHaveLength(1);
  });

  it('once: a batch without events signs nothing, at any age of the last head', async () => {
    const { audit, note, pass, published, wakes } = await witnessed();
    expect(audit.unsigned).toBe(false);
    pass();
    await note(0);
    expect([published.length, wakes.length]).toEqual([0, 0]);
    await note(1);
    await note(1);
    expect(audit.unsigned).toBe(true);
  });

  it('at once on signNow, at any age and with or without new events', async () => {
    const { audit, vault, note, published } = await witnessed();
    const signNow = () => vault.submit((job) => job.core.audit.signNow());
    const sizes = () => published.map((head) => verifyCheckpoint(audit.verifierKey, head.note).size - audit.size);
    await signNow();
    await signNow();
    expect(sizes()).toEqual([0, 0]);
    await note(1);
    await signNow();
    expect(sizes()).toEqual([-1, -1, 0]);
  });

  it('by a timer after each burst, which is set once per burst', async () => {
    const { audit, vault, note, pass, published, wakes } = await witnessed();
    for (let burst = 1; burst <= 3; burst++) {
      await note(1);
      await note(2);
      expect(wakes).toHaveLength(1);
      pass();
      wakes.shift()?.();
      await vault.submit(() => {});
      expect(published).toHaveLength(burst);
      expect(audit.unsigned).toBe(false);
    }
    expect(wakes).toEqual([]);
  });
});

describe('an urgent batch', () => {
  it('is answered only when the witness has stored its head; other batches do not wait', async () => {
    const waiting: ((kept: boolean) => void)[] = [];
    const { note, pass, published, publishNow } = await witnessed(() => new Promise((resolve) => void waiting.push(resolve)));
    waiting.length = 0;
    const urgent = publishNow();
    expect(await isAnswered(urgent)).toBe(false);
    waiting.shift()?.(true);
    expect(await isAnswered(urgent)).toBe(true);
    pass();
    expect(await isAnswered(note(1))).toBe(true);
    expect(published.map((head) => head.urgent)).toEqual([true, false]);
  });

  it('does not make the next batch urgent, also after a rollback', async () => {
    const { sql, note, pass, published, publishNow } = await witnessed();
    sql.failCommits();
    expect(await outcomeOf(publishNow())).toBe('storage_full');
    pass();
    await note(1);
    expect(published.map((head) => head.urgent)).toEqual([false]);
  });

  it('is answered even when the witness fails, at once or later', async () => {
    const fails = [
      () => {
        throw new Error('no such place');
      },
      () => Promise.reject(new Error('no such place')),
    ];
    for (const fail of fails) expect(await isAnswered((await witnessed(fail)).publishNow())).toBe(true);
  });
});

describe('a head counts as published', () => {
  it.each([
    ['was stored', () => true, true],
    ['is stored later', () => Promise.resolve(true), true],
    ['was not stored', () => false, false],
    ['is not stored later', () => Promise.resolve(false), false],
    ['was sent with unknown result', () => undefined, false],
    ['could not be sent', () => Promise.reject(new Error('no such place')), false],
  ])('or not, when it %s', async (_what, answer, expected) => {
    const { tenant, vault, anchor, publishNow } = await witnessed(answer);
    await putKey({ ...tenant, vault }, 'stripe', 'not-a-real-secret');
    const before = anchor.publishedEpoch;
    await publishNow();
    await isAnswered(Promise.resolve());
    expect(anchor.publishedEpoch > before).toBe(expected);
  });
});

describe('the metrics', () => {
  it('count every durable event once, and none of a rolled-back batch', async () => {
    const { sql, note, told } = await witnessed();
    await note(2);
    sql.failCommits();
    await outcomeOf(note(3));
    await note(1);
    expect(told).toEqual(['test success', 'test success', 'test success']);
  });
});
