// Where requests came from is personal data: sealed, named by an id that says nothing, and gone with its key.
import { describe, expect, it } from 'vitest';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { outcomeOf } from '../kit/outcome.ts';
import { SqlSpy } from '../kit/sql-spy.ts';
import { inside, testTenant } from '../kit/vaults.ts';

const SOURCE = { address: '192.0.2.1', userAgent: 'curl/8' };

async function withSources() {
  const sql = new SqlSpy(openNodeSql(':memory:'));
  const tenant = await testTenant({ sql });
  const rows = () => sql.all<{ source_id: string; value: Uint8Array }>('SELECT source_id, value FROM audit_source');
  const idFor = (source = SOURCE) => tenant.vault.submit((job) => job.core.audit.sources.idFor(source));
  return { sql, tenant, rows, idFor };
}

describe('a source', () => {
  it('is stored once, sealed, under an id that is the same for the same source', async () => {
    const { tenant, rows, idFor } = await withSources();
    const before = rows().length;
    const id = await idFor();
    expect(await idFor({ ...SOURCE })).toBe(id);
    expect(rows().length).toBe(before + 1);
    expect(rows().some((row) => Buffer.from(row.value).includes(SOURCE.address))).toBe(false);
    expect(inside(tenant.vault).core.audit.sources.find(id)).toEqual(SOURCE);
  });

  it('is another one with another address or another agent', async () => {
    const { idFor } = await withSources();
    const ids = [await idFor(), await idFor({ ...SOURCE, address: '192.0.2.2' }), await idFor({ ...SOURCE, userAgent: 'wget' })];
    expect(new Set(ids).size).toBe(3);
  });

  it('gets a fresh row after its batch was lost, so that no event names one that is not there', async () => {
    const { sql, tenant, rows, idFor } = await withSources();
    sql.failCommits();
    expect(await outcomeOf(idFor())).toBe('storage_full');
    const id = await idFor();
    expect(rows().map((row) => row.source_id)).toContain(id);
    expect(inside(tenant.vault).core.audit.sources.find(id)).toEqual(SOURCE);
  });

  it('that is gone, damaged or under a destroyed key is simply not known, and the event stands', async () => {
    const { sql, tenant, idFor } = await withSources();
    const id = await idFor();
    const { sources } = inside(tenant.vault).core.audit;
    expect(sources.find('src_unknown')).toBeUndefined();
    sql.run('UPDATE audit_source SET value = zeroblob(length(value)) WHERE source_id = ?', id);
    expect(sources.find(id)).toBeUndefined();
    sql.run('DELETE FROM audit_source WHERE source_id = ?', id);
    expect(sources.find(id)).toBeUndefined();
  });
});
