// The review of grants: the day is kept, told 30, 7 and 1 days before, once each, and a grant that is refreshed costs next to nothing.
import { describe, expect, it, vi } from 'vitest';
import type { Connector, LifetimeSpec, OAuth2Spec } from '../../../rotation/connector.ts';
import { type ForecastEntry, readForecast } from '../../../rotation/grants/read-forecast.ts';
import { reviewDue } from '../../../rotation/grants/review.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import type { CredentialRow } from '../../../src/cell/credentials.ts';
import { deleteCredential, restoreCredential } from '../../../src/vault/change-credential.ts';
import type { OAuth2Config } from '../../../src/vault/credential-kinds.ts';
import { applyTiming } from '../../../src/vault/due.ts';
import { changeGrant, type Grant } from '../../../src/vault/grant.ts';
import { ANSWER_LOST, changeHealth, type Health } from '../../../src/vault/grant-health.ts';
import { putCredential } from '../../../src/vault/put-credential.ts';
import type { TenantJob } from '../../../src/vault/tenant-job.ts';
import { changing, eventsOf, testTenant } from '../../kit/vaults.ts';
import { GENERIC } from '../kit.ts';

const DAY = 86_400_000;
const HOUR = 3_600_000;

interface Told {
  readonly name: string;
  readonly days_left: number;
  readonly cause: string;
  readonly certain: boolean;
}

function connectorOf(lifetimes: LifetimeSpec, oauth2: Partial<OAuth2Spec> = {}): Connector {
  return {
    id: 'made-up',
    title: 'Made up',
    kind: 'oauth2',
    oauth2: { ...GENERIC, refreshTokenRotates: 'always', ...oauth2 },
    lifetimes,
  };
}

async function bench(lifetimes: LifetimeSpec, oauth2: Partial<OAuth2Spec> = {}) {
  const tenant = await testTenant();
  const { vault, clock, sql } = tenant;
  const connectors = new Map([['made-up', connectorOf(lifetimes, oauth2)]]);
  const ports = { vault, egress: { send: () => Promise.reject(new Error('no network')) }, connectors, sandboxAllowed: false };
  const admin = () => tenant.user(['admin'], 'everywhere');
  const change = (
    name: string,
    effect: (facts: CredentialRow, environment: string, job: TenantJob) => void,
    environment = 'staging',
  ) =>
    vault.submit((job) =>
      changing(job, (access) => {
        const id = job.credentials.findEnvironment(access, environment)?.id ?? '';
        const row = job.credentials.find(access, id, name);
        if (row === undefined) throw new Error('no credential');
        const facts = { ...row };
        effect(facts, environment, job);
        job.credentials.save(access, facts);
      }),
    );
  const split = () => ({ value: new Uint8Array(), retained: new TextEncoder().encode('{"refresh_token":"r"}'), expiresAtMs: clock.now() + HOUR }); // biome-ignore format: one line
  const value = { access_token: 'a-not-a-real-secret', refresh_token: 'r-not-a-real-secret', expires_in: 3_600 };
  return {
    tenant,
    ports,
    change,
    put: async (name: string, facts: Grant = {}, config: Partial<OAuth2Config> = {}, environment = 'staging') => {
      await vault.submit((job) =>
        putCredential(job, admin(), {
          environment,
          name,
          kind: 'oauth2',
          value,
          connector: 'made-up',
          config: { client_id: 'c', ...config },
          labels: undefined,
          description: undefined,
          expiresAtMs: undefined,
          precondition: {},
        }),
      );
      await change(name, (row) => changeGrant(row, { consentedAt: clock.now(), ...facts }), environment);
    },
    /** As a refresh does it. */
    refresh: (name: string) =>
      change(name, (row, _environment, job) => {
        changeGrant(row, { refreshedAt: clock.now() });
        applyTiming(job, row, split(), clock.now());
      }),
    health: (name: string, health: Health, cause = 'http_5xx', where = 'staging') =>
      change(
        name,
        (row, environment, job) => {
          changing(job, (access) => changeHealth({ job, access, draft: row, environment: { name: environment } }, health, cause));
        },
        where,
      ),
    review: () => reviewDue(ports),
    row: (name: string) => sql.get<CredentialRow>('SELECT * FROM credential WHERE name = ?', name) as unknown as CredentialRow,
    ends: () =>
      sql
        .all<{ at: number; facts: string }>("SELECT at, facts FROM alert WHERE kind = 'credential.ends_soon' ORDER BY at, rowid")
        .map(({ at, facts }) => ({ at, ...(JSON.parse(facts) as Told) })),
    events: () => eventsOf(sql).filter((event) => event['action'] === 'credential.review'),
    forecast: (input: Partial<Parameters<typeof readForecast>[3]> = {}) =>
      vault.submit((job) =>
        readForecast(job, connectors, admin(), {
          environment: undefined,
          withinDays: undefined,
          after: '',
          maxRows: 50,
          ...input,
        }),
      ),
    /** Jumps from one due review to the next until `until`. */
    pass: async (days: number, each: () => Promise<unknown> = async () => {}) => {
      const until = clock.now() + days * DAY;
      let reviews = 0;
      for (let turn = 0; turn < 5_000; turn++) {
        const due = sql.get<{ at: number | null }>('SELECT min(review_due_at) AS at FROM credential')?.at;
        if (due === null || due === undefined || due > until) break;
        clock.atMs = Math.max(clock.atMs, due);
        await each();
        reviews += await reviewDue(ports);
      }
      clock.atMs = until;
      return reviews;
    },
  };
}

const idOf = (rows: readonly ForecastEntry[], name: string) => rows.find(({ row }) => row.name === name)?.row.id ?? '';

describe('a grant with an absolute limit', () => {
  it('is told of 30, 7 and 1 days before its end, once each, although it is refreshed every hour', async () => {
    const { put, pass, ends, refresh, row, tenant, events } = await bench({ absoluteSeconds: 90 * 86_400 });
    await put('crm');
    const start = tenant.clock.now();
    await pass(90, () => refresh('crm'));
    const end = start + 90 * DAY;
    expect(ends().map(({ at, days_left, cause }) => [Math.round((end - at) / DAY), days_left, cause])).toEqual([
      [30, 30, 'absolute_limit'],
      [7, 7, 'absolute_limit'],
      [1, 1, 'absolute_limit'],
    ]);
    expect(ends()[0]).toMatchObject({ certain: true, ends_at: new Date(end).toISOString(), remedy: expect.stringMatching(/^Connect the account again before /) }); // biome-ignore format: one line
    expect(row('crm').grant_ends_at).toBe(end);
    expect(events()).toHaveLength(3);
    expect(events()[0]).toMatchObject({ actor: { type: 'system' }, details: { cause: 'absolute_limit' } });
  });

  it('that is connected again starts anew: its next notices come in their time', async () => {
    const { put, pass, ends, row, tenant } = await bench({ absoluteSeconds: 40 * 86_400 });
    await put('crm');
    await pass(35);
    expect(ends()).toHaveLength(2);
    await put('crm');
    await pass(5);
    expect(ends()).toHaveLength(2);
    expect(JSON.parse(row('crm').grant_facts)).not.toHaveProperty('noticedDays');
    await pass(34.9);
    expect(ends().map(({ days_left }) => days_left)).toEqual([30, 7, 30, 7, 1]);
    expect(row('crm').grant_ends_at).toBe(tenant.clock.now() + 0.1 * DAY);
  });

  it('that is found late is told of the nearest notice only', async () => {
    const { put, review, ends, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    await put('crm', { consentedAt: tenant.clock.now() - 85 * DAY });
    await review();
    expect(ends().map(({ days_left }) => days_left)).toEqual([5]);
  });
});

describe('a day that the next refresh puts off', () => {
  it('is kept and shown, but nobody is warned of it while refreshes work', async () => {
    const { put, pass, ends, refresh, row, tenant } = await bench({ idleSeconds: 14 * 86_400 });
    await put('crm');
    await pass(20, () => refresh('crm'));
    expect(ends()).toEqual([]);
    await refresh('crm');
    await pass(0.1);
    expect(row('crm').grant_ends_at).toBeGreaterThan(tenant.clock.now() + 13 * DAY);
  });

  it('is told as soon as refreshes stop working, and the risk ends with the first that works', async () => {
    const { put, pass, ends, refresh, health, review, row } = await bench({ idleSeconds: 14 * 86_400 });
    await put('crm');
    await refresh('crm');
    await pass(1);
    expect(ends()).toEqual([]);
    await health('crm', 'degraded');
    await pass(12.5);
    expect(ends().map(({ days_left, cause }) => [days_left, cause])).toEqual([
      [13, 'idle_limit'],
      [7, 'idle_limit'],
      [1, 'idle_limit'],
    ]);
    await health('crm', 'ready');
    await refresh('crm');
    await review();
    expect(JSON.parse(row('crm').grant_facts)).not.toHaveProperty('noticedDays');
    expect(ends()).toHaveLength(3);
  });
});

describe('the cap on grants of one account', () => {
  it('is told once, for the oldest, and is a risk of all: uncertain, dated when it was seen', async () => {
    const { put, pass, ends, row, tenant } = await bench({ cap: { count: 3, note: 'the oldest is ended without a word.' } });
    for (const name of ['one', 'two', 'three']) {
      await put(name, { account: { id: '42' } });
      tenant.clock.pass(1_000);
    }
    await put('other', { account: { id: '43' } });
    await put('unknown');
    await put('elsewhere', { account: { id: '42' } }, { client_id: 'another' });
    const seen = tenant.clock.now();
    await pass(5);
    expect(ends().map(({ name, cause, certain, days_left }) => [name, cause, certain, days_left])).toEqual([
      ['one', 'token_cap', false, 0],
    ]);
    expect(['one', 'two', 'three', 'other', 'unknown', 'elsewhere'].map((name) => row(name).grant_ends_at)).toEqual([
      seen, seen, seen, null, null, null,
    ]); // biome-ignore format: a row
  });

  it('does not hide a certain day behind it', async () => {
    const { put, pass, ends } = await bench({ cap: { count: 1, note: '' }, absoluteSeconds: 60 * 86_400 });
    await put('crm', { account: { id: '42' } });
    await pass(54);
    expect(ends().map(({ cause, days_left }) => [cause, days_left])).toEqual([
      ['token_cap', 0],
      ['absolute_limit', 30],
      ['absolute_limit', 7],
    ]);
  });
});

describe('what reviews cost', () => {
  it('is at most one an hour for a grant however often it is refreshed, and no event', async () => {
    const { put, refresh, review, tenant, events } = await bench({ idleSeconds: 90 * 86_400 });
    await put('crm');
    await review();
    let reviews = 0;
    for (let minute = 0; minute < 600; minute++) {
      tenant.clock.pass(60_000);
      await refresh('crm');
      reviews += await review();
    }
    expect(reviews).toBeLessThanOrEqual(10);
    expect(reviews).toBeGreaterThanOrEqual(9);
    expect(events()).toEqual([]);
  });

  it('is one a day for a grant without a known end', async () => {
    const { put, pass, refresh, row } = await bench({});
    await put('crm');
    expect(await pass(10, () => refresh('crm'))).toBeLessThanOrEqual(12);
    expect(row('crm')).toMatchObject({ grant_ends_at: null, revision: 1 });
  });

  it('is none for what cannot end: dead, deleted and other kinds', async () => {
    const { put, pass, health, row, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    await put('dead');
    await put('deleted');
    await pass(2);
    await health('dead', 'needs_consent');
    const { vault } = tenant;
    const admin = tenant.user(['admin'], 'everywhere');
    const name = { environment: 'staging', name: 'deleted', precondition: {} };
    await vault.submit((job) => deleteCredential(job, admin, { ...name, recoveryWindowMs: undefined }));
    await pass(2);
    for (const one of ['dead', 'deleted']) expect(row(one)).toMatchObject({ grant_ends_at: null, review_due_at: null });
    await vault.submit((job) => restoreCredential(job, admin, name));
    await pass(0);
    expect(row('deleted').grant_ends_at).not.toBeNull();
  });

  it('stays with the others when a row is damaged', async () => {
    const { put, review, row, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    for (const name of ['a', 'b', 'c']) await put(name);
    tenant.sql.run("UPDATE credential SET health = 'degraded' WHERE name = 'b'");
    await expect(review()).rejects.toMatchObject({ code: 'integrity' });
    expect(['a', 'b', 'c'].map((name) => row(name).grant_ends_at !== null)).toEqual([true, false, true]);
  });

  it('includes forgetting alerts that are older than they are kept', async () => {
    const { put, pass, tenant, health } = await bench({});
    await put('crm');
    await health('crm', 'degraded');
    await pass(LIMITS.alertsKeepMs / DAY - 1);
    expect(tenant.sql.all('SELECT kind FROM alert')).toHaveLength(1);
    await pass(3);
    expect(tenant.sql.all('SELECT kind FROM alert')).toEqual([]);
  });
});

describe('the forecast of a tenant', () => {
  it('shows every live grant with a day, soonest first, also those not reviewed yet', async () => {
    const { put, review, forecast, health, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    const now = tenant.clock.now();
    await put('late', { consentedAt: now - 10 * DAY });
    await put('soon', { consentedAt: now - 80 * DAY }, {}, 'production');
    await put('dead', { consentedAt: now - 85 * DAY });
    await review();
    await health('dead', 'needs_consent');
    await put('middle', { consentedAt: now - 40 * DAY });
    await put('unknown', { consentedAt: undefined as never });
    const { rows, next } = await forecast();
    expect(rows.map(({ environment, row, forecast: { endsAt } }) => [environment.name, row.name, (endsAt - now) / DAY])).toEqual([
      ['staging', 'dead', 0],
      ['production', 'soon', 10],
      ['staging', 'middle', 50],
      ['staging', 'late', 80],
    ]);
    expect(next).toBeUndefined();
  });

  it('begins with the grants that ended already, longest ago first, and says how each comes back', async () => {
    const { put, review, forecast, health, change, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    const now = tenant.clock.now();
    for (const name of ['lost', 'dead', 'left', 'unborn']) await put(name);
    await put('live', { consentedAt: now - 80 * DAY });
    await put('gone', {}, {}, 'production');
    await review();
    await health('lost', 'needs_consent', ANSWER_LOST);
    tenant.clock.pass(DAY);
    await health('dead', 'needs_consent');
    await health('left', 'disconnected');
    await health('unborn', 'needs_consent', 'not_connected_yet');
    await health('gone', 'needs_consent', 'bad_refresh_token', 'production');
    tenant.clock.pass(DAY);
    const { rows } = await forecast({ withinDays: 10 });
    expect(rows.map(({ row, forecast: { endsAt, cause, certain } }) => [row.name, (endsAt - now) / DAY, cause, certain])).toEqual(
      [
        ['lost', 0, 'ended', true],
        ...['dead', 'gone'].sort((a, b) => (idOf(rows, a) < idOf(rows, b) ? -1 : 1)).map((name) => [name, 1, 'ended', true]),
        ['live', 10, 'absolute_limit', true],
      ],
    );
    const remedy = (name: string) => rows.find(({ row }) => row.name === name)?.forecast.remedy;
    expect(remedy('lost')).toMatch(/^Connect the account again, or request a rotation/);
    expect(remedy('dead')).toMatch(/^Connect the account again: create a link/);
    expect((await forecast({ environment: 'production' })).rows.map(({ row }) => row.name)).toEqual(['gone']);
    await change('dead', (row) => {
      row.state = 'deleted';
    });
    expect((await forecast({ environment: 'staging' })).rows.map(({ row }) => row.name)).toEqual(['lost', 'live']);
  });

  it.each([1, 2, 3, 7])('pages by %i from what ended to what ends, without losing or repeating any', async (maxRows) => {
    const { put, review, forecast, health, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    const now = tenant.clock.now();
    for (let i = 0; i < 3; i++) await put(`dead-${i}`);
    for (let i = 0; i < 3; i++) await put(`live-${i}`, { consentedAt: now - (80 - i) * DAY });
    await review();
    for (let i = 0; i < 3; i++) {
      tenant.clock.pass(HOUR);
      await health(`dead-${i}`, 'needs_consent');
    }
    const seen: string[] = [];
    for (let after: string | undefined = ''; after !== undefined; ) {
      const page: Awaited<ReturnType<typeof forecast>> = await forecast({ after, maxRows });
      expect(page.rows.length).toBeLessThanOrEqual(maxRows);
      seen.push(...page.rows.map(({ row }) => row.name));
      after = page.next;
    }
    expect(seen).toEqual(['dead-0', 'dead-1', 'dead-2', 'live-0', 'live-1', 'live-2']);
  });

  it.each([1, 2, 3, 4])('pages by %i through grants that end at the same instant, reviewed or not yet', async (maxRows) => {
    const { put, review, forecast, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    const consentedAt = tenant.clock.now();
    for (const name of ['a', 'b', 'c', 'd']) await put(name, { consentedAt });
    for (const isReviewed of [false, true]) {
      if (isReviewed) await review();
      const seen: string[] = [];
      for (let after: string | undefined = ''; after !== undefined; ) {
        const page: Awaited<ReturnType<typeof forecast>> = await forecast({ after, maxRows });
        seen.push(...page.rows.map(({ row }) => row.id));
        after = page.next;
      }
      expect(seen).toHaveLength(4);
      expect(seen).toEqual(seen.toSorted());
      expect(new Set(seen).size).toBe(4);
    }
    expect((await forecast({ maxRows: 4 })).next).toBeUndefined();
  });

  it('is counted in its event, page by page', async () => {
    const { put, forecast, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    for (const name of ['a', 'b', 'c']) await put(name);
    const { next } = await forecast({ maxRows: 2 });
    await forecast({ maxRows: 2, after: next ?? '' });
    const counts = eventsOf(tenant.sql).filter(({ action }) => action === 'forecast.read');
    expect(counts.map(({ details }) => (details as { count: number }).count)).toEqual([2, 1]);
  });

  it('finds what ended by its index, without looking at all other credentials', async () => {
    const { put, health, forecast, tenant } = await bench({});
    await put('dead');
    await health('dead', 'needs_consent');
    const statements: string[] = [];
    const { sql } = tenant;
    const all = sql.all.bind(sql);
    vi.spyOn(sql, 'all').mockImplementation((statement, ...values) => {
      statements.push(statement);
      return all(statement, ...values);
    });
    expect((await forecast()).rows).toHaveLength(1);
    const asked = statements.find((statement) => statement.includes('health_since AS endsAt')) ?? '';
    const plan = all<{ detail: string }>(`EXPLAIN QUERY PLAN ${asked}`, -1, '', 10);
    expect(plan.map(({ detail }) => detail)).toEqual([expect.stringContaining('USING INDEX credential_ended')]);
  });

  it('can be asked for some days and one environment', async () => {
    const { put, forecast, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    const now = tenant.clock.now();
    for (const days of [10, 20, 30]) await put(`in-${days}`, { consentedAt: now - (90 - days) * DAY });
    await put('elsewhere', { consentedAt: now - 85 * DAY }, {}, 'production');
    const names = async (input: Parameters<typeof forecast>[0]) => (await forecast(input)).rows.map(({ row }) => row.name);
    expect(await names({ withinDays: 20 })).toEqual(['elsewhere', 'in-10', 'in-20']);
    expect(await names({ withinDays: 20, environment: 'staging' })).toEqual(['in-10', 'in-20']);
    expect(await names({ environment: 'production' })).toEqual(['elsewhere']);
    await expect(forecast({ environment: 'nowhere' })).rejects.toMatchObject({ code: 'not_found' });
  });

  it.each([1, 2, 3, 7])('pages by %i without losing or repeating any, reviewed or not', async (maxRows) => {
    const { put, review, forecast, tenant } = await bench({ absoluteSeconds: 90 * 86_400 });
    const now = tenant.clock.now();
    for (let i = 0; i < 4; i++) await put(`old-${i}`, { consentedAt: now - (80 - 2 * i) * DAY });
    await review();
    for (let i = 0; i < 4; i++) await put(`new-${i}`, { consentedAt: now - (79 - 2 * i) * DAY });
    const seen: string[] = [];
    for (let after: string | undefined = ''; after !== undefined; ) {
      const page: Awaited<ReturnType<typeof forecast>> = await forecast({ after, maxRows });
      expect(page.rows.length).toBeLessThanOrEqual(maxRows);
      seen.push(...page.rows.map(({ row }) => row.name));
      after = page.next;
    }
    expect(seen).toEqual(['old-0', 'new-0', 'old-1', 'new-1', 'old-2', 'new-2', 'old-3', 'new-3']);
  });

  it('shows the day as it is now, also when a refresh moved it since the last look', async () => {
    const { put, review, refresh, forecast, tenant } = await bench({ idleSeconds: 30 * 86_400 });
    await put('crm');
    await review();
    tenant.clock.pass(10 * DAY);
    await refresh('crm');
    const { rows } = await forecast();
    expect(rows.map((one) => one.forecast.endsAt)).toEqual([tenant.clock.now() + 30 * DAY]);
  });
});
