// The command line over OAuth grants, against a real service, a provider on this machine and a browser with cookies.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { CommandLine } from '../kit/command.ts';
import { type ConsentProvider, newBrowser, PROVIDER_HOST, startConsentProvider } from '../kit/consent-provider.ts';

const data = mkdtempSync(join(tmpdir(), 'keyturn-cli-grants-'));
const CLIENT_SECRET = 'client-not-a-real-secret';
const REFRESH_TOKEN = 'refresh-imported-not-a-real-secret';
let keyturn: RunningKeyturn;
let provider: ConsentProvider;
let owner: CommandLine;
let flags: string[];
const seen: string[] = [];

async function run(args: readonly string[], input = '') {
  const finished = await owner.run(args, input);
  seen.push(finished.stdout + finished.stderr);
  return finished;
}

beforeAll(async () => {
  provider = await startConsentProvider();
  keyturn = await startKeyturn({ dataDirectory: data, host: '127.0.0.1', port: 0, log: () => {} });
  owner = new CommandLine({ KEYTURN_ADDR: keyturn.url, KEYTURN_TENANT: 'acme', KEYTURN_ENVIRONMENT: 'staging' });
  await owner.run(['init', '--name', 'ada', '--data', data]);
  await owner.run(['tenant', 'create', 'acme']);
  flags = [
    ['--client-id', 'made-up-client'],
    ['--token-endpoint', `https://${PROVIDER_HOST}/token`],
    ['--authorization-endpoint', `https://${PROVIDER_HOST}/authorize`],
    ['--client-authentication', 'client_secret_post'],
    ['--sandbox', provider.origin],
    ['--workflow', 'nightly-sync=contacts.read deals.read'],
    ['--why', 'nightly-sync=copies deals each night'],
  ].flat();
});

afterAll(async () => {
  await keyturn.close();
  await provider.stop();
  rmSync(data, { recursive: true, force: true });
  rmSync(owner.config, { recursive: true, force: true });
});

/** What the person does who was sent the link. */
async function consent(link: string): Promise<string> {
  const browser = newBrowser();
  expect((await browser.get(link)).html).toContain('contacts.read');
  const back = await browser.get((await browser.post(link)).location);
  const answered = await browser.get(back.location);
  return (await browser.get(new URL(answered.location, link).href)).html;
}

describe('the command line over grants', () => {
  it('lists the systems it knows, and what one of them wants to know', async () => {
    expect((await run(['connectors'])).stdout).toMatch(/hubspot-oauth +oauth2 +yes +refresh_token/);
    const one = await run(['connectors', 'salesforce']);
    expect(one.stdout).toContain('login_host');
    expect(one.stdout).toContain('repeated once');
    expect(await run(['connectors', 'microsoft'])).toMatchObject({ code: 0 });
    const unclear = await run(['connectors', 'monda']);
    expect(unclear).toMatchObject({ code: 2 });
    expect(unclear.stderr).toContain('monday-legacy-oauth, monday-oauth');
    expect(await run(['connectors', 'nothing-like-it'])).toMatchObject({ code: 5 });
  });

  it('makes a link, and says when the account is connected', async () => {
    const made = await run(['connect', 'generic-oauth2', '--name', 'crm', ...flags, '-o', 'json'], `${CLIENT_SECRET}\n`);
    expect(made).toMatchObject({ code: 0, stderr: '' });
    const { link, id, scopes } = JSON.parse(made.stdout) as { link: string; id: string; scopes: { scope: string }[] };
    expect(scopes.map(({ scope }) => scope)).toEqual(['contacts.read', 'deals.read']);
    expect((await run(['connections', 'crm'])).stdout).toMatch(new RegExp(`${id}\\nstate +open`));
    expect((await run(['credential', 'show', 'crm'])).stdout).toContain('keyturn connect --name crm --env staging');
    expect(await consent(link)).toContain('is connected');
    expect((await run(['connections', 'crm'])).stdout).toMatch(new RegExp(`${id}\\nstate +connected`));
    const shown = (await run(['credential', 'show', 'crm'])).stdout;
    expect(shown).toMatch(/health +ready/);
    expect(shown).toMatch(/scopes granted +contacts.read deals.read/);
    expect(provider.exchanges.at(-1)?.get('client_secret')).toBe(CLIENT_SECRET);
  });

  it('connects again without asking for the secret, shows the link large, waits, and takes a link back', async () => {
    const again = await run(['connect', '--name', 'crm', '--expires-in', '30m']);
    expect(again).toMatchObject({ code: 0 });
    expect(again.stdout).toMatch(/\n\n {2}http:\/\/127\.0\.0\.1:\d+\/connect\/\S+\n\n/);
    expect(again.stdout).toContain('/connect/callback');
    const id = /con_[0-9a-z]{24}/.exec((await run(['connections', 'crm'])).stdout)?.[0] ?? '';
    expect(await run(['connections', 'cancel', 'crm', id])).toMatchObject({ code: 0, stdout: `cancelled ${id}\n` });

    const waiting = run(['connect', '--name', 'crm', '--wait']);
    let link: string | undefined;
    for (let tries = 0; tries < 100 && link === undefined; tries++) {
      await new Promise((done) => setTimeout(done, 100));
      const { items } = JSON.parse((await run(['connections', 'crm', '-o', 'json'])).stdout) as {
        items: { state: string; id: string }[];
      };
      if (items[0]?.state === 'open') link = items[0].id;
    }
    expect(await run(['connections', 'cancel', 'crm', link ?? ''])).toMatchObject({ code: 0 });
    expect(await waiting).toMatchObject({ code: 1, stderr: expect.stringContaining('cancelled') as string });
  });

  it('imports a grant from elsewhere, from lines or from JSON, never from its arguments', async () => {
    const place = ['--from', 'nango', ...flags];
    const lines = await run(['import', 'generic-oauth2', '--name', 'old', ...place], `${REFRESH_TOKEN}\n${CLIENT_SECRET}\n`);
    expect(lines).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('imported old version 1 in staging, from nango') as string,
    });
    const members = JSON.stringify({ refresh_token: `${REFRESH_TOKEN}-2`, client_secret: CLIENT_SECRET, scope: 'a b' });
    const object = ['import', 'generic-oauth2', '--name', 'older', ...place, '--still-used-there', '--json-value'];
    expect(await run(object, members)).toMatchObject({ code: 0 });
    expect((await run(['credential', 'show', 'older'])).stdout).toMatch(/scopes granted +a b/);
    expect((await run(['credential', 'show', 'old'])).stdout).toMatch(/imported +\S+ from nango/);
    expect((await run(['import', 'generic-oauth2', '--name', 'none', ...place], '')).stderr).toContain(
      'standard input has no refresh token',
    );
    const broken = await run(
      ['import', 'generic-oauth2', '--name', 'none', '--json-value', ...place],
      '{"refresh_token": "not-a-real-secret',
    );
    expect(broken).toMatchObject({ code: 2 });
    expect((await run(['import', 'generic-oauth2', '--refresh-token=x', ...place])).stderr).toContain('command line');
  });

  it('disconnects, and a read of it says since when, why and what to type', async () => {
    const gone = await run(['disconnect', 'crm']);
    expect(gone).toMatchObject({ code: 0 });
    expect(gone.stdout).toContain('disconnected crm');
    const made = JSON.parse((await run(['workload', 'create', 'sync', '--pattern', '*', '-o', 'json'])).stdout) as {
      client_id: string;
      client_secret: string;
    };
    seen.pop(); // The workload's own secret is shown there, once, on purpose.
    const file = join(owner.config, 'client-secret');
    writeFileSync(file, made.client_secret, { mode: 0o600 });
    const read = await owner.run(['credential', 'get', 'crm'], '', {
      KEYTURN_CLIENT_ID: made.client_id,
      KEYTURN_CLIENT_SECRET_FILE: file,
    });
    expect(read.code).toBe(7);
    expect(read.stderr).toMatch(/disconnected: connect it again; since \d{4}-\d\d-\d\d \d\d:\d\d UTC, because of on_request/);
    expect(read.stderr).toContain('keyturn connect --name crm --env staging');
    expect(await run(['disconnect', 'crm', '--keep-at-provider'])).toMatchObject({ code: 0 });
  });

  it('tells alerts, the forecast and webhooks', async () => {
    expect((await run(['alerts'])).stdout).toMatch(/UTC {2}disconnected {2}crm staging/);
    // The provider never saw the imported refresh token: that is what a grant looks like that something else has spent.
    await expect
      .poll(async () => (await run(['alerts', '--credential', 'old'])).stdout.match(/needs_consent|used_elsewhere/g)?.sort(), {
        timeout: 15_000,
      })
      .toEqual(['needs_consent', 'used_elsewhere']);
    const forecast = (await run(['forecast', '--within', '7d'])).stdout;
    expect(forecast).toMatch(/^ended +\d{4}-\d\d-\d\d +old staging, generic-oauth2$/m);
    expect(forecast).toContain('keyturn connect --name old --env staging');
    expect(forecast).not.toContain('crm');
    expect(await run(['forecast', '--within', 'soon'])).toMatchObject({ code: 2 });
    const added = await owner.run(['webhooks', 'add', `${provider.origin}/hook`, '--kind', 'credential.needs_consent']);
    expect(added.stdout).toMatch(/^whsec_[A-Za-z0-9+/=]+\n$/);
    const id = /whk_[0-9a-z]{24}/.exec(added.stderr)?.[0] ?? '';
    expect((await run(['webhooks'])).stdout).toMatch(
      new RegExp(`${id}\\nurl +http://127.0.0.1:\\d+/hook\\nkinds +credential.needs_consent`),
    );
    expect((await run(['webhooks', 'deliveries', id])).stdout).toContain('no deliveries');
    expect(await run(['webhooks', 'remove', id])).toMatchObject({ code: 0, stdout: `removed ${id}\n` });
  });

  it('puts over a grant with all its settings: what neither file nor flag names stays, and nothing counts as a move', async () => {
    const lines = `${REFRESH_TOKEN}-3\n${CLIENT_SECRET}\n`;
    await run(['import', 'generic-oauth2', '--name', 'kept', '--from', 'nango', ...flags], lines);
    const settings = async () =>
      (JSON.parse((await run(['credential', 'show', 'kept', '-o', 'json'])).stdout) as { config: object }).config;
    const events = async () => (await run(['audit', 'list', '--action', 'credential.redirect', '-o', 'json'])).stdout;
    const [before, moves] = [await settings(), await events()];
    expect(Object.keys(before)).toContain('authorization_endpoint');
    const put = (args: string[], mark: string) => {
      const value = { refresh_token: `${REFRESH_TOKEN}-${mark}`, client_secret: CLIENT_SECRET };
      return run(['credential', 'put', 'kept', '--kind', 'oauth2', ...args], JSON.stringify(value));
    };
    expect(await put([], '4')).toMatchObject({ code: 0 });
    expect(await settings()).toEqual(before);
    expect(await put(['--client-authentication', 'client_secret_basic'], '5')).toMatchObject({ code: 0 });
    expect(await settings()).toEqual({ ...before, client_authentication: 'client_secret_basic' });
    expect(await events()).toBe(moves);

    const file = join(owner.config, 'settings.json');
    const every = {
      ...before,
      revocation_endpoint: `https://${PROVIDER_HOST}/revoke`,
      scope_separator: ',',
      idle_limit_days: 30,
    };
    writeFileSync(file, JSON.stringify(every));
    expect(await put(['--config-file', file], '6')).toMatchObject({ code: 0 });
    expect(await settings()).toEqual(every);
    writeFileSync(file, JSON.stringify({ ...every, token_endpiont: 'https://provider.example' }));
    expect(await put(['--config-file', file], '7')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('token_endpiont') as string,
    });
    writeFileSync(file, '["not-a-real-secret"]');
    expect(await put(['--config-file', file], '8')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('must hold one JSON object') as string,
    });
  });

  it('printed no secret on the way', () => {
    expect(seen.length).toBeGreaterThan(20);
    for (const text of seen) expect(text).not.toContain('not-a-real-secret');
  });
});

describe('a put of a grant whose stored settings cannot be read', () => {
  it('sends nothing without settings, and the settings of the options as they are', async () => {
    const received: { method: string | undefined; body: string }[] = [];
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (part: Buffer) => {
        body += part.toString();
      });
      request.on('end', () => {
        received.push({ method: request.method, body });
        const isPut = request.method === 'PUT';
        response.writeHead(isPut ? 200 : 404, { 'content-type': 'application/json' });
        response.end(
          isPut
            ? JSON.stringify({ name: 'crm', version: 2, environment: 'staging', health: { state: 'ready' } })
            : JSON.stringify({ code: 'not_found', detail: 'no such credential' }),
        );
      });
    });
    await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
    const { port } = server.address() as AddressInfo;
    const writer = new CommandLine({
      KEYTURN_ADDR: `http://127.0.0.1:${port}`,
      KEYTURN_TENANT: 'acme',
      KEYTURN_ENVIRONMENT: 'staging',
      KEYTURN_TOKEN: 'kt_usr_not-a-real-token',
    });
    try {
      const put = ['credential', 'put', 'crm', '--kind', 'oauth2'];
      const value = JSON.stringify({ refresh_token: REFRESH_TOKEN });
      const without = await writer.run(put, value);
      expect(without).toMatchObject({ code: 2 });
      expect(without.stderr).toContain('the setting client_id is missing');
      expect(without.stderr).toContain('no stored settings of crm that you may describe');
      expect(received.map(({ method }) => method)).toEqual(['GET']);
      expect(await writer.run([...put, '--client-id', 'new-client'], value)).toMatchObject({ code: 0 });
      const [, , sent] = received;
      expect(sent?.method).toBe('PUT');
      expect(JSON.parse(sent?.body ?? '')).toMatchObject({ config: { client_id: 'new-client' } });
    } finally {
      server.close();
      rmSync(writer.config, { recursive: true, force: true });
    }
  });
});
