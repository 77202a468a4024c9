// A stored object that differs from the last written one fails alone: it is refused and reported once, and the rest of the tenant works.
import { describe, expect, it } from 'vitest';
import { LIMITS } from '../../src/base/limits.ts';
import { scrub } from '../../src/cell/scrub.ts';
import type { Row } from '../../src/cell/sql.ts';
import { verifyCheckpoint } from '../../src/crypto/checkpoint.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { describeCredential, listCredentials } from '../../src/vault/describe-credential.ts';
import { revokeWorkload } from '../../src/vault/manage-workloads.ts';
import { openForReading } from '../../src/vault/open-cell.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { destroyRetiredKeys, rewrapBatch, rotateKeys } from '../../src/vault/rotate-keys.ts';
import { caughtCode, outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { eventsOf, inside, putKey, type TestTenant, testTenant, workloadToken } from '../kit/vaults.ts';

const admin = (tenant: TestTenant) => tenant.user(['admin'], 'everywhere');
const describeKey = (tenant: TestTenant, name: string, vault = tenant.vault) =>
  outcomeOf(vault.submit((job) => describeCredential(job, admin(tenant), 'staging', name)));
const settled = async (tenant: TestTenant, vault = tenant.vault) => {
  for (let i = 0; i < 3; i++) await vault.submit(() => {});
};

async function filled() {
  const tenant = await testTenant();
  for (const name of ['a', 'b', 'c']) await putKey(tenant, name, `not-a-real-secret-${name}`);
  return tenant;
}

function read(tenant: TestTenant, text: string, vault = tenant.vault) {
  const input = { environment: 'staging', name: 'a', version: undefined, stage: undefined };
  return outcomeOf(vault.submit((job) => readCredential(job, tenant.token(text), input)));
}

const damages = (tenant: TestTenant) => eventsOf(tenant.sql).filter((event) => event['action'] === 'state.damaged');
const alerts = (tenant: TestTenant) => tenant.sql.all<{ facts: string }>("SELECT facts FROM alert WHERE kind = 'state.damaged'");

describe('a row that was restored to an older state', () => {
  it('is refused at its next read, reported once by event and alert, and does not affect others', async () => {
    const tenant = await filled();
    const old = tenant.sql.get<Row>("SELECT * FROM credential WHERE name = 'a'");
    await putKey(tenant, 'a', 'not-a-real-secret-2');
    const put = Object.keys(old ?? {}).map((name) => `${name} = ?`);
    tenant.sql.run(`UPDATE credential SET ${put.join(', ')} WHERE name = 'a'`, ...Object.values(old ?? {}));
    for (let i = 0; i < 3; i++) expect(await describeKey(tenant, 'a')).toBe('integrity');
    await settled(tenant);
    expect(await describeKey(tenant, 'b')).toBe('ok');
    expect(damages(tenant).map(({ reason, target }) => [reason, target])).toEqual([
      ['stale', { id: old?.['id'], type: 'credential' }],
    ]);
    expect(alerts(tenant).map(({ facts }) => JSON.parse(facts))).toEqual([
      { table: 'credential', object: old?.['id'], damage: 'stale' },
    ]);
    // Also after a restart there is only this alert.
    const vault = tenant.reopen();
    expect(await describeKey(tenant, 'a', vault)).toBe('integrity');
    await settled(tenant, vault);
    expect(alerts(tenant)).toHaveLength(1);
  });

  it('of a revoked workload and its revoked token is refused, also after a restart', async () => {
    const tenant = await filled();
    const { text, id } = await workloadToken(tenant);
    expect(await read(tenant, text)).toBe('ok');
    const before = ['workload', 'token'].map((table) => [table, tenant.sql.all<Row>(`SELECT * FROM ${table}`)] as const);
    await tenant.vault.submit((job) => revokeWorkload(job, admin(tenant), id));
    for (const [table, rows] of before) {
      tenant.sql.run(`DELETE FROM ${table}`);
      for (const row of rows) tenant.sql.run(`INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${Object.keys(row).map(() => '?').join(', ')})`, ...Object.values(row)); // biome-ignore format: one line
    }
    expect(await read(tenant, text)).toBe('integrity');
    expect(await read(tenant, text, tenant.reopen())).toBe('integrity');
  });
});

describe('a row that was deleted from the database', () => {
  it('is detected by its id and by its name, and lists still work', async () => {
    const tenant = await filled();
    tenant.sql.script('PRAGMA foreign_keys = OFF');
    tenant.sql.run("DELETE FROM credential WHERE name = 'b'");
    expect(await describeKey(tenant, 'b')).toBe('integrity');
    expect(await describeKey(tenant, 'never-there')).toBe('not_found');
    const page = await tenant.vault.submit((job) =>
      listCredentials(job, admin(tenant), {
        environment: 'staging',
        filter: { deleted: false },
        afterName: '',
        maxRows: 9,
      }),
    );
    expect(page.rows.map(({ row }) => row.name)).toEqual(['a', 'c']);
    const parts = [...scrub(inside(tenant.vault).core.rows)].filter((part) => part !== undefined && part.missing > 0);
    expect(parts.map((part) => [part?.part, part?.missing])).toEqual([['credential', 1]]);
    const token = await workloadToken(tenant);
    tenant.sql.run('DELETE FROM token');
    inside(tenant.vault).authenticator.forget();
    expect(await read(tenant, token.text)).toBe('integrity');
  });

  it('of the table of users does not create a new first owner', async () => {
    const { testTeam } = await import('../kit/homes.ts');
    const { createBootstrapSecret } = await import('../../src/vault/set-up.ts');
    const team = await testTeam();
    team.sql.script('DELETE FROM user_grant; DELETE FROM user;');
    expect(await createBootstrapSecret(team.home)).toBeUndefined();
    expect(await createBootstrapSecret(team.reopen())).toBeUndefined();
  });
});

describe('a key with a tampered row', () => {
  it('is not used: a retired one that was made active again seals no new value', async () => {
    const tenant = await filled();
    await tenant.vault.submit((job) => rotateKeys(job, admin(tenant), ['api_key']));
    for (let i = 0; i < 4; i++) await outcomeOf(tenant.vault.submit((job) => rewrapBatch(job)));
    const retired = tenant.sql.get("SELECT key_id FROM tenant_key WHERE purpose = 'api_key' AND version = 1")?.['key_id'];
    tenant.sql.run("UPDATE tenant_key SET state = 'active', retired_at = NULL WHERE key_id = ?", retired ?? '');
    const vault = tenant.reopen();
    const good = inside(vault).core.keyring.current('api_key');
    expect(good.version).toBe(2);
    expect(caughtCode(() => inside(vault).core.keyring.byId('api_key', String(retired)))).toBe('integrity');
    await putKey({ ...tenant, vault }, 'a', 'not-a-real-secret-3');
    expect(tenant.sql.get('SELECT key_id FROM credential_version WHERE version = 2')?.['key_id']).toBe(good.id);
  });

  it('is refused if it was destroyed and restored', async () => {
    const tenant = await filled();
    const before = tenant.sql.all<Row>('SELECT * FROM tenant_key');
    await tenant.vault.submit((job) => rotateKeys(job, admin(tenant), undefined));
    for (let i = 0; i < 30; i++) await outcomeOf(tenant.vault.submit((job) => rewrapBatch(job)));
    const lowest = () =>
      verifyCheckpoint(inside(tenant.vault).core.audit.verifierKey, tenant.notes.at(-1) ?? '').lowestKeyVersion;
    await tenant.vault.submit((job) => job.core.audit.signNow());
    expect(lowest()).toBe(1);
    tenant.clock.pass(LIMITS.keyDestroyDelayMs * 2);
    await destroyRetiredKeys(tenant.vault);
    // The answer waited for a checkpoint with that fact.
    expect(lowest()).toBe(2);
    const api = before.find((row) => row['purpose'] === 'api_key');
    tenant.sql.run("UPDATE tenant_key SET state = 'decrypt_only', wrapped = ?, destroyed_at = NULL WHERE key_id = ?", api?.['wrapped'] ?? null, api?.['key_id'] ?? null); // biome-ignore format: one line
    // Its version is below the witnessed one, so this is an older state.
    const code = caughtCode(() => tenant.reopen());
    expect(['rolled_back', 'ok']).toContain(code);
    if (code === 'ok')
      expect(caughtCode(() => inside(tenant.reopen()).core.keyring.byId('api_key', String(api?.['key_id'])))).not.toBe('ok');
  });
});

describe('a key whose row was removed', () => {
  it('is damage: its values are refused, no key takes its place, and everything else works', async () => {
    const tenant = await filled();
    const { text } = await workloadToken(tenant);
    tenant.sql.run("DELETE FROM tenant_key WHERE purpose = 'api_key'");
    const vault = tenant.reopen();
    await settled(tenant, vault);
    expect(await read(tenant, text, vault)).toBe('integrity');
    expect(await outcomeOf(putKey({ ...tenant, vault }, 'new', 'not-a-real-secret'))).toBe('integrity');
    expect(await describeKey(tenant, 'a', vault)).toBe('ok');
    expect(tenant.sql.all("SELECT * FROM tenant_key WHERE purpose = 'api_key'")).toEqual([]);
    expect(damages(tenant).map(({ reason, target }) => [reason, target])).toContainEqual(['missing', { type: 'tenant_key' }]);
  });

  it('of one retired version refuses only the values under it', async () => {
    const tenant = await filled();
    const { text } = await workloadToken(tenant);
    await tenant.vault.submit((job) => rotateKeys(job, admin(tenant), ['api_key']));
    await putKey(tenant, 'b', 'not-a-real-secret-2');
    tenant.sql.run("DELETE FROM tenant_key WHERE purpose = 'api_key' AND version = 1");
    const vault = tenant.reopen();
    expect(await read(tenant, text, vault)).toBe('integrity');
    const b = { environment: 'staging', name: 'b', version: undefined, stage: undefined };
    expect(await outcomeOf(vault.submit((job) => readCredential(job, tenant.token(text), b)))).toBe('ok');
  });
});

describe('a retired key that looks due for destruction', () => {
  it('because its row was edited is not destroyed, and no event says so', async () => {
    const tenant = await filled();
    await tenant.vault.submit((job) => rotateKeys(job, admin(tenant), ['api_key']));
    tenant.sql.run("UPDATE tenant_key SET destroy_after_at = 1 WHERE purpose = 'api_key' AND version = 1");
    const before = eventsOf(tenant.sql).filter(({ action }) => action === 'key.rotate').length;
    for (let i = 0; i < 3; i++) expect(await outcomeOf(destroyRetiredKeys(tenant.vault))).toBe('integrity');
    expect(eventsOf(tenant.sql).filter(({ action }) => action === 'key.rotate')).toHaveLength(before);
    const { state } = tenant.sql.get<{ state: string }>(
      "SELECT state FROM tenant_key WHERE purpose = 'api_key' AND version = 1",
    ) ?? { state: '' };
    expect(state).toBe('decrypt_only');
  });
});

describe('a witness', () => {
  it('that must be there is missed also by a copy from before its first publication', async () => {
    const { testHome } = await import('../kit/homes.ts');
    // The witness of this kit stores nothing, so the head does not know of one.
    const { opening } = await testHome();
    const open = (more: object) => caughtCode(() => openForReading({ ...opening, opening: { mustExist: true, ...more } }));
    expect(open({})).toBe('ok');
    expect(open({ hasWitness: true })).toBe('rolled_back');
    expect(open({ hasWitness: true, acceptMissingWitness: true })).toBe('ok');
  });

  it.each([
    ['is empty', () => ''],
    ['is cut', (note: string) => note.slice(0, -20)],
    ['is of another cell', (_note: string, other: string) => other],
  ])('that %s is refused by name, until the operator declares it lost', async (_what, spoilt) => {
    const [tenant, other] = [await filled(), await filled()];
    const witnessed = spoilt(tenant.notes.at(-1) ?? '', other.notes.at(-1) ?? '');
    const open = (more: object) =>
      caughtCode(() => openForReading({ ...tenant.opening, opening: { mustExist: true, witnessed, ...more } }));
    expect(open({})).toBe('rolled_back');
    expect(open({ acceptMissingWitness: true })).toBe('ok');
  });
});

describe('a rotation of the row MACs', () => {
  it('moves rows, chunks and head, so that the old key can be destroyed and every check passes', async () => {
    const tenant = await filled();
    const old = inside(tenant.vault).core.keyring.current('metadata_mac').id;
    await tenant.vault.submit((job) => rotateKeys(job, admin(tenant), ['metadata_mac']));
    for (let i = 0; i < 40; i++) await outcomeOf(tenant.vault.submit((job) => rewrapBatch(job, 3)));
    for (const table of ['anchor_head', 'anchor_chunk', 'credential', 'environment'])
      expect(tenant.sql.get(`SELECT count(*) AS n FROM ${table} WHERE mac_key_id = ?`, old)?.['n'], table).toBe(0);
    tenant.clock.pass(LIMITS.keyDestroyDelayMs * 2);
    await destroyRetiredKeys(tenant.vault);
    expect(tenant.sql.get('SELECT state FROM tenant_key WHERE key_id = ?', old)?.['state']).toBe('destroyed');
    const vault = tenant.reopen();
    expect(await describeKey(tenant, 'a', vault)).toBe('ok');
    expect([...scrub(inside(vault).core.rows)].filter((part) => part !== undefined && part.failed + part.missing > 0)).toEqual(
      [],
    );
  });
});

describe('a change that was undone', () => {
  it('by a failing job is also undone in the map: the row reads as before, in the same batch and later', async () => {
    const tenant = await filled();
    const { vault } = tenant;
    const fails = vault.submit((job) =>
      job.door.record(
        { action: 'test', actor: { type: 'system', id: 'test' }, reason: 'test', request: 'r', target: { type: 'test' } },
        (access) => {
          const environment = job.credentials.findEnvironment(access, 'staging');
          const row = job.credentials.find(access, environment?.id ?? '', 'a');
          if (row !== undefined) job.credentials.save(access, { ...row, description: 'undone' });
          throw new RangeError('in the middle');
        },
      ),
    );
    const same = describeKey(tenant, 'a');
    await expect(fails).rejects.toThrow('in the middle');
    expect(await same).toBe('ok');
    expect(await describeKey(tenant, 'a')).toBe('ok');
    expect(await describeKey(tenant, 'a', tenant.reopen())).toBe('ok');
  });

  it('by a failed commit is also undone in the map, and the next batch continues from that state', async () => {
    const sql = new SqlSpy(openNodeSql(':memory:'));
    const tenant = await testTenant({ sql });
    await putKey(tenant, 'a', 'not-a-real-secret-1');
    sql.failCommits();
    expect(await outcomeOf(putKey(tenant, 'a', 'not-a-real-secret-2'))).toBe('storage_full');
    expect(await describeKey(tenant, 'a')).toBe('ok');
    await putKey(tenant, 'a', 'not-a-real-secret-3');
    expect(
      [...scrub(inside(tenant.vault).core.rows)].filter((part) => part !== undefined && part.failed + part.missing > 0),
    ).toEqual([]);
    expect(await describeKey(tenant, 'a', tenant.reopen())).toBe('ok');
  });
});

describe('a missing witness', () => {
  it('prevents opening until the operator declares it lost: then another incarnation begins', async () => {
    const tenant = await filled();
    tenant.clock.pass(LIMITS.checkpointIntervalMs);
    await putKey(tenant, 'd', 'not-a-real-secret-d');
    await putKey(tenant, 'e', 'not-a-real-secret-e');
    const { openCell, openForReading } = await import('../../src/vault/open-cell.ts');
    expect(caughtCode(() => openForReading(tenant.opening))).toBe('rolled_back');
    expect(caughtCode(() => openCell(tenant.opening))).toBe('rolled_back');
    const before = tenant.sql.get('SELECT incarnation_id, epoch FROM anchor_head');
    const core = openCell({ ...tenant.opening, opening: { mustExist: true, anchored: true, acceptMissingWitness: true } });
    await core.cell.submit(() => {});
    const after = tenant.sql.get('SELECT incarnation_id, epoch FROM anchor_head');
    expect(after?.['incarnation_id']).not.toBe(before?.['incarnation_id']);
    expect(Number(after?.['epoch'])).toBeGreaterThan(Number(before?.['epoch']));
    expect(eventsOf(tenant.sql).at(-1)).toMatchObject({ action: 'witness.accept_missing' });
    // The other copy does not match the checkpoint that the witness has now.
    expect(caughtCode(() => openForReading({ ...tenant.opening, opening: { witnessed: tenant.notes.at(-1) } }))).toBe('ok');
    expect(caughtCode(() => openForReading({ ...tenant.opening, opening: { witnessed: tenant.notes.at(-2) } }))).toBe(
      'rolled_back',
    );
  });
});

describe('a revocation', () => {
  it('is answered once the witness has it, and also when the witness fails late', async () => {
    const tenant = await filled();
    const { id } = await workloadToken(tenant);
    const published = tenant.notes.length;
    await tenant.vault.submit((job) => revokeWorkload(job, admin(tenant), id));
    expect(tenant.notes.length).toBe(published + 1);
    const note = verifyCheckpoint(inside(tenant.vault).core.audit.verifierKey, tenant.notes.at(-1) ?? '');
    expect(note.size).toBe(inside(tenant.vault).core.audit.size);
    expect(note.anchor?.epoch).toBe(inside(tenant.vault).core.rows.anchor.position.epoch);
    let keep: (kept: boolean) => void = () => {};
    const platform = { ...tenant.vault.platform, witness: { publish: () => new Promise<boolean>((done) => { keep = done; }) } }; // biome-ignore format: one line
    const { TenantVault } = await import('../../src/vault/tenant-vault.ts');
    const { authorizer } = await import('../kit/vaults.ts');
    const vault = new TenantVault({ tenant: tenant.vault.tenant, sql: tenant.sql, erasureKey: tenant.opening.erasureKey, platform, authorizer, admit: () => {}, witnessed: tenant.notes.at(-1), onDueChanged: () => {} }); // biome-ignore format: one line
    let isAnswered = false;
    const answer = vault.submit((job) => revokeWorkload(job, admin(tenant), id)).then(() => { isAnswered = true; }); // biome-ignore format: one line
    await new Promise((resume) => setTimeout(resume, 30));
    expect(isAnswered).toBe(false);
    keep(false);
    await answer;
  });
});
