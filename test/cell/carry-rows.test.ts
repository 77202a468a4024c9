// Sealed rows are migrated with the keys, once: a revocation that was part of a credential becomes a run.
import { beforeEach, describe, expect, it } from 'vitest';
import { carryRows } from '../../src/cell/carry-rows.ts';
import { NOT_CARRIED } from '../../src/cell/migrations.ts';
import type { CellKind } from '../../src/cell/schema-step.ts';
import type { Row } from '../../src/cell/sql.ts';
import { type CellBench, cellBench, madeUp } from '../kit/anchored.ts';
import { START_MS, TestClock, testEntropy } from '../kit/vaults.ts';

let bench: CellBench;

function open(kind: CellKind): void {
  bench = cellBench(kind);
  bench.sql.run('UPDATE schema_step SET applied_at = ? WHERE version IN (2, 9)', NOT_CARRIED);
}

const carry = () => bench.batch(() => carryRows(bench.rows, new TestClock(), testEntropy));
const applied = () =>
  bench.sql.all('SELECT version, applied_at FROM schema_step ORDER BY version').map((row) => row['applied_at']);
const add = (n: number, facts: string, change: Row = {}) =>
  bench.batch(() => bench.rows.of('credential').insert({ ...madeUp(bench.sql, 'credential', n), state: 'active', current_version: 4, revoke_due_at: null, grant_facts: facts, ...change })); // biome-ignore format: one line
const runs = () => bench.sql.all<Row>('SELECT * FROM run ORDER BY credential_id');
const credential = (n: number) => bench.sql.get<Row>('SELECT * FROM credential WHERE id = ?', `row_credential${n}`);

const revocation = (state: string, more: object = {}) => ({ state, at: 700, attempts: 2, ...more });
const facts = (of: object, more: object = {}) => JSON.stringify({ consentedAt: 5, revocation: of, ...more });
const NEW = {
  kind: 'revocation',
  trigger: 'request',
  requested_by: 'unknown',
  attempts: 2,
  lost_answers: 0,
  fence: 0,
  lease_until: 0,
  lease_owner: '',
  new_version: null,
  started_at: 700,
  facts: '{}',
};

describe('a revocation that was part of its credential', () => {
  beforeEach(() => open('tenant'));

  it('goes on as a run while it waits', () => {
    add(1, facts(revocation('waiting', { version: 3, cause: 'http_5xx' })), { revoke_due_at: 900 });
    add(2, facts(revocation('waiting')));
    carry();
    const open = { ...NEW, id: expect.stringMatching(/^run_/), state: 'open', step: 'waiting', outcome: null, finished_at: null };
    expect(runs()).toEqual([
      { ...open, credential_id: 'row_credential1', generation: 3, cause: 'http_5xx', next_attempt_at: 900 },
      { ...open, credential_id: 'row_credential2', generation: 4, cause: null, next_attempt_at: 700 },
    ]);
    for (const n of [1, 2]) expect(credential(n)).toMatchObject({ grant_facts: '{"consentedAt":5}', revoke_due_at: null });
  });

  it.each([
    ['revoked', 'succeeded'],
    ['given_up', 'failed'],
    ['not_possible', 'cancelled'],
    ['shared', 'cancelled'],
    ['not_asked', 'cancelled'],
  ])('that ended as %s keeps its outcome', (was, state) => {
    add(1, facts(revocation(was, { version: 3 })), { revoke_due_at: 900 });
    carry();
    expect(runs()).toEqual([
      { ...NEW, id: expect.any(String), credential_id: 'row_credential1', generation: 3, state, step: was, outcome: was, cause: null, next_attempt_at: null, finished_at: 700 }, // biome-ignore format: one line
    ]);
    const [run] = runs();
    expect(bench.sql.all('SELECT * FROM run_step')).toEqual([
      { run_id: run?.['id'], sequence: 1, step: 'carried_over', status: was, at: 700, evidence: null },
    ]);
    const { rows } = bench;
    expect(rows.of<Row>('run').intact(bench.sql.all<Row>(rows.of('run').select))).toHaveLength(1);
    expect(rows.of<Row>('run_step').intact(bench.sql.all<Row>(rows.of('run_step').select))).toHaveLength(1);
    expect(rows.of<Row>('credential').intact(bench.sql.all<Row>(rows.of('credential').select))).toHaveLength(1);
  });

  it('is carried once, and the step is marked as done', () => {
    add(1, facts(revocation('waiting')));
    expect(applied().filter((at) => at === NOT_CARRIED)).toHaveLength(2);
    const before = applied();
    carry();
    const after = before.map((at) => (at === NOT_CARRIED ? START_MS : at));
    expect(applied()).toEqual(after);
    const made = runs();
    carry();
    expect(runs()).toEqual(made);
    // Of a step that is done nothing is carried, whatever a credential says.
    add(2, facts(revocation('waiting')));
    carry();
    expect(runs()).toEqual(made);
  });

  it('is left as it is where the row is damaged, and where the word only stands in another fact', () => {
    add(1, facts(revocation('waiting')));
    bench.sql.run("UPDATE credential SET description = 'other'");
    const nested = JSON.stringify({ account: { revocation: 1 } });
    add(2, nested);
    add(3, '{"consentedAt":5}');
    const before = [1, 2, 3].map(credential);
    carry();
    expect([1, 2, 3].map(credential)).toEqual(before);
    expect(runs()).toEqual([]);
    expect(bench.damages).toEqual([['credential', 'row_credential1', 'changed']]);
  });
});

describe('a home cell', () => {
  it('has nothing to carry, and marks its steps as done', () => {
    open('home');
    carry();
    expect(applied().every((at) => at === START_MS)).toBe(true);
  });
});
