// A change of a row writes the columns that changed, and the row in the database is then what its MAC says, whatever happened between.
import { beforeEach, describe, expect, it } from 'vitest';
import { type ErrorCode, fail } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import { eachIntact } from '../../src/cell/rows.ts';
import type { Row, Sql, SqlValue } from '../../src/cell/sql.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { inside, putKey, type TestTenant, testTenant } from '../kit/vaults.ts';

let tenant: TestTenant;
let written: string[] = [];

/** As `sql`, writing down which columns each change of a credential sets. */
function watched(sql: Sql): Sql {
  const note = (statement: string) => {
    const [verb, table, , ...rest] = statement.split(' ');
    const set = rest.slice(0, rest.indexOf('WHERE')).join(' ');
    if (verb === 'UPDATE' && table === 'credential') written.push(set.replaceAll(' = ?', ''));
  };
  return new Proxy(sql, {
    get(target, name) {
      const member = Reflect.get(target, name, target) as unknown;
      if (typeof member !== 'function') return member;
      return (...given: [string, ...SqlValue[]]) => {
        if (name === 'get' || name === 'run') note(given[0]);
        return (member as (...all: unknown[]) => unknown).apply(target, given);
      };
    },
  });
}

const credentials = () => inside(tenant.vault).core.rows.of<Row>('credential');
const stored = (name: string) => tenant.sql.get<Row>(`${credentials().select} WHERE name = ?`, name) as Row;
const read = (name: string) => credentials().checked(stored(name)) as Row;
const inJob = <T>(work: () => T) => tenant.vault.submit(work);
const savepoint = (work: () => void) => inside(tenant.vault).core.cell.savepoint(work);
/** As a later reader finds it, in memory and after a restart. */
async function damageNow(name: string) {
  const now = await inJob(() => credentials().damageOf(stored(name)));
  const again = inside(tenant.reopen()).core.rows.of<Row>('credential');
  return [now, again.damageOf(stored(name))];
}

beforeEach(async () => {
  tenant = await testTenant({ sql: watched(openNodeSql(':memory:')) });
  for (const name of ['crm', 'erp']) await putKey(tenant, name, 'not-a-real-secret');
  written = [];
});

describe('a change of a row', () => {
  it('writes what changed and its MAC', async () => {
    await inJob(() => credentials().update({ ...read('crm'), health: 'degraded', revision: 7 }));
    expect(written).toEqual(['health, revision, mac']);
    expect(await damageNow('crm')).toEqual([undefined, undefined]);
    expect(stored('crm')).toMatchObject({ health: 'degraded', revision: 7 });
  });

  it('writes all of a row when another one was read last', async () => {
    await inJob(() => {
      const row = read('crm');
      read('erp');
      credentials().update({ ...row, health: 'degraded' });
    });
    expect(written[0]?.split(', ')).toContain('name');
    expect(await damageNow('crm')).toEqual([undefined, undefined]);
  });

  it('counts from the row as it was read, which nobody can change', async () => {
    await inJob(() => {
      const row = read('crm');
      expect(() => {
        row['health'] = 'degraded';
      }).toThrow(TypeError);
      credentials().update({ ...row, revision: 7 });
    });
    expect(await damageNow('crm')).toEqual([undefined, undefined]);
    expect(stored('crm')).toMatchObject({ health: 'ready', revision: 7 });
  });

  it('is whole when the row was changed since it was read', async () => {
    await inJob(() => {
      const row = read('crm');
      credentials().update({ ...row, health: 'degraded', description: 'one' });
      // What it takes back is what was read: the difference to that is empty, the difference to the database is not.
      credentials().update({ ...row, revision: 7 });
    });
    expect(await damageNow('crm')).toEqual([undefined, undefined]);
    expect(stored('crm')).toMatchObject({ health: 'ready', description: '', revision: 7 });
  });

  it('is whole when what was read was undone since', async () => {
    await inJob(() => {
      let undone: Row = {};
      try {
        savepoint(() => {
          credentials().update({ ...read('crm'), health: 'degraded' });
          undone = read('crm');
          throw new Error('undo');
        });
      } catch {
        credentials().update({ ...undone, revision: 7 });
      }
    });
    expect(await damageNow('crm')).toEqual([undefined, undefined]);
    expect(stored('crm')).toMatchObject({ health: 'degraded', revision: 7 });
  });

  it('makes nothing of ours of a column that was edited in the file since the row was read', async () => {
    const row = await inJob(() => read('crm'));
    tenant.sql.run("UPDATE credential SET description = 'put in' WHERE name = 'crm'");
    await inJob(() => credentials().update({ ...row, revision: 7 }));
    expect(stored('crm')).toMatchObject({ description: 'put in', revision: 7 });
    expect(await damageNow('crm')).toEqual(['changed', 'changed']);
  });

  it('has so many statements and no more: past them it writes all of a row', async () => {
    const texts = ['connector', 'health_cause', 'description', 'created_by'];
    const numbers = ['health_since', 'previous_version', 'pending_version', 'revision', 'updated_at', 'created_at'];
    const names = [...texts, ...numbers];
    expect(names.length).toBeGreaterThan(LIMITS.changeStatementsPerTable);
    for (const name of names) {
      const value = numbers.includes(name) ? 3 : 'other';
      await inJob(() => credentials().update({ ...read('crm'), [name]: value }));
      expect(stored('crm')[name]).toBe(value);
      expect(await inJob(() => credentials().damageOf(stored('crm')))).toBeUndefined();
    }
    const partly = written.filter((columns) => columns.split(', ').length === 2);
    expect(partly).toHaveLength(LIMITS.changeStatementsPerTable);
    expect(new Set(written.slice(LIMITS.changeStatementsPerTable)).size).toBe(1);
    expect(await damageNow('crm')).toEqual([undefined, undefined]);
  });

  it('keeps or frees the second name of the row as the row says', async () => {
    const isNamed = () => [credentials().isNamed(stored('crm')), credentials().isNamed(stored('erp'))];
    await inJob(() => credentials().update({ ...read('crm'), state: 'destroyed' }));
    expect(isNamed()).toEqual([true, true]);
    expect(() => credentials().absentByName(stored('crm')['environment_id'] as string, 'crm')).not.toThrow();
    await inJob(() => {
      const row = read('erp');
      credentials().freeName(row);
      credentials().update({ ...row, name: 'crm' });
    });
    expect(() => credentials().absentByName(stored('crm')['environment_id'] as string, 'crm')).toThrow();
    expect(() => credentials().absentByName(stored('crm')['environment_id'] as string, 'erp')).not.toThrow();
  });
});

describe('work for each of several rows', () => {
  it('skips those that are damaged or whose key was destroyed, and ends with any other error', () => {
    const seen: string[] = [];
    const work = (code: string) => {
      seen.push(code);
      if (code !== 'ok') fail(code as ErrorCode, 'made up');
    };
    expect(eachIntact(['ok', 'integrity', 'ok', 'key_destroyed', 'ok'], work)).toBe(3);
    expect(() => eachIntact(['ok', 'internal', 'ok'], work)).toThrow(expect.objectContaining({ code: 'internal' }));
    expect(seen).toHaveLength(7);
  });
});
