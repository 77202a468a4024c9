// Every query field of every route that reads does something, or is refused: none is taken and then ignored.
import { beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { raiseAlert } from '../../../src/alerts/raise-alert.ts';
import { ALL_ROUTES } from '../../../src/http/app.ts';
import type { RouteShape } from '../../../src/http/route.ts';
import type { WireEvent } from '../../../src/http/v1/wire.ts';
import { type TestApp, testApp } from '../../kit/app.ts';
import { changing } from '../../kit/vaults.ts';

type Json = Record<string, unknown>;
type Event = WireEvent;

const SECRET = 'not-a-real-secret';
const BASE = '/v1/tenants/acme/environments/staging/credentials';
let app: TestApp;
/** What of the fixture a value is taken from, by the name of its field. */
let values: Record<string, string>;
let ids: Record<string, string>;

const read = ALL_ROUTES.filter(({ method, query }) => method === 'GET' && query !== undefined);
const fieldsOf = ({ query }: RouteShape) => Object.keys((query as z.ZodObject).shape);
const lists = read.filter((route) => !route.secret && !/\/audit\/export$|\.ics$/.test(route.path));
const cases = (routes: readonly RouteShape[]) =>
  routes.flatMap((route) => fieldsOf(route).map((field) => [route.path, field] as const));

/** Links are of a grant, everything else of a credential is shown by the one with two versions and two runs. */
const OF_THE_READER = /audit\.(read|export)$/;
const pathOf = (path: string) =>
  path.replace(/\{credential\}(?=\/connections)/, 'grant').replace(/\{(\w+)\}/g, (_all, name: string) => ids[name] ?? '');

async function must(method: string, path: string, body?: unknown): Promise<Json> {
  const answer = await app.call({ method, path, body });
  expect(answer.status, `${method} ${path}: ${answer.text}`).toBeLessThan(300);
  return answer.json as Json;
}

/** The items of a list; of a log, without the reads of the log itself, which grow with each look. */
async function itemsOf(path: string, query: Readonly<Record<string, string>>): Promise<Json[]> {
  const { items } = (await must('GET', `${pathOf(path)}?${new URLSearchParams(query)}`)) as { items: Json[] };
  return items.filter(({ action }) => !OF_THE_READER.test(String(action)));
}

async function makeCredentials(): Promise<void> {
  const apiKey = { kind: 'api_key', value: { key: SECRET } };
  await must('PUT', `${BASE}/crm`, { ...apiKey, labels: { team: 'a' } });
  await must('PUT', `${BASE}/crm`, apiKey);
  await must('PUT', `${BASE}/mail`, { kind: 'json', value: { a: SECRET } });
  await must('PUT', `${BASE}/old`, apiKey);
  await must('DELETE', `${BASE}/old`);
  for (const [environment, name, days] of [
    ['staging', 'grant', 5],
    ['staging', 'grant-late', 200],
    ['production', 'grant', 5],
  ] as const) {
    // biome-ignore format: one line
    await must('PUT', `/v1/tenants/acme/environments/${environment}/credentials/${name}`, {
      kind: 'oauth2',
      value: { access_token: SECRET, refresh_token: SECRET, expires_in: 3_600 },
      config: { token_endpoint: 'https://login.example/token', client_id: 'client', idle_limit_days: days },
    });
  }
  await app.call({ path: `${BASE}/none`, headers: { 'x-keyturn-workflow': 'nightly' } });
  await app.call({ path: '/v1/users', headers: { 'x-keyturn-workflow': 'nightly' } });
  app.team.clock.pass(60_000);
}

/** What no route makes without a provider: a failed grant, runs, alerts and deliveries. */
async function makeHistory(): Promise<void> {
  const [{ vault } = expect.unreachable()] = [...app.team.tenants.values()].filter(
    ({ vault: { tenant } }) => tenant.name === 'acme',
  );
  const run = { kind: 'refresh' as const, trigger: 'schedule' as const, requested_by: 'x', state: 'succeeded' as const, step: 'stored', generation: 1, attempts: 1, lost_answers: 0, fence: 1, lease_until: 0, lease_owner: '', next_attempt_at: null, outcome: null, cause: null,
        facts: '{}', new_version: 2, finished_at: 1 }; // biome-ignore format: one line
  await vault.submit((job) =>
    changing(job, (access) => {
      const [production = expect.unreachable(), environment = expect.unreachable()] = job.credentials.environments(access);
      const of = (name: string) => job.credentials.find(access, environment.id, name) ?? expect.unreachable();
      job.credentials.save(access, { ...of('mail'), health: 'needs_consent', health_cause: 'x' });
      for (const row of [
        of('grant'),
        of('grant-late'),
        job.credentials.find(access, production.id, 'grant') ?? expect.unreachable(),
      ]) {
        const now = app.team.clock.now();
        const idleMs = JSON.parse(row.config).idle_limit_days * 86_400_000;
        job.credentials.save(access, {
          ...row,
          grant_facts: JSON.stringify({ refreshedAt: now }),
          grant_ends_at: now + idleMs,
          review_due_at: null,
        });
      }
      for (const at of [1, 2])
        job.runs.insert(access, { ...run, id: `run_${'0'.repeat(23)}${at}`, credential_id: of('crm').id, started_at: at });
      const alert = { environment: { name: 'staging' }, kind: 'credential.degraded', details: {} } as const;
      for (const name of ['crm', 'mail']) raiseAlert(job, access, { credential: of(name), ...alert });
    }),
  );
}

beforeAll(async () => {
  app = await testApp();
  await must('POST', '/v1/tenants', { name: 'acme' });
  await must('POST', '/v1/tenants', { name: 'globex' });
  const hook = await must('POST', '/v1/tenants/acme/webhooks', { url: 'https://ops.example/hook' });
  await must('POST', '/v1/users', { name: 'eve', grants: [{ role: 'auditor' }] });
  for (const name of ['sync', 'mailer']) {
    await must('POST', '/v1/tenants/acme/workloads', { name, environment: 'staging', patterns: ['*'] });
  }
  await makeCredentials();
  await makeHistory();
  const client = { connector: 'generic-oauth2', client_secret: SECRET, config: { token_endpoint: 'https://login.example/token', authorization_endpoint: 'https://login.example/authorize', client_id: 'client', workflows: [{ name: 'nightly-sync', scopes: ['contacts.read'] }] } }; // biome-ignore format: one line
  await must('POST', `${BASE}/grant/connections`, client);
  const link = await must('POST', `${BASE}/grant/connections`, client);
  ids = {
    tenant: 'acme',
    environment: 'staging',
    credential: 'crm',
    webhook: String(hook['id']),
    schedule: 'monthly',
    feed: `cal_${'0'.repeat(24)}`,
    connection: String(link['id']),
    user: 'ada',
    workload: 'sync',
    run: `run_${'0'.repeat(24)}`,
    token: 'a'.repeat(16),
  };
  const now = new Date(app.team.clock.now()).toISOString();
  values = {
    since: now,
    until: now,
    limit: '1',
    environment: 'production',
    kind: 'json',
    health: 'needs_consent',
    label: 'team=a',
    search: 'rm',
    deleted: 'true',
    credential: String((await must('GET', `${BASE}/crm`))['id']),
    within_days: '30',
  };
});

/** What an event says of a field of a log's search. */
const SAYS: Readonly<Record<string, (event: Event) => string | undefined>> = {
  action: (event) => event.action,
  actor: (event) => event.actor.id,
  outcome: (event) => event.outcome,
  target: (event) => event.target.name ?? event.target.id,
  environment: (event) => event.target.environment,
  workflow: (event) => event.context?.workflow,
  request: (event) => event.request,
};
const isLog = (path: string) => path.endsWith('/audit/events');

describe('a query field of a list', () => {
  it.each(cases(lists.filter(({ path }) => !isLog(path))))('%s?%s= narrows what is answered', async (path, field) => {
    const all = await itemsOf(path, { limit: '500' });
    expect(all.length, 'the fixture has too little to narrow').toBeGreaterThan(1);
    const first = await must('GET', `${pathOf(path)}?limit=1`);
    const value = field === 'cursor' ? String(first['next_cursor']) : values[field];
    expect(value, `there is no value for the field ${field}: add one`).toBeDefined();
    const some = await itemsOf(path, { limit: '500', [field]: value ?? '' });
    expect(some.length).toBeGreaterThan(0);
    expect(some).not.toEqual(all);
    if (field === 'deleted') return;
    expect(some.length).toBeLessThan(all.length);
    const known = all.map((item) => JSON.stringify(item));
    expect(some.every((item) => known.includes(JSON.stringify(item)))).toBe(true);
  });

  it.each(cases(lists.filter(({ path }) => isLog(path))))('%s?%s= chooses among the events', async (path, field) => {
    const all = (await itemsOf(path, { limit: '500' })) as unknown as Event[];
    const says = SAYS[field];
    if (says !== undefined) {
      const told = [...new Set(all.map(says))].find((value) => value !== undefined && all.some((event) => says(event) !== value));
      // Of the log of the installation no event is about an environment: then none is answered.
      const value = told ?? (field === 'outcome' ? 'denied' : 'production');
      const some = await itemsOf(path, { limit: '500', [field]: value });
      expect(some).toEqual(
        all.filter((event) => [event.target.id, says(event)].includes(value) && (field === 'target' || says(event) === value)),
      );
      expect(some.length).toBeLessThan(all.length);
      return;
    }
    const middle = all[all.length >> 1] ?? expect.unreachable();
    const later = all.filter(({ at }) => at >= (values['since'] ?? '')).length;
    const expected: Record<string, [string, number]> = {
      limit: ['1', 1],
      before: [String(middle.index), all.filter(({ index }) => index < middle.index).length],
      from: [String(middle.index), all.filter(({ index }) => index >= middle.index).length],
      since: [values['since'] ?? '', later],
      until: [values['until'] ?? '', all.length - later],
    };
    const [value, count] = expected[field] ?? expect.unreachable(`there is no value for the field ${field}: add one`);
    const { items } = (await must('GET', `${pathOf(path)}?${new URLSearchParams({ limit: '500', [field]: value })}`)) as {
      items: Event[];
    };
    expect(items.filter(({ action }) => field === 'limit' || !OF_THE_READER.test(action))).toHaveLength(count);
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThan(all.length);
  });

  it.each(lists.filter(({ path }) => path.endsWith('/events')).map(({ path }) => path))(
    '%s narrows as well where the log is followed',
    async (path) => {
      const [sample = expect.unreachable()] = (await itemsOf(path, { limit: '500', workflow: 'nightly' })) as unknown as Event[];
      for (const [field, value] of [
        ...Object.entries(SAYS).map(([name, says]) => [name, says(sample) ?? 'staging'] as const),
        ['since', values['since'] ?? ''] as const,
        ['until', values['until'] ?? ''] as const,
      ]) {
        // biome-ignore format: one line
        const query = { limit: '500', [field]: value };
        const newestFirst = await itemsOf(path, query);
        expect((await itemsOf(path, { ...query, from: '0' })).reverse(), field).toEqual(newestFirst);
      }
      const refused = await app.call({ path: `${pathOf(path)}?from=1&before=5` });
      expect(refused).toMatchObject({ status: 400, json: { pointer: '?from' } });
    },
  );
});

describe('a query field of any other route that reads', () => {
  it('chooses the version or the range that is answered', async () => {
    // The calendar needs its key in the query: test/http/icalendar.test.ts.
    const others = read.filter((route) => !lists.includes(route) && !route.path.endsWith('.ics'));
    expect(
      cases(others)
        .map(([path, field]) => `${path.split('/').at(-1)} ${field}`)
        .sort(),
    ).toEqual(['export from', 'export from', 'export to', 'export to', 'value refresh', 'value stage', 'value version']);
    const eve = (await must('POST', '/v1/tenants/acme/workloads', { name: 'reader', environment: 'staging', patterns: ['*'] })) as Record<string, string>; // biome-ignore format: one line
    const token = await app.call({
      method: 'POST',
      path: '/v1/tenants/acme/token',
      token: null,
      body: { grant_type: 'client_credentials', client_id: eve['client_id'], client_secret: eve['client_secret'] },
    });
    const versionOf = async (query: string) =>
      (await app.call({ path: `${BASE}/crm/value${query}`, token: token.json.access_token })).json.version;
    expect(await versionOf('')).toBe(2);
    expect(await versionOf('?version=1')).toBe(1);
    expect(await versionOf('?stage=previous')).toBe(1);
    // It may read, not rotate.
    const fresh = await app.call({ path: `${BASE}/crm/value?refresh=true`, token: token.json.access_token });
    expect(fresh).toMatchObject({ status: 403, json: { code: 'forbidden' } });
    for (const path of ['/v1/audit/export', '/v1/tenants/acme/audit/export']) {
      const events = async (query: string) =>
        (await app.call({ path: path + query })).text.split('\n').filter((line) => line.startsWith('{"action"')).length;
      expect(await events('')).toBeGreaterThan(3);
      expect(await events('?from=1&to=2')).toBe(2);
      for (const query of ['?from=1', '?to=1', '?from=2&to=1']) expect((await app.call({ path: path + query })).status).toBe(400);
    }
  });
});

describe('a query field that a route does not have', () => {
  it.each(ALL_ROUTES.filter(({ path }) => path.startsWith('/v1/')).map(({ method, path }) => [method, path] as const))(
    '%s %s refuses it',
    async (method, path) => {
      const answer = await app.call({
        method,
        path: `${pathOf(path)}?no_such_field=1`,
        ...(method === 'GET' ? {} : { body: {} }),
      });
      expect(answer.status, answer.text).toBe(400);
    },
  );
});

describe('the actor of an event', () => {
  it('is found by name or id: a person, a workload, also one that is gone', async () => {
    const by = async (base: string, actor: string) =>
      (await itemsOf(`${base}/audit/events`, { limit: '500', actor })).map((event) => (event['actor'] as Json)['id']);
    const users = (await must('GET', '/v1/users'))['items'] as { id: string; name: string }[];
    const ada = users.find(({ name }) => name === 'ada')?.id ?? '';
    for (const base of ['/v1', '/v1/tenants/acme']) {
      const found = await by(base, 'ada');
      expect(found.length).toBeGreaterThan(3);
      expect(new Set(found)).toEqual(new Set([ada]));
      expect(await by(base, ada)).toEqual(found);
    }
    const made = (await must('POST', '/v1/tenants/acme/workloads', { name: 'gone', environment: 'staging', patterns: ['*'] })) as { client_id: string; client_secret: string }; // biome-ignore format: one line
    await app.call({ method: 'POST', path: '/v1/tenants/acme/token', token: null, body: { grant_type: 'client_credentials', client_id: made.client_id, client_secret: made.client_secret } }); // biome-ignore format: one line
    await must('DELETE', '/v1/tenants/acme/workloads/gone');
    expect(await by('/v1/tenants/acme', 'gone')).toEqual([made.client_id]);
    expect(await by('/v1/tenants/acme', 'nobody-of-this-name')).toEqual([]);
  });

  it('is shown with its present name, also if it is gone, in a search and in a follow', async () => {
    const nameOf = async (query: Record<string, string>) => {
      const items = await itemsOf('/v1/tenants/acme/audit/events', query);
      expect(items.length).toBeGreaterThan(0);
      return new Set(items.map((event) => event['actor_name']));
    };
    expect(await nameOf({ limit: '500', actor: 'ada' })).toEqual(new Set(['ada']));
    expect(await nameOf({ limit: '500', actor: 'ada', from: '0' })).toEqual(new Set(['ada']));
    expect(await nameOf({ limit: '500', actor: 'gone' })).toEqual(new Set(['gone']));
    expect(
      new Set((await itemsOf('/v1/audit/events', { limit: '500', actor: 'ada' })).map((event) => event['actor_name'])),
    ).toEqual(new Set(['ada']));
  });
});
