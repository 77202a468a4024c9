// Changing a credential and planning its due dates. Every value is made up; not-a-real-secret.
import { describe, expect, it } from 'vitest';
import type { CredentialRow } from '../../src/cell/credentials.ts';
import { deleteCredential, restoreCredential } from '../../src/vault/change-credential.ts';
import { changeCredential, createCredential, type Draft, newDraft } from '../../src/vault/credential.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { foundCredential } from '../../src/vault/targets.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { changing, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

const HOUR_MS = 3_600_000;
const WHOLE = {
  access_token: 'access-not-a-real-secret',
  refresh_token: 'refresh-not-a-real-secret',
  client_secret: 'client-not-a-real-secret',
  expires_in: 7_200,
};
const place = { environment: 'staging', name: 'crm' };
const admin = (tenant: TestTenant) => tenant.user(['admin'], 'everywhere');
const row = ({ sql }: TestTenant) => sql.get<CredentialRow>("SELECT * FROM credential WHERE name = 'crm'") as CredentialRow;

const put = (tenant: TestTenant, value: object = WHOLE, config: object = {}) =>
  tenant.vault.submit((job) =>
    putCredential(job, admin(tenant), {
      ...place,
      kind: 'oauth2',
      value,
      connector: 'generic-oauth2',
      config: oauth2Config.parse({ client_id: 'made-up', token_endpoint: 'https://good.example/token', ...config }),
      labels: undefined,
      description: undefined,
      expiresAtMs: undefined,
      precondition: {},
    }),
  );

async function removeAndRestore(tenant: TestTenant, afterMs: number) {
  const { vault } = tenant;
  await vault.submit((job) => deleteCredential(job, admin(tenant), { ...place, precondition: {}, recoveryWindowMs: undefined }));
  expect(row(tenant).refresh_due_at).toBeNull();
  tenant.clock.pass(afterMs);
  await vault.submit((job) => restoreCredential(job, admin(tenant), { ...place, precondition: {} }));
}

/** A change without a caller, as the scheduler makes. */
const change = (tenant: TestTenant, by: (draft: Draft) => void) =>
  tenant.vault.submit((job) => {
    const environment = job.door.lookup('test', (lookup) => job.credentials.findEnvironment(lookup, 'staging'));
    const found = job.door.lookup('test', (lookup) => job.credentials.find(lookup, environment?.id ?? '', 'crm'));
    if (environment === undefined || found === undefined) throw new Error('not there');
    return job.door.enterAsSystem(
      'review',
      'credential.review',
      () => foundCredential(job, environment, found),
      (access, located) => changeCredential(job, access, located, by),
    );
  });

describe('restoring a deleted grant', () => {
  it('plans its refresh as a put of the same value would, ahead of the expiry', async () => {
    const [restored, putAgain] = [await testTenant(), await testTenant()];
    await put(restored);
    await removeAndRestore(restored, HOUR_MS);
    putAgain.clock.pass(HOUR_MS);
    await put(putAgain, { ...WHOLE, expires_in: 3_600 });
    expect(row(restored).refresh_due_at).toBe(row(putAgain).refresh_due_at);
    expect(row(restored).refresh_due_at).toBeLessThan(row(restored).value_expires_at ?? 0);
  });

  it('refreshes a token that expired meanwhile at once', async () => {
    const tenant = await testTenant();
    await put(tenant);
    await removeAndRestore(tenant, 3 * HOUR_MS);
    expect(row(tenant).refresh_due_at).toBeLessThanOrEqual(tenant.clock.now());
  });

  it('plans a keep-alive for a grant that is refreshed on read', async () => {
    const tenant = await testTenant();
    await put(tenant, WHOLE, { refresh: 'on_read' });
    await removeAndRestore(tenant, HOUR_MS);
    expect(row(tenant).refresh_due_at).toBeGreaterThan(row(tenant).value_expires_at ?? 0);
  });

  it('plans the refresh of a token without an end as a put does', async () => {
    const tenant = await testTenant();
    const { expires_in: _none, ...endless } = WHOLE;
    await put(tenant, endless);
    await removeAndRestore(tenant, HOUR_MS);
    expect(row(tenant)).toMatchObject({ refresh_due_at: tenant.clock.now(), value_expires_at: null });
  });

  it.each([
    ['ready', true],
    ['degraded', true],
    ['needs_consent', false],
    ['disconnected', false],
  ])('that is %s plans its review: %s', async (health, isReviewed) => {
    const tenant = await testTenant();
    await put(tenant);
    await change(tenant, (draft) => Object.assign(draft, { health }));
    await removeAndRestore(tenant, HOUR_MS);
    expect(row(tenant).review_due_at).toBe(isReviewed ? tenant.clock.now() : null);
  });

  it('plans no refresh of a grant that cannot be refreshed', async () => {
    const tenant = await testTenant();
    const { refresh_token: _none, ...bare } = WHOLE;
    await put(tenant, bare);
    await removeAndRestore(tenant, HOUR_MS);
    expect(row(tenant).refresh_due_at).toBeNull();
  });
});

describe('a new credential', () => {
  it('is due for what its kind and state allow, and tells the owner of the timer', async () => {
    const tenant = await testTenant();
    const before = tenant.dueChanges();
    await put(tenant);
    expect(tenant.dueChanges()).toBe(before + 1);
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    const parts =
      "SELECT retained IS NULL AS bare FROM credential_version JOIN credential ON id = credential_id WHERE name = 'stripe'";
    expect(tenant.sql.all(parts), 'without a connector nothing is kept beside the value').toEqual([{ bare: 1 }]);
    const due = tenant.clock.now();
    const made = (kind: string, state: string) =>
      tenant.vault.submit((job) =>
        changing(job, (access) => {
          const environment = job.credentials.findEnvironment(access, 'staging');
          if (environment === undefined) throw new Error('not there');
          const facts = { name: `${kind}-${state}`, kind, connector: null, config: undefined, labels: undefined };
          const draft = newDraft(job, access, environment, { ...facts, description: undefined });
          const dates = { refresh_due_at: due, rotation_due_at: due, destroy_after_at: due };
          const { row } = createCredential(job, access, environment, { ...draft, ...dates, state });
          return [row.refresh_due_at, row.rotation_due_at, row.destroy_after_at];
        }),
      );
    expect(await made('oauth2', 'active')).toEqual([due, due, null]);
    expect(await made('api_key', 'active')).toEqual([null, due, null]);
    expect(await made('oauth2', 'deleted')).toEqual([null, null, due]);
  });
});

describe('a put over a grant', () => {
  const facts = (tenant: TestTenant) => JSON.parse(row(tenant).grant_facts) as Record<string, unknown>;
  const bare = { access_token: 'access-not-a-real-secret' };

  it('with another refresh token, or without any, keeps no facts of the former grant; with the same one keeps them', async () => {
    const tenant = await testTenant();
    await put(tenant, { ...WHOLE, scope: 'contacts.read' });
    const first = facts(tenant);
    expect(first).toEqual({ fingerprint: expect.any(String), grantedScope: 'contacts.read', scopeSource: 'answer' });
    await put(tenant, WHOLE);
    expect(facts(tenant)).toEqual(first);
    await put(tenant, { ...WHOLE, refresh_token: 'another-not-a-real-secret' });
    expect(Object.keys(facts(tenant))).toEqual(['fingerprint']);
    expect(facts(tenant)['fingerprint']).not.toBe(first['fingerprint']);
    const without = await testTenant();
    await put(without, { ...bare, scope: 'contacts.read' });
    expect(facts(without)).toEqual({ grantedScope: 'contacts.read', scopeSource: 'answer' });
    await put(without, bare);
    expect(facts(without)).toEqual({});
  });
});

describe('a change', () => {
  it('of the name is effective at once: a cached value is not served under the former one', async () => {
    const tenant = await testTenant();
    await putKey(tenant, 'crm', 'not-a-real-secret');
    const read = (name: string) => {
      const input = { environment: 'staging', name, version: undefined, stage: undefined };
      const proven = tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
      return outcomeOf(tenant.vault.submit((job) => readCredential(job, proven, input)));
    };
    expect(await read('crm')).toBe('ok');
    await change(tenant, (draft) => {
      draft.name = 'erp';
    });
    expect(await read('crm')).not.toBe('ok');
    expect(await read('erp')).toBe('ok');
  });

  it('increases the revision by one, and does not change the row that was read', async () => {
    const tenant = await testTenant();
    await put(tenant);
    const before = row(tenant);
    tenant.clock.pass(1_000);
    const { row: after } = await change(tenant, (draft) => {
      draft.description = 'changed';
    });
    expect(after).toMatchObject({ description: 'changed', revision: before.revision + 1, updated_at: tenant.clock.now() });
    expect(row(tenant)).toMatchObject({ description: 'changed', revision: before.revision + 1 });
  });

  it.each([
    ['deleted', { state: 'deleted' }],
    ['in need of consent', { health: 'needs_consent' }],
    ['disconnected', { health: 'disconnected' }],
  ])('leaves no refresh planned of a grant that is %s', async (_what, changes) => {
    const tenant = await testTenant();
    await put(tenant);
    await change(tenant, (draft) => Object.assign(draft, changes, { refresh_due_at: tenant.clock.now() }));
    expect(row(tenant).refresh_due_at).toBeNull();
  });

  it('leaves a destruction planned only for a deleted credential', async () => {
    const tenant = await testTenant();
    await put(tenant);
    await change(tenant, (draft) => Object.assign(draft, { destroy_after_at: tenant.clock.now() }));
    expect(row(tenant).destroy_after_at).toBeNull();
  });
});
