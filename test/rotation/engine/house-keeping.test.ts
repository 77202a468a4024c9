import { describe, expect, it } from 'vitest';
import { purgeExpired } from '../../../rotation/engine/house-keeping.ts';
import { LIMITS } from '../../../src/base/limits.ts';
import { listKeys, rewrapAll, rotateKeys } from '../../../src/vault/rotate-keys.ts';
import { inside, putKey, testTenant, workloadToken } from '../../kit/vaults.ts';

describe('after a key rotation', () => {
  it('one pass moves every row to the new keys, says how many, and books every purpose as finished', async () => {
    const tenant = await testTenant();
    const { vault, sql } = tenant;
    const admin = tenant.user(['admin'], 'everywhere');
    for (const name of ['one', 'two', 'three']) await putKey(tenant, name, 'not-a-real-secret');
    expect(await rewrapAll(vault)).toBe(0);
    await vault.submit((job) => rotateKeys(job, admin, ['api_key', 'backup']));
    expect(await rewrapAll(vault)).toBe(3);
    const { progress } = await vault.submit((job) => listKeys(job, admin));
    const ended = progress.filter(({ finishedAtMs }) => finishedAtMs !== null).map(({ purpose }) => purpose);
    expect(ended.sort()).toEqual(['api_key', 'backup']);
    const newest = inside(vault).core.keyring.current('api_key').id;
    expect(sql.all('SELECT DISTINCT key_id FROM credential_version')).toEqual([{ key_id: newest }]);
    expect(await rewrapAll(vault)).toBe(0);
  });
});

describe('what expired', () => {
  const DAY = LIMITS.idempotencyKeepMs;

  /** One row of each kind that goes away by itself, all ending at the same instant. */
  async function scene() {
    const tenant = await testTenant();
    const { vault, clock, sql } = tenant;
    const { text } = await workloadToken(tenant);
    expect(text).not.toBe('');
    const endsAt = Number(sql.get('SELECT max(expires_at) AS at FROM token')?.['at']);
    const bytes = new Uint8Array(32);
    await vault.submit((job) => {
      job.door.keepBooks('authentication', (books) => job.workloads.claimAssertion(books, bytes, endsAt));
      job.door.keepBooks('idempotency', (books) =>
        job.core.idempotency.save(books, {
          principal_id: 'someone',
          idempotency_key: 'key',
          request_hash: bytes,
          status: 200,
          wrapped_key: bytes,
          key_id: job.core.keyring.current('api_key').id,
          value: bytes,
          expires_at: endsAt,
        }),
      );
    });
    const kept = () =>
      ['token', 'idempotency', 'assertion_seen'].filter(
        (table) => sql.get(`SELECT 1 FROM ${table} WHERE expires_at = ?`, endsAt) !== undefined,
      );
    return { clock, endsAt, kept, purge: () => vault.submit((job) => purgeExpired(job)) };
  }

  it.each([
    ['at its end', 0, ['token', 'idempotency', 'assertion_seen']],
    ['after its end, but tokens a day later, for the answers that name them', 1, ['token']],
    ['not a moment before that day is over', DAY, ['token']],
    ['after that day', DAY + 1, []],
  ])('goes %s', async (_, afterMs, left) => {
    const { clock, endsAt, kept, purge } = await scene();
    clock.atMs = endsAt + afterMs;
    await purge();
    expect(kept()).toEqual(left);
  });

  it('goes only when the clock is steady: one that jumped ahead ends nothing early', async () => {
    const { clock, endsAt, kept, purge } = await scene();
    clock.atMs = endsAt + DAY + 1;
    clock.steadyAtMs = clock.atMs + 1;
    await purge();
    expect(kept()).toHaveLength(3);
    clock.pass(1);
    await purge();
    expect(kept()).toEqual([]);
  });
});
