// D6: a process that is stopped (SIGSTOP, a laptop's lid, a frozen container) with its request at the provider's door, and goes on later.
import { afterAll, afterEach, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { clientOf, eventually, stopAll, verifyLog } from '../kit/node-process.ts';
import { GRANT_PATH, isHonoured, serveGrant } from './grants-at-a-process.ts';

const ANSWERS_AFTER_MS = 1_500;
const STOPPED_MS = LIMITS.providerTimeoutMs + 5_000;
let sandbox: Sandbox | undefined;
afterEach(() => sandbox?.stop());
afterAll(stopAll);

it('stores the answer that came while it was stopped for longer than a provider may take: one token call, the grant lives', {
  timeout: STOPPED_MS + 60_000,
}, async () => {
  sandbox = await startSandbox({ accessTokenTtlSeconds: 3_600 });
  const { service, place } = await serveGrant(sandbox, 86_400);
  const client = clientOf(service.url, place.workload);
  sandbox.nextToken({ kind: 'delay', ms: ANSWERS_AFTER_MS });
  expect((await client('POST', `${GRANT_PATH}/rotations`, {})).status).toBeLessThan(300);
  await eventually(() => sandbox?.counters.refreshes === 1);
  service.signal('SIGSTOP');
  await new Promise((resume) => setTimeout(resume, STOPPED_MS));
  service.signal('SIGCONT');

  const run = await eventually(async () => {
    const [newest] = (await client('GET', `${GRANT_PATH}/rotations`)).body.items;
    return newest?.state === 'open' ? undefined : newest;
  });
  expect(run).toMatchObject({ state: 'succeeded', outcome: 'refreshed', new_version: 2, attempts: 1 });
  expect(sandbox.counters).toEqual({ tokenCalls: 1, refreshes: 1, refusals: 0 });
  const read = await client('GET', `${GRANT_PATH}/value`);
  expect(read.body).toMatchObject({ version: 2 });
  expect(await isHonoured(sandbox, read.body.value.access_token)).toBe(true);
  expect((await verifyLog(clientOf(service.url, place.owner), '/v1/tenants/acme')).findings).toEqual([]);
  await service.stop();
});
