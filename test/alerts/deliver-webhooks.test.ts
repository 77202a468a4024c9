// Webhooks: signed as specified, sent at least once, with back-off and an end, and never to a forbidden address.
import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type EgressAnswer, EgressFailure, type EgressRequest } from '../../rotation/connector.ts';
import { deliverDue, signMessage } from '../../src/alerts/deliver-webhooks.ts';
import { createWebhook, deleteWebhook } from '../../src/alerts/manage-webhooks.ts';
import { type AlertKind, raiseAlert } from '../../src/alerts/raise-alert.ts';
import { listDeliveries } from '../../src/alerts/read-alerts.ts';
import type { Faults } from '../../src/base/faults.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { FrameWriter } from '../../src/crypto/framing.ts';
import { hmacSha256, secretKey } from '../../src/crypto/primitives.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { changeRows } from '../kit/anchored.ts';
import { changing, eventsOf, inside, putKey, testTenant } from '../kit/vaults.ts';
import { answerOf, textOf } from '../rotation/kit.ts';

const KEY = 'key-not-a-real-secret';
type Answering = (request: EgressRequest, index: number) => EgressAnswer | Promise<EgressAnswer>;

async function bench(answering: Answering = () => answerOf(204, ''), faults?: Faults) {
  const tenant = await testTenant(faults === undefined ? {} : { faults });
  const { vault, clock, sql } = tenant;
  await putKey(tenant, 'crm', KEY);
  const admin = () => tenant.user(['admin'], 'everywhere');
  const sent: EgressRequest[] = [];
  let answer = answering;
  const egress = {
    send: async (request: EgressRequest) => {
      sent.push(request);
      return answer(request, sent.length - 1);
    },
  };
  const ports = { vault, egress, connectors: new Map(), sandboxAllowed: false };
  const at = () => vault.nextDueAt() ?? Number.POSITIVE_INFINITY;
  return {
    tenant,
    sent,
    ports,
    admin,
    answerWith: (next: Answering) => {
      answer = next;
    },
    webhook: (url = 'https://hooks.example/keyturn', kinds: AlertKind[] = []) =>
      vault.submit((job) => createWebhook(job, admin(), { url, kinds, allowLoopback: false })),
    alert: (kind: AlertKind = 'credential.degraded') =>
      vault.submit((job) =>
        changing(job, (access) => {
          const staging = job.credentials.findEnvironment(access, 'staging')?.id ?? '';
          const row = job.credentials.find(access, staging, 'crm');
          if (row === undefined) throw new Error('no credential');
          const details = { cause: 'http_5xx', before: 'ready' };
          return raiseAlert(job, access, { credential: row, environment: { name: 'staging' }, kind, details });
        }),
      ),
    deliver: () => deliverDue(ports),
    /** Advances the clock from one due time to the next until nothing waits; returns the waits in seconds. */
    drain: async (maxTurns = 200) => {
      const waits: number[] = [];
      for (let turn = 0; turn < maxTurns; turn++) {
        const next = sql.get<{ at: number | null }>(
          "SELECT min(next_attempt_at) AS at FROM delivery WHERE state = 'waiting'",
        )?.at;
        if (next === null || next === undefined) return waits;
        if (next > clock.atMs) waits.push((next - clock.atMs) / 1_000);
        clock.atMs = Math.max(clock.atMs, next);
        await deliverDue(ports);
      }
      throw new Error('it never ends');
    },
    deliveries: (id: string) => vault.submit((job) => listDeliveries(job, admin(), id, '', 100).rows),
    outcomes: () => eventsOf(sql).filter((event) => event['action'] === 'webhook.deliver'),
    nextDueAt: at,
  };
}

const header = (request: EgressRequest | undefined, name: string) => {
  const value = request?.headers[name];
  return value instanceof SecretValue ? textOf(value) : value;
};
const bodyOf = (request: EgressRequest | undefined) => new TextDecoder().decode(request?.body as Uint8Array);

describe('a message', () => {
  it('is signed as the published example of Standard Webhooks', () => {
    // From that project's test suite (standard-webhooks/standard-webhooks, libraries/javascript).
    const key = secretKey(Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64'));
    const body = new TextEncoder().encode('{"test": 2432232314}');
    expect(signMessage(key, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1_614_265_330, body)).toBe(
      'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
    );
  });

  it('verifies under the secret that was shown once, and contains tenant, credential, kind and time, but no value', async () => {
    const { webhook, alert, deliver, sent, tenant } = await bench();
    const made = await webhook();
    const shown = textOf(made.secret) ?? '';
    expect(shown).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const id = await alert();
    expect(await deliver()).toBe(1);
    const [request] = sent;
    const signed = `${id}.${header(request, 'webhook-timestamp')}.${bodyOf(request)}`;
    const expected = createHmac('sha256', Buffer.from(shown.slice(6), 'base64'))
      .update(signed)
      .digest('base64');
    expect(header(request, 'webhook-signature')).toBe(`v1,${expected}`);
    expect(header(request, 'webhook-id')).toBe(id);
    expect(Number(header(request, 'webhook-timestamp'))).toBe(Math.floor(tenant.clock.now() / 1_000));
    expect(JSON.parse(bodyOf(request))).toEqual({
      id,
      kind: 'credential.degraded',
      at: new Date(tenant.clock.now()).toISOString(),
      tenant: tenant.vault.tenant.id,
      credential: { id: expect.stringMatching(/^crd_/), environment: 'staging', name: 'crm' },
      facts: { connector: null, cause: 'http_5xx', before: 'ready' },
    });
    expect(request).toMatchObject({ method: 'POST', allowedHosts: ['hooks.example'], allowLoopback: false });
    expect(bodyOf(request)).not.toContain('not-a-real-secret');
  });

  it('is sent to each webhook of its kind, signed with the secret of each', async () => {
    const { webhook, alert, deliver, sent } = await bench();
    const all = await webhook('https://a.example/x');
    const some = await webhook('https://b.example/x', ['credential.ready']);
    expect(textOf(all.secret)).not.toBe(textOf(some.secret));
    await alert('credential.degraded');
    await alert('credential.ready');
    await deliver();
    expect(sent.map(({ url }) => url).sort()).toEqual(['https://a.example/x', 'https://a.example/x', 'https://b.example/x']);
  });

  it('leaves one event and one row for each outcome', async () => {
    const { webhook, alert, deliver, deliveries, outcomes, tenant } = await bench();
    const { row } = await webhook();
    const id = await alert();
    await deliver();
    await deliver();
    expect(await deliveries(row.id)).toMatchObject([
      { alert_id: id, state: 'delivered', attempts: 1, finished_at: tenant.clock.now(), next_attempt_at: null },
    ]);
    expect(outcomes()).toMatchObject([
      { outcome: 'success', actor: { type: 'system' }, details: { alert: id, attempts: 1, step: 'delivered', webhook: row.id } },
    ]);
  });
});

describe('a receiver that fails', () => {
  it('is tried again with back-off up to an hour until it accepts: one event', async () => {
    const { webhook, alert, drain, sent, outcomes, answerWith, deliveries } = await bench(() => answerOf(500, ''));
    const { row } = await webhook();
    await alert();
    answerWith((_request, index) => answerOf(index < 14 ? 503 : 200, ''));
    const waits = await drain();
    expect(sent).toHaveLength(15);
    expect(waits).toHaveLength(14);
    for (let i = 1; i < waits.length; i++) expect(waits[i]).toBeGreaterThanOrEqual(waits[i - 1] ?? 0);
    expect(Math.max(...waits)).toBeLessThanOrEqual(3_600);
    expect(new Set(sent.map((request) => header(request, 'webhook-id'))).size).toBe(1);
    expect(new Set(sent.map((request) => header(request, 'webhook-signature'))).size).toBe(15);
    expect(outcomes()).toMatchObject([{ details: { attempts: 15, step: 'delivered' } }]);
    expect(await deliveries(row.id)).toMatchObject([{ state: 'delivered', attempts: 15, cause: null }]);
  });

  it('is given up after three days, with one event that names the cause', async () => {
    const { webhook, alert, drain, outcomes, deliveries, tenant } = await bench(() => {
      throw new EgressFailure('connect_failed');
    });
    const { row } = await webhook();
    const start = tenant.clock.now();
    await alert();
    await drain();
    expect(tenant.clock.now() - start).toBe(LIMITS.webhookGiveUpMs);
    expect(await deliveries(row.id)).toMatchObject([{ state: 'given_up', cause: 'connect_failed' }]);
    expect(outcomes()).toMatchObject([{ details: { step: 'given_up', cause: 'connect_failed', count: 1 } }]);
  });

  it('gets one call per turn for any number of waiting deliveries, and delays no other webhook', async () => {
    const { webhook, alert, deliver, sent } = await bench((request) => {
      if (request.url.includes('dead')) throw new EgressFailure('timeout');
      return answerOf(200, '');
    });
    await webhook('https://dead.example/');
    await webhook('https://live.example/');
    for (let i = 0; i < 20; i++) await alert();
    await deliver();
    expect(sent.filter(({ url }) => url.includes('dead'))).toHaveLength(1);
    expect(sent.filter(({ url }) => url.includes('live'))).toHaveLength(20);
    expect(await deliver()).toBe(0);
  });

  it('is not given up before three days have passed by proven time', async () => {
    const { webhook, alert, deliver, deliveries, tenant } = await bench(() => answerOf(503, ''));
    const { row } = await webhook();
    await alert();
    const { clock } = tenant;
    clock.pass(LIMITS.webhookGiveUpMs);
    clock.unprovenMs = LIMITS.webhookGiveUpMs;
    await deliver();
    expect(await deliveries(row.id)).toMatchObject([{ state: 'waiting', attempts: 1 }]);
    expect(tenant.vault.nextDueAt()).toBeGreaterThan(clock.now());
    clock.pass(LIMITS.webhookBackoffMaxMs);
    clock.unprovenMs = 0;
    await deliver();
    expect(await deliveries(row.id)).toMatchObject([{ state: 'given_up', attempts: 2 }]);
  });

  it('gets every waiting delivery once it works again', async () => {
    const { webhook, alert, deliver, drain, answerWith, deliveries } = await bench(() => answerOf(502, ''));
    const { row } = await webhook();
    const ids = [];
    for (let i = 0; i < 5; i++) ids.push(await alert());
    await deliver();
    answerWith(() => answerOf(200, ''));
    await drain();
    const rows = await deliveries(row.id);
    expect(rows.map((one) => one.state)).toEqual(Array(5).fill('delivered'));
    expect(rows.map((one) => one.alert_id).sort()).toEqual(ids.sort());
  });

  it('on one message only still gets the others', async () => {
    let poison = '';
    const { webhook, alert, drain, deliveries } = await bench((request) =>
      answerOf(header(request, 'webhook-id') === poison ? 500 : 200, ''),
    );
    const { row } = await webhook();
    poison = await alert();
    for (let i = 0; i < 4; i++) await alert();
    await drain();
    const states = (await deliveries(row.id)).map((one) => [one.alert_id === poison, one.state]);
    expect(states.filter(([isPoison]) => isPoison)).toEqual([[true, 'given_up']]);
    expect(states.filter(([isPoison]) => !isPoison)).toEqual(Array(4).fill([false, 'delivered']));
  });

  it('with Retry-After is tried again after that time, at most an hour', async () => {
    const { webhook, alert, deliver, nextDueAt, tenant } = await bench(() => answerOf(429, '', { 'retry-after': '900' }));
    await webhook();
    await alert();
    await deliver();
    expect(nextDueAt() - tenant.clock.now()).toBe(900_000);
  });

  it('with a redirect is not followed', async () => {
    const { webhook, alert, deliver, sent, deliveries } = await bench(() =>
      answerOf(302, '', { location: 'https://169.254.169.254/' }),
    );
    const { row } = await webhook();
    await alert();
    await deliver();
    expect(sent).toHaveLength(1);
    expect(await deliveries(row.id)).toMatchObject([{ state: 'waiting', cause: 'http_302', attempts: 1 }]);
  });

  it('by answering slowly leaves its other deliveries for the next turn, so that refreshes run first', async () => {
    const { webhook, alert, deliver, sent, answerWith, tenant } = await bench();
    await webhook();
    for (let i = 0; i < 10; i++) await alert();
    answerWith(() => {
      tenant.clock.pass(9_000);
      return answerOf(200, '');
    });
    await deliver();
    expect(sent).toHaveLength(2);
    expect(tenant.vault.nextDueAt()).toBeLessThanOrEqual(tenant.clock.now());
  });
});

describe('a webhook that ends', () => {
  it('with 410 is deleted with its waiting deliveries, which leaves one event', async () => {
    const { webhook, alert, deliver, outcomes, tenant, admin, sent } = await bench(() => answerOf(410, ''));
    const { row } = await webhook();
    for (let i = 0; i < 3; i++) await alert();
    await deliver();
    expect(sent).toHaveLength(1);
    expect(outcomes()).toMatchObject([{ details: { step: 'webhook_gone', webhook: row.id, count: 3 } }]);
    expect(tenant.sql.all("SELECT state, cause FROM delivery WHERE state <> 'given_up' OR cause <> 'http_410'")).toEqual([]);
    await expect(tenant.vault.submit((job) => deleteWebhook(job, admin(), row.id))).rejects.toMatchObject({
      code: 'not_found',
    });
    await alert();
    expect(await deliver()).toBe(0);
  });

  it('during a delivery does not restart that delivery', async () => {
    const { webhook, alert, deliver, answerWith, tenant, admin, outcomes } = await bench();
    const { row } = await webhook();
    await alert();
    answerWith(async () => {
      await tenant.vault.submit((job) => deleteWebhook(job, admin(), row.id));
      return answerOf(500, '');
    });
    await deliver();
    expect(tenant.sql.all('SELECT state, cause, next_attempt_at FROM delivery')).toEqual([
      { state: 'given_up', cause: 'webhook_deleted', next_attempt_at: null },
    ]);
    expect(outcomes()).toEqual([]);
  });
});

describe('an address that is not public', () => {
  it.each([
    'https://169.254.169.254/latest',
    'https://127.0.0.1/',
    'https://10.1.2.3/',
    'https://[::1]/',
    'https://inside.example/',
  ])('%s is never called, under any name', async (url) => {
    const { webhook, alert, tenant, ports, deliveries } = await bench();
    const lookup = async () => ['192.168.7.7'];
    const egress = createNodeEgress({ clock: tenant.clock, lookup });
    const { row } = await webhook(url);
    await alert();
    await deliverDue({ ...ports, egress });
    expect(await deliveries(row.id)).toMatchObject([{ state: 'waiting', attempts: 1, cause: 'address_blocked' }]);
  });
});

describe('a stop', () => {
  it('during a delivery is not a failure, and the message is sent again after the restart', async () => {
    const { webhook, alert, deliver, answerWith, tenant, sent, ports } = await bench();
    await webhook();
    await alert();
    const { sql } = tenant;
    answerWith(async () => {
      sql.close = () => {}; // the test looks into it afterwards
      tenant.vault.close();
      return answerOf(200, '');
    });
    expect(await deliver()).toBe(1);
    tenant.clock.pass(2 * LIMITS.webhookTimeoutMs);
    answerWith(() => answerOf(200, ''));
    expect(await deliverDue({ ...ports, vault: tenant.reopen() })).toBe(1);
    expect(new Set(sent.map((request) => header(request, 'webhook-id'))).size).toBe(1);
    expect(sql.all('SELECT state, attempts FROM delivery')).toEqual([{ state: 'delivered', attempts: 2 }]);
  });
});

describe('a crash', () => {
  it.each(['webhook.before-call', 'webhook.after-call'] as const)(
    'at %s repeats the delivery under the same id once its time has passed',
    async (point) => {
      let armed = false;
      const { webhook, alert, deliver, sent, tenant, outcomes } = await bench(undefined, {
        at: (reached) => {
          if (!armed || reached !== point) return;
          armed = false;
          throw new Error(`a crash at ${point}`);
        },
      });
      const { row } = await webhook();
      await alert();
      armed = true;
      await expect(deliver()).rejects.toThrow('a crash');
      expect(outcomes()).toEqual([]);
      expect(await deliver()).toBe(0);
      tenant.clock.pass(2 * LIMITS.webhookTimeoutMs);
      expect(await deliver()).toBe(1);
      expect(sent).toHaveLength(point === 'webhook.before-call' ? 1 : 2);
      expect(new Set(sent.map((request) => header(request, 'webhook-id'))).size).toBe(1);
      expect(outcomes()).toMatchObject([{ details: { attempts: 2, step: 'delivered', webhook: row.id } }]);
    },
  );

  it('in the delivery to one webhook does not stop the others', async () => {
    const { webhook, alert, deliver, sent } = await bench((request) => {
      if (request.url.includes('one')) throw new Error('a bug');
      return answerOf(200, '');
    });
    await webhook('https://one.example/');
    await webhook('https://two.example/');
    await alert();
    await alert();
    await expect(deliver()).rejects.toThrow('a bug');
    expect(sent.filter(({ url }) => url.includes('two'))).toHaveLength(2);
  });
});

describe('a webhook with a tampered row', () => {
  it('gets nothing, and the change of state is still made', async () => {
    const { webhook, alert, deliver, sent, tenant } = await bench();
    const { row } = await webhook();
    tenant.sql.run("UPDATE webhook SET url = 'https://evil.example/' WHERE id = ?", row.id);
    const id = await alert();
    await deliver();
    expect(sent).toEqual([]);
    expect(tenant.sql.get('SELECT count(*) AS n FROM alert WHERE id = ?', id)?.['n']).toBe(1);
    // The alert about the damage itself waits behind it.
    const waiting = tenant.sql.all('SELECT state, cause FROM delivery');
    expect(new Set(waiting.map((one) => one['state']))).toEqual(new Set(['waiting']));
    expect(waiting.map((one) => one['cause'])).toContain('integrity');
  });
});

describe('a webhook of a build that derived secrets from the id only', () => {
  it('keeps the secret its receiver has', async () => {
    const { webhook, alert, deliver, sent, tenant } = await bench();
    const { row } = await webhook();
    await tenant.vault.submit((job) =>
      changing(job, () => changeRows(job.core.rows, 'webhook', `id = '${row.id}'`, () => ({ url_bound: 0 }))),
    );
    await alert();
    await deliver();
    const { platform, tenant: of } = inside(tenant.vault);
    const context = new FrameWriter().text('keyturn-webhook-v1').text(of.id).text(row.id).peek();
    const key = secretKey(hmacSha256(platform.root.subkey('webhook'), context));
    const [request] = sent;
    const at = Number(header(request, 'webhook-timestamp'));
    expect(header(request, 'webhook-signature')).toBe(
      signMessage(key, header(request, 'webhook-id') ?? '', at, request?.body as Uint8Array),
    );
  });
});
