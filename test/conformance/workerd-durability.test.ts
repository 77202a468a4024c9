// What a Worker deployment keeps when its runtime is killed, and what it does with nobody asking. Real workerd, real storage, SIGKILL.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { rootKeyText } from '../../src/crypto/root-key.ts';
import { deployToWorkerd, TEST_BOOTSTRAP_SECRET, type WorkerdDeployment, type WorkerdServer } from '../kit/workerd-server.ts';
import { verifyLog } from './audit-cases.ts';
import { grantBody } from './rotation-cases.ts';
import { apiKey, at, callerOf, eventually, type Json, makeWorkload, must } from './world.ts';

let deployment: WorkerdDeployment;
let server: WorkerdServer;
let owner: string;
let token: string;

beforeAll(async () => {
  deployment = await deployToWorkerd();
  server = await deployment.start();
  const call = callerOf(server.url);
  owner = (await must(call('POST', '/v1/setup', { token: TEST_BOOTSTRAP_SECRET, body: { name: 'ada' } }), 201)).body.token.token;
  await must(call('POST', '/v1/tenants', { token: owner, body: { name: 'acme' } }), 201);
  ({ token } = await makeWorkload(call, owner, 'acme', { name: 'sync', permissions: ['read', 'put', 'rotate'] }));
}, 60_000);

afterAll(async () => {
  await deployment?.remove();
});

async function restart(secrets?: Readonly<Record<string, string | undefined>>): Promise<void> {
  await server.kill();
  server = await deployment.start(secrets);
}

interface AcknowledgedWrite {
  readonly name: string;
  readonly key: string;
  readonly request: string;
}

/** Writes as fast as it may until the server is killed, in the middle of writes; returns what was acknowledged. */
async function writeUntilDead(round: number, killAfterWrites: number): Promise<AcknowledgedWrite[]> {
  const call = callerOf(server.url);
  const acknowledged: AcknowledgedWrite[] = [];
  const reached = Promise.withResolvers<void>();
  let alive = true;
  const writer = async (lane: number) => {
    for (let i = 0; alive; i++) {
      const [name, key] = [`r${round}-w${lane}-${i % 40}`, `not-a-real-secret-${round}-${lane}-${i}`];
      try {
        const reply = await call('PUT', at('acme', name), { token, body: apiKey(key) });
        if (reply.status < 300) acknowledged.push({ name, key, request: reply.headers.get('x-request-id') as string });
        if (acknowledged.length === killAfterWrites) reached.resolve();
      } catch {
        return;
      }
    }
  };
  const writers = Array.from({ length: 16 }, (_, lane) => writer(lane));
  await reached.promise;
  await server.kill();
  alive = false;
  await Promise.all(writers);
  return acknowledged;
}

describe('killed with SIGKILL under writes', () => {
  it('has every acknowledged value and its event after the restart, in a log that verifies', async () => {
    let total = 0;
    for (const [round, killAfterWrites] of [30, 101, 250].entries()) {
      const acknowledged = await writeUntilDead(round, killAfterWrites);
      expect(acknowledged.length).toBeGreaterThanOrEqual(killAfterWrites);
      total += acknowledged.length;
      server = await deployment.start();
      const call = callerOf(server.url);
      const newest = new Map(acknowledged.map(({ name, key }) => [name, key]));
      for (const [name, key] of newest) {
        const { body } = await must(call('GET', `${at('acme', name)}/value`, { token }), 200);
        // A last write whose answer the kill cut off may have landed after the acknowledged one.
        const lane = /^not-a-real-secret-\d+-\d+-/.exec(key)?.[0] as string;
        const [kept, promised] = [body.value.key, key].map((text) => Number(String(text).replace(lane, '')));
        expect(kept, `${name}: ${body.value.key} where ${key} was acknowledged`).toBeGreaterThanOrEqual(promised as number);
      }
      const log = await verifyLog(call, owner, '/v1/tenants/acme');
      expect(log.findings).toEqual([]);
      expect(log.uncovered).toBe(0);
      const logged = new Map<string, number>();
      for (const line of log.text.split('\n').filter((text) => text.startsWith('{"action":"credential.put"'))) {
        const { request } = JSON.parse(line) as { request: string };
        logged.set(request, (logged.get(request) ?? 0) + 1);
      }
      expect(acknowledged.filter(({ request }) => logged.get(request) !== 1)).toEqual([]);
      expect((await verifyLog(call, owner, '/v1')).ok).toBe(true);
    }
    console.info(`workerd: ${total} acknowledged writes over 3 kills, all found`);
  }, 60_000);

  it('keeps its team, tenants and tokens, and does not set up again', async () => {
    await restart();
    const call = callerOf(server.url);
    expect((await call('POST', '/v1/setup', { token: TEST_BOOTSTRAP_SECRET, body: { name: 'eve' } })).status).toBe(401);
    const tenants = await must(call('GET', '/v1/tenants', { token: owner }), 200);
    expect(tenants.body.items.map((tenant: Json) => tenant.name)).toEqual(['acme']);
  });
});

describe('with nobody asking', () => {
  let sandbox: Sandbox | undefined;
  afterEach(async () => {
    await sandbox?.stop();
  });

  it('an alarm that was pending when the runtime was killed refreshes the grant after it is back', async () => {
    sandbox = await startSandbox({ accessTokenTtlSeconds: 600 });
    const { accessToken, refreshToken } = await sandbox.issueGrant();
    const body = grantBody(sandbox, accessToken, refreshToken, 4);
    await must(callerOf(server.url)('PUT', at('acme', 'waking'), { token, body }), 201);
    const before = sandbox.counters.tokenCalls;
    await restart();
    const { counters } = sandbox;
    expect(counters.tokenCalls).toBe(before);
    // Not one request reaches Keyturn while this waits.
    await eventually(() => (counters.tokenCalls > before ? true : undefined), 15_000);
    const call = callerOf(server.url);
    const value = await eventually(async () => {
      const read = await must(call('GET', `${at('acme', 'waking')}/value`, { token }), 200);
      return read.body.version === 2 ? read.body.value : undefined;
    });
    expect(value.access_token).not.toBe(accessToken);
    const runs = await must(call('GET', `${at('acme', 'waking')}/runs`, { token }), 200);
    expect(runs.body.items.map((run: Json) => [run.state, run.trigger])).toEqual([['succeeded', 'schedule']]);
    expect(counters.tokenCalls - before).toBe(1);
  }, 30_000);
});

describe('the root key', () => {
  const OTHER = rootKeyText(Uint8Array.from({ length: 32 }, (_, index) => index * 5 + 1)).trim();

  it.each([
    ['is missing', undefined, 501, 'not_initialised'],
    ['is damaged', 'keyturn-root-v1:not-a-real-secret:00000000', 503, 'sealed'],
    ['is another one', OTHER, 503, 'sealed'],
  ])('where it %s, everything is sealed and says so', async (_what, key, status, health) => {
    await restart({ KEYTURN_ROOT_KEY: key });
    const call = callerOf(server.url);
    const reply = await call('GET', '/health');
    expect({ status: reply.status, health: reply.body.status }).toEqual({ status, health });
    for (const ask of [call('GET', '/v1/tenants', { token: owner }), call('GET', at('acme'), { token }), call('GET', at('acme'))])
      expect((await ask).body).toMatchObject({ status: 423, code: 'sealed' });
    expect(server.output()).not.toContain(key ?? 'KEYTURN_ROOT_KEY');
  });

  it('opens everything again when it is back', async () => {
    await restart();
    const call = callerOf(server.url);
    expect((await call('GET', '/health')).status).toBe(200);
    await must(call('GET', at('acme'), { token }), 200);
    expect((await verifyLog(call, owner, '/v1/tenants/acme')).ok).toBe(true);
  });
});

describe('a tenant whose storage was taken away or put back', () => {
  it('is refused, not begun anew', async () => {
    const call = callerOf(server.url);
    await must(call('POST', '/v1/tenants', { token: owner, body: { name: 'globex' } }), 201);
    await must(call('PUT', at('globex', 'a'), { token: owner, body: apiKey() }), 201);
    // The head is witnessed by the home object within a second or so.
    await new Promise((resume) => setTimeout(resume, 2_500));
    await server.kill();
    const copy = deployment.copyNewestTenant();
    server = await deployment.start();
    await must(callerOf(server.url)('PUT', at('globex', 'b'), { token: owner, body: apiKey() }), 201);
    await new Promise((resume) => setTimeout(resume, 2_500));
    await server.kill();
    copy.putBack();
    server = await deployment.start();
    const rolledBack = await callerOf(server.url)('GET', at('globex'), { token: owner });
    expect({ status: rolledBack.status, code: rolledBack.body.code }).toEqual({ status: 423, code: 'rolled_back' });
    await server.kill();
    copy.remove();
    server = await deployment.start();
    const missing = await callerOf(server.url)('GET', at('globex'), { token: owner });
    expect({ status: missing.status, code: missing.body.code }).toEqual({ status: 423, code: 'rolled_back' });
    expect((await callerOf(server.url)('GET', at('acme'), { token })).status).toBe(200);
  }, 30_000);
});
