// How a workload proves itself, and every way in which a proof is not one.
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { beforeAll, describe, expect, it } from 'vitest';
import { apiKey, at, type Json, makeWorkload, must, type Reply, type World } from './world.ts';

const TOKEN = '/v1/tenants/acme/token';
const ASSERTION = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

export function proofCases(world: () => World): void {
  it('exchanges a client secret as JSON, as a form and as Basic for a token of at most an hour', async () => {
    const { call, owner } = world();
    const { workload: id, secret } = await makeWorkload(call, owner, 'acme', { name: 'exchanger' });
    const form = new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret: secret }).toString();
    const basic = `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`;
    const asForm = { 'content-type': 'application/x-www-form-urlencoded' };
    const replies = [
      await call('POST', TOKEN, { body: { grant_type: 'client_credentials', client_id: id, client_secret: secret } }),
      await call('POST', TOKEN, { body: form, headers: asForm }),
      await call('POST', TOKEN, { body: 'grant_type=client_credentials', headers: { ...asForm, authorization: basic } }),
    ];
    for (const reply of replies) {
      expect(reply.status).toBe(200);
      expect(reply.body).toMatchObject({ token_type: 'Bearer', access_token: expect.stringMatching(/^kt_acc_/) });
      expect(reply.body.expires_in).toBeLessThanOrEqual(3600);
      expect(reply.headers.get('cache-control')).toBe('no-store');
      await must(call('GET', at('acme'), { token: reply.body.access_token }), 200);
    }
    expect(new Set(replies.map((reply) => reply.body.access_token)).size).toBe(3);
  });

  it('refuses every wrong client in the same words', async () => {
    const { call, owner, globex } = world();
    const { workload: id, secret, token } = await makeWorkload(call, owner, 'acme', { name: 'refused' });
    const foreign = await makeWorkload(call, owner, 'globex', { name: 'refused' });
    const tries = [
      { client_id: id, client_secret: `${secret.slice(0, -1)}${secret.endsWith('0') ? '1' : '0'}` },
      { client_id: id, client_secret: 'x' },
      { client_id: 'wkl_000000000000000000000000', client_secret: secret },
      { client_id: foreign.workload, client_secret: foreign.secret },
      { client_id: id, client_secret: token },
      { client_id: id, client_secret: globex.token },
      { client_id: id },
    ];
    for (const attempt of tries) {
      const reply = await call('POST', TOKEN, { body: { grant_type: 'client_credentials', ...attempt } });
      expect({ status: reply.status, code: reply.body.code, error: reply.body.error }).toEqual({
        status: 401,
        code: 'unauthenticated',
        error: 'invalid_client',
      });
    }
    expect((await call('POST', TOKEN, { body: { grant_type: 'password', client_id: id, client_secret: secret } })).status).toBe(
      400,
    );
    expect((await call('GET', at('acme'), { token: secret })).status).toBe(401);
  });

  describe('private_key_jwt', () => assertionCases(world));

  it('ends a token, a client secret and a workload at once', async () => {
    const { call, owner } = world();
    const made = await makeWorkload(call, owner, 'acme', { name: 'ending' });
    const path = '/v1/tenants/acme/workloads/ending';
    const list = (token: string) => call('GET', at('acme'), { token }).then((reply) => reply.status);
    const exchange = (secret: string) =>
      call('POST', TOKEN, { body: { grant_type: 'client_credentials', client_secret: secret } });
    const access = (await must(exchange(made.secret), 200)).body.access_token;
    expect([await list(made.token), await list(access)]).toEqual([200, 200]);
    await must(call('DELETE', `${path}/tokens/${made.tokenId}`, { token: owner }), 200);
    expect([await list(made.token), await list(access)]).toEqual([401, 200]);
    const second = await must(call('POST', `${path}/secrets`, { token: owner, body: {} }), 201);
    expect((await exchange(second.body.token)).status).toBe(200);
    const facts = await must(call('GET', path, { token: owner }), 200);
    const first = facts.body.tokens.find((token: Json) => token.type === 'cs' && token.id !== second.body.id);
    await must(call('DELETE', `${path}/tokens/${first.id}`, { token: owner }), 200);
    expect([(await exchange(made.secret)).status, (await exchange(second.body.token)).status]).toEqual([401, 200]);
    await must(call('DELETE', path, { token: owner }), 200);
    expect([await list(access), (await exchange(second.body.token)).status]).toEqual([401, 401]);
    expect((await call('POST', `/v1/tenants/acme/workloads/${made.workload}/tokens`, { token: owner, body: {} })).status).toBe(
      409,
    );
    expect(facts.text).not.toContain(made.secret);
  });

  it('holds a token to its environment, names, permissions and networks', async () => {
    const { call, owner, acme } = world();
    const put = (name: string, environment: string) =>
      must(call('PUT', at('acme', name, environment), { token: owner, body: apiKey() }), 201);
    await put('scope-a', 'staging');
    await put('scope-a', 'production');
    await put('other', 'staging');
    const narrow = await makeWorkload(call, owner, 'acme', { name: 'narrow', patterns: ['scope-*'] });
    const status = (method: string, path: string, body?: unknown) =>
      call(method, path, { token: narrow.token, body }).then((reply) => reply.status);
    expect(await status('GET', `${at('acme', 'scope-a')}/value`)).toBe(200);
    expect(await status('GET', `${at('acme', 'scope-a', 'production')}/value`)).toBe(404);
    expect(await status('GET', `${at('acme', 'other')}/value`)).toBe(404);
    expect(await status('PUT', at('acme', 'scope-a'), apiKey())).toBe(403);
    expect(await status('PUT', at('acme', 'scope-new'), apiKey())).toBe(403);
    expect(await status('POST', `${at('acme', 'scope-a')}/runs`, {})).toBe(403);
    expect(await status('DELETE', at('acme', 'scope-a'))).toBe(403);
    const list = await must(call('GET', at('acme'), { token: narrow.token }), 200);
    expect(list.body.items.map((item: Json) => item.name)).toEqual(['scope-a']);

    const lesser = await call('POST', '/v1/tenants/acme/workloads/sync/tokens', {
      token: owner,
      body: { permissions: ['read'] },
    });
    expect((await call('PUT', at('acme', 'scope-a'), { token: lesser.body.token, body: apiKey() })).status).toBe(403);
    const greedy = await call('POST', '/v1/tenants/acme/workloads/narrow/tokens', {
      token: owner,
      body: { permissions: ['put'] },
    });
    expect({ status: greedy.status, pointer: greedy.body.pointer }).toEqual({ status: 400, pointer: '/permissions' });

    const near = await makeWorkload(call, owner, 'acme', { name: 'near', networks: ['127.0.0.0/8', '::1/128'] });
    const far = await makeWorkload(call, owner, 'acme', { name: 'far', networks: ['10.0.0.0/8'] });
    expect((await call('GET', at('acme'), { token: near.token })).status).toBe(200);
    const forged = { 'x-forwarded-for': '10.0.0.1', 'cf-connecting-ip': '10.0.0.1', forwarded: 'for=10.0.0.1' };
    for (const headers of [{}, forged]) expect((await call('GET', at('acme'), { token: far.token, headers })).status).toBe(404);
    const exchange = { grant_type: 'client_credentials', client_secret: far.secret };
    expect((await call('POST', TOKEN, { body: exchange, headers: forged })).status).toBeGreaterThanOrEqual(400);
    expect((await call('GET', at('acme'), { token: acme.token })).status).toBe(200);
  });

  it('takes a token in the Authorization header only, and only as it was issued', async () => {
    const { call, acme } = world();
    const statuses = [
      await call('GET', `${at('acme')}?access_token=${acme.token}`),
      await call('GET', at('acme'), { headers: { authorization: acme.token } }),
      await call('GET', at('acme'), { headers: { authorization: `Basic ${acme.token}` } }),
      await call('GET', at('acme'), { headers: { 'x-vault-token': acme.token } }),
      await call('GET', at('acme'), { token: `${acme.token}x` }),
      await call('GET', at('acme'), { token: acme.token.slice(0, -1) }),
      await call('GET', at('acme'), { token: acme.token.toUpperCase() }),
      await call('GET', at('acme'), { token: acme.token.replace('kt_wlk_', 'kt_acc_') }),
      await call('GET', at('acme'), { token: acme.token.replace('kt_wlk_', 'kt_usr_') }),
    ].map((reply) => reply.status);
    expect(statuses).toEqual([400, ...Array(8).fill(401)]);
    expect((await call('GET', at('acme'), { headers: { authorization: `bearer ${acme.token}` } })).status).toBe(200);
  });
}

function assertionCases(world: () => World): void {
  let id: string;
  let privateKey: CryptoKey;
  let publicJwk: Record<string, unknown>;

  beforeAll(async () => {
    const pair = await generateKeyPair('EdDSA', { extractable: true });
    privateKey = pair.privateKey;
    publicJwk = { ...(await exportJWK(pair.publicKey)), kid: 'k1', alg: 'EdDSA' };
    const body = { name: 'signer', environment: 'staging', patterns: ['*'], jwks: { keys: [publicJwk] } };
    const made = await must(world().call('POST', '/v1/tenants/acme/workloads', { token: world().owner, body }), 201);
    id = made.body.client_id;
    expect(made.body.client_secret).toBeNull();
  });

  interface Claims {
    readonly aud?: string | string[];
    readonly iss?: string;
    readonly sub?: string;
    readonly jti?: string | null;
    readonly issuedAt?: number;
    readonly expiresAt?: number | null;
    readonly notBefore?: number;
  }

  const nowSeconds = () => Math.floor(Date.now() / 1000);
  const audience = () => `${world().url}${TOKEN}`;
  const claimsOf = (claims: Claims) => ({
    iss: claims.iss ?? id,
    sub: claims.sub ?? id,
    aud: claims.aud ?? audience(),
    iat: claims.issuedAt ?? nowSeconds(),
    ...(claims.jti === null ? {} : { jti: claims.jti ?? crypto.randomUUID() }),
    ...(claims.expiresAt === null ? {} : { exp: claims.expiresAt ?? nowSeconds() + 60 }),
    ...(claims.notBefore === undefined ? {} : { nbf: claims.notBefore }),
  });
  const sign = (claims: Claims = {}, key: CryptoKey = privateKey, header: { alg: string; kid?: string } = { alg: 'EdDSA' }) =>
    new SignJWT(claimsOf(claims)).setProtectedHeader(header).sign(key);
  const present = (assertion: string): Promise<Reply> =>
    world().call('POST', TOKEN, {
      body: { grant_type: 'client_credentials', client_assertion_type: ASSERTION, client_assertion: assertion },
    });
  const parts = (header: object, claims: object) =>
    [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.');

  it('takes a fresh assertion once, for the tenant by name and by id', async () => {
    const assertion = await sign();
    const first = await present(assertion);
    expect(first.status).toBe(200);
    await must(world().call('GET', at('acme'), { token: first.body.access_token }), 200);
    expect((await present(assertion)).status).toBe(401);
    expect((await present(await sign({ aud: `${world().url}/v1/tenants/${world().acme.id}/token` }))).status).toBe(200);
  });

  it('lets one of ten copies of an assertion in', async () => {
    const assertion = await sign();
    const statuses = (await Promise.all(Array.from({ length: 10 }, () => present(assertion)))).map((reply) => reply.status);
    expect(statuses.sort()).toEqual([200, ...Array(9).fill(401)]);
  });

  const WRONG: readonly (readonly [string, () => Promise<string>])[] = [
    ['for another audience', () => sign({ aud: 'https://elsewhere.example/token' })],
    ['for another tenant', () => sign({ aud: `${world().url}/v1/tenants/globex/token` })],
    ['for us among others', () => sign({ aud: [audience(), 'https://elsewhere.example'] })],
    ['that expired', () => sign({ issuedAt: nowSeconds() - 600, expiresAt: nowSeconds() - 120 })],
    ['without an expiry', () => sign({ expiresAt: null })],
    ['issued too long ago', () => sign({ issuedAt: nowSeconds() - 3600, expiresAt: nowSeconds() + 3600 })],
    ['from the future', () => sign({ issuedAt: nowSeconds() + 600, expiresAt: nowSeconds() + 660 })],
    ['not valid yet', () => sign({ notBefore: nowSeconds() + 600, expiresAt: nowSeconds() + 700 })],
    ['without an id', () => sign({ jti: null })],
    ['in the name of another', () => sign({ iss: 'wkl_000000000000000000000000' })],
    ['about another', () => sign({ sub: 'wkl_000000000000000000000000' })],
    ['signed with another key', async () => sign({}, (await generateKeyPair('EdDSA')).privateKey)],
    ['signed with nothing', async () => `${parts({ alg: 'none' }, claimsOf({}))}.`],
    [
      'signed with the public key as a shared secret',
      async () => {
        const secret = new TextEncoder().encode(JSON.stringify(publicJwk));
        return new SignJWT(claimsOf({})).setProtectedHeader({ alg: 'HS256', kid: 'k1' }).sign(secret);
      },
    ],
    [
      'that brings its own key',
      async () => {
        const own = await generateKeyPair('EdDSA', { extractable: true });
        const jwk = await exportJWK(own.publicKey);
        return new SignJWT(claimsOf({})).setProtectedHeader({ alg: 'EdDSA', jwk } as { alg: string }).sign(own.privateKey);
      },
    ],
    ['whose claims were changed', async () => (await sign()).replace(/\.[^.]+\./, `.${parts({}, claimsOf({})).split('.')[1]}.`)],
    ['that is no token', async () => 'a.b.c'],
  ];
  it.each(WRONG)('refuses an assertion %s', async (_what, make) => {
    const reply = await present(await make());
    expect({ status: reply.status, error: reply.body.error }).toEqual({ status: 401, error: 'invalid_client' });
  });

  it('refuses a private key where a public one is asked for, without quoting it', async () => {
    const jwk = await exportJWK(privateKey);
    const body = { name: 'leaky', environment: 'staging', patterns: ['*'], jwks: { keys: [jwk] } };
    const reply = await world().call('POST', '/v1/tenants/acme/workloads', { token: world().owner, body });
    expect(reply.status).toBe(400);
    expect(reply.text).not.toContain(jwk.d);
  });
}
