import { generateKeyPairSync } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import { describe, expect, it } from 'vitest';
import type { AssertionSpec, Egress, EgressRequest, OAuth2Spec } from '../../../rotation/connector.ts';
import { type RenewableGrant, renewGrant, spendsNothing } from '../../../rotation/oauth2/mint-token.ts';
import { SecretValue } from '../../../src/base/secret-value.ts';
import { answerOf, GENERIC, textOf } from '../kit.ts';

const NOW_MS = 1_800_000_000_000;
const clock = { now: () => NOW_MS };
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const pem = (type: 'pkcs1' | 'pkcs8') => String(rsa.privateKey.export({ type, format: 'pem' }));
const BEARER: AssertionSpec = { algorithm: 'RS256', lifetimeSeconds: 300, sentAs: 'bearer', scopeIn: 'none' };

/** Answers as asked and keeps what was sent, before it is wiped. */
function provider(status = 200, body: unknown = { access_token: 'at-not-a-real-secret', expires_in: 60 }) {
  const sent: { headers: Record<string, string>; body: string; request: EgressRequest }[] = [];
  const egress: Egress = {
    send: async (request) => {
      const headers = Object.entries(request.headers).map(([k, v]) => [k, typeof v === 'string' ? v : (textOf(v) ?? '')]);
      sent.push({ headers: Object.fromEntries(headers), body: textOf(request.body as SecretValue) ?? '', request });
      return { ...answerOf(status, body), sentAtMs: NOW_MS };
    },
  };
  return { sent, egress };
}

function grantOf(overrides: Partial<RenewableGrant> = {}): RenewableGrant {
  return { clientId: 'client-7', refreshToken: undefined, allowLoopback: false, ...overrides };
}

const spec = (renewal: OAuth2Spec['renewal'], rest: Partial<OAuth2Spec> = {}): OAuth2Spec => ({
  ...GENERIC,
  clientAuthentication: 'none',
  ...rest,
  ...(renewal === undefined ? {} : { renewal }),
});

describe('a token got without a refresh token', () => {
  it('by client credentials: the client proves itself and names the scope', async () => {
    const { egress, sent } = provider();
    const asked = spec({ kind: 'client_credentials' }, { clientAuthentication: 'client_secret_post' });
    const grant = grantOf({ clientSecret: SecretValue.fromText('cs-not-a-real-secret'), scope: 'a b' });
    expect((await renewGrant(asked, grant, egress, clock, false)).kind).toBe('refreshed');
    expect(Object.fromEntries(new URLSearchParams(sent[0]?.body))).toEqual({
      grant_type: 'client_credentials',
      scope: 'a b',
      client_id: 'client-7',
      client_secret: 'cs-not-a-real-secret',
    });
  });

  it.each(['pkcs1', 'pkcs8'] as const)('by an assertion signed with a %s key, as a service account does', async (type) => {
    const { egress, sent } = provider();
    const assertion: AssertionSpec = {
      algorithm: 'RS256',
      lifetimeSeconds: 3_600,
      sentAs: 'parameter',
      scopeIn: 'claim',
      subject: 'person@example.com',
    };
    const grant = grantOf({ privateKeyPem: SecretValue.fromText(pem(type)), scope: 'mail.read' });
    expect((await renewGrant(spec({ kind: 'jwt_bearer', assertion }), grant, egress, clock, false)).kind).toBe('refreshed');
    const fields = new URLSearchParams(sent[0]?.body);
    expect([...fields.keys()]).toEqual(['grant_type', 'assertion']);
    const { payload } = await jwtVerify(fields.get('assertion') ?? '', rsa.publicKey, { currentDate: new Date(NOW_MS) });
    expect(payload).toMatchObject({
      iss: 'client-7',
      sub: 'person@example.com',
      aud: 'https://provider.example/token',
      scope: 'mail.read',
    });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(300);
    expect(payload.iat).toBeLessThan(NOW_MS / 1_000);
  });

  it('by an app’s own token: it is the bearer, and a GitHub installation’s answer is read', async () => {
    const { egress, sent } = provider(201, { token: 'ghs-not-a-real-secret', expires_at: '2027-01-15T09:00:00Z' });
    const asked = spec(
      { kind: 'app_jwt', assertion: BEARER },
      { bodyFormat: 'json', answerFields: { accessToken: 'token', expiresAt: 'expires_at' } },
    );
    const outcome = await renewGrant(asked, grantOf({ privateKeyPem: SecretValue.fromText(pem('pkcs1')) }), egress, clock, false);
    expect(outcome).toMatchObject({ kind: 'refreshed', expiresAtMs: Date.parse('2027-01-15T09:00:00Z') });
    expect(outcome.kind === 'refreshed' && textOf(outcome.accessToken)).toBe('ghs-not-a-real-secret');
    expect(decodeJwt(sent[0]?.headers['authorization']?.replace('Bearer ', '') ?? '').iss).toBe('client-7');
  });

  it('by a key given as a JWK, whose id goes into the header', async () => {
    const { egress, sent } = provider();
    const jwk = { ...ec.privateKey.export({ format: 'jwk' }), alg: 'ES256', kid: 'key-1' };
    const asked = spec({ kind: 'jwt_bearer', assertion: { ...BEARER, algorithm: 'ES256', sentAs: 'parameter' } });
    await renewGrant(asked, grantOf({ privateKeyJwk: SecretValue.fromText(JSON.stringify(jwk)) }), egress, clock, false);
    const assertion = new URLSearchParams(sent[0]?.body).get('assertion') ?? '';
    expect(decodeProtectedHeader(assertion)).toMatchObject({ alg: 'ES256', kid: 'key-1' });
    await expect(jwtVerify(assertion, ec.publicKey, { currentDate: new Date(NOW_MS) })).resolves.toBeDefined();
  });

  it.each([
    ['no key', {}, 'client_key_missing'],
    [
      'no such key',
      { privateKeyPem: SecretValue.fromText('-----BEGIN PRIVATE KEY-----\nbm90LWEtcmVhbC1zZWNyZXQ=') },
      'client_key_unusable',
    ],
  ])('sends nothing with %s', async (_, overrides, cause) => {
    const { egress, sent } = provider();
    const asked = spec({ kind: 'jwt_bearer', assertion: BEARER });
    const outcome = await renewGrant(asked, grantOf(overrides), egress, clock, false);
    expect(outcome).toMatchObject({ kind: 'not_sent', means: 'configuration', cause });
    expect(sent).toHaveLength(0);
  });
});

describe('an answer that was lost', () => {
  const recovery: AssertionSpec = { algorithm: 'HS256', lifetimeSeconds: 60, sentAs: 'bearer', subject: 'install-1' };
  const grant = () =>
    grantOf({
      clientSecret: SecretValue.fromText('hs-secret-of-enough-bytes-not-a-real-secret'),
      refreshToken: SecretValue.fromText('rt-not-a-real-secret'),
    });

  it('is recovered by a signed assertion, and the token that may be spent is not sent again', async () => {
    const { egress, sent } = provider();
    const asked = spec({ kind: 'refresh_token', recovery });
    expect(spendsNothing(asked)).toBe(true);
    await renewGrant(asked, grant(), egress, clock, false);
    await renewGrant(asked, grant(), egress, clock, true);
    expect(new URLSearchParams(sent[0]?.body).get('refresh_token')).toBe('rt-not-a-real-secret');
    expect(sent[1]?.body).not.toContain('rt-not-a-real-secret');
    const bearer = sent[1]?.headers['authorization']?.replace('Bearer ', '') ?? '';
    const key = new TextEncoder().encode('hs-secret-of-enough-bytes-not-a-real-secret');
    await expect(jwtVerify(bearer, key, { currentDate: new Date(NOW_MS) })).resolves.toMatchObject({
      payload: { iss: 'client-7', sub: 'install-1' },
    });
  });

  it('without a way back spends what was sent', () => {
    expect(spendsNothing(spec(undefined))).toBe(false);
    expect(spendsNothing(spec({ kind: 'refresh_token' }))).toBe(false);
  });
});

describe('what was sent', () => {
  it('is wiped afterwards, headers too', async () => {
    const { egress, sent } = provider();
    const grant = grantOf({ privateKeyPem: SecretValue.fromText(pem('pkcs8')) });
    await renewGrant(spec({ kind: 'app_jwt', assertion: BEARER }), grant, egress, clock, false);
    expect(textOf(sent[0]?.request.headers['authorization'] as SecretValue)).not.toContain('ey');
  });
});
