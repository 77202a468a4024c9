// Changes that a restored copy of one second ago must not undo: their answers wait until the witness has a signed head that covers them.
// Other changes wait for no witness.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { createEnvironment } from '../../src/vault/create-environment.ts';
import { createTenant } from '../../src/vault/manage-tenants.ts';
import { createUser, createUserToken, offboardUser, revokeUserToken } from '../../src/vault/manage-users.ts';
import { createClientSecret, createWorkload, revokeToken, revokeWorkload } from '../../src/vault/manage-workloads.ts';
import { destroyRetiredKeys, rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { createBootstrapSecret, enrol, setUp } from '../../src/vault/set-up.ts';
import { testHome, testTeam, textOf } from '../kit/homes.ts';
import { eventsOf, putKey, testTenant } from '../kit/vaults.ts';

/** The number of events that the head covers (C2SP tlog-checkpoint: the second line). */
const sizeOf = (note: string | undefined) => Number(note?.split('\n')[1]);

async function watchedTenant() {
  const tenant = await testTenant();
  const urgent: string[] = [];
  const vault = tenant.reopenWith({
    witness: { publish: (_cell, note, isUrgent) => void (isUrgent === true && urgent.push(note)) },
  });
  const admin = () => tenant.user(['admin'], 'everywhere');
  const make = (name: string) =>
    vault.submit((job) =>
      createWorkload(job, admin(), {
        name,
        environment: 'staging',
        patterns: ['*'],
        permissions: ['read'],
        networks: [],
        jwks: undefined,
        ttlMs: 86_400_000,
      }),
    );
  return { ...tenant, vault, urgent, admin, make };
}

describe('a change at a tenant', () => {
  it('is covered by a published head before the answer, if it revokes a workload or a token', async () => {
    const { vault, sql, urgent, admin, make } = await watchedTenant();
    const sync = await make('sync');
    await vault.submit((job) => createClientSecret(job, admin(), 'sync'));
    await vault.submit((job) => createEnvironment(job, admin(), 'qa'));
    expect(urgent).toEqual([]);
    const id = sync.clientSecret?.publicId ?? '';
    await vault.submit((job) => revokeToken(job, admin(), 'sync', id));
    expect(urgent.map(sizeOf)).toEqual([eventsOf(sql).length]);
    await vault.submit((job) => revokeWorkload(job, admin(), 'sync'));
    expect(sizeOf(urgent[1])).toBe(eventsOf(sql).length);
    expect(urgent).toHaveLength(2);
  });

  it('is covered by a published head before the answer, if it destroys a key', async () => {
    const tenant = await watchedTenant();
    const { vault, sql, urgent, clock, admin } = tenant;
    await putKey(tenant, 'stripe', 'not-a-real-secret');
    await vault.submit((job) => rotateKeys(job, admin(), ['api_key']));
    for (let turn = 0; turn < 3; turn++) await vault.submit((job) => rewrapBatch(job));
    clock.pass(LIMITS.keyDestroyDelayMs);
    expect(urgent).toEqual([]);
    expect(await destroyRetiredKeys(vault)).toBe(1);
    expect(urgent.map(sizeOf)).toEqual([eventsOf(sql).length]);
  });
});

describe('a change at home', () => {
  it('is covered by a published head before the answer, if it creates the bootstrap secret', async () => {
    const { home, sql, urgentNotes } = await testHome(undefined, false);
    await createBootstrapSecret(home);
    expect(urgentNotes.map(sizeOf)).toEqual([eventsOf(sql).length]);
    await createBootstrapSecret(home);
    expect(urgentNotes).toHaveLength(1);
  });

  it('is covered by a published head before the answer, if it offboards a user or revokes a token', async () => {
    const team = await testTeam();
    const { home, sql, urgentNotes, caller, owner } = team;
    const before = urgentNotes.length;
    const ada = () => caller(owner);
    await createTenant(home, ada(), { name: 'acme', environments: [], demo: false }, team.provision);
    const input = { name: 'eve', grants: [{ role: 'engineer', tenant: 'acme' } as const], enrolmentTtlMs: 1_000 };
    const eve = await home.submit((job) => createUser(job, ada(), input));
    const further = await home.submit((job) => createUserToken(job, ada(), 'ada', 60_000));
    expect(urgentNotes.slice(before)).toEqual([]);
    await home.submit((job) => revokeUserToken(job, ada(), 'ada', further.publicId));
    expect(urgentNotes.slice(before).map(sizeOf)).toEqual([eventsOf(sql).length]);
    await home.submit((job) => offboardUser(job, ada(), eve.row.id));
    expect(sizeOf(urgentNotes.at(-1))).toBe(eventsOf(sql).length);
    expect(urgentNotes.slice(before)).toHaveLength(2);
  });

  it('is covered by a published head before the answer, if it uses up a one-time token', async () => {
    const { home, sql, urgentNotes, caller, bootstrap } = await testHome();
    const before = urgentNotes.length;
    const { issued } = await home.submit((job) => setUp(job, caller(bootstrap), 'ada'));
    expect(urgentNotes.slice(before).map(sizeOf)).toEqual([eventsOf(sql).length]);
    const ada = () => caller(textOf(issued.token));
    const input = { name: 'eve', grants: [{ role: 'auditor', tenant: undefined } as const], enrolmentTtlMs: 60_000 };
    const eve = await home.submit((job) => createUser(job, ada(), input));
    expect(urgentNotes.slice(before)).toHaveLength(1);
    await home.submit((job) => enrol(job, caller(textOf(eve.enrolment.token)), 60_000));
    expect(sizeOf(urgentNotes.at(-1))).toBe(eventsOf(sql).length);
    expect(urgentNotes.slice(before)).toHaveLength(2);
  });
});

describe('a use case', () => {
  it('that revokes a token waits for its witness', () => {
    const folder = join(import.meta.dirname, '../../src/vault');
    const functions = readdirSync(folder)
      .filter((name) => name.endsWith('.ts'))
      .flatMap((name) => readFileSync(join(folder, name), 'utf8').split('\n}\n'));
    const revoking = functions.filter((text) => text.includes('.tokens.revoke'));
    expect(revoking.length).toBeGreaterThan(5);
    expect(revoking.filter((text) => !text.includes('.publishNow()'))).toEqual([]);
  });
});
