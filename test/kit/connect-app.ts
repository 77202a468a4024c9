// The hosted pages over the bench of a consent: a browser with its cookies, and what the operator's limiter is told.
import { createSecretKey, randomBytes } from 'node:crypto';
import type { OAuthConnector } from '../../rotation/connector.ts';
import { fail } from '../../src/base/errors.ts';
import { newId } from '../../src/base/ids.ts';
import { connectPage } from '../../src/console/connect-page.ts';
import { createApp } from '../../src/http/app.ts';
import type { AppPorts } from '../../src/http/app-ports.ts';
import { Metrics } from '../../src/http/metrics.ts';
import { type ConsentBench, consentBench, PUBLIC_URL } from './consent-bench.ts';
import { testEntropy } from './vaults.ts';

export interface Page {
  readonly status: number;
  readonly headers: Headers;
  readonly html: string;
}

export interface Browser {
  readonly cookies: Map<string, string>;
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Page>;
  post(path: string, form?: Readonly<Record<string, string>>, headers?: Readonly<Record<string, string>>): Promise<Page>;
}

export interface ConnectApp {
  readonly bench: ConsentBench;
  /** What counted as a failed look-up. */
  readonly failures: string[];
  /** From now on every failed look-up is one too many. */
  flood(): void;
  browser(): Browser;
  /** Makes a link; its path. */
  link(name?: string): Promise<string>;
  /** The path and query by which the provider sends a browser back. */
  callback(location: string, fields?: Readonly<Record<string, string>>): string;
}

export async function connectApp(changes: Partial<OAuthConnector> = {}, publicUrl = PUBLIC_URL): Promise<ConnectApp> {
  const bench = await consentBench(changes);
  const { vault } = bench.tenant;
  const failures: string[] = [];
  let flooded = false;
  const metrics = new Metrics();
  const context = {
    vault,
    cursorKey: createSecretKey(randomBytes(32)),
    publicUrl,
    rotation: {
      ports: bench.ports,
      open: () => fail('internal', 'no engine in this test'),
      plan: () => fail('internal', 'no engine in this test'),
      start: () => {},
    },
    userIdsNamed: () => [],
    userNames: () => [],
  };
  const ports: AppPorts = {
    identify: () => undefined,
    tenant: (idOrName) => (idOrName === vault.tenant.id || idOrName === vault.tenant.name ? context : undefined),
    home: undefined,
    rejected: async (_caller, route) => {
      failures.push(route);
      if (flooded) fail('rate_limited', 'too many', { retryAfterSeconds: 7 });
    },
    health: () => ({ tenants: [] }),
    report: () => {},
    metrics,
    nowMs: () => bench.tenant.clock.now(),
    version: '0.0.0-test',
    connectPage,
  };
  const app = createApp(ports);
  const prefix = new URL(publicUrl).pathname.replace(/\/$/, '');
  /** A proxy that takes the path of the public URL off, and knows nothing beside it. */
  const visit = async (cookies: Map<string, string>, path: string, init: RequestInit): Promise<Page> => {
    if (!path.startsWith(`${prefix}/`)) return { status: 404, headers: new Headers(), html: 'the proxy knows no such path' };
    const headers = new Headers(init.headers);
    if (cookies.size > 0) headers.set('cookie', [...cookies].map((pair) => pair.join('=')).join('; '));
    const info = {
      address: '198.51.100.7',
      nextRequestId: () => newId('request', testEntropy),
      secure: publicUrl.startsWith('https'),
    };
    const answer = await app.fetch(
      new Request(new URL(publicUrl).origin + path.slice(prefix.length), { ...init, headers }),
      info,
    );
    for (const cookie of answer.headers.getSetCookie()) {
      const [name = '', ...value] = (cookie.split(';')[0] ?? '').split('=');
      cookies.set(name, value.join('='));
    }
    return { status: answer.status, headers: answer.headers, html: await answer.text() };
  };
  return {
    bench,
    failures,
    flood: () => {
      flooded = true;
    },
    browser: () => {
      const cookies = new Map<string, string>();
      return {
        cookies,
        get: (path, headers = {}) => visit(cookies, path, { headers }),
        post: (path, form = {}, headers = {}) =>
          visit(cookies, path, {
            method: 'POST',
            headers: { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin', ...headers },
            body: new URLSearchParams(form).toString(),
          }),
      };
    },
    link: async (name = 'crm') => `${prefix}/connect/${vault.tenant.id}/${(await bench.make(name)).linkToken}`,
    callback: (location, fields = { code: 'code-not-a-real-secret' }) => {
      const state = new URL(location).searchParams.get('state') ?? '';
      return `${prefix}/connect/callback?${new URLSearchParams({ state, ...fields })}`;
    },
  };
}
