// Every answer is what its route declares: each route is called for real and its answer parsed through the declared schema, strictly.
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { raiseAlert } from '../../../src/alerts/raise-alert.ts';
import { newId } from '../../../src/base/ids.ts';
import { ALL_ROUTES } from '../../../src/http/app.ts';
import type { RouteShape } from '../../../src/http/route.ts';
import { type TestAnswer, type TestApp, testApp } from '../../kit/app.ts';
import { changing, START_MS, testEntropy } from '../../kit/vaults.ts';

const SECRET = 'not-a-real-secret';
const BASE = '/v1/tenants/acme/environments/staging/credentials';

let app: TestApp;
let clientSecret: string;
let workloadToken: string;
const run = newId('run', testEntropy);
/** Answers by `METHOD /path/{as}/declared`, of calls that must succeed. */
const answers = new Map<string, TestAnswer[]>();

function routeOf(method: string, path: string): RouteShape {
  const plain = path.split('?')[0] ?? '';
  const fits = (route: RouteShape) =>
    route.method === method && new RegExp(`^${route.path.replace(/\{[a-z]+\}/g, '[^/]+')}$`).test(plain);
  const route = ALL_ROUTES.find(fits);
  if (route === undefined) throw new Error(`no route for ${method} ${path}`);
  return route;
}

// biome-ignore lint/suspicious/noExplicitAny: answers of every shape
async function good(method: string, path: string, body?: unknown, more: { token?: string | null } = {}): Promise<any> {
  const answer = await app.call({ method, path, ...(body === undefined ? {} : { body }), ...more });
  const route = routeOf(method, path);
  expect(answer.status, `${method} ${path}: ${answer.text}`).toSatisfy((status: number) => [route.success.status, 201].includes(status)); // biome-ignore format: one line
  const key = `${method} ${route.path}`;
  answers.set(key, [...(answers.get(key) ?? []), answer]);
  return answer.json;
}

/** The schema with unknown members refused at every level: an answer may not say more than is declared. */
function strictly(schema: z.ZodType): z.ZodType {
  if (schema instanceof z.ZodObject) {
    const shape = Object.fromEntries(Object.entries(schema.shape).map(([key, value]) => [key, strictly(value as z.ZodType)]));
    return schema.def.catchall === undefined ? z.strictObject(shape) : z.object(shape).catchall(schema.def.catchall as z.ZodType);
  }
  if (schema instanceof z.ZodArray) return z.array(strictly(schema.element as z.ZodType));
  if (schema instanceof z.ZodNullable) return strictly(schema.unwrap() as z.ZodType).nullable();
  if (schema instanceof z.ZodOptional) return strictly(schema.unwrap() as z.ZodType).optional();
  return schema;
}

async function insertRun(): Promise<void> {
  const [tenant] = [...app.team.tenants.values()];
  if (tenant !== undefined)
    await tenant.vault.submit((job) =>
      changing(job, (access) => {
        const staging = job.credentials.findEnvironment(access, 'staging')?.id ?? '';
        const credential = job.credentials.find(access, staging, 'grant')?.id ?? '';
        job.runs.insert(access, {
      id: run, credential_id: credential, kind: 'refresh', trigger: 'request', requested_by: 'usr_test', state: 'failed', step: 'intent', generation: 1, attempts: 2, lost_answers: 0, fence: 1,
      lease_until: 0, lease_owner: '', next_attempt_at: null, outcome: 'rejected', cause: 'invalid_grant', new_version: null, started_at: START_MS, facts: '{}',
    finished_at: START_MS,
    }); // biome-ignore format: a row
        job.runs.journal(access, run, { step: 'intent', status: 'done', at: START_MS });
      }),
    );
}

async function insertAlert(): Promise<void> {
  const [tenant] = [...app.team.tenants.values()];
  if (tenant !== undefined)
    await tenant.vault.submit((job) =>
      changing(job, (access) => {
        const staging = job.credentials.findEnvironment(access, 'staging')?.id ?? '';
        const row = job.credentials.find(access, staging, 'grant');
        if (row === undefined) throw new Error('no grant');
        raiseAlert(job, access, {
          credential: row,
          environment: { name: 'staging' },
          kind: 'credential.degraded',
          details: { before: 'ready', cause: 'http_5xx', certain: true },
        });
      }),
    );
}

beforeAll(async () => {
  app = await testApp();
  await good('GET', '/health', undefined, { token: null });
  await good('GET', '/v1/whoami');
  await good('POST', '/v1/tenants', { name: 'acme' });
  await good('GET', '/v1/tenants');
  const eve = await good('POST', '/v1/users', { name: 'eve', grants: [{ role: 'engineer', tenant: 'acme' }] });
  await good('POST', '/v1/enrolments', {}, { token: eve.enrolment.token });
  const more = await good('POST', '/v1/users/ada/tokens', {});
  await good('DELETE', `/v1/users/ada/tokens/${more.id}`);
  await good('GET', '/v1/users');
  await good('DELETE', '/v1/users/eve');
  await good('GET', '/v1/users');
  await good('POST', '/v1/tenants/acme/environments', { name: 'qa' });
  await good('GET', '/v1/tenants/acme/environments');
  await good('GET', '/v1/tenants/acme/whoami');
  await putAll();
  await changeAll();
  await alerts();
  await schedules();
  await connections();
  await workloads();
  await good('GET', `${BASE}/api/value`, undefined, { token: workloadToken });
  for (const base of ['/v1', '/v1/tenants/acme']) {
    await good('GET', `${base}/audit/events?limit=200`);
    await good('GET', `${base}/audit/events?from=0&limit=3`);
    await good('GET', `${base}/audit/checkpoint`);
    await good('GET', `${base}/audit/export`);
  }
  await good('POST', '/v1/tenants/acme/keys/rotations', {});
  await good('GET', '/v1/tenants/acme/keys');
  await good('POST', '/v1/installation/keys/rotations', {});
  await good('GET', '/v1/installation/keys');
  await good('POST', '/v1/installation/root/rotations');
  await good('GET', '/v1/installation/root');
  await good('GET', '/v1/health/parts');
  await good('GET', '/metrics');
});

async function putAll(): Promise<void> {
  const expires_at = new Date(START_MS + 86_400_000).toISOString();
  await good('PUT', `${BASE}/api`, {
    kind: 'api_key',
    value: { key: SECRET },
    expires_at,
    labels: { team: 'a' },
    description: 'd',
  });
  await good('PUT', `${BASE}/api`, { kind: 'api_key', value: { key: SECRET } });
  await good('PUT', `${BASE}/basic`, { kind: 'basic', value: { username: 'u', password: SECRET } });
  const config = { token_endpoint: 'https://login.example/token', client_id: 'c', refresh_token_rotates: 'always' };
  const ending = { client_secret_expires_at: new Date(START_MS + 10 * 86_400_000).toISOString() };
  const grant = { access_token: SECRET, refresh_token: SECRET, expires_in: 3_600 };
  await good('PUT', `${BASE}/grant`, { kind: 'oauth2', value: grant, config, connector: 'generic-oauth2' });
  await good('PUT', `${BASE}/ending`, { kind: 'oauth2', value: grant, config: { ...config, ...ending } });
  await insertRun();
}

async function changeAll(): Promise<void> {
  await good('PATCH', `${BASE}/api`, { labels: { team: 'b' } });
  await good('POST', `${BASE}/api/rollbacks`, {});
  await good('DELETE', `${BASE}/basic?recovery_window_days=7`);
  await good('GET', `${BASE}/basic`);
  await good('GET', `${BASE}?deleted=true`);
  await good('POST', `${BASE}/basic/restorations`, {});
  await good('GET', `${BASE}?limit=1`);
  await good('GET', `${BASE}/api`);
  await good('GET', `${BASE}/api/versions`);
  await good('GET', `${BASE}/api/readers`);
  await good('GET', `${BASE}/grant/runs`);
  await good('GET', `${BASE}/grant/runs/${run}`);
}

async function alerts(): Promise<void> {
  const webhooks = '/v1/tenants/acme/webhooks';
  const { id } = await good('POST', webhooks, { url: 'https://hooks.example/x', kinds: ['credential.degraded'] });
  await insertAlert();
  await good('GET', webhooks);
  await good('GET', '/v1/tenants/acme/alerts?limit=1');
  await good('GET', `${webhooks}/${id}/deliveries`);
  await good('DELETE', `${webhooks}/${id}`);
  await good('GET', '/v1/tenants/acme/forecast?within_days=400&environment=staging');
}

async function schedules(): Promise<void> {
  const tenant = '/v1/tenants/acme';
  const schedule = { every_seconds: 86_400, zone: 'Europe/Berlin', windows: [{ days: ['mon'], from: '02:00', to: '05:00' }] };
  const rule = `${tenant}/schedules/monthly`;
  await good('PUT', rule, { schedule, label: { name: 'tier', value: 'gold' } });
  await good('PUT', rule, { schedule });
  await good('PUT', `${rule}/pause`, { reason: 'incident' });
  await good('GET', rule);
  await good('DELETE', `${rule}/pause`);
  await good('GET', `${tenant}/schedules`);
  await good('POST', `${tenant}/previews`, { schedule });
  const key = { kind: 'api_key', value: { key: SECRET, key_id: 'made-up' }, connector: 'sendgrid-api-key' };
  await good('PUT', `${BASE}/mail`, key);
  const own = `${BASE}/mail/schedule`;
  await good('PUT', own, { schedule });
  await good('PUT', `${own}/pause`, { reason: 'incident' });
  await good('GET', own);
  await good('GET', `${tenant}/due?within_days=400`);
  await good('DELETE', `${own}/pause`);
  await good('POST', `${own}/previews`, { schedule });
  const { id, url } = await good('POST', `${tenant}/feeds`, {});
  const calendar = await good('GET', String(url).slice(String(url).indexOf('/v1/')), undefined, { token: null });
  expect(calendar).toBeUndefined();
  await good('GET', `${tenant}/feeds`);
  await good('DELETE', `${tenant}/feeds/${id}`);
  await good('DELETE', own);
  await good('DELETE', rule);
}

async function connections(): Promise<void> {
  await good('GET', '/v1/connectors');
  const config = {
    client_id: 'c',
    authorization_endpoint: 'https://login.example/authorize',
    token_endpoint: 'https://login.example/token',
    workflows: [{ name: 'sync', scopes: ['contacts.read'], why: 'Copies contacts' }],
  };
  const path = `${BASE}/by-link/connections`;
  const { id } = await good('POST', path, { connector: 'generic-oauth2', config, client_secret: SECRET, labels: { team: 'a' } });
  await good('POST', path, {});
  await good('GET', `${path}?limit=1`);
  await good('DELETE', `${path}/${id}`);
  const told = await good('POST', `${BASE}/by-link/disconnections`, {});
  expect(told.grant.revocation).toMatchObject({ state: 'not_asked', cause: 'nothing_to_revoke' });
  expect(told.reconnect).toBe(
    `/v1/tenants/${[...app.team.tenants.keys()][0]}/environments/staging/credentials/by-link/connections`,
  );
}

async function workloads(): Promise<void> {
  const made = await good('POST', '/v1/tenants/acme/workloads', {
    name: 'sync',
    environment: 'staging',
    patterns: ['*'],
    networks: ['127.0.0.0/8'],
  });
  clientSecret = made.client_secret;
  await good('POST', '/v1/tenants/acme/workloads/sync/secrets', {});
  const token = await good('POST', '/v1/tenants/acme/workloads/sync/tokens', { permissions: ['read'] });
  const exchange = { grant_type: 'client_credentials', client_id: made.client_id, client_secret: clientSecret };
  workloadToken = (await good('POST', '/v1/tenants/acme/token', exchange, { token: null })).access_token;
  await good('GET', '/v1/tenants/acme/whoami', undefined, { token: workloadToken });
  await good('GET', '/v1/tenants/acme/workloads');
  await good('GET', '/v1/tenants/acme/workloads/sync');
  await good('DELETE', `/v1/tenants/acme/workloads/sync/tokens/${token.id}`);
  await good('POST', '/v1/tenants/acme/workloads', { name: 'gone', environment: 'staging', patterns: ['a*'] });
  await good('DELETE', '/v1/tenants/acme/workloads/gone');
  await good('GET', '/v1/tenants/acme/workloads');
}

/** Routes whose success this test cannot bring about, and why. */
const ELSEWHERE = new Map([
  ['POST /v1/setup', 'the kit has set the installation up (test/secrecy.test.ts calls it)'],
  [`POST /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/destructions`, 'needs a second person'],
  [`POST /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs`, 'needs the engine'],
  [`GET /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/plan`, 'needs the engine'],
  [
    `GET /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs/{run}/events`,
    'a stream: test/http/run-events.test.ts',
  ],
  [`POST /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs/{run}/cancel`, 'needs the engine'],
  [`POST /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs/{run}/resume`, 'needs the engine'],
  [`POST /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs/{run}/retry`, 'needs the engine'],
  [
    'GET /v1/tenants/{tenant}/environments/{environment}/credentials/{credential}/runs/{run}/receipt',
    'needs the engine: test/cli/receipts.test.ts',
  ],
]);

describe('the answer of every route', () => {
  it.each(ALL_ROUTES.map((route) => [`${route.method} ${route.path}`, route] as const))(
    '%s is exactly what is declared',
    (key, route) => {
      const given = answers.get(key);
      expect(given !== undefined, `${key} is called`).toBe(!ELSEWHERE.has(key));
      for (const answer of given ?? []) {
        if (route.success.schema === undefined) {
          expect(answer.headers.get('content-type'), key).toContain(route.success.mediaTypes?.[0]);
          continue;
        }
        const parsed = strictly(route.success.schema).safeParse(answer.json);
        expect(parsed.error?.issues, key).toBeUndefined();
      }
    },
  );

  it('is never stored on the way, and names its request', () => {
    for (const [key, given] of answers) {
      for (const { headers } of given) {
        expect(headers.get('cache-control'), key).toBe('no-store');
        expect(headers.get('x-content-type-options'), key).toBe('nosniff');
        expect(headers.get('x-request-id'), key).toMatch(/^req_/);
      }
    }
  });

  it('shows a value or a token only where the route says that it does', () => {
    const secretRoutes = new Set(
      ALL_ROUTES.filter((route) => route.secret === true).map((route) => `${route.method} ${route.path}`),
    );
    for (const [key, given] of answers) {
      if (secretRoutes.has(key)) continue;
      for (const { text } of given) {
        expect(text, key).not.toContain(SECRET);
        expect(text, key).not.toMatch(/kt_(usr|wlk|acc|cs|boot)_[0-9A-Za-z]{20}/);
      }
    }
  });

  it('tells what it should: the state after all these calls', async () => {
    const { json } = await app.call({ path: `${BASE}/api` });
    expect(json).toMatchObject({ version: 1, previous_version: 2, labels: { team: 'b' }, description: 'd', state: 'active' });
    expect((await app.call({ path: `${BASE}/grant` })).json.config).toEqual({ token_endpoint: 'https://login.example/token', client_id: 'c', refresh_token_rotates: 'always' }); // biome-ignore format: one line
  });
});
