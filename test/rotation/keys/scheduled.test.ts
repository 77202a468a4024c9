// Schedules at work: what begins when, after downtime, a pause, a failure, a change of rules, a jump of the clock; and overdue alerts.
import { afterEach, describe, expect, it } from 'vitest';
import { toTimestamp } from '../../../src/base/clock.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { CredentialRow } from '../../../src/cell/credentials.ts';
import { labelCredential } from '../../../src/vault/change-credential.ts';
import {
  describeSchedule,
  listRules,
  pauseOwnSchedule,
  pauseRule,
  type RuleInput,
  removeRule,
  setOwnSchedule,
  setRule,
} from '../../../src/vault/manage-schedules.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { ScheduleSpec } from '../../../src/vault/schedule.ts';
import { isAllowed, spreadOf } from '../../../src/vault/schedule-dates.ts';
import type { TenantJob } from '../../../src/vault/tenant-job.ts';
import { type RotationBench, rotationBench } from '../../kit/rotation-bench.ts';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const DB = { environment: 'staging', name: 'db' };

let bench: RotationBench | undefined;
afterEach(() => bench?.close());

async function begin(): Promise<RotationBench> {
  bench = await rotationBench('overlap');
  return bench;
}

const admin = (b: RotationBench) => b.tenant.user(['admin'], 'everywhere', { secondFactorAtMs: b.tenant.clock.now() });
const ask = <T>(b: RotationBench, work: (job: TenantJob, by: ReturnType<typeof admin>) => T): Promise<T> =>
  b.vault.submit((job) => work(job, admin(b)));
const row = (b: RotationBench, name = 'db') =>
  b.tenant.sql.get<CredentialRow>('SELECT * FROM credential WHERE name = ?', name) ?? expect.fail('no such credential');
const own = (b: RotationBench, spec: ScheduleSpec | undefined) => ask(b, (job, by) => setOwnSchedule(job, by, DB, spec));
const rule = (b: RotationBench, name: string, spec: ScheduleSpec, more: Partial<RuleInput> = {}) =>
  ask(b, (job, by) =>
    setRule(job, by, { name, spec, environment: undefined, connector: undefined, label: undefined, priority: 0, ...more }),
  );
const work = (b: RotationBench) => b.runs.runDueWork();
const rotations = (b: RotationBench) => b.rows('rotation').map(({ trigger, state }) => `${trigger}:${state}`);
const alerts = (b: RotationBench) =>
  b.tenant.sql
    .all<{ kind: string; facts: string }>('SELECT kind, facts FROM alert ORDER BY at, rowid')
    .map(({ kind, facts }): Record<string, unknown> => ({ kind, ...JSON.parse(facts) }));

function put(b: RotationBench, name: string, more: { labels?: Record<string, string>; config?: object } = {}) {
  return ask(b, (job, by) =>
    putCredential(job, by, {
      environment: 'staging',
      name,
      kind: 'database',
      value: { engine: 'postgresql', host: 'db.example', username: 'app', password: 'first' },
      connector: 'made-up-target',
      config: more.config,
      labels: more.labels,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );
}

/** Passes the time in steps and does due work at each. */
async function live(b: RotationBench, ms: number, stepMs: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    b.tenant.clock.pass(stepMs);
    await work(b);
  }
}

describe('a schedule of its own', () => {
  it('rotates on its dates, and a manual rotation moves a period but not cron', async () => {
    const b = await begin();
    await own(b, { every_seconds: 86_400, jitter_seconds: 0 });
    const first = row(b).rotation_due_at ?? 0;
    expect(first).toBe(b.tenant.clock.now() + DAY);
    b.tenant.clock.pass(DAY / 2);
    await b.rotate();
    expect(row(b).rotation_due_at).toBe(first + DAY / 2);
    await live(b, DAY, HOUR / 2);
    expect(rotations(b)).toEqual(['request:succeeded', 'schedule:succeeded']);

    await own(b, { cron: '0 3 * * *' });
    const next = row(b).rotation_due_at;
    expect(toTimestamp(next ?? 0)).toMatch(/T03:00:00.000Z$/);
    await b.rotate();
    expect(row(b).rotation_due_at).toBe(next);
  });

  it('shows the next five dates, and none while it is paused; resuming spreads what became due', async () => {
    const b = await begin();
    await own(b, { every_seconds: 86_400, jitter_seconds: 0 });
    const shown = await ask(b, (job, by) => describeSchedule(job, by, DB));
    expect(shown.next.map((one) => (one - b.tenant.clock.now()) / DAY)).toEqual([1, 2, 3, 4, 5]);
    const paused = await ask(b, (job, by) => pauseOwnSchedule(job, by, DB, 'incident 7'));
    expect(paused).toMatchObject({ next: [], applied: { pause: { reason: 'incident 7', by: 'usr_admin' } } });
    expect(row(b)).toMatchObject({ rotation_due_at: null, rotation_promised_at: shown.next[0] });
    await live(b, 3 * DAY, DAY);
    expect(rotations(b)).toEqual([]);
    expect(alerts(b).at(-1)).toMatchObject({ kind: 'credential.rotation_overdue', cause: 'paused', run: null });
    const now = b.tenant.clock.now();
    await ask(b, (job, by) => pauseOwnSchedule(job, by, DB, undefined));
    expect(row(b).rotation_due_at).toBe(now + Math.floor(spreadOf(row(b).id) * HOUR));
    await live(b, 2 * HOUR, 60_000);
    expect(rotations(b)).toEqual(['schedule:succeeded']);
  });

  it('the last one who says how often is right: a put with a period, or a schedule', async () => {
    const b = await begin();
    await own(b, { cron: '0 3 * * *' });
    await put(b, 'db', { config: { rotate_every_seconds: 3_600 } });
    expect((await ask(b, (job, by) => describeSchedule(job, by, DB))).applied).toMatchObject({ spec: { every_seconds: 3_600 } });
    await put(b, 'db', {});
    expect((await ask(b, (job, by) => describeSchedule(job, by, DB))).applied).toMatchObject({ spec: { every_seconds: 3_600 } });
    await own(b, { max_age_seconds: 7_200 });
    expect((await ask(b, (job, by) => describeSchedule(job, by, DB))).applied).toMatchObject({
      spec: { max_age_seconds: 7_200 },
    });
    expect(JSON.parse(row(b).config)).toEqual({});
    await own(b, undefined);
    expect(row(b)).toMatchObject({ rotation_due_at: null, rotation_promised_at: null });
  });

  it('refuses a schedule without a date', async () => {
    const b = await begin();
    await expect(own(b, { cron: '0 0 30 2 *' })).rejects.toMatchObject({ code: 'invalid_request' });
  });
});

describe('a rotation that is due when it cannot begin', () => {
  it('after downtime begins once, spread over the catch-up time, and not by a clock that is not believed', async () => {
    const b = await begin();
    await own(b, { cron: '*/10 * * * *', catch_up_seconds: 7_200 });
    await work(b);
    b.tenant.clock.pass(5 * DAY);
    b.restart();
    b.tenant.clock.unprovenMs = 5 * DAY;
    await work(b);
    expect(rotations(b)).toEqual([]);
    b.tenant.clock.unprovenMs = 0;
    const back = b.tenant.clock.now();
    await work(b);
    expect(row(b).rotation_due_at).toBe(back + Math.floor(spreadOf(row(b).id) * 2 * HOUR));
    await live(b, Math.ceil(spreadOf(row(b).id) * 2 * HOUR), 60_000);
    expect(rotations(b)).toEqual(['schedule:succeeded']);
  });

  it('waits for its window, and a retry of one that changed nothing waits for it, too', async () => {
    const b = await begin();
    const spec: ScheduleSpec = { every_seconds: 60, zone: 'UTC', windows: [{ from: '02:00', to: '03:00' }] };
    await own(b, spec);
    const refused = { kind: 'refused', means: 'transient', cause: 'busy' } as const;
    for (let times = 0; times < 12; times++) b.target.failures.push({ step: 'create', outcome: refused });
    const begun: number[] = [];
    for (let hours = 0; hours < 3 * 24 * 6; hours++) {
      const before = b.target.calls.filter((call) => call === 'create').length;
      await live(b, HOUR / 6, HOUR / 6);
      if (b.target.calls.filter((call) => call === 'create').length > before) begun.push(b.tenant.clock.now());
    }
    expect(begun.length).toBeGreaterThan(2);
    expect(begun.filter((at) => !isAllowed(spec, at)).map(toTimestamp)).toEqual([]);
  });

  it('a value that failed its test is tried again later each time, and at the latest on the next date of cron', async () => {
    const b = await begin();
    await own(b, { cron: '0 0 1 * *' });
    b.target.verdict = 'rejected';
    const ends: number[] = [];
    for (let hours = 0; hours < 24 * 45 && ends.length < 3; hours++) {
      await live(b, HOUR, HOUR);
      const failed = b.rows('rotation').filter(({ state }) => state === 'failed').length;
      if (failed > ends.length) ends.push((row(b).rotation_due_at ?? 0) - b.tenant.clock.now());
    }
    expect(ends).toEqual([HOUR, 2 * HOUR, 4 * HOUR]);
    expect(row(b).rotation_promised_at).toBeLessThan(b.tenant.clock.now());
    b.target.verdict = undefined;
    await live(b, 6 * HOUR, HOUR);
    expect(rotations(b).at(-1)).toBe('schedule:succeeded');
    expect(JSON.parse(row(b).rotation)).not.toHaveProperty('failures');
  });
});

describe('a rule', () => {
  it('covers credentials by its conditions; the most specific applies, then the higher priority, then the name', async () => {
    const b = await begin();
    await put(b, 'gold', { labels: { tier: 'gold' } });
    const applied = async (name: string) =>
      (await ask(b, (job, by) => describeSchedule(job, by, { environment: 'staging', name }))).applied?.rule;
    const spec = { every_seconds: 86_400 };
    await rule(b, 'all', spec);
    expect([await applied('db'), await applied('gold')]).toEqual(['all', 'all']);
    await rule(b, 'in-production', spec, { environment: 'production' });
    await rule(b, 'in-staging', spec, { environment: 'staging' });
    expect(await applied('db')).toBe('in-staging');
    await rule(b, 'by-connector', spec, { connector: 'made-up-target' });
    expect(await applied('db')).toBe('by-connector');
    await rule(b, 'by-label', spec, { label: { name: 'tier', value: 'gold' } });
    expect([await applied('db'), await applied('gold')]).toEqual(['by-connector', 'by-label']);
    await rule(b, 'both', spec, { environment: 'staging', connector: 'made-up-target' });
    expect(await applied('gold')).toBe('both');
    await rule(b, 'a-both', spec, { environment: 'staging', connector: 'made-up-target' });
    expect(await applied('gold')).toBe('a-both');
    await rule(b, 'both', spec, { environment: 'staging', connector: 'made-up-target', priority: 1 });
    expect(await applied('gold')).toBe('both');
    await own(b, { every_seconds: 3_600 });
    expect(await applied('db')).toBeUndefined();
  });

  it('changes the dates of all credentials that it covers, in bounded batches, also after a crash between them', async () => {
    const b = await begin();
    const count = LIMITS.planBatchRows + 30;
    for (let i = 0; i < count; i++) await put(b, `many/${i}`);
    const due = () => Number(b.tenant.sql.get('SELECT count(*) AS n FROM credential WHERE rotation_due_at IS NOT NULL')?.['n']);
    const walk = () => b.tenant.sql.get('SELECT walk_after FROM schedule_rule')?.['walk_after'];
    await rule(b, 'all', { every_seconds: 86_400 });
    expect([due(), walk(), b.vault.nextDueAt()]).toEqual([0, '', 0]);
    await work(b);
    expect(due()).toBe(LIMITS.planBatchRows);
    b.restart();
    await work(b);
    expect([due(), walk()]).toEqual([count + 1, null]);
    const revisions = b.tenant.sql.get('SELECT max(revision) AS n FROM credential')?.['n'];
    await rule(b, 'all', { every_seconds: 86_400 });
    await ask(b, (job, by) => pauseRule(job, by, 'all', 'freeze'));
    for (let i = 0; i < 3; i++) await work(b);
    expect(due()).toBe(0);
    await ask(b, (job, by) => pauseRule(job, by, 'all', undefined));
    for (let i = 0; i < 3; i++) await work(b);
    expect(due()).toBe(count + 1);
    await ask(b, (job, by) => removeRule(job, by, 'all'));
    for (let i = 0; i < 3; i++) await work(b);
    expect([due(), b.tenant.sql.all('SELECT * FROM schedule_rule')]).toEqual([0, []]);
    expect(b.tenant.sql.get('SELECT max(revision) AS n FROM credential')?.['n']).toBe(revisions);
    await rule(b, 'all', { every_seconds: 86_400 });
    expect(b.tenant.sql.all('SELECT name, removed_at FROM schedule_rule')).toEqual([{ name: 'all', removed_at: null }]);
  });

  it('a rule that is set again before the walk after its removal has ended is a new rule, and is intact', async () => {
    const b = await begin();
    await rule(b, 'all', { every_seconds: 86_400 });
    await work(b);
    b.tenant.clock.pass(HOUR);
    await ask(b, (job, by) => removeRule(job, by, 'all'));
    const { created, row: set } = await rule(b, 'all', { every_seconds: 2 * 86_400 });
    expect([created, set.created_at]).toEqual([true, b.tenant.clock.now()]);
    b.restart();
    expect(await ask(b, (job, by) => listRules(job, by))).toMatchObject([{ name: 'all', created_at: set.created_at }]);
    await work(b);
    expect(row(b).rotation_due_at).toBeGreaterThan(b.tenant.clock.now());
    expect(b.vault.nextDueAt()).toBeGreaterThan(0);
  });

  it('an age that old values have passed already spreads them over the catch-up time', async () => {
    const b = await begin();
    for (let i = 0; i < 50; i++) await put(b, `old/${i}`);
    b.tenant.clock.pass(100 * DAY);
    const now = b.tenant.clock.now();
    await rule(b, 'all', { max_age_seconds: 90 * 86_400, catch_up_seconds: 36_000 });
    await work(b);
    const due = b.tenant.sql.all<{ at: number }>('SELECT rotation_due_at AS at FROM credential').map(({ at }) => at - now);
    expect(due.every((at) => at >= 0 && at <= 36_000_000)).toBe(true);
    expect(new Set(due.map((at) => Math.floor(at / HOUR))).size).toBeGreaterThan(6);
  });

  it('is applied when the label of a credential changes', async () => {
    const b = await begin();
    await rule(b, 'gold', { every_seconds: 86_400 }, { label: { name: 'tier', value: 'gold' } });
    const label = (labels: Record<string, string>) =>
      ask(b, (job, by) => labelCredential(job, by, { ...DB, labels, description: undefined, precondition: {} }));
    await label({ tier: 'gold' });
    expect(row(b).rotation_due_at).toBeGreaterThan(b.tenant.clock.now());
    await label({});
    expect(row(b)).toMatchObject({ rotation_due_at: null, overdue_check_at: null });
  });
});

describe('an overdue rotation', () => {
  it('raises one alert after its margin, again after a day and after two more, and ends with a new value', async () => {
    const b = await begin();
    await own(b, { every_seconds: 86_400, jitter_seconds: 0, overdue_after_seconds: 3_600, catch_up_seconds: 60 });
    const refused = { kind: 'refused', means: 'configuration', cause: 'no_permission' } as const;
    for (let times = 0; times < 200; times++) b.target.failures.push({ step: 'create', outcome: refused });
    await live(b, DAY + HOUR - 60_000, HOUR / 2 - 30_000);
    const told = () => alerts(b).filter(({ kind }) => kind !== 'credential.rotation_failed');
    await live(b, 5 * DAY, HOUR);
    expect(told().map(({ kind, times, cause }) => [kind, times, cause])).toEqual([
      ['credential.rotation_overdue', 1, 'no_permission'],
      ['credential.rotation_overdue', 2, 'no_permission'],
      ['credential.rotation_overdue', 3, 'no_permission'],
    ]);
    expect(told()[0]).toMatchObject({ name: 'db', environment: 'staging', overdue_hours: 1 });
    b.target.failures.length = 0;
    await live(b, 2 * HOUR, HOUR);
    expect(told().slice(3)).toMatchObject([{ kind: 'credential.ready', before: 'rotation_overdue' }]);
    expect(JSON.parse(row(b).rotation)).not.toHaveProperty('overdue');
  });

  it('is told while the work that rotates is stuck', async () => {
    const b = await begin();
    await own(b, { every_seconds: 86_400, jitter_seconds: 0, overdue_after_seconds: 3_600 });
    let release = () => {};
    b.target.meanwhile = () =>
      new Promise<void>((resolve) => {
        release = resolve;
      });
    b.tenant.clock.pass(DAY);
    const stuck = work(b);
    await new Promise((resolve) => setImmediate(resolve));
    b.tenant.clock.pass(2 * HOUR);
    await b.runs.watch();
    expect(alerts(b)).toMatchObject([{ kind: 'credential.rotation_overdue', times: 1 }]);
    await b.runs.watch();
    expect(alerts(b)).toHaveLength(1);
    b.target.meanwhile = undefined;
    release();
    await stuck;
  });
});
