// A consent that is cut off: by kill -9 at each of its steps, by SIGTERM, by a browser that goes away. A stored grant is never lost, and a link
// whose exchange was cut off can be used again.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  type ConsentProvider,
  newBrowser,
  PROVIDER_HOST,
  startConsentProvider,
  type TestBrowser,
} from '../kit/consent-provider.ts';
import {
  type ChildService,
  CREDENTIALS,
  clientOf,
  eventually,
  furnish,
  killAll,
  newDirectory,
  startChild,
  stopAll,
} from '../kit/node-process.ts';

const PATH = `${CREDENTIALS}/crm`;
let provider: ConsentProvider;
beforeAll(async () => {
  provider = await startConsentProvider();
});
afterEach(killAll);
afterAll(async () => {
  await stopAll();
  await provider.stop();
});

interface Held {
  readonly directory: string;
  readonly owner: string;
  readonly workload: string;
  readonly browser: TestBrowser;
  /** Path of the link, and path with query of the callback that the browser is about to follow. */
  readonly link: string;
  readonly callback: string;
}

const pathOf = (url: string) => url.slice(new URL(url).origin.length);

/** A person who agreed at the provider, and whose browser is about to come back. */
async function agreed(): Promise<Held> {
  const directory = newDirectory();
  const service = await startChild(directory);
  const place = await furnish(service.url, directory);
  const made = await clientOf(service.url, place.owner)('POST', `${PATH}/connections`, {
    connector: 'generic-oauth2',
    client_secret: 'client-not-a-real-secret',
    config: {
      client_id: 'made-up-client',
      authorization_endpoint: `https://${PROVIDER_HOST}/authorize`,
      token_endpoint: `https://${PROVIDER_HOST}/token`,
      sandbox: provider.origin,
      workflows: [{ name: 'sync', scopes: ['contacts.read'] }],
    },
  });
  expect(made.status).toBe(201);
  const browser = newBrowser();
  const begun = await browser.post(made.body.link);
  const back = await browser.get(begun.location);
  await service.stop();
  return { directory, ...place, browser, link: pathOf(made.body.link), callback: pathOf(back.location) };
}

const health = async (service: ChildService, held: Held) =>
  (await clientOf(service.url, held.owner)('GET', PATH)).body.health.state as string;
const newest = async (service: ChildService, held: Held) =>
  (await clientOf(service.url, held.owner)('GET', `${PATH}/connections`)).body.items[0].state as string;
const readable = async (service: ChildService, held: Held) =>
  (await clientOf(service.url, held.workload)('GET', `${PATH}/value`)).status;

describe('a consent cut off by kill -9', () => {
  it.each(['connect.before-exchange', 'connect.after-exchange'])('at %s leaves a link that works again', async (fault) => {
    const held = await agreed();
    const dying = await startChild(held.directory, { fault });
    await held.browser.get(dying.url + held.callback).catch(() => undefined);
    await dying.exited;
    const next = await startChild(held.directory);
    expect(await health(next, held)).toBe('needs_consent');
    expect(await newest(next, held)).toBe('exchanging');
    expect((await held.browser.get(next.url + held.callback)).status).toBe(400);
    const begun = await held.browser.post(next.url + held.link);
    expect(begun.status).toBe(303);
    const back = await held.browser.get(begun.location);
    expect((await held.browser.get(next.url + pathOf(back.location))).status).toBe(303);
    expect(await health(next, held)).toBe('ready');
    expect(await readable(next, held)).toBe(200);
    await next.stop();
  });

  it('at connect.after-store has lost nothing', async () => {
    const held = await agreed();
    const dying = await startChild(held.directory, { fault: 'connect.after-store' });
    await held.browser.get(dying.url + held.callback).catch(() => undefined);
    await dying.exited;
    const next = await startChild(held.directory);
    expect(await newest(next, held)).toBe('connected');
    expect(await readable(next, held)).toBe(200);
    expect((await held.browser.get(next.url + held.link)).html).toContain('is connected');
    await next.stop();
  });
});

describe('a consent whose browser goes away', () => {
  it('is finished all the same', async () => {
    const held = await agreed();
    const service = await startChild(held.directory);
    const before = provider.exchanges.length;
    provider.delayNext(1_000);
    const gone = new AbortController();
    const visit = held.browser.get(service.url + held.callback, { signal: gone.signal }).catch(() => 'gone');
    await eventually(() => provider.exchanges.length > before);
    gone.abort();
    expect(await visit).toBe('gone');
    await eventually(async () => (await newest(service, held)) === 'connected');
    expect(await readable(service, held)).toBe(200);
    await service.stop();
  });

  it('and whose service is told to stop at once is stored before the process ends', async () => {
    const held = await agreed();
    const service = await startChild(held.directory);
    const before = provider.exchanges.length;
    provider.delayNext(1_500);
    const gone = new AbortController();
    const visit = held.browser.get(service.url + held.callback, { signal: gone.signal }).catch(() => 'gone');
    await eventually(() => provider.exchanges.length > before);
    gone.abort();
    await visit;
    expect(await service.stop()).toEqual({ code: 0, signal: null });
    const next = await startChild(held.directory);
    expect(await newest(next, held)).toBe('connected');
    expect(await readable(next, held)).toBe(200);
    await next.stop();
  });
});
