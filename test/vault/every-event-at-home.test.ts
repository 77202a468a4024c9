// Every operation at the home cell, and the whole event it leaves: when it is done, when the caller may not, when it fails; and the events
// of what a vault does by itself. The table is written by hand; a new operation does not pass without its rows.
import { describe, expect, it } from 'vitest';
import { OPERATIONS, type Operation } from '../../src/access/operations.ts';
import type { Caller } from '../../src/access/principals.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { deleteCredential, destroyExpired } from '../../src/vault/change-credential.ts';
import { claimTenant, createTenant, listTenants } from '../../src/vault/manage-tenants.ts';
import {
  createUser,
  createUserToken,
  type GrantInput,
  listUsers,
  offboardUser,
  revokeUserToken,
} from '../../src/vault/manage-users.ts';
import { exportAudit, searchAudit } from '../../src/vault/read-audit.ts';
import { rejectionRecorder } from '../../src/vault/record-rejection.ts';
import { destroyRetiredKeys, listKeys, rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { requestRootRotation } from '../../src/vault/rotate-root.ts';
import { enrol, setUp } from '../../src/vault/set-up.ts';
import { noteClock, tellClock } from '../../src/vault/tell-clock.ts';
import { testHome, testTeam, textOf } from '../kit/homes.ts';
import { actorOf, drained, leftBy } from '../kit/told.ts';
import { eventsOf, putKey, testTenant } from '../kit/vaults.ts';

const plain = (type: string) => () => ({ type });

interface HomeWorld {
  readonly team: Awaited<ReturnType<typeof testTeam>>;
  readonly ids: Record<string, string>;
  readonly as: Record<'ada' | 'eve' | 'bob', Caller>;
}

/** The owner `ada`, the admin `bob` and `eve`, an engineer of the tenant `acme`. */
async function homeWorld(): Promise<HomeWorld> {
  const team = await testTeam();
  const ids: Record<string, string> = {};
  const ada = team.caller(team.owner);
  const tenant = await createTenant(team.home, ada, { name: 'acme', environments: [], demo: false }, team.provision);
  ids['acme'] = tenant.id;
  ids['ada'] = ada.user?.id ?? '';
  const joined = async (name: string, grants: readonly GrantInput[]) => {
    const input = { name, grants, enrolmentTtlMs: 1_000 };
    const { enrolment, row } = await team.home.submit((job) => createUser(job, ada, input));
    ids[name] = row.id;
    const { issued } = await team.home.submit((job) => enrol(job, team.caller(textOf(enrolment.token)), 60_000));
    ids[`token of ${name}`] = issued.publicId;
    return team.caller(textOf(issued.token));
  };
  const bob = await joined('bob', [{ role: 'admin', tenant: undefined }]);
  const eve = await joined('eve', [{ role: 'engineer', tenant: 'acme' }]);
  return { team, ids, as: { ada, bob, eve } };
}

interface HomeRow {
  readonly operation: Operation;
  readonly what: string;
  readonly by: keyof HomeWorld['as'];
  readonly ask: (w: HomeWorld, caller: Caller) => unknown;
  readonly target: (w: HomeWorld) => Record<string, unknown>;
  // biome-ignore lint/suspicious/noExplicitAny: each row knows what its own use case answers
  readonly details?: (w: HomeWorld, value: any) => Record<string, unknown>;
  /** How it ends, where it does not succeed. */
  readonly fails?: string;
}

const person = (name: string) => (w: HomeWorld) => ({ type: 'user', id: w.ids[name], name });
const newUser = (name: string, grants: readonly GrantInput[]) => (w: HomeWorld, caller: Caller) =>
  w.team.home.submit((job) => createUser(job, caller, { name, grants, enrolmentTtlMs: 1_000 }));

const doneAtHome: readonly HomeRow[] = [
  {
    operation: 'user.create',
    what: 'one with two roles',
    by: 'ada',
    ask: newUser('cy', [
      { role: 'admin', tenant: undefined },
      { role: 'engineer', tenant: 'acme' },
    ]),
    target: () => ({ type: 'user', name: 'cy' }),
    details: (_w, { enrolment }) => ({ role: 'admin engineer', token: enrolment.publicId }),
  },
  {
    operation: 'installation.keys.list',
    what: 'the keys of the home cell',
    by: 'bob',
    ask: (w, caller) => w.team.home.submit((job) => listKeys(job, caller)),
    target: plain('keys'),
  },
  {
    operation: 'installation.keys.rotate',
    what: 'one purpose',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => rotateKeys(job, caller, ['audit_pii'])),
    target: plain('keys'),
    details: () => ({ count: 1, purpose: 'audit_pii' }),
  },
  {
    operation: 'root.rotate',
    what: 'a request',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => requestRootRotation(job, caller)),
    target: plain('root_key'),
    details: () => ({ stage: 'requested' }),
  },
  {
    operation: 'user.list',
    what: 'a page with more to come',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => listUsers(job, caller, '', 2)),
    target: plain('users'),
    details: () => ({ count: 2 }),
  },
  {
    operation: 'user.offboard',
    what: 'one with a token',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => offboardUser(job, caller, 'eve')),
    target: person('eve'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'user.token.create',
    what: 'a further one',
    by: 'eve',
    ask: (w, caller) => w.team.home.submit((job) => createUserToken(job, caller, 'eve', 1_000)),
    target: person('eve'),
    details: (_w, issued) => ({ token: issued.publicId }),
  },
  {
    operation: 'user.token.revoke',
    what: 'an own one',
    by: 'eve',
    ask: (w, caller) => w.team.home.submit((job) => revokeUserToken(job, caller, 'eve', w.ids['token of eve'] ?? '')),
    target: person('eve'),
    details: (w) => ({ token: w.ids['token of eve'] }),
  },
  {
    operation: 'tenant.create',
    what: 'one',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => claimTenant(job, caller, { name: 'globex', environments: [], demo: false })),
    target: () => ({ type: 'tenant', name: 'globex' }),
    details: (_w, { id }) => ({ tenant: id }),
  },
  {
    operation: 'tenant.list',
    what: 'all',
    by: 'eve',
    ask: (w, caller) => w.team.home.submit((job) => listTenants(job, caller, '', 5)),
    target: plain('tenants'),
    details: () => ({ count: 1 }),
  },
  {
    operation: 'installation.audit.read',
    what: 'a search',
    by: 'ada',
    ask: (w, caller) => searchAudit(w.team.home, caller, {}, undefined, 2),
    target: plain('audit log'),
    details: () => ({ count: 2 }),
  },
  {
    operation: 'installation.audit.read',
    what: 'the whole',
    by: 'ada',
    ask: (w, caller) => drained(exportAudit(w.team.home, caller)),
    target: plain('audit log'),
  },
];

const failingAtHome: readonly HomeRow[] = [
  {
    operation: 'user.create',
    what: 'a name that is taken',
    by: 'ada',
    ask: newUser('eve', [{ role: 'admin', tenant: undefined }]),
    target: () => ({ type: 'user', name: 'eve' }),
    fails: 'conflict',
  },
  {
    operation: 'user.create',
    what: 'an owner, by an admin',
    by: 'bob',
    ask: newUser('cy', [{ role: 'owner', tenant: undefined }]),
    target: () => ({ type: 'user', name: 'cy' }),
    fails: 'forbidden',
  },
  {
    operation: 'user.create',
    what: 'one of a tenant that is not there',
    by: 'ada',
    ask: newUser('cy', [{ role: 'engineer', tenant: 'none' }]),
    target: () => ({ type: 'user', name: 'cy' }),
    fails: 'not_found',
  },
  {
    operation: 'user.offboard',
    what: 'the last owner',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => offboardUser(job, caller, 'ada')),
    target: person('ada'),
    fails: 'conflict',
  },
  {
    operation: 'user.offboard',
    what: 'one who is not there',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => offboardUser(job, caller, 'none')),
    target: plain('user'),
    fails: 'not_found',
  },
  {
    operation: 'user.token.revoke',
    what: 'one that is not there',
    by: 'eve',
    ask: (w, caller) => w.team.home.submit((job) => revokeUserToken(job, caller, 'eve', 'none')),
    target: person('eve'),
    fails: 'not_found',
  },
  {
    operation: 'user.token.revoke',
    what: 'one of somebody else',
    by: 'eve',
    ask: (w, caller) => w.team.home.submit((job) => revokeUserToken(job, caller, 'eve', w.ids['token of bob'] ?? '')),
    target: person('eve'),
    fails: 'not_found',
  },
  {
    operation: 'user.enrol',
    what: 'with a token that is spent',
    by: 'eve',
    ask: (w, caller) => w.team.home.submit((job) => enrol(job, caller, 60_000)),
    target: person('eve'),
    fails: 'conflict',
  },
  {
    operation: 'installation.setup',
    what: 'once more, by the first owner',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => setUp(job, caller, 'eve')),
    target: plain('installation'),
    fails: 'conflict',
  },
  {
    operation: 'tenant.create',
    what: 'a name that is taken',
    by: 'ada',
    ask: (w, caller) => w.team.home.submit((job) => claimTenant(job, caller, { name: 'acme', environments: [], demo: false })),
    target: () => ({ type: 'tenant', name: 'acme' }),
    fails: 'conflict',
  },
];

/** The code that the caller is told, and why. */
const deniedAtHome: readonly (HomeRow & { readonly reason: string })[] = [
  ...doneAtHome
    .filter(({ by }) => by === 'ada')
    .map((row) => ({
      ...row,
      by: 'eve' as const,
      // Who is in the team is not for everybody; that there is one is.
      fails: row.operation === 'user.offboard' ? 'not_found' : 'forbidden',
      reason: 'no policy permits',
    })),
  ...(['user.token.create', 'user.token.revoke'] as const).map((operation) => ({
    operation,
    what: 'of somebody else',
    by: 'ada' as const,
    ask: (w: HomeWorld, caller: Caller) =>
      w.team.home.submit((job) =>
        operation === 'user.token.create'
          ? createUserToken(job, caller, 'eve', 1_000)
          : revokeUserToken(job, caller, 'eve', w.ids['token of eve'] ?? ''),
      ),
    target: person('eve'),
    fails: 'forbidden',
    reason: 'guardrails/token#only-its-scope',
  })),
];

describe('the event at the home cell', () => {
  const walkedAtHome = async ({ by, ask }: HomeRow) => {
    const w = await homeWorld();
    return { w, ...(await leftBy(w.team.sql, () => ask(w, w.as[by]))), caller: w.as[by] };
  };

  it.each(doneAtHome.map((row) => [`${row.operation}: ${row.what}`, row] as const))(
    'of what is done: %s',
    async (_title, row) => {
      const { w, end, value, events, caller } = await walkedAtHome(row);
      expect(end).toBe('ok');
      const told = {
        action: row.operation,
        actor: actorOf(caller),
        outcome: 'success',
        reason: 'allowed',
        target: row.target(w),
      };
      expect(events).toEqual([row.details === undefined ? told : { ...told, details: row.details(w, value) }]);
    },
  );

  it.each(failingAtHome.map((row) => [`${row.operation}: ${row.what}`, row] as const))(
    'of what fails: %s',
    async (_title, row) => {
      const { w, end, events, caller } = await walkedAtHome(row);
      expect(end).toBe(row.fails);
      const target = row.target(w);
      expect(events).toEqual([{ action: row.operation, actor: actorOf(caller), outcome: 'failure', reason: row.fails, target }]);
    },
  );

  it.each(deniedAtHome.map((row) => [`${row.operation}: ${row.what}`, row] as const))(
    'of what may not be done: %s',
    async (_title, row) => {
      const { w, end, events, caller } = await walkedAtHome(row);
      expect(end).toBe(row.fails);
      const target = row.target(w);
      expect(events).toEqual([{ action: row.operation, actor: actorOf(caller), outcome: 'denied', reason: row.reason, target }]);
    },
  );

  it('of the first start, the first set-up and an enrolment', async () => {
    const first = await testHome();
    const owner = first.sql.get<{ id: string }>('SELECT id FROM user')?.id;
    const system = { type: 'system', id: 'first-start' };
    const [made] = eventsOf(first.sql);
    expect(made).toMatchObject({ request: 'first-start', target: { type: 'user', id: owner } });
    expect(made).toMatchObject({
      action: 'installation.setup',
      actor: system,
      outcome: 'success',
      reason: 'bootstrap secret made',
    });
    expect(made).not.toHaveProperty('details');
    const bootstrap = first.caller(first.bootstrap);
    const named = await leftBy(first.sql, () => first.home.submit((job) => setUp(job, bootstrap, 'ada')));
    const success = { outcome: 'success', reason: 'allowed' };
    expect(named.events).toEqual([
      {
        action: 'installation.setup',
        actor: actorOf(bootstrap),
        ...success,
        target: { type: 'installation' },
        details: { token: named.value?.issued.publicId },
      },
    ]);
    const ada = first.caller(textOf(named.value!.issued.token));
    const input = { name: 'eve', grants: [{ role: 'admin', tenant: undefined }] as const, enrolmentTtlMs: 1_000 };
    const { row, enrolment } = await first.home.submit((job) => createUser(job, ada, input));
    const eve = first.caller(textOf(enrolment.token));
    const enrolled = await leftBy(first.sql, () => first.home.submit((job) => enrol(job, eve, 1_000)));
    expect(enrolled.events).toEqual([
      {
        action: 'user.enrol',
        actor: { type: 'user', id: row.id, token: enrolment.publicId },
        ...success,
        target: { type: 'user', id: row.id, name: 'eve' },
        details: { token: enrolled.value?.issued.publicId },
      },
    ]);
  });
});

describe('the event of what the vault does by itself', () => {
  const system = (id: string) => ({ type: 'system', id });
  /** A tenant with `stripe`, put twice. */
  const withKey = async () => {
    const tenant = await testTenant();
    for (const _ of [1, 2]) await putKey(tenant, 'stripe', 'not-a-real-secret');
    const job = <T>(useCase: Parameters<typeof tenant.vault.submit<T>>[0]) => tenant.vault.submit(useCase);
    return { tenant, job, admin: () => tenant.user(['admin'], 'everywhere') };
  };

  it('as an environment that comes with its tenant', async () => {
    const tenant = await testTenant();
    const events = eventsOf(tenant.sql);
    expect(events.map(({ request }) => request)).toEqual(['provision', 'provision']);
    const rows = tenant.sql.all<{ id: string; name: string }>('SELECT id, name FROM environment ORDER BY rowid');
    expect(rows.map(({ name }) => name)).toEqual(['staging', 'production']);
    expect(events).toEqual(
      rows.map(({ id, name }) =>
        expect.objectContaining({
          action: 'environment.create',
          actor: system('provision'),
          outcome: 'success',
          reason: 'tenant created',
          target: { type: 'environment', id, environment: name, name },
        }),
      ),
    );
  });

  it('as the destruction of what outlived its recovery window', async () => {
    const { tenant, job, admin } = await withKey();
    const recoveryWindowMs = LIMITS.recoveryWindowMinMs;
    const stripe = { environment: 'staging', name: 'stripe', precondition: {} };
    const { row } = await job((inJob) => deleteCredential(inJob, admin(), { ...stripe, recoveryWindowMs }));
    tenant.clock.pass(recoveryWindowMs - 1);
    const early = await leftBy(tenant.sql, () => job((inJob) => destroyExpired(inJob, 9)));
    expect([early.value, early.events]).toEqual([0, []]);
    tenant.clock.pass(1);
    const { value, events, whole } = await leftBy(tenant.sql, () => job((inJob) => destroyExpired(inJob, 9)));
    expect(value).toBe(1);
    expect(events).toEqual([
      {
        action: 'credential.destroy',
        actor: system('recovery-window'),
        outcome: 'success',
        reason: 'allowed',
        target: { type: 'credential', environment: 'staging', id: row.id, name: 'stripe' },
        details: { count: 2 },
      },
    ]);
    expect(whole[0]?.['request']).toMatch(/^recovery-window:[0-9]+$/);
  });

  it('as the move to a new key, its end, and the death of the old one', async () => {
    const { tenant, job, admin } = await withKey();
    await job((inJob) => rotateKeys(inJob, admin(), ['api_key']));
    const batch = () => leftBy(tenant.sql, () => job((inJob) => rewrapBatch(inJob)));
    const keys = { action: 'key.rotate', outcome: 'success', reason: 'allowed', target: { type: 'keys' } };
    const moved = { ...keys, actor: system('rewrap') };
    expect((await batch()).events).toEqual([{ ...moved, details: { count: 2, purpose: 'api_key' } }]);
    expect((await batch()).events).toEqual([{ ...moved, details: { count: 0, purpose: 'api_key' } }]);
    expect(await batch()).toMatchObject({ value: 0, events: [] });
    const destroy = () => leftBy(tenant.sql, () => destroyRetiredKeys(tenant.vault));
    tenant.clock.pass(LIMITS.keyDestroyDelayMs - 1);
    expect(await destroy()).toMatchObject({ value: 0, events: [] });
    tenant.clock.pass(1);
    const dead = { ...keys, actor: system('key-destruction'), details: { purpose: 'api_key', key_version: 1 } };
    expect(await destroy()).toMatchObject({ value: 1, events: [dead] });
  });

  it('as a clock that jumped, at a tenant with an alert and at home without', async () => {
    const tenant = await testTenant();
    const jumped = { kind: 'ahead', byMs: 61_400 } as const;
    const event = {
      action: 'clock.jumped',
      actor: system('clock'),
      outcome: 'success',
      reason: 'ahead',
      target: { type: 'cell' },
      details: { seconds: 61 },
    };
    const { events, whole } = await leftBy(tenant.sql, () => tenant.vault.submit((job) => tellClock(job, jumped)));
    expect(events).toEqual([event]);
    expect(whole[0]?.['request']).toMatch(/^clock:[0-9]+$/);
    const [alert] = tenant.sql.all('SELECT kind, credential_id, facts FROM alert');
    expect(alert).toEqual({
      kind: 'clock.jumped',
      credential_id: null,
      facts: JSON.stringify({ direction: 'ahead', seconds: 61 }),
    });
    const team = await testTeam();
    expect((await leftBy(team.sql, () => team.home.submit((job) => noteClock(job, jumped)))).events).toEqual([event]);
  });

  it('as a damaged object of the home cell, once, with its id where it has one', async () => {
    const team = await testTeam();
    const id = team.caller(team.owner).user?.id ?? '';
    team.sql.run('UPDATE user SET name = ? WHERE id = ?', 'eve', id);
    const told = await leftBy(team.sql, async () => {
      for (const _ of [1, 2]) for (const _slice of team.home.scrub());
      await team.home.submit(() => {});
    });
    const event = { action: 'state.damaged', actor: system('integrity'), outcome: 'failure', reason: 'changed' };
    expect(told.events).toEqual([{ ...event, target: { type: 'user', id } }]);
    expect(told.whole[0]?.['request']).toMatch(/^integrity:[0-9]+$/);
    team.sql.script('CREATE VIEW extra AS SELECT 1 AS one');
    const { events } = await leftBy(team.sql, async () => {
      for (const _slice of team.home.scrub());
      await team.home.submit(() => {});
    });
    expect(events).toEqual([{ ...event, reason: 'unknown', target: { type: 'sqlite_schema' } }]);
  });

  it('as refused tokens: one by one at first, and then their number', async () => {
    const { home, sql, clock, caller } = await testHome();
    const limit = { take: () => ({ ok: true, retryAfterSeconds: 0 }) };
    const record = rejectionRecorder(home, limit, (address) => address);
    const stranger = { ...caller('kt_usr_none'), clientRequest: 'theirs' };
    const { events, whole } = await leftBy(sql, () => record(stranger, 'GET /v1/x'));
    const refused = { action: 'authentication', actor: { type: 'anonymous', id: 'unknown' }, outcome: 'denied' };
    expect(events).toEqual([
      { ...refused, reason: 'unauthenticated', client_request: 'theirs', target: { type: 'route', name: 'GET /v1/x' } },
    ]);
    expect(whole[0]).toMatchObject({ request: stranger.request, source: expect.any(String) });
    for (let i = 1; i < LIMITS.denialEventsBurst + 2; i++) await record(stranger, 'GET /v1/x');
    clock.pass(LIMITS.denialSummaryEveryMs);
    home.rejections.flush();
    await home.submit(() => {});
    const last = eventsOf(sql).at(-1);
    expect(last).toMatchObject({ ...refused, reason: 'rate_limited', target: { type: 'routes' }, details: { count: 2 } });
    expect(last?.['request']).toMatch(/^flood:[0-9]+$/);
  });
});

describe('the tables', () => {
  it('have a row for every operation at the home cell', () => {
    const wanted = Object.entries(OPERATIONS)
      .filter(([, { resource }]) => resource === 'Installation')
      .map(([name]) => name);
    const proven = ['installation.setup', 'user.enrol'];
    // Its two routes enter with nothing but who asks (src/http/v1/home.ts).
    const atTheEdge = ['installation.metrics'];
    const named = [...doneAtHome.map(({ operation }) => operation), ...proven, ...atTheEdge];
    expect([...new Set<string>(named)].sort()).toEqual(wanted.toSorted());
  });
});
