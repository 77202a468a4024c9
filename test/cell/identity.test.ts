// The identity of a database: each member counts, and the incarnation is made once.
import { describe, expect, it } from 'vitest';
import { changeIncarnation, ensureIdentity } from '../../src/cell/identity.ts';
import { migrate } from '../../src/cell/migrations.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { caughtCode } from '../kit/outcome.ts';

const OWN = { kind: 'tenant', installationId: 'ins_a', cellId: 'ten_a' } as const;

function cell() {
  const sql = openNodeSql(':memory:');
  migrate(sql, 'tenant', 1);
  return sql;
}

describe('a new database', () => {
  it('gets an incarnation once, and keeps it until it is changed', () => {
    const sql = cell();
    expect(ensureIdentity(sql, OWN, () => 'inc_a', 7)).toBe('inc_a');
    expect(ensureIdentity(sql, OWN, () => 'inc_b', 8)).toBe('inc_a');
    expect(ensureIdentity(sql, OWN, undefined, 8)).toBe('inc_a');
    expect(sql.get('SELECT kind, created_at FROM cell')).toEqual({ kind: 'tenant', created_at: 7 });
    changeIncarnation(sql, 'inc_b');
    expect(ensureIdentity(sql, OWN, undefined, 8)).toBe('inc_b');
  });

  it('is refused where the cell was created before', () => {
    expect(caughtCode(() => ensureIdentity(cell(), OWN, undefined, 1))).toBe('rolled_back');
  });
});

describe('a database of another cell', () => {
  it.each([{ kind: 'home' as const }, { installationId: 'ins_b' }, { cellId: 'ten_b' }])(
    'is refused by each member: %o',
    (other) => {
      const sql = cell();
      ensureIdentity(sql, OWN, () => 'inc_a', 1);
      expect(caughtCode(() => ensureIdentity(sql, { ...OWN, ...other }, () => 'inc_b', 1))).toBe('integrity');
    },
  );
});
