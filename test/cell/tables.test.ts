// Every table of both kinds of cell is declared with every column: covered by a MAC, or with the reason why not.
import { describe, expect, it } from 'vitest';
import { migrate } from '../../src/cell/migrations.ts';
import { REGISTER_SCRIPT } from '../../src/cell/register.ts';
import { HOME_STEPS } from '../../src/cell/schema-home.ts';
import type { CellKind, SchemaStep } from '../../src/cell/schema-step.ts';
import { TENANT_STEPS } from '../../src/cell/schema-tenant.ts';
import type { Sql } from '../../src/cell/sql.ts';
import { ANCHORED_TABLES, OTHER_TABLES, tableOf } from '../../src/cell/tables.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { START_MS } from '../kit/vaults.ts';

const STEPS: Record<CellKind, readonly SchemaStep[]> = { home: HOME_STEPS, tenant: TENANT_STEPS };
const KINDS = ['home', 'tenant'] as const;

interface Column {
  readonly name: string;
  readonly dflt_value: string | null;
}

function schemaAt(kind: CellKind, step: number): Sql {
  const sql = openNodeSql(':memory:');
  migrate(sql, kind, START_MS, STEPS[kind].slice(0, step));
  return sql;
}

function tablesIn(sql: Sql): string[] {
  return sql
    .all<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    .map(({ name }) => name);
}

const columnsIn = (sql: Sql, table: string) => sql.all<Column>(`SELECT name, dflt_value FROM pragma_table_info('${table}')`);
const namesIn = (sql: Sql, table: string) => columnsIn(sql, table).map(({ name }) => name);

describe.each(KINDS)('the tables of a %s cell', (kind) => {
  const sql = schemaAt(kind, STEPS[kind].length);
  if (kind === 'home') sql.script(REGISTER_SCRIPT);

  it('are all declared, each once', () => {
    const declared = [...ANCHORED_TABLES, ...OTHER_TABLES].filter(({ cells }) => cells.includes(kind)).map(({ table }) => table);
    expect(new Set(declared).size).toBe(declared.length);
    // Only the Worker creates the installation's row (src/worker/home.ts).
    expect(declared.filter((table) => table !== 'installation').sort()).toEqual(tablesIn(sql));
  });

  it('have every column in their declaration: id, covered columns, MAC, or an uncovered column with a reason', () => {
    for (const table of ANCHORED_TABLES.filter(({ cells }) => cells.includes(kind))) {
      const later = (table.later ?? []).map(({ name }) => name);
      const own = table.mac === 'row' ? ['mac', 'mac_key_id'] : [];
      const declared = [...table.id, ...table.columns, ...later, ...Object.keys(table.open ?? {}), ...own];
      expect(declared.sort(), table.table).toEqual(namesIn(sql, table.table).sort());
      for (const why of Object.values(table.open ?? {})) expect(why.length, table.table).toBeGreaterThan(20);
    }
    for (const { table, columns, why } of OTHER_TABLES.filter(
      (one) => one.cells.includes(kind) && one.table !== 'installation',
    )) {
      expect([...columns].sort(), table).toEqual(namesIn(sql, table).sort());
      expect(why.length, table).toBeGreaterThan(20);
    }
  });

  it('declare the step that added each column, and its value in existing rows', () => {
    for (const { table, cells, step, columns, id, later = [] } of ANCHORED_TABLES) {
      if (!cells.includes(kind)) continue;
      const first = namesIn(schemaAt(kind, step), table);
      expect(first, table).toEqual(expect.arrayContaining([...id, ...columns]));
      if (step > 1) expect(tablesIn(schemaAt(kind, step - 1)), table).not.toContain(table);
      for (const { name, step: steps, initial } of later) {
        const added = typeof steps === 'number' ? steps : steps[kind];
        const column = columnsIn(schemaAt(kind, added), table).find((one) => one.name === name);
        const given = column?.dflt_value == null ? null : JSON.parse(column.dflt_value.replaceAll("'", '"'));
        expect(given, `${table}.${name}`).toBe(initial);
        if (added > step) expect(namesIn(schemaAt(kind, added - 1), table), `${table}.${name}`).not.toContain(name);
      }
      // Columns of later steps are declared as later, otherwise every existing row would fail its check.
      const lateNames = later.map(({ name }) => name);
      for (const name of namesIn(sql, table).filter((one) => !first.includes(one))) expect(lateNames, table).toContain(name);
    }
  });
});

it('a column of a later step changes no MAC until it is set', () => {
  const { columns } = tableOf('credential').layout;
  expect(columns.filter(({ initial }) => initial !== undefined).map(({ name }) => name)).toEqual([
    'grant_facts',
    'grant_ends_at',
    'review_due_at',
    'revoke_due_at',
    'rotation',
    'rotation_due_at',
    'schedule',
    'rotation_promised_at',
    'overdue_check_at',
  ]);
});
