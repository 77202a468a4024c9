// The source of a request is personal data: sealed, referred to by a meaningless id, and unreadable once its key is destroyed.
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
  it('is stored once, sealed, and the same source has the same id', async () => {
    const { tenant, rows, idFor } = await withSources();
    const before = rows().length;
    const id = await idFor();
    expect(await idFor({ ...SOURCE })).toBe(id);
    expect(rows().length).toBe(before + 1);
    expect(rows().some((row) => Buffer.from(row.value).includes(SOURCE.address))).toBe(false);
    expect(inside(tenant.vault).core.audit.sources.find(id)).toEqual(SOURCE);
  });

  it('is named by 22 characters of a hash, and is not found under the name of another one', async () => {
    const { sql, tenant, idFor } = await withSources();
    const [id, other] = [await idFor(), await idFor({ ...SOURCE, userAgent: 'another' })];
    expect(id).toMatch(/^src_[A-Za-z0-9_-]{22}$/);
    const { sources } = inside(tenant.vault).core.audit;
    expect(sources.find('src_of_nobody')).toBeUndefined();
    const theirs = sql.get<{ value: Uint8Array; wrapped_key: Uint8Array }>(
      'SELECT * FROM audit_source WHERE source_id = ?',
      other,
    );
    const put = 'UPDATE audit_source SET value = ?, wrapped_key = ? WHERE source_id = ?';
    sql.run(put, theirs?.value ?? null, theirs?.wrapped_key ?? null, id);
    expect(sources.find(id)).toBeUndefined();
    expect(sources.find(other)?.userAgent).toBe('another');
  });

  it('is remembered as new until its batch has ended, whichever way', async () => {
    const { sql, tenant, idFor } = await withSources();
    const added = () => tenant.vault.submit((job) => job.core.audit.sources.mark());
    await idFor();
    expect(await added()).toBe(0);
    sql.failCommits();
    await outcomeOf(idFor({ ...SOURCE, userAgent: 'lost' }));
    expect(await added()).toBe(0);
  });

  it('counts one wrap of its key, the first time only', async () => {
    const { tenant, idFor } = await withSources();
    const { keyring } = inside(tenant.vault).core;
    const uses = () => keyring.rows().map((row) => (row.purpose === 'audit_pii' ? keyring.usedWraps(row) : 0)).reduce((sum, n) => sum + n); // biome-ignore format: one line
    const before = uses();
    await idFor();
    await idFor();
    expect(uses()).toBe(before + 1);
  });

  it('of an effect that was undone is removed from the cache, and earlier ones are kept', async () => {
    const { sql, tenant, rows } = await withSources();
    const undone = { ...SOURCE, userAgent: 'undone' };
    await tenant.vault.submit((job) => {
      const { sources } = job.core.audit;
      const before = sources.idFor(SOURCE);
      const failing = () =>
        job.core.cell.savepoint(() => {
          sources.idFor(undone);
          throw new RangeError('made up');
        });
      expect(failing).toThrow(RangeError);
      const asked = sql.log.length;
      expect(sources.idFor(SOURCE)).toBe(before);
      expect(sql.log.length).toBe(asked);
      const again = sources.idFor(undone);
      expect(rows().map((row) => row.source_id)).toContain(again);
    });
  });

  it('with another address or user agent has another id', async () => {
    const { idFor } = await withSources();
    const ids = [await idFor(), await idFor({ ...SOURCE, address: '192.0.2.2' }), await idFor({ ...SOURCE, userAgent: 'wget' })];
    expect(new Set(ids).size).toBe(3);
  });

  it('gets a new row after a rollback, so that no event refers to a missing row', async () => {
    const { sql, tenant, rows, idFor } = await withSources();
    sql.failCommits();
    expect(await outcomeOf(idFor())).toBe('storage_full');
    const id = await idFor();
    expect(rows().map((row) => row.source_id)).toContain(id);
    expect(inside(tenant.vault).core.audit.sources.find(id)).toEqual(SOURCE);
  });

  it('that is missing, damaged or under a destroyed key is undefined, and the event stays valid', async () => {
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
