// Webhooks: signed as specified, sent at least once, with back-off and an end, and never to a forbidden address.
import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type EgressAnswer, EgressFailure, type EgressRequest } from '../../rotation/connector.ts';
import { deliverDue } from '../../src/alerts/deliver-webhooks.ts';
import { createWebhook, deleteWebhook } from '../../src/alerts/manage-webhooks.ts';
import { type AlertKind, raiseAlert } from '../../src/alerts/raise-alert.ts';
import { listDeliveries } from '../../src/alerts/read-alerts.ts';
import { signMessage } from '../../src/alerts/sign-message.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import type { Faults } from '../../src/base/faults.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { FrameWriter } from '../../src/crypto/framing.ts';
import { hmacSha256, secretKey } from '../../src/crypto/primitives.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { changeRows } from '../kit/anchored.ts';
import { leftBy } from '../kit/told.ts';
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

  it('is tried once in a turn, and its other messages wait as long', async () => {
    const { webhook, alert, deliver, tenant } = await bench();
    const { row } = await webhook();
    await alert();
    await alert();
    tenant.sql.run("UPDATE webhook SET url = 'https://evil.example/' WHERE id = ?", row.id);
    await deliver();
    const nextAt = tenant.clock.now() + WAITS_MS[0]!;
    const query =
      'SELECT attempts, next_attempt_at AS at FROM delivery WHERE alert_id IN (SELECT id FROM alert WHERE kind = ?) ORDER BY attempts';
    expect(tenant.sql.all(query, 'credential.degraded')).toEqual([
      { attempts: 0, at: nextAt },
      { attempts: 1, at: nextAt },
    ]);
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

/** Waits of the first failures of one delivery where no draw shortens or lengthens them. */
const WAITS_MS = [3_750, 7_500, 15_000, 30_000];

describe('the answer of a receiver', () => {
  it.each([200, 201, 204, 299])('%i means that the message was accepted', async (status) => {
    const { webhook, alert, deliver, deliveries } = await bench(() => answerOf(status, ''));
    const { row } = await webhook();
    await alert();
    await deliver();
    expect(await deliveries(row.id)).toMatchObject([{ state: 'delivered', attempts: 1, cause: null }]);
  });

  it.each([199, 300, 302, 399, 401, 403, 404, 429, 500, 501, 503, 599])(
    '%i is about the endpoint: its other messages wait as long as this one',
    async (status) => {
      const { webhook, alert, deliver, deliveries, sent, tenant } = await bench(() => answerOf(status, ''));
      const { row } = await webhook();
      await alert();
      await alert();
      await deliver();
      const nextAt = tenant.clock.now() + WAITS_MS[0]!;
      expect(sent).toHaveLength(1);
      expect((await deliveries(row.id)).sort((a, b) => b.attempts - a.attempts)).toMatchObject([
        { state: 'waiting', attempts: 1, cause: `http_${status}`, next_attempt_at: nextAt },
        { state: 'waiting', attempts: 0, cause: null, next_attempt_at: nextAt },
      ]);
    },
  );

  it.each([400, 402, 405, 409, 413, 422, 428, 430, 499])(
    '%i is about one message: the next one is sent in the same turn',
    async (status) => {
      const { webhook, alert, deliver, deliveries, sent } = await bench((_request, index) =>
        answerOf(index > 0 ? 200 : status, ''),
      );
      const { row } = await webhook();
      await alert();
      await alert();
      await deliver();
      expect(sent).toHaveLength(2);
      expect((await deliveries(row.id)).map(({ state, cause }) => [state, cause]).sort()).toEqual([
        ['delivered', null],
        ['waiting', `http_${status}`],
      ]);
    },
  );

  it('is wiped unread', async () => {
    const answer = answerOf(200, 'text-of-the-receiver');
    const { webhook, alert, deliver } = await bench(() => answer);
    await webhook();
    await alert();
    await deliver();
    expect(answer.body.reveal((bytes) => bytes.every((byte) => byte === 0))).toBe(true);
  });

  it.each([
    ['1', 3_750],
    ['3', 3_750],
    ['4', 4_000],
    ['3600', 3_600_000],
    ['3601', 3_600_000],
    ['999999', 3_600_000],
    ['1000000', 3_750],
    ['soon', 3_750],
  ])('with Retry-After %s is followed by a wait between the back-off and an hour: %i ms', async (asked, waitMs) => {
    const { webhook, alert, deliver, nextDueAt, tenant } = await bench(() => answerOf(503, '', { 'retry-after': asked }));
    await webhook();
    await alert();
    await deliver();
    expect(nextDueAt() - tenant.clock.now()).toBe(waitMs);
  });
});

describe('the waits of an endpoint', () => {
  it('double with each failure of a message', async () => {
    const { webhook, alert, drain } = await bench((_request, index) => answerOf(index < WAITS_MS.length ? 503 : 200, ''));
    await webhook();
    await alert();
    expect(await drain()).toEqual(WAITS_MS.map((ms) => ms / 1_000));
  });

  it('do not start anew with a new message: it waits as long as the one that failed most often', async () => {
    const { webhook, alert, deliver, sent, nextDueAt, tenant } = await bench(() => answerOf(503, ''));
    await webhook();
    const old = await alert();
    for (const waitMs of WAITS_MS.slice(0, 2)) {
      await deliver();
      tenant.clock.pass(waitMs);
    }
    const young = await alert();
    await deliver();
    expect(sent.map((request) => header(request, 'webhook-id'))).toEqual([old, old, young]);
    expect(nextDueAt() - tenant.clock.now()).toBe(WAITS_MS[2]);
  });
});

describe('two turns at once', () => {
  it('send a message once', async () => {
    const { webhook, alert, deliver, sent, outcomes } = await bench();
    await webhook();
    await alert();
    expect(await Promise.all([deliver(), deliver()])).toEqual([1, 1]);
    expect(sent).toHaveLength(1);
    expect(outcomes()).toHaveLength(1);
  });

  it('begin no message whose webhook was deleted after they saw it due', async () => {
    const { webhook, alert, deliver, sent, answerWith, tenant, admin } = await bench();
    const { row } = await webhook();
    await alert();
    await alert();
    answerWith(async () => {
      await tenant.vault.submit((job) => deleteWebhook(job, admin(), row.id));
      return answerOf(400, '');
    });
    expect(await deliver()).toBe(2);
    expect(sent).toHaveLength(1);
    expect(tenant.sql.all('SELECT attempts, cause FROM delivery ORDER BY attempts')).toEqual([
      { attempts: 0, cause: 'webhook_deleted' },
      { attempts: 1, cause: 'webhook_deleted' },
    ]);
    expect(tenant.vault.nextDueAt() ?? Number.POSITIVE_INFINITY).toBeGreaterThan(tenant.clock.now());
  });

  it('keep the later attempt: the late answer of an earlier one changes nothing', async () => {
    const { webhook, alert, deliver, answerWith, tenant, outcomes, deliveries } = await bench();
    const { row } = await webhook();
    await alert();
    const answers = [Promise.withResolvers<EgressAnswer>(), Promise.withResolvers<EgressAnswer>()];
    const asked = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    answerWith((_request, index) => {
      asked[index]?.resolve();
      return answers[index]!.promise;
    });
    const first = deliver();
    await asked[0]!.promise;
    tenant.clock.pass(2 * LIMITS.webhookTimeoutMs - 1);
    expect(await deliver()).toBe(0);
    tenant.clock.pass(1);
    const second = deliver();
    await asked[1]!.promise;
    answers[0]!.resolve(answerOf(200, ''));
    await first;
    expect(await deliveries(row.id)).toMatchObject([{ state: 'waiting', attempts: 2, finished_at: null }]);
    expect(outcomes()).toEqual([]);
    answers[1]!.resolve(answerOf(200, ''));
    await second;
    expect(outcomes()).toMatchObject([{ details: { attempts: 2, step: 'delivered' } }]);
  });
});

describe('the whole event of a delivery', () => {
  const actor = { type: 'system', id: 'webhooks' };

  it('that was accepted', async () => {
    const { webhook, alert, deliver, tenant } = await bench();
    const { row } = await webhook();
    const id = await alert();
    expect((await leftBy(tenant.sql, deliver)).events).toEqual([
      {
        action: 'webhook.deliver',
        actor,
        outcome: 'success',
        reason: expect.any(String),
        target: { type: 'webhook', id: row.id },
        details: { step: 'delivered', webhook: row.id, alert: id, attempts: 1, count: 1 },
      },
    ]);
  });

  it('that was given up for an endpoint that is down: it counts those that waited as long, and no younger one', async () => {
    const { webhook, alert, deliver, tenant, sent, deliveries } = await bench(() => answerOf(503, ''));
    const { row } = await webhook();
    await alert();
    await alert();
    tenant.clock.pass(1);
    const young = await alert();
    tenant.clock.pass(LIMITS.webhookGiveUpMs - 1);
    const { events } = await leftBy(tenant.sql, deliver);
    const [told] = events;
    expect(events).toEqual([
      {
        action: 'webhook.deliver',
        actor,
        outcome: 'failure',
        reason: 'provider_unavailable',
        target: { type: 'webhook', id: row.id },
        details: {
          step: 'given_up',
          webhook: row.id,
          alert: header(sent[0], 'webhook-id'),
          attempts: 1,
          cause: 'http_503',
          count: 2,
        },
      },
    ]);
    expect(told?.details?.['alert']).not.toBe(young);
    // One call in this turn: the endpoint is down for the younger message, too.
    expect(sent).toHaveLength(1);
    const rows = await deliveries(row.id);
    expect(rows.filter(({ state }) => state === 'given_up')).toHaveLength(2);
    expect(rows.filter(({ state }) => state === 'waiting').map((one) => one.alert_id)).toEqual([young]);
  });

  it('that was given up for its message: it counts one', async () => {
    const { webhook, alert, deliver, tenant, deliveries } = await bench((_request, index) =>
      answerOf(index === 0 ? 400 : 200, ''),
    );
    const { row } = await webhook();
    await alert();
    await alert();
    tenant.clock.pass(LIMITS.webhookGiveUpMs);
    const { events } = await leftBy(tenant.sql, deliver);
    expect(events.map(({ details }) => [details?.['step'], details?.['count'], details?.['cause']])).toEqual([
      ['given_up', 1, 'http_400'],
      ['delivered', 1, undefined],
    ]);
    expect((await deliveries(row.id)).map(({ state }) => state).sort()).toEqual(['delivered', 'given_up']);
  });
});

describe('a slow receiver', () => {
  it.each([
    ['that uses up the time of a turn exactly gets the next message in it', 0, 2],
    ['that takes longer gets the next one in the next turn', 1, 1],
  ])('%s', async (_, overMs, sentInTurn) => {
    const { webhook, alert, deliver, answerWith, tenant, sent } = await bench();
    await webhook();
    await alert();
    await alert();
    answerWith((_request, index) => {
      if (index === 0) tenant.clock.pass(LIMITS.webhookTimeoutMs + overMs);
      return answerOf(204, '');
    });
    await deliver();
    expect(sent).toHaveLength(sentInTurn);
    await deliver();
    expect(sent).toHaveLength(2);
  });
});

describe('what a message is made of', () => {
  it('with a damaged row of the alert: nothing is sent, the other messages are, and it is tried again with back-off', async () => {
    const { webhook, alert, deliver, drain, sent, tenant } = await bench();
    await webhook();
    const damaged = await alert();
    const fine = await alert();
    tenant.sql.run("UPDATE alert SET facts = '{}' WHERE id = ?", damaged);
    await drain(3).catch((error: Error) => expect(error.message).toBe('it never ends'));
    await deliver();
    const ids = sent.map((request) => header(request, 'webhook-id'));
    expect(ids).toContain(fine);
    expect(ids).not.toContain(damaged);
    const [row] = tenant.sql.all<{ next: number }>(
      'SELECT state, cause, next_attempt_at AS next FROM delivery WHERE alert_id = ?',
      damaged,
    );
    expect(row).toMatchObject({ state: 'waiting', cause: 'integrity' });
    expect(row?.next).toBeGreaterThan(tenant.clock.now());
  });

  it.each([
    ['an error that is no error of the vault', new Error('disk gone')],
    ['an error of the storage', new KeyturnError('storage_unavailable', 'the disk is gone')],
  ])('with %s: it is not taken for damage, and the message is sent later', async (_, error) => {
    const { webhook, alert, deliver, sent, tenant } = await bench();
    await webhook();
    await alert();
    const { sql } = tenant;
    const get = sql.get.bind(sql);
    sql.get = ((text: string, ...values: never[]) => {
      if (text.startsWith('SELECT * FROM webhook')) throw error;
      return get(text, ...values);
    }) as typeof sql.get;
    await expect(deliver()).rejects.toThrow(error.message);
    sql.get = get;
    expect(sql.all('SELECT state, cause FROM delivery')).toEqual([{ state: 'waiting', cause: null }]);
    expect(sent).toEqual([]);
    tenant.clock.pass(2 * LIMITS.webhookTimeoutMs);
    await deliver();
    expect(sent).toHaveLength(1);
  });
});
