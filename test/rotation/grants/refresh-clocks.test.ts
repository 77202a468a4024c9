import { afterEach, describe, expect, it, vi } from 'vitest';
import { LIMITS } from '../../../src/base/limits.ts';
import { grantOf } from '../../../src/vault/grant.ts';
import { changeRows } from '../../kit/anchored.ts';
import { type RefreshBench, refreshBench } from '../../kit/refresh-bench.ts';

const TTL_MS = 600_000;
const DAY_MS = 86_400_000;
let bench: RefreshBench;
afterEach(async () => {
  await bench.stop();
});

async function connected(names = ['crm']): Promise<RefreshBench> {
  bench = await refreshBench();
  await bench.engine.runDueWork();
  for (const name of names) await bench.connect(name);
  return bench;
}

describe('a clock that jumps', () => {
  it('a day back: what was stored by the clock before is refreshed once, not served as fresh for a day', async () => {
    const { tenant, engine, sandbox, read, row } = await connected(['crm', 'erp']);
    await engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(0);
    tenant.clock.pass(-DAY_MS);
    await engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(2);
    for (let i = 0; i < 3; i++) await engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(2);
    expect(Date.parse((await read('crm')).expires_at ?? '')).toBe(tenant.clock.now() + TTL_MS);
    expect(row('erp')).toMatchObject({ current_version: 2, health: 'ready' });
  });

  it('a day forward: nothing dies, each grant is refreshed once', async () => {
    const { tenant, engine, sandbox, row } = await connected(['crm', 'erp']);
    tenant.clock.pass(DAY_MS);
    for (let i = 0; i < 3; i++) await engine.runDueWork();
    expect(sandbox.counters).toMatchObject({ tokenCalls: 2, refusals: 0 });
    expect(row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
  });

  it('back: a lease and a wait longer than any that is ever taken hold nobody up', async () => {
    const { tenant, engine, sandbox, row } = await connected();
    tenant.clock.pass(TTL_MS + 1);
    sandbox.nextToken({ kind: 'answer', status: 503 });
    await engine.runDueWork();
    await tenant.vault.submit((job) =>
      changeRows(job.core.rows, 'run', 'next_attempt_at IS NOT NULL', (row) => ({
        next_attempt_at: Number(row['next_attempt_at']) + 2 * DAY_MS,
      })),
    );
    await engine.runDueWork();
    expect(row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
    tenant.clock.pass(TTL_MS + 1);
    sandbox.nextToken({ kind: 'answer', status: 503 });
    await engine.runDueWork();
    const lease = tenant.clock.now() + LIMITS.leaseMs + 1;
    await tenant.vault.submit((job) =>
      changeRows(job.core.rows, 'run', "state = 'open'", () => ({
        lease_owner: 'gone',
        lease_until: lease,
        next_attempt_at: 0,
      })),
    );
    await engine.runDueWork();
    expect(row('crm')).toMatchObject({ current_version: 3, health: 'ready' });
  });
});

describe('a lease that lapsed before anything left', () => {
  it('is taken anew: the request is withdrawn, the next one is the only one the provider sees', async () => {
    const { tenant, engine, sandbox, journal, row, runs } = await connected();
    tenant.clock.pass(TTL_MS + 1);
    let stops = 1;
    const send = engine.ports.egress.send;
    vi.spyOn(engine.ports.egress, 'send').mockImplementation((request) => {
      // As if the process had been stopped between its intent and its request.
      if (stops-- > 0) tenant.clock.pass(LIMITS.leaseMs + 1);
      return send(request);
    });
    await engine.runDueWork();
    expect(journal('crm')).toEqual([
      'queued:schedule',
      'intent:first',
      'withdrawn:lease_lapsed',
      'intent:first',
      'stored:refreshed',
    ]);
    expect(sandbox.counters).toMatchObject({ tokenCalls: 1, refusals: 0 });
    expect(runs('crm')).toMatchObject([{ state: 'succeeded', attempts: 1, lost_answers: 0 }]);
    expect(row('crm').health).toBe('ready');
  });

  it('leaves the generation to whoever took over', async () => {
    const { tenant, engine, sandbox, row } = await connected();
    tenant.clock.pass(TTL_MS + 1);
    const send = engine.ports.egress.send;
    let takesOver = true;
    vi.spyOn(engine.ports.egress, 'send').mockImplementation(async (request) => {
      if (takesOver) {
        takesOver = false;
        tenant.clock.pass(LIMITS.leaseMs + 1);
        await bench.anotherEngine('second').runDueWork();
      }
      return send(request);
    });
    await engine.runDueWork();
    expect(sandbox.counters).toMatchObject({ tokenCalls: 1, refusals: 0 });
    expect(row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
  });
});

describe('a refresh that the provider’s gate holds back', () => {
  it('books no attempt and no event, and goes when the gate opens', async () => {
    const { tenant, engine, sandbox, refused, read, runs } = await connected(['crm', 'erp']);
    tenant.clock.pass(TTL_MS + 1);
    sandbox.nextToken({ kind: 'answer', status: 429, headers: { 'retry-after': '60' } });
    await refused('crm');
    const events = () => tenant.sql.get<{ count: number }>('SELECT count(*) AS count FROM run_step')?.count;
    const before = events();
    for (let i = 0; i < 5; i++) {
      tenant.clock.pass(10_000);
      await engine.runDueWork();
      expect(await refused('erp')).toMatchObject({ code: 'provider_unavailable' });
    }
    expect(sandbox.counters.tokenCalls).toBe(1);
    expect(events()).toBe(before);
    expect(runs('erp')).toEqual([]);
    tenant.clock.pass(10_001);
    expect((await read('erp')).version).toBe(2);
  });

  it('does not hold up another provider whose grants are due behind it', async () => {
    const { tenant, engine, sandbox, row } = await connected(['a1', 'a2', 'a3']);
    const other = await refreshBench();
    try {
      await bench.connect('b', { token_endpoint: other.sandbox.tokenEndpoint, client_id: other.sandbox.clientId });
      tenant.clock.pass(TTL_MS + 1);
      sandbox.nextToken({ kind: 'answer', status: 429, headers: { 'retry-after': '60' } });
      await engine.runDueWork();
      expect(other.sandbox.counters.tokenCalls).toBe(1);
      expect(row('a1').current_version).toBe(1);
    } finally {
      await other.stop();
    }
  });
});

describe('what a refresh teaches', () => {
  it('when the provider honoured the grant last, what it may do, and a fingerprint that is not the token', async () => {
    const { tenant, engine, row, sandbox } = await connected();
    tenant.clock.pass(TTL_MS + 1);
    await engine.runDueWork();
    const facts = grantOf(row('crm') as never);
    expect(facts).toMatchObject({ refreshedAt: tenant.clock.now(), grantedScope: 'openid email', scopeSource: 'answer' });
    expect(facts.fingerprint).toMatch(/^[A-Za-z0-9_-]{22}$/);
    const first = facts.fingerprint;
    tenant.clock.pass(TTL_MS + 1);
    await engine.runDueWork();
    expect(sandbox.counters.refreshes).toBe(2);
    expect(grantOf(row('crm') as never).fingerprint).not.toBe(first);
  });

  it('nothing where it is refreshed on reads: then it is due only often enough to stay alive', async () => {
    bench = await refreshBench();
    await bench.connect('crm', { refresh: 'on_read', idle_limit_days: 10 });
    const { tenant, engine, sandbox, read, row } = bench;
    tenant.clock.pass(TTL_MS + 1);
    await engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(0);
    expect((await read('crm')).version).toBe(2);
    const days = (row('crm').refresh_due_at - tenant.clock.now()) / DAY_MS;
    expect(days).toBeGreaterThan(10 * LIMITS.keepAliveFraction * 0.89);
    expect(days).toBeLessThanOrEqual(10 * LIMITS.keepAliveFraction);
    tenant.clock.atMs = row('crm').refresh_due_at;
    await engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(2);
  });
});

describe('a request while a failed refresh waits', () => {
  it('tries at once, whatever the provider asked for, in the same run', async () => {
    const { tenant, sandbox, rotate, row, runs } = await connected();
    const idle = () => vi.waitFor(() => expect(bench.engine.idle).toBe(true));
    sandbox.alwaysToken({ kind: 'answer', status: 503, headers: { 'retry-after': '600' } });
    await rotate('crm');
    await idle();
    tenant.clock.pass(1_000);
    await rotate('crm');
    await idle();
    expect(sandbox.counters.tokenCalls).toBe(2);
    expect(runs('crm')).toHaveLength(1);
    tenant.clock.pass(1_000);
    sandbox.alwaysToken({ kind: 'normal' });
    await rotate('crm');
    await idle();
    expect(row('crm').current_version).toBe(2);
    expect(runs('crm')).toMatchObject([{ state: 'succeeded', attempts: 3 }]);
  });
});
