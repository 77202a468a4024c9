import { afterEach, describe, expect, it, vi } from 'vitest';
import { KeyturnError } from '../../../src/base/errors.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { type RefreshBench, refreshBench } from '../../kit/refresh-bench.ts';

const TTL_MS = 600_000;
/** An object that begins and does not end: the answer was cut on its way. */
const CUT = '{"access_token": "cut';
let bench: RefreshBench;
afterEach(async () => {
  await bench.stop();
});

async function stale(config: Parameters<RefreshBench['connect']>[1] = {}): Promise<RefreshBench & { refreshToken: string }> {
  bench = await refreshBench();
  const { refreshToken } = await bench.connect('crm', config);
  bench.tenant.clock.pass(TTL_MS + 1);
  return { ...bench, refreshToken };
}

/** Lets the clock jump from one due instant to the next, so many times. */
async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) {
    const { clock, vault } = bench.tenant;
    clock.atMs = Math.max(clock.atMs, vault.nextDueAt() ?? clock.atMs);
    await bench.engine.runDueWork();
  }
}

describe('a provider that fails', () => {
  it('with 500 is asked again later and later, the credential is degraded, then ready again', async () => {
    const { tenant, sandbox, refused, read, row, runs } = await stale();
    sandbox.alwaysToken({ kind: 'answer', status: 500 });
    expect(await refused('crm')).toMatchObject({
      code: 'provider_unavailable',
      retryAfterSeconds: 4,
      message: expect.stringContaining('the last refresh failed (http_5xx)'),
    });
    expect(row('crm')).toMatchObject({ health: 'degraded', health_cause: 'http_5xx' });
    const waits: number[] = [];
    for (let turn = 0; turn < 6; turn++) {
      waits.push((tenant.vault.nextDueAt() ?? 0) - tenant.clock.now());
      await turns(1);
    }
    expect(sandbox.counters.tokenCalls).toBe(7);
    for (let i = 1; i < waits.length; i++) expect(waits[i]).toBeGreaterThan(waits[i - 1] ?? 0);
    sandbox.alwaysToken({ kind: 'normal' });
    await turns(1);
    expect(row('crm')).toMatchObject({ health: 'ready', health_cause: null, current_version: 2 });
    expect((await read('crm')).version).toBe(2);
    expect(runs('crm')).toMatchObject([{ state: 'succeeded', attempts: 8 }]);
  });

  it('for a whole day costs no grant and at most a call an hour once the waits have grown', async () => {
    const { tenant, sandbox, row, runs } = await stale();
    sandbox.alwaysToken({ kind: 'answer', status: 503 });
    await bench.refused('crm');
    const end = tenant.clock.now() + 86_400_000;
    while (tenant.clock.now() < end) await turns(1);
    expect(sandbox.counters.tokenCalls).toBeLessThan(50);
    expect(row('crm')).toMatchObject({ health: 'degraded' });
    expect(runs('crm')).toMatchObject([{ state: 'open' }]);
    sandbox.alwaysToken({ kind: 'normal' });
    await turns(1);
    expect(row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
  });

  it('with 429 is left alone as long as it asked, however many readers come', async () => {
    const { tenant, sandbox, refused, read } = await stale();
    sandbox.nextToken({ kind: 'answer', status: 429, headers: { 'retry-after': '120' } });
    await Promise.all(Array.from({ length: 20 }, () => refused('crm')));
    for (let i = 0; i < 20; i++) {
      tenant.clock.pass(5_900);
      await refused('crm');
      await bench.engine.runDueWork();
    }
    expect(sandbox.counters.tokenCalls).toBe(1);
    tenant.clock.pass(2_001);
    expect((await read('crm')).version).toBe(2);
    expect(sandbox.counters.tokenCalls).toBe(2);
  });

  it('shows no degraded health while the served token is still good and it failed once', async () => {
    bench = await refreshBench();
    await bench.connect('crm');
    bench.sandbox.nextToken({ kind: 'answer', status: 500 });
    bench.tenant.clock.atMs = bench.tenant.vault.nextDueAt() ?? 0;
    await bench.engine.runDueWork();
    expect(bench.row('crm').health).toBe('ready');
    expect((await bench.read('crm')).version).toBe(1);
    await turns(1);
    expect((await bench.read('crm')).version).toBe(2);
  });

  it('with a wrong client secret is a matter for the operator: degraded, the grant lives, and a put mends it', async () => {
    const { sandbox, refused, read, row } = await stale({ client_secret: 'wrong-not-a-real-secret' });
    await refused('crm');
    expect(row('crm')).toMatchObject({ health: 'degraded', health_cause: 'invalid_client' });
    await turns(3);
    expect(row('crm').health).toBe('degraded');
    expect(sandbox.counters.tokenCalls).toBe(4);
    await bench.connect('crm');
    expect(row('crm')).toMatchObject({ health: 'ready', current_version: 2 });
    bench.tenant.clock.pass(TTL_MS + 1);
    expect((await read('crm')).version).toBe(3);
  });
});

describe('a dead grant', () => {
  it('serves its access token as long as that lives, and every read says that the grant is dead', async () => {
    bench = await refreshBench();
    const { refreshToken } = await bench.connect('crm');
    expect(await bench.read('crm')).toMatchObject({ version: 1, health: 'ready' });
    await bench.sandbox.revokeGrant(refreshToken);
    await expect(bench.rotate('crm')).resolves.toBeDefined();
    await bench.engine.runDueWork();
    expect(bench.row('crm').health).toBe('needs_consent');
    for (let i = 0; i < 2; i++) expect(await bench.read('crm')).toMatchObject({ version: 1, health: 'needs_consent' });
    bench.tenant.clock.pass(TTL_MS + 1);
    expect(await bench.refused('crm')).toMatchObject({ code: 'needs_consent' });
  });

  it('needs consent: 424 with state, since and cause, and the provider is not asked again', async () => {
    const { tenant, sandbox, refused, row, runs, refreshToken } = await stale();
    await sandbox.revokeGrant(refreshToken);
    const since = new Date(tenant.clock.now()).toISOString();
    expect(await refused('crm')).toMatchObject({
      code: 'needs_consent',
      extra: { health: 'needs_consent', since, cause: 'invalid_grant' },
    });
    expect(runs('crm')).toMatchObject([{ state: 'failed', outcome: 'dead', cause: 'invalid_grant' }]);
    const calls = sandbox.counters.tokenCalls;
    for (let i = 0; i < 5; i++) {
      tenant.clock.pass(3_600_000);
      await refused('crm');
      await bench.engine.runDueWork();
    }
    await expect(bench.rotate('crm')).rejects.toMatchObject({ code: 'needs_consent' });
    expect(sandbox.counters.tokenCalls).toBe(calls);
    expect(row('crm').refresh_due_at).toBeNull();
  });

  it('is healed by putting a new one', async () => {
    const { sandbox, refused, read, row, refreshToken } = await stale();
    await sandbox.revokeGrant(refreshToken);
    await refused('crm');
    const grant = await bench.connect('crm');
    expect((await read('crm')).value.access_token).toBe(grant.accessToken);
    expect(row('crm')).toMatchObject({ health: 'ready', health_cause: null });
    bench.tenant.clock.pass(TTL_MS + 1);
    expect((await read('crm')).version).toBe(3);
  });

  it('without a refresh token needs consent when its token has expired, without any call', async () => {
    const { tenant, sandbox, refused } = await stale();
    await tenant.vault.submit((job) =>
      putCredential(job, tenant.user(['admin'], 'everywhere'), {
        environment: 'staging',
        name: 'bare',
        kind: 'oauth2',
        value: { access_token: 'bare-not-a-real-secret', expires_in: 60 },
        connector: 'local-sandbox',
        config: oauth2Config.parse({ token_endpoint: sandbox.tokenEndpoint, client_id: sandbox.clientId }),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
        precondition: {},
      }),
    );
    tenant.clock.pass(60_001);
    expect(await refused('bare')).toMatchObject({ code: 'needs_consent', extra: { cause: 'no_refresh_token' } });
    expect(sandbox.counters.tokenCalls).toBe(0);
  });
});

describe('an answer that was lost', () => {
  it('at a provider that turns its tokens is asked for once more; then consent is needed, and there is no loop', async () => {
    const { sandbox, refused, journal, row } = await stale({ lost_answer: 'unsafe' });
    sandbox.nextToken({ kind: 'drop' });
    expect(await refused('crm')).toMatchObject({ code: 'needs_consent', extra: { cause: 'answer_lost_then_invalid_grant' } });
    expect(sandbox.counters).toEqual({ tokenCalls: 2, refreshes: 1, refusals: 1 });
    expect(journal('crm')).toEqual(['queued:read', 'intent:first', 'answer_lost:connection_lost', 'intent:again', 'failed:dead']);
    await refused('crm');
    await turns(3);
    expect(sandbox.counters.tokenCalls).toBe(2);
    expect(row('crm').health).toBe('needs_consent');
  });

  it('in half counts as lost, not as refused', async () => {
    const { sandbox, refused } = await stale();
    sandbox.nextToken({ kind: 'truncate' });
    expect(await refused('crm')).toMatchObject({ extra: { cause: 'answer_lost_then_invalid_grant' } });
    expect(sandbox.counters.tokenCalls).toBe(2);
  });

  it('before the provider acted on it costs nothing: the second try brings the token, within one read', async () => {
    const { sandbox, read, journal } = await stale();
    sandbox.nextToken({ kind: 'answer', status: 200, body: CUT });
    expect((await read('crm')).version).toBe(2);
    expect(sandbox.counters).toEqual({ tokenCalls: 2, refreshes: 1, refusals: 0 });
    expect(journal('crm')).toEqual([
      'queued:read',
      'intent:first',
      'answer_lost:unreadable_answer',
      'intent:again',
      'stored:refreshed',
    ]);
  });

  it('again and again at a provider whose tokens stay good: waits grow, and the first good answer settles it', async () => {
    const { tenant, sandbox, refused, row } = await stale({ lost_answer: 'safe' });
    sandbox.alwaysToken({ kind: 'answer', status: 200, body: CUT });
    await refused('crm');
    expect(sandbox.counters.tokenCalls).toBe(2);
    expect(row('crm')).toMatchObject({ health: 'degraded', health_cause: 'unreadable_answer' });
    for (let i = 0; i < 10; i++) await refused('crm');
    expect(sandbox.counters.tokenCalls).toBe(2);
    await turns(4);
    expect(sandbox.counters.tokenCalls).toBe(6);
    sandbox.alwaysToken({ kind: 'normal' });
    await turns(1);
    expect(row('crm').health).toBe('ready');
    expect(tenant.vault.nextDueAt()).toBeGreaterThan(tenant.clock.now());
  });

  it('twice at a provider that turns its tokens ends in consent although nobody called the grant dead, and nothing is sent any more', async () => {
    const { tenant, sandbox, refused, row, runs } = await stale({ lost_answer: 'unsafe' });
    sandbox.alwaysToken({ kind: 'answer', status: 200, body: CUT });
    expect(await refused('crm')).toMatchObject({ code: 'needs_consent', extra: { cause: 'answer_lost' } });
    expect(row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost', refresh_due_at: null });
    expect(runs('crm')).toMatchObject([{ state: 'failed', outcome: 'dead', cause: 'answer_lost', lost_answers: 2 }]);
    for (let i = 0; i < 5; i++) {
      tenant.clock.pass(3_600_000);
      await refused('crm');
      await bench.engine.runDueWork();
    }
    expect(sandbox.counters.tokenCalls).toBe(2);
  });

  it('is tried once more for each request, with the tokens that were kept', async () => {
    const { tenant, sandbox, refused, rotate, read, row, runs } = await stale({ lost_answer: 'unsafe' });
    const idle = () => vi.waitFor(() => expect(bench.engine.idle).toBe(true));
    sandbox.alwaysToken({ kind: 'answer', status: 200, body: CUT });
    await refused('crm');
    await rotate('crm');
    await idle();
    expect(sandbox.counters.tokenCalls).toBe(3);
    expect(row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost' });
    expect(runs('crm')).toMatchObject([{ state: 'failed', trigger: 'request', lost_answers: 1 }, { trigger: 'read' }]);
    await expect(rotate('crm')).rejects.toMatchObject({ code: 'needs_consent' });
    tenant.clock.pass(30_001);
    sandbox.alwaysToken({ kind: 'normal' });
    await rotate('crm');
    await idle();
    expect(sandbox.counters).toMatchObject({ tokenCalls: 4, refreshes: 1, refusals: 0 });
    expect(row('crm')).toMatchObject({ health: 'ready', health_cause: null });
    expect((await read('crm')).version).toBe(2);
  });

  it('inside a reuse window is asked for again until the window closes, afterwards once at most', async () => {
    const { tenant, sandbox, refused, row } = await stale({ lost_answer: { window_seconds: 60 } });
    const began = tenant.clock.now();
    const sentAt: number[] = [];
    sandbox.alwaysToken({ kind: 'answer', status: 200, body: CUT });
    await refused('crm');
    for (let turn = 0; turn < 20 && row('crm').health === 'degraded'; turn++) {
      const calls = sandbox.counters.tokenCalls;
      await turns(1);
      if (sandbox.counters.tokenCalls > calls) sentAt.push(tenant.clock.now());
    }
    expect(row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost' });
    expect(sentAt.length).toBeGreaterThan(2);
    expect(Math.max(...sentAt)).toBeLessThan(began + 60_000);
  });

  it('is not one where the provider said 503, for however long: waits grow and the grant lives', async () => {
    const { sandbox, refused, row, runs } = await stale({ lost_answer: 'unsafe' });
    sandbox.alwaysToken({ kind: 'answer', status: 503 });
    await refused('crm');
    await turns(6);
    expect(row('crm').health).toBe('degraded');
    expect(runs('crm')).toMatchObject([{ state: 'open', lost_answers: 0 }]);
    sandbox.alwaysToken({ kind: 'normal' });
    await turns(1);
    expect(row('crm').health).toBe('ready');
  });

  it('raises one alert for one change of state: none where the second try brought the token, one each for lost and found', async () => {
    const { tenant, sandbox, refused, rotate, read } = await stale({ lost_answer: 'unsafe' });
    const alerts = () => tenant.sql.all<{ kind: string }>('SELECT kind FROM alert ORDER BY at, rowid').map(({ kind }) => kind);
    sandbox.nextToken({ kind: 'answer', status: 200, body: CUT });
    await read('crm');
    expect(alerts()).toEqual([]);
    tenant.clock.pass(TTL_MS + 1);
    sandbox.alwaysToken({ kind: 'answer', status: 200, body: CUT });
    for (let i = 0; i < 3; i++) await refused('crm');
    expect(alerts()).toEqual(['credential.needs_consent']);
    sandbox.alwaysToken({ kind: 'normal' });
    await rotate('crm');
    await vi.waitFor(() => expect(bench.engine.idle).toBe(true));
    expect(alerts()).toEqual(['credential.needs_consent', 'credential.ready']);
  });

  it('by a full disk is not lost: the pair waits in memory until it can be stored', async () => {
    const { tenant, read, row } = await stale();
    const { sql } = tenant;
    let refusals = 3;
    const transaction = sql.transaction.bind(sql);
    vi.spyOn(sql, 'transaction').mockImplementation((body) => {
      const storing = sql.get("SELECT 1 AS yes FROM run WHERE state = 'open' AND step = 'intent'") !== undefined;
      if (storing && refusals-- > 0) throw new KeyturnError('storage_full', 'the disk or the database is full');
      return transaction(body);
    });
    const served = await read('crm');
    vi.restoreAllMocks();
    expect(refusals).toBeLessThanOrEqual(0);
    expect(served.version).toBe(2);
    expect(row('crm').health).toBe('ready');
  });
});
