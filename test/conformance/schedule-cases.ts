// Schedules of rotations, what is due, and calendar feeds of it.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type KeyProvider, startKeyProvider } from './key-provider.ts';
import { apiKey, at, CANARY, eventually, type Json, must, type Reply, type World } from './world.ts';

const TENANT = '/v1/tenants/acme';
const RULE = `${TENANT}/schedules/weekly`;
const DAY_SECONDS = 86_400;
const daily = { schedule: { every_seconds: DAY_SECONDS, jitter_seconds: 0 } };
const weekly = { schedule: { every_seconds: 7 * DAY_SECONDS, jitter_seconds: 0 } };
const nightly = { schedule: { cron: '30 2 * * *', zone: 'Europe/Berlin' } };
const dateless = { schedule: { cron: '0 0 30 2 *' } };

export function scheduleCases(world: () => World): void {
  let provider: KeyProvider;
  const call = (...[method, path, ask = {}]: Parameters<World['call']>) =>
    world().call(method, path, { token: world().admin, ...ask });
  const schedule = `${at('acme', 'scheduled')}/schedule`;
  const pointed = ({ status, body }: Reply) => ({ status, code: body?.code, pointer: body?.pointer });
  const gaps = (next: readonly string[]) => next.slice(1).map((one, i) => Date.parse(one) - Date.parse(next[i] ?? ''));

  beforeAll(async () => {
    provider = await startKeyProvider();
    await must(call('PUT', at('acme', 'scheduled'), { body: { ...(provider.body as object), labels: { tier: 'gold' } } }), 201);
  });
  afterAll(async () => {
    await provider?.stop();
  });

  it('previews a schedule, and refuses one that has no date or is none', async () => {
    const { acme, engineer } = world();
    for (const path of [`${TENANT}/previews`, `${schedule}/previews`]) {
      const { body } = await must(call('POST', path, { body: daily, token: engineer }), 200);
      expect(gaps(body.next)).toEqual(Array(4).fill(DAY_SECONDS * 1_000));
      expect((await must(call('POST', path, { body: dateless }), 200)).body.next).toEqual([]);
      const none = await call('POST', path, { body: { schedule: { ...daily.schedule, cron: '0 3 * * *' } } });
      expect(pointed(none)).toEqual({ status: 400, code: 'invalid_request', pointer: '/schedule' });
      const nowhere = await call('POST', path, { body: { schedule: { cron: '0 3 * * *', zone: CANARY } } });
      expect(pointed(nowhere)).toEqual({ status: 400, code: 'invalid_request', pointer: '/schedule/zone' });
      expect(nowhere.text).not.toContain(CANARY);
    }
    // A workload may know nothing of its tenant.
    expect((await call('POST', `${TENANT}/previews`, { body: daily, token: acme.token })).status).toBe(404);
  });

  it('plans a credential by the rule that covers it, until the rule is paused or removed', async () => {
    const body = { ...weekly, environment: 'staging', label: { name: 'tier', value: 'gold' } };
    const made = await must(call('PUT', RULE, { body }), 201);
    expect(made.body).toMatchObject({ name: 'weekly', ...body, connector: null, priority: 0, pause: null });
    const shows = (isThere: (shown: Json) => boolean) =>
      eventually(async () => {
        const shown = (await must(call('GET', schedule), 200)).body;
        return isThere(shown) ? shown : undefined;
      });
    await eventually(async () => ((await must(call('GET', RULE), 200)).body.applied ? true : undefined));
    const covered = (await must(call('GET', schedule), 200)).body;
    expect(covered).toMatchObject({ ...weekly, source: 'rule', rule: 'weekly', pause: null });
    expect(covered.due_at).toBe(covered.next[0]);
    const listed = await must(call('GET', `${TENANT}/schedules`, { token: world().engineer }), 200);
    expect(listed.body.items.map((rule: Json) => rule.name)).toEqual(['weekly']);

    const paused = await must(call('PUT', `${RULE}/pause`, { body: { reason: 'freeze of the quarter' } }), 200);
    expect(paused.body.pause.reason).toBe('freeze of the quarter');
    expect(await shows(({ due_at: dueAt }) => dueAt === null)).toMatchObject({ next: [], pause: paused.body.pause });
    expect((await must(call('DELETE', `${RULE}/pause`), 200)).body.pause).toBeNull();
    expect((await shows(({ due_at: dueAt }) => dueAt !== null)).due_at).toBe(covered.due_at);

    await must(call('PUT', RULE, { body: { ...body, ...daily } }), 200);
    await shows(({ next }) => gaps(next)[0] === DAY_SECONDS * 1_000);
    for (const [token, status] of [
      [world().engineer, 403],
      [world().operator, 403],
      [world().acme.token, 404],
    ] as const)
      for (const [method, path, change] of [
        ['PUT', RULE, weekly],
        ['DELETE', RULE],
        ['PUT', `${RULE}/pause`, { reason: 'x' }],
        ['DELETE', `${RULE}/pause`],
      ] as const)
        expect((await call(method, path, { token, ...(change && { body: change }) })).status, `${method} ${path}`).toBe(status);
    expect((await must(call('DELETE', RULE), 200)).body.name).toBe('weekly');
    expect(await shows(({ due_at: dueAt }) => dueAt === null)).toMatchObject({ schedule: null, source: null, next: [] });
  });

  it('refuses changes of a rule that does not exist, and a rule for what does not exist or without a date', async () => {
    const { acme } = world();
    for (const [method, path, body] of [
      ['GET', RULE],
      ['DELETE', RULE],
      ['PUT', `${RULE}/pause`, { reason: 'x' }],
      ['DELETE', `${RULE}/pause`],
    ] as const)
      expect((await call(method, path, { ...(body && { body }) })).status, `${method} ${path}`).toBe(404);
    const refused = async (more: object) => pointed(await call('PUT', RULE, { body: { ...weekly, ...more } }));
    expect(await refused({ connector: 'no-such-connector' })).toMatchObject({ status: 400, pointer: '/connector' });
    expect(await refused({ environment: 'nowhere' })).toMatchObject({ status: 400, pointer: '/environment' });
    expect(await refused(dateless)).toMatchObject({ status: 400 });
    expect((await must(call('GET', `${TENANT}/schedules`), 200)).body.items).toEqual([]);
    expect((await call('GET', `${TENANT}/schedules`, { token: acme.token })).status).toBe(404);
  });

  it('gives a credential a schedule of its own, which can be paused', async () => {
    const { operator, acme } = world();
    const set = await must(call('PUT', schedule, { body: nightly, token: operator }), 200);
    expect(set.body).toMatchObject({ ...nightly, source: 'own', rule: null, pause: null });
    expect(set.body.due_at).toMatch(/T0[01]:30:00/);
    expect((await must(call('PUT', schedule, { body: daily }), 200)).body).toMatchObject(daily);
    expect((await call('PUT', schedule, { body: daily, token: acme.token })).status).toBe(403);
    expect((await call('PUT', schedule, { body: dateless })).status).toBe(400);

    const paused = await must(call('PUT', `${schedule}/pause`, { body: { reason: 'incident 7' } }), 200);
    expect(paused.body).toMatchObject({ pause: { reason: 'incident 7' }, due_at: null, next: [] });
    expect((await call('PUT', `${schedule}/pause`, { body: { reason: ' ' } })).status).toBe(400);
    expect((await call('DELETE', `${schedule}/pause`, { token: acme.token })).status).toBe(403);
    const resumed = await must(call('DELETE', `${schedule}/pause`), 200);
    expect(resumed.body).toMatchObject({ pause: null, ...daily });
    expect(resumed.body.next).toHaveLength(5);
    expect((await must(call('GET', schedule, { token: acme.token }), 200)).body).toEqual(resumed.body);
    expect((await must(call('GET', at('acme', 'scheduled')), 200)).body.rotation_due_at).toBe(resumed.body.due_at);
  });

  it('has no schedule for what no schedule rotates', async () => {
    await must(call('PUT', at('acme', 'without-connector'), { body: apiKey() }), 201);
    const grant = {
      kind: 'oauth2',
      value: { access_token: CANARY, refresh_token: CANARY, expires_in: 3_600 },
      config: { token_endpoint: 'https://login.example/token', client_id: 'c' },
    };
    await must(call('PUT', at('acme', 'refreshed'), { body: grant }), 201);
    for (const name of ['without-connector', 'refreshed']) {
      const own = `${at('acme', name)}/schedule`;
      for (const [method, path, body] of [
        ['PUT', own, daily],
        ['DELETE', own],
        ['PUT', `${own}/pause`, { reason: 'x' }],
        ['DELETE', `${own}/pause`],
      ] as const) {
        const reply = await call(method, path, { ...(body && { body }) });
        expect(pointed(reply), `${method} ${path}`).toMatchObject({ status: 422, code: 'not_rotatable' });
      }
      expect((await must(call('GET', own), 200)).body).toMatchObject({ schedule: null, source: null, due_at: null, next: [] });
    }
    expect((await call('GET', `${at('acme', 'nothing')}/schedule`)).status).toBe(404);
    expect((await call('POST', `${at('acme', 'nothing')}/schedule/previews`, { body: daily })).status).toBe(404);
  });

  const dueOf = async (query: string, name = 'scheduled') => {
    const { body } = await must(call('GET', `${TENANT}/due?limit=500${query}`), 200);
    return body.items.filter((item: Json) => item.name === name);
  };

  it('lists what is due, in pages, for those who may see it', async () => {
    const { acme, auditor, engineer } = world();
    expect(await dueOf('')).toMatchObject([
      { environment: 'staging', what: 'rotation', overdue: false, cause: 'schedule', certain: true, state: 'planned' },
    ]);
    expect(await dueOf('&within_days=1&environment=staging')).toHaveLength(1);
    expect(await dueOf('&within_days=0')).toEqual([]);
    expect(await dueOf('&environment=production')).toEqual([]);
    expect(await dueOf('', 'without-connector')).toEqual([]);
    await must(call('PUT', at('acme', 'ending-later'), { body: { ...apiKey(), expires_at: inDays(100) } }), 201);
    const found: string[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: Json = (
        await must(call('GET', `${TENANT}/due?limit=1${cursor && `&cursor=${cursor}`}`, { token: engineer }), 200)
      ).body;
      expect(page.items.length).toBeLessThanOrEqual(1);
      found.push(...page.items.map((item: Json) => `${item.what} ${item.name}`));
      cursor = page.next_cursor;
    }
    expect(found).toEqual([...new Set(found)]);
    expect(found).toEqual(expect.arrayContaining(['rotation scheduled', 'end ending-later']));
    expect(found.indexOf('rotation scheduled')).toBeLessThan(found.indexOf('end ending-later'));
    await must(call('GET', `${TENANT}/due`, { token: auditor }), 200);
    expect((await call('GET', `${TENANT}/due`, { token: acme.token })).status).toBe(404);
    expect((await call('GET', `${TENANT}/due?within_days=x`)).status).toBe(400);
    expect((await call('GET', `${TENANT}/due?cursor=x`)).status).toBe(400);
  });

  it('shows what is due to a calendar that has the address of a feed, until the feed is revoked', async () => {
    const { call: anyone, engineer, auditor } = world();
    expect((await call('POST', `${TENANT}/feeds`, { body: {}, token: engineer })).status).toBe(403);
    const headers = { 'idempotency-key': 'one-feed' };
    const made = await must(call('POST', `${TENANT}/feeds`, { body: {}, headers }), 201);
    const { id, url } = made.body;
    expect((await must(call('POST', `${TENANT}/feeds`, { body: {}, headers }), 201)).body).toEqual(made.body);
    const feed = url.slice(url.indexOf('/v1/'));
    const key = new URL(url).searchParams.get('key') ?? '';

    const calendar = await must(anyone('GET', feed), 200);
    expect(calendar.headers.get('content-type')).toBe('text/calendar; charset=utf-8');
    expect(calendar.text).toMatch(/^BEGIN:VCALENDAR\r\n/);
    expect(calendar.text).toContain('SUMMARY:Rotation of scheduled (staging)');
    expect(calendar.text).toContain('SUMMARY:End of ending-later (staging)');
    expect(calendar.text).not.toContain(provider.firstKey);
    const listed = await must(call('GET', `${TENANT}/feeds`, { token: auditor }), 200);
    expect(listed.body.items).toMatchObject([{ id }]);
    expect(listed.text).not.toContain(key);

    const wrong = [
      feed.replace(key, `${key.startsWith('A') ? 'B' : 'A'}${key.slice(1)}`),
      feed.replace(id, `cal_${'0'.repeat(24)}`),
      feed.replace(world().acme.id, world().globex.id),
      feed.replace(world().acme.id, 'nowhere'),
    ];
    const refusals = await Promise.all(wrong.map((path) => anyone('GET', path)));
    expect(refusals.map(({ status }) => status)).toEqual([401, 401, 401, 401]);
    expect(new Set(refusals.map(({ body }) => body.detail)).size).toBe(1);
    expect((await anyone('GET', `${TENANT}/due.ics`)).status).toBe(400);
    expect((await anyone('GET', `${TENANT}/due`, { token: key })).status).toBe(401);

    const gone = `${TENANT}/feeds/${id}`;
    expect((await call('DELETE', gone, { token: engineer })).status).toBe(403);
    expect((await must(call('DELETE', gone), 200)).body.id).toBe(id);
    expect((await call('DELETE', gone)).status).toBe(404);
    expect((await anyone('GET', feed)).status).toBe(401);
    expect((await must(call('GET', `${TENANT}/feeds`), 200)).body.items).toEqual([]);
    const events = await must(call('GET', `${TENANT}/audit/events?action=feed.read`, { token: auditor }), 200);
    expect(events.body.items.map((event: Json) => [event.outcome, event.details.feed])).toContainEqual(['success', id]);
    expect(events.text).not.toContain(key);
  });

  it("takes a credential's own schedule away, and what is deleted is not due", async () => {
    const removed = await must(call('DELETE', schedule), 200);
    expect(removed.body).toMatchObject({ schedule: null, source: null, due_at: null, next: [] });
    expect(await dueOf('')).toEqual([]);
    await must(call('DELETE', at('acme', 'ending-later')), 200);
    expect(await dueOf('', 'ending-later')).toEqual([]);
  });
}

function inDays(days: number): string {
  return new Date(Date.now() + days * DAY_SECONDS * 1_000).toISOString();
}
