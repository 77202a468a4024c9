import { afterEach, describe, expect, it, vi } from 'vitest';
import { LIMITS } from '../../../src/base/limits.ts';
import { type RefreshBench, refreshBench } from '../../kit/refresh-bench.ts';

const TTL_MS = 600_000;
let bench: RefreshBench;
afterEach(async () => {
  await bench.stop();
});

async function connected(): Promise<RefreshBench> {
  bench = await refreshBench();
  await bench.connect('crm');
  return bench;
}

describe('a refresh', () => {
  it('happens by schedule, well ahead of the expiry, without anybody reading', async () => {
    const { tenant, engine, sandbox, read, row } = await connected();
    const before = await read('crm');
    const dueAt = tenant.vault.nextDueAt() ?? Number.NaN;
    expect(dueAt).toBeGreaterThan(tenant.clock.now());
    expect(dueAt).toBeLessThanOrEqual(tenant.clock.now() + TTL_MS - TTL_MS * LIMITS.refreshMarginFraction);
    await engine.runDueWork();
    expect(sandbox.counters.tokenCalls).toBe(0);
    tenant.clock.atMs = dueAt;
    await engine.runDueWork();
    const after = await read('crm');
    expect(sandbox.counters).toMatchObject({ tokenCalls: 1, refreshes: 1 });
    expect(after.version).toBe(2);
    expect(after.value.access_token).not.toBe(before.value.access_token);
    expect(Date.parse(after.expires_at ?? '')).toBe(dueAt + TTL_MS);
    expect(row('crm').health).toBe('ready');
    expect(tenant.vault.nextDueAt()).toBeGreaterThan(dueAt);
  });

  it('is journalled before and after: queued, the intent, then stored', async () => {
    const { tenant, engine, journal, runs } = await connected();
    tenant.clock.atMs = tenant.vault.nextDueAt() ?? 0;
    await engine.runDueWork();
    expect(journal('crm')).toEqual(['queued:schedule', 'intent:first', 'stored:refreshed']);
    expect(runs('crm')).toMatchObject([{ state: 'succeeded', trigger: 'schedule', generation: 1, new_version: 2, attempts: 1 }]);
  });

  it('is one call for fifty readers of a stale token, and all of them get the new one', async () => {
    const { tenant, sandbox, read } = await connected();
    tenant.clock.pass(TTL_MS + 1);
    const served = await Promise.all(Array.from({ length: 50 }, () => read('crm')));
    expect(sandbox.counters.tokenCalls).toBe(1);
    expect(new Set(served.map(({ value }) => value.access_token)).size).toBe(1);
    expect(served.every(({ version }) => version === 2)).toBe(true);
  });

  it('is one call when schedule, a click and a reader want it at once, and one run', async () => {
    const { tenant, engine, sandbox, read, rotate, runs } = await connected();
    tenant.clock.pass(TTL_MS + 1);
    const [, served] = await Promise.all([engine.runDueWork(), read('crm'), rotate('crm'), read('crm')]);
    await vi.waitFor(() => expect(engine.idle).toBe(true));
    expect(sandbox.counters.tokenCalls).toBe(1);
    expect(served.version).toBe(2);
    expect(runs('crm').map(({ state }) => state)).toEqual(['succeeded']);
  });

  it('is one call for sixteen engines on one database (RO-03)', async () => {
    const { tenant, sandbox, anotherEngine, row, read } = await connected();
    tenant.clock.pass(TTL_MS + 1);
    const engines = Array.from({ length: 16 }, (_, i) => anotherEngine(`process-${i}`));
    await Promise.all(engines.map((each) => each.runDueWork()));
    expect(sandbox.counters).toMatchObject({ tokenCalls: 1, refusals: 0 });
    expect(row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
    expect((await read('crm')).version).toBe(2);
  });

  it('does not hold up a reader whose token is still good', async () => {
    const { tenant, engine, read, hold } = await connected();
    const { release, waiting } = hold();
    tenant.clock.atMs = tenant.vault.nextDueAt() ?? 0;
    const work = engine.runDueWork();
    await vi.waitFor(() => expect(waiting()).toBe(1));
    expect((await read('crm')).version).toBe(1);
    release();
    await work;
    expect((await read('crm')).version).toBe(2);
  });

  it('by a click replaces a token that is still good', async () => {
    const { engine, read, rotate, runs } = await connected();
    await rotate('crm');
    await vi.waitFor(() => expect(engine.idle).toBe(true));
    expect((await read('crm')).version).toBe(2);
    expect(runs('crm')).toMatchObject([{ kind: 'rotation', trigger: 'request', state: 'succeeded' }]);
  });

  it('repeats for as long as the grant lives: ten lifetimes, ten calls, nothing burnt', async () => {
    const { tenant, sandbox, read } = await connected();
    for (let turn = 0; turn < 10; turn++) {
      tenant.clock.pass(TTL_MS + 1);
      await read('crm');
    }
    expect(sandbox.counters).toEqual({ tokenCalls: 10, refreshes: 10, refusals: 0 });
    expect((await read('crm')).version).toBe(11);
  });

  it('keeps the refresh token and the client secret from every answer, and from the log', async () => {
    const { tenant, sandbox, read, answers } = await connected();
    const grant = await bench.connect('erp');
    tenant.clock.pass(TTL_MS + 1);
    await read('erp');
    await read('crm');
    const log = tenant.sql
      .all<{ bytes: Uint8Array }>('SELECT bytes FROM audit_block')
      .map(({ bytes }) => Buffer.from(bytes).toString());
    for (const text of [...answers, ...log]) {
      for (const secret of [grant.refreshToken, sandbox.clientSecret]) expect(text.includes(secret)).toBe(false);
      expect(text).not.toMatch(/refresh_token|client_secret/);
    }
    expect(answers.length).toBe(2);
  });
});
