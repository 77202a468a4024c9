// Which rows each query of a tenant's stores returns: on both sides of its bounds, in its order, and no more than were asked for.
import { beforeEach, describe, expect, it } from 'vitest';
import { fail } from '../../src/base/errors.ts';
import type { Lookup } from '../../src/cell/access.ts';
import type { CredentialFilter, CredentialRow } from '../../src/cell/credentials.ts';
import type { Row } from '../../src/cell/sql.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { caughtCode } from '../kit/outcome.ts';
import { change, insertRows, look } from '../kit/stored-rows.ts';
import { putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
/** A stored credential, as a template for others. */
let model: CredentialRow;
let now: number;

const insert = (table: string, ...rows: readonly object[]) => insertRows(tenant, table, ...rows);
const ids = (rows: readonly { readonly id: string }[]) => rows.map(({ id }) => id);
/** A row whose bytes were edited in the database, which lists leave out. */
const damage = (table: string, ...damaged: readonly string[]) => {
  const column = { alert: 'facts', webhook: 'url' }[table] ?? 'cause';
  for (const id of damaged) tenant.sql.run(`UPDATE ${table} SET ${column} = coalesce(${column}, '') || ' ' WHERE id = ?`, id);
};

const aCredential = (id: string, changed: object = {}) => ({ ...model, id, name: id, review_due_at: null, ...changed });
const aGrant = (id: string, changed: object = {}) => aCredential(id, { kind: 'oauth2', connector: 'crm', ...changed });

const aRun = (id: string, credentialId: string, changed: object = {}) => ({
  id,
  credential_id: credentialId,
  kind: 'refresh',
  trigger: 'schedule',
  requested_by: 'scheduler',
  state: 'succeeded',
  step: 'stored',
  generation: 1,
  attempts: 1,
  lost_answers: 0,
  fence: 1,
  lease_until: 0,
  lease_owner: '',
  next_attempt_at: null,
  started_at: now,
  ...changed,
});

const aWebhook = (id: string, changed: object = {}) => ({
  id,
  url: 'https://a.example',
  kinds: '[]',
  created_at: now,
  created_by: 'usr_a',
  url_bound: 1,
  ...changed,
});

const anAlert = (id: string, changed: object = {}) => ({
  id,
  kind: 'test',
  credential_id: null,
  facts: '{}',
  at: now,
  ...changed,
});

const aDelivery = (id: string, changed: object = {}) => ({
  id,
  webhook_id: 'whk_a',
  alert_id: 'alr_a',
  state: 'waiting',
  attempts: 0,
  next_attempt_at: now,
  created_at: now,
  ...changed,
});

const aLink = (id: string, changed: object = {}) => ({
  id,
  credential_id: model.id,
  state: 'open',
  link_hash: new TextEncoder().encode(id.padStart(32, '.')),
  attempt: 0,
  request: '{}',
  created_at: now,
  created_by: 'usr_a',
  expires_at: now + 9,
  ...changed,
});

const TOKEN = { public_id: 'tok_a', type: 'acc', hash: new Uint8Array(32), subject_id: 'wkl_a', created_by: 'usr_a' };
const ANSWER = {
  principal_id: 'wkl_1',
  idempotency_key: 'a',
  request_hash: new Uint8Array(32),
  status: 200,
  wrapped_key: new Uint8Array(8),
  key_id: 'key_1',
  value: new Uint8Array(8),
  expires_at: 1,
};

beforeEach(async () => {
  tenant = await testTenant();
  await putKey(tenant, 'model', 'not-a-real-secret');
  model = tenant.sql.get<Row>('SELECT * FROM credential') as unknown as CredentialRow;
  now = tenant.clock.now();
});

describe('alerts', () => {
  const NEWEST = { at: Number.MAX_SAFE_INTEGER, id: '' };

  it('are listed newest first, those of one instant by id, after the mark of the last page, of all or of one credential', async () => {
    await insert('credential', aGrant('crm'));
    await insert(
      'alert',
      anAlert('alr_2'),
      anAlert('alr_1'),
      anAlert('alr_0', { at: now + 1 }),
      anAlert('alr_3', { at: now - 1 }),
    );
    await insert('alert', anAlert('alr_c', { credential_id: 'crm', at: now - 2 }));
    const list = (credential: string | undefined, before = NEWEST, maxRows = 9) =>
      look(tenant, (lookup, { alerts }) => ids(alerts.list(lookup, credential, before, maxRows)));
    expect(list(undefined)).toEqual(['alr_0', 'alr_2', 'alr_1', 'alr_3', 'alr_c']);
    expect(list(undefined, NEWEST, 2)).toEqual(['alr_0', 'alr_2']);
    expect(list(undefined, { at: now, id: 'alr_2' })).toEqual(['alr_1', 'alr_3', 'alr_c']);
    expect(list('crm')).toEqual(['alr_c']);
    expect(list('crm', { at: now - 2, id: 'alr_c' })).toEqual([]);
    damage('alert', 'alr_0', 'alr_2');
    expect(list(undefined, NEWEST, 2), 'a page is filled up in place of damaged rows').toEqual(['alr_1', 'alr_3']);
  });

  it('exist or not, damaged or not', async () => {
    await insert('alert', anAlert('alr_1'));
    const has = (id: string) => look(tenant, (lookup, { alerts }) => alerts.has(lookup, id));
    expect([has('alr_1'), has('alr_2')]).toEqual([true, false]);
    damage('alert', 'alr_1');
    expect(has('alr_1')).toBe(true);
  });

  it('are purged oldest first with their deliveries alone', async () => {
    await insert('webhook', aWebhook('whk_a'));
    await insert('alert', anAlert('alr_a', { at: now - 1 }), anAlert('alr_b', { at: now - 2 }), anAlert('alr_c'));
    await insert(
      'delivery',
      aDelivery('dlv_a'),
      aDelivery('dlv_b', { alert_id: 'alr_b' }),
      aDelivery('dlv_c', { alert_id: 'alr_c' }),
    );
    const purge = () => tenant.vault.submit((job) => job.door.keepBooks('purge', (books) => job.alerts.purge(books, now, 1)));
    const left = (table: string) => ids(tenant.sql.all<{ id: string }>(`SELECT id FROM ${table} ORDER BY id`));
    expect([await purge(), left('alert'), left('delivery')]).toEqual([1, ['alr_a', 'alr_c'], ['dlv_a', 'dlv_c']]);
    expect([await purge(), left('alert'), left('delivery')]).toEqual([1, ['alr_c'], ['dlv_c']]);
    expect([await purge(), left('alert'), left('delivery')]).toEqual([0, ['alr_c'], ['dlv_c']]);
  });
});

describe('webhooks', () => {
  it('get an alert by its kind, if they name none, or if their row is damaged', async () => {
    await insert('webhook', aWebhook('whk_all'), aWebhook('whk_one', { kinds: '["grant.ended"]', created_at: now + 1 }));
    await insert('webhook', aWebhook('whk_two', { kinds: '["test","grant.ended"]', created_at: now + 2 }));
    await insert(
      'webhook',
      aWebhook('whk_gone', { deleted_at: now }),
      aWebhook('whk_bad', { kinds: '["other"]', created_at: now + 3 }),
    );
    damage('webhook', 'whk_bad');
    const of = (kind: string) => look(tenant, (lookup, { alerts }) => alerts.webhooksFor(lookup, kind));
    expect(of('grant.ended')).toEqual(['whk_all', 'whk_one', 'whk_two', 'whk_bad']);
    expect(of('test')).toEqual(['whk_all', 'whk_two', 'whk_bad']);
    expect(look(tenant, (lookup, { alerts }) => ids(alerts.webhooks(lookup)))).toEqual(['whk_all', 'whk_one', 'whk_two']);
  });

  it('are found until they are deleted', async () => {
    await insert('webhook', aWebhook('whk_a'), aWebhook('whk_b'));
    const find = (id: string) => look(tenant, (lookup, { alerts }) => alerts.findWebhook(lookup, id));
    const found = find('whk_a');
    expect([found?.id, find('whk_x')]).toEqual(['whk_a', undefined]);
    await change(tenant, (access, { alerts }) => found !== undefined && alerts.deleteWebhook(access, found, now + 3));
    expect([find('whk_a'), find('whk_b')?.deleted_at]).toEqual([undefined, null]);
    expect(tenant.sql.get('SELECT deleted_at FROM webhook WHERE id = ?', 'whk_a')).toEqual({ deleted_at: now + 3 });
  });
});

describe('deliveries', () => {
  beforeEach(async () => {
    await insert('alert', anAlert('alr_a'));
    await insert('webhook', aWebhook('whk_a'), aWebhook('whk_b'));
  });

  it('of a webhook are listed newest first, those of one instant by id, after the mark of the last page', async () => {
    await insert('delivery', aDelivery('dlv_2'), aDelivery('dlv_1'), aDelivery('dlv_0', { created_at: now + 1 }));
    await insert('delivery', aDelivery('dlv_3', { created_at: now - 1 }), aDelivery('dlv_b', { webhook_id: 'whk_b' }));
    const list = (before = { at: now + 9, id: '' }, maxRows = 9) =>
      look(tenant, (lookup, { alerts }) => ids(alerts.deliveries(lookup, 'whk_a', before, maxRows)));
    expect(list()).toEqual(['dlv_0', 'dlv_2', 'dlv_1', 'dlv_3']);
    expect(list({ at: now, id: 'dlv_2' }, 1)).toEqual(['dlv_1']);
    damage('delivery', 'dlv_0', 'dlv_2');
    expect(list(undefined, 2), 'a page is filled up in place of damaged rows').toEqual(['dlv_1', 'dlv_3']);
  });

  it('keep what became of them', async () => {
    await insert('delivery', aDelivery('dlv_1'), aDelivery('dlv_2'));
    const find = (id: string) => look(tenant, (lookup, { alerts }) => alerts.findDelivery(lookup, id));
    const found = find('dlv_1');
    const ended = { state: 'delivered', attempts: 3, next_attempt_at: null, cause: 'ok', finished_at: now } as const;
    await change(tenant, (access, { alerts }) => found !== undefined && alerts.saveDelivery(access, { ...found, ...ended }));
    expect(find('dlv_1')).toMatchObject(ended);
    expect([find('dlv_2')?.state, find('dlv_3')]).toEqual(['waiting', undefined]);
  });

  it('of one webhook are postponed in parts, so that no call takes long', async () => {
    const many = Array.from({ length: 501 }, (_, n) => aDelivery(`dlv_${n}`));
    await insert('delivery', ...many);
    const postpone = async () => {
      await tenant.vault.submit((job) =>
        job.door.keepBooks('delivery', (books) => job.alerts.postpone(books, 'whk_a', now, now + 50)),
      );
      return look(tenant, (lookup, { alerts }) => alerts.dueDeliveries(lookup, now, 999).length);
    };
    expect([await postpone(), await postpone()]).toEqual([1, 0]);
  });
});

describe('connections', () => {
  it('of a credential are listed newest first, those of one instant by id, after the mark of the last page', async () => {
    await insert('credential', aGrant('other'));
    await insert('connection', aLink('con_2'), aLink('con_1'), aLink('con_0', { created_at: now + 1 }));
    await insert('connection', aLink('con_3', { created_at: now - 1 }), aLink('con_o', { credential_id: 'other' }));
    const list = (mark = { createdAt: now + 9, id: '' }, maxRows = 9) =>
      look(tenant, (lookup, store) => ids(store.connections.list(lookup, model.id, mark, maxRows)));
    expect(list()).toEqual(['con_0', 'con_2', 'con_1', 'con_3']);
    expect(list({ createdAt: now, id: 'con_2' }, 1)).toEqual(['con_1']);
    damage('connection', 'con_0', 'con_2');
    expect(list(undefined, 2), 'a page is filled up in place of damaged rows').toEqual(['con_1', 'con_3']);
  });

  it('have a usable link until it expires, unless they are final or an account is being chosen', async () => {
    const states = ['open', 'exchanging', 'choosing', 'declined', 'failed', 'connected', 'cancelled', 'expired'];
    await insert('credential', aGrant('other'));
    await insert('connection', ...states.map((state) => aLink(`con_${state}`, { state })));
    await insert('connection', aLink('con_past', { expires_at: now }), aLink('con_next', { expires_at: now + 1 }));
    await insert('connection', aLink('con_other', { credential_id: 'other' }));
    const ask = (name: 'usable' | 'unfinished') =>
      look(tenant, (lookup, store) => ids(store.connections[name](lookup, model.id, now)).sort());
    const usable = ['con_declined', 'con_exchanging', 'con_failed', 'con_next', 'con_open'];
    expect(ask('usable')).toEqual(usable);
    expect(ask('unfinished')).toEqual([...usable, 'con_choosing'].sort());
  });
});

describe('credentials', () => {
  const list = (filter: Partial<CredentialFilter>, afterName = '', maxRows = 99) =>
    look(tenant, (lookup, { credentials }) =>
      credentials
        .list(lookup, { environmentId: model.environment_id, nowMs: now, deleted: false, ...filter }, afterName, maxRows)
        .rows.map(({ name }) => name),
    );

  it('are listed by name, after the last name of a page, without those that are deleted', async () => {
    const production = tenant.sql.get<{ id: string }>("SELECT id FROM environment WHERE name = 'production'")?.id;
    await insert(
      'credential',
      aCredential('b'),
      aCredential('a'),
      aCredential('c'),
      aCredential('d', { environment_id: production }),
    );
    await insert('credential', aCredential('gone', { state: 'deleted' }), aCredential('void', { state: 'destroyed' }));
    expect([list({}), list({}, 'b'), list({}, '', 2)]).toEqual([
      ['a', 'b', 'c', 'model'],
      ['c', 'model'],
      ['a', 'b'],
    ]);
    expect([list({ deleted: true }), list({ deleted: true }, 'gone')]).toEqual([['gone'], []]);
    tenant.sql.run("UPDATE credential SET description = 'x' WHERE name IN ('a', 'b')");
    expect(list({}, '', 2), 'a page is filled up in place of damaged rows').toEqual(['c', 'model']);
  });

  it('are found by kind, health, end, label and text, and by all of them together', async () => {
    const dated = (id: string, endsAt: number, changed: object = {}) => aCredential(id, { value_expires_at: endsAt, ...changed });
    await insert(
      'credential',
      aGrant('grant'),
      aGrant('dead', { health: 'needs_consent' }),
      aGrant('short', { value_expires_at: now - 1 }),
    );
    await insert('credential', dated('ended', now - 1), dated('ends', now), dated('ends-later', now + 1));
    await insert('credential', aCredential('weak', { health: 'degraded' }), dated('weak-and-ended', now, { health: 'degraded' }));
    await insert(
      'credential',
      aCredential('tagged', { labels: '{"team":"billing","note":"core"}', description: 'Pays THE bills' }),
    );
    await insert('credential', aCredential('gone', { state: 'deleted', health: 'degraded', value_expires_at: now }));
    await insert('credential', aCredential('gone-later', { state: 'deleted', value_expires_at: now + 1 }));
    expect(list({ kind: 'oauth2' })).toEqual(['dead', 'grant', 'short']);
    expect(list({ health: 'needs_consent' })).toEqual(['dead']);
    expect(list({ health: 'degraded' })).toEqual(['weak']);
    expect(list({ health: 'expired' })).toEqual(['ended', 'ends', 'weak-and-ended']);
    expect(list({ health: 'ready' })).toEqual(['ends-later', 'grant', 'model', 'short', 'tagged']);
    expect(list({ health: 'ready', kind: 'oauth2' })).toEqual(['grant', 'short']);
    expect(list({ health: 'expired', kind: 'oauth2' })).toEqual([]);
    expect(list({ deleted: true, kind: 'oauth2' })).toEqual([]);
    expect(list({ deleted: true, health: 'expired' })).toEqual(['gone']);
    expect(list({ label: { name: 'team', value: 'billing' } })).toEqual(['tagged']);
    expect([list({ label: { name: 'team', value: 'core' } }), list({ label: { name: 'note', value: 'billing' } })]).toEqual([
      [],
      [],
    ]);
    expect([list({ text: 'the bills' }), list({ text: 'end' }), list({ text: '%' })]).toEqual([
      ['tagged'],
      ['ended', 'ends', 'ends-later', 'weak-and-ended'],
      [],
    ]);
    expect(list({ text: 'end', health: 'ready' })).toEqual(['ends-later']);
  });

  it('say up to which name they were read, while there may be more', async () => {
    await insert('credential', ...Array.from({ length: 3 }, (_, n) => aCredential(`c${n}`)));
    const read = look(tenant, (lookup, { credentials }) =>
      credentials.list(lookup, { environmentId: model.environment_id, nowMs: now, deleted: false }, '', 2),
    );
    expect(read.scannedTo).toBeUndefined();
  });

  it('have one name each, in upper or lower case, in an environment, until they are destroyed', async () => {
    const production = tenant.sql.get<{ id: string }>("SELECT id FROM environment WHERE name = 'production'")?.id ?? '';
    const put = (id: string, changed: Partial<CredentialRow> = {}) =>
      change(tenant, (access, { credentials }) =>
        caughtCode(() => credentials.insert(access, { ...aCredential(id), ...changed })),
      );
    expect(await put('Model')).toBe('conflict');
    expect(await put('MODEL', { environment_id: production })).toBe('ok');
    await insert('credential', aCredential('Old', { state: 'destroyed' }), aCredential('Gone', { state: 'deleted' }));
    expect([await put('old'), await put('gone')]).toEqual(['ok', 'conflict']);
  });

  it('that need a new consent are counted: live grants that were connected once', async () => {
    const needing = { health: 'needs_consent', health_cause: 'invalid_grant' };
    await insert('credential', aGrant('dead', needing), aGrant('silent', { ...needing, health_cause: null }));
    await insert('credential', aGrant('new', { ...needing, health_cause: 'not_connected_yet' }), aGrant('live'));
    await insert('credential', aCredential('key', needing), aGrant('gone', { ...needing, state: 'deleted' }));
    expect(look(tenant, (lookup, { credentials }) => credentials.countNeedingConsent(lookup))).toBe(2);
  });

  it('that were deleted are due for destruction at their instant', async () => {
    const deleted = (id: string, at: number | null, state = 'deleted') => aCredential(id, { state, destroy_after_at: at });
    await insert(
      'credential',
      deleted('past', now - 1),
      deleted('present', now),
      deleted('next', now + 1),
      deleted('kept', null),
    );
    await insert('credential', deleted('back', now - 1, 'active'));
    const due = (maxRows: number) =>
      look(tenant, (lookup, { credentials }) => ids(credentials.dueForDestruction(lookup, now, maxRows)));
    expect([due(9).sort(), due(1).length]).toEqual([['past', 'present'], 1]);
  });
});

describe('versions of a credential', () => {
  const aVersion = (version: number, credentialId = model.id) => ({
    ...tenant.sql.get<Row>('SELECT * FROM credential_version WHERE version = 1'),
    credential_id: credentialId,
    version,
  });
  const kept = (credentialId = model.id) =>
    tenant.sql
      .all<{ version: number }>('SELECT version FROM credential_version WHERE credential_id = ? ORDER BY version', credentialId)
      .map(({ version }) => version);

  beforeEach(async () => {
    await insert('credential', aCredential('other'));
    await insert('credential_version', ...[2, 3, 4, 5, 6, 7, 8].map((version) => aVersion(version)), aVersion(1, 'other'));
  });

  it('are listed newest first, before a version, without their bytes', () => {
    const list = (before: number, maxRows = 99) =>
      look(tenant, (lookup, { credentials }) => credentials.versions(lookup, model.id, before, maxRows));
    expect(list(99).map(({ version }) => version)).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
    expect(list(4, 2).map(({ version }) => version)).toEqual([3, 2]);
    expect(Object.keys(list(99)[0] ?? {})).not.toEqual(expect.arrayContaining(['value']));
    tenant.sql.run('UPDATE credential_version SET created_at = created_at + 1 WHERE version IN (8, 7)');
    expect(
      list(99, 2).map(({ version }) => version),
      'a page is filled up in place of damaged rows',
    ).toEqual([6, 5]);
  });

  it('are found one by one, with and without their bytes', () => {
    const found = look(tenant, (lookup, { credentials }) => credentials.findVersionMetadata(lookup, model.id, 3));
    expect(found).toMatchObject({ credential_id: model.id, version: 3 });
    expect(found).not.toHaveProperty('value');
    expect(found).not.toHaveProperty('wrapped_key');
    expect(found).not.toHaveProperty('retained');
    expect(look(tenant, (lookup, { credentials }) => credentials.findVersionMetadata(lookup, model.id, 9))).toBeUndefined();
  });

  it('are pruned to the newest, except those with a label or with an open revocation', async () => {
    const revocation = (id: string, generation: number, changed: object = {}) =>
      aRun(id, model.id, { kind: 'revocation', state: 'open', generation, next_attempt_at: now, ...changed });
    await insert('run', revocation('run_1', 1), revocation('run_2', 2, { state: 'succeeded', next_attempt_at: null }));
    await insert(
      'run',
      revocation('run_3', 3, { credential_id: 'other' }),
      aRun('run_4', model.id, { state: 'open', generation: 2 }),
    );
    const prune = (row: Partial<CredentialRow>) =>
      change(tenant, (access, { credentials }) => credentials.pruneVersions(access, { ...model, latest_version: 8, ...row }, 2));
    await prune({ current_version: 8, previous_version: 5, pending_version: 4 });
    expect(kept()).toEqual([1, 4, 5, 7, 8]);
    await prune({ current_version: 8, previous_version: null, pending_version: null });
    expect([kept(), kept('other')]).toEqual([[1, 7, 8], [1]]);
  });

  it('are destroyed together, and those of no other credential', async () => {
    expect(await change(tenant, (access, { credentials }) => credentials.dropVersions(access, model.id))).toBe(8);
    expect([kept(), kept('other')]).toEqual([[], [1]]);
  });
});

describe('ends of grants', () => {
  const NONE = { endsAt: 0, id: '' };

  it('are listed soonest first, after the mark of the last page, through an instant', async () => {
    const production = tenant.sql.get<{ id: string }>("SELECT id FROM environment WHERE name = 'production'")?.id;
    const ending = (id: string, at: number, changed: object = {}) => aGrant(id, { grant_ends_at: at, ...changed });
    await insert('credential', ending('b', now), ending('a', now), ending('later', now + 2), ending('soon', now - 1));
    await insert(
      'credential',
      ending('far', now, { environment_id: production }),
      ending('gone', now, { state: 'deleted' }),
      aGrant('endless'),
    );
    const list = (environment: string | undefined, after = NONE, through = now + 2, maxRows = 99) =>
      look(tenant, (lookup, { forecasts }) => ids(forecasts.endingSoonest(lookup, environment, after, through, maxRows)));
    expect(list(undefined)).toEqual(['soon', 'a', 'b', 'far', 'later']);
    expect(list(model.environment_id)).toEqual(['soon', 'a', 'b', 'later']);
    expect(list(undefined, { endsAt: now, id: 'a' })).toEqual(['b', 'far', 'later']);
    expect(list(undefined, NONE, now + 1, 2)).toEqual(['soon', 'a']);
    expect(list(undefined, NONE, now)).toEqual(['soon', 'a', 'b', 'far']);
  });

  it('that were reached are listed longest ended first, without grants that were never connected', async () => {
    const production = tenant.sql.get<{ id: string }>("SELECT id FROM environment WHERE name = 'production'")?.id;
    const ended = (id: string, since: number, changed: object = {}) =>
      aGrant(id, { health: 'needs_consent', health_since: since, health_cause: 'invalid_grant', ...changed });
    await insert('credential', ended('b', now), ended('a', now), ended('old', now - 1, { health_cause: null }));
    await insert(
      'credential',
      ended('new', now, { health_cause: 'not_connected_yet' }),
      ended('far', now, { environment_id: production }),
    );
    await insert('credential', ended('gone', now, { state: 'deleted' }), ended('key', now, { kind: 'api_key' }), aGrant('live'));
    const list = (environment: string | undefined, after = NONE, maxRows = 99) =>
      look(tenant, (lookup, { forecasts }) => ids(forecasts.endedAlready(lookup, environment, after, maxRows)));
    expect(list(undefined)).toEqual(['old', 'a', 'b', 'far']);
    expect(list(model.environment_id)).toEqual(['old', 'a', 'b']);
    expect([list(undefined, { endsAt: now, id: 'a' }), list(undefined, NONE, 1)]).toEqual([['b', 'far'], ['old']]);
  });

  it('are shared by the live grants of one client and account, which are counted from a number on', async () => {
    const of = (id: string, client: string, account: string | null, changed: object = {}) =>
      aGrant(id, {
        config: JSON.stringify({ client_id: client }),
        grant_facts: account === null ? '{}' : JSON.stringify({ account }),
        ...changed,
      });
    await insert('credential', of('two', 'c1', 'a1', { created_at: now + 2 }), of('one', 'c1', 'a1', { created_at: now + 1 }));
    await insert('credential', of('weak', 'c1', 'a2', { health: 'degraded' }), of('c2', 'c2', 'a1'), of('none', 'c1', null));
    await insert('credential', of('dead', 'c1', 'a1', { health: 'needs_consent' }), of('gone', 'c1', 'a1', { state: 'deleted' }));
    await insert('credential', of('key', 'c1', 'a1', { kind: 'api_key' }), of('else', 'c1', 'a1', { connector: 'erp' }));
    const count = (atLeast: number) =>
      look(tenant, (lookup, { forecasts }) =>
        forecasts
          .grantsByAccount(lookup, 'crm', atLeast)
          .map((found) => [found.client_id, found.account, found.count, found.oldest]),
      );
    expect(count(2)).toEqual([['c1', 'a1', 2, 'one']]);
    expect(count(1).sort()).toEqual([
      ['c1', 'a1', 2, 'one'],
      ['c1', 'a2', 1, 'weak'],
      ['c2', 'a1', 1, 'c2'],
    ]);
    expect(count(3)).toEqual([]);
    const ofClient = (client: string) =>
      look(tenant, (lookup, { forecasts }) => forecasts.liveGrantsOfClient(lookup, client).sort());
    expect([ofClient('c1'), ofClient('c2'), ofClient('c3')]).toEqual([['else', 'none', 'one', 'two', 'weak'], ['c2'], []]);
  });
});

describe('runs of a credential', () => {
  it('are listed newest first, those of one instant last begun first, before an instant', async () => {
    await insert('credential', aGrant('crm'), aGrant('other'));
    await insert('run', aRun('run_1', 'crm'), aRun('run_2', 'crm'), aRun('run_3', 'crm', { started_at: now + 1 }));
    await insert('run', aRun('run_4', 'crm', { started_at: now - 1 }), aRun('run_5', 'other'));
    const list = (before = now + 9, maxRows = 99) =>
      look(tenant, (lookup, { runs }) => ids(runs.list(lookup, 'crm', before, maxRows)));
    expect([list(), list(now + 1, 1), list(now)]).toEqual([['run_3', 'run_2', 'run_1', 'run_4'], ['run_2'], ['run_4']]);
    damage('run', 'run_3');
    expect(list(undefined, 1), 'a page is filled up in place of damaged rows').toEqual(['run_2']);
  });

  it('are found, or are not there', async () => {
    await insert('credential', aGrant('crm'), aGrant('other'));
    await insert('run', aRun('run_1', 'crm', { state: 'open', next_attempt_at: now }), aRun('run_2', 'other'));
    await insert('run', aRun('run_3', 'other', { kind: 'revocation', state: 'open', next_attempt_at: now }));
    look(tenant, (lookup, { runs }) => {
      expect([runs.get(lookup, 'run_2').id, runs.find(lookup, 'run_9')]).toEqual(['run_2', undefined]);
      expect(() => runs.get(lookup, 'run_9')).toThrow(expect.objectContaining({ code: 'not_found' }));
      expect([runs.findOpen(lookup, 'crm')?.id, runs.findOpen(lookup, 'other')]).toEqual(['run_1', undefined]);
    });
  });

  it('end for one version or another: the last revocation, begun last among those of one instant', async () => {
    const revocation = (id: string, generation: number, changed: object = {}) =>
      aRun(id, 'crm', { kind: 'revocation', generation, ...changed });
    await insert('credential', aGrant('crm'), aGrant('other'));
    await insert('run', revocation('run_1', 1), revocation('run_2', 2), revocation('run_0', 2, { started_at: now - 1 }));
    await insert(
      'run',
      aRun('run_9', 'crm', { started_at: now + 9 }),
      revocation('run_8', 2, { credential_id: 'other', started_at: now + 9 }),
    );
    const last = (version?: number) => look(tenant, (lookup, { runs }) => runs.lastRevocation(lookup, 'crm', version)?.id);
    expect([last(), last(1), last(2), last(3)]).toEqual(['run_2', 'run_1', 'run_2', undefined]);
  });

  it('on request tell when they ended, by the last begun of one instant', async () => {
    await insert('credential', aGrant('crm'));
    await insert('run', aRun('run_1', 'crm', { trigger: 'schedule', finished_at: now }));
    await insert('run', aRun('run_2', 'crm', { trigger: 'request', finished_at: now + 5 }));
    const endedAt = () => look(tenant, (lookup, { runs }) => runs.requestEndedAt(lookup, 'crm'));
    expect(endedAt()).toBe(now + 5);
    await insert('run', aRun('run_3', 'crm', { trigger: 'request', finished_at: null }));
    expect(endedAt()).toBeUndefined();
  });

  it('are due for a grant whose current version is from the future', async () => {
    const version = tenant.sql.get<Row>('SELECT * FROM credential_version WHERE version = 1');
    const stored = async (id: string, createdAt: number, changed: object = {}) => {
      await insert('credential', aGrant(id, { refresh_due_at: now, current_version: 2, ...changed }));
      await insert('credential_version', { ...version, credential_id: id, version: 1, created_at: now + 9 });
      await insert('credential_version', { ...version, credential_id: id, version: 2, created_at: createdAt });
    };
    await stored('past', now);
    await stored('ahead', now + 1);
    await stored('further', now + 2);
    await stored('gone', now + 1, { state: 'deleted' });
    await stored('still', now + 1, { refresh_due_at: null });
    const stale = (maxRows: number) => look(tenant, (lookup, { runs }) => ids(runs.storedAfter(lookup, now, maxRows)).sort());
    expect([stale(9), stale(1).length]).toEqual([['ahead', 'further'], 1]);
  });
});

describe('the journal of a run', () => {
  const journal = (step: string, status: string, at: number, evidence?: string) =>
    change(tenant, (access, { runs }) =>
      runs.journal(access, 'run_1', { step, status, at, ...(evidence === undefined ? {} : { evidence }) }),
    );
  const ask = <T>(of: 'firstStepAt' | 'firstIntentAt', step = 'intent') =>
    look(tenant, (lookup, { runs }) =>
      of === 'firstIntentAt' ? runs.firstIntentAt(lookup, 'run_1') : runs.firstStepAt(lookup, 'run_1', step),
    ) as T;

  beforeEach(async () => {
    await insert('credential', aGrant('crm'));
    await insert('run', aRun('run_1', 'crm'), aRun('run_2', 'crm'));
    await change(tenant, (access, { runs }) => runs.journal(access, 'run_2', { step: 'other', status: 'x', at: now }));
    await journal('intent', 'first', now + 1);
    await journal('intent', 'again', now + 2);
    await journal('intent', 'first', now + 3, '{"error":"no"}');
    await journal('intent', 'again', now + 4);
    await journal('answered', 'first', now + 5);
  });

  it('is numbered from one on for each run, in the order of its steps', () => {
    const steps = look(tenant, (lookup, { runs }) => runs.steps(lookup, 'run_1'));
    expect(steps.map(({ sequence, step, status, at }) => [sequence, step, status, at - now])).toEqual([
      [1, 'intent', 'first', 1],
      [2, 'intent', 'again', 2],
      [3, 'intent', 'first', 3],
      [4, 'intent', 'again', 4],
      [5, 'answered', 'first', 5],
    ]);
    expect(steps.map(({ evidence }) => evidence)).toEqual([null, null, '{"error":"no"}', null, null]);
    expect(look(tenant, (lookup, { runs }) => runs.steps(lookup, 'run_2')).map(({ sequence }) => sequence)).toEqual([1]);
  });

  it('tells when a step was reached first, and when the current generation was sent first', () => {
    expect([ask('firstStepAt'), ask('firstStepAt', 'answered'), ask('firstStepAt', 'stored')]).toEqual([
      now + 1,
      now + 5,
      undefined,
    ]);
    expect(ask('firstIntentAt')).toBe(now + 3);
    expect(look(tenant, (lookup, { runs }) => runs.firstIntentAt(lookup, 'run_2'))).toBeUndefined();
  });

  it.each([1, 3, 5])('is refused as a whole when step %i was deleted', (sequence) => {
    tenant.sql.run('DELETE FROM run_step WHERE run_id = ? AND sequence = ?', 'run_1', sequence);
    for (const of of ['firstStepAt', 'firstIntentAt'] as const) expect(caughtCode(() => ask(of))).toBe('integrity');
    expect(look(tenant, (lookup, { runs }) => runs.steps(lookup, 'run_1')).length).toBe(4);
  });
});

describe('tokens', () => {
  const aToken = (id: string, changed: object = {}) => ({
    ...TOKEN,
    public_id: id,
    subject_id: 'wkl_1',
    created_at: now,
    expires_at: now + 9,
    ...changed,
  });

  it('of a subject are listed oldest first, and counted by type while they live', async () => {
    await insert(
      'token',
      aToken('b'),
      aToken('a'),
      aToken('old', { created_at: now - 1 }),
      aToken('other', { subject_id: 'wkl_2' }),
    );
    await insert(
      'token',
      aToken('past', { expires_at: now }),
      aToken('revoked', { revoked_at: now }),
      aToken('secret', { type: 'cs' }),
    );
    const of = (subject: string) =>
      look(tenant, (lookup, { core }) => core.tokens.listBySubject(lookup, subject).map((row) => row.public_id));
    expect(of('wkl_1')).toEqual(['old', 'a', 'b', 'past', 'revoked', 'secret']);
    expect(look(tenant, (lookup, { core }) => core.tokens.countLive(lookup, 'acc', now))).toBe(4);
    expect(look(tenant, (lookup, { core }) => core.tokens.countLive(lookup, 'cs', now))).toBe(1);
  });

  it('are revoked once, one by one or by origin, and each time the caches are told', async () => {
    const origin = 'cs_1';
    await insert(
      'token',
      aToken('a', { origin }),
      aToken('b', { origin: 'cs_2' }),
      aToken('c', { origin }),
      aToken('d', { origin, revoked_at: now - 5 }),
    );
    await insert('token', aToken('x', { origin, subject_id: 'wkl_2' }));
    let told = 0;
    look(tenant, (_lookup, { core }) =>
      core.tokens.whenRevoked(() => {
        told += 1;
      }),
    );
    const revoked = () =>
      Object.fromEntries(
        tenant.sql
          .all<{ id: string; at: number | null }>('SELECT public_id AS id, revoked_at AS at FROM token ORDER BY id')
          .map(({ id, at }) => [id, at === null ? 'live' : at - now]),
      );
    const revoke = (id: string, at: number) => change(tenant, (access, { core }) => core.tokens.revoke(access, id, at));
    expect((await revoke('a', now + 1)).revoked_at).toBe(now + 1);
    expect((await revoke('a', now + 2)).revoked_at).toBe(now + 1);
    expect([told, revoked()]).toEqual([1, { a: 1, b: 'live', c: 'live', d: -5, x: 'live' }]);
    await expect(revoke('none', now)).rejects.toMatchObject({ code: 'not_found' });
    const all = (from?: string) => change(tenant, (access, { core }) => core.tokens.revokeAllOf(access, 'wkl_1', now + 3, from));
    expect([await all(origin), revoked()]).toEqual([1, { a: 1, b: 'live', c: 3, d: -5, x: 'live' }]);
    expect([await all(), revoked(), await all()]).toEqual([1, { a: 1, b: 3, c: 3, d: -5, x: 'live' }, 0]);
    expect(told).toBe(3);
  });

  it('and workloads keep when they were used last, each its own', async () => {
    await insert('token', aToken('a'), aToken('b'));
    await insert('workload', aWorkload('wkl_a'), aWorkload('wkl_b'));
    await tenant.vault.submit((job) =>
      job.door.keepBooks('authentication', (books) => {
        job.core.tokens.markUsed(books, 'a', now + 7);
        job.workloads.markUsed(books, 'wkl_a', now + 8);
      }),
    );
    const used = (table: string, id: string) =>
      tenant.sql.all(`SELECT ${id} AS id, last_used_at AS at FROM ${table} ORDER BY id`);
    expect(used('token', 'public_id')).toEqual([
      { id: 'a', at: now + 7 },
      { id: 'b', at: null },
    ]);
    expect(used('workload', 'id')).toEqual([
      { id: 'wkl_a', at: now + 8 },
      { id: 'wkl_b', at: null },
    ]);
    expect(
      look(tenant, (lookup, { core }) => core.tokens.find(lookup, 'a')?.last_used_at),
      'it is outside the MAC',
    ).toBe(now + 7);
  });
});

const aWorkload = (id: string, changed: object = {}) => ({
  id,
  name: id,
  environment: 'staging',
  patterns: '["*"]',
  permissions: '["read"]',
  networks: '[]',
  jwks: null,
  revision: 1,
  created_at: now,
  created_by: 'usr_a',
  expires_at: now + 9,
  ...changed,
});

describe('workloads', () => {
  it('are listed by name, those of one name by id, after the mark of the last page', async () => {
    const past = { name: 'b', revoked_at: now };
    await insert(
      'workload',
      aWorkload('wkl_3', { name: 'b' }),
      aWorkload('wkl_2', past),
      aWorkload('wkl_1', past),
      aWorkload('wkl_0', { name: 'c' }),
    );
    const list = (after: string, maxRows = 9) =>
      look(tenant, (lookup, { workloads }) => ids(workloads.list(lookup, after, maxRows)));
    expect(list('')).toEqual(['wkl_1', 'wkl_2', 'wkl_3', 'wkl_0']);
    expect([list('b\nwkl_2'), list('b\nwkl_1', 1), list('c')]).toEqual([['wkl_3', 'wkl_0'], ['wkl_2'], ['wkl_0']]);
    tenant.sql.run("UPDATE workload SET patterns = '[]' WHERE id IN ('wkl_1', 'wkl_2')");
    expect(list('', 1), 'a page is filled up in place of damaged rows').toEqual(['wkl_3']);
  });

  it('are found by id, or by the name of one that is not revoked; names of all are known', async () => {
    await insert('workload', aWorkload('wkl_1', { name: 'sync', revoked_at: now }), aWorkload('wkl_2', { name: 'sync' }));
    await insert('workload', aWorkload('wkl_3', { name: 'old', revoked_at: now }));
    look(tenant, (lookup, { workloads }) => {
      const find = (idOrName: string) => workloads.find(lookup, idOrName)?.id;
      expect([find('wkl_1'), find('sync'), find('old'), find('none')]).toEqual(['wkl_1', 'wkl_2', undefined, undefined]);
      expect([workloads.idsNamed(lookup, 'sync').sort(), workloads.idsNamed(lookup, 'old')]).toEqual([
        ['wkl_1', 'wkl_2'],
        ['wkl_3'],
      ]);
      expect(workloads.names(lookup, ['wkl_3', 'wkl_9', 'wkl_1'])).toEqual([
        ['wkl_3', 'old'],
        ['wkl_1', 'sync'],
      ]);
    });
  });

  it('are revoked with a new revision, and the caches are told', async () => {
    await insert('workload', aWorkload('wkl_1'));
    let told = 0;
    const row = look(tenant, (lookup, { workloads }) => {
      workloads.whenChanged(() => {
        told += 1;
      });
      return workloads.find(lookup, 'wkl_1');
    });
    const next = await change(tenant, (access, { workloads }) =>
      row === undefined ? undefined : workloads.revoke(access, row, now + 1),
    );
    expect(next).toMatchObject({ revoked_at: now + 1, revision: 2 });
    expect(look(tenant, (lookup, { workloads }) => workloads.find(lookup, 'wkl_1'))).toMatchObject({
      revoked_at: now + 1,
      revision: 2,
    });
    expect(told).toBe(1);
  });

  it('use each client assertion once, even if its row was deleted', async () => {
    const claim = (byte: number) =>
      tenant.vault.submit((job) =>
        job.door.keepBooks('authentication', (books) => job.workloads.claimAssertion(books, new Uint8Array(32).fill(byte), now)),
      );
    expect([await claim(1), await claim(2), await claim(1)]).toEqual([true, true, false]);
    tenant.sql.run('DELETE FROM assertion_seen WHERE jti_hash = ?', new Uint8Array(32).fill(1));
    await expect(claim(1)).rejects.toMatchObject({ code: 'integrity' });
  });
});

describe('kept answers', () => {
  const answer = (key: string, expiresAt: number, status = 200) => ({
    ...ANSWER,
    idempotency_key: key,
    status,
    expires_at: expiresAt,
  });

  it('are found for their caller and key, replaced by a later one, and purged in parts once they expired', async () => {
    const save = (row: ReturnType<typeof answer>) =>
      tenant.vault.submit((job) => job.door.keepBooks('idempotency', (books) => job.core.idempotency.save(books, row)));
    const purge = (maxRows: number) =>
      tenant.vault.submit((job) =>
        job.door.keepBooks('idempotency', (books) => job.core.idempotency.purgeExpired(books, now, maxRows)),
      );
    const find = (principal: string, key: string) =>
      look(tenant, (lookup, { core }) => core.idempotency.find(lookup, principal, key)?.status);
    await save(answer('a', now - 1));
    await save(answer('b', now));
    await save(answer('c', now - 2));
    await save(answer('a', now - 1, 201));
    expect([find('wkl_1', 'a'), find('wkl_1', 'b'), find('wkl_2', 'a'), find('wkl_1', 'x')]).toEqual([
      201,
      200,
      undefined,
      undefined,
    ]);
    const count = () => Number(tenant.sql.get('SELECT count(*) AS n FROM idempotency')?.['n']);
    await purge(1);
    expect(count()).toBe(2);
    await purge(9);
    expect([count(), find('wkl_1', 'b')]).toEqual([1, 200]);
  });
});

describe('a row that was deleted in the database', () => {
  it('is reported by every query that looks for one row', async () => {
    const hash = new Uint8Array(32).fill(7);
    await insert('credential', aGrant('crm'), aGrant('erp'));
    await insert('alert', anAlert('alr_a'));
    await insert('webhook', aWebhook('whk_a'));
    await insert('delivery', aDelivery('dlv_a'));
    await insert('connection', aLink('con_a', { link_hash: hash }));
    await insert('run', aRun('run_a', 'crm', { state: 'open', next_attempt_at: now }));
    await insert('workload', aWorkload('wkl_a', { name: 'sync' }));
    await insert('token', { ...TOKEN, created_at: now, expires_at: now });
    await tenant.vault.submit((job) => job.door.keepBooks('idempotency', (books) => job.core.idempotency.save(books, ANSWER)));
    const finds: Record<string, (lookup: Lookup, job: TenantJob) => unknown> = {
      'alert by id': (lookup, { alerts }) => alerts.find(lookup, 'alr_a'),
      'webhook by id': (lookup, { alerts }) => alerts.findWebhook(lookup, 'whk_a'),
      'delivery by id': (lookup, { alerts }) => alerts.findDelivery(lookup, 'dlv_a'),
      'connection by id': (lookup, { connections }) => connections.find(lookup, 'con_a'),
      'connection by link': (lookup, { connections }) => connections.findByLink(lookup, hash),
      'environment by name': (lookup, { credentials }) => credentials.findEnvironment(lookup, 'staging')?.id,
      'environment by id': (lookup, { credentials }) => credentials.environmentById(lookup, model.environment_id),
      'credential by name': (lookup, { credentials }) => credentials.find(lookup, model.environment_id, 'erp'),
      'credential by id': (lookup, { credentials }) => credentials.byId(lookup, 'erp'),
      'version by number': (lookup, { credentials }) => credentials.findVersionMetadata(lookup, model.id, 1),
      'run by id': (lookup, { runs }) => runs.find(lookup, 'run_a'),
      'open run': (lookup, { runs }) => runs.findOpen(lookup, 'crm'),
      'workload by id': (lookup, { workloads }) => workloads.find(lookup, 'wkl_a'),
      'workload by name': (lookup, { workloads }) => workloads.find(lookup, 'sync'),
      token: (lookup, { core }) => core.tokens.find(lookup, 'tok_a'),
      answer: (lookup, { core }) => core.idempotency.find(lookup, 'wkl_1', 'a'),
    };
    const outcomes = () =>
      Object.fromEntries(
        Object.entries(finds).map(([what, find]) => [
          what,
          look(tenant, (lookup, job) => caughtCode(() => find(lookup, job) ?? fail('not_found', 'nothing was found'))),
        ]),
      );
    const all = (code: string) => Object.fromEntries(Object.keys(finds).map((what) => [what, code]));
    expect(outcomes()).toEqual(all('ok'));
    const tables = ['delivery', 'alert', 'webhook', 'connection', 'run', 'credential_version', 'credential', 'environment'];
    tenant.sql.script([...tables, 'workload', 'token', 'idempotency'].map((table) => `DELETE FROM ${table};`).join('\n'));
    expect(outcomes()).toEqual(all('integrity'));
  });

  it('is not confused with one that never was', () => {
    look(tenant, (lookup, { credentials, connections, core }) => {
      expect(credentials.find(lookup, model.environment_id, 'none')).toBeUndefined();
      expect(credentials.findEnvironment(lookup, 'none')).toBeUndefined();
      expect(caughtCode(() => credentials.byId(lookup, 'none'))).toBe('not_found');
      expect(caughtCode(() => credentials.environmentById(lookup, 'none'))).toBe('not_found');
      expect(connections.find(lookup, 'none')).toBeUndefined();
      expect(connections.findByLink(lookup, new Uint8Array(32))).toBeUndefined();
      expect(core.tokens.find(lookup, 'none')).toBeUndefined();
    });
  });
});
