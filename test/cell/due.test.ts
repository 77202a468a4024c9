// Which work a cell says is due, at the exact instants where it becomes due.
import { beforeEach, describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup } from '../../src/cell/access.ts';
import type { Row } from '../../src/cell/sql.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { changing, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
let grant: Row;
let now: number;

/** Rows as a use case would leave them. */
const insert = (table: string, ...rows: readonly object[]) =>
  tenant.vault.submit((job) =>
    changing(job, () => {
      for (const row of rows) job.core.rows.of<object>(table).insert(row);
    }),
  );
const look = <T>(at: (lookup: Lookup, view: TenantJob) => T): T =>
  tenant.vault.lookup('test', (lookup, view) => at(lookup, view as TenantJob));

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
  const next = () => look((lookup, { runs }) => runs.nextDueAt(lookup, now));

  it('is that of a refresh, but of its run while one is open', async () => {
    await insert('credential', aGrant('crm', now + 5));
    expect(next()).toBe(now + 5);
    await insert('run', aRun('crm', { id: 'run_1', state: 'failed', next_attempt_at: null }));
    expect(next()).toBe(now + 5);
    await insert('run', aRun('crm', { id: 'run_2', next_attempt_at: now + 9 }));
    expect(next()).toBe(now + 9);
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

describe('deliveries of alerts', () => {
  const due = (maxRows = 100) => look((lookup, { alerts }) => alerts.dueDeliveries(lookup, now, maxRows).map(({ id }) => id));

  it('are due in the order of their next attempt, their age and their id, one of each webhook in turn', async () => {
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
    // The first turn is ordered by attempt (b), by age (d before a and c), by id (a after c).
    await insert(
      'delivery',
      of('a', 'id-2', now, 7),
      of('b', 'id-9', now - 1, 9),
      of('c', 'id-1', now, 7),
      of('d', 'id-5', now, 6),
    );
    await insert('delivery', of('a', 'id-3', now, 7), of('b', 'id-0', now, 1), of('d', 'id-8', now + 1, 0));
    expect(due()).toEqual(['id-9', 'id-5', 'id-1', 'id-2', 'id-0', 'id-3']);
    expect(due(3)).toEqual(['id-9', 'id-5', 'id-1']);
  });
});
