// Evidence and its opposite: every request that reached someone's things is one event, and how long an answer takes tells nothing.
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startKeyturn } from '../../src/node/start.ts';
import { describeCredential } from '../../src/vault/describe-credential.ts';
import { apiKey, at, makeWorkload, must, type Reply } from '../conformance/world.ts';
import { type Attacked, attacked, eventsOf, median, superiority } from '../kit/attacked.ts';
import { checksumOf } from '../kit/forged.ts';
import { eventsOf as events, putKey, testTenant, workloadToken } from '../kit/vaults.ts';

let world: Attacked;

beforeAll(async () => {
  world = await attacked();
});
afterAll(() => world.stop());

describe('random requests of everybody', () => {
  type Shot = { method: string; path: string; token: string | undefined; body?: unknown; headers?: Record<string, string> };

  it('are events one to one: none without, none twice, none in another log; the few without are those said to be', async () => {
    const { call, owner, admin, auditor, engineer, operator, acme, globex } = world;
    const before = {
      home: (await eventsOf(call, owner)).length,
      acme: (await eventsOf(call, owner, 'acme')).length,
      globex: (await eventsOf(call, owner, 'globex')).length,
    };
    const token = fc.constantFrom(
      owner,
      admin,
      auditor,
      engineer,
      operator,
      acme.token,
      globex.token,
      undefined,
      'kt_usr_x',
      'nonsense',
      world.spent,
    );
    const tenant = fc.constantFrom('acme', 'acme', 'globex', 'nowhere');
    const name = fc.constantFrom('a', 'b', 'c', 'nothing-here');
    const environment = fc.constantFrom('staging', 'production', 'nowhere');
    const method = fc.constantFrom('GET', 'HEAD', 'PUT', 'PATCH', 'DELETE');
    const tail = fc.constantFrom('', '', '/value', '/versions', '/runs', '/rollbacks', '/restorations', '/destructions');
    const body = fc.constantFrom<unknown>(apiKey(), {}, { description: 'd' }, { ...apiKey(), cas: 7 }, '{', { surprise: 1 });
    const headers = fc.constantFrom({}, {}, { 'if-match': '"r9"' }, { 'idempotency-key': 'k' }, { 'x-request-id': 'client' });
    const onCredential = fc
      .tuple(token, tenant, environment, name, method, tail, body, headers)
      .map(([t, ten, env, n, m, end, b, h]): Shot => {
        const real = /^\/r.*s$|^\/destructions/.test(end) && m !== 'GET' && m !== 'HEAD' ? 'POST' : m;
        return {
          method: real,
          path: `${at(ten, n, env)}${end}`,
          token: t,
          headers: h as Record<string, string>,
          ...(real === 'GET' || real === 'HEAD' || real === 'DELETE' ? {} : { body: b }),
        };
      });
    const others = fc.constantFrom(
      '/v1/tenants',
      '/v1/users',
      '/v1/audit/events?limit=1',
      '/v1/audit/checkpoint',
      '/metrics',
      '/v1/tenants/acme/keys',
      '/v1/tenants/acme/workloads',
      '/v1/tenants/globex/environments',
      '/v1/tenants/acme/audit/events?limit=1',
      '/v1/tenants/acme/audit/export',
      '/v1/tenants/acme/environments/staging/credentials?limit=2',
      '/v1/tenants/acme/environments/staging/credentials?cursor=x',
    );
    const elsewhere = fc.tuple(token, others).map(([t, path]): Shot => ({ method: 'GET', path, token: t }));
    const exchange = fc.constantFrom('acme', 'globex', 'nowhere').map(
      (ten): Shot => ({
        method: 'POST',
        path: `/v1/tenants/${ten}/token`,
        token: undefined,
        body: { grant_type: 'client_credentials', client_secret: 'not-a-real-secret' },
      }),
    );
    const shots = fc.sample(
      fc.oneof({ weight: 6, arbitrary: onCredential }, { weight: 3, arbitrary: elsewhere }, { weight: 1, arbitrary: exchange }),
      { numRuns: 600 },
    );
    const answered = new Map<string, { shot: Shot; reply: Reply }>();
    for (let i = 0; i < shots.length; i += 20) {
      const batch = shots.slice(i, i + 20);
      const replies = await Promise.all(batch.map((shot) => call(shot.method, shot.path, shot)));
      batch.forEach((shot, index) => {
        const reply = replies[index] as Reply;
        answered.set(reply.headers.get('x-request-id') as string, { shot, reply });
      });
    }
    expect(answered.size).toBe(shots.length);
    const seen = new Map<string, string[]>();
    for (const [log, from] of Object.entries(before)) {
      for (const event of await eventsOf(call, owner, log === 'home' ? undefined : log, from)) {
        if (answered.has(event.request)) seen.set(event.request, [...(seen.get(event.request) ?? []), log]);
      }
    }
    // SECURITY.md says which: nothing of anybody's was looked at, or the answer says no more than the question was malformed.
    const silent = (reply: Reply) => [400, 405, 413, 415, 429].includes(reply.status);
    const problems: string[] = [];
    let quiet = 0;
    for (const [id, { shot, reply }] of answered) {
      const logs = seen.get(id) ?? [];
      if (logs.length === 0 && silent(reply)) quiet++;
      else if (logs.length !== 1) problems.push(`${shot.method} ${shot.path} ${reply.status}: ${logs.length} events ${logs}`);
      const tenantOf = /^\/v1\/tenants\/(acme|globex)\//.exec(shot.path)?.[1];
      const right =
        reply.status === 401 && reply.body?.code !== 'insufficient_user_authentication' ? 'home' : (tenantOf ?? 'home');
      if (logs.length === 1 && logs[0] !== right && shot.method !== 'HEAD')
        problems.push(`${shot.method} ${shot.path} ${reply.status}: in the log of ${logs[0]}`);
    }
    console.info(`${answered.size} random requests: ${seen.size} with an event, ${quiet} refused as malformed without one`);
    expect(problems).toEqual([]);
    expect(quiet).toBeLessThan(answered.size / 2);
  });
});

describe('a row that was changed behind the vault’s back', () => {
  it('is an event when someone asks for it, though it cannot be looked at', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'swapped', 'not-a-real-secret');
    const reader = tenant.token((await workloadToken(tenant)).text);
    tenant.sql.run("UPDATE credential SET description = 'changed' WHERE name = 'swapped'");
    const asked = tenant.vault.submit((job) => describeCredential(job, reader, 'staging', 'swapped'));
    await expect(asked).rejects.toMatchObject({ code: 'integrity' });
    const [last, told] = events(tenant.sql).slice(-2);
    expect(told).toMatchObject({ action: 'state.damaged', reason: 'changed' });
    expect(last).toMatchObject({
      action: 'credential.describe',
      outcome: 'failure',
      reason: 'integrity',
      request: reader.request,
    });
  });
});

describe('how long an answer takes', () => {
  /** Alternating, so that drift falls on both. */
  async function compare(what: string, count: number, a: () => Promise<unknown>, b: () => Promise<unknown>): Promise<number> {
    const times: [number[], number[]] = [[], []];
    for (let i = 0; i < count * 2; i++) {
      const startedAtMs = performance.now();
      await (i % 2 === 0 ? a() : b());
      times[i % 2]?.push(performance.now() - startedAtMs);
    }
    const warm = times.map((list) => list.slice(count >> 3)) as [number[], number[]];
    const chance = superiority(warm[0], warm[1]);
    console.info(
      `${what}: medians ${warm.map((list) => `${(median(list) * 1_000).toFixed(0)} us`).join(' and ')}, P(first slower) ${chance.toFixed(3)}, n ${count}`,
    );
    return chance;
  }

  /** Far beyond noise: the slower of the two would be told apart in a single try more often than not. */
  const expectNoGrossDifference = (chance: number, what: string) => expect(Math.abs(chance - 0.5), what).toBeLessThan(0.35);

  it('does not tell a hidden credential from none, nor a client’s tenant from none', async () => {
    const { call, owner, engineer } = world;
    await must(call('PUT', at('acme', 'hidden'), { token: owner, body: apiKey() }), 201);
    const { token } = await makeWorkload(call, owner, 'acme', { name: 'timer', patterns: ['timed-*'] });
    const hidden = await compare(
      'a credential out of scope, and none',
      2_000,
      () => call('GET', `${at('acme', 'hidden')}/value`, { token }),
      () => call('GET', `${at('acme', 'absent')}/value`, { token }),
    );
    expectNoGrossDifference(hidden, 'credential');
    const tenants = await compare(
      'a tenant of others, and none',
      1_000,
      () => call('GET', at('globex'), { token: engineer }),
      () => call('GET', at('nowhere'), { token: engineer }),
    );
    expectNoGrossDifference(tenants, 'tenant');
    const ask = (tenant: string) =>
      call('POST', `/v1/tenants/${tenant}/token`, {
        body: { grant_type: 'client_credentials', client_secret: 'not-a-real-secret' },
      });
    const exchange = await compare(
      'the token endpoint of a tenant, and of none',
      1_000,
      () => ask('globex'),
      () => ask('nowhere'),
    );
    expectNoGrossDifference(exchange, 'token endpoint');
  });

  it('does not tell a wrong secret of a known token from an unknown token', async () => {
    const forged = (publicId: string) => {
      const body = `kt_usr_${publicId}${'x'.repeat(43)}`;
      return body + checksumOf(body);
    };
    const [known, unknown] = [forged(world.owner.slice(7, 19)), forged('0'.repeat(12))];
    const tries = [known, unknown].map((token) => () => world.call('GET', '/v1/whoami', { token }));
    const [first, second] = tries as [() => Promise<Reply>, () => Promise<Reply>];
    const chance = await compare(
      'a known public id with a wrong secret, and an unknown one (both mostly refused as too many)',
      1_000,
      first,
      second,
    );
    expectNoGrossDifference(chance, 'token');
  });
});

describe('what a provider says', () => {
  it('goes nowhere: an error that echoes the tokens it was sent is in no answer, no log and no event', async () => {
    const echo = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part) => parts.push(part));
      request.on('end', () => {
        const sent = Buffer.concat(parts).toString();
        response.writeHead(400, {
          'content-type': 'application/json',
          'x-echo': encodeURIComponent(sent),
          'retry-after': sent.slice(0, 20),
        });
        response.end(
          JSON.stringify({
            error: `invalid_grant ${sent}`,
            error_description: `<script>${sent}${request.headers.authorization}</script>`,
            error_uri: sent,
          }),
        );
      });
    });
    await new Promise<void>((resolve) => echo.listen(0, '127.0.0.1', resolve));
    try {
      const { call, owner, acme } = world;
      const grant = {
        kind: 'oauth2',
        connector: 'local-sandbox',
        value: {
          access_token: 'echo-a-not-a-real-secret',
          refresh_token: 'echo-r-not-a-real-secret',
          client_secret: 'echo-s-not-a-real-secret',
          expires_in: 0,
        },
        config: { token_endpoint: `http://127.0.0.1:${(echo.address() as AddressInfo).port}/token`, client_id: 'client' },
      };
      await must(call('PUT', at('acme', 'echoed'), { token: owner, body: grant }), 201);
      const answers: string[] = [];
      answers.push((await call('POST', `${at('acme', 'echoed')}/runs`, { token: acme.token, body: {} })).text);
      for (let i = 0; i < 4; i++) answers.push((await call('GET', `${at('acme', 'echoed')}/value`, { token: acme.token })).text);
      await new Promise((resume) => setTimeout(resume, 300));
      for (const path of ['', '/runs', '/versions'])
        answers.push((await call('GET', `${at('acme', 'echoed')}${path}`, { token: owner })).text);
      for (const run of JSON.parse(answers.at(-2) as string).items)
        answers.push((await call('GET', `${at('acme', 'echoed')}/runs/${run.id}`, { token: owner })).text);
      answers.push(
        JSON.stringify(await eventsOf(call, owner, 'acme')),
        world.log.join('\n'),
        (await call('GET', '/metrics', { token: owner })).text,
      );
      expect(answers.join('\n')).not.toMatch(/echo-[rs]-not|<script>/);
    } finally {
      echo.close();
    }
  });
});

describe('answers that bring a value', () => {
  it('are kept by no cache, unpacked from nothing, and their tag is not made of the value', async () => {
    const { call, owner, acme } = world;
    const tags: (string | null)[] = [];
    for (const name of ['tag-a', 'tag-b']) {
      await must(call('PUT', at('acme', name), { token: owner, body: apiKey('same-not-a-real-secret') }), 201);
      for (const encoding of ['gzip', 'br', 'identity', '*']) {
        const reply = await call('GET', `${at('acme', name)}/value`, {
          token: acme.token,
          headers: { 'accept-encoding': encoding, 'cache-control': 'only-if-cached', pragma: 'x' },
        });
        expect(reply.headers.get('cache-control')).toBe('no-store');
        expect(reply.headers.get('content-encoding')).toBeNull();
        expect(reply.headers.get('last-modified')).toBeNull();
        expect(reply.headers.get('vary') ?? '').not.toMatch(/encoding/i);
        tags.push(reply.headers.get('etag'));
      }
    }
    expect(new Set(tags).size).toBe(2);
    const ranged = await call('GET', `${at('acme', 'tag-a')}/value`, { token: acme.token, headers: { range: 'bytes=0-3' } });
    expect([ranged.status, ranged.headers.get('content-range')]).toEqual([200, null]);
    const origin = await call('GET', `${at('acme', 'tag-a')}/value`, {
      token: acme.token,
      headers: { origin: 'https://elsewhere.example' },
    });
    expect([...origin.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([]);
  });
});

describe('the data directory', () => {
  it('is private whatever the umask, and never a link to somewhere else', async () => {
    const place = mkdtempSync(join(tmpdir(), 'keyturn-modes-'));
    const former = process.umask(0);
    try {
      const dataDirectory = join(place, 'data');
      const running = await startKeyturn({ dataDirectory, host: '127.0.0.1', port: 0, log: () => {} });
      await running.close();
      for (const file of ['.', ...readdirSync(dataDirectory, { recursive: true, encoding: 'utf8' })]) {
        const stats = statSync(join(dataDirectory, file));
        expect((stats.mode & 0o777).toString(8), file).toBe(stats.isDirectory() ? '700' : '600');
      }
      const start = (name: string) =>
        startKeyturn({ dataDirectory: join(place, name), host: '127.0.0.1', port: 0, log: () => {} });
      mkdirSync(join(place, 'elsewhere'), { mode: 0o700 });
      symlinkSync(join(place, 'elsewhere'), join(place, 'link'));
      await expect(start('link')).rejects.toThrow();
      symlinkSync(dataDirectory, join(place, 'second-name'));
      await expect(start('second-name')).rejects.toThrow();
      mkdirSync(join(place, 'open'), { mode: 0o777 });
      await (await start('open')).close();
      expect((statSync(join(place, 'open')).mode & 0o777).toString(8)).toBe('700');
      chmodSync(dataDirectory, 0o777);
      await expect(start('data'), 'whoever could write there may have left another key').rejects.toThrow(/writable by everyone/);
    } finally {
      process.umask(former);
      rmSync(place, { recursive: true, force: true });
    }
  });
});
