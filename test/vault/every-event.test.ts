// Every operation that somebody can ask for, and the whole event it leaves: when it is done, when the caller may not, when it fails.
// The table is written by hand, from the list of what an event may state; a new operation does not pass without its rows.
import { describe, expect, it, vi } from 'vitest';
import type { OAuthConnector } from '../../rotation/connector.ts';
import { cancelConnection, createConnection, listConnections } from '../../rotation/grants/consent/make-link.ts';
import { disconnectCredential } from '../../rotation/grants/disconnect.ts';
import { readDue } from '../../rotation/grants/read-due.ts';
import { readForecast } from '../../rotation/grants/read-forecast.ts';
import { RefreshEngine } from '../../rotation/grants/refresh-runs.ts';
import { OPERATIONS, type Operation } from '../../src/access/operations.ts';
import type { Caller } from '../../src/access/principals.ts';
import { createWebhook, deleteWebhook, listWebhooks } from '../../src/alerts/manage-webhooks.ts';
import { listAlerts, listDeliveries } from '../../src/alerts/read-alerts.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { sha256OfText } from '../../src/crypto/primitives.ts';
import { createFeed, listFeeds, revokeFeed } from '../../src/vault/calendar-feeds.ts';
import {
  deleteCredential,
  destroyCredential,
  labelCredential,
  restoreCredential,
  rollBack,
} from '../../src/vault/change-credential.ts';
import { createEnvironment, listEnvironments } from '../../src/vault/create-environment.ts';
import { type Kind, oauth2Config } from '../../src/vault/credential-kinds.ts';
import { describeCredential, listCredentials, listVersions } from '../../src/vault/describe-credential.ts';
import { exchangeToken } from '../../src/vault/exchange-token.ts';
import { planFreshening } from '../../src/vault/freshen.ts';
import { listRules, type RuleInput, removeRule, setOwnSchedule, setRule } from '../../src/vault/manage-schedules.ts';
import {
  type CreateWorkloadInput,
  createClientSecret,
  createDirectToken,
  createWorkload,
  getWorkload,
  listWorkloads,
  revokeToken,
  revokeWorkload,
} from '../../src/vault/manage-workloads.ts';
import { overrideStaging } from '../../src/vault/override-staging.ts';
import { type PutCredentialInput, putCredential } from '../../src/vault/put-credential.ts';
import { exportAudit, followAudit, readCheckpoint, searchAudit } from '../../src/vault/read-audit.ts';
import { type ReadCredentialInput, readCredential } from '../../src/vault/read-credential.ts';
import { getRun, listRuns } from '../../src/vault/read-runs.ts';
import { listReaders } from '../../src/vault/readers.ts';
import { listKeys, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { credentialTarget } from '../../src/vault/targets.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { CALLBACK, CONFIG, type ConsentBench, CRM, consentBench } from '../kit/consent-bench.ts';
import { textOf } from '../kit/homes.ts';
import { actorOf, drained, leftBy, type Told } from '../kit/told.ts';
import { authorizer, START_MS } from '../kit/vaults.ts';

const CONNECTOR: Partial<OAuthConnector> = {
  revocation: {
    url: 'https://api.crm.example/revoke',
    method: 'POST',
    authentication: 'client_secret_post',
    bodyFormat: 'form',
    token: 'refresh',
    tokenParameter: 'token',
    sendsHint: true,
    ends: 'grant',
  },
};

interface World {
  readonly bench: ConsentBench;
  readonly engine: RefreshEngine;
  readonly ids: Record<string, string>;
  job<T>(useCase: (job: TenantJob) => T): Promise<T>;
}

/** A tenant with `stripe` (an API key, twice put), `crm` (a connected grant) and the workload `sync`. */
async function world(): Promise<World> {
  const bench = await consentBench(CONNECTOR);
  const { vault } = bench.tenant;
  const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
  const job: World['job'] = (useCase) => vault.submit(useCase);
  const ids: Record<string, string> = { tenant: vault.tenant.id };
  const made: World = { bench, engine, ids, job };
  for (const _ of [1, 2]) await job((at) => putCredential(at, bench.admin(), key('stripe')));
  vault.refresher = engine;
  await bench.connect('crm');
  for (const name of ['stripe', 'crm']) ids[name] = bench.row(name).id;
  return made;
}

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
const at = (name: string) => ({ environment: 'staging', name, precondition: {} });
const page = (name: string) => ({ environment: 'staging', name, before: 9, maxRows: 9 });
const link = (name: string) => ({
  environment: 'staging',
  name,
  connector: CRM.id,
  config: oauth2Config.parse(CONFIG),
  secrets: { client_secret: 'client-not-a-real-secret' },
  ttlMs: LIMITS.connectLinkTtlDefaultMs,
  labels: undefined,
  description: undefined,
  redirectUri: CALLBACK,
});
const workload = (given: Partial<CreateWorkloadInput> = {}): CreateWorkloadInput => ({
  name: 'sync',
  environment: 'staging',
  patterns: ['*'],
  permissions: ['read'],
  networks: [],
  jwks: undefined,
  ttlMs: 86_400_000,
  ...given,
});
const read = (name: string, given: Partial<ReadCredentialInput> = {}): ReadCredentialInput => ({
  environment: 'staging',
  name,
  version: undefined,
  stage: undefined,
  ...given,
});

const rule = (given: Partial<RuleInput> = {}): RuleInput => ({
  name: 'monthly',
  environment: undefined,
  connector: undefined,
  label: undefined,
  priority: 0,
  spec: { every_seconds: 86_400 },
  ...given,
});
const dueInput = (environment?: string) => ({ environment, withinDays: undefined, after: '', maxRows: 5 });
const withRule = ({ job, bench }: World) => job((inJob) => setRule(inJob, bench.admin(), rule()));

/** The workload `sync` with its client secret; both are known by id afterwards. */
async function withWorkload({ job, bench, ids }: World, given: Partial<CreateWorkloadInput> = {}): Promise<string> {
  const made = await job((inJob) => createWorkload(inJob, bench.admin(), workload(given)));
  ids['sync'] = made.row.id;
  ids['secret'] = made.clientSecret?.publicId ?? '';
  return made.clientSecret === undefined ? '' : textOf(made.clientSecret.token);
}

function stripeIn(job: TenantJob) {
  const located = job.door.lookup('scheduler', (lookup) => credentialTarget(job, lookup, 'staging', 'stripe').subject);
  return located ?? expect.unreachable('there is no credential stripe');
}

const targets = {
  credential: (name: string) => (w: World) => ({ type: 'credential', environment: 'staging', id: w.ids[name], name }),
  /** Of a credential that is not there, in an event of success: it was made. */
  made: (name: string) => () => ({ type: 'credential', environment: 'staging', name }),
  /** Somebody may have typed a secret there. */
  missing: (name: string) => () => ({
    type: 'credential',
    environment: 'staging',
    name_sha256: Buffer.from(sha256OfText(name)).toString('hex'),
  }),
  workload: (w: World) => ({ type: 'workload', id: w.ids['sync'], name: 'sync', environment: 'staging' }),
  tenant: (w: World) => ({ type: 'tenant', id: w.ids['tenant'] }),
  plain: (type: string) => () => ({ type }),
};

interface Row {
  readonly operation: Operation;
  readonly what: string;
  readonly before?: (w: World) => unknown;
  readonly by?: (w: World) => Caller;
  readonly ask: (w: World, caller: Caller) => unknown;
  readonly target: (w: World) => Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: each row knows what its own use case answers
  readonly details?: (w: World, value: any) => Record<string, unknown>;
  /** How it ends, where it fails. */
  readonly fails?: string;
  /** The events before its own. */
  readonly after?: (w: World) => readonly Told[];
}

const SOON = START_MS + 1;
const done: readonly Row[] = [
  {
    operation: 'environment.list',
    what: 'all',
    ask: ({ job }, caller) => job((inJob) => listEnvironments(inJob, caller)),
    target: targets.tenant,
  },
  {
    operation: 'environment.create',
    what: 'one',
    ask: ({ job }, caller) => job((inJob) => createEnvironment(inJob, caller, 'later')),
    target: () => ({ type: 'environment', environment: 'later', name: 'later' }),
  },
  {
    operation: 'forecast.read',
    what: 'a page',
    before: ({ job, bench }) => job((inJob) => putCredential(inJob, bench.admin(), key('dated', { expiresAtMs: SOON }))),
    ask: ({ job, bench }, caller) =>
      job((inJob) =>
        readForecast(inJob, bench.ports.connectors, caller, {
          environment: 'staging',
          withinDays: undefined,
          after: '',
          maxRows: 5,
        }),
      ),
    target: targets.plain('forecast'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'alert.list',
    what: 'a page with more to come',
    before: ({ job, bench }) =>
      job((inJob) => disconnectCredential({ ...bench.ports, job: inJob }, bench.admin(), { ...at('crm'), revoke: false })),
    ask: ({ job }, caller) => job((inJob) => listAlerts(inJob, caller, { credentialId: undefined, after: '', maxRows: 1 })),
    target: targets.plain('alerts'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'schedule.set',
    what: 'a new rule',
    ask: ({ job }, caller) => job((inJob) => setRule(inJob, caller, rule())),
    target: () => ({ type: 'schedule', name: 'monthly' }),
    details: () => ({ step: 'added' }),
  },
  {
    operation: 'schedule.set',
    what: 'a rule that is there',
    before: withRule,
    ask: ({ job }, caller) => job((inJob) => setRule(inJob, caller, rule({ priority: 2 }))),
    target: () => ({ type: 'schedule', name: 'monthly' }),
    details: () => ({ step: 'changed' }),
  },
  {
    operation: 'schedule.list',
    what: 'all',
    before: withRule,
    ask: ({ job }, caller) => job((inJob) => listRules(inJob, caller)),
    target: targets.plain('schedules'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'schedule.remove',
    what: 'one',
    before: withRule,
    ask: ({ job }, caller) => job((inJob) => removeRule(inJob, caller, 'monthly')),
    target: () => ({ type: 'schedule', name: 'monthly' }),
  },
  {
    operation: 'credential.schedule',
    what: 'one of its own',
    before: ({ job, bench }) => job((inJob) => putCredential(inJob, bench.admin(), key('stripe', { connector: 'own' }))),
    ask: ({ job }, caller) => job((inJob) => setOwnSchedule(inJob, caller, at('stripe'), { every_seconds: 86_400 })),
    target: targets.credential('stripe'),
    details: () => ({ step: 'set' }),
  },
  {
    operation: 'due.read',
    what: 'nothing yet',
    ask: ({ job, bench }, caller) => job((inJob) => readDue(inJob, bench.ports.connectors, caller, dueInput())),
    target: targets.plain('due'),
    details: (_w, { rows }) => ({ count: rows.length }),
  },
  {
    operation: 'feed.create',
    what: 'one',
    ask: ({ job }, caller) => job((inJob) => createFeed(inJob, caller)),
    target: targets.plain('feed'),
    details: (_w, { row }) => ({ feed: row.id }),
  },
  {
    operation: 'feed.list',
    what: 'all',
    before: ({ job, bench }) => job((inJob) => createFeed(inJob, bench.admin())),
    ask: ({ job }, caller) => job((inJob) => listFeeds(inJob, caller)),
    target: targets.plain('feeds'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'feed.revoke',
    what: 'one',
    before: async ({ job, bench, ids }) => {
      ids['feed'] = (await job((inJob) => createFeed(inJob, bench.admin()))).row.id;
    },
    ask: ({ job, ids }, caller) => job((inJob) => revokeFeed(inJob, caller, ids['feed'] ?? '')),
    target: (w) => ({ type: 'feed', id: w.ids['feed'] }),
    details: (w) => ({ feed: w.ids['feed'] }),
  },
  {
    operation: 'webhook.create',
    what: 'one',
    ask: ({ job }, caller) =>
      job((inJob) => createWebhook(inJob, caller, { url: 'https://a.example', kinds: [], allowLoopback: false })),
    target: targets.plain('webhook'),
    details: (_w, { row }) => ({ webhook: row.id }),
  },
  {
    operation: 'webhook.list',
    what: 'all',
    before: withWebhook,
    ask: ({ job }, caller) => job((inJob) => listWebhooks(inJob, caller)),
    target: targets.plain('webhooks'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'webhook.list',
    what: 'the deliveries of one',
    before: withWebhook,
    ask: ({ job, ids }, caller) => job((inJob) => listDeliveries(inJob, caller, ids['webhook'] ?? '', '', 1)),
    target: (w) => ({ type: 'webhook', id: w.ids['webhook'] }),
    details: (w) => ({ webhook: w.ids['webhook'], count: 1 }),
  },
  {
    operation: 'webhook.delete',
    what: 'one for which two deliveries waited',
    before: withWebhook,
    ask: ({ job, ids }, caller) => job((inJob) => deleteWebhook(inJob, caller, ids['webhook'] ?? '')),
    target: (w) => ({ type: 'webhook', id: w.ids['webhook'] }),
    details: (w) => ({ webhook: w.ids['webhook'], count: 2 }),
  },
  {
    operation: 'credential.list',
    what: 'a whole page',
    ask: ({ job }, caller) =>
      job((inJob) => listCredentials(inJob, caller, { environment: 'staging', filter: {}, afterName: '', maxRows: 1 } as never)),
    target: () => ({ type: 'environment', environment: 'staging', name: 'staging' }),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'credential.describe',
    what: 'one',
    ask: ({ job }, caller) => job((inJob) => describeCredential(inJob, caller, 'staging', 'stripe')),
    target: targets.credential('stripe'),
  },
  {
    operation: 'credential.describe',
    what: 'its versions',
    ask: ({ job }, caller) => job((inJob) => listVersions(inJob, caller, page('stripe'))),
    target: targets.credential('stripe'),
  },
  {
    operation: 'credential.read',
    what: 'the current version',
    ask: ({ job }, caller) => job((inJob) => readCredential(inJob, caller, read('stripe'))),
    target: targets.credential('stripe'),
    details: () => ({ version: 2 }),
  },
  {
    operation: 'credential.read',
    what: 'the current version once more, which is kept',
    before: ({ job, bench }) => job((inJob) => readCredential(inJob, bench.admin(), read('stripe'))),
    ask: ({ job }, caller) => job((inJob) => readCredential(inJob, caller, read('stripe'))),
    target: targets.credential('stripe'),
    details: () => ({ version: 2 }),
  },
  {
    operation: 'credential.read',
    what: 'a stage',
    ask: ({ job }, caller) => job((inJob) => readCredential(inJob, caller, read('stripe', { stage: 'previous' }))),
    target: targets.credential('stripe'),
    details: () => ({ version: 1, stage: 'previous' }),
  },
  {
    operation: 'credential.read',
    what: 'one past its end date, and its version before that, which was put with none',
    before: async ({ job, bench, ids }) => {
      await job((inJob) => putCredential(inJob, bench.admin(), key('dated')));
      await job((inJob) => putCredential(inJob, bench.admin(), key('dated', { expiresAtMs: bench.tenant.clock.now() + 5 })));
      ids['dated'] = bench.row('dated').id;
      bench.tenant.clock.pass(5);
    },
    ask: async ({ job }, caller) => {
      await job((inJob) => readCredential(inJob, caller, read('dated', { version: 1 })));
      await job((inJob) => readCredential(inJob, caller, read('dated')));
    },
    target: targets.credential('dated'),
    details: () => ({ version: 2, health: 'expired' }),
    after: (w) => [allowed(w, 'credential.read', targets.credential('dated')(w), { version: 1 })],
  },
  {
    operation: 'credential.put',
    what: 'a new one',
    ask: ({ job }, caller) => job((inJob) => putCredential(inJob, caller, key('new', { kind: 'json', value: { a: 1 } }))),
    target: targets.made('new'),
    details: () => ({ version: 1, kind: 'json' }),
  },
  {
    operation: 'credential.put',
    what: 'a further version',
    ask: ({ job }, caller) => job((inJob) => putCredential(inJob, caller, key('stripe'))),
    target: targets.credential('stripe'),
    details: () => ({ version: 3, kind: 'api_key' }),
  },
  {
    operation: 'credential.put',
    what: 'one in the place of a deleted one',
    before: ({ job, bench }) =>
      job((inJob) => deleteCredential(inJob, bench.admin(), { ...at('stripe'), recoveryWindowMs: undefined })),
    ask: ({ job }, caller) => job((inJob) => putCredential(inJob, caller, key('stripe', { replaceDeleted: true }))),
    target: targets.credential('stripe'),
    details: () => ({ version: 1, kind: 'api_key', cause: 'deleted_set_aside' }),
  },
  {
    operation: 'credential.redirect',
    what: 'with a put that sends its secrets elsewhere',
    ask: ({ job }, caller) => job((inJob) => putCredential(inJob, caller, grant('crm', 'https://proxy.example/token'))),
    target: targets.credential('crm'),
    details: () => ({ from_hosts: 'api.crm.example app.crm.example', to_hosts: 'api.crm.example app.crm.example proxy.example' }),
  },
  {
    operation: 'credential.label',
    what: 'one',
    ask: ({ job }, caller) =>
      job((inJob) => labelCredential(inJob, caller, { ...at('stripe'), labels: { a: 'b' }, description: 'c' })),
    target: targets.credential('stripe'),
  },
  {
    operation: 'credential.rollback',
    what: 'to the version before',
    ask: ({ job }, caller) => job((inJob) => rollBack(inJob, caller, { ...at('stripe'), toVersion: undefined })),
    target: targets.credential('stripe'),
    details: () => ({ from_version: 2, version: 1 }),
  },
  {
    operation: 'credential.delete',
    what: 'one',
    ask: ({ job }, caller) => job((inJob) => deleteCredential(inJob, caller, { ...at('stripe'), recoveryWindowMs: undefined })),
    target: targets.credential('stripe'),
  },
  {
    operation: 'credential.restore',
    what: 'one',
    before: ({ job, bench }) =>
      job((inJob) => deleteCredential(inJob, bench.admin(), { ...at('stripe'), recoveryWindowMs: undefined })),
    ask: ({ job }, caller) => job((inJob) => restoreCredential(inJob, caller, at('stripe'))),
    target: targets.credential('stripe'),
  },
  {
    operation: 'credential.destroy',
    what: 'one, with all its versions',
    by: ({ bench }) => bench.tenant.user(['owner'], 'everywhere', { bootstrap: true }),
    ask: ({ job }, caller) => job((inJob) => destroyCredential(inJob, caller, at('stripe'))),
    target: targets.credential('stripe'),
    details: () => ({ count: 2 }),
  },
  {
    operation: 'credential.rotate',
    what: 'on request',
    ask: ({ job, engine }, caller) => job((inJob) => engine.open(inJob, caller, 'staging', 'crm')),
    target: targets.credential('crm'),
    details: (_w, run) => ({ trigger: 'request', run: run.id }),
  },
  {
    operation: 'credential.disconnect',
    what: 'one whose provider is told',
    ask: ({ job, bench }, caller) =>
      job((inJob) => disconnectCredential({ ...bench.ports, job: inJob }, caller, { ...at('crm'), revoke: true })),
    target: targets.credential('crm'),
    details: (w) => ({ step: 'waiting', run: lastRun(w), version: 2 }),
  },
  {
    operation: 'credential.disconnect',
    what: 'one whose provider is told nothing',
    ask: ({ job, bench }, caller) =>
      job((inJob) => disconnectCredential({ ...bench.ports, job: inJob }, caller, { ...at('crm'), revoke: false })),
    target: targets.credential('crm'),
    details: (w) => ({ step: 'not_asked', run: lastRun(w), version: 2 }),
  },
  {
    operation: 'credential.disconnect',
    what: 'one that holds no token',
    before: async ({ bench, ids }) => {
      await bench.make('waiting');
      ids['waiting'] = bench.row('waiting').id;
    },
    ask: ({ job, bench }, caller) =>
      job((inJob) => disconnectCredential({ ...bench.ports, job: inJob }, caller, { ...at('waiting'), revoke: true })),
    target: targets.credential('waiting'),
    details: (w) => ({ step: 'not_asked', run: lastRun(w), version: 1, cause: 'nothing_to_revoke' }),
  },
  {
    operation: 'connection.create',
    what: 'for a new credential',
    ask: ({ job, bench }, caller) =>
      job((inJob) => createConnection({ ...bench.ports, job: inJob }, caller, link('new'), undefined)),
    target: targets.made('new'),
    details: (_w, { connection }) => ({ connection: connection.id, connector: CRM.id }),
  },
  {
    operation: 'connection.create',
    what: 'for one that is there',
    ask: ({ job, bench }, caller) =>
      job((inJob) => createConnection({ ...bench.ports, job: inJob }, caller, link('crm'), undefined)),
    target: targets.credential('crm'),
    details: (_w, { connection }) => ({ connection: connection.id, connector: CRM.id }),
  },
  {
    operation: 'connection.list',
    what: 'of one credential',
    ask: ({ job }, caller) => job((inJob) => listConnections(inJob, caller, at('crm'), undefined, 9)),
    target: targets.credential('crm'),
  },
  {
    operation: 'connection.cancel',
    what: 'one',
    before: async ({ bench, ids }) => {
      ids['connection'] = (await bench.make('crm')).connection.id;
    },
    ask: ({ job, ids }, caller) => job((inJob) => cancelConnection(inJob, caller, at('crm'), ids['connection'] ?? '')),
    target: targets.credential('crm'),
    details: (w) => ({ connection: w.ids['connection'] }),
  },
  {
    operation: 'run.read',
    what: 'all of a credential',
    ask: ({ job }, caller) => job((inJob) => listRuns(inJob, caller, { ...page('crm'), before: Number.MAX_SAFE_INTEGER })),
    target: targets.credential('crm'),
  },
  {
    operation: 'run.read',
    what: 'one',
    before: withRun,
    ask: ({ job, ids }, caller) => job((inJob) => getRun(inJob, caller, 'staging', 'crm', ids['run'] ?? '')),
    target: targets.credential('crm'),
    details: (w) => ({ run: w.ids['run'] }),
  },
  {
    operation: 'reader.list',
    what: 'of one credential',
    before: ({ job, bench }) => job((inJob) => readCredential(inJob, bench.admin(), read('stripe'))),
    ask: ({ job }, caller) => job((inJob) => listReaders(inJob, caller, 'staging', 'stripe')),
    target: targets.credential('stripe'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'staging.skip',
    what: 'by an owner, with a reason',
    by: ({ bench }) => bench.tenant.user(['owner'], 'everywhere', { bootstrap: true }),
    ask: ({ job }, caller) => job((inJob) => overrideStaging(inJob, caller, stripeIn(inJob), 'made up')),
    target: targets.credential('stripe'),
  },
  {
    operation: 'credential.freshen',
    what: 'a grant whose token is new',
    ask: ({ job }, caller) => job((inJob) => planFreshening(inJob, caller, 'staging', 'crm')),
    target: targets.credential('crm'),
    details: () => ({ step: 'nothing' }),
  },
  {
    operation: 'workload.create',
    what: 'one',
    ask: ({ job }, caller) => job((inJob) => createWorkload(inJob, caller, workload())),
    target: () => ({ type: 'workload', name: 'sync', environment: 'staging' }),
  },
  {
    operation: 'workload.list',
    what: 'one',
    before: (w) => withWorkload(w),
    ask: ({ job }, caller) => job((inJob) => getWorkload(inJob, caller, 'sync')),
    target: targets.workload,
  },
  {
    operation: 'workload.list',
    what: 'a page with more to come',
    before: async (w) => {
      await withWorkload(w);
      await withWorkload(w, { name: 'other' });
    },
    ask: ({ job }, caller) => job((inJob) => listWorkloads(inJob, caller, '', 1)),
    target: targets.plain('workloads'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'workload.revoke',
    what: 'one with a client secret',
    before: (w) => withWorkload(w),
    ask: ({ job }, caller) => job((inJob) => revokeWorkload(inJob, caller, 'sync')),
    target: targets.workload,
    details: () => ({ count: 1 }),
  },
  {
    operation: 'workload.secret.create',
    what: 'one',
    before: (w) => withWorkload(w),
    ask: ({ job }, caller) => job((inJob) => createClientSecret(inJob, caller, 'sync')),
    target: targets.workload,
    details: (_w, { secret }) => ({ token: secret.publicId }),
  },
  {
    operation: 'token.create',
    what: 'one',
    before: (w) => withWorkload(w),
    ask: ({ job }, caller) =>
      job((inJob) => createDirectToken(inJob, caller, { workload: 'sync', permissions: undefined, ttlMs: 1_000 })),
    target: targets.workload,
    details: (_w, issued) => ({ token: issued.publicId }),
  },
  {
    operation: 'token.revoke',
    what: 'a client secret, with the token it was exchanged for',
    before: async (w) => {
      const clientSecret = await withWorkload(w);
      const { tenant } = w.bench;
      await exchangeToken(
        tenant.vault,
        tenant.token(undefined),
        { method: 'client_secret', clientId: undefined, clientSecret },
        [],
      );
    },
    ask: ({ job, ids }, caller) => job((inJob) => revokeToken(inJob, caller, 'sync', ids['secret'] ?? '')),
    target: targets.workload,
    details: (w) => ({ token: w.ids['secret'], count: 1 }),
  },
  {
    operation: 'token.revoke',
    what: 'a token that no other hangs on',
    before: async (w) => {
      await withWorkload(w);
      const issued = await w.job((inJob) =>
        createDirectToken(inJob, w.bench.admin(), { workload: 'sync', permissions: undefined, ttlMs: 1_000 }),
      );
      w.ids['token'] = issued.publicId;
    },
    ask: ({ job, ids }, caller) => job((inJob) => revokeToken(inJob, caller, 'sync', ids['token'] ?? '')),
    target: targets.workload,
    details: (w) => ({ token: w.ids['token'] }),
  },
  {
    operation: 'audit.read',
    what: 'a search that fits',
    ask: ({ bench }, caller) => searchAudit(bench.tenant.vault, caller, {}, undefined, 2),
    target: targets.plain('audit log'),
    details: () => ({ count: 2 }),
  },
  {
    operation: 'audit.read',
    what: 'following it',
    ask: ({ bench }, caller) => followAudit(bench.tenant.vault, caller, {}, 0, 3),
    target: targets.plain('audit log'),
    details: () => ({ count: 3 }),
  },
  {
    operation: 'audit.read',
    what: 'its signed head',
    ask: ({ bench }, caller) => readCheckpoint(bench.tenant.vault, caller),
    target: targets.plain('audit log'),
  },
  {
    operation: 'audit.export',
    what: 'the whole',
    by: ({ bench }) => bench.tenant.user(['auditor'], 'everywhere'),
    ask: ({ bench }, caller) => drained(exportAudit(bench.tenant.vault, caller)),
    target: targets.plain('audit log'),
  },
  {
    operation: 'key.list',
    what: 'all',
    ask: ({ job }, caller) => job((inJob) => listKeys(inJob, caller)),
    target: targets.plain('keys'),
  },
  {
    operation: 'key.rotate',
    what: 'one purpose',
    ask: ({ job }, caller) => job((inJob) => rotateKeys(inJob, caller, ['api_key'])),
    target: targets.plain('keys'),
    details: () => ({ count: 1, purpose: 'api_key' }),
  },
  {
    operation: 'key.rotate',
    what: 'two purposes',
    ask: ({ job }, caller) => job((inJob) => rotateKeys(inJob, caller, ['api_key', 'oauth_token'])),
    target: targets.plain('keys'),
    details: () => ({ count: 2 }),
  },
];

const failing: readonly Row[] = [
  {
    operation: 'environment.create',
    what: 'a name that is taken',
    ask: ({ job }, caller) => job((inJob) => createEnvironment(inJob, caller, 'staging')),
    target: () => ({ type: 'environment', environment: 'staging', name: 'staging' }),
    fails: 'conflict',
  },
  {
    operation: 'forecast.read',
    what: 'an environment that is not there',
    ask: ({ job, bench }, caller) =>
      job((inJob) =>
        readForecast(inJob, bench.ports.connectors, caller, { environment: 'no', withinDays: undefined, after: '', maxRows: 5 }),
      ),
    target: targets.plain('forecast'),
    fails: 'not_found',
  },
  {
    operation: 'schedule.set',
    what: 'one without a date',
    ask: ({ job }, caller) => job((inJob) => setRule(inJob, caller, rule({ spec: { cron: '0 0 30 2 *' } }))),
    target: () => ({ type: 'schedule', name: 'monthly' }),
    fails: 'invalid_request',
  },
  {
    operation: 'schedule.remove',
    what: 'one that is not there',
    ask: ({ job }, caller) => job((inJob) => removeRule(inJob, caller, 'monthly')),
    target: () => ({ type: 'schedule', name: 'monthly' }),
    fails: 'not_found',
  },
  {
    operation: 'credential.schedule',
    what: 'a grant',
    ask: ({ job }, caller) => job((inJob) => setOwnSchedule(inJob, caller, at('crm'), { every_seconds: 86_400 })),
    target: targets.credential('crm'),
    fails: 'not_rotatable',
  },
  {
    operation: 'due.read',
    what: 'an environment that is not there',
    ask: ({ job, bench }, caller) => job((inJob) => readDue(inJob, bench.ports.connectors, caller, dueInput('no'))),
    target: targets.plain('due'),
    fails: 'not_found',
  },
  {
    operation: 'feed.revoke',
    what: 'one that is not there',
    ask: ({ job }, caller) => job((inJob) => revokeFeed(inJob, caller, `cal_${'0'.repeat(24)}`)),
    target: () => ({ type: 'feed', id: `cal_${'0'.repeat(24)}` }),
    fails: 'not_found',
  },
  {
    operation: 'webhook.create',
    what: 'an URL without TLS',
    ask: ({ job }, caller) =>
      job((inJob) => createWebhook(inJob, caller, { url: 'http://a.example', kinds: [], allowLoopback: true })),
    target: targets.plain('webhook'),
    fails: 'invalid_request',
  },
  ...(['webhook.list', 'webhook.delete'] as const).map(
    (operation): Row => ({
      operation,
      what: 'one that is not there',
      ask: ({ job }, caller) =>
        job((inJob) =>
          operation === 'webhook.delete'
            ? deleteWebhook(inJob, caller, 'whk_none')
            : listDeliveries(inJob, caller, 'whk_none', '', 1),
        ),
      target: () => ({ type: 'webhook', id: 'whk_none' }),
      fails: 'not_found',
    }),
  ),
  {
    operation: 'credential.list',
    what: 'of an environment that is not there',
    ask: ({ job }, caller) =>
      job((inJob) => listCredentials(inJob, caller, { environment: 'no', filter: {}, afterName: '', maxRows: 1 } as never)),
    target: () => ({ type: 'environment', environment: 'no', name: 'no' }),
    fails: 'not_found',
  },
  ...Object.entries({
    'credential.describe': (inJob, caller) => describeCredential(inJob, caller, 'staging', 'none'),
    'credential.read': (inJob, caller) => readCredential(inJob, caller, read('none')),
    'credential.label': (inJob, caller) => labelCredential(inJob, caller, { ...at('none'), labels: {}, description: undefined }),
    'credential.rollback': (inJob, caller) => rollBack(inJob, caller, { ...at('none'), toVersion: 1 }),
    'credential.delete': (inJob, caller) => deleteCredential(inJob, caller, { ...at('none'), recoveryWindowMs: undefined }),
    'credential.restore': (inJob, caller) => restoreCredential(inJob, caller, at('none')),
    'run.read': (inJob, caller) => listRuns(inJob, caller, page('none')),
    'reader.list': (inJob, caller) => listReaders(inJob, caller, 'staging', 'none'),
    'credential.freshen': (inJob, caller) => planFreshening(inJob, caller, 'staging', 'none'),
    'connection.list': (inJob, caller) => listConnections(inJob, caller, at('none'), undefined, 9),
    'connection.cancel': (inJob, caller) => cancelConnection(inJob, caller, at('none'), 'con_none'),
  } satisfies Partial<Record<Operation, (inJob: TenantJob, caller: Caller) => unknown>>).map(
    ([operation, useCase]): Row => ({
      operation: operation as Operation,
      what: 'a credential that is not there',
      ask: ({ job }, caller) => job((inJob) => useCase(inJob, caller)),
      target: targets.missing('none'),
      fails: 'not_found',
    }),
  ),
  {
    operation: 'staging.skip',
    what: 'without a reason',
    by: ({ bench }) => bench.tenant.user(['owner'], 'everywhere', { bootstrap: true }),
    ask: ({ job }, caller) => job((inJob) => overrideStaging(inJob, caller, stripeIn(inJob), undefined)),
    target: targets.credential('stripe'),
    fails: 'invalid_request',
  },
  {
    operation: 'credential.read',
    what: 'a version that is not there',
    ask: ({ job }, caller) => job((inJob) => readCredential(inJob, caller, read('stripe', { version: 7 }))),
    target: targets.credential('stripe'),
    details: () => ({ version: 7 }),
    fails: 'not_found',
  },
  {
    operation: 'credential.read',
    what: 'a stage that is empty',
    ask: ({ job }, caller) => job((inJob) => readCredential(inJob, caller, read('stripe', { stage: 'pending' }))),
    target: targets.credential('stripe'),
    fails: 'not_found',
  },
  {
    operation: 'credential.put',
    what: 'another kind than before',
    ask: ({ job }, caller) => job((inJob) => putCredential(inJob, caller, key('stripe', { kind: 'json' as Kind }))),
    target: targets.credential('stripe'),
    fails: 'conflict',
  },
  {
    operation: 'credential.put',
    what: 'into an environment that is not there',
    ask: ({ job }, caller) => job((inJob) => putCredential(inJob, caller, key('new', { environment: 'no' }))),
    target: () => ({ ...targets.missing('new')(), environment: 'no' }),
    fails: 'not_found',
  },
  {
    operation: 'credential.rollback',
    what: 'to a version that is not there',
    ask: ({ job }, caller) => job((inJob) => rollBack(inJob, caller, { ...at('stripe'), toVersion: 7 })),
    target: targets.credential('stripe'),
    fails: 'not_found',
  },
  {
    operation: 'credential.restore',
    what: 'one that is not deleted',
    ask: ({ job }, caller) => job((inJob) => restoreCredential(inJob, caller, at('stripe'))),
    target: targets.credential('stripe'),
    fails: 'conflict',
  },
  {
    operation: 'credential.destroy',
    what: 'one that changed since',
    by: ({ bench }) => bench.tenant.user(['owner'], 'everywhere', { bootstrap: true }),
    ask: ({ job }, caller) =>
      job((inJob) => destroyCredential(inJob, caller, { ...at('stripe'), precondition: { revision: 9 } })),
    target: targets.credential('stripe'),
    fails: 'precondition_failed',
  },
  {
    operation: 'credential.rotate',
    what: 'one that no connector can rotate',
    ask: ({ job, engine }, caller) => job((inJob) => engine.open(inJob, caller, 'staging', 'stripe')),
    target: targets.credential('stripe'),
    fails: 'not_rotatable',
  },
  {
    operation: 'credential.disconnect',
    what: 'one that is no account',
    ask: ({ job, bench }, caller) =>
      job((inJob) => disconnectCredential({ ...bench.ports, job: inJob }, caller, { ...at('stripe'), revoke: true })),
    target: targets.credential('stripe'),
    fails: 'conflict',
  },
  {
    operation: 'connection.create',
    what: 'for another kind of credential',
    ask: ({ job, bench }, caller) =>
      job((inJob) => createConnection({ ...bench.ports, job: inJob }, caller, link('stripe'), undefined)),
    target: targets.credential('stripe'),
    fails: 'conflict',
  },
  {
    operation: 'connection.cancel',
    what: 'one that is connected already',
    before: ({ bench, ids }) => {
      ids['connection'] = bench.tenant.sql.get<{ id: string }>('SELECT id FROM connection')?.id ?? '';
    },
    ask: ({ job, ids }, caller) => job((inJob) => cancelConnection(inJob, caller, at('crm'), ids['connection'] ?? '')),
    target: targets.credential('crm'),
    details: (w) => ({ connection: w.ids['connection'] }),
    fails: 'conflict',
  },
  {
    operation: 'run.read',
    what: 'one of another credential',
    before: withRun,
    ask: ({ job, ids }, caller) => job((inJob) => getRun(inJob, caller, 'staging', 'stripe', ids['run'] ?? '')),
    target: targets.credential('stripe'),
    fails: 'not_found',
  },
  {
    operation: 'workload.create',
    what: 'a name that is taken',
    before: (w) => withWorkload(w),
    ask: ({ job }, caller) => job((inJob) => createWorkload(inJob, caller, workload())),
    target: () => ({ type: 'workload', name: 'sync', environment: 'staging' }),
    fails: 'conflict',
  },
  {
    operation: 'workload.create',
    what: 'in an environment that is not there',
    ask: ({ job }, caller) => job((inJob) => createWorkload(inJob, caller, workload({ environment: 'no' }))),
    target: () => ({ type: 'workload', name: 'sync', environment: 'no' }),
    fails: 'not_found',
  },
  ...Object.entries({
    'workload.list': (inJob, caller) => getWorkload(inJob, caller, 'none'),
    'workload.revoke': (inJob, caller) => revokeWorkload(inJob, caller, 'none'),
    'workload.secret.create': (inJob, caller) => createClientSecret(inJob, caller, 'none'),
    'token.create': (inJob, caller) => createDirectToken(inJob, caller, { workload: 'none', permissions: undefined, ttlMs: 1 }),
    'token.revoke': (inJob, caller) => revokeToken(inJob, caller, 'none', 'x'),
  } satisfies Partial<Record<Operation, (inJob: TenantJob, caller: Caller) => unknown>>).map(
    ([operation, useCase]): Row => ({
      operation: operation as Operation,
      what: 'a workload that is not there',
      ask: ({ job }, caller) => job((inJob) => useCase(inJob, caller)),
      target: targets.plain('workload'),
      fails: 'not_found',
    }),
  ),
  ...Object.entries({
    'workload.secret.create': (inJob, caller, id) => createClientSecret(inJob, caller, id),
    'token.create': (inJob, caller, id) => createDirectToken(inJob, caller, { workload: id, permissions: undefined, ttlMs: 1 }),
  } satisfies Partial<Record<Operation, (inJob: TenantJob, caller: Caller, id: string) => unknown>>).map(
    ([operation, useCase]): Row => ({
      operation: operation as Operation,
      what: 'of a workload that is revoked',
      before: async (w) => {
        await withWorkload(w);
        await w.job((inJob) => revokeWorkload(inJob, w.bench.admin(), 'sync'));
      },
      ask: ({ job, ids }, caller) => job((inJob) => useCase(inJob, caller, ids['sync'] ?? '')),
      target: targets.workload,
      fails: 'conflict',
    }),
  ),
  {
    operation: 'token.revoke',
    what: 'one that the workload does not have',
    before: (w) => withWorkload(w),
    ask: ({ job }, caller) => job((inJob) => revokeToken(inJob, caller, 'sync', 'none')),
    target: targets.workload,
    fails: 'not_found',
  },
];

async function withWebhook({ job, bench, ids }: World): Promise<void> {
  const { row } = await job((inJob) =>
    createWebhook(inJob, bench.admin(), { url: 'https://a.example', kinds: [], allowLoopback: false }),
  );
  ids['webhook'] = row.id;
  await job((inJob) => disconnectCredential({ ...bench.ports, job: inJob }, bench.admin(), { ...at('crm'), revoke: false }));
  await bench.connect('crm');
}

async function withRun({ job, bench, engine, ids }: World): Promise<void> {
  ids['run'] = (await job((inJob) => engine.open(inJob, bench.admin(), 'staging', 'crm'))).id;
}

const lastRun = ({ bench }: World) => bench.tenant.sql.get<{ id: string }>('SELECT id FROM run ORDER BY rowid DESC')?.id;

const grant = (name: string, endpoint: string) =>
  key(name, {
    kind: 'oauth2',
    connector: CRM.id,
    config: oauth2Config.parse({ ...CONFIG, token_endpoint: endpoint }),
    value: { access_token: 'a-not-a-real-secret', refresh_token: 'r-not-a-real-secret', client_secret: 'c-not-a-real-secret' },
  });

const asAdmin = ({ bench }: World) => bench.admin();

function allowed(w: World, action: string, target: Record<string, unknown>, details?: Record<string, unknown>): Told {
  const told = { action, actor: actorOf(asAdmin(w)), outcome: 'success', reason: 'allowed', target };
  return details === undefined ? told : { ...told, details };
}

async function walked({ before, by = asAdmin, ask }: Row, w: World) {
  await before?.(w);
  const caller = by(w);
  return { caller, ...(await leftBy(w.bench.tenant.sql, () => ask(w, caller))) };
}

/** What the policies are asked about: what kind of thing it is, and all that is known of it before the decision. */
function resourceOf({ operation, target }: Row, w: World): Record<string, unknown> {
  const { resource: type } = OPERATIONS[operation];
  const { environment, name, type: of } = target(w);
  const at = { type, tenant: w.ids['tenant'], ...(environment === undefined ? {} : { environment }) };
  if (type === 'Tenant' || type === 'AuditLog' || type === 'TenantKey') return { type, tenant: w.ids['tenant'] };
  if (type === 'Environment' || type === 'Workload') return of === 'workloads' ? { type, tenant: w.ids['tenant'] } : at;
  const isGrant = name === 'crm' || name === 'waiting' || operation === 'connection.create';
  if (isGrant) return { ...at, kind: 'oauth2', ...(operation === 'credential.put' ? {} : { connector: CRM.id }) };
  const connector = operation === 'credential.schedule' ? { connector: 'own' } : {};
  return { ...at, kind: name === 'new' ? 'json' : 'api_key', ...connector };
}

const title = ({ operation, what }: Pick<Row, 'operation' | 'what'>) => `${operation}: ${what}`;

describe('the event of what is done', () => {
  it.each(done.map((row) => [title(row), row] as const))('%s', async (_title, row) => {
    const w = await world();
    const asked = vi.spyOn(authorizer, 'decide');
    const { end, value, caller, events, whole } = await walked(row, w);
    const resources = asked.mock.calls.filter(([, operation]) => operation === row.operation).map(([, , resource]) => resource);
    asked.mockRestore();
    expect(end).toBe('ok');
    expect(resources.at(-1)).toEqual(resourceOf(row, w));
    const last = allowed(w, row.operation, row.target(w), row.details?.(w, value));
    const before = row.operation === 'credential.redirect' ? [expect.objectContaining({ action: 'credential.put' })] : [];
    const all = [...before, ...(row.after?.(w) ?? []), { ...last, actor: actorOf(caller) }];
    expect([...events].sort((a, b) => Number(a.action === row.operation) - Number(b.action === row.operation))).toEqual(all);
    for (const event of whole) expect(event).toMatchObject({ request: caller.request, source: expect.any(String), v: 1 });
  });
});

describe('the event of what may not be done', () => {
  let shared: Promise<World> | undefined;
  const alone = done.filter(({ operation }) => operation !== 'credential.redirect');
  it.each(alone.map((row) => [title(row), row] as const))('%s', async (_title, row) => {
    // What is refused changes nothing that another row could see.
    shared ??= world();
    const w = row.before === undefined ? await shared : await world();
    const by = () => w.bench.tenant.user(['engineer'], 'elsewhere');
    // A row that asks for two things is refused the first.
    const { end, events, caller } = await walked({ ...row, by }, w);
    expect(end).toBe('not_found');
    const target = row.target(w);
    const isNew = target['type'] === 'credential' && target['id'] === undefined;
    expect(events).toEqual([
      {
        action: row.operation,
        actor: actorOf(caller),
        outcome: 'denied',
        reason: 'no policy permits',
        target: isNew ? targets.missing(String(target['name']))() : target,
      },
    ]);
  });
});

describe('the event of what fails', () => {
  it.each(failing.map((row) => [title(row), row] as const))('%s', async (_title, row) => {
    const w = await world();
    const { end, events, caller } = await walked(row, w);
    expect(end).toBe(row.fails);
    const told = { action: row.operation, actor: actorOf(caller), outcome: 'failure', reason: row.fails, target: row.target(w) };
    expect(events).toEqual([row.details === undefined ? told : { ...told, details: row.details(w, undefined) }]);
  });
});

describe('the event of an exchange', () => {
  const exchange = (w: World, clientSecret: string, address?: string) => {
    const { tenant } = w.bench;
    const proof = { method: 'client_secret', clientId: undefined, clientSecret } as const;
    return leftBy(tenant.sql, () => exchangeToken(tenant.vault, tenant.token(undefined, address), proof, []));
  };

  it('names the secret that was shown and the token that was made for it', async () => {
    const w = await world();
    const { events, value } = await exchange(w, await withWorkload(w));
    expect(events).toEqual([
      {
        action: 'token.exchange',
        actor: { type: 'workload', id: w.ids['sync'], token: w.ids['secret'] },
        outcome: 'success',
        reason: 'allowed',
        target: targets.workload(w),
        details: { token: value?.publicId },
      },
    ]);
  });

  it('says that a right proof came from a foreign network, and nothing of a wrong proof', async () => {
    const w = await world();
    const clientSecret = await withWorkload(w, { networks: ['127.0.0.0/8'] });
    const wrong = await exchange(w, `${clientSecret.slice(0, -1)}${clientSecret.endsWith('0') ? '1' : '0'}`);
    expect([wrong.end, wrong.events]).toEqual(['unauthenticated', []]);
    const { tenant } = w.bench;
    const foreign = await leftBy(tenant.sql, async () => {
      const { end } = await exchange(w, clientSecret, '203.0.113.9');
      await tenant.vault.submit(() => {});
      return end;
    });
    expect(foreign.value).toBe('unauthenticated');
    expect(foreign.events).toEqual([
      {
        action: 'token.exchange',
        actor: { type: 'workload', id: w.ids['sync'], token: w.ids['secret'] },
        outcome: 'denied',
        reason: 'foreign network',
        target: targets.workload(w),
      },
    ]);
  });
});

/** Nothing that they are asked with can be wrong once they are allowed. */
const CANNOT_FAIL: readonly Operation[] = [
  'schedule.list',
  'feed.list',
  'feed.create',
  'environment.list',
  'alert.list',
  'audit.read',
  'audit.export',
  'key.list',
  'key.rotate',
  'credential.redirect',
];
/** Done by the vault itself: test/rotation/grants/every-event.test.ts. */
const BY_ITSELF: readonly Operation[] = [
  'webhook.deliver',
  'credential.revoke',
  'credential.review',
  'connection.complete',
  'feed.read',
];
/** No use case enters with them: what the edge says of a stranger, and what is to come. */
const NOT_HERE: readonly Operation[] = ['tenant.read', 'tenant.erase', 'audit.verify'];
/** In a test of its own: above, and test/rotation/keys/admin-credential.test.ts. */
const PROVEN: readonly Operation[] = ['token.exchange', 'credential.appoint'];

describe('the tables', () => {
  const left = [...BY_ITSELF, ...NOT_HERE, ...PROVEN];
  const wanted = Object.entries(OPERATIONS)
    .filter(([name, { resource }]) => resource !== 'Installation' && !left.includes(name as Operation))
    .map(([name]) => name);
  const named = (rows: readonly Row[]) => [...new Set<string>(rows.map(({ operation }) => operation))].sort();

  it('have a row for every operation at a tenant that is done, and for each that can fail', () => {
    expect(named(done)).toEqual(wanted.toSorted());
    const canFail = wanted.filter((name) => !CANNOT_FAIL.includes(name as Operation));
    expect(named(failing)).toEqual(canFail.toSorted());
  });
});
