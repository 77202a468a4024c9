// Answers that are neither a token nor a clear no: what they cost a workflow, and what they must never cost.
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type Egress, type EgressAnswer, EgressFailure } from '../../../rotation/connector.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import type { RunStepRow } from '../../../src/cell/runs.ts';
import { changeRows } from '../../kit/anchored.ts';
import { type RefreshBench, refreshBench } from '../../kit/refresh-bench.ts';
import { eventsOf } from '../../kit/vaults.ts';

const TTL_MS = 600_000;
let bench: RefreshBench;
afterEach(async () => {
  await bench.stop();
});

type Answer = { readonly status: number; readonly body?: unknown; readonly headers?: Record<string, string> } | EgressFailure;

/** A grant whose provider answers as told, the last answer for ever; the sandbox behind it is not asked. */
async function grantAt(...answers: Answer[]): Promise<RefreshBench & { readonly sent: string[] }> {
  bench = await refreshBench();
  await bench.connect('crm');
  const sent: string[] = [];
  let next = 0;
  vi.spyOn(bench.engine.ports.egress as Egress, 'send').mockImplementation(async (request): Promise<EgressAnswer> => {
    const body = request.body as SecretValue;
    const fields = new URLSearchParams(body.reveal((bytes) => new TextDecoder().decode(bytes)));
    sent.push(fields.get('refresh_token') ?? '');
    const answer = answers[Math.min(next++, answers.length - 1)] as Answer;
    if (answer instanceof EgressFailure) throw answer;
    const text = typeof answer.body === 'string' ? answer.body : JSON.stringify(answer.body ?? '');
    const { status, headers = {} } = answer;
    return { status, headers, body: SecretValue.fromText(text), sentAtMs: bench.tenant.clock.now() };
  });
  return { ...bench, sent };
}

const GOOD: Answer = {
  status: 200,
  body: { access_token: 'at-2-not-a-real-secret', refresh_token: 'rt-2-not-a-real-secret', expires_in: 600 },
};

/** Lets the schedule do all that is due until so much time has passed. */
async function pass(ms: number): Promise<void> {
  const { clock, vault } = bench.tenant;
  const end = clock.now() + ms;
  for (;;) {
    await bench.engine.runDueWork();
    const due = Math.max(vault.nextDueAt() ?? Number.POSITIVE_INFINITY, clock.now() + 1_000);
    if (due >= end) break;
    clock.atMs = due;
  }
  clock.atMs = end;
}

async function rotated(): Promise<void> {
  await bench.rotate('crm');
  await vi.waitFor(() => expect(bench.engine.idle).toBe(true));
}

const INVALID_CLIENT: Answer = { status: 401, body: { error: 'invalid_client' } };
const PASSING: readonly (readonly [string, Answer])[] = [
  ['a page with 200', { status: 200, body: '<h1>Down for maintenance</h1>', headers: { 'content-type': 'text/html' } }],
  ['nothing with 204', { status: 204, body: '' }],
  ['somebody else’s JSON', { status: 200, body: { data: {} } }],
  ['404', { status: 404, body: { message: 'no Route matched' } }],
  ['a page with 403', { status: 403, body: '<h1>Checking your browser</h1>' }],
  ['a redirect', { status: 302, body: '' }],
  ['503', { status: 503, body: '' }],
  ['an unknown 400', { status: 400, body: { error: 'temporarily_disabled' } }],
  ['invalid_client', INVALID_CLIENT],
];

describe('a provider that answers with', () => {
  it.each(PASSING)('%s costs no live token, no grant, and no time once it is back', async (_, odd) => {
    const { read, row, sent } = await grantAt(odd, odd, GOOD);
    await rotated();
    await rotated();
    expect((await read('crm')).version).toBe(1);
    expect(row('crm').health).not.toBe('needs_consent');
    // It is back before the token ends: no reader ever notices.
    await pass(61_000);
    expect((await read('crm')).version).toBe(2);
    expect(row('crm').health).toBe('ready');
    expect(sent).toHaveLength(3);
    expect(new Set(sent).size).toBe(1);
  });

  it.each(PASSING)(
    '%s when the token has ended has a reader wait for no longer than it is away, and ten seconds',
    async (_, odd) => {
      const { tenant, read, refused } = await grantAt(odd, odd, odd, GOOD);
      tenant.clock.pass(TTL_MS + 1);
      const waits: number[] = [];
      for (let i = 0; i < 3; i++) {
        const error = await refused('crm');
        expect(error.code).toBe('provider_unavailable');
        expect(error.message).toMatch(/^the access token has expired: the last refresh failed \([a-z0-9_]+\)/);
        waits.push(error.retryAfterSeconds ?? Number.NaN);
        tenant.clock.pass((error.retryAfterSeconds ?? 0) * 1_000);
      }
      expect((await read('crm')).version).toBe(2);
      if (odd !== INVALID_CLIENT) expect(Math.max(...waits)).toBeLessThanOrEqual(10);
    },
  );

  it.each(PASSING)('%s is asked again before a short token ends, never after', async (_, odd) => {
    const { tenant, vault } = { ...(await grantAt(odd)), vault: bench.tenant.vault };
    const endsAt = tenant.clock.now() + TTL_MS;
    for (let i = 0; i < 30 && tenant.clock.now() < endsAt; i++) {
      tenant.clock.atMs = vault.nextDueAt() ?? 0;
      if (tenant.clock.now() >= endsAt) break;
      await bench.engine.runDueWork();
      const run = bench.runs('crm')[0];
      if (run?.state === 'open') expect(run.next_attempt_at).toBeLessThanOrEqual(endsAt + LIMITS.refreshWaitMinMs);
    }
  });
});

describe('a provider that says when to come back', () => {
  it('is asked a first time when the token ends, and then left alone as long as it asked', async () => {
    const { tenant, refused, sent } = await grantAt({ status: 429, headers: { 'retry-after': '3600' } });
    tenant.clock.pass(TTL_MS - 60_000);
    await bench.engine.runDueWork();
    expect(sent).toHaveLength(1);
    expect(bench.runs('crm')[0]?.next_attempt_at).toBe(tenant.clock.now() + 60_000);
    tenant.clock.pass(60_000);
    // The gate of the host holds everybody but a request.
    expect((await refused('crm')).message).toContain('fails or throttles');
    await rotated();
    expect(sent).toHaveLength(2);
    const again = await refused('crm');
    expect(again.retryAfterSeconds).toBeGreaterThan(3_500);
  });
});

describe('a request', () => {
  it('tries at once after any failure, and says in its run what came of it', async () => {
    const { sent, runs, read } = await grantAt({ status: 404, body: '' }, GOOD);
    await rotated();
    await rotated();
    expect(sent).toHaveLength(2);
    expect(runs('crm')).toMatchObject([{ state: 'succeeded', attempts: 2 }]);
    expect((await read('crm')).version).toBe(2);
  });
});

describe('what came with an odd answer', () => {
  it.each([
    [
      'an access token that is too large',
      { access_token: 'a'.repeat(70_000), refresh_token: 'rt-2-not-a-real-secret' },
      'access_token_too_large',
    ],
    [
      'an access token of a wrong shape',
      { access_token: { value: 'x' }, refresh_token: 'rt-2-not-a-real-secret' },
      'malformed_token',
    ],
    ['no access token', { refresh_token: 'rt-2-not-a-real-secret' }, 'no_token_answer'],
  ])('%s: the new refresh token is kept, told, and used next; the token that lives is served on', async (_, body, cause) => {
    const { read, row, runs, journal, sent, tenant } = await grantAt({ status: 200, body }, GOOD);
    const before = await read('crm');
    await rotated();
    expect(journal('crm')).toEqual(['queued:request', 'intent:first', 'kept:refresh_token', `answer_lost:${cause}`]);
    expect(row('crm').current_version).toBe(2);
    expect((await read('crm')).value.access_token).toBe(before.value.access_token);
    expect((await read('crm')).expires_at).toBe(before.expires_at);
    expect(runs('crm')).toMatchObject([{ state: 'open', cause, generation: 2, lost_answers: 0 }]);
    const events = eventsOf(tenant.sql).filter(({ action }) => action === 'credential.rotate');
    expect(events.at(-1)).toMatchObject({
      outcome: 'failure',
      reason: 'provider_unavailable',
      details: { step: 'failed', cause, version: 2 },
    });
    await rotated();
    expect(sent[1]).toBe('rt-2-not-a-real-secret');
    expect((await read('crm')).value.access_token).toBe('at-2-not-a-real-secret');
    expect(row('crm')).toMatchObject({ health: 'ready', current_version: 3 });
  });

  it('a refresh token that cannot be used: the access token is served, and the doubt is told', async () => {
    const { read, row } = await grantAt({
      status: 200,
      body: { access_token: 'at-2-not-a-real-secret', refresh_token: {}, expires_in: 600 },
    });
    await rotated();
    expect((await read('crm')).value.access_token).toBe('at-2-not-a-real-secret');
    expect(row('crm')).toMatchObject({ health: 'degraded', health_cause: 'refresh_token_unusable' });
  });
});

describe('a live access token', () => {
  it.each<[string, Answer]>([
    ['the provider calls the grant dead', { status: 400, body: { error: 'invalid_grant' } }],
    ['two answers were lost', new EgressFailure('connection_lost')],
  ])('is served until it ends although %s, and a person is asked at once', async (_, answer) => {
    const { tenant, read, refused, row } = await grantAt(answer);
    await rotated();
    expect(row('crm').health).toBe('needs_consent');
    expect((await read('crm')).version).toBe(1);
    tenant.clock.pass(TTL_MS + 1);
    expect(await refused('crm')).toMatchObject({ code: 'needs_consent', extra: { health: 'needs_consent' } });
  });

  it('keeps its grant alive where the platform cannot tell whether anything left: a person is asked last', async () => {
    const { tenant, read, refused, row, sent, runs } = await grantAt(new EgressFailure('fetch_failed', undefined, true));
    await rotated();
    await pass(TTL_MS - 2_000);
    expect(sent.length).toBeGreaterThan(3);
    expect(row('crm').health).toBe('degraded');
    expect(runs('crm')).toMatchObject([{ state: 'open', lost_answers: 0 }]);
    expect((await read('crm')).version).toBe(1);
    // The token has ended: two more sends, as far apart as the breaker has them.
    for (let i = 0; i < 3 && row('crm').health !== 'needs_consent'; i++) {
      tenant.clock.pass(10_000);
      await refused('crm');
    }
    expect(await refused('crm')).toMatchObject({ code: 'needs_consent', extra: { cause: 'answer_lost' } });
  });
});

describe('a grant refused in words that no table knows', () => {
  const WORDS: readonly Answer[] = [
    { status: 200, body: { error: 'expired_authorization' } },
    { status: 400, body: { error: 'invalid_refresh_token' } },
    { status: 401, body: { error: 'invalid_token' } },
    { status: 400, body: '' },
    { status: 403, body: { error: 'inactive_user' } },
  ];

  it.each(WORDS)('%j is a matter for a person once it has lasted longer than a token lives, and not before', async (answer) => {
    const { tenant, row, refused, runs, sent } = await grantAt(answer);
    tenant.clock.pass(TTL_MS - 30_000);
    await bench.engine.runDueWork();
    await pass(TTL_MS - 40_000);
    expect(row('crm').health).toBe('degraded');
    expect((await refused('crm')).code).toBe('provider_unavailable');
    await pass(TTL_MS);
    expect(row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'refused_too_long' });
    expect(runs('crm')).toMatchObject([{ state: 'failed', outcome: 'dead', cause: 'refused_too_long' }]);
    expect(await refused('crm')).toMatchObject({
      code: 'needs_consent',
      extra: { cause: 'refused_too_long', reconnect: expect.any(String) },
    });
    const calls = sent.length;
    await pass(86_400_000);
    expect(sent).toHaveLength(calls);
  });

  it('is not ended by a clock that jumped, before it proved that a token has lived so long', async () => {
    const { tenant, row } = await grantAt({ status: 400, body: { error: 'somebody_invented_this' } });
    const { clock } = tenant;
    clock.pass(TTL_MS - 30_000);
    await bench.engine.runDueWork();
    clock.pass(86_400_000);
    clock.unprovenMs = 86_400_000;
    await bench.engine.runDueWork();
    expect(row('crm').health).toBe('degraded');
    clock.unprovenMs = 0;
    await pass(TTL_MS);
    expect(row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'refused_too_long' });
  });

  it('is not ended at once though its token had ended when it was stored: that is the word of another clock', async () => {
    const { tenant, row } = await grantAt({ status: 400, body: { error: 'somebody_invented_this' } });
    const value_expires_at = tenant.clock.now() - 3_600_000;
    await tenant.vault.submit((job) => changeRows(job.core.rows, 'credential', '1', () => ({ value_expires_at })));
    await bench.engine.runDueWork();
    await pass(10 * 60_000);
    expect(row('crm').health).toBe('degraded');
    await pass(3 * 3_600_000);
    expect(row('crm')).toMatchObject({ health: 'needs_consent', health_cause: 'refused_too_long' });
  });

  it('comes back when somebody asks for a rotation and the provider means it well again', async () => {
    const unknown: Answer = { status: 400, body: { error: 'somebody_invented_this' } };
    const { tenant, row, read, sent } = await grantAt(unknown);
    tenant.clock.pass(TTL_MS + 1);
    await pass(3 * TTL_MS);
    expect(row('crm').health).toBe('needs_consent');
    vi.mocked(bench.engine.ports.egress.send).mockImplementation(async () => ({
      status: 200,
      headers: {},
      body: SecretValue.fromText(JSON.stringify((GOOD as { body: unknown }).body)),
      sentAtMs: tenant.clock.now(),
    }));
    await rotated();
    expect(sent.length).toBeGreaterThan(1);
    expect((await read('crm')).version).toBe(2);
    expect(row('crm').health).toBe('ready');
  });

  it('is none of that while it is away, moved or throttling: that says nothing of the grant', async () => {
    for (const answer of [
      { status: 404, body: '' },
      { status: 503, body: '' },
      { status: 302, body: '' },
    ]) {
      const { tenant, row } = await grantAt(answer);
      tenant.clock.pass(TTL_MS - 30_000);
      await pass(3 * 86_400_000);
      expect(row('crm').health).toBe('degraded');
      await bench.stop();
    }
    bench = await refreshBench();
  });
});

describe('the run of a failed refresh', () => {
  it('keeps what the provider said, and not a byte of what was sent or came', async () => {
    const { tenant, sandbox } = await grantAt({
      status: 400,
      headers: { 'content-type': 'application/json' },
      body: { error: 'licence_expired', error_description: 'Plan does not include API access for client sandbox', echo: 'x' },
    });
    await rotated();
    const steps = tenant.sql.all<RunStepRow>('SELECT * FROM run_step WHERE evidence IS NOT NULL');
    expect(steps).toHaveLength(1);
    expect(JSON.parse(steps[0]?.evidence ?? '')).toMatchObject({
      status: 400,
      content_type: 'application/json',
      words: ['licence_expired'],
      excerpt: expect.stringContaining('Plan does not include API access'),
    });
    expect(steps[0]?.evidence).not.toContain(sandbox.clientSecret);
    const { steps: shown } = { steps: steps.map(({ evidence }) => evidence) };
    expect(shown.join()).not.toMatch(/refresh_token=|client_secret=/);
  });

  it('is a failure in the log, with the code its reader would have had', async () => {
    for (const [answer, reason] of [
      [{ status: 400, body: { error: 'invalid_grant' } }, 'needs_consent'],
      [{ status: 401, body: { error: 'invalid_client' } }, 'provider_misconfigured'],
      [{ status: 200, body: '<p>hello</p>' }, 'provider_unavailable'],
    ] as const) {
      const { tenant } = await grantAt(answer);
      await rotated();
      const events = eventsOf(tenant.sql).filter(({ action }) => action === 'credential.rotate');
      expect(events.at(-1)).toMatchObject({ outcome: 'failure', reason });
      expect(events.at(-2)).toMatchObject({ outcome: 'success', details: { step: 'intent' } });
      await bench.stop();
    }
    bench = await refreshBench();
  });
});
