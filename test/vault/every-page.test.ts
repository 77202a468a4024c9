// Every list that comes in pages: each page as long as it was asked for, the next from where it ended, none after the last, and all of it once.
import { describe, expect, it } from 'vitest';
import { createConnection, listConnections } from '../../rotation/grants/consent/make-link.ts';
import { disconnectCredential } from '../../rotation/grants/disconnect.ts';
import { readForecast } from '../../rotation/grants/read-forecast.ts';
import { RefreshEngine } from '../../rotation/grants/refresh-runs.ts';
import { createWebhook } from '../../src/alerts/manage-webhooks.ts';
import { listAlerts, listDeliveries } from '../../src/alerts/read-alerts.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { listCredentials, listVersions } from '../../src/vault/describe-credential.ts';
import { claimTenant, createTenant, listTenants } from '../../src/vault/manage-tenants.ts';
import { createUser, listUsers } from '../../src/vault/manage-users.ts';
import { createWorkload, listWorkloads } from '../../src/vault/manage-workloads.ts';
import { type PutCredentialInput, putCredential } from '../../src/vault/put-credential.ts';
import { listRuns } from '../../src/vault/read-runs.ts';
import { enrol } from '../../src/vault/set-up.ts';
import { CALLBACK, CONFIG, CRM, consentBench } from '../kit/consent-bench.ts';
import { testTeam, textOf } from '../kit/homes.ts';

interface Turn {
  readonly ids: readonly unknown[];
  readonly next: string | undefined;
}
/** `after` undefined: the first page. */
type List = (after: string | undefined, maxRows: number) => Promise<Turn>;

/** Reads all pages of `maxRows`; each but the last is full. */
async function pagesOf(list: List, maxRows: number): Promise<unknown[][]> {
  const pages: unknown[][] = [];
  let after: string | undefined;
  do {
    const { ids, next } = await list(after, maxRows);
    pages.push([...ids]);
    after = next;
  } while (after !== undefined && pages.length < 20);
  return pages;
}

async function holds(list: List, all: readonly unknown[]): Promise<void> {
  const { length } = all;
  expect(length).toBe(3);
  expect(await pagesOf(list, length + 1)).toEqual([all]);
  expect(await pagesOf(list, length), 'a page that is just full is the last').toEqual([all]);
  expect(await pagesOf(list, 2)).toEqual([all.slice(0, 2), all.slice(2)]);
  expect(await pagesOf(list, 1)).toEqual(all.map((one) => [one]));
}

const turn = <R>(
  { rows, next }: { readonly rows: readonly R[]; readonly next: string | undefined },
  idOf: (row: R) => unknown,
): Turn => ({
  ids: rows.map(idOf),
  next,
});
const key = (name: string, given: Partial<PutCredentialInput> = {}): PutCredentialInput => ({
  environment: 'staging',
  name,
  kind: 'api_key',
  value: { key: 'not-a-real-secret' },
  connector: undefined,
  config: undefined,
  labels: undefined,
  description: undefined,
  expiresAtMs: undefined,
  precondition: {},
  ...given,
});
const grant = (name: string, token: string) =>
  key(name, {
    kind: 'oauth2',
    connector: CRM.id,
    config: oauth2Config.parse(CONFIG),
    value: { access_token: token, refresh_token: `r-${token}`, client_secret: 'c-not-a-real-secret', expires_in: 60 },
  });
const place = { environment: 'staging', name: 'crm', precondition: {} };

async function bench() {
  const made = await consentBench();
  const { vault, clock } = made.tenant;
  const job: typeof vault.submit = (useCase) => vault.submit(useCase);
  return { ...made, job, clock, engine: new RefreshEngine({ ...made.ports, every: () => () => {} }) };
}

describe('the pages', () => {
  it('of credentials', async () => {
    const { job, admin } = await bench();
    for (const name of ['b', 'a', 'c']) await job((inJob) => putCredential(inJob, admin(), key(name)));
    const list: List = async (afterName = '', maxRows) => {
      const input = { environment: 'staging', filter: {}, afterName, maxRows } as Parameters<typeof listCredentials>[2];
      return turn(await job((inJob) => listCredentials(inJob, admin(), input)), ({ row }) => row.name);
    };
    await holds(list, ['a', 'b', 'c']);
  });

  it('of versions', async () => {
    const { job, admin } = await bench();
    for (const _ of [1, 2, 3]) await job((inJob) => putCredential(inJob, admin(), key('stripe')));
    const list: List = async (before, maxRows) =>
      turn(
        await job((inJob) =>
          listVersions(inJob, admin(), { environment: 'staging', name: 'stripe', before: Number(before ?? 1e9), maxRows }),
        ),
        ({ version, stages }) => [version, stages],
      );
    await holds(list, [
      [3, ['current']],
      [2, ['previous']],
      [1, []],
    ]);
  });

  it('of workloads', async () => {
    const { job, admin } = await bench();
    for (const name of ['b', 'a', 'c'])
      await job((inJob) =>
        createWorkload(inJob, admin(), {
          name,
          environment: 'staging',
          patterns: [],
          permissions: ['read'],
          networks: [],
          jwks: undefined,
          ttlMs: 1_000,
        }),
      );
    await holds(
      async (after = '', maxRows) =>
        turn(await job((inJob) => listWorkloads(inJob, admin(), after, maxRows)), ({ name }) => name),
      ['a', 'b', 'c'],
    );
  });

  it('of runs', async () => {
    const { job, admin, engine, clock } = await bench();
    const ids: string[] = [];
    for (const token of ['one', 'two', 'three']) {
      await job((inJob) => putCredential(inJob, admin(), grant('crm', token)));
      ids.unshift((await job((inJob) => engine.open(inJob, admin(), 'staging', 'crm'))).id);
      clock.pass(1);
    }
    const list: List = async (before, maxRows) =>
      turn(
        await job((inJob) =>
          listRuns(inJob, admin(), { environment: 'staging', name: 'crm', before: Number(before ?? 1e15), maxRows }),
        ),
        ({ id }) => id,
      );
    await holds(list, ids);
  });

  it('of connections, whether or not they were made at one instant', async () => {
    for (const apartMs of [0, 1]) {
      const { job, admin, ports, clock } = await bench();
      const ids: string[] = [];
      for (const _ of [1, 2, 3]) {
        const input = {
          environment: 'staging',
          name: 'crm',
          connector: CRM.id,
          config: oauth2Config.parse(CONFIG),
          secrets: { client_secret: 'c' },
          ttlMs: LIMITS.connectLinkTtlDefaultMs,
          labels: undefined,
          description: undefined,
          redirectUri: CALLBACK,
        };
        ids.unshift((await job((inJob) => createConnection({ ...ports, job: inJob }, admin(), input, undefined))).connection.id);
        clock.pass(apartMs);
      }
      const list: List = async (mark, maxRows) =>
        turn(await job((inJob) => listConnections(inJob, admin(), place, mark, maxRows)), ({ id }) => id);
      await holds(list, apartMs === 0 ? ids.toSorted().reverse() : ids);
    }
  });

  it('of alerts, and of the deliveries of a webhook', async () => {
    for (const apartMs of [0, 1]) {
      const { job, admin, ports, clock } = await bench();
      const hook = await job((inJob) =>
        createWebhook(inJob, admin(), { url: 'https://a.example', kinds: ['credential.disconnected'], allowLoopback: false }),
      );
      for (const token of ['one', 'two', 'three']) {
        await job((inJob) => putCredential(inJob, admin(), grant(token, token)));
        await job((inJob) => disconnectCredential({ ...ports, job: inJob }, admin(), { ...place, name: token, revoke: false }));
        clock.pass(apartMs);
      }
      const alerts: List = async (after = '', maxRows) =>
        turn(
          await job((inJob) => listAlerts(inJob, admin(), { credentialId: undefined, after, maxRows })),
          ({ facts }) => JSON.parse(facts).name,
        );
      const deliveries: List = async (after = '', maxRows) =>
        turn(await job((inJob) => listDeliveries(inJob, admin(), hook.row.id, after, maxRows)), ({ id }) => id);
      const [shown, sent] = [await alerts(undefined, 9), await deliveries(undefined, 9)];
      if (apartMs > 0) expect(shown.ids).toEqual(['three', 'two', 'one']);
      expect(new Set(shown.ids)).toEqual(new Set(['one', 'two', 'three']));
      await holds(alerts, shown.ids);
      await holds(deliveries, sent.ids);
    }
  });

  it('of the forecast, of what ended and of what ends', async () => {
    const { job, admin, ports, clock } = await bench();
    for (const [name, afterMs] of [
      ['soon', 5],
      ['later', 7],
      ['last', 7],
    ] as const)
      await job((inJob) => putCredential(inJob, admin(), key(name, { expiresAtMs: clock.now() + afterMs })));
    const list: List = async (after = '', maxRows) => {
      const input = { environment: undefined, withinDays: undefined, after, maxRows };
      return turn(await job((inJob) => readForecast(inJob, ports.connectors, admin(), input)), ({ row }) => row.name);
    };
    const { ids } = await list(undefined, 9);
    expect(ids[0]).toBe('soon');
    await holds(list, ids);
  });

  it('of people', async () => {
    const team = await testTeam();
    const ada = () => team.caller(team.owner);
    for (const name of ['bob', 'eve'])
      await team.home.submit((job) =>
        createUser(job, ada(), { name, grants: [{ role: 'admin', tenant: undefined }], enrolmentTtlMs: 1_000 }),
      );
    const list: List = async (after = '', maxRows) =>
      turn(await team.home.submit((job) => listUsers(job, ada(), after, maxRows)), ({ row }) => row.name);
    const { ids } = await list(undefined, 9);
    expect(new Set(ids)).toEqual(new Set(['ada', 'bob', 'eve']));
    await holds(list, ids);
  });

  it('of tenants, for who sees all and for who sees some', async () => {
    const team = await testTeam();
    const ada = () => team.caller(team.owner);
    for (const name of ['a', 'b', 'c'])
      await createTenant(team.home, ada(), { name, environments: [], demo: false }, team.provision);
    const list =
      (caller: () => ReturnType<typeof ada>): List =>
      async (after = '', maxRows) =>
        turn(await team.home.submit((job) => listTenants(job, caller(), after, maxRows)), ({ name }) => name);
    await holds(list(ada), ['a', 'b', 'c']);
    const grants = ['a', 'b', 'c'].map((tenant) => ({ role: 'engineer' as const, tenant }));
    const { enrolment } = await team.home.submit((job) => createUser(job, ada(), { name: 'eve', grants, enrolmentTtlMs: 1_000 }));
    const { issued } = await team.home.submit((job) => enrol(job, team.caller(textOf(enrolment.token)), 60_000));
    for (const name of ['aa', 'bb', 'd'])
      await team.home.submit((job) => claimTenant(job, ada(), { name, environments: [], demo: false }));
    await holds(
      list(() => team.caller(textOf(issued.token))),
      ['a', 'b', 'c'],
    );
  });
});
