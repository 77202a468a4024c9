// What an operator and an auditor see of creating, listing and deleting webhooks, and which URLs are refused with which message.
import { describe, expect, it } from 'vitest';
import { createWebhook, deleteWebhook, listWebhooks } from '../../src/alerts/manage-webhooks.ts';
import { type AlertKind, describeAlert, raiseClockAlert, raiseDamageAlert } from '../../src/alerts/raise-alert.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { FrameWriter } from '../../src/crypto/framing.ts';
import { hmacSha256 } from '../../src/crypto/primitives.ts';
import { actorOf, leftBy } from '../kit/told.ts';
import { changing, inside, testTenant } from '../kit/vaults.ts';
import { textOf } from '../rotation/kit.ts';

async function bench() {
  const tenant = await testTenant();
  const { vault, sql } = tenant;
  const admin = tenant.user(['admin'], 'everywhere');
  return {
    tenant,
    admin,
    create: (url = 'https://hooks.example/', kinds: AlertKind[] = []) =>
      vault.submit((job) => createWebhook(job, admin, { url, kinds, allowLoopback: false })),
    left: <T>(work: () => Promise<T>) => leftBy(sql, work),
    told: () => ({ actor: actorOf(admin), reason: expect.any(String) }),
  };
}

describe('the whole event of an operation on webhooks', () => {
  it('names the webhook that was created', async () => {
    const { create, left, told } = await bench();
    const { value, events } = await left(() => create());
    expect(events).toEqual([
      {
        ...told(),
        action: 'webhook.create',
        outcome: 'success',
        target: { type: 'webhook' },
        details: { webhook: value?.row.id },
      },
    ]);
  });

  it('counts the webhooks that were listed', async () => {
    const { create, left, told, tenant, admin } = await bench();
    await create('https://a.example/');
    await create('https://b.example/');
    const { value, events } = await left(() => tenant.vault.submit((job) => listWebhooks(job, admin)));
    expect(value?.map(({ url }) => url).sort()).toEqual(['https://a.example/', 'https://b.example/']);
    expect(events).toEqual([
      { ...told(), action: 'webhook.list', outcome: 'success', target: { type: 'webhooks' }, details: { count: 2 } },
    ]);
  });

  it('counts the deliveries that the deletion ended, after which nothing is due', async () => {
    const { create, left, told, tenant, admin } = await bench();
    const { row } = await create();
    const { vault, clock } = tenant;
    const damage = (n: number) => vault.submit((job) => changing(job, (access) => raiseDamageAlert(job, access, { n })));
    await damage(1);
    await damage(2);
    expect(vault.nextDueAt()).toBe(clock.now());
    const { events } = await left(() => vault.submit((job) => deleteWebhook(job, admin, row.id)));
    expect(events).toEqual([
      {
        ...told(),
        action: 'webhook.delete',
        outcome: 'success',
        target: { type: 'webhook', id: row.id },
        details: { webhook: row.id, count: 2 },
      },
    ]);
    expect(vault.nextDueAt() ?? Number.POSITIVE_INFINITY).toBeGreaterThan(clock.now());
  });
});

describe('a URL', () => {
  it.each([
    ['https://user@hooks.example/', 'must not contain a user name or password'],
    ['https://:made-up@hooks.example/', 'must not contain a user name or password'],
    ['https://user:made-up@hooks.example/', 'must not contain a user name or password'],
    ['https://hooks.example/#part', 'must not contain a fragment'],
    ['hooks.example/x', 'must be absolute'],
    ['http://hooks.example/', 'must begin with https://'],
    ['ftp://hooks.example/', 'must begin with https://'],
    ['https://hooks.example/ x', 'must not contain spaces, line breaks or hidden characters'],
  ])('%s is refused: it %s', async (url, rule) => {
    const { create } = await bench();
    const refusal = await create(url).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(KeyturnError);
    expect(refusal).toMatchObject({ code: 'invalid_request', pointer: '/url', message: expect.stringContaining(rule) });
  });
});

describe('the secret of a webhook', () => {
  it('is derived from tenant, webhook and URL in the second form, so that a later build signs with the same one', async () => {
    const { create, tenant } = await bench();
    const { row, secret } = await create('https://hooks.example/x');
    const { platform, tenant: of } = inside(tenant.vault);
    const context = new FrameWriter().text('keyturn-webhook-v2').text(of.id).text(row.id).text('https://hooks.example/x').peek();
    const expected = Buffer.from(hmacSha256(platform.root.subkey('webhook'), context)).toString('base64');
    expect(textOf(secret)).toBe(`whsec_${expected}`);
    expect(row.url_bound).toBe(1);
  });
});

describe('an alert', () => {
  it('with a delivery tells the scheduler that something is due earlier than it knew', async () => {
    const { create, tenant } = await bench();
    await create();
    const { vault, clock } = tenant;
    expect(vault.nextDueAt() ?? Number.POSITIVE_INFINITY).toBeGreaterThan(clock.now());
    await vault.submit((job) => changing(job, (access) => raiseClockAlert(job, access, {})));
    expect(vault.nextDueAt()).toBe(clock.now());
  });

  it('about damage is raised once for the same facts, and again for others, under an id that the facts decide', async () => {
    const raised = async () => {
      const { create, tenant } = await bench();
      await create();
      for (const facts of [{ object: 'a' }, { object: 'a' }, { object: 'b' }])
        await tenant.vault.submit((job) => changing(job, (access) => raiseDamageAlert(job, access, facts)));
      expect(tenant.sql.all('SELECT id FROM delivery')).toHaveLength(2);
      return tenant.sql.all('SELECT id, kind, credential_id, facts FROM alert ORDER BY facts');
    };
    const [once, again] = [await raised(), await raised()];
    expect(once).toEqual([
      { id: expect.stringMatching(/^alr_/), kind: 'state.damaged', credential_id: null, facts: '{"object":"a"}' },
      { id: expect.stringMatching(/^alr_/), kind: 'state.damaged', credential_id: null, facts: '{"object":"b"}' },
    ]);
    expect(again).toEqual(once);
  });

  it('about the clock is raised each time, without a credential', async () => {
    const { create, tenant } = await bench();
    const { row } = await create();
    for (const _ of [1, 2])
      await tenant.vault.submit((job) => changing(job, (access) => raiseClockAlert(job, access, { seconds: 60 })));
    const alert = { kind: 'clock.jumped', credential_id: null, facts: '{"seconds":60}', at: tenant.clock.now() };
    expect(tenant.sql.all('SELECT kind, credential_id, facts, at FROM alert')).toEqual([alert, alert]);
    const stored = { id: 'alr_x', kind: 'clock.jumped', credential_id: null, facts: '{"seconds":60,"name":"n"}', at: 5 };
    expect(describeAlert(stored)).toEqual({
      id: 'alr_x',
      kind: 'clock.jumped',
      at: 5,
      credential: null,
      facts: { seconds: 60, name: 'n' },
    });
    const delivery = { webhook_id: row.id, state: 'waiting', attempts: 0, next_attempt_at: tenant.clock.now() };
    expect(tenant.sql.all('SELECT webhook_id, state, attempts, next_attempt_at FROM delivery')).toEqual([delivery, delivery]);
  });
});
