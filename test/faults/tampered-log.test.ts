// AU-06, AU-10: whoever changes the log behind the service's back is found out by name, offline, from the export alone.
import { createHash } from 'node:crypto';
import { cpSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  apiKey,
  CREDENTIALS,
  clientOf,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  tenantPath,
  verifyLog,
  withDatabase,
} from '../kit/node-process.ts';

const BASE = '/v1/tenants/acme';
const FIRST_PUT = 'put-0';
let original: { directory: string; place: Place };
let size = 0;
let verifierKey = '';
let keptOutside = '';

beforeAll(async () => {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  for (let i = 0; i < 20; i++) {
    const names = Array.from({ length: 5 }, (_, j) => `put-${j}`);
    const put = clientOf(service.url, place.workload);
    await Promise.all(names.map((name) => put('PUT', `${CREDENTIALS}/${name}`, apiKey(`${i}-not-a-real-secret`))));
  }
  const head = (await clientOf(service.url, place.owner)('GET', `${BASE}/audit/checkpoint`)).body;
  size = head.size;
  verifierKey = head.verifier_key;
  keptOutside = head.note;
  await service.stop();
  original = { directory, place };
});
afterAll(stopAll);

interface Block {
  first_index: number;
  events: number;
  bytes: Buffer;
  leaves: Buffer;
}

/** The blocks that hold several puts, so that there is something before and after each planted change. */
function largest(database: Database.Database): Block {
  return database.prepare('SELECT * FROM audit_block ORDER BY events DESC, first_index LIMIT 1').get() as Block;
}

function rewrite(database: Database.Database, block: Block, change: (lines: string[]) => string[]): void {
  const lines = block.bytes.toString().trimEnd().split('\n');
  const bytes = Buffer.from(`${change(lines).join('\n')}\n`);
  database.prepare('UPDATE audit_block SET bytes = ? WHERE first_index = ?').run(bytes, block.first_index);
}

/** Tampers with a copy, has it served again, and returns what an outsider finds in its export. */
async function findingsAfter<T>(
  tamper: (database: Database.Database) => T,
): Promise<{ planted: T; findings: [string, number, number][] }> {
  const directory = newDirectory();
  cpSync(original.directory, directory, { recursive: true });
  const planted = withDatabase(tenantPath(directory, original.place.tenantId), tamper);
  const service = await startChild(directory);
  const owner = clientOf(service.url, original.place.owner);
  const result = await verifyLog(owner, BASE, { verifierKey, checkpoints: [keptOutside] });
  // The log is damaged, the service is not: people work on.
  const read = await clientOf(service.url, original.place.workload)('GET', `${CREDENTIALS}/${FIRST_PUT}/value`);
  expect(read.status).toBe(200);
  const followed = await owner('GET', `${BASE}/audit/events?from=0&limit=500`);
  // A reader gets each event that was logged, or is told that it is damaged.
  const { items, damaged } = followed.body as { items: { index: number }[]; damaged: { from: number; to: number }[] };
  const named = damaged.flatMap(({ from, to }) => Array.from({ length: to - from + 1 }, (_, i) => from + i));
  const last = items.at(-1)?.index ?? 0;
  expect([...items.map(({ index }) => index), ...named].sort((a, b) => a - b)).toEqual(
    Array.from({ length: last + 1 }, (_, i) => i),
  );
  expect(last).toBeGreaterThan(90);
  await service.stop();
  return { planted, findings: result.findings.map(({ kind, from, to }) => [kind, from, to]) };
}

describe('the exported log, verified offline', () => {
  it('is whole when nobody touched it', async () => {
    expect((await findingsAfter(() => undefined)).findings).toEqual([]);
  });

  it('names the one event whose outcome was edited', async () => {
    const { planted, findings } = await findingsAfter((database) => {
      const block = largest(database);
      rewrite(database, block, (lines) => lines.map((line, i) => (i === 2 ? line.replace('"success"', '"denied"') : line)));
      return block.first_index + 2;
    });
    expect(findings).toEqual([['edited', planted, planted]]);
  });

  it('names the actor’s event even when a single character changed', async () => {
    const { planted, findings } = await findingsAfter((database) => {
      const block = largest(database);
      rewrite(database, block, (lines) =>
        lines.map((line, i) => (i === 0 ? line.replace(/"name":"put-(\d)"/, '"name":"put-9"') : line)),
      );
      return block.first_index;
    });
    expect(findings).toEqual([['edited', planted, planted]]);
  });

  it('finds an edit whose leaf hash was recomputed, within the span of one signed head', async () => {
    const { planted, findings } = await findingsAfter((database) => {
      const block = largest(database);
      rewrite(database, block, (lines) => lines.map((line, i) => (i === 1 ? line.replace('"success"', '"denied"') : line)));
      const line = largestLine(database, block.first_index, 1);
      const leaf = createHash('sha256')
        .update(Buffer.from([0]))
        .update(line)
        .digest();
      leaf.copy(block.leaves, 32);
      database.prepare('UPDATE audit_block SET leaves = ? WHERE first_index = ?').run(block.leaves, block.first_index);
      return block.first_index + 1;
    });
    expect(findings).toHaveLength(1);
    const [[kind, from, to] = ['', 0, 0]] = findings;
    expect(kind).toBe('root_mismatch');
    expect(from).toBeLessThanOrEqual(planted);
    expect(to).toBeGreaterThanOrEqual(planted);
  });

  it('names the one event that was deleted', async () => {
    const { planted, findings } = await findingsAfter((database) => {
      const block = largest(database);
      rewrite(database, block, (lines) => lines.filter((_, i) => i !== 1));
      return block.first_index + 1;
    });
    expect(findings).toEqual([['deleted', planted, planted]]);
  });

  it('names every event of a deleted block', async () => {
    const { planted, findings } = await findingsAfter((database) => {
      const block = largest(database);
      database.prepare('DELETE FROM audit_block WHERE first_index = ?').run(block.first_index);
      return [block.first_index, block.first_index + block.events - 1] as const;
    });
    expect(findings).toEqual([['deleted', ...planted]]);
  });

  it('names the events that were exchanged', async () => {
    const { planted, findings } = await findingsAfter((database) => {
      const block = largest(database);
      rewrite(database, block, ([first = '', second = '', ...rest]) => [second, first, ...rest]);
      return block.first_index;
    });
    expect(findings.map(([kind]) => kind)).toContain('reordered');
    for (const [, from, to] of findings) {
      expect(from).toBeGreaterThanOrEqual(planted);
      expect(to).toBeLessThanOrEqual(planted + 1);
    }
  });

  it('names the tail that was cut off, although the log went on after it', async () => {
    const { planted, findings } = await findingsAfter((database) => {
      const last = database.prepare('SELECT max(first_index) AS at FROM audit_block').get() as { at: number };
      const end = database.prepare('SELECT size FROM anchor_head').get() as { size: number };
      database.prepare('DELETE FROM audit_block WHERE first_index = ?').run(last.at);
      return [last.at, end.size - 1] as const;
    });
    expect(findings).toEqual([['deleted', ...planted]]);
  });

  it('cannot be replaced by a shorter one with its own heads: a head kept outside names what is gone', async () => {
    const directory = newDirectory();
    const service = await startChild(directory);
    const place = await furnish(service.url, directory);
    await service.stop();
    const short = newDirectory();
    cpSync(directory, short, { recursive: true });
    const longer = await startChild(directory);
    for (let i = 0; i < 30; i++) {
      await clientOf(longer.url, place.workload)('PUT', `${CREDENTIALS}/a`, apiKey(`${i}-not-a-real-secret`));
    }
    const head = (await clientOf(longer.url, place.owner)('GET', `${BASE}/audit/checkpoint`)).body;
    await longer.stop();
    const back = await startChild(short);
    const result = await verifyLog(clientOf(back.url, place.owner), BASE, {
      verifierKey: head.verifier_key,
      checkpoints: [head.note],
    });
    expect(result.findings).toMatchObject([{ kind: 'rolled_back', from: result.events, to: head.size - 1 }]);
    await back.stop();
    expect(size).toBeGreaterThan(100);
  });

  it('with a damaged count of events neither hangs the export nor the reader', async () => {
    const { findings } = await findingsAfter((database) => {
      const block = largest(database);
      database.prepare('UPDATE audit_block SET events = 0 WHERE first_index = ?').run(block.first_index);
    });
    // The bytes and leaves are as they were logged; only the bookkeeping beside them lies.
    expect(findings).toEqual([]);
  });
});

function largestLine(database: Database.Database, firstIndex: number, at: number): string {
  const { bytes } = database.prepare('SELECT bytes FROM audit_block WHERE first_index = ?').get(firstIndex) as Block;
  return bytes.toString().split('\n')[at] ?? '';
}
