// What leaves for a revocation or introspection endpoint, in each of the declared shapes, and what is made of the answers.
import { describe, expect, it } from 'vitest';
import { type EgressAnswer, EgressFailure, type EgressRequest, type RevocationSpec } from '../../../rotation/connector.ts';
import { readGrantedScopes } from '../../../rotation/oauth2/granted-scope.ts';
import { introspectExpiry, introspectToken } from '../../../rotation/oauth2/introspection.ts';
import { askProbe } from '../../../rotation/oauth2/probe.ts';
import { revokeGrant } from '../../../rotation/oauth2/revocation.ts';
import type { ResolvedConnector } from '../../../rotation/oauth2/settings.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { answerOf, GENERIC, textOf } from '../kit.ts';

const clock = { now: () => 1_000_000 };
const secret = (text: string) => SecretValue.fromText(text);
const CLIENT = () => ({ clientId: 'client', clientSecret: secret('client-not-a-real-secret'), allowLoopback: false });
const TOKENS = () => ({ refreshToken: secret('refresh-not-a-real-secret'), accessToken: secret('access-not-a-real-secret') });
const SPEC: RevocationSpec = {
  url: 'https://api.example/revoke',
  method: 'POST',
  authentication: 'client_secret_basic',
  bodyFormat: 'form',
  token: 'refresh',
  tokenParameter: 'token',
  ends: 'grant',
};

interface Sent {
  readonly url: string;
  readonly method: string;
  readonly authorization: string | undefined;
  readonly body: string;
}

function network(...answers: (EgressAnswer | Error)[]) {
  const sent: Sent[] = [];
  const send = async (request: EgressRequest) => {
    const { authorization } = request.headers;
    const body = request.body instanceof SecretValue ? textOf(request.body) : new TextDecoder().decode(request.body);
    const header = authorization instanceof SecretValue ? textOf(authorization) : authorization;
    sent.push({ url: request.url, method: request.method, authorization: header, body: body ?? '' });
    const next = answers.shift() ?? answerOf(200, {});
    if (next instanceof Error) throw next;
    return next;
  };
  return { sent, egress: { send } };
}

async function revoke(changes: Partial<RevocationSpec>, answer: EgressAnswer | Error = answerOf(200, {}), tokens = TOKENS()) {
  const { sent, egress } = network(answer);
  const outcome = await revokeGrant({ ...SPEC, ...changes }, [], tokens, { client: CLIENT(), egress, clock });
  return { outcome, sent: sent[0] };
}

describe('a revocation', () => {
  it('proves the client by a header and names the token in a form', async () => {
    const { outcome, sent } = await revoke({ sendsHint: true });
    expect(outcome).toEqual({ kind: 'revoked', alreadyGone: false });
    expect(sent).toMatchObject({ method: 'POST', body: 'token=refresh-not-a-real-secret&token_type_hint=refresh_token' });
    expect(sent?.authorization).toMatch(/^Basic /);
  });

  it('falls back to the access token where there is no refresh token, and says so', async () => {
    const tokens = { refreshToken: undefined, accessToken: secret('access-not-a-real-secret') };
    const { sent } = await revoke({ sendsHint: true }, answerOf(200, {}), tokens as never);
    expect(sent?.body).toBe('token=access-not-a-real-secret&token_type_hint=access_token');
  });

  it('sends JSON, and a DELETE with a body where that is the way', async () => {
    const { sent } = await revoke({ method: 'DELETE', bodyFormat: 'json', token: 'access', tokenParameter: 'access_token' });
    expect(sent).toMatchObject({ method: 'DELETE', body: '{"access_token":"access-not-a-real-secret"}' });
  });

  it('is asked by the access token itself', async () => {
    const { tokenParameter: _none, ...spec } = SPEC;
    const { sent, egress } = network(answerOf(200, { ok: true }));
    await revokeGrant({ ...spec, authentication: 'bearer', bodyFormat: 'none', token: 'access' }, [], TOKENS(), {
      client: CLIENT(),
      egress,
      clock,
    });
    expect(sent[0]).toMatchObject({ url: SPEC.url, body: '', authorization: 'Bearer access-not-a-real-secret' });
  });

  it('never puts a client secret into a URL', async () => {
    const { outcome, sent } = await revoke({ bodyFormat: 'none', authentication: 'client_secret_post' });
    expect({ outcome, sent }).toMatchObject({ outcome: { kind: 'failed', cause: 'request_refused' }, sent: undefined });
  });

  it('lets extra parameters name the account and never replace what the protocol says', async () => {
    const { sent } = await revoke({ extraParameters: { account: '4711', token: 'other', client_id: 'other' } });
    expect(Object.fromEntries(new URLSearchParams(sent?.body))).toEqual({ account: '4711', token: 'refresh-not-a-real-secret' });
  });

  it.each([
    [answerOf(503, '', { 'retry-after': '120' }), { cause: 'http_5xx', retryAfterSeconds: 120 }],
    [answerOf(401, { error: 'invalid_client' }), { cause: 'invalid_client' }],
    [answerOf(400, { error: 'unsupported_token_type' }), { cause: 'unrecognised_error' }],
    [new EgressFailure('timeout'), { cause: 'timeout' }],
  ])('that fails is said in our words (%#)', async (answer, told) => {
    expect((await revoke({}, answer)).outcome).toMatchObject({ kind: 'failed', ...told });
  });
});

const resolvedWith = (changes: Partial<ResolvedConnector>): ResolvedConnector => ({
  id: 'made-up',
  oauth2: GENERIC,
  places: [],
  movedPlaces: [],
  consent: undefined,
  introspection: undefined,
  revocation: undefined,
  probe: undefined,
  lifetimes: {},
  hosts: [],
  ...changes,
});
const INTROSPECTION: NonNullable<ResolvedConnector['introspection']> = {
  url: 'https://api.example/introspect',
  method: 'POST',
  authentication: 'client_secret_basic',
  bodyFormat: 'form',
  tokenParameter: 'token',
  fields: { active: 'active', scope: 'scope', expiresAt: 'exp' },
};

describe('introspection', () => {
  const ask = (answer: EgressAnswer | Error, spec = INTROSPECTION) => {
    const { sent, egress } = network(answer);
    const resolved = resolvedWith({ introspection: spec });
    return introspectToken(resolved, secret('access-not-a-real-secret'), { client: CLIENT(), egress, clock }).then((read) => ({
      read,
      sent,
    }));
  };

  it('tells scopes and the end of an active token', async () => {
    const { read } = await ask(answerOf(200, { active: true, scope: 'a b', exp: 2_000 }));
    expect(read).toEqual({ active: true, scope: 'a b', expiresAtMs: 2_000_000 });
  });

  it('tells nothing of a token that is not active, nor from an answer that cannot be read', async () => {
    expect((await ask(answerOf(200, { active: false, scope: 'a', exp: 2_000 }))).read).toEqual({
      active: false,
      scope: undefined,
      expiresAtMs: undefined,
    });
    for (const bad of [answerOf(500, {}), answerOf(200, '<html>'), new EgressFailure('connect_failed')])
      expect((await ask(bad)).read).toBeUndefined();
  });

  it('asks with a GET and the token about itself where that is the way', async () => {
    const spec = { ...INTROSPECTION, method: 'GET', authentication: 'bearer', bodyFormat: 'query' } as const;
    const { sent } = await ask(answerOf(200, { active: true }), spec);
    expect(sent[0]).toMatchObject({
      url: 'https://api.example/introspect?token=access-not-a-real-secret',
      body: '',
      authorization: 'Bearer access-not-a-real-secret',
    });
  });

  it('gives an end only where the connector says that it can', async () => {
    const told = (fields: typeof INTROSPECTION.fields) => {
      const { sent, egress } = network(answerOf(200, { active: true, expires_in: 60, exp: 2_000 }));
      const resolved = resolvedWith({ introspection: { ...INTROSPECTION, fields } });
      return introspectExpiry(resolved, secret('a-not-a-real-secret'), { client: CLIENT(), egress, clock }).then((at) => [
        at,
        sent.length,
      ]);
    };
    expect(await told({ expiresIn: 'expires_in' })).toEqual([1_060_000, 1]);
    expect(await told({ scope: 'scope' })).toEqual([undefined, 0]);
  });
});

describe('scopes', () => {
  const read = (
    changes: Partial<ResolvedConnector>,
    sources: Parameters<typeof readGrantedScopes>[1],
    token: string,
    ...answers: (EgressAnswer | Error)[]
  ) => {
    const { sent, egress } = network(...answers);
    return readGrantedScopes(resolvedWith(changes), sources, secret(token), { client: CLIENT(), egress, clock }).then(
      (reading) => ({
        ...reading,
        calls: sent.length,
      }),
    );
  };
  const PROBE = { url: 'https://api.example/me', method: 'GET' } as const;
  const jwt = (claims: unknown) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.sig`;

  it('come from a claim of the token without any call', async () => {
    const { granted, calls } = await read({}, [{ from: 'jwt', claim: 'scp' }], jwt({ scp: ['a', 'b'] }));
    expect({ granted, calls }).toEqual({ granted: { scope: 'a b', source: 'jwt' }, calls: 0 });
  });

  it('come from a header of the probe, by its own separator', async () => {
    const sources = [{ from: 'probe_header', header: 'X-OAuth-Scopes', separator: ',' }] as const;
    const { granted, verdict } = await read(
      { probe: PROBE },
      sources,
      't',
      answerOf(200, {}, { 'x-oauth-scopes': 'repo, read:org' }),
    );
    expect({ granted, verdict }).toEqual({ granted: { scope: 'repo read:org', source: 'probe' }, verdict: 'works' });
  });

  it('come from the next source where the best one does not tell', async () => {
    const sources = [{ from: 'introspection' }, { from: 'probe_body', path: 'token.scopes' }] as const;
    const changes = { introspection: INTROSPECTION, probe: PROBE };
    const { granted } = await read(changes, sources, 't', answerOf(503, {}), answerOf(200, { token: { scopes: ['a'] } }));
    expect(granted).toEqual({ scope: 'a', source: 'probe' });
  });

  it('stay unknown where nobody tells, and no provider text becomes one', async () => {
    const sources = [{ from: 'probe_body', path: 'scopes' }] as const;
    for (const scopes of [undefined, 7, '', ['with"quote', 'line\nbreak', 'x'.repeat(300)], { a: 1 }])
      expect((await read({ probe: PROBE }, sources, 't', answerOf(200, { scopes }))).granted).toBeUndefined();
    expect((await read({ probe: PROBE }, sources, 't', answerOf(401, { scopes: 'a' }))).granted).toBeUndefined();
  });
});

describe('a probe', () => {
  const ask = (probe: Parameters<typeof askProbe>[0], answer: EgressAnswer | Error) => {
    const { sent, egress } = network(answer);
    return askProbe(probe, [], secret('access-not-a-real-secret'), egress, false).then(({ verdict }) => ({ verdict, sent }));
  };
  const PROBE = { url: 'https://api.example/me', method: 'GET' } as const;

  it.each([
    [200, 'works'],
    [401, 'rejected'],
    [403, 'unknown'],
    [429, 'unknown'],
    [500, 'unknown'],
  ])('answered %i says %s', async (status, verdict) => {
    expect((await ask(PROBE, answerOf(status, {}))).verdict).toBe(verdict);
  });

  it('sends a query that reads, and knows a refusal that comes with 200', async () => {
    const graphql = {
      ...PROBE,
      method: 'POST',
      body: { query: '{me{id}}' },
      refusedWhen: { member: 'errors', is: 'present' },
    } as const;
    const refused = await ask(graphql, answerOf(200, { errors: [{}] }));
    expect(refused).toMatchObject({ verdict: 'rejected', sent: [{ body: '{"query":"{me{id}}"}' }] });
    expect((await ask(graphql, answerOf(200, { data: {} }))).verdict).toBe('works');
    const slack = { ...PROBE, refusedWhen: { member: 'ok', is: 'false' } } as const;
    expect((await ask(slack, answerOf(200, { ok: false }))).verdict).toBe('rejected');
    expect((await ask(slack, answerOf(200, { ok: true }))).verdict).toBe('works');
  });

  it('without an answer decides nothing', async () => {
    expect((await ask(PROBE, new EgressFailure('timeout'))).verdict).toBe('unknown');
  });
});
