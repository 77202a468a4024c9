// Deleting, restoring and destroying: unreadable at once, restorable within the window, then removed from every table.
import { describe, expect, it, vi } from 'vitest';
import { openRun } from '../../rotation/engine/run.ts';
import { fail } from '../../src/base/errors.ts';
import { isCredentialName } from '../../src/base/ids.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { deleteCredential, destroyCredential, destroyExpired, restoreCredential } from '../../src/vault/change-credential.ts';
import { describeCredential } from '../../src/vault/describe-credential.ts';
import { putCredential } from '../../src/vault/put-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { getRun } from '../../src/vault/read-runs.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { changing, eventsOf, inside, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

const SECRET = 'not-a-real-secret';
const DAY = 86_400_000;
const stripe = { environment: 'staging', name: 'stripe', precondition: {} };

async function withStripe() {
  const tenant = await testTenant();
  await putKey(tenant, 'stripe', SECRET);
  const admin = () => tenant.user(['admin'], 'everywhere');
  const proven = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
  const submit = (work: (job: TenantJob) => unknown) => outcomeOf(tenant.vault.submit(work));
  return {
    tenant,
    submit,
    read: () => submit((job) => readCredential(job, proven(), { ...stripe, version: undefined, stage: undefined })),
    remove: (recoveryWindowMs?: number) => submit((job) => deleteCredential(job, admin(), { ...stripe, recoveryWindowMs })),
    restore: (precondition = {}) => submit((job) => restoreCredential(job, admin(), { ...stripe, precondition })),
    describe: () => tenant.vault.submit((job) => describeCredential(job, admin(), 'staging', 'stripe')),
    sweep: () => tenant.vault.submit((job) => destroyExpired(job, 100)),
  };
}

const sealedRows = (tenant: TestTenant) => Number(tenant.sql.get('SELECT count(*) AS n FROM credential_version')?.['n']);

describe('a deleted credential that is replaced', () => {
  it('gets a valid unique name for any length of the first one, and is destroyed when its window ends', async () => {
    const tenant = await testTenant();
    const admin = () => tenant.user(['admin'], 'everywhere');
    const names = ['stripe', `${'a'.repeat(94)}/${'b'.repeat(33)}`, `team/${'c'.repeat(123)}`];
    for (const name of names) {
      for (let round = 0; round < 3; round++) {
        const put = { environment: 'staging', name, kind: 'api_key' as const, value: { key: SECRET }, connector: undefined };
        const rest = { config: undefined, labels: undefined, description: undefined, expiresAtMs: undefined, precondition: {} };
        const made = await tenant.vault.submit((job) => putCredential(job, admin(), { ...put, ...rest, replaceDeleted: true }));
        expect(made.created).toBe(true);
        expect(made.setAside === undefined).toBe(round === 0);
        if (made.setAside !== undefined) expect(isCredentialName(made.setAside), made.setAside).toBe(true);
        const named = { environment: 'staging', name, precondition: {} };
        await tenant.vault.submit((job) => deleteCredential(job, admin(), { ...named, recoveryWindowMs: 7 * DAY }));
      }
    }
    expect(sealedRows(tenant)).toBe(9);
    tenant.clock.pass(7 * DAY);
    await tenant.vault.submit((job) => destroyExpired(job, 100));
    expect(sealedRows(tenant)).toBe(0);
  });
});

describe('a deleted credential', () => {
  it('cannot be read at once, also if it was cached, but can be described', async () => {
    const { read, remove, describe: look } = await withStripe();
    expect(await read()).toBe('ok');
    expect(await remove()).toBe('ok');
    expect(await read()).toBe('gone');
    expect((await look()).row).toMatchObject({ state: 'deleted' });
  });

  it('can be restored completely within its window', async () => {
    const { tenant, read, remove, restore, describe: look } = await withStripe();
    await remove(7 * DAY);
    tenant.clock.pass(7 * DAY - 1);
    expect(await restore()).toBe('ok');
    expect(await read()).toBe('ok');
    expect((await look()).row).toMatchObject({ state: 'active', deleted_at: null, destroy_after_at: null });
    expect(await restore()).toBe('conflict');
  });

  it('cannot be restored after its window, even before the sweep that destroys it', async () => {
    const { tenant, remove, restore } = await withStripe();
    await remove(7 * DAY);
    tenant.clock.pass(7 * DAY);
    expect(await restore()).toBe('gone');
  });

  it('keeps its window when it is deleted again', async () => {
    const { tenant, remove, describe: look } = await withStripe();
    await remove();
    const before = (await look()).row;
    expect((before.destroy_after_at ?? 0) - tenant.clock.now()).toBe(LIMITS.recoveryWindowDefaultMs);
    tenant.clock.pass(DAY);
    expect(await remove(90 * DAY)).toBe('ok');
    expect((await look()).row).toEqual(before);
  });

  it('keeps its name: another one cannot be put under it', async () => {
    const { tenant, remove } = await withStripe();
    await remove();
    expect(await outcomeOf(putKey(tenant, 'stripe', SECRET))).toBe('conflict');
    expect(sealedRows(tenant)).toBe(1);
  });

  it('is restored under a precondition only with its present revision', async () => {
    const { remove, restore } = await withStripe();
    await remove();
    expect(await restore({ revision: 1 })).toBe('precondition_failed');
    expect(await restore({ revision: 2 })).toBe('ok');
  });
});

describe('the end of the window', () => {
  it('destroys every sealed byte with an event, and frees the name for a new credential without data of the old one', async () => {
    const { tenant, submit, read, remove, restore, sweep, describe: look } = await withStripe();
    await putKey(tenant, 'stripe', `${SECRET}-2`);
    const old = (await look()).row.id;
    await remove(7 * DAY);
    tenant.clock.pass(7 * DAY - 1);
    expect(await sweep()).toBe(0);
    expect(tenant.vault.nextDueAt()).toBe(tenant.clock.now() + 1);
    tenant.clock.pass(1);
    expect(await sweep()).toBe(1);
    expect(sealedRows(tenant)).toBe(0);
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({
      action: 'credential.destroy',
      actor: { type: 'system', id: 'recovery-window' },
      details: { count: 2 },
    });
    expect([await read(), await restore(), await outcomeOf(look())]).toEqual(['not_found', 'not_found', 'not_found']);
    expect(await sweep()).toBe(0);
    await putKey(tenant, 'stripe', `${SECRET}-3`);
    expect((await look()).row).toMatchObject({ current_version: 1, latest_version: 1, revision: 1 });
    expect((await look()).row.id).not.toBe(old);
    expect(await read()).toBe('ok');
    tenant.vault.lookup('test', (access, view) => {
      expect(view.credentials.byId(access, old).state).toBe('destroyed');
      expect(view.credentials.findVersionMetadata(access, old, 1)).toBeUndefined();
    });
    expect(await submit((job) => getRun(job, tenant.user(['admin'], 'everywhere'), 'staging', 'stripe', 'run_none'))).toBe(
      'not_found',
    );
  });

  it('applies to each credential at its own time, and a damaged row does not protect the others', async () => {
    const tenant = await testTenant();
    for (let i = 0; i < 5; i++) {
      await putKey(tenant, `key-${i}`, SECRET);
      const input = { ...stripe, name: `key-${i}`, recoveryWindowMs: (7 + i) * DAY };
      await tenant.vault.submit((job) => deleteCredential(job, tenant.user(['admin'], 'everywhere'), input));
    }
    tenant.sql.run("UPDATE credential SET description = 'edited' WHERE name = 'key-0'");
    tenant.clock.pass(9 * DAY);
    expect(await outcomeOf(tenant.vault.submit((job) => destroyExpired(job, 100)))).toBe('integrity');
    const left = tenant.sql.all("SELECT name FROM credential WHERE state = 'deleted' ORDER BY name").map((row) => row['name']);
    expect(left).toEqual(['key-0', 'key-3', 'key-4']);
  });
});

describe('a failing storage', () => {
  it('stops the destruction of every due credential, so that the whole batch is undone', async () => {
    const tenant = await testTenant();
    for (const name of ['a', 'b']) {
      await putKey(tenant, name, SECRET);
      const input = { ...stripe, name, recoveryWindowMs: 7 * DAY };
      await tenant.vault.submit((job) => deleteCredential(job, tenant.user(['admin'], 'everywhere'), input));
    }
    tenant.clock.pass(7 * DAY);
    const { credentials } = inside<unknown, TenantJob>(tenant.vault as never);
    const drop = vi.spyOn(credentials, 'dropVersions').mockImplementationOnce(() => fail('storage_full', 'the disk is full'));
    const sweep = () => outcomeOf(tenant.vault.submit((job) => destroyExpired(job, 100)));
    expect(await sweep()).toBe('storage_full');
    expect(drop).toHaveBeenCalledTimes(1);
    expect(sealedRows(tenant)).toBe(2);
    expect(await sweep()).toBe('ok');
    expect(sealedRows(tenant)).toBe(0);
  });
});

describe('destroying at once', () => {
  it('cancels the open run, and removes the bytes from every file before the answer', async () => {
    const tenant = await testTenant({ demo: true });
    await putKey(tenant, 'stripe', SECRET);
    const credentialId = String(tenant.sql.get('SELECT id FROM credential')?.['id']);
    await tenant.vault.submit((job) =>
      changing(job, (access) => openRun(job, access, { credentialId, kind: 'refresh', trigger: 'request', generation: 1 })),
    );
    const erased = vi.spyOn(inside(tenant.vault).core.cell, 'eraseResidue');
    const owner = tenant.user(['owner'], 'everywhere', { bootstrap: true });
    await tenant.vault.submit((job) => destroyCredential(job, owner, stripe));
    expect(erased).toHaveBeenCalledTimes(1);
    const now = tenant.clock.now();
    expect(tenant.sql.get('SELECT state, outcome, finished_at, next_attempt_at, lease_until, lease_owner FROM run')).toEqual({
      state: 'cancelled',
      outcome: 'credential_removed',
      finished_at: now,
      next_attempt_at: null,
      lease_until: 0,
      lease_owner: '',
    });
    expect(tenant.sql.all('SELECT step, status, at FROM run_step').at(-1)).toEqual({
      step: 'cancelled',
      status: 'credential_removed',
      at: now,
    });
  });

  it('needs the approval of a second person, except for the owner of the demo', async () => {
    const tenant = await testTenant({ demo: true });
    await putKey(tenant, 'stripe', SECRET);
    const destroy = (caller: Parameters<typeof destroyCredential>[1]) =>
      outcomeOf(tenant.vault.submit((job) => destroyCredential(job, caller, stripe)));
    expect(await destroy(tenant.user(['owner'], 'everywhere'))).toBe('approval_required');
    expect(sealedRows(tenant)).toBe(1);
    expect(await destroy(tenant.user(['owner'], 'everywhere', { bootstrap: true }))).toBe('ok');
    expect(sealedRows(tenant)).toBe(0);
  });
});
