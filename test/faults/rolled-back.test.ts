// CR-03, ST-05: a database put back, taken away or robbed of its write-ahead log is older than its witnessed head, and is not served.
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import {
  apiKey,
  type Client,
  CREDENTIALS,
  clientOf,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  tenantPath,
  verifyLog,
  workloadToken,
} from '../kit/node-process.ts';

afterAll(stopAll);

const OTHERS = CREDENTIALS.replace('acme', 'other');

interface Pair {
  readonly directory: string;
  readonly place: Place;
  readonly path: string;
  readonly otherToken: string;
}

async function pair(): Promise<Pair> {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  const owner = clientOf(service.url, place.owner);
  await owner('POST', '/v1/tenants', { name: 'other' });
  const otherToken = await workloadToken(owner, 'other');
  await write(clientOf(service.url, place.workload), 3);
  expect((await clientOf(service.url, otherToken)('PUT', `${OTHERS}/a`, apiKey('other-not-a-real-secret'))).status).toBe(201);
  await service.stop();
  return { directory, place, otherToken, path: tenantPath(directory, place.tenantId) };
}

async function write(client: Client, count: number): Promise<void> {
  for (let i = 0; i < count; i++)
    expect((await client('PUT', `${CREDENTIALS}/a`, apiKey(`${i}-not-a-real-secret`))).status).toBeLessThan(300);
}

/** Starts; the tenant answers 423 to everything, the other one works. */
async function expectRefused({ directory, place, otherToken }: Pair): Promise<void> {
  const service = await startChild(directory);
  for (const token of [place.workload, place.owner]) {
    for (const [method, path] of [
      ['GET', `${CREDENTIALS}/a/value`],
      ['GET', `${CREDENTIALS}/a`],
      ['GET', '/v1/tenants/acme/audit/events'],
    ] as const) {
      const answer = await clientOf(service.url, token)(method, path);
      expect([answer.status, answer.body.code], path).toEqual([423, 'rolled_back']);
      expect(answer.text).not.toContain('not-a-real-secret');
    }
    const put = await clientOf(service.url, token)('PUT', `${CREDENTIALS}/a`, apiKey('new-not-a-real-secret'));
    expect(put.status).toBe(423);
  }
  const other = await clientOf(service.url, otherToken)('GET', `${OTHERS}/a/value`);
  expect(other.body.value.key).toBe('other-not-a-real-secret');
  expect((await verifyLog(clientOf(service.url, place.owner), '/v1')).findings).toEqual([]);
  await service.stop();
}

describe('a tenant whose database is older than its witnessed head', () => {
  it('because yesterday’s was put back is refused, others work, and the right one opens again', async () => {
    const both = await pair();
    copyFileSync(both.path, `${both.path}.yesterday`);
    const service = await startChild(both.directory);
    await write(clientOf(service.url, both.place.workload), 1);
    await service.stop();
    copyFileSync(both.path, `${both.path}.today`);
    copyFileSync(`${both.path}.yesterday`, both.path);
    await expectRefused(both);
    copyFileSync(`${both.path}.today`, both.path);
    const again = await startChild(both.directory);
    const answer = await clientOf(again.url, both.place.workload)('GET', `${CREDENTIALS}/a`);
    expect(answer.body.version).toBe(4);
    await again.stop();
  });

  it('because its write-ahead log is gone after a crash is refused', async () => {
    const both = await pair();
    const service = await startChild(both.directory);
    await write(clientOf(service.url, both.place.workload), 3);
    await clientOf(service.url, both.place.owner)('GET', '/v1/tenants/acme/audit/checkpoint');
    await service.kill();
    expect(existsSync(`${both.path}-wal`)).toBe(true);
    rmSync(`${both.path}-wal`);
    await expectRefused(both);
  });

  it('because it is gone altogether is refused, not replaced by an empty one', async () => {
    const both = await pair();
    rmSync(both.path);
    await expectRefused(both);
    expect(existsSync(both.path)).toBe(false);
  });
});

describe('a home database older than its witnessed head', () => {
  it('is not started at all: offboarded people would be back', async () => {
    const both = await pair();
    const home = `${both.directory}/home.db`;
    copyFileSync(home, `${home}.yesterday`);
    const service = await startChild(both.directory);
    await clientOf(service.url, both.place.owner)('POST', '/v1/tenants', { name: 'third' });
    await service.stop();
    copyFileSync(`${home}.yesterday`, home);
    await expect(startChild(both.directory)).rejects.toThrow(/^rolled_back: /);
  });
});
