// Workloads, their secrets and tokens: bound to scope, network and lifetime, and refused as soon as they are revoked.
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { describe, expect, it, vi } from 'vitest';
import { purgeExpired } from '../../rotation/engine/house-keeping.ts';
import type { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { listCredentials } from '../../src/vault/describe-credential.ts';
import { type ClientProof, exchangeToken } from '../../src/vault/exchange-token.ts';
import {
  type CreateWorkloadInput,
  createClientSecret,
  createDirectToken,
  createWorkload,
  getWorkload,
  listWorkloads,
  revokeToken,
  revokeWorkload,
} from '../../src/vault/manage-workloads.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { textOf } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { inside, putKey, testTenant } from '../kit/vaults.ts';

const AUDIENCE = 'https://vault.example/v1/tenants/acme/token';

async function opened() {
  const tenant = await testTenant();
  await putKey(tenant, 'stripe', 'not-a-real-secret');
  const { vault } = tenant;
  const admin = () => tenant.user(['admin'], 'everywhere');
  const make = (input: Partial<CreateWorkloadInput> = {}) =>
    vault.submit((job) =>
      createWorkload(job, admin(), {
        name: 'sync',
        environment: 'staging',
        patterns: ['*'],
        permissions: ['read'],
        networks: [],
        jwks: undefined,
        ttlMs: 86_400_000,
        ...input,
      }),
    );
  const exchange = (proof: ClientProof, address?: string) =>
    exchangeToken(vault, tenant.token(undefined, address), proof, [AUDIENCE]);
  const bySecret = (clientSecret: string, clientId?: string): ClientProof => ({
    method: 'client_secret',
    clientId,
    clientSecret,
  });
  const read = (token: string, address?: string) =>
    outcomeOf(
      vault.submit((job) =>
        readCredential(job, tenant.token(token, address), {
          environment: 'staging',
          name: 'stripe',
          version: undefined,
          stage: undefined,
        }),
      ),
    );
  const direct = (workload: string, ttlMs = 60_000, permissions?: CreateWorkloadInput['permissions']) =>
    vault.submit((job) => createDirectToken(job, admin(), { workload, permissions, ttlMs }));
  return { tenant, vault, admin, make, exchange, bySecret, read, direct };
}

const secretOf = (made: Awaited<ReturnType<Awaited<ReturnType<typeof opened>>['make']>>) =>
  made.clientSecret === undefined ? '' : textOf(made.clientSecret.token);

describe('the exchange of a client secret', () => {
  it('gives an access token with a lifetime of fifteen minutes, but never longer than its workload', async () => {
    const { tenant, make, exchange, bySecret, read } = await opened();
    const made = await make({ ttlMs: LIMITS.accessTokenTtlDefaultMs * 2 - 1 });
    const first = await exchange(bySecret(secretOf(made)));
    expect(first.expiresAtMs).toBe(tenant.clock.now() + LIMITS.accessTokenTtlDefaultMs);
    tenant.clock.pass(LIMITS.accessTokenTtlDefaultMs);
    expect(await read(textOf(first.token))).toBe('unauthenticated');
    const second = await exchange(bySecret(secretOf(made)));
    expect(second.expiresAtMs).toBe(made.row.expires_at);
    expect(second.expiresAtMs - tenant.clock.now()).toBe(LIMITS.accessTokenTtlDefaultMs - 1);
    tenant.clock.pass(LIMITS.accessTokenTtlDefaultMs - 2);
    expect(await read(textOf(second.token))).toBe('ok');
    tenant.clock.pass(1);
    expect(await read(textOf(second.token))).toBe('unauthenticated');
    expect(await outcomeOf(exchange(bySecret(secretOf(made))))).toBe('unauthenticated');
  });

  it('gives the same refusal to every wrong proof', async () => {
    const { make, exchange, bySecret, direct } = await opened();
    const made = await make();
    const other = await make({ name: 'other' });
    const secret = secretOf(made);
    const proofs = [
      bySecret(''),
      bySecret('kt_cs_'),
      bySecret(secret.slice(0, -1)),
      bySecret(secret, other.row.id),
      bySecret(secret, 'sync'),
      bySecret(textOf((await direct(made.row.id)).token)),
      { method: 'private_key_jwt', clientId: undefined, assertion: 'a.b.c' } as const,
    ];
    for (const proof of proofs) {
      const refusal = { code: 'unauthenticated', message: 'the client is unknown or its proof is wrong' };
      await expect(exchange(proof)).rejects.toMatchObject(refusal);
    }
    expect(await outcomeOf(exchange(bySecret(secret, made.row.id)))).toBe('ok');
  });

  it('is bound to the networks of the workload, as is every use of its tokens', async () => {
    const { make, exchange, bySecret, read } = await opened();
    const made = await make({ networks: ['10.1.0.0/16', '2001:db8::/32'] });
    expect(await outcomeOf(exchange(bySecret(secretOf(made)), '10.2.0.1'))).not.toBe('ok');
    const { token } = await exchange(bySecret(secretOf(made)), '10.1.0.1');
    expect(await read(textOf(token), '2001:db8::7')).toBe('ok');
    expect(await read(textOf(token), '127.0.0.1')).not.toBe('ok');
  });
});

describe('private_key_jwt', () => {
  it('accepts a recent signed assertion once, for exactly this audience', async () => {
    const { tenant, make, exchange } = await opened();
    const { publicKey, privateKey } = await generateKeyPair('EdDSA');
    const made = await make({ jwks: JSON.stringify({ keys: [await exportJWK(publicKey)] }) });
    expect(made.clientSecret).toBeUndefined();
    const { id } = made.row;
    const now = Math.floor(tenant.clock.now() / 1_000);
    const sign = (claims: Record<string, unknown> = {}) =>
      new SignJWT({ iss: id, sub: id, aud: AUDIENCE, iat: now, exp: now + 60, jti: 'one', ...claims }).setProtectedHeader({ alg: 'EdDSA' }).sign(privateKey); // biome-ignore format: one line
    const attempt = async (claims?: Record<string, unknown>) =>
      outcomeOf(exchange({ method: 'private_key_jwt', clientId: undefined, assertion: await sign(claims) }));
    expect(await attempt()).toBe('ok');
    expect(await attempt(), 'a replay').toBe('unauthenticated');
    for (const claims of [
      { aud: [AUDIENCE] },
      { aud: `${AUDIENCE}/` },
      { iss: 'wkl_other' },
      { exp: now - 120 },
      { jti: '' },
      { iat: now - 400 },
    ]) {
      expect.soft(await attempt({ jti: 'fresh', ...claims }), JSON.stringify(claims)).toBe('unauthenticated');
    }
    expect(await attempt({ jti: 'fresh' }), 'no refused one spent its jti').toBe('ok');
    const oldest = now - LIMITS.clientAssertionMaxAgeMs / 1_000;
    expect(await attempt({ jti: 'old', iat: oldest }), 'as old as it may be').toBe('ok');
  });

  it('stores the use of an assertion for as long as the assertion would be accepted', async () => {
    const { tenant, vault, make, exchange } = await opened();
    const { publicKey, privateKey } = await generateKeyPair('EdDSA');
    const made = await make({ jwks: JSON.stringify({ keys: [await exportJWK(publicKey)] }) });
    const { id } = made.row;
    const iat = Math.floor(tenant.clock.now() / 1_000);
    const [spent, unspent] = await Promise.all(
      ['spent', 'unspent'].map((jti) =>
        new SignJWT({ iss: id, sub: id, aud: AUDIENCE, iat, exp: iat + 60, jti })
          .setProtectedHeader({ alg: 'EdDSA' })
          .sign(privateKey),
      ),
    );
    const attempt = (assertion = '') => outcomeOf(exchange({ method: 'private_key_jwt', clientId: undefined, assertion }));
    expect(await attempt(spent)).toBe('ok');
    // The last second in which the clock tolerance still accepts it.
    tenant.clock.atMs = (iat + 60) * 1_000 + LIMITS.clockSkewMs - 1_000;
    await vault.submit((job) => purgeExpired(job));
    expect(await attempt(spent), 'a replay').toBe('unauthenticated');
    expect(await attempt(unspent), 'it still lives').toBe('ok');
    tenant.clock.pass(LIMITS.clockSkewMs);
    await vault.submit((job) => purgeExpired(job));
    expect(tenant.sql.get('SELECT count(*) AS n FROM assertion_seen')?.['n']).toBe(0);
  });

  it('tells the operator why an assertion was refused, and the caller nothing of it', async () => {
    const { tenant, make, exchange } = await opened();
    const [{ publicKey, privateKey }, other] = [await generateKeyPair('EdDSA'), await generateKeyPair('EdDSA')];
    const made = await make({ jwks: JSON.stringify({ keys: [await exportJWK(publicKey)] }) });
    const bySecret = await make({ name: 'by-secret' });
    expect([made.row.jwks?.slice(0, 8), bySecret.row.jwks]).toEqual(['{"keys":', null]);
    const { id } = made.row;
    const iat = Math.floor(tenant.clock.now() / 1_000);
    const sign = (claims: Record<string, unknown>, key = privateKey) =>
      new SignJWT({ iss: id, sub: id, aud: AUDIENCE, iat, exp: iat + 60, jti: 'one', ...claims }).setProtectedHeader({ alg: 'EdDSA' }).sign(key); // biome-ignore format: one line
    const unsigned = (payload: string) => `e30.${Buffer.from(payload).toString('base64url')}.e30`;
    const told = async (assertion: string | Promise<string>) => {
      const proof = { method: 'private_key_jwt', clientId: undefined, assertion: await assertion } as const;
      const error = await exchange(proof).then(
        () => undefined,
        (refusal: unknown) => refusal as KeyturnError,
      );
      expect(error).toMatchObject({ code: 'unauthenticated', message: 'the client is unknown or its proof is wrong' });
      expect(error?.extra).toEqual({ error: 'invalid_client' });
      return error?.evidence;
    };
    for (const sub of ['wkl_other', 'sync', bySecret.row.id]) expect(await told(sign({ sub })), sub).toBe('unknown client');
    const [longest, last] = ['x'.repeat(256), iat + LIMITS.clientAssertionTtlMaxMs / 1_000];
    const bad = [
      { jti: '' },
      { jti: 7 },
      { jti: `${longest}x` },
      { exp: last + 1 },
      { exp: iat + 0.5 },
      { iat: iat - 0.5 },
      { nbf: iat - 0.5 },
    ];
    for (const claims of bad) expect(await told(sign(claims)), JSON.stringify(claims)).toBe('claims');
    const assertion = await sign({ jti: longest, exp: last, nbf: iat });
    expect(await outcomeOf(exchange({ method: 'private_key_jwt', clientId: id, assertion }))).toBe('ok');
    expect(await told(sign({ aud: [AUDIENCE] }))).toBe('claims');
    expect(await told(sign({ exp: iat - 600 }))).toBe('ERR_JWT_EXPIRED');
    expect(await told(sign({}, other.privateKey))).toBe('ERR_JWS_SIGNATURE_VERIFICATION_FAILED');
    expect(await told('a.b.c=')).toBe('not a compact JWS');
    expect(await told(unsigned(JSON.stringify({ sub: [id] }))), 'a subject in a list').toBe('no subject');
    for (const payload of ['', 'null', '5', '[]', '{}', '{"sub":7}', JSON.stringify({ sub: 'x'.repeat(65) })])
      expect(await told(unsigned(payload)), payload).toBe(payload === '' ? 'not a compact JWS' : 'no subject');
    expect(await told(unsigned(JSON.stringify({ sub: 'x'.repeat(64) })))).toBe('unknown client');
  });

  it('is refused if the stored key cannot be used, or if the workload is gone when the assertion is verified', async () => {
    const { tenant, vault, make, exchange } = await opened();
    const [{ publicKey, privateKey }, other] = [await generateKeyPair('ES256'), await generateKeyPair('ES256')];
    const [jwk, { x }] = [await exportJWK(publicKey), await exportJWK(other.publicKey)];
    const iat = Math.floor(tenant.clock.now() / 1_000);
    const refusalOf = async (id: string) => {
      const claims = { iss: id, sub: id, aud: AUDIENCE, iat, exp: iat + 60, jti: 'one' };
      const assertion = await new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).sign(privateKey);
      return exchange({ method: 'private_key_jwt', clientId: undefined, assertion }).then(
        () => 'ok',
        ({ code, evidence }: KeyturnError) => `${code}: ${evidence}`,
      );
    };
    const offCurve = await make({ name: 'off-curve', jwks: JSON.stringify({ keys: [{ ...jwk, x }] }) });
    expect(await refusalOf(offCurve.row.id)).toBe('unauthenticated: assertion');
    const made = await make({ jwks: JSON.stringify({ keys: [jwk] }) });
    const { workloads } = inside<unknown, TenantJob>(vault as never);
    const find = workloads.find.bind(workloads);
    let asked = 0;
    const gone = vi.spyOn(workloads, 'find').mockImplementation((access, key) => (asked++ === 0 ? find(access, key) : undefined));
    expect(await refusalOf(made.row.id)).toBe('unauthenticated: bad client proof');
    gone.mockRestore();
    expect(await refusalOf(made.row.id)).toBe('ok');
  });

  it('allows no client secret', async () => {
    const { vault, admin, make } = await opened();
    const { publicKey } = await generateKeyPair('EdDSA');
    await make({ jwks: JSON.stringify({ keys: [await exportJWK(publicKey)] }) });
    expect(await outcomeOf(vault.submit((job) => createClientSecret(job, admin(), 'sync')))).toBe('conflict');
  });
});

describe('a direct token', () => {
  it('has the requested lifetime, at most that of its workload, and at most the permissions of its workload', async () => {
    const { tenant, make, direct, read, vault } = await opened();
    const made = await make({ permissions: ['read', 'put'], ttlMs: 100_000 });
    expect((await direct('sync', 60_000)).expiresAtMs).toBe(tenant.clock.now() + 60_000);
    expect((await direct('sync', 1_000_000)).expiresAtMs).toBe(made.row.expires_at);
    expect(await outcomeOf(direct('sync', 60_000, ['rotate']))).toBe('invalid_request');
    const narrow = textOf((await direct('sync', 60_000, ['put'])).token);
    expect(await read(narrow)).toBe('forbidden');
    const list = { environment: 'staging', filter: { deleted: false }, afterName: '', maxRows: 5 };
    expect(await outcomeOf(vault.submit((job) => listCredentials(job, tenant.token(narrow), list)))).toBe('ok');
    expect(await read(textOf((await direct('sync', 60_000, ['read'])).token))).toBe('ok');
  });

  it('is revoked alone, at once, also in the cache', async () => {
    const { vault, admin, make, direct, read } = await opened();
    await make();
    await make({ name: 'other' });
    const [one, two] = [await direct('sync'), await direct('sync')];
    expect([await read(textOf(one.token)), await read(textOf(two.token))]).toEqual(['ok', 'ok']);
    const revoke = (workload: string) => outcomeOf(vault.submit((job) => revokeToken(job, admin(), workload, one.publicId)));
    expect(await revoke('other'), "not through another workload's name").toBe('not_found');
    expect(await outcomeOf(vault.submit((job) => revokeToken(job, admin(), 'sync', 'none')))).toBe('not_found');
    expect(await read(textOf(one.token))).toBe('ok');
    expect([await revoke('sync'), await revoke('sync')]).toEqual(['ok', 'ok']);
    expect([await read(textOf(one.token)), await read(textOf(two.token))]).toEqual(['unauthenticated', 'ok']);
  });
});

describe('a workload', () => {
  it('that is revoked loses all its tokens and secrets, frees its name and can be read by its id', async () => {
    const { vault, admin, make, direct, read, exchange, bySecret } = await opened();
    const made = await make();
    const token = textOf((await direct('sync')).token);
    const further = await vault.submit((job) => createClientSecret(job, admin(), 'sync'));
    const access = textOf((await exchange(bySecret(textOf(further.secret.token)))).token);
    expect([await read(token), await read(access)]).toEqual(['ok', 'ok']);
    await vault.submit((job) => revokeWorkload(job, admin(), 'sync'));
    expect([await read(token), await read(access)]).toEqual(['unauthenticated', 'unauthenticated']);
    for (const secret of [secretOf(made), textOf(further.secret.token)]) {
      expect(await outcomeOf(exchange(bySecret(secret)))).toBe('unauthenticated');
    }
    for (const work of [
      (job: TenantJob) => createClientSecret(job, admin(), made.row.id),
      (job: TenantJob) => createDirectToken(job, admin(), { workload: made.row.id, permissions: undefined, ttlMs: 1 }),
    ]) {
      expect(await outcomeOf(vault.submit<unknown>(work))).toBe('conflict');
    }
    const again = await make();
    expect(again.row.id).not.toBe(made.row.id);
    expect((await vault.submit((job) => getWorkload(job, admin(), 'sync'))).row.id).toBe(again.row.id);
    const old = await vault.submit((job) => getWorkload(job, admin(), made.row.id));
    expect(old.tokens.every((row) => row.revoked_at !== null)).toBe(true);
    expect(await read(token)).toBe('unauthenticated');
  });

  it('needs an existing environment, a free name that is not an id, and valid networks', async () => {
    const { make } = await opened();
    const made = await make();
    expect(await outcomeOf(make())).toBe('conflict');
    expect(await outcomeOf(make({ name: made.row.id }))).toBe('conflict');
    expect(await outcomeOf(make({ name: 'b', environment: 'nowhere' }))).toBe('not_found');
    for (const network of ['10.0.0.0/33', 'localhost', '10.0.0.1/8x', '']) {
      expect.soft(await outcomeOf(make({ name: 'b', networks: [network] })), network).toBe('invalid_request');
    }
  });

  it('is listed in pages, also beside revoked ones with its name', async () => {
    const { vault, admin, make } = await opened();
    for (let i = 0; i < 7; i++) {
      await make({ name: `w-${i % 3}` });
      await vault.submit((job) => revokeWorkload(job, admin(), `w-${i % 3}`));
    }
    for (let i = 0; i < 3; i++) await make({ name: `w-${i}` });
    for (const rows of [1, 2, 3, 50]) {
      const ids: string[] = [];
      let after: string | undefined = '';
      while (after !== undefined) {
        const from: string = after;
        const page = await vault.submit((job) => listWorkloads(job, admin(), from, rows));
        ids.push(...page.rows.map((row) => row.id));
        after = page.next;
      }
      expect(ids).toHaveLength(10);
      expect(new Set(ids).size).toBe(10);
    }
  });

  it('has its time of last use updated at most once a minute', async () => {
    const { tenant, vault, admin, make, direct, read } = await opened();
    await make();
    const token = textOf((await direct('sync', 3_600_000)).token);
    const used = async () => (await vault.submit((job) => getWorkload(job, admin(), 'sync'))).row.last_used_at;
    const start = tenant.clock.now();
    await read(token);
    tenant.clock.pass(LIMITS.lastUsedResolutionMs - 1);
    await read(token);
    expect(await used()).toBe(start);
    tenant.clock.pass(1);
    await read(token);
    expect(await used()).toBe(start + LIMITS.lastUsedResolutionMs);
  });
});
