// The whole row that each use case of the vault makes or changes, column by column; only what seals it is left out.
import { describe, expect, it } from 'vitest';
import { disconnectCredential } from '../../rotation/grants/disconnect.ts';
import { RefreshEngine } from '../../rotation/grants/refresh-runs.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { Sql } from '../../src/cell/sql.ts';
import {
  deleteCredential,
  destroyCredential,
  labelCredential,
  restoreCredential,
  rollBack,
} from '../../src/vault/change-credential.ts';
import { createEnvironment } from '../../src/vault/create-environment.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { exchangeToken } from '../../src/vault/exchange-token.ts';
import { claimTenant, createTenant } from '../../src/vault/manage-tenants.ts';
import { createUser, createUserToken, offboardUser } from '../../src/vault/manage-users.ts';
import { createClientSecret, createDirectToken, createWorkload, revokeWorkload } from '../../src/vault/manage-workloads.ts';
import { type PutCredentialInput, putCredential } from '../../src/vault/put-credential.ts';
import { readCredential } from '../../src/vault/read-credential.ts';
import { enrol, setUp } from '../../src/vault/set-up.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { CONFIG, CRM, consentBench } from '../kit/consent-bench.ts';
import { testHome, testTeam, textOf } from '../kit/homes.ts';
import { START_MS, testTenant } from '../kit/vaults.ts';

/** What seals a row, what only random bytes decide, and a column that older builds wrote. */
const SEALS = ['revoke_due_at', 'mac', 'mac_key_id', 'hash', 'link_hash', 'wrapped_key', 'value', 'retained', 'key_id'];

function rowsOf(sql: Sql, table: string, where = '1 = 1', ...values: string[]): Record<string, unknown>[] {
  return sql
    .all<Record<string, unknown>>(`SELECT * FROM ${table} WHERE ${where} ORDER BY rowid`, ...values)
    .map((row) => Object.fromEntries(Object.entries(row).filter(([column]) => !SEALS.includes(column))));
}

const input = (given: Partial<PutCredentialInput> = {}): PutCredentialInput => ({
  environment: 'staging',
  name: 'stripe',
  kind: 'api_key',
  value: { key: 'not-a-real-secret' },
  connector: undefined,
  config: undefined,
  labels: undefined,
  description: undefined,
  expiresAtMs: undefined,
  precondition: {},
  ...given,
});
const at = { environment: 'staging', name: 'stripe', precondition: {} };

async function opened() {
  const tenant = await testTenant();
  const { vault, sql, clock } = tenant;
  const admin = () => tenant.user(['admin'], 'everywhere');
  const job = <T>(useCase: (job: TenantJob) => T) => vault.submit(useCase);
  const environment = sql.get<{ id: string }>("SELECT id FROM environment WHERE name = 'staging'")?.id;
  return { tenant, vault, sql, clock, admin, job, environment };
}

describe('the row of an environment', () => {
  it('is its name and the instant', async () => {
    const { job, sql, admin, clock } = await opened();
    clock.pass(7);
    const made = await job((inJob) => createEnvironment(inJob, admin(), 'later'));
    expect(rowsOf(sql, 'environment', 'name = ?', 'later')).toEqual([
      { id: made.id, name: 'later', created_at: START_MS + 7, production: null },
    ]);
  });
});

describe('the row of a credential', () => {
  const NEW = {
    name: 'stripe',
    kind: 'api_key',
    connector: null,
    state: 'active',
    health: 'ready',
    health_since: START_MS,
    health_cause: null,
    current_version: 1,
    previous_version: null,
    pending_version: null,
    latest_version: 1,
    revision: 1,
    description: '',
    labels: '{}',
    config: '{}',
    value_expires_at: null,
    refresh_due_at: null,
    created_at: START_MS,
    created_by: 'usr_admin',
    updated_at: START_MS,
    deleted_at: null,
    destroy_after_at: null,
    grant_facts: '{}',
    grant_ends_at: null,
    review_due_at: null,
    rotation: '{}',
    rotation_due_at: null,
    schedule: '{}',
    rotation_promised_at: null,
    overdue_check_at: null,
  };
  const VERSION = { value_expires_at: null, created_at: START_MS, created_by: 'usr_admin', origin: 'put', run_id: null };

  it('is plain when it is put for the first time, with its version', async () => {
    const { job, sql, admin, environment } = await opened();
    const { located } = await job((inJob) => putCredential(inJob, admin(), input()));
    const { id } = located.row;
    expect(rowsOf(sql, 'credential')).toEqual([{ ...NEW, id, environment_id: environment }]);
    expect(rowsOf(sql, 'credential_version')).toEqual([{ ...VERSION, credential_id: id, version: 1 }]);
  });

  it('keeps what was said of it, and an end date, which is looked at', async () => {
    const { job, sql, admin, clock } = await opened();
    const said = { labels: { a: 'b' }, description: 'c', expiresAtMs: START_MS + 9, connector: 'own' };
    await job((inJob) => putCredential(inJob, admin(), input(said)));
    const kept = { labels: '{"a":"b"}', description: 'c', value_expires_at: START_MS + 9, connector: 'own' };
    expect(rowsOf(sql, 'credential')).toMatchObject([{ ...NEW, ...kept, review_due_at: START_MS }]);
    expect(rowsOf(sql, 'credential_version')).toMatchObject([{ ...VERSION, value_expires_at: START_MS + 9 }]);
    clock.pass(5);
    await job((inJob) => putCredential(inJob, admin(), input()));
    const now = START_MS + 5;
    // The day that the first value ended is forgotten with the next review, if it was ever told.
    const second = {
      current_version: 2,
      previous_version: 1,
      latest_version: 2,
      revision: 2,
      updated_at: now,
      review_due_at: null,
    };
    expect(rowsOf(sql, 'credential')).toMatchObject([{ ...NEW, ...kept, value_expires_at: null, ...second }]);
    await job((inJob) => putCredential(inJob, admin(), input({ labels: {}, description: '' })));
    expect(rowsOf(sql, 'credential')).toMatchObject([{ labels: '{}', description: '', revision: 3, previous_version: 2 }]);
  });

  it('changes in what is asked for and in nothing else', async () => {
    const { job, sql, admin, clock } = await opened();
    await job((inJob) => putCredential(inJob, admin(), input()));
    await job((inJob) => putCredential(inJob, admin(), input({ expiresAtMs: START_MS + 9 })));
    const twice = { ...NEW, current_version: 2, previous_version: 1, latest_version: 2 };
    clock.pass(5);
    const now = START_MS + 5;
    const [{ id, environment_id } = {} as Record<string, unknown>] = rowsOf(sql, 'credential');
    const is = (changed: object) =>
      expect(rowsOf(sql, 'credential')).toEqual([{ ...twice, id, environment_id, updated_at: now, ...changed }]);
    const dated = { value_expires_at: START_MS + 9, review_due_at: START_MS };
    await job((inJob) => labelCredential(inJob, admin(), { ...at, labels: { a: 'b' }, description: undefined }));
    is({ ...dated, labels: '{"a":"b"}', revision: 3 });
    await job((inJob) => labelCredential(inJob, admin(), { ...at, labels: undefined, description: 'd' }));
    const said = { labels: '{"a":"b"}', description: 'd' };
    is({ ...dated, ...said, revision: 4 });
    await job((inJob) => rollBack(inJob, admin(), { ...at, toVersion: undefined }));
    const rotation = JSON.stringify({ rotatedAt: now });
    is({ ...said, rotation, current_version: 1, previous_version: 2, revision: 5 });
    await job((inJob) => rollBack(inJob, admin(), { ...at, toVersion: 2 }));
    is({ ...said, ...dated, rotation, review_due_at: now, revision: 6 });
    await job((inJob) => deleteCredential(inJob, admin(), { ...at, recoveryWindowMs: 77 }));
    const deleted = { ...dated, review_due_at: now, state: 'deleted', deleted_at: now };
    is({ ...said, ...deleted, destroy_after_at: now + 77, revision: 7 });
    clock.pass(1);
    const again = await job((inJob) => deleteCredential(inJob, admin(), { ...at, recoveryWindowMs: 99 }));
    expect(again.row.revision).toBe(7);
    is({ ...said, ...deleted, destroy_after_at: now + 77, revision: 7 });
    await job((inJob) => restoreCredential(inJob, admin(), at));
    is({ ...said, ...dated, review_due_at: now + 1, updated_at: now + 1, revision: 8 });
    await job((inJob) => deleteCredential(inJob, admin(), { ...at, recoveryWindowMs: undefined }));
    is({
      ...said,
      ...dated,
      review_due_at: now + 1,
      updated_at: now + 1,
      state: 'deleted',
      deleted_at: now + 1,
      destroy_after_at: now + 1 + LIMITS.recoveryWindowDefaultMs,
      revision: 9,
    });
    clock.pass(LIMITS.recoveryWindowDefaultMs);
    await expect(job((inJob) => restoreCredential(inJob, admin(), at))).rejects.toMatchObject({ code: 'gone' });
  });

  it('that is destroyed keeps its name and has no version left', async () => {
    const tenant = await testTenant({ demo: true });
    const owner = tenant.user(['owner'], 'everywhere', { bootstrap: true });
    const job = <T>(useCase: (job: TenantJob) => T) => tenant.vault.submit(useCase);
    await job((inJob) => putCredential(inJob, owner, input({ expiresAtMs: START_MS + 9 })));
    await job((inJob) => destroyCredential(inJob, owner, at));
    const [row] = rowsOf(tenant.sql, 'credential');
    expect(row).toMatchObject({ name: 'stripe', state: 'destroyed', destroy_after_at: null, refresh_due_at: null, revision: 2 });
    expect(rowsOf(tenant.sql, 'credential_version')).toEqual([]);
  });

  it('that is set aside has its id at the end of a name that is no longer than a name may be', async () => {
    const { job, sql, admin } = await opened();
    const names: Record<string, string> = {};
    for (const name of ['stripe', `${'a'.repeat(94)}/${'b'.repeat(33)}`, 'c'.repeat(128)]) {
      const { located } = await job((inJob) => putCredential(inJob, admin(), input({ name })));
      await job((inJob) => deleteCredential(inJob, admin(), { ...at, name, recoveryWindowMs: undefined }));
      const put = await job((inJob) => putCredential(inJob, admin(), input({ name, replaceDeleted: true })));
      const [, id = ''] = located.row.id.split('_');
      names[name] = put.setAside ?? '';
      const kept = LIMITS.credentialNameMaxChars - '.deleted-'.length - id.length;
      expect(put.setAside).toBe(`${name.slice(0, kept).replace(/\/$/, '')}.deleted-${id}`);
      expect(put.setAside?.length).toBeLessThanOrEqual(LIMITS.credentialNameMaxChars);
      expect(rowsOf(sql, 'credential', 'id = ?', located.row.id)).toMatchObject([{ name: put.setAside, state: 'deleted' }]);
      expect(put.located.row).toMatchObject({ name, state: 'active', current_version: 1 });
    }
    expect(names['c'.repeat(128)]).toHaveLength(128);
    // A name must not end in a slash, nor have one before what is added.
    expect(Object.values(names)[1]).toHaveLength(127);
    const untouched = await job((inJob) => putCredential(inJob, admin(), input({ replaceDeleted: true })));
    expect(untouched).toMatchObject({ created: false, setAside: undefined, located: { row: { current_version: 2 } } });
  });
});

describe('the answer to a read', () => {
  it('is the facts of the version and its value, whole, from the cache as from the database', async () => {
    const { job, sql, admin, tenant, clock } = await opened();
    const reader = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: clock.now() });
    await job((inJob) => putCredential(inJob, admin(), input({ value: { key: 'one' } })));
    clock.pass(1_000);
    await job((inJob) => putCredential(inJob, admin(), input({ value: { key: 'two' }, expiresAtMs: START_MS + 5_000 })));
    const id = sql.get<{ id: string }>('SELECT id FROM credential')?.id;
    const read = async (version?: number) => {
      const wanted = { environment: 'staging', name: 'stripe', version, stage: undefined };
      const { body, ...facts } = await job((inJob) => readCredential(inJob, reader(), wanted));
      return { facts, body: JSON.parse(new TextDecoder().decode(body)) };
    };
    const head = { id, name: 'stripe', environment: 'staging', kind: 'api_key', health: 'ready' };
    const endsAt = START_MS + 5_000;
    const second = {
      ...head,
      version: 2,
      version_created_at: new Date(START_MS + 1_000).toISOString(),
      rotated_at: new Date(START_MS + 1_000).toISOString(),
      previous_valid_until: null,
      good_for_seconds: 300,
      expires_at: new Date(endsAt).toISOString(),
      expired: false,
      value: { key: 'two' },
    };
    for (const _ of ['looked up', 'kept'])
      expect(await read()).toEqual({ facts: { credentialId: id, version: 2, expiresAtMs: endsAt }, body: second });
    const first = {
      ...head,
      version: 1,
      version_created_at: new Date(START_MS).toISOString(),
      rotated_at: new Date(START_MS).toISOString(),
      previous_valid_until: null,
      good_for_seconds: 300,
      expires_at: null,
      expired: false,
      value: { key: 'one' },
    };
    expect((await read(1)).body).toEqual(first);
    clock.atMs = endsAt - 1;
    expect((await read()).body).toEqual(second);
    clock.pass(1);
    expect((await read()).body).toEqual({ ...second, expired: true, health: 'expired' });
    expect((await read(1)).body, 'its own end, and the health of the credential').toEqual({ ...first, health: 'expired' });
    clock.pass(LIMITS.dataKeyCacheTtlMs);
    expect((await read()).body).toEqual({ ...second, expired: true, health: 'expired' });
  });
});

describe('the row of a workload', () => {
  it('is what was asked for, and its tokens are for it and no longer than it', async () => {
    const { job, sql, admin, clock, tenant, vault } = await opened();
    const made = await job((inJob) =>
      createWorkload(inJob, admin(), {
        name: 'sync',
        environment: 'staging',
        patterns: ['a/*'],
        permissions: ['read', 'put'],
        networks: ['10.0.0.0/8', '127.0.0.0/8'],
        jwks: undefined,
        ttlMs: LIMITS.accessTokenTtlDefaultMs + 100,
      }),
    );
    const expires_at = START_MS + LIMITS.accessTokenTtlDefaultMs + 100;
    const { id } = made.row;
    const row = {
      id,
      name: 'sync',
      environment: 'staging',
      patterns: '["a/*"]',
      permissions: '["read","put"]',
      networks: '["10.0.0.0/8","127.0.0.0/8"]',
      jwks: null,
      revision: 1,
      created_at: START_MS,
      created_by: 'usr_admin',
      expires_at,
      revoked_at: null,
      last_used_at: null,
    };
    expect(rowsOf(sql, 'workload')).toEqual([row]);
    const token = {
      subject_id: id,
      permissions: null,
      created_by: 'usr_admin',
      revoked_at: null,
      last_used_at: null,
      origin: null,
    };
    const secretId = made.clientSecret?.publicId ?? '';
    expect(rowsOf(sql, 'token')).toEqual([{ ...token, public_id: secretId, type: 'cs', created_at: START_MS, expires_at }]);
    clock.pass(50);
    const created_at = START_MS + 50;
    const clientSecret = made.clientSecret === undefined ? '' : textOf(made.clientSecret.token);
    const proof = { method: 'client_secret', clientId: id, clientSecret } as const;
    const access = await exchangeToken(vault, tenant.token(undefined), proof, []);
    expect(rowsOf(sql, 'token', "type = 'acc'")).toEqual([
      {
        ...token,
        public_id: access.publicId,
        type: 'acc',
        created_at,
        created_by: id,
        expires_at: created_at + LIMITS.accessTokenTtlDefaultMs,
        origin: secretId,
      },
    ]);
    clock.pass(51);
    const short = await exchangeToken(vault, tenant.token(undefined), proof, []);
    expect(short.expiresAtMs, 'no longer than the workload').toBe(expires_at);
    const direct = (permissions: readonly 'read'[] | undefined, ttlMs: number) =>
      job((inJob) => createDirectToken(inJob, admin(), { workload: 'sync', permissions, ttlMs }));
    const limited = await direct(['read'], 7);
    const now = clock.now();
    expect(rowsOf(sql, 'token', 'public_id = ?', limited.publicId)).toEqual([
      { ...token, public_id: limited.publicId, type: 'wlk', permissions: '["read"]', created_at: now, expires_at: now + 7 },
    ]);
    expect((await direct(undefined, 1e12)).expiresAtMs).toBe(expires_at);
    const { secret } = await job((inJob) => createClientSecret(inJob, admin(), 'sync'));
    expect(secret.expiresAtMs).toBe(expires_at);
    await job((inJob) => revokeWorkload(inJob, admin(), id));
    expect(rowsOf(sql, 'workload')).toMatchObject([{ ...row, last_used_at: expect.anything(), revoked_at: now, revision: 2 }]);
    expect(rowsOf(sql, 'token').map(({ revoked_at }) => revoked_at)).toEqual(Array(6).fill(now));
    clock.pass(1);
    const again = await job((inJob) => revokeWorkload(inJob, admin(), id));
    expect(again).toMatchObject({ revoked_at: now, revision: 2 });
  });

  it('that has ended gets no further token from that instant on', async () => {
    const { job, admin, clock } = await opened();
    await job((inJob) =>
      createWorkload(inJob, admin(), {
        name: 'sync',
        environment: 'staging',
        patterns: [],
        permissions: ['read'],
        networks: [],
        jwks: undefined,
        ttlMs: 10,
      }),
    );
    const direct = () =>
      job((inJob) => createDirectToken(inJob, admin(), { workload: 'sync', permissions: undefined, ttlMs: 1 }));
    clock.pass(9);
    await direct();
    clock.pass(1);
    await expect(direct()).rejects.toMatchObject({ code: 'conflict' });
  });
});

describe('the rows of the home cell', () => {
  it('are the first owner, the secret for them, and the token they get for it', async () => {
    const first = await testHome();
    const [owner] = rowsOf(first.sql, 'user');
    const { id } = owner ?? {};
    const row = { id, revision: 1, bootstrap: 1, created_at: START_MS, created_by: 'first-start', offboarded_at: null };
    expect(owner).toEqual({ ...row, name: 'owner' });
    expect(rowsOf(first.sql, 'user_grant')).toEqual([{ user_id: id, role: 'owner', tenant_id: '*' }]);
    const token = { subject_id: id, permissions: null, revoked_at: null, last_used_at: null, origin: null };
    const expires_at = START_MS + LIMITS.bootstrapSecretTtlMs;
    const boot = {
      ...token,
      public_id: expect.any(String),
      type: 'boot',
      created_at: START_MS,
      created_by: 'first-start',
      expires_at,
    };
    expect(rowsOf(first.sql, 'token')).toEqual([boot]);
    first.clock.pass(3);
    const now = START_MS + 3;
    const { issued } = await first.home.submit((job) => setUp(job, first.caller(first.bootstrap), 'ada'));
    expect(issued.expiresAtMs).toBe(now + LIMITS.userTokenTtlMaxMs);
    expect(rowsOf(first.sql, 'user')).toEqual([{ ...row, name: 'ada', revision: 2 }]);
    expect(rowsOf(first.sql, 'token')).toEqual([
      { ...boot, revoked_at: now },
      {
        ...token,
        public_id: issued.publicId,
        type: 'usr',
        created_at: now,
        created_by: id,
        expires_at: now + LIMITS.userTokenTtlMaxMs,
      },
    ]);
  });

  it('are a person, their grants and tokens, and the day they left', async () => {
    const team = await testTeam();
    const { home, sql, clock } = team;
    const ada = () => team.caller(team.owner);
    const adaId = ada().user?.id;
    const acme = await createTenant(home, ada(), { name: 'acme', environments: [], demo: false }, team.provision);
    const grants = [
      { role: 'admin', tenant: undefined },
      { role: 'engineer', tenant: 'acme' },
    ] as const;
    const made = await home.submit((job) => createUser(job, ada(), { name: 'eve', grants, enrolmentTtlMs: 11 }));
    const { id } = made.row;
    const row = { id, name: 'eve', revision: 1, bootstrap: 0, created_at: START_MS, created_by: adaId, offboarded_at: null };
    expect(rowsOf(sql, 'user', 'id = ?', id)).toEqual([row]);
    expect(rowsOf(sql, 'user_grant', 'user_id = ?', id)).toEqual([
      { user_id: id, role: 'admin', tenant_id: '*' },
      { user_id: id, role: 'engineer', tenant_id: acme.id },
    ]);
    const token = { subject_id: id, permissions: null, revoked_at: null, last_used_at: null, origin: null, created_at: START_MS };
    const enr = { ...token, public_id: made.enrolment.publicId, type: 'enr', created_by: adaId, expires_at: START_MS + 11 };
    expect(rowsOf(sql, 'token', 'subject_id = ?', id)).toEqual([enr]);
    const { issued } = await home.submit((job) => enrol(job, team.caller(textOf(made.enrolment.token)), 1_000));
    const eve = team.caller(textOf(issued.token));
    const more = await home.submit((job) => createUserToken(job, eve, 'eve', 500));
    const usr = { ...token, type: 'usr', created_by: id };
    expect(rowsOf(sql, 'token', 'subject_id = ?', id)).toEqual([
      { ...enr, revoked_at: START_MS },
      { ...usr, public_id: issued.publicId, expires_at: START_MS + 1_000 },
      { ...usr, public_id: more.publicId, expires_at: START_MS + 500 },
    ]);
    clock.pass(4);
    const left = await home.submit((job) => offboardUser(job, ada(), 'eve'));
    expect(left.row).toMatchObject({ offboarded_at: START_MS + 4, revision: 2 });
    expect(rowsOf(sql, 'user', 'id = ?', id)).toEqual([{ ...row, offboarded_at: START_MS + 4, revision: 2 }]);
    expect(rowsOf(sql, 'token', 'subject_id = ?', id).map(({ revoked_at }) => revoked_at)).toEqual([
      START_MS,
      START_MS + 4,
      START_MS + 4,
    ]);
  });

  it.each([true, false])('are a tenant that is being made, with what it will need (demo: %s)', async (demo) => {
    const team = await testTeam();
    const ada = team.caller(team.owner);
    const claimed = await team.home.submit((job) => claimTenant(job, ada, { name: 'acme', environments: ['a', 'b'], demo }));
    const row = {
      id: claimed.id,
      name: 'acme',
      state: 'creating',
      demo: demo ? 1 : 0,
      environments: '["a","b"]',
      created_at: START_MS,
      created_by: ada.user?.id,
    };
    expect(claimed).toMatchObject({ ...row, witnessed: null, anchored: 0 });
    expect(rowsOf(team.sql, 'tenant')).toEqual([{ ...row, witnessed: null, anchored: 0 }]);
  });
});

describe('the run of a credential that changes', () => {
  async function withRun() {
    const bench = await consentBench();
    const { vault, sql } = bench.tenant;
    const engine = new RefreshEngine({ ...bench.ports, every: () => () => {} });
    const grant = (access_token: string): PutCredentialInput =>
      input({
        name: 'crm',
        kind: 'oauth2',
        connector: CRM.id,
        config: oauth2Config.parse(CONFIG),
        value: { access_token, refresh_token: 'r-not-a-real-secret', client_secret: 'c-not-a-real-secret' },
      });
    await vault.submit((job) => putCredential(job, bench.admin(), grant('a')));
    const run = await vault.submit((job) => engine.open(job, bench.admin(), 'staging', 'crm'));
    bench.tenant.clock.pass(3);
    return { bench, vault, sql, run, grant };
  }
  const place = { environment: 'staging', name: 'crm', precondition: {} };

  it.each(['credential_removed', 'superseded', 'disconnected'] as const)(
    'ends as %s, with its line in the journal',
    async (outcome) => {
      const { bench, vault, sql, run, grant } = await withRun();
      await vault.submit((job) => {
        if (outcome === 'superseded') putCredential(job, bench.admin(), grant('b'));
        else if (outcome === 'disconnected')
          disconnectCredential({ ...bench.ports, job }, bench.admin(), { ...place, revoke: false });
        else deleteCredential(job, bench.admin(), { ...place, recoveryWindowMs: undefined });
      });
      const now = START_MS + 3;
      const [row] = rowsOf(sql, 'run', 'id = ?', run.id);
      expect(row).toMatchObject({
        state: 'cancelled',
        outcome,
        finished_at: now,
        next_attempt_at: null,
        lease_until: 0,
        lease_owner: '',
        attempts: 0,
      });
      expect(rowsOf(sql, 'run_step', 'run_id = ?', run.id)).toMatchObject([
        { step: 'queued', status: 'request', at: START_MS },
        { step: 'cancelled', status: outcome, at: now },
      ]);
    },
  );
});
