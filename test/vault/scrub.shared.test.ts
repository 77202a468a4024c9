// CR-03: the scrub of the running service finds damage that no request reads, and reports it as all damage.
import { describe, expect, it } from 'vitest';
import { openRun } from '../../rotation/engine/run.ts';
import { scrubInService } from '../../src/cell/scrub.ts';
import { changing, eventsOf, inside, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

async function withRevocation(): Promise<TestTenant> {
  const tenant = await testTenant();
  await putKey(tenant, 'crm', 'not-a-real-secret');
  const credentialId = String(tenant.sql.get('SELECT id FROM credential')?.['id']);
  await tenant.vault.submit((job) =>
    changing(job, (access) => openRun(job, access, { credentialId, kind: 'revocation', trigger: 'request', generation: 1 })),
  );
  return tenant;
}

async function toldBy(tenant: TestTenant): Promise<string[]> {
  for (const _ of tenant.vault.scrub());
  await tenant.vault.submit(() => {});
  return eventsOf(tenant.sql)
    .filter(({ action }) => action === 'state.damaged')
    .map(({ target, reason }) => `${(target as { type: string }).type} ${reason}`);
}

describe('the scrub of a running service', () => {
  it('reports nothing for an undamaged cell and does not change it', async () => {
    const tenant = await withRevocation();
    const before = eventsOf(tenant.sql).length;
    expect(await toldBy(tenant)).toEqual([]);
    expect(eventsOf(tenant.sql)).toHaveLength(before);
  });

  it.each([
    ['a waiting revocation that was deleted', 'DELETE FROM run_step; DELETE FROM run', 'run missing'],
    ['a revocation that was postponed', 'UPDATE run SET next_attempt_at = 9e15', 'run stale'],
    ['a credential whose due date was changed', 'UPDATE credential SET review_due_at = 1', 'credential changed'],
    [
      'an event that was changed',
      "UPDATE audit_block SET bytes = CAST(replace(CAST(bytes AS TEXT), 'cred', 'dred') AS BLOB)",
      'audit_block changed',
    ],
    ['events that were deleted', 'DELETE FROM audit_block WHERE first_index = 0', 'audit_block changed'],
    ['a table that was added', 'CREATE TABLE extra (id INTEGER)', 'sqlite_schema unknown'],
    ['a view that was added', 'CREATE VIEW extra AS SELECT 1 AS one', 'sqlite_schema unknown'],
    ['a trigger that was added', 'CREATE TRIGGER extra AFTER INSERT ON run BEGIN DELETE FROM run; END', 'sqlite_schema unknown'],
  ])('finds %s', async (_name, change, told) => {
    const tenant = await withRevocation();
    tenant.sql.script(change);
    const all = await toldBy(tenant);
    expect(all).toContain(told);
    expect(tenant.sql.all("SELECT kind FROM alert WHERE kind = 'state.damaged'")).toHaveLength(all.length);
    expect(await toldBy(tenant), 'a second scrub tells nothing new').toEqual(all);
  });

  it('does not report rows that change between two slices', async () => {
    const tenant = await withRevocation();
    for (let i = 0; i < 120; i++) await putKey(tenant, `key-${i}`, 'not-a-real-secret');
    let slices = 0;
    for (const _ of tenant.vault.scrub()) if (slices++ % 5 === 0) await putKey(tenant, `more-${slices}`, 'not-a-real-secret');
    expect(slices).toBeGreaterThan(20);
    await tenant.vault.submit(() => {});
    expect(eventsOf(tenant.sql).filter(({ action }) => action === 'state.damaged')).toEqual([]);
  });

  it('ends when the cell is closed', async () => {
    const { vault } = await withRevocation();
    const slices = vault.scrub();
    expect(slices.next().done).toBe(false);
    vault.close();
    expect(slices.next().done).toBe(true);
  });

  it('checks every row', async () => {
    const { vault, sql } = await withRevocation();
    const { rows } = inside(vault).core;
    const tables = ['credential', 'credential_version', 'run', 'run_step', 'environment', 'tenant_key', 'audit_source'];
    const present = tables.map((table) => Number(sql.get(`SELECT count(*) AS n FROM ${table}`)?.['n']));
    let checked = 0;
    for (const slice of scrubInService(rows, () => {})) checked += slice;
    expect(checked).toBeGreaterThanOrEqual(present.reduce((sum, n) => sum + n, 0));
  });
});
