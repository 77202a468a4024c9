// D6: the process dies at every step of a refresh; the provider is the real sandbox, whose tokens are single use and whose reuse detection
// kills the whole grant. Either the new pair is had, or the loss is said: never a loop, never a grant lost in silence.
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { LIMITS } from '../../src/base/limits.ts';
import {
  CREDENTIALS,
  clientOf,
  eventually,
  furnish,
  newDirectory,
  type Place,
  startChild,
  stopAll,
  tenantPath,
  verifyLog,
  withDatabase,
} from '../kit/node-process.ts';
import { startServer } from '../rotation/kit.ts';

const PATH = `${CREDENTIALS}/crm`;
let sandbox: Sandbox;
beforeEach(async () => {
  sandbox = await startSandbox({ accessTokenTtlSeconds: 3_600 });
});
afterEach(() => sandbox.stop());
afterAll(stopAll);

interface Held {
  readonly directory: string;
  readonly place: Place;
  readonly accessToken: string;
  readonly secrets: readonly string[];
}

/** A service that holds one grant whose access token has run out, not running. */
async function holding(config: Record<string, unknown> = {}): Promise<Held> {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  const grant = await sandbox.issueGrant();
  const put = await clientOf(service.url, place.workload)('PUT', PATH, {
    kind: 'oauth2',
    connector: 'local-sandbox',
    value: {
      access_token: grant.accessToken,
      refresh_token: grant.refreshToken,
      client_secret: sandbox.clientSecret,
      expires_in: 86_400,
    },
    config: { token_endpoint: sandbox.tokenEndpoint, client_id: sandbox.clientId, ...config },
  });
  expect(put.status, put.text).toBe(201);
  await service.stop();
  return { directory, place, accessToken: grant.accessToken, secrets: [grant.refreshToken, sandbox.clientSecret] };
}

/** Starts with the fault, asks for a refresh, sees it die; returns the state of the open run it left. */
async function dieDuring(held: Held, fault: string) {
  const service = await startChild(held.directory, { fault });
  await clientOf(service.url, held.place.workload)('POST', `${PATH}/runs`, {}).catch(() => undefined);
  expect(await service.exited).toEqual({ code: null, signal: 'SIGKILL' });
  return withDatabase(tenantPath(held.directory, held.place.tenantId), (database) => {
    return database.prepare("SELECT step, attempts, fence FROM run WHERE state = 'open'").get();
  });
}

async function resumed(held: Held) {
  const service = await startChild(held.directory);
  const client = clientOf(service.url, held.place.workload);
  const owner = clientOf(service.url, held.place.owner);
  await eventually(async () => {
    const { body } = await client('GET', `${PATH}/runs`);
    return body.items.length > 0 && body.items.every((run: { state: string }) => run.state !== 'open');
  });
  const runs = (await client('GET', `${PATH}/runs`)).body.items;
  const read = await client('GET', `${PATH}/value`);
  const described = await client('GET', PATH);
  const log = await verifyLog(owner, '/v1/tenants/acme');
  expect(log.findings).toEqual([]);
  for (const secret of held.secrets)
    expect([read.text, described.text, ...log.lines].some((text) => text.includes(secret))).toBe(false);
  await service.stop();
  return { runs, read, described: described.body };
}

describe('a refresh cut off by a crash', () => {
  it.each([
    ['refresh.after-lease', { step: 'queued', attempts: 0, fence: 0 }],
    ['refresh.after-intent', { step: 'intent', attempts: 1, fence: 1 }],
    ['refresh.before-call', { step: 'intent', attempts: 1, fence: 1 }],
  ])('at %s, before the provider was called, is resumed and succeeds', async (point, left) => {
    const held = await holding();
    expect(await dieDuring(held, point)).toEqual(left);
    expect(sandbox.counters.tokenCalls).toBe(0);
    const { runs, read, described } = await resumed(held);
    expect(runs).toMatchObject([{ state: 'succeeded', outcome: 'refreshed', new_version: 2 }]);
    expect(read.status).toBe(200);
    expect(read.body.value.access_token).not.toBe(held.accessToken);
    expect(described.health.state).toBe('ready');
    expect(sandbox.counters).toEqual({ tokenCalls: 1, refreshes: 1, refusals: 0 });
  });

  it.each(['refresh.after-call', 'refresh.before-store'])(
    'at %s, after the provider turned the token, is asked for once more and then says that consent is needed, without a loop',
    async (point) => {
      const held = await holding({ lost_answer: 'unsafe' });
      expect(await dieDuring(held, point)).toEqual({ step: 'intent', attempts: 1, fence: 1 });
      expect(sandbox.counters).toEqual({ tokenCalls: 1, refreshes: 1, refusals: 0 });
      const { runs, read, described } = await resumed(held);
      expect(runs).toMatchObject([{ state: 'failed', outcome: 'dead', cause: 'answer_lost_then_invalid_grant' }]);
      // The grant is dead; the access token that it brought lives for a day, and is served.
      expect([read.status, read.body.value.access_token]).toEqual([200, held.accessToken]);
      expect(described.health).toMatchObject({ state: 'needs_consent', cause: 'answer_lost_then_invalid_grant' });
      const again = await startChild(held.directory);
      const client = clientOf(again.url, held.place.workload);
      for (let i = 0; i < 5; i++) expect((await client('GET', `${PATH}/value`)).status).toBe(200);
      expect((await client('POST', `${PATH}/runs`, {})).status).toBe(424);
      expect(sandbox.counters).toEqual({ tokenCalls: 2, refreshes: 1, refusals: 1 });

      const grant = await sandbox.issueGrant();
      await client('PUT', PATH, {
        kind: 'oauth2',
        value: {
          access_token: grant.accessToken,
          refresh_token: grant.refreshToken,
          client_secret: sandbox.clientSecret,
          expires_in: 3_600,
        },
        config: { token_endpoint: sandbox.tokenEndpoint, client_id: sandbox.clientId },
      });
      expect((await client('GET', `${PATH}/value`)).body.value.access_token).toBe(grant.accessToken);
      await again.stop();
    },
  );

  it('at refresh.after-store lost nothing: the pair is there, and no second call is made', async () => {
    const held = await holding();
    expect(await dieDuring(held, 'refresh.after-store')).toBeUndefined();
    const { runs, read } = await resumed(held);
    expect(runs).toMatchObject([{ state: 'succeeded', new_version: 2 }]);
    expect(read.body).toMatchObject({ version: 2 });
    expect(sandbox.counters).toEqual({ tokenCalls: 1, refreshes: 1, refusals: 0 });
  });

  it.each(['refresh.after-call', 'refresh.before-store'])(
    'at %s recovers at a provider that keeps the old token good (safe)',
    async (point) => {
      let answers = 0;
      const keeping = await startServer((_, res) => {
        answers += 1;
        res.setHeader('content-type', 'application/json');
        res.end(JSON.stringify({ access_token: `access-${answers}-not-a-real-secret`, token_type: 'Bearer', expires_in: 3_600 }));
      });
      try {
        const held = await holding({
          lost_answer: 'safe',
          refresh_token_rotates: 'never',
          token_endpoint: `${keeping.origin}/token`,
        });
        await dieDuring(held, point);
        expect(answers).toBe(1);
        const { runs, read } = await resumed(held);
        expect(runs).toMatchObject([{ state: 'succeeded', new_version: 2, attempts: 2 }]);
        expect(read.body.value.access_token).toBe('access-2-not-a-real-secret');
        expect(answers).toBe(2);
      } finally {
        await keeping.stop();
      }
    },
  );

  it('goes on within two seconds of the next start, inside a reuse window of ten: the lease of a dead process holds nobody up', async () => {
    const WINDOW_MS = 10_000;
    let firstUsedAtMs = 0;
    let answers = 0;
    // The same token works again for ten seconds after its first use, and never after.
    const narrow = await startServer((_, res) => {
      firstUsedAtMs ||= Date.now();
      const isGood = Date.now() - firstUsedAtMs < WINDOW_MS;
      answers += 1;
      res.writeHead(isGood ? 200 : 400, { 'content-type': 'application/json' });
      const tokens = { access_token: `access-${answers}-not-a-real-secret`, refresh_token: 'refresh-2-not-a-real-secret' };
      res.end(JSON.stringify(isGood ? { ...tokens, expires_in: 3_600 } : { error: 'invalid_grant' }));
    });
    try {
      const held = await holding({
        lost_answer: { window_seconds: WINDOW_MS / 1_000 },
        token_endpoint: `${narrow.origin}/token`,
      });
      expect(await dieDuring(held, 'refresh.after-call')).toMatchObject({ step: 'intent' });
      expect(answers).toBe(1);
      const service = await startChild(held.directory);
      const startedAtMs = Date.now();
      const client = clientOf(service.url, held.place.workload);
      await eventually(async () => (await client('GET', `${PATH}/runs`)).body.items[0].state !== 'open');
      expect(Date.now() - startedAtMs).toBeLessThan(2_000);
      expect((await client('GET', `${PATH}/runs`)).body.items).toMatchObject([{ state: 'succeeded', attempts: 2 }]);
      expect((await client('GET', `${PATH}/value`)).body.value.access_token).toBe('access-2-not-a-real-secret');
      await service.stop();
    } finally {
      await narrow.stop();
    }
  });
});

describe('a refresh cut off by SIGTERM', () => {
  it('is finished first: the answer that is on its way is stored before the process ends', async () => {
    const held = await holding();
    const service = await startChild(held.directory);
    sandbox.nextToken({ kind: 'delay', ms: 1_500 });
    await clientOf(service.url, held.place.workload)('POST', `${PATH}/runs`, {});
    await eventually(() => sandbox.counters.refreshes === 1);
    expect(await service.stop()).toEqual({ code: 0, signal: null });
    const { runs, read } = await resumed(held);
    expect(runs).toMatchObject([{ state: 'succeeded', new_version: 2 }]);
    expect(read.status).toBe(200);
    expect(sandbox.counters.tokenCalls).toBe(1);
  });
});

describe('a process that is stopped with its lease in hand', () => {
  it('and goes on later reads the answer that waited in its socket: the grant lives, and no second call is made', async () => {
    const held = await holding({ lost_answer: 'unsafe' });
    const service = await startChild(held.directory);
    const client = clientOf(service.url, held.place.workload);
    sandbox.nextToken({ kind: 'delay', ms: 1_500 });
    await client('POST', `${PATH}/runs`, {});
    await eventually(() => sandbox.counters.refreshes === 1);
    service.signal('SIGSTOP');
    // Longer than a provider is waited for, had the process been running.
    await new Promise((resume) => setTimeout(resume, LIMITS.providerTimeoutMs + 2_500));
    service.signal('SIGCONT');
    await eventually(async () => (await client('GET', `${PATH}/runs`)).body.items[0].state !== 'open');
    expect((await client('GET', `${PATH}/runs`)).body.items).toMatchObject([{ state: 'succeeded', attempts: 1 }]);
    expect((await client('GET', PATH)).body.health.state).toBe('ready');
    expect(sandbox.counters).toEqual({ tokenCalls: 1, refreshes: 1, refusals: 0 });
    await service.stop();
  }, 60_000);
});
