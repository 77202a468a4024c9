// A proxy that serves the vault below a path and takes that path off: every URL that a page, a header or an answer holds has it.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ALL_ROUTES } from '../../src/http/app.ts';
import { CONNECT_PAGES } from '../../src/http/connect-routes.ts';
import { parsePublicUrl, pathPrefixOf } from '../../src/http/public-url.ts';
import { type RunningKeyturn, startKeyturn } from '../../src/node/start.ts';
import { type Browser, connectApp, type Page } from '../kit/connect-app.ts';
import { CRM, tokens } from '../kit/consent-bench.ts';
import { apiKey, type Client, CREDENTIALS, clientOf, newDirectory, setUpOwner, stopAll } from '../kit/node-process.ts';

const PUBLIC = 'https://vault.example/vault';
const URLS = /(?:href|action|formaction|src|poster|cite|data)="([^"]*)"|url\(([^)]*)\)/g;

/** Every URL of a page, its Location header with them, as a browser at the public URL would follow them. */
function urlsOf({ html, headers }: Page): string[] {
  const inPage = [...html.matchAll(URLS)].map(([, attribute, inStyle]) => attribute ?? inStyle ?? '');
  const to = headers.get('location');
  return [...inPage, ...(to === null ? [] : [to])];
}

const isOwn = (url: string) => new URL(url, `${PUBLIC}/connect/x`).origin === new URL(PUBLIC).origin;

describe('the pages of a link behind a path', () => {
  const visited = new Set<string>();
  const pages: Page[] = [];
  const seen = async (name: string, page: Promise<Page>): Promise<Page> => {
    visited.add(name);
    pages.push(await page);
    return page;
  };
  const look = (browser: Browser, path: string) => seen('GET /connect/:tenant/:link', browser.get(path));
  const press = (browser: Browser, path: string, form = {}) => seen('POST /connect/:tenant/:link', browser.post(path, form));
  const back = (browser: Browser, path: string) => seen('GET /connect/callback', browser.get(path));
  const actionOf = ({ html }: Page) => /action="([^"]*)"/.exec(html)?.[1] ?? '';
  const locationOf = ({ headers }: Page) => headers.get('location') ?? '';
  const choice = {
    url: 'https://api.crm.example/sites',
    title: 'Which site is meant?',
    items: '',
    idField: 'id',
    labelField: 'name',
    accountField: 'site_id',
  };

  it('are walked by what they say themselves, every one of them, with every URL inside the path', async () => {
    const app = await connectApp(
      {
        consent: { ...CRM.consent!, choice },
        parameters: [{ name: 'shop', title: 'Your shop', shape: 'label', from: 'consent' }],
      },
      PUBLIC,
    );
    const browser = app.browser();
    const path = await app.link();
    const again = await press(browser, actionOf(await look(browser, path)), { shop: 'no shop/' });
    expect(again.status).toBe(400);
    const begun = await press(browser, actionOf(again), { shop: 'north' });
    expect(begun.status).toBe(303);
    const stranger = await back(app.browser(), app.callback(locationOf(begun)));
    expect(stranger.status).toBe(400);

    app.bench.replies.push(tokens(), { status: 500, body: {} });
    const asked = await look(browser, locationOf(await back(browser, app.callback(locationOf(begun)))));
    app.bench.replies.push({ status: 200, body: [{ id: 'n-1', name: 'North' }, { id: 's-2', name: 'South' }] }); // biome-ignore format: one line
    const chosenFrom = await seen('POST /connect/:tenant/:link/choice', browser.post(actionOf(asked)));
    const choosing = await look(browser, locationOf(chosenFrom));
    expect(choosing.html).toContain('Which site is meant?');
    const chosen = await seen('POST /connect/:tenant/:link/choice', browser.post(actionOf(choosing), { choice: 's-2' }));
    expect((await look(browser, locationOf(chosen))).html).toContain('is connected');
    const late = await back(browser, app.callback(locationOf(begun)));
    expect(late.html).toContain('Start again');

    expect([...visited].sort()).toEqual(CONNECT_PAGES.map(({ method, path: route }) => `${method} ${route}`).sort());
    const urls = pages.flatMap(urlsOf);
    expect(urls.length).toBeGreaterThan(8);
    expect(urls.filter((url) => isOwn(url) && !url.startsWith('/vault/connect/'))).toEqual([]);
  });
});

describe('the answers behind a path', () => {
  let keyturn: RunningKeyturn;
  let owner: Client;
  const fields: Record<string, string> = {
    tenant: 'acme',
    environment: 'staging',
    credential: 'a',
    workload: 'sync',
    user: 'ada',
  };

  beforeAll(async () => {
    const directory = newDirectory();
    keyturn = await startKeyturn({ dataDirectory: directory, host: '127.0.0.1', port: 0, behindProxy: true, publicUrl: `${PUBLIC}/`, log: () => {} }); // biome-ignore format: one line
    owner = clientOf(keyturn.url, await setUpOwner(keyturn.url, directory));
    await owner('POST', '/v1/tenants', { name: 'acme' });
    await owner('PUT', `${CREDENTIALS}/a`, apiKey('not-a-real-secret'));
    const workload = { name: 'sync', environment: 'staging', patterns: ['*'], permissions: ['read'] };
    await owner('POST', '/v1/tenants/acme/workloads', workload);
  });
  afterAll(async () => {
    await keyturn.close();
    await stopAll();
  });

  it('say in the document, the link and the redirect URI where the vault is', async () => {
    expect((await owner('GET', '/openapi.json')).body.servers).toEqual([{ url: PUBLIC }]);
    const made = await owner('POST', `${CREDENTIALS}/crm/connections`, {
      connector: 'hubspot-oauth',
      config: { client_id: 'not-a-real-client', workflows: [{ name: 'sync', scopes: ['crm.objects.contacts.read'] }] },
      client_secret: 'not-a-real-secret',
    });
    expect(made.body).toMatchObject({ redirect_uri: `${PUBLIC}/connect/callback` });
    expect(made.body.link.startsWith(`${PUBLIC}/connect/ten_`)).toBe(true);
  });

  it('hold no address of the listener and no path from the root, at any route that can be asked', async () => {
    const wrong: string[] = [];
    let answered = 0;
    const askable = ALL_ROUTES.filter(({ method }) => method === 'GET');
    for (const route of askable) {
      const path = route.path.replaceAll(/\{([a-z]+)\}/g, (_all, field: string) => fields[field] ?? 'none');
      const answer = await owner('GET', path);
      if (answer.status < 400) answered++;
      const texts = [...answer.headers.entries()].map(([name, value]) => `${name}: ${value}`);
      if (texts.some((text) => /^(location|link|content-location): \//.test(text))) wrong.push(`${route.path}: ${texts.join()}`);
      if ([answer.text, ...texts].join().includes(keyturn.url)) wrong.push(`${route.path} holds ${keyturn.url}`);
    }
    expect(wrong).toEqual([]);
    expect(answered).toBeGreaterThan(askable.length / 2);
  });
});

describe('the public URL', () => {
  it.each([
    ['https://vault.example', 'https://vault.example', ''],
    ['https://vault.example/', 'https://vault.example', ''],
    ['https://Vault.example:8443/a/b/', 'https://vault.example:8443/a/b', '/a/b'],
    ['http://localhost:8420', 'http://localhost:8420', ''],
    ['http://127.0.0.1:8420/vault', 'http://127.0.0.1:8420/vault', '/vault'],
    ['http://[::1]:8420', 'http://[::1]:8420', ''],
  ])('%s is kept without a slash at its end, and its path known', (text, kept, prefix) => {
    expect(parsePublicUrl(text)).toBe(kept);
    expect(pathPrefixOf(kept)).toBe(prefix);
  });

  it.each([
    ['', /no http or https URL/],
    ['vault.example', /no http or https URL/],
    ['ftp://vault.example', /no http or https URL/],
    ['http://vault.example', /must be https/],
    ['https://ada:pw@vault.example', /user name/],
    ['https://vault.example/?a=1', /query/],
    ['https://vault.example/#', /fragment/],
    ['https://vault.example/a//b', /single slashes/],
    ['https://vault.example/a%20b', /single slashes/],
  ])('%s is refused with the rule', (text, rule) => {
    expect(() => parsePublicUrl(text)).toThrow(rule);
  });
});
