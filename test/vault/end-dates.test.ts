// The end date of every kind that has one: health, lists, reads, the forecast, and notices 30, 7 and 1 days before and on the day.
import { describe, expect, it } from 'vitest';
import { readForecast } from '../../rotation/grants/read-forecast.ts';
import { reviewDue } from '../../rotation/grants/review.ts';
import { credentialView } from '../../src/http/v1/views.ts';
import { deleteCredential, restoreCredential, rollBack } from '../../src/vault/change-credential.ts';
import type { Kind } from '../../src/vault/credential-kinds.ts';
import { describeCredential, listCredentials } from '../../src/vault/describe-credential.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { eventsOf, testTenant, workloadToken } from '../kit/vaults.ts';

const DAY = 86_400_000;
const VALUES: Record<Exclude<Kind, 'oauth2'>, unknown> = {
  api_key: { key: 'not-a-real-secret' },
  basic: { username: 'u', password: 'not-a-real-secret' },
  database: { engine: 'redis', host: 'h' },
  json: { a: 'not-a-real-secret' },
};
const KINDS = Object.keys(VALUES) as (keyof typeof VALUES)[];

async function bench() {
  const tenant = await testTenant();
  const { vault, clock } = tenant;
  const connectors = new Map();
  const ports = { vault, egress: { send: () => Promise.reject(new Error('no network')) }, connectors, sandboxAllowed: false };
  const admin = () => tenant.user(['admin'], 'everywhere');
  const named = { environment: 'staging', precondition: {} };
  const told = async (name: string) => {
    await vault.submit(() => undefined);
    return vault.lookup('test', (access, view) =>
      view.alerts
        .list(access, undefined, { at: Number.MAX_SAFE_INTEGER, id: '' }, 100)
        .map((row) => ({ kind: row.kind, ...(JSON.parse(row.facts) as { name: string; days_left?: number; cause?: string }) }))
        .filter((alert) => alert.name === name)
        .map(({ kind, days_left }) => `${kind} ${days_left}`)
        .reverse(),
    );
  };
  return {
    tenant,
    clock,
    vault,
    told,
    admin,
    named,
    put: (name: string, kind: keyof typeof VALUES, days: number | undefined) =>
      vault.submit((job) =>
        putCredential(job, admin(), {
          ...named,
          name,
          kind,
          value: VALUES[kind],
          connector: undefined,
          config: undefined,
          labels: undefined,
          description: undefined,
          expiresAtMs: days === undefined ? undefined : clock.now() + days * DAY,
        }),
      ),
    /** Runs due work, day by day. */
    async live(days: number) {
      for (let day = 0; day < days * 4; day++) {
        clock.pass(DAY / 4);
        await reviewDue(ports);
      }
    },
    review: () => reviewDue(ports),
    health: async (name: string) => {
      const located = await vault.submit((job) => describeCredential(job, admin(), 'staging', name));
      return credentialView(vault, located).health;
    },
    list: async (health: string) => {
      const input = { environment: 'staging', filter: { deleted: false, health }, afterName: '', maxRows: 50 };
      return (await vault.submit((job) => listCredentials(job, admin(), input))).rows.map(({ row }) => row.name);
    },
    forecast: async (withinDays?: number) => {
      const input = { environment: undefined, withinDays, after: '', maxRows: 50 };
      const page = await vault.submit((job) => readForecast(job, connectors, admin(), input));
      return page.rows.map(({ row, forecast }) => [row.name, forecast.cause, forecast.endsAt]);
    },
  };
}

describe('an end date', () => {
  it.each(KINDS)('of %s makes it expired on the day, and the value is served as expired', async (kind) => {
    const { vault, tenant, clock, put, health, list } = await bench();
    await put('dated', kind, 2);
    await put('endless', kind, undefined);
    expect(await health('dated')).toMatchObject({ state: 'ready', cause: null });
    const read = async () => {
      const input = { environment: 'staging', name: 'dated', version: undefined, stage: undefined };
      const caller = tenant.token((await workloadToken(tenant, { patterns: ['*'] })).text);
      const { body } = await vault.submit((job) => readCredential(job, caller, input));
      return JSON.parse(Buffer.from(body).toString()) as { expired: boolean; expires_at: string; value: unknown };
    };
    expect(await read()).toMatchObject({ expired: false, value: VALUES[kind] });
    expect([await list('ready'), await list('expired')]).toEqual([['dated', 'endless'], []]);
    const endsAt = new Date(clock.now() + 2 * DAY).toISOString();
    clock.pass(2 * DAY - 1);
    expect(await read()).toMatchObject({ expired: false });
    clock.pass(1);
    expect(await read()).toMatchObject({ expired: true, expires_at: endsAt, value: VALUES[kind] });
    expect(await health('dated')).toEqual({ state: 'expired', since: endsAt, cause: 'end_date' });
    expect([await list('ready'), await list('expired')]).toEqual([['endless'], ['dated']]);
    const reads = eventsOf(tenant.sql).filter((event) => event['action'] === 'credential.read');
    expect(reads.at(-1)?.['details']).toMatchObject({ health: 'expired' });
  });

  it.each(KINDS)('of %s causes one notice 30, 7 and 1 days before and on the day, and is in the forecast', async (kind) => {
    const { put, live, told, forecast, clock, review } = await bench();
    await put('dated', kind, 40);
    const endsAt = clock.now() + 40 * DAY;
    expect(await forecast()).toEqual([['dated', 'end_date', endsAt]]);
    expect(await forecast(30)).toEqual([]);
    await review();
    await live(9);
    expect(await told('dated')).toEqual([]);
    await live(50);
    expect(await told('dated')).toEqual([
      'credential.ends_soon 30',
      'credential.ends_soon 7',
      'credential.ends_soon 1',
      'credential.expired 0',
    ]);
    expect(await forecast(0)).toEqual([['dated', 'end_date', endsAt]]);
  });

  it('moves with a new value, a roll-back, a deletion and a restoration', async () => {
    const { vault, put, live, told, forecast, admin, named, health } = await bench();
    await put('dated', 'api_key', 3);
    await live(4);
    expect(await told('dated')).toEqual(['credential.ends_soon 2', 'credential.ends_soon 1', 'credential.expired 0']);
    await put('dated', 'api_key', 400);
    expect(await health('dated')).toMatchObject({ state: 'ready' });
    expect(await forecast(300)).toEqual([]);
    await live(1);
    expect((await told('dated')).at(-1)).toBe('credential.ready undefined');
    await vault.submit((job) => rollBack(job, admin(), { ...named, name: 'dated', toVersion: 1 }));
    expect(await health('dated')).toMatchObject({ state: 'expired' });
    expect((await forecast(0)).map(([name]) => name)).toEqual(['dated']);
    await vault.submit((job) => deleteCredential(job, admin(), { ...named, name: 'dated', recoveryWindowMs: undefined }));
    expect(await forecast()).toEqual([]);
    await vault.submit((job) => restoreCredential(job, admin(), { ...named, name: 'dated' }));
    expect((await forecast()).map(([name]) => name)).toEqual(['dated']);
    await put('dated', 'api_key', undefined);
    await live(1);
    expect(await forecast()).toEqual([]);
  });

  it('stored by an older build without a planned review is reviewed, too', async () => {
    const { vault, tenant, put, told, review } = await bench();
    await put('dated', 'api_key', 5);
    const { id } = tenant.sql.get('SELECT id FROM credential') as { id: string };
    await vault.submit((job) =>
      job.door.keepBooks('review', (books) => {
        const facts = job.credentials.byId(books, id);
        job.credentials.save(books, { ...facts, review_due_at: null });
      }),
    );
    expect(vault.nextDueAt()).toBe(0);
    expect(await review()).toBe(1);
    expect(await told('dated')).toEqual(['credential.ends_soon 5']);
    expect(vault.nextDueAt()).toBeGreaterThan(0);
  });
});
