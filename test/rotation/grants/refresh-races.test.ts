import { afterEach, describe, expect, it, vi } from 'vitest';
import { LIMITS } from '../../../src/base/limits.ts';
import { changeHealth } from '../../../src/vault/grant-health.ts';
import { changeRows } from '../../kit/anchored.ts';
import { type RefreshBench, refreshBench } from '../../kit/refresh-bench.ts';
import { changing } from '../../kit/vaults.ts';

const TTL_MS = 600_000;
let bench: RefreshBench;
afterEach(async () => {
  await bench.stop();
});

async function released(gate: { release(): void }, work: Promise<unknown>): Promise<void> {
  gate.release();
  await work;
}

/** What another owner of the lease was told of the same generation. */
async function calledDead({ vault }: RefreshBench['tenant'], id: string): Promise<void> {
  await vault.submit((job) =>
    changing(job, (access) => {
      const draft = { ...job.credentials.byId(access, id) };
      changeHealth({ job, access, draft, environment: { name: 'staging' } }, 'needs_consent', 'invalid_grant');
      job.credentials.save(access, draft);
    }),
  );
}

/** A refresh whose answer has come from the provider and is held just before it is booked. */
async function inFlight() {
  bench = await refreshBench();
  await bench.connect('crm');
  const gate = bench.hold();
  bench.tenant.clock.atMs = bench.tenant.vault.nextDueAt() ?? 0;
  const work = bench.engine.runDueWork();
  await vi.waitFor(() => expect(gate.waiting()).toBe(1));
  return { ...bench, land: () => released(gate, work) };
}

describe('what happens to a credential while its refresh is under way', () => {
  it('a put wins: the refresh stores nothing and its run is cancelled', async () => {
    const { land, read, runs, row } = await inFlight();
    const grant = await bench.connect('crm');
    await land();
    expect((await read('crm')).value.access_token).toBe(grant.accessToken);
    expect(row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
    expect(runs('crm')[0]).toMatchObject({ state: 'cancelled', outcome: 'superseded', new_version: null });
  });

  it('a deletion wins: it stays deleted, and a restore finds the grant alive at the provider', async () => {
    const { land, read, refused, row, runs, sandbox } = await inFlight();
    await bench.remove('crm');
    await land();
    expect(row('crm')).toMatchObject({ state: 'deleted', refresh_due_at: null });
    expect(await refused('crm')).toMatchObject({ code: 'gone' });
    expect(runs('crm')[0]?.state).toBe('cancelled');
    await bench.engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(1);
    await bench.restore('crm');
    bench.tenant.clock.pass(TTL_MS + 1);
    expect((await read('crm')).version).toBe(3);
    expect(sandbox.counters).toEqual({ tokenCalls: 2, refreshes: 2, refusals: 0 });
  });

  it('a new credential of the same name never receives the old one’s tokens', async () => {
    const { land, read, tenant } = await inFlight();
    await bench.destroy('crm');
    const grant = await bench.connect('crm');
    await land();
    const served = await read('crm');
    expect(served.version).toBe(1);
    expect(served.value.access_token).toBe(grant.accessToken);
    expect(tenant.sql.all('SELECT version FROM credential_version')).toHaveLength(1);
  });

  it('the lease is prolonged while the provider thinks, so nobody else takes over', async () => {
    const { land, tenant, anotherEngine, sandbox, row } = await inFlight();
    for (let i = 0; i < 5; i++) {
      tenant.clock.pass(LIMITS.leaseHeartbeatMs * 2);
      const until = tenant.clock.now() + LIMITS.leaseMs;
      await vi.waitFor(() => expect(tenant.sql.get('SELECT lease_until AS until FROM run')).toEqual({ until }));
      await anotherEngine('second').runDueWork();
    }
    expect(sandbox.counters.tokenCalls).toBe(1);
    await land();
    expect(row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
  });

  it('its engine stops: the stop waits for the answer, stores it, and begins nothing new', async () => {
    const { land, engine, row, tenant, sandbox } = await inFlight();
    let stopped = false;
    const stop = engine.stop().then(() => {
      stopped = true;
    });
    await new Promise((resume) => setTimeout(resume, 50));
    expect(stopped).toBe(false);
    await Promise.all([land(), stop]);
    expect(row('crm').current_version).toBe(2);
    tenant.clock.pass(TTL_MS + 1);
    await engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(1);
  });
});

describe('due work', () => {
  it('destroys a deleted credential when its recovery window has ended', async () => {
    bench = await refreshBench();
    await bench.connect('crm');
    await bench.remove('crm');
    bench.tenant.clock.pass(LIMITS.recoveryWindowDefaultMs + 1);
    expect(await bench.engine.runDueWork()).toMatchObject({ destroyed: 1 });
    expect(bench.tenant.sql.all('SELECT version FROM credential_version')).toHaveLength(0);
  });

  it('refreshes the other grants although one row is damaged, and reports the damage', async () => {
    bench = await refreshBench();
    await bench.connect('crm');
    await bench.connect('erp');
    await bench.connect('old');
    await bench.remove('old');
    const { tenant, engine, row } = bench;
    tenant.clock.pass(TTL_MS - 1_000);
    tenant.sql.run("UPDATE credential SET health = 'degraded' WHERE name = 'erp'");
    tenant.sql.run("UPDATE credential SET destroy_after_at = 1 WHERE name = 'old'");
    await expect(engine.runDueWork()).rejects.toMatchObject({ code: 'integrity' });
    expect(row('crm').current_version).toBe(2);
    expect(row('erp').current_version).toBe(1);
    expect(bench.sandbox.counters.tokenCalls).toBe(1);
  });
});

describe('an engine that was stopped in its tracks (RO-11)', () => {
  async function takenOver() {
    bench = await refreshBench();
    await bench.connect('crm');
    const { tenant, sandbox } = bench;
    const gate = bench.hold();
    tenant.clock.atMs = tenant.vault.nextDueAt() ?? 0;
    const sleeper = bench.engine.runDueWork();
    await vi.waitFor(() => expect(gate.waiting()).toBe(1));
    // Its heartbeats stop with it: the lease is as old as its last one.
    await tenant.vault.submit((job) =>
      changeRows(job.core.rows, 'run', '1', (row) => ({
        lease_until: 0,
        next_attempt_at: 0,
        fence: Number(row['fence']) + 1,
        lease_owner: 'second',
      })),
    );
    return { ...bench, sandbox, wake: () => released(gate, sleeper) };
  }

  it('still stores the pair nobody else has when it wakes', async () => {
    const { wake, row, read } = await takenOver();
    await wake();
    expect(row('crm')).toMatchObject({ current_version: 2, health: 'ready' });
    expect((await read('crm')).version).toBe(2);
  });

  it('proves at once a pair that came after the grant was called dead', async () => {
    const { wake, row, sandbox, tenant } = await takenOver();
    await tenant.vault.submit((job) =>
      changeRows(job.core.rows, 'run', '1', () => ({ state: 'failed', step: 'failed', lease_owner: '' })),
    );
    await calledDead(tenant, row('crm').id);
    await wake();
    expect(row('crm')).toMatchObject({ current_version: 2, health: 'ready', refresh_due_at: tenant.clock.now() });
    await bench.engine.runDueWork();
    expect(row('crm')).toMatchObject({ current_version: 3, health: 'ready' });
    expect(row('crm').refresh_due_at).toBeGreaterThan(tenant.clock.now());
    expect(sandbox.counters.tokenCalls).toBe(2);
  });

  it('may not declare the grant dead that another took over meanwhile', async () => {
    bench = await refreshBench();
    const { refreshToken } = await bench.connect('crm');
    await bench.sandbox.revokeGrant(refreshToken);
    const gate = bench.hold();
    bench.tenant.clock.atMs = bench.tenant.vault.nextDueAt() ?? 0;
    const sleeper = bench.engine.runDueWork();
    await vi.waitFor(() => expect(gate.waiting()).toBe(1));
    const grant = await bench.connect('crm');
    gate.release();
    await sleeper;
    expect(bench.row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
    expect((await bench.read('crm')).value.access_token).toBe(grant.accessToken);
  });
});
