// CR-03: a witness that is gone, an emptied database, a forged or dropped head: each keeps its tenant shut, and doctor --deep says which.
import { copyFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { type ScrubbedCell, scrubDataDirectory } from '../../src/node/scrub-data-directory.ts';
import { startKeyturn } from '../../src/node/start.ts';
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
  withDatabase,
} from '../kit/node-process.ts';

afterAll(stopAll);

async function made(): Promise<{ directory: string; place: Place }> {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  for (const name of ['a', 'b']) await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/${name}`, apiKey('not-a-real-secret')); // biome-ignore format: one line
  await service.stop();
  return { directory, place };
}

async function answerOf(directory: string, place: Place, acceptMissingWitness: string[] = []): Promise<string> {
  const running = await startKeyturn({
    dataDirectory: directory,
    host: '127.0.0.1',
    port: 0,
    acceptMissingWitness,
    log: () => {},
  });
  try {
    const answer = await clientOf(running.url, place.workload)('GET', `${CREDENTIALS}/a/value`);
    return String(answer.body.code ?? answer.status);
  } finally {
    await running.close();
  }
}

async function look(directory: string): Promise<ScrubbedCell[]> {
  const cells: ScrubbedCell[] = [];
  for await (const cell of scrubDataDirectory({ dataDirectory: directory })) cells.push(cell);
  return cells;
}
const failed = async (directory: string) =>
  (await look(directory)).flatMap(({ name, parts, refused }) => [
    ...(refused === undefined ? [] : [`${name} ${refused.split(':')[0]}`]),
    ...parts.filter((part) => part.failed + part.missing > 0).map(({ part }) => `${name} ${part}`),
  ]);

describe('a data directory', () => {
  it('that nobody touched passes the deep look, which counts what it saw and changes nothing', async () => {
    const { directory, place } = await made();
    expect(await failed(directory)).toEqual([]);
    const parts = new Map((await look(directory)).at(-1)?.parts.map(({ part, looked }) => [part, looked]));
    expect([parts.get('credential'), parts.get('credential_version'), parts.get('environment')]).toEqual([2, 2, 2]);
    expect(parts.get('log')).toBeGreaterThan(5);
    expect(await answerOf(directory, place)).toBe('200');
  });

  it('whose tenant lost its witness stays shut until the operator declares it, once', async () => {
    const { directory, place } = await made();
    rmSync(join(directory, 'witness', `${place.tenantId}.checkpoint`));
    expect(await answerOf(directory, place)).toBe('rolled_back');
    expect(await failed(directory)).toEqual(['acme rolled_back']);
    expect(await answerOf(directory, place, [place.tenantId])).toBe('200');
    expect(await answerOf(directory, place)).toBe('200');
    expect(await failed(directory)).toEqual([]);
  });

  it('whose tenant was emptied, with or without its witness, makes no new one in its place', async () => {
    const { directory, place } = await made();
    const path = tenantPath(directory, place.tenantId);
    writeFileSync(path, '');
    expect(await answerOf(directory, place)).toBe('rolled_back');
    rmSync(join(directory, 'witness', `${place.tenantId}.checkpoint`));
    expect(await answerOf(directory, place)).toBe('rolled_back');
    expect(await answerOf(directory, place, [place.tenantId])).toBe('rolled_back');
  });

  it.each([
    ['forged', 'UPDATE anchor_head SET state_sequence = state_sequence + 1000, epoch = epoch + 1000'],
    ['dropped', 'DROP TABLE anchor_head'],
    ['emptied', 'DELETE FROM anchor_head'],
  ])('whose head was %s stays shut', async (_, change) => {
    const { directory, place } = await made();
    withDatabase(tenantPath(directory, place.tenantId), (database) => database.exec(change));
    expect(await answerOf(directory, place)).not.toBe('200');
  });

  it('put back whole from before, with a forged head, does not overwrite the good witness', async () => {
    const { directory, place } = await made();
    const path = tenantPath(directory, place.tenantId);
    copyFileSync(path, `${path}.old`);
    const service = await startChild(directory);
    await clientOf(service.url, place.workload)('PUT', `${CREDENTIALS}/a`, apiKey('not-a-real-secret-2'));
    await service.stop();
    copyFileSync(`${path}.old`, path);
    expect(await answerOf(directory, place)).toBe('rolled_back');
    withDatabase(path, (database) => database.exec('UPDATE anchor_head SET state_sequence = 99999, size = 99999'));
    expect(await answerOf(directory, place)).toBe('integrity');
  });

  it('whose service was killed in the middle of writes opens whole: rows and map agree', async () => {
    const { directory, place } = await made();
    for (let round = 0; round < 3; round++) {
      const service = await startChild(directory);
      const put = clientOf(service.url, place.workload);
      const writes = Array.from({ length: 40 }, (_, i) => put('PUT', `${CREDENTIALS}/k${i % 7}`, apiKey(`${round}-${i}-not-a-real-secret`)).catch(() => undefined)); // biome-ignore format: one line
      await writes[5 + round * 7];
      await service.kill();
      await Promise.all(writes);
      expect(await answerOf(directory, place)).toBe('200');
      expect(await failed(directory)).toEqual([]);
    }
    expect(readdirSync(directory)).toContain('witness');
  });
});
