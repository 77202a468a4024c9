// D11: the process dies at a named point, is started again, and the invariant of that point holds.
import { afterAll, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import {
  apiKey,
  type ChildService,
  CREDENTIALS,
  clientOf,
  eventually,
  furnish,
  newDirectory,
  type Place,
  setUpOwner,
  startChild,
  stopAll,
  tenantPath,
  verifyLog,
  withDatabase,
  workloadToken,
} from '../kit/node-process.ts';

afterAll(stopAll);

/** Killed by its fault point, not by anything else. */
async function diesOf(service: ChildService): Promise<void> {
  expect(await service.exited).toEqual({ code: null, signal: 'SIGKILL' });
}

async function furnished(): Promise<{ directory: string; place: Place }> {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  await service.stop();
  return { directory, place };
}

describe('a crash around the commit', () => {
  it.each(['cell.before-commit', 'cell.after-commit'] as const)(
    'at %s never leaves a change without its event, nor the reverse',
    async (point) => {
      const { directory, place } = await furnished();
      const first = await startChild(directory);
      const write = clientOf(first.url, place.workload);
      await write('PUT', `${CREDENTIALS}/a`, apiKey('one-not-a-real-secret'));
      await first.stop();
      // The home cell commits at start, too: the third visit and later are the tenant's.
      const second = await startChild(directory, { fault: `${point}:kill:4` });
      const put = clientOf(second.url, place.workload);
      let acknowledged = 1;
      for (let i = 0; i < 5; i++) {
        const answer = await put('PUT', `${CREDENTIALS}/a`, apiKey(`${i}-not-a-real-secret`)).catch(() => undefined);
        if (answer === undefined) break;
        acknowledged = answer.body.version;
      }
      await diesOf(second);
      const third = await startChild(directory);
      const owner = clientOf(third.url, place.owner);
      const versions = (await owner('GET', `${CREDENTIALS}/a`)).body.version;
      expect([acknowledged, acknowledged + 1]).toContain(versions);
      const log = await verifyLog(owner, '/v1/tenants/acme');
      expect(log.findings).toEqual([]);
      expect(log.lines.filter((line) => line.startsWith('{"action":"credential.put"')).length).toBe(versions);
      await third.stop();
    },
  );

  it('at witness.before-write leaves a log that verifies and a service that starts', async () => {
    const { directory, place } = await furnished();
    const second = await startChild(directory, { fault: 'witness.before-write' });
    await clientOf(second.url, place.workload)('PUT', `${CREDENTIALS}/a`, apiKey('one-not-a-real-secret')).catch(() => undefined);
    await diesOf(second);
    const third = await startChild(directory);
    const log = await verifyLog(clientOf(third.url, place.owner), '/v1/tenants/acme');
    expect(log.findings).toEqual([]);
    await third.stop();
  });

  it('a witness that cannot be written delays no answer', async () => {
    const { directory, place } = await furnished();
    const service = await startChild(directory, { fault: 'witness.before-write:error' });
    const put = clientOf(service.url, place.workload);
    for (let i = 0; i < 3; i++)
      expect((await put('PUT', `${CREDENTIALS}/a`, apiKey(`${i}-not-a-real-secret`))).status).toBeLessThan(300);
    await service.stop();
  });
});

describe('a tenant half made', () => {
  it.each(['tenant.after-row', 'tenant.after-cell'] as const)('by a crash at %s is finished at the next start', async (point) => {
    const directory = newDirectory();
    const first = await startChild(directory, { fault: point });
    const owner = await setUpOwner(first.url, directory);
    const body = { name: 'acme', environments: ['dev', 'live'] };
    await expect(clientOf(first.url, owner)('POST', '/v1/tenants', body, { 'idempotency-key': 'made-once' })).rejects.toThrow();
    await diesOf(first);
    const second = await startChild(directory);
    const admin = clientOf(second.url, owner);
    const again = await admin('POST', '/v1/tenants', body, { 'idempotency-key': 'made-once' });
    expect(again.status).toBe(201);
    const environments = await admin('GET', '/v1/tenants/acme/environments');
    expect(environments.body.items.map((item: { name: string }) => item.name)).toEqual(['dev', 'live']);
    const token = await workloadToken(admin, 'acme', { environment: 'dev' });
    const base = '/v1/tenants/acme/environments/dev/credentials';
    expect((await clientOf(second.url, token)('PUT', `${base}/a`, apiKey('one-not-a-real-secret'))).status).toBe(201);
    expect((await verifyLog(admin, '/v1/tenants/acme')).ok).toBe(true);
    expect((await verifyLog(admin, '/v1')).ok).toBe(true);
    await second.stop();
  });
});

describe('a rotation of the tenant’s keys', () => {
  const NAMES = 450;

  it.each(['keys.after-new-version', 'keys.mid-rewrap', 'keys.mid-rewrap:kill:3', 'keys.mid-rewrap:kill:6'])(
    'that dies at %s is resumed, and every value opens at every time (CR-13)',
    { timeout: 60_000 },
    async (fault) => {
      const directory = newDirectory();
      const first = await startChild(directory, { fault });
      const place = await furnish(first.url, directory);
      const put = clientOf(first.url, place.workload);
      const keyOf = (i: number) => `${i}-not-a-real-secret`;
      for (let i = 0; i < NAMES; i += 50) {
        await Promise.all(Array.from({ length: 50 }, (_, j) => put('PUT', `${CREDENTIALS}/c${i + j}`, apiKey(keyOf(i + j)))));
      }
      await clientOf(first.url, place.owner)('POST', '/v1/tenants/acme/keys/rotations', {}).catch(() => undefined);
      await diesOf(first);

      const second = await startChild(directory);
      const [owner, reader] = [clientOf(second.url, place.owner), clientOf(second.url, place.workload)];
      const allOpen = async () => {
        for (let i = 0; i < NAMES; i += 50) {
          const answers = await Promise.all(
            Array.from({ length: 50 }, (_, j) => reader('GET', `${CREDENTIALS}/c${i + j}/value`)),
          );
          expect(answers.map(({ body }) => body?.value?.key)).toEqual(Array.from({ length: 50 }, (_, j) => keyOf(i + j)));
        }
      };
      await allOpen();
      if (fault === 'keys.after-new-version') {
        const keys = await owner('GET', '/v1/tenants/acme/keys');
        expect(keys.body.keys.every((key: { version: number }) => key.version === 1)).toBe(true);
        expect((await owner('POST', '/v1/tenants/acme/keys/rotations', {})).status).toBe(202);
      }
      await eventually(async () => {
        const { body } = await owner('GET', '/v1/tenants/acme/keys');
        return (
          body.rotations.length === 6 && body.rotations.every((each: { finished_at: string | null }) => each.finished_at !== null)
        );
      }, 20_000);
      await allOpen();
      await second.stop();
      withDatabase(tenantPath(directory, place.tenantId), (database) => {
        const stale = database
          .prepare(
            "SELECT count(*) AS n FROM credential_version JOIN tenant_key USING (key_id) WHERE tenant_key.state <> 'active'",
          )
          .get();
        expect(stale).toEqual({ n: 0 });
        const old = database
          .prepare(
            "SELECT count(*) AS n FROM credential WHERE mac_key_id IN (SELECT key_id FROM tenant_key WHERE state <> 'active')",
          )
          .get();
        expect(old).toEqual({ n: 0 });
      });

      // The delay is over: the next start destroys them.
      const aheadMs = LIMITS.keyDestroyDelayMs + 60_000;
      const third = await startChild(directory, { fault: 'keys.before-destroy:kill:2', aheadMs });
      await diesOf(third);
      const fourth = await startChild(directory, { aheadMs });
      const last = clientOf(fourth.url, place.owner);
      const states = await eventually(async () => {
        const { body } = await last('GET', '/v1/tenants/acme/keys');
        const old = body.keys.filter(
          (key: { version: number; purpose: string }) => key.version === 1 && key.purpose !== 'audit_sign',
        );
        return old.every((key: { state: string }) => key.state === 'destroyed') ? old.length : undefined;
      }, 20_000);
      expect(states).toBe(6);
      const read = clientOf(fourth.url, await workloadToken(last, 'acme', { name: 'after' }));
      expect((await read('GET', `${CREDENTIALS}/c7/value`)).body.value.key).toBe(keyOf(7));
      expect((await verifyLog(last, '/v1/tenants/acme')).findings).toEqual([]);
      await fourth.stop();
    },
  );
});
