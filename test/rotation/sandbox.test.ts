import { createHash, randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { probeToken } from '../../rotation/oauth2/probe.ts';
import { type Sandbox, startSandbox } from '../../rotation/sandbox/authorization-server.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { createNodeEgress } from '../../src/node/egress.ts';
import { realClock } from './kit.ts';

const egress = createNodeEgress({ clock: realClock });
const silenced = (['log', 'info', 'warn', 'error'] as const).map((method) => vi.spyOn(console, method));
let sandbox: Sandbox;
beforeAll(async () => {
  sandbox = await startSandbox({ accessTokenTtlSeconds: 1 });
});
afterAll(async () => {
  await sandbox.stop();
  vi.restoreAllMocks();
});
afterEach(() => {
  for (const spy of silenced) expect(spy).not.toHaveBeenCalled();
});

const verdictOf = (accessToken: string, at: Sandbox = sandbox) => {
  const probe = { url: at.userinfoEndpoint, method: 'GET', hosts: [new URL(at.issuer).host] } as const;
  return probeToken(probe, SecretValue.fromText(accessToken), egress, true);
};

describe('the sandbox provider', () => {
  it('issues separate grants that work, until their time is over', async () => {
    const [one, two] = [await sandbox.issueGrant(), await sandbox.issueGrant()];
    expect(one).toMatchObject({ expiresIn: 1, scope: 'openid email' });
    expect(await verdictOf(one.accessToken)).toBe('works');
    await sandbox.revokeGrant(one.refreshToken);
    expect(await verdictOf(one.accessToken)).toBe('rejected');
    expect(await verdictOf(two.accessToken)).toBe('works');
    await new Promise((done) => setTimeout(done, 2_100));
    expect(await verdictOf(two.accessToken)).toBe('rejected');
  });

  it('does not hand out a code without PKCE', async () => {
    const query = new URLSearchParams({
      client_id: sandbox.clientId,
      response_type: 'code',
      redirect_uri: `${sandbox.issuer}/callback`,
      scope: 'openid',
    });
    const without = await fetch(`${sandbox.issuer}/auth?${query}`, { redirect: 'manual' });
    expect(new URL(without.headers.get('location') ?? '', sandbox.issuer).searchParams.get('error')).toBe('invalid_request');
    query.set('code_challenge', createHash('sha256').update(randomBytes(8)).digest('base64url'));
    query.set('code_challenge_method', 'S256');
    const withChallenge = await fetch(`${sandbox.issuer}/auth?${query}`, { redirect: 'manual' });
    expect(withChallenge.headers.get('location')).toContain('/interaction/');
  });

  it('counts what reaches its token endpoint, but not its own sign-ins', async () => {
    const before = { ...sandbox.counters };
    await sandbox.issueGrant();
    expect(sandbox.counters).toEqual(before);
    await fetch(sandbox.tokenEndpoint, { method: 'POST' });
    expect(sandbox.counters).toEqual({ ...before, tokenCalls: before.tokenCalls + 1, refusals: before.refusals + 1 });
  });

  it('misbehaves once per order given, or always', async () => {
    const call = async () => (await fetch(sandbox.tokenEndpoint, { method: 'POST' })).status;
    sandbox.nextToken({ kind: 'answer', status: 503 }, { kind: 'answer', status: 429 });
    expect([await call(), await call(), await call()]).toEqual([503, 429, 400]);
    sandbox.alwaysToken({ kind: 'answer', status: 500 });
    expect([await call(), await call()]).toEqual([500, 500]);
    sandbox.alwaysToken({ kind: 'normal' });
    expect(await call()).toBe(400);
  });

  it('stops at once, in the middle of a delay too', async () => {
    const own = await startSandbox();
    own.alwaysToken({ kind: 'delay', ms: 60_000 });
    const hanging = fetch(own.tokenEndpoint, { method: 'POST' }).catch(() => 'cut');
    await vi.waitFor(() => expect(own.counters.tokenCalls).toBe(1));
    const started = Date.now();
    await own.stop();
    await hanging;
    expect(Date.now() - started).toBeLessThan(1_000);
    expect(await verdictOf('any', own)).toBe('unknown');
  });
});
