// Attacks through webhooks: internal addresses, misleading URLs, and receivers that flood, hang or delay others.
import { afterEach, describe, expect, it } from 'vitest';
import { EgressFailure, type EgressRequest } from '../../rotation/connector.ts';
import type { DueWorkPorts } from '../../rotation/engine/due-work.ts';
import { deliverDue } from '../../src/alerts/deliver-webhooks.ts';
import { createWebhook, deleteWebhook, listWebhooks } from '../../src/alerts/manage-webhooks.ts';
import { raiseAlert } from '../../src/alerts/raise-alert.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { changing, putKey, testTenant } from '../kit/vaults.ts';
import { answerOf, realClock, startServer } from '../rotation/kit.ts';

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()));
});

async function serve(listener: Parameters<typeof startServer>[0]) {
  const server = await startServer(listener);
  stops.push(() => server.stop());
  return server;
}

async function bench(sandboxAllowed = true, lookup?: (name: string) => Promise<readonly string[]>) {
  const tenant = await testTenant();
  const { vault, sql, user } = tenant;
  await putKey(tenant, 'crm', 'key-not-a-real-secret');
  const admin = () => user(['admin'], 'everywhere');
  const egress = createNodeEgress({ clock: realClock, ...(lookup === undefined ? {} : { lookup }) });
  const ports: DueWorkPorts = { vault, egress, connectors: new Map(), sandboxAllowed };
  return {
    tenant,
    ports,
    create: (url: string, allowLoopback = sandboxAllowed) =>
      vault.submit((job) => createWebhook(job, admin(), { url, kinds: [], allowLoopback })),
    remove: (id: string) => vault.submit((job) => deleteWebhook(job, admin(), id)),
    list: () => vault.submit((job) => listWebhooks(job, admin())),
    alert: (times = 1) =>
      vault.submit((job) =>
        changing(job, (access) => {
          const staging = job.credentials.findEnvironment(access, 'staging')?.id ?? '';
          const row = job.credentials.find(access, staging, 'crm');
          if (row === undefined) throw new Error('no credential');
          const alert = { credential: row, environment: { name: 'staging' }, kind: 'credential.degraded' } as const;
          for (let i = 0; i < times; i++) raiseAlert(job, access, { ...alert, details: { cause: `c${i}` } });
        }),
      ),
    deliver: () => deliverDue(ports),
    /** State and cause of the deliveries of a webhook. */
    outcomes: (webhook: string) =>
      sql
        .all<{ line: string }>("SELECT state || ' ' || coalesce(cause, '-') AS line FROM delivery WHERE webhook_id = ?", webhook)
        .map(({ line }) => line),
  };
}

describe('the URL of a webhook', () => {
  it.each([
    ['a line break and a header', 'https://hooks.example/\r\nx-injected: 1'],
    ['a line break inside the host', 'https://hooks.exa\r\nmple/'],
    ['a tab', 'https://hooks.example/\tx'],
    ['a space before it', ' https://hooks.example/'],
    ['a change of writing direction', 'https://hooks.example/\u202egpj.exe'],
    ['a zero-width character', 'https://hooks\u200b.example/'],
    ['a zero byte', 'https://hooks.example/\0'],
    ['credentials behind a backslash', 'https://user:not-a-real-secret@hooks.example\\@inside.example/'],
    ['http to this machine in another spelling', 'http://[::ffff:127.0.0.1]/'],
    ['http to a name below localhost', 'http://metadata.localhost/'],
    ['http to the metadata of a cloud', 'http://169.254.169.254/'],
    ['http to a private address', 'http://10.0.0.1/'],
  ])('is refused with %s, even where a sandbox is allowed, and is not in the message', async (_, url) => {
    const { create, list } = await bench();
    const refusal = await create(url).then(
      () => 'taken',
      (error: Error) => error,
    );
    expect(refusal).toMatchObject({ code: 'invalid_request', pointer: '/url' });
    expect(String(refusal)).not.toMatch(/example|not-a-real-secret/);
    expect(await list()).toEqual([]);
  });

  it.each([
    ['https://HOOKS.example:443/a/../b', 'https://hooks.example/b'],
    ['https://hooks.example\\@inside.example/', 'https://hooks.example/@inside.example/'],
    ['https://0x7f.1/x', 'https://127.0.0.1/x'],
    ['https://2852039166/latest', 'https://169.254.169.254/latest'],
    ['https://\u0430pple.example/', 'https://xn--pple-43d.example/'],
  ])('%s is stored and shown as it will be called: %s', async (url, shown) => {
    const { create, list } = await bench();
    expect((await create(url)).row.url).toBe(shown);
    expect((await list()).map((row) => row.url)).toEqual([shown]);
  });
});

describe('a name of an internal address', () => {
  it.each([
    'https://127.0.0.1:1/',
    'https://0177.0.0.1:1/',
    'https://[fd00:ec2::254]/',
    'https://[64:ff9b::a9fe:a9fe]/',
    'https://169.254.169.254./',
    'https://metadata.google.internal/',
    'https://inside.example./',
  ])('%s gets nothing where no sandbox is allowed', async (url) => {
    const { create, alert, deliver, outcomes } = await bench(false, async () => ['169.254.169.254']);
    const { row } = await create(url);
    await alert();
    await deliver();
    expect(outcomes(row.id)).toEqual(['waiting address_blocked']);
  });

  it('gets nothing where a sandbox is allowed either: only a loopback address in the URL reaches this machine', async () => {
    const server = await serve((_, res) => res.end());
    const { port } = new URL(server.origin);
    const { create, alert, deliver, outcomes } = await bench(true, async () => ['127.0.0.1']);
    const { row: named } = await create(`https://rebound.example:${port}/`);
    const { row: said } = await create(`http://127.0.0.1:${port}/`);
    await alert();
    await deliver();
    expect(outcomes(named.id)).toEqual(['waiting address_blocked']);
    expect(outcomes(said.id)).toEqual(['delivered -']);
    expect(server.requests).toHaveLength(1);
  });

  it('is checked at each attempt, so a public address at the first attempt does not help', async () => {
    const answers = [['93.184.216.34', '127.0.0.1'], ['10.0.0.1'], ['::ffff:169.254.169.254']];
    let lookups = 0;
    const { create, alert, deliver, tenant, outcomes } = await bench(true, async () => answers[lookups++] ?? []);
    const { row } = await create('https://rebinding.example/');
    await alert();
    for (let attempt = 1; attempt <= answers.length; attempt++) {
      await deliver();
      expect(lookups).toBe(attempt);
      expect(outcomes(row.id)).toEqual(['waiting address_blocked']);
      tenant.clock.pass(LIMITS.webhookBackoffMaxMs);
    }
  });
});

describe('a receiver', () => {
  it.each([301, 307, 308])('that answers %i does not send the message elsewhere', async (status) => {
    const inside = await serve((_, res) => res.end());
    const server = await serve((_, res) => res.writeHead(status, { location: inside.origin }).end());
    const { create, alert, deliver, outcomes } = await bench();
    const { row } = await create(server.origin);
    await alert();
    await deliver();
    expect(outcomes(row.id)).toEqual([`waiting http_${status}`]);
    expect(inside.requests).toHaveLength(0);
  });

  it('with an endless answer is disconnected, and the others get their message', async () => {
    const flood = await serve((_, res) => {
      const write = () => {
        while (!res.destroyed && res.write(Buffer.alloc(65_536)));
        if (!res.destroyed) res.once('drain', write);
      };
      write();
    });
    const fine = await serve((_, res) => res.writeHead(204).end());
    const { create, alert, deliver, outcomes } = await bench();
    const { row: flooding } = await create(flood.origin);
    const { row: other } = await create(fine.origin);
    await alert();
    await deliver();
    expect(outcomes(flooding.id)).toEqual(['waiting answer_too_large']);
    expect(outcomes(other.id)).toEqual(['delivered -']);
  });

  it.each(['-1', '1e9', '999999999999', '0x10', 'Mon, 01 Jan 9999 00:00:00 GMT', ''])(
    'that asks for a wait of %j waits an hour at most',
    async (wait) => {
      const { create, alert, ports, tenant } = await bench();
      await create('https://hooks.example/');
      await alert();
      await deliverDue({ ...ports, egress: { send: async () => answerOf(429, '', { 'retry-after': wait }) } });
      const next = tenant.sql.get<{ at: number }>('SELECT next_attempt_at AS at FROM delivery')?.at ?? 0;
      expect(next).toBeGreaterThan(tenant.clock.now());
      expect(next).toBeLessThanOrEqual(tenant.clock.now() + LIMITS.webhookBackoffMaxMs);
    },
  );

  it('that is slow and has more deliveries than one turn holds does not delay the first message of others', async () => {
    const { create, remove, alert, ports, tenant } = await bench();
    const { row: slow } = await create('https://slow.example/');
    await alert(LIMITS.dueWorkBatchRows + 50);
    tenant.clock.pass(1_000);
    await create('https://quick.example/');
    await alert();
    const sent: EgressRequest[] = [];
    const egress = {
      send: async (request: EgressRequest) => {
        sent.push(request);
        if (request.url.includes('slow')) tenant.clock.pass(LIMITS.webhookTimeoutMs - 1_000);
        return answerOf(204, '');
      },
    };
    expect(await deliverDue({ ...ports, egress })).toBe(LIMITS.dueWorkBatchRows);
    expect(sent.filter(({ url }) => url.includes('quick'))).toHaveLength(1);
    expect(sent.filter(({ url }) => url.includes('slow')).length).toBeLessThanOrEqual(2);
    await remove(slow.id);
    expect(await deliverDue({ ...ports, egress })).toBe(0);
  });

  it('that is deleted between two messages gets no second one', async () => {
    const { create, remove, alert, ports, outcomes } = await bench();
    const { row } = await create('https://hooks.example/');
    await alert(3);
    let sent = 0;
    const egress = {
      send: async () => {
        sent += 1;
        await remove(row.id);
        throw new EgressFailure('connection_lost');
      },
    };
    await deliverDue({ ...ports, egress });
    expect(await deliverDue({ ...ports, egress })).toBe(0);
    expect(sent).toBe(1);
    expect(outcomes(row.id)).toEqual(Array(3).fill('given_up webhook_deleted'));
  });
});

describe('ten times the maximum number of webhooks', () => {
  it('requested at once: only the maximum is created, and the error contains the number', async () => {
    const { create, list } = await bench();
    const wanted = Array.from({ length: LIMITS.webhooksMaxCount * 10 }, (_, i) => create(`https://hooks.example/${i}`));
    const ends = await Promise.allSettled(wanted);
    const refusals = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason] : []));
    expect(refusals).toHaveLength(LIMITS.webhooksMaxCount * 9);
    for (const refusal of refusals) expect(refusal).toMatchObject({ code: 'conflict' });
    expect(String(refusals[0])).toContain(String(LIMITS.webhooksMaxCount));
    expect(await list()).toHaveLength(LIMITS.webhooksMaxCount);
  });
});
