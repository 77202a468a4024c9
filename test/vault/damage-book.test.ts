import { describe, expect, it } from 'vitest';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Cell } from '../../src/cell/cell.ts';
import { DamageBook, type FoundDamage } from '../../src/vault/damage-book.ts';

const found = (id: string | undefined, table = 'credential'): FoundDamage => ({ table, id, damage: 'changed' });

function scene() {
  const told: FoundDamage[] = [];
  let batches = 0;
  const cell = {
    use: () => {},
    submit: () => {
      batches += 1;
      return Promise.reject(new Error('closing'));
    },
  };
  const book = new DamageBook(cell as unknown as Cell);
  book.tell = (damage) => void told.push(damage);
  const commit = () => {
    book.beforeCommit();
    book.afterCommit();
  };
  return { book, told, commit, batches: () => batches };
}

describe('found damage', () => {
  it('is reported in the next batch, once, and causes a batch', () => {
    const { book, told, commit, batches } = scene();
    book.note(found('cred_1'));
    expect([told.length, batches()]).toEqual([0, 1]);
    book.note(found('cred_1'));
    commit();
    book.note(found('cred_1'));
    commit();
    expect([told, batches()]).toEqual([[found('cred_1')], 1]);
  });

  it('is reported for each row, table and kind', () => {
    const { book, told, commit } = scene();
    const each: FoundDamage[] = [
      found('cred_1'),
      found('cred_2'),
      found(undefined),
      found('cred_1', 'run'),
      { ...found('cred_1'), damage: 'missing' },
    ];
    for (const damage of each) book.note(damage);
    commit();
    expect(told).toEqual(each);
  });

  it('is reported again after a rollback of the batch with its report', () => {
    const { book, told, commit } = scene();
    book.note(found('cred_1'));
    book.beforeCommit();
    commit();
    expect(told).toHaveLength(2);
  });

  it('is reported up to a limit', () => {
    const { book, told, commit } = scene();
    for (let i = 0; i < LIMITS.damageToldMax - 1; i++) book.note(found(`cred_${i}`));
    commit();
    for (const id of ['cred_a', 'cred_b', 'cred_c']) book.note(found(id));
    commit();
    expect(told).toHaveLength(LIMITS.damageToldMax);
    expect(told.at(-1)).toEqual(found('cred_a'));
  });

  it('whose report fails because of other damage stops neither the batch nor other reports; a failing disk or a defect does', () => {
    const { book, commit } = scene();
    const tried: unknown[] = [];
    let error: Error = new KeyturnError('integrity', 'the alert is damaged, too');
    book.tell = ({ id }) => {
      tried.push(id);
      throw error;
    };
    book.note(found('cred_1'));
    book.note(found('cred_2'));
    commit();
    expect(tried).toEqual(['cred_1', 'cred_2']);
    for (const other of [new KeyturnError('storage_full', 'the disk is full'), new Error('a defect')]) {
      error = other;
      book.note(found(other.message));
      expect(() => book.beforeCommit()).toThrow(other.message);
      book.afterCommit();
    }
  });
});
