// D6, RO-11: sixteen workflows, each a process of its own, find one stale grant while an admin asks for a rotation. The provider's refresh
// tokens are single use and a second use kills the grant, so one call too many would be seen.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { clientOf, stopAll, verifyLog, workloadToken } from '../kit/node-process.ts';
import { GRANT_PATH, isHonoured, serveGrant } from './grants-at-a-process.ts';

const READER = fileURLToPath(new URL('../kit/reader-child.ts', import.meta.url));
const READERS = 16;
const ROUNDS = 10;
const TTL_SECONDS = 2;
/** The provider thinks so long that everybody comes while it does. */
const THINKS_MS = 500;

interface ReaderAnswer {
  readonly status: number;
  readonly version?: number;
  readonly accessToken?: string;
}

interface Reader {
  read(): Promise<ReaderAnswer>;
}

const readers: ChildProcessWithoutNullStreams[] = [];
let sandbox: Sandbox | undefined;
afterEach(async () => {
  for (const child of readers.splice(0)) child.kill('SIGKILL');
  await sandbox?.stop();
});
afterAll(stopAll);

function startReader(url: string, token: string): Reader {
  const child = spawn(process.execPath, [READER, url, token], { stdio: 'pipe', env: { PATH: process.env['PATH'] } });
  readers.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    read: async () => {
      child.stdin.write('read\n');
      const { value } = await lines.next();
      return JSON.parse(String(value)) as ReaderAnswer;
    },
  };
}

it('sixteen processes and an admin make one token call for each expiry, and the grant lives', { timeout: 180_000 }, async () => {
  sandbox = await startSandbox({ accessTokenTtlSeconds: TTL_SECONDS });
  // `on_read`: nobody refreshes ahead of the readers.
  const { service, place } = await serveGrant(sandbox, 30, { refresh: 'on_read' });
  const owner = clientOf(service.url, place.owner);
  const admin = clientOf(service.url, place.workload);
  const workflows: Reader[] = [];
  for (let i = 0; i < READERS; i++) {
    const token = await workloadToken(owner, 'acme', { name: `flow-${i}`, permissions: ['read'] });
    workflows.push(startReader(`${service.url}${GRANT_PATH}/value`, token));
  }
  for (const answer of await Promise.all(workflows.map((one) => one.read()))) expect(answer.status).toBe(200);
  expect(sandbox.counters.tokenCalls).toBe(0);
  // From here on the provider's own lifetime counts.
  expect((await admin('POST', `${GRANT_PATH}/runs`, {})).status).toBeLessThan(300);
  await new Promise((resume) => setTimeout(resume, 1_000));
  expect(sandbox.counters).toEqual({ tokenCalls: 1, refreshes: 1, refusals: 0 });

  for (let round = 1; round <= ROUNDS; round++) {
    await new Promise((resume) => setTimeout(resume, TTL_SECONDS * 1_000));
    sandbox.nextToken({ kind: 'delay', ms: THINKS_MS });
    const reads = workflows.map((one) => one.read());
    await new Promise((resume) => setTimeout(resume, 100));
    const asked = await admin('POST', `${GRANT_PATH}/runs`, {});
    expect(asked.status, asked.text).toBeLessThan(300);
    const answers = await Promise.all(reads);
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
    expect(new Set(answers.map(({ accessToken }) => accessToken)).size).toBe(1);
    expect(await isHonoured(sandbox, answers[0]?.accessToken ?? '')).toBe(true);
    expect(sandbox.counters).toEqual({ tokenCalls: round + 1, refreshes: round + 1, refusals: 0 });
  }
  expect((await admin('GET', GRANT_PATH)).body.health.state).toBe('ready');
  const log = await verifyLog(owner, '/v1/tenants/acme');
  expect(log.findings).toEqual([]);
});
