// Alerts, webhooks and the forecast, with a receiver on this machine.
import { createHmac } from 'node:crypto';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { at, CANARY, eventually, type Json, must, type World } from './world.ts';

interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

const WEBHOOKS = '/v1/tenants/acme/webhooks';
const DAY = 86_400_000;

export function alertCases(world: () => World): void {
  const received: Received[] = [];
  let answer = 204;
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      received.push({ headers: request.headers, body: Buffer.concat(parts).toString() });
      response.writeHead(answer).end();
    });
  });
  let url = '';
  let secret = '';
  let webhook = '';

  beforeAll(async () => {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`;
  });
  afterAll(async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  });

  const call = (...[method, path, ask = {}]: Parameters<World['call']>) =>
    world().call(method, path, { token: world().admin, ...ask });
  /** A grant whose client secret ends in so many days. */
  const ending = (name: string, days: number) =>
    must(
      call('PUT', at('acme', name), {
        body: {
          kind: 'oauth2',
          value: { access_token: CANARY, refresh_token: CANARY, expires_in: 86_400 },
          config: {
            token_endpoint: 'https://login.example/token',
            client_id: 'c',
            client_secret_expires_at: new Date(Date.now() + days * DAY).toISOString(),
          },
        },
      }),
      201,
    );

  it('shows the secret of a webhook once, and never again', async () => {
    const headers = { 'idempotency-key': 'one-webhook' };
    const made = await must(call('POST', WEBHOOKS, { body: { url, kinds: ['credential.ends_soon'] }, headers }), 201);
    expect(made.body).toMatchObject({ url, kinds: ['credential.ends_soon'], secret: expect.stringMatching(/^whsec_.{44}$/) });
    ({ secret, id: webhook } = made.body);
    const again = await must(call('POST', WEBHOOKS, { body: { url, kinds: ['credential.ends_soon'] }, headers }), 201);
    expect(again.body).toEqual(made.body);
    const listed = await must(call('GET', WEBHOOKS), 200);
    expect(listed.body.items).toMatchObject([{ id: webhook, url }]);
    expect(listed.text).not.toContain(secret);
  });

  it.each([
    ['plain http', 'http://hooks.example/x'],
    ['http to a name that only looks like this machine', 'http://localhost.example/x'],
    ['a user name', 'https://user@hooks.example/'],
    ['a password', 'https://user:pass-not-a-real-secret@hooks.example/'],
    ['a fragment', 'https://hooks.example/#x'],
    ['another scheme', 'file:///etc/passwd'],
    ['no URL at all', 'hooks.example'],
  ])('takes no webhook with %s, and says which field without repeating it', async (_name, bad) => {
    const reply = await must(call('POST', WEBHOOKS, { body: { url: bad } }), 400);
    expect(reply.body).toMatchObject({ code: 'invalid_request', pointer: '/url' });
    expect(reply.text).not.toContain('example');
    expect(reply.text).not.toContain('not-a-real-secret');
  });

  it('takes no kind that does not exist', async () => {
    const reply = await must(call('POST', WEBHOOKS, { body: { url: 'https://hooks.example/', kinds: ['all'] } }), 400);
    expect(reply.body.pointer).toBe('/kinds/0');
  });

  it('tells of a grant that ends soon: an alert, delivered and signed, without a value', async () => {
    const { body: credential } = await ending('ends-soon', 5);
    const [message] = await eventually(() => (received.length > 0 ? received : undefined));
    const { headers, body } = message as Received;
    const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
    const signed = `${headers['webhook-id']}.${headers['webhook-timestamp']}.${body}`;
    expect(headers['webhook-signature']).toBe(`v1,${createHmac('sha256', key).update(signed).digest('base64')}`);
    expect(Math.abs(Date.now() / 1_000 - Number(headers['webhook-timestamp']))).toBeLessThan(300);
    expect(body).not.toContain(CANARY);
    const told = JSON.parse(body);
    expect(told).toMatchObject({
      id: headers['webhook-id'],
      kind: 'credential.ends_soon',
      tenant: world().acme.id,
      credential: { id: credential.id, environment: 'staging', name: 'ends-soon' },
      facts: { cause: 'client_secret_expiry', certain: true, days_left: 4 },
    });
    const { tenant: _tenant, ...alert } = told;
    const alerts = await must(call('GET', `/v1/tenants/acme/alerts?credential=${credential.id}`), 200);
    expect(alerts.body).toEqual({ items: [alert], next_cursor: null });
    const deliveries = await eventually(async () => {
      const { body: page } = await must(call('GET', `${WEBHOOKS}/${webhook}/deliveries`), 200);
      return page.items[0]?.state === 'delivered' ? page.items : undefined;
    });
    expect(deliveries).toMatchObject([{ alert: told.id, attempts: 1, cause: null }]);
  });

  it('shows it in the forecast, with its day and what to do', async () => {
    await ending('ends-later', 60);
    const soon = await must(call('GET', '/v1/tenants/acme/forecast?within_days=30'), 200);
    expect(soon.body.items.map((item: Json) => item.name)).toEqual(['ends-soon']);
    expect(soon.body.items[0]).toMatchObject({
      cause: 'client_secret_expiry',
      certain: true,
      health: 'ready',
      remedy: expect.stringMatching(/^Rotate the client secret/),
    });
    const first = await must(call('GET', '/v1/tenants/acme/forecast?environment=staging&limit=1'), 200);
    const next = `/v1/tenants/acme/forecast?environment=staging&limit=1&cursor=${first.body.next_cursor}`;
    const second = await must(call('GET', next), 200);
    expect([...first.body.items, ...second.body.items].map((item: Json) => item.name)).toEqual(['ends-soon', 'ends-later']);
    expect(second.body.next_cursor).toBeNull();
    expect((await call('GET', '/v1/tenants/acme/forecast?environment=nowhere')).status).toBe(404);
    expect((await call('GET', `/v1/tenants/acme/alerts?cursor=${first.body.next_cursor}`)).status).toBe(400);
  });

  it('lets each role have its part of this and no more', async () => {
    const status = async (token: string, method: string, path: string, body?: unknown) =>
      (await world().call(method, path, { token, body })).status;
    const { operator, auditor, engineer, stranger, acme } = world();
    const body = { url: 'https://hooks.example/' };
    for (const [token, forecast, webhooks, create] of [
      [auditor, 200, 200, 403],
      [engineer, 200, 403, 403],
      [operator, 200, 403, 403],
      [stranger, 404, 404, 404],
      [acme.token, 404, 404, 404],
    ] as const) {
      expect(await status(token, 'GET', '/v1/tenants/acme/forecast')).toBe(forecast);
      expect(await status(token, 'GET', '/v1/tenants/acme/alerts')).toBe(forecast);
      expect(await status(token, 'GET', WEBHOOKS)).toBe(webhooks);
      expect(await status(token, 'POST', WEBHOOKS, body)).toBe(create);
    }
  });

  it('deletes a webhook whose receiver says 410, and one that an admin deletes', async () => {
    answer = 410;
    const before = received.length;
    await ending('ends-very-soon', 2);
    await eventually(() => (received.length > before ? true : undefined));
    await eventually(async () => ((await must(call('GET', WEBHOOKS), 200)).body.items.length === 0 ? true : undefined));
    expect((await call('DELETE', `${WEBHOOKS}/${webhook}`)).status).toBe(404);
    const made = await must(call('POST', WEBHOOKS, { body: { url: 'https://hooks.example/' } }), 201);
    const deleted = await must(call('DELETE', `${WEBHOOKS}/${made.body.id}`), 200);
    expect(deleted.body.id).toBe(made.body.id);
    expect((await call('GET', `${WEBHOOKS}/${made.body.id}/deliveries`)).status).toBe(404);
    const { body } = await must(
      call('GET', '/v1/tenants/acme/audit/events?action=webhook.deliver', { token: world().owner }),
      200,
    );
    expect(body.items.map((event: Json) => event.details.step)).toEqual(expect.arrayContaining(['delivered', 'webhook_gone']));
  });
}
