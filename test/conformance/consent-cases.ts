// Consent by a link, black box: a provider on this machine that checks PKCE, a person's browser with its cookies, an admin.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ConsentProvider, PROVIDER_HOST as HOST, newBrowser, startConsentProvider } from '../kit/consent-provider.ts';
import { at, eventually, type Json, must, type World } from './world.ts';

export function consentCases(world: () => World): void {
  let provider: ConsentProvider;
  beforeAll(async () => {
    provider = await startConsentProvider();
  });
  afterAll(async () => {
    await provider?.stop();
  });

  const call = (...[method, path, ask = {}]: Parameters<World['call']>) =>
    world().call(method, path, { token: world().admin, ...ask });
  const config = () => ({
    client_id: 'made-up-client',
    authorization_endpoint: `https://${HOST}/authorize`,
    token_endpoint: `https://${HOST}/token`,
    sandbox: provider.origin,
    workflows: [{ name: 'nightly-sync', scopes: ['contacts.read'], why: 'Copies new contacts' }],
  });
  const firstLink = () => ({ connector: 'generic-oauth2', config: config(), client_secret: 'client-not-a-real-secret' });
  const make = async (name: string, body: Json = firstLink()): Promise<Json> =>
    (await must(call('POST', `${at('acme', name)}/connections`, { body }), 201)).body;
  /** From the link to wherever the provider sends the browser back. */
  const untilBack = async (browser: ReturnType<typeof newBrowser>, link: string) => {
    const begun = await browser.post(link);
    expect(begun.status).toBe(303);
    return (await browser.get(begun.location)).location;
  };
  const connect = async (name: string) => {
    const made = await make(name);
    const browser = newBrowser();
    const done = await browser.get(await untilBack(browser, made.link));
    expect(done.status).toBe(303);
    return { made, browser };
  };
  const health = async (name: string) => (await must(call('GET', at('acme', name)), 200)).body.health;

  it('lists the connectors with what each wants to know', async () => {
    const { body } = await must(call('GET', '/v1/connectors'), 200);
    const generic = body.items.find((item: Json) => item.id === 'generic-oauth2');
    expect(generic).toMatchObject({ kind: 'oauth2', consent: true, renewal: 'refresh_token', lost_answer: 'unsafe' });
    expect((await world().call('GET', '/v1/connectors')).status).toBe(401);
  });

  it('connects an account by a link: the person agrees, the workflow reads, nobody saw a token', async () => {
    const made = await make('by-link');
    expect(made).toMatchObject({
      state: 'open',
      redirect_uri: `${world().url}/connect/callback`,
      scopes: [{ scope: 'contacts.read', workflows: ['nightly-sync'] }],
      credential: { name: 'by-link', health: { state: 'needs_consent', cause: 'not_connected_yet' } },
    });
    expect(made.link).toMatch(new RegExp(`^${world().url}/connect/${world().acme.id}/[\\w-]{43}$`));
    const browser = newBrowser();
    const page = await browser.get(made.link);
    expect(page.status).toBe(200);
    expect(page.html).toContain('contacts.read');
    expect(page.html).toContain('Copies new contacts');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect(page.headers.get('cache-control')).toBe('no-store');

    const back = await browser.get(await untilBack(browser, made.link));
    expect({ status: back.status, location: new URL(back.location, world().url).href }).toEqual({
      status: 303,
      location: made.link,
    });
    const result = await browser.get(made.link);
    expect(result.html).toContain('is connected');
    for (const seen of [page.html, result.html, JSON.stringify(made)]) expect(seen).not.toMatch(/access-|refresh-/);

    expect(await health('by-link')).toMatchObject({ state: 'ready', cause: null });
    const value = await must(call('GET', `${at('acme', 'by-link')}/value`, { token: world().acme.token }), 200);
    expect(value.body.value).toMatchObject({ access_token: expect.stringMatching(/^access-/), scope: 'contacts.read' });
    expect(JSON.stringify(value.body)).not.toMatch(/refresh-/);
    const listed = await must(call('GET', `${at('acme', 'by-link')}/connections`), 200);
    expect(listed.body.items).toMatchObject([{ id: made.id, state: 'connected', cause: null }]);
    expect(JSON.stringify(listed.body)).not.toContain(made.link.split('/').at(-1));
  });

  it('lets in nothing that is replayed, forged or brought by another browser', async () => {
    const made = await make('guarded');
    const browser = newBrowser();
    const callback = await untilBack(browser, made.link);
    const before = provider.exchanges.length;
    const forged = new URL(callback);
    forged.searchParams.set('state', `${(forged.searchParams.get('state') ?? '').slice(0, -3)}AAA`);
    for (const [who, url, status] of [
      [newBrowser(), callback, 400],
      [browser, forged.href, 400],
      [browser, `${world().url}/connect/callback?code=x`, 410],
    ] as const)
      expect((await who.get(url)).status).toBe(status);
    expect(provider.exchanges).toHaveLength(before);
    expect(await health('guarded')).toMatchObject({ state: 'needs_consent' });
    expect((await browser.get(callback)).status).toBe(303);
    expect(await health('guarded')).toMatchObject({ state: 'ready' });
    expect((await browser.get(callback)).status).toBe(400);
    expect(provider.exchanges).toHaveLength(before + 1);
    expect((await newBrowser().get(made.link)).status).toBe(410);
    expect((await newBrowser().post(made.link)).status).toBe(410);
  });

  it('finishes although the browser goes away while the provider thinks', async () => {
    const made = await make('gone-away');
    const browser = newBrowser();
    const callback = await untilBack(browser, made.link);
    const before = provider.exchanges.length;
    provider.delayNext(700);
    const gone = new AbortController();
    const visit = browser.get(callback, { signal: gone.signal }).catch(() => 'gone');
    await eventually(() => (provider.exchanges.length > before ? true : undefined));
    gone.abort();
    expect(await visit).toBe('gone');
    await eventually(async () => ((await health('gone-away')).state === 'ready' ? true : undefined));
    expect((await browser.get(made.link)).html).toContain('is connected');
  });

  it('takes no for an answer, and yes afterwards', async () => {
    const made = await make('second-thoughts');
    const browser = newBrowser();
    provider.refuseNext('access_denied');
    const back = await browser.get(await untilBack(browser, made.link));
    expect(back.status).toBe(303);
    expect((await browser.get(made.link)).html).toContain('You declined at the provider');
    const listed = await must(call('GET', `${at('acme', 'second-thoughts')}/connections`), 200);
    expect(listed.body.items[0]).toMatchObject({ state: 'declined', cause: 'declined' });
    await browser.get(await untilBack(browser, made.link));
    expect(await health('second-thoughts')).toMatchObject({ state: 'ready' });
  });

  it('reconnects under the same id, without being told anything again', async () => {
    const { made } = await connect('again');
    const again = await make('again', {});
    expect(again.credential.id).toBe(made.credential.id);
    const first = await must(call('GET', `${at('acme', 'again')}/value`, { token: world().acme.token }), 200);
    const browser = newBrowser();
    await browser.get(await untilBack(browser, again.link));
    const second = await must(call('GET', `${at('acme', 'again')}/value`, { token: world().acme.token }), 200);
    expect(second.body.id).toBe(first.body.id);
    expect(second.body.version).toBeGreaterThan(first.body.version);
    expect(second.body.value.access_token).not.toBe(first.body.value.access_token);
    const versions = await must(call('GET', `${at('acme', 'again')}/versions`), 200);
    expect(versions.body.items.map((item: Json) => item.origin)).toEqual(['consent', 'consent', 'put']);
  });

  it('takes a link back', async () => {
    const made = await make('taken-back');
    const path = `${at('acme', 'taken-back')}/connections/${made.id}`;
    expect((await must(call('DELETE', path), 200)).body.state).toBe('cancelled');
    expect((await newBrowser().get(made.link)).status).toBe(410);
    expect((await call('DELETE', path.replace(made.id, `con_${'0'.repeat(24)}`))).status).toBe(404);
  });

  it('answers an unknown tenant, an unknown link and a used one alike', async () => {
    const { made } = await connect('alike');
    const nowhere = 'A'.repeat(43);
    const [used, unknown, foreign] = await Promise.all(
      [
        made.link,
        `${world().url}/connect/${world().acme.id}/${nowhere}`,
        `${world().url}/connect/ten_${'0'.repeat(24)}/${nowhere}`,
      ].map((link) => newBrowser().get(link)),
    );
    expect(unknown).toMatchObject({ status: 410, html: used?.html });
    expect(foreign).toMatchObject({ status: 410, html: used?.html });
  });

  it('gives the same link again for the same key, and refuses what cannot be asked for', async () => {
    const path = `${at('acme', 'keyed')}/connections`;
    const ask = { body: firstLink(), headers: { 'idempotency-key': 'consent-key-1' } };
    const [first, second] = [await must(call('POST', path, ask), 201), await must(call('POST', path, ask), 201)];
    expect(second.body.link).toBe(first.body.link);
    const { workflows: _none, ...unasked } = config();
    const refused = await call('POST', `${at('acme', 'unasked')}/connections`, { body: { ...firstLink(), config: unasked } });
    expect(refused).toMatchObject({ status: 400, body: { code: 'invalid_request', pointer: '/config/workflows' } });
    expect((await call('GET', at('acme', 'unasked'))).status).toBe(404);
    const forbidden = await world().call('POST', path, { token: world().acme.token, body: firstLink() });
    expect(forbidden.status).toBeGreaterThanOrEqual(403);
  });
}
