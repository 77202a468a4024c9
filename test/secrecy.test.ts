// LK-01: a canary in every field of every request, in answers that fail and in ones that succeed; then every sink is searched for it.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SecretValue } from '../src/base/secret-value.ts';
import { ALL_ROUTES } from '../src/http/app.ts';
import { type RunningKeyturn, startKeyturn } from '../src/node/start.ts';

const CANARY = 'NotARealSecret7QxCanary';
const BASE = '/v1/tenants/acme/environments/staging/credentials';
const directory = mkdtempSync(join(tmpdir(), 'keyturn-secrecy-'));
const log: string[] = [];
const printed: string[] = [];
let keyturn: RunningKeyturn;
let admin: string;
let auditor: string;
let workload: string;
const refusals: string[] = [];

interface Call {
  readonly method?: string;
  readonly path: string;
  readonly body?: unknown;
  readonly raw?: string;
  readonly token?: string;
  readonly headers?: Record<string, string>;
}

async function call({
  method = 'GET',
  path,
  body,
  raw,
  token = admin,
  headers = {},
}: Call): Promise<{ status: number; text: string }> {
  const content = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  const answer = await fetch(keyturn.url + path, {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      ...(content === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(content === undefined ? {} : { body: content }),
  });
  const text = `${await textOf(answer)}\n${JSON.stringify([...answer.headers])}`;
  return { status: answer.status, text };
}

const json = (text: string): unknown => JSON.parse(text.split('\n')[0] ?? '');

const GOOD: readonly { name: string; body: unknown }[] = [
  { name: 'api', body: { kind: 'api_key', value: { key: CANARY, key_id: 'public' } } },
  { name: 'basic', body: { kind: 'basic', value: { username: 'u', password: CANARY } } },
  {
    name: 'database',
    body: { kind: 'database', value: { engine: 'postgresql', host: 'db.example', port: 5432, password: CANARY } },
  },
  { name: 'json', body: { kind: 'json', value: { a: CANARY, b: [1, { c: CANARY }], n: 42 } } },
  {
    name: 'grant',
    body: {
      kind: 'oauth2',
      value: { access_token: `a-${CANARY}`, refresh_token: `r-${CANARY}`, client_secret: `s-${CANARY}`, expires_in: 3_600 },
      config: { token_endpoint: 'https://login.example/token', client_id: 'client' },
    },
  },
];

beforeAll(async () => {
  for (const method of ['log', 'error', 'warn', 'info', 'debug'] as const) {
    const original = console[method];
    console[method] = (...given: unknown[]) => {
      printed.push(given.map((value) => inspect(value)).join(' '));
      original(...given);
    };
  }
  keyturn = await startKeyturn({ dataDirectory: directory, host: '127.0.0.1', port: 0, log: (line) => log.push(line) });
  admin = readFileSync(keyturn.bootstrapSecretFile ?? '', 'utf8').trim();
  admin = (json((await call({ method: 'POST', path: '/v1/setup', body: { name: 'ada' } })).text) as { token: { token: string } })
    .token.token;
  await call({ method: 'POST', path: '/v1/tenants', body: { name: 'acme' } });
  for (const { name, body } of GOOD) {
    const { status, text } = await call({ method: 'PUT', path: `${BASE}/${name}`, body });
    expect(status, name).toBe(201);
    refusals.push(text); // a write's answer shows no value either
  }
  const made = json(
    (
      await call({
        method: 'POST',
        path: '/v1/tenants/acme/workloads',
        body: { name: 'sync', environment: 'staging', patterns: ['*'] },
      })
    ).text,
  ) as { client_id: string; client_secret: string };
  workload = (
    json(
      (
        await call({
          method: 'POST',
          path: '/v1/tenants/acme/token',
          body: { grant_type: 'client_credentials', client_id: made.client_id, client_secret: made.client_secret },
        })
      ).text,
    ) as { access_token: string }
  ).access_token;
  const eve = json(
    (await call({ method: 'POST', path: '/v1/users', body: { name: 'eve', grants: [{ role: 'auditor' }] } })).text,
  ) as { enrolment: { token: string } };
  const enrolled = await call({ method: 'POST', path: '/v1/enrolments', body: {}, token: eve.enrolment.token });
  auditor = (json(enrolled.text) as { token: { token: string } }).token.token;
});

afterAll(async () => {
  await keyturn.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Of a stream of events, which may last as long as its run, what comes first: all steps so far. */
async function textOf(answer: Response): Promise<string> {
  if (answer.headers.get('content-type') !== 'text/event-stream') return answer.text();
  const reader = answer.body?.getReader();
  const first = await reader?.read();
  await reader?.cancel();
  return new TextDecoder().decode(first?.value);
}

/** One of each thing that a path names. */
async function idsOfEverything(): Promise<Record<string, string>> {
  const made = async (path: string, body: unknown) => json((await call({ method: 'POST', path, body })).text) as { id: string };
  const hook = await made('/v1/tenants/acme/webhooks', { url: 'https://ops.example/hook' });
  const run = await made(`${BASE}/grant/runs`, {});
  const { status } = await call({
    method: 'PUT',
    path: '/v1/tenants/acme/schedules/monthly',
    body: { schedule: { every_seconds: 2_592_000 } },
  });
  expect(status).toBe(201);
  const named = { tenant: 'acme', environment: 'staging', workload: 'sync', user: 'ada', schedule: 'monthly' };
  const { url } = (await made('/v1/tenants/acme/feeds', {})) as unknown as { url: string };
  const ids = { ...named, webhook: hook.id, run: run.id, feed: new URL(url).search };
  for (const [field, id] of Object.entries(ids)) expect(id, field).toBeTypeOf('string');
  return ids;
}

describe('no value leaves but by the one read that was allowed', () => {
  it('serves each kind to its workload, and of a grant the access token alone', async () => {
    for (const { name } of GOOD) {
      const { status, text } = await call({ path: `${BASE}/${name}/value`, token: workload });
      expect(status, name).toBe(200);
      expect(text).toContain(CANARY);
    }
    const { text } = await call({ path: `${BASE}/grant/value`, token: workload });
    expect(text).toContain(`a-${CANARY}`);
    expect(text).not.toContain(`r-${CANARY}`);
    expect(text).not.toContain(`s-${CANARY}`);
  });

  it('refuses malformed, mistyped, misplaced and misdirected canaries without echoing one', async () => {
    const put = (raw: string): Call => ({ method: 'PUT', path: `${BASE}/api`, raw });
    const bad: Call[] = [
      put(`{"kind":"api_key","value":{"key":"${CANARY}"`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}"}} trailing ${CANARY}`),
      put(`{"kind":"${CANARY}","value":{}}`),
      put(`{"kind":"api_key","value":"${CANARY}"}`),
      put(`{"kind":"api_key","value":{"key":["${CANARY}"]}}`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}","key":"${CANARY}"}}`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}"},"expires_at":"${CANARY}"}`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}"},"cas":"${CANARY}"}`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}"},"labels":{"a":{"b":"${CANARY}"}}}`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}"},"description":["${CANARY}"]}`),
      put(`{"kind":"basic","value":{"username":"u","password":"${CANARY}"}}`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}"},"cas":99}`),
      put(`{"kind":"api_key","value":{"key":"${CANARY}\u0000${'x'.repeat(70_000)}"}}`),
      put(`{"kind":"json","value":{"__proto__":"${CANARY}"}}`),
      put(`"${CANARY}"`),
      put(`${'['.repeat(200)}"${CANARY}"`),
      { method: 'PUT', path: `${BASE}/api`, raw: `<a>${CANARY}</a>`, headers: { 'content-type': 'text/xml' } },
      { path: `${BASE}/api/value?access_token=${CANARY}` },
      { path: `${BASE}/api/value?version=${CANARY}` },
      { path: `${BASE}?cursor=${CANARY}` },
      { path: `${BASE}?label=${CANARY}` },
      { path: `${BASE}/${CANARY}!/value`, token: workload },
      { path: `${BASE}/${CANARY}/value`, token: workload },
      { method: 'PUT', path: `${BASE}/${CANARY}`, body: { kind: 'api_key', value: {} }, token: workload },
      { path: `${BASE}/api/value`, token: CANARY },
      { path: `${BASE}/api/value`, token: `kt_acc_${CANARY}` },
      { path: `${BASE}/api/value`, headers: { 'x-request-id': `{${CANARY}}` } },
      { path: `${BASE}/api/value`, headers: { 'if-none-match': CANARY } },
      { method: 'PUT', path: `${BASE}/api`, raw: '{}', headers: { 'if-match': CANARY } },
      { method: 'POST', path: '/v1/tenants/acme/token', body: { grant_type: 'client_credentials', client_secret: CANARY } },
      { method: 'POST', path: '/v1/tenants/acme/token', body: { grant_type: CANARY, client_secret: CANARY } },
      {
        method: 'POST',
        path: '/v1/tenants/acme/token',
        body: { grant_type: 'client_credentials', client_assertion: `a.${CANARY}.c` },
      },
      { method: 'POST', path: `${BASE}/api/runs`, body: { secret: CANARY } },
      {
        method: 'POST',
        path: '/v1/tenants/acme/workloads',
        body: { name: 'x', environment: 'staging', patterns: ['*'], jwks: { keys: [{ kty: 'OKP', d: CANARY }] } },
      },
      { path: `/v1/${CANARY}` },
      { path: `${BASE}/api/value`, token: auditor },
      { path: `${BASE}/api/value` },
    ];
    for (const request of bad) {
      const { status, text } = await call(request);
      expect(status, JSON.stringify(request).replaceAll(CANARY, '…')).toBeGreaterThanOrEqual(400);
      expect(status).not.toBe(500);
      refusals.push(text);
    }
    expect(refusals.filter((text) => text.includes(CANARY))).toEqual([]);
  });

  it('keeps canaries out of lists, histories, the log and its export, the metrics, the document and the operator’s log', async () => {
    // Every route that reads and is not there to give a value out, for each credential where it is about one.
    const reads = ALL_ROUTES.filter(({ method, secret }) => method === 'GET' && secret !== true);
    const ids = await idsOfEverything();
    const paths = reads.flatMap(({ path }) => {
      const names = path.includes('{run}') ? ['grant'] : GOOD.map(({ name }) => name);
      return names.map((name) =>
        path
          .replace(/due\.ics$/, `$&${ids['feed']}`)
          .replace(/\{(\w+)\}/g, (_all, field: string) => (field === 'credential' ? name : (ids[field] ?? ''))),
      );
    });
    paths.push('/metrics', '/openapi.json', ...['/v1', '/v1/tenants/acme'].map((log) => `${log}/audit/events?limit=500`));
    expect(new Set(paths).size).toBeGreaterThan(30);
    for (const path of new Set(paths)) {
      // Of a tenant's own self, only its programs are told.
      const { status, text } = await call({ path, ...(path === '/v1/tenants/acme/whoami' ? { token: workload } : {}) });
      // A refresh has no receipt.
      expect(status, path).toBe(path.endsWith('/receipt') ? 409 : 200);
      expect(text.includes(CANARY), path).toBe(false);
    }
    expect(log.join('\n')).not.toContain(CANARY);
    expect(printed.join('\n')).not.toContain(CANARY);
  });

  it('leaves no canary in any file, in clear, in base64 or in hex', async () => {
    const forms = [CANARY, Buffer.from(CANARY).toString('hex')];
    for (const shift of [0, 1, 2])
      forms.push(
        Buffer.from(`${'x'.repeat(shift)}${CANARY}`)
          .toString('base64')
          .slice(shift === 0 ? 0 : 4, -4),
      );
    const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((file) =>
      statSync(join(directory, file)).isFile(),
    );
    expect(files.length).toBeGreaterThan(5);
    const hits = files.filter((file) => {
      const content = readFileSync(join(directory, file)).toString('latin1');
      return forms.some((form) => content.includes(form));
    });
    expect(hits).toEqual([]);
  });

  it('gives every file 0600 and every folder 0700', () => {
    for (const file of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
      const stats = statSync(join(directory, file));
      expect((stats.mode & 0o777).toString(8), file).toBe(stats.isDirectory() ? '700' : '600');
    }
  });
});

describe('a secret in memory', () => {
  it('prints as nothing, whichever way it is printed', () => {
    const secret = SecretValue.fromText(CANARY);
    const ways = [
      String(secret),
      `${secret}`,
      JSON.stringify({ secret }),
      inspect({ secret }, { depth: 9, showHidden: true }),
      `${secret as unknown as string}x`,
    ];
    for (const way of ways) expect(way).not.toContain(CANARY);
    expect(secret.reveal((bytes) => new TextDecoder().decode(bytes))).toBe(CANARY);
  });
});
