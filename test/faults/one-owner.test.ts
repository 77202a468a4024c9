// D1: a cell has one owner. Sixteen starts on one data directory: one serves, the others are refused in one line and touch no provider.
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { type ChildService, clientOf, eventually, startChild, stopAll, verifyLog } from '../kit/node-process.ts';
import { GRANT_PATH, serveGrant } from './grants-at-a-process.ts';

const MAIN = join(import.meta.dirname, '../../src/cli/main.ts');
const STARTS = 16;
/** So short that the grant is due by the time anybody serves. */
const EXPIRES_IN_SECONDS = 12;
const REFUSED = /^the child ended first: [1-9][0-9]* [^\n]*in use by another process[^\n]*$/;
let sandbox: Sandbox | undefined;
afterEach(() => sandbox?.stop());
afterAll(stopAll);

it('one of sixteen processes serves, fifteen are refused in one line, and a grant that is due is refreshed once', {
  timeout: 120_000,
}, async () => {
  sandbox = await startSandbox({ accessTokenTtlSeconds: 3_600 });
  const { service, directory, place } = await serveGrant(sandbox, EXPIRES_IN_SECONDS);
  await service.stop();
  expect(sandbox.counters.tokenCalls).toBe(0);

  const program = [MAIN, 'serve', '--data', directory, '--port', '0'];
  const starts = await Promise.allSettled(Array.from({ length: STARTS }, () => startChild(directory, { program })));
  const serving = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
  const refused = starts.flatMap((start) => (start.status === 'rejected' ? [(start.reason as Error).message] : []));
  expect(serving, refused.join('\n')).toHaveLength(1);
  expect(refused).toEqual(refused.map(() => expect.stringMatching(REFUSED)));

  const [winner] = serving as [ChildService];
  const client = clientOf(winner.url, place.workload);
  await eventually(async () => (await client('GET', GRANT_PATH)).body.version === 2, 45_000);
  expect(sandbox.counters).toEqual({ tokenCalls: 1, refreshes: 1, refusals: 0 });
  expect((await verifyLog(clientOf(winner.url, place.owner), '/v1/tenants/acme')).findings).toEqual([]);
  await winner.stop();
});
