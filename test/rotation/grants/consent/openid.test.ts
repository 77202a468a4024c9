// A provider that describes itself: endpoints found at its issuer, and an identity that must be its own.
import { generateKeyPair, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import type { OAuthConnector } from '../../../../rotation/connector.ts';
import { discoverEndpoints } from '../../../../rotation/grants/consent/make-link.ts';
import { authorizationUrl } from '../../../../rotation/oauth2/authorization-code.ts';
import { resolveConnector } from '../../../../rotation/oauth2/settings.ts';
import { oauth2Config } from '../../../../src/vault/credential-kinds.ts';
import { CALLBACK, CONFIG, CRM, consentBench, type Reply, tokens } from '../../../kit/consent-bench.ts';

const ISSUER = 'https://id.crm.example/eu';
const CONNECTOR: Partial<OAuthConnector> = {
  oauth2: { ...CRM.oauth2!, tokenEndpoint: '', hosts: [] },
  consent: { authorizeEndpoint: '', pkce: 'S256', openid: true, alwaysScopes: ['openid'] },
};
const document = (changes: object = {}): Reply => ({
  status: 200,
  body: {
    issuer: ISSUER,
    authorization_endpoint: `${ISSUER}/authorize`,
    token_endpoint: `${ISSUER}/token`,
    revocation_endpoint: `${ISSUER}/revoke`,
    ...changes,
  },
});
const config = oauth2Config.parse({ ...CONFIG, issuer: ISSUER });
const { privateKey: key } = await generateKeyPair('ES256');

const idToken = (claims: object) =>
  new SignJWT({ nonce: 'none', ...claims })
    .setProtectedHeader({ alg: 'ES256' })
    .setIssuer(ISSUER)
    .setSubject('person-1')
    .setAudience(CONFIG.client_id)
    .setIssuedAt()
    .setExpirationTime('5m')
    .sign(key);

async function begun(described: object = {}) {
  const bench = await consentBench(CONNECTOR);
  bench.replies.push(document(described));
  const made = await bench.make('crm', { config });
  const attempt = await bench.begin(made.linkToken);
  const nonce = new URL(attempt.url).searchParams.get('nonce') ?? '';
  return { bench, made, attempt, nonce };
}

describe('discovery', () => {
  it('finds the endpoints at the issuer, and the credential keeps them', async () => {
    const { bench, attempt } = await begun();
    expect(bench.sent.map(({ url, method }) => `${method} ${url}`)).toEqual([`GET ${ISSUER}/.well-known/openid-configuration`]);
    expect(JSON.parse(bench.row('crm').config)).toMatchObject({
      issuer: ISSUER,
      authorization_endpoint: `${ISSUER}/authorize`,
      token_endpoint: `${ISSUER}/token`,
      revocation_endpoint: `${ISSUER}/revoke`,
    });
    expect(attempt.url.startsWith(`${ISSUER}/authorize?`)).toBe(true);
    expect(bench.events('discovery')).toMatchObject([{ action: 'connection.create', outcome: 'success' }]);
  });

  it('looks where RFC 8414 says when there is no OpenID document', async () => {
    const bench = await consentBench(CONNECTOR);
    bench.replies.push({ status: 404, body: '' }, document());
    await bench.make('crm', { config });
    expect(bench.sent.map(({ url }) => url)).toEqual([
      `${ISSUER}/.well-known/openid-configuration`,
      'https://id.crm.example/.well-known/oauth-authorization-server/eu',
    ]);
  });

  it.each<[string, Reply, string]>([
    ['names another issuer', document({ issuer: 'https://evil.example' }), 'invalid_request'],
    ['names an endpoint that is not https', document({ token_endpoint: 'http://api.crm.example/token' }), 'invalid_request'],
    ['names a script for a browser', document({ authorization_endpoint: 'javascript:alert(1)' }), 'invalid_request'],
    ['is nonsense', { status: 200, body: 'nonsense' }, 'invalid_request'],
    ['is not there', { status: 403, body: '' }, 'invalid_request'],
    ['leads to an address that is blocked', { fails: 'address_blocked' }, 'invalid_request'],
    ['cannot be had just now', { status: 503, body: '' }, 'provider_unavailable'],
    ['does not come in time', { fails: 'timeout' }, 'provider_unavailable'],
  ])('is refused when the description %s, and no credential is made', async (what, reply, code) => {
    const bench = await consentBench(CONNECTOR);
    bench.replies.push(reply, { status: 403, body: '' });
    await expect(bench.make('crm', { config }), what).rejects.toMatchObject({ code });
    expect(bench.row('crm')).toBeUndefined();
  });

  it('asks nobody for a caller who may make no link', async () => {
    const bench = await consentBench(CONNECTOR);
    const input = {
      environment: 'staging',
      name: 'crm',
      connector: CRM.id,
      config,
      secrets: {},
      ttlMs: 300_000,
      labels: undefined,
      description: undefined,
      redirectUri: CALLBACK,
    };
    await expect(discoverEndpoints(bench.ports, bench.tenant.user(['auditor']), input)).rejects.toMatchObject({
      code: expect.stringMatching(/forbidden|not_found/),
    });
    expect(bench.sent).toHaveLength(0);
  });
});

describe('an identity', () => {
  it('that is the one asked for lets the grant in', async () => {
    const { bench, attempt, nonce } = await begun();
    bench.replies.push(tokens({ id_token: await idToken({ nonce }) }));
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'connected' });
  });

  it.each([
    ['of another nonce', { nonce: 'another' }],
    ['of another issuer', { iss: 'https://evil.example' }],
    ['for another client', { aud: 'another-client' }],
    ['that has ended', { exp: 1_000 }],
  ])('%s keeps the grant out', async (_, claims) => {
    const { bench, made, attempt, nonce } = await begun();
    const token = await new SignJWT({
      iss: ISSUER,
      sub: 'person-1',
      aud: CONFIG.client_id,
      iat: Math.floor(Date.now() / 1_000),
      exp: Math.floor(Date.now() / 1_000) + 300,
      nonce,
      ...claims,
    })
      .setProtectedHeader({ alg: 'ES256' })
      .sign(key);
    bench.replies.push(tokens({ id_token: token }));
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'failed' });
    expect(bench.connection(made.connection.id)).toMatchObject({ state: 'failed', cause: 'id_token_refused' });
    expect(bench.row('crm').health).toBe('needs_consent');
  });

  it('that is missing keeps the grant out', async () => {
    const { bench, attempt } = await begun();
    expect(await bench.comeBack(attempt)).toEqual({ kind: 'failed' });
  });

  it('needs `iss` in the callback only of a provider that promised it', async () => {
    const promised = await begun({ authorization_response_iss_parameter_supported: true });
    expect(await promised.bench.comeBack(promised.attempt)).toEqual({ kind: 'refused', reason: 'issuer_missing' });
    const silent = await begun();
    const iss = 'https://evil.example';
    expect(await silent.bench.comeBack(silent.attempt, { code: 'x', iss })).toEqual({ kind: 'refused', reason: 'issuer_wrong' });
  });
});

describe('the address of a provider', () => {
  const request = { clientId: 'c', redirectUri: CALLBACK, state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n', scopes: [] };
  const resolved = (authorizeEndpoint: string) =>
    resolveConnector(
      { ...CRM, consent: { authorizeEndpoint: 'https://app.crm.example/authorize', pkce: 'S256' } },
      { authorizeEndpoint },
    );

  it.each(['http://app.crm.example/authorize', 'javascript:alert(1)', 'http://127.0.0.1:9/authorize'])(
    'is never %s',
    async (endpoint) => {
      await expect(authorizationUrl(resolved(endpoint), request, false)).rejects.toMatchObject({ code: 'invalid_request' });
    },
  );

  it('may be plain http on this machine where a sandbox plays the provider', async () => {
    expect(await authorizationUrl(resolved('http://127.0.0.1:9/authorize'), request, true)).toContain(
      'http://127.0.0.1:9/authorize?',
    );
  });
});
