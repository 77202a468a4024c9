// Which work a cell says is due, at the exact instants where it becomes due.
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Bookkeeping, Lookup } from '../../src/cell/access.ts';
import type { Row } from '../../src/cell/sql.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { insertRows, look as lookAt } from '../kit/stored-rows.ts';
import { changing, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
let grant: Row;
let now: number;

const insert = (table: string, ...rows: readonly object[]) => insertRows(tenant, table, ...rows);
const look = <T>(at: (lookup: Lookup, view: TenantJob) => T): T => lookAt(tenant, at);

const aGrant = (id: string, refreshDueAt: number | null = null) => ({
  ...grant,
  id,
  name: id,
  kind: 'oauth2',
  connector: id,
  refresh_due_at: refreshDueAt,
  review_due_at: null,
});

const aRun = (credentialId: string, change: object = {}) => ({
  id: `run_${credentialId}`,
  credential_id: credentialId,
  kind: 'refresh',
  trigger: 'schedule',
  requested_by: 'scheduler',
  state: 'open',
  step: 'waiting',
  generation: 1,
  attempts: 1,
  lost_answers: 0,
  fence: 1,
  lease_until: 0,
  lease_owner: '',
  next_attempt_at: now,
  started_at: now,
  ...change,
});

const aLink = (expiresAt: number) => ({
  id: `con_${expiresAt}`,
  credential_id: grant['id'],
  state: 'open',
  link_hash: new Uint8Array(32),
  attempt: 0,
  request: '{}',
  created_at: now,
  created_by: 'usr_a',
  expires_at: expiresAt,
});

beforeEach(async () => {
  tenant = await testTenant();
  await putKey(tenant, 'key', 'not-a-real-secret');
  grant = tenant.sql.get<Row>('SELECT * FROM credential') as Row;
  now = tenant.clock.now();
});

describe('a refresh', () => {
  const due = (maxRows = 100) => look((lookup, { runs }) => runs.dueForRefresh(lookup, now, maxRows).map(({ id }) => id));

  it('is due for an open run whose lease ended, or ends later than any lease that is given at this time', async () => {
    const leases = { ended: now, held: now + 1, longest: now + LIMITS.leaseMs, impossible: now + LIMITS.leaseMs + 1 };
    for (const [name, until] of Object.entries(leases)) {
      await insert('credential', aGrant(name));
      await insert('run', aRun(name, { lease_until: until }));
    }
    expect(due().sort()).toEqual(['ended', 'impossible']);
  });

  it('is due at its next attempt, or if that is later than any that is planned at this time', async () => {
    const last = now + LIMITS.refreshWaitMaxMs;
    const attempts = { past: now - 1, present: now, next: now + 1, last, impossible: last + 1 };
    for (const [name, at] of Object.entries(attempts)) {
      await insert('credential', aGrant(name));
      await insert('run', aRun(name, { next_attempt_at: at }));
    }
    expect(due()).toEqual(['past', 'present', 'impossible']);
    expect(due(2)).toEqual(['past', 'present']);
  });

  it('is due for a credential without an open run at its time, and never more of them than asked for', async () => {
    await insert('credential', aGrant('late', now - 1), aGrant('present', now), aGrant('next', now + 1), aGrant('running', now));
    await insert('run', aRun('running', { next_attempt_at: now + 1 }));
    await insert('run', aRun('present', { state: 'succeeded', next_attempt_at: null }));
    expect(due()).toEqual(['late', 'present']);
    expect(due(1)).toEqual(['late']);
  });
});

describe('the next due time of a cell', () => {
  const next = () => look((lookup, { runs }) => runs.nextDueAt(lookup, now, 0));

  it('is that of a refresh, but of its run while one is open', async () => {
    await insert('credential', aGrant('crm', now + 5));
    expect(next()).toBe(now + 5);
    await insert('run', aRun('crm', { id: 'run_1', state: 'failed', next_attempt_at: null }));
    expect(next()).toBe(now + 5);
    await insert('run', aRun('crm', { id: 'run_2', next_attempt_at: now + 9 }));
    expect(next()).toBe(now + 9);
  });

  it('is that of the earliest work of any kind', async () => {
    expect(next()).toBeUndefined();
    const steps: readonly [at: number, what: string, table: string, row: (at: number) => object][] = [
      [90, 'a rotation by schedule', 'credential', (at) => ({ ...aGrant('k'), kind: 'api_key', rotation_due_at: at })],
      [80, 'a review', 'credential', (at) => ({ ...aGrant('r'), review_due_at: at })],
      [70, 'an attempt of a run', 'run', (at) => aRun('r', { next_attempt_at: at })],
      [60, 'the end of a link', 'connection', aLink],
      [50, 'a refresh', 'credential', (at) => aGrant('f', at)],
    ];
    for (const [after, what, table, row] of steps) {
      await insert(table, row(now + after));
      expect(next(), what).toBe(now + after);
    }
    await insert('credential', { ...aGrant('u'), kind: 'api_key', value_expires_at: now + 40 });
    expect(next(), 'an end date of an older build').toBe(0);
  });

  it('is that of a delivery that waits, and of a rotation of keys that has not ended', async () => {
    const delivery = (id: string, state: string, nextAt: number | null) => ({
      ...{ id, webhook_id: 'whk_a', alert_id: 'alr_a', state, attempts: 0, next_attempt_at: nextAt, created_at: now },
    });
    await insert('alert', { id: 'alr_a', kind: 'test', credential_id: null, facts: '{}', at: now });
    const created = { created_at: now, created_by: 'usr_a' };
    await insert('webhook', { id: 'whk_a', url: 'https://a.example', kinds: '[]', url_bound: 1, ...created });
    await insert('delivery', delivery('dlv_1', 'delivered', null));
    expect(next()).toBeUndefined();
    await insert('delivery', delivery('dlv_2', 'waiting', now + 9), delivery('dlv_3', 'waiting', now + 7));
    expect(next()).toBe(now + 7);
    const rotation = (version: number, finishedAt: number | null, startedAt: number) => ({
      ...{ purpose: 'api_key', to_version: version, total: 1, done: 0, started_at: startedAt, finished_at: finishedAt },
    });
    await insert('key_rotation', rotation(2, now, now + 1));
    expect(next()).toBe(now + 7);
    await insert('key_rotation', rotation(3, null, now + 5), rotation(4, null, now + 6));
    expect(next()).toBe(now + 5);
  });

  it('is that of the end of an old key, and of a token that expired a day ago', async () => {
    const day = 86_400_000;
    const key = tenant.sql.get<Row>("SELECT * FROM tenant_key WHERE purpose = 'api_key'") as Row;
    const change = (changed: object) =>
      tenant.vault.submit((job) => changing(job, () => job.core.rows.of<object>('tenant_key').update({ ...key, ...changed })));
    await change({ destroy_after_at: now + 9 });
    expect(next()).toBeUndefined();
    await change({ destroy_after_at: now + 9, state: 'decrypt_only' });
    expect(next()).toBe(now + 9);
    const token = { type: 'cs', hash: new Uint8Array(32), subject_id: 'wkl_1', created_at: now, created_by: 'usr_a' };
    await insert(
      'token',
      { ...token, public_id: 'a', expires_at: now + 8 - day },
      { ...token, public_id: 'b', expires_at: now + 7 - day },
    );
    expect(next()).toBe(now + 7);
  });

  it('is for irreversible work no earlier than when the clock is steady', async () => {
    await insert('credential', { ...aGrant('gone'), state: 'deleted', destroy_after_at: now + 5 });
    const steadyFrom = (atMs: number) => look((lookup, { runs }) => runs.nextDueAt(lookup, atMs, 0));
    expect([steadyFrom(now), steadyFrom(now + 5), steadyFrom(now + 7)]).toEqual([now + 5, now + 5, now + 7]);
  });
});

describe('a key or password', () => {
  const aKey = (id: string, rotationDueAt: number | null = null) => ({
    ...aGrant(id),
    kind: 'api_key',
    rotation_due_at: rotationDueAt,
  });

  it('is due for the next attempt of its rotation, and else by its schedule', async () => {
    await insert('credential', aKey('open'), aKey('waits'), aKey('ended'), aGrant('grant'));
    await insert('credential', aKey('late', now - 1), aKey('present', now), aKey('next', now + 1));
    const rotation = (id: string, change: object = {}) => aRun(id, { kind: 'rotation', ...change });
    await insert('run', rotation('open'), rotation('waits', { next_attempt_at: now + 1 }), rotation('grant'));
    await insert('run', rotation('ended', { state: 'failed', next_attempt_at: null }));
    await insert('run', aRun('late', { id: 'run_other', kind: 'revocation' }));
    const due = (maxRows: number) =>
      look((lookup, { runs }) => runs.dueForRotation(lookup, now, true, maxRows).map(({ id, isScheduled }) => [id, isScheduled]));
    expect(due(9)).toEqual([
      ['open', false],
      ['late', true],
      ['present', true],
    ]);
    expect(due(1)).toEqual([
      ['open', false],
      ['late', true],
    ]);
  });

  it('that was replaced is due to be ended at its next attempt; the revocations of grants are due apart', async () => {
    const revocation = (id: string, credential: string, next: number) =>
      aRun(credential, { id, kind: 'revocation', generation: next, next_attempt_at: next });
    await insert('credential', aKey('pw'), aGrant('grant'));
    await insert('run', revocation('k0', 'pw', now), revocation('k1', 'pw', now - 1), revocation('k2', 'pw', now + 1));
    await insert('run', revocation('g0', 'grant', now));
    expect(look((lookup, { runs }) => runs.dueForRetirement(lookup, now, 9))).toMatchObject([{ id: 'k1' }, { id: 'k0' }]);
    expect(look((lookup, { runs }) => runs.dueForRetirement(lookup, now, 1))).toMatchObject([{ id: 'k1' }]);
    expect(look((lookup, { runs }) => runs.dueForRevocation(lookup, now, 9))).toEqual(['g0']);
    expect(look((lookup, { runs }) => runs.revocationsAfter(lookup, now - 9, 9).map(({ id }) => id))).toEqual(['g0']);
  });
});

describe('a link of a consent', () => {
  const due = (maxRows = 100) => look((lookup, { connections }) => connections.dueForExpiry(lookup, now, maxRows));

  it('expires at its instant, while it waits for its customer, oldest first', async () => {
    const at = (id: string, expiresAt: number, state = 'open') => ({
      id,
      credential_id: grant['id'],
      state,
      link_hash: new TextEncoder().encode(id.padStart(32, '.')),
      attempt: 0,
      request: '{}',
      created_at: now,
      created_by: 'usr_a',
      expires_at: expiresAt,
    });
    await insert('connection', at('present', now), at('past', now - 1), at('next', now + 1));
    await insert('connection', at('exchanging', now - 3, 'exchanging'), at('choosing', now - 2, 'choosing'));
    await insert('connection', at('connected', now - 4, 'connected'), at('failed', now - 4, 'failed'));
    expect(due()).toEqual(['exchanging', 'choosing', 'past', 'present']);
    expect(due(1)).toEqual(['exchanging']);
  });
});

describe('a review', () => {
  it('is due at its instant, or if an older build planned none for a value with an end date', async () => {
    const review = (id: string, change: object) => ({ ...aGrant(id), ...change });
    await insert('credential', review('present', { review_due_at: now }), review('past', { review_due_at: now - 1 }));
    await insert('credential', review('next', { review_due_at: now + 1 }), review('never', {}));
    const dated = { kind: 'api_key', value_expires_at: now + 9 };
    await insert('credential', review('unplanned', dated), review('grant', { ...dated, kind: 'oauth2' }));
    await insert('credential', review('gone', { ...dated, state: 'deleted' }), review('endless', { kind: 'api_key' }));
    const due = (maxRows: number) => look((lookup, { forecasts }) => forecasts.dueForReview(lookup, now, maxRows));
    expect(due(100)).toEqual(['past', 'present', 'unplanned']);
    expect(due(2)).toEqual(['past', 'present']);
    expect(due(1)).toEqual(['past']);
    expect(look((lookup, { forecasts }) => forecasts.plannedAfter(lookup, now - 1, 100)).sort()).toEqual(['next', 'present']);
    expect(look((lookup, { forecasts }) => forecasts.plannedAfter(lookup, now - 2, 1))).toHaveLength(1);
  });
});

describe('a revocation', () => {
  const aRevocation = (id: string, change: object) => aRun(String(grant['id']), { id, kind: 'revocation', ...change });

  it('is due at its next attempt, oldest first, while it is open', async () => {
    const at = (id: string, next: number | null, generation: number, change: object = {}) =>
      aRevocation(id, { next_attempt_at: next, generation, ...change });
    await insert('credential', aGrant('grant'));
    const ofGrant = { credential_id: 'grant' };
    await insert('run', at('present', now, 1, ofGrant), at('past', now - 1, 2, ofGrant), at('next', now + 1, 3, ofGrant));
    await insert('run', at('ended', null, 4, { ...ofGrant, state: 'succeeded' }), aRun('grant', { id: 'refresh' }));
    const due = (maxRows = 100) => look((lookup, { runs }) => runs.dueForRevocation(lookup, now, maxRows));
    expect(due()).toEqual(['past', 'present']);
    expect(due(1)).toEqual(['past']);
    const beyond = (atMs: number, maxRows = 100) =>
      look((lookup, { runs }) => runs.revocationsAfter(lookup, atMs, maxRows).map(({ id }) => id)).sort();
    expect([beyond(now), beyond(now - 1), beyond(now + 1)]).toEqual([['next'], ['next', 'present'], []]);
    expect(beyond(now - 9, 2)).toHaveLength(2);
    const last = (version?: number) => look((lookup, { runs }) => runs.lastRevocation(lookup, 'grant', version)?.id);
    expect([last(), last(2), last(9)]).toEqual(['ended', 'past', undefined]);
  });
});

describe('a run', () => {
  it('is under a lease while it is open, has an owner and its next attempt is no later than the end of any lease', async () => {
    const owned = { lease_owner: 'node-1' };
    const runs = {
      held: { ...owned, next_attempt_at: now + LIMITS.leaseMs },
      later: { ...owned, next_attempt_at: now + LIMITS.leaseMs + 1 },
      free: { lease_owner: '' },
      ended: { ...owned, state: 'failed', next_attempt_at: null },
    };
    for (const [name, change] of Object.entries(runs)) {
      await insert('credential', aGrant(name));
      await insert('run', aRun(name, change));
    }
    expect(look((lookup, { runs: store }) => store.leased(lookup, now).map(({ id }) => id))).toEqual(['run_held']);
  });

  it('on request tells when it ended, if it is the last of its credential that moved the current version', async () => {
    const endedAt = () => look((lookup, { runs }) => runs.requestEndedAt(lookup, 'crm'));
    const ended = (id: string, change: object) =>
      insert('run', aRun('crm', { id, state: 'succeeded', next_attempt_at: null, finished_at: now, ...change }));
    await insert('credential', aGrant('crm'), aGrant('other'));
    expect(endedAt()).toBeUndefined();
    await ended('run_1', { trigger: 'request', finished_at: now - 5 });
    expect(endedAt()).toBe(now - 5);
    await ended('run_2', { trigger: 'schedule', kind: 'revocation', started_at: now + 1 });
    await ended('run_3', { trigger: 'schedule', credential_id: 'other', started_at: now + 1 });
    await insert('run', aRun('crm', { id: 'run_4', started_at: now + 1 }));
    expect(endedAt()).toBe(now - 5);
    await ended('run_5', { trigger: 'schedule', started_at: now + 1 });
    expect(endedAt()).toBeUndefined();
  });
});

describe('what expired', () => {
  it('is purged from before an instant, and no more rows than asked for', async () => {
    const token = (id: string, expiresAt: number) => ({
      public_id: id,
      type: 'cs',
      hash: new Uint8Array(32),
      subject_id: 'wkl_1',
      created_at: now - 99,
      expires_at: expiresAt,
      created_by: 'usr_a',
    });
    const hash = (id: string) => new TextEncoder().encode(id.padStart(32, '.'));
    await insert('token', token('past', now - 1), token('older', now - 2), token('present', now));
    await insert(
      'assertion_seen',
      { jti_hash: hash('past'), expires_at: now - 1 },
      { jti_hash: hash('present'), expires_at: now },
    );
    const count = (table: string) => Number(tenant.sql.get(`SELECT count(*) AS n FROM ${table}`)?.['n']);
    const purge = (maxRows: number) =>
      tenant.vault.submit((job) => job.door.keepBooks('purge', (books) => job.core.tokens.purgeExpired(books, now, maxRows)));
    expect(look((lookup, { core }) => core.tokens.countLive(lookup, 'cs', now - 1))).toBe(1);
    expect(look((lookup, { core }) => core.tokens.countLive(lookup, 'cs', now - 2))).toBe(2);
    expect(look((lookup, { core }) => core.tokens.countLive(lookup, 'acc', 0))).toBe(0);
    expect([await purge(1), await purge(9), await purge(9), count('token')]).toEqual([1, 1, 0, 1]);
    await tenant.vault.submit((job) => job.door.keepBooks('purge', (books) => job.workloads.purgeAssertions(books, now)));
    expect(count('assertion_seen')).toBe(1);
  });
});

describe('deliveries of alerts', () => {
  const due = (maxRows = 100) => look((lookup, { alerts }) => alerts.dueDeliveries(lookup, now, maxRows).map(({ id }) => id));

  it('are due in the order of their next attempt, their age and their webhook, one of each webhook in turn', async () => {
    const webhook = (id: string) => ({
      id,
      url: 'https://a.example',
      kinds: '[]',
      created_at: now,
      created_by: 'usr_a',
      url_bound: 1,
    });
    await insert('alert', { id: 'alr_1', kind: 'test', credential_id: null, facts: '{}', at: now });
    for (const id of ['a', 'b', 'c', 'd']) await insert('webhook', webhook(id));
    const of = (webhookId: string, id: string, nextAt: number, createdAt: number) => ({
      id,
      webhook_id: webhookId,
      alert_id: 'alr_1',
      state: 'waiting',
      attempts: 0,
      next_attempt_at: nextAt,
      created_at: createdAt,
    });
    // The first turn is ordered by attempt (b), by age (d before a and c), by webhook (a before c).
    await insert(
      'delivery',
      of('a', 'id-2', now, 7),
      of('b', 'id-9', now - 1, 9),
      of('c', 'id-1', now, 7),
      of('d', 'id-5', now, 6),
    );
    await insert('delivery', of('a', 'id-3', now, 7), of('b', 'id-0', now, 1), of('d', 'id-8', now + 1, 0));
    expect(due()).toEqual(['id-9', 'id-5', 'id-2', 'id-1', 'id-0', 'id-3']);
    expect(due(3)).toEqual(['id-9', 'id-5', 'id-2']);
  });

  it('are postponed, brought forward and given up by webhook, state and instant', async () => {
    const webhook = (id: string) => ({
      id,
      url: 'https://a.example',
      kinds: '[]',
      created_at: now,
      created_by: 'usr_a',
      url_bound: 1,
    });
    await insert('alert', { id: 'alr_1', kind: 'test', credential_id: null, facts: '{}', at: now });
    await insert('alert', { id: 'alr_0', kind: 'test', credential_id: null, facts: '{}', at: now - 1 });
    for (const id of ['a', 'b']) await insert('webhook', webhook(id));
    const of = (webhookId: string, id: string, nextAt: number | null, change: object = {}) => ({
      id,
      webhook_id: webhookId,
      alert_id: 'alr_1',
      state: 'waiting',
      attempts: 0,
      next_attempt_at: nextAt,
      created_at: now,
      ...change,
    });
    await insert(
      'delivery',
      of('a', 'a1', now),
      of('a', 'a2', now + 1),
      of('b', 'b1', now),
      of('a', 'a3', null, { state: 'delivered' }),
    );
    const planned = () =>
      Object.fromEntries(
        tenant.sql
          .all<{ id: string; state: string; at: number | null }>('SELECT id, state, next_attempt_at AS at FROM delivery')
          .map(({ id, state, at }) => [id, at === null ? state : at - now]),
      );
    const inBooks = <T>(work: (job: TenantJob, books: Bookkeeping<'delivery'>) => T) =>
      tenant.vault.submit((job) => job.door.keepBooks('delivery', (books) => work(job, books)));
    const counted = () => look((lookup, { alerts }) => alerts.countWaiting(lookup));
    const isAfter = (atMs: number) => look((lookup, { alerts }) => alerts.hasDeliveryAfter(lookup, atMs));
    expect([counted(), isAfter(now), isAfter(now + 1)]).toEqual([3, true, false]);
    await inBooks((job, books) => job.alerts.postpone(books, 'a', now, now + 50));
    expect(planned()).toEqual({ a1: 50, a2: 1, b1: 0, a3: 'delivered' });
    expect(await inBooks((job, books) => job.alerts.bringForward(books, now + 1, now - 7, 9))).toBe(1);
    expect(planned()).toEqual({ a1: -7, a2: 1, b1: 0, a3: 'delivered' });
    const giveUp = (createdBefore?: number) =>
      tenant.vault.submit((job) => changing(job, (access) => job.alerts.giveUp(access, 'a', 'deleted', now, createdBefore)));
    expect([await giveUp(now), await giveUp(now + 1)]).toEqual([0, 2]);
    expect(planned()).toEqual({ a1: 'given_up', a2: 'given_up', b1: 0, a3: 'delivered' });
    expect(counted()).toBe(1);
    const isBefore = (atMs: number) => look((lookup, { alerts }) => alerts.hasAlertBefore(lookup, atMs));
    expect([isBefore(now), isBefore(now - 1)]).toEqual([true, false]);
    const purge = (atMs: number) =>
      tenant.vault.submit((job) => job.door.keepBooks('purge', (books) => job.alerts.purge(books, atMs, 9)));
    expect([await purge(now), Object.keys(planned()).length]).toEqual([1, 4]);
    expect([await purge(now + 1), planned()]).toEqual([1, {}]);
  });
});
