// The process dies at every step of the rotation of a key at a provider over HTTP; after the next start, one key works, and no other is left.
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  CREDENTIALS,
  clientOf,
  eventually,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  verifyLog,
} from '../kit/node-process.ts';
import { SendgridServer } from '../kit/sendgrid-server.ts';

const PATH = `${CREDENTIALS}/mail`;
let provider: SendgridServer;
let sandbox: string;
beforeEach(async () => {
  provider = new SendgridServer();
  sandbox = await provider.start();
});
afterEach(() => provider.stop());
afterAll(stopAll);

async function holding(): Promise<{ directory: string; place: Place }> {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  const put = await clientOf(service.url, place.workload)('PUT', PATH, {
    kind: 'api_key',
    value: { key: 'SG.k1.made-up', key_id: 'k1' },
    connector: 'sendgrid-api-key',
    config: { sandbox, grace_seconds: 1, deadline_seconds: 1 },
  });
  expect(put.status, put.text).toBe(201);
  await service.stop();
  return { directory, place };
}

const POINTS = [
  'rotate.after-intent',
  'rotate.before-call',
  'rotate.after-call',
  'rotate.before-store',
  'rotate.after-store',
  'retire.before-call',
  'retire.after-call',
] as const;

describe('a rotation cut off by a crash', () => {
  // Three starts of a process each, on a machine that may be busy.
  it.each(POINTS)('at %s leaves a key that works, and at last that one alone', { timeout: 120_000 }, async (fault) => {
    const { directory, place } = await holding();
    const dying = await startChild(directory, { fault });
    await clientOf(dying.url, place.workload)('POST', `${PATH}/runs`, {}).catch(() => undefined);
    expect(await dying.exited).toEqual({ code: null, signal: 'SIGKILL' });
    const service = await startChild(directory);
    const client = clientOf(service.url, place.workload);
    const during = await client('GET', `${PATH}/value`);
    expect(during.status, during.text).toBe(200);
    expect(provider.works(during.body.value.key)).toBe(true);
    await eventually(async () => {
      const { body } = await client('GET', `${PATH}/runs`);
      return body.items.length > 1 && body.items.every((run: { state: string }) => run.state !== 'open');
    }, 30_000);
    const { items } = (await client('GET', `${PATH}/runs`)).body;
    expect(items.map((run: { outcome: string; cause: string | null }) => [run.outcome, run.cause]).toSorted()).toEqual([
      ['revoked', 'proved_dead'],
      ['rotated', null],
    ]);
    const { value, version } = (await client('GET', `${PATH}/value`)).body;
    expect([version, [...provider.keys.values()].map(({ secret }) => secret)]).toEqual([2, [value.key]]);
    const log = await verifyLog(clientOf(service.url, place.owner), '/v1/tenants/acme');
    expect(log.findings).toEqual([]);
    for (const secret of ['SG.k1.made-up', value.key]) expect(log.lines.some((line) => line.includes(secret))).toBe(false);
    await service.stop();
  });
});
