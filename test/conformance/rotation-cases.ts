// Refresh and rotation against a real OAuth server on this machine.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { apiKey, at, eventually, must, type World } from './world.ts';

export function rotationCases(world: () => World): void {
  let sandbox: Sandbox;
  beforeAll(async () => {
    sandbox = await startSandbox({ accessTokenTtlSeconds: 600 });
  });
  afterAll(async () => {
    await sandbox?.stop();
  });

  const call = (...[method, path, ask = {}]: Parameters<World['call']>) =>
    world().call(method, path, { token: world().acme.token, ...ask });

  async function connect(name: string, expiresInSeconds: number) {
    const grant = await sandbox.issueGrant();
    const { accessToken, refreshToken } = grant;
    const put = await call('PUT', at('acme', name), { body: grantBody(sandbox, accessToken, refreshToken, expiresInSeconds) });
    if (put.status >= 300) throw new Error(put.text);
    return grant;
  }

  const finished = (path: string, run: string) =>
    eventually(async () => {
      const { body } = await must(call('GET', `${path}/runs/${run}`), 200);
      return body.state === 'open' ? undefined : body;
    });
  const works = async (accessToken: string) =>
    (await fetch(sandbox.userinfoEndpoint, { headers: { authorization: `Bearer ${accessToken}` } })).status === 200;

  it('rotates on request: a run to watch, a new token that works at the provider', async () => {
    const path = at('acme', 'on-request');
    const grant = await connect('on-request', 3600);
    const started = await must(call('POST', `${path}/runs`, { body: {} }), 202);
    const run = await finished(path, started.body.id);
    expect(run).toMatchObject({ state: 'succeeded', kind: 'rotation', trigger: 'request', new_version: 2 });
    expect(run.steps.length).toBeGreaterThan(1);
    const { text } = await must(call('GET', `${path}/runs/${run.id}/events`), 200);
    expect([...text.matchAll(/^id: (\d+)$/gm)].length).toBe(run.steps.length);
    expect(text).toMatch(/event: end\ndata: \{.*"state":"succeeded"/);
    const plan = await must(call('GET', `${path}/plan`), 200);
    expect(plan.body).toMatchObject({ ready: true, plan: { strategy: 'refresh', version: 2 } });
    const value = await must(call('GET', `${path}/value`), 200);
    expect(value.body.version).toBe(2);
    expect(value.body.value.access_token).not.toBe(grant.accessToken);
    expect(await works(value.body.value.access_token)).toBe(true);
    expect(Object.keys(value.body.value).sort()).toEqual(['access_token', 'scope', 'token_type']);
  });

  it('joins callers of a rotation into one run', async () => {
    const path = at('acme', 'joined');
    await connect('joined', 3600);
    const before = sandbox.counters.tokenCalls;
    sandbox.nextToken({ kind: 'delay', ms: 300 });
    const replies = await Promise.all(Array.from({ length: 8 }, () => call('POST', `${path}/runs`, { body: {} })));
    expect(new Set(replies.map((reply) => `${reply.status} ${reply.body.id}`)).size).toBe(1);
    await finished(path, replies[0]?.body.id);
    expect(sandbox.counters.tokenCalls - before).toBe(1);
  });

  it('makes a stale read wait for the one refresh, however many read', async () => {
    const path = at('acme', 'stale');
    const before = sandbox.counters.tokenCalls;
    sandbox.nextToken({ kind: 'delay', ms: 200 });
    const grant = await connect('stale', 0);
    const replies = await Promise.all(Array.from({ length: 20 }, () => call('GET', `${path}/value`)));
    expect(replies.map((reply) => reply.status)).toEqual(Array(20).fill(200));
    const tokens = new Set(replies.map((reply) => reply.body.value.access_token));
    expect(tokens.size).toBe(1);
    expect(tokens.has(grant.accessToken)).toBe(false);
    expect(await works([...tokens][0] as string)).toBe(true);
    expect(sandbox.counters.tokenCalls - before).toBe(1);
  });

  it('refreshes ahead of expiry with nobody asking', async () => {
    const before = sandbox.counters.tokenCalls;
    await connect('ahead', 2);
    await eventually(() => (sandbox.counters.tokenCalls > before ? true : undefined));
    const path = at('acme', 'ahead');
    await eventually(async () => ((await must(call('GET', path), 200)).body.version === 2 ? true : undefined));
    expect(await works((await must(call('GET', `${path}/value`), 200)).body.value.access_token)).toBe(true);
  });

  it('tells a dead grant as such, and revives with a new one', async () => {
    const path = at('acme', 'dead');
    const { refreshToken } = await connect('dead', 3600);
    await sandbox.revokeGrant(refreshToken);
    const started = await must(call('POST', `${path}/runs`, { body: {} }), 202);
    expect(await finished(path, started.body.id)).toMatchObject({ state: 'failed' });
    expect((await must(call('GET', path), 200)).body).toMatchObject({
      health: { state: 'needs_consent', cause: 'invalid_grant' },
      reconnect: expect.any(String),
    });
    // The access token still has its life, and is served for it; nothing renews it any more.
    expect((await call('GET', `${path}/value`)).status).toBe(200);
    const again = await call('POST', `${path}/runs`, { body: {} });
    expect({ status: again.status, code: again.body.code }).toEqual({ status: 424, code: 'needs_consent' });
    await connect('dead', 3600);
    expect((await call('GET', `${path}/value`)).status).toBe(200);
  });

  it('does not let a refused client secret look like a dead grant', async () => {
    const path = at('acme', 'misconfigured');
    const { accessToken, refreshToken } = await sandbox.issueGrant();
    const body = grantBody(sandbox, accessToken, refreshToken, 3600);
    await must(call('PUT', path, { body: { ...body, value: { ...body.value, client_secret: 'wrong-not-a-real-secret' } } }), 201);
    const { body: run } = await must(call('POST', `${path}/runs`, { body: {} }), 202);
    await eventually(async () => ((await must(call('GET', `${path}/runs/${run.id}`), 200)).body.attempts > 0 ? true : undefined));
    expect((await must(call('GET', path), 200)).body.health.state).not.toBe('needs_consent');
    expect((await call('GET', `${path}/value`)).body.value.access_token).toBe(accessToken);
  });

  it('says that an API key has no connector to rotate it', async () => {
    await must(call('PUT', at('acme', 'manual'), { body: apiKey() }), 201);
    const reply = await call('POST', `${at('acme', 'manual')}/runs`, { body: {} });
    expect({ status: reply.status, code: reply.body.code }).toEqual({ status: 422, code: 'not_rotatable' });
  });

  it('reaches this machine for no connector but the sandbox', async () => {
    const before = sandbox.counters.tokenCalls;
    const { accessToken, refreshToken } = await sandbox.issueGrant();
    const body = { ...grantBody(sandbox, accessToken, refreshToken, 3600), connector: 'generic-oauth2' };
    const put = await call('PUT', at('acme', 'loopback'), { body });
    if (put.status === 201) {
      const { body: run } = await must(call('POST', `${at('acme', 'loopback')}/runs`, { body: {} }), 202);
      await eventually(async () =>
        (await must(call('GET', `${at('acme', 'loopback')}/runs/${run.id}`), 200)).body.attempts > 0 ? true : undefined,
      );
      await new Promise((resume) => setTimeout(resume, 300));
    }
    expect(sandbox.counters.tokenCalls).toBe(before);
  });
}

/** What is put for a grant of the sandbox. */
export function grantBody(sandbox: Sandbox, accessToken: string, refreshToken: string, expiresInSeconds: number) {
  return {
    kind: 'oauth2',
    connector: 'local-sandbox',
    config: { token_endpoint: sandbox.tokenEndpoint, client_id: sandbox.clientId, refresh_token_rotates: 'always' },
    value: {
      access_token: accessToken,
      refresh_token: refreshToken,
      client_secret: sandbox.clientSecret,
      expires_in: expiresInSeconds,
    },
  };
}
