// Putting and reading credentials: every kind, immutable versions, moving labels, preconditions, bounds.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { labelCredential, rollBack } from '../../src/vault/change-credential.ts';
import type { Kind } from '../../src/vault/credential-kinds.ts';
import { describeCredential, listVersions } from '../../src/vault/describe-credential.ts';
import { type PutCredentialInput, putCredential } from '../../src/vault/put-credential.ts';
import { type ReadCredentialInput, readCredential } from '../../src/vault/read-credential.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { changing, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const SECRET = 'not-a-real-secret';
const GRANT_CONFIG = { token_endpoint: 'https://login.example/token', client_id: 'client' };

const put = (tenant: TestTenant, input: Partial<PutCredentialInput> = {}) =>
  tenant.vault.submit((job) =>
    putCredential(job, tenant.user(['admin'], 'everywhere'), {
      environment: 'staging',
      name: 'stripe',
      kind: 'api_key',
      value: { key: SECRET },
      connector: undefined,
      config: undefined,
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
      ...input,
    }),
  );

async function reader(tenant: TestTenant) {
  const { text } = await workloadToken(tenant);
  return async (input: Partial<ReadCredentialInput> = {}) => {
    const wanted = { environment: 'staging', name: 'stripe', version: undefined, stage: undefined, ...input };
    const { body, version } = await tenant.vault.submit((job) => readCredential(job, tenant.token(text), wanted));
    const parsed = JSON.parse(new TextDecoder().decode(body)) as { version: number; value: Record<string, unknown> };
    expect(parsed.version).toBe(version);
    return parsed;
  };
}

const describeOne = (tenant: TestTenant, name = 'stripe') =>
  tenant.vault.submit((job) => describeCredential(job, tenant.user(['admin'], 'everywhere'), 'staging', name));

const back = (tenant: TestTenant, toVersion?: number, precondition = {}) =>
  tenant.vault.submit((job) =>
    rollBack(job, tenant.user(['admin'], 'everywhere'), {
      environment: 'staging',
      name: 'stripe',
      toVersion,
      precondition,
    }),
  );

describe('a value', () => {
  const KINDS: [Kind, unknown, unknown][] = [
    ['api_key', { key: SECRET, key_id: 'k1' }, { key: SECRET, key_id: 'k1' }],
    ['basic', { username: 'ada', password: SECRET }, { username: 'ada', password: SECRET }],
    [
      'database',
      { engine: 'postgresql', host: 'db.example', port: 5432, username: 'app', password: SECRET, database: 'shop' },
      { engine: 'postgresql', host: 'db.example', port: 5432, username: 'app', password: SECRET, database: 'shop' },
    ],
    ['json', { a: [1, { b: 'ü "quoted" \\ 🔑' }], n: null }, { a: [1, { b: 'ü "quoted" \\ 🔑' }], n: null }],
    [
      'oauth2',
      { access_token: SECRET, refresh_token: `r-${SECRET}`, client_secret: `s-${SECRET}`, scope: 'a b', expires_in: 3_600 },
      { access_token: SECRET, token_type: 'Bearer', scope: 'a b' },
    ],
  ];
  it.each(KINDS)('of kind %s is served with its served parts only', async (kind, given, served) => {
    const tenant = await testTenant();
    await put(tenant, { kind, value: given, config: kind === 'oauth2' ? GRANT_CONFIG : undefined });
    const read = await reader(tenant);
    expect((await read()).value).toEqual(served);
    expect((await read()).value, 'from the cache').toEqual(served);
    expect(JSON.stringify(await describeOne(tenant))).not.toContain(SECRET);
  });

  it('may have exactly 65,536 bytes as JSON', async () => {
    const tenant = await testTenant();
    const frame = JSON.stringify({ key: '' }).length;
    const key = (bytes: number) => ({ key: 'k'.repeat(bytes - frame) });
    expect(await outcomeOf(put(tenant, { value: key(LIMITS.valueMaxBytes) }))).toBe('ok');
    expect(await outcomeOf(put(tenant, { value: key(LIMITS.valueMaxBytes + 1) }))).toBe('payload_too_large');
    expect(await outcomeOf(put(tenant, { value: { key: 'ü'.repeat(LIMITS.valueMaxBytes / 2) } }))).toBe('payload_too_large');
    const read = await reader(tenant);
    expect(((await read()).value['key'] as string).length).toBe(LIMITS.valueMaxBytes - frame);
    expect((await describeOne(tenant)).row.latest_version).toBe(1);
  });

  it('is read from the database again after at most five minutes', async () => {
    const tenant = await testTenant();
    await put(tenant);
    const read = await reader(tenant);
    await read();
    tenant.sql.run('UPDATE credential_version SET value = zeroblob(length(value))');
    tenant.clock.pass(LIMITS.dataKeyCacheTtlMs - 1);
    expect(await outcomeOf(read())).toBe('ok');
    tenant.clock.pass(1);
    expect(await outcomeOf(read())).toBe('integrity');
  });

  it('of a grant includes its retained part in the size', async () => {
    const tenant = await testTenant();
    const half = 'x'.repeat(LIMITS.valueMaxBytes / 2);
    const grant = { kind: 'oauth2' as const, config: GRANT_CONFIG };
    expect(await outcomeOf(put(tenant, { ...grant, value: { access_token: half, refresh_token: half } }))).toBe(
      'payload_too_large',
    );
    expect(await outcomeOf(put(tenant, { ...grant, value: { access_token: half, refresh_token: 'r' } }))).toBe('ok');
  });
});

describe('versions', () => {
  it('are immutable: every stored one reads as it was put', async () => {
    const tenant = await testTenant();
    for (let i = 1; i <= 5; i++) await put(tenant, { value: { key: `${SECRET}-${i}` } });
    const read = await reader(tenant);
    for (let i = 1; i <= 5; i++) expect((await read({ version: i })).value).toEqual({ key: `${SECRET}-${i}` });
    expect((await read()).version).toBe(5);
    expect((await read({ stage: 'previous' })).version).toBe(4);
    expect(await outcomeOf(read({ stage: 'pending' }))).toBe('not_found');
    expect(await outcomeOf(read({ version: 6 }))).toBe('not_found');
    expect((await describeOne(tenant)).row.current_version).toBe(5);
  });

  it('keep their number: a roll-back moves labels only, and the next put gets the next number', async () => {
    const tenant = await testTenant();
    for (let i = 1; i <= 3; i++) await put(tenant, { value: { key: `${SECRET}-${i}` } });
    const read = await reader(tenant);
    await read();
    expect((await back(tenant)).row).toMatchObject({ current_version: 2, previous_version: 3, latest_version: 3 });
    expect((await read()).value, 'at once, although it was cached').toEqual({ key: `${SECRET}-2` });
    expect((await read({ stage: 'previous' })).version).toBe(3);
    expect((await back(tenant, 1)).row).toMatchObject({ current_version: 1, previous_version: 2 });
    const after = await put(tenant, { value: { key: `${SECRET}-4` } });
    expect(after.located.row).toMatchObject({ current_version: 4, previous_version: 1, latest_version: 4 });
    expect((await read()).version).toBe(4);
  });

  it('to roll back to must exist and not be current; a grant cannot be rolled back', async () => {
    const tenant = await testTenant();
    await put(tenant);
    expect(await outcomeOf(back(tenant))).toBe('conflict');
    expect(await outcomeOf(back(tenant, 1))).toBe('conflict');
    expect(await outcomeOf(back(tenant, 2))).toBe('not_found');
    await put(tenant);
    expect(await outcomeOf(back(tenant, undefined, { revision: 1 }))).toBe('precondition_failed');
    expect(await outcomeOf(back(tenant, undefined, { revision: 2 }))).toBe('ok');
    const grants = await testTenant();
    const grant = { kind: 'oauth2' as const, config: GRANT_CONFIG, value: { access_token: SECRET } };
    await put(grants, grant);
    await put(grants, grant);
    expect(await outcomeOf(back(grants))).toBe('conflict');
  });

  it('are pruned to the newest hundred, except those with a label', async () => {
    const tenant = await testTenant();
    await put(tenant, { value: { key: `${SECRET}-1` } });
    await put(tenant, { value: { key: `${SECRET}-2` } });
    await back(tenant, 1);
    const numbers = () =>
      tenant.sql.all('SELECT version FROM credential_version ORDER BY version').map((row) => Number(row['version']));
    for (let i = 3; i <= LIMITS.versionsKept + 3; i++) await put(tenant, { value: { key: `${SECRET}-${i}` } });
    expect(numbers()).toEqual(Array.from({ length: LIMITS.versionsKept }, (_, i) => i + 4));
    await back(tenant, 4);
    await put(tenant);
    expect(numbers()[0], 'previous is kept beyond the bound').toBe(4);
    await put(tenant);
    expect(numbers()).toHaveLength(LIMITS.versionsKept);
    expect(numbers()[0]).toBe(6);
  });

  it('are listed newest first, in pages, with their labels', async () => {
    const tenant = await testTenant();
    for (let i = 1; i <= 5; i++) await put(tenant);
    await back(tenant, 2);
    const page = (before: number, rows: number) =>
      tenant.vault.submit((job) => {
        const page = { environment: 'staging', name: 'stripe', before, maxRows: rows };
        return listVersions(job, tenant.user(['admin'], 'everywhere'), page);
      });
    const first = await page(Number.MAX_SAFE_INTEGER, 2);
    expect(first.rows.map((row) => [row.version, row.stages])).toEqual([[5, ['previous']], [4, []]]); // biome-ignore format: pairs
    const rest = await page(Number(first.next), 10);
    expect(rest.rows.map((row) => [row.version, row.stages])).toEqual([[3, []], [2, ['current']], [1, []]]); // biome-ignore format: pairs
    expect(rest.next).toBeUndefined();
    await tenant.vault.submit((job) =>
      changing(job, (access) => {
        const environment = job.credentials.findEnvironment(access, 'staging');
        const row = job.credentials.find(access, environment?.id ?? '', 'stripe');
        if (row !== undefined) job.credentials.save(access, { ...row, pending_version: 3 });
      }),
    );
    expect((await page(4, 1)).rows.map((row) => [row.version, row.stages])).toEqual([[3, ['pending']]]);
  });
});

describe('preconditions', () => {
  const CASES: [string, boolean, PutCredentialInput['precondition'], string][] = [
    ['absent, and it is', false, { absent: true }, 'ok'],
    ['absent, and it is not', true, { absent: true }, 'precondition_failed'],
    ['version 0, and it does not exist', false, { version: 0 }, 'ok'],
    ['version 0, and it exists', true, { version: 0 }, 'version_conflict'],
    ['the current version', true, { version: 2 }, 'ok'],
    ['an older version', true, { version: 1 }, 'version_conflict'],
    ['a version of a missing credential', false, { version: 1 }, 'version_conflict'],
    ['the revision', true, { revision: 2 }, 'ok'],
    ['an older revision', true, { revision: 1 }, 'precondition_failed'],
    ['a revision of a missing credential', false, { revision: 1 }, 'precondition_failed'],
  ];
  it.each(CASES)('%s', async (_what, exists, precondition, expected) => {
    const tenant = await testTenant();
    if (exists) {
      await put(tenant);
      await put(tenant);
    }
    expect(await outcomeOf(put(tenant, { precondition }))).toBe(expected);
    const versions = tenant.sql.get('SELECT count(*) AS n FROM credential_version')?.['n'];
    expect(versions).toBe((exists ? 2 : 0) + (expected === 'ok' ? 1 : 0));
  });

  it('let exactly one of many writers of the same version succeed', async () => {
    const tenant = await testTenant();
    await put(tenant);
    const ends = await Promise.all(Array.from({ length: 40 }, () => outcomeOf(put(tenant, { precondition: { version: 1 } }))));
    expect(ends.filter((end) => end === 'ok')).toHaveLength(1);
    expect(new Set(ends)).toEqual(new Set(['ok', 'version_conflict']));
  });
});

describe('the metadata of a credential', () => {
  it('are kept by a put without them and replaced by a put with them', async () => {
    const tenant = await testTenant();
    await put(tenant, { labels: { team: 'a', tier: '1' }, description: 'first' });
    expect((await put(tenant)).located.row).toMatchObject({ labels: '{"team":"a","tier":"1"}', description: 'first' });
    expect((await put(tenant, { labels: {}, description: '' })).located.row).toMatchObject({ labels: '{}', description: '' });
  });

  it('can change without a new version, but not without a new revision', async () => {
    const tenant = await testTenant();
    await put(tenant, { labels: { team: 'a' }, description: 'first' });
    const label = (change: { labels?: Record<string, string>; description?: string; precondition?: { revision: number } }) =>
      tenant.vault.submit((job) =>
        labelCredential(job, tenant.user(['admin'], 'everywhere'), {
          environment: 'staging',
          name: 'stripe',
          labels: change.labels,
          description: change.description,
          precondition: change.precondition ?? {},
        }),
      );
    expect((await label({ labels: { team: 'b' } })).row).toMatchObject({
      labels: '{"team":"b"}',
      description: 'first',
      revision: 2,
    });
    expect((await label({ description: 'second' })).row).toMatchObject({
      labels: '{"team":"b"}',
      description: 'second',
      revision: 3,
    });
    expect(await outcomeOf(label({ description: 'x', precondition: { revision: 2 } }))).toBe('precondition_failed');
    expect((await describeOne(tenant)).row).toMatchObject({ current_version: 1, latest_version: 1 });
  });

  it('do not allow another kind, and a missing environment gives the answer of a missing credential', async () => {
    const tenant = await testTenant();
    await put(tenant);
    expect(await outcomeOf(put(tenant, { kind: 'basic', value: { username: 'u', password: SECRET } }))).toBe('conflict');
    expect(await outcomeOf(put(tenant, { environment: 'nowhere' }))).toBe('not_found');
    const read = await reader(tenant);
    expect(await outcomeOf(read({ environment: 'nowhere' }))).toBe('not_found');
    expect(await outcomeOf(read({ name: 'nothing' }))).toBe('not_found');
  });
});

describe('a grant whose access token has expired', () => {
  const grant = (more: object) => ({ kind: 'oauth2' as const, config: GRANT_CONFIG, value: { access_token: SECRET, ...more } });

  it('is refused as stale with a refresh token and as dead without one, also from the cache', async () => {
    for (const [more, code] of [
      [{ refresh_token: 'r', expires_in: 60 }, 'provider_unavailable'],
      [{ expires_in: 60 }, 'needs_consent'],
    ] as const) {
      const tenant = await testTenant();
      await put(tenant, grant(more));
      const read = await reader(tenant);
      tenant.clock.pass(59_999);
      expect(await outcomeOf(read())).toBe('ok');
      tenant.clock.pass(1);
      expect(await outcomeOf(read())).toBe(code);
    }
  });

  it('is served when it never expires, as is another kind of credential past its end date', async () => {
    const tenant = await testTenant();
    await put(tenant, grant({}));
    await put(tenant, { name: 'fixed', expiresAtMs: tenant.clock.now() + 1 });
    const read = await reader(tenant);
    tenant.clock.pass(600_000);
    expect((await read()).value['access_token']).toBe(SECRET);
    expect((await read({ name: 'fixed' })).value).toEqual({ key: SECRET });
  });
});
