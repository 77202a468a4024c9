// Alerts and webhooks of a tenant: paged, bounded, authenticated, and only for roles with permission.
import { describe, expect, it } from 'vitest';
import { isReachable, judgeAddress, literalAddress } from '../../rotation/engine/egress-rules.ts';
import { createWebhook, deleteWebhook, isLoopback, listWebhooks } from '../../src/alerts/manage-webhooks.ts';
import { ALERT_KINDS, type AlertKind, describeAlert, raiseAlert } from '../../src/alerts/raise-alert.ts';
import { listAlerts, listDeliveries } from '../../src/alerts/read-alerts.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { changeHealth, type Health } from '../../src/vault/grant-health.ts';
import { rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { changing, eventsOf, putKey, testTenant } from '../kit/vaults.ts';

const SECRET = 'not-a-real-secret';

async function bench() {
  const tenant = await testTenant();
  const { vault, clock, sql } = tenant;
  for (const name of ['crm', 'erp']) await putKey(tenant, name, SECRET);
  const admin = () => tenant.user(['admin'], 'everywhere');
  const change = <T>(name: string, effect: (facts: CredentialRow, job: TenantJob) => T): Promise<T> =>
    vault.submit((job) =>
      changing(job, (access) => {
        const staging = job.credentials.findEnvironment(access, 'staging')?.id ?? '';
        const row = job.credentials.find(access, staging, name);
        if (row === undefined) throw new Error('no credential');
        const facts = { ...row };
        const result = effect(facts, job);
        job.credentials.save(access, facts);
        return result;
      }),
    );
  return {
    tenant,
    admin,
    raise: (name: string, kind: AlertKind = 'credential.degraded') =>
      change(name, (row, job) =>
        changing(job, (access) =>
          raiseAlert(job, access, { credential: row, environment: { name: 'staging' }, kind, details: { cause: 'http_5xx' } }),
        ),
      ),
    become: (name: string, health: Health, cause: string | null = null) =>
      change(name, (row, job) =>
        changing(job, (access) => changeHealth({ job, access, draft: row, environment: { name: 'staging' } }, health, cause)),
      ),
    alerts: async (input: Partial<Parameters<typeof listAlerts>[2]> = {}) =>
      vault.submit((job) => listAlerts(job, admin(), { credentialId: undefined, after: '', maxRows: 50, ...input })),
    create: (url = 'https://hooks.example/', kinds: AlertKind[] = []) =>
      vault.submit((job) => createWebhook(job, admin(), { url, kinds, allowLoopback: false })),
    webhooks: () => vault.submit((job) => listWebhooks(job, admin())),
    remove: (id: string) => vault.submit((job) => deleteWebhook(job, admin(), id)),
    rows: (table: string) => sql.all(`SELECT * FROM ${table}`),
    sql,
    clock,
    vault,
  };
}

describe('alerts', () => {
  it('are raised by each change of state, including recovery, and not by the same state again', async () => {
    const { become, alerts } = await bench();
    expect(await become('crm', 'degraded', 'http_5xx')).toBe(true);
    for (let i = 0; i < 5; i++) expect(await become('crm', 'degraded', 'timeout')).toBe(false);
    await become('crm', 'ready');
    await become('crm', 'needs_consent', 'invalid_grant');
    const { rows } = await alerts();
    expect(rows.map((row) => row.kind).sort()).toEqual(['credential.degraded', 'credential.needs_consent', 'credential.ready']);
    const told = rows.map(describeAlert).find(({ kind }) => kind === 'credential.needs_consent');
    expect(told).toMatchObject({
      credential: { environment: 'staging', name: 'crm', id: expect.stringMatching(/^crd_/) },
      facts: { before: 'ready', cause: 'invalid_grant' },
    });
    expect(told?.facts).not.toHaveProperty('environment');
  });

  it.each([1, 2, 3, 50])(
    'are listed newest first in pages of %i, without loss or repetition at equal instants',
    async (maxRows) => {
      const { raise, alerts, clock } = await bench();
      const raised: string[] = [];
      for (let i = 0; i < 7; i++) {
        if (i % 3 === 0) clock.pass(1_000);
        raised.push(await raise('crm'));
      }
      const seen: string[] = [];
      let lastAt = Number.POSITIVE_INFINITY;
      for (let after: string | undefined = ''; after !== undefined; ) {
        const page: Awaited<ReturnType<typeof alerts>> = await alerts({ after, maxRows });
        for (const row of page.rows) {
          expect(row.at).toBeLessThanOrEqual(lastAt);
          lastAt = row.at;
          seen.push(row.id);
        }
        after = page.next;
      }
      expect([...seen].sort()).toEqual(raised.sort());
      expect(new Set(seen).size).toBe(seen.length);
    },
  );

  it('can be listed for one credential', async () => {
    const { raise, alerts } = await bench();
    await raise('crm');
    const id = await raise('erp');
    const credentialId = (await alerts()).rows.find((row) => row.id === id)?.credential_id ?? undefined;
    expect((await alerts({ credentialId })).rows.map((row) => row.id)).toEqual([id]);
    expect((await alerts({ credentialId: 'crd_none' })).rows).toEqual([]);
  });

  it('are purged with their deliveries when old, oldest first, a batch at a time', async () => {
    const { raise, create, rows, vault, clock } = await bench();
    await create();
    for (let i = 0; i < 5; i++) {
      await raise('crm');
      clock.pass(1_000);
    }
    const before = clock.now() - 1_000;
    const purge = () => vault.submit((job) => job.door.keepBooks('purge', (access) => job.alerts.purge(access, before, 3)));
    expect([await purge(), await purge(), await purge()]).toEqual([3, 1, 0]);
    expect(rows('alert')).toHaveLength(1);
    expect(rows('delivery')).toHaveLength(1);
  });

  it('are undone with the change that they report', async () => {
    const { vault, tenant, rows, create } = await bench();
    await create();
    const failed = vault.submit((job) =>
      job.door.enter(
        tenant.user(['admin'], 'everywhere'),
        'environment.create',
        () => ({ resource: { type: 'Tenant', tenant: job.tenant.id }, target: { type: 'test' }, subject: true }),
        (access) => {
          const id = String(tenant.sql.get("SELECT id FROM credential WHERE name = 'crm'")?.['id']);
          const credential = { id, name: 'crm', connector: null };
          raiseAlert(job, access, { credential, environment: { name: 'staging' }, kind: 'credential.degraded', details: {} });
          throw new Error('the change fails');
        },
      ),
    );
    await expect(failed).rejects.toThrow('the change fails');
    expect(rows('alert')).toEqual([]);
    expect(rows('delivery')).toEqual([]);
  });
});

describe('webhooks', () => {
  it('get a delivery of each alert of their kinds, in the same transaction', async () => {
    const { create, raise, rows } = await bench();
    const all = await create('https://a.example/');
    const some = await create('https://b.example/', ['credential.ready', 'credential.ready']);
    const none = await create('https://c.example/', ['credential.exposed']);
    for (const kind of ALERT_KINDS.slice(0, 3)) await raise('crm', kind);
    const counts = [all, some, none].map(({ row }) => rows('delivery').filter((one) => one['webhook_id'] === row.id).length);
    expect(counts).toEqual([3, 1, 0]);
  });

  it('are due at once for the scheduler', async () => {
    const { create, raise, vault, clock } = await bench();
    await create();
    await raise('crm');
    expect(vault.nextDueAt()).toBe(clock.now());
  });

  it('are limited in number, and deleting one allows another', async () => {
    const { create, remove, webhooks } = await bench();
    const made = [];
    for (let i = 0; i < LIMITS.webhooksMaxCount; i++) made.push(await create(`https://hooks.example/${i}`));
    expect(await outcomeOf(create())).toBe('conflict');
    await remove(made[0]?.row.id ?? '');
    expect(await outcomeOf(create())).toBe('ok');
    expect(await webhooks()).toHaveLength(LIMITS.webhooksMaxCount);
  });

  it('end their waiting deliveries when deleted, once', async () => {
    const { create, raise, remove, rows, sql } = await bench();
    const { row } = await create();
    const other = await create('https://other.example/');
    for (let i = 0; i < 3; i++) await raise('crm');
    await remove(row.id);
    expect(rows('delivery').filter((one) => one['state'] === 'given_up')).toHaveLength(3);
    expect(rows('delivery').filter((one) => one['webhook_id'] === other.row.id && one['state'] === 'waiting')).toHaveLength(3);
    expect(await outcomeOf(remove(row.id))).toBe('not_found');
    const events = eventsOf(sql).filter((event) => event['action'] === 'webhook.delete');
    expect(events).toMatchObject([
      { outcome: 'success', target: { type: 'webhook', id: row.id }, details: { count: 3, webhook: row.id } },
      { outcome: 'failure' },
    ]);
  });

  it('have different secrets, none of which is in the database', async () => {
    const { create, sql } = await bench();
    const shown = [];
    for (let i = 0; i < 3; i++)
      shown.push((await create(`https://${i}.example/`)).secret.reveal((bytes) => new TextDecoder().decode(bytes)));
    expect(new Set(shown).size).toBe(3);
    const stored = JSON.stringify([sql.all('SELECT * FROM webhook'), eventsOf(sql)]);
    for (const secret of shown) expect(stored).not.toContain(secret.slice('whsec_'.length));
    const keys = shown.map((secret) => Buffer.from(secret.slice('whsec_'.length), 'base64'));
    const blobs = sql.all<{ mac: Uint8Array }>('SELECT mac FROM webhook').map(({ mac }) => Buffer.from(mac));
    for (const key of keys) for (const blob of blobs) expect(blob.equals(key)).toBe(false);
  });

  it('with a tampered row are not listed, and alerts are still raised', async () => {
    const { create, raise, webhooks, sql, alerts } = await bench();
    const { row } = await create('https://hooks.example/', ['credential.exposed']);
    for (const change of ["url = 'https://evil.example/'", "kinds = '[]'", 'deleted_at = 5', "created_by = 'usr_x'"]) {
      const before = sql.get('SELECT * FROM webhook WHERE id = ?', row.id);
      sql.run(`UPDATE webhook SET ${change} WHERE id = ?`, row.id);
      expect(await webhooks(), change).toEqual([]);
      await raise('crm');
      sql.run(
        'UPDATE webhook SET url = ?, kinds = ?, deleted_at = NULL, created_by = ? WHERE id = ?',
        String(before?.['url']),
        String(before?.['kinds']),
        String(before?.['created_by']),
        row.id,
      );
    }
    const kinds = (await alerts()).rows.map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind !== 'state.damaged')).toHaveLength(4);
    expect(kinds.filter((kind) => kind === 'state.damaged')).toHaveLength(1);
    expect(await webhooks()).toHaveLength(1);
  });

  it('move to a new MAC key: every row is readable before and after, and their secrets do not change', async () => {
    const { create, remove, webhooks, tenant, vault, sql, admin } = await bench();
    const made = [];
    for (let i = 0; i < 5; i++) made.push(await create(`https://${i}.example/`));
    await remove(made[4]?.row.id ?? '');
    const old = new Set(sql.all('SELECT DISTINCT mac_key_id AS id FROM webhook').map((row) => row['id']));
    await vault.submit((job) => rotateKeys(job, admin(), ['metadata_mac']));
    expect(await webhooks()).toHaveLength(4);
    for (let turn = 0; turn < 50 && (await vault.submit((job) => rewrapBatch(job, 3))) > 0; turn++)
      expect(await webhooks()).toHaveLength(4);
    for (const { id } of sql.all<{ id: string }>('SELECT DISTINCT mac_key_id AS id FROM webhook'))
      expect(old.has(id)).toBe(false);
    const reopened = tenant.reopen();
    expect(await reopened.submit((job) => listWebhooks(job, admin()))).toHaveLength(4);
  });

  it('can be created by owners and admins, listed by auditors, and neither by others', async () => {
    const { tenant, vault, create } = await bench();
    const { row } = await create();
    const outcomes = async (roles: Parameters<typeof tenant.user>[0]) => {
      const user = () => tenant.user(roles);
      return [
        await outcomeOf(vault.submit((job) => listWebhooks(job, user()))),
        await outcomeOf(vault.submit((job) => listDeliveries(job, user(), row.id, '', 10))),
        await outcomeOf(vault.submit((job) => createWebhook(job, user(), { url: 'https://x.example/', kinds: [], allowLoopback: false }))), // biome-ignore format: one line
      ];
    };
    expect(await outcomes(['owner'])).toEqual(['ok', 'ok', 'ok']);
    expect(await outcomes(['auditor'])).toEqual(['ok', 'ok', 'forbidden']);
    expect(await outcomes(['engineer'])).toEqual(['forbidden', 'forbidden', 'forbidden']);
    expect(await outcomes(['rotation-operator'])).toEqual(['forbidden', 'forbidden', 'forbidden']);
  });

  it('leads where the egress may go, or is refused at once: the rules of both agree on every kind of address', async () => {
    const { vault, admin } = await bench();
    const hosts = [
      'hooks.example',
      '192.0.2.7',
      '8.8.8.8',
      '[2606:4700::1111]',
      '127.0.0.1',
      '[::1]',
      'localhost',
      'a.localhost',
    ];
    const never = ['10.0.0.1', '172.16.0.1', '192.168.1.1', '169.254.169.254', '168.63.129.16', '100.64.0.1', '0.0.0.0', '[fe80::1]', '[fd00::1]', '[::ffff:10.0.0.1]', '2852039166']; // biome-ignore format: one line
    for (const allowLoopback of [false, true])
      for (const host of [...hosts, ...never]) {
        const url = `https://${host}/hook`;
        const outcome = await outcomeOf(
          vault.submit((job) => createWebhook(job, admin(), { url, kinds: [], allowLoopback, mayReach: isReachable })),
        );
        const literal = literalAddress(new URL(url));
        const verdict = literal === undefined ? (host.endsWith('localhost') ? 'loopback' : 'public') : judgeAddress(literal);
        const isNear = allowLoopback && isLoopback(new URL(url));
        const reaches = verdict === 'public' || (verdict === 'loopback' && isNear);
        expect(outcome, `${url} ${allowLoopback}`).toBe(reaches ? 'ok' : 'invalid_request');
        if (never.includes(host)) expect(reaches, host).toBe(false);
      }
  });

  it('may use http to this machine only where a sandbox is allowed', async () => {
    const { vault, admin } = await bench();
    const outcome = (url: string, allowLoopback: boolean) =>
      outcomeOf(vault.submit((job) => createWebhook(job, admin(), { url, kinds: [], allowLoopback })));
    for (const url of ['http://127.0.0.1:9/', 'http://localhost/', 'http://[::1]/', 'http://2130706433/']) {
      expect(await outcome(url, false), url).toBe('invalid_request');
      expect(await outcome(url, true), url).toBe('ok');
    }
    for (const url of ['http://10.0.0.1/', 'http://127.evil.example/', 'http://127.0.0.1.evil.example/', 'ftp://127.0.0.1/'])
      expect(await outcome(url, true), url).toBe('invalid_request');
  });
});
