// The whole HTTP app over cells in memory: requests go in as on the wire, without sockets.

import { createSecretKey, randomBytes } from 'node:crypto';
import { connector } from '../../rotation/connectors/generic-oauth2.ts';
import type { KeyturnError } from '../../src/base/errors.ts';
import { newId } from '../../src/base/ids.ts';
import { connectPage } from '../../src/console/connect-page.ts';
import { createApp } from '../../src/http/app.ts';
import type { AppPorts } from '../../src/http/app-ports.ts';
import type { TenantContext } from '../../src/http/context.ts';
import type { EdgeInfo } from '../../src/http/edge.ts';
import { Metrics } from '../../src/http/metrics.ts';
import { resolveTenant } from '../../src/vault/manage-tenants.ts';
import { requestRootRotation } from '../../src/vault/rotate-root.ts';
import { type TestHome, testTeam } from './homes.ts';
import { testEntropy } from './vaults.ts';

const CONNECTORS = new Map([[connector.id, connector]]);

export interface TestApp {
  readonly team: TestHome & { readonly owner: string };
  /** What the operator's log was told. */
  readonly reports: { readonly error: KeyturnError; readonly requestId: string; readonly route: string }[];
  readonly call: (call: TestCall) => Promise<TestAnswer>;
  /** Hono's, once it has served a request. */
  readonly routerName: () => string;
}

export interface TestCall {
  readonly method?: string;
  readonly path: string;
  /** Default: the owner's; `null` sends none. */
  readonly token?: string | null;
  readonly body?: unknown;
  /** Sent as it is, instead of `body`. */
  readonly raw?: string | Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface TestAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The parsed body; undefined when it is not JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any;
}

export async function testApp(): Promise<TestApp> {
  const team = await testTeam();
  const reports: TestApp['reports'] = [];
  const cursorKey = createSecretKey(randomBytes(32));
  const app = createApp(portsOf(team, reports, cursorKey));
  const call = async ({ method = 'GET', path, token = team.owner, body, raw, headers = {} }: TestCall) => {
    const content = raw ?? (body === undefined ? undefined : JSON.stringify(body));
    const request = new Request(`http://vault.example${path}`, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
        ...(content === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(content === undefined ? {} : { body: content as string }),
    });
    const answer = await app.fetch(request, edgeInfo());
    const text = await answer.text();
    return { status: answer.status, headers: answer.headers, text, json: parsed(text) };
  };
  return { team, reports, call, routerName: () => app.router.name };
}

function portsOf(team: TestHome, reports: TestApp['reports'], cursorKey: TenantContext['cursorKey']): AppPorts {
  const metrics = new Metrics();
  return {
    identify: (token) => team.home.identify(token),
    tenant: (idOrName) => {
      const row = resolveTenant(team.home, idOrName);
      const vault = row === undefined ? undefined : team.tenants.get(row.id)?.vault;
      if (vault === undefined) return undefined;
      const rotation: TenantContext['rotation'] = {
        ports: {
          connectors: CONNECTORS,
          sandboxAllowed: false,
          egress: { send: () => Promise.reject(new Error('no network in this test')) },
        },
        open: () => {
          throw new Error('no engine in this test');
        },
        plan: () => {
          throw new Error('no engine in this test');
        },
        start: () => {},
      };
      const userIdsNamed = (name: string) => team.home.userIdsNamed(name);
      const userNames = (ids: readonly string[]) => team.home.userNames(ids);
      return { vault, rotation, cursorKey, userIdsNamed, userNames, publicUrl: 'https://vault.example' };
    },
    home: {
      home: team.home,
      cursorKey,
      provision: team.provision,
      onSetUp: () => {},
      metrics: (format) => metrics.text(format),
      health: () => ({ tenants: [] }),
      connectors: CONNECTORS,
      rootKey: {
        state: () => ({ provider: 'test', sinceMs: undefined, total: 1, done: 1, blocked: [] }),
        rotate: async (caller) => {
          await team.home.submit((job) => requestRootRotation(job, caller));
          return { provider: 'test', sinceMs: 0, total: 2, done: 1, blocked: [{ id: 'ten_a', code: 'integrity' }] };
        },
      },
    },
    rejected: async () => {},
    health: () => ({ tenants: [] }),
    report: (error, requestId, route) => void reports.push({ error, requestId, route }),
    metrics,
    nowMs: () => team.clock.now(),
    version: '0.0.0-test',
    connectPage,
  };
}

function edgeInfo(): EdgeInfo {
  return { address: '127.0.0.1', nextRequestId: () => newId('request', testEntropy), secure: true };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
