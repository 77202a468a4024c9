// Migrates sealed rows for schema steps that need the keys: once, in the first transaction of the cell.
// It must never change a row that fails its check, nor migrate a row twice.
import type { Clock, Entropy } from '../base/clock.ts';
import { newId } from '../base/ids.ts';
import { pagesOf } from './adopt-rows.ts';
import type { CredentialRow } from './credential-rows.ts';
import { NOT_CARRIED } from './migrations.ts';
import type { CellRows } from './rows.ts';
import type { RunRow } from './runs.ts';
import type { CellKind } from './schema-step.ts';
import { tableOf } from './tables.ts';

type Carry = (rows: CellRows, entropy: Entropy) => void;

/** By the schema step that needs them (`SchemaStep.carries`). */
const CARRIES: Readonly<Record<CellKind, Readonly<Record<number, Carry>>>> = { home: {}, tenant: { 9: carryRevocations } };

/** Call inside a transaction, before the flush of the map. */
export function carryRows(rows: CellRows, clock: Clock, entropy: Entropy): void {
  const query = 'SELECT version FROM schema_step WHERE applied_at = ? ORDER BY version';
  for (const { version } of rows.sql.all<{ version: number }>(query, NOT_CARRIED)) {
    CARRIES[rows.kind][version]?.(rows, entropy);
    rows.sql.run('UPDATE schema_step SET applied_at = ? WHERE version = ?', clock.now(), version);
  }
}

/** A revocation as builds up to schema 8 stored it: in JSON, with the next attempt in `credential.revoke_due_at`. */
interface FormerRevocation {
  readonly state: 'waiting' | 'revoked' | 'not_possible' | 'shared' | 'not_asked' | 'given_up';
  readonly at: number;
  readonly attempts: number;
  readonly cause?: string;
  readonly version?: number;
}

const STATES: Readonly<Record<FormerRevocation['state'], RunRow['state']>> = {
  waiting: 'open',
  revoked: 'succeeded',
  given_up: 'failed',
  not_possible: 'cancelled',
  shared: 'cancelled',
  not_asked: 'cancelled',
};

type FormerCredential = CredentialRow & { readonly revoke_due_at: number | null };

/** Each revocation of a grant becomes a run: a waiting one continues, an ended one keeps its outcome. */
function carryRevocations(rows: CellRows, entropy: Entropy): void {
  const credentials = rows.of<FormerCredential>('credential');
  for (const page of pagesOf(rows.sql, tableOf('credential'))) {
    const found = (page as unknown as FormerCredential[]).filter(({ grant_facts }) => grant_facts.includes('"revocation":'));
    for (const row of credentials.intact(found)) {
      const { revocation, ...facts } = JSON.parse(row.grant_facts) as { readonly revocation?: FormerRevocation };
      if (revocation === undefined) continue;
      carryRevocation(rows, row, revocation, newId('run', entropy));
      credentials.update({ ...row, grant_facts: JSON.stringify(facts), revoke_due_at: null });
    }
  }
}

function carryRevocation(rows: CellRows, row: FormerCredential, was: FormerRevocation, id: string): void {
  const state = STATES[was.state];
  const isOpen = state === 'open';
  const run: RunRow = {
    id,
    credential_id: row.id,
    kind: 'revocation',
    trigger: 'request',
    requested_by: 'unknown',
    state,
    step: isOpen ? 'waiting' : was.state,
    generation: was.version ?? row.current_version,
    attempts: was.attempts,
    lost_answers: 0,
    fence: 0,
    lease_until: 0,
    lease_owner: '',
    next_attempt_at: isOpen ? (row.revoke_due_at ?? was.at) : null,
    outcome: isOpen ? null : was.state,
    cause: was.cause ?? null,
    new_version: null,
    started_at: was.at,
    finished_at: isOpen ? null : was.at,
    facts: '{}',
  };
  rows.of<RunRow>('run').insert(run);
  const step = { run_id: id, sequence: 1, step: 'carried_over', status: was.state, at: was.at, evidence: null };
  rows.of('run_step').insert(step);
}
