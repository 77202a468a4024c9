// When a grant is refreshed and when not, instant by instant: for a reader, the schedule and a person who asks. What waits in line, what is
// held, what a dead grant costs. Every value is made up; not-a-real-secret.
import { describe, expect, it, vi } from 'vitest';
import type { OAuthConnector } from '../../../rotation/connector.ts';
import { ProviderGate } from '../../../rotation/engine/provider-gate.ts';
import { disconnectCredential } from '../../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../../rotation/grants/refresh-runs.ts';
import { KeyturnError } from '../../../src/base/errors.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { oauth2Config } from '../../../src/vault/credential-kinds.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { CONFIG, CRM, consentBench, type Reply, tokens } from '../../kit/consent-bench.ts';
import { changing, putKey } from '../../kit/vaults.ts';

type Trigger = 'request' | 'schedule' | 'read';
const DOWN: Reply = { status: 503, body: '' };

async function benchOf(changes: Partial<OAuthConnector> = {}) {
  const bench = await consentBench(changes);
  const { vault, clock, sql } = bench.tenant;
  const gate = new ProviderGate(clock);
  /** What happens while something waits. */
  const waits: { ms: number; during?: () => unknown }[] = [];
  let during: (() => unknown) | undefined;
  const engine = new RefreshEngine({
    ...bench.ports,
    gate,
    every: (ms, beat) => {
      if (ms === LIMITS.leaseHeartbeatMs) return () => {};
      waits.push({ ms });
      void Promise.resolve(during?.()).then(() => beat());
      return () => {};
    },
  });
  vault.refresher = engine;
  const put = (value: object = {}, config: object = {}) =>
    vault.submit((job) =>
      putCredential(job, bench.admin(), {
        environment: 'staging',
        name: 'crm',
        precondition: {},
        kind: 'oauth2',
        value: { access_token: 'a-not-a-real-secret', refresh_token: 'r-not-a-real-secret', client_secret: 'c-not-a-real-secret', expires_in: 3_600, ...value }, // biome-ignore format: one line
        connector: CRM.id,
        config: oauth2Config.parse({ ...CONFIG, ...config }),
        labels: undefined,
        description: undefined,
        expiresAtMs: undefined,
      }),
    );
  return {
    ...bench,
    engine,
    gate,
    waits,
    put,
    clock,
    whileWaiting: (work: () => unknown) => {
      during = work;
    },
    /** How many calls a refresh makes. */
    calls: async (trigger: Trigger, force = false) => {
      const before = bench.sent.length;
      await engine.refreshNow(bench.row('crm').id, trigger, force);
      return bench.sent.length - before;
    },
    run: () => sql.get('SELECT * FROM run ORDER BY rowid DESC') as Record<string, unknown>,
    change: (changed: object) =>
      vault.submit((job) =>
        changing(job, (access) => {
          job.credentials.save(access, { ...job.credentials.byId(access, bench.row('crm').id), ...changed });
        }),
      ),
    changeRun: (changed: object) =>
      vault.submit((job) =>
        changing(job, (access) => {
          const { id } = sql.get<{ id: string }>('SELECT id FROM run ORDER BY rowid DESC') ?? { id: '' };
          job.runs.save(access, { ...job.runs.get(access, id), ...changed });
        }),
      ),
    disconnect: () =>
      vault.submit((job) =>
        disconnectCredential({ ...bench.ports, job }, bench.admin(), {
          environment: 'staging',
          name: 'crm',
          revoke: false,
          precondition: {},
        }),
      ),
  };
}

describe('a refresh by the schedule or for a reader', () => {
  it.each<Trigger>(['schedule', 'read'])('is sent at its due time and not a moment before (%s)', async (trigger) => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.atMs = Number(bench.row('crm').refresh_due_at) - 1;
    expect(await bench.calls(trigger)).toBe(0);
    bench.clock.pass(1);
    expect(await bench.calls(trigger)).toBe(1);
  });

  it('is sent when the token has ended, whatever is planned', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.change({ refresh_due_at: bench.clock.now() + 10 * 86_400_000 });
    bench.clock.pass(3_600_000 - 1);
    expect(await bench.calls('read')).toBe(0);
    bench.clock.pass(1);
    expect(await bench.calls('read')).toBe(1);
  });

  it('is sent for a token that never ends only when it is planned', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.change({ refresh_due_at: bench.clock.now() + 1_000, value_expires_at: null });
    expect(await bench.calls('read')).toBe(0);
    bench.clock.pass(1_000);
    expect(await bench.calls('read')).toBe(1);
  });

  it('is not sent where none is planned, although the token has ended', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.change({ refresh_due_at: null });
    bench.clock.pass(3_600_001);
    expect(await bench.calls('read')).toBe(0);
  });

  it('is sent for a version that a clock ahead of this one stored, beyond what clocks may differ', async () => {
    for (const [aheadMs, sent] of [
      [LIMITS.clockSkewMs, 0],
      [LIMITS.clockSkewMs + 1, 1],
    ] as const) {
      const bench = await benchOf();
      bench.clock.pass(aheadMs);
      await bench.put();
      bench.clock.pass(-aheadMs);
      expect(await bench.calls('read'), `${aheadMs}`).toBe(sent);
    }
  });
});

describe('tokens that end when they are handed out', () => {
  it.each([
    [1, 0, 1],
    [2, LIMITS.refreshCoolDownMs - 1, 0],
    [2, LIMITS.refreshCoolDownMs, 1],
    [2, -1, 1],
    [3, 0, 0],
  ])('%i times in a row: %i ms after the last one, %i calls', async (times, afterMs, sent) => {
    const bench = await benchOf();
    await bench.put();
    for (let i = 0; i < times; i++) {
      // An instant is believed, even one that has passed; a lifetime of nothing is not.
      bench.replies.push(tokens({ expires_in: undefined, expires_at: new Date(bench.clock.now() - 10).toISOString() }));
      await bench.calls('request', true);
    }
    await bench.change({ refresh_due_at: bench.clock.now() + 86_400_000, value_expires_at: bench.clock.now() - 10 });
    bench.clock.pass(afterMs);
    expect(await bench.calls('read')).toBe(sent);
  });
});

describe('a run that waits', () => {
  const waiting = async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(DOWN, DOWN, DOWN);
    for (let i = 0; i < 3; i++) {
      await bench.calls('request', true);
      bench.clock.pass(120_000);
    }
    bench.gate.report(CRM.oauth2.tokenEndpoint, { kind: 'worked' } as never);
    const now = bench.clock.now();
    await bench.changeRun({ next_attempt_at: now + 600_000, lease_until: now, attempts: 1, outcome: 'transient' });
    return bench;
  };

  it('is continued by the schedule at its time alone, by a reader sooner, by a request at once', async () => {
    const bench = await waiting();
    expect(await bench.calls('schedule')).toBe(0);
    bench.clock.pass(LIMITS.readerRetryMs - 1);
    expect([await bench.calls('read'), await bench.calls('schedule')]).toEqual([0, 0]);
    bench.clock.pass(1);
    expect(await bench.calls('schedule')).toBe(0);
    expect(await bench.calls('read')).toBe(1);
  });

  it('is continued by a request without a delay', async () => {
    expect(await (await waiting()).calls('request', true)).toBe(1);
  });

  it.each([
    [599_999, 0],
    [600_000, 1],
  ])('is continued by the schedule after %i ms: %i calls', async (afterMs, sent) => {
    const bench = await waiting();
    bench.clock.pass(afterMs);
    expect(await bench.calls('schedule')).toBe(sent);
  });

  it.each([
    [LIMITS.refreshWaitMaxMs, 0],
    [LIMITS.refreshWaitMaxMs + 1, 1],
  ])('for %i ms, longer than any wait: a clock was ahead, and it is continued: %i calls', async (aheadMs, sent) => {
    const bench = await waiting();
    await bench.changeRun({ next_attempt_at: bench.clock.now() + aheadMs });
    expect(await bench.calls('schedule')).toBe(sent);
  });

  it.each([
    ['its own lease', 'bench', 1, 1],
    ["another's lease", 'another', LIMITS.leaseMs, 0],
    ["another's lease that has just ended", 'another', 0, 1],
    ["another's lease beyond the longest one: a clock was ahead", 'another', LIMITS.leaseMs + 1, 1],
  ])('under %s', async (_, owner, leftMs, sent) => {
    const bench = await waiting();
    await bench.changeRun({ lease_owner: owner, lease_until: bench.clock.now() + leftMs });
    expect(await bench.calls('request', true)).toBe(sent);
  });
});

describe('a grant that is not to be refreshed', () => {
  it('because it needs consent is not sent, by whomever, without a run that somebody asked for', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push({ fails: 'timeout' }, { fails: 'timeout' });
    await bench.calls('request', true);
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost' });
    for (const trigger of ['request', 'schedule', 'read'] as const) expect(await bench.calls(trigger, true), trigger).toBe(0);
    await bench.tenant.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', 'crm')).catch(() => {});
    bench.clock.pass(LIMITS.refreshCoolDownMs);
    await bench.tenant.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', 'crm'));
    expect(await bench.calls('request', true)).toBe(1);
  });

  it('because the provider refused it is not sent even if somebody asked', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push({ status: 400, body: { error: 'invalid_grant' } });
    await bench.calls('request', true);
    const open = () => bench.tenant.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', 'crm'));
    await expect(open()).rejects.toMatchObject({ code: 'needs_consent' });
    expect(await bench.calls('request', true)).toBe(0);
  });

  it('because it was disconnected or deleted is not sent', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.disconnect();
    expect(await bench.calls('request', true)).toBe(0);
    const another = await benchOf();
    await another.put();
    await another.change({ state: 'deleted' });
    expect(await another.calls('request', true)).toBe(0);
  });

  it('because its connector is gone: an attempt that says so, and no call', async () => {
    const bench = await benchOf();
    await bench.put();
    (bench.ports.connectors as Map<string, OAuthConnector>).clear();
    expect(await bench.calls('request', true)).toBe(0);
    expect(bench.run()).toMatchObject({ state: 'open', cause: 'connector_unusable', outcome: 'configuration', attempts: 1 });
    expect(bench.row('crm')).toMatchObject({ health: 'degraded', health_cause: 'connector_unusable' });
  });
});

describe('a refresh that cannot be begun', () => {
  it('because a row is damaged says so', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.tenant.sql.run("UPDATE credential SET description = 'edited'");
    await expect(bench.calls('request', true)).rejects.toMatchObject({ code: 'integrity' });
  });

  it('because of a defect says so', async () => {
    const bench = await benchOf();
    await bench.put();
    vi.spyOn(bench.gate, 'admit').mockImplementation(() => {
      throw new RangeError('made up');
    });
    await expect(bench.calls('request', true)).rejects.toThrow('made up');
  });

  it('because the disk is full is left to the schedule', async () => {
    const bench = await benchOf();
    await bench.put();
    vi.spyOn(bench.gate, 'admit').mockImplementation(() => {
      throw new KeyturnError('storage_full', 'made up');
    });
    expect(await bench.calls('request', true)).toBe(0);
  });
});

describe('the event of a requested rotation', () => {
  it('names its run and what asked for it, and a second request joins the run', async () => {
    const bench = await benchOf();
    await bench.put();
    const open = () => bench.tenant.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', 'crm'));
    const run = await open();
    expect((await open()).id).toBe(run.id);
    expect(bench.run()).toMatchObject({ kind: 'rotation', trigger: 'request', generation: 1, requested_by: 'usr_admin' });
    const events = bench.events().filter(({ action }) => action === 'credential.rotate');
    expect(events.map(({ details }) => details)).toEqual([
      { trigger: 'request', run: run.id },
      { trigger: 'request', run: run.id },
    ]);
  });

  it.each([
    ['is not an OAuth grant', 'not_rotatable'],
    ['is deleted', 'gone'],
    ['is disconnected', 'needs_consent'],
  ])('is none for a credential that %s', async (what, code) => {
    const bench = await benchOf();
    await bench.put();
    if (what === 'is not an OAuth grant') await putKey(bench.tenant, 'key', 'k-not-a-real-secret');
    if (what === 'is deleted') await bench.change({ state: 'deleted' });
    if (what === 'is disconnected') await bench.disconnect();
    const name = what === 'is not an OAuth grant' ? 'key' : 'crm';
    await expect(
      bench.tenant.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', name)),
    ).rejects.toMatchObject({ code });
    expect(bench.sent).toEqual([]);
  });
});

describe('what a refresh learns of the refresh token', () => {
  it.each<[string, Record<string, unknown>, number | undefined]>([
    ['a new one without an expiry has none', {}, undefined],
    ['a new one with an expiry has its own', { refresh_token_expires_in: 500 }, 500_000],
    ['the same one keeps its own', { refresh_token: 'first-not-a-real-secret' }, 900_000],
    ['none keeps that of the present one', { refresh_token: undefined }, 900_000],
  ])('%s', async (_, extra, endsAfterMs) => {
    const bench = await benchOf();
    await bench.put();
    const began = bench.clock.now();
    bench.replies.push(tokens({ refresh_token: 'first-not-a-real-secret', refresh_token_expires_in: 900 }), tokens(extra));
    await bench.calls('request', true);
    expect(bench.facts('crm').refreshTokenExpiresAt).toBe(began + 900_000);
    await bench.calls('request', true);
    expect(bench.facts('crm').refreshTokenExpiresAt).toBe(endsAfterMs === undefined ? undefined : began + endsAfterMs);
  });

  it('an account, a scope and a type that the answer leaves out stay as they were', async () => {
    const bench = await benchOf();
    await bench.put({ scope: 'contacts.read' });
    bench.replies.push(tokens({ hub_id: 5, scope: 'contacts.read deals.read' }), tokens({ hub_id: undefined, scope: undefined }));
    await bench.calls('request', true);
    await bench.calls('request', true);
    expect(bench.facts('crm').account).toEqual({ hub_id: '5' });
    expect(await bench.served('crm')).toMatchObject({ account: { hub_id: '5' }, scope: 'contacts.read deals.read' });
  });
});

describe('the line in front of a provider', () => {
  const endpoint = CRM.oauth2.tokenEndpoint;

  it.each<[Trigger, number]>([
    ['schedule', 1_000],
    ['read', LIMITS.breakerProbeMs],
    ['request', 5_000],
  ])('is as long for %s as its caller can wait', async (trigger, patienceMs) => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_000);
    const admit = vi.spyOn(bench.gate, 'admit');
    await bench.calls(trigger);
    expect(admit.mock.calls).toEqual([[endpoint, undefined, patienceMs, trigger]]);
  });

  it('is waited in before the lease: the place is given back when there is nothing to do any more', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_000);
    vi.spyOn(bench.gate, 'admit').mockReturnValue({ kind: 'go', afterMs: 100 });
    const report = vi.spyOn(bench.gate, 'report');
    bench.whileWaiting(() => bench.disconnect());
    expect(await bench.calls('read')).toBe(0);
    expect(bench.waits).toMatchObject([{ ms: 100 }]);
    expect(report.mock.calls).toEqual([[endpoint, { kind: 'none' }]]);
    expect(bench.events('intent')).toEqual([]);
  });

  it('holds what is scheduled at once, and a reader or a person for as long as they can wait', async () => {
    for (const [trigger, forMs, waited] of [
      ['schedule', 1, []],
      ['request', 5_000, [5_000]],
      ['request', 5_001, []],
      ['read', LIMITS.breakerProbeMs, [LIMITS.breakerProbeMs]],
      ['read', LIMITS.breakerProbeMs + 1, []],
    ] as const) {
      const bench = await benchOf();
      await bench.put();
      bench.clock.pass(3_600_000);
      const admit = vi.spyOn(bench.gate, 'admit').mockReturnValueOnce({ kind: 'held', forMs });
      admit.mockReturnValue({ kind: 'go', afterMs: 0 });
      const heldForMs = await bench.engine.refreshNow(bench.row('crm').id, trigger);
      expect([trigger, forMs, bench.waits.map(({ ms }) => ms)]).toEqual([trigger, forMs, waited]);
      expect(heldForMs).toBe(waited.length === 0 ? forMs : undefined);
      expect(bench.sent).toHaveLength(waited.length);
      if (waited.length > 0) expect(admit.mock.calls[1]?.[2]).toBe(0);
    }
  });

  it('is left by an engine that stops', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_000);
    vi.spyOn(bench.gate, 'admit').mockReturnValue({ kind: 'go', afterMs: 100 });
    bench.whileWaiting(() => void bench.engine.stop());
    expect(await bench.engine.refreshNow(bench.row('crm').id, 'read')).toBe(LIMITS.stoppingAgainMs);
    expect(await bench.engine.refreshNow(bench.row('crm').id, 'read')).toBe(LIMITS.stoppingAgainMs);
    expect(bench.sent).toEqual([]);
  });
});

describe('inside a reuse window', () => {
  it('the last attempt is made just before it closes, however long the back-off is by then', async () => {
    const seconds = 1_000;
    const bench = await benchOf({ oauth2: { ...CRM.oauth2, lostAnswer: { kind: 'window', seconds } } });
    await bench.put();
    const began = bench.clock.now();
    const at: number[] = [];
    for (let i = 0; i < 40 && bench.row('crm').health !== 'needs_consent'; i++) {
      bench.replies.push(...Array.from({ length: 3 }, (): Reply => ({ fails: 'timeout' })));
      const calls = await bench.calls('request', true);
      at.push(...Array.from({ length: calls }, () => bench.clock.now() - began));
      bench.replies.length = 0;
      const next = Number(bench.run()['next_attempt_at'] ?? 0);
      bench.clock.atMs = Math.max(bench.clock.atMs, next);
    }
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost' });
    const closesAt = seconds * 900;
    expect(at).toContain(closesAt - LIMITS.refreshWaitMinMs);
    expect(at.filter((one) => one >= closesAt).length).toBeLessThanOrEqual(1);
  });
});

describe('after a lost answer', () => {
  it('a token that arrived in an unusable answer is used next, under the same run', async () => {
    const bench = await benchOf({ oauth2: { ...CRM.oauth2, lostAnswer: { kind: 'window', seconds: 600 } } });
    await bench.put();
    bench.replies.push({ fails: 'timeout' }, tokens({ access_token: '', refresh_token: 'kept-not-a-real-secret' }));
    await bench.calls('request', true);
    expect(bench.run()).toMatchObject({ state: 'open', generation: 2, lost_answers: 0 });
    bench.clock.atMs = Number(bench.run()['next_attempt_at']);
    bench.replies.push({ status: 400, body: { error: 'invalid_grant' } });
    await bench.calls('request', true);
    expect(bench.sent.at(-1)?.fields.get('refresh_token')).toBe('kept-not-a-real-secret');
    expect(bench.row('crm').health).toBe('needs_consent');
  });

  it('the same token is doubted: its refusal may be our own doing', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push({ fails: 'timeout' }, { status: 400, body: { error: 'invalid_grant' } });
    await bench.calls('request', true);
    expect(bench.row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'answer_lost_then_invalid_grant' });
    expect(bench.facts('crm').guard).toBeUndefined();
  });
});

describe('the forecast of a grant whose connector is gone', () => {
  it.each([
    [{}, null],
    [{ idle_limit_days: 40 }, 'idle_limit'],
  ])('is of its own settings %j alone: %s', async (config, cause) => {
    const bench = await benchOf();
    await bench.put({ expires_in: 30 * 86_400 }, config);
    await bench.calls('request', true);
    (bench.ports.connectors as Map<string, OAuthConnector>).clear();
    await bench.change({ review_due_at: 0 });
    await bench.engine.runDueWork();
    expect(bench.facts('crm').end?.cause ?? null).toBe(cause);
  });
});

describe('an answer while the disk is full', () => {
  const answered = async (reply: Reply) => {
    const bench = await benchOf();
    await bench.put();
    const { vault } = bench.tenant;
    bench.replies.push(async () => {
      vi.spyOn(vault, 'submit').mockRejectedValueOnce(new KeyturnError('storage_full', 'made up'));
      return reply;
    });
    await bench.calls('request', true);
    return bench;
  };

  it.each<[string, Reply, boolean]>([
    ['with tokens is stored once there is room again', tokens(), true],
    ['with a refresh token alone, too', tokens({ access_token: '' }), true],
    ['without any is not: the intent stays, and the schedule repeats the call', DOWN, false],
    ['that nobody can use is not', { status: 200, body: '<html>' }, false],
  ])('%s', async (_, reply, isKept) => {
    const bench = await answered(reply);
    expect(bench.waits.map(({ ms }) => ms)).toEqual(isKept ? [LIMITS.storePauseMs] : []);
    expect(bench.row('crm').current_version).toBe(isKept ? 2 : 1);
    if (!isKept) expect(bench.run()).toMatchObject({ state: 'open', step: 'intent', attempts: 1, lease_owner: 'bench' });
  });
});

describe('the intent of a refresh', () => {
  it.each<[Trigger, boolean]>([
    ['schedule', true],
    ['read', false],
    ['request', false],
  ])('by %s shares its commit with others: %s', async (trigger, isUnhurried) => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_000);
    const unhurried = vi.spyOn(bench.tenant.vault, 'submitUnhurried');
    expect(await bench.calls(trigger)).toBe(1);
    expect(unhurried.mock.calls.length > 0).toBe(isUnhurried);
  });
});

describe('the line of the schedule', () => {
  it('ends for all that wait in a tenth of a second at once; a reader goes as soon as may be', async () => {
    for (const [trigger, waited] of [
      ['schedule', undefined],
      ['read', 150],
    ] as const) {
      const bench = await benchOf();
      await bench.put();
      bench.clock.atMs = Math.ceil((bench.clock.now() + 3_600_000) / 100) * 100 + 40;
      vi.spyOn(bench.gate, 'admit').mockReturnValue({ kind: 'go', afterMs: 150 });
      await bench.calls(trigger);
      const [first] = bench.waits;
      if (trigger === 'read') expect(first?.ms).toBe(waited);
      else expect((bench.clock.now() + (first?.ms ?? 0)) % 100, 'a full tenth').toBe(0);
      expect(first?.ms).toBeGreaterThanOrEqual(150);
    }
  });
});

describe('a request to try a grant that ended by lost answers', () => {
  const lost = async () => {
    const bench = await benchOf();
    await bench.put();
    const open = () => bench.tenant.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', 'crm'));
    await open();
    bench.replies.push({ fails: 'timeout' }, { fails: 'timeout' });
    await bench.calls('request', true);
    expect(bench.row('crm').health_cause).toBe('answer_lost');
    return { bench, open };
  };

  it.each([
    [0, false],
    [LIMITS.refreshCoolDownMs - 1, false],
    [LIMITS.refreshCoolDownMs, true],
    [-1, true],
  ])('%i ms after the last one is accepted: %s', async (afterMs, isAccepted) => {
    const { bench, open } = await lost();
    bench.clock.pass(afterMs);
    if (isAccepted) expect((await open()).state).toBe('open');
    else await expect(open()).rejects.toMatchObject({ code: 'needs_consent' });
  });

  it('is accepted at once where the schedule tried last', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_000);
    bench.replies.push({ fails: 'timeout' }, { fails: 'timeout' });
    await bench.calls('schedule');
    expect(bench.row('crm').health_cause).toBe('answer_lost');
    expect((await bench.tenant.vault.submit((job) => bench.engine.open(job, bench.admin(), 'staging', 'crm'))).state).toBe(
      'open',
    );
  });
});

describe('a turn of due work', () => {
  it('counts what it refreshed, destroyed and rewrapped', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.engine.runDueWork();
    expect(await bench.engine.runDueWork()).toEqual({ refreshed: 0, destroyed: 0, rewrapped: 0 });
    bench.clock.atMs = Number(bench.row('crm').refresh_due_at);
    expect(await bench.engine.runDueWork()).toMatchObject({ refreshed: 1, destroyed: 0, rewrapped: 0 });
    expect(bench.engine.idle).toBe(true);
  });
});

describe('a failure of the same cause', () => {
  it('again changes nothing that a reader sees; another cause does, without another alert', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.clock.pass(3_600_001);
    const fails = async (reply: Reply) => {
      bench.replies.push(reply);
      await bench.calls('request', true);
      bench.clock.pass(600_000);
      const { revision, health, health_cause, health_since } = bench.row('crm');
      return { revision, health, health_cause, health_since };
    };
    const first = await fails(DOWN);
    expect(first).toMatchObject({ health: 'degraded', health_cause: 'http_5xx' });
    expect(await fails(DOWN)).toEqual(first);
    const other = await fails({ status: 401, body: { error: 'invalid_client' } });
    expect(other).toEqual({ ...first, revision: first.revision + 1, health_cause: 'invalid_client' });
    expect(bench.tenant.sql.all("SELECT kind FROM alert WHERE kind = 'credential.degraded'")).toHaveLength(1);
  });
});

describe('the settings of a put', () => {
  const config = (changes: object) => oauth2Config.parse({ ...CONFIG, ...changes });

  it('are checked by the connector, those without effect included', async () => {
    const { engine } = await benchOf({ oauth2: { ...CRM.oauth2, renewal: { kind: 'none' } } });
    expect(engine.checkSettings(CRM.id, config({}))).toMatchObject({ renews: 'never' });
    expect(engine.destinationsOf(CRM.id, config({}))).toEqual(
      expect.arrayContaining([expect.stringContaining('api.crm.example')]),
    );
    for (const check of [engine.checkSettings.bind(engine), engine.destinationsOf.bind(engine)]) {
      expect(() => check(CRM.id, config({ scope: 'x' }))).toThrow(expect.objectContaining({ pointer: '/config/scope' }));
      expect(() => check('nobody', config({}))).toThrow(expect.objectContaining({ pointer: '/connector' }));
    }
  });
});

describe('plans that are in doubt', () => {
  it('are trusted once a turn has looked at all work', async () => {
    const bench = await benchOf();
    await bench.put();
    await bench.engine.runDueWork();
    bench.clock.pass(-86_400_000);
    const vault = bench.tenant.reopen();
    const engine = new RefreshEngine({ ...bench.ports, vault, every: () => () => {} });
    vault.refresher = engine;
    expect(vault.nextDueAt()).toBe(bench.clock.now());
    await engine.runDueWork();
    expect(vault.nextDueAt()).toBeGreaterThan(bench.clock.now());
  });
});

describe('leases of owners that are dead', () => {
  it('are freed before the first refresh, again if that failed, and those of the living never', async () => {
    const bench = await benchOf();
    await bench.put();
    bench.replies.push(DOWN);
    await bench.calls('request', true);
    const held = () => bench.changeRun({ lease_owner: 'dead', lease_until: bench.clock.now() + 40_000, next_attempt_at: bench.clock.now() + 40_000 }); // biome-ignore format: one line
    await held();
    const { vault } = bench.tenant;
    vi.spyOn(vault, 'submit').mockRejectedValueOnce(new KeyturnError('storage_full', 'made up'));
    const other = (isDead: (owner: string) => boolean) =>
      new RefreshEngine({ ...bench.ports, owner: 'heir', isDead, every: () => () => {} });
    const heir = other((owner) => owner === 'dead');
    await new Promise((resume) => setImmediate(resume));
    expect(bench.run()['lease_owner']).toBe('dead');
    const sent = bench.sent.length;
    await heir.refreshNow(bench.row('crm').id, 'request', true);
    expect(bench.sent.length).toBe(sent + 1);
    expect(bench.row('crm').current_version).toBe(2);
    const second = await benchOf();
    await second.put();
    second.replies.push(DOWN);
    await second.calls('request', true);
    await second.changeRun({ lease_owner: 'living', lease_until: second.clock.now() + 40_000 });
    const patient = new RefreshEngine({ ...second.ports, owner: 'heir', isDead: () => false, every: () => () => {} });
    const before = second.sent.length;
    await patient.refreshNow(second.row('crm').id, 'request', true);
    expect(second.sent.length).toBe(before);
  });
});

describe('many callers at once', () => {
  it('share one refresh, which is not idle until it is stored', async () => {
    const bench = await benchOf();
    await bench.put();
    let idle: boolean | undefined;
    bench.replies.push(async () => {
      idle = bench.engine.idle;
      return tokens();
    });
    const { id } = bench.row('crm');
    await Promise.all(Array.from({ length: 5 }, () => bench.engine.refreshNow(id, 'request', true)));
    expect([bench.sent.length, idle, bench.engine.idle]).toEqual([1, false, true]);
  });
});
