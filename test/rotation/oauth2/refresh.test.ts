import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import type { ClientAuthentication, Egress, OAuth2Spec } from '../../../rotation/connector.ts';
import { type RefreshGrant, type RefreshOutcome, refreshGrant } from '../../../rotation/oauth2/refresh.ts';
import { type Sandbox, type SandboxGrant, startSandbox } from '../../../rotation/sandbox/authorization-server.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { createNodeEgress } from '../../../src/node/egress.ts';
import { GENERIC, meaningOf, realClock, startServer, textOf } from '../kit.ts';

const egress = createNodeEgress({ clock: realClock });
let sandbox: Sandbox;

beforeAll(async () => {
  sandbox = await startSandbox({ accessTokenTtlSeconds: 60 });
});
afterAll(() => sandbox.stop());
afterEach(() => vi.restoreAllMocks());

function grantWith(refreshToken: string, at: Sandbox = sandbox): RefreshGrant {
  return {
    clientId: at.clientId,
    clientSecret: SecretValue.fromText(at.clientSecret),
    refreshToken: SecretValue.fromText(refreshToken),
    allowLoopback: true,
  };
}

function refresh(
  refreshToken: string,
  { tokenEndpoint = sandbox.tokenEndpoint, ...overrides }: Partial<RefreshGrant> & { tokenEndpoint?: string } = {},
  spec: OAuth2Spec = GENERIC,
): Promise<RefreshOutcome> {
  return refreshGrant({ ...spec, tokenEndpoint }, { ...grantWith(refreshToken), ...overrides }, egress, realClock);
}

async function succeed(refreshToken: string) {
  const outcome = await refresh(refreshToken);
  if (outcome.kind !== 'refreshed') throw new Error(`expected refreshed, got ${outcome.kind} ${outcome.cause}`);
  return outcome;
}

async function isAlive(accessToken: string): Promise<boolean> {
  const answer = await fetch(sandbox.userinfoEndpoint, { headers: { authorization: `Bearer ${accessToken}` } });
  return answer.status === 200;
}

describe('a refresh at a real authorization server', () => {
  it('brings a new pair that works, counted from the moment the request left', async () => {
    const grant = await sandbox.issueGrant();
    const before = Date.now();
    const outcome = await succeed(grant.refreshToken);
    expect(textOf(outcome.refreshToken)).not.toBe(grant.refreshToken);
    expect(await isAlive(textOf(outcome.accessToken) ?? '')).toBe(true);
    expect(outcome).toMatchObject({ tokenType: 'Bearer', expirySource: 'expires_in', scope: 'openid email' });
    expect(outcome.expiresAtMs).toBeGreaterThanOrEqual(before + 60_000);
    expect(outcome.expiresAtMs).toBeLessThan(Date.now() + 60_001);
  });

  it('kills the whole family when an old refresh token is used again', async () => {
    const grant = await sandbox.issueGrant();
    const first = await succeed(grant.refreshToken);
    expect(await refresh(grant.refreshToken)).toMatchObject({ means: 'dead', cause: 'invalid_grant', status: 400 });
    expect(await refresh(textOf(first.refreshToken) ?? '')).toMatchObject({ means: 'dead', cause: 'invalid_grant' });
    expect(await isAlive(textOf(first.accessToken) ?? '')).toBe(false);
  });

  it('lets exactly one of several simultaneous uses of one refresh token win', async () => {
    const grant = await sandbox.issueGrant();
    const outcomes = await Promise.all([1, 2, 3, 4].map(() => refresh(grant.refreshToken)));
    expect(outcomes.filter(({ kind }) => kind === 'refreshed')).toHaveLength(1);
    expect(outcomes.filter((outcome) => meaningOf(outcome) === 'dead')).toHaveLength(3);
  });

  it('is dead after the person withdrew consent', async () => {
    const grant = await sandbox.issueGrant();
    await sandbox.revokeGrant(grant.refreshToken);
    expect(await isAlive(grant.accessToken)).toBe(false);
    expect(await refresh(grant.refreshToken)).toMatchObject({ means: 'dead', cause: 'invalid_grant' });
  });

  it('tells a wrong client secret from a dead grant, and the grant survives it', async () => {
    const grant = await sandbox.issueGrant();
    const wrong = { clientSecret: SecretValue.fromText('wrong-not-a-real-secret') };
    expect(await refresh(grant.refreshToken, wrong)).toMatchObject({
      means: 'configuration',
      cause: 'invalid_client',
      status: 401,
    });
    expect(await refresh(grant.refreshToken, { clientId: 'unknown' })).toMatchObject({
      means: 'configuration',
      cause: 'invalid_client',
    });
    expect((await refresh(grant.refreshToken)).kind).toBe('refreshed');
  });

  it('may narrow the scope and refuses to widen it', async () => {
    const grant = await sandbox.issueGrant();
    const narrowed = await refresh(grant.refreshToken, { scope: 'openid' });
    expect(narrowed).toMatchObject({ kind: 'refreshed', scope: 'openid' });
    const next = narrowed.kind === 'refreshed' ? (textOf(narrowed.refreshToken) ?? '') : '';
    expect(await refresh(next, { scope: 'openid phone' })).toMatchObject({ means: 'configuration', cause: 'invalid_scope' });
  });

  it('honours Retry-After of 429 and treats 500 as passing, with the grant unharmed', async () => {
    const grant = await sandbox.issueGrant();
    sandbox.nextToken(
      { kind: 'answer', status: 429, headers: { 'retry-after': '17' } },
      { kind: 'answer', status: 500, body: '{"error":"invalid_grant"}' },
      { kind: 'answer', status: 503, headers: { 'retry-after': new Date(Date.now() + 90_000).toUTCString() } },
    );
    expect(await refresh(grant.refreshToken)).toMatchObject({
      kind: 'throttled',
      cause: 'http_429',
      retryAfterSeconds: 17,
    });
    expect(await refresh(grant.refreshToken)).toMatchObject({ kind: 'transient', cause: 'http_5xx', mayBeSpent: true });
    const busy = await refresh(grant.refreshToken);
    expect(busy).toMatchObject({ kind: 'transient', status: 503 });
    expect('retryAfterSeconds' in busy && busy.retryAfterSeconds).toBeGreaterThan(85);
    expect((await refresh(grant.refreshToken)).kind).toBe('refreshed');
  });

  it.each([
    ['drop', 'sent_and_lost', 'connection_lost'],
    ['truncate', 'sent_and_lost', 'connection_lost'],
    ['garble', 'answered_oddly', 'no_token_answer'],
  ] as const)(
    'does not know what became of the grant when the answer is lost (%s), and the token is in fact spent',
    async (kind, outcome, cause) => {
      const grant = await sandbox.issueGrant();
      const turnedBefore = sandbox.counters.refreshes;
      sandbox.nextToken({ kind });
      expect(await refresh(grant.refreshToken)).toMatchObject({ kind: outcome, cause });
      expect(sandbox.counters.refreshes).toBe(turnedBefore + 1);
      expect(await refresh(grant.refreshToken)).toMatchObject({ means: 'dead' });
    },
  );

  it('spends nothing when nobody listens', async () => {
    const grant = await sandbox.issueGrant();
    const closed = await startServer(() => {});
    await closed.stop();
    expect(await refresh(grant.refreshToken, { tokenEndpoint: `${closed.origin}/token` })).toEqual({
      kind: 'not_sent',
      means: 'transient',
      cause: 'connect_failed',
      said: { systemCode: 'ECONNREFUSED' },
    });
    expect((await refresh(grant.refreshToken)).kind).toBe('refreshed');
  });

  it.each(['client_secret_basic', 'client_secret_post', 'private_key_jwt'] as const)('authenticates with %s', async (method) => {
    const own = await startSandbox({ clientAuthentication: method });
    try {
      const { refreshToken } = await own.issueGrant();
      const withKey = {
        ...grantWith(refreshToken, own),
        privateKeyJwk: SecretValue.fromText(JSON.stringify(own.clientPrivateKeyJwk)),
      };
      const spec = { ...GENERIC, tokenEndpoint: own.tokenEndpoint, clientAuthentication: method };
      expect(await refreshGrant(spec, withKey, egress, realClock)).toMatchObject({ kind: 'refreshed' });
    } finally {
      await own.stop();
    }
  });
});

describe('what leaves and what stays', () => {
  it.each([
    ['client_secret_basic', {}, 'client_secret_missing'],
    ['client_secret_post', { clientSecret: SecretValue.fromText('') }, 'client_secret_missing'],
    ['private_key_jwt', {}, 'client_key_missing'],
    ['private_key_jwt', { privateKeyJwk: SecretValue.fromText('{"kty":"broken-not-a-real-secret"}') }, 'client_key_unusable'],
  ] as [ClientAuthentication, Partial<RefreshGrant>, string][])(
    'sends nothing when %s cannot be done (%#)',
    async (method, overrides, cause) => {
      const send = vi.fn<Egress['send']>();
      const { clientSecret: _, ...bare } = grantWith('refresh-not-a-real-secret');
      const outcome = await refreshGrant(
        { ...GENERIC, clientAuthentication: method },
        { ...bare, ...overrides },
        { send },
        realClock,
      );
      expect(outcome).toMatchObject({ kind: 'not_sent', means: 'configuration', cause });
      expect(send).not.toHaveBeenCalled();
    },
  );

  it('sends a JSON body, the provider’s scope separator and extra parameters that cannot replace a field of the protocol', async () => {
    const server = await startServer((_, res) => res.writeHead(200).end('{"access_token":"at-not-a-real-secret"}'));
    const spec: OAuth2Spec = {
      ...GENERIC,
      bodyFormat: 'json',
      clientAuthentication: 'client_secret_post',
      scopeSeparator: ',',
      extraParameters: { resource: 'crm', refresh_token: 'replaced' },
    };
    const overrides = {
      tokenEndpoint: `${server.origin}/t`,
      scope: 'a b',
      clientId: 'id',
      clientSecret: SecretValue.fromText('cs-not-a-real-secret'),
    };
    await refresh('rt-not-a-real-secret', overrides, spec);
    await server.stop();
    expect(JSON.parse(server.requests[0]?.body ?? '')).toEqual({
      resource: 'crm',
      grant_type: 'refresh_token',
      refresh_token: 'rt-not-a-real-secret',
      scope: 'a,b',
      client_id: 'id',
      client_secret: 'cs-not-a-real-secret',
    });
    expect(server.requests[0]?.headers).toMatchObject({ accept: 'application/json', 'content-type': 'application/json' });
  });

  it('does not follow a redirect, so no other host sees the refresh token', async () => {
    const thief = await startServer((_, res) => res.writeHead(200).end('{"access_token":"x"}'));
    const server = await startServer((_, res) => res.writeHead(307, { location: `${thief.origin}/token` }).end());
    const outcome = await refresh('rt-not-a-real-secret', { tokenEndpoint: `${server.origin}/token` });
    await Promise.all([server.stop(), thief.stop()]);
    expect(outcome).toMatchObject({ kind: 'answered_oddly', cause: 'redirect_refused', status: 307 });
    expect(thief.requests).toHaveLength(0);
  });

  it('calls a defect of the egress unknown, never harmless', async () => {
    const broken: Egress = { send: () => Promise.reject(new TypeError('defect with canary-not-a-real-secret inside')) };
    expect(await refreshGrant(GENERIC, grantWith('rt-not-a-real-secret'), broken, realClock)).toEqual({
      kind: 'sent_and_lost',
      cause: 'egress_failed',
      certain: true,
    });
  });

  it('lets no byte of a token, a client secret or a provider text into outcomes or logs', async () => {
    const written: string[] = [];
    for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
      vi.spyOn(console, method).mockImplementation((...parts) => void written.push(parts.map(String).join(' ')));
    }
    const canary = 'canary-7f3a-not-a-real-secret';
    const echoes = [
      [400, `{"error":"invalid_grant","error_description":"${canary}"}`],
      [400, `{"error":"${canary}"}`],
      [200, `{"ok":false,"error":"${canary}"}`],
      [403, `<html>${canary}</html>`],
      [500, canary],
      [200, `{"access_token":"${canary}\\u0007"}`],
      [200, `{"access_token":"${canary}","refresh_token":7}`],
      [302, canary],
      [200, `{"access_token":"${canary}","refresh_token":"${canary}","token_type":"${canary}${'x'.repeat(80)}","scope":"a"}`],
    ] as const;
    let turn = 0;
    const server = await startServer((_, res) => {
      const [status, body] = echoes[turn++] ?? [200, ''];
      res.writeHead(status, { location: `https://${canary}.example/`, 'www-authenticate': canary }).end(body);
    });
    for (const _ of echoes) {
      const outcome = await refresh(canary, { tokenEndpoint: `${server.origin}/t`, clientSecret: SecretValue.fromText(canary) });
      written.push(
        JSON.stringify(outcome),
        String(outcome),
        (await import('node:util')).inspect(outcome, { depth: 9, showHidden: true }),
      );
    }
    await server.stop();
    expect(turn).toBe(echoes.length);
    expect(written.join('\n')).not.toContain('canary-7f3a');
  });
});

describe('many grants', () => {
  it('holds more grants than a default in-memory store would', async () => {
    const grants: SandboxGrant[] = [];
    for (let i = 0; i < 300; i++) grants.push(await sandbox.issueGrant());
    expect((await refresh(grants[0]?.refreshToken ?? '')).kind).toBe('refreshed');
  });
});
