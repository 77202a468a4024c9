// Client assertions as an attacker makes them: whatever is wrong with one, the answer is the same, and a good one counts once.
import {
  createHmac,
  createSign,
  generateKeyPairSync,
  type JsonWebKey,
  type KeyObject,
  randomUUID,
  sign as signBytes,
} from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { apiKey, at, comparable, type Json, must, type Reply } from '../conformance/world.ts';
import { type Attacked, attacked, eventsOf } from '../kit/attacked.ts';

const TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed = generateKeyPairSync('ed25519');
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const jwkOf = (key: KeyObject, kid: string, alg?: string): JsonWebKey & { kid: string; alg?: string } => ({
  ...(key.export({ format: 'jwk' }) as JsonWebKey),
  kid,
  ...(alg === undefined ? {} : { alg }),
});

let world: Attacked;
let clientId: string;
let otherId: string;
let secretId: string;

const tokenPath = (tenant = 'acme') => `/v1/tenants/${tenant}/token`;
const audience = (tenant = 'acme') => `${world.url}${tokenPath(tenant)}`;
const encode = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const nowSeconds = () => Math.floor(Date.now() / 1_000);

const claims = (over: Record<string, unknown> = {}): Record<string, unknown> => ({
  iss: clientId,
  sub: clientId,
  aud: audience(),
  iat: nowSeconds(),
  exp: nowSeconds() + 60,
  jti: randomUUID(),
  ...over,
});

const es256 = (input: string, key: KeyObject = ec.privateKey) =>
  signBytes('sha256', Buffer.from(input), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url');

/** A signed assertion; `payload` as text goes in exactly as it is. */
function assertion(payload: Record<string, unknown> | string, header: Record<string, unknown> = {}, key = ec.privateKey): string {
  const input = `${encode({ alg: 'ES256', typ: 'JWT', kid: 'ec', ...header })}.${encode(payload)}`;
  return `${input}.${es256(input, key)}`;
}

async function present(jws: unknown, over: Record<string, unknown> = {}, tenant = 'acme'): Promise<Reply> {
  const body = { grant_type: 'client_credentials', client_assertion_type: TYPE, client_assertion: jws, ...over };
  let reply = await world.call('POST', tokenPath(tenant), { body });
  // So many refusals use up what one source may fail: then the same again, a little later.
  for (let tries = 0; reply.status === 429 && tries < 5; tries++) {
    await new Promise((resume) => setTimeout(resume, 1_200));
    reply = await world.call('POST', tokenPath(tenant), { body });
  }
  return reply;
}

/** With one member of the payload written as this JSON text. */
const payloadWith = (member: string, text: string): string => {
  const rest = JSON.stringify({ ...claims(), [member]: undefined });
  return `${rest.slice(0, -1)},"${member}":${text}}`;
};

beforeAll(async () => {
  world = await attacked();
  const make = async (name: string, keys?: readonly unknown[]): Promise<Json> =>
    (
      await must(
        world.call('POST', '/v1/tenants/acme/workloads', {
          token: world.owner,
          body: { name, environment: 'staging', patterns: ['*'], ...(keys === undefined ? {} : { jwks: { keys } }) },
        }),
        201,
      )
    ).body;
  const publicKeys = [jwkOf(ec.publicKey, 'ec'), jwkOf(ed.publicKey, 'ed'), jwkOf(rsa.publicKey, 'rsa', 'RS256')];
  clientId = (await make('signer', publicKeys)).client_id;
  otherId = (await make('other', [jwkOf(stranger.publicKey, 'other')])).client_id;
  secretId = (await make('plain')).client_id;
});

afterAll(() => world.stop());

describe('a client assertion', () => {
  let refused: ReturnType<typeof comparable>;

  beforeAll(async () => {
    refused = comparable(await present('x.y.z'));
    expect(refused.status).toBe(401);
    expect(refused.body).toMatchObject({ code: 'unauthenticated', error: 'invalid_client' });
  });

  const refuse = async (what: string, jws: unknown, over: Record<string, unknown> = {}) =>
    expect(comparable(await present(jws, over)), what).toEqual(refused);

  it('is good when everything is right, with each of the client’s keys', async () => {
    const good = await present(assertion(claims()));
    expect(good.status).toBe(200);
    await must(world.call('GET', at('acme'), { token: good.body.access_token }), 200);
    const edInput = `${encode({ alg: 'EdDSA', kid: 'ed' })}.${encode(claims())}`;
    expect(
      (await present(`${edInput}.${signBytes(null, Buffer.from(edInput), ed.privateKey).toString('base64url')}`)).status,
    ).toBe(200);
    const rsInput = `${encode({ alg: 'RS256', kid: 'rsa' })}.${encode(claims())}`;
    const rsSignature = createSign('sha256').update(rsInput).sign(rsa.privateKey).toString('base64url');
    expect((await present(`${rsInput}.${rsSignature}`)).status).toBe(200);
  });

  it('is refused with every spelling of no algorithm, no signature, or another serialisation', async () => {
    for (const alg of ['none', 'None', 'nOnE', 'NONE', '', null, undefined, 'none ', ['none'], 0]) {
      for (const signature of ['', 'AA', es256('x')]) {
        await refuse(`alg ${alg}`, `${encode({ alg, kid: 'ec' })}.${encode(claims())}.${signature}`);
      }
    }
    const [header, payload, signature] = assertion(claims()).split('.') as [string, string, string];
    await refuse('an empty signature', `${header}.${payload}.`);
    await refuse('two parts', `${header}.${payload}`);
    await refuse('five parts', `${header}.${payload}.${signature}.x.y`);
    await refuse('a flattened JSON serialisation', JSON.stringify({ protected: header, payload, signature }));
    await refuse('a padded signature', `${header}.${payload}.${signature}=`);
    await refuse('a line break inside', `${header}.${payload}.${signature.slice(0, 9)}\n${signature.slice(9)}`);
    await refuse('a JWE', `${header}.${payload}.${signature}.${payload}.${signature}`);
  });

  it('is refused when a public key serves as a shared secret, or one algorithm’s key for another', async () => {
    const pem = ec.publicKey.export({ type: 'spki', format: 'pem' });
    for (const key of [pem, JSON.stringify(jwkOf(ec.publicKey, 'ec')), '']) {
      for (const alg of ['HS256', 'HS384', 'HS512']) {
        const input = `${encode({ alg, kid: 'ec' })}.${encode(claims())}`;
        const mac = createHmac(`sha${alg.slice(2)}`, key)
          .update(input)
          .digest('base64url');
        await refuse(alg, `${input}.${mac}`);
      }
    }
    await refuse('ES256 under an Ed25519 key id', assertion(claims(), { kid: 'ed' }));
    await refuse('ES256K', assertion(claims(), { alg: 'ES256K' }));
    const rsInput = `${encode({ alg: 'PS256', kid: 'rsa' })}.${encode(claims())}`;
    const rsSignature = createSign('sha256').update(rsInput).sign(rsa.privateKey).toString('base64url');
    await refuse('PS256 with a key for RS256', `${rsInput}.${rsSignature}`);
  });

  it('is refused with a key it brought itself, a key of another client, or an unknown critical header', async () => {
    const own = jwkOf(stranger.publicKey, 'ec');
    for (const header of [
      { jwk: own },
      { jku: 'http://127.0.0.1:1/jwks', kid: 'ec' },
      { x5u: 'http://127.0.0.1:1/x', x5c: ['AAAA'] },
      { kid: 'other' },
      {},
    ])
      await refuse(JSON.stringify(header), assertion(claims(), header, stranger.privateKey));
    await refuse('crit', assertion(claims(), { crit: ['b64'], b64: false }));
    await refuse('crit unknown', assertion(claims(), { crit: ['exp'], exp: 1 }));
  });

  it('is refused at once whatever its key id is made of', async () => {
    const kids = [
      '../../../../etc/passwd',
      "x' OR 1=1 --",
      'http://169.254.169.254/latest/meta-data',
      'ec\u0000',
      'EC',
      'ec ',
      'x'.repeat(5_000),
      ['ec'],
      { kid: 'ec' },
      42,
      null,
      '',
      '__proto__',
    ];
    for (const kid of kids) {
      const startedAtMs = performance.now();
      await refuse(`kid ${JSON.stringify(kid).slice(0, 40)}`, assertion(claims(), { kid }, stranger.privateKey));
      expect(performance.now() - startedAtMs).toBeLessThan(2_000);
    }
  });

  it('is refused unless its audience is exactly this endpoint, as one text', async () => {
    const { url } = world;
    const wrong: unknown[] = [
      [audience()],
      [audience(), 'https://elsewhere.example'],
      `${audience()}/`,
      audience().slice(0, -1),
      `${audience()}x`,
      `${audience()}?x`,
      `${audience()}#x`,
      ` ${audience()}`,
      audience().toUpperCase(),
      audience().replace('127.0.0.1', 'localhost'),
      audience().replace('http:', 'https:'),
      audience('globex'),
      url,
      `${url}/`,
      'acme',
      '*',
      '',
      null,
      undefined,
      {},
      7,
      [],
    ];
    for (const aud of wrong) await refuse(`aud ${JSON.stringify(aud)}`, assertion(claims({ aud })));
  });

  it('is refused unless issuer and subject are both exactly this client', async () => {
    for (const wrong of [
      `${clientId}/`,
      clientId.toUpperCase(),
      ` ${clientId}`,
      'signer',
      otherId,
      secretId,
      '',
      null,
      undefined,
      7,
      [clientId],
    ]) {
      await refuse(`iss ${wrong}`, assertion(claims({ iss: wrong })));
      await refuse(`sub ${wrong}`, assertion(claims({ sub: wrong })));
      await refuse(`both ${wrong}`, assertion(claims({ iss: wrong, sub: wrong })));
    }
    await refuse('client_id of another', assertion(claims()), { client_id: otherId });
    await refuse('client_id as a name', assertion(claims()), { client_id: 'signer' });
  });

  it('is refused with a time that is missing, odd, past, or too far away', async () => {
    const now = nowSeconds();
    const times: [string, string][] = [
      ['exp', `${now - 61}`],
      ['exp', '0'],
      ['exp', '-1'],
      ['exp', `${now + 60}.5`],
      ['exp', `"${now + 60}"`],
      ['exp', '1e400'],
      ['exp', '1e300'],
      ['exp', '9007199254740993'],
      ['exp', `${now + 400 * 86_400}`],
      ['exp', 'null'],
      ['exp', '[1]'],
      ['exp', 'true'],
      ['iat', `${now - 400}`],
      ['iat', `${now + 120}`],
      ['iat', `"${now}"`],
      ['iat', `${now}.25`],
      ['iat', '-1'],
      ['iat', '1e400'],
      ['iat', '-1e400'],
      ['iat', 'null'],
      ['nbf', `${now + 120}`],
      ['nbf', '1e400'],
      ['nbf', `"${now}"`],
      ['nbf', `${now}.25`],
      ['nbf', 'null'],
    ];
    for (const [member, text] of times) await refuse(`${member} ${text}`, assertion(payloadWith(member, text)));
    for (const missing of ['exp', 'iat', 'jti', 'iss', 'sub', 'aud'])
      await refuse(`without ${missing}`, assertion(claims({ [missing]: undefined })));
    for (const jti of ['', 'x'.repeat(257), 7, null, ['a']]) await refuse(`jti ${jti}`, assertion(claims({ jti })));
  });

  it('is refused when its payload is no JSON object, or says one thing twice', async () => {
    for (const payload of [
      'null',
      '[]',
      '"x"',
      '{',
      '',
      'x'.repeat(100),
      '{"sub":{"toString":"x"}}',
      '{"__proto__":{"sub":"x"}}',
    ])
      await refuse(`payload ${payload.slice(0, 20)}`, assertion(payload));
  });

  it('of a client that has a secret instead of keys, is as wrong as any', async () => {
    await refuse('a secret client', assertion(claims({ iss: secretId, sub: secretId })));
  });

  it('counts once: of fifty at the same time, and of a later one, exactly one is taken', async () => {
    const jws = assertion(claims());
    const replies = await Promise.all(Array.from({ length: 50 }, () => present(jws)));
    expect(replies.filter((reply) => reply.status === 200)).toHaveLength(1);
    expect(replies.filter((reply) => reply.status !== 200 && reply.status !== 401)).toEqual([]);
    await refuse('later', jws);
    const [header, payload, signature] = jws.split('.') as [string, string, string];
    const s = Buffer.from(signature, 'base64url');
    const order = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551');
    const mirrored = (order - BigInt(`0x${s.subarray(32).toString('hex')}`)).toString(16).padStart(64, '0');
    const twin = Buffer.concat([s.subarray(0, 32), Buffer.from(mirrored, 'hex')]).toString('base64url');
    await refuse('with its mirrored signature', `${header}.${payload}.${twin}`);
  });

  it('is of no use in another tenant, nor after its client was revoked', async () => {
    expect(comparable(await present(assertion(claims()), {}, 'globex'))).toEqual(refused);
    const jws = assertion(claims({ iss: otherId, sub: otherId }), { kid: 'other' }, stranger.privateKey);
    await must(world.call('DELETE', `/v1/tenants/acme/workloads/${otherId}`, { token: world.owner }), 200);
    await refuse('a revoked client', jws);
  });

  it('leaves neither itself nor what it said in the log, but a reason for each refusal', async () => {
    const events = await eventsOf(world.call, world.owner);
    const refusals = events.filter(
      (event) => event.action === 'authentication' && event.target.name === `POST ${'/v1/tenants/{tenant}/token'}`,
    );
    expect(refusals.length).toBeGreaterThan(100);
    expect(JSON.stringify(events)).not.toMatch(/eyJ|passwd|169\.254/);
    expect(world.log.join('\n')).not.toMatch(/eyJ/);
  });
});

describe('a key set of a workload', () => {
  const create = (keys: unknown) =>
    world.call('POST', '/v1/tenants/acme/workloads', {
      token: world.owner,
      body: { name: `keys-${randomUUID().slice(0, 8)}`, environment: 'staging', patterns: ['*'], jwks: { keys } },
    });

  it('takes no shared secret, no private key, no empty list and no crowd', async () => {
    for (const keys of [
      [{ kty: 'oct', k: 'bm90LWEtcmVhbC1zZWNyZXQ' }],
      [{ ...jwkOf(ec.privateKey, 'x') }],
      [],
      Array.from({ length: 9 }, () => jwkOf(ec.publicKey, 'x')),
      'x',
      [null],
    ])
      expect((await create(keys)).status, JSON.stringify(keys).slice(0, 60)).toBe(400);
  });
});

describe('other proofs at the token endpoint', () => {
  it('refuse alike what is no client secret: access tokens, direct tokens, user tokens, the bootstrap secret, parts and none', async () => {
    const refused = comparable(await present('x.y.z'));
    const made = await must(
      world.call('POST', `/v1/tenants/acme/workloads/plain/secrets`, { token: world.owner, body: {} }),
      201,
    );
    const secret: string = made.body.token;
    const good = await must(
      world.call('POST', tokenPath(), { body: { grant_type: 'client_credentials', client_secret: secret } }),
      200,
    );
    const others = [
      good.body.access_token,
      world.acme.token,
      world.owner,
      world.spent,
      secret.slice(0, -1),
      `${secret} `,
      ` ${secret}`,
      secret.toUpperCase(),
      secret.replace('kt_cs_', 'kt_acc_'),
      secret.replace('kt_cs_', 'kt_wlk_'),
      'null',
    ];
    for (const wrong of others) {
      const body = { grant_type: 'client_credentials', client_secret: wrong };
      expect(comparable(await world.call('POST', tokenPath(), { body })), wrong.slice(0, 8)).toEqual(refused);
      const basic = Buffer.from(`${secretId}:${encodeURIComponent(wrong)}`).toString('base64');
      const headers = { authorization: `Basic ${basic}` };
      const plain = { grant_type: 'client_credentials' };
      expect(comparable(await world.call('POST', tokenPath(), { body: plain, headers }))).toEqual(refused);
    }
    expect(comparable(await world.call('POST', tokenPath(), { body: { grant_type: 'client_credentials' } }))).toEqual(refused);
    expect(
      comparable(
        await world.call('POST', tokenPath('globex'), { body: { grant_type: 'client_credentials', client_secret: secret } }),
      ),
    ).toEqual(refused);
    for (const bearer of [secret, good.body.access_token.replace('kt_acc_', 'kt_wlk_'), world.spent])
      expect((await world.call('GET', at('acme'), { token: bearer })).status).toBe(401);
    expect((await world.call('PUT', at('acme', 'x'), { token: secret, body: apiKey() })).status).toBe(401);
  });

  it('do not mix: a client that sends two proofs is held to each of them', async () => {
    const jws = assertion(claims());
    const both = await present(jws, { client_secret: 'kt_cs_not-a-real-secret' });
    expect(both.status).toBe(400);
    const basic = Buffer.from(`${clientId}:not-a-real-secret`).toString('base64');
    const mixed = await world.call('POST', tokenPath(), {
      body: { grant_type: 'client_credentials', client_assertion_type: TYPE, client_assertion: assertion(claims()) },
      headers: { authorization: `Basic ${basic}` },
    });
    expect(mixed.status).toBe(400);
  });
});
