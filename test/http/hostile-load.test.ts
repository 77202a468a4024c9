// What costs the service more than the one who sends it: floods, bombs, slow peers, and what each leaves in the log.

import { statSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startKeyturn } from '../../src/node/start.ts';
import { apiKey, at, callerOf, eventually, type Json, makeWorkload, must } from '../conformance/world.ts';
import { type Attacked, attacked, eventsOf, median, statusesOf } from '../kit/attacked.ts';

let world: Attacked;

beforeAll(async () => {
  world = await attacked();
});
afterAll(() => world.stop());

/** CPU milliseconds of this process for one request, sender's part included: the middle of `times`. */
async function cpuOf(ask: () => Promise<unknown>, times = 9): Promise<number> {
  const costs: number[] = [];
  for (let i = 0; i < times; i++) {
    const before = process.cpuUsage();
    await ask();
    const spent = process.cpuUsage(before);
    costs.push((spent.user + spent.system) / 1_000);
  }
  return median(costs);
}

describe('a body before anyone is known', () => {
  const LIMIT = 256 * 1024;
  const fill = (unit: string, close = '') => unit.repeat(Math.floor((LIMIT - close.length - 2) / unit.length));
  const bombs: [string, string][] = [
    ['objects in objects', fill('{"a":')],
    ['lists in lists', fill('[')],
    ['many members', `{${Array.from({ length: 22_000 }, (_, i) => `"k${i}":1`).join(',')}}`.slice(0, LIMIT - 1)],
    ['many elements', `[${fill('1,')}1]`],
    ['one long number', fill('9')],
    ['a tiny number', `0.${fill('0')}1`],
    ['one long text', `"${fill('x')}"`],
    ['escapes', `"${fill('\\u0041')}"`],
    ['surrogates', `"${fill('\\ud83d\\ude00')}"`],
    ['white space', fill(' ')],
    ['quotes', fill('"')],
    ['colliding names', `{${Array.from({ length: 12_000 }, () => '"a":1').join(',')}}`],
    ['too large', 'x'.repeat(LIMIT + 1)],
  ];

  it('is refused for a few milliseconds of work, whatever it is made of', async () => {
    const plain = await cpuOf(() => world.call('PUT', at('acme', 'bomb'), { body: `"${'x'.repeat(LIMIT - 10)}"` }));
    const costs: Record<string, number> = {};
    for (const [what, body] of bombs) {
      const reply = await world.call('PUT', at('acme', 'bomb'), { body });
      expect([400, 413], what).toContain(reply.status);
      costs[what] = await cpuOf(() => world.call('PUT', at('acme', 'bomb'), { body }));
    }
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const fields = Array.from({ length: 30_000 }, (_, i) => `k${i}=`)
      .join('&')
      .slice(0, LIMIT - 1);
    costs['a form of many fields'] = await cpuOf(() =>
      world.call('POST', '/v1/tenants/acme/token', { body: fields, headers: form }),
    );
    costs['a form of percents'] = await cpuOf(() =>
      world.call('POST', '/v1/tenants/acme/token', { body: `a=${'%'.repeat(LIMIT - 3)}`, headers: form }),
    );
    const figures = Object.entries(costs).map(([what, ms]) => `${what} ${ms.toFixed(1)}`);
    console.info(
      `CPU ms before authentication at the size limit (a plain text of that size: ${plain.toFixed(1)}): ${figures.join(', ')}`,
    );
    for (const [what, ms] of Object.entries(costs)) expect(ms, what).toBeLessThan(150);
    expect((await world.call('GET', '/health')).status).toBe(200);
  });

  it('that never ends is cut at the limit, not collected', async () => {
    const { hostname, port } = new URL(world.url);
    const socket = connect(Number(port), hostname);
    let sent = 0;
    let answer = '';
    socket.on('data', (part) => {
      answer += part.toString('latin1');
    });
    socket.on('error', () => {});
    socket.write(
      'POST /v1/tenants/acme/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n',
    );
    const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(65_536, 0x20), Buffer.from('\r\n')]);
    for (let i = 0; i < 200 && answer === '' && !socket.destroyed; i++) {
      socket.write(chunk);
      sent += 65_536;
      await new Promise((resume) => setTimeout(resume, 5));
    }
    await eventually(() => (answer === '' ? undefined : true));
    socket.destroy();
    expect(statusesOf(answer)[0]).toBe(413);
    expect(sent).toBeLessThan(4_000_000);
  });
});

describe('lists', () => {
  it('take no limit, cursor or place that is not theirs', async () => {
    const { call, owner } = world;
    for (const name of ['l1', 'l2', 'l3']) await must(call('PUT', at('acme', name), { token: owner, body: apiKey() }), 201);
    const lists = [
      at('acme'),
      '/v1/tenants/acme/workloads',
      '/v1/tenants',
      '/v1/users',
      `${at('acme', 'l1')}/versions`,
      `${at('acme', 'l1')}/runs`,
    ];
    for (const path of [...lists, '/v1/tenants/acme/audit/events', '/v1/audit/events'])
      for (const limit of [
        '0',
        '-1',
        '501',
        '1000000000',
        '1e9',
        '1.5',
        'NaN',
        'Infinity',
        '',
        'x',
        '1,2',
        '1;drop',
        '9007199254740993',
        '１',
      ])
        expect(
          (await call('GET', `${path}?limit=${encodeURIComponent(limit)}`, { token: owner })).status,
          `${path} ${limit}`,
        ).toBe(400);
    const good: string = (await must(call('GET', `${at('acme')}?limit=1`, { token: owner }), 200)).body.next_cursor;
    const bytes = Buffer.from(good, 'base64url');
    const forged = (edit: (copy: Buffer) => void) => {
      const copy = Buffer.from(bytes);
      edit(copy);
      return copy.toString('base64url');
    };
    const cursors = [
      forged((copy) => copy.fill(0, 0, 12)),
      forged((copy) => copy.writeUInt8(copy.readUInt8(0) ^ 1, 0)),
      forged((copy) => copy.write('zz', copy.length - 2)),
      Buffer.concat([bytes, Buffer.from('x')]).toString('base64url'),
      `${good}=`,
      `${good} `,
      good.slice(0, -1),
      'x'.repeat(600),
      "' OR 1=1 --",
      '../../etc/passwd',
      '\u0000',
    ];
    for (const path of lists)
      for (const cursor of cursors)
        expect(
          (await call('GET', `${path}?cursor=${encodeURIComponent(cursor)}`, { token: owner })).status,
          `${path} ${cursor.slice(0, 20)}`,
        ).toBe(400);
    for (const path of lists.slice(1))
      expect((await call('GET', `${path}?cursor=${good}`, { token: owner })).status, path).toBe(400);
    expect((await call('GET', `${at('acme', '', 'production')}?cursor=${good}`, { token: owner })).status).toBe(400);
    expect((await call('GET', `${at('globex')}?cursor=${good}`, { token: owner })).status).toBe(400);
    for (const query of [
      'from=-1',
      'before=-1',
      'from=1e400',
      'from=x',
      'since=yesterday',
      'since=2026-13-01T00:00:00Z',
      'until=2026-01-01',
      'action=',
      'outcome=maybe',
    ])
      expect([200, 400], query).toContain((await call('GET', `/v1/tenants/acme/audit/events?${query}`, { token: owner })).status);
    for (const query of [
      "search='%3B%20DROP%20TABLE%20credential%3B--",
      'search=%25',
      'search=_',
      "label=a'%3Db'",
      'label=%24.x%3D1',
      'label=%22%3D%22',
    ])
      expect((await must(call('GET', `${at('acme')}?${query}`, { token: owner }), 200)).body.items, query).toEqual([]);
    expect((await call('GET', `${at('acme')}?search=%00`, { token: owner })).status).toBe(400);
    expect((await must(call('GET', at('acme'), { token: owner }), 200)).body.items).toHaveLength(3);
  });

  it('of one row cost whoever sees little no more than lists of many', async () => {
    const { call, owner } = world;
    for (let i = 0; i < 1_200; i += 100)
      await Promise.all(
        Array.from({ length: 100 }, (_, k) =>
          must(call('PUT', at('globex', `many-${i + k}`), { token: owner, body: apiKey() }), 201),
        ),
      );
    const { token } = await makeWorkload(call, owner, 'globex', { name: 'narrow', patterns: ['zzz-*'] });
    const [one, many] = [1, 500].map((limit) => () => must(call('GET', `${at('globex')}?limit=${limit}`, { token }), 200));
    const [ofOne, ofMany] = [await cpuOf(one as () => Promise<unknown>, 5), await cpuOf(many as () => Promise<unknown>, 5)];
    console.info(`CPU ms of a list out of scope over 1200 names: ${ofOne.toFixed(1)} by one, ${ofMany.toFixed(1)} by 500`);
    expect(ofOne).toBeLessThan(5 * ofMany + 5);
  });

  it('searched with what backtracks elsewhere take linear time', async () => {
    const { call, owner } = world;
    for (const query of [
      `search=${'a'.repeat(128)}`,
      `label=${'='.repeat(300)}`,
      `label=${'a'.repeat(399)}`,
      `label=a%3D${'%25'.repeat(120)}`,
    ]) {
      const ms = await cpuOf(() => call('GET', `${at('acme')}?${query}`, { token: owner }), 3);
      expect(ms, query.slice(0, 20)).toBeLessThan(100);
    }
  });
});

describe('slow peers', () => {
  it('hold one socket each and nobody else: two hundred half-written requests, and everyone is served', async () => {
    const { hostname, port } = new URL(world.url);
    const sockets = Array.from({ length: 200 }, (_, index) => {
      const socket = connect(Number(port), hostname);
      socket.on('error', () => {});
      const start =
        index % 2 === 0
          ? 'GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: '
          : 'POST /v1/tenants/acme/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{';
      socket.write(start);
      return socket;
    });
    const takes: number[] = [];
    for (let i = 0; i < 30; i++) {
      const startedAtMs = performance.now();
      await must(world.call('GET', '/v1/whoami', { token: world.owner }), 200);
      takes.push(performance.now() - startedAtMs);
    }
    console.info(`whoami beside 200 half-written requests: median ${median(takes).toFixed(1)} ms`);
    expect(median(takes)).toBeLessThan(200);
    for (const socket of sockets) socket.destroy();
  });
});

describe('a flood of wrong tokens', () => {
  it('fills no disk: all are counted in a few events, right tokens still pass, and no count is lost when the flood or the service ends', async () => {
    const logBytes = () => statSync(join(world.directory, 'home.db-wal'), { throwIfNoEntry: false })?.size ?? 0;
    const before = await eventsOf(world.call, world.owner);
    const bytesBefore = logBytes();
    const total = 4_000;
    const statuses: number[] = [];
    for (let sent = 0; sent < total; sent += 200)
      statuses.push(
        ...(
          await Promise.all(
            Array.from({ length: 200 }, (_, index) =>
              world.call('GET', '/v1/whoami', { token: `kt_usr_${String(sent + index).padStart(12, '0')}not-a-real-secret` }),
            ),
          )
        ).map((reply) => reply.status),
      );
    expect(statuses.filter((status) => status === 401 || status === 429)).toHaveLength(total);
    await must(world.call('GET', '/v1/whoami', { token: world.owner }), 200);
    const refused = statuses.filter((status) => status === 401).length;
    expect(refused).toBeLessThan(total / 2);
    const during = (await eventsOf(world.call, world.owner, undefined, before.length)).filter(
      (event) => event.action === 'authentication',
    );
    console.info(
      `${total} wrong tokens: ${refused} of 401, ${during.length} events, the home database's log grew by ${logBytes() - bytesBefore} bytes`,
    );
    expect(during.length).toBeLessThan(refused + 5);
    await world.running.close();
    const again = await startKeyturn({ dataDirectory: world.directory, host: '127.0.0.1', port: 0, log: () => {} });
    try {
      const events = (await eventsOf(callerOf(again.url), world.owner, undefined, before.length)).filter(
        (event) => event.action === 'authentication',
      );
      const counted = events.reduce((sum: number, event: Json) => sum + (event.details?.count ?? 1), 0);
      expect(counted).toBe(total);
    } finally {
      await again.close();
    }
  });
});
