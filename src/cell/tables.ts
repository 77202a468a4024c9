// Declares every table of a cell once: its columns by schema step, the id of a row, the columns that a row's MAC covers, and the reason why
// a column or table is not covered. It must never differ from the schema: test/cell/tables.test.ts compares the two.
import { fail } from '../base/errors.ts';
import { type LayoutColumn, type RowLayout, rowLayout } from '../crypto/row-mac.ts';
import type { CellKind } from './schema-step.ts';
import type { SqlValue } from './sql.ts';

/** A column that a later schema step added. The MAC does not cover it while it has its initial value, so adding it changes no MAC. */
export interface LaterColumn {
  readonly name: string;
  /** The schema step that added it, by kind of cell where they differ. */
  readonly step: number | Readonly<Record<CellKind, number>>;
  readonly initial: SqlValue;
}

/** A further unique name of a row, also in the map: so a lookup by it proves whether the row exists. */
export interface SecondName {
  readonly name: string;
  /** They must change through `TableRows.freeName` only. */
  readonly columns: readonly string[];
  /** Whether the row has its name now; at most one row has it. */
  held(row: Readonly<Record<string, unknown>>): boolean;
}

/** A table whose rows decide something: each row has a MAC and an entry in the cell's map (anchor.ts). */
export interface AnchoredTable {
  readonly table: string;
  readonly cells: readonly CellKind[];
  /** The schema step that created it. */
  readonly step: number;
  readonly id: readonly string[];
  /** `row`: the MAC is in the columns mac and mac_key_id. `map`: only its first bytes are stored, in the cell's map. */
  readonly mac: 'row' | 'map';
  /** Columns covered since the table's first step. */
  readonly columns: readonly string[];
  readonly later?: readonly LaterColumn[];
  /** Columns that the MAC does not cover, each with the reason. */
  readonly open?: Readonly<Record<string, string>>;
  readonly secondName?: SecondName;
  /** Rows of another table that belong to each row, as one more covered column: an SQL expression. */
  readonly joined?: { readonly column: string; readonly sql: string };
}

/** A table whose rows are not in the map, with the reason. */
export interface OtherTable {
  readonly table: string;
  readonly cells: readonly CellKind[];
  readonly columns: readonly string[];
  readonly why: string;
}

const BOTH = ['home', 'tenant'] as const;
const TENANT = ['tenant'] as const;
const HOME = ['home'] as const;
const SHOWN_ONLY = 'the time of last use: shown only, decides nothing, written at most once a minute';

export const ANCHORED_TABLES: readonly AnchoredTable[] = [
  {
    table: 'tenant_key',
    cells: BOTH,
    step: 1,
    id: ['key_id'],
    mac: 'map',
    columns: ['purpose', 'version', 'state', 'wrapped', 'created_at', 'retired_at', 'destroy_after_at', 'destroyed_at'],
    open: {
      wraps: 'counts wraps up to a limit with a wide margin; each wrap has a fresh salt, so a lower count repeats no nonce',
    },
  },
  {
    table: 'key_rotation',
    cells: BOTH,
    step: 1,
    id: ['purpose', 'to_version'],
    mac: 'map',
    columns: ['total', 'done', 'started_at', 'finished_at'],
  },
  {
    table: 'audit_source',
    cells: BOTH,
    step: 1,
    id: ['source_id'],
    mac: 'map',
    columns: ['wrapped_key', 'key_id', 'value'],
  },
  {
    table: 'token',
    cells: BOTH,
    step: 1,
    id: ['public_id'],
    mac: 'row',
    columns: ['type', 'hash', 'subject_id', 'permissions', 'created_at', 'created_by', 'expires_at', 'revoked_at'],
    later: [{ name: 'origin', step: { home: 2, tenant: 4 }, initial: null }],
    open: { last_used_at: SHOWN_ONLY },
  },
  {
    table: 'idempotency',
    cells: BOTH,
    step: 1,
    id: ['principal_id', 'idempotency_key'],
    mac: 'map',
    columns: ['request_hash', 'status', 'wrapped_key', 'key_id', 'value', 'expires_at'],
  },
  {
    table: 'environment',
    cells: TENANT,
    step: 1,
    id: ['id'],
    mac: 'row',
    columns: ['name', 'created_at'],
    later: [{ name: 'production', step: 12, initial: null }],
    secondName: { name: 'environment.name', columns: ['name'], held: () => true },
  },
  {
    table: 'credential',
    cells: TENANT,
    step: 1,
    id: ['id'],
    mac: 'row',
    columns: [
      'environment_id',
      'name',
      'kind',
      'connector',
      'state',
      'health',
      'health_since',
      'health_cause',
      'current_version',
      'previous_version',
      'pending_version',
      'latest_version',
      'revision',
      'description',
      'labels',
      'config',
      'value_expires_at',
      'refresh_due_at',
      'created_at',
      'created_by',
      'updated_at',
      'deleted_at',
      'destroy_after_at',
    ],
    later: [
      { name: 'grant_facts', step: 2, initial: '{}' },
      { name: 'grant_ends_at', step: 2, initial: null },
      { name: 'review_due_at', step: 2, initial: null },
      // Used by builds up to schema 8; null since (carry-rows.ts).
      { name: 'revoke_due_at', step: 2, initial: null },
      { name: 'rotation', step: 11, initial: '{}' },
      { name: 'rotation_due_at', step: 11, initial: null },
      { name: 'schedule', step: 13, initial: '{}' },
      { name: 'rotation_promised_at', step: 13, initial: null },
      { name: 'overdue_check_at', step: 13, initial: null },
    ],
    secondName: { name: 'credential.name', columns: ['environment_id', 'name'], held: (row) => row['state'] !== 'destroyed' },
  },
  {
    table: 'credential_version',
    cells: TENANT,
    step: 1,
    id: ['credential_id', 'version'],
    mac: 'map',
    columns: ['key_id', 'wrapped_key', 'value', 'retained', 'value_expires_at', 'created_at', 'created_by', 'origin', 'run_id'],
  },
  {
    table: 'reader',
    cells: TENANT,
    step: 12,
    id: ['credential_id', 'principal_id'],
    mac: 'map',
    columns: ['version', 'since_at', 'seen_at'],
  },
  {
    table: 'rehearsal',
    cells: TENANT,
    step: 12,
    id: ['configuration'],
    mac: 'map',
    columns: ['credential_id', 'run_id', 'at'],
  },
  {
    table: 'workload',
    cells: TENANT,
    step: 1,
    id: ['id'],
    mac: 'row',
    columns: [
      'name',
      'environment',
      'patterns',
      'permissions',
      'networks',
      'jwks',
      'revision',
      'created_at',
      'created_by',
      'expires_at',
      'revoked_at',
    ],
    open: { last_used_at: SHOWN_ONLY },
    secondName: { name: 'workload.name', columns: ['name'], held: (row) => row['revoked_at'] === null },
  },
  {
    table: 'assertion_seen',
    cells: TENANT,
    step: 1,
    id: ['jti_hash'],
    mac: 'map',
    columns: ['expires_at'],
  },
  {
    table: 'run',
    cells: TENANT,
    step: 1,
    id: ['id'],
    mac: 'map',
    columns: [
      'credential_id',
      'kind',
      'trigger',
      'requested_by',
      'state',
      'step',
      'generation',
      'attempts',
      'fence',
      'lease_until',
      'lease_owner',
      'next_attempt_at',
      'outcome',
      'cause',
      'new_version',
      'started_at',
      'finished_at',
    ],
    later: [
      { name: 'lost_answers', step: 2, initial: 0 },
      { name: 'facts', step: 11, initial: '{}' },
    ],
    // At most one run per credential that moves `current` is open; revocations of older versions may be open beside it.
    secondName: {
      name: 'run.open',
      columns: ['credential_id'],
      held: (row) => row['state'] === 'open' && row['kind'] !== 'revocation',
    },
  },
  {
    table: 'run_step',
    cells: TENANT,
    step: 1,
    id: ['run_id', 'sequence'],
    mac: 'map',
    columns: ['step', 'status', 'at'],
    later: [{ name: 'evidence', step: 7, initial: null }],
  },
  {
    table: 'connection',
    cells: TENANT,
    step: 2,
    id: ['id'],
    mac: 'row',
    columns: [
      'credential_id',
      'state',
      'link_hash',
      'state_hash',
      'browser_hash',
      'attempt',
      'request',
      'cause',
      'created_at',
      'created_by',
      'expires_at',
      'attempt_expires_at',
      'finished_at',
    ],
    secondName: { name: 'connection.link', columns: ['link_hash'], held: () => true },
  },
  {
    table: 'alert',
    cells: TENANT,
    step: 2,
    id: ['id'],
    mac: 'map',
    columns: ['kind', 'credential_id', 'facts', 'at'],
  },
  {
    table: 'schedule_rule',
    cells: TENANT,
    step: 13,
    id: ['name'],
    mac: 'map',
    columns: [
      'environment',
      'connector',
      'label_name',
      'label_value',
      'priority',
      'spec',
      'pause',
      'set_at',
      'created_at',
      'created_by',
      'removed_at',
      'walk_after',
    ],
  },
  {
    table: 'calendar_feed',
    cells: TENANT,
    step: 13,
    id: ['id'],
    mac: 'map',
    columns: ['created_at', 'created_by', 'revoked_at'],
  },
  {
    table: 'webhook',
    cells: TENANT,
    step: 2,
    id: ['id'],
    mac: 'row',
    columns: ['url', 'kinds', 'created_at', 'created_by', 'deleted_at'],
    later: [{ name: 'url_bound', step: 10, initial: 0 }],
  },
  {
    table: 'delivery',
    cells: TENANT,
    step: 2,
    id: ['id'],
    mac: 'map',
    columns: ['webhook_id', 'alert_id', 'state', 'attempts', 'next_attempt_at', 'cause', 'created_at', 'finished_at'],
  },
  {
    table: 'tenant',
    cells: HOME,
    step: 1,
    id: ['id'],
    mac: 'row',
    columns: ['name', 'state', 'demo', 'environments', 'created_at', 'created_by'],
    later: [
      { name: 'witnessed', step: 1, initial: null },
      { name: 'anchored', step: 4, initial: 0 },
    ],
    secondName: { name: 'tenant.name', columns: ['name'], held: (row) => row['state'] !== 'erased' },
  },
  {
    table: 'user',
    cells: HOME,
    step: 1,
    id: ['id'],
    mac: 'row',
    columns: ['name', 'revision', 'bootstrap', 'created_at', 'created_by', 'offboarded_at'],
    secondName: { name: 'user.name', columns: ['name'], held: (row) => row['offboarded_at'] === null },
    joined: {
      column: 'grants',
      sql: '(SELECT json_group_array(json_array(role, tenant_id)) FROM (SELECT role, tenant_id FROM user_grant WHERE user_id = user.id ORDER BY role, tenant_id))',
    },
  },
];

export const OTHER_TABLES: readonly OtherTable[] = [
  {
    table: 'anchor_head',
    cells: BOTH,
    columns: [
      'id',
      'size',
      'state_sequence',
      'frontier',
      'epoch',
      'start',
      'start_chain',
      'chain',
      'entries',
      'salt',
      'incarnation_id',
      'published',
      'time_at',
      'mac',
      'mac_key_id',
    ],
    why: 'the root of all anchored state: it has a MAC of its own and is compared with the witnessed checkpoint at open',
  },
  {
    table: 'anchor_journal',
    cells: BOTH,
    columns: ['epoch', 'ops'],
    why: 'a hash chain from start_chain to chain of the head',
  },
  {
    table: 'anchor_chunk',
    cells: BOTH,
    columns: ['start', 'bits', 'epoch', 'bytes', 'mac', 'mac_key_id'],
    why: 'has a MAC of its own, which covers its position in the chain of the head',
  },
  {
    table: 'cell',
    cells: BOTH,
    columns: ['id', 'kind', 'installation_id', 'cell_id', 'incarnation_id', 'created_at'],
    why: 'compared with the requested cell and with the head at every open; created_at is shown only',
  },
  {
    table: 'audit_head',
    cells: BOTH,
    columns: ['id', 'size', 'state_sequence', 'frontier'],
    why: 'the head of older builds: read once, when the cell is anchored, then dropped',
  },
  {
    table: 'audit_block',
    cells: BOTH,
    columns: ['first_index', 'events', 'last_at', 'bytes', 'leaves'],
    why: 'the events are leaves of the tree whose frontier is in the head; the counts can be computed from the events',
  },
  {
    table: 'checkpoint',
    cells: BOTH,
    columns: ['size', 'at', 'note', 'frontier'],
    why: 'each note is signed; a frontier is used only if it gives the signed root',
  },
  {
    table: 'schema_step',
    cells: BOTH,
    columns: ['version', 'name', 'applied_at'],
    why: 'lists the applied steps; a lower number makes a step fail on existing tables, and no step recreates an anchored cell',
  },
  {
    table: 'user_grant',
    cells: HOME,
    columns: ['user_id', 'role', 'tenant_id'],
    why: "the MAC of a user covers all of the user's rows as one column",
  },
  {
    table: 'installation',
    cells: HOME,
    columns: ['only_one', 'id', 'root_check'],
    why: 'in a Worker only: a commitment to the root key, which fails with any other root key',
  },
  {
    table: 'erasure_key',
    cells: HOME,
    columns: ['cell_id', 'wrapped', 'created_at', 'destroyed_at'],
    why: 'in a Worker only: the key register, each entry sealed under the root key for one cell; SECURITY.md says what an old copy of it restores',
  },
];

/** A declared table with its layout and SQL, computed once. */
export interface PreparedTable extends AnchoredTable {
  readonly layout: RowLayout;
  /** Every column except the id, `mac` and `mac_key_id`. */
  readonly written: readonly string[];
  /** SELECT of whole rows, to which a WHERE clause can be appended. */
  readonly select: string;
  readonly insert: string;
  /** `<id> = ? AND ...` */
  readonly whereId: string;
}

const prepared = new Map(ANCHORED_TABLES.map((declared) => [declared.table, prepare(declared)]));

/** @throws internal for a table that is not declared as anchored */
export function tableOf(table: string): PreparedTable {
  return prepared.get(table) ?? fail('internal', `the table ${table} is not declared in src/cell/tables.ts as anchored`);
}

/** The anchored tables of one kind of cell. */
export function anchoredTablesOf(kind: CellKind): PreparedTable[] {
  return [...prepared.values()].filter((table) => table.cells.includes(kind));
}

function prepare(declared: AnchoredTable): PreparedTable {
  const { table, id, columns, later = [], open = {}, joined, mac } = declared;
  const covered: LayoutColumn[] = [
    ...columns.map((name) => ({ name })),
    ...(joined === undefined ? [] : [{ name: joined.column }]),
    ...later.map(({ name, initial }) => ({ name, initial })),
  ];
  const written = [...columns, ...later.map(({ name }) => name), ...Object.keys(open)];
  const all = [...id, ...written, ...(mac === 'row' ? ['mac', 'mac_key_id'] : [])];
  const more = joined === undefined ? '' : `, ${joined.sql} AS ${joined.column}`;
  return {
    ...declared,
    layout: rowLayout(table, id, covered),
    written,
    select: `SELECT ${all.map((name) => `${table}.${name}`).join(', ')}${more} FROM ${table}`,
    insert: `INSERT INTO ${table} (${all.join(', ')}) VALUES (${all.map(() => '?').join(', ')})`,
    whereId: id.map((name) => `${name} = ?`).join(' AND '),
  };
}
