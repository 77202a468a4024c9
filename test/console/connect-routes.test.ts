import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { connectPage } from '../../src/console/connect-page.ts';
import { bindingCookie, bindingOf } from '../../src/http/connect-cookie.ts';
import type { ConnectView } from '../../src/http/v1/wire-connections.ts';
import { connectApp, type Page } from '../kit/connect-app.ts';
import { CRM, tokens } from '../kit/consent-bench.ts';

const location = (page: Page) => page.headers.get('location') ?? '';

describe('the page of a link', () => {
  it('says what is asked, for whom and why, and changes nothing however often it is looked at', async () => {
    const app = await connectApp();
    const path = await app.link();
    const before = JSON.stringify(app.bench.tenant.sql.all('SELECT * FROM connection'));
    const size = app.bench.events().length;
    for (let looks = 0; looks < 3; looks++) {
      const page = await app.browser().get(path);
      expect(page.status).toBe(200);
      for (const words of [
        'Made-up CRM',
        'acme',
        'Read contacts',
        'nightly-sync',
        'Copies new contacts every night',
        'Stay connected',
      ])
        expect(page.html).toContain(words);
      expect(page.headers.getSetCookie()).toEqual([]);
    }
    expect(JSON.stringify(app.bench.tenant.sql.all('SELECT * FROM connection'))).toBe(before);
    expect(app.bench.events()).toHaveLength(size);
    expect(app.failures).toEqual([]);
  });

  it('runs nothing, loads nothing, is kept nowhere and framed by nobody', async () => {
    const app = await connectApp();
    const { headers, html } = await app.browser().get(await app.link());
    const style = /<style>([\s\S]*)<\/style>/.exec(html)?.[1] ?? '';
    const hash = createHash('sha256').update(style).digest('base64');
    expect(headers.get('content-security-policy')).toBe(
      `default-src 'none'; style-src 'sha256-${hash}'; form-action 'self' https:; base-uri 'none'; frame-ancestors 'none'`,
    );
    expect(Object.fromEntries(headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'x-robots-tag': 'noindex, nofollow',
    });
    expect(html).not.toMatch(/<script|<img|<link|<iframe|\son\w+=|\sstyle=|url\(|@import|src=|http-equiv/i);
  });

  it('is made for readers of every kind: language, landmarks, one heading, a label for each field', async () => {
    const app = await connectApp({ parameters: [{ name: 'shop', title: 'Your shop', shape: 'label', from: 'consent' }] });
    const { html } = await app.browser().get(await app.link());
    expect(html).toMatch(/<html lang="en">/);
    expect(html).toMatch(/<title>Connect Made-up CRM<\/title>/);
    for (const landmark of ['<header', '<main', '<footer']) expect(html.split(landmark)).toHaveLength(2);
    expect(html.split('<h1')).toHaveLength(2);
    expect(html).toContain('<label class="title" for="field-shop">Your shop</label>');
    expect(html).toContain('id="field-shop"');
    expect(html).toContain('name="viewport"');
  });

  it('shows what others wrote as text', async () => {
    const app = await connectApp({ title: '<b>CRM</b> "x"' });
    const made = await app.bench.make('crm', { description: '<img src=x onerror=alert(1)>' });
    const { html } = await app.browser().get(`/connect/${app.bench.tenant.vault.tenant.id}/${made.linkToken}`);
    expect(html).not.toContain('<b>');
    expect(html).not.toContain('<img');
    expect(html).toContain('&lt;img src=x onerror=alert(1)&gt;');
  });
});

describe('a link that leads nowhere', () => {
  it('looks the same whatever it was, counts as a failed look-up, and tells nothing of the tenant', async () => {
    const app = await connectApp();
    const { vault } = app.bench.tenant;
    const used = await app.link('used');
    const browser = app.browser();
    const begun = await browser.post(used);
    await browser.get(app.callback(location(begun)));
    const expired = await app.link('expired');
    app.bench.tenant.clock.pass(86_400_000);
    const none = 'A'.repeat(43);
    const paths = [
      used,
      expired,
      `/connect/${vault.tenant.id}/${none}`,
      `/connect/ten_000000000000000000000000/${none}`,
      `/connect/${vault.tenant.name}/${none}`,
      `/connect/nobody/${none}`,
      `/connect/${vault.tenant.id}/short`,
      '/connect/callback?state=x',
      '/connect/callback',
      `/connect/callback?state=ten_000000000000000000000000.con_000000000000000000000000.${none}&code=x`,
    ];
    const first = await app.browser().get(paths[0] as string);
    expect(first.status).toBe(410);
    for (const path of paths) {
      const page = await app.browser().get(path);
      expect({ status: page.status, html: page.html }, path).toEqual({ status: 410, html: first.html });
      if (path.startsWith('/connect/callback')) continue;
      const posted = await app.browser().post(path);
      expect({ status: posted.status, html: posted.html }, path).toEqual({ status: 410, html: first.html });
    }
    expect(app.failures.length).toBe(1 + paths.length + paths.filter((path) => !path.startsWith('/connect/callback')).length);
  });

  it('is refused for a while to a source that tried too many', async () => {
    const app = await connectApp();
    const good = await app.link();
    app.flood();
    const page = await app.browser().get(`/connect/ten_000000000000000000000000/${'A'.repeat(43)}`);
    expect(page.status).toBe(429);
    expect(page.headers.get('retry-after')).toBe('7');
    expect(page.html).toContain('Too many attempts');
    expect((await app.browser().get(good)).status).toBe(200);
  });

  it('answers what cannot be read with a page, and says no more', async () => {
    const app = await connectApp();
    const path = await app.link();
    const browser = app.browser();
    expect((await browser.get(`${path}?x=1`)).status).toBe(400);
    expect((await browser.get('/connect/callback?state=a&state=b')).status).toBe(400);
    expect((await browser.post(path, {}, { 'content-type': 'text/plain' })).status).toBe(415);
    expect((await browser.post('/connect/callback')).status).toBe(405);
  });
});

describe('the button', () => {
  it('sends this browser, and no other, to the provider and back to a result', async () => {
    const app = await connectApp();
    const path = await app.link();
    const browser = app.browser();
    const begun = await browser.post(path);
    expect(begun.status).toBe(303);
    expect(location(begun)).toMatch(/^https:\/\/app\.crm\.example\/authorize\?/);
    expect(begun.headers.getSetCookie()).toEqual([
      expect.stringMatching(
        /^__Host-keyturn-con_\w{24}=[\w-]{43}\.[\w-]{43}; Path=\/; Max-Age=900; HttpOnly; SameSite=Lax; Secure$/,
      ),
    ]);
    const stranger = await app.browser().get(app.callback(location(begun)));
    expect(stranger.status).toBe(400);
    expect(stranger.html).toContain('another browser');
    expect(app.bench.sent).toHaveLength(0);

    const back = await browser.get(app.callback(location(begun)), { 'sec-fetch-site': 'cross-site' });
    expect(back.status).toBe(303);
    expect(location(back)).toBe(path);
    const result = await browser.get(path);
    expect(result.status).toBe(200);
    expect(result.html).toContain('Made-up CRM is connected');
    expect((await app.browser().get(path)).status).toBe(410);
    const everything = [begun, stranger, back, result].map((page) => page.html + JSON.stringify([...page.headers])).join('');
    expect(everything).not.toMatch(/access-\d|refresh-\d/);

    const replayed = await browser.get(app.callback(location(begun)));
    expect(replayed.status).toBe(400);
    expect(replayed.html).toContain('Nothing was changed');
  });

  it('is not pressed by another site', async () => {
    const app = await connectApp();
    const path = await app.link();
    const before = JSON.stringify(app.bench.tenant.sql.all('SELECT * FROM connection'));
    for (const headers of [
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'none' },
    ] as Record<string, string>[]) {
      const page = await app.browser().post(path, {}, headers);
      expect({ status: page.status, cookies: page.headers.getSetCookie() }).toEqual({ status: 403, cookies: [] });
    }
    expect(JSON.stringify(app.bench.tenant.sql.all('SELECT * FROM connection'))).toBe(before);
  });

  it('works twice at once for two links in one browser', async () => {
    const app = await connectApp();
    const browser = app.browser();
    const [one, two] = [await app.link('one'), await app.link('two')];
    const [first, second] = [await browser.post(one), await browser.post(two)];
    expect(location(await browser.get(app.callback(location(first))))).toBe(one);
    expect(location(await browser.get(app.callback(location(second))))).toBe(two);
    expect(app.bench.row('one').health).toBe('ready');
    expect(app.bench.row('two').health).toBe('ready');
  });

  it('tells a person who said no that they may try again', async () => {
    const app = await connectApp();
    const path = await app.link();
    const browser = app.browser();
    const begun = await browser.post(path);
    const back = await browser.get(app.callback(location(begun), { error: 'access_denied', error_description: '<script>' }));
    expect(location(back)).toBe(path);
    const page = await browser.get(path);
    expect(page.html).toContain('You declined at the provider');
    expect(page.html).not.toContain('<script>');
    expect((await browser.post(path)).status).toBe(303);
  });

  it('asks again, with what was written, when it cannot be', async () => {
    const app = await connectApp({
      parameters: [
        { name: 'shop', title: 'Your shop', shape: 'label', from: 'consent' },
        { name: 'region', title: 'Region', shape: 'label', from: 'consent', values: ['eu', 'us'] },
      ],
    });
    const path = await app.link();
    const page = await app.browser().post(path, { shop: 'evil.example/"><b>', region: 'mars' });
    expect(page.status).toBe(400);
    expect(page.html).toContain('value="evil.example/&quot;&gt;&lt;b&gt;"');
    expect(page.html.split(' aria-invalid="true" ')).toHaveLength(3);
    expect(page.html).toContain('aria-describedby="field-shop-problem"');
    expect((await app.browser().post(path, { shop: 'north', region: 'eu' })).status).toBe(303);
  });

  it('offers the places one grant covers to the browser that consented, and to no other', async () => {
    const choice = {
      url: 'https://api.crm.example/sites',
      title: 'Which site is meant?',
      items: '',
      idField: 'id',
      labelField: 'name',
      accountField: 'site_id',
    };
    const app = await connectApp({ consent: { ...CRM.consent!, choice } });
    const path = await app.link();
    const browser = app.browser();
    const begun = await browser.post(path);
    app.bench.replies.push(tokens(), {
      status: 200,
      body: [
        { id: 'n-1', name: 'North <b>' },
        { id: 's-2', name: 'South' },
      ],
    });
    await browser.get(app.callback(location(begun)));
    const page = await browser.get(path);
    expect(page.html).toContain('North &lt;b&gt;');
    expect(page.html).toContain(`action="${path}/choice"`);
    expect(page.html).toMatch(/One step remains(?!.*close this window)/s);
    expect((await app.browser().get(path)).status).toBe(410);
    expect((await app.browser().post(`${path}/choice`, { choice: 'n-1' })).status).toBe(410);
    const chosen = await browser.post(`${path}/choice`, { choice: 's-2' });
    expect(location(chosen)).toBe(path);
    expect((await browser.get(path)).html).toContain('is connected');
    expect(app.bench.facts('crm').account).toMatchObject({ site_id: 's-2' });
  });

  it('on plain http, for this machine alone, has a plain cookie and a way to a sandbox', async () => {
    const app = await connectApp({}, 'http://127.0.0.1:8420');
    const path = await app.link();
    const browser = app.browser();
    expect((await browser.get(path)).headers.get('content-security-policy')).toContain('http://127.0.0.1:*');
    const begun = await browser.post(path);
    expect(begun.headers.getSetCookie()[0]).toMatch(/^keyturn-con_\w{24}=.*; HttpOnly; SameSite=Lax$/);
    expect(location(await browser.get(app.callback(location(begun))))).toBe(path);
  });
});

describe('the cookie of an attempt', () => {
  const binding = { browser: 'b'.repeat(43), link: 'l'.repeat(43) };
  const read = (header: string) => bindingOf(header, 'con_1', 'https://vault.example');
  const pair = bindingCookie(binding, 'con_1', 'https://vault.example').split(';')[0] as string;

  it('is read back among others', () => {
    expect(read(pair)).toEqual(binding);
    expect(read(`a=b; ${pair}; c=d`)).toEqual(binding);
  });

  it('counts for nothing under another name, in another form, or twice', () => {
    expect(read(pair.replace('__Host-', ''))).toBeUndefined();
    expect(read(pair.replace('con_1', 'con_2'))).toBeUndefined();
    expect(read(`${pair}x`)).toBeUndefined();
    expect(read(`${pair}; ${pair}`)).toBeUndefined();
    expect(read('')).toBeUndefined();
  });
});

describe('every page', () => {
  const views: ConnectView[] = [
    {
      kind: 'ask',
      host: 'app.crm.example',
      provider: 'P',
      tenant: 't',
      description: '',
      scopes: [],
      parameters: [],
      expiresAt: '2026-01-02T03:04:05.678Z',
      notice: 'failed',
      action: '/x',
    },
    { kind: 'choose', provider: 'P', title: '', choices: undefined, action: '/x' },
    { kind: 'done', provider: 'P', tenant: 't' },
    { kind: 'refused', reason: 'anything', startAgain: '/x' },
    { kind: 'gone' },
    { kind: 'busy' },
    { kind: 'broken' },
    { kind: 'trouble' },
  ];
  it.each(views)('$kind is a whole page with one heading, and the same style', (view) => {
    const { html, styleHash } = connectPage(view);
    expect(html).toMatch(/^<!doctype html>/);
    expect(html.split('<h1')).toHaveLength(2);
    expect(html).not.toMatch(/undefined|\[object|&lt;/);
    expect(styleHash).toBe(connectPage({ kind: 'gone' }).styleHash);
  });
});
