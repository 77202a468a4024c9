// The hosted pages under hostile hands: floods of looks and callbacks, parameters of every wrong shape, texts that want to be more than text.
// Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { type ConnectApp, connectApp } from '../kit/connect-app.ts';
import { CONFIG, tokens } from '../kit/consent-bench.ts';

const rows = ({ bench }: ConnectApp) =>
  ['connection', 'credential_version', 'alert', 'run', 'token'].map(
    (table) => bench.tenant.sql.get<{ n: number }>(`SELECT count(*) AS n FROM ${table}`)?.n,
  );
const tokenCalls = ({ bench }: ConnectApp) => bench.sent.filter(({ url }) => url.endsWith('/token')).length;

/** Where the provider sends the browser that began. */
async function begun(app: ConnectApp) {
  const path = await app.link();
  const browser = app.browser();
  const sent = await browser.post(path);
  return { path, browser, location: sent.headers.get('location') ?? '' };
}

describe('a link under attack', () => {
  it('is looked at a thousand times and leaves nothing behind', async () => {
    const app = await connectApp();
    const path = await app.link();
    const before = [...rows(app), app.bench.events().length];
    const browser = app.browser();
    for (let looks = 0; looks < 1_000; looks++) expect((await browser.get(path)).status).toBe(200);
    expect([...rows(app), app.bench.events().length]).toEqual(before);
    expect(browser.cookies.size).toBe(0);
    const { location } = await begun(app);
    expect(location).toMatch(/^https:\/\/app\.crm\.example\/authorize\?/);
  });

  it('is begun again and again and holds one attempt, the last; one too many is counted as a failed look-up and begins nothing', async () => {
    const app = await connectApp();
    const path = await app.link();
    const places: string[] = [];
    let browser = app.browser();
    for (let tries = 0; tries < LIMITS.connectAttemptsMaxCount; tries++) {
      browser = app.browser();
      places.push((await browser.post(path)).headers.get('location') ?? '');
    }
    expect(rows(app)[0]).toBe(1);
    expect(new Set(places).size).toBe(LIMITS.connectAttemptsMaxCount);
    expect(app.failures).toEqual([]);
    for (let more = 1; more <= 3; more++) {
      expect((await app.browser().post(path)).status).toBe(410);
      expect(app.failures).toHaveLength(more);
    }
    expect(app.bench.events('begun')).toHaveLength(LIMITS.connectAttemptsMaxCount);
    await browser.get(app.callback(places[0] ?? ''));
    expect(tokenCalls(app)).toBe(0);
    const page = await browser.get(app.callback(places.at(-1) ?? ''));
    expect(tokenCalls(app)).toBe(1);
    expect((await browser.get(page.headers.get('location') ?? path)).html).toContain('is connected');
  });
});

describe('a callback under attack', () => {
  it('that arrives twenty times at once is exchanged once, stored once and shown as one success', async () => {
    const app = await connectApp();
    const { browser, location } = await begun(app);
    app.bench.replies.push(async () => {
      await new Promise((resume) => setTimeout(resume, 20));
      return tokens();
    });
    await Promise.all(Array.from({ length: 20 }, () => browser.get(app.callback(location))));
    expect(tokenCalls(app)).toBe(1);
    expect(app.bench.events('stored')).toHaveLength(1);
    expect(app.bench.row('crm').health).toBe('ready');
  });

  const wrong: [string, (good: URLSearchParams) => string][] = [
    ['state twice', (good) => `${good}&state=${good.get('state')}`],
    ['code twice', (good) => `${good}&code=another`],
    ['iss twice', (good) => `${good}&iss=https%3A%2F%2Fapp.crm.example&iss=https%3A%2F%2Fapp.crm.example`],
    ['a code and an error', (good) => `${good}&error=access_denied`],
    ['a code of a megabyte', (good) => `state=${good.get('state')}&code=${'c'.repeat(1_000_000)}`],
    ['a code with a line break', (good) => `state=${good.get('state')}&code=c%0d%0aset-cookie%3A%20a%3Db`],
    ['an empty code', (good) => `state=${good.get('state')}&code=`],
    ['a state of another form', (good) => `state=${encodeURIComponent(`${good.get('state')}\u0000`)}&code=c`],
    ['members of objects', (good) => `${good}&__proto__=1&constructor=2`],
  ];
  it.each(wrong)('with %s stores nothing that is not the grant, and throws nothing at the person', async (name, query) => {
    const app = await connectApp();
    const { browser, location } = await begun(app);
    const good = new URL(app.callback(location), 'https://vault.example').searchParams;
    const page = await browser.get(`/connect/callback?${query(good)}`);
    expect(page.status, page.html).toBeLessThan(500);
    expect(page.html + [...page.headers].join()).not.toMatch(/cccccccc|set-cookie: a=b|access_denied/);
    const isHarmless = name === 'members of objects';
    expect(tokenCalls(app)).toBe(isHarmless ? 1 : 0);
    expect(app.bench.events('stored')).toHaveLength(isHarmless ? 1 : 0);
  });

  it('with an explanation of the provider shows none of it, and keeps none of it', async () => {
    const app = await connectApp();
    const { browser, location } = await begun(app);
    const fields = {
      error: 'access_denied',
      error_description: '<img src=x onerror=marker()>\nmarker',
      error_uri: 'https://marker.example',
    };
    const page = await browser.get(app.callback(location, fields));
    const shown = await browser.get(page.headers.get('location') ?? '');
    expect(page.html + shown.html).not.toContain('marker');
    expect(
      JSON.stringify(app.bench.tenant.sql.all('SELECT * FROM connection')) + JSON.stringify(app.bench.events()),
    ).not.toContain('marker');
  });
});

describe('what a link is made of', () => {
  const workflow = (changes: object) => ({ ...CONFIG, workflows: [{ name: 'sync', scopes: ['contacts.read'], ...changes }] });
  it.each<[string, object, string]>([
    ['too many workflows', { ...CONFIG, workflows: Array(LIMITS.workflowsMaxCount + 1).fill(CONFIG.workflows[0]) }, 'workflows'],
    ['a name with markup', workflow({ name: '<script>' }), 'name'],
    ['a name that reads backwards', workflow({ name: 'sync\u202e' }), 'name'],
    ['a reason with a line break', workflow({ why: 'fine\nbut' }), 'why'],
    ['a reason that reads backwards', workflow({ why: 'fine \u202etxt' }), 'why'],
    ['a reason of a megabyte', workflow({ why: 'y'.repeat(1_000_000) }), 'why'],
    ['a scope with a space', workflow({ scopes: ['contacts.read admin'] }), 'scopes'],
    ['a scope with quotes', workflow({ scopes: ['a"b'] }), 'scopes'],
    ['a scope of a megabyte', workflow({ scopes: ['s'.repeat(1_000_000)] }), 'scopes'],
    ['ten thousand scopes', workflow({ scopes: Array.from({ length: 10_000 }, (_, i) => `s${i}`) }), 'scopes'],
  ])('is refused with %s, and the refusal names the field', (_, config, field) => {
    const { success, error } = oauth2Config.safeParse(config);
    expect(success).toBe(false);
    expect(error?.issues.some(({ path }) => path.includes(field))).toBe(true);
  });

  it('is shown as text: markup in a reason stays what it is', async () => {
    const app = await connectApp();
    const config = oauth2Config.parse(workflow({ why: '<b onclick=x>"&' }));
    const { linkToken } = await app.bench.make('crm', { config });
    const { html } = await app.browser().get(`/connect/${app.bench.tenant.vault.tenant.id}/${linkToken}`);
    expect(html).toContain('&lt;b onclick=x&gt;&quot;&amp;');
    expect(html).not.toContain('<b onclick');
  });
});
