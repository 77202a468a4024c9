// Disconnecting and importing, black box, against the sandbox provider on this machine.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { grantBody } from './rotation-cases.ts';
import { apiKey, at, eventually, type Json, must, type World } from './world.ts';

export function disconnectCases(world: () => World): void {
  let sandbox: Sandbox;
  beforeAll(async () => {
    sandbox = await startSandbox({ accessTokenTtlSeconds: 600 });
  });
  afterAll(async () => {
    await sandbox?.stop();
  });

  const call = (...[method, path, ask = {}]: Parameters<World['call']>) =>
    world().call(method, path, { token: world().admin, ...ask });
  const read = (path: string) => world().call('GET', `${path}/value`, { token: world().acme.token });
  const put = async (name: string, more: Json = {}, config: Json = {}) => {
    const { accessToken, refreshToken } = await sandbox.issueGrant();
    const body = grantBody(sandbox, accessToken, refreshToken, 3600);
    await must(call('PUT', at('acme', name), { body: { ...body, ...more, config: { ...body.config, ...config } } }), 201);
    return { path: at('acme', name), accessToken };
  };
  const revocable = () => ({ revocation_endpoint: `${new URL(sandbox.tokenEndpoint).origin}/token/revocation` });
  const works = async (accessToken: string) =>
    (await fetch(sandbox.userinfoEndpoint, { headers: { authorization: `Bearer ${accessToken}` } })).status === 200;

  it('disconnects: unreadable at once with where to connect again, and dead at the provider soon after', async () => {
    const { path, accessToken } = await put('leaves', {}, revocable());
    expect(await works(accessToken)).toBe(true);
    const { body } = await must(call('POST', `${path}/disconnections`, { body: {} }), 200);
    const reconnect = `/v1/tenants/${world().acme.id}/environments/staging/credentials/leaves/connections`;
    expect(body).toMatchObject({ health: { state: 'disconnected', cause: 'on_request' }, reconnect, manual_steps: [] });
    expect(['waiting', 'revoked']).toContain(body.grant.revocation.state);
    const refused = await read(path);
    expect({ status: refused.status, problem: refused.body }).toMatchObject({
      status: 424,
      problem: { code: 'needs_consent', health: 'disconnected', cause: 'on_request', reconnect },
    });
    await eventually(async () =>
      (await must(call('GET', path), 200)).body.grant.revocation.state === 'revoked' ? true : undefined,
    );
    expect(await works(accessToken)).toBe(false);
    expect((await read(`${path}`)).status).toBe(424);
    expect((await call('POST', `${path}/runs`, { body: {} })).status).toBe(424);
  });

  it('disconnected twice is as once; without revoking the provider hears nothing', async () => {
    const { path, accessToken } = await put('stays-there', {}, revocable());
    const first = await must(call('POST', `${path}/disconnections`, { body: { revoke: false } }), 200);
    const second = await must(call('POST', `${path}/disconnections`, { body: { revoke: false } }), 200);
    expect(second.body).toEqual(first.body);
    expect(first.body.grant.revocation).toMatchObject({ state: 'not_asked', attempts: 0 });
    expect(await works(accessToken)).toBe(true);
  });

  it('says what a person does where no call revokes', async () => {
    const { path } = await put('by-hand');
    const { body } = await must(call('POST', `${path}/disconnections`, { body: {} }), 200);
    expect(body.grant.revocation.state).toBe('not_possible');
    expect(body.manual_steps.length).toBeGreaterThan(0);
  });

  it('disconnects nothing but grants, and for nobody who may not', async () => {
    await must(call('PUT', at('acme', 'just-a-key'), { body: apiKey() }), 201);
    expect((await call('POST', `${at('acme', 'just-a-key')}/disconnections`, { body: {} })).status).toBe(409);
    const { path } = await put('not-for-programs', {}, revocable());
    const reply = await world().call('POST', `${path}/disconnections`, { token: world().acme.token, body: {} });
    expect(reply.status).toBe(403);
    expect((await call('POST', `${path}/disconnections`, { body: { revoke: true, force: 1 } })).status).toBe(400);
    expect((await must(call('GET', path), 200)).body.health.state).toBe('ready');
  });

  it('keeps where an imported grant comes from, and what it may do held against what is needed', async () => {
    const workflows = [{ name: 'sync', scopes: ['openid', 'contacts.read'] }];
    const value = { access_token: 'a-not-a-real-secret', scope: 'openid extra.scope', expires_in: 600 };
    const more = { import: { from: 'nango', still_used_there: true }, value };
    const { path } = await put('moved-in', more, { workflows });
    const { grant } = (await must(call('GET', path), 200)).body;
    expect(grant).toMatchObject({ imported_from: 'nango', connected_at: null, guard: null, revocation: null });
    expect(grant.scopes).toMatchObject({ missing: ['contacts.read'], extra: ['extra.scope'], source: 'answer' });
    expect((await must(call('GET', `${path}/versions`), 200)).body.items[0].origin).toBe('import');
    const bad = await call('PUT', path, { body: { ...apiKey(), import: { from: 'nango' } } });
    expect(bad.status).toBe(400);
  });
}
