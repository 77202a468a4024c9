// Every way in which a use case of the vault refuses: its code, and which member of the request it is about.
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { openRun } from '../../rotation/engine/run.ts';
import type { Caller } from '../../src/access/principals.ts';
import { KeyturnError } from '../../src/base/errors.ts';
import { LIMITS } from '../../src/base/limits.ts';
import type { WriteAccess } from '../../src/cell/access.ts';
import { deleteCredential, labelCredential, restoreCredential, rollBack } from '../../src/vault/change-credential.ts';
import { createEnvironment } from '../../src/vault/create-environment.ts';
import { oauth2Config } from '../../src/vault/credential-kinds.ts';
import { rulesOfKind } from '../../src/vault/kinds.ts';
import { claimTenant, createTenant } from '../../src/vault/manage-tenants.ts';
import { createUser, type GrantInput, offboardUser } from '../../src/vault/manage-users.ts';
import {
  type CreateWorkloadInput,
  createClientSecret,
  createDirectToken,
  createWorkload,
  tryKeys,
} from '../../src/vault/manage-workloads.ts';
import { type PutCredentialInput, putCredential } from '../../src/vault/put-credential.ts';
import { type ReadCredentialInput, readCredential } from '../../src/vault/read-credential.ts';
import { enrol, setUp } from '../../src/vault/set-up.ts';
import type { TenantJob } from '../../src/vault/tenant-job.ts';
import { testHome, testTeam, textOf } from '../kit/homes.ts';
import { changing, testTenant, workloadToken } from '../kit/vaults.ts';

/** `code` or `code /pointer`, with what is told beside where there is any. */
async function refusal(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (!(error instanceof KeyturnError)) throw error;
    const { code, pointer, extra = {} } = error;
    const beside = Object.keys(extra).length === 0 ? '' : ` ${JSON.stringify(extra)}`;
    return `${code}${pointer === undefined ? '' : ` ${pointer}`}${beside}`;
  }
}

const key = (given: Partial<PutCredentialInput> = {}): PutCredentialInput => ({
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
const WHOLE = { access_token: 'a', refresh_token: 'r', client_secret: 'c', client_private_key_pem: 'p' };
const grant = (value: object, given: Partial<PutCredentialInput> = {}) =>
  key({
    name: 'crm',
    kind: 'oauth2',
    value,
    connector: 'generic-oauth2',
    config: oauth2Config.parse({ client_id: 'c', token_endpoint: 'https://a.example/t' }),
    ...given,
  });
const at = (given: object = {}) => ({ environment: 'staging', name: 'stripe', precondition: {}, ...given });
const read = (given: Partial<ReadCredentialInput>): ReadCredentialInput => ({
  environment: 'staging',
  name: 'stripe',
  version: undefined,
  stage: undefined,
  ...given,
});
const workload = (given: Partial<CreateWorkloadInput>): CreateWorkloadInput => ({
  name: 'sync',
  environment: 'staging',
  patterns: ['*'],
  permissions: ['read'],
  networks: [],
  jwks: undefined,
  ttlMs: 1_000,
  ...given,
});

/** A tenant with `stripe` twice, the deleted `gone`, and the whole grant `crm`. */
async function filled() {
  const tenant = await testTenant();
  const admin = () => tenant.user(['admin'], 'everywhere', { secondFactorAtMs: tenant.clock.now() });
  const job = <T>(useCase: (job: TenantJob) => T) => tenant.vault.submit(useCase);
  for (const name of ['stripe', 'stripe', 'gone']) await job((inJob) => putCredential(inJob, admin(), key({ name })));
  await job((inJob) => deleteCredential(inJob, admin(), { ...at({ name: 'gone' }), recoveryWindowMs: undefined }));
  await job((inJob) => putCredential(inJob, admin(), grant(WHOLE)));
  return { tenant, admin, job };
}

type Ask = (job: TenantJob, caller: Caller) => unknown;
const put =
  (given: Partial<PutCredentialInput>): Ask =>
  (job, caller) =>
    putCredential(job, caller, key(given));
const RSA_1024 = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' });

const TABLE: readonly (readonly [what: string, ask: Ask, ends: string])[] = [
  ['an environment that is there', (job, caller) => createEnvironment(job, caller, 'staging'), 'conflict /name'],
  ['a put where none may be', put({ precondition: { absent: true } }), 'precondition_failed'],
  ['a put where none may be, and is none', put({ name: 'new', precondition: { absent: true } }), 'ok'],
  ['a put of another revision', put({ precondition: { revision: 1 } }), 'precondition_failed'],
  ['a put of this revision', put({ precondition: { revision: 2 } }), 'ok'],
  ['a put of a revision of none', put({ name: 'new', precondition: { revision: 1 } }), 'precondition_failed'],
  ['a put over another version', put({ precondition: { version: 1 } }), 'version_conflict /cas {"current_version":2}'],
  ['a put over this version', put({ precondition: { version: 2 } }), 'ok'],
  [
    'a put over a version of none',
    put({ name: 'new', precondition: { version: 1 } }),
    'version_conflict /cas {"current_version":0}',
  ],
  ['a put over none', put({ name: 'new', precondition: { version: 0 } }), 'ok'],
  ['a put of another kind', put({ kind: 'json' }), 'conflict /kind'],
  ['a put over a deleted one', put({ name: 'gone' }), 'conflict'],
  ['a put in the place of a deleted one', put({ name: 'gone', replaceDeleted: true }), 'ok'],
  ['a put that takes too much', put({ value: { key: 'x'.repeat(LIMITS.valueMaxBytes) } }), 'payload_too_large /value'],
  [
    'a put that discards what a new one cannot have',
    (job, caller) => putCredential(job, caller, grant(WHOLE, { name: 'new', discard: ['client_secret'] })),
    'invalid_request /discard',
  ],
  [
    'a label of a deleted one',
    (job, caller) => labelCredential(job, caller, { ...at({ name: 'gone' }), labels: {}, description: undefined }),
    'gone',
  ],
  [
    'a label of another revision',
    (job, caller) =>
      labelCredential(job, caller, { ...at({ precondition: { revision: 9 } }), labels: {}, description: undefined }),
    'precondition_failed',
  ],
  ['a roll-back of a deleted one', (job, caller) => rollBack(job, caller, { ...at({ name: 'gone' }), toVersion: 1 }), 'gone'],
  [
    'a roll-back of another revision',
    (job, caller) => rollBack(job, caller, { ...at({ precondition: { revision: 9 } }), toVersion: 1 }),
    'precondition_failed',
  ],
  ['a roll-back to where it is', (job, caller) => rollBack(job, caller, { ...at(), toVersion: 2 }), 'conflict /version'],
  ['a roll-back to nowhere', (job, caller) => rollBack(job, caller, { ...at(), toVersion: 9 }), 'not_found /version'],
  ['a roll-back of a grant', (job, caller) => rollBack(job, caller, { ...at({ name: 'crm' }), toVersion: 1 }), 'conflict'],
  [
    'a deletion of another revision',
    (job, caller) => deleteCredential(job, caller, { ...at({ precondition: { revision: 9 } }), recoveryWindowMs: 1 }),
    'precondition_failed',
  ],
  [
    'a restoration of another revision',
    (job, caller) => restoreCredential(job, caller, at({ name: 'gone', precondition: { revision: 9 } })),
    'precondition_failed',
  ],
  ['a restoration of what is there', (job, caller) => restoreCredential(job, caller, at()), 'conflict'],
  ['a read of a deleted one', (job, caller) => readCredential(job, caller, read({ name: 'gone' })), 'gone'],
  ['a read of no version', (job, caller) => readCredential(job, caller, read({ version: 9 })), 'not_found'],
  [
    'a read of no previous version',
    (job, caller) => readCredential(job, caller, read({ name: 'crm', stage: 'previous' })),
    'not_found',
  ],
  ['a read of no pending version', (job, caller) => readCredential(job, caller, read({ stage: 'pending' })), 'not_found'],
  ['a read of the current stage', (job, caller) => readCredential(job, caller, read({ stage: 'current' })), 'ok'],
  [
    'a workload with a network that is none',
    (job, caller) => createWorkload(job, caller, workload({ networks: ['nowhere'] })),
    'invalid_request /networks/0',
  ],
  [
    'a workload with a key that is too short',
    (job, caller) => createWorkload(job, caller, workload({ jwks: JSON.stringify({ keys: [RSA_1024] }) })),
    'invalid_request /jwks/keys/0/n',
  ],
];

describe('a use case at a tenant refuses', () => {
  it.each(TABLE)('%s', async (_what, ask, ends) => {
    const { job, admin } = await filled();
    expect(await refusal(() => job((inJob) => ask(inJob, admin())))).toBe(ends);
  });

  it('a program that would set a deleted credential aside', async () => {
    const { tenant, job } = await filled();
    const { text } = await workloadToken(tenant, { permissions: ['put'] });
    const ask = (given: Partial<PutCredentialInput>) =>
      refusal(() => job((inJob) => putCredential(inJob, tenant.token(text), key(given))));
    expect(await ask({ name: 'gone', replaceDeleted: true })).toBe('forbidden /replace_deleted');
    expect(await ask({ replaceDeleted: true })).toBe('ok');
  });

  it('a token for more than its workload may, and a secret of one that has a key', async () => {
    const { job, admin } = await filled();
    await job((inJob) => createWorkload(inJob, admin(), workload({ permissions: ['read', 'put'] })));
    const token = (permissions: readonly ('read' | 'put' | 'rotate')[] | undefined) =>
      refusal(() => job((inJob) => createDirectToken(inJob, admin(), { workload: 'sync', permissions, ttlMs: 1 })));
    expect(await token(['read', 'rotate'])).toBe('invalid_request /permissions');
    for (const permissions of [undefined, [], ['put'], ['read', 'put']] as const) expect(await token(permissions)).toBe('ok');
    expect(await refusal(() => job((inJob) => createWorkload(inJob, admin(), workload({}))))).toBe('conflict /name');
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const jwks = JSON.stringify({ keys: [publicKey.export({ format: 'jwk' })] });
    const made = await job((inJob) => createWorkload(inJob, admin(), workload({ name: 'signed', jwks })));
    expect(made).toMatchObject({ clientSecret: undefined, row: { jwks } });
    expect(await refusal(() => job((inJob) => createClientSecret(inJob, admin(), 'signed')))).toBe('conflict');
  });

  it('a key that cannot be used, by its place; and leaves a weak one to the use case', async () => {
    const good = [
      ...(['P-256', 'P-384'] as const).map((namedCurve) =>
        generateKeyPairSync('ec', { namedCurve }).publicKey.export({ format: 'jwk' }),
      ),
      generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }),
      generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' }),
    ];
    expect(await refusal(() => tryKeys(good as never))).toBe('ok');
    const [first] = good;
    const off = { ...first, x: first?.y, y: first?.x };
    expect(await refusal(() => tryKeys([first, off] as never))).toBe('invalid_request /jwks/keys/1');
    expect(await refusal(() => tryKeys([RSA_1024] as never))).toBe('ok');
  });

  it('a roll-back of a key with a connector while a run of it is open, and no longer', async () => {
    const { tenant, job, admin } = await filled();
    const rotated = key({ name: 'rotated', connector: 'made-up' });
    for (const _ of [1, 2]) await job((inJob) => putCredential(inJob, admin(), rotated));
    const credentialId = String(tenant.sql.get("SELECT id FROM credential WHERE name = 'rotated'")?.['id']);
    const back = () => refusal(() => job((inJob) => rollBack(inJob, admin(), { ...at({ name: 'rotated' }), toVersion: 1 })));
    const change = <T>(by: (job: TenantJob, access: WriteAccess) => T) =>
      job((inJob) => changing(inJob, (access) => by(inJob, access)));
    const run = await change((inJob, access) =>
      openRun(inJob, access, { credentialId, kind: 'rotation', trigger: 'request', generation: 2 }),
    );
    expect(await back()).toBe('conflict');
    const end = { state: 'succeeded', outcome: 'rotated', next_attempt_at: null, finished_at: tenant.clock.now() } as const;
    await change((inJob, access) => inJob.runs.save(access, { ...run, ...end }));
    expect(await back()).toBe('ok');
  });

  it('a kind that this build does not know', async () => {
    expect(await refusal(() => rulesOfKind('unheard'))).toBe('internal');
  });
});

describe('a put over a grant refuses to lose a part', () => {
  const parts = Object.keys(WHOLE).filter((part) => part !== 'access_token') as (keyof typeof WHOLE)[];
  const over = async (value: object, given: Partial<PutCredentialInput> = {}) => {
    const { job, admin } = await filled();
    return refusal(() => job((inJob) => putCredential(inJob, admin(), grant(value, given))));
  };

  it.each(parts)('%s, unless it is given again or discarded', async (part) => {
    const { [part]: _left, ...others } = WHOLE;
    expect(await over(others)).toBe(`invalid_request /value/${part}`);
    expect(await over(others, { discard: [part as never] })).toBe('ok');
    expect(await over(WHOLE, { discard: [part as never] })).toBe('invalid_request /discard');
    expect(await over({ ...WHOLE, [part]: 'another' })).toBe('ok');
  });

  it('but the refresh token of a grant that is dead, which is of no use', async () => {
    for (const [health, ends] of [
      ['needs_consent', 'ok'],
      ['disconnected', 'ok'],
      ['degraded', 'invalid_request /value/refresh_token'],
    ] as const) {
      const { job, admin } = await filled();
      await job((inJob) =>
        inJob.door.record(
          { action: 'x', actor: { type: 'system', id: 'x' }, reason: 'x', request: 'x', target: { type: 'x' } },
          (access) => {
            const environment = inJob.credentials.findEnvironment(access, 'staging');
            const row = inJob.credentials.find(access, environment?.id ?? '', 'crm');
            if (row !== undefined) inJob.credentials.save(access, { ...row, health });
          },
        ),
      );
      const { refresh_token: _dead, ...others } = WHOLE;
      expect(await refusal(() => job((inJob) => putCredential(inJob, admin(), grant(others))))).toBe(ends);
      const { client_secret: _kept, ...without } = WHOLE;
      expect(await refusal(() => job((inJob) => putCredential(inJob, admin(), grant(without))))).toBe(
        'invalid_request /value/client_secret',
      );
    }
  });

  it('and takes no grant that holds nothing', async () => {
    expect(await over({ client_secret: 'c' }, { name: 'new' })).toBe('invalid_request /value');
    expect(await over({ refresh_token: 'r' }, { name: 'new' })).toBe('ok');
    expect(await over({ access_token: 'a' }, { name: 'new' })).toBe('ok');
  });
});

describe('a use case at the home cell refuses', () => {
  async function team() {
    const made = await testTeam();
    const ada = () => made.caller(made.owner);
    const acme = await createTenant(made.home, ada(), { name: 'acme', environments: [], demo: false }, made.provision);
    const add = (name: string, grants: readonly GrantInput[], by = ada()) =>
      made.home.submit((job) => createUser(job, by, { name, grants, enrolmentTtlMs: 1_000 }));
    const join = async (name: string, grants: readonly GrantInput[]) => {
      const { enrolment } = await add(name, grants);
      const { issued } = await made.home.submit((job) => enrol(job, made.caller(textOf(enrolment.token)), 60_000));
      return made.caller(textOf(issued.token));
    };
    return { made, ada, acme, add, join };
  }

  it('a person with grants that cannot be', async () => {
    const { acme, add, join, ada } = await team();
    const bob = await join('bob', [{ role: 'admin', tenant: undefined }]);
    const table: readonly (readonly [readonly GrantInput[], string, Caller?])[] = [
      [[{ role: 'workload', tenant: undefined }], 'invalid_request /grants/0/role'],
      [
        [
          { role: 'admin', tenant: undefined },
          { role: 'engineer', tenant: undefined },
        ],
        'invalid_request /grants/1/tenant',
      ],
      [[{ role: 'engineer', tenant: 'none' }], 'not_found /grants/0/tenant'],
      [
        [
          { role: 'auditor', tenant: undefined },
          { role: 'admin', tenant: undefined },
        ],
        'invalid_request /grants/1/role',
      ],
      [
        [
          { role: 'admin', tenant: undefined },
          { role: 'auditor', tenant: undefined },
        ],
        'invalid_request /grants/0/role',
      ],
      [
        [
          { role: 'auditor', tenant: undefined },
          { role: 'auditor', tenant: 'acme' },
        ],
        'ok',
      ],
      [
        [
          { role: 'engineer', tenant: 'acme' },
          { role: 'admin', tenant: 'acme' },
          { role: 'engineer', tenant: acme.id },
        ],
        'invalid_request /grants/2',
      ],
      [
        [
          { role: 'engineer', tenant: 'acme' },
          { role: 'admin', tenant: 'acme' },
        ],
        'ok',
      ],
      [[{ role: 'owner', tenant: undefined }], 'forbidden', bob],
      [[{ role: 'admin', tenant: undefined }], 'ok', bob],
    ];
    for (const [index, [grants, ends, by]] of table.entries())
      expect(await refusal(() => add(`p${index}`, grants, by ?? ada())), `${index}`).toBe(ends);
    expect(await refusal(() => add('bob', [{ role: 'admin', tenant: undefined }]))).toBe('conflict /name');
    expect(await refusal(() => add(bob.user?.id ?? '', [{ role: 'admin', tenant: undefined }]))).toBe('conflict /name');
  });

  it('an owner who would leave nobody, however many others there are', async () => {
    const { made, ada, join, add } = await team();
    const leave = (by: Caller, name: string) => refusal(() => made.home.submit((job) => offboardUser(job, by, name)));
    const bob = await join('bob', [{ role: 'admin', tenant: undefined }]);
    await add('local', [{ role: 'owner', tenant: 'acme' }]);
    expect(await leave(bob, 'ada')).toBe('forbidden');
    expect(await leave(bob, 'local')).toBe('forbidden');
    expect(await leave(ada(), 'ada')).toBe('conflict');
    expect(await leave(ada(), 'local'), 'the owner of one client counts as none of all').toBe('ok');
    const eve = await join('eve', [{ role: 'owner', tenant: undefined }]);
    expect(await leave(eve, 'ada')).toBe('ok');
    expect(await leave(eve, 'ada'), 'left already').toBe('not_found');
    expect(await leave(eve, 'eve')).toBe('conflict');
    expect(await leave(eve, 'bob')).toBe('ok');
  });

  it('a one-time token that is not stored', async () => {
    const first = await testHome();
    const withToken = (caller: Caller, tokenId: string): Caller =>
      caller.user === undefined ? caller : { ...caller, user: { ...caller.user, tokenId } };
    const bootstrap = withToken(first.caller(first.bootstrap), 'none');
    expect(await refusal(() => first.home.submit((job) => setUp(job, bootstrap, 'ada')))).toBe('conflict');
    const { made, add } = await team();
    const { enrolment } = await add('eve', [{ role: 'admin', tenant: undefined }]);
    const eve = withToken(made.caller(textOf(enrolment.token)), 'none');
    expect(await refusal(() => made.home.submit((job) => enrol(job, eve, 1_000)))).toBe('conflict');
  });

  it('a tenant of a name that is taken', async () => {
    const { made, ada, acme } = await team();
    for (const name of ['acme', acme.id])
      expect(
        await refusal(() => made.home.submit((job) => claimTenant(job, ada(), { name, environments: [], demo: false }))),
      ).toBe('conflict /name');
  });
});
