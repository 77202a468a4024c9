// A token authenticates only with its secret, and only while the token, its origin and its workload are valid, cached or not.
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { WorkloadAuthenticator } from '../../src/access/authenticate.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Lookup } from '../../src/cell/access.ts';
import type { TokenRow, TokenStore } from '../../src/cell/tokens.ts';
import type { WorkloadRow, WorkloadStore } from '../../src/cell/workloads.ts';
import { publicKeyId } from '../../src/crypto/public-key.ts';
import { parseToken, type TokenType } from '../../src/crypto/token.ts';
import { exchangeToken } from '../../src/vault/exchange-token.ts';
import { createUser } from '../../src/vault/manage-users.ts';
import {
  createClientSecret,
  createDirectToken,
  createWorkload,
  revokeToken,
  revokeWorkload,
} from '../../src/vault/manage-workloads.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { checksumOf, forgedFrom } from '../kit/forged.ts';
import { testHome, testTeam, textOf } from '../kit/homes.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { eventsOf, inside, putKey, START_MS, type TestTenant, testTenant } from '../kit/vaults.ts';

const AUDIENCE = 'https://vault.example/v1/tenants/acme/token';

/** A workload with a client secret, one with a key, and functions that get and use their tokens. */
async function furnished() {
  const tenant = await testTenant();
  await putKey(tenant, 'stripe', 'not-a-real-secret');
  const { vault } = tenant;
  const admin = () => tenant.user(['admin'], 'everywhere');
  const keys = await generateKeyPair('EdDSA');
  const jwk = await exportJWK(keys.publicKey);
  const make = (name: string, jwks?: string) =>
    vault.submit((job) =>
      createWorkload(job, admin(), {
        name,
        environment: 'staging',
        patterns: ['*'],
        permissions: ['read'],
        networks: [],
        jwks,
        ttlMs: 86_400_000,
      }),
    );
  const made = await make('sync');
  const signing = await make('signing', JSON.stringify({ keys: [jwk] }));
  const secret = made.clientSecret === undefined ? '' : textOf(made.clientSecret.token);
  const exchange = async (clientSecret: string, clientId?: string) =>
    textOf((await exchangeToken(vault, tenant.token(undefined), { method: 'client_secret', clientId, clientSecret }, [])).token);
  const assert = async (jti: string) => {
    const now = Math.floor(tenant.clock.now() / 1_000);
    const { id } = signing.row;
    const claims = { iss: id, sub: id, aud: AUDIENCE, iat: now, exp: now + 60, jti };
    const assertion = await new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA' }).sign(keys.privateKey);
    const proof = { method: 'private_key_jwt', clientId: undefined, assertion } as const;
    return textOf((await exchangeToken(vault, tenant.token(undefined), proof, [AUDIENCE])).token);
  };
  const read = (token: string) => readAs(tenant, token);
  const direct = async () =>
    textOf((await vault.submit((job) => createDirectToken(job, admin(), { workload: 'sync', permissions: undefined, ttlMs: 3_600_000 }))).token); // biome-ignore format: one line
  return { tenant, vault, admin, secret, exchange, assert, read, direct, jwk, signing: signing.row };
}

function readAs(tenant: TestTenant, token: string): Promise<string> {
  const what = { environment: 'staging', name: 'stripe', version: undefined, stage: undefined };
  return outcomeOf(tenant.vault.submit((job) => readCredential(job, tenant.token(token), what)));
}

const idOf = (token: string) => parseToken(token)?.publicId ?? '';

describe('a forged token with a known public id and a correct checksum', () => {
  const tried = new Set<TokenType>();
  const forgeries = (token: string) => {
    tried.add(parseToken(token)?.type as TokenType);
    const made = [forgedFrom(token), forgedFrom(token, 'one-character')];
    for (const text of made) {
      expect(parseToken(text), 'well-formed').toMatchObject({ publicId: idOf(token) });
      expect(text).not.toBe(token);
    }
    return made;
  };

  it('of a workload is refused as direct token, access token and client secret, also when the genuine one is cached', async () => {
    const { secret, exchange, read, direct } = await furnished();
    const [access, wlk] = [await exchange(secret), await direct()];
    for (const token of [access, wlk]) {
      for (const text of forgeries(token)) expect(await read(text), text.slice(0, 7)).toBe('unauthenticated');
      expect(await read(token)).toBe('ok');
      for (const text of forgeries(token)) expect(await read(text), text.slice(0, 7)).toBe('unauthenticated');
    }
    for (const text of forgeries(secret)) expect(await outcomeOf(exchange(text))).toBe('unauthenticated');
    expect(await outcomeOf(exchange(secret))).toBe('ok');
  });

  it('of a user is refused as user token, enrolment token and bootstrap secret', async () => {
    const first = await testHome();
    for (const text of forgeries(first.bootstrap)) expect(first.home.identify(text)).toBeUndefined();
    expect(first.home.identify(first.bootstrap)).toBeDefined();
    const team = await testTeam();
    const grants = [{ role: 'auditor' as const, tenant: undefined }];
    const input = { name: 'eve', grants, enrolmentTtlMs: 60_000 };
    const { enrolment } = await team.home.submit((job) => createUser(job, team.caller(team.owner), input));
    for (const token of [team.owner, textOf(enrolment.token)]) {
      for (const text of forgeries(token)) expect(team.home.identify(text), text.slice(0, 7)).toBeUndefined();
      expect(team.home.identify(token)).toBeDefined();
      for (const text of forgeries(token)) expect(team.home.identify(text), text.slice(0, 7)).toBeUndefined();
    }
  });

  it('was tried for every type of token', () => {
    const all: Record<TokenType, true> = { boot: true, enr: true, usr: true, wlk: true, acc: true, cs: true };
    expect([...tried].sort()).toEqual(Object.keys(all).sort());
  });

  it('is refused with the secret of a token of another type', async () => {
    const { secret, exchange, read, direct } = await furnished();
    const as = (token: string, type: string) => {
      const body = token.replace(/^kt_[a-z]+_/, `kt_${type}_`).slice(0, -6);
      return body + checksumOf(body);
    };
    for (const token of [secret, await exchange(secret), await direct()])
      for (const type of ['acc', 'wlk', 'usr']) if (!token.startsWith(`kt_${type}_`)) expect(await read(as(token, type))).toBe('unauthenticated'); // biome-ignore format: one line
    for (const token of [await exchange(secret), await direct()])
      expect(await outcomeOf(exchange(as(token, 'cs')))).toBe('unauthenticated');
  });
});

describe('a client id beside the secret', () => {
  it('must be the id of the workload that owns the secret', async () => {
    const { secret, exchange, signing } = await furnished();
    expect(await outcomeOf(exchange(secret, signing.id))).toBe('unauthenticated');
    expect(await outcomeOf(exchange(secret, 'wkl_nobody'))).toBe('unauthenticated');
    expect(await outcomeOf(exchange(secret, ''))).toBe('unauthenticated');
  });
});

type Furnished = Awaited<ReturnType<typeof furnished>>;

/** The things that a token depends on: a token that depends on each, and how it is lost. */
const LOSSES: readonly {
  readonly what: string;
  readonly token: (f: Furnished) => Promise<string>;
  readonly lose: (f: Furnished, token: string) => unknown;
}[] = [
  {
    what: 'the token itself',
    token: (f) => f.direct(),
    lose: (f, token) => f.vault.submit((job) => revokeToken(job, f.admin(), 'sync', idOf(token))),
  },
  {
    what: 'the client secret it was exchanged for',
    token: (f) => f.exchange(f.secret),
    lose: (f) => f.vault.submit((job) => revokeToken(job, f.admin(), 'sync', idOf(f.secret))),
  },
  {
    what: 'its workload, of a direct token',
    token: (f) => f.direct(),
    lose: (f) => f.vault.submit((job) => revokeWorkload(job, f.admin(), 'sync')),
  },
  {
    what: 'its workload, of an exchanged token',
    token: (f) => f.exchange(f.secret),
    lose: (f) => f.vault.submit((job) => revokeWorkload(job, f.admin(), 'sync')),
  },
  {
    what: 'its workload, of a token for a signed assertion',
    token: (f) => f.assert('one'),
    lose: (f) => f.vault.submit((job) => revokeWorkload(job, f.admin(), 'signing')),
  },
  {
    what: 'the lifetime of its workload, of a token for a signed assertion',
    token: (f) => f.assert('one'),
    lose: (f) => f.tenant.clock.pass(86_400_000),
  },
  { what: 'its lifetime', token: (f) => f.exchange(f.secret), lose: (f) => f.tenant.clock.pass(LIMITS.accessTokenTtlDefaultMs) },
  { what: 'the lifetime of its workload', token: (f) => f.direct(), lose: (f) => f.tenant.clock.pass(86_400_000) },
];

describe('a token that loses', () => {
  it.each(LOSSES)('$what is refused at once, with and without the cache', async ({ token, lose }) => {
    const f = await furnished();
    const held = await token(f);
    expect([await f.read(held), await f.read(held)]).toEqual(['ok', 'ok']);
    await lose(f, held);
    expect(await f.read(held)).toBe('unauthenticated');
    const again = f.tenant.reopen();
    const what = { environment: 'staging', name: 'stripe', version: undefined, stage: undefined };
    expect(await outcomeOf(again.submit((job) => readCredential(job, f.tenant.token(held), what)))).toBe('unauthenticated');
  });

  it('its client secret does not affect tokens of another client secret or without one', async () => {
    const f = await furnished();
    const further = await f.vault.submit((job) => createClientSecret(job, f.admin(), 'sync'));
    const other = await f.exchange(textOf(further.secret.token));
    const [old, direct] = [await f.exchange(f.secret), await f.direct()];
    await f.vault.submit((job) => revokeToken(job, f.admin(), 'sync', idOf(f.secret)));
    expect([await f.read(old), await f.read(other), await f.read(direct)]).toEqual(['unauthenticated', 'ok', 'ok']);
  });

  it('the key that signed its assertion is refused', async () => {
    const f = await furnished();
    const held = await f.assert('one');
    const { tokens } = inside(f.vault).core;
    const withKeys = (jwks: string | null) => {
      const store = { find: () => ({ ...f.signing, last_used_at: null, jwks }), markUsed: () => {}, whenChanged: () => {} };
      const pepper = f.vault.platform.root.subkey('token-pepper');
      const authenticator = new WorkloadAuthenticator(tokens, store as unknown as WorkloadStore, pepper, f.tenant.clock);
      return f.vault.submit((job) => job.door.keepBooks('authentication', (books) => authenticator.byToken(books, held)));
    };
    const other = await exportJWK((await generateKeyPair('EdDSA')).publicKey);
    expect((await withKeys(JSON.stringify({ keys: [other, f.jwk] })))?.name).toBe('signing');
    expect(await withKeys(JSON.stringify({ keys: [other] }))).toBeUndefined();
    expect(await withKeys(null)).toBeUndefined();
  });

  it('its client secret or workload is refused at the next exchange, too', async () => {
    for (const lose of [
      (f: Furnished) => f.vault.submit((job) => revokeToken(job, f.admin(), 'sync', idOf(f.secret))),
      (f: Furnished) => f.vault.submit((job) => revokeWorkload(job, f.admin(), 'sync')),
      (f: Furnished) => f.tenant.clock.pass(86_400_000),
    ]) {
      const f = await furnished();
      expect(await outcomeOf(f.exchange(f.secret))).toBe('ok');
      await lose(f);
      expect(await outcomeOf(f.exchange(f.secret))).toBe('unauthenticated');
    }
  });

  it('nothing is named in its events by the id of the token, client secret or key', async () => {
    const f = await furnished();
    await f.exchange(f.secret);
    await f.assert('one');
    const exchanges = eventsOf(f.tenant.sql).filter((event) => event['action'] === 'token.exchange');
    expect(exchanges.map((event) => (event['actor'] as { token: string }).token)).toEqual([idOf(f.secret), publicKeyId(f.jwk)]);
  });
});

/** An authenticator over the given rows, and the ids that it looked up and marked. */
async function overRows(tokens: Partial<TokenRow>[], workload: Partial<WorkloadRow> | 'none' = {}) {
  const f = await furnished();
  const asked: string[] = [];
  const used: string[] = [];
  const losses: (() => void)[] = [];
  const { platform } = f.vault;
  const { core, workloads } = inside(f.vault);
  const access = await f.exchange(f.secret);
  const looked = <T>(use: (lookup: Lookup) => T) => f.vault.lookup('test', (lookup) => use(lookup));
  const [token, secret] = looked((lookup) => [access, f.secret].map((text) => core.tokens.find(lookup, idOf(text))));
  const sync = looked((lookup) => workloads.find(lookup, token?.subject_id ?? ''));
  const rows = [
    { ...token, ...tokens[0] },
    { ...secret, ...tokens[1] },
  ].slice(0, tokens.length);
  const authenticator = new WorkloadAuthenticator(
    {
      find: (_lookup: Lookup, id: string) => {
        asked.push(id);
        return rows.find((row) => row.public_id === id);
      },
      markUsed: (_books: unknown, id: string) => void used.push(id),
      whenRevoked: (listener: () => void) => void losses.push(listener),
    } as unknown as TokenStore,
    {
      find: () => (workload === 'none' ? undefined : { ...sync, ...workload }),
      markUsed: (_books: unknown, id: string) => void used.push(id),
      whenChanged: (listener: () => void) => void losses.push(listener),
    } as unknown as WorkloadStore,
    platform.root.subkey('token-pepper'),
    f.tenant.clock,
  );
  // This access has ended, which only real stores check.
  const books = await f.vault.submit((job) => job.door.keepBooks('authentication', (given) => given));
  const booked = <T>(use: (given: typeof books) => T) => use(books);
  const show = (text = access) => booked((books) => authenticator.byToken(books, text));
  const showSecret = () => looked((lookup) => authenticator.byClientSecret(lookup, f.secret));
  return { f, booked, authenticator, asked, used, losses, access, sync: sync as WorkloadRow, show, showSecret };
}

describe('an access token', () => {
  it('needs its row, its workload, and the client secret of that workload that it was exchanged for', async () => {
    expect((await overRows([{}, {}])).show()?.name).toBe('sync');
    expect((await overRows([])).show(), 'no row').toBeUndefined();
    expect((await overRows([{}])).show(), 'no client secret').toBeUndefined();
    expect((await overRows([{}, { revoked_at: 1 }])).show(), 'a revoked client secret').toBeUndefined();
    expect((await overRows([{}, { subject_id: 'wkl_other' }])).show(), 'another’s client secret').toBeUndefined();
    expect((await overRows([{ revoked_at: 1 }, {}])).show(), 'a revoked token').toBeUndefined();
    expect((await overRows([{ type: 'wlk' }, {}])).show(), 'a row of another type').toBeUndefined();
    expect((await overRows([{}, {}], { revoked_at: 1 })).show(), 'a revoked workload').toBeUndefined();
    expect((await overRows([{}, {}], 'none')).show(), 'no workload').toBeUndefined();
    expect((await overRows([{}, {}])).showSecret()?.name).toBe('sync');
  });

  it('is not accepted as a client secret, nor a client secret as an access token', async () => {
    const { f, authenticator, access, show } = await overRows([{}, {}]);
    expect(show(f.secret)).toBeUndefined();
    expect(f.vault.lookup('test', (lookup) => authenticator.byClientSecret(lookup, access))).toBeUndefined();
  });

  it('has the permissions that both it and its workload have', async () => {
    const may = async (token: string | null, workload: string) => {
      const principal = (await overRows([{ permissions: token }, {}], { permissions: workload })).show();
      return ['credential.read', 'credential.put'].map((operation) => principal?.operations.has(operation as 'credential.read'));
    };
    expect(await may(null, '["read"]')).toEqual([true, false]);
    expect(await may('["read"]', '["read","put"]')).toEqual([true, false]);
    expect(await may('["read","put"]', '["read"]')).toEqual([true, false]);
    expect(await may('["put"]', '["read"]')).toEqual([false, false]);
  });

  it('expires with its row or its workload, whichever is first, to the millisecond', async () => {
    for (const [token, workload] of [
      [1, 1_000],
      [1_000, 1],
    ] as const) {
      const at = START_MS;
      const { f, show, showSecret } = await overRows([{ expires_at: at + token }, { expires_at: at + token }], { expires_at: at + workload }); // biome-ignore format: one line
      expect([show()?.expiresAtMs, showSecret()?.expiresAtMs]).toEqual([at + 1, at + 1]);
      f.tenant.clock.pass(1);
      expect([show(), showSecret()]).toEqual([undefined, undefined]);
    }
  });

  it('of an assertion needs a live workload that has the key', async () => {
    const { f, authenticator, sync } = await overRows([{}, {}]);
    const row = { ...sync, jwks: JSON.stringify({ keys: [f.jwk] }) };
    const keyId = publicKeyId(f.jwk);
    expect(authenticator.byProof(row, keyId)).toMatchObject({ id: row.id, tokenId: keyId, expiresAtMs: row.expires_at });
    expect(authenticator.byProof(row, 'jwk_other'), 'another key').toBeUndefined();
    expect(authenticator.byProof({ ...row, revoked_at: 1 }, keyId), 'revoked').toBeUndefined();
    f.tenant.clock.pass(row.expires_at - f.tenant.clock.now() - 1);
    expect(authenticator.byProof(row, keyId)?.id).toBe(row.id);
    f.tenant.clock.pass(1);
    expect(authenticator.byProof(row, keyId), 'expired').toBeUndefined();
  });
});

describe('a token that is presented repeatedly', () => {
  it('is looked up once until the cache is emptied', async () => {
    const { authenticator, asked, access, show } = await overRows([{}, {}]);
    for (let i = 0; i < 3; i++) show();
    expect(asked.filter((id) => id === idOf(access))).toHaveLength(1);
    authenticator.forget();
    show();
    expect(asked.filter((id) => id === idOf(access))).toHaveLength(2);
  });

  it('is looked up again after any token was revoked and after any workload changed', async () => {
    const { losses, asked, access, show } = await overRows([{}, {}]);
    show();
    expect(losses).toHaveLength(2);
    for (const lose of losses) {
      asked.length = 0;
      lose();
      show();
      expect(asked).toContain(idOf(access));
    }
  });

  it('is marked as used with its workload once a minute, and again after a rollback', async () => {
    const { f, authenticator, used, access, sync, show } = await overRows([{}, {}]);
    const marks = [idOf(access), sync.id];
    const newMarks = (passMs: number) => {
      f.tenant.clock.pass(passMs);
      show();
      return used.splice(0);
    };
    expect(newMarks(0)).toEqual(marks);
    expect(newMarks(LIMITS.lastUsedResolutionMs - 1)).toEqual([]);
    expect(newMarks(1)).toEqual(marks);
    expect(newMarks(1)).toEqual([]);
    authenticator.forget();
    expect(newMarks(0)).toEqual(marks);
  });

  it('is marked as used, if it is a client secret, only once its network was checked', async () => {
    const { f, booked, authenticator, used, sync, showSecret } = await overRows([{}, {}]);
    const principal = showSecret()!;
    expect(used).toEqual([]);
    booked((books) => authenticator.markProven(books, principal));
    expect(used.splice(0)).toEqual([idOf(f.secret), sync.id]);
    const assertion = { ...principal, tokenId: 'jwk_made-up', tokenType: 'assertion' };
    booked((books) => authenticator.markProven(books, assertion));
    expect(used, 'a key has no row to mark').toEqual([sync.id]);
  });
});
