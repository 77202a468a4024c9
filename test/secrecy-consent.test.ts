// LK-01 for OAuth grants: every secret of their whole life is taken down as it passes a provider that echoes; then every sink is searched.
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectors } from '../rotation/catalog.ts';
import { type Personas, startPersonas } from '../rotation/sandbox/personas.ts';
import { Canaries } from './kit/canaries.ts';
import { newBrowser } from './kit/consent-provider.ts';
import { type Echo, startEchoingProvider, startEchoingReceiver } from './kit/echoing-provider.ts';
import {
  type Answer,
  type Client,
  CREDENTIALS,
  clientOf,
  eventually,
  newDirectory,
  setUpOwner,
  stopAll,
} from './kit/node-process.ts';
import { type PrintedKeyturn, startPrinted } from './kit/printed-keyturn.ts';

const CONNECTED = 'is connected</h1>';
const IMPORTED: readonly Echo[] = ['dead', 'word', 'page', 'redirect', 'half'];
const canaries = new Canaries();
const directory = newDirectory();
/** Where it came from, and what there is of secrets in it. */
const sightings: string[] = [];
let service: PrintedKeyturn;
let receiver: Awaited<ReturnType<typeof startEchoingReceiver>>;
let admin: Client;
let workload: Client;
let personas: Personas;
let provider: Awaited<ReturnType<typeof startEchoingProvider>>;
/** Searched when all secrets are known; each `shown` is what it is there for. */
const sinks: { name: string; content: string | Buffer; shown: readonly string[] }[] = [];

function keep(name: string, answer: Pick<Answer, 'text' | 'headers'>, shown: readonly string[] = []): void {
  sinks.push({ name, content: `${answer.text}\n${JSON.stringify([...answer.headers])}`, shown });
}

/** A call whose answer is a sink. */
async function ask(method: string, path: string, body?: unknown, shown: (body: Answer['body']) => string[] = () => []) {
  const idempotent = method === 'POST' ? { 'idempotency-key': `key-${sinks.length}` } : undefined;
  const answer = await admin(method, path, body, idempotent);
  keep(`${method} ${path} ${answer.status}`, answer, answer.status < 300 ? shown(answer.body) : []);
  return answer;
}

/** Holds what each encoding writes in its own way. */
const madeUp = () => `${randomBytes(12).toString('base64url')}+/"&%<é not-a-real-secret`;

function configOf(connector: string, client: string, changes: object = {}): Record<string, unknown> {
  const home = `https://${connector}.sandbox.example`;
  const addresses = {
    token_endpoint: `${home}/oauth/token`,
    authorization_endpoint: `${home}/oauth/authorize`,
    revocation_endpoint: `${home}/oauth/revoke`,
    introspection_endpoint: `${home}/oauth/introspect`,
  };
  return {
    ...(connector === 'generic-oidc' ? { issuer: home } : addresses),
    sandbox: provider.origin,
    client_id: client,
    workflows: [{ name: 'sync', scopes: ['contacts.read'], why: 'copies contacts' }],
    ...changes,
  };
}

const clientOfName = (name: string) =>
  name === 'crm' ? 'keyturn-sandbox.generic-oidc' : `keyturn-sandbox.generic-oauth2.${name}`;

async function linkFor(name: string, body: object): Promise<{ id: string; link: string }> {
  const tokenOf = (link: string) => link.split('/').at(-1) ?? '';
  const made = await ask('POST', `${CREDENTIALS}/${name}/connections`, body, ({ link }) => [tokenOf(link)]);
  expect(made.status, made.text).toBe(201);
  canaries.add('link', tokenOf(made.body.link));
  return made.body;
}

/** One attempt: looks, agrees, comes back. `twice` uses the callback again, and from another browser. */
async function attempt(name: string, link: string, browser = newBrowser()): Promise<string> {
  const token = link.split('/').at(-1) ?? '';
  const page = async (what: string, path: string, shown: string[] = [], as = browser) => {
    const { html, headers, location, status } = await as.get(path);
    keep(`${name}: ${what} ${status}`, { text: html, headers }, shown);
    return { html, location };
  };
  await page('page of the link', link, [token]);
  const begun = await browser.post(link);
  const binding = /=([^.;]+)\.[^;]+/.exec(begun.headers.get('set-cookie') ?? '')?.[1] ?? '';
  canaries.add('browser cookie', binding);
  const state = new URL(begun.location).searchParams.get('state') ?? '';
  const nonce = new URL(begun.location).searchParams.get('nonce');
  keep(`${name}: begun`, { text: begun.html, headers: begun.headers }, [
    binding,
    token,
    state,
    ...(nonce === null ? [] : [nonce]),
  ]);
  const { location: callback } = await browser.get(begun.location);
  await page('callback in another browser', callback, [], newBrowser());
  const back = await page('callback', callback, [token]);
  await page('callback again', callback, [token]);
  if (back.location === '') return back.html;
  return (await page('end', new URL(back.location, link).href, [token])).html;
}

/** Has it refreshed once; the run and its journal are sinks. */
async function refresh(name: string): Promise<string> {
  const opened = await ask('POST', `${CREDENTIALS}/${name}/runs`, {});
  expect(opened.status, opened.text).toBe(202);
  const run = `${CREDENTIALS}/${name}/runs/${opened.body.id}`;
  const tried = await eventually(async () => {
    const { body } = await admin('GET', run);
    return body.state !== 'open' || (body.attempts > 0 && body.next_attempt_at !== null && body.cause !== null)
      ? body
      : undefined;
  }, 20_000);
  await ask('GET', run);
  return `${tried.state} ${tried.cause}`;
}

async function read(name: string): Promise<number> {
  const answer = await workload('GET', `${CREDENTIALS}/${name}/value`);
  const token = answer.body.value?.access_token as string | undefined;
  keep(`read of ${name} ${answer.status}`, answer, token === undefined ? [] : [canaries.add('access_token', token)]);
  return answer.status;
}

async function putGrant(name: string): Promise<void> {
  const grant = await personas.issueGrant('generic-oauth2', { scope: 'contacts.read' });
  const value = {
    access_token: canaries.add('access_token', grant.accessToken),
    refresh_token: canaries.add('refresh_token', grant.refreshToken ?? ''),
    client_secret: canaries.add('client_secret', madeUp()),
    expires_in: 3_600,
  };
  provider.register(clientOfName(name), value.client_secret);
  const config = configOf('generic-oauth2', clientOfName(name));
  const imported = { from: 'nango', still_used_there: true };
  const put = await ask('PUT', `${CREDENTIALS}/${name}`, {
    kind: 'oauth2',
    connector: 'generic-oauth2',
    value,
    config,
    import: imported,
  });
  expect(put.status, put.text).toBe(201);
}

beforeAll(async () => {
  personas = await startPersonas({ connectors });
  personas.decide('allow');
  provider = await startEchoingProvider(personas, canaries);
  receiver = await startEchoingReceiver(canaries);
  service = await startPrinted(directory);
  const { url } = service;
  canaries.add('API token', readFileSync(join(directory, 'bootstrap-secret'), 'utf8').trim());
  admin = clientOf(url, canaries.add('API token', await setUpOwner(url, directory)));
  await ask('POST', '/v1/tenants', { name: 'acme' });
  const made = { name: 'sync', environment: 'staging', patterns: ['*'], permissions: ['read'] };
  const secretOf = (body: Answer['body']) => [body.client_secret as string];
  canaries.add('API token', (await ask('POST', '/v1/tenants/acme/workloads', made, secretOf)).body.client_secret);
  const token = await ask('POST', '/v1/tenants/acme/workloads/sync/tokens', {}, (body) => [body.token]);
  workload = clientOf(url, canaries.add('API token', token.body.token));
  const hook = { url: `${receiver.origin}/hook` };
  const webhook = await ask('POST', '/v1/tenants/acme/webhooks', hook, (body) => [body.secret]);
  canaries.add('webhook secret', webhook.body.secret);
}, 60_000);

afterAll(async () => {
  await service.stop();
  await provider.stop();
  await personas.stop();
  await receiver.stop();
  await stopAll();
});

describe('no secret of a grant is anywhere but where it must be', { timeout: 90_000 }, () => {
  it('while a person consents, at a provider that echoes, as somebody else, and at last', async () => {
    const client = clientOfName('crm');
    const secret = canaries.add('client_secret', madeUp());
    provider.register(client, secret);
    const { link } = await linkFor('crm', {
      connector: 'generic-oidc',
      config: configOf('generic-oidc', client),
      client_secret: secret,
    });
    personas.misbehave({ kind: 'wrong_issuer' });
    expect(await attempt('crm', link)).not.toContain(CONNECTED);
    for (const echo of ['dead', 'word', 'page', 'redirect', 'half'] as const) {
      provider.echo(client, echo);
      expect(await attempt(`crm ${echo}`, link), echo).not.toContain(CONNECTED);
    }
    provider.echo(client, undefined);
    expect(await attempt('crm', link)).toContain(CONNECTED);
    expect(await read('crm')).toBe(200);
    expect(await refresh('crm')).toBe('succeeded null');
    expect(await read('crm')).toBe(200);
    const again = await linkFor('crm', {});
    expect((await ask('DELETE', `${CREDENTIALS}/crm/connections/${again.id}`)).status).toBe(200);
    const gone = await newBrowser().get(again.link);
    keep('cancelled link', { text: gone.html, headers: gone.headers });
    expect(gone.status).toBe(410);
  });

  it.each(['jwk', 'pem'] as const)('while a client proves itself with its key (%s)', async (form) => {
    const { jwk, pem } = await personas.clientKey(form === 'jwk' ? 'ES256' : 'RS256');
    const key = form === 'jwk' ? { client_private_jwk: jwk } : { client_private_key_pem: pem };
    canaries.add('private key', form === 'jwk' ? String(jwk.d) : pem);
    const config = configOf('generic-oauth2', clientOfName(form), { client_authentication: 'private_key_jwt' });
    const { link } = await linkFor(form, { connector: 'generic-oauth2', config, ...key });
    expect(await attempt(form, link)).toContain(CONNECTED);
    expect(await refresh(form)).toBe('succeeded null');
    expect(await read(form)).toBe(200);
    const broken = form === 'jwk' ? { client_private_jwk: { ...jwk, x: jwk.d } } : { client_private_key_pem: [pem] };
    await ask('POST', `${CREDENTIALS}/${form}-broken/connections`, { connector: 'generic-oauth2', config, ...broken });
  });

  it.each(IMPORTED)('while an imported grant is refreshed at a provider that echoes (%s)', async (echo) => {
    await putGrant(echo);
    provider.echo(clientOfName(echo), echo);
    expect(await refresh(echo)).not.toContain('succeeded');
    await read(echo);
    expect(provider.echoed).toContain(`${clientOfName(echo)} ${echo} token`);
  });

  it('while it is revoked at a provider that echoes, and its alerts go to a receiver that does', async () => {
    for (const [name, echo] of [
      ['crm', 'dead'],
      ['jwk', 'page'],
      ['pem', 'redirect'],
    ] as const) {
      provider.echo(clientOfName(name), echo);
      expect((await ask('POST', `${CREDENTIALS}/${name}/disconnections`, {})).status).toBe(200);
      await eventually(() => provider.echoed.includes(`${clientOfName(name)} ${echo} revoke`) || undefined);
      expect(await read(name)).toBe(424);
    }
    const webhooks = (await admin('GET', '/v1/tenants/acme/webhooks')).body.items as { id: string }[];
    const failed = await eventually(async () => {
      const { body } = await admin('GET', `/v1/tenants/acme/webhooks/${webhooks[0]?.id}/deliveries`);
      return body.items.some(({ cause }: { cause: string | null }) => cause === 'http_500') || undefined;
    });
    expect(failed).toBe(true);
    await ask('GET', `/v1/tenants/acme/webhooks/${webhooks[0]?.id}/deliveries`);
    sinks.push({ name: 'what the webhook received', content: receiver.bodies.join('\n'), shown: [] });
    expect(receiver.bodies.length).toBeGreaterThan(0);
  });

  it('in what is asked afterwards: views, runs, alerts, forecast, logs, metrics', async () => {
    const names = ['crm', 'jwk', 'pem', ...IMPORTED];
    const each = ['', '/versions', '/runs', '/connections'];
    const paths = names.flatMap((name) => each.map((rest) => `${CREDENTIALS}/${name}${rest}`));
    const tenant = [
      'alerts',
      'webhooks',
      'forecast?within_days=3650',
      'audit/events?limit=500',
      'audit/export',
      'workloads',
      'keys',
    ];
    paths.push(CREDENTIALS, ...tenant.map((rest) => `/v1/tenants/acme/${rest}`));
    paths.push('/v1/audit/events?limit=500', '/v1/audit/export', '/v1/users', '/v1/connectors', '/metrics', '/openapi.json');
    for (const path of paths) expect((await ask('GET', path)).status, path).toBe(200);
    expect(searchFiles('running')).toBeGreaterThan(5);
    await service.stop();
    expect(searchFiles('stopped')).toBeGreaterThan(3);
    expect(service.printed().length).toBeGreaterThan(0);
    search('what the service printed', service.printed());
    for (const { name, content, shown } of sinks) search(name, content, shown);
    expect([...canaries.kinds].sort()).toEqual(KINDS);
    expect(sightings).toEqual([]);
  });
});

const KINDS = [
  'API token',
  'access_token',
  'browser cookie',
  'client_assertion',
  'client_secret',
  'code',
  'code_verifier',
].concat(['id_token', 'link', 'nonce', 'private key', 'refresh_token', 'state', 'webhook secret', 'webhook signature']);

function search(name: string, content: string | Buffer, shown: readonly string[] = []): void {
  for (const { secret, form } of canaries.in(content, shown)) sightings.push(`${name}: ${secret} (${form})`);
}

/** Returns how many there are. */
function searchFiles(when: string): number {
  const files = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((file) =>
    statSync(join(directory, file)).isFile(),
  );
  for (const file of files) search(`${file}, ${when}`, readFileSync(join(directory, file)));
  return files.length;
}
