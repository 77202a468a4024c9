// A database of an earlier build is migrated with all its content: values, row checks, log.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Caller } from '../../src/access/principals.ts';
import { ExportVerifier } from '../../src/audit/verify-export.ts';
import { NO_FAULTS } from '../../src/base/faults.ts';
import { SecretValue } from '../../src/base/secret-value.ts';
import { latestSchemaVersion, schemaVersion } from '../../src/cell/migrations.ts';
import { type ScrubPart, scrub } from '../../src/cell/scrub.ts';
import type { Row, Sql } from '../../src/cell/sql.ts';
import { ANCHORED_TABLES } from '../../src/cell/tables.ts';
import { RootKey } from '../../src/crypto/root-key.ts';
import { RootKeys } from '../../src/crypto/root-keys.ts';
import { openNodeSql } from '../../src/node/sqlite.ts';
import { describeCredential, listVersions } from '../../src/vault/describe-credential.ts';
import { grantView, shownRevocation } from '../../src/vault/grant-view.ts';
import { HomeVault } from '../../src/vault/home-vault.ts';
import { exportAudit, searchAudit } from '../../src/vault/read-audit.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { TenantVault } from '../../src/vault/tenant-vault.ts';
import { prepareVersion } from '../../src/vault/versions.ts';
import { testAuthorizer } from '../kit/cedar.ts';
import { caughtCode, outcomeOf } from '../kit/outcome.ts';
import { changing, eventsOf, inside, TestClock, testEntropy } from '../kit/vaults.ts';

const vector = (name: string) => readFileSync(new URL(`../vectors/${name}`, import.meta.url), 'utf8');
const FROZEN = vector('tenant-schema-1.sql');
const FROZEN_3 = vector('tenant-schema-3.sql');
const TENANT = { id: 'ten_0frozen0frozen0frozen0fro', name: 'acme', demo: true };
let requests = 0;

/** Databases of each released schema step. The third step only added an index. */
const LANDED: Readonly<Record<string, (sql: Sql) => void>> = {
  'schema 1': (sql) => sql.script(FROZEN),
  'schema 2': (sql) => {
    sql.script(FROZEN_3);
    sql.script('DROP INDEX credential_ended; DELETE FROM schema_step WHERE version = 3;');
  },
  'schema 3': (sql) => sql.script(FROZEN_3),
  'schema 4': (sql) => sql.script(vector('tenant-schema-4.sql')),
  'schema 5': (sql) => sql.script(vector('tenant-schema-5.sql')),
  'schema 6': (sql) => sql.script(vector('tenant-schema-6.sql')),
  'schema 7': (sql) => sql.script(vector('tenant-schema-7.sql')),
  'schema 8': (sql) => sql.script(vector('tenant-schema-8.sql')),
  'schema 9': (sql) => sql.script(vector('tenant-schema-9.sql')),
  'schema 10': (sql) => sql.script(vector('tenant-schema-10.sql')),
  'schema 11': (sql) => sql.script(vector('tenant-schema-11.sql')),
  'schema 12': (sql) => sql.script(vector('tenant-schema-12.sql')),
};
/** Vectors written by the build itself (test/vectors/make-schemas.ts), with or without a map. */
const WRITTEN = [
  'schema 4',
  'schema 5',
  'schema 6',
  'schema 7',
  'schema 8',
  'schema 9',
  'schema 10',
  'schema 11',
  'schema 12',
] as const;
const WITH_MAP: readonly string[] = ['schema 8', 'schema 9', 'schema 10', 'schema 11', 'schema 12'];
/** The last vector that has rows in all of its tables: tables of later steps are empty in all of them. */
const LAST_WRITTEN = 11;
const WITHOUT_MAP = Object.keys(LANDED).filter((schema) => !WITH_MAP.includes(schema));

/** The tokens that a vector names in its first lines. */
function tokensIn(name: string): Record<string, string> {
  const lines = vector(name).matchAll(/^-- token, (.+): (kt_\S+)$/gm);
  return Object.fromEntries([...lines].map(([, what = '', text = '']) => [what, text]));
}

const AROUND = {
  entropy: testEntropy,
  faults: NO_FAULTS,
  nextTick: (task: () => void) => void setImmediate(task),
  later: () => {},
  witness: { publish: () => {} },
  root: RootKeys.of(RootKey.of(Uint8Array.from({ length: 32 }, (_, i) => (i * 73 + 11) % 256))),
  installationId: 'ins_0frozen0frozen0frozen0fro',
};
const ERASURE_KEY = Uint8Array.from({ length: 32 }, (_, i) => (i * 101 + 7) % 256);

interface FrozenOptions {
  readonly change?: ((sql: Sql) => void) | undefined;
  readonly witnessed?: string | undefined;
  readonly anchored?: boolean | undefined;
}

function openFrozen(schema = 'schema 1', { change, witnessed, anchored }: FrozenOptions = {}) {
  const sql = openNodeSql(':memory:');
  LANDED[schema]?.(sql);
  change?.(sql);
  return { sql, ...openOver(sql, { witnessed, anchored }) };
}

function openOver(sql: Sql, { witnessed, anchored }: Omit<FrozenOptions, 'change'> = {}) {
  const clock = new TestClock();
  clock.pass(60_000);
  const vault = new TenantVault({
    tenant: TENANT,
    sql,
    erasureKey: SecretValue.of(ERASURE_KEY),
    platform: { ...AROUND, clock },
    witnessed,
    opening: { mustExist: true, anchored },
    authorizer: testAuthorizer(),
    admit: () => {},
    onDueChanged: () => {},
  });
  const owner = () => ({
    token: undefined,
    source: { address: '127.0.0.1', userAgent: 'vitest' },
    request: `req_upgrade${++requests}`,
    user: {
      id: 'usr_owner',
      name: 'someone',
      revision: 1,
      bootstrap: true,
      grants: [{ role: 'owner' as const, tenantId: '*' }],
      tokenId: 'token',
    },
  });
  return { vault, owner };
}

it('opens a database of the first schema step and serves its values', async () => {
  const { sql, vault, owner } = openFrozen();
  expect(schemaVersion(sql)).toBe(latestSchemaVersion('tenant'));
  const read = (name: string, version?: number) =>
    vault.submit((job) => readCredential(job, owner(), { environment: 'staging', name, version, stage: undefined }));
  const text = async (name: string, version?: number) => new TextDecoder().decode((await read(name, version)).body);
  expect(await text('search-key')).toContain('frozen-key-2-not-a-real-secret');
  expect(await text('search-key', 1)).toContain('frozen-key-not-a-real-secret');
  expect(await text('crm')).toContain('frozen-access-not-a-real-secret');
  const versions = await vault.submit((job) =>
    listVersions(job, owner(), { environment: 'staging', name: 'search-key', before: Number.MAX_SAFE_INTEGER, maxRows: 10 }),
  );
  expect(versions.rows.map(({ version, origin }) => [version, origin])).toEqual([
    [2, 'put'],
    [1, 'put'],
  ]);
  const deleted = await vault.submit((job) => describeCredential(job, owner(), 'staging', 'gone'));
  expect(deleted.row).toMatchObject({ state: 'deleted', grant_facts: '{}', grant_ends_at: null });
  expect(sql.get('SELECT count(*) AS n FROM workload')).toEqual({ n: 1 });
  const verifier = new ExportVerifier({ verifierKey: inside(vault).core.audit.verifierKey });
  let exported = '';
  for await (const slice of exportAudit(vault, owner())) exported += new TextDecoder().decode(slice);
  for (const line of exported.trimEnd().split('\n')) verifier.push(line);
  expect(verifier.finish()).toMatchObject({ findings: [] });
});

it('detects a tampered later column, also in a row that no later build has written', async () => {
  const { sql, vault, owner } = openFrozen();
  sql.run(`UPDATE credential SET grant_facts = '{"consentedAt":1}' WHERE name = 'crm'`);
  expect(await outcomeOf(vault.submit((job) => describeCredential(job, owner(), 'staging', 'crm')))).toBe('integrity');
});

it.each([`grant_facts = '{"consentedAt":1}'`, 'grant_ends_at = 1', 'review_due_at = 1', 'revoke_due_at = 1'])(
  'does not adopt a row with a tampered later column: %s',
  async (change) => {
    const edit = (sql: Sql) => sql.run(`UPDATE credential SET ${change} WHERE name = 'key-b'`);
    const { vault, owner } = openFrozen('schema 4', { change: edit });
    const describe = (name: string) => outcomeOf(vault.submit((job) => describeCredential(job, owner(), 'staging', name)));
    expect([await describe('key-a'), await describe('key-b')]).toEqual(['ok', 'integrity']);
  },
);

function partsOf(job: TenantJob): ScrubPart[] {
  return [...scrub(job.core.rows)].filter((part) => part !== undefined);
}

const damagedIn = (job: TenantJob) =>
  partsOf(job)
    .filter(({ failed, missing }) => failed + missing > 0)
    .map(({ part }) => part);
const lastNote = (sql: Sql) => String(sql.get('SELECT note FROM checkpoint ORDER BY size DESC')?.['note']);

it('every schema that landed before the newest one has a database here, as its build left it', () => {
  const older = Array.from({ length: latestSchemaVersion('tenant') - 1 }, (_, i) => `schema ${i + 1}`);
  expect(Object.keys(LANDED)).toEqual(older);
});

/** Of an event about the opening itself. */
const OPENED = {
  actor: { type: 'system', id: 'open' },
  outcome: 'success',
  request: expect.stringMatching(/^open:[0-9]+$/),
  target: { type: 'cell' },
};

describe.each(WITHOUT_MAP)('a database of %s', (schema) => {
  it('is adopted into the map with every row in every state, once', async () => {
    const { sql, vault } = openFrozen(schema);
    expect(schemaVersion(sql)).toBe(latestSchemaVersion('tenant'));
    await vault.submit(() => {});
    expect(damagedIn(inside(vault))).toEqual([]);
    expect(eventsOf(sql).filter(({ action }) => action === 'state.refuse')).toEqual([]);
    expect(eventsOf(sql).filter(({ action }) => action === 'state.adopt')).toHaveLength(1);
    const counts = new Map(partsOf(inside(vault)).map(({ part, looked }) => [part, looked]));
    for (const { table, step } of ANCHORED_TABLES.filter(({ cells }) => cells.includes('tenant'))) {
      expect(counts.get(table), table).toBe(sql.get(`SELECT count(*) AS n FROM ${table}`)?.['n']);
      if (schema !== 'schema 1' && table !== 'audit_source' && step <= LAST_WRITTEN)
        expect(counts.get(table), table).toBeGreaterThan(0);
    }
    expect(sql.get("SELECT 1 AS there FROM sqlite_master WHERE name = 'audit_head'")).toBeUndefined();
    const again = openOver(sql, { anchored: true });
    expect(damagedIn(inside(again.vault))).toEqual([]);
  });

  it('is compared with its witnessed checkpoint of an older build, and later has checkpoints with the map', async () => {
    const frozen = openNodeSql(':memory:');
    LANDED[schema]?.(frozen);
    const note = lastNote(frozen);
    expect(note).not.toContain('keyturn-anchor');
    const { sql, vault } = openFrozen(schema, { witnessed: note });
    await vault.submit((job) => job.core.audit.signNow());
    const next = lastNote(sql);
    expect(next).toContain('keyturn-anchor');
    expect(caughtCode(() => openOver(sql, { witnessed: next }))).toBe('ok');
    const cut = (older: Sql) => older.run('UPDATE audit_head SET state_sequence = 0');
    expect(caughtCode(() => openFrozen(schema, { change: cut, witnessed: note }))).toBe('rolled_back');
    // A witness with a map does not belong to a database without one.
    expect(caughtCode(() => openFrozen(schema, { witnessed: next }))).not.toBe('ok');
    expect(caughtCode(() => openFrozen(schema, { anchored: true }))).toBe('integrity');
  });

  it('leaves out rows that fail their old check, and reports them', async () => {
    const change = (sql: Sql) =>
      sql.run('UPDATE token SET expires_at = expires_at + 1 WHERE public_id = (SELECT min(public_id) FROM token)');
    const { vault, owner } = openFrozen(schema, { change });
    await vault.submit(() => {});
    expect(damagedIn(inside(vault))).toEqual(['token']);
    const events = await searchAudit(vault, owner(), { action: 'state.refuse' }, undefined, 10);
    expect(events.events).toMatchObject([{ ...OPENED, reason: 'rows that failed their old check', details: { count: 1 } }]);
    const adopted = await searchAudit(vault, owner(), { action: 'state.adopt' }, undefined, 10);
    expect(adopted.events).toMatchObject([
      { ...OPENED, reason: 'rows of an older build', details: { count: expect.any(Number) } },
    ]);
    expect(adopted.events[0]?.details?.count).toBeGreaterThan(5);
  });

  it('is never adopted twice: without its map it is refused, also with other parts restored', () => {
    const TABLES = ['anchor_head', 'anchor_journal', 'anchor_chunk'];
    const empty = (sql: Sql) => {
      for (const table of TABLES) sql.run(`DELETE FROM ${table}`);
    };
    const drop = (sql: Sql) => {
      for (const table of TABLES) sql.run(`DROP TABLE ${table}`);
      sql.run('DELETE FROM schema_step WHERE version >= 4');
    };
    const undo = (sql: Sql) => {
      drop(sql);
      sql.script('ALTER TABLE checkpoint DROP COLUMN frontier');
    };
    const forged = (sql: Sql) => {
      undo(sql);
      sql.script('CREATE TABLE audit_head (id INTEGER PRIMARY KEY, size INTEGER, state_sequence INTEGER, frontier BLOB) STRICT');
      sql.run('INSERT INTO audit_head VALUES (1, 0, 0, zeroblob(8))');
    };
    for (const attack of [empty, drop, undo, forged]) {
      const { sql } = openFrozen(schema);
      const before = sql.all<Row>('SELECT * FROM token');
      attack(sql);
      expect(
        caughtCode(() => openOver(sql)),
        attack.name,
      ).not.toBe('ok');
      expect(sql.all<Row>('SELECT * FROM token')).toEqual(before);
    }
  });
});

/** Opens each part of each version, in every state of its credential; returns their number. */
function openedIn(vault: TenantVault, sql: Sql): Promise<number> {
  const versions = sql.all<{ id: string; version: number }>(
    'SELECT credential_id AS id, version FROM credential_version WHERE value IS NOT NULL',
  );
  return vault.submit((job) => {
    let opened = 0;
    changing(job, (access) => {
      for (const { id, version } of versions) {
        const stored = job.credentials.findVersion(access, id, version);
        if (stored === undefined) throw new Error(`version ${version} of ${id} is gone`);
        for (const part of ['value', 'retained'] as const) {
          if (stored[part] === null) continue;
          prepareVersion(job, job.credentials.byId(access, id), stored, part).open();
          opened += 1;
        }
      }
    });
    return opened;
  });
}

describe.each(WRITTEN)('the database of the build of %s', (schema) => {
  it('is complete in the present schema: every row in every state, every value, every token, the log', async () => {
    const name = `tenant-${schema.replace(' ', '-')}.sql`;
    const { sql, vault, owner } = openFrozen(schema, { anchored: WITH_MAP.includes(schema) });
    expect(schemaVersion(sql)).toBe(latestSchemaVersion('tenant'));
    await vault.submit(() => {});
    expect(damagedIn(inside(vault))).toEqual([]);
    const counts = new Map(partsOf(inside(vault)).map(({ part, looked }) => [part, looked]));
    for (const { table } of ANCHORED_TABLES.filter(({ cells, step }) => cells.includes('tenant') && step <= LAST_WRITTEN))
      expect(counts.get(table), table).toBeGreaterThan(0);
    const read = async (caller: Caller, credential: string, version?: number) => {
      const input = { environment: 'staging', name: credential, version, stage: undefined };
      return new TextDecoder().decode((await vault.submit((job) => readCredential(job, caller, input))).body);
    };
    expect(await openedIn(vault, sql)).toBeGreaterThan(15);
    expect(await read(owner(), 'own-key')).toContain('own-key-2-not-a-real-secret');
    expect(await read(owner(), 'own-key', 1)).toContain('own-key-1-not-a-real-secret');
    expect(await read(owner(), 'own-grant')).toContain('own-access-not-a-real-secret');
    if (schema >= 'schema 6') expect(await read(owner(), 'Team/Own-Key')).toContain('named-key-not-a-real-secret');
    expect(await outcomeOf(read(owner(), 'own-deleted'))).toBe('gone');
    expect(await outcomeOf(read(owner(), 'own-destroyed'))).not.toBe('ok');
    const tokens = tokensIn(name);
    expect(Object.keys(tokens)).toHaveLength(3);
    for (const [what, token] of Object.entries(tokens))
      expect(await outcomeOf(read({ ...owner(), user: undefined, token }, 'own-key')), what).toBe(
        what === 'good' ? 'ok' : 'unauthenticated',
      );
    if (schema >= 'schema 7') expect(sql.get('SELECT count(*) AS n FROM run_step WHERE evidence IS NOT NULL')).toEqual({ n: 1 });
    const verifier = new ExportVerifier({ verifierKey: vault.verifierKey });
    let exported = '';
    for await (const slice of exportAudit(vault, owner())) exported += new TextDecoder().decode(slice);
    for (const line of exported.trimEnd().split('\n')) verifier.push(line);
    expect(verifier.finish()).toMatchObject({ findings: [] });
    const again = openOver(sql, { anchored: true });
    expect(damagedIn(inside(again.vault))).toEqual([]);
  });
});

describe.each([2, 3, 4])('the database of the build of home schema %i', (version) => {
  it('is complete in the present schema: every row in every state, every token, the log', async () => {
    const name = `home-schema-${version}.sql`;
    const sql = openNodeSql(':memory:');
    sql.script(vector(name));
    const clock = new TestClock();
    clock.pass(60_000);
    const home = new HomeVault({
      sql,
      erasureKey: SecretValue.of(ERASURE_KEY),
      platform: { ...AROUND, clock },
      authorizer: testAuthorizer(),
      admit: () => {},
      opening: { mustExist: true, anchored: version === 4 },
    });
    expect(schemaVersion(sql)).toBe(latestSchemaVersion('home'));
    await home.submit(() => {});
    expect([...scrub(inside(home).core.rows)].filter((part) => part !== undefined && part.failed + part.missing > 0)).toEqual([]);
    const tokens = tokensIn(name);
    expect(Object.fromEntries(Object.entries(tokens).map(([who, token]) => [who, home.identify(token)?.name]))).toEqual({
      'own-live': 'own-live',
      'own-left': undefined,
      'own-revoked': undefined,
    });
    const tenants = home.lookup('test', (lookup, view) => view.tenants.list(lookup, '', 10));
    expect(tenants.map((tenant) => [tenant.name, tenant.state, tenant.anchored])).toEqual([
      ['acme', 'active', 0],
      ['beta', 'active', 0],
      ['own-half', 'creating', 0],
      ['own-whole', 'active', version === 4 ? 1 : 0],
    ]);
    const verifier = new ExportVerifier({ verifierKey: home.verifierKey });
    let exported = '';
    const auditor = {
      token: undefined,
      source: { address: '127.0.0.1', userAgent: 'vitest' },
      request: 'req_home',
      user: {
        id: 'usr_owner',
        name: 'someone',
        revision: 1,
        bootstrap: true,
        grants: [{ role: 'owner' as const, tenantId: '*' }],
        tokenId: 'token',
      },
    };
    for await (const slice of exportAudit(home, auditor)) exported += new TextDecoder().decode(slice);
    for (const line of exported.trimEnd().split('\n')) verifier.push(line);
    expect(verifier.finish()).toMatchObject({ findings: [] });
  });
});

it('a home database of schema 1 is adopted into the map with users, roles and tenants', async () => {
  const sql = openNodeSql(':memory:');
  sql.script(vector('home-schema-1.sql'));
  const open = (anchored: boolean) =>
    new HomeVault({
      sql,
      erasureKey: SecretValue.of(ERASURE_KEY),
      platform: { ...AROUND, clock: new TestClock() },
      authorizer: testAuthorizer(),
      admit: () => {},
      opening: { mustExist: true, anchored },
    });
  const home = open(false);
  expect(schemaVersion(sql)).toBe(latestSchemaVersion('home'));
  expect([...scrub(inside(home).core.rows)].filter((part) => part !== undefined && part.failed + part.missing > 0)).toEqual([]);
  const users = home.lookup('test', (lookup, view) => view.users.list(lookup, '', 10));
  expect(users.map(({ row, grants }) => [row.name, grants.map(({ role }) => role), row.offboarded_at !== null]).sort()).toEqual([
    ['ada', ['owner'], false],
    ['bob', ['admin'], false],
    ['eve', ['auditor'], false],
    ['gone', ['admin'], true],
  ]);
  const tenants = home.lookup('test', (lookup, view) => view.tenants.list(lookup, '', 10));
  expect(tenants.map(({ name, demo, witnessed, anchored }) => [name, demo, witnessed, anchored])).toEqual([
    ['acme', 0, null, 0],
    ['beta', 1, 'a note', 0],
  ]);
  expect(caughtCode(() => open(true))).toBe('ok');
});

describe('a database of schema 8, which stored one revocation per credential outside its runs', () => {
  const NOW = Date.UTC(2026, 0, 2, 3, 5, 5);
  function opened(change?: (sql: Sql) => void) {
    const sql = openNodeSql(':memory:');
    sql.script(vector('tenant-schema-8-revocations.sql'));
    change?.(sql);
    return { sql, ...openOver(sql, { anchored: true }) };
  }
  const revocations = (sql: Sql) =>
    Object.fromEntries(
      sql
        .all<Row>("SELECT name, run.* FROM run JOIN credential ON credential.id = credential_id WHERE run.kind = 'revocation'")
        .map(({ name, state, outcome, cause, attempts, generation, next_attempt_at }) => [
          name,
          [state, outcome, cause, attempts, generation, next_attempt_at !== null],
        ]),
    );

  it('has a run for each of them, and continues the waiting ones', async () => {
    const { sql, vault } = opened();
    expect(schemaVersion(sql)).toBe(latestSchemaVersion('tenant'));
    expect(revocations(sql)).toEqual({
      revoked: ['succeeded', 'revoked', null, 1, 1, false],
      tried: ['open', null, 'http_5xx', 1, 1, true],
      waiting: ['open', null, null, 0, 1, true],
      reconnected: ['open', null, null, 0, 1, true],
      'not-asked': ['cancelled', 'not_asked', null, 0, 1, false],
      'not-possible': ['cancelled', 'not_possible', 'no_way_to_revoke', 0, 1, false],
      shared: ['cancelled', 'shared', null, 0, 1, false],
    });
    expect(damagedIn(inside(vault))).toEqual([]);
    const left = sql.all("SELECT id FROM credential WHERE revoke_due_at IS NOT NULL OR instr(grant_facts, 'revocation') > 0");
    expect(left).toEqual([]);
    const due = vault.lookup('test', (lookup, { runs }) => runs.dueForRevocation(lookup, NOW + 86_400_000, 10));
    expect(due).toHaveLength(3);
  });

  it('shows the outcome of each as before', async () => {
    const { vault, owner } = opened();
    const told = async (name: string) => {
      const located = await vault.submit((job) => describeCredential(job, owner(), 'staging', name));
      const shown = vault.lookup('test', (lookup, view) => shownRevocation(view, lookup, located.row));
      return grantView(located.row, shown).revocation;
    };
    expect(await told('revoked')).toEqual({ state: 'revoked', at: '2026-01-02T03:04:06.000Z', attempts: 1, cause: null });
    expect(await told('tried')).toEqual({ state: 'waiting', at: '2026-01-02T03:04:07.000Z', attempts: 1, cause: 'http_5xx' });
    expect(await told('reconnected')).toMatchObject({ state: 'waiting', attempts: 0 });
    expect(await told('not-asked')).toMatchObject({ state: 'not_asked', attempts: 0, cause: null });
    expect(await told('live')).toBeNull();
  });

  it('keeps its other runs with their journals and leases', () => {
    const runsOf = (sql: Sql) => sql.all<Row>("SELECT * FROM run WHERE kind <> 'revocation' ORDER BY id");
    const before = openNodeSql(':memory:');
    before.script(vector('tenant-schema-8-revocations.sql'));
    const { sql, vault } = opened();
    expect(runsOf(sql)).toEqual(runsOf(before).map((run) => ({ ...run, facts: '{}' })));
    const steps = 'SELECT * FROM run_step WHERE run_id IN (SELECT id FROM run WHERE kind <> ?) ORDER BY run_id, sequence';
    expect(sql.all(steps, 'revocation')).toEqual(before.all(steps, 'revocation'));
    const id = String(sql.get("SELECT id FROM credential WHERE name = 'refreshing'")?.['id']);
    expect(vault.lookup('test', (lookup, { runs }) => runs.findOpen(lookup, id))).toMatchObject({ lease_owner: 'frozen' });
  });

  it('migrates them once: another open adds nothing', () => {
    const { sql } = opened();
    const before = sql.all<Row>('SELECT * FROM run');
    openOver(sql, { anchored: true });
    expect(sql.all<Row>('SELECT * FROM run')).toEqual(before);
    sql.run('UPDATE schema_step SET applied_at = 0 WHERE version = 9');
    openOver(sql, { anchored: true });
    expect(sql.all<Row>('SELECT * FROM run')).toEqual(before);
  });

  it('does not change a credential that fails its check', () => {
    const { sql, vault } = opened((of) => of.run("UPDATE credential SET description = 'changed' WHERE name = 'waiting'"));
    expect(Object.keys(revocations(sql))).not.toContain('waiting');
    expect(Object.keys(revocations(sql))).toHaveLength(6);
    expect(damagedIn(inside(vault))).toEqual(['credential']);
  });
});
