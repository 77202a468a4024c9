import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { KeyturnClient, type KeyturnOptions, KeyturnProblem, type Runtime } from '../../src/sdk/client.ts';

const VALUE = 'not-a-real-secret-sdk';

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly redirect: string | undefined;
}

/** A service made of a function; time stands still but for sleeps. */
function served(answer: (seen: Seen, count: number) => Response | Error, options: Partial<KeyturnOptions> = {}) {
  const requests: Seen[] = [];
  const slept: number[] = [];
  let nowMs = 1_000_000;
  const runtime: Runtime = {
    fetch: async (url, init) => {
      const seen: Seen = {
        method: init.method ?? 'GET',
        url,
        headers: init.headers as Record<string, string>,
        redirect: init.redirect,
      };
      requests.push(seen);
      const given = answer(seen, requests.length);
      if (given instanceof Error) throw given;
      return given;
    },
    nowMs: () => nowMs,
    deadline: () => new AbortController().signal,
    sleep: async (ms) => {
      slept.push(ms);
      nowMs += ms;
    },
    fraction: () => 0,
    newKey: () => `key-${requests.length}`,
  };
  const client = new KeyturnClient(
    { address: 'http://127.0.0.1:1', tenant: 'acme', token: 'kt_wlk_made-up', ...options },
    runtime,
  );
  return {
    client,
    requests,
    slept,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

const value = (version = 1, expiresAt: string | null = null, goodFor = 300) =>
  Response.json(
    { id: 'crd', name: 'stripe', version, expires_at: expiresAt, good_for_seconds: goodFor, value: { key: VALUE } },
    { headers: { etag: `"crd.${version}"` } },
  );
const problem = (status: number, code: string, headers: Record<string, string> = {}) =>
  Response.json(
    { code, detail: 'made up', request_id: 'req_1', pointer: '/x' },
    { status, headers: { 'content-type': 'application/problem+json', ...headers } },
  );
const token = (text: string, seconds = 900) => Response.json({ access_token: text, token_type: 'Bearer', expires_in: seconds });

describe('the client', () => {
  it('hands a value out in a wrapper that prints as nothing', async () => {
    const { client } = served(() => value());
    const read = await client.read('staging', 'stripe');
    expect(read.value.reveal()).toEqual({ key: VALUE });
    for (const printed of [inspect(read, { depth: 9 }), JSON.stringify(read), String(read.value), `${read.value}`])
      expect(printed).not.toContain(VALUE);
  });

  it('logs in once for many callers and again before the token ends', async () => {
    let issued = 0;
    const { client, requests, pass } = served((seen) => (seen.url.endsWith('/token') ? token(`kt_acc_${++issued}`) : value()), {
      token: undefined,
      clientId: 'wkl',
      clientSecret: 'kt_cs_made-up',
    });
    await Promise.all(Array.from({ length: 20 }, () => client.read('staging', 'stripe')));
    expect(issued).toBe(1);
    pass(900_000 - 60_000);
    await client.read('staging', 'stripe');
    expect(issued).toBe(2);
    expect(requests.at(-1)?.headers['authorization']).toBe('Bearer kt_acc_2');
  });

  it('renews a token that was refused, once', async () => {
    let issued = 0;
    const { client, requests } = served(
      (seen) =>
        seen.url.endsWith('/token') ? token(`kt_acc_${++issued}`) : issued < 2 ? problem(401, 'unauthenticated') : value(),
      { token: undefined, clientId: 'wkl', clientSecret: 'kt_cs_made-up' },
    );
    expect((await client.read('staging', 'stripe')).version).toBe(1);
    expect(requests).toHaveLength(4);
    const always = served((seen) => (seen.url.endsWith('/token') ? token('kt_acc_x') : problem(401, 'unauthenticated')), {
      token: undefined,
      clientId: 'wkl',
      clientSecret: 'kt_cs_made-up',
    });
    await expect(always.client.read('staging', 'stripe')).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(always.requests).toHaveLength(4);
  });

  it('waits as long as it is told on 429 and 503, repeats a POST under the same key, and gives up', async () => {
    const { client, requests, slept } = served((_seen, count) =>
      count === 1
        ? problem(429, 'rate_limited', { 'retry-after': '2' })
        : count === 2
          ? problem(503, 'unavailable')
          : Response.json({ id: 'run' }),
    );
    await client.rotate('staging', 'stripe');
    expect(slept).toEqual([2_000, 400]);
    expect(new Set(requests.map((seen) => seen.headers['idempotency-key'])).size).toBe(1);
    const down = served(() => new TypeError('made up'));
    await expect(down.client.rotate('staging', 'stripe')).rejects.toMatchObject({ code: 'unreachable', status: 0 });
    expect(down.requests).toHaveLength(4);
  });

  it('does not repeat what was refused for good', async () => {
    const { client, requests } = served(() => problem(409, 'version_conflict'));
    const refused = await client.put('staging', 'stripe', {}).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(KeyturnProblem);
    expect(refused).toMatchObject({ code: 'version_conflict', status: 409, pointer: '/x', requestId: 'req_1' });
    expect(requests).toHaveLength(1);
  });

  it('does not put a version a second time when the answer to the first was lost', async () => {
    const { client, requests } = served(() => new TypeError('made up'));
    await expect(client.put('staging', 'stripe', {})).rejects.toMatchObject({ code: 'unreachable' });
    expect(requests).toHaveLength(1);
    const busy = served((_seen, count) => (count === 1 ? problem(503, 'unavailable') : Response.json({ name: 'stripe' })));
    await busy.client.put('staging', 'stripe', {});
    expect(busy.requests).toHaveLength(2);
  });

  it('serves from memory within the bound and never past the expiry, and asks with the tag after that', async () => {
    const far = new Date(1_000_000 + 3_600_000).toISOString();
    const { client, requests, pass } = served(
      (seen) => (seen.headers['if-none-match'] === '"crd.1"' ? new Response(null, { status: 304 }) : value(1, far)),
      { cacheMs: 10_000 },
    );
    await client.read('staging', 'stripe');
    pass(9_999);
    await client.read('staging', 'stripe');
    expect(requests).toHaveLength(1);
    pass(2);
    expect((await client.read('staging', 'stripe')).value.reveal()).toEqual({ key: VALUE });
    expect(requests).toHaveLength(2);
    client.forget('staging', 'stripe');
    await client.read('staging', 'stripe');
    expect(requests[2]?.headers['if-none-match']).toBeUndefined();
    const soon = served(() => value(1, new Date(1_000_000 + 20_000).toISOString()), { cacheMs: 600_000 });
    await soon.client.read('staging', 'stripe');
    await soon.client.read('staging', 'stripe');
    expect(soon.requests).toHaveLength(2);
  });

  it('keeps no value in memory longer than the server says, whatever its own bound', async () => {
    const { client, requests, pass } = served(() => value(1, null, 10), { cacheMs: 3_600_000 });
    await client.read('staging', 'stripe');
    pass(9_999);
    await client.read('staging', 'stripe');
    expect(requests).toHaveLength(1);
    pass(2);
    await client.read('staging', 'stripe');
    expect(requests).toHaveLength(2);
  });

  it('asks past its memory for the newest value, and keeps that', async () => {
    const { client, requests } = served((_seen, count) => value(count), { cacheMs: 3_600_000 });
    await client.read('staging', 'stripe');
    expect((await client.read('staging', 'stripe', { refresh: true })).version).toBe(2);
    expect(requests[1]?.url).toMatch(/\/value\?refresh=true$/);
    expect((await client.read('staging', 'stripe')).version).toBe(2);
    expect(requests).toHaveLength(2);
  });

  it('follows no redirect, and sends no token in the clear to another machine', async () => {
    const { client, requests } = served(() => new Response(null, { status: 302, headers: { location: 'http://evil.example/' } }));
    await expect(client.read('staging', 'stripe')).rejects.toMatchObject({ code: 'refused_address' });
    expect(requests).toHaveLength(1);
    expect(requests[0]?.redirect).toBe('manual');
    for (const address of ['http://vault.example', 'http://127.0.0.1.evil.example', 'ftp://127.0.0.1', 'nonsense']) {
      expect(() => served(() => value(), { address }), address).toThrow(KeyturnProblem);
    }
  });

  it('names workflow and run for the log', async () => {
    const { client, requests } = served(() => value(), { workflow: 'nightly', workflowRun: 'run-1' });
    await client.read('staging', 'stripe');
    expect(requests[0]?.headers).toMatchObject({ 'x-keyturn-workflow': 'nightly', 'x-keyturn-run': 'run-1' });
  });
});
