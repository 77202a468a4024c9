// Very many schedules that are due in one minute: bounded batches, calls within the provider's budget, and no rotation that begins twice.
import { describe, expect, it } from 'vitest';
import type { Egress, EgressRequest, KeyConnector } from '../../../rotation/connector.ts';
import { CredentialRuns } from '../../../rotation/credential-runs.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { setRule } from '../../../src/vault/manage-schedules.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { testTenant } from '../../kit/vaults.ts';

const PER_MINUTE = 60;
const COUNT = 200;

const connector = (id: string): KeyConnector => ({
  id,
  title: id,
  kind: 'key',
  key: {
    credential: 'api_key',
    strategy: 'overlap',
    admin: 'self',
    hosts: [`${id}.example`],
    rateBudget: { requests: PER_MINUTE, perSeconds: 60 },
    calls: {
      authentication: { by: 'headers', headers: { authorization: 'Bearer {admin.key}' } },
      mint: {
        method: 'POST',
        url: `https://${id}.example/keys`,
        json: { name: '{name}' },
        takes: { key: '/key', key_id: '/id' },
      },
      test: {
        method: 'GET',
        url: `https://${id}.example/me`,
        authentication: { by: 'headers', headers: { authorization: 'Bearer {value.key}' } },
        worksWhen: { at: '/ok' },
      },
      revoke: { method: 'DELETE', url: `https://${id}.example/keys/{value.key_id}` },
    },
  },
});

describe('very many schedules due in one minute', () => {
  it('call each provider no more often than its budget allows, a bounded batch at a time', async () => {
    const tenant = await testTenant({ demo: true });
    const { clock, sql } = tenant;
    const timers: { at: number; task: () => void }[] = [];
    const vault = tenant.reopenWith({ later: (ms, task) => void timers.push({ at: clock.now() + ms, task }) });
    /** Lets time pass to each timer until the work ends. */
    const through = async (work: Promise<unknown>): Promise<void> => {
      let ended = false;
      void work.finally(() => {
        ended = true;
      });
      while (!ended) {
        for (let turn = 0; turn < 5 && !ended; turn++) await new Promise((resolve) => setImmediate(resolve));
        const next = timers.toSorted((a, b) => a.at - b.at)[0];
        if (ended || next === undefined) continue;
        timers.splice(timers.indexOf(next), 1);
        clock.pass(Math.max(0, next.at - clock.now()));
        next.task();
      }
      await work;
    };
    const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
    const calls = new Map<string, number[]>();
    let made = 0;
    const egress: Egress = {
      send: async (request: EgressRequest) => {
        const { host } = new URL(request.url);
        calls.set(host, [...(calls.get(host) ?? []), clock.now()]);
        const body = request.method === 'POST' ? { key: `made-up-${++made}`, id: `id-${made}` } : { ok: true };
        return {
          status: 200,
          headers: { 'content-type': 'application/json' },
          body: SecretValue.fromText(JSON.stringify(body)),
          sentAtMs: clock.now(),
        };
      },
    };
    const ids = ['one', 'two'];
    const runs = new CredentialRuns({
      vault,
      egress,
      connectors: new Map(ids.map((id) => [id, connector(id)])),
      owner: 'me',
      sandboxAllowed: true,
      every: (_ms, beat) => {
        queueMicrotask(beat);
        return () => {};
      },
    });
    runs.attachTo(vault);
    for (let i = 0; i < COUNT; i++)
      await vault.submit((job) =>
        putCredential(job, admin(), {
          environment: 'staging',
          name: `key-${i}`,
          kind: 'api_key',
          value: { key: 'first', key_id: 'first' },
          connector: ids[i % 2],
          config: { grace_seconds: 86_400 * 30 },
          labels: undefined,
          description: undefined,
          expiresAtMs: undefined,
          precondition: {},
        }),
      );
    const spec = { cron: '0 3 1 * *' };
    const rule = { name: 'all', environment: undefined, connector: undefined, label: undefined, priority: 0, spec };
    await vault.submit((job) => setRule(job, admin(), rule));
    // A change of a rule is planned in batches.
    for (let planned = 0; planned < COUNT; planned += LIMITS.planBatchRows) await through(runs.runDueWork());
    const due = sql.all<{ at: number }>('SELECT DISTINCT rotation_due_at AS at FROM credential');
    expect(due).toHaveLength(1);
    clock.pass((due[0]?.at ?? 0) - clock.now());
    const opened: number[] = [];
    const began = clock.now();
    for (let second = 0; second < 60 * 60; second++) {
      await through(runs.runDueWork());
      const done = Number(sql.get("SELECT count(*) AS n FROM run WHERE kind = 'rotation' AND state = 'succeeded'")?.['n']);
      opened.push(done);
      if (done === COUNT) break;
      clock.pass(1_000);
    }
    expect(opened.at(-1)).toBe(COUNT);
    expect(sql.get("SELECT count(*) AS n FROM run WHERE kind = 'rotation'")?.['n']).toBe(COUNT);
    for (const id of ids) {
      const at = calls.get(`${id}.example`) ?? [];
      const minutes = Map.groupBy(at, (one) => Math.floor((one - began) / 60_000));
      const most = Math.max(...[...minutes.values()].map((one) => one.length));
      expect(most, id).toBeLessThanOrEqual(PER_MINUTE);
      expect(at.length).toBeGreaterThanOrEqual(COUNT);
    }
    expect(LIMITS.dueWorkBatchRows).toBeLessThan(1_000);
    vault.close();
  }, 120_000);
});
