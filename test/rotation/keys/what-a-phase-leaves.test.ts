// What each step of a rotation leaves: the run, its journal, the labels of the versions, the doubt, the alerts and the events.
import { afterEach, describe, expect, it } from 'vitest';
import type { NewValue, Rotator, StepOutcome, Target } from '../../../rotation/connector.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { CredentialRow } from '../../../src/cell/credentials.ts';
import type { RunRow } from '../../../src/cell/runs.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import { type KeyConfig, previousValidUntil } from '../../../src/vault/rotation-state.ts';
import { spreadOf } from '../../../src/vault/schedule-dates.ts';
import { FakeTarget, type RotationBench, rotationBench, STRATEGIES } from '../../kit/rotation-bench.ts';
import { changing, eventsOf } from '../../kit/vaults.ts';

type Strategy = (typeof STRATEGIES)[number];

let bench: RotationBench | undefined;
afterEach(() => bench?.close());

async function begin(strategy: Strategy): Promise<RotationBench> {
  bench = await rotationBench(strategy);
  return bench;
}

const now = (b: RotationBench) => b.tenant.clock.now();
const row = (b: RotationBench) =>
  b.tenant.sql.get<Record<string, number | string | null>>("SELECT * FROM credential WHERE name = 'db'") ?? {};
const labels = (b: RotationBench) => {
  const { current_version: current, previous_version: previous, pending_version: pending } = row(b);
  return { current, previous, pending };
};
const rotation = (b: RotationBench, nth = 0) => b.rows('rotation')[nth] as RunRow;
const ending = (b: RotationBench, nth = 0) => b.rows('revocation')[nth] as RunRow;
/** The run that put the current value in doubt. */
const doubt = (b: RotationBench) => (JSON.parse(String(row(b)['rotation'])) as { doubt?: string }).doubt;
const isInDoubt = (b: RotationBench) => doubt(b) === rotation(b).id;
const journal = (b: RotationBench, run: RunRow) =>
  b.tenant.sql
    .all('SELECT step, status FROM run_step WHERE run_id = ? ORDER BY sequence', run.id)
    .map(({ step, status }) => `${step}:${status}`);
const evidence = (b: RotationBench, run: RunRow) =>
  b.tenant.sql.all('SELECT evidence FROM run_step WHERE run_id = ? ORDER BY sequence', run.id).at(-1)?.['evidence'];
const alerts = (b: RotationBench) =>
  b.tenant.sql
    .all<{ kind: string; facts: string }>('SELECT kind, facts FROM alert ORDER BY at, id')
    .map(({ kind, facts }) => `${kind}:${(JSON.parse(facts) as { cause?: string }).cause}`);
/** The events of one action: their outcome and details, without what differs from run to run. */
const told = (b: RotationBench, action: string) =>
  eventsOf(b.tenant.sql)
    .filter((event) => event['action'] === action)
    .map(({ outcome, reason, details }) => {
      const { run, ...rest } = (details ?? {}) as Record<string, unknown>;
      expect(run).toMatch(/^run_/);
      return outcome === 'success' ? rest : { reason, ...rest };
    });
/** The step that changes the target. */
const changingStep = (strategy: Strategy) => (strategy === 'overlap' || strategy === 'in_place' ? 'create' : 'set');
const fail = (b: RotationBench, outcome: StepOutcome, step = changingStep(b.target.strategy)) =>
  b.target.failures.push({ step, outcome });

const put = (b: RotationBench, config: KeyConfig, password = 'first') =>
  b.vault.submit((job) =>
    putCredential(job, b.tenant.user(['admin'], 'everywhere'), {
      environment: 'staging',
      name: 'db',
      kind: 'database',
      value: { engine: 'postgresql', host: 'db.example', username: 'app', password },
      connector: 'made-up-target',
      config,
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );

/** The lease and the plan of a run, as another process would leave them. */
const setRun = (b: RotationBench, run: RunRow, changed: Partial<RunRow>) =>
  b.vault.submit((job) => changing(job, (access) => job.runs.save(access, { ...run, ...changed })));

const PHASES: Readonly<Record<Strategy, readonly string[]>> = {
  overlap: ['create', 'test'],
  single_user: ['create', 'set'],
  alternating_users: ['create', 'set', 'test'],
  in_place: ['create', 'test'],
};

describe.each(STRATEGIES)('a rotation with the strategy %s that succeeds', (strategy) => {
  const hasGrace = strategy === 'overlap' || strategy === 'alternating_users';

  it('leaves each phase in the journal and in an event, and the versions with their labels', async () => {
    const b = await begin(strategy);
    await b.rotate();
    const steps = PHASES[strategy].flatMap((phase) => {
      const ends = { create: ['created:done'], set: strategy === 'single_user' ? [] : ['set:done'], test: [] }[phase] ?? [];
      return ['intent:first', `${phase}:begun`, ...ends];
    });
    expect(journal(b, rotation(b))).toEqual(['queued:request', ...steps, 'test:works', 'finish:rotated']);
    expect(rotation(b)).toMatchObject({
      ...{ state: 'succeeded', step: 'finish', outcome: 'rotated', cause: null, generation: 1, new_version: 2, lost_answers: 0 },
      ...{ attempts: PHASES[strategy].length, next_attempt_at: null, lease_owner: '', finished_at: now(b) },
    });
    expect(labels(b)).toEqual({ current: 2, previous: 1, pending: null });
    expect(row(b)).toMatchObject({ latest_version: 2, rotation_due_at: null });
    expect(doubt(b)).toBeUndefined();
    const events = PHASES[strategy].flatMap((step, index) => {
      const end = step === 'create' ? [{ step, version: 2 }] : step === 'set' && strategy !== 'single_user' ? [{ step }] : [];
      return [{ attempts: index + 1, step }, ...end];
    });
    const finish = { from_version: 1, sign: 'works', step: 'finish', version: 2 };
    expect(told(b, 'credential.rotate')).toEqual([{ trigger: 'request' }, ...events, finish]);
  });

  it('ends the old value after the grace period, or at once where the target refuses it already', async () => {
    const b = await begin(strategy);
    await b.rotate();
    const graceMs = hasGrace ? 3_600_000 : 0;
    const validUntil = () => previousValidUntil(row(b) as unknown as CredentialRow);
    expect(ending(b)).toMatchObject({
      ...{ state: 'open', step: hasGrace ? 'grace' : 'queued', generation: 1, trigger: 'schedule', attempts: 0 },
      ...{ next_attempt_at: now(b) + graceMs },
    });
    const facts = JSON.parse(ending(b).facts) as { rotation?: string; graceMs?: number };
    expect([facts.rotation, facts.graceMs]).toEqual([rotation(b).id, hasGrace ? graceMs : undefined]);
    expect(validUntil()).toBe(hasGrace ? now(b) + graceMs : undefined);
    if (hasGrace) {
      b.tenant.clock.pass(graceMs - 1);
      await b.runs.runDueWork();
      expect(ending(b).attempts).toBe(0);
      b.tenant.clock.pass(1);
    }
    const { revision } = row(b);
    await b.runs.runDueWork();
    const grace = hasGrace ? ['grace:waiting'] : [];
    expect(journal(b, ending(b))).toEqual([
      'queued:schedule',
      ...grace,
      'intent:first',
      'prove_dead:rejected',
      'revoked:revoked',
    ]);
    expect(ending(b)).toMatchObject({
      state: 'succeeded',
      step: 'revoked',
      outcome: 'revoked',
      cause: 'proved_dead',
      attempts: 1,
    });
    expect(told(b, 'credential.revoke')).toEqual([
      { attempts: 1, step: 'revoke', version: 1 },
      { cause: 'proved_dead', sign: 'rejected', step: 'revoked', version: 1 },
    ]);
    expect([alerts(b), row(b)['revision'], validUntil()]).toEqual([[], Number(revision) + 1, undefined]);
  });
});

describe('a failed call that changes the target', () => {
  const said = { status: 503, words: 'busy' };
  const firstWaitMs = LIMITS.rotationBackoffBaseMs * 0.75;
  const FAILURES: readonly (readonly [string, StepOutcome, Partial<RunRow>, number, string])[] = [
    [
      'was not sent',
      { kind: 'not_sent', cause: 'connect_failed' },
      { step: 'waiting', outcome: 'transient' },
      firstWaitMs,
      'provider_unavailable',
    ],
    [
      'was refused for now',
      { kind: 'refused', means: 'transient', cause: 'http_503', said },
      { step: 'waiting', outcome: 'transient' },
      firstWaitMs,
      'provider_unavailable',
    ],
    [
      'was refused for a minute',
      { kind: 'refused', means: 'transient', cause: 'http_429', retryAfterSeconds: 60 },
      { step: 'waiting', outcome: 'transient' },
      60_000,
      'provider_unavailable',
    ],
    [
      'was refused for a year',
      { kind: 'refused', means: 'transient', cause: 'http_429', retryAfterSeconds: 31_536_000 },
      { step: 'waiting', outcome: 'transient' },
      LIMITS.refreshWaitMaxMs,
      'provider_unavailable',
    ],
    [
      'was refused until a person acts',
      { kind: 'refused', means: 'configuration', cause: 'no_permission', said },
      { step: 'needs_manual', outcome: 'configuration' },
      LIMITS.rotationRefusedAgainMs,
      'provider_misconfigured',
    ],
    [
      'got no answer',
      { kind: 'lost', cause: 'timeout' },
      { step: 'uncertain', outcome: 'transient', lost_answers: 1 },
      firstWaitMs,
      'provider_unavailable',
    ],
    [
      'got an odd answer',
      { kind: 'odd', cause: 'answer_lacks_key', said },
      { step: 'uncertain', outcome: 'transient', lost_answers: 1 },
      firstWaitMs,
      'provider_unavailable',
    ],
  ];

  describe.each(STRATEGIES)('with the strategy %s', (strategy) => {
    it.each(FAILURES)('and %s leaves the run waiting, with its cause', async (_, outcome, expected, waitMs, reason) => {
      const b = await begin(strategy);
      // With two calls before it, the wait has grown once more.
      const factor = changingStep(strategy) === 'set' && waitMs === firstWaitMs ? 2 : 1;
      fail(b, outcome);
      await b.rotate();
      const { cause } = outcome as { cause: string };
      expect(rotation(b)).toMatchObject({
        state: 'open',
        cause,
        lost_answers: 0,
        next_attempt_at: now(b) + factor * waitMs,
        ...expected,
      });
      expect(journal(b, rotation(b)).at(-1)).toBe(`${expected.step}:${cause}`);
      const words = 'said' in outcome ? JSON.stringify({ status: 503, excerpt: 'busy' }) : null;
      expect(evidence(b, rotation(b))).toBe(words);
      expect(told(b, 'credential.rotate').at(-1)).toEqual({ reason, step: changingStep(strategy), cause });
      expect(alerts(b)).toEqual(expected.step === 'needs_manual' ? ['credential.rotation_failed:no_permission'] : []);
      expect(labels(b)).toEqual({ current: 1, previous: null, pending: changingStep(strategy) === 'set' ? 2 : null });
      const mayBeReplaced = expected.step === 'uncertain' && (strategy === 'in_place' || strategy === 'single_user');
      expect(isInDoubt(b)).toBe(mayBeReplaced);
    });
  });

  it('is repeated after growing waits, up to a longest one', async () => {
    const b = await begin('overlap');
    const waits: number[] = [];
    for (let turn = 0; turn < 13; turn++) fail(b, { kind: 'not_sent', cause: 'connect_failed' });
    await b.rotate();
    for (let turn = 0; turn < 12; turn++) {
      waits.push(Number(rotation(b).next_attempt_at) - now(b));
      b.tenant.clock.pass(waits.at(-1) ?? 0);
      await b.runs.runDueWork();
    }
    expect(waits).toEqual([...Array.from({ length: 10 }, (_, n) => 3_750 * 2 ** n), 2_700_000, 2_700_000]);
    expect(journal(b, rotation(b)).filter((step) => step.startsWith('intent'))).toEqual(Array(13).fill('intent:first'));
    expect(alerts(b)).toEqual([]);
  });

  it('is told once for each cause that a person must remove', async () => {
    const b = await begin('overlap');
    const refuse = async (cause: string) => {
      fail(b, { kind: 'refused', means: 'configuration', cause });
      await b.rotate();
      return alerts(b).length;
    };
    expect([await refuse('no_permission'), await refuse('no_permission'), await refuse('key_cap_reached')]).toEqual([1, 1, 2]);
    fail(b, { kind: 'not_sent', cause: 'connect_failed' });
    await b.rotate();
    expect(await refuse('key_cap_reached')).toBe(3);
  });

  it('is not sent before its next attempt is due, unless somebody asks for it', async () => {
    const b = await begin('overlap');
    fail(b, { kind: 'not_sent', cause: 'connect_failed' });
    await b.rotate();
    b.tenant.clock.pass(firstWaitMs - 1);
    await b.runs.runDueWork();
    expect(b.target.calls).toEqual(['create']);
    b.tenant.clock.pass(1);
    await b.runs.runDueWork();
    expect(b.target.calls).toEqual(['create', 'create', 'test']);
  });
});

describe('a call whose answer was lost', () => {
  const lost = { kind: 'lost', cause: 'timeout' } as const;
  const refusedNow = { kind: 'refused', means: 'transient', cause: 'http_503' } as const;

  it('is repeated as such, and a refusal then clears the doubt only if the old value still works', async () => {
    for (const accepted of [true, false]) {
      const b = await begin('in_place');
      fail(b, lost);
      await b.rotate();
      expect(isInDoubt(b)).toBe(true);
      if (!accepted) b.target.accepted.set('app', new Set(['another']));
      fail(b, refusedNow);
      b.target.calls = [];
      await b.rotate();
      expect(b.target.calls).toEqual(['create', 'test']);
      expect(journal(b, rotation(b)).slice(-3)).toEqual(['intent:again', 'create:again', 'waiting:http_503']);
      expect([isInDoubt(b), rotation(b).lost_answers]).toEqual([!accepted, 1]);
      b.close();
    }
    bench = undefined;
  });

  it('is repeated after its wait as a first one, once the target refused it', async () => {
    const b = await begin('overlap');
    fail(b, refusedNow);
    await b.rotate();
    await b.rotate();
    expect(journal(b, rotation(b))).toContain('waiting:http_503');
    expect(journal(b, rotation(b)).some((step) => step.endsWith(':again'))).toBe(false);
  });

  it('of a new password is not sent again if the target took it', async () => {
    for (const strategy of ['single_user', 'alternating_users'] as const) {
      const b = await begin(strategy);
      b.target.failures.push({ step: 'set', outcome: lost, applied: true });
      if (strategy === 'single_user') b.target.verdict = 'unknown';
      await b.rotate();
      expect([rotation(b).step, labels(b).pending]).toEqual(['uncertain', 2]);
      b.target.verdict = undefined;
      b.target.calls = [];
      await b.rotate();
      expect(b.target.calls).toEqual(['test']);
      expect(rotation(b).state).toBe('succeeded');
      expect(JSON.parse(rotation(b).facts)).toMatchObject({ isSet: true });
      expect(journal(b, rotation(b)).slice(-4)).toEqual(['intent:again', 'set:again', 'test:works', 'finish:rotated']);
      b.close();
    }
    bench = undefined;
  });

  it('of a new password that works at once is over', async () => {
    const b = await begin('single_user');
    b.target.failures.push({ step: 'set', outcome: lost, applied: true });
    await b.rotate();
    expect(rotation(b)).toMatchObject({ state: 'succeeded', lost_answers: 0 });
    expect(b.target.calls).toEqual(['create', 'set', 'test']);
  });
});

describe('a test of the new value', () => {
  it('that tells nothing is repeated later, and after a set it is unknown whether the old value still works', async () => {
    for (const strategy of STRATEGIES) {
      const b = await begin(strategy);
      b.target.verdict = 'unknown';
      await b.rotate();
      const isSet = strategy === 'single_user';
      expect(rotation(b)).toMatchObject({
        state: 'open',
        step: isSet ? 'uncertain' : 'waiting',
        cause: 'test_unknown',
        outcome: 'transient',
      });
      expect(journal(b, rotation(b)).slice(-2)).toEqual(['test:unknown', `${isSet ? 'uncertain' : 'waiting'}:test_unknown`]);
      expect(told(b, 'credential.rotate').at(-1)).toEqual({
        step: isSet ? 'set' : 'test',
        sign: 'unknown',
        cause: 'test_unknown',
      });
      expect(isInDoubt(b)).toBe(strategy === 'in_place' || isSet);
      expect([alerts(b), b.target.calls.filter((call) => call === 'test')]).toEqual([[], ['test']]);
      b.close();
    }
    bench = undefined;
  });

  it.each(['overlap', 'alternating_users'] as const)(
    'that is refused again and again ends the rotation, and the old value stays (%s)',
    async (strategy) => {
      const b = await begin(strategy);
      await put(b, { rotate_every_seconds: 86_400 * 30 });
      const dueAt = row(b)['rotation_due_at'];
      b.target.verdict = 'rejected';
      await b.rotate();
      const testedFrom = now(b);
      expect(rotation(b)).toMatchObject({ state: 'open', step: 'waiting', cause: 'test_rejected' });
      expect(JSON.parse(rotation(b).facts)).toMatchObject({ refusedTests: 1, testedFrom });
      b.tenant.clock.pass(10);
      await b.rotate();
      expect(JSON.parse(rotation(b).facts)).toMatchObject({ refusedTests: 2, testedFrom });
      expect([rotation(b).state, alerts(b)]).toEqual(['open', []]);
      await b.rotate();
      expect(rotation(b)).toMatchObject({
        state: 'failed',
        step: 'failed',
        outcome: 'test_failed',
        cause: 'test_rejected',
        new_version: null,
      });
      expect(journal(b, rotation(b)).at(-1)).toBe('failed:test_failed');
      expect(told(b, 'credential.rotate').at(-1)).toEqual({
        reason: 'provider_misconfigured',
        step: 'test',
        sign: 'rejected',
        cause: 'test_rejected',
      });
      expect(alerts(b)).toEqual(['credential.rotation_failed:test_rejected']);
      expect(labels(b)).toMatchObject({ current: 2, pending: null });
      expect([typeof dueAt, row(b)['rotation_due_at'], doubt(b)]).toEqual([
        'number',
        now(b) + LIMITS.rotationBackoffMaxMs,
        undefined,
      ]);
      // Only a key that was made at the target must be ended there.
      expect(b.rows('revocation').map(({ generation, step }) => [generation, step])).toEqual(
        strategy === 'overlap' ? [[3, 'queued']] : [],
      );
    },
  );

  it('that is refused while the old value works: the target did not take the new one, which is set again', async () => {
    const b = await begin('single_user');
    const notTaken = () => b.target.failures.push({ step: 'set', outcome: { kind: 'done' } });
    notTaken();
    await b.rotate();
    expect(rotation(b)).toMatchObject({ state: 'open', step: 'waiting', cause: 'not_taken' });
    expect(JSON.parse(rotation(b).facts)).toMatchObject({ refusedTests: 1, isSet: false });
    expect([isInDoubt(b), b.target.calls]).toEqual([false, ['create', 'set', 'test', 'test']]);
    await b.rotate();
    expect([rotation(b).state, b.target.works(await b.read())]).toEqual(['succeeded', true]);
  });

  it('that is refused so three times ends the rotation, and the old value stays', async () => {
    const b = await begin('single_user');
    for (let turn = 0; turn < 3; turn++) b.target.failures.push({ step: 'set', outcome: { kind: 'done' } });
    for (let turn = 0; turn < 3; turn++) await b.rotate();
    expect(rotation(b)).toMatchObject({ state: 'failed', outcome: 'test_failed' });
    expect([await b.read(), b.rows('revocation'), row(b)['rotation_due_at']]).toEqual([
      expect.objectContaining({ password: 'first' }),
      [],
      null,
    ]);
  });

  it.each([
    ['rejected', 'both_values_refused'],
    ['unknown', 'test_rejected'],
  ] as const)('that is refused while the old value is %s is told at once and never given up', async (old, cause) => {
    const b = await begin('single_user');
    const rotator = b.target.rotator.bind(b.target);
    b.target.rotator = () => ({
      ...rotator(),
      test: async (_target, value) => (value['password'] === 'first' ? old : 'rejected'),
    });
    for (let turn = 0; turn < 5; turn++) await b.rotate();
    expect(rotation(b)).toMatchObject({ state: 'open', step: 'uncertain', outcome: 'configuration', cause });
    expect(isInDoubt(b)).toBe(true);
    expect(alerts(b)).toEqual([`credential.rotation_failed:${cause}`]);
    expect(labels(b)).toEqual({ current: 1, previous: null, pending: 2 });
  });
});

describe('the end of a replaced value', () => {
  async function atItsEnd(strategy: Strategy = 'overlap'): Promise<RotationBench> {
    const b = await begin(strategy);
    await b.rotate();
    b.tenant.clock.pass(3_600_000);
    return b;
  }
  const waitMs = LIMITS.revokeBackoffBaseMs * 0.75;
  const said = { status: 500, words: 'oops' };

  it.each([
    [{ kind: 'not_sent', cause: 'connect_failed' }, waitMs, null],
    [{ kind: 'lost', cause: 'timeout' }, waitMs, null],
    [{ kind: 'odd', cause: 'http_299', said }, waitMs, '{"status":500,"excerpt":"oops"}'],
    [{ kind: 'refused', means: 'configuration', cause: 'no_permission' }, waitMs, null],
    [
      { kind: 'refused', means: 'transient', cause: 'http_429', retryAfterSeconds: 600, said },
      600_000,
      '{"status":500,"excerpt":"oops"}',
    ],
    [{ kind: 'refused', means: 'transient', cause: 'http_429', retryAfterSeconds: 1e9 }, LIMITS.refreshWaitMaxMs, null],
  ] as const)('that fails by %o is repeated, and reported once', async (outcome, expectedMs, words) => {
    const b = await atItsEnd();
    fail(b, outcome, 'revoke');
    fail(b, outcome, 'revoke');
    await b.runs.runDueWork();
    const { cause } = outcome;
    expect(ending(b)).toMatchObject({
      state: 'open',
      step: 'waiting',
      outcome: 'exposed',
      cause,
      attempts: 1,
      next_attempt_at: now(b) + expectedMs,
    });
    expect(journal(b, ending(b)).at(-1)).toBe(`waiting:${cause}`);
    expect(evidence(b, ending(b))).toBe(words);
    expect(b.target.calls.at(-1), 'there is nothing to prove').toBe('revoke');
    expect(told(b, 'credential.revoke').at(-1)).toEqual({ reason: 'provider_unavailable', cause, version: 1 });
    expect(alerts(b)).toEqual([`credential.exposed:${cause}`]);
    b.tenant.clock.pass(expectedMs);
    await b.runs.runDueWork();
    expect([ending(b).attempts, alerts(b).length]).toEqual([2, 1]);
    b.tenant.clock.pass(LIMITS.refreshWaitMaxMs);
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({ state: 'succeeded', outcome: 'revoked', cause: 'proved_dead' });
  });

  it('is attempted once by all who do due work, and is over when due work is over', async () => {
    const b = await atItsEnd();
    const rotator = b.target.rotator.bind(b.target);
    b.target.rotator = () => ({
      ...rotator(),
      revoke: async (target, value) => {
        for (let turn = 0; turn < 60; turn++) await new Promise((resume) => setImmediate(resume));
        return (await rotator().revoke?.(target, value)) ?? { kind: 'done' };
      },
    });
    b.target.calls = [];
    const first = b.runs.runDueWork();
    await b.runs.runDueWork();
    await first;
    expect(b.target.calls).toEqual(['revoke', 'test']);
    expect(ending(b)).toMatchObject({ outcome: 'revoked', attempts: 1 });
  });

  it('is reported while the value still works', async () => {
    const b = await atItsEnd();
    b.target.verdict = 'works';
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({ state: 'open', step: 'waiting', outcome: 'exposed', cause: 'still_works' });
    expect(journal(b, ending(b)).slice(-2)).toEqual(['prove_dead:works', 'waiting:still_works']);
    expect(told(b, 'credential.revoke').at(-1)).toMatchObject({
      reason: 'provider_unavailable',
      step: 'prove_dead',
      sign: 'works',
    });
    expect(alerts(b)).toEqual(['credential.exposed:still_works']);
  });

  it('is believed without a proof after as many tries as are worth it', async () => {
    const b = await atItsEnd();
    b.target.verdict = 'unknown';
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({
      state: 'open',
      step: 'waiting',
      cause: 'unproven',
      outcome: null,
      next_attempt_at: now(b) + waitMs,
    });
    for (let turn = 0; turn < 2; turn++) {
      b.tenant.clock.pass(LIMITS.revokeBackoffMaxMs);
      expect(ending(b).state).toBe('open');
      await b.runs.runDueWork();
    }
    expect(ending(b)).toMatchObject({ state: 'succeeded', outcome: 'revoked', cause: 'unproven', attempts: 3 });
    expect(alerts(b)).toEqual([]);
  });

  it.each([
    ['the current one again', { current_version: 1, previous_version: 2 }],
    ['one that is to become current', { pending_version: 1 }],
  ])('is cancelled when the value became %s', async (_, changed) => {
    const b = await atItsEnd();
    await b.vault.submit((job) =>
      changing(job, (access) => {
        const found = job.credentials.byId(access, String(row(b)['id']));
        job.credentials.save(access, { ...found, ...changed });
      }),
    );
    b.target.calls = [];
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({ state: 'cancelled', step: 'superseded', outcome: 'superseded', cause: 'in_use' });
    expect([b.target.calls, told(b, 'credential.revoke')]).toEqual([[], [{ step: 'superseded', cause: 'in_use', version: 1 }]]);
  });

  it('is given up with the value, and a deleted credential is not changed by it', async () => {
    const gone = await atItsEnd();
    const id = String(row(gone)['id']);
    await gone.vault.submit((job) => changing(job, (access) => job.credentials.dropVersions(access, id)));
    await gone.runs.runDueWork();
    expect(ending(gone)).toMatchObject({ state: 'failed', outcome: 'given_up', cause: 'value_destroyed', attempts: 0 });
    gone.close();
    for (const state of ['deleted', 'destroyed'] as const) {
      const b = await atItsEnd();
      await b.vault.submit((job) =>
        changing(job, (access) => job.credentials.save(access, { ...job.credentials.byId(access, String(row(b)['id'])), state })),
      );
      const { revision } = row(b);
      await b.runs.runDueWork();
      expect(ending(b)).toMatchObject(
        state === 'deleted' ? { outcome: 'revoked' } : { outcome: 'given_up', cause: 'value_destroyed' },
      );
      expect(row(b)['revision']).toBe(revision);
      b.close();
    }
    bench = undefined;
  });

  it('waits, and is reported, while its connector cannot be used', async () => {
    const b = await atItsEnd();
    const rotator = b.target.rotator.bind(b.target);
    Object.assign(b.target, { rotator: () => undefined });
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({
      state: 'open',
      outcome: 'exposed',
      cause: 'connector_unusable',
      attempts: 1,
      next_attempt_at: now(b) + waitMs,
    });
    expect(alerts(b)).toEqual(['credential.exposed:connector_unusable']);
    b.target.rotator = rotator;
    b.tenant.clock.pass(waitMs);
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({ outcome: 'revoked', attempts: 2 });
  });

  it('is not booked by a process that lost its lease', async () => {
    const b = await atItsEnd();
    const rotator = b.target.rotator.bind(b.target);
    b.target.rotator = () => ({
      ...rotator(),
      revoke: async () => {
        const run = ending(b);
        await setRun(b, run, { fence: run.fence + 1 });
        return { kind: 'done' };
      },
    });
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({ state: 'open', step: 'intent', attempts: 1 });
    b.target.rotator = rotator;
    b.tenant.clock.pass(LIMITS.leaseMs);
    await b.runs.runDueWork();
    expect(journal(b, ending(b)).filter((step) => step.startsWith('intent'))).toEqual(['intent:first', 'intent:again']);
  });
});

describe('a scheduled rotation', () => {
  it('begins at its time with an event, and plans the next one when it ends', async () => {
    const b = await begin('overlap');
    await put(b, { rotate_every_seconds: 86_400 });
    // Up to a tenth early, always by the same part.
    const everyMs = Math.round(86_400_000 * (1 - spreadOf(String(row(b)['id'])) / 10));
    expect(row(b)['rotation_due_at']).toBe(now(b) + everyMs);
    b.tenant.clock.pass(everyMs - 1);
    await b.runs.runDueWork();
    expect(b.rows('rotation')).toEqual([]);
    b.tenant.clock.pass(1);
    expect((await b.runs.runDueWork()) as object).toBeDefined();
    expect(rotation(b)).toMatchObject({ state: 'succeeded', trigger: 'schedule', generation: 2, new_version: 3 });
    expect(told(b, 'credential.rotate')[0]).toEqual({ step: 'queued', trigger: 'schedule' });
    expect(row(b)['rotation_due_at']).toBe(now(b) + everyMs);
  });

  it('joins an open one, which then plans the next', async () => {
    const b = await begin('overlap');
    await put(b, { rotate_every_seconds: 86_400 });
    fail(b, { kind: 'refused', means: 'transient', cause: 'http_429', retryAfterSeconds: 86_400 });
    await b.rotate();
    b.tenant.clock.pass((row(b)['rotation_due_at'] as number) - now(b));
    await b.runs.runDueWork();
    expect([b.rows('rotation').length, rotation(b).state, row(b)['rotation_due_at']]).toEqual([1, 'open', null]);
    b.tenant.clock.pass(86_400_000);
    await b.runs.runDueWork();
    expect(rotation(b).state).toBe('succeeded');
    expect(row(b)['rotation_due_at']).toBe(now(b) + Math.round(86_400_000 * (1 - spreadOf(String(row(b)['id'])) / 10)));
  });
});

describe('the lease of a rotation', () => {
  async function waiting(): Promise<RotationBench> {
    const b = await begin('overlap');
    fail(b, { kind: 'not_sent', cause: 'connect_failed' });
    await b.rotate();
    b.target.calls = [];
    return b;
  }
  const advance = async (b: RotationBench, changed: Partial<RunRow>) => {
    await setRun(b, rotation(b), changed);
    await b.runs.advance(rotation(b).credential_id);
    return b.target.calls.length > 0;
  };

  it('of another process is respected until it ends', async () => {
    const b = await waiting();
    const other = { lease_owner: 'another', next_attempt_at: now(b) };
    expect(await advance(b, { ...other, lease_until: now(b) + 1 })).toBe(false);
    expect(await advance(b, { ...other, lease_until: now(b) })).toBe(true);
  });

  it('of its own is continued', async () => {
    const b = await waiting();
    expect(await advance(b, { lease_owner: 'owner-1', lease_until: now(b) + 9, next_attempt_at: now(b) + 9 })).toBe(true);
  });
});

describe('a request for a rotation', () => {
  it('gets the open run, and one execution is shared by all who ask', async () => {
    const b = await begin('overlap');
    const open = () =>
      b.vault.submit((job) =>
        b.runs.open(job, b.tenant.user(['admin'], 'everywhere', { secondFactorAtMs: now(b) }), 'staging', 'db'),
      );
    const [one, two] = [await open(), await open()];
    expect(two).toEqual(one);
    expect(one).toMatchObject({ kind: 'rotation', trigger: 'request', generation: 1, state: 'open' });
    expect(b.runs.idle).toBe(true);
    const all = [b.runs.advance(one.credential_id), b.runs.advance(one.credential_id)];
    expect([all[0] === all[1], b.runs.idle]).toEqual([true, false]);
    await Promise.all(all);
    expect([b.runs.idle, b.target.calls]).toEqual([true, ['create', 'test']]);
  });

  it('begins nothing once the process stops, and what is under way ends first', async () => {
    const b = await begin('overlap');
    let stopped: Promise<void> | undefined;
    b.target.meanwhile = async () => {
      stopped = b.runs.stop();
    };
    await b.rotate();
    await stopped;
    expect([b.target.calls, labels(b).pending, rotation(b).state]).toEqual([['create'], 2, 'open']);
    await b.runs.advance(rotation(b).credential_id);
    expect(b.target.calls).toEqual(['create']);
  });
});

describe('a rotation whose run ended while its new value was made', () => {
  const superseded = async (strategy: Strategy, changed: object) => {
    const b = await begin(strategy);
    b.target.meanwhile = async () => {
      b.target.meanwhile = undefined;
      await setRun(b, rotation(b), { state: 'cancelled', outcome: 'superseded', next_attempt_at: null, lease_owner: '' });
      await b.vault.submit((job) =>
        changing(job, (access) => {
          const found = job.credentials.byId(access, String(row(b)['id']));
          job.credentials.save(access, { ...found, ...changed });
        }),
      );
    };
    await b.rotate();
    return b;
  };

  it('ends that value at its target at once, without a label, in an event of its own', async () => {
    const b = await superseded('overlap', {});
    expect(labels(b)).toEqual({ current: 1, previous: null, pending: null });
    expect(row(b)).toMatchObject({ latest_version: 2 });
    expect(b.rows('revocation')).toMatchObject([{ generation: 2, state: 'open', step: 'queued', next_attempt_at: now(b) }]);
    expect(told(b, 'credential.rotate').at(-1)).toEqual({ step: 'orphan' });
    await b.runs.runDueWork();
    expect(ending(b)).toMatchObject({ outcome: 'revoked', cause: 'proved_dead' });
    expect(b.target.works(await b.read())).toBe(true);
  });

  it('has nothing to end where the value was never sent, or where its credential is destroyed', async () => {
    for (const [strategy, changed] of [
      ['alternating_users', {}],
      ['overlap', { state: 'destroyed' }],
    ] as const) {
      const b = await superseded(strategy, changed);
      expect([b.rows('revocation'), row(b)['latest_version']]).toEqual([[], 1]);
      b.close();
    }
    bench = undefined;
  });

  it('has nothing to end where the value could not be made', async () => {
    const b = await begin('overlap');
    fail(b, { kind: 'lost', cause: 'timeout' });
    b.target.meanwhile = async () => {
      b.target.meanwhile = undefined;
      await setRun(b, rotation(b), { state: 'cancelled', outcome: 'superseded', next_attempt_at: null, lease_owner: '' });
    };
    await b.rotate();
    expect([b.rows('revocation'), row(b)['latest_version'], alerts(b)]).toEqual([[], 1, []]);
  });
});

describe('what a rotation asks of its target', () => {
  /** The rotator of the target with some functions replaced. */
  const replacing = (b: RotationBench, change: (rotator: Rotator) => Partial<Rotator>) => {
    const rotator = b.target.rotator.bind(b.target);
    b.target.rotator = () => ({ ...rotator(), ...change(rotator()) });
  };

  it('is checked before a first call, and not before a repeated one', async () => {
    const b = await begin('in_place');
    const outcomes: StepOutcome[] = [{ kind: 'refused', means: 'configuration', cause: 'key_cap_reached' }, { kind: 'done' }];
    let checks = 0;
    replacing(b, () => ({
      check: async () => {
        checks += 1;
        return outcomes.shift() ?? { kind: 'done' };
      },
    }));
    await b.rotate();
    expect([checks, b.target.calls, rotation(b).cause, isInDoubt(b)]).toEqual([1, [], 'key_cap_reached', false]);
    fail(b, { kind: 'lost', cause: 'timeout' });
    await b.rotate();
    expect([checks, b.target.calls, isInDoubt(b)]).toEqual([2, ['create'], true]);
    const { revision } = row(b);
    fail(b, { kind: 'lost', cause: 'timeout' });
    await b.rotate();
    expect([checks, row(b)['revision'], rotation(b).lost_answers]).toEqual([2, revision, 2]);
  });

  it('names the run, the value in use and the one that manages it', async () => {
    const b = await begin('overlap');
    const seen: { step: string; name: string; old: unknown; admin: unknown }[] = [];
    const note = (step: string, { name, old, admin }: Target) =>
      void seen.push({ step, name, old: old['password'], admin: admin['password'] });
    replacing(b, (rotator) => ({
      create: async (target, again) => {
        note('create', target);
        return rotator.create(target, again);
      },
      revoke: async (target, value) => {
        note('revoke', target);
        return (await rotator.revoke?.(target, value)) ?? { kind: 'done' };
      },
    }));
    await b.rotate();
    await b.finish();
    expect(seen).toEqual([
      { step: 'create', name: `keyturn-${rotation(b).id}`, old: 'first', admin: 'first' },
      { step: 'revoke', name: `keyturn-${ending(b).id}`, old: 'first', admin: 'made-up-1' },
    ]);
  });
});

describe('a new value', () => {
  it('that ends has its end reviewed from then on', async () => {
    const b = await begin('overlap');
    const rotator = b.target.rotator.bind(b.target);
    const endsAtMs = now(b) + 86_400_000 * 90;
    b.target.rotator = () => ({
      ...rotator(),
      create: async (target, again) => ({ ...(await rotator().create(target, again)), endsAtMs }) as StepOutcome<NewValue>,
    });
    expect([row(b)['value_expires_at'], row(b)['review_due_at']]).toEqual([null, null]);
    await b.rotate();
    expect(row(b)['value_expires_at']).toBe(endsAtMs);
    expect(row(b)['review_due_at']).toBeLessThanOrEqual(endsAtMs);
  });

  it.each([
    [{ grace_seconds: 60 }, 60],
    [{ grace_seconds: 60, deadline_seconds: 60 }, 60],
    [{ deadline_seconds: 90 }, 90],
    [{ deadline_seconds: 86_400 }, 3_600],
  ])('leaves the old one its grace period, and no longer than until the deadline: %o', async (config, seconds) => {
    const b = await begin('overlap');
    await put(b, config);
    await b.rotate();
    expect(ending(b)).toMatchObject({ step: 'grace', next_attempt_at: now(b) + seconds * 1_000 });
  });

  it('may be refused for as long as its provider distributes it', async () => {
    const target = new FakeTarget('overlap');
    const key = { credential: 'database', strategy: 'overlap', admin: 'either', hosts: [], driver: 'postgresql' } as const;
    bench = await rotationBench('overlap', {
      connector: { id: 'slow', title: 'Slow', kind: 'key', key: { ...key, settlesWithinSeconds: 7_200 } },
      egress: { send: () => Promise.reject(new Error('no network')) },
      value: { engine: 'postgresql', host: 'db.example', username: 'app', password: 'first' },
      parameters: {},
      driver: { rotator: () => target.rotator() },
    });
    target.verdict = 'rejected';
    for (let turn = 0; turn < 4; turn++) await bench.rotate();
    bench.tenant.clock.pass(7_199_999);
    await bench.rotate();
    expect([rotation(bench).state, rotation(bench).cause]).toEqual(['open', 'test_rejected']);
    bench.tenant.clock.pass(1);
    await bench.rotate();
    expect([rotation(bench).state, rotation(bench).outcome]).toEqual(['failed', 'test_failed']);
    target.verdict = undefined;
    await bench.rotate();
    expect(ending(bench, 1)).toMatchObject({ step: 'grace', next_attempt_at: now(bench) + LIMITS.graceDefaultSeconds * 1_000 });
  });
});
